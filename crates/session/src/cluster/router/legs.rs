//! All legs of one session.

use super::leg::{Leg, LegIndex, LegState, MAX_LEGS};
use crate::cluster::NodeIndex;
use crate::tick::Tick;

/// The legs of one session, by their indices.
#[derive(Debug, Default)]
pub(super) struct Legs {
    places: Vec<Option<Box<Leg>>>,
    /// The number of legs that were removed so far.
    removed: u32,
}

impl Legs {
    #[inline]
    pub(super) fn get(&self, index: LegIndex) -> Option<&Leg> {
        self.places.get(index.number())?.as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: LegIndex) -> Option<&mut Leg> {
        self.places.get_mut(index.number())?.as_deref_mut()
    }

    /// Returns all legs with their indices.
    #[inline]
    pub(super) fn all(&self) -> impl Iterator<Item = (LegIndex, &Leg)> {
        self.places.iter().enumerate().filter_map(|(number, leg)| Some((index(number)?, leg.as_deref()?)))
    }

    /// Returns all legs without their indices.
    #[inline]
    fn each(&self) -> impl Iterator<Item = &Leg> {
        self.places.iter().filter_map(Option::as_deref)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (LegIndex, &mut Leg)> {
        self.places
            .iter_mut()
            .enumerate()
            .filter_map(|(number, leg)| Some((index(number)?, leg.as_deref_mut()?)))
    }

    /// Returns the leg by which new commands go to a node, or the one for commands that are sent again.
    pub(super) fn of(&self, node: NodeIndex, is_side: bool) -> Option<LegIndex> {
        let fits = |leg: &Leg| {
            leg.node == node && leg.is_side == is_side && leg.is_general() && leg.takes_commands()
        };
        self.all().find(|(_, leg)| fits(leg)).map(|(index, _)| index)
    }

    /// Returns what decides whether a new command can go to a node, in one look at all legs.
    #[inline]
    pub(super) fn at(&self, node: NodeIndex) -> AtNode {
        let mut at = AtNode::default();
        for (index, leg) in self.all().filter(|(_, leg)| leg.node == node) {
            let owes = leg.pending() > 0;
            at.is_left |= leg.is_left && owes;
            if at.main.is_none() && !leg.is_side && leg.is_general() && leg.takes_commands() {
                (at.main, at.main_owes) = (Some(index), owes);
            }
        }
        at
    }

    /// Returns whether all legs carry commands.
    pub(super) fn are_calm(&self) -> bool {
        self.each().all(|leg| leg.is_open() && !leg.is_left)
    }

    /// Returns whether a leg has no connection that carries commands.
    pub(super) fn has_unopened(&self) -> bool {
        self.each().any(|leg| !leg.is_open())
    }

    /// Returns whether bytes wait to be written to a leg.
    pub(super) fn have_unwritten(&self) -> bool {
        self.each().any(|leg| !leg.unwritten().is_empty())
    }

    /// Returns whether there is a leg with subscriptions.
    pub(super) fn have_listener(&self) -> bool {
        self.each().any(|leg| leg.listens)
    }

    /// Returns the number of legs that were removed so far.
    pub(super) const fn removed(&self) -> u32 {
        self.removed
    }

    /// Returns the legs by which commands that only read go to a replica of this master.
    pub(super) fn readers(&self, master: NodeIndex) -> impl Iterator<Item = (LegIndex, &Leg)> {
        self.all().filter(move |(_, leg)| leg.reads_for == Some(master) && leg.takes_commands())
    }

    /// Returns the legs with subscriptions that are not broken.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (LegIndex, &Leg)> {
        self.all().filter(|(_, leg)| leg.listens && leg.broken().is_none())
    }

    /// Returns the leg with the subscriptions at a node.
    pub(super) fn listener(&self, node: NodeIndex) -> Option<(LegIndex, &Leg)> {
        self.listeners().find(|(_, leg)| leg.node == node)
    }

    /// Returns a leg to a node that owes nothing, by which commands can be sent again: the main one, or one at the side.
    /// No ASKING goes by a shared connection.
    pub(super) fn idle_of(&self, node: NodeIndex, asking: bool) -> Option<LegIndex> {
        let fits =
            |leg: &Leg| leg.node == node && leg.is_general() && leg.takes_commands() && leg.pending() == 0;
        let idle = || self.all().filter(|(_, leg)| fits(leg) && !(asking && leg.is_pooled));
        idle().min_by_key(|(_, leg)| leg.is_side).map(|(index, _)| index)
    }

    /// Returns the number of legs for commands that are sent again to a node.
    pub(super) fn sides_of(&self, node: NodeIndex) -> usize {
        self.all().filter(|(_, leg)| leg.node == node && leg.is_side && leg.takes_commands()).count()
    }

