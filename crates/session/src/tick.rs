//! Time and names that come from the caller.

use std::time::Duration;

/// Nanoseconds since an origin that the caller chose once; never wall-clock time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// A point in time, in nanoseconds since the caller's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the caller's origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to here; 0 where `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This point moved by `duration`; the end of time where that does not fit.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Names one session among those that share a link: a slab index and a generation, so that a late reply finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u64);

/// Names one reply that a link owes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Whose reply it is.
    pub session: SessionKey,
    /// Its place in that session's order. A gap between two neighbours tells the link not to join their replies.
    pub seq: u64,
}

impl Ticket {
    pub(crate) const fn plus(self, n: u64) -> Self {
        Self { session: self.session, seq: self.seq.wrapping_add(n) }
    }
}
