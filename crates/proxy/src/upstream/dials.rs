//! The dials of one worker to one upstream: how many are under way, and when to try again after a failure.
//!
//! While the upstream is down, thousands of sessions may wait for it. Only one of them tries at a time, the scout. The
//! others wait without a timer. They dial when the scout's connection works, or when the upstream has another view. The
//! scout tries again after a while, unless its server was a replica: then only another view helps.

use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use portcullis_session::Unavailable;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// The highest number of dials under way. More would be a storm of handshakes when a server returns, and a server
/// accepts no more than a few hundred at once.
const MAX_DIALS: usize = 64;

/// The time between two dials while the upstream is down. It is short beside the time in which a server restarts.
const RETRY: Duration = Duration::from_millis(100);

/// The dials of one worker to one upstream.
#[derive(Debug)]
pub(crate) struct Dials {
    places: Semaphore,
    /// The place of the scout.
    scout: Arc<Semaphore>,
    /// The last failure. `None` if none is known since a connection has worked.
    down: Cell<Option<Down>>,
    /// Whether the server of a connection that was set up has answered.
    has_worked: Cell<bool>,
    /// Wakes all that wait, because a connection works or the upstream has another view.
    up: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Down {
    /// When the next dial may succeed. `None` if only another view of the upstream can help.
    retry: Option<Instant>,
    why: Unavailable,
}

/// The right to be the only session that dials while the upstream is down. The holder keeps it until its connection
/// works or has failed.
#[derive(Debug)]
pub(crate) struct Scout(
    #[expect(dead_code, reason = "the permit is returned when it is dropped")] OwnedSemaphorePermit,
);

impl Default for Dials {
    fn default() -> Self {
        Self {
            places: Semaphore::new(MAX_DIALS),
            scout: Arc::new(Semaphore::new(1)),
            down: Cell::new(None),
            has_worked: Cell::new(false),
            up: Notify::new(),
        }
    }
}

impl Dials {
    /// Waits until the caller may dial. Returns the right to be the scout, if the upstream is down.
    pub(crate) async fn turn(&self) -> Option<Scout> {
        loop {
            let up = self.up.notified();
            self.down.get()?;
            tokio::select! {
                permit = Arc::clone(&self.scout).acquire_owned() => {
                    let retry = self.down.get()?.retry;
                    tokio::select! {
                        () = at(retry) => return permit.ok().map(Scout),
                        () = up => {}
                    }
                }
                () = self.up.notified() => {}
            }
        }
    }

    /// Waits for one of the places of dials under way. The place is free again when the result is dropped.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.places.acquire().await
    }

    /// Records that a dial, or the set-up after it, has failed.
    pub(crate) fn failed(&self, why: Unavailable) {
        self.down.set(Some(Down { retry: Some(Instant::now() + RETRY), why }));
    }

    /// Records that the server says that it is a replica. Its role is not asked again here: the watcher does so, and makes
    /// another view.
    pub(crate) fn misled(&self) {
        self.down.set(Some(Down { retry: None, why: Unavailable::Timeout }));
    }

    /// Records that a connection is set up. All that wait may dial. Where the set-up has no steps, the server may not
    /// have `answered` yet.
    pub(crate) fn works(&self, answered: bool) {
        self.has_worked.set(self.has_worked.get() || answered);
        self.revive();
    }

    /// Returns whether the server of a connection that was set up has answered.
    pub(crate) const fn has_worked(&self) -> bool {
        self.has_worked.get()
    }

    /// Records that a connection is open, or that the upstream has another view. All that wait may dial.
    pub(crate) fn revive(&self) {
        if self.down.take().is_some() {
            self.up.notify_waiters();
        }
    }

    /// Returns the reason of the last failure. `None` if no failure is known since a connection has worked.
    pub(crate) fn why(&self) -> Option<Unavailable> {
        self.down.get().map(|down| down.why)
    }
}

/// Waits until this time. `None`: without an end.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn only_one_tries_while_the_upstream_is_down() {
        let dials = Rc::new(Dials::default());
        assert!(dials.turn().await.is_none(), "no failure is known");
        dials.failed(Unavailable::Refused);
        let begun = Instant::now();
        let scout = dials.turn().await;
        assert!(scout.is_some() && begun.elapsed() >= RETRY);
        assert!(timeout(RETRY * 3, dials.turn()).await.is_err(), "the scout has not returned");
        drop(scout);
        dials.failed(Unavailable::Timeout);
        assert_eq!(dials.why(), Some(Unavailable::Timeout));
        assert!(dials.turn().await.is_some(), "another one is the scout");
    }

    #[tokio::test]
    async fn all_may_dial_when_a_connection_works() {
        let dials = Rc::new(Dials::default());
        dials.failed(Unavailable::Refused);
        let scout = dials.turn().await;
        let wait = async {
            let (one, other) = tokio::join!(dials.turn(), dials.turn());
            assert!(one.is_none() && other.is_none());
        };
        let works = async {
            tokio::task::yield_now().await;
            dials.revive();
        };
        timeout(Duration::from_secs(10), async { tokio::join!(wait, works) }).await.expect("both are woken");
        drop(scout);
        assert_eq!(dials.why(), None);
    }

    /// Only the watcher asks a replica again. It makes another view.
    #[tokio::test]
    async fn after_a_replica_all_wait_for_another_view() {
        let dials = Rc::new(Dials::default());
        dials.misled();
        assert!(timeout(RETRY * 3, dials.turn()).await.is_err(), "no view came");
        assert_eq!(dials.why(), Some(Unavailable::Timeout));
        let views = async {
            tokio::task::yield_now().await;
            dials.revive();
        };
        let (scout, ()) = timeout(Duration::from_secs(10), async { tokio::join!(dials.turn(), views) })
            .await
            .expect("woken");
        assert!(scout.is_none(), "all may dial");
    }

    #[tokio::test]
    async fn a_bound_limits_the_dials_under_way() {
        let dials = Dials::default();
        let mut places = Vec::new();
        for _ in 0..MAX_DIALS {
            places.push(dials.place().await.expect("a place"));
        }
        assert!(timeout(RETRY, dials.place()).await.is_err());
        places.pop();
        assert!(dials.place().await.is_ok());
    }
}
