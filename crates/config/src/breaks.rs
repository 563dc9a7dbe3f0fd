//! Characters after which a reader does not see what the loader reads: those that many programs show as the end of a line,
//! other control characters, and invisible ones. In a list only LF ends a line, so an address behind such a character can
//! be in a comment. A text-direction character shows the characters behind it in another order.

use std::fmt;

use crate::message::Harmless;

/// Editors of some systems write it at the beginning of a file. Elsewhere it has no width and no meaning.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A control character or a line separator other than a tab, LF and CRLF, or an invisible character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddCharacter {
    character: char,
    /// The line, from 1. Only LF ends a line.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

impl OddCharacter {
    /// Returns the first such character of a text. A byte order mark at its beginning is none.
    #[must_use]
    pub fn first(text: &str) -> Option<Self> {
        let is_mark = |at: usize, c: char| at == 0 && c == BYTE_ORDER_MARK;
        let (at, character) = text
            .char_indices()
            .find(|(at, c)| !is_mark(*at, *c) && is_odd(*c, &text[at + c.len_utf8()..]))?;
        let before = &text[..at];
        let (lines, line) = match before.rfind('\n') {
            Some(end) => (before[..=end].matches('\n').count(), &before[end + 1..]),
            None => (0, before),
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
        Some(Self { character, line: number(lines), column: number(line.chars().count()) })
    }

    /// Whether a reader sees no sign of the character.
    #[must_use]
    pub fn is_invisible(&self) -> bool {
        is_direction(self.character) || is_invisible(self.character)
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
            other => {
                let kind = match other {
                    c if is_direction(c) => "a text-direction character",
                    c if is_invisible(c) => "an invisible character",
                    _ => "a control character",
                };
                write!(f, "{kind} (U+{:04X})", u32::from(other))
            }
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
        c => c.is_control() || is_direction(c) || is_invisible(c),
    }
}

/// Whether a program that shows the character may change the order of the characters around it (Unicode Standard Annex 9).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether the character has no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | BYTE_ORDER_MARK)
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
            ("\u{feff}\u{feff}10.0.0.1\n", Some((1, 2))),
            ("10.0.0.1\u{feff}\n", Some((1, 9))),
            ("# only \u{202e}1.0.0.01\n", Some((1, 8))),
            ("\n10.0\u{200b}.0.1\n", Some((2, 5))),
        ] {
            let first = OddCharacter::first(text);
            assert_eq!(first.map(|odd| (odd.line, odd.column)), found, "{text:?}");
        }
        let ranges = [0x61c..=0x61c, 0x200b..=0x200f, 0x202a..=0x202e, 0x2060..=0x2060, 0x2066..=0x2069];
        for character in ranges.into_iter().flatten().filter_map(char::from_u32) {
            let odd = OddCharacter::first(&format!("10.0.0.1 # {character}")).unwrap();
            assert!(odd.is_invisible() && odd.column == 12, "{odd}");
        }
        assert!(!OddCharacter::first("\r").unwrap().is_invisible());
        let shown = |text| OddCharacter::first(text).unwrap().to_string();
        assert_eq!(shown("\u{1b}"), "a control character (U+001B)");
        assert_eq!(shown("\u{202e}"), "a text-direction character (U+202E)");
        assert_eq!(shown("x\u{feff}"), "an invisible character (U+FEFF)");
        assert_eq!(shown("#\r#"), "a carriage return (CR) without a line feed");
    }
}
