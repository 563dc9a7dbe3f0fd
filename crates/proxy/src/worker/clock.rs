//! A worker's time: precise where a batch is read, coarse elsewhere.

use std::cell::Cell;
use std::time::Instant;

use portcullis_session::Tick;

/// Time since the worker began.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    latest: Cell<Tick>,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self { origin: Instant::now(), latest: Cell::default() }
    }

    /// Reads the clock.
    pub fn now(&self) -> Tick {
        let now = Tick::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.latest.set(now);
        now
    }

    /// The last time that was read by anyone here: late by at most the worker's tick, and free.
    pub const fn latest(&self) -> Tick {
        self.latest.get()
    }
}
