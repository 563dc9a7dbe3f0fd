//! The metrics of the proxy, and the page that Prometheus reads.
//!
//! Two kinds of series share the page. Each worker counts events per command or per byte in plain arrays of its own
//! ([`ListenerCounts`], [`UpstreamCounts`]), which are summed when the page is read. Events per connection are
//! counted in the [`Series`] that belong to the names in the configuration. The `metrics` crate keeps the series of
//! the whole process. The names are a contract; `docs/operations.md` lists them with their meanings.

mod cold;
mod durations;
mod error_prefix;
mod histogram;
mod hot;
mod labels;
mod process;
mod sample;
mod series;
mod text;
mod users;
mod views;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use self::labels::{
    ClosedReason, DeniedReason, Direction, RedirectKind, RefusedReason, ReloadResult, UpstreamErrorKind,
    UpstreamState, command_label,
};
pub(crate) use self::sample::{ListenerSample, Sample, Work};
pub(crate) use self::series::{ListenerSeries, Series, UpstreamSeries};
pub(crate) use self::text::CONTENT_TYPE;
pub(crate) use self::users::UserCounts;
pub(crate) use self::views::{ClusterGauges, ViewSeries};
pub(crate) use self::worker::{ListenerCounts, UpstreamCounts, WorkerStats};

pub(crate) use self::cold::NameCounts;

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
    settings: Mutex<Settings>,
}

/// The values of the configuration in force that the page shows beside what they limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The limit of bytes in buffers.
    pub buffers: u64,
    /// The certificates that the proxy shows.
    pub certificates: Vec<Certificate>,
}

/// The end of the certificate of a listener or an upstream. Of several, it is that of the first to expire.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// `listener` or `upstream`.
    pub owner: &'static str,
    /// The name of the listener or the upstream.
    pub name: String,
    /// The end in seconds since 1970.
    pub not_after: i64,
}

/// A function that returns the number of lines that the log or the audit trail has dropped.
pub(crate) type LineCounter = Box<dyn Fn() -> u64 + Send + Sync>;

/// The label values that come from a configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The names of the listeners, in the order of the configuration.
    pub listeners: Vec<String>,
    /// The names of the upstreams, in the order of the configuration.
    pub upstreams: Vec<String>,
    /// The index of the upstream of each listener.
    pub upstream_of: Vec<usize>,
    /// The names of the groups, in the order of the policy.
    pub groups: Vec<String>,
}

impl Metrics {
    /// Creates the metrics for this number of workers, all at zero. `dropped` returns the numbers of lines that the
    /// log and the audit trail have dropped.
    pub(crate) fn new(workers: usize, dropped: Vec<LineCounter>) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            cold: Cold::new(),
            registry: Registry::default(),
            dropped,
            process: Process::new(),
            settings: Mutex::default(),
        })
    }

    /// Returns the series of a configuration with these names. A series whose name existed before keeps its counters.
    pub(crate) fn series(&self, names: &Names) -> Series {
        self.registry.take_up(names, self.workers.len())
    }

    /// Returns the counters of the worker with this index, for its thread.
    ///
    /// # Panics
    /// There is no such worker.
    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerStats> {
        Arc::clone(&self.workers[index])
    }

    /// Records that the configuration was read at `at`, with this result.
    pub(crate) fn config_read(&self, result: ReloadResult, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.cold.reloaded(result, since.as_secs_f64());
    }

    /// Records the state of the host names of groups.
    pub(crate) fn set_names(&self, counts: NameCounts) {
        self.cold.set_names(counts);
    }

    /// Records the settings of the configuration in force.
    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the bytes in the buffers of all workers.
    pub(crate) fn buffer_bytes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.buffer_bytes()).fold(0, u64::saturating_add)
    }

    /// Renders the page, in the format of [`CONTENT_TYPE`]. This reads every counter, so it belongs on a blocking
    /// task and not on a worker.
    pub(crate) fn render(&self) -> String {
        let dropped = self.dropped.iter().map(|count| count()).fold(0, u64::saturating_add);
        let mut page = Page::default();
        hot::render(self, &mut page);
        self.process.render(&mut page);
        let mut out = self.cold.render(dropped);
        out.push_str(&page.finish());
        out
    }

    /// Runs the upkeep of the recorder and never returns. It must be called, because the recorder has no listener
    /// that does it.
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

/// The interval that the recorder recommends. No series of the proxy needs a shorter one.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
