//! The watchers of the upstreams: each knows where one upstream is, and tells the workers.

mod cluster;
mod names;
mod publisher;
mod resolve;
mod sentinel;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{Config, Tcp, Upstream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use self::names::Names;
use self::publisher::Publisher;
use self::sentinel::Watch;
use crate::generation::store::Generation;
use crate::metrics::{Series, UpstreamSeries};
use crate::process::Process;
use crate::upstream::health::{Health, Probes};
use crate::upstream::sentinel::follow::Follower;
use crate::upstream::view::{Traffic, WatchedView};
use crate::worker::Order;

/// The watchers and the health checks of the upstreams. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Watchers {
    process: Arc<Process>,
    health: Arc<Health>,
    probes: Probes,
    workers: Vec<mpsc::Sender<Order>>,
    tasks: JoinSet<()>,
    running: Vec<Watcher>,
}

/// One upstream that is watched.
#[derive(Debug)]
struct Watcher {
    upstream: Arc<Upstream>,
    tcp: Tcp,
    publisher: Publisher,
    watched: WatchedView,
    /// What is known of the master, if sentinels name it.
    follower: Option<Rc<RefCell<Follower>>>,
    /// The task that looks up its names or asks its sentinels or nodes, if it has any.
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
        let probes = Probes::new(Arc::clone(&health));
        let mut watchers =
            Self { process, health, probes, workers, tasks: JoinSet::new(), running: Vec::new() };
        watchers.follow(generation.config(), generation.series());
        watchers
    }

    /// Watches the upstreams of this configuration, and no others. `series` are its counters. The
    /// watcher of an unchanged upstream continues.
    pub(crate) fn follow(&mut self, config: &Config, series: &Series) {
        let mut before = std::mem::take(&mut self.running);
        let tcp = config.limits().tcp();
        for (upstream, series) in config.upstreams().iter().zip(&series.upstreams) {
            let same = before.iter().position(|known| known.publisher.view().is_of(upstream));
            let watcher = match same.map(|at| before.swap_remove(at)) {
                Some(known) if known.goes_on_for(upstream, tcp) => known,
                Some(known) => self.renew(known, upstream, tcp, series),
                None => self.begin(upstream, tcp, series),
            };
            self.running.push(watcher);
        }
        for watcher in before {
            self.end(&watcher);
        }
        while self.tasks.try_join_next().is_some() {}
        let watched: Vec<_> = self.running.iter().map(|watcher| watcher.watched.clone()).collect();
        self.probes.follow(config, series, &watched);
    }

    fn begin(&mut self, upstream: &Arc<Upstream>, tcp: &Tcp, series: &Arc<UpstreamSeries>) -> Watcher {
        let watched = WatchedView::of(upstream, self.process.hints.of(upstream.name()));
        let follower = upstream
            .sentinel()
            .map(|sentinel| Rc::new(RefCell::new(Follower::new(sentinel.pause(), Instant::now()))));
        self.spawn(upstream, tcp, series, watched, follower)
    }

    /// Watches an upstream at the same place with other settings, from what is known of it.
    fn renew(
        &mut self,
        known: Watcher,
        upstream: &Arc<Upstream>,
        tcp: &Tcp,
        series: &Arc<UpstreamSeries>,
    ) -> Watcher {
        if let Some(task) = known.task {
            task.abort();
        }
        if let (Some(follower), Some(sentinel)) = (&known.follower, upstream.sentinel()) {
            follower.borrow_mut().set_pause(sentinel.pause());
        }
        let renewed = self.spawn(upstream, tcp, series, known.watched, known.follower);
        let publisher = renewed.publisher.clone();
        let view = publisher.put(publisher.view().for_configuration(upstream));
        self.tasks.spawn_local(async move { publisher.tell(view).await });
        renewed
    }

    fn spawn(
        &mut self,
        upstream: &Arc<Upstream>,
        tcp: &Tcp,
        series: &Arc<UpstreamSeries>,
        watched: WatchedView,
        follower: Option<Rc<RefCell<Follower>>>,
    ) -> Watcher {
        let publisher = Publisher::new(
            watched.clone(),
            self.workers.clone(),
            Arc::clone(series),
            Arc::clone(&self.health),
        );
        let task = match (upstream.sentinel(), &follower, upstream.cluster()) {
            (Some(sentinel), Some(follower), _) => {
                let watch = Watch::new(upstream, sentinel, tcp, Rc::clone(follower), publisher.clone());
                Some(self.tasks.spawn_local(watch.run()))
            }
            (_, _, Some(cluster)) => {
                let watch =
                    cluster::Watch::new(upstream, cluster, tcp, publisher.clone(), Arc::clone(&self.health));
                Some(self.tasks.spawn_local(watch.run()))
            }
            _ => Names::of(upstream)
                .map(|names| self.tasks.spawn_local(names.watch(Arc::clone(upstream), publisher.clone()))),
        };
        Watcher { upstream: Arc::clone(upstream), tcp: tcp.clone(), publisher, watched, follower, task }
    }

    /// Ends a watcher. Traffic that it held flows again, because no watcher would end the pause.
    fn end(&mut self, watcher: &Watcher) {
        if let Some(task) = &watcher.task {
            task.abort();
        }
        let publisher = watcher.publisher.clone();
        publisher.series().set_cluster(None);
        if let Some(view) = publisher.view().with_traffic(Traffic::Flows) {
            let view = publisher.put(view);
            self.tasks.spawn_local(async move { publisher.tell(view).await });
        }
    }
}

impl Watcher {
    /// Returns whether nothing that the watcher uses has changed.
    fn goes_on_for(&self, upstream: &Upstream, tcp: &Tcp) -> bool {
        let uses = |upstream: &Upstream| {
            let (sentinel, cluster) = (upstream.sentinel().cloned(), upstream.cluster().cloned());
            let servers = (sentinel.is_some() || cluster.is_some()).then(|| {
                (upstream.credentials().cloned(), upstream.tls().cloned(), upstream.connect_timeout())
            });
            (upstream.resolve_every(), sentinel, cluster, servers)
        };
        let connects = self.follower.is_some() || self.upstream.is_cluster();
        uses(&self.upstream) == uses(upstream) && (!connects || self.tcp == *tcp)
    }
}
