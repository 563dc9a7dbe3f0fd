//! The part of the page that is summed from the arrays of the workers.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portcullis_resp::command::CommandId;

use super::durations::{self, Durations};
use super::error_prefix::PREFIXES;
use super::histogram::{self, BUCKETS};
use super::labels::{
    ClosedReason, DeniedReason, Direction, RedirectKind, RefusedReason, ReloadResult, UpstreamErrorKind,
    UpstreamState, command_label,
};
use super::series::{GroupSeries, ListenerSeries, Series, UpstreamSeries};
use super::text::{Kind, Page};
use super::worker::{CommandStats, ListenerStats};
use super::{Certificate, Metrics};

pub(super) fn render(metrics: &Metrics, page: &mut Page) {
    let Series { listeners, upstreams, groups } = metrics.registry.shown();
    connections(&listeners, page);
    commands(&listeners, page);
    errors(&listeners, page);
    bytes(&listeners, page);
    render_groups(&groups, page);
    users(&listeners, page);
    render_upstreams(&upstreams, page);
    upstream_durations(&upstreams, &listeners, page);
    workers(metrics, page);
}

/// Writes one sample for each listener.
fn each<N: Display>(
    listeners: &[Arc<ListenerSeries>],
    page: &mut Page,
    value: impl Fn(&ListenerSeries) -> N,
) {
    for listener in listeners {
        page.sample("", &[("listener", &listener.name)], value(listener));
    }
}

fn connections(listeners: &[Arc<ListenerSeries>], page: &mut Page) {
    page.family("portcullis_clients", Kind::Gauge, "Connected clients.");
    for listener in listeners {
        let opened = listener.sum(|stats| &stats.opened);
        let closed = ClosedReason::ALL
            .iter()
            .map(|reason| listener.sum(|stats| &stats.closed[reason.index()]))
            .fold(0, u64::wrapping_add);
        // A close that is counted between the two sums must not make the gauge negative.
        page.sample("", &[("listener", &listener.name)], opened.saturating_sub(closed));
    }
    page.family("portcullis_limit_clients", Kind::Gauge, "The limit of connected clients.");
    each(listeners, page, ListenerSeries::limit);
    page.family(
        "portcullis_connections_accepted_total",
        Kind::Counter,
        "Connections accepted by the listener's rules and limits.",
    );
    each(listeners, page, ListenerSeries::accepted_total);
    page.family(
        "portcullis_connections_refused_total",
        Kind::Counter,
        "Connections refused before their first command, by reason.",
    );
    for listener in listeners {
        for reason in RefusedReason::ALL {
            let labels = [("listener", listener.name.as_str()), ("reason", reason.as_str())];
            page.sample("", &labels, listener.refused_total(*reason));
        }
    }
    page.family(
        "portcullis_connections_closed_total",
        Kind::Counter,
        "Accepted connections that were closed, by reason.",
    );
    for listener in listeners {
        for reason in ClosedReason::ALL {
            let n = listener.sum(|stats| &stats.closed[reason.index()]);
            page.sample("", &[("listener", &listener.name), ("reason", reason.as_str())], n);
        }
    }
    page.family(
        "portcullis_shadow_denied_total",
        Kind::Counter,
        "Accepted connections that the listener's shadow lists would have refused.",
    );
    each(listeners, page, ListenerSeries::shadow_denied_total);
    page.family(
        "portcullis_auth_failures_total",
        Kind::Counter,
        "Failed logins, on listeners where the proxy checks credentials.",
    );
    each(listeners, page, ListenerSeries::auth_failures_total);
    page.family(
        "portcullis_sources_blocked",
        Kind::Gauge,
        "Sources that are currently blocked after too many failed logins.",
    );
    each(listeners, page, ListenerSeries::blocked);
}

