//! SCAN on simulated nodes: tables that are read as Redis reads them, slots that move key by key, failovers and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_resp::scan::{Request, RequestScanner, arguments};
use portcullis_resp::slot::{SLOTS, slot};
use sha2::{Digest, Sha256};

use super::world::Random;
use super::{LIMITS, frame, map, router, write_all};
use crate::cluster::{LegIndex, Map, Received, Router, Turn};
use crate::tick::Tick;

const NODES: usize = 4;
/// The node without slots, to which a failover brings the keys of another one.
const SPARE: usize = 3;
const KEYS: usize = 400;
/// The calls after which a scan is taken for endless.
const MOST_CALLS: usize = 20_000;

struct Node {
    keys: BTreeSet<Vec<u8>>,
    epoch: u64,
    run: u64,
}

/// The nodes, and the slots that move between them.
struct World {
    random: Random,
    nodes: Vec<Node>,
    owners: Vec<usize>,
    moving: BTreeMap<u16, usize>,
    spare: usize,
    epoch: u64,
    /// The bits of the number of places of a node's table.
    bits: u32,
    has_slot_tables: bool,
    may_run_info: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let owners: Vec<usize> = (0..SLOTS).map(|slot| usize::from(slot / 5462)).collect();
        let node = |number| Node { keys: BTreeSet::new(), epoch: number, run: number };
        let mut nodes: Vec<Node> = (0..NODES as u64).map(node).collect();
        for key in (0..KEYS).map(|number| format!("key:{}", number % 350).into_bytes()) {
            nodes[owners[usize::from(slot(&key))]].keys.insert(key);
        }
        // A slot with many keys.
        for key in (0..50).map(|number| format!("{{tag}}{number}").into_bytes()) {
            nodes[owners[usize::from(slot(&key))]].keys.insert(key);
        }
        let bits = [3, 6, 10, 15][random.below(4)];
        let (has_slot_tables, may_run_info) = (random.one_in(2), !random.one_in(4));
        Self {
            random,
            nodes,
            owners,
            moving: BTreeMap::new(),
            spare: SPARE,
            epoch: NODES as u64,
            bits,
            has_slot_tables,
            may_run_info,
        }
    }

    /// Lets a slot begin to move, move a key, or arrive. Rarely, a node fails or starts again.
    fn change(&mut self) {
        if self.random.one_in(60) {
            return self.fail_over();
        }
        if self.random.one_in(60) && self.may_run_info {
            let node = self.random.below(NODES);
            let before = self.process(node);
            while self.process(node) == before {
                self.nodes[node].run += 100;
            }
            return;
        }
        let busy: Vec<u16> =
            self.nodes.iter().flat_map(|node| node.keys.iter().map(|key| slot(key))).collect();
        let slot_to_move = match self.moving.keys().next().filter(|_| !self.random.one_in(3)) {
            Some(slot) => *slot,
            None => busy[self.random.below(busy.len())],
        };
        let owner = self.owners[usize::from(slot_to_move)];
        let Some(to) = self.moving.get(&slot_to_move).copied() else {
            let to = self.random.below(NODES);
            if to != owner && to != self.spare && self.moving.len() < 3 {
                self.moving.insert(slot_to_move, to);
            }
            return;
        };
        let key = self.nodes[owner].keys.iter().find(|key| slot(key) == slot_to_move).cloned();
        if let Some(key) = key {
            self.nodes[owner].keys.remove(&key);
            self.nodes[to].keys.insert(key);
        } else {
            self.moving.remove(&slot_to_move);
            self.owners[usize::from(slot_to_move)] = to;
            if self.nodes[to].epoch != self.epoch {
                self.epoch += 1;
                self.nodes[to].epoch = self.epoch;
            }
        }
    }

    /// Returns the number of a process, so that a test has no two that a cursor cannot tell apart.
    fn process(&self, node: usize) -> u8 {
        let hash = Sha256::new().chain_update(format!("{node:040}")).chain_update([0]);
        hash.chain_update(format!("r{}", self.nodes[node].run)).finalize()[0]
    }

    fn fail_over(&mut self) {
        let node = self.random.below(NODES);
        if node == self.spare || self.moving.values().any(|to| *to == node) {
            return;
        }
        if self.moving.keys().any(|slot| self.owners[usize::from(*slot)] == node) {
            return;
        }
        let keys = std::mem::take(&mut self.nodes[node].keys);
        self.epoch += 1;
        self.nodes[self.spare].keys = keys;
        self.nodes[self.spare].epoch = self.epoch;
        self.owners.iter_mut().filter(|owner| **owner == node).for_each(|owner| *owner = self.spare);
        self.spare = node;
    }

    fn execute(&mut self, node: usize, args: &[&[u8]]) -> Vec<u8> {
        let text = |args: &[&[u8]], at: usize| String::from_utf8_lossy(args[at]).into_owned();
        match args[0] {
            b"INFO" if !self.may_run_info => b"-NOPERM no\r\n".to_vec(),
            b"INFO" => {
                let version = if self.has_slot_tables { "8.0.1" } else { "7.0.15" };
                bulk(&format!("# Server\r\nredis_version:{version}\r\nrun_id:r{}\r\n", self.nodes[node].run))
            }
            b"HELLO" => {
                let version = if self.has_slot_tables { "7.4.0" } else { "7.2.5" };
                [b"*4\r\n".to_vec(), bulk("server"), bulk("redis"), bulk("version"), bulk(version)].concat()
            }
            b"CLUSTER" => bulk(&self.view(node)),
            b"SCAN" => {
                let count = text(args, args.len() - 1).parse().expect("COUNT");
                self.scan(node, text(args, 1).parse().expect("a cursor"), count)
            }
            _ => panic!("{}", text(args, 0)),
        }
    }

    /// Returns what a node says about the slots.
    fn view(&self, asked: usize) -> String {
        let mut lines = String::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let myself = if number == asked { "myself," } else { "" };
            lines += &format!(
                "{number:040} 10.0.0.1:{} {myself}master - 0 0 {} connected",
                7000 + number,
                node.epoch
            );
            let mut first = None;
            for slot in 0..=SLOTS {
                let owns = self.owners.get(usize::from(slot)) == Some(&number);
                match first {
                    None if owns => first = Some(slot),
                    Some(begin) if !owns => {
                        lines += &format!(" {begin}-{}", slot - 1);
                        first = None;
                    }
                    _ => {}
                }
            }
            for (slot, to) in self.moving.iter().filter(|_| number == asked) {
                let from = self.owners[usize::from(*slot)];
                match number {
                    _ if number == from => lines += &format!(" [{slot}->-{to:040}]"),
                    _ if number == *to => lines += &format!(" [{slot}-<-{from:040}]"),
                    _ => {}
                }
            }
            lines += "\n";
        }
        lines
    }

    /// Reads a part of a node's table.
    fn scan(&self, node: usize, cursor: u64, count: usize) -> Vec<u8> {
        let (mut position, mut at) =
            if self.has_slot_tables { (cursor >> 14, cursor & 16_383) } else { (cursor, 0) };
        // Only one slot has a large table.
        let tag = u64::from(slot(b"tag"));
        let bits = |at| if self.has_slot_tables && at != tag { self.bits.min(3) } else { self.bits };
        let run = self.nodes[node].run ^ (node as u64) << 32;
        let place = |at, key: &[u8]| {
            let hash = Sha256::new().chain_update(run.to_le_bytes()).chain_update(key).finalize();
            u64::from(u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]])) & ((1 << bits(at)) - 1)
        };
        let mut table: BTreeMap<(u64, u64), Vec<&Vec<u8>>> = BTreeMap::new();
        for key in &self.nodes[node].keys {
            let of_slot = if self.has_slot_tables { slot(key).into() } else { 0 };
            table.entry((of_slot, place(of_slot, key))).or_default().push(key);
        }
        let next_slot = |at| table.range((at + 1, 0)..).next().map_or(0, |((slot, _), _)| *slot);
        let (mut found, mut rounds) = (Vec::<&Vec<u8>>::new(), 0);
        loop {
            found.extend(table.get(&(at, position)).into_iter().flatten().copied());
            position = (position.reverse_bits() >> (64 - bits(at))) + 1;
            position = (position << (64 - bits(at))).reverse_bits();
            rounds += 1;
            let is_empty = table.range((at, 0)..(at + 1, 0)).next().is_none();
            if self.has_slot_tables && (position == 0 || is_empty) {
                (position, at) = (0, next_slot(at));
            }
            if (position == 0 && at == 0) || found.len() >= count || rounds >= 10 * count {
                break;
            }
        }
        let cursor = if self.has_slot_tables { position << 14 | at } else { position };
        let mut reply = b"*2\r\n".to_vec();
        reply.extend(bulk(&cursor.to_string()));
        portcullis_resp::encode::array(&mut reply, found.len());
        found.iter().for_each(|key| portcullis_resp::encode::bulk(&mut reply, key));
        reply
    }
}

