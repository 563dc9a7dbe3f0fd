//! A mapping whose keys are taken one by one; what is left at the end was not understood, and is an error.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::problem::{Place, Problems};
use super::raw::{Key, Node, Value};

/// One mapping of the file while it is being read.
pub(super) struct Fields<'n> {
    pub(super) place: &'n Place,
    /// What the mapping is, for messages: "listener", "limits".
    what: &'static str,
    entries: Vec<(&'n Key, Option<&'n Node>)>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Notes duplicate keys; anything but a mapping, or nothing at all, is an error.
    pub(super) fn of(node: &'n Node, what: &'static str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Self { place: &node.place, what, entries: Vec::new(), known: Vec::new() };
        match &node.value {
            Value::Null => Some(fields),
            Value::Map(entries) => {
                let mut lines: HashMap<&str, u32> = HashMap::new();
                for (key, value) in entries {
                    match lines.entry(&key.text) {
                        Entry::Vacant(free) => {
                            free.insert(key.place.line);
                            fields.entries.push((key, Some(value)));
                        }
                        Entry::Occupied(first) => {
                            let message = format!(
                                "duplicate key '{}', first in line {}",
                                shown(&key.text),
                                first.get()
                            );
                            problems.error(&key.place, message, "keep one of them");
                        }
                    }
                }
                Some(fields)
            }
            Value::Scalar(_) | Value::List(_) => {
                let message = format!("{what} must be a mapping, not {}", node.kind());
                problems.error(
                    &node.place,
                    message,
                    "write keys and values, one a line or {key: value, ...}",
                );
                None
            }
        }
    }

    /// The value of a key, and from now on the key is known.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.take_with_key(name).map(|(_, node)| node)
    }

    /// As [`Self::take`], with the place of the key.
    pub(super) fn take_with_key(&mut self, name: &'static str) -> Option<(&'n Place, &'n Node)> {
        self.known.push(name);
        self.find(name)
    }

    /// Takes a key that is not one of those to be named as known.
    pub(super) fn find(&mut self, name: &str) -> Option<(&'n Place, &'n Node)> {
        let (key, node) = self.entries.iter_mut().find(|(key, _)| key.text == name)?;
        node.take().map(|node| (&key.place, node))
    }

    /// Notes an error when the key is there: a capability this version does not have.
    pub(super) fn not_yet(&mut self, name: &str, instead: &str, problems: &mut Problems) {
        if let Some((place, _)) = self.find(name) {
            let instead = if instead.is_empty() { "leave it out" } else { instead };
            problems.error(place, format!("'{name}' is not yet supported"), instead);
        }
    }

    /// The value of a key that must be there.
    pub(super) fn need(
        &mut self,
        name: &'static str,
        example: &str,
        problems: &mut Problems,
    ) -> Option<&'n Node> {
        let node = self.take(name);
        if node.is_none() {
            problems.error(self.place, format!("'{name}' is missing in {}", self.what), example);
        }
        node
    }

    /// As [`Self::finish`], where what stands in the place of a key may be a secret that was meant as a value.
    pub(super) fn finish_secret(self, problems: &mut Problems) {
        for (key, _) in self.entries.iter().filter(|(_, node)| node.is_some()) {
            let hint = format!("known keys: {}", self.known.join(", "));
            problems.error(&key.place, format!("unknown key in {}", self.what), hint);
        }
    }

    /// Notes every key that was not taken.
    pub(super) fn finish(self, problems: &mut Problems) {
        for (key, node) in &self.entries {
            if node.is_none() {
                continue;
            }
            let hint = match nearest(&key.text, &self.known) {
                Some(name) => format!("did you mean '{name}'?"),
                None => format!("known keys: {}", self.known.join(", ")),
            };
            problems.error(&key.place, format!("unknown key '{}' in {}", shown(&key.text), self.what), hint);
        }
    }
}

/// The entries of a mapping from names to values, duplicates noted and left out.
pub(super) fn named<'n>(
    node: &'n Node,
    what: &'static str,
    problems: &mut Problems,
) -> Vec<(&'n Key, &'n Node)> {
    let Some(fields) = Fields::of(node, what, problems) else { return Vec::new() };
    fields.entries.into_iter().filter_map(|(key, node)| Some((key, node?))).collect()
}

/// The known word that was probably meant.
pub(super) fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let budget = (text.chars().count() / 3).max(1);
    words
        .iter()
        .map(|word| (distance(text, word), *word))
        .filter(|(distance, _)| *distance <= budget)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Text from a file as a message may carry it: one line, no control characters, not too long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(MOST).map(clean).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

/// Edits between two words, a swap of neighbours counted as one.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let edit = last[j] + usize::from(a != b);
            let mut best = edit.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}
