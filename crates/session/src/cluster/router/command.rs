//! One command of the client: its name, its slot, and what the server may do with it.

use std::borrow::Cow;

use portcullis_resp::command::{CommandId, Flags, id, keys, lookup, lookup_subcommand};
use portcullis_resp::scan::{Span, arguments};
use portcullis_resp::slot::slot;

use crate::cluster::{CommandSlot, LearnedCommand, ServerFacts};

/// The longest name of an unknown command in an error line.
const MAX_SHOWN: usize = 64;

/// One whole command, or the beginning of a long one.
#[derive(Clone, Copy)]
pub(super) struct Command<'b> {
    pub(super) id: CommandId,
    pub(super) frame: &'b [u8],
    pub(super) arguments: u64,
    /// The place of the name in the frame, if it is known.
    pub(super) name_at: Option<Span>,
    pub(super) is_whole: bool,
    /// The command as the nodes describe it, if the table does not have it.
    pub(super) learned: Option<&'b LearnedCommand>,
}

impl Command<'_> {
    /// Returns whether the command may change data, or speak to other clients.
    pub(super) fn writes(&self) -> bool {
        if let Some(learned) = self.learned {
            return !learned.is_readonly;
        }
        let flags = self.id.info().flags;
        !flags.contains(Flags::READONLY) || flags.contains(Flags::MAY_REPLICATE)
    }

    /// Returns whether the command may change data, so that WAIT is about it.
    pub(super) fn writes_data(&self) -> bool {
        if self.learned.is_some() {
            return self.writes();
        }
        let flags = self.id.info().flags;
        flags.contains(Flags::WRITE) || (flags.contains(Flags::MAY_REPLICATE) && self.id != id::PUBLISH)
    }

    /// Returns the name for an error line. A name that no server has is as the client wrote it.
    pub(super) fn name(&self) -> Cow<'static, str> {
        if self.id != CommandId::UNKNOWN {
            return Cow::Borrowed(self.id.name());
        }
        let mut words = arguments(self.frame);
        let name = words.next().unwrap_or_default();
        let is_container = lookup(name).is_some_and(CommandId::is_container);
        let sub = words.next().filter(|_| is_container && self.arguments > 1);
        let text = [Some(name), sub].into_iter().flatten().collect::<Vec<_>>().join(&b'|');
        match String::from_utf8(text) {
            Ok(text) if text.len() <= MAX_SHOWN && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Cow::Owned(text.to_ascii_lowercase())
            }
            _ => Cow::Borrowed(self.id.name()),
        }
    }

    /// Returns the slot of the keys, as far as they have arrived.
    pub(super) fn slot(&self) -> CommandSlot {
        let args = match self.name_at {
            Some(name) => keys::Frame::behind(name, self.frame, self.arguments),
            None => keys::Frame::new(self.frame, self.arguments),
        };
        match self.learned {
            None if self.is_whole => return CommandSlot::of(self.id, &args),
            Some(learned) if self.is_whole => return CommandSlot::of_learned(learned, &args),
            _ => {}
        }
        // The keys that have not arrived are checked by the node.
        let mut found = CommandSlot::Unknown;
        let each = |key: keys::KeyRef<'_>| {
            let slot = slot(key.key);
            found = match found {
                CommandSlot::Unknown => CommandSlot::One(slot),
                CommandSlot::One(first) if first == slot => found,
                _ => CommandSlot::Several,
            };
        };
        let _ = match self.learned {
            Some(learned) => learned.keys(&args, each),
            None => keys::keys(self.id, &args, each),
        };
        found
    }
}

/// Returns the command or the subcommand that a frame names. An unknown subcommand is an unknown command.
pub(super) fn exact_id(command: &Command<'_>) -> CommandId {
    if !command.id.is_container() || command.arguments < 2 {
        return command.id;
    }
    let subcommand = arguments(command.frame).nth(1).unwrap_or_default();
    lookup_subcommand(command.id, subcommand).unwrap_or(CommandId::UNKNOWN)
}

/// Returns a command as the nodes describe it, if the table does not have it. `exact` is its id or that of its
/// subcommand.
pub(super) fn learned<'s>(
    server: &'s ServerFacts,
    exact: CommandId,
    command: &Command<'_>,
) -> Option<&'s LearnedCommand> {
    if exact != CommandId::UNKNOWN {
        return None;
    }
    let mut words = arguments(command.frame);
    let name = words.next()?;
    server.command(name, words.next().filter(|_| command.arguments > 1))
}

/// Returns the slot of the keys of a kept frame.
pub(super) fn slot_of(frame: &[u8], server: &ServerFacts) -> Option<u16> {
    match whole(frame, server)?.slot() {
        CommandSlot::One(slot) => Some(slot),
        _ => None,
    }
}

/// Reads a kept frame.
pub(super) fn whole<'b>(frame: &'b [u8], server: &'b ServerFacts) -> Option<Command<'b>> {
    let mut args = arguments(frame);
    let id = lookup(args.next()?).unwrap_or(CommandId::UNKNOWN);
    let arguments = u64::try_from(args.count() + 1).ok()?;
    let command = Command { id, frame, arguments, name_at: None, is_whole: true, learned: None };
    let exact = exact_id(&command);
    Some(Command { id: exact, learned: learned(server, exact, &command), ..command })
}

/// Returns whether the server may block the command until another client acts.
pub(super) fn may_block(command: &Command<'_>) -> bool {
    if let Some(learned) = command.learned {
        return learned.may_block;
    }
    if !command.id.info().flags.contains(Flags::BLOCKING) {
        return false;
    }
    match command.id {
        id::XREAD | id::XREADGROUP => arguments(command.frame)
            .take_while(|argument| !argument.eq_ignore_ascii_case(b"streams"))
            .any(|argument| argument.eq_ignore_ascii_case(b"block")),
        _ => true,
    }
}
