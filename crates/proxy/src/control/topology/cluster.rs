//! The watcher of a cluster: asks its nodes, probes them, looks their names up, and puts the views in force.
//!
//! ```text
//!   Line (a task a node) --> News --> Watch --> Follower      the map, and which nodes are down
//!   lookups of names ------> News -->  |
//!                                      v
//!                                  Publisher --> workers, health check
//! ```

mod facts;
mod line;
mod said;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_config::{Address, Cluster, Tcp, Upstream};
use portcullis_session::cluster::Answer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::facts::FactsOfNodes;
use self::line::{Line, NoAnswer, Question, Told as Facts};
use self::said::Said;
use super::publisher::Publisher;
use crate::metrics::{ReloadResult, UpstreamErrorKind};
use crate::net::lookup::look_up;
use crate::upstream::cluster::facts::Replicas;
use crate::upstream::cluster::follow::{Follower, Probe, Said as Told, Work};
use crate::upstream::cluster::survey::{Asked, Outcome};
use crate::upstream::health::Health;
use crate::upstream::health::fault::Fault;
use crate::upstream::view::Place;

/// The news that wait for the watcher. A task that has more waits.
const QUEUE: usize = 64;

/// Something that the watcher learns from one of its tasks.
#[derive(Debug)]
enum News {
    /// A node was asked about its cluster.
    Answered { asked: Asked, place: (u64, usize), answer: Result<Box<Answer>, NoAnswer> },
    /// A node was probed.
    Probed { node: Box<str>, address: Address, result: Result<(), Fault> },
    /// A node was asked for facts about its server. `None`: it tells nothing.
    Told { address: Address, told: Option<Facts> },
    /// A name was looked up.
    Found { host: Box<str>, result: Result<Vec<SocketAddr>, Arc<str>> },
}

/// The watcher of one upstream.
#[derive(Debug)]
pub(super) struct Watch {
    upstream: Arc<Upstream>,
    tcp: Tcp,
    follower: Follower,
    facts: FactsOfNodes,
    publisher: Publisher,
    said: Said,
    lines: HashMap<Address, Line>,
    /// The failures of the last questions and probes, by address.
    failures: HashMap<Address, UpstreamErrorKind>,
    replicas: Replicas,
    /// The nodes, for operators.
    health: Arc<Health>,
    is_news: bool,
    tasks: JoinSet<()>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
}

