//! The config in force as one value, which a reload swaps whole.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_acl::{Policy, UnixSeconds};
use portcullis_resp::limits::RequestLimits;
use portcullis_session::Plan;
use portcullis_session::inject::Preamble;
use secrecy::ExposeSecret;

use crate::config::{self, Config, Listener, Upstream};
use crate::connection::admit::Seat;
use crate::listener::state::ListenerState;
use crate::metrics::{Metrics, Names, Series};

/// Where the generation in force is read, by any thread.
#[derive(Debug)]
pub struct Store(ArcSwap<Generation>);

impl Store {
    /// With the first generation.
    pub fn new(first: Arc<Generation>) -> Self {
        Self(ArcSwap::new(first))
    }

    /// The generation in force.
    pub fn current(&self) -> Arc<Generation> {
        self.0.load_full()
    }

    /// Puts a generation in force.
    pub fn swap(&self, next: Arc<Generation>) {
        self.0.store(next);
    }
}

/// One config with what was made of it. Immutable, but for what counts.
#[derive(Debug)]
pub struct Generation {
    number: u64,
    config: Config,
    listeners: Box<[Arc<ListenerState>]>,
    plans: Box<[Arc<Plan>]>,
    series: Series,
    clients: u64,
    workers: usize,
}

impl Generation {
    /// The first, for a process that has open files for `room` clients.
    pub fn first(config: Config, metrics: &Arc<Metrics>, room: u64) -> Self {
        let workers = config.workers();
        Self::make(config, metrics, room, 1, workers, HashMap::new())
    }

    /// What follows this one. Listeners whose name stays keep their seats and counters.
    pub fn next(&self, config: Config, metrics: &Arc<Metrics>, room: u64) -> Self {
        let known = self.listeners.iter().map(|state| (&**state.name(), state)).collect();
        Self::make(config, metrics, room, self.number + 1, self.workers, known)
    }

    fn make(
        config: Config,
        metrics: &Arc<Metrics>,
        room: u64,
        number: u64,
        workers: usize,
        known: HashMap<&str, &Arc<ListenerState>>,
    ) -> Self {
        let series = metrics.series(&names(&config));
        let listeners = config.listeners().iter().zip(&series.listeners).map(|(listener, series)| {
            known.get(listener.name()).map_or_else(
                || Arc::new(ListenerState::new(listener.name(), series)),
                |state| Arc::clone(state),
            )
        });
        let generation = Self {
            number,
            listeners: listeners.collect(),
            plans: config.listeners().iter().map(|listener| Arc::new(plan(&config, listener))).collect(),
            series,
            clients: config.limits().clients().min(room),
            workers,
            config,
        };
        generation.tell_groups(crate::worker::wall_clock());
        generation
    }

    /// 1 for the config that the process started with, and one more for each that took its place.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who may connect to which listener.
    pub fn policy(&self) -> &Policy {
        self.config.policy()
    }

    /// The listeners' lasting state, by index.
    pub fn listeners(&self) -> &[Arc<ListenerState>] {
        &self.listeners
    }

    /// The index of the listener of that name.
    pub fn listener_index(&self, name: &str) -> Option<usize> {
        self.listeners.iter().position(|listener| **listener.name() == *name)
    }

    /// What holds for the clients of each listener, by index.
    pub fn plans(&self) -> &[Arc<Plan>] {
        &self.plans
    }

    /// What is counted under this config's names.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// How many clients there may be: `limits.clients`, or what the open files have room for.
    pub fn clients(&self) -> u64 {
        self.clients
    }

    /// How many workers the process has, whatever this config says.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Puts the limits on clients in force.
    pub fn limit(&self, all: &Seat) {
        all.set_limit(self.clients);
        for (listener, state) in self.config.listeners().iter().zip(&self.listeners) {
            state.seat().set_limit(listener.limits().clients());
        }
    }

    /// Brings the metrics of the groups up to date; which entry expires next changes with the clock alone.
    pub fn tell_groups(&self, now: UnixSeconds) {
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

fn plan(config: &Config, listener: &Listener) -> Plan {
    let auth = match listener.auth() {
        config::Auth::Passthrough => portcullis_session::Auth::Passthrough,
        config::Auth::Trust => portcullis_session::Auth::Trust,
    };
    let upstream = config.upstreams().get(listener.upstream()).map(AsRef::as_ref);
    let preamble = upstream
        .and_then(Upstream::credentials)
        .map(|credentials| Preamble::auth(credentials.username(), credentials.password().expose_secret()));
    let limits = listener.limits();
    let grammar = RequestLimits {
        bulk: limits.bulk(),
        arguments: limits.arguments(),
        inline: limits.inline(),
        inline_commands: listener.inline_commands(),
        ..RequestLimits::default()
    };
    let name = upstream.map_or("", Upstream::name);
    Plan::new(auth, preamble, name, grammar, limits.held_command())
}
