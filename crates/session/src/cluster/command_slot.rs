//! The slot of a command.

use portcullis_resp::command::CommandId;
use portcullis_resp::command::keys::{Argv, KeysUnknown, keys};
use portcullis_resp::slot::slot;

/// The slots of the keys of a command. A sharded channel counts as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandSlot {
    /// The command has no keys: any node can run it, or it is not for a node.
    None,
    /// All keys have this slot.
    One(u16),
    /// The keys have several slots.
    Several,
    /// The keys cannot be found: the command is unknown, or no server accepts its arguments.
    Unknown,
}

impl CommandSlot {
    /// Finds the slot of a command. `args` begins with the command's name. Keys that only the data names (SORT with BY
    /// or GET) do not count: nodes of a cluster refuse these commands.
    pub fn of<'b>(id: CommandId, args: &(impl Argv<'b> + ?Sized)) -> Self {
        let mut found = Self::None;
        let result = keys(id, args, |key| {
            let slot = slot(key.key);
            found = match found {
                Self::None => Self::One(slot),
                Self::One(first) if first == slot => found,
                Self::One(_) | Self::Several | Self::Unknown => Self::Several,
            };
        });
        match result {
            Ok(()) | Err(KeysUnknown::FromData) => found,
            Err(KeysUnknown::Arguments) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
