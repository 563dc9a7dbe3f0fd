//! One client before a simulated cluster. Its replies are compared with those that one Redis would give.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use portcullis_resp::scan::{Reply, ReplyScanner};
use portcullis_resp::slot::slot;

use super::world::{Random, SHOWN, World};
use super::{frame, map_with, note_written, router, shared_router};
use crate::cluster::{Map, Received, Role, Router, Turn};
use crate::link::Unavailable;
use crate::tick::Tick;

/// The number of steps of the test. The variable sets another number.
const STEPS: u64 = 1_000_000;
const VARIABLE: &str = "PORTCULLIS_CLUSTER_STEPS";

pub(super) const NODES: usize = 4;
const KEYS: [&str; 8] = ["{a}1", "{a}2", "{b}1", "{b}2", "{c}1", "{d}1", "{e}1", "{e}2"];
const HELD: usize = 4096;
/// The most memory that the router may occupy: the kept frames, the order of replies, and the legs.
const MOST_HELD: usize = 64 * 1024;

/// A command whose reply is pending.
#[derive(Debug)]
enum Pending {
    Ping(u64),
    Push {
        key: &'static str,
        id: u64,
    },
    Get(&'static str),
    Mget(Vec<&'static str>),
    /// Writes to keys of several slots.
    Mset(Vec<(&'static str, u64)>),
    /// A command that all masters answer.
    Dbsize,
    Multi,
    /// A command of a transaction.
    Queued(u64),
    Exec(Vec<(&'static str, u64)>),
}

/// The client, and what it knows.
#[derive(Default)]
pub(super) struct Client {
    next: u64,
    pending: VecDeque<Pending>,
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// The ids that were acknowledged, in order.
    acked: HashMap<&'static str, Vec<u64>>,
    /// The ids of commands that may or may not have run.
    uncertain: BTreeSet<u64>,
    /// The ids that failovers have lost, after they were acknowledged or not.
    lost: BTreeSet<u64>,
    counts: BTreeMap<&'static str, u64>,
    reads: bool,
    /// Whether the client sends nothing.
    pauses: bool,
    /// Whether the client shares connections, so that it needs no transaction here.
    is_shared: bool,
}

impl Client {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sends a random command.
    fn command(&mut self, random: &mut Random) {
        let key = KEYS[random.below(KEYS.len())];
        let (line, pending) = match random.below(16) {
            0 => {
                let id = self.id();
                (format!("PING {id}"), Pending::Ping(id))
            }
            1..=5 => {
                let id = self.id();
                (format!("RPUSH {key} {id}"), Pending::Push { key, id })
            }
            6..=8 => (format!("GET {key}"), Pending::Get(key)),
            9 | 10 => {
                let (one, other) = [("{a}1", "{a}2"), ("{b}1", "{b}2"), ("{e}1", "{e}2")][random.below(3)];
                (format!("MGET {one} {other}"), Pending::Mget(vec![one, other]))
            }
            11 | 12 => {
                let keys: Vec<_> = (0..2 + random.below(4)).map(|_| KEYS[random.below(KEYS.len())]).collect();
                (format!("MGET {}", keys.join(" ")), Pending::Mget(keys))
            }
            13 => {
                // The parts of one slot are one command, so the order of two writes to one key would be that of the ids.
                let first = random.below(KEYS.len());
                let keys = (0..2 + random.below(3)).map(|n| KEYS[(first + 3 * n) % KEYS.len()]);
                let pushes: Vec<_> = keys.map(|key| (key, self.id())).collect();
                let words: Vec<_> = pushes.iter().map(|(key, id)| format!("{key} {id}")).collect();
                (format!("MSET {}", words.join(" ")), Pending::Mset(pushes))
            }
            14 if random.one_in(8) => ("DBSIZE".to_owned(), Pending::Dbsize),
            _ if self.is_shared => return,
            _ => return self.transaction(random),
        };
        self.unsent.extend(frame(&line));
        self.pending.push_back(pending);
    }

    fn transaction(&mut self, random: &mut Random) {
        let (one, other) = [("{a}1", "{a}2"), ("{b}1", "{b}2"), ("{e}1", "{e}2")][random.below(3)];
        self.unsent.extend(frame("MULTI"));
        self.pending.push_back(Pending::Multi);
        let mut pushes = Vec::new();
        for key in [one, other, one].into_iter().take(1 + random.below(3)) {
            let id = self.id();
            self.unsent.extend(frame(&format!("RPUSH {key} {id}")));
            self.pending.push_back(Pending::Queued(id));
            pushes.push((key, id));
        }
        self.unsent.extend(frame("EXEC"));
        self.pending.push_back(Pending::Exec(pushes));
    }

    /// Checks the complete replies.
    fn check(&mut self) {
        loop {
            let Ok(Reply::Whole { len, .. }) = ReplyScanner::new().next(&self.received) else { return };
            let reply: Vec<u8> = self.received.drain(..len).collect();
            let reply = String::from_utf8(reply).expect("text");
            let pending = self.pending.pop_front().unwrap_or_else(|| panic!("no command for {reply:?}"));
            self.answered(&pending, &reply);
        }
    }

    fn answered(&mut self, pending: &Pending, reply: &str) {
        if let Some(error) = reply.strip_prefix('-') {
            return self.failed(pending, error);
        }
        let text = reply.split_once("\r\n").expect("a line").1.trim_end_matches("\r\n");
        match pending {
            Pending::Ping(id) => assert_eq!(text, id.to_string()),
            Pending::Push { key, id } => {
                self.acked.entry(key).or_default().push(*id);
                self.compare(key, text);
            }
            Pending::Get(key) => self.compare(key, text),
            Pending::Mget(keys) => {
                let values: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with('$')).collect();
                assert_eq!(values.len(), keys.len(), "{reply:?}");
                for (key, value) in keys.iter().zip(values) {
                    match value.strip_prefix('-') {
                        Some(error) => drop(self.kind_of(error)),
                        None => self.compare(key, value),
                    }
                }
            }
            Pending::Mset(pushes) => {
                assert_eq!(reply, "+OK\r\n");
                pushes.iter().for_each(|(key, id)| self.acked.entry(key).or_default().push(*id));
                self.count("writes to several slots");
            }
            Pending::Dbsize => {
                // Each master of the map answers 1.
                let masters: usize = reply.trim_start_matches(':').trim_end().parse().expect("a number");
                assert!((1..=NODES).contains(&masters), "{reply}");
                self.count("answers of all masters");
            }
            Pending::Multi => assert_eq!(reply, "+OK\r\n"),
            Pending::Queued(_) => assert_eq!(reply, "+QUEUED\r\n"),
            Pending::Exec(pushes) => {
                let values: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with('$')).collect();
                assert_eq!(values.len(), pushes.len(), "{reply:?}");
                for ((key, id), value) in pushes.iter().zip(values) {
                    self.acked.entry(key).or_default().push(*id);
                    self.compare(key, value);
                }
                self.count("executed transactions");
            }
        }
        self.count("answered");
    }

    /// Compares a list with what one Redis would have.
    fn compare(&self, key: &str, text: &str) {
        let (shown, list) = text.split_once('=').unwrap_or_else(|| panic!("no list of {key}: {text}"));
        assert_eq!(shown, key, "the reply to another command");
        let numbers = list.trim_start_matches('[').trim_end_matches(']');
        let shown: Vec<u64> = numbers.split(", ").filter_map(|number| number.parse().ok()).collect();
        let is_certain = |id: &u64| !self.uncertain.contains(id) && !self.lost.contains(id);
        let certain: Vec<u64> = shown.iter().copied().filter(is_certain).collect();
        let acked: Vec<u64> =
            self.acked.get(key).into_iter().flatten().copied().filter(|id| !self.lost.contains(id)).collect();
        let least = if shown.len() < SHOWN { acked.len() } else { certain.len() };
        assert_eq!(certain, acked[acked.len().saturating_sub(least)..], "{key} differs");
    }

    fn failed(&mut self, pending: &Pending, error: &str) {
        let ids: Vec<u64> = match pending {
            Pending::Push { id, .. } => vec![*id],
            Pending::Exec(pushes) | Pending::Mset(pushes) => pushes.iter().map(|(_, id)| *id).collect(),
            _ => Vec::new(),
        };
        let kind = self.kind_of(error);
        if matches!(kind, "lost" | "left") || error.contains("; a part of this command has run") {
            self.uncertain.extend(ids);
        }
        self.count(kind);
    }

    /// Returns the kind of a documented error.
    fn kind_of(&self, error: &str) -> &'static str {
        let kind = [
            ("TRYAGAIN", "try again"),
            ("EXECABORT", "aborted"),
            ("CLUSTERDOWN", "down"),
            ("ERR portcullis: upstream 'main' unavailable", "unavailable"),
            ("ERR portcullis: upstream 'main' closed the connection; this command may or may not", "lost"),
            ("ERR portcullis: upstream 'main' changed a master; this command may or may not", "left"),
        ];
        let kind = kind.iter().find(|(beginning, _)| error.starts_with(beginning));
        kind.unwrap_or_else(|| panic!("an error that is not documented: {error}")).1
    }
}

/// The client, the router and the cluster.
pub(super) struct Simulation {
    pub(super) random: Random,
    pub(super) world: World,
    pub(super) router: Router,
    pub(super) client: Client,
    maps: Vec<Arc<Map>>,
    millis: u64,
    most_held: usize,
    sessions: u64,
    /// The number of the newest map that the router has.
    published: u64,
    /// The replicas in that map.
    replicas: BTreeSet<usize>,
}

impl Simulation {
    fn new(seed: u64, is_shared: bool) -> Self {
        let slots: BTreeSet<u16> = KEYS.iter().map(|key| slot(key.as_bytes())).collect();
        let world = World::new(NODES, slots.into_iter());
        let first =
            map_with(None, NODES, |_| Role::Master, |slot| world.owners.get(&slot).copied().or(Some(0)));
        Self {
            random: Random(seed),
            router: if is_shared { shared_router } else { router }(first.clone(), HELD),
            world,
            client: Client { reads: true, is_shared, ..Client::default() },
            maps: vec![Arc::new(first)],
            millis: 1,
            most_held: 0,
            sessions: 1,
            published: 0,
            replicas: BTreeSet::new(),
        }
    }

    fn now(&self) -> Tick {
        Tick::from_nanos(self.millis * 1_000_000)
    }

    fn step(&mut self) {
        match self.random.below(24) {
            0..=3 if self.client.pending.len() < 400 && !self.client.pauses => {
                self.client.command(&mut self.random)
            }
            0..=7 => self.send(),
            8..=11 => self.world.step(&mut self.random),
            12..=14 => self.write(),
            15..=19 => self.read(),
            20 => self.dial(),
            21 if self.random.one_in(4) => self.world.move_something(&mut self.random),
            22 => self.millis += u64::try_from(self.random.below(20)).expect("small"),
            23 => self.rarely(),
            _ => {}
        }
    }

    fn rarely(&mut self) {
        match self.random.below(160) {
            0..=9 => self.publish(),
            10 => self.lose_a_connection(),
            11 => self.kill(),
            12..=13 => {
                let dead = self.world.nodes.iter_mut().find(|node| node.is_dead);
                dead.into_iter().for_each(|node| node.is_dead = false);
            }
            14..=18 => self.client.reads = !self.client.reads,
            31..=50 => self.change_a_role(),
            19..=30 => self.client.pauses = !self.client.pauses,
            _ => {}
        }
    }

    fn send(&mut self) {
        let now = self.now();
        self.router.advance(now);
        let len = self.random.below(self.client.unsent.len() + 1);
        let sent = self.router.send(&self.client.unsent[..len], now, self.client.reads);
        self.client.unsent.drain(..sent);
        self.most_held = self.most_held.max(self.router.held());
        if self.client.is_shared && self.router.follows_no_redirect() {
            let owing = self.router.legs.all().filter(|(_, leg)| leg.pending() > 0).count();
            assert!(owing <= 1, "{owing} nodes at once");
        }
        if self.random.one_in(3) && self.router.take_hints().moved.is_some() {
            self.publish();
        }
    }

    fn dial(&mut self) {
        let now = self.now();
        while let Some((leg, node)) = self.router.next_dial(now) {
            if self.world.connect(leg, node.number()) {
                let is_replica = self.replicas.contains(&node.number());
                self.world.connections.last_mut().expect("the new one").is_late = is_replica;
                self.router.connected(leg, now);
            } else {
                self.router.unreachable(leg, Unavailable::Refused, now);
            }
        }
        let lost: Vec<_> =
            self.world.live.keys().copied().filter(|leg| !self.router.has_connection(*leg)).collect();
        lost.into_iter().for_each(|leg| self.world.disconnect(leg));
    }

    fn write(&mut self) {
        let legs: Vec<_> = self.router.unwritten().collect();
        for leg in legs {
            let bytes = self.router.bytes_for(leg);
            let all = self.router.is_pooled(leg) || self.random.one_in(3);
            let n = if all { bytes.len() } else { self.random.below(bytes.len() + 1) };
            match self.world.live.get(&leg) {
                Some(connection) => self.world.connections[*connection].to_node.extend(&bytes[..n]),
                None => {
                    self.router.lost(leg, self.now());
                    continue;
                }
            }
            note_written(&mut self.router, leg, n);
        }
    }

    fn read(&mut self) {
        let now = self.now();
        self.router.advance(now);
        for _ in 0..self.random.below(12) {
            match self.router.turn() {
                Turn::None => break,
                Turn::Own => self.router.take_own(&mut self.client.received, usize::MAX, now),
                Turn::Leg(leg) => {
                    let Some(connection) = self.world.live.get(&leg) else {
                        self.router.lost(leg, now);
                        continue;
                    };
                    let connection = &mut self.world.connections[*connection];
                    let len = self.random.below(connection.from_node.len() + 1);
                    match self.router.receive(leg, &connection.from_node[..len], now) {
                        Received::Pass(n) => self.client.received.extend(connection.from_node.drain(..n)),
                        Received::Skip(n) => drop(connection.from_node.drain(..n)),
                        Received::Need(_) if connection.is_cut && len == connection.from_node.len() => {
                            self.router.lost(leg, now);
                        }
                        Received::Need(_) => {}
                        Received::Over => break,
                    }
                }
            }
        }
        self.client.lost.append(&mut self.world.lost);
        self.client.check();
        if self.client.pending.is_empty() && self.random.one_in(8) {
            // No command can be sent to a former owner any more.
            self.publish_at(0);
            self.world.forget_moves();
        }
        if self.router.ended().is_some() {
            self.begin_session();
        }
    }

    /// Begins another session, because the transaction of the last one was lost.
    fn begin_session(&mut self) {
        let last = self.maps.last().expect("a map");
        self.published = last.number();
        self.router = if self.client.is_shared { shared_router } else { router }(Map::clone(last), HELD);
        self.replicas = replicas(last);
        let legs: Vec<_> = self.world.live.keys().copied().collect();
        legs.into_iter().for_each(|leg| self.world.disconnect(leg));
        for pending in std::mem::take(&mut self.client.pending) {
            match pending {
                Pending::Push { id, .. } | Pending::Queued(id) => drop(self.client.uncertain.insert(id)),
                Pending::Exec(pushes) | Pending::Mset(pushes) => {
                    self.client.uncertain.extend(pushes.iter().map(|(_, id)| *id));
                }
                _ => {}
            }
        }
        self.client.unsent.clear();
        self.client.received.clear();
        self.sessions += 1;
    }

    /// Publishes the map of the cluster, or one that is a little old.
    fn publish(&mut self) {
        let lag = self.random.below(3);
        self.publish_at(lag);
    }

    /// Publishes the map that the cluster had this number of maps ago.
    fn publish_at(&mut self, lag: usize) {
        let last = self.maps.last().expect("a map");
        let owners = &self.world.owners;
        let role = |node: usize| match self.world.nodes[node].is_replica {
            true => Role::Replica,
            false => Role::Master,
        };
        let next = map_with(Some(last), NODES, role, |slot| owners.get(&slot).copied().or(Some(0)));
        let next = if next.is_same_as(last) { Arc::clone(last) } else { Arc::new(next) };
        self.maps.push(next);
        let published = &self.maps[self.maps.len() - 1 - lag.min(self.maps.len() - 1)];
        if published.number() < self.published {
            return;
        }
        self.published = published.number();
        self.replicas = replicas(published);
        let down: Vec<_> = published
            .nodes()
            .iter()
            .map(crate::cluster::Node::index)
            .filter(|node| self.world.nodes[node.number()].is_dead)
            .collect();
        let now = self.now();
        self.router.set_map(published, &down, now);
        self.cut_off_silent_nodes();
        self.maps.drain(..self.maps.len().saturating_sub(4));
    }

    fn lose_a_connection(&mut self) {
        let mut legs: Vec<_> = self.world.live.keys().copied().collect();
        legs.sort_unstable();
        if !legs.is_empty() {
            let leg = legs[self.random.below(legs.len())];
            self.world.disconnect(leg);
            self.router.lost(leg, self.now());
        }
    }

    fn kill(&mut self) {
        let (node, heir) = (self.random.below(NODES), self.random.below(NODES));
        let is_well = |node: usize| self.world.nodes[node].is_well();
        if node == heir || !is_well(heir) || self.world.nodes.iter().any(|node| node.is_dead) {
            return;
        }
        self.world.kill(node, heir);
    }

    /// Lets everything that is pending end.
    fn settle(&mut self) {
        self.calm();
        self.client.reads = true;
        for round in 0..200_000 {
            if self.client.pending.is_empty() {
                return;
            }
            if round % 100 == 0 {
                self.publish();
                self.millis += 20;
            }
            self.dial();
            self.send();
            self.write();
            self.world.step(&mut self.random);
            self.read();
        }
        panic!("no reply to {:?}; {:?}", self.client.pending.front(), self.router);
    }
}

fn replicas(map: &Map) -> BTreeSet<usize> {
    let replicas = map.nodes().iter().filter(|node| node.role == Role::Replica);
    replicas.map(|node| node.index().number()).collect()
}

fn simulate(seed: u64, steps: u64, is_shared: bool) -> Simulation {
    let mut simulation = Simulation::new(seed, is_shared);
    for _ in 0..steps {
        simulation.step();
    }
    simulation.settle();
    let mut seen = BTreeSet::new();
    for node in &simulation.world.nodes {
        for id in node.lists.values().flatten() {
            assert!(seen.insert(*id), "{id} was executed twice");
            assert!(!simulation.client.lost.contains(id), "{id} was executed by two nodes");
        }
    }
    for id in simulation.client.acked.values().flatten() {
        assert!(
            !simulation.world.late.contains(id),
            "{id} was sent to a node without its place, and is lost"
        );
    }
    assert!(simulation.most_held <= MOST_HELD, "{} bytes", simulation.most_held);
    simulation
}

#[expect(clippy::disallowed_methods, reason = "the variable sets only the length of the test")]
fn steps() -> u64 {
    std::env::var(VARIABLE).ok().and_then(|steps| steps.parse().ok()).unwrap_or(STEPS)
}

#[test]
fn a_cluster_whose_slots_move_answers_as_one_redis() {
    let transactions = ["executed transactions", "aborted"];
    assert_situations(false, &transactions);
}

#[test]
fn so_does_a_cluster_of_which_a_client_shares_the_connections() {
    assert_situations(true, &[]);
}

/// Simulates clients, and asserts that the situations occur that the rules are for.
fn assert_situations(is_shared: bool, more: &[&str]) {
    let steps = steps();
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let seeds = 20;
    let mut sessions = 0;
    for seed in 1..=seeds {
        let simulation = simulate(seed * 7919, steps / seeds, is_shared);
        sessions += simulation.sessions;
        for (what, n) in simulation.client.counts {
            *counts.entry(what).or_default() += n;
        }
    }
    show(&counts, sessions);
    let situations = ["answered", "lost", "handed over", "replaced", "writes to several slots"];
    for what in situations.iter().chain(more) {
        assert!(counts.get(*what).copied().unwrap_or(0) > steps / 100_000, "{what}: {counts:?}");
    }
}

/// Shows what a long run has covered.
#[expect(clippy::disallowed_macros, clippy::print_stdout, reason = "a long run is started by hand")]
fn show(counts: &BTreeMap<&'static str, u64>, sessions: u64) {
    println!("{counts:?}, {sessions} sessions");
}
