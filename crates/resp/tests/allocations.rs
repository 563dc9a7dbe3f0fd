//! Neither the scanners nor the table allocate. The tests have a process of their own, because the allocator counts
//! for all threads.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use portcullis_resp::command::keys::{Frame, keys};
use portcullis_resp::command::{id, lookup};
use portcullis_resp::encode;
use portcullis_resp::error::ReplyError;
use portcullis_resp::limits::{MAX_DEPTH, RequestLimits};
use portcullis_resp::scan::{Reply, ReplyScanner, Request, RequestScanner, arguments};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
/// A lock that makes the tests of this file count one after the other.
static ONE: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    work();
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

/// The smallest of several counts: threads of the test harness may allocate meanwhile.
fn least(mut work: impl FnMut()) -> u64 {
    let _alone = ONE.lock();
    (0..5).map(|_| allocations(&mut work)).min().unwrap()
}

#[test]
fn no_allocation_per_command() {
    let mut pipeline = Vec::new();
    for _ in 0..1000 {
        encode::command(&mut pipeline, &[b"SET", b"key", &[b'v'; 64]]);
        encode::command(&mut pipeline, &[b"mget", b"a", b"b", b"c"]);
    }
    let counted = least(|| {
        let mut scanner = RequestScanner::new(RequestLimits::default());
        let mut rest = &pipeline[..];
        let mut found = 0;
        while let Ok(Request::Command { len, name, arguments: count }) = scanner.next(rest) {
            let id = lookup(name.of(rest)).unwrap();
            assert!(id == id::SET || id == id::MGET);
            assert!(arguments(&rest[..len]).count() > 2);
            keys(id, &Frame::new(&rest[..len], count), |_| found += 1).unwrap();
            rest = &rest[len..];
        }
        assert_eq!((rest.len(), found), (0, 4000));
    });
    assert_eq!(counted, 0);
}

#[test]
fn no_allocation_per_reply() {
    let mut replies = b"+OK\r\n:5\r\n$-1\r\n".repeat(100);
    for _ in 0..1000 {
        encode::bulk(&mut replies, &[b'v'; 64]);
        replies.extend_from_slice(b"*2\r\n%1\r\n+a\r\n*1\r\n~1\r\n:1\r\n_\r\n");
    }
    let counted = least(|| {
        let mut scanner = ReplyScanner::new();
        let mut rest = &replies[..];
        while let Ok(Reply::Whole { len, .. }) = scanner.next(rest) {
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
    });
    assert_eq!(counted, 0);
}

/// A value of 512 MiB: the scanner keeps and allocates nothing. The buffer never needs more than the piece that
/// arrived, or two bytes for the line end. An eighth arrives byte by byte, which takes some seconds; the next test
/// covers all bytes.
#[test]
fn a_huge_value_keeps_memory_flat() {
    huge_value(HUGE / 8);
}

/// `cargo test --release -p portcullis-resp --test allocations -- --ignored`
#[test]
#[ignore = "takes half a minute where the machine is busy"]
fn a_huge_value_in_single_bytes_keeps_memory_flat() {
    huge_value(HUGE);
}

const HUGE: usize = 512 * 1024 * 1024;

fn huge_value(single: usize) {
    let head = format!("*2\r\n$4\r\nECHO\r\n${HUGE}\r\n");
    let reply_head = format!("${HUGE}\r\n");
    let piece = [b'x'; 64 * 1024];
    let counted = least_once(|| {
        let mut scanner = RequestScanner::new(RequestLimits::default());
        assert!(matches!(scanner.next(head.as_bytes()), Ok(Request::Head { present: 1, .. })));
        assert_eq!(scanner.stream(head.as_bytes()).unwrap().len, head.len());
        pieces(single, &piece, |bytes| scanner.stream(bytes).unwrap().len);
        assert_eq!(scanner.stream(b"\r").unwrap().len, 0);
        assert!(scanner.stream(b"\r\n").unwrap().done);

        let mut scanner = ReplyScanner::new();
        assert!(matches!(scanner.next(reply_head.as_bytes()), Ok(Reply::Head { .. })));
        assert_eq!(scanner.stream(reply_head.as_bytes()).unwrap().len, reply_head.len());
        pieces(single, &piece, |bytes| scanner.stream(bytes).unwrap().len);
        assert!(scanner.stream(b"\r\n").unwrap().done);
    });
    assert!(counted < 100, "{counted} allocations are more than those of the test harness");
}

/// Calls `take` with the whole value, its first `single` bytes one by one.
fn pieces(single: usize, piece: &[u8], mut take: impl FnMut(&[u8]) -> usize) {
    for _ in 0..single {
        assert_eq!(take(b"x"), 1);
    }
    for _ in 0..(HUGE - single) / piece.len() {
        assert_eq!(take(piece), piece.len());
    }
}

/// A million levels, each of which announces as many elements as a header allows. The scanner keeps only the counters
/// of the levels up to the limit.
#[test]
fn each_level_costs_only_a_counter() {
    let nested = b"*1099511627776\r\n".repeat(1_000_000);
    let _alone = ONE.lock();
    // The smallest of several counts, as above: other tests of this process prepare their input meanwhile.
    let measure = |_| {
        let before = BYTES.load(Ordering::SeqCst);
        assert_eq!(ReplyScanner::new().next(&nested), Err(ReplyError::TooDeep));
        BYTES.load(Ordering::SeqCst) - before
    };
    let reserved = (0..5).map(measure).min().unwrap();
    // A counter is 8 bytes, and the memory for counters doubles as needed.
    assert!(reserved <= 4 * 8 * MAX_DEPTH, "{reserved} bytes");
}

fn least_once(work: impl FnOnce()) -> u64 {
    let _alone = ONE.lock();
    allocations(work)
}
