//! Whether each upstream would serve a client now: asked every second, on a connection kept for it.
//!
//! Where clients meet with a failure that the last probe has not seen, the next one does not wait for its second.
//!
//! A probe does what a client's connection does: it connects, logs in with the upstream's credentials where there are any,
//! and sends PING. What it finds feeds `/ready`, `upstream_up`, and one log line for each change, which says what to do.

mod fault;
mod probe;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::config::{Auth, Config};
use crate::metrics::{Metrics, UpstreamErrorKind};

use self::fault::Fault;
use self::probe::{Prober, Target};

const INTERVAL: Duration = Duration::from_secs(1);
/// How soon after a client's failure the upstream is probed, and how often while clients fail in new ways.
const LOOK: Duration = Duration::from_millis(100);

/// What is known of all upstreams; shared by the probes and `/ready`.
#[derive(Debug)]
pub struct Health {
    upstreams: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    /// A listener leads to it.
    used: bool,
    state: Mutex<State>,
}

/// What the last probe of an upstream found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not been probed yet.
    Unknown,
    /// It serves.
    Up {
        /// From when on.
        since: SystemTime,
    },
    /// It does not.
    Down {
        /// Why.
        kind: UpstreamErrorKind,
        /// From when on it has been down, whatever the reason was then.
        since: SystemTime,
    },
}

impl Health {
    /// Nothing is known yet.
    pub fn new(config: &Config) -> Arc<Self> {
        let used = |index| config.listeners().iter().any(|listener| listener.upstream() == index);
        let upstreams = config.upstreams().iter().enumerate();
        let watched = |(index, upstream): (usize, &crate::config::Upstream)| Watched {
            name: upstream.name().to_owned(),
            used: used(index),
            state: Mutex::new(State::Unknown),
        };
        Arc::new(Self { upstreams: upstreams.map(watched).collect() })
    }

    /// The upstreams in the order of the config: name, whether a listener uses it, and what is known of it.
    pub fn upstreams(&self) -> impl Iterator<Item = (&str, bool, State)> {
        self.upstreams.iter().map(|upstream| (upstream.name.as_str(), upstream.used, *upstream.state()))
    }

    /// Takes in what a probe found.
    pub(crate) fn found(&self, index: usize, result: Result<(), UpstreamErrorKind>) {
        let Some(upstream) = self.upstreams.get(index) else { return };
        let mut state = upstream.state();
        *state = match (*state, result) {
            (State::Up { since }, Ok(())) => State::Up { since },
            (_, Ok(())) => State::Up { since: SystemTime::now() },
            (State::Down { since, .. }, Err(kind)) => State::Down { kind, since },
            (_, Err(kind)) => State::Down { kind, since: SystemTime::now() },
        };
    }
}

impl Watched {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Probes every upstream, until the returned set is dropped.
pub fn watch(config: &Config, health: &Arc<Health>, metrics: &Arc<Metrics>) -> JoinSet<()> {
    let mut probes = JoinSet::new();
    for (index, upstream) in config.upstreams().iter().enumerate() {
        let mut listeners = config.listeners().iter().filter(|listener| listener.upstream() == index);
        let target = Target {
            upstream: upstream.clone(),
            tcp: config.limits().tcp().clone(),
            login_required: listeners.any(|listener| listener.auth() == Auth::Trust),
        };
        probes.spawn(watch_one(index, target, Arc::clone(health), Arc::clone(metrics)));
    }
    probes
}

async fn watch_one(index: usize, target: Target, health: Arc<Health>, metrics: Arc<Metrics>) {
    let name = target.upstream.name().to_owned();
    let mut prober = Prober::new(target);
    let mut news = News::default();
    loop {
        let next = Instant::now() + INTERVAL;
        let result = prober.probe().await;
        let kind = result.as_ref().err().map(Fault::kind);
        metrics.upstream_up(index, result.is_ok());
        if let Some(kind) = kind {
            metrics.probe_error(index, kind);
        }
        health.found(index, result.as_ref().map(drop).map_err(Fault::kind));
        news.tell(&name, &result);
        if clients_know_better(&metrics, index, kind, next).await {
            prober.distrust();
        }
    }
}

/// Waits until `next`, or until clients have met with a failure that the last probe has not: then it is time for another.
async fn clients_know_better(
    metrics: &Metrics,
    index: usize,
    known: Option<UpstreamErrorKind>,
    next: Instant,
) -> bool {
    let before = metrics.client_errors(index, known);
    loop {
        sleep(LOOK.min(next.saturating_duration_since(Instant::now()))).await;
        if metrics.client_errors(index, known) != before {
            return true;
        }
        if Instant::now() >= next {
            return false;
        }
    }
}

/// What was last said of an upstream: the same is not said again, but another thing to do is, where the kind is the same.
#[derive(Default)]
struct News(Option<String>);

impl News {
    fn tell(&mut self, name: &str, result: &Result<(), Fault>) {
        let now = match result {
            Ok(()) => "upstream is up".to_owned(),
            Err(fault) => format!("upstream is down: {fault}; {}", fault.advice(name)),
        };
        if self.0.as_ref() == Some(&now) {
            return;
        }
        match result {
            Ok(()) => tracing::info!(upstream = %name, "{now}"),
            Err(fault) => tracing::error!(upstream = %name, kind = %fault.kind(), "{now}"),
        }
        self.0 = Some(now);
    }
}
