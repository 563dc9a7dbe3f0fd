//! The counters of the users of a listener, with `auth: users`. Only names of the configuration become series.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The users of one listener that have logged in since the start.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<BTreeMap<Box<str>, Arc<UserSeries>>>);

/// The counters of one user, with a part for each worker.
#[derive(Debug)]
pub(super) struct UserSeries {
    workers: Box<[UserStats]>,
}

/// The counters of one user on one worker, in cache lines of their own.
#[repr(align(128))]
#[derive(Debug, Default)]
struct UserStats {
    commands: AtomicU64,
    clients: AtomicI64,
}

/// One client that is logged in as a user. The client counts until this value is dropped.
#[derive(Debug)]
pub(crate) struct UserCounts {
    series: Arc<UserSeries>,
    worker: usize,
}

impl Users {
    /// Counts a client of the worker with this index as logged in.
    pub(super) fn log_in(&self, name: &str, worker: usize, workers: usize) -> UserCounts {
        let mut users = self.users();
        let known = users.get(name).map(Arc::clone);
        let series = known.unwrap_or_else(|| {
            let series =
                Arc::new(UserSeries { workers: (0..workers).map(|_| UserStats::default()).collect() });
            users.insert(name.into(), Arc::clone(&series));
            series
        });
        drop(users);
        let counts = UserCounts { series, worker };
        counts.shift_clients(1);
        counts
    }

    /// Returns the users in the order of their names.
    pub(super) fn list(&self) -> Vec<(Box<str>, Arc<UserSeries>)> {
        self.users().iter().map(|(name, series)| (name.clone(), Arc::clone(series))).collect()
    }

    fn users(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Arc<UserSeries>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserSeries {
    pub(super) fn commands(&self) -> u64 {
        self.workers.iter().map(|stats| stats.commands.load(Relaxed)).fold(0, u64::wrapping_add)
    }

    pub(super) fn clients(&self) -> u64 {
        let clients = self.workers.iter().map(|stats| stats.clients.load(Relaxed)).fold(0, i64::wrapping_add);
        u64::try_from(clients).unwrap_or(0)
    }
}

impl UserCounts {
    /// Counts `n` commands of the user.
    pub(crate) fn commands(&self, n: u64) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            // One thread writes these counters.
            stats.commands.store(stats.commands.load(Relaxed).wrapping_add(n), Relaxed);
        }
    }

    fn shift_clients(&self, delta: i64) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            stats.clients.store(stats.clients.load(Relaxed).wrapping_add(delta), Relaxed);
        }
    }
}

impl Drop for UserCounts {
    fn drop(&mut self) {
        self.shift_clients(-1);
    }
}
