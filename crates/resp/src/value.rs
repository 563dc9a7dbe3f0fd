//! Decodes small replies to values: replies to commands of the proxy itself (HELLO, ROLE, INFO, SENTINEL, CLUSTER).
//!
//! Every value is copied, so replies to clients are not decoded here. Values keep the order of maps, repeated keys,
//! nulls of RESP2 among RESP3, and verbatim strings of any format. `redis-protocol` does not keep them.

use crate::error::ReplyError;
use crate::scan::{Reply, ReplyScanner};

/// A decoded reply.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A simple string (`+`).
    Status(Vec<u8>),
    /// A simple error (`-`) or a bulk error (`!`), without the type byte.
    Error(Vec<u8>),
    /// An integer (`:`).
    Integer(i64),
    /// A bulk string (`$`), or a verbatim string (`=`) without its format.
    Bulk(Vec<u8>),
    /// A null: `_`, `$-1` or `*-1`.
    Null,
    /// An array (`*`).
    Array(Vec<Self>),
    /// The pairs of a map (`%`), in the order of the reply.
    Map(Vec<(Self, Self)>),
    /// A set (`~`).
    Set(Vec<Self>),
    /// A push (`>`).
    Push(Vec<Self>),
    /// A double (`,`).
    Double(f64),
    /// A boolean (`#`).
    Boolean(bool),
    /// A big number (`(`), as text.
    BigNumber(Vec<u8>),
}

/// The reason why a reply cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The bytes are not a reply, or a double is not a number.
    #[error(transparent)]
    Invalid(#[from] ReplyError),
    /// The bytes end within the reply, or continue after it.
    #[error("not exactly one reply")]
    NotWhole,
    /// The reply has more levels than [`MAX_VALUE_DEPTH`].
    #[error("reply is nested too deeply")]
    TooDeep,
}

/// The highest number of levels of a decoded reply. The decoder is recursive, so this limit protects the stack. No
/// control reply has half as many levels.
pub const MAX_VALUE_DEPTH: usize = 32;

/// Decodes one complete reply, and drops its attributes.
///
/// # Errors
/// See [`ValueError`].
pub fn decode(frame: &[u8]) -> Result<Value, ValueError> {
    match ReplyScanner::new().next(frame)? {
        Reply::Whole { len, .. } if len == frame.len() => {}
        _ => return Err(ValueError::NotWhole),
    }
    // The scanner has validated the frame, so the errors below can only mean that the frame is too short.
    match (Decoder { rest: frame }).item(0)? {
        Item::Value(value) => Ok(value),
        Item::End => Err(ValueError::NotWhole),
    }
}

impl Value {
    /// Returns the bytes of a bulk string or a status. `None` for other types.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) | Self::Status(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the text of a bulk string or a status. `None` for other types, or if it is not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// Returns an integer, or the integer in a string. `None` for other values.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => self.as_str()?.parse().ok(),
        }
    }

    /// Returns the elements of an array, a set or a push. `None` for other types.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => Some(elements),
            _ => None,
        }
    }

    /// Returns the value of a field in a map, or in the flat array that RESP2 uses for a map. `None` if there is no
    /// such field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        let is_name = |key: &Self| key.as_bytes() == Some(name.as_bytes());
        match self {
            Self::Map(pairs) => pairs.iter().find(|(key, _)| is_name(key)).map(|(_, value)| value),
            _ => self.as_array()?.chunks_exact(2).find_map(|pair| match pair {
                [key, value] if is_name(key) => Some(value),
                _ => None,
            }),
        }
    }
}

struct Decoder<'b> {
    rest: &'b [u8],
}

enum Item {
    Value(Value),
    /// The `.` that ends a streamed aggregate.
    End,
}

