//! A client that shares connections to the nodes of a cluster.
//!
//! ```text
//!             a command             needs connections of its own
//!   Unused ─────────────► Sharing ──────────────────────────────► Finding ──► dedicated legs
//!     ▲                                                                            │
//!     └─────────────────────────── the lease is over ──────────────────────────────┘
//! ```
//!
//! The lane of the client's own connections carries its commands in both states, and changes when no reply is pending.
//! While the client shares, the lane has no state that the client depends on, so it is simply made again.

use std::rc::Rc;
use std::task::Context;

use portcullis_session::cluster::Role;
use portcullis_session::{PoolKey, Pooling, SessionKey};

use super::Relay;
use super::many_lane::{ManyLane, Sharing};
use crate::upstream::shared::{Class, Connection, Outcome};

/// A connection of the kind that a client waits for, and the epoch of the pooling for which it was chosen.
pub(super) type Awaited = (u32, Rc<Connection>);

impl Relay {
    /// Returns the number of unread bytes that may go to the nodes now; the session needs `least`. Returns `None` if
    /// commands have to wait. Replies then wake the task.
    pub(super) fn room_at_nodes(&mut self, least: usize, output_buffer: usize) -> Option<usize> {
        if !self.lanes.are_shared() {
            self.guard.report_bug("a client with connections of its own is to share some");
            self.stage.fail();
            return None;
        }
        let epoch = self.session.pooling().map_or(0, Pooling::epoch);
        let is_in_force = Rc::ptr_eq(&self.target, &self.guard.entry.listener.target());
        let is_right = is_in_force && self.lanes.own.sharing().is_some_and(|sharing| sharing.is_of(epoch));
        if !is_right && !self.share_nodes(epoch) {
            return None;
        }
        let pending = self.lanes.own.link().pending();
        let unread = self.requests.unread().len();
        let Some(sharing) = self.lanes.own.sharing() else { return Some(unread) };
        if sharing.take_large()
            && let Some(pooling) = self.session.pooling_mut()
        {
            pooling.set_lagging();
        }
        match sharing.room(least, output_buffer / 2, pending) {
            0 => None,
            room => Some(room.min(unread)),
        }
    }

    /// Begins to share connections to the nodes, of the kind that the session needs. If the map of the cluster is not
    /// known, the client waits for it as one with connections of its own. Returns whether this could be done: no reply
    /// may be pending.
    fn share_nodes(&mut self, epoch: u32) -> bool {
        if self.session.has_pending() || self.requests.is_pending() {
            return false;
        }
        self.leave_nodes();
        if self.lanes.own.is_unused() {
            self.target = self.guard.entry.listener.target();
        }
        let sharing = Sharing::new(&self.worker, &self.guard.entry, self.kind(), epoch);
        let (target, resources) = (&self.target, &self.worker.resources);
        match ManyLane::new(target, resources, self.guard.entry.id, Some(sharing)) {
            Some(lane) => {
                self.lanes.own.share(lane);
                self.turn.upstream_changed();
            }
            None => self.session.pooling_mut().into_iter().for_each(Pooling::set_lagging),
        }
        true
    }

    /// Stops sharing connections to the nodes. No reply is pending.
    pub(super) fn leave_nodes(&mut self) {
        if self.lanes.own.sharing().is_some() {
            self.lanes.own.close(&self.target, &mut self.replies);
            self.target = self.guard.entry.listener.target();
        }
    }

    /// Looks whether the nodes accept the kind of connection that the session needs. Returns whether the session was
    /// told the outcome.
    pub(super) fn poll_switch_at_nodes(&mut self, cx: &Context<'_>) -> bool {
        if !self.lanes.are_shared() || self.lanes.pooled.is_some() {
            return false;
        }
        let epoch = self.session.pooling().map_or(0, Pooling::epoch);
        let awaited = self.lanes.awaited.take().filter(|(of, _)| *of == epoch);
        let Some(connection) = awaited.map(|(_, connection)| connection).or_else(|| self.of_kind(cx)) else {
            // No master is known, or many connections of this kind are in use. Its next command finds out.
            self.session.pooled(Ok(()));
            return true;
        };
        match connection.outcome(cx.waker()) {
            Outcome::Pending => {
                self.lanes.awaited = Some((epoch, connection));
                return false;
            }
            Outcome::Ready | Outcome::HandedOver => self.session.pooled(Ok(())),
            Outcome::Refused(line) => self.session.pooled(Err(&line)),
            Outcome::Unavailable(why) if self.session.continuity().may_outlive() && why.passes() => {
                self.session.continuity().refuse_kind(Some(why));
            }
            Outcome::Ended if self.session.continuity().may_outlive() => {
                self.session.continuity().refuse_kind(None);
            }
            Outcome::Unavailable(why) => self.session.lost(Some(why)),
            Outcome::Ended => self.session.lost(None),
        }
        true
    }

    /// Returns a connection to some master, of the kind that the session needs.
    fn of_kind(&self, cx: &Context<'_>) -> Option<Rc<Connection>> {
        let view = self.target.view.current();
        let cluster = view.cluster()?;
        let masters = cluster.map().nodes().iter().filter(|node| node.role == Role::Master);
        let node = masters.into_iter().find(|node| !cluster.is_down(node.index()))?;
        let pool = self.worker.pools.pool(&self.target, self.kind(), Some(node));
        pool.pick(Class::New, &self.worker.resources, SessionKey(self.guard.entry.id), cx.waker())
    }

    /// Returns the kind of connection that the session needs. The map says which node is a master.
    fn kind(&self) -> PoolKey {
        PoolKey { asks_role: false, ..self.session.pool_key() }
    }
}
