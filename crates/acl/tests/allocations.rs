//! A judgement does not allocate. The test has a process of its own, because the allocator counts for all threads.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_acl::{CommandPlan, CommandRules, Judgement};
use portcullis_resp::command::keys::Frame;
use portcullis_resp::command::{CommandId, lookup};
use portcullis_resp::encode;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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

#[test]
fn no_allocation_per_judgement() {
    let rules = |text| Arc::new(CommandRules::parse(text).unwrap());
    let listener =
        rules("+@all -flushall ~app:* %R~*:[0-9]* &news:* -select +select|1 +json.set (+mset ~tmp:*)");
    let user = rules("@public ~app:* ~tmp:*");
    let plan = CommandPlan::new(Some(&listener), Some(&user));
    let lines = [
        "GET app:1",
        "SET app:1 x EX 1 GET",
        "mget app:1 tmp:1",
        "MSET tmp:1 x tmp:2 y",
        "SELECT 1",
        "FLUSHALL",
        "CLIENT SETNAME x",
        "CLIENT NOSUCH",
        "JSON.SET a b",
        "NOSUCH a",
        "PUBLISH news:1 m",
        "SUBSCRIBE news:1 x",
        "SORT app:1 BY w_* GET #",
        "XREAD COUNT 1 STREAMS app:1 x 0 0",
        "EVAL s 1 app:1",
        "PING",
        "CONFIG GET x",
    ];
    let frames = lines.map(|line| {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut frame = Vec::new();
        encode::command(&mut frame, &args);
        (lookup(args[0]).unwrap_or(CommandId::UNKNOWN), u64::try_from(args.len()).unwrap(), frame)
    });
    let mut allowed = 0;
    let mut judge_all = || {
        for (id, arguments, frame) in &frames {
            for cut in [frame.len() / 2, frame.len()] {
                let view = Frame::new(&frame[..cut], *arguments);
                let judged = plan.judge(*id, &view, cut == frame.len());
                allowed += u32::from(judged == Judgement::Allow);
            }
        }
    };
    // The smallest of several counts: threads of the test harness may allocate meanwhile.
    let counts = (0..5).map(|_| {
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        judge_all();
        ALLOCATIONS.load(Ordering::SeqCst) - before
    });
    assert_eq!(counts.min(), Some(0));
    assert!(allowed > 0);
}
