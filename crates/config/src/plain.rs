//! Plain-text lists: addresses with commas or line ends between them, and comments.
//!
//! A comment begins at the first `#` or `;` of a line and ends with the line.

use std::net::Ipv6Addr;
use std::ops::Range;

/// An entry of a list, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'t> {
    pub(crate) text: &'t str,
    /// The line, from 1.
    pub(crate) line: u32,
    /// The column, from 1, in characters.
    pub(crate) column: u32,
    /// The offset of the entry in the whole text, in bytes.
    pub(crate) at: usize,
    /// Whether the entry stands behind another one and a `;`. It is a comment by its form, but an address by its look.
    pub(crate) behind_semicolon: bool,
}

impl Listed<'_> {
    fn range(&self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }
}

/// Returns the entries of a list in order. Their addresses may be invalid.
pub(crate) fn entries(text: &str) -> impl Iterator<Item = Listed<'_>> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut at = text.len() - body.len();
    (1_u32..).zip(body.split_inclusive('\n')).flat_map(move |(number, whole)| {
        let start = at;
        at += whole.len();
        Line::new(whole, number, start)
    })
}

/// Returns the text without the entries of these numbers, which are in ascending order. Addresses behind a `;` do not
/// count. A line without another entry is
/// removed with its comment.
pub(crate) fn without(text: &str, dropped: &[usize]) -> String {
    let all: Vec<Listed<'_>> = entries(text).filter(|listed| !listed.behind_semicolon).collect();
    let is_dropped: Vec<bool> = (0..all.len()).map(|at| dropped.binary_search(&at).is_ok()).collect();
    let mut kept = String::with_capacity(text.len());
    let mut done = 0;
    let mut cut = |range: Range<usize>| {
        kept.push_str(text.get(done..range.start).unwrap_or_default());
        done = done.max(range.end);
    };
    for (entries, dropped) in by_line(&all, &is_dropped) {
        if dropped.iter().all(|dropped| *dropped) {
            cut(line_around(text, entries[0].at));
            continue;
        }
        let mut last_kept = None;
        for (at, (entry, dropped)) in entries.iter().zip(dropped).enumerate() {
            match (dropped, entries.get(at + 1), last_kept) {
                (false, ..) => last_kept = Some(entry.range().end),
                // With the comma behind it, up to the next entry.
                (true, Some(next), None) => cut(entry.at..next.at),
                // With the comma before it.
                (true, _, Some(before)) => {
                    cut(before..entry.range().end);
                    last_kept = Some(entry.range().end);
                }
                (true, None, None) => {}
            }
        }
    }
    kept.push_str(text.get(done..).unwrap_or_default());
    kept
}

/// Splits the entries, and the marks of each, into lines.
fn by_line<'a, 't>(
    all: &'a [Listed<'t>],
    marks: &'a [bool],
) -> impl Iterator<Item = (&'a [Listed<'t>], &'a [bool])> {
    let mut at = 0;
    all.chunk_by(|one, next| one.line == next.line).map(move |line| {
        let from = at;
        at += line.len();
        (line, marks.get(from..at).unwrap_or_default())
    })
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let body = text.strip_prefix('\u{feff}').map_or(0, |body| text.len() - body.len());
    let start = text[..at].rfind('\n').map_or(body, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
    start..end
}

/// The entries of one line.
struct Line<'t> {
    whole: &'t str,
    number: u32,
    start: usize,
    /// The end of the entries in the line: a comment, or the end of the line.
    end: usize,
    /// The offset of the next entry in the line. Beyond the end: there is none.
    next: usize,
    /// A part of the line, and its length in characters: counting from the start for each entry would be quadratic.
    counted: (usize, u32),
    found: bool,
}

impl<'t> Line<'t> {
    fn new(whole: &'t str, number: u32, start: usize) -> Self {
        let end = whole.find(['#', ';']).unwrap_or(whole.len());
        Self { whole, number, start, end, next: 0, counted: (0, 0), found: false }
    }

    fn listed(&mut self, text: &'t str, from: usize, behind_semicolon: bool) -> Listed<'t> {
        let (counted, characters) = self.counted;
        let more = self.whole.get(counted..from).map_or(0, |part| part.chars().count());
        let column = characters.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        self.counted = (from, column);
        Listed {
            text,
            line: self.number,
            column: column.saturating_add(1),
            at: self.start + from,
            behind_semicolon,
        }
    }

    /// Returns a word behind a `;` that looks like an address: the writer may have meant a list.
    fn address_in_comment(&mut self) -> Option<Listed<'t>> {
        let comment = self.whole.get(self.end..)?.strip_prefix(';').filter(|_| self.found)?;
        self.found = false;
        let mut pieces = comment.split('#').next()?.split([',', ';']);
        let word = pieces.find_map(|piece| piece.split_whitespace().next())?;
        if !looks_like_address(word) {
            return None;
        }
        let from = self.end + 1 + comment.find(word)?;
        Some(self.listed(word, from, true))
    }
}

impl<'t> Iterator for Line<'t> {
    type Item = Listed<'t>;

    fn next(&mut self) -> Option<Listed<'t>> {
        while self.next <= self.end {
            let rest = self.whole.get(self.next..self.end)?;
            let piece = rest.split(',').next()?;
            let from = self.next + (piece.len() - piece.trim_ascii_start().len());
            self.next += piece.len() + 1;
            let text = piece.trim_ascii();
            if !text.is_empty() {
                self.found = true;
                return Some(self.listed(text, from, false));
            }
        }
        self.address_in_comment()
    }
}

/// Returns whether a word is an address, or was meant to be one: `10.0.0.2/8`, `10.0.0.2:80`, `"10.0.0.2"`.
fn looks_like_address(word: &str) -> bool {
    let word = word.trim_start_matches(['"', '\'', '[', '(']);
    let dotted = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let colons = word.find(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.').unwrap_or(word.len());
    let begins_with = |end: usize| word.get(..end).unwrap_or_default();
    begins_with(dotted).split('.').filter(|part| !part.is_empty()).count() == 4
        || begins_with(colons).parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests;
