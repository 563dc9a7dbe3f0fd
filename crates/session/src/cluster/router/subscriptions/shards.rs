//! The shard channels of a client, and the legs that have them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis_resp::slot::slot;

use super::super::leg::LegIndex;
use super::super::{PATIENCE, REDIAL};
use crate::cluster::NodeIndex;
use crate::tick::Tick;

/// The most bytes of names of the shard channels of one client. They are kept, because their slots may move.
const MAX_NAMES: usize = 64 * 1024;

/// The bytes that count for a name besides its own.
const OVERHEAD: usize = 48;

/// The shard channels of one client, by their slots.
#[derive(Debug, Default)]
pub(super) struct Shards {
    slots: BTreeMap<u16, Slot>,
    count: u64,
    held: usize,
}

#[derive(Debug)]
struct Slot {
    names: BTreeSet<Box<[u8]>>,
    place: Place,
}

/// The leg that has the subscriptions of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    At(LegIndex),
    /// They are being made again at this leg.
    Asking(LegIndex, Move),
    /// No leg has them.
    Away(Move),
    /// They could not be made again. The client is to be told.
    Lapsed,
}

/// The way of a slot to another node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Move {
    /// The time since which no leg has the subscriptions. `None`: since now.
    pub(super) since: Option<Tick>,
    pub(super) retry_at: Tick,
    /// The node that a redirect named.
    pub(super) to: Option<NodeIndex>,
    pub(super) hops: u8,
    /// Whether the connection was lost.
    pub(super) is_lost: bool,
}

impl Move {
    /// Returns the time at which the subscriptions are given up. `wait` is the time that they may take after a lost
    /// connection.
    pub(super) fn deadline(&self, wait: Option<Duration>, now: Tick) -> Tick {
        let wait = if self.is_lost { wait.unwrap_or_default() } else { PATIENCE };
        self.since.unwrap_or(now).after(wait)
    }

    pub(super) fn postpone(&mut self, now: Tick) {
        self.retry_at = now.after(REDIAL);
    }
}

impl Shards {
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.slots.get(&slot(name)).is_some_and(|slot| slot.names.contains(name))
    }

    pub(super) fn place(&self, slot: u16) -> Option<Place> {
        self.slots.get(&slot).map(|slot| slot.place)
    }

    pub(super) fn set_place(&mut self, slot: u16, place: Place) {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.place = place;
        }
    }

    /// Returns whether so many bytes of names fit. `also` is the number of bytes that are kept elsewhere.
    pub(super) fn have_room<'n>(&self, names: impl Iterator<Item = &'n [u8]>, also: usize) -> bool {
        let new: usize = names.filter(|name| !self.has(name)).map(|name| name.len() + OVERHEAD).sum();
        self.held + also + new <= MAX_NAMES
    }

    /// Adds a channel, which this leg has.
    pub(super) fn add(&mut self, name: &[u8], leg: LegIndex) {
        let slot = self
            .slots
            .entry(slot(name))
            .or_insert_with(|| Slot { names: BTreeSet::new(), place: Place::At(leg) });
        if slot.names.insert(name.into()) {
            self.count += 1;
            self.held += name.len() + OVERHEAD;
        }
    }

    /// Removes a channel. Returns the leg that has it: `Some(None)` if no leg has it.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Option<LegIndex>> {
        let number = slot(name);
        let slot = self.slots.get_mut(&number)?;
        if !slot.names.remove(name) {
            return None;
        }
        self.count -= 1;
        self.held -= name.len() + OVERHEAD;
        let leg = match slot.place {
            Place::At(leg) => Some(leg),
            // The name is found again when the subscription is confirmed.
            Place::Asking(..) | Place::Away(_) | Place::Lapsed => None,
        };
        if slot.names.is_empty() {
            self.slots.remove(&number);
        }
        Some(leg)
    }

    /// Returns the names of all channels.
    pub(super) fn names(&self) -> Vec<Box<[u8]>> {
        self.slots.values().flat_map(|slot| slot.names.iter().cloned()).collect()
    }

    pub(super) fn names_of(&self, slot: u16) -> Vec<Box<[u8]>> {
        self.slots.get(&slot).into_iter().flat_map(|slot| slot.names.iter().cloned()).collect()
    }

    /// Records that a node has ended a subscription unasked. Returns whether this leg had it.
    pub(super) fn end(&mut self, name: &[u8], leg: LegIndex) -> bool {
        match self.slots.get_mut(&slot(name)) {
            Some(slot) if slot.names.contains(name) && matches!(slot.place, Place::At(at) if at == leg) => {
                slot.place = Place::Away(Move::default());
                true
            }
            _ => false,
        }
    }

    /// Records the loss of a leg.
    pub(super) fn lose_leg(&mut self, leg: LegIndex) {
        for slot in self.slots.values_mut() {
            match slot.place {
                Place::At(at) if at == leg => {
                    slot.place = Place::Away(Move { is_lost: true, ..Move::default() });
                }
                Place::Asking(at, this) if at == leg => {
                    slot.place = Place::Away(Move { retry_at: Tick::default(), to: None, ..this });
                }
                _ => {}
            }
        }
    }

    pub(super) fn use_leg(&self, leg: LegIndex) -> bool {
        self.slots
            .values()
            .any(|slot| matches!(slot.place, Place::At(at) | Place::Asking(at, _) if at == leg))
    }

    /// Returns the slots without a leg.
    pub(super) fn away(&self) -> Vec<u16> {
        let is_away = |slot: &Slot| matches!(slot.place, Place::Away(_));
        self.slots.iter().filter(|(_, slot)| is_away(slot)).map(|(number, _)| *number).collect()
    }

    /// Returns the names of the slots that could not be subscribed again.
    pub(super) fn lapsed(&self) -> Vec<Box<[u8]>> {
        let lapsed = self.slots.values().filter(|slot| matches!(slot.place, Place::Lapsed));
        lapsed.flat_map(|slot| slot.names.iter().cloned()).collect()
    }

    /// Returns the next time at which a slot without a leg needs attention.
    pub(super) fn due(&self, wait: Option<Duration>) -> Option<Tick> {
        let due = |slot: &Slot| match slot.place {
            Place::Away(this) if this.retry_at == Tick::default() => None,
            Place::Away(this) => Some(this.retry_at.min(this.deadline(wait, this.retry_at))),
            Place::At(_) | Place::Asking(..) | Place::Lapsed => None,
        };
        self.slots.values().filter_map(due).min()
    }

    pub(super) fn hurry(&mut self) {
        for slot in self.slots.values_mut() {
            if let Place::Away(this) = &mut slot.place {
                this.retry_at = Tick::default();
            }
        }
    }

    /// Returns the bytes of memory that the channels occupy.
    pub(super) fn held(&self) -> usize {
        self.held + self.slots.len() * size_of::<(u16, Slot)>()
    }
}
