//! Decides which part of a value a message may show: text that cannot be a secret, or that is close to a known word.

use std::fmt;
use std::path::Path;

use portcullis_acl::spelling::nearest;

use super::Harmless;

/// A value as a message may show it, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked(String);

/// The mark in place of text that is not shown.
const HIDDEN: &str = "***";
/// Small letters that are too few for a password.
const NO_SECRET: usize = 3;
/// The longest address with its prefix length: six groups, dots and `/128`.
const LONGEST_VALUE: usize = 49;
/// A port has five digits. More in a row may be a number that serves as a password.
const LONGEST_NUMBER: usize = 5;
/// Digests and keys have longer runs than names.
const LONGEST_NAME: usize = 60;
/// A run of letters of both cases and digits: base64 has them, names that people give do not.
const LONGEST_MIXED: usize = 24;
const LONGEST_PATH: usize = 1024;

impl Masked {
    /// Masks any value: addresses and quantities are shown, of others only the shape.
    pub fn of(text: &str) -> Self {
        let is_short = text.len() <= NO_SECRET && text.bytes().all(|byte| byte.is_ascii_lowercase());
        if is_short && !text.is_empty() { Self(text.to_owned()) } else { Self::word(text) }
    }

    /// Masks a part of a longer value.
    fn word(text: &str) -> Self {
        if is_harmless(text) {
            return Self(clean(text));
        }
        match text.split_once('%') {
            Some((address, _)) if is_address(address) => Self(format!("{address}%{HIDDEN}")),
            _ => Self(shape(text)),
        }
    }

    /// Masks a value that must be one of a few words: it is shown if it is close to one of them.
    pub fn near(text: &str, known: &[&str]) -> Self {
        if nearest(text, known).is_some() { Self(clean(text)) } else { Self::of(text) }
    }

    /// Shows a word that is one of the expected words, or close to one.
    pub fn known(text: &str) -> Self {
        Self(clean(text))
    }

    /// Masks a name that the file gives to its own parts, which logs and metrics also show.
    pub fn name(text: &str) -> Self {
        let body = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let is_name = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(body);
        if is_name { Self(text.to_owned()) } else { Self::of(text) }
    }

    /// Masks a list of such names.
    pub fn names<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let names: Vec<String> = names.into_iter().map(|name| Self::name(name).0).collect();
        Self(names.join(", "))
    }

    /// Masks the name of a file or a socket: a text that was meant for the content of the file is hidden.
    pub fn path(path: &Path) -> Self {
        let text = path.display().to_string();
        let sane = |c: char| c.is_alphanumeric() || "/._-,~ ".contains(c);
        let is_path = text.len() <= LONGEST_PATH && text.chars().all(sane);
        let is_path = is_path && !text.split(['/', '.']).any(is_like_a_key);
        if is_path { Self(text) } else { Self(shape(&text)) }
    }

    /// Masks the name of an environment variable.
    pub fn variable(text: &str) -> Self {
        let body = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_variable = text.len() <= LONGEST_NAME && text.chars().all(body);
        if is_variable { Self(text.to_owned()) } else { Self(shape(text)) }
    }

    /// Masks a date and a time.
    pub fn date_time(text: &str) -> Self {
        let fits = |c: char| c.is_ascii_digit() || "-+:.TtZz ".contains(c);
        let is_date_time = text.len() <= LONGEST_VALUE && numbers_are_short(text) && text.chars().all(fits);
        if is_date_time { Self(text.to_owned()) } else { Self::of(text) }
    }

    /// Masks a line of another program's file: words in `known` are shown, up to one after which the rest may be a
    /// secret.
    pub fn line(text: &str, known: impl Fn(&str) -> bool, is_last: impl Fn(&str) -> bool) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut hidden = false;
        for word in text.split_whitespace() {
            if words.len() == MOST_WORDS {
                words.push("...".to_owned());
                break;
            }
            words.push(match word.split_once('=') {
                _ if hidden => HIDDEN.to_owned(),
                _ if known(word) => clean(word),
                Some((key, _)) if known(key) => format!("{}={HIDDEN}", clean(key)),
                _ => match word.split_once('(') {
                    Some((name, _)) if known(name) => format!("{}({HIDDEN})", clean(name)),
                    _ => HIDDEN.to_owned(),
                },
            });
            hidden |= is_last(word);
        }
        // Several hidden words in a row say no more than one.
        words.dedup_by(|next, last| next == HIDDEN && last == HIDDEN);
        Self(words.join(" "))
    }
}

