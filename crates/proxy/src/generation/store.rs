//! The configuration in force as a single value, which a reload replaces as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_acl::{Policy, UnixSeconds};
use portcullis_config::Config;

use super::logins::Logins;
use crate::generation::listener::{Listener, ListenerState};
use crate::generation::seats::Seat;
use crate::metrics::{Certificate, Metrics, Names, Series, Settings};

/// The generation in force, readable by any thread.
#[derive(Debug)]
pub(crate) struct Store(ArcSwap<Generation>);

impl Store {
    /// Makes a store with the first generation.
    pub(crate) fn new(first: Arc<Generation>) -> Self {
        Self(ArcSwap::new(first))
    }

    /// Returns the generation in force.
    pub(crate) fn current(&self) -> Arc<Generation> {
        self.0.load_full()
    }

    /// Puts the next generation in force.
    pub(crate) fn swap(&self, next: Arc<Generation>) {
        self.0.store(next);
    }
}

/// One configuration and everything that was compiled from it. Immutable, except for counters and the state of
/// listeners.
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
    /// Makes the first generation, for a process whose limit of open files is enough for `room` clients.
    pub(crate) fn first(config: Config, metrics: &Arc<Metrics>, room: u64) -> Self {
        let workers = config.workers();
        Self::make(config, metrics, room, 1, workers, None)
    }

    /// Makes the next generation. Listeners that keep their name keep their seats and counters.
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
            // The upstream of each listener is in the configuration; without it the listener could not serve a
            // client.
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
        for listener in &generation.listeners {
            let limit = listener.settings().limits().clients().min(generation.clients);
            listener.state().series().set_limit(limit);
        }
        metrics.set_settings(settings(&generation.config));
        generation.tell_metrics(crate::clock::wall_clock());
        generation
    }

    /// Returns the number of the generation: 1 at the start of the process, and one more after each reload.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the access rules of all listeners.
    pub(crate) fn policy(&self) -> &Policy {
        self.config.policy()
    }

    /// Returns the listeners.
    pub(crate) fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// Returns the listener with this name. `None` if the configuration has none.
    pub(crate) fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| **listener.name() == *name)
    }

    /// Returns whether `next` has other command rules for `user` of `listener`, or for its clients without a user.
    /// True if one of the two generations has no such listener or user.
    pub(crate) fn rules_differ(&self, next: &Self, listener: &str, user: Option<&str>) -> bool {
        let plan = |of: &Self| Some(Arc::clone(of.listener(listener)?.logins().plan(user)?));
        match (plan(self), plan(next)) {
            (Some(old), Some(new)) => !new.shares_rules_with(&old),
            (None, _) | (_, None) => true,
        }
    }

    /// Returns the counters of this generation.
    pub(crate) fn series(&self) -> &Series {
        &self.series
    }

    /// Returns the limit of clients: `limits.clients`, or less if the limit of open files is lower.
    pub(crate) fn clients(&self) -> u64 {
        self.clients
    }

    /// Returns the number of workers. It is fixed when the process starts, even if a reloaded configuration names
    /// another.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Puts the limits of clients in force: of the process (`all`), of the listeners and of their sources.
    pub(crate) fn limit(&self, all: &Seat) {
        all.set_limit(self.clients);
        for listener in &self.listeners {
            let (state, limits) = (listener.state(), listener.settings().limits());
            state.seat().set_limit(limits.clients());
            state.sources().set_limits(*limits.per_source());
        }
    }

    /// Updates the metrics that change with time alone: the blocked sources of each listener, and the next expiry of
    /// each group.
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

fn settings(config: &Config) -> Settings {
    let of_listeners = config.listeners().iter().filter_map(|listener| {
        Some(("listener", listener.name(), listener.tls().and_then(|tls| tls.not_after())?))
    });
    let of_upstreams = config.upstreams().iter().filter_map(|upstream| {
        Some(("upstream", upstream.name(), upstream.tls().and_then(|tls| tls.not_after())?))
    });
    let certificate = |(owner, name, not_after): (&'static str, &str, UnixSeconds)| Certificate {
        owner,
        name: name.to_owned(),
        not_after: not_after.0,
    };
    let certificates = of_listeners.chain(of_upstreams).map(certificate).collect();
    Settings { buffers: config.limits().buffers(), certificates }
}

fn names(config: &Config) -> Names {
    Names {
        listeners: config.listeners().iter().map(|listener| listener.name().to_owned()).collect(),
        upstreams: config.upstreams().iter().map(|upstream| upstream.name().to_owned()).collect(),
        upstream_of: config.listeners().iter().filter_map(|listener| place_of(config, listener)).collect(),
        groups: config.policy().groups().map(|group| group.name().to_owned()).collect(),
    }
}

/// Returns the index of the listener's upstream. Each listener has one.
fn place_of(config: &Config, listener: &portcullis_config::Listener) -> Option<usize> {
    config.upstreams().iter().position(|upstream| upstream.name() == listener.upstream().name())
}
