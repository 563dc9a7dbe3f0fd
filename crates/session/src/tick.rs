//! Points in time, which the caller supplies.

use std::time::Duration;

/// A time in nanoseconds since an origin that the caller chooses once. It is never the time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// Creates a point in time from the nanoseconds since the caller's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the caller's origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Returns the nanoseconds from `earlier` to this time. Returns 0 if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the time after `duration`, or the latest time that can be represented.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}