fn bulk(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    portcullis_resp::encode::bulk(&mut bytes, text.as_bytes());
    bytes
}

/// One client of a router, whose nodes are simulated.
struct Client {
    world: World,
    /// One change comes in so many steps. 0: none.
    calm: usize,
    map: Arc<Map>,
    router: Router,
    legs: BTreeMap<LegIndex, usize>,
    written: BTreeMap<LegIndex, Vec<u8>>,
    millis: u64,
}

impl Client {
    fn new(seed: u64, calm: usize) -> Self {
        let world = World::new(seed);
        let first = Arc::new(map(None, NODES, |slot| Some(world.owners[usize::from(slot)])));
        let router = router(Map::clone(&first), 1 << 20);
        Self { world, calm, map: first, router, legs: BTreeMap::new(), written: BTreeMap::new(), millis: 1 }
    }

    fn now(&self) -> Tick {
        Tick::from_nanos(self.millis * 1_000_000)
    }

    fn publish(&mut self) {
        let owners = &self.world.owners;
        self.map = Arc::new(map(Some(&self.map), NODES, |slot| Some(owners[usize::from(slot)])));
        let now = self.now();
        self.router.set_map(&self.map, &[], now);
    }

    /// Calls SCAN, while the nodes change. Returns the reply.
    fn call(&mut self, line: &str) -> String {
        let bytes = frame(line);
        assert_eq!(self.router.send(&bytes, self.now(), true), bytes.len());
        let mut reply = Vec::new();
        for _ in 0..100_000 {
            self.millis += 1;
            if self.calm > 0 && self.world.random.one_in(self.calm) {
                self.world.change();
            }
            if self.world.random.one_in(20) {
                self.publish();
            }
            let now = self.now();
            self.router.advance(now);
            self.router.send(&[], now, true);
            while let Some((leg, node)) = self.router.next_dial(now) {
                self.legs.insert(leg, node.number());
                self.written.remove(&leg);
                self.router.connected(leg, now);
            }
            write_all(&mut self.router, &mut self.written);
            match self.router.turn() {
                Turn::Own => self.router.take_own(&mut reply, usize::MAX, now),
                Turn::Leg(leg) => self.answer(leg),
                Turn::None => {}
            }
            assert!(self.router.held() < 1 << 20);
            if self.router.is_settled() {
                return String::from_utf8(reply).expect("text");
            }
        }
        panic!("no reply: {:?}", self.router);
    }

