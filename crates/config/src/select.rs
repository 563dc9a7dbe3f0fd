//! Strings out of JSON files of other programs: lists of cloud providers, and block lists.
//!
//! A path has keys with `.` between them; `[]` behind a key stands for each item of its list:
//! `prefixes[].ip_prefix`. A path that begins with `[]` fits a file that is a list. A file may hold several JSON values
//! behind each other, one a line for example. The path then counts from each of them.
//!
//! The file is never held as a tree: each step reads over the bytes of its value again, so a path has few steps.

mod paths;
mod place;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub(crate) use self::paths::addresses;
pub(crate) use self::place::Places;

/// The lists of cloud providers need at most five.
const MOST_STEPS: usize = 16;
/// The longest path.
const LONGEST: usize = 200;

/// The path to the strings of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Select {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Each,
}

impl Select {
    /// Reads a path; `None`: it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        if text.len() > LONGEST {
            return None;
        }
        for (at, part) in text.split('.').enumerate() {
            let key = part.trim_end_matches("[]");
            let lists = (part.len() - key.len()) / 2;
            match key.is_empty() {
                true if at > 0 || lists == 0 => return None,
                true => {}
                false if is_key(key) => steps.push(Step::Key(key.to_owned())),
                false => return None,
            }
            steps.extend(std::iter::repeat_n(Step::Each, lists));
        }
        (steps.len() <= MOST_STEPS).then(|| Self { text: text.to_owned(), steps })
    }

    /// Reads the forms of jq and JSONPath as well: `.prefixes[].ip_prefix`, `$.prefixes[*].ip_prefix`.
    pub(crate) fn lenient(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('$').replace("[*]", "[]");
        Self::parse(text.trim_start_matches('.'))
    }

    /// The path as it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Whether a path can name this key.
fn is_key(key: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !key.is_empty() && key.bytes().all(fits)
}

/// A string of the file, with its offset in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// The reason why the strings cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The file is not JSON. The place in the error counts from this offset.
    Syntax { from: usize, error: serde_json::Error },
    /// A value is of another kind than the path says. With the offset of the value.
    Kind { at: usize, is: &'static str, wanted: Wanted },
    /// An object has the key twice. With the offset of the object.
    Twice { at: usize, key: String },
    /// No object at this place of the path has the key.
    NotFound { key: String },
}

/// The kind of a value that a path needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Object { key: String },
    List,
    String,
}

/// The outcome of a walk over the whole file.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// Objects that lack a key that others at the same place have: the number of them, of all, the key, and the offset
    /// of the first.
    pub(crate) skipped: Option<Skipped>,
}

/// Objects without a key that others at the same place have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) without: usize,
    pub(crate) all: usize,
    pub(crate) key: String,
    pub(crate) at: usize,
}

/// Calls `take` for each string that the path leads to, in the order of the file. `take` returns whether to go on.
pub(crate) fn each(
    text: &str,
    select: &Select,
    take: &mut dyn FnMut(Selected) -> bool,
) -> Result<Summary, Fault> {
    let counts = vec![Count::default(); select.steps.len()];
    let mut walk = Walk { text, steps: &select.steps, counts, take };
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.map_err(|error| Fault::Syntax { from: 0, error })?;
        match walk.value(value.get(), 0) {
            Ok(()) => {}
            Err(Stop::Enough) => return Ok(Summary::default()),
            Err(Stop::Fault(fault)) => return Err(fault),
        }
    }
    walk.finish()
}

/// Objects at one step of the path.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    with: usize,
    without: usize,
    /// The offset of the first one without the key.
    first_without: usize,
}

enum Stop {
    Fault(Fault),
    Enough,
}

fn syntax(from: usize, error: serde_json::Error) -> Stop {
    Stop::Fault(Fault::Syntax { from, error })
}

struct Walk<'t, 'w> {
    text: &'t str,
    steps: &'w [Step],
    counts: Vec<Count>,
    take: &'w mut dyn FnMut(Selected) -> bool,
}

