//! The counters of an upstream's views: where its master is, for how long traffic was held, and the nodes of a cluster.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::labels::ReloadResult;

/// The counters of one upstream's views. Its watcher is the only writer.
#[derive(Debug)]
pub(crate) struct ViewSeries {
    created: Instant,
    /// The milliseconds from `created` to the last confirmation, plus one. 0: there was none.
    confirmed: AtomicU64,
    failovers: AtomicU64,
    results: [AtomicU64; ReloadResult::ALL.len()],
    paused_millis: AtomicU64,
    /// The number of sentinels that named a master in the last round, plus one. 0: there was no round.
    named_by: AtomicUsize,
    /// `None`: the upstream is no cluster, or none of its nodes has answered yet.
    cluster: Mutex<Option<ClusterGauges>>,
}

/// The nodes of a cluster, and its slots without an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterGauges {
    /// The masters, those without slots too.
    pub masters: usize,
    /// The replicas.
    pub replicas: usize,
    /// The slots without an owner.
    pub uncovered: usize,
}

impl ViewSeries {
    pub(super) fn new() -> Self {
        Self {
            created: Instant::now(),
            confirmed: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            results: [const { AtomicU64::new(0) }; _],
            paused_millis: AtomicU64::new(0),
            cluster: Mutex::default(),
            named_by: AtomicUsize::new(0),
        }
    }

    /// Counts a round of questions: the view has changed, is confirmed, or stays although the answers do not confirm it.
    pub(crate) fn judged(&self, result: ReloadResult) {
        self.results[result.index()].fetch_add(1, Relaxed);
        if result != ReloadResult::Rejected {
            self.confirmed.store(millis(self.created.elapsed()).saturating_add(1), Relaxed);
        }
    }

    /// Counts a change from one master to another.
    pub(crate) fn failed_over(&self) {
        self.failovers.fetch_add(1, Relaxed);
    }

    /// Adds the time of a pause that has ended.
    pub(crate) fn paused(&self, time: Duration) {
        self.paused_millis.fetch_add(millis(time), Relaxed);
    }

    /// Sets the nodes of a cluster. `None`: the upstream is no cluster any more.
    pub(crate) fn set_cluster(&self, gauges: Option<ClusterGauges>) {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = gauges;
    }

    pub(super) fn cluster(&self) -> Option<ClusterGauges> {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the number of sentinels that named a master in a round.
    pub(crate) fn named_by(&self, sentinels: usize) {
        self.named_by.store(sentinels.saturating_add(1), Relaxed);
    }

    /// Returns the number of sentinels that named a master in the last round. `None`: there was none.
    pub(crate) fn naming(&self) -> Option<usize> {
        self.named_by.load(Relaxed).checked_sub(1)
    }

    /// Returns the number of changes from one master to another.
    pub(crate) fn failovers(&self) -> u64 {
        self.failovers.load(Relaxed)
    }

    pub(super) fn results(&self, result: ReloadResult) -> u64 {
        self.results[result.index()].load(Relaxed)
    }

    pub(super) fn paused_time(&self) -> Duration {
        Duration::from_millis(self.paused_millis.load(Relaxed))
    }

    /// Returns the time since the view was confirmed the last time. `None`: it never was.
    pub(super) fn age(&self) -> Option<Duration> {
        let confirmed = self.confirmed.load(Relaxed).checked_sub(1)?;
        Some(self.created.elapsed().saturating_sub(Duration::from_millis(confirmed)))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_last_confirmation() {
        let views = ViewSeries::new();
        views.judged(ReloadResult::Rejected);
        assert_eq!(views.age(), None);
        views.judged(ReloadResult::Applied);
        assert!(views.age().is_some_and(|age| age < Duration::from_secs(10)));
        assert_eq!(
            [ReloadResult::Applied, ReloadResult::Unchanged, ReloadResult::Rejected]
                .map(|result| views.results(result)),
            [1, 0, 1]
        );
    }
}
