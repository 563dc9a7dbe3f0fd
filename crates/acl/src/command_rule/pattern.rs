//! Glob patterns, matched as Redis's `stringmatchlen` does, with faster code for the usual forms.

use std::fmt;

use super::error::Problem;

/// The longest pattern in bytes. Every key is compared with every pattern, and a pattern with many stars may read the
/// key many times. Redis stops at 1000 stars, more than a pattern of this length can usefully have.
pub const MAX_PATTERN: usize = 1024;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// A text without special characters.
    Exact(Box<[u8]>),
    /// A text that is followed by a single star.
    Prefix(Box<[u8]>),
    /// Any other pattern, unchanged.
    Glob(Box<[u8]>),
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, Problem> {
        let bytes = text.as_bytes();
        if bytes.len() > MAX_PATTERN {
            return Err(Problem::PatternTooLong);
        }
        if has_wide_range(bytes) {
            return Err(Problem::WideRange);
        }
        let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
        Ok(match bytes {
            [prefix @ .., b'*'] if !prefix.iter().any(is_special) => Self::Prefix(prefix.into()),
            _ if bytes.iter().any(is_special) => Self::Glob(bytes.into()),
            _ => Self::Exact(bytes.into()),
        })
    }

    #[inline]
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => text == &**exact,
            // In Redis, a lone star does not match an empty text.
            Self::Prefix(prefix) => text.starts_with(prefix) && !text.is_empty(),
            Self::Glob(glob) => matches(glob, text),
        }
    }

    /// Returns whether the operator wrote exactly this text as the pattern.
    pub(super) fn is(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(own) | Self::Glob(own) => text == &**own,
            Self::Prefix(prefix) => text.strip_suffix(b"*") == Some(prefix),
        }
    }

    /// Returns the text of the pattern, without the last star of a prefix.
    pub(super) fn text(&self) -> &[u8] {
        match self {
            Self::Exact(own) | Self::Prefix(own) | Self::Glob(own) => own,
        }
    }

    /// Returns whether the pattern matches every text that begins with `prefix`. Returns false if this is hard to
    /// decide.
    pub(super) fn covers_all_of(&self, prefix: &[u8]) -> bool {
        match self {
            Self::Exact(_) => false,
            Self::Prefix(own) => prefix.starts_with(own),
            // If the pattern matches `prefix`, its last star matches any continuation too. After a bracket or a
            // backslash, that star may be an ordinary character.
            Self::Glob(own) => {
                own.ends_with(b"*")
                    && !own.iter().any(|byte| matches!(byte, b'[' | b'\\'))
                    && matches(own, prefix)
            }
        }
    }

    /// Returns whether the pattern matches every text that `other` matches. Returns false if this is hard to decide.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(text) => self.matches(text),
            Self::Prefix(prefix) => self.covers_all_of(prefix),
            Self::Glob(_) => self == other || self.is_star(),
        }
    }

    /// Returns whether some text that begins with `head` may match the pattern.
    pub(super) fn may_begin_with(&self, head: &[u8]) -> bool {
        let mut pattern = match self {
            Self::Exact(own) => return own.starts_with(head),
            Self::Prefix(own) => return own.starts_with(head) || head.starts_with(own),
            Self::Glob(own) => &**own,
        };
        for byte in head {
            if pattern.first() == Some(&b'*') {
                return true;
            }
            match one(pattern, *byte) {
                Some(rest) => pattern = rest,
                None => return false,
            }
        }
        true
    }

    /// Returns whether the operator wrote `*`.
    pub(super) fn is_star(&self) -> bool {
        self.is(b"*")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if matches!(self, Self::Prefix(_)) { "*" } else { "" };
        write!(f, "{}{star}", String::from_utf8_lossy(self.text()))
    }
}

/// Returns whether a pattern matches a text. After a mismatch, the last star takes one more byte; earlier stars stay
/// as they are. So the search is never nested, and takes at most as many steps as the product of both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        // Redis skips trailing stars only after it has matched something.
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            (_, []) => break,
            ([b'*', rest @ ..], _) => {
                if rest.is_empty() {
                    return true;
                }
                star = Some((rest, text));
                pattern = rest;
                continue;
            }
            ([_, ..], [byte, after @ ..]) => {
                if let Some(rest) = one(pattern, *byte) {
                    (pattern, text) = (rest, after);
                    continue;
                }
            }
            ([], _) => {}
        }
        let Some((rest, [_, after @ ..])) = star else { return false };
        star = Some((rest, after));
        (pattern, text) = (rest, after);
    }
    pattern.iter().all(|byte| *byte == b'*')
}

/// Returns the rest of the pattern if its first element matches this byte. The first element must not be a star.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => {
            let (matched, rest) = in_class(class, byte);
            matched.then_some(rest)
        }
        [b'\\', escaped, rest @ ..] => (*escaped == byte).then_some(rest),
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// Returns whether a class contains the byte, and the pattern after the class. `class` is the pattern after the
/// opening bracket. A class without a closing bracket continues to the end of the pattern.
fn in_class(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    let rest = loop {
        class = match class {
            [] => break class,
            [b'\\', escaped, rest @ ..] => {
                found |= *escaped == byte;
                rest
            }
            [b']', rest @ ..] => break rest,
            [from, b'-', to, rest @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
        };
    };
    (found != negated, rest)
}

/// Returns whether a class has a range of bytes beyond ASCII. In C, these bytes are negative on some machines and
/// positive on others.
fn has_wide_range(pattern: &[u8]) -> bool {
    let mut rest = pattern;
    let mut within = false;
    while let [first, after @ ..] = rest {
        rest = match (within, rest) {
            (_, [b'\\', _, after @ ..]) => after,
            (false, _) => {
                within = *first == b'[';
                after
            }
            (true, [b']', after @ ..]) => {
                within = false;
                after
            }
            (true, [from, b'-', to, after @ ..]) => {
                if !from.is_ascii() || !to.is_ascii() {
                    return true;
                }
                after
            }
            (true, _) => after,
        };
    }
    false
}

#[cfg(test)]
mod tests;
