//! What is counted per connection or rarer: kept by the `metrics` crate's recorder, which is this object's own and never
//! the process's, so that two gates in one process do not mix.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::Names;
use super::labels::RefusedReason;

/// Handles to the cold series, made once so that counting is an atomic add.
pub(super) struct Cold {
    page: PrometheusHandle,
    accepted: Vec<Counter>,
    refused: Vec<Vec<Counter>>,
    upstream_up: Vec<Gauge>,
    reload_successful: Gauge,
    reload_timestamp: Gauge,
    lines_dropped: Counter,
}

impl Cold {
    pub(super) fn new(names: &Names) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || Self::register(&recorder, names))
    }

    fn register(recorder: &PrometheusRecorder, names: &Names) -> Self {
        describe();
        let version = gauge!("portcullis_build_info", "version" => env!("CARGO_PKG_VERSION"));
        version.set(1.0);
        let listeners = names.listeners.iter();
        let cold = Self {
            page: recorder.handle(),
            accepted: listeners
                .clone()
                .map(|name| counter!("portcullis_connections_accepted_total", "listener" => name.clone()))
                .collect(),
            refused: listeners.map(|name| refused(name)).collect(),
            upstream_up: names
                .upstreams
                .iter()
                .map(|name| gauge!("portcullis_upstream_up", "upstream" => name.clone()))
                .collect(),
            reload_successful: gauge!("portcullis_config_last_reload_successful"),
            reload_timestamp: gauge!("portcullis_config_last_reload_timestamp_seconds"),
            lines_dropped: counter!("portcullis_log_lines_dropped_total"),
        };
        cold.start_at_zero();
        cold
    }

    /// A series that appears with its first event hides that event from `rate()`.
    fn start_at_zero(&self) {
        self.accepted.iter().chain(self.refused.iter().flatten()).for_each(|counter| counter.absolute(0));
        self.upstream_up.iter().for_each(|gauge| gauge.set(0.0));
        self.lines_dropped.absolute(0);
        self.reload_successful.set(0.0);
        self.reload_timestamp.set(0.0);
    }

    pub(super) fn accepted(&self, listener: usize) {
        if let Some(counter) = self.accepted.get(listener) {
            counter.increment(1);
        }
    }

    pub(super) fn refused(&self, listener: usize, reason: RefusedReason) {
        if let Some(counter) = self.refused.get(listener).and_then(|reasons| reasons.get(reason.index())) {
            counter.increment(1);
        }
    }

    pub(super) fn upstream_up(&self, upstream: usize, up: bool) {
        if let Some(gauge) = self.upstream_up.get(upstream) {
            gauge.set(if up { 1.0 } else { 0.0 });
        }
    }

    pub(super) fn reloaded(&self, successful: bool, unix_seconds: f64) {
        self.reload_successful.set(if successful { 1.0 } else { 0.0 });
        if successful {
            self.reload_timestamp.set(unix_seconds);
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

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cold").finish_non_exhaustive()
    }
}

fn refused(listener: &str) -> Vec<Counter> {
    let series = |reason: &RefusedReason| {
        counter!(
            "portcullis_connections_refused_total",
            "listener" => listener.to_owned(),
            "reason" => reason.as_str()
        )
    };
    RefusedReason::ALL.iter().map(series).collect()
}

fn describe() {
    describe_gauge!("portcullis_build_info", "Always 1; the version is a label.");
    describe_counter!(
        "portcullis_connections_accepted_total",
        Unit::Count,
        "Connections admitted by the listener's rules and limits."
    );
    describe_counter!(
        "portcullis_connections_refused_total",
        Unit::Count,
        "Connections turned away before anything they sent was interpreted."
    );
    describe_gauge!("portcullis_upstream_up", "Whether the last probe of the upstream succeeded.");
    describe_gauge!(
        "portcullis_config_last_reload_successful",
        "Whether the config was good when it was last read."
    );
    describe_gauge!(
        "portcullis_config_last_reload_timestamp_seconds",
        Unit::Seconds,
        "When the config in force was read, in seconds since 1970."
    );
    describe_counter!(
        "portcullis_log_lines_dropped_total",
        Unit::Count,
        "Log and audit lines lost because their sink was full, slow or failing."
    );
}
