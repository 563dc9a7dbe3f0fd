//! What the gate counts, and the page that Prometheus reads.
//!
//! Two kinds of series share the page. What happens per command or per byte is counted by each worker in plain arrays
//! of its own ([`WorkerStats`]) and summed when the page is asked for. What happens per connection or less often is
//! kept by the `metrics` crate ([`AcceptStats`] and the methods of [`Metrics`]). The names are a contract; their list
//! with meanings is in `docs/operations.md`.

mod cold;
mod error_prefix;
mod histogram;
mod hot;
mod labels;
mod process;
mod text;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use self::labels::{
    ClosedReason, DeniedReason, Direction, RefusedReason, UpstreamErrorKind, UpstreamState,
};
pub use self::text::CONTENT_TYPE;
pub use self::worker::WorkerStats;

use self::cold::Cold;
use self::hot::GroupStats;
use self::process::Process;
use self::text::Page;

/// All metrics of one running gate.
pub struct Metrics {
    names: Names,
    workers: Vec<Arc<WorkerStats>>,
    cold: Cold,
    groups: Vec<GroupStats>,
    probe_errors: Vec<[AtomicU64; UpstreamErrorKind::COUNT]>,
    dropped: Vec<LineCounter>,
    process: Process,
}

/// Tells how many lines a sink has lost so far.
pub type LineCounter = Box<dyn Fn() -> u64 + Send + Sync>;

/// The label values that come from the config; an index into each is how a series is named when it is counted.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// In the order of the config's listeners.
    pub listeners: Vec<String>,
    /// In the order of the config's upstreams.
    pub upstreams: Vec<String>,
    /// In the order of the policy's groups.
    pub groups: Vec<String>,
}

impl Metrics {
    /// Counters for a config with these names and this many workers, all at zero. `dropped` tells how many lines the
    /// log and the audit have lost.
    pub fn new(names: Names, workers: usize, dropped: Vec<LineCounter>) -> Arc<Self> {
        let worker = |_| Arc::new(WorkerStats::new(names.listeners.len(), names.upstreams.len()));
        Arc::new(Self {
            workers: (0..workers).map(worker).collect(),
            cold: Cold::new(&names),
            groups: names.groups.iter().map(|_| GroupStats::default()).collect(),
            probe_errors: names.upstreams.iter().map(|_| [const { AtomicU64::new(0) }; _]).collect(),
            dropped,
            process: Process::new(),
            names,
        })
    }

    /// The counters of one worker, for its thread.
    ///
    /// # Panics
    /// There is no such worker.
    pub fn worker(&self, index: usize) -> Arc<WorkerStats> {
        Arc::clone(&self.workers[index])
    }

    /// The counters of whoever accepts connections; any thread may use them.
    pub fn accept(self: &Arc<Self>) -> AcceptStats {
        AcceptStats(Arc::clone(self))
    }

    /// What the last probe of an upstream found.
    pub fn upstream_up(&self, upstream: usize, up: bool) {
        self.cold.upstream_up(upstream, up);
    }

    /// A probe of an upstream failed.
    pub fn probe_error(&self, upstream: usize, kind: UpstreamErrorKind) {
        if let Some(errors) = self.probe_errors.get(upstream) {
            errors[kind.index()].fetch_add(1, Relaxed);
        }
    }

    /// The size of a group, and when its next entry expires in seconds since 1970.
    pub fn group(&self, index: usize, entries: u64, next_expiry: Option<i64>) {
        if let Some(group) = self.groups.get(index) {
            group.entries.store(entries, Relaxed);
            group.next_expiry.store(next_expiry.unwrap_or(GroupStats::NEVER), Relaxed);
        }
    }

    /// The config was read at `at`, and taken over or not.
    pub fn config_read(&self, successful: bool, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.cold.reloaded(successful, since.as_secs_f64());
    }

    /// Bytes held in buffers by all workers.
    pub fn buffer_bytes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.buffer_bytes()).fold(0, u64::saturating_add)
    }

    /// The page, in the format of [`CONTENT_TYPE`]. Walks every counter: for a blocking task, not for a worker.
    pub fn render(&self) -> String {
        let dropped = self.dropped.iter().map(|count| count()).fold(0, u64::saturating_add);
        let mut page = Page::default();
        hot::render(self, &mut page);
        self.process.render(&mut page);
        let mut out = self.cold.render(dropped);
        out.push_str(&page.finish());
        out
    }

    /// Lets the recorder tidy up, for ever; whoever owns a recorder without a listener has to.
    pub(crate) async fn run_upkeep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tick.tick().await;
            self.cold.upkeep();
        }
    }

    /// How often clients have found an upstream wanting, for other reasons than `known`.
    pub(crate) fn client_errors(&self, upstream: usize, known: Option<UpstreamErrorKind>) -> u64 {
        let others = UpstreamErrorKind::ALL.iter().filter(|kind| Some(**kind) != known);
        others.map(|kind| self.worker_errors(upstream, *kind)).fold(0, u64::wrapping_add)
    }

    fn worker_errors(&self, upstream: usize, kind: UpstreamErrorKind) -> u64 {
        let stats = self.workers.iter().filter_map(|worker| worker.upstream(upstream));
        stats.map(|stats| stats.errors[kind.index()].load(Relaxed)).fold(0, u64::wrapping_add)
    }

    fn probe_errors(&self, upstream: usize, kind: UpstreamErrorKind) -> u64 {
        self.probe_errors.get(upstream).map_or(0, |errors| errors[kind.index()].load(Relaxed))
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What happens before a worker has the connection.
#[derive(Clone, Debug)]
pub struct AcceptStats(Arc<Metrics>);

impl AcceptStats {
    /// A connection was admitted.
    pub fn accepted(&self, listener: usize) {
        self.0.cold.accepted(listener);
    }

    /// A connection was turned away.
    pub fn refused(&self, listener: usize, reason: RefusedReason) {
        self.0.cold.refused(listener, reason);
    }

    /// An entry of the group decided, either way.
    pub fn group_hit(&self, group: usize) {
        if let Some(group) = self.0.groups.get(group) {
            group.hits.fetch_add(1, Relaxed);
        }
    }
}

/// The recorder's own recommendation; it keeps nothing of ours that grows faster.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
