use std::future::poll_fn;
use std::io::Read;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::super::socket::Socket;
use super::*;

/// Returns the two ends of a connection: one for the pipe, one for the test.
fn connection() -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    for end in [&ours, &theirs] {
        end.set_nonblocking(true).expect("a socket");
    }
    (Stream::register(Socket::Unix(ours)).expect("a runtime"), theirs)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Reads the available bytes, at most `most`.
fn take(from: &mut UnixStream, most: usize, into: &mut Vec<u8>) {
    let mut chunk = vec![0; most];
    if let Ok(n) = from.read(&mut chunk) {
        into.extend_from_slice(&chunk[..n]);
    }
}

async fn fill(pipe: &mut Pipe, from: &mut Stream, pool: &BufferPool) -> usize {
    let total = pipe.unread().len() + 1;
    poll_fn(|cx| pipe.poll_fill(cx, from, total, pool)).await.expect("readable")
}

/// Tries once to write all bytes. Returns whether all were written.
async fn try_flush(pipe: &mut Pipe, to: &mut Stream, moved: &mut u64) -> bool {
    poll_fn(|cx| match pipe.poll_flush(cx, to, moved) {
        Poll::Ready(done) => {
            done.expect("writable");
            Poll::Ready(true)
        }
        Poll::Pending => Poll::Ready(false),
    })
    .await
}

#[test]
fn the_end_is_a_read_of_nothing() {
    runtime().block_on(async {
        let (mut from, theirs) = connection();
        drop(theirs);
        let pool = BufferPool::new(1 << 20);
        assert_eq!(fill(&mut Pipe::default(), &mut from, &pool).await, 0);
    });
}

/// A read without memory waits, and the task is woken when there is some.
#[test]
fn waits_for_a_buffer() {
    runtime().block_on(async {
        let pool = BufferPool::new(super::super::buffer::LEASE);
        let (mut from, mut theirs) = connection();
        io::Write::write_all(&mut theirs, b"PING\r\n").expect("room");
        let (mut other_from, mut other_theirs) = connection();
        io::Write::write_all(&mut other_theirs, b"x").expect("room");
        let mut other = Pipe::default();
        fill(&mut other, &mut other_from, &pool).await;
        let mut pipe = Pipe::default();
        let starved = async {
            assert_eq!(fill(&mut pipe, &mut from, &pool).await, 6);
        };
        let release = async {
            tokio::task::yield_now().await;
            assert!(pool.is_short());
            other.release(&pool);
        };
        tokio::join!(starved, release);
        assert_eq!(pipe.unread(), b"PING\r\n");
    });
}

/// A partial write makes room: a writer that fills up to a limit counts only the bytes that wait.
#[test]
fn what_was_written_is_not_waiting() {
    runtime().block_on(async {
        let (mut to, mut receiver) = connection();
        let mut pipe = Pipe::default();
        let (mut got, mut moved) = (Vec::new(), 0);
        while !pipe.is_congested() {
            assert!(pipe.insert(|out| out.resize(MAX_OUT, b'x')) > 0);
            try_flush(&mut pipe, &mut to, &mut moved).await;
        }
        take(&mut receiver, 3 * MAX_OUT / 2, &mut got);
        tokio::task::yield_now().await;
        while !try_flush(&mut pipe, &mut to, &mut moved).await && pipe.is_congested() {
            take(&mut receiver, MAX_OUT, &mut got);
            tokio::task::yield_now().await;
        }
        assert!(pipe.insert(|out| out.resize(MAX_OUT, b'y')) > 0);
    });
}

#[derive(Clone, Debug)]
enum Act {
    /// The sender writes these bytes.
    Send(Vec<u8>),
    Fill,
    Pass(usize),
    Skip(usize),
    Insert(Vec<u8>),
    Flush,
    /// The receiver reads at most this number of bytes.
    Take(usize),
    Park,
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 1..most);
    prop_oneof![
        bytes(40_000_usize).prop_map(Act::Send),
        Just(Act::Fill),
        (0..20_000_usize).prop_map(Act::Pass),
        (0..20_000_usize).prop_map(Act::Skip),
        bytes(100_usize).prop_map(Act::Insert),
        Just(Act::Flush),
        (1..100_000_usize).prop_map(Act::Take),
        Just(Act::Park),
    ]
}

/// The expected behaviour of a pipe, in three queues.
#[derive(Default)]
struct Model {
    /// The bytes that were sent and not read by the pipe.
    coming: Vec<u8>,
    unread: Vec<u8>,
    /// The bytes that the receiver must have in the end.
    due: Vec<u8>,
}

async fn run(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let pool = BufferPool::new(1 << 20);
    let ((mut from, mut sender), (mut to, mut receiver)) = (connection(), connection());
    let mut pipe = Pipe::default();
    let mut model = Model::default();
    let (mut got, mut moved) = (Vec::new(), 0);
    for act in acts {
        match act {
            Act::Send(bytes) => {
                if let Ok(n) = io::Write::write(&mut sender, &bytes) {
                    model.coming.extend_from_slice(&bytes[..n]);
                }
            }
            Act::Fill if !model.coming.is_empty() => {
                let n = fill(&mut pipe, &mut from, &pool).await;
                model.unread.extend(model.coming.drain(..n));
            }
            Act::Fill => {}
            Act::Pass(n) => {
                let n = n.min(model.unread.len());
                pipe.pass(n);
                model.due.extend(model.unread.drain(..n));
            }
            Act::Skip(n) => {
                let n = n.min(model.unread.len());
                pipe.skip(n);
                model.unread.drain(..n);
            }
            Act::Insert(bytes) => {
                pipe.insert(|out| out.extend_from_slice(&bytes));
                model.due.extend_from_slice(&bytes);
            }
            Act::Flush => {
                let empty = try_flush(&mut pipe, &mut to, &mut moved).await;
                prop_assert_eq!(empty, !pipe.is_pending());
            }
            Act::Take(n) => take(&mut receiver, n, &mut got),
            Act::Park => pipe.park(&pool),
        }
        prop_assert_eq!(pipe.unread(), &model.unread[..]);
        prop_assert!(got.len() as u64 <= moved);
        prop_assert!(model.due.starts_with(&got), "bytes lost, foreign or out of order");
    }
    while pipe.is_pending() {
        try_flush(&mut pipe, &mut to, &mut moved).await;
        take(&mut receiver, 1 << 20, &mut got);
        tokio::task::yield_now().await;
    }
    take(&mut receiver, 1 << 20, &mut got);
    prop_assert_eq!(moved, model.due.len() as u64);
    prop_assert_eq!(got, model.due);
    prop_assert_eq!(pipe.aside(), 0);
    pipe.release(&pool);
    prop_assert_eq!(pipe.leased(), 0);
    let mut all = Buffer::default();
    prop_assert!(all.room(1 << 20, &pool).is_some(), "the pool has everything back");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The bytes arrive in order and complete, whatever is passed, skipped and inserted, and however little the
    /// receiver takes at a time.
    #[test]
    fn keeps_the_order(acts in proptest::collection::vec(act(), 1..80)) {
        runtime().block_on(run(acts))?;
    }
}
