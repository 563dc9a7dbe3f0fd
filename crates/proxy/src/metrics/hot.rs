//! The part of the page that is summed from the workers' arrays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use portcullis_resp::command::CommandId;

use super::error_prefix::PREFIXES;
use super::histogram::{self, BUCKETS};
use super::labels::{ClosedReason, DeniedReason, Direction, UpstreamErrorKind, UpstreamState};
use super::text::{Kind, Page};
use super::worker::{CommandStats, ListenerStats, UpstreamStats};
use super::{Metrics, Names};

pub(super) fn render(metrics: &Metrics, page: &mut Page) {
    clients(metrics, page);
    commands(metrics, page);
    denied_and_errors(metrics, page);
    bytes(metrics, page);
    groups(metrics, page);
    upstreams(metrics, page);
    workers(metrics, page);
}

fn clients(metrics: &Metrics, page: &mut Page) {
    page.family("portcullis_clients", Kind::Gauge, "Clients connected now.");
    for (index, name) in metrics.names.listeners() {
        let opened = metrics.sum_listener(index, |stats| &stats.opened);
        let closed = ClosedReason::ALL
            .iter()
            .map(|reason| metrics.sum_listener(index, |stats| &stats.closed[reason.index()]))
            .fold(0, u64::wrapping_add);
        // A close counted between the two sums must not make the gauge negative.
        page.sample("", &[("listener", name)], opened.saturating_sub(closed));
    }
    page.family(
        "portcullis_connections_closed_total",
        Kind::Counter,
        "Admitted connections that have ended, by who or what ended them.",
    );
    for (index, name) in metrics.names.listeners() {
        for reason in ClosedReason::ALL {
            let n = metrics.sum_listener(index, |stats| &stats.closed[reason.index()]);
            page.sample("", &[("listener", name), ("reason", reason.as_str())], n);
        }
    }
}

fn commands(metrics: &Metrics, page: &mut Page) {
    let tables: Vec<_> =
        (0..metrics.names.listeners.len()).map(|index| CommandSums::of(metrics, index)).collect();
    let by_listener = || metrics.names.listeners().zip(&tables).map(|((_, name), table)| (name, table));

    page.family("portcullis_commands_total", Kind::Counter, "Commands received.");
    for (listener, table) in by_listener() {
        for (command, sums) in table.0.iter().filter(|(_, sums)| sums.commands > 0) {
            page.sample("", &[("listener", listener), ("command", command)], sums.commands);
        }
    }

    page.family(
        "portcullis_command_duration_seconds",
        Kind::Histogram,
        "From the read of the batch that brought a command to its reply; blocking commands and subscriptions left out.",
    );
    for (listener, table) in by_listener() {
        for (command, sums) in &table.0 {
            duration(page, listener, command, sums);
        }
    }
}

fn duration(page: &mut Page, listener: &str, command: &str, sums: &Sums) {
    let count = sums.buckets.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n));
    if count == 0 {
        return;
    }
    let mut so_far = 0_u64;
    for (n, le) in sums.buckets.iter().zip(histogram::LABELS) {
        so_far = so_far.wrapping_add(*n);
        page.sample("_bucket", &[("listener", listener), ("command", command), ("le", le)], so_far);
    }
    let labels = [("listener", listener), ("command", command)];
    page.sample("_sum", &labels, seconds(sums.nanos));
    page.sample("_count", &labels, count);
}

fn denied_and_errors(metrics: &Metrics, page: &mut Page) {
    page.family("portcullis_commands_denied_total", Kind::Counter, "Commands refused by the gate.");
    for (index, name) in metrics.names.listeners() {
        for reason in DeniedReason::ALL {
            let n = metrics.sum_listener(index, |stats| &stats.denied[reason.index()]);
            page.sample("", &[("listener", name), ("reason", reason.as_str())], n);
        }
    }
    page.family(
        "portcullis_error_replies_total",
        Kind::Counter,
        "Error replies given to clients, by the first word of the error.",
    );
    for (index, name) in metrics.names.listeners() {
        for (place, prefix) in PREFIXES.iter().enumerate() {
            let n = metrics.sum_listener(index, |stats| &stats.errors[place]);
            if n > 0 {
                page.sample("", &[("listener", name), ("error", prefix)], n);
            }
        }
    }
}

fn bytes(metrics: &Metrics, page: &mut Page) {
    page.family(
        "portcullis_bytes_total",
        Kind::Counter,
        "Bytes read and written, without TLS and TCP overhead.",
    );
    for (index, name) in metrics.names.listeners() {
        for direction in Direction::ALL {
            let n = metrics.sum_listener(index, |stats| &stats.bytes[direction.index()]);
            page.sample("", &[("listener", name), ("direction", direction.as_str())], n);
        }
    }
}

