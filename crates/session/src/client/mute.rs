//! CLIENT REPLY: the commands whose replies are suppressed.

use crate::pending::ReplyMode;

/// The commands whose replies the client does not want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mute {
    /// No command.
    #[default]
    No,
    /// The next command.
    Next,
    /// All commands.
    All,
}

impl Mute {
    /// Records that Redis accepted a CLIENT REPLY of this mode.
    pub(super) fn set(&mut self, mode: ReplyMode) {
        match mode {
            ReplyMode::On => *self = Self::No,
            ReplyMode::Off => *self = Self::All,
            ReplyMode::Skip if *self != Self::All => *self = Self::Next,
            ReplyMode::Skip => {}
        }
    }

    /// Applies RESET. It ends CLIENT REPLY OFF before its own reply, so the client gets that reply. An earlier CLIENT
    /// REPLY SKIP still suppresses it.
    pub(super) fn reset(&mut self) {
        if *self == Self::All {
            *self = Self::No;
        }
    }

    /// Restores the SKIP of a frame that was cut, so that the error about the cut is suppressed as the frame's reply
    /// would be.
    pub(super) fn restore(&mut self) {
        if *self == Self::No {
            *self = Self::Next;
        }
    }

    /// Returns whether only the next command's reply is suppressed.
    pub(super) const fn skips_next(self) -> bool {
        matches!(self, Self::Next)
    }

    /// Returns whether all replies are suppressed.
    pub(super) const fn is_off(self) -> bool {
        matches!(self, Self::All)
    }

    /// Returns whether the next command's reply is suppressed.
    pub(super) const fn covers(self) -> bool {
        !matches!(self, Self::No)
    }

    /// Returns whether the reply to the current command is suppressed. Ends a SKIP.
    pub(super) fn take(&mut self) -> bool {
        let covers = self.covers();
        if *self == Self::Next {
            *self = Self::No;
        }
        covers
    }
}
