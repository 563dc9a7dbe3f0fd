//! The config in force as one value, which a reload swaps whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_acl::{Policy, UnixSeconds};
use portcullis_config::Config;

use super::logins::Logins;
use crate::generation::listener::{Listener, ListenerState};
use crate::generation::seats::Seat;
use crate::metrics::{Metrics, Names, Series};

/// The generation in force, readable by any thread.
#[derive(Debug)]
pub(crate) struct Store(ArcSwap<Generation>);

impl Store {
    /// With the first generation.
    pub(crate) fn new(first: Arc<Generation>) -> Self {
        Self(ArcSwap::new(first))
    }

    /// The generation in force.
    pub(crate) fn current(&self) -> Arc<Generation> {
        self.0.load_full()
    }

    /// Puts a generation in force.
    pub(crate) fn swap(&self, next: Arc<Generation>) {
        self.0.store(next);
    }
}

/// One config with what was made of it. Immutable, but for what counts.
#[derive(Debug)]
pub(crate) struct Generation {
    number: u64,
    config: Config,
    listeners: Box<[Arc<Listener>]>,
    series: Series,
    clients: u64,
    workers: usize,
}

impl Generation {
    /// The first, for a process that has open files for `room` clients.
    pub(crate) fn first(config: Config, metrics: &Arc<Metrics>, room: u64) -> Self {
        let workers = config.workers();
        Self::make(config, metrics, room, 1, workers, None)
    }

    /// Makes the next generation. Listeners whose name stays keep their seats and counters.
    pub(crate) fn next(&self, config: Config, metrics: &Arc<Metrics>, room: u64) -> Self {
        Self::make(config, metrics, room, self.number + 1, self.workers, Some(self))
    }

    fn make(
        config: Config,
        metrics: &Arc<Metrics>,
        room: u64,
        number: u64,
        workers: usize,
        before: Option<&Self>,
    ) -> Self {
        let series = metrics.series(&names(&config));
        let listeners = config.listeners().iter().zip(&series.listeners).filter_map(|(settings, own)| {
            let mut upstreams = config.upstreams().iter().zip(&series.upstreams);
            // A listener's upstream is one of the config's: without it the listener would serve no client.
            let (_, upstream) = upstreams.find(|(upstream, _)| Arc::ptr_eq(upstream, settings.upstream()))?;
            let known = before.and_then(|before| before.listener(settings.name()));
            let logins = Logins::of(&config, settings, known.map(|known| &**known.logins()));
            let state = known.map_or_else(
                || Arc::new(ListenerState::new(settings.name(), own)),
                |known| Arc::clone(known.state()),
            );
            let (settings, policy) = (Arc::clone(settings), Arc::clone(config.policy()));
            Some(Arc::new(Listener::new(settings, policy, logins, state, Arc::clone(upstream))))
        });
        let generation = Self {
            number,
            listeners: listeners.collect(),
            series,
            clients: config.limits().clients().min(room),
            workers,
            config,
        };
        generation.tell_metrics(crate::clock::wall_clock());
        generation
    }

    /// 1 for the config that the process started with, and one more for each that took its place.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The config.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The access rules of all listeners.
    pub(crate) fn policy(&self) -> &Policy {
        self.config.policy()
    }

    /// Its listeners.
    pub(crate) fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// The listener of that name.
    pub(crate) fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| **listener.name() == *name)
    }

    /// Whether other command rules apply to a user of a listener, or to a client without one, under `next`.
    pub(crate) fn rules_differ(&self, next: &Self, listener: &str, user: Option<&str>) -> bool {
        let plan = |of: &Self| Some(Arc::clone(of.listener(listener)?.logins().plan(user)?));
        match (plan(self), plan(next)) {
            (Some(old), Some(new)) => !new.shares_rules_with(&old),
            (None, _) | (_, None) => true,
        }
    }

    /// The counters of this configuration.
    pub(crate) fn series(&self) -> &Series {
        &self.series
    }

    /// The limit of clients: `limits.clients`, or fewer if the limit of open files is lower.
    pub(crate) fn clients(&self) -> u64 {
        self.clients
    }

    /// Number of workers of the process, whatever this configuration says.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Puts the limits on clients in force.
    pub(crate) fn limit(&self, all: &Seat) {
        all.set_limit(self.clients);
        for listener in &self.listeners {
            let (state, limits) = (listener.state(), listener.settings().limits());
            state.seat().set_limit(limits.clients());
            state.sources().set_limits(*limits.per_source());
        }
    }

    /// Brings those metrics up to date that change with the clock alone: which entry expires next, whose block is over.
    pub(crate) fn tell_metrics(&self, now: UnixSeconds) {
        for state in self.listeners.iter().map(|listener| listener.state()) {
            state.series().set_blocked(u64::try_from(state.sources().blocked()).unwrap_or(u64::MAX));
        }
        for (group, series) in self.policy().groups().zip(&self.series.groups) {
            let entries = u64::try_from(group.entry_count()).unwrap_or(u64::MAX);
            series.set(entries, group.next_expiry(now).map(|until| until.0));
        }
    }
}

fn names(config: &Config) -> Names {
    Names {
        listeners: config.listeners().iter().map(|listener| listener.name().to_owned()).collect(),
        upstreams: config.upstreams().iter().map(|upstream| upstream.name().to_owned()).collect(),
        groups: config.policy().groups().map(|group| group.name().to_owned()).collect(),
    }
}
