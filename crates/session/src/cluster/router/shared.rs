//! Clients on shared connections: their main legs go by connections that they share with other clients.
//!
//! ```text
//!   commands ──► main leg of node A ──► a connection of the pool of A ──┐
//!           └──► main leg of node B ──► a connection of the pool of B ──┼──► replies
//!           └──► side leg of node B ──► a connection of its own ────────┘
//! ```
//!
//! A shared connection is read whether it is the client's turn or not, because other clients wait for their replies. So
//! a client uses one node at a time: the replies of another one would have to be kept. After a redirect, later replies
//! of the former node come out of turn all the same, and the caller keeps them.
//!
//! The caller sends only whole commands of at most 16 KiB that leave no state on a connection. A redirected command goes
//! by a shared connection too, unless ASKING comes before it.

use super::leg::{Leg, LegState};
use super::{LegIndex, Router};
use crate::link::Unavailable;
use crate::tick::Tick;

/// Methods for the caller's connections.
impl Router {
    /// Returns whether a leg goes by shared connections. It has no set-up, and [`Router::bytes_for`] has whole commands.
    pub fn is_pooled(&self, leg: LegIndex) -> bool {
        self.legs.get(leg).is_some_and(|leg| leg.is_pooled)
    }

    /// Returns the number of commands in [`Router::bytes_for`], for a leg by shared connections.
    pub fn commands_for(&self, leg: LegIndex) -> u64 {
        self.legs.get(leg).map_or(0, Leg::ungiven)
    }

    /// Returns whether a command that was given to a shared connection has no reply yet.
    pub fn has_given(&self, leg: LegIndex) -> bool {
        self.legs.get(leg).is_some_and(|leg| leg.pending() > leg.ungiven())
    }

    /// Records that all bytes for a leg were given to a shared connection.
    pub fn gave(&mut self, leg: LegIndex) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.gave();
        }
    }

    /// Records that the pool of a leg's node has no connection for its commands. If none of them was given to a
    /// connection, the leg waits for one as long as at first.
    pub fn lost_shared(&mut self, index: LegIndex, why: Unavailable, now: Tick) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        match leg.sought_since {
            Some(since) if leg.begins() => {
                leg.state = LegState::Closed { since, retry_at: now, is_dialling: true };
                self.unreachable(index, why, now);
            }
            _ => self.lost(index, now),
        }
    }
}

impl Router {
    /// Returns whether no redirected command is on its way.
    #[cfg(test)]
    pub(super) fn follows_no_redirect(&self) -> bool {
        matches!(self.front, super::Front::Ordered) && self.ahead.is_empty()
    }

    /// Returns whether a command for this leg waits until no other leg owes a reply.
    #[inline]
    pub(super) fn waits_for_others(&self, leg: LegIndex) -> bool {
        self.is_shared && self.legs.all().any(|(other, leg_there)| other != leg && leg_there.pending() > 0)
    }
}
