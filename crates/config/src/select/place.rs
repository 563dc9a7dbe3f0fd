//! Lines and columns of offsets.

use std::sync::Arc;

use crate::problem::Position;

/// Lines and columns of ascending offsets: each looks on from the one before, so a long line is read once.
pub(crate) struct Places<'t> {
    text: &'t str,
    file: Arc<str>,
    at: usize,
    line: u32,
    column: u32,
}

impl<'t> Places<'t> {
    pub(crate) fn new(text: &'t str, file: &Arc<str>) -> Self {
        Self { text, file: Arc::clone(file), at: 0, line: 1, column: 1 }
    }

    /// The place of an offset. One that is not above the last counts from the start.
    pub(crate) fn of(&mut self, at: usize) -> Position {
        if at < self.at {
            (self.at, self.line, self.column) = (0, 1, 1);
        }
        for character in self.text.get(self.at..at).unwrap_or_default().chars() {
            match character {
                '\n' => (self.line, self.column) = (self.line.saturating_add(1), 1),
                _ => self.column = self.column.saturating_add(1),
            }
        }
        self.at = at;
        Position { file: Arc::clone(&self.file), line: self.line, column: self.column }
    }

    /// The place of an error of the parser, which counts from an offset, and whose columns are bytes.
    pub(crate) fn of_error(&mut self, from: usize, error: &serde_json::Error) -> Position {
        let read = self.text.get(from..).unwrap_or_default();
        let before = read.split_inclusive('\n').take(error.line().saturating_sub(1));
        let line: usize = before.map(str::len).sum();
        let mut at = (from + line + error.column().saturating_sub(1)).min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        self.of(at)
    }
}