impl Watch {
    /// Watches a cluster from the view in force on.
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        cluster: &Arc<Cluster>,
        tcp: &Tcp,
        publisher: Publisher,
        health: Arc<Health>,
    ) -> Self {
        let map = publisher.view().cluster().map(|view| Arc::clone(view.map()));
        let mut replicas = Replicas::default();
        if let Some(map) = &map {
            replicas.follow(map);
        }
        let times = (upstream.resolve_every(), upstream.connect_timeout());
        Self {
            upstream: Arc::clone(upstream),
            tcp: tcp.clone(),
            follower: Follower::new(cluster, map, times, Instant::now()),
            facts: FactsOfNodes::default(),
            publisher,
            said: Said::new(upstream),
            lines: HashMap::new(),
            failures: HashMap::new(),
            replicas,
            health,
            is_news: false,
            tasks: JoinSet::new(),
            news: mpsc::channel(QUEUE),
        }
    }

    /// Watches as long as the task runs.
    pub(super) async fn run(mut self) {
        loop {
            let work = self.follower.proceed(Instant::now());
            // Operators and tests read in the log what holds already.
            self.publish().await;
            self.report(&work);
            self.start(work);
            let wake = self.follower.next();
            let hints = self.publisher.hints();
            tokio::select! {
                Some(news) = self.news.1.recv() => self.take(news, Instant::now()),
                given = hints.taken() => self.follower.hinted(&given, Instant::now()),
                () = sleep_until(wake) => {}
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn take(&mut self, news: News, now: Instant) {
        match news {
            News::Answered { asked, place, answer } => {
                self.said.answered(&asked.address, answer.as_ref().err());
                self.reached(&asked.address, answer.as_ref().err().map(NoAnswer::kind));
                if answer.is_ok() {
                    self.ask_for_facts(&asked, now);
                }
                let said = match answer {
                    Ok(answer) => Told::Answer(answer),
                    Err(NoAnswer::Fault(_)) => Told::Nothing,
                    Err(NoAnswer::NoCluster | NoAnswer::Forbidden | NoAnswer::Useless(_)) => Told::Useless,
                };
                if self.follower.answered(place, &asked, said, now) {
                    self.said.is_up(&asked.address);
                }
            }
            News::Probed { node, address, result } => {
                self.said.probed(&address, result.as_ref().err());
                self.reached(&address, result.as_ref().err().map(Fault::kind));
                if self.follower.probed(&node, &address, result.is_ok(), now) {
                    self.said.is_up(&address);
                }
            }
            News::Told { address, told } => {
                if let Some(server) = told.and_then(|told| self.facts.told(&address, told)) {
                    self.said.learned(&server);
                    self.follower.set_server(server);
                }
            }
            News::Found { host, result } => {
                self.said.found(&host, result.as_ref().err());
                self.follower.found(&host, result);
            }
        }
    }

    /// Asks a node that answers for facts about its server, if they may have changed.
    fn ask_for_facts(&mut self, asked: &Asked, now: Instant) {
        if let Some(known) = self.facts.due(&asked.address, now) {
            let place = self.follower.place_of(asked);
            let address = asked.address.clone();
            self.put(address.clone(), place, Question::Facts { address, known });
        }
    }

    /// Records whether a node was reached.
    fn reached(&mut self, address: &Address, failed: Option<UpstreamErrorKind>) {
        let before = match failed {
            Some(kind) => self.failures.insert(address.clone(), kind),
            None => self.failures.remove(address),
        };
        self.is_news |= before != failed;
    }

    /// Logs and counts what has been decided.
    fn report(&mut self, work: &Work) {
        for node in &work.down {
            self.said.is_down(node);
        }
        let Some(outcome) = &work.outcome else { return };
        self.publisher.series().judged(match outcome {
            Outcome::Changed => ReloadResult::Applied,
            Outcome::Confirmed => ReloadResult::Unchanged,
            Outcome::Kept(_) => ReloadResult::Rejected,
        });
        self.said.judged(outcome, self.follower.map());
    }

    /// Starts the work for the sockets.
    fn start(&mut self, work: Work) {
        self.lines.retain(|_, line| line.is_open());
        for (index, (asked, place)) in work.ask.into_iter().enumerate() {
            let address = asked.address.clone();
            self.put(address, place, Question::Ask { asked, place: (work.round, index) });
        }
        for Probe { node, address, place } in work.probe {
            self.put(address.clone(), place, Question::Ping { node, address });
        }
        for host in work.look_up {
            let news = self.news.0.clone();
            self.tasks.spawn_local(async move {
                let result = look_up(&host, 0).await.map_err(|error| error.to_string().into());
                // The watcher has ended if it does not receive.
                let _ = news.send(News::Found { host, result }).await;
            });
        }
    }

    /// Puts a question to a node, on the connection that it has or on a new one.
    fn put(&mut self, address: Address, place: Place, question: Question) {
        let line = self.lines.entry(address).or_insert_with(|| {
            let (line, task) = Line::new(&self.upstream, &self.tcp, self.news.0.clone());
            self.tasks.spawn_local(task);
            line
        });
        line.put(place, question);
    }

    /// Puts the view in force, if it is another one, and shows the nodes to operators.
    async fn publish(&mut self) {
        let cluster = self.follower.take_view();
        if cluster.is_some() || std::mem::take(&mut self.is_news) {
            let failures = &self.failures;
            let link = |address: &Address| failures.get(address).map_or("ok", |kind| kind.as_str());
            self.health.set_nodes(self.upstream.name(), self.follower.facts(link));
        }
        let Some(cluster) = cluster else { return };
        self.publisher.set_cluster(cluster.map());
        (0..self.replicas.follow(cluster.map())).for_each(|_| self.publisher.series().failed_over());
        let addresses: HashSet<Address> = self.follower.addresses().collect();
        self.failures.retain(|address, _| addresses.contains(address));
        self.facts.retain(|address| addresses.contains(address));
        if let Some(view) = self.publisher.view().with_cluster(cluster) {
            self.publisher.publish(view).await;
        }
    }
}