/// Whether a word is an address or a quantity.
pub fn is_harmless(word: &str) -> bool {
    is_quantity(word) || is_address(word)
}

/// Words of a line that are shown; a list may have thousands.
const MOST_WORDS: usize = 24;

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Harmless for Masked {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form of a text, in our own words: `redis://***@host:port`.
fn shape(text: &str) -> String {
    const SCHEMES: [&str; 10] =
        ["redis", "rediss", "valkey", "valkeys", "sentinel", "http", "https", "tcp", "tls", "unix"];
    if text.contains("-----BEGIN") {
        return format!("-----BEGIN {HIDDEN}");
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => {
            let known = SCHEMES.iter().find(|known| scheme.eq_ignore_ascii_case(known));
            (format!("{}://", known.unwrap_or(&HIDDEN)), rest)
        }
        None => (String::new(), text),
    };
    let port = match rest.rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => ":port",
        _ => "",
    };
    if rest.contains('@') && !rest.starts_with('@') {
        return format!("{scheme}{HIDDEN}@host{port}");
    }
    if !scheme.is_empty() || !port.is_empty() {
        return format!("{scheme}host{port}");
    }
    match text.chars().next() {
        // The signs of command rules.
        Some(sign @ ('>' | '<' | '#' | '!' | '~' | '&' | '%' | '+' | '-' | '@')) => format!("{sign}{HIDDEN}"),
        _ => HIDDEN.to_owned(),
    }
}

/// Units of durations, sizes and rates, valid ones and others that people write.
const UNITS: [&str; 42] = [
    "ms",
    "msec",
    "s",
    "sec",
    "secs",
    "m",
    "min",
    "mins",
    "h",
    "hr",
    "hrs",
    "hour",
    "hours",
    "d",
    "day",
    "days",
    "w",
    "week",
    "weeks",
    "second",
    "seconds",
    "minute",
    "minutes",
    "millisecond",
    "milliseconds",
    "per",
    "b",
    "k",
    "kb",
    "kib",
    "mb",
    "mib",
    "g",
    "gb",
    "gib",
    "t",
    "tb",
    "tib",
    "bytes",
    "byte",
    "kbytes",
    "mbytes",
];

/// Whether a text is a number with a unit, valid or nearly so: a duration, a size or a rate.
fn is_quantity(text: &str) -> bool {
    /// `1e6`, `0x10`, `0o17`.
    const NOTATIONS: [&str; 3] = ["e", "x", "o"];
    let begins = text.strip_prefix(['+', '-']).unwrap_or(text);
    let letters = |run: &str| {
        let run = run.to_ascii_lowercase();
        UNITS.contains(&run.as_str()) || NOTATIONS.contains(&run.as_str())
    };
    let words = begins.split(|c: char| !c.is_alphabetic()).filter(|run| !run.is_empty());
    let fits = |c: char| c.is_ascii_alphanumeric() || "._,/: ".contains(c);
    begins.len() <= 20
        && begins.starts_with(|c: char| c.is_ascii_digit())
        && begins.chars().all(fits)
        && numbers_are_short(begins)
        && words.clone().count() <= 2
        && words.clone().all(letters)
}

/// Whether a text consists only of the characters of an address, a network or a socket address.
fn is_address(text: &str) -> bool {
    let text = text.trim();
    let bare = text.strip_prefix("localhost").or_else(|| text.strip_prefix('*')).unwrap_or(text);
    if text.is_empty() || text.len() > LONGEST_VALUE || !numbers_are_short(text) {
        return false;
    }
    if bare.chars().all(|c| c.is_ascii_digit() || "./:".contains(c)) {
        return bare.contains(['.', '/', ':']) || text == "localhost";
    }
    let groups = text.split(['.', ':', '/', '[', ']']);
    let short =
        groups.clone().all(|group| group.len() <= 4 || group.bytes().all(|byte| byte.is_ascii_digit()));
    let fits = |c: char| c.is_ascii_hexdigit() || ".:/[]".contains(c);
    text.matches(':').count() >= 2 && short && text.chars().all(fits)
}

fn numbers_are_short(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).all(|run| run.len() <= LONGEST_NUMBER)
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn is_like_a_key(part: &str) -> bool {
    let length = part.chars().count();
    let mixed =
        [char::is_uppercase, char::is_lowercase, char::is_numeric].iter().all(|kind| part.contains(*kind));
    length > LONGEST_NAME || length > LONGEST_MIXED && mixed
}

#[cfg(test)]
mod tests;
