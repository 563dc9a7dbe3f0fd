//! One turn of a session: how much it may still read, and whether anything has changed.

use std::task::Context;

/// The reads of one turn, of both directions together: 128 KiB. A client that sends a pipeline without end takes a
/// fraction of a millisecond at a time. The other sessions of the worker run in between. Tokio's own budget allows five
/// times as much.
const READS_PER_TURN: u8 = 8;

/// The result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes, or the end of the client's bytes, were read.
    Progress,
    /// Nothing can be read now, or no read is due.
    Nothing,
}

/// The state of one turn, which is one poll of the session's task.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The number of changes in this turn. The turn goes on until a round brings no change.
    moves: u32,
    reads_left: u8,
    /// Whether a read found nothing. The waker wakes the task when there is something to read.
    client_is_dry: bool,
    upstream_is_dry: bool,
}

impl Turn {
    /// Begins a turn.
    pub(super) fn begin() -> Self {
        Self { reads_left: READS_PER_TURN, ..Self::default() }
    }

    /// Records a change after which the session may be able to do more.
    pub(super) const fn moved(&mut self) {
        self.moves = self.moves.wrapping_add(1);
    }

    /// Returns the number of changes so far.
    pub(super) const fn moves(&self) -> u32 {
        self.moves
    }

    /// Returns whether this turn may read once more. If not, wakes the task for another turn.
    pub(super) fn may_read(&self, cx: &Context<'_>) -> bool {
        if self.reads_left == 0 {
            cx.waker().wake_by_ref();
        }
        self.reads_left > 0
    }

    /// Records a read that returned bytes.
    pub(super) const fn has_read(&mut self) {
        self.reads_left = self.reads_left.saturating_sub(1);
        self.moved();
    }

    /// Returns whether there may be bytes to read from the client.
    pub(super) const fn client_may_be_readable(&self) -> bool {
        !self.client_is_dry
    }

    /// Returns whether there may be bytes to read from the upstream.
    pub(super) const fn upstream_may_be_readable(&self) -> bool {
        !self.upstream_is_dry
    }

    /// Records that there is nothing to read from the client.
    pub(super) const fn client_is_dry(&mut self) {
        self.client_is_dry = true;
    }

    /// Records that there is nothing to read from the upstream.
    pub(super) const fn upstream_is_dry(&mut self) {
        self.upstream_is_dry = true;
    }

    /// Records that the session has another upstream connection.
    pub(super) const fn upstream_changed(&mut self) {
        self.upstream_is_dry = false;
        self.moved();
    }
}
