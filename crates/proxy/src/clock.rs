//! The time: of day for entries that expire, and a worker's own, precise where a batch is read and coarse elsewhere.

use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use portcullis_acl::UnixSeconds;
use portcullis_session::Tick;

/// Returns the time of day, for entries with an `until`.
pub(crate) fn wall_clock() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixSeconds(since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX))
}

/// Time since the worker began.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    latest: Cell<Tick>,
}

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now(), latest: Cell::default() }
    }

    /// Reads the clock.
    pub(crate) fn now(&self) -> Tick {
        let now = Tick::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.latest.set(now);
        now
    }

    /// The last time that was read by anyone here: late by at most the worker's tick, and free.
    pub(crate) const fn latest(&self) -> Tick {
        self.latest.get()
    }
}
