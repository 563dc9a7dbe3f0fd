//! The series that carry a name from the config. A reload keeps those whose name stays, so that counters go on; what is
//! no longer named is shown until its last session has ended.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::Names;
use super::labels::{RefusedReason, UpstreamErrorKind};
use super::worker::{ListenerStats, UpstreamStats};

/// The series of one config, by the index that the config gives each name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Of its listeners.
    pub listeners: Vec<Arc<ListenerSeries>>,
    /// Of its upstreams.
    pub upstreams: Vec<Arc<UpstreamSeries>>,
    /// Of its groups.
    pub groups: Vec<Arc<GroupSeries>>,
}

/// What is counted for one listener.
#[derive(Debug)]
pub(crate) struct ListenerSeries {
    pub(super) name: String,
    pub(super) workers: Box<[ListenerStats]>,
    accepted: AtomicU64,
    refused: [AtomicU64; RefusedReason::ALL.len()],
    shadow_denied: AtomicU64,
    auth_failures: AtomicU64,
    blocked: AtomicU64,
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
        }
    }

    /// A connection was admitted.
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// A connection was turned away.
    pub(crate) fn refused(&self, reason: RefusedReason) {
        self.refused[reason.index()].fetch_add(1, Relaxed);
    }

    /// A connection was admitted that the shadow policy would have turned away.
    pub(crate) fn shadow_denied(&self) {
        self.shadow_denied.fetch_add(1, Relaxed);
    }

    /// A client gave credentials that are nobody's.
    pub(crate) fn auth_failed(&self) {
        self.auth_failures.fetch_add(1, Relaxed);
    }

    /// So many sources are blocked now.
    pub(crate) fn set_blocked(&self, sources: u64) {
        self.blocked.store(sources, Relaxed);
    }

    pub(super) fn auth_failures_total(&self) -> u64 {
        self.auth_failures.load(Relaxed)
    }

    pub(super) fn blocked(&self) -> u64 {
        self.blocked.load(Relaxed)
    }

    pub(super) fn accepted_total(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    pub(super) fn refused_total(&self, reason: RefusedReason) -> u64 {
        self.refused[reason.index()].load(Relaxed)
    }

    /// How often [`Self::shadow_denied`] was called.
    pub(crate) fn shadow_denied_total(&self) -> u64 {
        self.shadow_denied.load(Relaxed)
    }
}

/// What is counted for one upstream.
#[derive(Debug)]
pub(crate) struct UpstreamSeries {
    pub(super) name: String,
    pub(super) workers: Box<[UpstreamStats]>,
    probe_errors: [AtomicU64; UpstreamErrorKind::ALL.len()],
    up: AtomicBool,
    /// Whether the last probe found that, or none has ended yet: then it is the likely reason for an end without a word.
    pub(super) wants_tls: AtomicBool,
}

impl UpstreamSeries {
    fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.to_owned(),
            workers: (0..workers).map(|_| UpstreamStats::default()).collect(),
            probe_errors: [const { AtomicU64::new(0) }; _],
            up: AtomicBool::new(false),
            wants_tls: AtomicBool::new(true),
        }
    }

    /// The result of the last probe: success, or the kind of its failure.
    pub(crate) fn probed(&self, failed: Option<UpstreamErrorKind>) {
        self.up.store(failed.is_none(), Relaxed);
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

    /// How often clients have found it wanting, for other reasons than `known`.
    pub(crate) fn client_errors(&self, known: Option<UpstreamErrorKind>) -> u64 {
        let others = UpstreamErrorKind::ALL.iter().filter(|kind| Some(**kind) != known);
        others.map(|kind| self.worker_errors(*kind)).fold(0, u64::wrapping_add)
    }

    fn worker_errors(&self, kind: UpstreamErrorKind) -> u64 {
        let errors = self.workers.iter().map(|stats| stats.errors[kind.index()].load(Relaxed));
        errors.fold(0, u64::wrapping_add)
    }
}

/// What is known of one group.
#[derive(Debug)]
pub(crate) struct GroupSeries {
    pub(super) name: String,
    entries: AtomicU64,
    hits: AtomicU64,
    next_expiry: AtomicI64,
}

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

    /// One of its entries decided, either way.
    pub(crate) fn hit(&self) {
        self.hits.fetch_add(1, Relaxed);
    }

    /// Its size, and when its next entry expires in seconds since 1970.
    pub(crate) fn set(&self, entries: u64, next_expiry: Option<i64>) {
        self.entries.store(entries, Relaxed);
        self.next_expiry.store(next_expiry.unwrap_or(NEVER), Relaxed);
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Relaxed)
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    pub(super) fn next_expiry(&self) -> Option<i64> {
        Some(self.next_expiry.load(Relaxed)).filter(|next| *next != NEVER)
    }
}

/// Every series that is shown.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Series>);

impl Registry {
    /// The series for these names: the ones there are, and new ones from zero.
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
        keep(&mut shown.listeners, &series.listeners);
        keep(&mut shown.upstreams, &series.upstreams);
        keep(&mut shown.groups, &series.groups);
        series
    }

    /// What is shown now: named by the config in force, or still used by a session.
    pub(super) fn shown(&self) -> Series {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.listeners.retain(|series| Arc::strong_count(series) > 1);
        shown.upstreams.retain(|series| Arc::strong_count(series) > 1);
        shown.groups.retain(|series| Arc::strong_count(series) > 1);
        shown.clone()
    }
}

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

/// Shows `named` in its order, then what is not named any more and still used.
fn keep<T>(shown: &mut Vec<Arc<T>>, named: &[Arc<T>]) {
    let known: std::collections::HashSet<*const T> = named.iter().map(Arc::as_ptr).collect();
    let old = std::mem::take(shown);
    shown.extend(named.iter().map(Arc::clone));
    shown.extend(
        old.into_iter()
            .filter(|series| !known.contains(&Arc::as_ptr(series)) && Arc::strong_count(series) > 1),
    );
}
