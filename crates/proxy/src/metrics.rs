//! Metrics of the proxy, and the page that Prometheus reads.
//!
//! Two kinds of series share the page. What happens per command or per byte is counted by each worker in plain arrays
//! of its own ([`ListenerCounts`], [`UpstreamCounts`]) and summed when the page is asked for; what happens per connection
//! is kept beside it, in the [`Series`] that a config's names stand for. What concerns the whole process is kept by the
//! `metrics` crate. The names are a contract; their list with meanings is in `docs/operations.md`.

mod cold;
mod error_prefix;
mod histogram;
mod hot;
mod labels;
mod process;
mod series;
mod text;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use self::labels::{
    ClosedReason, DeniedReason, Direction, RefusedReason, ReloadResult, UpstreamErrorKind, UpstreamState,
    command_label,
};
pub(crate) use self::series::{ListenerSeries, Series, UpstreamSeries};
pub(crate) use self::text::CONTENT_TYPE;
pub(crate) use self::worker::{ListenerCounts, UpstreamCounts, WorkerStats};

use self::cold::Cold;
use self::process::Process;
use self::series::Registry;
use self::text::Page;

/// All metrics of one running proxy.
pub(crate) struct Metrics {
    workers: Vec<Arc<WorkerStats>>,
    cold: Cold,
    registry: Registry,
    dropped: Vec<LineCounter>,
    process: Process,
}

/// Returns the number of lines that a sink has dropped.
pub(crate) type LineCounter = Box<dyn Fn() -> u64 + Send + Sync>;

/// The label values that come from a config.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// In the order of the config's listeners.
    pub listeners: Vec<String>,
    /// In the order of the config's upstreams.
    pub upstreams: Vec<String>,
    /// In the order of the policy's groups.
    pub groups: Vec<String>,
}

impl Metrics {
    /// Counters for this many workers, all at zero. `dropped` tells how many lines the log and the audit have lost.
    pub(crate) fn new(workers: usize, dropped: Vec<LineCounter>) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            cold: Cold::new(),
            registry: Registry::default(),
            dropped,
            process: Process::new(),
        })
    }

    /// The series of a config with these names. Those whose name was there before go on counting.
    pub(crate) fn series(&self, names: &Names) -> Series {
        self.registry.take_up(names, self.workers.len())
    }

    /// Returns the counters of one worker, for its thread.
    ///
    /// # Panics
    /// There is no such worker.
    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerStats> {
        Arc::clone(&self.workers[index])
    }

    /// Records a read of the configuration at `at`, with this result.
    pub(crate) fn config_read(&self, result: ReloadResult, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.cold.reloaded(result, since.as_secs_f64());
    }

    /// Returns the bytes in buffers of all workers.
    pub(crate) fn buffer_bytes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.buffer_bytes()).fold(0, u64::saturating_add)
    }

    /// Renders the page, in the format of [`CONTENT_TYPE`]. It walks every counter: for a blocking task, not for a
    /// worker.
    pub(crate) fn render(&self) -> String {
        let dropped = self.dropped.iter().map(|count| count()).fold(0, u64::saturating_add);
        let mut page = Page::default();
        hot::render(self, &mut page);
        self.process.render(&mut page);
        let mut out = self.cold.render(dropped);
        out.push_str(&page.finish());
        out
    }

    /// Runs the upkeep of the recorder, forever; the owner of a recorder without a listener must call it.
    pub(crate) async fn run_upkeep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tick.tick().await;
            self.cold.upkeep();
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The recorder's own recommendation; it keeps nothing of ours that grows faster.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
