//! The counters that the status page shows, read at one moment. The page of Prometheus and this sample read the same
//! counters.

use std::sync::atomic::Ordering::Relaxed;

use portcullis_resp::command::CommandId;

use super::Metrics;
use super::histogram::{BOUNDS, BUCKETS};
use super::labels::{
    ClosedReason, DeniedReason, Direction, RefusedReason, UpstreamErrorKind, UpstreamState, command_label,
};
use super::series::{ListenerSeries, UpstreamSeries};

/// The counters of all listeners and upstreams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// The listeners, those of the configuration first and in its order.
    pub listeners: Vec<ListenerSample>,
    /// The upstreams, in the same order.
    pub upstreams: Vec<UpstreamSample>,
}

/// The counters of one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerSample {
    /// The name.
    pub name: String,
    /// Connected clients.
    pub clients: u64,
    /// Accepted connections.
    pub accepted: u64,
    /// Refused connections, in the order of [`RefusedReason::ALL`].
    pub refused: Vec<u64>,
    /// Failed logins.
    pub auth_failures: u64,
    /// Bytes read from clients, and written to them.
    pub bytes: [u64; 2],
    /// Commands and their durations.
    pub work: Work,
}

/// Commands and their durations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// Commands received.
    pub commands: u64,
    /// Commands that the proxy refused.
    pub denied: u64,
    /// Answered commands by their duration.
    durations: [u64; BUCKETS],
}

/// The connections and errors of one upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpstreamSample {
    /// The name.
    pub name: String,
    /// Open connections, in the order of [`UpstreamState::ALL`].
    pub connections: Vec<u64>,
    /// Errors, in the order of [`UpstreamErrorKind::ALL`].
    pub errors: Vec<u64>,
}

/// Commands that the proxy refused, of one listener and with one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeniedCommand {
    /// The name of the listener.
    pub listener: String,
    /// The command, or `other`.
    pub command: &'static str,
    /// The reason.
    pub reason: DeniedReason,
    /// The number of refusals.
    pub count: u64,
}

impl Metrics {
    /// Reads the counters of all listeners and upstreams.
    pub(crate) fn sample(&self) -> Sample {
        let shown = self.registry.shown();
        Sample {
            listeners: shown.listeners.iter().map(|listener| ListenerSample::of(listener)).collect(),
            upstreams: shown.upstreams.iter().map(|upstream| UpstreamSample::of(upstream)).collect(),
        }
    }

    /// Returns the commands that the proxy refused, the most frequent first.
    pub(crate) fn denied_commands(&self) -> Vec<DeniedCommand> {
        let shown = self.registry.shown();
        let mut all = Vec::new();
        for listener in &shown.listeners {
            for (command, reason, count) in listener.denied() {
                all.push(DeniedCommand { listener: listener.name.clone(), command, reason, count });
            }
        }
        all.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.command.cmp(other.command)));
        all
    }
}

impl ListenerSample {
    fn of(series: &ListenerSeries) -> Self {
        let opened = series.sum(|stats| &stats.opened);
        let closed = ClosedReason::ALL.iter().map(|reason| series.sum(|stats| &stats.closed[reason.index()]));
        let bytes = |direction: Direction| series.sum(|stats| &stats.bytes[direction.index()]);
        Self {
            name: series.name.clone(),
            clients: opened.saturating_sub(closed.fold(0, u64::wrapping_add)),
            accepted: series.accepted_total(),
            refused: RefusedReason::ALL.iter().map(|reason| series.refused_total(*reason)).collect(),
            auth_failures: series.auth_failures_total(),
            bytes: [bytes(Direction::FromClient), bytes(Direction::ToClient)],
            work: Work::of(series),
        }
    }

    /// Returns the number of refused connections.
    pub(crate) fn refused_total(&self) -> u64 {
        self.refused.iter().copied().fold(0, u64::wrapping_add)
    }
}

impl Work {
    fn of(series: &ListenerSeries) -> Self {
        let mut work = Self::default();
        let stats =
            series.workers.iter().flat_map(|worker| CommandId::all().filter_map(|id| worker.command(id)));
        for stats in stats {
            work.commands = work.commands.wrapping_add(stats.commands.load(Relaxed));
            let denied = stats.denied.get().into_iter().flat_map(|all| all.iter());
            work.denied = denied.map(|n| n.load(Relaxed)).fold(work.denied, u64::wrapping_add);
            for (sum, bucket) in work.durations.iter_mut().zip(&stats.buckets) {
                *sum = sum.wrapping_add(bucket.load(Relaxed));
            }
        }
        work
    }

