//! Rates, and the history of each source that connects.
//!
//! Time is the duration since an origin that the caller chose once; it never runs backwards.

mod sources;

use std::time::Duration;

pub use self::sources::{
    CountedSource, DEFAULT_CAPACITY, Denied, LoginFailure, MAX_FAILURES, Source, SourceLimits, Sources,
};

/// A number of events in a time: `50/1s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: u64,
}

impl Rate {
    /// The rate of `count` events within `per`. `None` if either is 0, if `per` has fewer nanoseconds than `count`, or
    /// if its nanoseconds do not fit a `u64`.
    #[must_use]
    pub fn new(count: u32, per: Duration) -> Option<Self> {
        let per = u64::try_from(per.as_nanos()).ok()?;
        (count > 0 && per >= u64::from(count)).then_some(Self { count, per })
    }

    /// The number of events.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The time for these events.
    #[must_use]
    pub const fn per(self) -> Duration {
        Duration::from_nanos(self.per)
    }

    const fn per_nanos(self) -> u64 {
        self.per
    }

    /// The time of one event, in nanoseconds.
    fn each(self) -> u64 {
        self.per.checked_div(u64::from(self.count)).unwrap_or(u64::MAX)
    }
}

/// A limit of one thing to a [`Rate`]: `count` events at once, then one each `per / count`, like a token bucket. The
/// generic cell rate algorithm does this and keeps one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// The time at which all events so far would have happened at an even pace.
    paid_until: u64,
}

impl Meter {
    /// Takes one event; returns whether the rate allows it.
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

    /// The time at which the meter is as if nothing had been taken.
    const fn rests_at(self) -> u64 {
        self.paid_until
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
