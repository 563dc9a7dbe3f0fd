//! What could not be carried over, and why, line by line.

use std::collections::HashSet;
use std::fmt;

use portcullis_config::message::{Masked, Message, message};

use super::words::{hides_the_rest, is_known};

/// Everything the reader of the result must know. Displays as one line each: `file:line: not carried over: ...`.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    file: String,
    list: Vec<Note>,
    /// The file's names for its own parts, which the resulting configuration has too.
    names: HashSet<String>,
}

/// A part of the file that is imported, for a note. Of its words those are shown that are no secrets for certain.
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

/// Words of the file.
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

    /// Takes a word of the file for the name of one of its parts.
    pub(super) fn learn(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// Words of the file as a note may repeat them.
    pub(super) fn quote(&self, text: &str) -> Masked {
        Masked::line(text, |word| is_known(word, |part| self.names.contains(part)), hides_the_rest)
    }

    /// `what` of that line has no counterpart, or its meaning is in doubt.
    pub(super) fn left_out(&mut self, line: usize, what: impl What, why: impl Into<Message>) {
        let text = message!("not carried over: {}: {}", what.message(self), why.into());
        self.push(None, line, text);
    }

    /// As [`Self::left_out`], for a line of another file.
    pub(super) fn left_out_of(&mut self, file: &str, line: usize, what: impl What, why: impl Into<Message>) {
        let text = message!("not carried over: {}: {}", what.message(self), why.into());
        self.push(Some(shown(file)), line, text);
    }

    /// Carried over, with something to know about it.
    pub(super) fn remark(&mut self, line: usize, text: impl Into<Message>) {
        self.push(None, line, message!("note: {}", text.into()));
    }

    fn push(&mut self, file: Option<String>, line: usize, text: Message) {
        let note = Note { file, line, text: shown(&text.into_string()) };
        if !self.list.contains(&note) {
            self.list.push(note);
        }
    }
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list: Vec<&Note> = self.list.iter().collect();
        list.sort_by_key(|note| (&note.file, note.line));
        for Note { file, line, text } in list {
            writeln!(f, "{}:{line}: {text}", file.as_ref().unwrap_or(&self.file))?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    /// `None`: the file that is imported.
    file: Option<String>,
    line: usize,
    text: String,
}

/// Returns text for one line of output: without control characters, and of limited length.
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
