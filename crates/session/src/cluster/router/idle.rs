//! Legs that are idle for long, and nodes that take long for a reply.

use super::leg::LegIndex;
use super::{Front, Kind, PATIENCE, Router, Turn};
use crate::cluster::NodeIndex;
use crate::tick::Tick;

impl Router {
    /// Returns the time at which [`Router::advance`] looks for legs that are idle, or says that a node takes long. It may
    /// be called a little later.
    #[inline]
    pub fn idle_due(&self) -> Option<Tick> {
        let slow = self.slow_node().map(|_| self.front_since.after(PATIENCE));
        let idle = (!self.legs.is_empty()).then_some(self.idle_at);
        [idle, slow].into_iter().flatten().min()
    }

    /// Returns the node of the front, unless the watcher was told of it or the command may block.
    fn slow_node(&self) -> Option<NodeIndex> {
        let blocks = self.apart.front().is_some_and(|apart| apart.kind == Kind::Blocking);
        match self.turn() {
            Turn::Leg(leg) if !self.is_slow_told && !blocks => self.legs.get(leg).map(|leg| leg.node),
            _ => None,
        }
    }

    /// Tells the watcher of a node that takes long for the front. If the node has stopped, the replies that it owes never
    /// come, and no other command shows it.
    pub(super) fn tell_slow(&mut self, now: Tick) {
        if self.front_since.after(PATIENCE) <= now
            && let Some(node) = self.slow_node()
        {
            self.hints.slow = Some(node);
            self.is_slow_told = true;
        }
    }

    /// Removes the legs that need not be kept.
    pub(super) fn remove_superfluous(&mut self, now: Tick) {
        let superfluous = |router: &Self| router.legs.superfluous(now).find(|leg| !router.is_needed(*leg));
        while let Some(leg) = superfluous(self) {
            self.legs.remove(leg);
            self.subscriptions.forget_leg(leg);
        }
        self.idle_at = self.legs.idle_at(now);
    }

    /// Returns whether a leg must stay although it owes nothing.
    pub(super) fn is_needed(&self, leg: LegIndex) -> bool {
        self.transaction.uses(leg)
            || self.subscriptions.use_leg(leg)
            || matches!(&self.front, Front::Again(again) if again.leg() == Some(leg))
            || self.incoming.streams_to() == Some(leg)
    }
}
