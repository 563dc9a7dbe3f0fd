//! The seats of a listener, and of the process: how many clients may be there.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many clients there are, and how many there may be.
#[derive(Debug)]
pub struct Seat {
    taken: AtomicU64,
    limit: AtomicU64,
}

impl Seat {
    /// For so many.
    pub const fn new(limit: u64) -> Self {
        Self { taken: AtomicU64::new(0), limit: AtomicU64::new(limit) }
    }

    /// For so many from now on. Who is there stays.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes one, if any is free.
    pub(crate) fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < limit).then_some(taken + 1))
            .is_ok()
    }

    /// Gives one back.
    pub(crate) fn free(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
