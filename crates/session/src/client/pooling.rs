//! A client that shares upstream connections: when it needs one of its own, and for how long.
//!
//! Its commands travel either all by shared connections or all by its own. It goes over from one to the other when no reply
//! is pending, so that order holds.
//!
//! ```text
//!            needs its own: take()            RESET: leave()
//!   shares ───────────────────────► leases ─────────────────► left
//!     ▲                               │ no state, no need for   │
//!     │                               │ the time of the lease   │
//!     └────── give_back(), when the caller has closed it ───────┘
//! ```

use std::time::Duration;

use crate::tick::Tick;

/// A command that is longer goes by a connection of the client's own: on a shared one others would wait for its end. As
/// much as one read brings.
pub(super) const MAX_SHARED_FRAME: usize = 16 * 1024;

/// A connection of the client's own is kept so long after its last use: a client that uses MULTI once does so again.
const FIRST_HOLD: Duration = Duration::from_secs(1);

/// Each time it is taken again it is kept twice as long, so often at most: 64 s.
const MOST_DOUBLINGS: u32 = 6;

/// The part of a session that shares upstream connections.
#[derive(Debug, Default)]
pub struct Pooling {
    db: u32,
    resp3: bool,
    /// The database and RESP version that the client has asked for and no shared connection was had for yet.
    switching: Option<(u32, bool)>,
    /// The reason why it cannot be had.
    refusal: Option<Box<[u8]>>,
    /// It has a connection of its own, or waits for one.
    leased: bool,
    /// The end of what it left on its own connection cannot be seen.
    for_good: bool,
    /// It has had its own connection reset: nothing there is its own any more.
    left: bool,
    /// It does not read as fast as it asks.
    lagging: bool,
    /// How often it has taken a connection of its own.
    taken: u32,
    /// When it last did something that needs one.
    needed_at: Tick,
    /// Changes whenever [`Session::pool_key`](super::Session::pool_key) may have changed.
    epoch: u32,
}

/// What is to be done with a client's own upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// There is none to give back.
    None,
    /// It is needed.
    Needed,
    /// It is kept until then.
    Until(Tick),
    /// Close it, unless messages may come on it, and say so with [`Session::give_back`](super::Session::give_back).
    Over,
}

/// The caller's side.
impl Pooling {
    /// As long as it stays the same, so does [`Session::pool_key`](super::Session::pool_key).
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// There is a shared connection as [`Until::Pooled`](super::Until::Pooled) asked for; or there cannot be, which the
    /// client reads in the upstream's words.
    pub fn pooled(&mut self, there: Result<(), &[u8]>) {
        self.advance();
        let Some(switch) = self.switching.take() else { return };
        match there {
            Ok(()) => (self.db, self.resp3) = switch,
            Err(line) => self.refusal = Some(line.into()),
        }
    }

    /// The client reads so slowly that others would have to wait for it: it gets a connection of its own.
    pub const fn set_lagging(&mut self) {
        self.lagging = true;
    }

    /// Returns whether the client has said RESET, after which nothing on its own connection is for it.
    pub const fn has_left(&self) -> bool {
        self.left
    }

    /// The client's own upstream connection is needed: something was done that needs it, or messages may come on it.
    pub const fn keep_lease(&mut self, now: Tick) {
        self.needed_at = now;
    }

    /// The client does not accept its replies: a connection of its own is kept for it, whatever its time.
    pub fn put_off_return(&mut self, now: Tick) {
        if self.is_over(now) {
            self.needed_at = now;
        }
    }
}

/// The session's side.
impl Pooling {
    /// The database and RESP version of the connection that the client uses, or waits for.
    pub(super) fn wanted(&self) -> (u32, bool) {
        self.switching.unwrap_or((self.db, self.resp3))
    }

    /// The database that the client is in.
    pub(super) const fn db(&self) -> u32 {
        self.db
    }

    /// Whether the client speaks RESP3.
    pub(super) const fn resp3(&self) -> bool {
        self.resp3
    }

    /// Returns whether the client waits for a shared connection of another kind.
    pub(super) const fn is_switching(&self) -> bool {
        self.switching.is_some()
    }

    /// Returns whether the client has a connection of its own, or waits for one.
    pub(super) const fn is_leased(&self) -> bool {
        self.leased
    }

    /// Returns whether the client has left state on its own connection whose end cannot be seen.
    pub(super) const fn is_for_good(&self) -> bool {
        self.for_good
    }

    /// Returns whether the client has a connection of its own for longer than it is kept without need.
    pub(super) fn is_over(&self, now: Tick) -> bool {
        self.leased && self.lease_end() <= now
    }

    /// Returns the end of the time for which a connection of the client's own is kept without need.
    pub(super) fn lease_end(&self) -> Tick {
        let hold = FIRST_HOLD * 2_u32.pow(self.taken.saturating_sub(1).min(MOST_DOUBLINGS));
        self.needed_at.after(hold)
    }

    /// The client needs a connection of its own. It is set up as the client has it; the server says whether that may
    /// change.
    pub(super) fn take(&mut self, now: Tick) {
        self.leased = true;
        self.taken = self.taken.saturating_add(1);
        self.needed_at = now;
        self.forget_switch();
    }

    /// The connection that was shared is the client's own from now on.
    pub(super) const fn adopt(&mut self) {
        self.lagging = false;
    }

    /// The client's own connection was closed.
    pub(super) fn give_back(&mut self) {
        (self.leased, self.left, self.for_good) = (false, false, false);
        self.refusal = None;
    }

    /// RESET: the state is that of a new client, and a connection of its own is to be given back.
    pub(super) const fn leave(&mut self) {
        (self.db, self.resp3) = (0, false);
        self.left = self.leased;
    }

    /// The end of what the client leaves on its own connection cannot be seen.
    pub(super) const fn keep_for_good(&mut self) {
        self.for_good = true;
    }

    /// Takes the news that the client does not read as fast as it asks.
    pub(super) fn take_lagging(&mut self) -> bool {
        std::mem::take(&mut self.lagging)
    }

    /// The client asks for another kind of shared connection. It is judged again as long as it waits.
    pub(super) fn switch_to(&mut self, db: u32, resp3: bool) {
        if self.switching.replace((db, resp3)) != Some((db, resp3)) {
            self.advance();
        }
    }

    /// A connection that the client waits for is judged again, and may not be asked for then.
    pub(super) fn forget_switch(&mut self) {
        (self.switching, self.refusal) = (None, None);
        self.advance();
    }

    /// The upstream refuses the client's database to a connection of its own.
    pub(super) fn refuse(&mut self, line: &[u8]) {
        self.refusal = Some(line.into());
    }

    /// Takes the reason why the upstream refuses what the client asked for.
    pub(super) const fn take_refusal(&mut self) -> Option<Box<[u8]>> {
        self.refusal.take()
    }

    /// Redis put the client's own connection into this database; into one that the gate does not know if None.
    pub(super) fn selected(&mut self, db: Option<u32>) {
        self.for_good |= db.is_none();
        self.db = db.unwrap_or(self.db);
        self.advance();
    }

    /// Redis answered HELLO in this RESP version. Returns whether a connection of that kind can do so.
    pub(super) fn greeted(&mut self, resp3: bool) -> bool {
        let fits = self.leased || resp3 == self.resp3;
        if fits {
            self.resp3 = resp3;
            self.advance();
        }
        fits
    }

    /// The login of shared connections may be another.
    pub(super) const fn advance(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.refusal.as_ref().map_or(0, |line| line.len())
    }
}

#[cfg(test)]
mod tests;
