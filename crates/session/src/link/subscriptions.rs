//! The subscriptions of an upstream connection, learned only from the confirmations of the server.

use std::collections::BTreeSet;

use crate::shape::Verb;

/// The most bytes of names of one connection's subscriptions. This is enough for 10,000 channels, the default limit of
/// `@public`, with 50 bytes each. Further subscriptions are counted without their names.
const MAX_NAMES: usize = 1024 * 1024;

/// The longest name in bytes that the gate keeps. [`MAX_WHOLE_REPLY`](super::MAX_WHOLE_REPLY) is several times as long,
/// so the confirmation of a kept name always arrives in one piece. The gate therefore never misses the end of a
/// subscription with a kept name.
const MAX_NAME: usize = 16 * 1024;

/// The approximate memory in bytes for a name, without the name's own bytes.
const NAME_COST: usize = 48;

/// Counts of channels, patterns and shard channels.
///
/// A confirmation contains the total of channels and patterns, or the number of shard channels. Its verb shows whether
/// channels or patterns changed. Whether the total changed shows whether that count changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    pub(crate) channels: u64,
    pub(crate) patterns: u64,
    pub(crate) shards: u64,
}

impl Subscriptions {
    /// Returns whether a RESP2 connection is in subscriber mode, in which messages arrive as plain arrays.
    pub const fn active(self) -> bool {
        self.channels > 0 || self.patterns > 0 || self.shards > 0
    }

    /// Returns the number of confirmations that `verb` without arguments would get now.
    pub fn confirmations_of_all(self, verb: Verb) -> u64 {
        self.of(verb).max(1)
    }

    /// Returns the number of channels, patterns and shard channels together.
    pub(crate) const fn total(self) -> u64 {
        self.channels.saturating_add(self.patterns).saturating_add(self.shards)
    }

    /// Returns the number of subscriptions of the kind that `verb` adds or removes.
    pub(crate) const fn of(self, verb: Verb) -> u64 {
        match verb {
            Verb::Subscribe | Verb::Unsubscribe => self.channels,
            Verb::Psubscribe | Verb::Punsubscribe => self.patterns,
            Verb::Ssubscribe | Verb::Sunsubscribe => self.shards,
        }
    }

    /// Records that the server ended one shard subscription.
    pub fn lose_shard(&mut self) {
        self.shards = self.shards.saturating_sub(1);
    }

    /// Records one confirmation with the count that it contains.
    pub fn confirm(&mut self, verb: Verb, count: u64) {
        let before = self.channels.saturating_add(self.patterns);
        match verb {
            Verb::Subscribe if count > before => self.channels = self.channels.saturating_add(1),
            Verb::Psubscribe if count > before => self.patterns = self.patterns.saturating_add(1),
            Verb::Unsubscribe if count < before => self.channels = self.channels.saturating_sub(1),
            Verb::Punsubscribe if count < before => self.patterns = self.patterns.saturating_sub(1),
            Verb::Ssubscribe | Verb::Sunsubscribe => self.shards = count,
            _ => {}
        }
    }
}

/// [`Subscriptions`] with their names, because a reload judges the names again.
#[derive(Debug, Default)]
pub struct Subscribed {
    counts: Subscriptions,
    /// The known names. `None` if there are no subscriptions.
    names: Option<Box<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    channels: BTreeSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    shards: BTreeSet<Box<[u8]>>,
    held: usize,
}

impl Subscribed {
    /// Returns the number of subscriptions.
    pub const fn counts(&self) -> Subscriptions {
        self.counts
    }

    /// Records one confirmation with the count that it contains. `name` is `None` if it is unknown.
    pub(crate) fn confirm(&mut self, verb: Verb, name: Option<&[u8]>, count: u64) {
        self.counts.confirm(verb, count);
        match name {
            Some(name) if !verb.gives_up() => self.names.get_or_insert_default().add(verb, name),
            Some(name) => self.names.iter_mut().for_each(|names| names.remove(verb, name)),
            None => {}
        }
        self.forget_if_none();
    }

    /// Records that the server ended one shard subscription.
    pub(crate) fn lose_shard(&mut self, name: Option<&[u8]>) {
        self.counts.lose_shard();
        match (&mut self.names, name) {
            (Some(names), Some(name)) => names.remove(Verb::Sunsubscribe, name),
            // Any of the names may be the one that ended, so none of them is certain any more.
            (Some(names), None) => {
                let cost: usize = names.shards.iter().map(|name| name.len() + NAME_COST).sum();
                names.held = names.held.saturating_sub(cost);
                names.shards.clear();
            }
            (None, _) => {}
        }
        self.forget_if_none();
    }

    /// Returns whether a subscription of this verb's kind and name is known.
    pub fn has(&self, verb: Verb, name: &[u8]) -> bool {
        self.names.as_ref().is_some_and(|names| names.of(verb).contains(name))
    }

    /// Returns the known names of the kind that `verb` subscribes to.
    pub(crate) fn names(&self, verb: Verb) -> impl Iterator<Item = &[u8]> {
        self.names.iter().flat_map(move |names| names.of(verb)).map(AsRef::as_ref)
    }

    /// Returns whether there are subscriptions of the kind of `verb` with unknown names.
    pub(crate) fn has_unnamed(&self, verb: Verb) -> bool {
        let known = self.names.as_ref().map_or(0, |names| names.of(verb).len());
        self.counts.of(verb) > u64::try_from(known).unwrap_or(u64::MAX)
    }

    /// Returns the bytes of memory that grow with the subscriptions.
    #[inline]
    pub fn held(&self) -> usize {
        self.names.as_ref().map_or(0, |names| size_of::<Names>() + names.held)
    }

    fn forget_if_none(&mut self) {
        if !self.counts.active() {
            self.names = None;
        }
    }
}

impl Names {
    const fn of(&self, verb: Verb) -> &BTreeSet<Box<[u8]>> {
        match verb {
            Verb::Subscribe | Verb::Unsubscribe => &self.channels,
            Verb::Psubscribe | Verb::Punsubscribe => &self.patterns,
            Verb::Ssubscribe | Verb::Sunsubscribe => &self.shards,
        }
    }

    const fn of_mut(&mut self, verb: Verb) -> &mut BTreeSet<Box<[u8]>> {
        match verb {
            Verb::Subscribe | Verb::Unsubscribe => &mut self.channels,
            Verb::Psubscribe | Verb::Punsubscribe => &mut self.patterns,
            Verb::Ssubscribe | Verb::Sunsubscribe => &mut self.shards,
        }
    }

    fn add(&mut self, verb: Verb, name: &[u8]) {
        let cost = name.len() + NAME_COST;
        if name.len() <= MAX_NAME && self.held + cost <= MAX_NAMES && self.of_mut(verb).insert(name.into()) {
            self.held += cost;
        }
    }

    fn remove(&mut self, verb: Verb, name: &[u8]) {
        if self.of_mut(verb).remove(name) {
            self.held = self.held.saturating_sub(name.len() + NAME_COST);
        }
    }
}

#[cfg(test)]
mod tests;
