//! One command, or the part of it that was received.

use portcullis_resp::command::{CommandId, id, lookup_subcommand};
use portcullis_resp::encode::MAX_QUOTED;
use portcullis_resp::reply;
use portcullis_resp::scan::arguments;

use super::verdict::Verdict;
use crate::pending::{Kept, PendingReplies};

/// A command, or the received part of one, in canonical form.
pub(super) struct CommandFrame<'b> {
    /// The validated prefix of the frame.
    pub(super) bytes: &'b [u8],
    /// The number of arguments that the frame announces, including the name.
    pub(super) arguments: u64,
    pub(super) source: Arrival<'b>,
}

/// The form in which the command arrived.
#[derive(Clone, Copy)]
pub(super) enum Arrival<'b> {
    /// The frame is complete in the buffer.
    Whole,
    /// The frame is incomplete. The value is the buffer, and all of it belongs to the frame.
    Partial(&'b [u8]),
    /// The command is an inline line of this many bytes.
    Line(usize),
}

impl<'b> CommandFrame<'b> {
    /// Returns the name. Returns an empty name if the name is so long that a part of it is missing.
    pub(super) fn name(&self) -> &'b [u8] {
        arguments(self.bytes).next().unwrap_or(&[])
    }

    /// Returns at most `held` bytes of the frame. So the judgement of a command does not depend on how TCP split the
    /// frame.
    pub(super) fn first(&self, held: usize) -> &'b [u8] {
        self.bytes.get(..held).unwrap_or(self.bytes)
    }

    /// Returns the argument at this index (the name is 0). Returns `None` if it was not received, or does not end
    /// within the first `held` bytes.
    pub(super) fn argument(&self, place: usize, held: usize) -> Option<&'b [u8]> {
        arguments(self.first(held)).nth(place)
    }

    /// Returns the subcommand that the frame names, or the command itself. Returns Redis's error if no such subcommand
    /// exists.
    pub(super) fn resolve(&self, command: CommandId, held: usize) -> Result<CommandId, Verdict> {
        if command == CommandId::UNKNOWN {
            return Err(self.unknown(held));
        }
        if !command.is_container() || self.arguments < 2 {
            return Ok(command);
        }
        let Some(subcommand) = self.argument(1, held) else { return Err(Verdict::NeedWhole) };
        lookup_subcommand(command, subcommand).ok_or_else(|| {
            let mut line = Vec::with_capacity(64);
            reply::unknown_subcommand(&mut line, command.name(), subcommand);
            Verdict::error(line)
        })
    }

    /// Refuses the command as unknown. Redis repeats the name and the first arguments in the error.
    pub(super) fn unknown(&self, held: usize) -> Verdict {
        let mut shown = Vec::new();
        let mut room = MAX_QUOTED;
        for argument in arguments(self.first(held)).skip(1) {
            room = room.saturating_sub(argument.len());
            shown.push(argument);
            if room == 0 {
                break;
            }
        }
        if room > 0 && !self.is_whole_within(held) {
            return Verdict::NeedWhole;
        }
        let mut line = Vec::with_capacity(2 * MAX_QUOTED);
        reply::unknown_command(&mut line, self.name(), shown);
        Verdict::error(line)
    }

    /// Returns the subcommand that the frame names, or the command itself. Returns `None` if the command or the
    /// subcommand is unknown. An unknown subcommand of CLIENT counts as CLIENT, because the gate answers it.
    pub(super) fn exact(&self, command: CommandId, held: usize) -> Result<Option<CommandId>, Verdict> {
        if command == CommandId::UNKNOWN {
            return Ok(None);
        }
        if !command.is_container() || self.arguments < 2 {
            return Ok(Some(command));
        }
        match self.argument(1, held) {
            None => Err(Verdict::NeedWhole),
            Some(subcommand) => Ok(lookup_subcommand(command, subcommand)
                .or_else(|| (command == id::CLIENT).then_some(id::CLIENT))),
        }
    }

    /// Returns a copy of the frame for the time until the reply arrives. Returns `None` if the frame is incomplete or
    /// too large.
    pub(super) fn kept(&self, pending: &PendingReplies) -> Kept {
        if self.is_whole() { pending.keep(self.bytes) } else { None }
    }

    /// Returns whether the whole frame is within the first `held` bytes.
    pub(super) const fn is_whole_within(&self, held: usize) -> bool {
        self.is_whole() && self.bytes.len() <= held
    }

    /// Returns all received arguments without the name.
    pub(super) fn after_name(&self) -> Vec<&'b [u8]> {
        arguments(self.bytes).skip(1).collect()
    }

    pub(super) const fn is_whole(&self) -> bool {
        !matches!(self.source, Arrival::Partial(_))
    }

    /// Returns the number of bytes of the client's buffer that belong to the frame.
    pub(super) fn present(&self) -> usize {
        match self.source {
            Arrival::Whole => self.bytes.len(),
            Arrival::Partial(buf) => buf.len(),
            Arrival::Line(len) => len,
        }
    }
}
