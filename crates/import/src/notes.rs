//! Notes of an import: which lines were not carried over, and why.

use std::collections::HashSet;
use std::fmt;

use portcullis_config::message::{Masked, Message, message};

use super::at::At;
use super::words::{hides_the_rest, is_known};

/// Notes for the reader of the result. `Display` writes one line each, sorted by place: `file:line: not carried over:
/// ...`.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    file: String,
    list: Vec<Note>,
    /// The names that the file gives to its own parts. The resulting configuration shows them too, so they are not
    /// secret.
    names: HashSet<String>,
}

/// A part of the imported file, as a note names it. Only words that are certainly not secret are shown.
pub(super) trait What {
    fn message(self, notes: &Notes) -> Message;
}

impl What for Message {
    fn message(self, _: &Notes) -> Message {
        self
    }
}

impl What for &'static str {
    fn message(self, _: &Notes) -> Message {
        self.into()
    }
}

/// Text of the imported file, which may contain secrets.
#[derive(Clone, Copy)]
pub(super) struct Foreign<'t>(pub(super) &'t str);

impl What for Foreign<'_> {
    fn message(self, notes: &Notes) -> Message {
        message!("{}", notes.quote(self.0))
    }
}

impl Notes {
    pub(super) fn of(file: &str) -> Self {
        Self { file: shown(file), list: Vec::new(), names: HashSet::new() }
    }

    /// Adds a name that the file gives to one of its parts. Notes may then repeat it.
    pub(super) fn learn(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// Returns text of the file with every word masked that a note must not repeat.
    pub(super) fn quote(&self, text: &str) -> Masked {
        Masked::line(text, |word| is_known(word, |part| self.names.contains(part)), hides_the_rest)
    }

    /// Adds a note that `what` at this place has no counterpart, or that its meaning is in doubt.
    pub(super) fn left_out(&mut self, at: impl Into<At>, what: impl What, why: impl Into<Message>) {
        let text = message!("not carried over: {}: {}", what.message(self), why.into());
        self.push(at.into(), text);
    }

    /// Adds a note about something that was carried over and that the reader must know.
    pub(super) fn remark(&mut self, at: impl Into<At>, text: impl Into<Message>) {
        self.push(at.into(), message!("note: {}", text.into()));
    }

    fn push(&mut self, at: At, text: Message) {
        let note = Note { at, text: shown(&text.into_string()) };
        if !self.list.contains(&note) {
            self.list.push(note);
        }
    }
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list: Vec<&Note> = self.list.iter().collect();
        list.sort_by_key(|note| &note.at);
        for Note { at, text } in list {
            writeln!(f, "{}: {text}", at.in_file(&self.file))?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    at: At,
    text: String,
}

/// Returns the text as one line of output: without control characters, and cut after 400 characters.
#[must_use]
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 400;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().map(clean).take(LONGEST).collect();
    if text.chars().count() > LONGEST {
        shown.push_str("...");
    }
    shown
}