    /// Adds the counters of another listener.
    pub(crate) fn add(&mut self, other: &Self) {
        self.commands = self.commands.wrapping_add(other.commands);
        self.denied = self.denied.wrapping_add(other.denied);
        for (sum, n) in self.durations.iter_mut().zip(other.durations) {
            *sum = sum.wrapping_add(n);
        }
    }

    /// Returns what was counted after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut durations = self.durations;
        for (n, earlier) in durations.iter_mut().zip(before.durations) {
            *n = n.saturating_sub(earlier);
        }
        Self {
            commands: self.commands.saturating_sub(before.commands),
            denied: self.denied.saturating_sub(before.denied),
            durations,
        }
    }

    /// Returns the duration in seconds that the part `share` of the commands does not exceed. Inside a bucket, the
    /// durations are taken as evenly spread, as `histogram_quantile` of Prometheus does. `None` without commands. A
    /// duration above the highest bound counts as that bound.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.durations.iter().copied().fold(0, u64::saturating_add);
        if total == 0 {
            return None;
        }
        let rank = share * total as f64;
        let (mut below, mut lower) = (0_u64, 0.0);
        for (n, bound) in self.durations.iter().zip(BOUNDS) {
            let upper = f64::from(bound) / 1e9;
            let upto = below.saturating_add(*n);
            if *n > 0 && upto as f64 >= rank {
                let inside = (rank - below as f64).max(0.0) / *n as f64;
                return Some(lower + (upper - lower) * inside);
            }
            (below, lower) = (upto, upper);
        }
        Some(lower)
    }
}

impl UpstreamSample {
    fn of(series: &UpstreamSeries) -> Self {
        let open = |state: &UpstreamState| {
            let open = series.workers.iter().map(|stats| stats.connections[state.index()].load(Relaxed));
            u64::try_from(open.fold(0, i64::wrapping_add)).unwrap_or(0)
        };
        Self {
            name: series.name.clone(),
            connections: UpstreamState::ALL.iter().map(open).collect(),
            errors: UpstreamErrorKind::ALL.iter().map(|kind| series.errors(*kind)).collect(),
        }
    }
}

impl ListenerSeries {
    /// Returns the refused commands, with the reason and the number of each. Subcommands count for their command.
    fn denied(&self) -> Vec<(&'static str, DeniedReason, u64)> {
        let mut sums: std::collections::BTreeMap<(&'static str, DeniedReason), u64> =
            std::collections::BTreeMap::new();
        for worker in &self.workers {
            for id in CommandId::all() {
                let denied = worker.command(id).and_then(|stats| stats.denied.get());
                let Some(denied) = denied else { continue };
                for (reason, n) in DeniedReason::ALL.iter().zip(denied.iter()) {
                    let n = n.load(Relaxed);
                    if n > 0 {
                        let sum = sums.entry((command_label(id.top()), *reason)).or_default();
                        *sum = sum.wrapping_add(n);
                    }
                }
            }
        }
        sums.into_iter().map(|((command, reason), n)| (command, reason, n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(durations: &[(usize, u64)]) -> Work {
        let mut work = Work::default();
        for (bucket, n) in durations {
            work.durations[*bucket] = *n;
            work.commands += n;
        }
        work
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_of_its_rank() {
        assert_eq!(Work::default().quantile(0.5), None);
        // 100 commands between 50 and 100 us.
        let even = work(&[(1, 100)]);
        assert!((even.quantile(0.5).unwrap() - 75e-6).abs() < 1e-9);
        assert!((even.quantile(1.0).unwrap() - 100e-6).abs() < 1e-9);
        // 98 of 100 are fast, two take from 5 to 10 ms.
        let slow = work(&[(0, 98), (7, 2)]);
        assert!(slow.quantile(0.5).unwrap() < 50e-6);
        assert!((5e-3..10e-3).contains(&slow.quantile(0.99).unwrap()));
        assert!((work(&[(BUCKETS - 1, 3)]).quantile(0.5).unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_difference_has_only_what_came_later() {
        let (before, mut after) = (work(&[(0, 5)]), work(&[(0, 5), (3, 2)]));
        let since = after.since(&before);
        assert_eq!(since.commands, 2);
        assert!(since.quantile(0.5).unwrap() > 250e-6);
        after.add(&before);
        assert_eq!(after.commands, 12);
    }
}
