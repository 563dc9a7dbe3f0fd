//! The health of each upstream. Once a second a probe checks whether the upstream would serve a client, on a
//! connection of its own.
//!
//! If clients meet a failure that the last probe did not see, the next probe starts earlier.
//!
//! A probe does the same as the connection of a client: it connects, logs in with the upstream's credentials if there
//! are any, and sends PING. The result feeds `/ready`, `upstream_up` and one log line for each change, which says
//! what to do.

pub(crate) mod exchange;
pub(crate) mod fault;
mod probe;
mod streak;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use portcullis_config::{Auth, Config, Upstream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::metrics::{ListenerSeries, Series, UpstreamErrorKind, UpstreamSeries};
use crate::process::hints::{Hint, Hints};

use self::fault::{Fault, Subject};
use self::probe::{Prober, Target};
use self::streak::Streak;
use super::cluster::facts::NodeFacts;
use super::view::{ViewCell, WatchedView};

const INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which the errors of clients are checked between two probes.
const LOOK: Duration = Duration::from_millis(100);
/// An outage that lasts is logged again after this time, so that the end of a log shows it.
const REMINDER: Duration = Duration::from_mins(1);

/// The health of all upstreams, shared by the probes and `/ready`.
#[derive(Debug, Default)]
pub(crate) struct Health {
    upstreams: RwLock<Vec<Arc<Watched>>>,
    /// The nodes of each upstream that is a cluster, by its name.
    nodes: RwLock<HashMap<String, Arc<[NodeFacts]>>>,
    /// The first address of each upstream whose addresses may change, by its name.
    addresses: RwLock<HashMap<String, String>>,
    changed: Arc<Notify>,
}

/// The health of one upstream. It is kept while the configuration has an upstream of this name.
#[derive(Debug)]
pub(crate) struct Watched {
    name: String,
    /// Whether a listener uses the upstream.
    used: AtomicBool,
    state: Mutex<UpstreamHealth>,
    /// The beginning of the outage, by a clock that is never set.
    down_since: Mutex<Option<Instant>>,
    changed: Arc<Notify>,
}

/// The result of the last probe of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamHealth {
    /// The upstream has not been probed yet.
    Unknown,
    /// The upstream serves clients.
    Up {
        /// The time of the first successful probe since the start or the last outage.
        since: SystemTime,
    },
    /// The upstream does not serve clients.
    Down {
        /// The failure that the last probe found.
        kind: UpstreamErrorKind,
        /// The beginning of the outage, even if the failure has changed since then.
        since: SystemTime,
    },
}

impl Health {
    /// Returns the name of each upstream, whether a listener uses it, and its health, in the order of the
    /// configuration.
    pub(crate) fn upstreams(&self) -> Vec<(String, bool, UpstreamHealth)> {
        let upstreams = self.upstreams.read().unwrap_or_else(PoisonError::into_inner);
        let known =
            |upstream: &Arc<Watched>| (upstream.name.clone(), upstream.used.load(Relaxed), *upstream.state());
        upstreams.iter().map(known).collect()
    }

    /// Sets the nodes of a cluster.
    pub(crate) fn set_nodes(&self, upstream: &str, nodes: Vec<NodeFacts>) {
        let mut known = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(upstream.to_owned(), nodes.into());
    }

