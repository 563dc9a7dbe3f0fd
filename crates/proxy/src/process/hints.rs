//! Hints from sessions and health checks that an upstream has moved, for the watcher of that upstream.
//!
//! Thousands of sessions meet the same failure at once. So a hint is a bit that is set or not: hints of one kind are
//! one hint until the watcher has taken it. Nothing is queued, and giving a hint never waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A reason to believe that an upstream is elsewhere now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Hint {
    /// The server refused the connection.
    Refused = 1,
    /// A client read READONLY: the server is a replica.
    Readonly = 2,
    /// The server's role at the login is not `master`.
    Replica = 4,
    /// The server does not answer, or its connection was lost.
    Silent = 8,
}

/// The hints about one upstream that its watcher has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    given: AtomicU8,
    news: Notify,
}

/// Some hints about one upstream, without an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given(u8);

impl Hints {
    /// Gives a hint. A hint that the watcher has not taken yet is not given twice.
    pub(crate) fn give(&self, hint: Hint) {
        let bit = hint as u8;
        // The load leaves the cache line shared while many sessions give the same hint.
        if self.given.load(Ordering::Relaxed) & bit == 0 && self.given.fetch_or(bit, Ordering::AcqRel) == 0 {
            self.news.notify_one();
        }
    }

    /// Takes the hints that were given since the last call, at least one. Dropped before that, nothing is lost.
    pub(crate) async fn taken(&self) -> Given {
        loop {
            let given = self.given.swap(0, Ordering::AcqRel);
            if given != 0 {
                return Given(given);
            }
            self.news.notified().await;
        }
    }
}

impl Given {
    /// Returns whether this hint is among them.
    pub(crate) const fn has(self, hint: Hint) -> bool {
        self.0 & hint as u8 != 0
    }
}

/// The hints about all upstreams, by name. An upstream keeps its hints over reloads.
#[derive(Debug, Default)]
pub(crate) struct HintBoard(Mutex<HashMap<Arc<str>, Arc<Hints>>>);

impl HintBoard {
    /// Returns the hints about an upstream. Hints that neither a watcher nor a session uses any more are dropped.
    pub(crate) fn of(&self, upstream: &str) -> Arc<Hints> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, hints| **name == *upstream || Arc::strong_count(hints) > 1);
        Arc::clone(known.entry(upstream.into()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_thousand_hints_of_one_kind_are_one() {
        let hints = Hints::default();
        for _ in 0..1000 {
            hints.give(Hint::Readonly);
        }
        hints.give(Hint::Silent);
        let given = hints.taken().await;
        assert!(given.has(Hint::Readonly) && given.has(Hint::Silent));
        assert!(!given.has(Hint::Refused) && !given.has(Hint::Replica));
        assert!(timeout(Duration::from_millis(20), hints.taken()).await.is_err(), "all are taken");
        hints.give(Hint::Readonly);
        assert!(hints.taken().await.has(Hint::Readonly), "the next one counts again");
    }

    #[tokio::test]
    async fn a_hint_wakes_the_watcher() {
        let hints = Arc::new(Hints::default());
        let giver = Arc::clone(&hints);
        let (given, ()) = tokio::join!(hints.taken(), async {
            tokio::task::yield_now().await;
            giver.give(Hint::Refused);
        });
        assert!(given.has(Hint::Refused));
    }

    #[test]
    fn all_users_of_an_upstream_share_its_hints() {
        let board = HintBoard::default();
        let (one, other) = (board.of("main"), board.of("main"));
        assert!(Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &board.of("second")));
        drop((one, other));
        drop(board.of("second"));
        assert_eq!(board.0.lock().unwrap().len(), 1, "the first one has no user");
    }
}
