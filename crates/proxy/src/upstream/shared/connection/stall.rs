//! Waits for a client that does not read, and limits the time for which other clients must wait too.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use portcullis_session::{SessionKey, Tick};
use tokio::time::{Sleep, sleep};

use super::{Connection, ConnectionState, End};
use crate::upstream::shared::shared_clients::SharedClient;

/// The total time for which a client that does not read may keep others waiting. The same limit applies to all
/// clients of a connection together. Their sum shrinks by a tenth of the time that passes.
const MAX_STALL: Duration = Duration::from_millis(100);

/// A client that does not read, and for which the connection waits.
pub(super) struct Stalled {
    by: SessionKey,
    since: Tick,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    /// Stops reading until the client has room again.
    pub(super) fn stall(
        &self,
        state: &mut ConnectionState,
        by: SessionKey,
        shared_client: &Rc<RefCell<dyn SharedClient>>,
        since: Tick,
        cx: &mut Context<'_>,
    ) {
        shared_client.borrow_mut().wake_when_drained(cx.waker());
        // If no other client waits, the timer only sets the time of the next check.
        let others = state.link.has_pending_for_others(by)
            || self.pool.is_short_for_others(by, &self.resources.shared_clients);
        let spent = self.resources.shared_clients.stalled(by).max(state.spent(since));
        let left = if others { MAX_STALL.saturating_sub(spent) } else { MAX_STALL };
        let mut timer = Box::pin(sleep(left));
        // A timer starts when it is polled for the first time.
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        state.stalled = Some(Stalled { by, since, timer });
    }

    /// Continues to read when the client has room, is gone, or has kept others waiting for too long. Such a client is
    /// disconnected.
    pub(super) fn unstall(&self, state: &mut ConnectionState, cx: &mut Context<'_>) -> Option<End> {
        let stalled = state.stalled.as_mut()?;
        let due = stalled.timer.is_elapsed() || stalled.timer.as_mut().poll(cx).is_ready();
        let (by, since) = (stalled.by, stalled.since);
        let now = self.resources.clock.now();
        let others = state.link.has_pending_for_others(by)
            || self.pool.is_short_for_others(by, &self.resources.shared_clients);
        if let Some(shared_client) = self.resources.shared_clients.get(by) {
            let full = shared_client.borrow().is_full();
            if full && !(due && others) {
                if due {
                    state.stalled = None;
                    self.stall(state, by, &shared_client, now, cx);
                }
                return None;
            }
            if others {
                let time = Duration::from_nanos(now.since(since));
                state.spend(time, now);
                self.resources.shared_clients.has_stalled(by, time);
            }
            if full {
                shared_client.borrow_mut().cut();
                self.resources.shared_clients.forget(by);
            }
        }
        state.stalled = None;
        // No client waits for the remaining replies, so closing the connection saves Redis the work.
        if !state.link.takes_more() && !self.has_creditors(state) {
            return Some(End::Unused);
        }
        self.hand_out(state, cx).err()
    }
}

impl ConnectionState {
    fn spent(&self, now: Tick) -> Duration {
        self.spent.saturating_sub(Duration::from_nanos(now.since(self.spent_at) / 10))
    }

    fn spend(&mut self, time: Duration, now: Tick) {
        self.spent = self.spent(now).saturating_add(time);
        self.spent_at = now;
    }
}