fn groups(metrics: &Metrics, page: &mut Page) {
    let groups = || metrics.names.groups.iter().map(String::as_str).zip(&metrics.groups);
    page.family("portcullis_group_entries", Kind::Gauge, "Entries of the group.");
    for (name, group) in groups() {
        page.sample("", &[("group", name)], group.entries.load(Relaxed));
    }
    page.family(
        "portcullis_group_hits_total",
        Kind::Counter,
        "Connections that an entry of the group decided.",
    );
    for (name, group) in groups() {
        page.sample("", &[("group", name)], group.hits.load(Relaxed));
    }
    page.family(
        "portcullis_group_next_expiry_timestamp_seconds",
        Kind::Gauge,
        "When the next entry of the group expires, in seconds since 1970; absent where none does.",
    );
    for (name, group) in groups() {
        let next = group.next_expiry.load(Relaxed);
        if next != GroupStats::NEVER {
            page.sample("", &[("group", name)], next);
        }
    }
}

fn upstreams(metrics: &Metrics, page: &mut Page) {
    page.family("portcullis_upstream_connections", Kind::Gauge, "Open connections to the upstream.");
    for (index, name) in metrics.names.upstreams() {
        for state in UpstreamState::ALL {
            let n = metrics.sum_upstream(index, |stats| stats.connections[state.index()].load(Relaxed));
            page.sample("", &[("upstream", name), ("state", state.as_str())], n);
        }
    }
    page.family(
        "portcullis_upstream_errors_total",
        Kind::Counter,
        "Times the upstream could not be had or was lost, by clients and by probes.",
    );
    for (index, name) in metrics.names.upstreams() {
        for kind in UpstreamErrorKind::ALL {
            let workers = metrics.worker_errors(index, *kind);
            let probes = metrics.probe_errors(index, *kind);
            page.sample("", &[("upstream", name), ("kind", kind.as_str())], workers.wrapping_add(probes));
        }
    }
}

fn workers(metrics: &Metrics, page: &mut Page) {
    page.family("portcullis_buffers_bytes", Kind::Gauge, "Bytes held in buffers for data in flight.");
    page.sample("", &[], metrics.buffer_bytes());
    page.family("portcullis_worker_sessions", Kind::Gauge, "Clients each worker has now.");
    for (index, worker) in metrics.workers.iter().enumerate() {
        page.sample("", &[("worker", &index.to_string())], worker.sessions());
    }
}

/// What is known of one group; the policy tells, at start and before each scrape.
#[derive(Debug)]
pub(super) struct GroupStats {
    pub(super) entries: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) next_expiry: AtomicI64,
}

impl GroupStats {
    pub(super) const NEVER: i64 = i64::MAX;
}

impl Default for GroupStats {
    fn default() -> Self {
        Self { entries: AtomicU64::new(0), hits: AtomicU64::new(0), next_expiry: AtomicI64::new(Self::NEVER) }
    }
}

/// One listener's commands by label, summed over workers and over the subcommands of each.
struct CommandSums(BTreeMap<&'static str, Sums>);

#[derive(Default)]
struct Sums {
    commands: u64,
    nanos: u64,
    buckets: [u64; BUCKETS],
}

impl CommandSums {
    fn of(metrics: &Metrics, listener: usize) -> Self {
        let mut table: BTreeMap<&'static str, Sums> = BTreeMap::new();
        for worker in &metrics.workers {
            for id in CommandId::all() {
                if let Some(stats) = worker.command(listener, id) {
                    table.entry(label(id)).or_default().add(stats);
                }
            }
        }
        Self(table)
    }
}

impl Sums {
    fn add(&mut self, stats: &CommandStats) {
        self.commands = self.commands.wrapping_add(stats.commands.load(Relaxed));
        self.nanos = self.nanos.wrapping_add(stats.nanos.load(Relaxed));
        for (sum, bucket) in self.buckets.iter_mut().zip(&stats.buckets) {
            *sum = sum.wrapping_add(bucket.load(Relaxed));
        }
    }
}

fn label(id: CommandId) -> &'static str {
    if id == CommandId::UNKNOWN { "other" } else { id.top().name() }
}

impl Metrics {
    fn sum_listener(&self, listener: usize, pick: impl Fn(&ListenerStats) -> &AtomicU64) -> u64 {
        let stats = self.workers.iter().filter_map(|worker| worker.listener(listener));
        stats.map(|stats| pick(stats).load(Relaxed)).fold(0, u64::wrapping_add)
    }

    fn sum_upstream(&self, upstream: usize, pick: impl Fn(&UpstreamStats) -> i64) -> i64 {
        self.workers
            .iter()
            .filter_map(|worker| worker.upstream(upstream))
            .map(pick)
            .fold(0, i64::wrapping_add)
    }
}

impl Names {
    fn listeners(&self) -> impl Iterator<Item = (usize, &str)> {
        self.listeners.iter().map(String::as_str).enumerate()
    }

    fn upstreams(&self) -> impl Iterator<Item = (usize, &str)> {
        self.upstreams.iter().map(String::as_str).enumerate()
    }
}

#[allow(clippy::cast_precision_loss)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
