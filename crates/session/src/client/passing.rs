//! What was passed on to the client in part: nothing may come between its pieces.

/// Replies and messages that are passed on piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passing {
    /// The upstream connection has answered a command.
    answered: bool,
    /// A reply, or one of several confirmations, was passed on and the command's answer is not complete.
    mid_reply: bool,
    /// A message was passed on in part.
    mid_push: bool,
    /// A message is being kept from the client, and has not ended.
    withholds: bool,
}

impl Passing {
    /// A fresh upstream connection is there. Its first words may be about itself, whatever another has said before.
    pub(super) const fn connect(&mut self) {
        self.answered = false;
    }

    /// A part of a reply came, which ends `ended` answers.
    pub(super) const fn reply(&mut self, ended: u64) {
        self.answered |= ended > 0;
        self.mid_reply = ended == 0;
    }

    /// A message or a piece of one came. `withhold` decides whether it is kept from the client, where it begins; that
    /// holds to its end. Returns whether it is kept.
    pub(super) fn push(&mut self, ended: bool, withhold: impl FnOnce() -> bool) -> bool {
        let withheld = if self.is_mid_message() { self.withholds } else { withhold() };
        self.withholds = withheld && !ended;
        self.mid_push = !withheld && !ended;
        withheld
    }

    /// Returns whether the upstream connection has answered a command.
    pub(super) const fn has_answered(self) -> bool {
        self.answered
    }

    /// Returns whether the client has read a part of something.
    pub(super) const fn is_cut(self) -> bool {
        self.mid_reply || self.mid_push
    }

    /// Returns whether a message was passed on in part.
    pub(super) const fn is_mid_push(self) -> bool {
        self.mid_push
    }

    /// Returns whether a message was passed on or kept from the client in part.
    pub(super) const fn is_mid_message(self) -> bool {
        self.mid_push || self.withholds
    }
}
