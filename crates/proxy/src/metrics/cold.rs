//! Metrics of the whole process that change rarely. The recorder of the `metrics` crate keeps them. The recorder
//! belongs to this object, not to the process, so that two proxies in one process do not mix.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::labels::ReloadResult;

/// Handles to the series of the whole process. They are created once, so that counting is an atomic addition.
pub(super) struct Cold {
    page: PrometheusHandle,
    reloads: Vec<Counter>,
    reload_successful: Gauge,
    reload_timestamp: Gauge,
    lines_dropped: Counter,
    host_lookups: [Counter; 2],
    host_entries: [Gauge; 3],
}

impl Cold {
    pub(super) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || Self::register(&recorder))
    }

    fn register(recorder: &PrometheusRecorder) -> Self {
        describe();
        let version = gauge!("portcullis_build_info", "version" => env!("CARGO_PKG_VERSION"));
        version.set(1.0);
        let reloads =
            |result: &ReloadResult| counter!("portcullis_config_reloads_total", "result" => result.as_str());
        let cold = Self {
            page: recorder.handle(),
            reloads: ReloadResult::ALL.iter().map(reloads).collect(),
            reload_successful: gauge!("portcullis_config_last_reload_successful"),
            reload_timestamp: gauge!("portcullis_config_last_reload_timestamp_seconds"),
            lines_dropped: counter!("portcullis_log_lines_dropped_total"),
            host_lookups: ["succeeded", "failed"]
                .map(|result| counter!("portcullis_host_lookups_total", "result" => result)),
            host_entries: ["current", "stale", "empty"]
                .map(|state| gauge!("portcullis_host_entries", "state" => state)),
        };
        cold.start_at_zero();
        cold
    }

    /// Sets all series to zero: if a series appears with its first event, `rate()` does not see that event.
    fn start_at_zero(&self) {
        self.reloads.iter().for_each(|counter| counter.absolute(0));
        self.lines_dropped.absolute(0);
        self.set_names(NameCounts::default());
        self.reload_successful.set(0.0);
        self.reload_timestamp.set(0.0);
    }

    pub(super) fn reloaded(&self, result: ReloadResult, unix_seconds: f64) {
        if let Some(counter) = self.reloads.get(result.index()) {
            counter.increment(1);
        }
        self.reload_successful.set(if result == ReloadResult::Rejected { 0.0 } else { 1.0 });
        if result == ReloadResult::Applied {
            self.reload_timestamp.set(unix_seconds);
        }
    }

    pub(super) fn set_names(&self, counts: NameCounts) {
        let NameCounts { succeeded, failed, current, stale, empty } = counts;
        for (counter, value) in self.host_lookups.iter().zip([succeeded, failed]) {
            counter.absolute(value);
        }
        for (gauge, value) in self.host_entries.iter().zip([current, stale, empty]) {
            gauge.set(f64::from(value));
        }
    }

    pub(super) fn upkeep(&self) {
        self.page.run_upkeep();
    }

    pub(super) fn render(&self, lines_dropped: u64) -> String {
        self.lines_dropped.absolute(lines_dropped);
        self.page.render()
    }
}

/// The host names of groups, as the control thread counts them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameCounts {
    /// Lookups that gave an answer.
    pub succeeded: u64,
    /// Lookups that failed.
    pub failed: u64,
    /// Entries whose last lookup succeeded.
    pub current: u32,
    /// Entries whose last lookup failed, and whose last answer counts.
    pub stale: u32,
    /// Entries without an address.
    pub empty: u32,
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cold").finish_non_exhaustive()
    }
}

fn describe() {
    describe_gauge!("portcullis_build_info", "Build information; the value is always 1.");
    describe_counter!(
        "portcullis_config_reloads_total",
        Unit::Count,
        "Configuration loads, including the one at start, by result."
    );
    describe_gauge!(
        "portcullis_config_last_reload_successful",
        "Whether the last configuration load succeeded (1) or failed (0)."
    );
    describe_gauge!(
        "portcullis_config_last_reload_timestamp_seconds",
        Unit::Seconds,
        "Unix time at which the current configuration was loaded, in seconds."
    );
    describe_counter!(
        "portcullis_log_lines_dropped_total",
        Unit::Count,
        "Log and audit lines dropped because their output was full, slow or failing."
    );
    describe_counter!(
        "portcullis_host_lookups_total",
        Unit::Count,
        "Lookups of host names in groups, by result."
    );
    describe_gauge!(
        "portcullis_host_entries",
        "Host names in groups: current, stale (the last lookup failed) or empty (no address counts)."
    );
}
