//! The time of day, for entries that expire, and the clock of a worker. The worker reads the clock for each batch of
//! bytes; elsewhere it uses the time of the last reading.

use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use portcullis_acl::UnixSeconds;
use portcullis_session::Tick;

/// Returns the time of day in seconds since 1970, for entries with an `until`. If the system clock is set to a time
/// before 1970, the result is the largest value, so every such entry has expired.
pub(crate) fn wall_clock() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixSeconds(since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX))
}

/// A clock that measures the time since the worker started.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    latest: Cell<Tick>,
}

impl Clock {
    /// Starts the clock at zero.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now(), latest: Cell::default() }
    }

    /// Reads the clock and returns the time.
    pub(crate) fn now(&self) -> Tick {
        let now = Tick::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.latest.set(now);
        now
    }

    /// Returns the time of the last call of [`Clock::now`], without a system call. The result is late by one tick of
    /// the worker at most.
    pub(crate) const fn latest(&self) -> Tick {
        self.latest.get()
    }
}
