//! Escapes bytes from outside for log lines.

use std::fmt::{self, Write};

/// Text from outside, made safe to read: control characters, line breaks of any kind and bytes that are not UTF-8
/// become `\xNN` or `\u{NNNN}`, a backslash is doubled, and at most [`Escaped::MAX`] bytes of it are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a> {
    bytes: &'a [u8],
    form: Form,
    cut: bool,
}

/// The context of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One text among others; its backslashes are doubled, so that what is an escape is certain.
    Part,
    /// A line that may already hold escapes.
    TextLine,
    /// A line of JSON, where only strings can hold what needs escaping.
    JsonLine,
}

impl<'a> Escaped<'a> {
    /// Length that Redis shows of a client's text in its own errors.
    pub(crate) const MAX: usize = 128;

    /// At most [`Self::MAX`] bytes.
    pub(crate) fn new(text: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        let bytes = text.as_ref();
        let shown = bytes.get(..Self::MAX).unwrap_or(bytes);
        Self { bytes: shown, form: Form::Part, cut: shown.len() < bytes.len() }
    }

    /// All of it.
    pub(super) fn line(line: &'a [u8], form: Form) -> Self {
        Self { bytes: line, form, cut: false }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' if self.form == Form::Part => f.write_str("\\\\")?,
                    unsafe_one if !is_harmless(unsafe_one) => write_escape(f, unsafe_one, self.form)?,
                    harmless => f.write_char(harmless)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if self.cut { f.write_str("...") } else { Ok(()) }
    }
}

fn write_escape(f: &mut fmt::Formatter<'_>, character: char, form: Form) -> fmt::Result {
    match u32::from(character) {
        code if form == Form::JsonLine => write!(f, "\\u{code:04x}"),
        code if code < 0x80 => write!(f, "\\x{code:02x}"),
        code => write!(f, "\\u{{{code:x}}}"),
    }
}

/// C0 and C1 controls steer terminals; U+2028, U+2029 are line breaks to some readers; the bidirectional controls make a
/// line read as something else than it is.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a line can be written as it is.
pub(super) fn is_clean(line: &[u8]) -> bool {
    let plain = |byte: &u8| (0x20..0x7f).contains(byte);
    line.iter().all(plain) || std::str::from_utf8(line).is_ok_and(|text| text.chars().all(is_harmless))
}
