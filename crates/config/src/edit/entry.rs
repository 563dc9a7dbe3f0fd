//! An entry of a group, as the operator writes it.

use std::borrow::Cow;

use portcullis_acl::{Cidr, CidrError, UnixSeconds};
use thiserror::Error;

use super::until::End;
use crate::breaks::OddCharacter;
use crate::value::time;

/// A note, an owner or an end, as far as an operator gives one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Detail<T> {
    /// Not given: an existing entry keeps its own.
    #[default]
    Kept,
    /// An existing entry loses its own.
    Cleared,
    Set(T),
}

impl<T> Detail<T> {
    fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Kept | Self::Cleared => None,
        }
    }
}

/// An entry that an operator adds to a group, or changes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    cidr: Cidr,
    note: Detail<String>,
    owner: Detail<String>,
    until: Detail<End>,
    even_if_covered: bool,
}

/// The details of an entry in the words of an operator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Details<'t> {
    /// The reason for the entry; an empty one clears it.
    pub note: Option<&'t str>,
    /// The person or team responsible for the entry; an empty one clears it.
    pub owner: Option<&'t str>,
    /// The end: a duration, a date, RFC 3339, or `never`.
    pub until: Option<&'t str>,
}

/// A key of an entry in the file, and its value as YAML; `None` removes the key.
pub(super) type Setting = (&'static str, Option<String>);

impl NewEntry {
    /// Makes an entry without note, owner or end.
    pub fn new(cidr: Cidr) -> Self {
        let (note, owner, until) = (Detail::Kept, Detail::Kept, Detail::Kept);
        Self { cidr, note, owner, until, even_if_covered: false }
    }

    /// Reads an address or a network in the strict form of the configuration.
    ///
    /// # Errors
    /// The text is not an address; the error names the corrected form.
    pub fn parse(text: &str) -> Result<Self, BadEntry> {
        let bad = |error| BadEntry::Address { text: text.escape_debug().to_string(), error };
        text.parse().map(Self::new).map_err(bad)
    }

    /// Sets the details that are given; durations count from `now`.
    ///
    /// # Errors
    /// As for [`Self::with_note`] and [`Self::with_until`].
    pub fn with(mut self, details: &Details<'_>, now: UnixSeconds) -> Result<Self, BadEntry> {
        match details.note {
            Some("") => self.note = Detail::Cleared,
            Some(note) => self = self.with_note(note)?,
            None => {}
        }
        match details.owner {
            Some("") => self.owner = Detail::Cleared,
            Some(owner) => self = self.with_owner(owner)?,
            None => {}
        }
        match details.until {
            Some(until) => self.with_until(until, now),
            None => Ok(self),
        }
    }

    /// Sets the reason for the entry.
    ///
    /// # Errors
    /// The note is empty, or contains control characters.
    pub fn with_note(self, note: &str) -> Result<Self, BadEntry> {
        Ok(Self { note: Detail::Set(words("note", note)?), ..self })
    }

    /// Sets the person or team responsible for the entry.
    ///
    /// # Errors
    /// As for [`Self::with_note`].
    pub fn with_owner(self, owner: &str) -> Result<Self, BadEntry> {
        Ok(Self { owner: Detail::Set(words("owner", owner)?), ..self })
    }

    /// Sets the time at which the entry expires: `8h` or `2d` from `now`, the end of `2026-12-31` in the local zone,
    /// RFC 3339 with an offset, or `never`.
    ///
    /// # Errors
    /// The text is none of these, or that time has passed.
    pub fn with_until(self, until: &str, now: UnixSeconds) -> Result<Self, BadEntry> {
        let end = End::parse(until, now)?;
        if let Some(end) = end.as_ref().filter(|end| end.at() <= now) {
            return Err(BadEntry::Past { text: until.to_owned(), end: end.to_string() });
        }
        let until = end.map_or(Detail::Cleared, Detail::Set);
        Ok(Self { until, ..self })
    }

    /// Adds the entry even where another one covers it.
    pub fn even_if_covered(self) -> Self {
        Self { even_if_covered: true, ..self }
    }

    /// The network.
    pub fn cidr(&self) -> Cidr {
        self.cidr
    }

    /// The reason for the entry.
    pub fn note(&self) -> Option<&str> {
        self.note.value().map(String::as_str)
    }

    /// The time at which the entry expires.
    pub fn until(&self) -> Option<&End> {
        self.until.value()
    }

    /// Whether the entry is added even where another one covers it.
    pub(super) fn is_wanted(&self) -> bool {
        self.even_if_covered || !self.is_bare()
    }

    /// Whether it asks for a change of an existing entry.
    pub(super) fn has_details(&self) -> bool {
        self.note != Detail::Kept || self.owner != Detail::Kept || self.until != Detail::Kept
    }

    /// Whether it is an address without details.
    pub(super) fn is_bare(&self) -> bool {
        self.note().is_none() && self.owner.value().is_none() && self.until().is_none()
    }

    /// The first of its keys that a plain-text list cannot hold.
    pub(super) fn needs_yaml(&self) -> Option<&'static str> {
        match (self.owner.value(), self.until()) {
            (_, Some(_)) => Some("until"),
            (Some(_), None) => Some("owner"),
            (None, None) => None,
        }
    }

    /// The note that the comment of a plain-text list gets; `None`: the comment stays.
    pub(super) fn comment(&self) -> Option<&str> {
        match &self.note {
            Detail::Kept => None,
            Detail::Cleared => Some(""),
            Detail::Set(note) => Some(note),
        }
    }

    /// Returns the values that an entry with these `note`, `owner` and `until` has after the change.
    pub(super) fn applied_to<'t>(&'t self, known: [Option<&'t str>; 3]) -> [Option<&'t str>; 3] {
        fn change<'t>(detail: &'t Detail<String>, known: Option<&'t str>) -> Option<&'t str> {
            match detail {
                Detail::Kept => known,
                Detail::Cleared => None,
                Detail::Set(value) => Some(value),
            }
        }
        let [note, owner, until] = known;
        let until = match &self.until {
            Detail::Kept => until,
            Detail::Cleared => None,
            Detail::Set(end) => Some(end.written()),
        };
        [change(&self.note, note), change(&self.owner, owner), until]
    }

    /// The keys that it sets or clears, in the order of the file.
    pub(super) fn settings(&self) -> Vec<Setting> {
        fn setting<T>(key: &'static str, detail: &Detail<T>, text: impl Fn(&T) -> String) -> Option<Setting> {
            match detail {
                Detail::Kept => None,
                Detail::Cleared => Some((key, None)),
                Detail::Set(value) => Some((key, Some(text(value)))),
            }
        }
        let all = [
            setting("note", &self.note, |note| quoted(note)),
            setting("owner", &self.owner, |owner| quoted(owner)),
            setting("until", &self.until, |end| end.written().to_owned()),
        ];
        all.into_iter().flatten().collect()
    }

    /// Returns the network as YAML.
    pub(super) fn address(&self) -> String {
        let text = self.cidr.to_string();
        // Colons end a key in some places and not in others.
        if text.contains(':') { format!("\"{text}\"") } else { text }
    }

    /// Returns the entry as an item of a YAML list, in a form that fits in brackets and after a dash.
    pub fn as_yaml(&self) -> String {
        let details: String = self
            .settings()
            .into_iter()
            .filter_map(|(key, value)| Some(format!(", {key}: {}", value?)))
            .collect();
        let cidr = self.address();
        if details.is_empty() { cidr } else { format!("{{cidr: {cidr}{details}}}") }
    }

    /// Returns the lines of the entry as a block mapping, without the dash of the first one.
    pub(super) fn as_lines(&self) -> Vec<String> {
        let details =
            self.settings().into_iter().filter_map(|(key, value)| Some(format!("{key}: {}", value?)));
        std::iter::once(format!("cidr: {}", self.address())).chain(details).collect()
    }
}

