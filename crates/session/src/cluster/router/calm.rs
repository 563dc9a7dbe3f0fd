//! The usual case: commands and replies pass, and there is nothing else to do.

use super::leg::{Leg, LegIndex};
use super::{Front, PATIENCE, Router};
use crate::tick::Tick;

impl Router {
    /// Returns whether all commands and replies go their usual way: no leg is to be dialled or given up, and no command is
    /// held or redirected. Then [`Router::advance`] has nothing to do before some time has passed.
    pub fn is_calm(&self, now: Tick) -> bool {
        matches!(self.front, Front::Ordered)
            && !self.has_held()
            && !self.maps.is_waiting()
            && self.waits.for_owner.is_none_or(|(since, _)| since.after(PATIENCE) <= now)
            && self.subscriptions.is_unused()
            && self.legs.are_calm()
    }

    /// Returns whether a leg has no connection that carries commands: it is to be dialled or set up, or is broken.
    pub fn has_unopened(&self) -> bool {
        self.legs.has_unopened()
    }

    /// Returns whether no byte of a pending command was written to a leg, so that its end loses no command.
    pub fn begins(&self, leg: LegIndex) -> bool {
        self.legs.get(leg).is_some_and(Leg::begins)
    }
}
