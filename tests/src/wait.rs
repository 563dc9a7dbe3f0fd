//! Waits until a condition becomes true, or checks that it stays true.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time that a test waits for a condition before it fails. It is generous: two cores run many tests at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(10);

/// Polls `probe` until it returns a value. Panics with `what` if it returns none within [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, probe)
}

/// Does the same as [`eventually`], with another limit.
#[track_caller]
pub fn eventually_within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let mut value = None;
    let came = within(limit, || {
        value = probe();
        value.is_some()
    });
    assert!(came, "not within {limit:?}: {what}");
    value.expect("a value")
}

/// Polls `probe`. Returns whether it became true within [`PATIENCE`].
pub(crate) fn within_patience(probe: impl FnMut() -> bool) -> bool {
    within(PATIENCE, probe)
}

fn within(limit: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !probe() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(STEP);
    }
    true
}

/// Panics if `probe` returns false within `duration`.
#[track_caller]
pub fn holds_for(duration: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + duration;
    while Instant::now() < deadline {
        assert!(probe(), "no longer true: {what}");
        sleep(STEP);
    }
}

/// Waits until no other such test runs: for tests that load the whole machine and have time limits.
pub fn own_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed has finished its turn too.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
