//! One client before a simulated cluster, whose slots move while messages are published. What the client gets is
//! compared with what one Redis would send, and is read by the link of a session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use portcullis_resp::scan::arguments;
use portcullis_resp::slot::slot;

use super::super::world::Random;
use super::super::{frame, map, router};
use super::bus::Bus;
use crate::cluster::{Map, Received, Router, Turn};
use crate::ids::{SessionKey, Ticket};
use crate::link::{Incoming, Link};
use crate::shape::{Shape, Verb};
use crate::tick::Tick;

/// The number of steps of the test. The variable sets another number.
const STEPS: u64 = 400_000;
const VARIABLE: &str = "PORTCULLIS_CLUSTER_STEPS";

pub(super) const NODES: usize = 3;
/// The owner of a slot that no node has.
const NOBODY: usize = NODES;
const SHARDS: [&str; 6] = ["{a}1", "{a}2", "{b}1", "{c}1", "{d}1", "{d}2"];
const CHANNELS: [&str; 3] = ["x", "y", "z"];
/// The most memory that the router may occupy.
const MOST_HELD: usize = 16 * 1024;

/// A command without all of its replies.
enum Pending {
    /// The names that are not confirmed yet. `None`: one confirmation without a name.
    Confirmations(Verb, VecDeque<Option<String>>),
    Ping(String),
}

#[derive(Default)]
struct Client {
    resp3: bool,
    link: Link,
    tickets: u64,
    pending: VecDeque<Pending>,
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// The beginning of a frame.
    begun: Vec<u8>,
    channels: BTreeSet<String>,
    shards: BTreeSet<String>,
    /// The newest message of each channel.
    newest: BTreeMap<String, u64>,
    heard: u64,
    told: u64,
    confirmed: u64,
}

impl Client {
    fn send(&mut self, line: &str, shape: Shape, pending: Pending) {
        self.link.expect(Ticket { session: SessionKey(0), seq: self.tickets }, 1, shape);
        self.tickets += 1;
        self.unsent.extend(frame(line));
        self.pending.push_back(pending);
    }

    /// Sends a random command.
    fn command(&mut self, random: &mut Random) {
        let verbs = [Verb::Ssubscribe, Verb::Sunsubscribe, Verb::Subscribe, Verb::Unsubscribe];
        let listens = !(self.pending.is_empty() && self.channels.is_empty() && self.shards.is_empty());
        if random.one_in(3) && (self.resp3 || !listens) {
            let text = format!("{}{}", self.tickets, "p".repeat(random.below(200)));
            return self.send(&format!("PING {text}"), Shape::One, Pending::Ping(text));
        }
        // Most subscriptions last for a while.
        let verb = if random.one_in(3) { verbs[random.below(4)] } else { verbs[random.below(2) * 2] };
        let is_sharded = matches!(verb, Verb::Ssubscribe | Verb::Sunsubscribe);
        let names: Vec<&str> = match (is_sharded, random.below(4)) {
            (true, 0) => [vec!["{a}1", "{a}2"], vec!["{d}2", "{d}1"]][random.below(2)].clone(),
            (true, _) => vec![SHARDS[random.below(SHARDS.len())]],
            (false, 0) => CHANNELS.to_vec(),
            (false, _) => vec![CHANNELS[random.below(CHANNELS.len())]],
        };
        let word = match verb {
            Verb::Ssubscribe => "SSUBSCRIBE",
            Verb::Sunsubscribe => "SUNSUBSCRIBE",
            Verb::Subscribe => "SUBSCRIBE",
            _ => "UNSUBSCRIBE",
        };
        let n = u64::try_from(names.len()).expect("few");
        let left = names.iter().map(|name| Some((*name).to_owned())).collect();
        let line = format!("{word} {}", names.join(" "));
        self.send(&line, Shape::Confirm { verb, n }, Pending::Confirmations(verb, left));
    }

