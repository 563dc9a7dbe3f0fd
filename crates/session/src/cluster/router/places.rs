//! Nodes that lose their places: gone from the map, no masters any more, without slots, or at another address.
//!
//! ```text
//!              the newest map                    owes nothing
//!   leg ───────────────────────► left ───────────────────────► removed
//!                                 │  ▲ the node answers
//!                                 └──┘
//!                                 │ the node is silent          what it has sent is read
//!                                 └───────────────────► cut off ───────────────────────► errors
//! ```
//!
//! A node that lost its role may not know it yet, and what it acknowledges then is lost. So a left leg takes no new
//! commands, also if the map in force still has the node. Commands for its slots wait until it owes nothing. A leg
//! whose connection was not used yet is not dialled any more: its commands go to the new owners, in their turn.

use std::borrow::Cow;

use super::command::slot_of;
use super::ends::unavailable;
use super::leg::{Broken, Leg, LegIndex, LegState};
use super::order::Origin;
use super::readers::has_place;
use super::redirects::{Again, Awaited};
use super::{Apart, Front, Kind, PATIENCE, Router};
use crate::cluster::{Map, NodeIndex};
use crate::link::Unavailable;
use crate::tick::Tick;

/// The slot of a command without keys, which no slot of a redirect equals.
const NO_SLOT: u16 = u16::MAX;

/// Methods for the caller, who knows addresses.
impl Router {
    /// Returns the node of a leg.
    pub fn node_of(&self, leg: LegIndex) -> Option<NodeIndex> {
        self.legs.get(leg).map(|leg| leg.node)
    }

    /// Returns whether the node of a leg has lost its place, and the leg is not cut off yet.
    pub fn is_left(&self, leg: LegIndex) -> bool {
        self.legs.get(leg).is_some_and(|leg| leg.is_left && !leg.is_cut && leg.broken().is_none())
    }

    /// Records that the node of a leg has lost its place: it has another address, another role, or is gone.
    pub fn leave(&mut self, index: LegIndex, now: Tick) {
        let Some(leg) = self.legs.get_mut(index).filter(|leg| !leg.is_left && !leg.listens) else { return };
        leg.is_left = true;
        if leg.reads_for.is_some() && !leg.is_open() {
            return self.break_off(index, Broken::Unreached(Unavailable::Connect));
        }
        if let LegState::SettingUp { since, .. } = leg.state {
            leg.close(since, now);
        } else if let LegState::Closed { is_dialling, .. } = &mut leg.state {
            *is_dialling = false;
        }
        self.transaction.leave(index);
        if !self.has_connection(index) {
            self.incoming.leg_lost(index);
        }
    }

    /// Records that a leg has no connection, and that the newest map does not have its node. Commands of which no byte was
    /// written go to the new owners. A transaction or WATCH there has failed, as if the node had redirected it.
    pub fn gone(&mut self, index: LegIndex, now: Tick) {
        let Some(leg) = self.legs.get(index) else { return };
        let front = self.bound_front().filter(|front| front.leg == index).map(|front| front.kind);
        if !leg.is_general() || front == Some(Kind::Login) {
            return self.unreachable(index, Unavailable::Resolve, now);
        }
        self.leave(index, now);
        if let Some(leg) = self.legs.get_mut(index)
            && let LegState::Closed { since, .. } = leg.state
        {
            leg.close(since, now);
        }
        if let Some(kind) = front {
            let is_exec = matches!(kind, Kind::Exec | Kind::SpoiltExec);
            self.replace(index, if is_exec { Self::exec_moved() } else { Self::moved_away() });
        }
    }

    /// Records that the node of a left leg is silent. The caller has read what the node has sent, and passes it on before
    /// it reports the connection as lost. Nothing that the node says later counts.
    pub fn cut_off(&mut self, index: LegIndex) {
        if let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.is_left) {
            leg.is_cut = true;
        }
    }
}

impl Router {
    /// Leaves the nodes that are no masters in this map, and those that have `lost` their places.
    pub(super) fn leave_places(&mut self, map: &Map, lost: &[NodeIndex], now: Tick) {
        let has_place =
            |leg: &Leg| has_place(leg, map) && (leg.reads_for.is_some() || !lost.contains(&leg.node));
        let left: Vec<_> =
            self.legs.all().filter(|(_, leg)| !leg.listens && !has_place(leg)).map(|(leg, _)| leg).collect();
        left.into_iter().for_each(|leg| self.leave(leg, now));
    }

