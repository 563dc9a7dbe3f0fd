//! Which arguments are keys, and which are channels.
//!
//! Most commands say it by their key specifications. Those whose options decide are read as the server reads them,
//! option by option: an argument may look like an option's name without being one (`SORT k STORE limit`), and a
//! reader that is laxer or stricter than the server would judge other keys than those that are touched.

mod argv;
mod options;
mod specs;

pub use self::argv::{Argv, Frame};
use super::{Access, CommandId, Flags, id};

/// A key among the arguments of a command.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct KeyRef<'b> {
    /// Its bytes.
    pub key: &'b [u8],
    /// Which argument it is; the name is 0.
    pub index: usize,
    /// The access to it. With [`Access::NOT_KEY`] it is a sharded channel, which belongs to a slot as keys do.
    pub access: Access,
}

/// A channel or pattern of channels among the arguments of a command.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct ChannelRef<'b> {
    /// Its bytes.
    pub channel: &'b [u8],
    /// Which argument it is; the name is 0.
    pub index: usize,
    /// PSUBSCRIBE and PUNSUBSCRIBE take patterns.
    pub is_pattern: bool,
}

/// The command may touch other keys than those given.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum KeysUnknown {
    /// The command also reads keys whose names come from the data: SORT with BY or GET. All keys in its arguments
    /// were given.
    #[error("the command reads keys that its data names")]
    FromData,
    /// Nothing is known of the command's keys, or its arguments make no sense.
    #[error("the keys of the command cannot be known")]
    Arguments,
}

/// Gives every key of a command to `each`.
///
/// `args` begins with the command's name, and for a subcommand its container's name comes first. Scripts and
/// functions give the keys that they declare; their other keys cannot be known.
///
/// # Errors
/// [`KeysUnknown`] when there may be more keys: SORT with BY or GET, unknown commands, and arguments that no server
/// would accept. A caller that checks keys must then refuse.
pub fn keys<'b>(
    id: CommandId,
    args: &(impl Argv<'b> + ?Sized),
    mut each: impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    match id {
        CommandId::UNKNOWN => Err(KeysUnknown::Arguments),
        id::SORT | id::SORT_RO => options::sort(id, args, &mut each),
        id::GEORADIUS | id::GEORADIUSBYMEMBER => options::georadius(id, args, &mut each),
        id::MIGRATE => options::migrate(args, &mut each),
        id::XREAD | id::XREADGROUP => options::xread(id, args, &mut each),
        id::STRALGO => options::stralgo(args, &mut each),
        id::SET => options::set(args, &mut each),
        id::BITFIELD => options::bitfield(args, &mut each),
        _ => {
            let info = id.info();
            if info.keys.is_empty() && info.flags.contains(Flags::MOVABLEKEYS) {
                return Err(KeysUnknown::Arguments);
            }
            let none_allowed = info.flags.contains(Flags::NO_MANDATORY_KEYS);
            info.keys.iter().try_for_each(|spec| specs::find(spec, none_allowed, args, &mut each))
        }
    }
}

/// Gives every channel of a publishing or subscribing command to `each`; other commands have none.
pub fn channels<'b>(id: CommandId, args: &(impl Argv<'b> + ?Sized), mut each: impl FnMut(ChannelRef<'b>)) {
    let (count, is_pattern) = match id {
        id::PUBLISH | id::SPUBLISH => (1, false),
        id::SUBSCRIBE | id::UNSUBSCRIBE | id::SSUBSCRIBE | id::SUNSUBSCRIBE => (usize::MAX, false),
        id::PSUBSCRIBE | id::PUNSUBSCRIBE => (usize::MAX, true),
        _ => return,
    };
    for index in (1..args.count()).take(count) {
        if let Some(channel) = args.arg(index) {
            each(ChannelRef { channel, index, is_pattern });
        }
    }
}

fn give<'b>(
    args: &(impl Argv<'b> + ?Sized),
    index: usize,
    access: Access,
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    each(KeyRef { key: args.arg(index).ok_or(KeysUnknown::Arguments)?, index, access });
    Ok(())
}

/// A number as Redis's `string2ll` reads it.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0'] => digits.len() == text.len(),
        [b'0', ..] => false,
        _ => digits.iter().all(u8::is_ascii_digit),
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
