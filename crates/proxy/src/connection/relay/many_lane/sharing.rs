//! The part of a lane whose client shares connections with others.

use std::rc::Rc;

use portcullis_session::PoolKey;
use portcullis_session::cluster::{LegIndex, NodeIndex, Turn};

use super::ManyLane;
use super::shared_leg::{Behaviour, SharedLeg};
use crate::connection::relay::pooled_lane::Window;
use crate::worker::Worker;
use crate::worker::table::Entry;

/// The connections that the client shares, and how it has used them so far.
pub(in crate::connection::relay) struct Sharing {
    worker: Rc<Worker>,
    entry: Rc<Entry>,
    key: PoolKey,
    /// The epoch of the session's pooling for which the key was taken.
    epoch: u32,
    window: Window,
    /// The number of commands of the client that were given to the router, and of those that were answered.
    asked: u64,
    answered: u64,
    behaviour: Rc<Behaviour>,
}

impl Sharing {
    /// Returns the connections of a client that has not used any. They are of the kind `key`, for this epoch.
    pub(in crate::connection::relay) fn new(
        worker: &Rc<Worker>,
        entry: &Rc<Entry>,
        key: PoolKey,
        epoch: u32,
    ) -> Self {
        Self {
            worker: Rc::clone(worker),
            entry: Rc::clone(entry),
            key,
            epoch,
            window: Window::new(),
            asked: 0,
            answered: 0,
            behaviour: Rc::default(),
        }
    }

    /// Returns the kind of the connections.
    pub(super) const fn key(&self) -> &PoolKey {
        &self.key
    }

    /// Returns whether the connections are of the right kind in this epoch.
    pub(in crate::connection::relay) const fn is_of(&self, epoch: u32) -> bool {
        self.epoch == epoch
    }

    /// Returns whether a reply was large, and forgets it.
    pub(in crate::connection::relay) fn take_large(&self) -> bool {
        self.behaviour.take_large()
    }

    /// Records commands of the client that go to the router.
    pub(in crate::connection::relay) fn give(&mut self, len: usize, commands: u64) {
        self.asked += commands;
        self.window.give(len, commands);
    }

    /// Returns the number of unread bytes that may be sent now, while `pending` replies are pending; see
    /// [`Window::room`] for `least` and `budget`. 0: replies have to come first.
    pub(in crate::connection::relay) fn room(&mut self, least: usize, budget: usize, pending: u64) -> usize {
        let answered = self.asked.saturating_sub(pending);
        let ended = answered.saturating_sub(self.answered);
        self.window.answer(self.behaviour.take_received(), ended);
        self.answered = answered;
        self.window.room(least, budget)
    }
}

impl ManyLane {
    /// Returns the part that shares connections. `None`: the client has connections of its own.
    pub(in crate::connection::relay) const fn sharing(&mut self) -> Option<&mut Sharing> {
        self.sharing.as_mut()
    }

    /// Makes the shared leg to a node. `None`: the leg is not shared, or the map has no such node.
    pub(super) fn shared_leg(&self, leg: LegIndex, node: NodeIndex) -> Option<SharedLeg> {
        let sharing = self.sharing.as_ref().filter(|_| self.router.is_pooled(leg))?;
        let view = self.target.view.current();
        let node = view.cluster()?.map().node(node)?;
        let pool = sharing.worker.pools.pool(&self.target, sharing.key.clone(), Some(node));
        let limit = sharing.entry.listener.output_buffer();
        let (entry, behaviour) = (Rc::clone(&sharing.entry), Rc::clone(&sharing.behaviour));
        Some(SharedLeg::new(pool, Rc::clone(&self.resources), entry, behaviour, limit))
    }

    /// Tells the shared legs which of them the client waits for. The others keep their replies.
    pub(super) fn tell_turn(&mut self) {
        let turn = self.router.turn();
        for socket in &mut self.sockets {
            let is_in_turn = socket.leg().is_some_and(|leg| turn == Turn::Leg(leg));
            if let Some(shared) = socket.shared() {
                shared.set_turn(is_in_turn);
            }
        }
    }
}
