//! The watchers of the upstreams: each looks up the names of one upstream, and tells the workers its addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Config, Upstream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::generation::store::Generation;
use crate::metrics::Series;
use crate::net::lookup::{LookupError, look_up};
use crate::process::Process;
use crate::upstream::health::{Health, Probes};
use crate::upstream::view::{Sockets, View, WatchedView};
use crate::worker::Order;

/// The least time between two lookups of an upstream's names. Failures that clients meet ask for a lookup, and there may be
/// thousands of them in a second.
const APART: Duration = Duration::from_millis(250);

/// The watchers and the health checks of the upstreams. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Watchers {
    process: Arc<Process>,
    probes: Probes,
    workers: Vec<mpsc::Sender<Order>>,
    tasks: JoinSet<()>,
    running: Vec<Watcher>,
}

/// One upstream that is watched.
#[derive(Debug)]
struct Watcher {
    upstream: Arc<Upstream>,
    watched: WatchedView,
    /// The task that looks up its names, if it has any.
    task: Option<AbortHandle>,
}

impl Watchers {
    /// Watches the upstreams of the first generation. The watchers report to `health` and to `workers`.
    pub(crate) fn start(
        process: Arc<Process>,
        generation: &Generation,
        health: Arc<Health>,
        workers: Vec<mpsc::Sender<Order>>,
    ) -> Self {
        let probes = Probes::new(health);
        let mut watchers = Self { process, probes, workers, tasks: JoinSet::new(), running: Vec::new() };
        watchers.follow(generation.config(), generation.series());
        watchers
    }

    /// Watches the upstreams of this configuration, and no others. `series` are its counters. The
    /// watcher of an unchanged upstream continues.
    pub(crate) fn follow(&mut self, config: &Config, series: &Series) {
        let mut before = std::mem::take(&mut self.running);
        for upstream in config.upstreams() {
            let same = before.iter().position(|known| known.goes_on_for(upstream));
            let watcher = match same {
                Some(at) => before.swap_remove(at),
                None => self.begin(upstream),
            };
            self.running.push(watcher);
        }
        for task in before.into_iter().filter_map(|watcher| watcher.task) {
            task.abort();
        }
        while self.tasks.try_join_next().is_some() {}
        let watched: Vec<_> = self.running.iter().map(|watcher| watcher.watched.clone()).collect();
        self.probes.follow(config, series, &watched);
    }

    fn begin(&mut self, upstream: &Arc<Upstream>) -> Watcher {
        let watched = WatchedView::of(upstream, self.process.hints.of(upstream.name()));
        let names: Vec<Name> = names(upstream).collect();
        let task = (!names.is_empty()).then(|| {
            let names = Names { names, failing: Vec::new() };
            self.tasks.spawn_local(names.watch(Arc::clone(upstream), watched.clone(), self.workers.clone()))
        });
        Watcher { upstream: Arc::clone(upstream), watched, task }
    }
}

impl Watcher {
    fn goes_on_for(&self, upstream: &Upstream) -> bool {
        self.watched.view.current().is_of(upstream)
            && self.upstream.resolve_every() == upstream.resolve_every()
    }
}

/// A name among the addresses of an upstream.
#[derive(Clone, Debug)]
struct Name {
    /// The index of the address.
    index: usize,
    host: Arc<str>,
    port: u16,
}

fn names(upstream: &Upstream) -> impl Iterator<Item = Name> {
    upstream.addresses().iter().enumerate().filter_map(|(index, address)| match address {
        Address::Host { host, port } if host.parse::<IpAddr>().is_err() => {
            Some(Name { index, host: host.as_str().into(), port: *port })
        }
        Address::Host { .. } | Address::Unix(_) => None,
    })
}

/// The names of one upstream, and which of them could not be looked up the last time.
#[derive(Debug)]
struct Names {
    names: Vec<Name>,
    failing: Vec<usize>,
}

impl Names {
    /// Looks the names up every `resolve_every`, and at once after a failure of the upstream.
    async fn watch(
        mut self,
        upstream: Arc<Upstream>,
        watched: WatchedView,
        workers: Vec<mpsc::Sender<Order>>,
    ) {
        loop {
            let begun = Instant::now();
            let found = self.look_up(&upstream).await;
            let former = watched.view.current();
            if let Some(view) = former.next(found) {
                let view = Arc::new(view);
                self.log(&former, &view);
                watched.view.set(Arc::clone(&view));
                for worker in &workers {
                    // A worker that has ended has no clients.
                    let _ = worker.send(Order::View(Arc::clone(&view))).await;
                }
            }
            let asked = async {
                sleep_until(begun + APART).await;
                watched.hints.taken().await;
            };
            tokio::select! {
                () = sleep_until(begun + upstream.resolve_every()) => {}
                () = asked => {}
            }
        }
    }

    /// Looks all names up at the same time.
    async fn look_up(&mut self, upstream: &Upstream) -> Vec<(usize, Sockets)> {
        let mut lookups = JoinSet::new();
        for name in self.names.clone() {
            lookups.spawn_local(async move {
                let result = look_up(&name.host, name.port).await;
                (name, result)
            });
        }
        let mut found = Vec::new();
        while let Some(Ok((name, result))) = lookups.join_next().await {
            self.log_result(upstream, &name, &result);
            let sockets = match result {
                Ok(addresses) => Sockets::Tcp(addresses.into()),
                Err(error) => Sockets::Unresolved(error.to_string().into()),
            };
            found.push((name.index, sockets));
        }
        found
    }

    /// Logs the first failure of a name, and its end.
    fn log_result(
        &mut self,
        upstream: &Upstream,
        name: &Name,
        result: &Result<Vec<SocketAddr>, LookupError>,
    ) {
        let (upstream, host) = (upstream.name(), &name.host);
        let failed = self.failing.contains(&name.index);
        match result {
            Ok(_) if failed => {
                self.failing.retain(|index| *index != name.index);
                tracing::info!(%upstream, "{host} resolves again");
            }
            Err(error) if !failed => {
                self.failing.push(name.index);
                tracing::warn!(%upstream, "cannot resolve {host}: {error}; its last addresses, if any, are used");
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Logs the names that have other addresses now.
    fn log(&self, former: &View, view: &View) {
        for name in &self.names {
            let (before, now) = (Addresses::of(former, name), Addresses::of(view, name));
            if let (Some(before), Some(now)) = (before, now)
                && before != now
            {
                tracing::info!(upstream = %view.upstream(), "{} is now {now} (was {before})", name.host);
            }
        }
    }
}

/// The addresses of a name that was looked up.
#[derive(PartialEq, Eq)]
struct Addresses<'s>(&'s [SocketAddr]);

impl<'s> Addresses<'s> {
    fn of(view: &'s View, name: &Name) -> Option<Self> {
        match &view.places().get(name.index)?.sockets {
            Sockets::Tcp(sockets) => Some(Self(sockets)),
            Sockets::Unknown | Sockets::Unresolved(_) | Sockets::Unix(_) => None,
        }
    }
}

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, socket) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{socket}")?;
        }
        Ok(())
    }
}
