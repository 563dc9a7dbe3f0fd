//! Characters that many programs show as the end of a line, and other control characters. In a list only LF ends a line,
//! so an address behind such a character can be in a comment.

use std::fmt;

use crate::message::Harmless;

/// A control character or a line separator other than a tab, LF and CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddCharacter {
    character: char,
    /// The line, from 1. Only LF ends a line.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

impl OddCharacter {
    /// Returns the first such character of a text.
    #[must_use]
    pub fn first(text: &str) -> Option<Self> {
        let (at, character) = text.char_indices().find(|(at, c)| is_odd(*c, &text[at + c.len_utf8()..]))?;
        let before = &text[..at];
        let (lines, line) = match before.rfind('\n') {
            Some(end) => (before[..=end].matches('\n').count(), &before[end + 1..]),
            None => (0, before),
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
        Some(Self { character, line: number(lines), column: number(line.chars().count()) })
    }
}

impl fmt::Display for OddCharacter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.character {
            '\r' => f.write_str("a carriage return (CR) without a line feed"),
            '\u{b}' => f.write_str("a vertical tab (VT)"),
            '\u{c}' => f.write_str("a form feed (FF)"),
            '\u{85}' => f.write_str("a next line (NEL)"),
            '\u{2028}' => f.write_str("a line separator (U+2028)"),
            '\u{2029}' => f.write_str("a paragraph separator (U+2029)"),
            other => write!(f, "a control character (U+{:04X})", u32::from(other)),
        }
    }
}

impl Harmless for OddCharacter {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn is_odd(c: char, rest: &str) -> bool {
    match c {
        '\t' | '\n' => false,
        '\r' => !rest.starts_with('\n'),
        '\u{2028}' | '\u{2029}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_odd_character_has_a_place() {
        for (text, found) in [
            ("", None),
            ("\u{feff}# caf\u{e9}\t\r\n10.0.0.1\n", None),
            ("10.0.0.1\r\n# a\r10.0.0.2\r\n", Some((2, 4))),
            ("10.0.0.1\r", Some((1, 9))),
            ("\r\r\n", Some((1, 1))),
            ("# \u{e9}\u{b}10.0.0.2\n", Some((1, 4))),
            ("\n\n#\u{c}10.0.0.2\n", Some((3, 2))),
            ("# a\u{85}10.0.0.2\n", Some((1, 4))),
            ("# a\u{2028}10.0.0.2\n", Some((1, 4))),
            ("# a\u{2029}10.0.0.2\n", Some((1, 4))),
            ("10.0.0.1 # \u{1b}[2K\n", Some((1, 12))),
            ("10.0.0.1\n\0", Some((2, 1))),
        ] {
            let first = OddCharacter::first(text);
            assert_eq!(first.map(|odd| (odd.line, odd.column)), found, "{text:?}");
        }
        let shown = |text| OddCharacter::first(text).unwrap().to_string();
        assert_eq!(shown("\u{1b}"), "a control character (U+001B)");
        assert_eq!(shown("#\r#"), "a carriage return (CR) without a line feed");
    }
}