    /// Reads what has arrived, as a session does.
    fn check(&mut self) {
        loop {
            let (len, is_push, ended) = match self.link.next(&self.received) {
                Incoming::Part(part) => (part.bytes.len(), false, part.ended > 0 || part.confirmation),
                Incoming::Push { bytes, ended, .. } => (bytes.len(), true, ended),
                Incoming::Need(_) => return,
                Incoming::Fault(fault) => panic!("{fault}: {:?}", String::from_utf8_lossy(&self.received)),
            };
            self.begun.extend(self.received.drain(..len));
            if ended {
                let frame = std::mem::take(&mut self.begun);
                self.frame(&frame, is_push);
            }
        }
    }

    fn frame(&mut self, bytes: &[u8], is_push: bool) {
        if bytes.starts_with(b"-") {
            let line = String::from_utf8_lossy(bytes);
            let is_documented = ["closed the connection", "-TRYAGAIN the slot", "-CLUSTERDOWN"]
                .iter()
                .any(|text| line.contains(text));
            assert!(is_documented, "{line}");
            self.pending.pop_front();
            return;
        }
        if let Some(Pending::Ping(text)) = self.pending.front()
            && !is_push
        {
            let expected = format!("${}\r\n{text}\r\n", text.len());
            let rest = bytes.strip_prefix(expected.as_bytes());
            let rest = rest.unwrap_or_else(|| panic!("not {expected}: {:?}", String::from_utf8_lossy(bytes)));
            self.pending.pop_front();
            if !rest.is_empty() {
                self.frame(rest, is_push);
            }
            return;
        }
        let bytes = [&b"*"[..], &bytes[1..]].concat();
        let text = String::from_utf8(bytes.clone()).expect("text");
        assert!(!text.contains("-MOVED") && text.starts_with("*3\r\n"), "{text}");
        let words: Vec<String> =
            arguments(&bytes).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let name = words[1].clone();
        match &words[0][..] {
            "message" | "smessage" => self.message(&words[0], &name, &words[2]),
            verb if is_push => {
                assert_eq!(verb, "sunsubscribe");
                assert!(self.shards.remove(&name), "{name} is not subscribed");
                self.assert_count(&text, self.shards.len());
                self.told += 1;
            }
            verb => self.confirmation(verb, &name, &text),
        }
    }

    fn message(&mut self, kind: &str, name: &str, text: &str) {
        let names = if kind == "smessage" { &self.shards } else { &self.channels };
        assert!(names.contains(name), "{name} is not subscribed");
        let number: u64 = text.trim_end_matches('x').parse().expect("a number");
        let newest = self.newest.entry(name.to_owned()).or_default();
        assert!(*newest < number, "{name}: {number} after {newest}");
        *newest = number;
        self.heard += 1;
    }

    fn confirmation(&mut self, word: &str, name: &str, text: &str) {
        let Some(Pending::Confirmations(verb, left)) = self.pending.front_mut() else {
            panic!("no command for {text}");
        };
        let verb = *verb;
        assert_eq!(Verb::from_word(word.as_bytes()), Some(verb));
        assert_eq!(left.pop_front(), Some(Some(name.to_owned())));
        if left.is_empty() {
            self.pending.pop_front();
        }
        let names = if matches!(verb, Verb::Subscribe | Verb::Unsubscribe) {
            &mut self.channels
        } else {
            &mut self.shards
        };
        if verb.gives_up() {
            names.remove(name);
        } else {
            names.insert(name.to_owned());
        }
        let count = names.len();
        self.assert_count(text, count);
        self.confirmed += 1;
    }

    #[track_caller]
    fn assert_count(&self, text: &str, count: usize) {
        assert!(text.ends_with(&format!(":{count}\r\n")), "{text} instead of {count}");
    }
}

