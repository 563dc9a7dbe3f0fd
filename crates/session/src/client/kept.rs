//! The state of a client that the gate keeps, so that it can set up another connection like the present one.

use portcullis_resp::command::CommandId;

use crate::link::Unavailable;

/// The state that belongs to the client and not to one of its connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    db: u32,
    resp3: bool,
    /// The first command that left state on the upstream connection which the gate cannot set up again.
    bond: Option<CommandId>,
    /// Whether some state is unknown, because the plan did not ask the session to follow it from the beginning.
    is_partial: bool,
    /// The error for commands that need the upstream, after earlier commands waited too long. `None` if commands may
    /// wait.
    failing: Option<Unavailable>,
}

impl Kept {
    /// Creates the state of a client that has sent nothing yet. `follows` says whether its state is followed.
    pub(super) fn new(follows: bool) -> Self {
        Self { is_partial: !follows, ..Self::default() }
    }

    /// Returns the client's database.
    pub(super) const fn db(&self) -> u32 {
        self.db
    }

    /// Returns whether the client uses RESP3, as far as the session follows it.
    pub(super) const fn resp3(&self) -> bool {
        self.resp3
    }

    /// Records the client's database.
    pub(super) const fn select(&mut self, db: u32) {
        self.db = db;
    }

    /// Records the client's RESP version.
    pub(super) const fn greet(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// Records that RESET took effect.
    pub(super) const fn reset(&mut self) {
        (self.db, self.resp3) = (0, false);
    }

    /// Records a command that leaves state which the gate cannot set up again.
    pub(super) fn bind(&mut self, command: CommandId) {
        self.bond.get_or_insert(command);
    }

    /// Returns the command of [`Kept::bind`].
    pub(super) const fn bond(&self) -> Option<CommandId> {
        self.bond
    }

    /// Records a change of the plan, which may follow the client's state from now on or no longer.
    pub(super) const fn renew(&mut self, follows: bool) {
        self.is_partial |= !follows;
    }

    /// Returns whether all state of the client is known.
    pub(super) const fn is_whole(&self) -> bool {
        !self.is_partial
    }

    /// Records that commands have waited too long for the upstream, or that later ones may wait again.
    pub(super) const fn set_failing(&mut self, why: Option<Unavailable>) {
        self.failing = why;
    }

    /// Returns the error for commands that need the upstream. `None` if they may wait.
    pub(super) const fn failing(&self) -> Option<Unavailable> {
        self.failing
    }
}
