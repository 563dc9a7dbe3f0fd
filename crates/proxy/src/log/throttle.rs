//! Lines that clients can cause, so that they cannot fill a disk with them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line of a kind in this time.
const APART: Duration = Duration::from_secs(1);

/// Lets one line of a kind through in a second, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<ThrottleState>);

#[derive(Debug, Default)]
struct ThrottleState {
    last: Option<Instant>,
    left_out: u64,
}

impl LogThrottle {
    /// Nothing was told yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(ThrottleState { last: None, left_out: 0 }))
    }

    /// `Some`: tell it now, and how many were left out since the last that was told.
    pub(crate) fn tell(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < APART) {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_second_and_the_rest_counted() {
        let (throttle, start) = (LogThrottle::new(), Instant::now());
        let told: Vec<_> =
            [0, 1, 999, 1000, 1001, 2500].map(|ms| throttle.tell(start + Duration::from_millis(ms))).into();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
