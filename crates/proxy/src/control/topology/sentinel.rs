//! The watcher of a Sentinel upstream: asks the sentinels, hears their messages, and puts the views in force.
//!
//! ```text
//!   Node (two tasks a sentinel) --> News --> Watch --> Follower      which server is the master
//!                                             |  ^
//!                                             |  +---- roles of servers, lookups of their names
//!                                             v
//!                                         Publisher --> workers, health check
//! ```
//!
//! A round begins each second, and at once after a message or a hint. It ends when all sentinels that answered the last
//! round have answered, or after [`ROUND`].

mod doubt;
mod node;
mod said;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Sentinel, Tcp, Upstream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::doubt::Doubt;
use self::node::{Line, Node};
use self::said::Said;
use super::publisher::Publisher;
use super::resolve::resolve;
use crate::metrics::ReloadResult;
use crate::process::hints::{Given, Hint};
use crate::upstream::health::fault::Fault;
use crate::upstream::role::{self, Role};
use crate::upstream::sentinel::answer::{Answer, Event};
use crate::upstream::sentinel::follow::{Follower, Outcome};
use crate::upstream::sentinel::round::{Roles, Round};
use crate::upstream::view::{Place, Sockets, Traffic};

/// The time for answers of a round. A sentinel that needs longer does not count in it.
const ROUND: Duration = Duration::from_millis(300);

/// The time between two rounds when nothing happens.
const POLL: Duration = Duration::from_secs(1);

/// The time between two rounds while traffic is held, and after a hint.
const APART: Duration = Duration::from_millis(100);

/// The least time between two rounds. A sentinel may send thousands of messages.
const LEAST_APART: Duration = Duration::from_millis(10);

/// The news that wait for the watcher. Each task has at most one.
const QUEUE: usize = 64;

/// Something that the watcher learns from one of its tasks.
#[derive(Debug)]
enum News {
    /// A sentinel has answered.
    Answered { node: usize, round: u64, answer: Answer },
    /// The messages of a sentinel arrive from now on.
    Subscribed { node: usize },
    /// A sentinel has sent a message.
    Published { node: usize, event: Event },
    /// A connection to a sentinel failed, or could not be made.
    Failed { node: usize, line: Line, fault: Fault },
    /// A server was asked for its role.
    Told { server: Address, place: Place, role: Role },
    /// The name of the master was looked up again.
    Resolved(Place),
}

/// The watcher of one upstream.
#[derive(Debug)]
pub(super) struct Watch {
    upstream: Arc<Upstream>,
    sentinel: Arc<Sentinel>,
    tcp: Tcp,
    follower: Rc<RefCell<Follower>>,
    publisher: Publisher,
    said: Said,
    asking: Asking,
    /// The place of the master.
    master: Option<Place>,
    /// The next lookup of the master's name.
    resolve_at: Instant,
    paused_since: Option<Instant>,
    /// Whether sessions found that the master says that it is a replica.
    doubt: Doubt,
    tasks: JoinSet<()>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
}

/// The round in progress, or the last one.
#[derive(Debug)]
struct Asking {
    rounds: watch::Sender<u64>,
    number: u64,
    begun: Instant,
    stage: Stage,
    answers: Vec<Option<Answer>>,
    /// The sentinels whose answers are waited for: those that answered the last time.
    awaited: Vec<bool>,
    roles: Roles,
    /// The servers that were asked for their roles in this round or are still being asked, each with its place once it has
    /// told.
    asked: Vec<(Address, Option<Place>)>,
    /// When the next round begins.
    next: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Answers of sentinels are awaited.
    Collecting,
    /// Roles of servers are awaited. A silent server delays the decision only if nothing else decides.
    Judging,
    /// The round is over.
    Over,
}

