//! Rates, and the history of each source that connects.
//!
//! Each time is a duration since an origin that the caller chooses once. Time never runs backwards.

mod sources;

use std::time::Duration;

pub use self::sources::{
    CountedSource, DEFAULT_CAPACITY, Denied, LoginFailure, MAX_FAILURES, Source, SourceLimits, Sources,
};

/// A number of events within a time: `50/1s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: u64,
}

impl Rate {
    /// Makes the rate of `count` events within `per`. `None` if either is 0, if `per` has fewer nanoseconds than
    /// `count`, or if the nanoseconds exceed a `u64`.
    #[must_use]
    pub fn new(count: u32, per: Duration) -> Option<Self> {
        let per = u64::try_from(per.as_nanos()).ok()?;
        (count > 0 && per >= u64::from(count)).then_some(Self { count, per })
    }

    /// Returns the number of events.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Returns the time for this number of events.
    #[must_use]
    pub const fn per(self) -> Duration {
        Duration::from_nanos(self.per)
    }

    const fn per_nanos(self) -> u64 {
        self.per
    }

    /// Returns the time for one event, in nanoseconds.
    fn each(self) -> u64 {
        self.per.checked_div(u64::from(self.count)).unwrap_or(u64::MAX)
    }
}

/// Limits one kind of event to a [`Rate`] like a token bucket: `count` events at once, then one each `per / count`.
/// The generic cell rate algorithm does this with a single number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// The time at which all events so far would have happened at an even pace, in nanoseconds.
    paid_until: u64,
}

impl Meter {
    /// Counts one event. Returns whether the rate allows it; an event that is not allowed does not count.
    pub fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let now = nanos(now);
        let from = self.paid_until.max(now);
        let ahead = from.saturating_sub(now);
        if ahead > rate.each().saturating_mul(u64::from(rate.count).saturating_sub(1)) {
            return false;
        }
        self.paid_until = from.saturating_add(rate.each());
        true
    }

    /// Returns the time from which the meter is as good as new, in nanoseconds.
    const fn rests_at(self) -> u64 {
        self.paid_until
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
