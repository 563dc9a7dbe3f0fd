//! CLIENT REPLY: which commands go unanswered.

use crate::pending::ReplyMode;

/// The commands whose replies the client does not want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mute {
    /// None.
    #[default]
    No,
    /// The next one.
    Next,
    /// All of them.
    All,
}

impl Mute {
    /// Redis took a CLIENT REPLY of this mode.
    pub(super) fn set(&mut self, mode: ReplyMode) {
        match mode {
            ReplyMode::On => *self = Self::No,
            ReplyMode::Off => *self = Self::All,
            ReplyMode::Skip if *self != Self::All => *self = Self::Next,
            ReplyMode::Skip => {}
        }
    }

    /// RESET ends CLIENT REPLY OFF before it is answered, but a CLIENT REPLY SKIP before it covers it.
    pub(super) fn reset(&mut self) {
        if *self == Self::All {
            *self = Self::No;
        }
    }

    /// A frame was cut whose reply was not wanted: the SKIP that covered it covers what is said of the cut.
    pub(super) fn restore(&mut self) {
        if *self == Self::No {
            *self = Self::Next;
        }
    }

    /// Returns whether the next command, and only that, goes unanswered.
    pub(super) const fn skips_next(self) -> bool {
        matches!(self, Self::Next)
    }

    /// Returns whether all commands go unanswered.
    pub(super) const fn is_off(self) -> bool {
        matches!(self, Self::All)
    }

    /// Returns whether the next command goes unanswered.
    pub(super) const fn covers(self) -> bool {
        !matches!(self, Self::No)
    }

    /// Takes the answer for the command that is being read: whether it goes unanswered.
    pub(super) fn take(&mut self) -> bool {
        let covers = self.covers();
        if *self == Self::Next {
            *self = Self::No;
        }
        covers
    }
}
