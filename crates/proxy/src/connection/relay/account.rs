//! The memory of one session in the accounts of its worker.

use crate::upstream::shared::Resources;
use crate::worker::table::Entry;

/// The bytes of memory that one session has reported to its worker.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// All bytes that the session holds.
    held: usize,
    /// The part of `held` that is not leased from the worker's pool.
    aside: usize,
}

impl Account {
    /// Updates the worker's accounts. `leased` is the number of bytes that the session leases from the worker's pool,
    /// `aside` the number of bytes that it holds outside the pool.
    pub(super) fn update(&mut self, resources: &Resources, entry: &Entry, leased: usize, aside: usize) {
        if aside != self.aside {
            resources.pool.count_aside(self.aside, aside);
            self.aside = aside;
        }
        let held = leased + aside;
        if held == self.held {
            return;
        }
        entry.held.set(held);
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        resources.stats.buffers(signed(held) - signed(self.held));
        self.held = held;
    }
}
