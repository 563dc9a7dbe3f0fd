//! Waiting for something to become true, or to stay so.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen, before it fails. Generous: two cores run many tests at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(10);

/// Polls `probe` until it gives a value; panics naming `what` when [`PATIENCE`] is over.
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let mut value = None;
    let came = within_patience(|| {
        value = probe();
        value.is_some()
    });
    assert!(came, "waited {PATIENCE:?} in vain until {what}");
    value.expect("it came")
}

/// Polls `probe`; whether it became true before [`PATIENCE`] was over.
pub(crate) fn within_patience(mut probe: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !probe() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(STEP);
    }
    true
}

/// Panics as soon as `probe` is false within `duration`.
#[track_caller]
pub fn holds_for(duration: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + duration;
    while Instant::now() < deadline {
        assert!(probe(), "no longer so: {what}");
        sleep(STEP);
    }
}

/// Tests that load the whole machine, and have bounds on time, wait here for each other.
pub fn own_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // One that failed has had its turn as well.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