impl<'t> Walk<'t, '_> {
    /// Recursion is bounded by [`MOST_STEPS`].
    fn value(&mut self, raw: &'t str, step: usize) -> Result<(), Stop> {
        let at = self.offset(raw);
        match self.steps.get(step) {
            None if raw.starts_with('"') => {
                let text = serde_json::from_str(raw).map_err(|error| syntax(at, error))?;
                if (self.take)(Selected { text, at }) { Ok(()) } else { Err(Stop::Enough) }
            }
            Some(Step::Key(key)) if raw.starts_with('{') => self.object(raw, key, step),
            Some(Step::Each) if raw.starts_with('[') => {
                let mut stop = None;
                let items = Items { walk: self, step: step + 1, stop: &mut stop };
                let read = serde_json::Deserializer::from_str(raw).deserialize_seq(items);
                match (stop, read) {
                    (Some(stop), _) => Err(stop),
                    (None, Ok(())) => Ok(()),
                    (None, Err(error)) => Err(syntax(at, error)),
                }
            }
            wanted => {
                let wanted = match wanted {
                    None => Wanted::String,
                    Some(Step::Each) => Wanted::List,
                    Some(Step::Key(key)) => Wanted::Object { key: key.clone() },
                };
                Err(Stop::Fault(Fault::Kind { at, is: kind(raw), wanted }))
            }
        }
    }

    fn object(&mut self, raw: &'t str, key: &str, step: usize) -> Result<(), Stop> {
        let at = self.offset(raw);
        let read = serde_json::Deserializer::from_str(raw).deserialize_map(Member { key });
        let (value, twice) = read.map_err(|error| syntax(at, error))?;
        if twice {
            return Err(Stop::Fault(Fault::Twice { at, key: key.to_owned() }));
        }
        if let Some(count) = self.counts.get_mut(step) {
            match value {
                Some(_) => count.with += 1,
                None if count.without == 0 => (count.without, count.first_without) = (1, at),
                None => count.without += 1,
            }
        }
        value.map_or(Ok(()), |value| self.value(value.get(), step + 1))
    }

    fn offset(&self, raw: &str) -> usize {
        // Every piece is a part of the whole text.
        raw.as_ptr().addr().saturating_sub(self.text.as_ptr().addr())
    }

    fn finish(self) -> Result<Summary, Fault> {
        let keys = self.steps.iter().zip(&self.counts).filter_map(|(step, count)| match step {
            Step::Key(key) if count.without > 0 => Some((key, count)),
            _ => None,
        });
        let mut skipped = None;
        for (key, count) in keys {
            if count.with == 0 {
                return Err(Fault::NotFound { key: key.clone() });
            }
            skipped = skipped.or_else(|| {
                let (without, all) = (count.without, count.with + count.without);
                Some(Skipped { without, all, key: key.clone(), at: count.first_without })
            });
        }
        Ok(Summary { skipped })
    }
}

/// The kind of a valid JSON value, by its first character.
fn kind(raw: &str) -> &'static str {
    match raw.bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

/// Reads the value of one key of an object, and whether the key is there twice.
struct Member<'k> {
    key: &'k str,
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = (Option<&'de RawValue>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut twice) = (None, false);
        while let Some(is_it) = entries.next_key_seed(Is(self.key))? {
            if is_it {
                twice |= found.is_some();
                found = Some(entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok((found, twice))
    }
}

/// Compares a key without a copy of it.
struct Is<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// Walks over the items of a list one by one.
struct Items<'i, 't, 'w> {
    walk: &'i mut Walk<'t, 'w>,
    step: usize,
    stop: &'i mut Option<Stop>,
}

impl<'de> Visitor<'de> for Items<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            if self.stop.is_none()
                && let Err(stop) = self.walk.value(item.get(), self.step)
            {
                *self.stop = Some(stop);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
