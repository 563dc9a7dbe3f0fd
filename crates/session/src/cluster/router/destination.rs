//! The leg for a command: to the owner of its slot, to a node, or to any node that is well.

use std::borrow::Cow;

use super::ends::unavailable;
use super::leg::LegIndex;
use super::{PATIENCE, Router};
use crate::cluster::NodeIndex;
use crate::link::Unavailable;
use crate::tick::Tick;

/// The reply to a command whose slot has no owner.
const UNSERVED: &[u8] = b"-CLUSTERDOWN Hash slot not served\r\n";

/// The leg for a command.
pub(super) enum Placed {
    At(LegIndex),
    /// There is none, and the client has its answer.
    Answered,
    /// There is none yet.
    Later,
}

/// The leg for a command or a part of one, before the client has an answer.
pub(super) enum Chosen {
    At(LegIndex),
    /// There is none yet.
    Later,
    /// There is none. The error says why.
    Failed(Cow<'static, [u8]>),
}

impl Router {
    /// Finds the leg to the owner of a slot.
    pub(super) fn leg_of_slot(&mut self, slot: u16, now: Tick) -> Placed {
        let placed = self.place_of_slot(slot, now);
        self.answer_failed(placed, now)
    }

    /// Finds the leg to the owner of a slot, for a part of a command or a whole one.
    pub(super) fn place_of_slot(&mut self, slot: u16, now: Tick) -> Chosen {
        if let Some(leg) = self.transaction.watching(slot) {
            return Chosen::At(leg);
        }
        if self.is_redirecting(slot) {
            return Chosen::Later;
        }
        match self.maps.current().owner(slot) {
            Some(owner) => self.place_of_node(owner, now),
            None => self.without_owner(now),
        }
    }

    /// Finds the leg to a node.
    pub(super) fn leg_to(&mut self, node: NodeIndex, now: Tick) -> Placed {
        let placed = self.place_of_node(node, now);
        self.answer_failed(placed, now)
    }

    /// Finds the leg to a node, for a part of a command or a whole one.
    pub(super) fn place_of_node(&mut self, node: NodeIndex, now: Tick) -> Chosen {
        let at = self.legs.at(node);
        // The node has lost its place, or an earlier connection to it still owes replies.
        if at.is_left || self.maps.has_lost_place(node) {
            return Chosen::Later;
        }
        // Where replies are pending, the command waits behind them in any case.
        if !at.main_owes && self.maps.is_down(node) {
            return Chosen::Failed(Cow::Owned(unavailable(&self.upstream, Unavailable::Timeout)));
        }
        at.main.or_else(|| self.add_leg(node, false, now)).map_or(Chosen::Later, Chosen::At)
    }

    fn answer_failed(&mut self, place: Chosen, now: Tick) -> Placed {
        match place {
            Chosen::At(leg) => Placed::At(leg),
            Chosen::Later => Placed::Later,
            Chosen::Failed(line) => {
                self.answer(line, now);
                Placed::Answered
            }
        }
    }

    /// Finds a leg for a command that any node can run: the one that was used last, or one to any master.
    pub(super) fn any_leg(&mut self, now: Tick) -> Placed {
        let is_well = |leg: &LegIndex| self.legs.get(*leg).is_some_and(|leg| !self.maps.is_down(leg.node));
        if let Some(leg) = self.legs.newest_open().filter(is_well) {
            return Placed::At(leg);
        }
        let failed = self.legs.all().filter(|(_, leg)| leg.broken().is_some()).count();
        let Some(node) = self.maps.any_master(self.seed.wrapping_add(failed)) else {
            self.answer(Cow::Owned(unavailable(&self.upstream, Unavailable::Timeout)), now);
            return Placed::Answered;
        };
        self.leg_to(node, now)
    }

    /// Handles a command whose slot has no owner: it waits for another map, for a second the first time.
    pub(super) fn without_owner(&mut self, now: Tick) -> Chosen {
        let number = self.maps.current().number();
        let since = match self.waits.for_owner {
            Some((since, with)) if with == number => since,
            _ => now,
        };
        self.waits.for_owner = Some((since, number));
        self.hints.cluster_down = true;
        if since.after(PATIENCE) > now { Chosen::Later } else { Chosen::Failed(Cow::Borrowed(UNSERVED)) }
    }
}
