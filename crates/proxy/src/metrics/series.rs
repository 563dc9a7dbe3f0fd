//! The series with a name from the configuration. A reload keeps the series of names that stay, so their counters
//! continue. The series of other names are shown until their last session has ended.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::Names;
use super::durations::{Attribution, Past};
use super::labels::{Direction, RefusedReason, UpstreamErrorKind};
use super::users::Users;
use super::views::ViewSeries;
use super::worker::{ListenerStats, UpstreamStats};

/// The series of one configuration, by the index that the configuration gives each name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// The series of the listeners.
    pub listeners: Vec<Arc<ListenerSeries>>,
    /// The series of the upstreams.
    pub upstreams: Vec<Arc<UpstreamSeries>>,
    /// The series of the groups.
    pub groups: Vec<Arc<GroupSeries>>,
}

/// The counters of one listener.
#[derive(Debug)]
pub(crate) struct ListenerSeries {
    pub(super) name: String,
    pub(super) workers: Box<[ListenerStats]>,
    accepted: AtomicU64,
    refused: [AtomicU64; RefusedReason::ALL.len()],
    shadow_denied: AtomicU64,
    auth_failures: AtomicU64,
    blocked: AtomicU64,
    limit: AtomicU64,
    pub(super) users: Users,
    pub(super) attribution: Attribution,
}

impl ListenerSeries {
    fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.to_owned(),
            workers: (0..workers).map(|_| ListenerStats::new()).collect(),
            accepted: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; _],
            shadow_denied: AtomicU64::new(0),
            auth_failures: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            users: Users::default(),
            attribution: Attribution::default(),
        }
    }

    /// Counts an accepted connection.
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// Counts a refused connection.
    pub(crate) fn refused(&self, reason: RefusedReason) {
        self.refused[reason.index()].fetch_add(1, Relaxed);
    }

    /// Counts an accepted connection that the shadow lists would have refused.
    pub(crate) fn shadow_denied(&self) {
        self.shadow_denied.fetch_add(1, Relaxed);
    }

    /// Counts a failed login.
    pub(crate) fn auth_failed(&self) {
        self.auth_failures.fetch_add(1, Relaxed);
    }

    /// Sets the number of sources that are blocked now.
    pub(crate) fn set_blocked(&self, sources: u64) {
        self.blocked.store(sources, Relaxed);
    }

    /// Sets the limit of clients.
    pub(crate) fn set_limit(&self, clients: u64) {
        self.limit.store(clients, Relaxed);
    }

    /// Returns the bytes that clients have got from the upstream.
    pub(crate) fn bytes_from_upstream(&self) -> u64 {
        let bytes =
            self.workers.iter().map(|stats| stats.bytes[Direction::FromUpstream.index()].load(Relaxed));
        bytes.fold(0, u64::wrapping_add)
    }

    pub(super) fn auth_failures_total(&self) -> u64 {
        self.auth_failures.load(Relaxed)
    }

    pub(super) fn blocked(&self) -> u64 {
        self.blocked.load(Relaxed)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    pub(super) fn accepted_total(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    pub(super) fn refused_total(&self, reason: RefusedReason) -> u64 {
        self.refused[reason.index()].load(Relaxed)
    }

    /// Returns the number of calls of [`Self::shadow_denied`].
    pub(crate) fn shadow_denied_total(&self) -> u64 {
        self.shadow_denied.load(Relaxed)
    }
}

impl Drop for ListenerSeries {
    fn drop(&mut self) {
        Attribution::settle(self);
    }
}

/// The counters of one upstream.
#[derive(Debug)]
pub(crate) struct UpstreamSeries {
    pub(super) name: String,
    pub(super) workers: Box<[UpstreamStats]>,
    probe_errors: [AtomicU64; UpstreamErrorKind::ALL.len()],
    up: AtomicBool,
    /// Whether the last probe failed because of TLS, or no probe has ended yet. Then TLS is the likely reason if the
    /// upstream disconnects without a reply.
    pub(super) wants_tls: AtomicBool,
    views: ViewSeries,
    pub(super) past: Past,
}

impl UpstreamSeries {
    fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.to_owned(),
            workers: (0..workers).map(|_| UpstreamStats::default()).collect(),
            probe_errors: [const { AtomicU64::new(0) }; _],
            up: AtomicBool::new(false),
            wants_tls: AtomicBool::new(true),
            views: ViewSeries::new(),
            past: Past::default(),
        }
    }

    /// Returns the counters of its views.
    pub(crate) fn views(&self) -> &ViewSeries {
        &self.views
    }

    /// Records the result of the last probe: `None` for success, or the kind of its failure. `counts` tells whether it
    /// decides that the upstream is up or down.
    pub(crate) fn probed(&self, failed: Option<UpstreamErrorKind>, counts: bool) {
        if counts {
            self.up.store(failed.is_none(), Relaxed);
        }
        self.wants_tls.store(failed == Some(UpstreamErrorKind::Tls), Relaxed);
        if let Some(kind) = failed {
            self.probe_errors[kind.index()].fetch_add(1, Relaxed);
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    pub(super) fn errors(&self, kind: UpstreamErrorKind) -> u64 {
        self.worker_errors(kind).wrapping_add(self.probe_errors[kind.index()].load(Relaxed))
    }

    /// Returns the number of faults of connections for clients, without those of the kind `known`.
    pub(crate) fn client_errors(&self, known: Option<UpstreamErrorKind>) -> u64 {
        let others = UpstreamErrorKind::ALL.iter().filter(|kind| Some(**kind) != known);
        others.map(|kind| self.worker_errors(*kind)).fold(0, u64::wrapping_add)
    }

    /// Returns the number of READONLY errors that clients have read.
    pub(crate) fn read_only_replies(&self) -> u64 {
        self.workers.iter().map(|stats| stats.read_only_replies.load(Relaxed)).fold(0, u64::wrapping_add)
    }

    fn worker_errors(&self, kind: UpstreamErrorKind) -> u64 {
        let errors = self.workers.iter().map(|stats| stats.errors[kind.index()].load(Relaxed));
        errors.fold(0, u64::wrapping_add)
    }
}

/// The series of one group.
#[derive(Debug)]
pub(crate) struct GroupSeries {
    pub(super) name: String,
    entries: AtomicU64,
    hits: AtomicU64,
    next_expiry: AtomicI64,
}

/// The value of `next_expiry` if no entry expires.
const NEVER: i64 = i64::MAX;

impl GroupSeries {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            entries: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            next_expiry: AtomicI64::new(NEVER),
        }
    }

    /// Counts a decision to allow or deny by one of the group's entries.
    pub(crate) fn hit(&self) {
        self.hits.fetch_add(1, Relaxed);
    }

    /// Records the number of entries, and the time at which the next entry expires, in seconds since 1970.
    pub(crate) fn set(&self, entries: u64, next_expiry: Option<i64>) {
        self.entries.store(entries, Relaxed);
        self.next_expiry.store(next_expiry.unwrap_or(NEVER), Relaxed);
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Relaxed)
    }

    /// Returns the number of decisions by the group's entries.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    pub(super) fn next_expiry(&self) -> Option<i64> {
        Some(self.next_expiry.load(Relaxed)).filter(|next| *next != NEVER)
    }
}

