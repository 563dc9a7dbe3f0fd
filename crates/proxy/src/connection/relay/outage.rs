//! An upstream that is unavailable, while the client's session goes on.
//!
//! ```text
//!   None ── a command needs a connection ──► Waits ── it is set up ──────────► None
//!     ▲                                        │
//!     │                                        │ failover_wait has passed
//!     └──── no more bytes of the client ──── Fails: each command gets an error
//! ```

use std::time::Duration;

use portcullis_session::{Aftermath, Loss, Tick, Unavailable};

use super::peer::Asking;
use super::{Relay, Stage};
use crate::process::hints::Hint;
use crate::upstream::target::Patience;
use crate::upstream::view::Leaving;

/// The time for which commands of one client have waited for an upstream connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Outage {
    /// No command waits.
    #[default]
    None,
    /// A command has waited since this time.
    Waits(Tick),
    /// Commands have waited too long.
    Fails,
}

impl Outage {
    /// Returns the time at which commands have waited too long, if they wait at most for the result of `limit`.
    #[inline]
    pub(super) fn due(self, limit: impl FnOnce() -> Option<Duration>) -> Option<Tick> {
        match self {
            Self::Waits(since) => Some(since.after(limit()?)),
            Self::None | Self::Fails => None,
        }
    }
}

/// Returns how long commands of the client may wait for the upstream. `None` if its session ends with its connection.
pub(super) fn wait_of(relay: &mut Relay) -> Option<Duration> {
    relay.target.upstream.failover_wait().filter(|_| relay.session.continuity().may_outlive())
}

/// Connects to the upstream, because a command needs it.
pub(super) fn connect(relay: &mut Relay) {
    let patience = match wait_of(relay) {
        None => Patience::Once,
        Some(_) => {
            if matches!(relay.outage, Outage::None) {
                relay.outage = Outage::Waits(relay.worker.resources.clock.latest());
            }
            Patience::Waits
        }
    };
    relay.leave_nodes();
    relay.lanes.own.connect(&relay.target, patience);
}

/// Handles the loss of the client's own connection, or the failure to make one. Returns whether the session knows of
/// it: it goes on, or ends with a line that says why.
pub(super) fn is_survived(relay: &mut Relay, why: Option<Unavailable>) -> bool {
    // On a shared connection, replies to the commands may still arrive.
    if relay.session.is_pooled() || wait_of(relay).is_none() {
        return false;
    }
    let loss = why.map_or(Loss::Closed, Loss::Unavailable);
    survive(relay, loss);
    true
}

/// Tells the session what has happened to its own connection. It goes on, or ends with a line that says why.
fn survive(relay: &mut Relay, loss: Loss) {
    let (was_open, was_ending) = (relay.lanes.own.is_open(), relay.session.is_ending());
    match relay.session.continuity().lose(loss, relay.lanes.own.link()) {
        Aftermath::Ended => {
            if was_open && !was_ending {
                relay.target.counts.session_dropped();
            }
            close(relay);
        }
        Aftermath::Carried => {
            if was_open {
                relay.target.counts.session_carried();
            }
            match loss {
                Loss::Unavailable(why) if was_open => relay.target.view.dials().failed(why),
                Loss::Closed if was_open => relay.target.hint(Hint::Silent),
                Loss::Replica => {
                    relay.target.hint(Hint::Replica);
                    relay.target.view.dials().misled();
                }
                _ => {}
            }
            forget(relay);
            // A session with an upstream connection keeps its target through a reload, so the reload is applied here.
            // If the client may not stay, the session ends by itself.
            if !std::rc::Rc::ptr_eq(&relay.target, &relay.guard.entry.listener.target()) {
                let _ = relay.renew();
            }
        }
    }
}

/// Leaves a server that is not a master. No command was sent to it, or it has executed none.
pub(super) fn leave_replica(relay: &mut Relay) {
    relay.turn.moved();
    if wait_of(relay).is_some() {
        survive(relay, Loss::Replica);
    } else {
        relay.target.hint(Hint::Replica);
        end(relay, Some(Unavailable::Timeout));
    }
}

/// Looks at the view of the upstream. A connection to a server that is not the master any more is cut at once, and
/// nothing that arrives from it later is passed on. During a pause the connection is neither written nor read.
pub(super) fn look_at_view(relay: &mut Relay) {
    let view = relay.target.view.current();
    relay.lanes.own.look_at_view(&view);
    if view.leaving() != Leaving::AtOnce || !relay.lanes.own.leads_elsewhere() {
        return;
    }
    relay.turn.moved();
    if wait_of(relay).is_some() {
        survive(relay, Loss::MasterChanged);
    } else {
        let unread = relay.replies.unread().len();
        relay.replies.skip(unread);
        end(relay, None);
    }
}

/// Ends the session together with its upstream connection. `why` is the error that the client gets.
pub(super) fn end(relay: &mut Relay, why: Option<Unavailable>) {
    if relay.lanes.own.is_open() && !relay.session.is_ending() {
        relay.target.counts.session_dropped();
    }
    close(relay);
    relay.session.lost(why);
}

fn close(relay: &mut Relay) {
    relay.lanes.own.lose(&relay.target);
    if let Some(pooled) = &relay.lanes.pooled {
        relay.worker.resources.shared_clients.forget(pooled.key());
    }
}

/// Forgets the connection and everything that was on its way there.
fn forget(relay: &mut Relay) {
    relay.lanes.own.close(&relay.target, &mut relay.replies);
    relay.requests.drop_passed();
    relay.asking = Asking::default();
    relay.starved = None;
    relay.turn.moved();
}

/// Answers the commands that have waited too long.
pub(super) fn expire(relay: &mut Relay) {
    let why = relay.target.view.dials().why().unwrap_or(Unavailable::Timeout);
    if relay.lanes.own.is_open() && !is_survived(relay, Some(Unavailable::Timeout)) {
        end(relay, Some(Unavailable::Timeout));
    }
    if relay.session.is_ending() {
        return;
    }
    forget(relay);
    relay.session.continuity().fail(why);
    relay.outage = Outage::Fails;
}

/// Updates the outage at the end of a turn.
#[inline]
pub(super) fn rest(relay: &mut Relay) {
    if !matches!(relay.outage, Outage::None) {
        end_if_over(relay);
    }
}

fn end_if_over(relay: &mut Relay) {
    let is_over = match relay.outage {
        Outage::None => false,
        Outage::Waits(_) => relay.lanes.own.is_open() && !relay.session.is_logging_in(),
        Outage::Fails => !relay.turn.client_may_be_readable() || relay.stage != Stage::Serving,
    };
    if is_over {
        relay.session.continuity().recover();
        relay.lanes.own.works(&relay.target);
        relay.outage = match relay.outage {
            Outage::Fails if relay.lanes.own.is_connecting() => {
                Outage::Waits(relay.worker.resources.clock.latest())
            }
            _ => Outage::None,
        };
    }
}