impl Watch {
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        sentinel: &Arc<Sentinel>,
        tcp: &Tcp,
        follower: Rc<RefCell<Follower>>,
        publisher: Publisher,
    ) -> Self {
        let nodes = sentinel.nodes().len();
        let now = Instant::now();
        let asking = Asking {
            rounds: watch::Sender::new(0),
            number: 0,
            begun: now,
            stage: Stage::Over,
            answers: vec![None; nodes],
            awaited: vec![true; nodes],
            roles: Roles::default(),
            asked: Vec::new(),
            next: now,
        };
        Self {
            upstream: Arc::clone(upstream),
            sentinel: Arc::clone(sentinel),
            tcp: tcp.clone(),
            follower,
            master: publisher.view().places().first().cloned(),
            publisher,
            said: Said::new(upstream, sentinel),
            asking,
            resolve_at: now + upstream.resolve_every(),
            paused_since: None,
            doubt: Doubt::default(),
            tasks: JoinSet::new(),
            news: mpsc::channel(QUEUE),
        }
    }

    /// Watches as long as the task runs.
    pub(super) async fn run(mut self) {
        self.start_nodes();
        loop {
            self.proceed(Instant::now()).await;
            let wake = self.next();
            tokio::select! {
                Some(news) = self.news.1.recv() => self.take(news, Instant::now()),
                given = self.publisher.hints().taken() => self.hinted(&given, Instant::now()),
                () = sleep_until(wake) => {}
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn start_nodes(&mut self) {
        for (index, address) in self.sentinel.nodes().iter().enumerate() {
            let node = Node {
                index,
                address: address.clone(),
                upstream: Arc::clone(&self.upstream),
                sentinel: Arc::clone(&self.sentinel),
                tcp: self.tcp.clone(),
                news: self.news.0.clone(),
            };
            self.tasks.spawn_local(node.clone().answer(self.asking.rounds.subscribe()));
            self.tasks.spawn_local(node.listen());
        }
    }

    /// Returns when something is due.
    fn next(&self) -> Instant {
        let round = match self.asking.stage {
            Stage::Collecting => self.asking.begun + ROUND,
            Stage::Judging | Stage::Over => self.asking.next,
        };
        let follower = self.follower.borrow().next();
        [Some(round), follower, Some(self.resolve_at), self.doubt.next()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(round)
    }

    /// Does what is due, and puts the view in force that follows from it.
    async fn proceed(&mut self, now: Instant) {
        self.follower.borrow_mut().tick(now);
        let question = self.follower.borrow_mut().take_question(now);
        if let Some(server) = question {
            self.ask_role(server);
        }
        if self.doubt.take_question(now)
            && let Some(master) = self.master_address()
        {
            self.ask_role(master);
        }
        match self.asking.stage {
            Stage::Collecting if self.asking.is_complete() || now >= self.asking.begun + ROUND => {
                self.close_round(now);
            }
            // A role that is still awaited counts in the next round.
            Stage::Judging | Stage::Over if now >= self.asking.next => self.asking.begin(now),
            Stage::Collecting | Stage::Judging | Stage::Over => {}
        }
        if now >= self.resolve_at {
            self.resolve_again(now);
        }
        self.publish(now).await;
    }

    fn take(&mut self, news: News, now: Instant) {
        match news {
            News::Answered { node, round, answer } => {
                self.said.answered(node, &answer);
                self.asking.answered(node, round, answer);
            }
            News::Subscribed { node } => self.said.subscribed(node),
            News::Published { node, event } => {
                self.said.published(node, &event);
                if self.follower.borrow_mut().event(&event, now) {
                    self.asking.soon(now + LEAST_APART);
                }
            }
            News::Failed { node, line, fault } => {
                self.said.failed(node, line, &fault);
                if line == Line::Asking {
                    self.asking.failed(node);
                }
            }
            News::Told { server, place, role } => self.told(&server, place, role, now),
            News::Resolved(place) => {
                let is_news = self.master.as_ref().is_some_and(|master| master.address == place.address);
                if is_news && matches!(place.sockets, Sockets::Tcp(_)) {
                    self.master = Some(place);
                }
            }
        }
    }

    /// Takes hints that the master seems to be elsewhere.
    fn hinted(&mut self, given: &Given, now: Instant) {
        if given.has(Hint::Replica) && self.follower.borrow().master().is_some() {
            self.doubt.begin(now);
        }
        self.asking.soon((self.asking.begun + APART).max(now));
        self.resolve_at = self.resolve_at.min(now + APART);
    }

    /// Returns the address of the master, as the sentinels announce it.
    fn master_address(&self) -> Option<Address> {
        self.follower.borrow().master().map(|master| master.address.clone())
    }

    /// Asks a server for its role, in a task of its own.
    fn ask_role(&mut self, server: Address) {
        let (upstream, tcp) = (Arc::clone(&self.upstream), self.tcp.clone());
        let (news, reachable) = (self.news.0.clone(), self.sentinel.reachable(&server).clone());
        self.tasks.spawn_local(async move {
            let within = upstream.connect_timeout();
            let place = resolve(&reachable, within).await;
            let role = role::ask(&place, &upstream, &tcp, within).await;
            // The watcher has ended if it does not receive.
            let _ = news.send(News::Told { server, place, role }).await;
        });
    }

    fn told(&mut self, server: &Address, place: Place, role: Role, now: Instant) {
        if self.follower.borrow_mut().told(server, role) {
            self.asking.soon(now + LEAST_APART);
        }
        if self.master_address().is_some_and(|master| master.is_same_host(server)) {
            self.doubt.told(role);
        }
        let Some((_, known)) = self.asking.asked.iter_mut().find(|(asked, _)| asked == server) else {
            return;
        };
        *known = Some(place);
        self.asking.roles.add(server.clone(), role);
        if self.asking.stage == Stage::Judging {
            self.judge(now);
        }
    }

    /// Ends the time for answers.
    fn close_round(&mut self, now: Instant) {
        for (answer, awaited) in self.asking.answers.iter().zip(&mut self.asking.awaited) {
            *awaited = answer.is_some();
        }
        self.asking.stage = Stage::Judging;
        self.judge(now);
    }

    fn judge(&mut self, now: Instant) {
        let claims = self.asking.answers.iter().flatten().filter_map(|answer| match answer {
            Answer::Names(claim) => Some(claim.clone()),
            Answer::UnknownMaster | Answer::NotSentinel | Answer::Refused | Answer::Garbage => None,
        });
        let round = Round::new(self.asking.answers.len(), claims.collect());
        let outcome = self.follower.borrow_mut().round(&round, &self.asking.roles, now);
        match &outcome {
            Outcome::Ask(servers) => {
                let unasked: Vec<Address> =
                    servers.iter().filter(|server| self.asking.is_unasked(server)).cloned().collect();
                for server in unasked {
                    self.asking.asked.push((server.clone(), None));
                    self.ask_role(server);
                }
                return;
            }
            Outcome::Confirmed => self.publisher.series().judged(ReloadResult::Unchanged),
            Outcome::Undecided => self.publisher.series().judged(ReloadResult::Rejected),
            Outcome::Moved { from } => self.moved(from.as_ref(), now),
        }
        self.publisher.series().named_by(round.answered());
        self.said.judged(&self.asking.answers, &round, &outcome, self.follower.borrow().master());
        self.end_round(now);
    }

    fn moved(&mut self, from: Option<&Address>, now: Instant) {
        let follower = self.follower.borrow();
        let Some(master) = follower.master() else { return };
        let place = self.asking.asked.iter().find(|(server, _)| server.is_same_host(&master.address));
        let place = place.and_then(|(_, place)| place.clone());
        let place = place.unwrap_or_else(|| Place::before_lookup(self.sentinel.reachable(&master.address)));
        self.said.moved(&self.asking.answers, master, from, &place);
        self.publisher.series().judged(ReloadResult::Applied);
        if from.is_some() {
            self.publisher.series().failed_over();
        }
        self.master = Some(place);
        self.resolve_at = now + self.upstream.resolve_every();
    }

    fn end_round(&mut self, now: Instant) {
        self.asking.stage = Stage::Over;
        let apart = match self.follower.borrow().traffic() {
            Traffic::Flows => POLL,
            Traffic::Paused { .. } => APART,
        };
        self.asking.soon((self.asking.begun + apart).max(now));
    }

    /// Looks up the name of the master again, if it is a name.
    fn resolve_again(&mut self, now: Instant) {
        self.resolve_at = now + self.upstream.resolve_every();
        let Some(master) = &self.master else { return };
        if Place::before_lookup(&master.address).sockets != Sockets::Unknown {
            return;
        }
        let (news, address, within) =
            (self.news.0.clone(), master.address.clone(), self.upstream.connect_timeout());
        self.tasks.spawn_local(async move {
            // The watcher has ended if it does not receive.
            let _ = news.send(News::Resolved(resolve(&address, within).await)).await;
        });
    }

    /// Puts the view in force, if it is another one.
    async fn publish(&mut self, now: Instant) {
        let traffic = self.follower.borrow().traffic();
        if let Some(view) = self.publisher.view().with_master(self.master.clone(), traffic) {
            self.doubt.end();
            self.publisher.publish(view).await;
        } else if self.doubt.take_end() {
            self.publisher.publish(self.publisher.view().again()).await;
        }
        match (traffic, self.paused_since) {
            (Traffic::Paused { since }, None) => {
                self.paused_since = Some(since);
                self.said.paused();
            }
            (Traffic::Flows, Some(since)) => {
                self.paused_since = None;
                let time = now.saturating_duration_since(since);
                self.publisher.series().paused(time);
                self.said.resumed(time);
            }
            (Traffic::Paused { .. }, Some(_)) | (Traffic::Flows, None) => {}
        }
    }
}

impl Asking {
    /// Begins a round.
    fn begin(&mut self, now: Instant) {
        self.number += 1;
        self.begun = now;
        self.next = now + POLL;
        self.stage = Stage::Collecting;
        self.answers.fill(None);
        self.roles = Roles::default();
        self.asked.retain(|(_, told)| told.is_none());
        self.rounds.send_replace(self.number);
    }

    /// Lets the next round begin at this time, unless it begins earlier.
    fn soon(&mut self, at: Instant) {
        self.next = self.next.min(at);
    }

    fn answered(&mut self, node: usize, round: u64, answer: Answer) {
        if round == self.number
            && self.stage == Stage::Collecting
            && let Some(slot) = self.answers.get_mut(node)
        {
            *slot = Some(answer);
        }
    }

    /// No answer comes from this sentinel for now.
    fn failed(&mut self, node: usize) {
        if let Some(awaited) = self.awaited.get_mut(node) {
            *awaited = false;
        }
    }

    fn is_complete(&self) -> bool {
        self.answers.iter().zip(&self.awaited).all(|(answer, awaited)| answer.is_some() || !awaited)
    }

    fn is_unasked(&self, server: &Address) -> bool {
        !self.asked.iter().any(|(asked, _)| asked == server)
    }
}
