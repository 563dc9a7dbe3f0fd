//! How many subscriptions an upstream connection holds, learned from its confirmations alone.

use crate::shape::Verb;

/// Counts of channels, patterns and shard channels.
///
/// A confirmation carries the total of channels and patterns, or the number of shard channels; which of the first two
/// changed follows from its verb and from whether the total moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    pub(crate) channels: u64,
    pub(crate) patterns: u64,
    pub(crate) shards: u64,
}

impl Subscriptions {
    /// Whether a RESP2 connection is in subscriber mode: messages arrive as plain arrays.
    pub const fn active(self) -> bool {
        self.channels > 0 || self.patterns > 0 || self.shards > 0
    }

    /// How many confirmations `verb` without arguments would get now.
    pub fn confirmations_of_all(self, verb: Verb) -> u64 {
        let held = match verb {
            Verb::Subscribe | Verb::Unsubscribe => self.channels,
            Verb::Psubscribe | Verb::Punsubscribe => self.patterns,
            Verb::Ssubscribe | Verb::Sunsubscribe => self.shards,
        };
        held.max(1)
    }

    /// One shard subscription was ended by the server.
    pub fn lose_shard(&mut self) {
        self.shards = self.shards.saturating_sub(1);
    }

    /// Takes one confirmation with the count it ends in.
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