    /// Adds a leg. If there is no room, the leg that has been idle for longest gives way. `None`: no leg is idle.
    pub(super) fn add(&mut self, leg: Leg, is_needed: impl Fn(LegIndex) -> bool) -> Option<LegIndex> {
        let free = self.places.iter().position(Option::is_none);
        let number = match free {
            Some(number) => number,
            None if self.places.len() < MAX_LEGS => {
                self.places.reserve_exact(1);
                self.places.push(None);
                self.places.len() - 1
            }
            None => {
                let idle = self.all().filter(|(index, leg)| leg.pending() == 0 && !is_needed(*index));
                idle.min_by_key(|(_, leg)| leg.used_at)?.0.number()
            }
        };
        *self.places.get_mut(number)? = Some(Box::new(leg));
        index(number)
    }

    pub(super) fn remove(&mut self, index: LegIndex) {
        self.removed = self.removed.wrapping_add(1);
        if let Some(place) = self.places.get_mut(index.number()) {
            *place = None;
        }
        while matches!(self.places.last(), Some(None)) {
            self.places.pop();
        }
    }

    /// Returns the legs that need not be kept: broken or left ones that owe nothing, and those idle for long.
    pub(super) fn superfluous(&self, now: Tick) -> impl Iterator<Item = LegIndex> {
        let is_over = move |leg: &Leg| {
            leg.pending() == 0 && (!leg.takes_commands() || leg.used_at.after(leg.idle) <= now)
        };
        self.all().filter(move |(_, leg)| is_over(leg)).map(|(index, _)| index)
    }

    /// Returns the bytes of all kept frames.
    pub(super) fn kept(&self) -> usize {
        self.each().map(|leg| leg.kept.size()).sum()
    }

    /// Returns a number that grows with each command.
    pub(super) fn sent(&self) -> usize {
        self.each().map(Leg::sent).sum()
    }

    /// Returns whether a leg other than this one owes the reply to a command that may write.
    pub(super) fn others_owe_write(&self, index: LegIndex) -> bool {
        self.all().any(|(other, leg)| other != index && leg.owes_write())
    }

    /// Returns whether a leg to this node owes a reply.
    pub(super) fn node_owes(&self, node: NodeIndex) -> bool {
        self.each().any(|leg| leg.node == node && leg.pending() > 0)
    }

    pub(super) fn is_congested(&self) -> bool {
        self.each().any(Leg::is_congested)
    }

    /// Returns the open leg that was used last.
    pub(super) fn newest_open(&self) -> Option<LegIndex> {
        let is_open = |leg: &Leg| leg.is_open() && leg.takes_commands();
        let open = self.all().filter(|(_, leg)| !leg.is_side && leg.is_general() && is_open(leg));
        open.max_by_key(|(_, leg)| leg.used_at).map(|(index, _)| index)
    }

    /// Returns the bytes of memory that the legs occupy.
    pub(super) fn held(&self) -> usize {
        self.places.capacity() * size_of::<Option<Box<Leg>>>() + self.each().map(Leg::held).sum::<usize>()
    }

    /// Returns the first leg that is to be dialled now, of those that `may` be. The caller dials it.
    pub(super) fn next_dial(
        &mut self,
        may: impl Fn(LegIndex, &Leg) -> bool,
        now: Tick,
    ) -> Option<(LegIndex, NodeIndex)> {
        self.all_mut().filter(|(index, leg)| may(*index, leg)).find_map(|(index, leg)| match &mut leg.state {
            LegState::Closed { retry_at, is_dialling, .. } if !*is_dialling && *retry_at <= now => {
                *is_dialling = true;
                Some((index, leg.node))
            }
            _ => None,
        })
    }

    /// Returns the next time at which a leg needs attention.
    pub(super) fn due(&self) -> Option<Tick> {
        let due = |leg: &Leg| match leg.state {
            LegState::Closed { retry_at, is_dialling: false, .. } if !leg.is_left => Some(retry_at),
            _ => None,
        };
        self.each().filter_map(due).min()
    }

    /// Returns a time before which no leg has been idle for long.
    pub(super) fn idle_at(&self, now: Tick) -> Tick {
        let idle_at = |leg: &Leg| match leg.used_at.after(leg.idle) {
            at if leg.pending() == 0 && at > now => at,
            _ => now.after(leg.idle),
        };
        self.each().map(idle_at).min().unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// The legs to one node, as far as they matter for a new command.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AtNode {
    /// The leg by which new commands go.
    pub(super) main: Option<LegIndex>,
    /// Whether that leg owes a reply.
    pub(super) main_owes: bool,
    /// Whether a leg that takes no new commands owes a reply.
    pub(super) is_left: bool,
}

#[inline]
fn index(number: usize) -> Option<LegIndex> {
    u8::try_from(number).ok().map(LegIndex::of_code)
}
