//! A mapping whose keys are taken one by one; a key that is left at the end is unknown, and an error.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::problem::{Position, Problems};
use super::raw::{Key, Node, Value};
use crate::homes::homes;
use crate::message::{Masked, Message, did_you_mean, message, nearest};

/// Words of other programs for keys.
const SYNONYMS: [(&str, &str); 10] = [
    ("whitelist", "allow"),
    ("allowlist", "allow"),
    ("blacklist", "deny"),
    ("denylist", "deny"),
    ("blocklist", "deny"),
    ("listen", "bind"),
    ("backend", "upstream"),
    ("server", "address"),
    ("host", "address"),
    ("hosts", "address"),
];

/// One mapping of the file while it is being read.
pub(super) struct Fields<'n> {
    pub(super) place: &'n Position,
    /// The name of the mapping in messages: "listener", "limits".
    what: &'static str,
    entries: Vec<(&'n Key, Option<&'n Node>)>,
    /// Keys without a value.
    empty: Vec<&'n Key>,
    /// Duplicate keys, with the line of the first.
    duplicates: Vec<(&'n Key, u32)>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Reads a mapping or an empty value; any other value is an error.
    pub(super) fn of(node: &'n Node, what: &'static str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Self {
            place: &node.place,
            what,
            entries: Vec::new(),
            empty: Vec::new(),
            duplicates: Vec::new(),
            known: Vec::new(),
        };
        match &node.value {
            Value::Null => Some(fields),
            Value::Map(entries) => {
                let mut lines: HashMap<&str, u32> = HashMap::new();
                for (key, value) in entries {
                    match lines.entry(&key.text) {
                        Entry::Vacant(free) => {
                            free.insert(key.place.line);
                            fields.entries.push((key, Some(value)));
                            if matches!(value.value, Value::Null) {
                                fields.empty.push(key);
                            }
                        }
                        Entry::Occupied(first) => fields.duplicates.push((key, *first.get())),
                    }
                }
                Some(fields)
            }
            Value::Scalar(_) | Value::List(_) => {
                let message = message!("{} must be a mapping, not {}", what, node.kind());
                let hint = match &node.value {
                    Value::Scalar(text) if text.contains(':') => {
                        "write a space behind each ':', as in 'key: value'"
                    }
                    _ if node.folded => "write ':' behind the name, and its lines below it",
                    _ => "write keys and values: one per line, or {key: value, ...}",
                };
                problems.error(&node.place, message, hint);
                None
            }
        }
    }

    /// Takes the value of a key, which is then a known key.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.take_with_key(name).map(|(_, node)| node)
    }

    /// Takes a value like [`Self::take`], with the place of the key.
    pub(super) fn take_with_key(&mut self, name: &'static str) -> Option<(&'n Position, &'n Node)> {
        self.known.push(name);
        self.find(name)
    }

    /// Takes a key that is not listed as a known key.
    pub(super) fn find(&mut self, name: &str) -> Option<(&'n Position, &'n Node)> {
        let (key, node) = self.entries.iter_mut().find(|(key, _)| key.text == name)?;
        node.take().map(|node| (&key.place, node))
    }

    /// Takes every key that `fits`, and returns the first of them.
    pub(super) fn find_all(&mut self, fits: impl Fn(&str) -> bool) -> Option<&'n Key> {
        let mut taken = self.entries.iter_mut().filter(|(key, node)| node.is_some() && fits(&key.text));
        let first = taken.next().map(|(key, node)| {
            *node = None;
            *key
        });
        taken.for_each(|(_, node)| *node = None);
        first
    }

    /// Takes the value of a required key.
    pub(super) fn need(
        &mut self,
        name: &'static str,
        example: &'static str,
        problems: &mut Problems,
    ) -> Option<&'n Node> {
        let node = self.take(name);
        if node.is_none() {
            problems.error(self.place, message!("'{}' is missing in {}", name, self.what), example);
        }
        node
    }

    /// Finishes like [`Self::finish`], but repeats no key: it may be a secret in the wrong place.
    pub(super) fn finish_secret(self, problems: &mut Problems) {
        self.report_duplicates(problems);
        for (key, _) in self.entries.iter().filter(|(_, node)| node.is_some()) {
            problems.error(&key.place, message!("unknown key in {}", self.what), self.known_keys());
        }
    }

    /// Notes every key that was not taken, and duplicate keys.
    pub(super) fn finish(self, problems: &mut Problems) {
        self.report_duplicates(problems);
        let mut above: Option<&Key> = None;
        for (key, node) in &self.entries {
            let above = above.replace(key);
            if node.is_none() {
                continue;
            }
            let hint = self.hint(&key.text, above);
            let is_known = !homes(&key.text, self.what).is_empty() || self.synonym(&key.text).is_some();
            let written = match is_known {
                true => Masked::known(&key.text),
                false => Masked::near(&key.text, &self.known),
            };
            problems.error(&key.place, message!("unknown key '{}' in {}", written, self.what), hint);
        }
    }

    /// Notes duplicate keys, once the known keys are known and can be named.
    fn report_duplicates(&self, problems: &mut Problems) {
        for (key, first) in &self.duplicates {
            let name = Masked::near(&key.text, &self.known);
            problems.error(
                &key.place,
                message!("duplicate key '{}', first defined on line {}", name, *first),
                "keep one of them",
            );
        }
    }

    /// Names the key that was probably meant. A key of another mapping is often one with the wrong indentation.
    /// So is one below a key without a value.
    fn hint(&self, written: &str, above: Option<&Key>) -> Message {
        if let Some((name, _)) = written.split_once(':')
            && self.known.contains(&name)
        {
            return message!("write a space behind the ':', as in '{}: value'", Masked::known(name));
        }
        let hint = did_you_mean(written, &self.known, || self.known_keys());
        if let Some(meant) = self.synonym(written) {
            return message!("did you mean '{}'?", meant);
        }
        let homes = homes(written, self.what);
        if !homes.is_empty() {
            let (key, homes) = (Masked::known(written), Masked::known(&homes.join(", ")));
            return message!("'{}' belongs to {}: check the indentation; {}", key, homes, hint);
        }
        let parent = above.filter(|above| {
            let is_known = self.known.contains(&above.text.as_str());
            is_known && self.empty.iter().any(|empty| empty.place == above.place)
        });
        match parent {
            Some(parent) if nearest(written, &self.known).is_none() => message!(
                "'{}' above it has no value: if this line belongs to it, indent this line; {}",
                Masked::known(&parent.text),
                hint
            ),
            _ => hint,
        }
    }

    /// The key of this mapping that other programs call so.
    fn synonym(&self, written: &str) -> Option<&'static str> {
        let meant = SYNONYMS.iter().find(|(word, _)| written.eq_ignore_ascii_case(word));
        meant.map(|(_, key)| *key).filter(|key| self.known.contains(key))
    }

    fn known_keys(&self) -> Message {
        message!("known keys: {}", Masked::names(self.known.iter().copied()))
    }
}

/// Returns the entries of a mapping from names to values; duplicates are noted and omitted.
pub(super) fn named<'n>(
    node: &'n Node,
    what: &'static str,
    problems: &mut Problems,
) -> Vec<(&'n Key, &'n Node)> {
    let Some(fields) = Fields::of(node, what, problems) else { return Vec::new() };
    for (key, first) in &fields.duplicates {
        let message =
            message!("duplicate key '{}', first defined on line {}", Masked::name(&key.text), *first);
        problems.error(&key.place, message, "keep one of them");
    }
    fields.entries.into_iter().filter_map(|(key, node)| Some((key, node?))).collect()
}