/// The series that the page shows.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Series>);

impl Registry {
    /// Returns the series for these names: the existing series, and new ones that start at zero.
    pub(super) fn take_up(&self, names: &Names, workers: usize) -> Series {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = Series {
            listeners: pick(
                &shown.listeners,
                &names.listeners,
                |listener| &listener.name,
                |name| ListenerSeries::new(name, workers),
            ),
            upstreams: pick(
                &shown.upstreams,
                &names.upstreams,
                |upstream| &upstream.name,
                |name| UpstreamSeries::new(name, workers),
            ),
            groups: pick(&shown.groups, &names.groups, |group| &group.name, GroupSeries::new),
        };
        for (listener, upstream) in series.listeners.iter().zip(&names.upstream_of) {
            series
                .upstreams
                .get(*upstream)
                .into_iter()
                .for_each(|upstream| Attribution::follow(listener, upstream));
        }
        keep(&mut shown.listeners, &series.listeners);
        keep(&mut shown.upstreams, &series.upstreams);
        keep(&mut shown.groups, &series.groups);
        series
    }

    /// Returns the series on the page: those that the current configuration names, and those that a session still
    /// uses.
    pub(super) fn shown(&self) -> Series {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.listeners.retain(|series| Arc::strong_count(series) > 1);
        shown.upstreams.retain(|series| Arc::strong_count(series) > 1);
        shown.groups.retain(|series| Arc::strong_count(series) > 1);
        shown.clone()
    }
}

/// Returns the series of `names`: the existing ones of `there`, and new ones from `make`.
fn pick<T>(
    there: &[Arc<T>],
    names: &[String],
    name_of: impl Fn(&T) -> &str,
    make: impl Fn(&str) -> T,
) -> Vec<Arc<T>> {
    let known: std::collections::HashMap<&str, &Arc<T>> =
        there.iter().map(|series| (name_of(series), series)).collect();
    let series = |name: &String| {
        known.get(name.as_str()).map_or_else(|| Arc::new(make(name)), |known| Arc::clone(known))
    };
    names.iter().map(series).collect()
}

/// Shows the series in `named` in this order, then the other series that are still used.
fn keep<T>(shown: &mut Vec<Arc<T>>, named: &[Arc<T>]) {
    let known: std::collections::HashSet<*const T> = named.iter().map(Arc::as_ptr).collect();
    let old = std::mem::take(shown);
    shown.extend(named.iter().map(Arc::clone));
    shown.extend(
        old.into_iter()
            .filter(|series| !known.contains(&Arc::as_ptr(series)) && Arc::strong_count(series) > 1),
    );
}
