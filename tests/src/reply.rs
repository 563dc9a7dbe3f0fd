//! Parses RESP2 and RESP3 replies, and defines the notation in which tests write them.
//!
//! `+OK`  `-ERR text`  `:1`  `"bulk"`  `nil` (`$-1`)  `nil[]` (`*-1`)  `null` (`_`)  `[1 2]` array  `>[..]` push
//! `{k v}` map  `~[..]` set  `,1.5`  `#t`  `(123`  `=txt:..`  `|{..} x` attribute and the reply after it

use std::fmt::{self, Display, Formatter, Write};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    NullBulk,
    NullArray,
    Null,
    Array(Vec<Self>),
    Push(Vec<Self>),
    Set(Vec<Self>),
    Map(Vec<Self>),
    Attribute(Vec<Self>, Box<Self>),
    /// `,`, `#` or `(`, with its text.
    Simple(char, String),
    Verbatim(Vec<u8>),
}

impl Reply {
    /// Parses the first frame of `bytes`. Returns it with its length. `None` if it is not complete.
    ///
    /// # Panics
    /// If the bytes are not RESP.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(2).position(|w| w == b"\r\n")?;
        let line = String::from_utf8_lossy(&bytes[1..end]).into_owned();
        let body = end + 2;
        let simple = |reply| Some((reply, body));
        match bytes[0] {
            b'+' => simple(Self::Status(line)),
            b'-' => simple(Self::Error(line)),
            b':' => simple(Self::Integer(line.parse().expect("an integer"))),
            b'_' => simple(Self::Null),
            kind @ (b',' | b'#' | b'(') => simple(Self::Simple(char::from(kind), line)),
            b'$' if line == "-1" => simple(Self::NullBulk),
            b'*' if line == "-1" => simple(Self::NullArray),
            kind @ (b'$' | b'=') => {
                let length: usize = line.parse().expect("a bulk length");
                let content = bytes.get(body..body + length + 2)?;
                assert!(content.ends_with(b"\r\n"), "bulk does not end in CRLF: {}", content.escape_ascii());
                let content = content[..length].to_vec();
                let reply = if kind == b'$' { Self::Bulk(content) } else { Self::Verbatim(content) };
                Some((reply, body + length + 2))
            }
            kind @ (b'*' | b'>' | b'~' | b'%' | b'|') => {
                let count: usize = line.parse().expect("an element count");
                let pairs = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
                let (items, used) = parse_many(&bytes[body..], count * pairs)?;
                let used = body + used;
                match kind {
                    b'*' => Some((Self::Array(items), used)),
                    b'>' => Some((Self::Push(items), used)),
                    b'~' => Some((Self::Set(items), used)),
                    b'%' => Some((Self::Map(items), used)),
                    _ => {
                        let (decorated, more) = Self::parse(&bytes[used..])?;
                        Some((Self::Attribute(items, Box::new(decorated)), used + more))
                    }
                }
            }
            other => panic!("no RESP type {:?} in {}", char::from(other), bytes.escape_ascii()),
        }
    }

    /// Returns the elements of an array, push or set, or the flat list of keys and values of a map. Empty for other
    /// types.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) | Self::Push(items) | Self::Set(items) | Self::Map(items) => items,
            _ => &[],
        }
    }

    /// Returns the text of a status, error, bulk or verbatim string. Panics for other types.
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) | Self::Error(text) => text.clone(),
            Self::Bulk(bytes) | Self::Verbatim(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("not text: {other}"),
        }
    }

    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(value) => *value,
            other => panic!("not an integer: {other}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

fn parse_many(bytes: &[u8], count: usize) -> Option<(Vec<Reply>, usize)> {
    let mut items = Vec::new();
    let mut used = 0;
    for _ in 0..count {
        let (item, length) = Reply::parse(&bytes[used..])?;
        items.push(item);
        used += length;
    }
    Some((items, used))
}

impl Display for Reply {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(value) => write!(f, ":{value}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::NullBulk => f.write_str("nil"),
            Self::NullArray => f.write_str("nil[]"),
            Self::Null => f.write_str("null"),
            Self::Array(items) => list(f, "[", items, ']'),
            Self::Push(items) => list(f, ">[", items, ']'),
            Self::Set(items) => list(f, "~[", items, ']'),
            Self::Map(items) => list(f, "{", items, '}'),
            Self::Attribute(items, decorated) => {
                list(f, "|{", items, '}')?;
                write!(f, " {decorated}")
            }
            Self::Simple(kind, text) => write!(f, "{kind}{text}"),
            Self::Verbatim(bytes) => write!(f, "={}", bytes.escape_ascii()),
        }
    }
}

fn list(f: &mut Formatter<'_>, open: &str, items: &[Reply], close: char) -> fmt::Result {
    f.write_str(open)?;
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_char(' ')?;
        }
        item.fmt(f)?;
    }
    f.write_char(close)
}