fn commands(listeners: &[Arc<ListenerSeries>], page: &mut Page) {
    let tables: Vec<_> = listeners.iter().map(|listener| CommandSums::of(listener)).collect();
    let by_listener = || listeners.iter().map(|listener| listener.name.as_str()).zip(&tables);

    page.family("portcullis_commands_total", Kind::Counter, "Commands received, by command.");
    for (listener, table) in by_listener() {
        for (command, sums) in table.0.iter().filter(|(_, sums)| sums.commands > 0) {
            page.sample("", &[("listener", listener), ("command", command)], sums.commands);
        }
    }

    page.family(
        "portcullis_commands_denied_total",
        Kind::Counter,
        "Commands refused by the proxy, by reason and command.",
    );
    for (listener, table) in by_listener() {
        for (command, sums) in &table.0 {
            let reasons = DeniedReason::ALL.iter().zip(&sums.denied).filter(|(_, n)| **n > 0);
            for (reason, n) in reasons {
                let labels = [("listener", listener), ("reason", reason.as_str()), ("command", *command)];
                page.sample("", &labels, *n);
            }
        }
    }

    page.family(
        "portcullis_command_duration_seconds",
        Kind::Histogram,
        "Time from reading a command to its reply, except for blocking commands and subscriptions.",
    );
    for (listener, table) in by_listener() {
        for (command, sums) in &table.0 {
            duration(page, listener, command, sums);
        }
    }
}

fn duration(page: &mut Page, listener: &str, command: &str, sums: &Sums) {
    if sums.buckets.iter().any(|n| *n > 0) {
        let labels = [("listener", listener), ("command", command)];
        histogram_of(page, &labels, &Durations { buckets: sums.buckets, nanos: sums.nanos });
    }
}

/// Writes one histogram of the current family.
fn histogram_of(page: &mut Page, labels: &[(&str, &str)], durations: &Durations) {
    let mut so_far = 0_u64;
    for (n, le) in durations.buckets.iter().zip(histogram::LABELS) {
        so_far = so_far.wrapping_add(*n);
        let with_bound: Vec<_> = labels.iter().copied().chain([("le", le)]).collect();
        page.sample("_bucket", &with_bound, so_far);
    }
    page.sample("_sum", labels, seconds(durations.nanos));
    page.sample("_count", labels, so_far);
}

fn upstream_durations(upstreams: &[Arc<UpstreamSeries>], listeners: &[Arc<ListenerSeries>], page: &mut Page) {
    page.family(
        "portcullis_upstream_command_duration_seconds",
        Kind::Histogram,
        "Time from reading a command to its reply, by the upstream of the client's listener.",
    );
    for upstream in upstreams {
        let durations = durations::of_upstream(upstream, listeners);
        histogram_of(page, &[("upstream", &upstream.name)], &durations);
    }
}

fn users(listeners: &[Arc<ListenerSeries>], page: &mut Page) {
    let all: Vec<_> = listeners
        .iter()
        .flat_map(|listener| {
            listener.users.list().into_iter().map(|(user, series)| (listener.name.as_str(), user, series))
        })
        .collect();
    page.family(
        "portcullis_user_commands_total",
        Kind::Counter,
        "Commands of clients that are logged in as the user, with auth: users.",
    );
    for (listener, user, series) in &all {
        page.sample("", &[("listener", listener), ("user", user)], series.commands());
    }
    page.family(
        "portcullis_user_clients",
        Kind::Gauge,
        "Clients that are logged in as the user, with auth: users.",
    );
    for (listener, user, series) in &all {
        page.sample("", &[("listener", listener), ("user", user)], series.clients());
    }
}

fn errors(listeners: &[Arc<ListenerSeries>], page: &mut Page) {
    page.family(
        "portcullis_error_replies_total",
        Kind::Counter,
        "Error replies sent to clients, by the first word of the error.",
    );
    for listener in listeners {
        for (place, prefix) in PREFIXES.iter().enumerate() {
            let n = listener.sum(|stats| &stats.errors[place]);
            page.sample("", &[("listener", &listener.name), ("error", prefix)], n);
        }
    }
}

fn bytes(listeners: &[Arc<ListenerSeries>], page: &mut Page) {
    page.family(
        "portcullis_bytes_total",
        Kind::Counter,
        "Bytes read and written, without TLS and TCP overhead.",
    );
    for listener in listeners {
        for direction in Direction::ALL {
            let n = listener.sum(|stats| &stats.bytes[direction.index()]);
            page.sample("", &[("listener", &listener.name), ("direction", direction.as_str())], n);
        }
    }
}

