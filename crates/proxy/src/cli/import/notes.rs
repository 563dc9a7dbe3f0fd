//! What could not be carried over, and why, line by line.

use std::fmt;

/// Everything the reader of the result must know. Displays as one line each: `file:line: not carried over: ...`.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    file: String,
    list: Vec<Note>,
}

impl Notes {
    pub(super) fn of(file: &str) -> Self {
        Self { file: shown(file), list: Vec::new() }
    }

    /// `what` of that line has no counterpart, or its meaning is in doubt.
    pub(super) fn left_out(&mut self, line: usize, what: &str, why: &str) {
        self.push(None, line, format!("not carried over: {}: {why}", shown(what)));
    }

    /// As [`Self::left_out`], for a line of another file.
    pub(super) fn left_out_of(&mut self, file: &str, line: usize, what: &str, why: &str) {
        self.push(Some(shown(file)), line, format!("not carried over: {}: {why}", shown(what)));
    }

    /// Carried over, with something to know about it.
    pub(super) fn remark(&mut self, line: usize, text: &str) {
        self.push(None, line, format!("note: {text}"));
    }

    fn push(&mut self, file: Option<String>, line: usize, text: String) {
        let note = Note { file, line, text };
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

/// Foreign text for one line of output: no control characters, not endless.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 160;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().map(clean).take(LONGEST).collect();
    if text.chars().count() > LONGEST {
        shown.push_str("...");
    }
    shown
}