    /// Returns the nodes of an upstream. `None`: it is no cluster, or none of its nodes has answered yet.
    pub(crate) fn nodes(&self, upstream: &str) -> Option<Arc<[NodeFacts]>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(upstream).cloned()
    }

    /// Sets the address that is in force for an upstream: with sentinels, that of the master. `None`: none is known.
    pub(crate) fn set_address(&self, upstream: &str, address: Option<String>) {
        let mut known = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        match address {
            Some(address) => known.insert(upstream.to_owned(), address),
            None => known.remove(upstream),
        };
    }

    /// Returns the address that is in force for an upstream whose addresses may change.
    pub(crate) fn address(&self, upstream: &str) -> Option<String> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).get(upstream).cloned()
    }

    /// Replaces the upstreams with those of `config`. An upstream that keeps its name keeps its health until the next
    /// probe.
    pub(crate) fn follow(&self, config: &Config) -> Vec<Arc<Watched>> {
        let mut upstreams = self.upstreams.write().unwrap_or_else(PoisonError::into_inner);
        let watched = |upstream: &Arc<Upstream>| {
            let known = upstreams.iter().find(|known| known.name == upstream.name()).map(Arc::clone);
            let watched = known.unwrap_or_else(|| {
                let (name, used) = (upstream.name().to_owned(), AtomicBool::new(false));
                let (state, changed) = (Mutex::new(UpstreamHealth::Unknown), Arc::clone(&self.changed));
                Arc::new(Watched { name, used, state, down_since: Mutex::default(), changed })
            });
            let used = config.listeners().iter().any(|listener| Arc::ptr_eq(listener.upstream(), upstream));
            watched.used.store(used, Relaxed);
            watched
        };
        let next: Vec<_> = config.upstreams().iter().map(watched).collect();
        upstreams.clone_from(&next);
        let is_cluster = |name: &String| {
            config.upstreams().iter().any(|upstream| upstream.name() == name && upstream.is_cluster())
        };
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_cluster(name));
        let is_known = |name: &String| config.upstreams().iter().any(|upstream| upstream.name() == name);
        self.addresses.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_known(name));
        self.changed.notify_waiters();
        next
    }

    /// Waits until every upstream that a listener uses is up.
    pub(crate) async fn all_up(&self) {
        loop {
            // Made before the look: it notices what changes from now on.
            let changed = self.changed.notified();
            let up = |found| matches!(found, UpstreamHealth::Up { .. });
            if self.upstreams().into_iter().all(|(_, used, found)| !used || up(found)) {
                return;
            }
            changed.await;
        }
    }
}

impl Watched {
    /// Records the result of a probe. Returns how long the outage lasts, or how long the outage that ends has lasted.
    /// Returns `None` if the upstream was not down before.
    pub(crate) fn found(&self, result: Result<(), UpstreamErrorKind>) -> Option<Duration> {
        let mut state = self.state();
        *state = match (*state, result) {
            (UpstreamHealth::Up { since }, Ok(())) => UpstreamHealth::Up { since },
            (_, Ok(())) => UpstreamHealth::Up { since: SystemTime::now() },
            (UpstreamHealth::Down { since, .. }, Err(kind)) => UpstreamHealth::Down { kind, since },
            (_, Err(kind)) => UpstreamHealth::Down { kind, since: SystemTime::now() },
        };
        drop(state);
        self.changed.notify_waiters();
        let mut down_since = self.down_since.lock().unwrap_or_else(PoisonError::into_inner);
        let outage = down_since.map(|since| since.elapsed());
        *down_since = result.err().map(|_| down_since.unwrap_or_else(Instant::now));
        outage
    }

    fn state(&self) -> MutexGuard<'_, UpstreamHealth> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running probes. Dropping the value stops them.
#[derive(Debug)]
pub(crate) struct Probes {
    health: Arc<Health>,
    tasks: JoinSet<()>,
    running: Vec<(Probe, AbortHandle)>,
}

/// The probe of one upstream.
#[derive(Clone, Debug)]
struct Probe {
    target: Target,
    view: Rc<ViewCell>,
    /// The counters of the listeners that use the upstream.
    listeners: Vec<Arc<ListenerSeries>>,
}

impl Probes {
    /// Makes a set without probes.
    pub(crate) fn new(health: Arc<Health>) -> Self {
        Self { health, tasks: JoinSet::new(), running: Vec::new() }
    }

    /// Starts probes for the upstreams of `config`, and stops all others. `series` are its counters; `views` are those of
    /// its upstreams, in the same order. The probe of an unchanged upstream continues.
    pub(crate) fn follow(&mut self, config: &Config, series: &Series, views: &[WatchedView]) {
        let watched = self.health.follow(config);
        let mut before = std::mem::take(&mut self.running);
        for (((upstream, watched), own), view) in
            config.upstreams().iter().zip(watched).zip(&series.upstreams).zip(views)
        {
            let users: Vec<_> = config
                .listeners()
                .iter()
                .zip(&series.listeners)
                .filter(|(listener, _)| Arc::ptr_eq(listener.upstream(), upstream))
                .collect();
            let target = Target {
                upstream: Arc::clone(upstream),
                tcp: config.limits().tcp().clone(),
                login_required: users.iter().any(|(listener, _)| listener.auth() == Auth::Trust),
            };
            let listeners: Vec<_> = users.into_iter().map(|(_, series)| Arc::clone(series)).collect();
            let probe = Probe { target, view: Rc::clone(&view.view), listeners };
            let same = before.iter().position(|(known, _)| known.is_same(&probe));
            let task = match same {
                Some(at) => before.swap_remove(at).1,
                None => self.tasks.spawn_local(probe.clone().run(view.clone(), watched, Arc::clone(own))),
            };
            self.running.push((probe, task));
        }
        for (_, task) in before {
            task.abort();
        }
        while self.tasks.try_join_next().is_some() {}
    }
}

impl Probe {
    fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(one, other);
        self.target == other.target
            && Rc::ptr_eq(&self.view, &other.view)
            && self.listeners.len() == other.listeners.len()
            && self.listeners.iter().zip(&other.listeners).all(same)
    }