fn render_groups(groups: &[Arc<GroupSeries>], page: &mut Page) {
    page.family("portcullis_group_entries", Kind::Gauge, "Entries in the group.");
    for group in groups {
        page.sample("", &[("group", &group.name)], group.entries());
    }
    page.family(
        "portcullis_group_hits_total",
        Kind::Counter,
        "Connections that were decided by an entry of the group.",
    );
    for group in groups {
        page.sample("", &[("group", &group.name)], group.hits());
    }
    page.family(
        "portcullis_group_next_expiry_timestamp_seconds",
        Kind::Gauge,
        "Unix time at which the next entry of the group expires, in seconds; absent if none does.",
    );
    for group in groups {
        if let Some(next) = group.next_expiry() {
            page.sample("", &[("group", &group.name)], next);
        }
    }
}

fn render_upstreams(upstreams: &[Arc<UpstreamSeries>], page: &mut Page) {
    page.family("portcullis_upstream_up", Kind::Gauge, "Whether the upstream is up.");
    for upstream in upstreams {
        page.sample("", &[("upstream", &upstream.name)], u8::from(upstream.is_up()));
    }
    page.family(
        "portcullis_upstream_connections",
        Kind::Gauge,
        "Open connections to the upstream, by state.",
    );
    for upstream in upstreams {
        for state in UpstreamState::ALL {
            let open = upstream.workers.iter().map(|stats| stats.connections[state.index()].load(Relaxed));
            let n = open.fold(0, i64::wrapping_add);
            page.sample("", &[("upstream", &upstream.name), ("state", state.as_str())], n);
        }
    }
    page.family(
        "portcullis_upstream_errors_total",
        Kind::Counter,
        "Failed or lost upstream connections, of clients and of probes, by kind.",
    );
    for upstream in upstreams {
        for kind in UpstreamErrorKind::ALL {
            let labels = [("upstream", upstream.name.as_str()), ("kind", kind.as_str())];
            page.sample("", &labels, upstream.errors(*kind));
        }
    }
    page.family(
        "portcullis_upstream_pushes_dropped_total",
        Kind::Counter,
        "Pushes that were dropped: invalidations on shared connections, and pushes that could name a hidden server.",
    );
    for upstream in upstreams {
        let dropped = upstream.workers.iter().map(|stats| stats.pushes_dropped.load(Relaxed));
        page.sample("", &[("upstream", &upstream.name)], dropped.fold(0, u64::wrapping_add));
    }
    page.family(
        "portcullis_sessions_carried_total",
        Kind::Counter,
        "Sessions that lost their upstream connection and went on with another one.",
    );
    for upstream in upstreams {
        let carried = upstream.workers.iter().map(|stats| stats.sessions_carried.load(Relaxed));
        page.sample("", &[("upstream", &upstream.name)], carried.fold(0, u64::wrapping_add));
    }
    page.family(
        "portcullis_sessions_dropped_total",
        Kind::Counter,
        "Sessions that ended because their upstream connection was lost.",
    );
    for upstream in upstreams {
        let dropped = upstream.workers.iter().map(|stats| stats.sessions_dropped.load(Relaxed));
        page.sample("", &[("upstream", &upstream.name)], dropped.fold(0, u64::wrapping_add));
    }
    render_views(upstreams, page);
    render_clusters(upstreams, page);
}

fn render_clusters(upstreams: &[Arc<UpstreamSeries>], page: &mut Page) {
    let clusters = || upstreams.iter().filter_map(|upstream| Some((upstream, upstream.views().cluster()?)));
    page.family("portcullis_upstream_nodes", Kind::Gauge, "The nodes of a cluster, by role.");
    for (upstream, cluster) in clusters() {
        for (role, nodes) in [("master", cluster.masters), ("replica", cluster.replicas)] {
            page.sample("", &[("upstream", &upstream.name), ("role", role)], nodes);
        }
    }
    page.family(
        "portcullis_upstream_uncovered_slots",
        Kind::Gauge,
        "The slots of a cluster that have no owner, so that commands for their keys fail.",
    );
    for (upstream, cluster) in clusters() {
        page.sample("", &[("upstream", &upstream.name)], cluster.uncovered);
    }
    page.family(
        "portcullis_upstream_redirects_total",
        Kind::Counter,
        "Commands that a node of a cluster did not serve, by the kind of its answer.",
    );
    for (upstream, _) in clusters() {
        for kind in RedirectKind::ALL {
            let answers = upstream.workers.iter().map(|stats| stats.redirects[kind.index()].load(Relaxed));
            let labels = [("upstream", upstream.name.as_str()), ("kind", kind.as_str())];
            page.sample("", &labels, answers.fold(0, u64::wrapping_add));
        }
    }
    page.family(
        "portcullis_upstream_replica_reads_total",
        Kind::Counter,
        "Commands that were sent to replicas of a cluster.",
    );
    for (upstream, _) in clusters() {
        let sent = upstream.workers.iter().map(|stats| stats.replica_reads.load(Relaxed));
        page.sample("", &[("upstream", &upstream.name)], sent.fold(0, u64::wrapping_add));
    }
    page.family(
        "portcullis_upstream_replica_reads_repeated_total",
        Kind::Counter,
        "Commands that a replica did not execute, so that they were sent to its master.",
    );
    for (upstream, _) in clusters() {
        let repeated = upstream.workers.iter().map(|stats| stats.replica_reads_repeated.load(Relaxed));
        page.sample("", &[("upstream", &upstream.name)], repeated.fold(0, u64::wrapping_add));
    }
}

