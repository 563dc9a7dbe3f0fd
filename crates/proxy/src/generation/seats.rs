//! Counts the clients of a listener or of the process, and enforces the limit.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of clients, and its limit.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: AtomicU64,
    limit: AtomicU64,
}

impl Seat {
    /// Makes a counter with a limit of `limit` clients.
    pub(crate) const fn new(limit: u64) -> Self {
        Self { taken: AtomicU64::new(0), limit: AtomicU64::new(limit) }
    }

    /// Changes the limit. Existing clients over the new limit stay.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Returns the number of clients.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes a seat for one client. Returns false if the limit is reached.
    pub(crate) fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < limit).then_some(taken + 1))
            .is_ok()
    }

    /// Frees the seat of one client.
    pub(crate) fn free(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
