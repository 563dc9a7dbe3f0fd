//! The slot of a command.

use portcullis_resp::command::CommandId;
use portcullis_resp::command::keys::{Argv, KeysUnknown, keys};
use portcullis_resp::slot::slot;

use super::LearnedCommand;

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
        let result = keys(id, args, |key| found.add(key.key));
        found.after(result)
    }

    /// Finds the slot of a command that the table does not have.
    pub fn of_learned<'b>(command: &LearnedCommand, args: &(impl Argv<'b> + ?Sized)) -> Self {
        let mut found = Self::None;
        let result = command.keys(args, |key| found.add(key.key));
        found.after(result)
    }

    #[inline]
    fn add(&mut self, key: &[u8]) {
        let slot = slot(key);
        *self = match *self {
            Self::None => Self::One(slot),
            Self::One(first) if first == slot => *self,
            Self::One(_) | Self::Several | Self::Unknown => Self::Several,
        };
    }

    fn after(self, result: Result<(), KeysUnknown>) -> Self {
        match result {
            Ok(()) | Err(KeysUnknown::FromData) => self,
            Err(KeysUnknown::Arguments) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
