//! The durations of commands by upstream. They are summed from those of the listeners when they are read, so that the
//! path of a command counts each duration once.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_resp::command::CommandId;

use super::histogram::BUCKETS;
use super::series::{ListenerSeries, UpstreamSeries};

/// Durations by bucket, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Durations {
    pub(super) buckets: [u64; BUCKETS],
    pub(super) nanos: u64,
}

/// The durations of listeners that were of an upstream, and no longer are.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<Durations>);

/// The upstream of a listener. What the listener counts goes to this upstream from then on.
#[derive(Debug, Default)]
pub(super) struct Attribution(Mutex<Option<Attributed>>);

#[derive(Debug)]
struct Attributed {
    upstream: Arc<UpstreamSeries>,
    /// The durations of the listener when it came to the upstream.
    before: Durations,
}

impl Durations {
    fn combined(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        let mut buckets = self.buckets;
        for (bucket, n) in buckets.iter_mut().zip(other.buckets) {
            *bucket = with(*bucket, n);
        }
        Self { buckets, nanos: with(self.nanos, other.nanos) }
    }

    fn plus(self, other: Self) -> Self {
        self.combined(other, u64::wrapping_add)
    }

    fn minus(self, other: Self) -> Self {
        self.combined(other, u64::wrapping_sub)
    }

    /// Returns all durations of a listener.
    fn of(listener: &ListenerSeries) -> Self {
        let mut sum = Self::default();
        let stats =
            listener.workers.iter().flat_map(|worker| CommandId::all().filter_map(|id| worker.command(id)));
        for stats in stats {
            for (bucket, n) in sum.buckets.iter_mut().zip(&stats.buckets) {
                *bucket = bucket.wrapping_add(n.load(Relaxed));
            }
            sum.nanos = sum.nanos.wrapping_add(stats.nanos.load(Relaxed));
        }
        sum
    }
}

impl Past {
    fn add(&self, more: Durations) {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *past = past.plus(more);
    }

    fn get(&self) -> Durations {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attribution {
    /// Counts the later durations of the listener for another upstream.
    pub(super) fn follow(listener: &ListenerSeries, upstream: &Arc<UpstreamSeries>) {
        let mut attributed = listener.attribution.lock();
        if attributed.as_ref().is_some_and(|known| Arc::ptr_eq(&known.upstream, upstream)) {
            return;
        }
        let now = Durations::of(listener);
        if let Some(former) = attributed.replace(Attributed { upstream: Arc::clone(upstream), before: now }) {
            former.upstream.past.add(now.minus(former.before));
        }
    }

    /// Leaves the durations of a listener that ends with its upstream.
    pub(super) fn settle(listener: &ListenerSeries) {
        if let Some(last) = listener.attribution.lock().take() {
            last.upstream.past.add(Durations::of(listener).minus(last.before));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Attributed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the durations of the commands that went to an upstream.
pub(super) fn of_upstream(upstream: &Arc<UpstreamSeries>, listeners: &[Arc<ListenerSeries>]) -> Durations {
    let mut sum = upstream.past.get();
    for listener in listeners {
        let attributed = listener.attribution.lock();
        if let Some(known) = attributed.as_ref().filter(|known| Arc::ptr_eq(&known.upstream, upstream)) {
            sum = sum.plus(Durations::of(listener).minus(known.before));
        }
    }
    sum
}
