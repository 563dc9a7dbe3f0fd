//! One command, or as much of it as is there.

use portcullis_resp::command::{CommandId, id, lookup_subcommand};
use portcullis_resp::encode::MAX_QUOTED;
use portcullis_resp::reply;
use portcullis_resp::scan::arguments;

use super::verdict::Verdict;
use crate::pending::{Kept, PendingReplies};

/// A command, or as much of it as there is, in canonical form.
pub(super) struct Frame<'b> {
    /// The validated prefix of the frame.
    pub(super) bytes: &'b [u8],
    /// How many arguments it announces, the name included.
    pub(super) arguments: u64,
    pub(super) source: Source<'b>,
}

/// How the command came.
#[derive(Clone, Copy)]
pub(super) enum Source<'b> {
    /// The frame is in the buffer.
    Whole,
    /// The frame has begun; this is the buffer, and all of it belongs to the frame.
    Partial(&'b [u8]),
    /// As an inline line of this many bytes.
    Line(usize),
}

impl<'b> Frame<'b> {
    /// Empty where the name is so long that it is not wholly in.
    pub(super) fn name(&self) -> &'b [u8] {
        arguments(self.bytes).next().unwrap_or(&[])
    }

    /// No more than `held` bytes of it: what a command is judged by must not depend on how it was cut.
    pub(super) fn first(&self, held: usize) -> &'b [u8] {
        self.bytes.get(..held).unwrap_or(self.bytes)
    }

    /// The argument in this place, the name being 0, if it is there already and ends within the first `held` bytes.
    pub(super) fn argument(&self, place: usize, held: usize) -> Option<&'b [u8]> {
        arguments(self.first(held)).nth(place)
    }

    /// The subcommand that it names, or the command itself; where there is no such thing, what Redis says of that.
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

    /// Redis repeats the name and the first of the arguments.
    fn unknown(&self, held: usize) -> Verdict {
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

    /// The subcommand that it names, or the command itself; none where it is not known. CLIENT stands for what it does not
    /// have: the gate says so.
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

    /// A copy that is kept until the frame is answered, if it travels on whole and there is room.
    pub(super) fn kept(&self, pending: &PendingReplies) -> Kept {
        if self.is_whole() { pending.keep(self.bytes) } else { None }
    }

    /// Whether all of it is there, in `held` bytes.
    pub(super) const fn is_whole_within(&self, held: usize) -> bool {
        self.is_whole() && self.bytes.len() <= held
    }

    /// All that are there, without the name.
    pub(super) fn after_name(&self) -> Vec<&'b [u8]> {
        arguments(self.bytes).skip(1).collect()
    }

    pub(super) const fn is_whole(&self) -> bool {
        !matches!(self.source, Source::Partial(_))
    }

    /// Bytes of the client's buffer that it takes up so far.
    pub(super) fn present(&self) -> usize {
        match self.source {
            Source::Whole => self.bytes.len(),
            Source::Partial(buf) => buf.len(),
            Source::Line(len) => len,
        }
    }
}
