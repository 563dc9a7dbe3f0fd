//! When the results of probes change what is known of an upstream.
//!
//! ```text
//!             the first result decides
//!   unknown ----------------------------> up or down
//!
//!          3 failed probes in a row, or 1 that leaves no doubt
//!      up ----------------------------------------------------> down
//!         <----------------------------------------------------
//!          2 good probes in a row
//! ```
//!
//! Redis may stall for some seconds, for example while it saves or runs a slow command. If one failed probe were enough,
//! a load balancer would take out every proxy before that Redis.

use crate::metrics::UpstreamErrorKind;

/// Failed probes in a row after which an upstream is down. With a probe each second, a stall of two seconds passes.
const FAILURES: u32 = 3;

/// Good probes in a row after which an upstream is up again.
const SUCCESSES: u32 = 2;

/// The probes in a row that contradict what is known.
#[derive(Debug, Default)]
pub(super) struct Streak {
    /// Whether the upstream is known to be up. `None` before the first probe.
    up: Option<bool>,
    against: u32,
}

impl Streak {
    /// Takes the result of a probe. Returns whether it counts: it confirms what is known, or changes it.
    pub(super) fn counts(&mut self, result: Result<(), UpstreamErrorKind>) -> bool {
        let up = Some(result.is_ok());
        if self.up.is_some() && self.up != up {
            self.against += 1;
            let needed = match result {
                Ok(()) => SUCCESSES,
                // No process listens, or the credentials are wrong: another probe would find the same.
                Err(UpstreamErrorKind::Refused | UpstreamErrorKind::Auth) => 1,
                Err(_) => FAILURES,
            };
            if self.against < needed {
                return false;
            }
        }
        (self.up, self.against) = (up, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALLED: Result<(), UpstreamErrorKind> = Err(UpstreamErrorKind::Timeout);
    const REFUSED: Result<(), UpstreamErrorKind> = Err(UpstreamErrorKind::Refused);
    const WRONG_PASSWORD: Result<(), UpstreamErrorKind> = Err(UpstreamErrorKind::Auth);
    const LOADING: Result<(), UpstreamErrorKind> = Err(UpstreamErrorKind::Loading);
    const GOOD: Result<(), UpstreamErrorKind> = Ok(());

    /// Returns what counts of these results.
    fn counted(results: &[Result<(), UpstreamErrorKind>]) -> Vec<bool> {
        let mut streak = Streak::default();
        results.iter().map(|result| streak.counts(*result)).collect()
    }

    #[test]
    fn the_first_result_decides() {
        for result in [GOOD, STALLED, REFUSED, LOADING] {
            assert_eq!(counted(&[result]), [true]);
        }
    }

    #[test]
    fn a_stall_of_two_probes_changes_nothing() {
        assert_eq!(
            counted(&[GOOD, STALLED, LOADING, GOOD, STALLED, STALLED, GOOD]),
            [true, false, false, true, false, false, true]
        );
        assert_eq!(counted(&[GOOD, STALLED, LOADING, STALLED, STALLED]), [true, false, false, true, true]);
    }

    #[test]
    fn what_leaves_no_doubt_counts_at_once() {
        for result in [REFUSED, WRONG_PASSWORD] {
            assert_eq!(counted(&[GOOD, result]), [true, true]);
            assert_eq!(counted(&[GOOD, STALLED, result]), [true, false, true]);
        }
    }

    #[test]
    fn two_good_probes_end_an_outage() {
        assert_eq!(counted(&[STALLED, GOOD, GOOD]), [true, false, true]);
        assert_eq!(counted(&[REFUSED, GOOD, STALLED, GOOD, GOOD]), [true, false, true, false, true]);
    }
}
