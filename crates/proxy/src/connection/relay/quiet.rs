//! The kernel's limit on unacknowledged bytes (`TCP_USER_TIMEOUT`), which applies to a session only while it moves
//! bytes.
//!
//! With this option set, the kernel ends a connection that is idle for longer than the limit as soon as one keepalive
//! probe stays unanswered, whatever the number of probes. One lost packet would end an idle client. So the limit is
//! lifted while nothing moves, and keepalive alone decides then.

use super::Relay;
use crate::worker::table::Activity;

/// Lifts or restores the limit at the end of a turn.
pub(super) fn rest(relay: &Relay) {
    if relay.guard.entry.activity.get() != Activity::Moves {
        follow(relay);
    }
}

#[cold]
fn follow(relay: &Relay) {
    let entry = &relay.guard.entry;
    let deadlines = entry.listener.deadlines();
    let latest = relay.worker.resources.clock.latest();
    let moves = deadlines.quiet_after().is_none_or(|limit| entry.moved.get().after(limit) > latest);
    let waits = relay.requests.is_pending() || relay.replies.is_pending();
    match (entry.activity.get(), moves || waits) {
        (Activity::Stopped, false) => {
            entry.activity.set(Activity::Quiet);
            relay.client.set_user_timeout(None);
            relay.lanes.own.set_user_timeout(None);
        }
        (Activity::Quiet, true) => {
            entry.activity.set(Activity::Moves);
            relay.client.set_user_timeout(deadlines.user_timeout);
            relay.lanes.own.set_user_timeout(relay.target.tcp.user_timeout());
        }
        (Activity::Stopped, true) => entry.activity.set(Activity::Moves),
        (Activity::Moves | Activity::Quiet, _) => {}
    }
}
