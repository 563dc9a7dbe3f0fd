//! One turn of a session: how much it may still read, and whether anything has changed.

use std::task::Context;

/// Reads of one turn, both directions together: 128 KiB. A client that pipelines without end takes a fraction of a
/// millisecond at a time, and others on the worker get theirs in between. Tokio's own budget allows five times as much.
const READS_PER_TURN: u8 = 8;

/// The result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes, or the end of the client's bytes, have come.
    Progress,
    /// There is nothing to read now, or no read is due.
    Nothing,
}

/// The state of one turn, which is one poll of the session's task.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Counts what changed, so that the turn goes on until nothing does.
    moves: u32,
    reads_left: u8,
    /// A read has found nothing; its waker will tell when that changes.
    client_is_dry: bool,
    upstream_is_dry: bool,
}

impl Turn {
    /// A turn that begins.
    pub(super) fn begin() -> Self {
        Self { reads_left: READS_PER_TURN, ..Self::default() }
    }

    /// Something changed by which more can be done.
    pub(super) const fn moved(&mut self) {
        self.moves = self.moves.wrapping_add(1);
    }

    /// The number of changes so far.
    pub(super) const fn moves(&self) -> u32 {
        self.moves
    }

    /// Whether this turn may read once more. If not, the next turn is asked for.
    pub(super) fn may_read(&self, cx: &Context<'_>) -> bool {
        if self.reads_left == 0 {
            cx.waker().wake_by_ref();
        }
        self.reads_left > 0
    }

    /// A read has brought something.
    pub(super) const fn has_read(&mut self) {
        self.reads_left = self.reads_left.saturating_sub(1);
        self.moved();
    }

    /// Whether there may be something to read from the client.
    pub(super) const fn client_may_be_readable(&self) -> bool {
        !self.client_is_dry
    }

    /// Whether there may be something to read from the upstream.
    pub(super) const fn upstream_may_be_readable(&self) -> bool {
        !self.upstream_is_dry
    }

    /// There is nothing to read from the client.
    pub(super) const fn client_is_dry(&mut self) {
        self.client_is_dry = true;
    }

    /// There is nothing to read from the upstream.
    pub(super) const fn upstream_is_dry(&mut self) {
        self.upstream_is_dry = true;
    }

    /// The upstream connection is another.
    pub(super) const fn upstream_changed(&mut self) {
        self.upstream_is_dry = false;
        self.moved();
    }
}
