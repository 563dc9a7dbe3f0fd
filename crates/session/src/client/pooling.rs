//! A client that shares upstream connections: when the client needs a connection of its own, and for how long.
//!
//! All commands of the client go either to shared connections or to its own. The client changes from one to the other
//! when no reply is pending, so that the order of its replies is kept.
//!
//! ```text
//!            needs its own: take()            RESET: leave()
//!   shares ───────────────────────► leases ─────────────────► left
//!     ▲                               │ no state, unused for    │
//!     │                               │ the time of the lease   │
//!     └────── give_back(), when the caller has closed it ───────┘
//! ```

use std::time::Duration;

use crate::tick::Tick;

/// The size in bytes of the longest command for a shared connection: as much as one read returns. A longer command goes
/// to a connection of the client's own, because other clients would wait for its end.
pub(super) const MAX_SHARED_FRAME: usize = 16 * 1024;

/// The time for which a client keeps its own connection after the last use of the first lease. A client that uses MULTI
/// once will probably use it again.
const FIRST_HOLD: Duration = Duration::from_secs(1);

/// The most times that the lease is doubled: each new lease lasts twice as long as the one before, up to 64 s.
const MOST_DOUBLINGS: u32 = 6;

/// The part of a session that shares upstream connections.
#[derive(Debug, Default)]
pub struct Pooling {
    /// The database and RESP version that the client has requested, while no shared connection of that kind is ready.
    switching: Option<(u32, bool)>,
    /// The error of the upstream for the requested kind of connection.
    refusal: Option<Box<[u8]>>,
    /// Whether the client has a connection of its own, or waits for one.
    leased: bool,
    /// Whether the client left state on its own connection that ends without a sign for the gate.
    for_good: bool,
    /// Whether the client has sent RESET on its own connection. No state on the connection belongs to the client any
    /// more.
    left: bool,
    /// Whether the client reads more slowly than it sends requests.
    lagging: bool,
    /// The number of times that the client has taken a connection of its own.
    taken: u32,
    /// The time of the client's last action that needs its own connection.
    needed_at: Tick,
    /// A number that changes whenever the result of [`Session::pool_key`](super::Session::pool_key) may change.
    epoch: u32,
}

/// The action for a client's own upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The client has no connection to give back.
    None,
    /// The client needs the connection.
    Needed,
    /// The client keeps the connection until this time.
    Until(Tick),
    /// The lease is over. The caller closes the connection, unless messages may arrive on it, and calls
    /// [`Session::give_back`](super::Session::give_back).
    Over,
}

/// Methods for the caller.
impl Pooling {
    /// Returns a number that changes whenever the result of [`Session::pool_key`](super::Session::pool_key) may change.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Records the result of the wait for [`Until::Pooled`](super::Until::Pooled). An error is the line of the
    /// upstream, which the client gets. Returns the database and RESP version that the client uses from now on, if they
    /// change.
    pub(super) fn pooled(&mut self, there: Result<(), &[u8]>) -> Option<(u32, bool)> {
        self.advance();
        let switch = self.switching.take()?;
        match there {
            Ok(()) => Some(switch),
            Err(line) => {
                self.refusal = Some(line.into());
                None
            }
        }
    }

    /// Records that the client reads too slowly for a shared connection, so it gets a connection of its own.
    pub const fn set_lagging(&mut self) {
        self.lagging = true;
    }

    /// Returns whether the client has sent RESET, after which nothing on its own connection is for it.
    pub const fn has_left(&self) -> bool {
        self.left
    }

    /// Extends the lease, because the client used its own connection or messages may arrive on it.
    pub const fn keep_lease(&mut self, now: Tick) {
        self.needed_at = now;
    }

    /// Extends the lease of a client that does not read its replies, if the lease is over.
    pub fn put_off_return(&mut self, now: Tick) {
        if self.is_over(now) {
            self.needed_at = now;
        }
    }
}

