//! Finds keys and channels among the arguments of a command.
//!
//! Key specifications give the keys of most commands. For the other commands, options decide. This module parses
//! options one by one, as the server does. An argument may look like the name of an option without being one (`SORT k
//! STORE limit`). A parser that differs from the server's would check other keys than the command uses.

mod argv;
mod options;
mod specs;

pub use self::argv::{Argv, Frame};
use super::{Access, CommandId, Flags, KeySpec, id};

/// A key among the arguments of a command.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct KeyRef<'b> {
    /// The bytes of the key.
    pub key: &'b [u8],
    /// The number of the argument; the name is 0.
    pub index: usize,
    /// How the command uses the key. With [`Access::NOT_KEY`] the argument is a sharded channel, which has a slot
    /// like a key.
    pub access: Access,
}

/// A channel or channel pattern among the arguments of a command.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct ChannelRef<'b> {
    /// The bytes of the channel or pattern.
    pub channel: &'b [u8],
    /// The number of the argument; the name is 0.
    pub index: usize,
    /// Whether the argument is a pattern, as for PSUBSCRIBE and PUNSUBSCRIBE.
    pub is_pattern: bool,
}

/// The error of a command that may use other keys than the reported ones.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum KeysUnknown {
    /// The command also reads keys whose names come from the data: SORT with BY or GET. All keys among its arguments
    /// were reported.
    #[error("the command reads keys that its data names")]
    FromData,
    /// The keys of the command cannot be found, or its arguments are invalid.
    #[error("the keys of the command cannot be known")]
    Arguments,
}

/// Calls `each` with every key of a command.
///
/// `args` begins with the command's name. For a subcommand, the name of its container comes first. Scripts and
/// functions declare their keys; other keys that they use are unknown.
///
/// # Errors
/// [`KeysUnknown`] if there may be other keys than the reported ones: SORT with BY or GET, unknown commands, and
/// arguments that no server accepts. A caller that restricts keys must then refuse the command.
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

/// Calls `each` with every key that these specifications give, for a command that the table does not have.
///
/// # Errors
/// [`KeysUnknown::Arguments`] if an argument is missing, or the number of keys is none.
pub fn specified_keys<'b>(
    specs: &[KeySpec],
    args: &(impl Argv<'b> + ?Sized),
    mut each: impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    specs.iter().try_for_each(|spec| specs::find(spec, false, args, &mut each))
}

/// Calls `each` with every channel of a publishing or subscribing command. Other commands have no channels.
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

/// Parses a number as Redis's `string2ll` does.
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