impl<'b> Decoder<'b> {
    fn value(&mut self, depth: usize) -> Result<Value, ValueError> {
        match self.item(depth)? {
            Item::Value(value) => Ok(value),
            Item::End => Err(ValueError::NotWhole),
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, ValueError> {
        if depth > MAX_VALUE_DEPTH {
            return Err(ValueError::TooDeep);
        }
        let (mut kind, mut text) = self.head()?;
        // An attribute, or a push within an aggregate, is not an element.
        while kind == b'|' || (kind == b'>' && depth > 0) {
            if kind == b'|' {
                self.pairs(text, depth)?;
            } else {
                self.elements(text, depth)?;
            }
            (kind, text) = self.head()?;
        }
        Ok(Item::Value(match kind {
            b'+' => Value::Status(text.to_vec()),
            b'-' => Value::Error(text.to_vec()),
            b':' => Value::Integer(parse(text)?),
            b',' => Value::Double(double(text)?),
            b'(' => Value::BigNumber(text.to_vec()),
            b'#' => Value::Boolean(text == b"t"),
            b'_' => Value::Null,
            b'$' | b'=' | b'!' => self.blob(kind, text)?,
            b'.' => return Ok(Item::End),
            b'%' => Value::Map(self.pairs(text, depth)?),
            _ if text == b"-1" => Value::Null,
            b'~' => Value::Set(self.elements(text, depth)?),
            b'>' => Value::Push(self.elements(text, depth)?),
            _ => Value::Array(self.elements(text, depth)?),
        }))
    }

    fn blob(&mut self, kind: u8, text: &[u8]) -> Result<Value, ValueError> {
        let bytes = match text {
            b"-1" => return Ok(Value::Null),
            b"?" => {
                let mut bytes = Vec::new();
                while let Some(len) = self.line()?.strip_prefix(b";") {
                    if len == b"0" {
                        break;
                    }
                    bytes.extend_from_slice(self.body(len)?);
                }
                bytes
            }
            len => self.body(len)?.to_vec(),
        };
        Ok(match kind {
            b'=' => Value::Bulk(bytes.get(VERBATIM_FORMAT..).unwrap_or_default().to_vec()),
            b'!' => Value::Error(bytes),
            _ => Value::Bulk(bytes),
        })
    }

    fn elements(&mut self, count: &[u8], depth: usize) -> Result<Vec<Value>, ValueError> {
        let mut elements = Vec::new();
        if count == b"?" {
            while let Item::Value(value) = self.item(depth + 1)? {
                elements.push(value);
            }
            return Ok(elements);
        }
        for _ in 0..parse::<u64>(count)? {
            elements.push(self.value(depth + 1)?);
        }
        Ok(elements)
    }

    fn pairs(&mut self, count: &[u8], depth: usize) -> Result<Vec<(Value, Value)>, ValueError> {
        let mut pairs = Vec::new();
        if count == b"?" {
            while let Item::Value(key) = self.item(depth + 1)? {
                pairs.push((key, self.value(depth + 1)?));
            }
            return Ok(pairs);
        }
        for _ in 0..parse::<u64>(count)? {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(pairs)
    }

    /// Reads the next line. Returns its type byte and the bytes after it.
    fn head(&mut self) -> Result<(u8, &'b [u8]), ValueError> {
        self.line()?.split_first().map(|(&kind, text)| (kind, text)).ok_or(ValueError::NotWhole)
    }

    fn line(&mut self) -> Result<&'b [u8], ValueError> {
        let end = memchr::memchr(b'\r', self.rest).ok_or(ValueError::NotWhole)?;
        self.take(end)
    }

    fn body(&mut self, len: &[u8]) -> Result<&'b [u8], ValueError> {
        self.take(parse(len)?)
    }

    /// Takes this number of bytes, and drops the CRLF after them.
    fn take(&mut self, len: usize) -> Result<&'b [u8], ValueError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ValueError::NotWhole)?;
        self.rest = rest.strip_prefix(b"\r\n").ok_or(ValueError::NotWhole)?;
        Ok(taken)
    }
}

/// Parses a double. The scanner has only checked its bytes, not whether they form a number.
fn double(text: &[u8]) -> Result<f64, ValueError> {
    parse(text).map_err(|_| ValueError::Invalid(ReplyError::InvalidNumber))
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Result<T, ValueError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(ValueError::NotWhole)
}

/// The length of the prefix `txt:` in bytes.
const VERBATIM_FORMAT: usize = 4;

#[cfg(test)]
mod tests;