/// Methods for the session.
impl Pooling {
    /// Returns the database and RESP version of the connection that the client waits for. `None` if it waits for none.
    pub(super) const fn awaited(&self) -> Option<(u32, bool)> {
        self.switching
    }

    /// Returns whether the client waits for a shared connection of another kind.
    pub(super) const fn is_switching(&self) -> bool {
        self.switching.is_some()
    }

    /// Returns whether the client has a connection of its own, or waits for one.
    pub(super) const fn is_leased(&self) -> bool {
        self.leased
    }

    /// Returns whether the client left state on its own connection whose end the gate cannot see.
    pub(super) const fn is_for_good(&self) -> bool {
        self.for_good
    }

    /// Returns whether the client has its own connection and has not needed it for the time of the lease.
    pub(super) fn is_over(&self, now: Tick) -> bool {
        self.leased && self.lease_end() <= now
    }

    /// Returns the time at which the lease ends if the connection is not needed before.
    pub(super) fn lease_end(&self) -> Tick {
        let hold = FIRST_HOLD * 2_u32.pow(self.taken.saturating_sub(1).min(MOST_DOUBLINGS));
        self.needed_at.after(hold)
    }

    /// Gives the client a connection of its own, which the gate sets up with the client's state. The server decides
    /// whether that state is allowed.
    pub(super) fn take(&mut self, now: Tick) {
        self.leased = true;
        self.taken = self.taken.saturating_add(1);
        self.needed_at = now;
        self.forget_switch();
    }

    /// Records that a shared connection became the client's own.
    pub(super) const fn adopt(&mut self) {
        self.lagging = false;
    }

    /// Records that the client's own connection was closed.
    pub(super) fn give_back(&mut self) {
        (self.leased, self.left, self.for_good) = (false, false, false);
        self.refusal = None;
    }

    /// Applies RESET. The client's own connection must be given back.
    pub(super) const fn leave(&mut self) {
        self.left = self.leased;
    }

    /// Records that the gate cannot see the end of the state on the client's own connection.
    pub(super) const fn keep_for_good(&mut self) {
        self.for_good = true;
    }

    /// Returns whether the client reads more slowly than it sends requests, and forgets it.
    pub(super) fn take_lagging(&mut self) -> bool {
        std::mem::take(&mut self.lagging)
    }

    /// Requests a shared connection of another kind. The command that waits is judged again when it is ready.
    pub(super) fn switch_to(&mut self, db: u32, resp3: bool) {
        if self.switching.replace((db, resp3)) != Some((db, resp3)) {
            self.advance();
        }
    }

    /// Withdraws the request for another kind of connection. The command that waits is judged again and may not repeat
    /// it.
    pub(super) fn forget_switch(&mut self) {
        (self.switching, self.refusal) = (None, None);
        self.advance();
    }

    /// Records that the upstream refuses the client's database on the client's own connection.
    pub(super) fn refuse(&mut self, line: &[u8]) {
        self.refusal = Some(line.into());
    }

    /// Takes the upstream's error for the requested kind of connection.
    pub(super) const fn take_refusal(&mut self) -> Option<Box<[u8]>> {
        self.refusal.take()
    }

    /// Records that Redis switched the client's own connection to another database. `is_known` says whether the gate
    /// knows which.
    pub(super) const fn selected(&mut self, is_known: bool) {
        self.for_good |= !is_known;
        self.advance();
    }

    /// Records Redis's reply to HELLO. `changes` says whether it changes the RESP version. Returns whether the
    /// connection may use the version.
    pub(super) const fn greeted(&mut self, changes: bool) -> bool {
        let fits = self.leased || !changes;
        if fits {
            self.advance();
        }
        fits
    }

    /// Records that [`Session::pool_key`](super::Session::pool_key) may have changed.
    pub(super) const fn advance(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Returns the bytes of memory that the value occupies.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.refusal.as_ref().map_or(0, |line| line.len())
    }
}

#[cfg(test)]
mod tests;