    /// Returns whether no command may be sent to a node now: it has lost its place, or an earlier connection to it still
    /// owes replies.
    pub(super) fn has_left(&self, node: NodeIndex) -> bool {
        self.maps.has_lost_place(node) || self.legs.at(node).is_left
    }

    /// Returns the leg whose oldest command binds the session to its connection. Such a command does not go elsewhere
    /// before it was sent: its node redirects it.
    pub(super) fn bound_leg(&self) -> Option<LegIndex> {
        let plain = |kind| matches!(kind, Kind::Plain | Kind::Script | Kind::Blocking | Kind::Part);
        self.apart.front().filter(|apart| !plain(apart.kind)).map(|apart| apart.leg)
    }

    /// Returns the command of [`Self::bound_leg`], if its reply is next and was not replaced.
    pub(super) fn bound_front(&self) -> Option<&Apart> {
        let is_next = matches!((&self.front, self.order.front()), (Front::Ordered, Some((Origin::Apart, _))));
        self.bound_leg().filter(|_| is_next).and_then(|_| self.apart.front())
    }

    /// Sends the front's command to the new owner of its slot, if its leg has no connection and no byte was written.
    pub(super) fn leave_unreached(&mut self, now: Tick) {
        match &self.front {
            Front::Ordered => {}
            Front::Again(again) => return self.send_unreached_again(again.leg(), now),
            Front::Own(_) => return,
        }
        let (index, kind) = match self.order.front() {
            Some((Origin::Leg(leg), _)) => (self.ahead_of(leg), Kind::Plain),
            Some((Origin::Apart, _)) => match self.apart.front() {
                Some(apart) if matches!(apart.kind, Kind::Script | Kind::Blocking | Kind::Part) => {
                    (apart.leg, apart.kind)
                }
                _ => return,
            },
            _ => return,
        };
        let has_next = self.maps.is_waiting();
        let Some(leg) = self.legs.get(index).filter(|leg| leg.is_general() && (has_next || leg.is_left))
        else {
            return;
        };
        if !matches!(leg.state, LegState::Closed { .. }) {
            return;
        }
        let (node, is_left) = (leg.node, leg.is_left);
        let slot = leg.kept.oldest().as_deref().and_then(|frame| slot_of(frame, &self.server));
        let owner = match slot {
            Some(slot) => self.maps.latest().owner(slot),
            None => self.maps.any_master(self.seed),
        };
        if !is_left && owner.is_none_or(|owner| owner == node) {
            return;
        }
        let Some(frame) = self.legs.get_mut(index).and_then(Leg::take_unwritten) else {
            return self.give_unwritten_up(index, is_left);
        };
        let again = Again::leaving(index, frame, slot.unwrap_or(NO_SLOT), kind);
        self.send_to_owner(again, owner, now);
    }

    /// Sends the front's command once more, because the leg by which it was sent again is left before it was written.
    fn send_unreached_again(&mut self, leg: Option<LegIndex>, now: Tick) {
        let left = leg.and_then(|leg| self.legs.get_mut(leg)).filter(|leg| leg.is_left);
        let Some(leg) = left.filter(|leg| matches!(leg.state, LegState::Closed { .. })) else { return };
        leg.settle(1);
        let Front::Again(again) = std::mem::replace(&mut self.front, Front::Ordered) else { return };
        let owner = match again.slot() {
            NO_SLOT => self.maps.any_master(self.seed),
            slot => self.maps.latest().owner(slot),
        };
        self.send_to_owner(*again, owner, now);
    }

    pub(super) fn send_to_owner(&mut self, again: Again, owner: Option<NodeIndex>, now: Tick) {
        match owner {
            Some(owner) => self.send_again(again, owner, false, now),
            None => {
                let again = again.waiting(Awaited::Owner(None), now.after(PATIENCE));
                self.front = Front::Again(Box::new(again));
            }
        }
    }

    /// Gives an error to the front, which its left leg did not keep. No byte of it was written.
    fn give_unwritten_up(&mut self, index: LegIndex, is_left: bool) {
        if let Some(leg) = self.legs.get_mut(index).filter(|_| is_left) {
            leg.settle(1);
            self.front = Front::Own(Cow::Owned(unavailable(&self.upstream, Unavailable::Connect)));
        }
    }
}
