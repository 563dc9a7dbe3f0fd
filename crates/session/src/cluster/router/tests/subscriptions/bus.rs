//! A model of the publish and subscribe of a cluster: nodes, their connections, and slots that move.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use portcullis_resp::encode;
use portcullis_resp::scan::{Request, RequestScanner, arguments};
use portcullis_resp::slot::slot;

use super::super::LIMITS;
use super::super::world::Random;
use super::simulation::NODES;
use crate::cluster::LegIndex;

/// A connection between a leg and a node.
#[derive(Default)]
struct Connection {
    node: usize,
    resp3: bool,
    to_node: VecDeque<u8>,
    from_node: Vec<u8>,
    channels: BTreeSet<Vec<u8>>,
    shards: BTreeSet<Vec<u8>>,
}

pub(super) struct Bus {
    pub(super) owners: BTreeMap<u16, usize>,
    connections: HashMap<LegIndex, Connection>,
    published: u64,
}

impl Bus {
    pub(super) fn new(owners: BTreeMap<u16, usize>) -> Self {
        Self { owners, connections: HashMap::new(), published: 0 }
    }

    pub(super) fn connect(&mut self, leg: LegIndex, node: usize) {
        self.connections.insert(leg, Connection { node, ..Connection::default() });
    }

    pub(super) fn disconnect(&mut self, leg: LegIndex) {
        self.connections.remove(&leg);
    }

    pub(super) fn disconnect_all(&mut self) {
        self.connections.clear();
    }

    pub(super) fn legs(&self) -> Vec<LegIndex> {
        let mut legs: Vec<_> = self.connections.keys().copied().collect();
        legs.sort_unstable();
        legs
    }

    /// Takes bytes of a leg. Returns whether it has a connection.
    pub(super) fn write(&mut self, leg: LegIndex, bytes: &[u8]) -> bool {
        let Some(connection) = self.connections.get_mut(&leg) else { return false };
        connection.to_node.extend(bytes);
        true
    }

    /// Returns what a node has sent, of which the caller takes some. `None`: there is no connection.
    pub(super) fn sent(&mut self, leg: LegIndex) -> Option<&mut Vec<u8>> {
        self.connections.get_mut(&leg).map(|connection| &mut connection.from_node)
    }

    /// Executes one command of some connection.
    pub(super) fn step(&mut self, random: &mut Random) {
        let busy: Vec<LegIndex> =
            self.legs().into_iter().filter(|leg| !self.connections[leg].to_node.is_empty()).collect();
        let Some(leg) = busy.get(random.below(busy.len())) else { return };
        let Some(connection) = self.connections.get_mut(leg) else { return };
        let bytes = connection.to_node.make_contiguous();
        let Ok(Request::Command { len, .. }) = RequestScanner::new(LIMITS).next(bytes) else { return };
        let args: Vec<Vec<u8>> = arguments(&bytes[..len]).map(<[u8]>::to_vec).collect();
        connection.to_node.drain(..len);
        connection.execute(&args, &self.owners);
    }

    /// Publishes the next number.
    pub(super) fn publish(&mut self, channel: &str, is_sharded: bool, padding: &str) {
        self.published += 1;
        let text = format!("{}{padding}", self.published);
        let owner = self.owners.get(&slot(channel.as_bytes())).copied();
        for connection in self.connections.values_mut() {
            let (names, kind) =
                if is_sharded { (&connection.shards, "smessage") } else { (&connection.channels, "message") };
            // A message of a shard channel is not sent over the bus.
            if names.contains(channel.as_bytes()) && (!is_sharded || owner == Some(connection.node)) {
                let out = &mut connection.from_node;
                encode::push(out, 3, connection.resp3);
                [kind, channel, &text].into_iter().for_each(|word| encode::bulk(out, word.as_bytes()));
            }
        }
    }

    /// Gives a slot to another node. The old owner ends the subscriptions.
    pub(super) fn move_slot(&mut self, moving: u16, to: usize) {
        self.owners.insert(moving, to);
        for connection in self.connections.values_mut().filter(|connection| connection.node != to) {
            let gone: Vec<_> =
                connection.shards.iter().filter(|name| slot(name) == moving).cloned().collect();
            for name in gone {
                connection.shards.remove(&name);
                let count = connection.shards.len();
                connection.confirm("sunsubscribe", &name, count);
            }
        }
    }

    /// Returns the number of connections that hear a shard channel.
    pub(super) fn hearing(&self, name: &str) -> usize {
        self.connections.values().filter(|connection| connection.shards.contains(name.as_bytes())).count()
    }
}

impl Connection {
    fn confirm(&mut self, verb: &str, name: &[u8], count: usize) {
        let out = &mut self.from_node;
        encode::push(out, 3, self.resp3);
        encode::bulk(out, verb.as_bytes());
        encode::bulk(out, name);
        encode::integer(out, i64::try_from(count).expect("few"));
    }

    fn execute(&mut self, args: &[Vec<u8>], owners: &BTreeMap<u16, usize>) {
        let name = String::from_utf8_lossy(&args[0]).to_lowercase();
        let listens = !self.channels.is_empty() || !self.shards.is_empty();
        match &name[..] {
            "hello" => {
                self.resp3 = true;
                self.from_node.extend_from_slice(HELLO);
            }
            "ping" if listens && !self.resp3 => {
                encode::array(&mut self.from_node, 2);
                encode::bulk(&mut self.from_node, b"pong");
                encode::bulk(&mut self.from_node, b"");
            }
            "ping" if args.len() == 1 => self.from_node.extend_from_slice(b"+PONG\r\n"),
            "ping" => encode::bulk(&mut self.from_node, &args[1]),
            "subscribe" | "unsubscribe" => {
                let all: Vec<_> = self.channels.iter().cloned().collect();
                let names = if args.len() == 1 { all } else { args[1..].to_vec() };
                for channel in names {
                    if name == "subscribe" {
                        self.channels.insert(channel.clone());
                    } else {
                        self.channels.remove(&channel);
                    }
                    let count = self.channels.len();
                    self.confirm(&name, &channel, count);
                }
            }
            "ssubscribe" | "sunsubscribe" => {
                let owner = owners[&slot(&args[1])];
                if owner != self.node {
                    let line = if owner < NODES {
                        format!("-MOVED {} 10.0.0.1:{}\r\n", slot(&args[1]), 7000 + owner)
                    } else {
                        "-CLUSTERDOWN Hash slot not served\r\n".to_owned()
                    };
                    self.from_node.extend_from_slice(line.as_bytes());
                    return;
                }
                for channel in &args[1..] {
                    if name == "ssubscribe" {
                        self.shards.insert(channel.clone());
                    } else {
                        self.shards.remove(channel);
                    }
                    let count = self.shards.len();
                    self.confirm(&name, channel, count);
                }
            }
            other => panic!("{other} to a node"),
        }
    }
}

const HELLO: &[u8] =
    b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