/// Reads RFC 3339 with an offset.
pub fn parse_time(text: &str) -> Option<UnixSeconds> {
    time::parse(text).ok()
}

/// The fault of an entry that cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadEntry {
    /// The text is not an address or a network.
    #[error("'{text}': {error}")]
    Address {
        /// The text as it was written.
        text: String,
        /// The fault.
        error: CidrError,
    },
    /// The text is not a date and time.
    #[error("'{text}' is not a valid date and time")]
    DateTime {
        /// The text as it was written.
        text: String,
        /// The right form.
        hint: Cow<'static, str>,
    },
    /// The time has passed, so that the entry would admit no client.
    #[error("'{text}' has passed: the entry would have ended at {end}")]
    Past {
        /// The text as it was written.
        text: String,
        /// The moment that it stands for.
        end: String,
    },
    /// A note or an owner that is empty or not one line of text.
    #[error("the {key} must be one line of text")]
    Words {
        /// `note` or `owner`.
        key: &'static str,
    },
}

impl BadEntry {
    /// The text to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Address { text, error: CidrError::HostName } => format!(
                "write its address; to admit the addresses of the name, write {{host: {text}}} into the group in the file"
            ),
            Self::Address { error, .. } => error.hint(),
            Self::DateTime { hint, .. } => hint.clone().into_owned(),
            Self::Past { .. } => "give a later time; to end an entry now, remove it".to_owned(),
            Self::Words { .. } => {
                "write one line of text without invisible characters, or omit it".to_owned()
            }
        }
    }
}

fn words(key: &'static str, text: &str) -> Result<String, BadEntry> {
    let text = text.trim();
    let is_plain = OddCharacter::first(text).is_none() && !text.contains(char::is_control);
    if text.is_empty() || text.starts_with('\u{feff}') || !is_plain {
        return Err(BadEntry::Words { key });
    }
    Ok(text.to_owned())
}

/// Quotes a text: plain if no YAML program could read it as another type, else in the double quotes of JSON, which
/// YAML reads.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '/' | '@' | '+');
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain);
    let lower = text.to_ascii_lowercase();
    let meant = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"].contains(&lower.as_str());
    if word && !meant { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