    fn answer(&mut self, leg: LegIndex) {
        let bytes = self.written.remove(&leg).unwrap_or_default();
        let Ok(Request::Command { len, .. }) = RequestScanner::new(LIMITS).next(&bytes) else {
            panic!("no command: {bytes:?}")
        };
        assert_eq!(len, bytes.len());
        let args: Vec<&[u8]> = arguments(&bytes).collect();
        let reply = self.world.execute(self.legs[&leg], &args);
        assert_eq!(self.router.receive(leg, &reply, self.now()), Received::Skip(reply.len()));
    }

    /// Scans everything. Returns the keys that were found.
    fn scan(&mut self) -> Vec<String> {
        let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
        for _ in 0..MOST_CALLS {
            let count = [10, 30, 100][self.world.random.below(3)];
            let reply = self.call(&format!("SCAN {cursor} COUNT {count}"));
            if reply.starts_with("-TRYAGAIN") {
                continue;
            }
            let lines: Vec<&str> = reply.split("\r\n").collect();
            assert_eq!(lines[0], "*2", "{reply}");
            cursor = lines[2].to_owned();
            assert!(cursor.parse::<u64>().expect("a cursor") < 1 << 53);
            found.extend(lines[4..].chunks_exact(2).map(|pair| pair[1].to_owned()));
            if cursor == "0" {
                return found;
            }
        }
        panic!("the scan does not end: {} keys, cursor {cursor}", found.len());
    }

    fn names(&self) -> BTreeSet<String> {
        let keys = self.world.nodes.iter().flat_map(|node| &node.keys);
        keys.map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }
}

#[test]
fn every_key_is_returned_once_if_nothing_changes() {
    for seed in 1..=12 {
        let mut client = Client::new(seed * 7919, 0);
        let mut found = client.scan();
        found.sort_unstable();
        if client.world.bits > 13 {
            // A cursor does not tell all places of so large a table.
            found.dedup();
        }
        assert_eq!(found, client.names().into_iter().collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn every_key_is_returned_while_slots_move_and_nodes_fail() {
    for seed in 1..=12 {
        let mut client =
            Client::new(seed * 104_729, [30, 100, 300][usize::try_from(seed % 3).expect("small")]);
        // Each moved slot costs a pass over the whole table.
        client.world.bits = client.world.bits.min(10);
        let names = client.names();
        let found: BTreeSet<String> = client.scan().into_iter().collect();
        assert_eq!(client.names(), names);
        let missing: Vec<_> = names.difference(&found).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?}");
    }
}
