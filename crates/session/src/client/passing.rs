//! Replies and messages that are passed on in pieces. Nothing may be sent to the client between two pieces.

/// Replies and messages that are passed on piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passing {
    /// Whether the upstream connection has answered a command.
    answered: bool,
    /// Whether a piece of a reply, or one of several confirmations, was passed on and the rest is missing.
    mid_reply: bool,
    /// Whether a part of a message was passed on and the rest is missing.
    mid_push: bool,
    /// Whether a message that has not ended is being withheld from the client.
    withholds: bool,
}

impl Passing {
    /// Records a new upstream connection. Its first reply may be an error about the connection itself.
    pub(super) const fn connect(&mut self) {
        self.answered = false;
    }

    /// Records the loss of the connection, with which no reply and no message had begun.
    pub(super) fn disconnect(&mut self) {
        *self = Self::default();
    }

    /// Records a part of a reply, which completes `ended` replies.
    pub(super) const fn reply(&mut self, ended: u64) {
        self.answered |= ended > 0;
        self.mid_reply = ended == 0;
    }

    /// Records a message or a piece of one. At the start of a message, calls `withhold` to decide for the whole
    /// message. Returns whether the message is withheld.
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

    /// Returns whether the client has received only a part of a reply or message.
    pub(super) const fn is_cut(self) -> bool {
        self.mid_reply || self.mid_push
    }

    /// Returns whether a part of a message was passed on.
    pub(super) const fn is_mid_push(self) -> bool {
        self.mid_push
    }

    /// Returns whether a part of a message was passed on or withheld.
    pub(super) const fn is_mid_message(self) -> bool {
        self.mid_push || self.withholds
    }
}