struct Simulation {
    random: Random,
    bus: Bus,
    router: Router,
    client: Client,
    map: Map,
    millis: u64,
    most_held: usize,
    sessions: u64,
    counts: [u64; 3],
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let slots: BTreeSet<u16> = SHARDS.iter().map(|name| slot(name.as_bytes())).collect();
        let owners: BTreeMap<u16, usize> =
            slots.into_iter().enumerate().map(|(n, slot)| (slot, n % NODES)).collect();
        let bus = Bus::new(owners);
        let first = map(None, NODES, |slot| bus.owners.get(&slot).copied().or(Some(0)));
        let mut simulation = Self {
            random: Random(seed),
            router: router(first.clone(), 4096),
            bus,
            client: Client::default(),
            map: first,
            millis: 1,
            most_held: 0,
            sessions: 0,
            counts: [0; 3],
        };
        simulation.begin_session();
        simulation
    }

    fn now(&self) -> Tick {
        Tick::from_nanos(self.millis * 1_000_000)
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0 if self.client.pending.len() < 5 => self.client.command(&mut self.random),
            0..=3 => self.send(),
            4..=7 => self.bus.step(&mut self.random),
            8..=10 => self.write(),
            11..=14 => self.read(),
            15 => self.dial(),
            16 | 17 => self.publish(),
            18 => self.millis += u64::try_from(self.random.below(30)).expect("small"),
            _ => match self.random.below(40) {
                0..=3 => {
                    let slots: Vec<u16> = self.bus.owners.keys().copied().collect();
                    let moving = slots[self.random.below(slots.len())];
                    // Sometimes no node has the slot for a while.
                    let to = if self.random.one_in(4) { NOBODY } else { self.random.below(NODES) };
                    self.bus.move_slot(moving, to);
                }
                4..=8 => self.tell_map(),
                9 if self.random.one_in(10) => self.lose_a_connection(),
                _ => {}
            },
        }
    }

    fn begin_session(&mut self) {
        for (sum, n) in
            self.counts.iter_mut().zip([self.client.heard, self.client.told, self.client.confirmed])
        {
            *sum += n;
        }
        self.router = router(self.map.clone(), 4096);
        self.bus.disconnect_all();
        self.client = Client { resp3: self.random.one_in(2), ..Client::default() };
        if self.client.resp3 {
            self.client.unsent.extend(frame("HELLO 3"));
            for _ in 0..100 {
                self.send();
                self.dial();
                self.write();
                self.bus.step(&mut self.random);
                self.read_leg_in_turn();
            }
            let reply = std::mem::take(&mut self.client.received);
            assert!(reply.starts_with(b"%3"), "{:?}", self.router);
            self.client.link.expect(Ticket { session: SessionKey(0), seq: 0 }, 1, Shape::Hello);
            assert!(matches!(self.client.link.next(&reply), Incoming::Part(_)));
            self.client.tickets = 1;
        }
        self.sessions += 1;
    }

    fn publish(&mut self) {
        let padding = "x".repeat(self.random.below(300));
        if self.random.one_in(3) {
            self.bus.publish(CHANNELS[self.random.below(3)], false, &padding);
        } else {
            self.bus.publish(SHARDS[self.random.below(SHARDS.len())], true, &padding);
        }
    }

    fn send(&mut self) {
        let now = self.now();
        self.router.advance(now);
        let sent = self.router.send(&self.client.unsent, now, true);
        self.client.unsent.drain(..sent);
        self.most_held = self.most_held.max(self.router.held());
    }

    fn dial(&mut self) {
        let now = self.now();
        while let Some((leg, node)) = self.router.next_dial(now) {
            self.bus.connect(leg, node.number());
            self.router.connected(leg, now);
        }
        for leg in self.bus.legs() {
            if !self.router.has_connection(leg) {
                self.bus.disconnect(leg);
            }
        }
    }

    fn write(&mut self) {
        let legs: Vec<_> = self.router.unwritten().collect();
        for leg in legs {
            let bytes = self.router.bytes_for(leg);
            let n = self.random.below(bytes.len() + 1);
            if self.bus.write(leg, &bytes[..n]) {
                self.router.wrote(leg, n);
            } else {
                self.router.lost(leg, self.now());
            }
        }
    }

    fn read_leg_in_turn(&mut self) {
        let setting_up: Vec<_> = self.router.setting_up().collect();
        setting_up.into_iter().for_each(|leg| self.read_leg(leg));
        match self.router.turn() {
            Turn::None => {}
            Turn::Own => {
                let now = self.now();
                self.router.take_own(&mut self.client.received, usize::MAX, now);
            }
            Turn::Leg(leg) => self.read_leg(leg),
        }
    }

    fn read_leg(&mut self, leg: crate::cluster::LegIndex) {
        let now = self.now();
        let Some(sent) = self.bus.sent(leg) else { return self.router.lost(leg, now) };
        let len = self.random.below(sent.len() + 1);
        match self.router.receive(leg, &sent[..len], now) {
            Received::Pass(n) => self.client.received.extend(sent.drain(..n)),
            Received::Skip(n) => drop(sent.drain(..n)),
            Received::Need(_) | Received::Over => {}
        }
    }

    fn read(&mut self) {
        let now = self.now();
        self.router.advance(now);
        for _ in 0..self.random.below(8) {
            self.read_leg_in_turn();
            let listening: Vec<_> = self.router.listening().collect();
            if !listening.is_empty() {
                let leg = listening[self.random.below(listening.len())];
                self.read_leg(leg);
            }
        }
        self.client.check();
        if let Some(why) = self.router.ended() {
            assert_eq!(why, crate::cluster::Ended::Lost);
            self.begin_session();
        }
    }

    fn tell_map(&mut self) {
        let owners = &self.bus.owners;
        let owner = |slot| owners.get(&slot).copied().or(Some(0)).filter(|owner| *owner != NOBODY);
        let next = map(Some(&self.map), NODES, owner);
        if !next.is_same_as(&self.map) {
            self.map = next;
        }
        let now = self.now();
        self.router.set_map(&Arc::new(self.map.clone()), &[], now);
    }

    fn lose_a_connection(&mut self) {
        let legs = self.bus.legs();
        if !legs.is_empty() {
            let leg = legs[self.random.below(legs.len())];
            self.bus.disconnect(leg);
            self.router.lost(leg, self.now());
        }
    }

    /// Lets everything that is under way end. Then each channel hears exactly what the client is subscribed to.
    fn settle(&mut self) {
        let unserved = self.bus.owners.values_mut().filter(|owner| **owner == NOBODY);
        unserved.for_each(|owner| *owner = 0);
        for _ in 0..20 {
            self.tell_map();
            for _ in 0..400 {
                self.millis += 1;
                self.dial();
                self.send();
                self.write();
                self.bus.step(&mut self.random);
                self.read();
            }
        }
        assert!(self.client.pending.is_empty(), "{:?}", self.router);
        for name in SHARDS {
            let expected = usize::from(self.client.shards.contains(name));
            assert_eq!(self.bus.hearing(name), expected, "{name}: {:?}", self.router);
        }
        let heard = self.client.heard;
        SHARDS.iter().for_each(|name| self.bus.publish(name, true, ""));
        CHANNELS.iter().for_each(|name| self.bus.publish(name, false, ""));
        (0..200).for_each(|_| self.read());
        let expected = self.client.shards.len() + self.client.channels.len();
        assert_eq!(self.client.heard - heard, u64::try_from(expected).expect("few"));
    }
}

