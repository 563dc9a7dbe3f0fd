//! A client of a listener that is only a sentinel: its RESP version and its subscriptions.
//!
//! The gate answers such a client by itself, so it confirms the subscriptions itself too. No message ever follows: the
//! master that the sentinel names never changes.

use std::collections::BTreeSet;

use crate::link::Subscriptions;
use crate::shape::Verb;

/// The most bytes of names in the subscriptions of one client. The events of a sentinel have a few hundred.
const MAX_NAMES: usize = 16 * 1024;

/// The bytes that count for a name in addition to its own.
const OVERHEAD: usize = 64;

/// The RESP version and the subscriptions of one client.
#[derive(Debug, Default)]
pub(super) struct Listening {
    resp3: bool,
    channels: BTreeSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    held: usize,
}

impl Listening {
    /// Returns whether the client uses RESP3.
    pub(super) const fn resp3(&self) -> bool {
        self.resp3
    }

    /// Sets the RESP version.
    pub(super) const fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// Returns the number of subscriptions.
    pub(super) fn subscriptions(&self) -> Subscriptions {
        let count = |names: &BTreeSet<Box<[u8]>>| u64::try_from(names.len()).unwrap_or(u64::MAX);
        Subscriptions {
            channels: count(&self.channels),
            patterns: count(&self.patterns),
            ..Default::default()
        }
    }

    /// Applies a subscribe or unsubscribe command. Returns its confirmations, or `None` if the client would have too
    /// many subscriptions.
    pub(super) fn apply(&mut self, verb: Verb, names: &[&[u8]]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(64);
        let own = if verb.gives_up() && names.is_empty() { self.names_of(verb) } else { Vec::new() };
        let names: Vec<&[u8]> = names.iter().copied().chain(own.iter().map(|name| &**name)).collect();
        if names.is_empty() {
            self.confirm(&mut out, verb, None);
        }
        for name in names {
            if verb.gives_up() {
                if self.set_of(verb).remove(name) {
                    self.held -= name.len() + OVERHEAD;
                }
            } else if !self.set_of(verb).contains(name) {
                let held = self.held + name.len() + OVERHEAD;
                if held > MAX_NAMES {
                    return None;
                }
                self.held = held;
                self.set_of(verb).insert(name.into());
            }
            self.confirm(&mut out, verb, Some(name));
        }
        Some(out)
    }

    fn confirm(&self, out: &mut Vec<u8>, verb: Verb, name: Option<&[u8]>) {
        verb.confirm(out, name, self.subscriptions().total(), self.resp3);
    }

    fn set_of(&mut self, verb: Verb) -> &mut BTreeSet<Box<[u8]>> {
        match verb {
            Verb::Psubscribe | Verb::Punsubscribe => &mut self.patterns,
            _ => &mut self.channels,
        }
    }

    fn names_of(&mut self, verb: Verb) -> Vec<Box<[u8]>> {
        self.set_of(verb).iter().cloned().collect()
    }

    /// Returns the bytes of memory that the subscriptions occupy.
    pub(super) const fn held(&self) -> usize {
        size_of::<Self>() + self.held
    }
}

#[cfg(test)]
mod tests;
