//! A new entry of a group, as the operator writes it.

use portcullis_acl::{Cidr, CidrError, UnixSeconds};
use thiserror::Error;

use crate::value::time;

/// An entry that an operator adds to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    cidr: Cidr,
    note: Option<String>,
    owner: Option<String>,
    /// The expiry time as it was written, and its value.
    until: Option<(String, UnixSeconds)>,
    even_if_covered: bool,
}

impl NewEntry {
    /// Makes an entry without note, owner or end.
    pub fn new(cidr: Cidr) -> Self {
        Self { cidr, note: None, owner: None, until: None, even_if_covered: false }
    }

    /// Reads an address or a network in the strict form of the configuration.
    ///
    /// # Errors
    /// The text is not an address; the error names the corrected form.
    pub fn parse(text: &str) -> Result<Self, BadEntry> {
        let bad = |error| BadEntry::Address { text: text.escape_debug().to_string(), error };
        text.parse().map(Self::new).map_err(bad)
    }

    /// Sets the reason for the entry.
    ///
    /// # Errors
    /// The note is empty, or contains control characters.
    pub fn with_note(self, note: &str) -> Result<Self, BadEntry> {
        Ok(Self { note: Some(words("note", note)?), ..self })
    }

    /// Sets the person or team responsible for the entry.
    ///
    /// # Errors
    /// As for [`Self::with_note`].
    pub fn with_owner(self, owner: &str) -> Result<Self, BadEntry> {
        Ok(Self { owner: Some(words("owner", owner)?), ..self })
    }

    /// Sets the time at which the entry expires: RFC 3339, with an offset.
    ///
    /// # Errors
    /// The text is not a date and time with an offset.
    pub fn with_until(self, until: &str) -> Result<Self, BadEntry> {
        let at = time::parse(until)
            .map_err(|hint| BadEntry::DateTime { text: until.escape_debug().to_string(), hint })?;
        Ok(Self { until: Some((until.to_owned(), at)), ..self })
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
        self.note.as_deref()
    }

    /// The time at which the entry expires.
    pub fn until(&self) -> Option<UnixSeconds> {
        self.until.as_ref().map(|(_, at)| *at)
    }

    /// Whether the entry is added even where another one covers it.
    pub(super) fn is_wanted(&self) -> bool {
        self.even_if_covered || self.note.is_some() || self.owner.is_some() || self.until.is_some()
    }

    /// The first of its keys that a plain-text list cannot hold.
    pub(super) fn needs_yaml(&self) -> Option<&'static str> {
        match (&self.owner, &self.until) {
            (_, Some(_)) => Some("until"),
            (Some(_), None) => Some("owner"),
            (None, None) => None,
        }
    }

    /// Returns the entry as an item of a YAML list, in a form that fits in brackets and after a dash.
    pub fn as_yaml(&self) -> String {
        let text = self.cidr.to_string();
        // Colons end a key in some places and not in others.
        let cidr = if text.contains(':') { format!("\"{text}\"") } else { text };
        if self.note.is_none() && self.owner.is_none() && self.until.is_none() {
            return cidr;
        }
        let note = self.note.as_deref().map(|note| format!(", note: {}", quoted(note)));
        let owner = self.owner.as_deref().map(|owner| format!(", owner: {}", quoted(owner)));
        let until = self.until.as_ref().map(|(until, _)| format!(", until: {until}"));
        let said: String = [note, owner, until].into_iter().flatten().collect();
        format!("{{cidr: {cidr}{said}}}")
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
        hint: &'static str,
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
            Self::Address { error, .. } => error.hint(),
            Self::DateTime { hint, .. } => (*hint).to_owned(),
            Self::Words { .. } => "write one line of text, or omit it".to_owned(),
        }
    }
}

fn words(key: &'static str, text: &str) -> Result<String, BadEntry> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
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