    async fn run(self, view: WatchedView, watched: Arc<Watched>, series: Arc<UpstreamSeries>) {
        let mut prober = Prober::new(self.target.clone(), Rc::clone(&self.view));
        let (mut news, mut streak) = (News::default(), Streak::default());
        loop {
            let next = Instant::now() + INTERVAL;
            if !prober.can_probe() {
                sleep(LOOK).await;
                continue;
            }
            let replies = self.replies();
            let result = prober.probe().await;
            let kind = result.as_ref().err().map(Fault::kind);
            let found = result.as_ref().map(drop).map_err(Fault::kind);
            // A busy server may leave a probe waiting while it answers clients.
            let answers_clients = matches!(result, Err(Fault::Silent { .. })) && self.replies() != replies;
            let counts = !answers_clients && streak.counts(found);
            series.probed(kind, counts);
            if counts {
                let outage = watched.found(found);
                news.tell(&self.target.upstream, &result, outage, Instant::now());
            }
            if let Some(kind) = kind {
                view.hints.give(hint_of(kind));
            }
            if clients_know_better(&series, kind, next, &view.hints).await {
                view.hints.give(Hint::Silent);
                prober.distrust();
            }
        }
    }

    /// Returns the bytes that clients have got from the upstream.
    fn replies(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.bytes_from_upstream()).fold(0, u64::wrapping_add)
    }
}

/// Returns the hint that a failed probe gives to the watcher.
const fn hint_of(failure: UpstreamErrorKind) -> Hint {
    match failure {
        UpstreamErrorKind::Refused => Hint::Refused,
        _ => Hint::Silent,
    }
}

/// Waits until `next`. Returns true earlier if clients meet a failure of another kind than `known`, so that another
/// probe is due.
///
/// `hints` gets one when clients read READONLY. Their server is a replica, and the name may lead to the master.
async fn clients_know_better(
    series: &UpstreamSeries,
    known: Option<UpstreamErrorKind>,
    next: Instant,
    hints: &Hints,
) -> bool {
    let before = series.client_errors(known);
    let mut read_only = series.read_only_replies();
    loop {
        sleep(LOOK.min(next.saturating_duration_since(Instant::now()))).await;
        let replies = series.read_only_replies();
        if std::mem::replace(&mut read_only, replies) != replies {
            hints.give(Hint::Readonly);
        }
        if series.client_errors(known) != before {
            return true;
        }
        if Instant::now() >= next {
            return false;
        }
    }
}

/// The last log line about an upstream, and its time. The same line is not logged again, except as a reminder after
/// [`REMINDER`]. Another advice for the same kind of failure is logged.
#[derive(Default)]
struct News(Option<(String, Instant)>);

impl News {
    fn tell(
        &mut self,
        upstream: &Upstream,
        result: &Result<(), Fault>,
        outage: Option<Duration>,
        at: Instant,
    ) {
        let name = upstream.name();
        let now = match result {
            Ok(()) => "upstream is up".to_owned(),
            Err(fault) => {
                format!("upstream is down: {fault}; {}", fault.advice_about(&Subject::servers_of(upstream)))
            }
        };
        if let Some((last, told)) = &self.0 {
            let is_due = result.is_err() && at.saturating_duration_since(*told) >= REMINDER;
            if *last == now && !is_due {
                return;
            }
        }
        let down_seconds = outage.map(|outage| outage.as_secs());
        match result {
            Ok(()) => tracing::info!(upstream = %name, down_seconds, "{now}"),
            Err(fault) => tracing::error!(upstream = %name, kind = %fault.kind(), down_seconds, "{now}"),
        }
        self.0 = Some((now, at));
    }
}
