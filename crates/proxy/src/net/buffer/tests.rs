use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

/// Counts how often a task was woken.
#[derive(Default)]
struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn write(buffer: &mut Buffer, pool: &BufferPool, bytes: &[u8]) {
    let room = buffer.room(buffer.bytes().len() + bytes.len(), pool).expect("the pool has room");
    room[..bytes.len()].copy_from_slice(bytes);
    buffer.filled(bytes.len());
}

#[test]
fn holds_nothing_before_and_after() {
    let pool = BufferPool::new(LEASE);
    let mut buffer = Buffer::default();
    assert_eq!((buffer.held(), pool.in_use.get()), (0, 0));
    write(&mut buffer, &pool, b"PING\r\n");
    assert_eq!((buffer.held(), pool.in_use.get()), (LEASE, LEASE));
    buffer.consume(6);
    buffer.park(&pool);
    assert_eq!((buffer.held(), pool.in_use.get()), (0, 0));
}

/// The rest of a command takes only its own size, even when the pool is empty.
#[test]
fn a_small_remainder_is_kept_small() {
    let pool = BufferPool::new(LEASE);
    let mut buffer = Buffer::default();
    write(&mut buffer, &pool, b"PING\r\n*1\r\n$4");
    buffer.consume(6);
    buffer.park(&pool);
    assert_eq!(buffer.bytes(), b"*1\r\n$4");
    assert_eq!((buffer.held(), pool.in_use.get()), (6, 6));
    assert!(!buffer.is_full(), "there is room for the rest of the command");
    buffer.release(&pool);
    assert_eq!(pool.in_use.get(), 0);
}

/// A buffer is full when its content takes a lease, whatever its capacity.
#[test]
fn is_full_by_what_it_holds() {
    let pool = BufferPool::new(4 * LEASE);
    let mut buffer = Buffer::default();
    write(&mut buffer, &pool, &[b'x'; LEASE - 1]);
    assert!(!buffer.is_full());
    write(&mut buffer, &pool, b"x");
    assert!(buffer.is_full());
    write(&mut buffer, &pool, b"x");
    assert!(buffer.is_full());
}

#[test]
fn the_cap_counts_what_is_set_aside() {
    let pool = BufferPool::new(2 * LEASE);
    pool.count_aside(0, LEASE + 1);
    let mut buffer = Buffer::default();
    assert!(buffer.room(1, &pool).is_none());
    pool.count_aside(LEASE + 1, LEASE);
    assert!(buffer.room(1, &pool).is_some());
    pool.count_aside(LEASE, 0);
    buffer.release(&pool);
    assert_eq!((pool.in_use.get(), pool.aside.get()), (0, 0));
}

/// Each buffer that is given back wakes one waiting task: the first in the queue, and each task once.
#[test]
fn who_waits_is_woken_in_turn() {
    let pool = BufferPool::new(LEASE);
    let mut buffer = Buffer::default();
    write(&mut buffer, &pool, b"x");
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    for bell in &bells {
        pool.wait(&Arc::clone(bell).into());
    }
    let again = Arc::clone(&bells[0]).into();
    pool.wait(&again);
    assert_eq!(pool.waiting(), 2);
    buffer.release(&pool);
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 0]);
    pool.wait(&again);
    assert_eq!(pool.waiting(), 2);
    pool.wake_all();
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [2, 1]);
    assert!(!pool.is_short());
}

#[test]
fn keeps_a_bounded_number_of_free_buffers() {
    let pool = BufferPool::new(usize::MAX);
    let mut buffers: Vec<Buffer> = (0..2 * KEPT).map(|_| Buffer::default()).collect();
    for buffer in &mut buffers {
        write(buffer, &pool, b"x");
    }
    for buffer in &mut buffers {
        buffer.release(&pool);
    }
    assert_eq!((pool.in_use.get(), pool.free.borrow().len()), (0, KEPT));
}

#[derive(Clone, Debug)]
enum Act {
    Write(Vec<u8>),
    Consume(usize),
    Park,
    Release,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 1..20_000).prop_map(Act::Write),
        4 => (0..30_000_usize).prop_map(Act::Consume),
        2 => Just(Act::Park),
        1 => Just(Act::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Several buffers of one pool behave as queues of bytes. The pool's account is the sum of the bytes that they
    /// hold, stays below the limit, and is 0 in the end.
    #[test]
    fn a_buffer_is_a_queue(acts in proptest::collection::vec((0..3_usize, act()), 1..60)) {
        let cap = 8 * LEASE;
        let pool = BufferPool::new(cap);
        let mut buffers: [Buffer; 3] = Default::default();
        let mut models: [Vec<u8>; 3] = Default::default();
        for (which, act) in acts {
            let (buffer, model) = (&mut buffers[which], &mut models[which]);
            match act {
                Act::Write(bytes) => {
                    if let Some(room) = buffer.room(model.len() + bytes.len(), &pool) {
                        prop_assert!(room.len() >= bytes.len());
                        room[..bytes.len()].copy_from_slice(&bytes);
                        buffer.filled(bytes.len());
                        model.extend_from_slice(&bytes);
                    }
                }
                Act::Consume(n) => {
                    buffer.consume(n);
                    model.drain(..n.min(model.len()));
                }
                Act::Park => buffer.park(&pool),
                Act::Release => {
                    buffer.release(&pool);
                    model.clear();
                }
            }
            prop_assert_eq!(buffers[which].bytes(), &models[which][..]);
            let held: usize = buffers.iter().map(Buffer::held).sum();
            prop_assert_eq!(pool.in_use.get(), held);
            prop_assert!(held <= cap);
        }
        for buffer in &mut buffers {
            buffer.release(&pool);
        }
        prop_assert_eq!(pool.in_use.get(), 0);
    }
}
