//! The joined reply of several parts.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::encode;

use super::info::Info;
use super::{MAX_JOINED, TOO_LONG};

/// The reply that is made of those of the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    /// The elements of the parts, one after the other: MGET. The number of all elements.
    Values(usize),
    /// The sum of integers: DEL, DBSIZE.
    Total(i64),
    /// The reply on which all parts agree: MSET, FLUSHALL, SCRIPT LOAD. `None`: no part has answered.
    Same(Option<Vec<u8>>, bool),
    /// For each element, the least of all parts: SCRIPT EXISTS.
    Least(Option<Vec<i64>>),
    /// The least number: WAIT. `None`: no part has answered.
    Fewest(Option<i64>),
    /// The INFO of the first node, with the keys of all: INFO.
    Info(Info),
    /// All elements: KEYS, PUBSUB CHANNELS.
    Union { elements: usize, bytes: Vec<u8>, is_too_long: bool },
    /// Pairs of a name and a number, of which the numbers are added: PUBSUB NUMSUB.
    Counts(Vec<(Vec<u8>, i64)>),
    /// One of the replies that are not null: RANDOMKEY. With the number of the part whose reply is preferred.
    One { reply: Option<Vec<u8>>, null: Vec<u8>, skip: usize },
}

/// A reply that does not fit the command: the node breaks the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit;

impl Sum {
    /// Returns the empty reply of a command that is divided by the slots of its keys. `None`: it cannot be divided.
    pub(crate) fn of_split(command: CommandId, arguments: u64) -> Option<Self> {
        match command {
            id::MGET => Some(Self::Values(usize::try_from(arguments).ok()?.saturating_sub(1))),
            id::DEL | id::UNLINK | id::EXISTS | id::TOUCH => Some(Self::Total(0)),
            id::MSET => Some(Self::Same(None, false)),
            _ => None,
        }
    }

    /// Takes note of a part that has failed. Returns whether the command can do without it.
    pub(super) const fn does_without(&mut self, place: u32) -> bool {
        match self {
            Self::Info(info) if place > 0 => {
                info.missing += 1;
                true
            }
            _ => false,
        }
    }

    /// Returns whether the elements are passed on as they come.
    pub(super) const fn passes(&self) -> bool {
        matches!(self, Self::Values(_))
    }

    /// Writes the beginning of a reply whose elements are passed on.
    pub(super) fn header(&self, out: &mut Vec<u8>) {
        if let Self::Values(elements) = self {
            encode::array(out, *elements);
        }
    }

    /// Adds the reply of a part.
    pub(super) fn add(&mut self, reply: &[u8]) -> Result<(), Unfit> {
        match self {
            Self::Values(_) => return Err(Unfit),
            Self::Total(total) => *total = total.saturating_add(integer(reply).ok_or(Unfit)?.0),
            Self::Fewest(least) => {
                let number = integer(reply).ok_or(Unfit)?.0;
                *least = Some(least.map_or(number, |least| least.min(number)));
            }
            Self::Info(info) => info.add(reply).ok_or(Unfit)?,
            Self::Same(first, differs) => match first {
                Some(first) => *differs |= first != reply,
                None => *first = Some(reply.to_vec()),
            },
            Self::Least(least) => {
                let flags = integers(reply).ok_or(Unfit)?;
                match least {
                    None => *least = Some(flags),
                    Some(least) if least.len() == flags.len() => {
                        least.iter_mut().zip(flags).for_each(|(least, flag)| *least = flag.min(*least));
                    }
                    Some(_) => return Err(Unfit),
                }
            }
            Self::Union { elements, bytes, is_too_long } => {
                let (count, body) = array(reply).ok_or(Unfit)?;
                *elements = elements.saturating_add(count);
                if *is_too_long || bytes.len() + body.len() > MAX_JOINED {
                    (*is_too_long, *bytes) = (true, Vec::new());
                } else {
                    bytes.extend_from_slice(body);
                }
            }
            Self::Counts(counts) => add_counts(counts, reply).ok_or(Unfit)?,
            Self::One { reply: found, null, skip } => {
                if matches!(reply, b"$-1\r\n" | b"_\r\n") {
                    *null = reply.to_vec();
                } else if found.is_none() || *skip > 0 {
                    *found = Some(reply.to_vec());
                    *skip = skip.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Writes the joined reply.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Values(_) => {}
            Self::Total(total) => encode::integer(out, total),
            Self::Fewest(least) => encode::integer(out, least.unwrap_or(0)),
            Self::Info(info) => info.write(out),
            Self::Same(Some(reply), false) => out.extend_from_slice(&reply),
            Self::Same(..) => encode::error(out, "ERR portcullis: the nodes' answers differ"),
            Self::Least(least) => {
                let least = least.unwrap_or_default();
                encode::array(out, least.len());
                least.into_iter().for_each(|flag| encode::integer(out, flag));
            }
            Self::Union { is_too_long: true, .. } => out.extend_from_slice(TOO_LONG),
            Self::Union { elements, bytes, .. } => {
                encode::array(out, elements);
                out.extend_from_slice(&bytes);
            }
            Self::Counts(counts) => {
                encode::array(out, 2 * counts.len());
                for (name, count) in counts {
                    encode::bulk(out, &name);
                    encode::integer(out, count);
                }
            }
            Self::One { reply, null, .. } => out.extend_from_slice(&reply.unwrap_or(null)),
        }
    }

    pub(super) fn held(&self) -> usize {
        match self {
            Self::Values(_) | Self::Total(_) | Self::Fewest(_) => 0,
            Self::Info(info) => info.held(),
            Self::Same(reply, _) => reply.as_ref().map_or(0, Vec::capacity),
            Self::Least(least) => least.as_ref().map_or(0, |least| least.capacity() * size_of::<i64>()),
            Self::Union { bytes, .. } => bytes.capacity(),
            Self::Counts(counts) => {
                counts.iter().map(|(name, _)| name.capacity() + size_of::<(Vec<u8>, i64)>()).sum()
            }
            Self::One { reply, .. } => reply.as_ref().map_or(0, Vec::capacity),
        }
    }
}

/// Reads a line after its type byte. Returns its text and what follows it.
fn line(bytes: &[u8], kind: u8) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(&[kind])?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 2..]))
}

/// Reads an integer. Returns it and what follows it.
fn integer(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest) = line(bytes, b':')?;
    Some((text.parse().ok()?, rest))
}

/// Reads the header of an array. Returns the number of elements and their bytes.
fn array(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (text, rest) = line(bytes, b'*').or_else(|| line(bytes, b'~'))?;
    Some((text.parse().ok()?, rest))
}

fn integers(reply: &[u8]) -> Option<Vec<i64>> {
    let (count, mut rest) = array(reply)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (value, next) = integer(rest)?;
        found.push(value);
        rest = next;
    }
    Some(found)
}

fn add_counts(counts: &mut Vec<(Vec<u8>, i64)>, reply: &[u8]) -> Option<()> {
    let (count, mut rest) = array(reply)?;
    for at in 0..count / 2 {
        let (len, after) = line(rest, b'$')?;
        let (name, after) = after.split_at_checked(len.parse().ok()?)?;
        let (number, next) = integer(after.strip_prefix(b"\r\n")?)?;
        match counts.get_mut(at) {
            Some((known, total)) if known == name => *total = total.saturating_add(number),
            Some(_) => return None,
            None => counts.push((name.to_vec(), number)),
        }
        rest = next;
    }
    Some(())
}