fn render_views(upstreams: &[Arc<UpstreamSeries>], page: &mut Page) {
    page.family(
        "portcullis_upstream_failovers_total",
        Kind::Counter,
        "Changes of the upstream from one master to another.",
    );
    for upstream in upstreams {
        page.sample("", &[("upstream", &upstream.name)], upstream.views().failovers());
    }
    page.family(
        "portcullis_upstream_views_total",
        Kind::Counter,
        "Times the sentinels, nodes of a cluster or name servers were asked for the upstream's address, by result.",
    );
    for upstream in upstreams {
        for result in ReloadResult::ALL {
            let labels = [("upstream", upstream.name.as_str()), ("result", result.as_str())];
            page.sample("", &labels, upstream.views().results(*result));
        }
    }
    page.family(
        "portcullis_upstream_view_age_seconds",
        Kind::Gauge,
        "Time since the upstream's address was last confirmed; absent if it needs no confirmation.",
    );
    for upstream in upstreams {
        if let Some(age) = upstream.views().age() {
            page.sample("", &[("upstream", &upstream.name)], age.as_secs_f64());
        }
    }
    page.family(
        "portcullis_upstream_paused_seconds_total",
        Kind::Counter,
        "Time for which commands were held because the master changed.",
    );
    for upstream in upstreams {
        let seconds = upstream.views().paused_time().as_secs_f64();
        page.sample("", &[("upstream", &upstream.name)], seconds);
    }
}

fn workers(metrics: &Metrics, page: &mut Page) {
    page.family("portcullis_buffers_bytes", Kind::Gauge, "Bytes in buffers for data in flight.");
    page.sample("", &[], metrics.buffer_bytes());
    let settings = metrics.settings();
    page.family("portcullis_limit_buffers_bytes", Kind::Gauge, "The limit of bytes in buffers.");
    page.sample("", &[], settings.buffers);
    page.family(
        "portcullis_tls_certificate_not_after_timestamp_seconds",
        Kind::Gauge,
        "Unix time at which the first certificate of a listener or an upstream expires, in seconds.",
    );
    for Certificate { owner, name, not_after } in &settings.certificates {
        page.sample("", &[("owner", owner), ("name", name)], not_after);
    }
    page.family("portcullis_worker_sessions", Kind::Gauge, "Clients of each worker.");
    for (index, worker) in metrics.workers.iter().enumerate() {
        page.sample("", &[("worker", &index.to_string())], worker.sessions());
    }
}

/// The commands of one listener by label, summed over workers and over the subcommands of each command.
struct CommandSums(BTreeMap<&'static str, Sums>);

#[derive(Default)]
struct Sums {
    commands: u64,
    nanos: u64,
    buckets: [u64; BUCKETS],
    denied: [u64; DeniedReason::ALL.len()],
}

impl CommandSums {
    fn of(listener: &ListenerSeries) -> Self {
        let mut table: BTreeMap<&'static str, Sums> = BTreeMap::new();
        for worker in &listener.workers {
            for id in CommandId::all() {
                if let Some(stats) = worker.command(id) {
                    table.entry(command_label(id.top())).or_default().add(stats);
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
        for (sum, denied) in
            self.denied.iter_mut().zip(stats.denied.get().into_iter().flat_map(|all| all.iter()))
        {
            *sum = sum.wrapping_add(denied.load(Relaxed));
        }
    }
}

impl ListenerSeries {
    pub(super) fn sum(&self, pick: impl Fn(&ListenerStats) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|stats| pick(stats).load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