#[expect(clippy::disallowed_methods, reason = "the variable sets only the length of the test")]
fn steps() -> u64 {
    std::env::var(VARIABLE).ok().and_then(|steps| steps.parse().ok()).unwrap_or(STEPS)
}

#[test]
fn subscriptions_follow_slots_that_move() {
    let (steps, seeds) = (steps(), 20);
    let mut counts = [0; 3];
    let mut sessions = 0;
    for seed in 1..=seeds {
        let mut simulation = Simulation::new(seed * 104_729);
        (0..steps / seeds).for_each(|_| simulation.step());
        simulation.settle();
        assert!(simulation.most_held <= MOST_HELD, "{} bytes", simulation.most_held);
        simulation.begin_session();
        counts.iter_mut().zip(simulation.counts).for_each(|(sum, n)| *sum += n);
        sessions += simulation.sessions;
    }
    show(counts, sessions);
    let [heard, told, confirmed] = counts;
    let are_covered = heard > steps / 100 && told > steps / 20_000 && confirmed > steps / 200;
    assert!(are_covered, "{counts:?}, {sessions} sessions");
}

/// Shows what a long run has covered.
#[expect(clippy::disallowed_macros, clippy::print_stdout, reason = "a long run is started by hand")]
fn show([heard, told, confirmed]: [u64; 3], sessions: u64) {
    println!("{heard} messages, {told} pushes, {confirmed} confirmations, {sessions} sessions");
}
