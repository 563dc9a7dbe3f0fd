//! A model of a cluster: nodes that execute commands as Redis does, and slots that move between them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use portcullis_resp::scan::{Request, RequestScanner, arguments};
use portcullis_resp::slot::slot;

use super::LIMITS;
use crate::cluster::LegIndex;

/// The number of the newest ids of a list that a reply shows.
pub(super) const SHOWN: usize = 24;

/// Random numbers: xorshift64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(n.max(1)).expect("small")).expect("small")
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A connection between a leg and a node.
pub(super) struct Connection {
    pub(super) node: usize,
    pub(super) to_node: VecDeque<u8>,
    pub(super) from_node: Vec<u8>,
    /// Whether the leg can still use it. A node executes what it has received all the same.
    pub(super) is_live: bool,
    /// Whether the router has cut it off: what the node says later is not read.
    pub(super) is_cut: bool,
    /// Whether it was made when the router's map said that the node is a replica.
    pub(super) is_late: bool,
    asking: bool,
    multi: Option<Vec<Vec<Vec<u8>>>>,
    dirty: bool,
}

/// A slot that moves to another node.
#[derive(Clone, Copy)]
struct Move {
    to: usize,
}

pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) owners: BTreeMap<u16, usize>,
    moving: HashMap<u16, Move>,
    /// The nodes that a slot has left while commands were pending.
    pub(super) left: BTreeSet<(u16, usize)>,
    /// The slots that have come back to such a node. Before nothing is pending, they do not leave again: a command that
    /// was executed there could overtake one that is being redirected, and no client of a cluster can prevent that.
    pub(super) returned: BTreeSet<u16>,
    /// The slots of which ASK was answered while commands were pending. They do not come back, for the same reason.
    pub(super) asked: BTreeSet<u16>,
    pub(super) connections: Vec<Connection>,
    pub(super) live: HashMap<LegIndex, usize>,
    /// The ids that failovers have lost.
    pub(super) lost: BTreeSet<u64>,
    /// Those of them that were executed although the router could know that they are lost.
    pub(super) late: BTreeSet<u64>,
}

#[derive(Default)]
pub(super) struct Node {
    /// The ids that were pushed to each key.
    pub(super) lists: BTreeMap<Vec<u8>, Vec<u64>>,
    pub(super) is_dead: bool,
    /// Whether it accepts connections and bytes, and does nothing.
    pub(super) is_stopped: bool,
    pub(super) is_replica: bool,
    /// The slots that it takes for its own, because it does not know of a failover. What it executes is lost.
    pub(super) stale: BTreeSet<u16>,
}

impl Node {
    pub(super) const fn is_well(&self) -> bool {
        !self.is_dead && !self.is_stopped && !self.is_replica
    }
}

impl World {
    pub(super) fn new(nodes: usize, slots: impl Iterator<Item = u16>) -> Self {
        Self {
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            owners: slots.enumerate().map(|(n, slot)| (slot, n % nodes)).collect(),
            moving: HashMap::new(),
            left: BTreeSet::new(),
            returned: BTreeSet::new(),
            asked: BTreeSet::new(),
            connections: Vec::new(),
            live: HashMap::new(),
            lost: BTreeSet::new(),
            late: BTreeSet::new(),
        }
    }

    /// Connects a leg. Returns whether the node accepts.
    pub(super) fn connect(&mut self, leg: LegIndex, node: usize) -> bool {
        self.disconnect(leg);
        if self.nodes[node].is_dead {
            return false;
        }
        self.live.insert(leg, self.connections.len());
        self.connections.push(Connection {
            node,
            to_node: VecDeque::new(),
            from_node: Vec::new(),
            is_live: true,
            is_cut: false,
            is_late: false,
            asking: false,
            multi: None,
            dirty: false,
        });
        true
    }

    pub(super) fn disconnect(&mut self, leg: LegIndex) {
        if let Some(connection) = self.live.remove(&leg) {
            self.connections[connection].is_live = false;
        }
    }

    /// Executes one command of some connection.
    pub(super) fn step(&mut self, random: &mut Random) {
        let acts = |connection: &Connection| {
            !connection.to_node.is_empty() && !self.nodes[connection.node].is_stopped
        };
        let busy: Vec<usize> =
            (0..self.connections.len()).filter(|index| acts(&self.connections[*index])).collect();
        if busy.is_empty() {
            return;
        }
        let index = busy[random.below(busy.len())];
        let connection = &mut self.connections[index];
        let bytes = connection.to_node.make_contiguous();
        let Ok(Request::Command { len, .. }) = RequestScanner::new(LIMITS).next(bytes) else {
            if !connection.is_live {
                connection.to_node.clear();
            }
            return;
        };
        let args: Vec<Vec<u8>> = arguments(&bytes[..len]).map(<[u8]>::to_vec).collect();
        connection.to_node.drain(..len);
        if self.nodes[connection.node].is_dead {
            return;
        }
        let reply = self.execute(index, args);
        let connection = &mut self.connections[index];
        if !connection.is_cut {
            connection.from_node.extend_from_slice(&reply);
        }
    }

    fn execute(&mut self, index: usize, args: Vec<Vec<u8>>) -> Vec<u8> {
        let connection = &mut self.connections[index];
        let name = args[0].to_ascii_uppercase();
        match &name[..] {
            b"ASKING" => {
                connection.asking = true;
                return b"+OK\r\n".to_vec();
            }
            b"MULTI" => {
                connection.multi = Some(Vec::new());
                return b"+OK\r\n".to_vec();
            }
            b"DISCARD" => {
                (connection.multi, connection.dirty, connection.asking) = (None, false, false);
                return b"+OK\r\n".to_vec();
            }
            b"EXEC" => return self.exec(index),
            _ => {}
        }
        let asking = connection.asking;
        connection.asking &= connection.multi.is_some();
        let node = connection.node;
        let refused = self.redirect(node, asking, std::slice::from_ref(&args));
        let connection = &mut self.connections[index];
        match (&mut connection.multi, refused) {
            (Some(_), Some(error)) => {
                connection.dirty = true;
                error
            }
            (Some(queued), None) => {
                queued.push(args);
                b"+QUEUED\r\n".to_vec()
            }
            (None, Some(error)) => error,
            (None, None) => {
                if connection.is_late && !self.nodes[node].stale.is_empty() {
                    self.late.extend(pushes(&args).map(|(_, id)| id));
                }
                self.run(node, &args)
            }
        }
    }

    fn exec(&mut self, index: usize) -> Vec<u8> {
        let connection = &mut self.connections[index];
        let (node, asking) = (connection.node, connection.asking);
        let (queued, dirty) = (connection.multi.take().expect("MULTI"), connection.dirty);
        (connection.asking, connection.dirty) = (false, false);
        if dirty {
            return b"-EXECABORT Transaction discarded because of previous errors.\r\n".to_vec();
        }
        if let Some(error) = self.redirect(node, asking, &queued) {
            return error;
        }
        let mut reply = format!("*{}\r\n", queued.len()).into_bytes();
        for args in queued {
            reply.extend(self.run(node, &args));
        }
        reply
    }

    /// Returns the error by which a node says that it does not serve these commands.
    fn redirect(&mut self, node: usize, asking: bool, commands: &[Vec<Vec<u8>>]) -> Option<Vec<u8>> {
        let keys: Vec<&Vec<u8>> = commands.iter().flat_map(|args| keys(args)).collect();
        let slot = slot(keys.first()?);
        assert!(keys.iter().all(|key| slot_of(key) == slot), "keys of several slots at one node");
        if self.nodes[node].stale.contains(&slot) {
            return None;
        }
        let owner = self.owners[&slot];
        let moving = self.moving.get(&slot).copied();
        let missing = keys.iter().filter(|key| !self.nodes[node].lists.contains_key(**key)).count();
        let error = match moving {
            Some(moving) if owner == node => match missing {
                0 => return None,
                n if n == keys.len() => {
                    self.asked.insert(slot);
                    format!("-ASK {slot} 10.0.0.1:{}\r\n", 7000 + moving.to)
                }
                _ => "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_owned(),
            },
            _ if owner == node => return None,
            Some(moving) if moving.to == node && asking => match (keys.len(), missing) {
                (2.., 1..) => "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_owned(),
                _ => return None,
            },
            _ => format!("-MOVED {slot} 10.0.0.1:{}\r\n", 7000 + owner),
        };
        Some(error.into_bytes())
    }

    /// Runs a command, whose reply shows what it has read.
    fn run(&mut self, node: usize, args: &[Vec<u8>]) -> Vec<u8> {
        for (key, id) in pushes(args) {
            if self.nodes[node].stale.contains(&slot_of(key)) {
                self.lost.insert(id);
            }
            self.nodes[node].lists.entry(key.clone()).or_default().push(id);
        }
        if args[0] == b"MSET" {
            return b"+OK\r\n".to_vec();
        }
        if args[0] == b"DBSIZE" {
            return b":1\r\n".to_vec();
        }
        let shown: Vec<String> = keys(args)
            .into_iter()
            .map(|key| {
                let list = self.nodes[node].lists.get(key).map_or(&[][..], Vec::as_slice);
                let shown = &list[list.len().saturating_sub(SHOWN)..];
                format!("{}={shown:?}", String::from_utf8_lossy(key))
            })
            .collect();
        let mut reply = Vec::new();
        if args[0] == b"MGET" {
            portcullis_resp::encode::array(&mut reply, shown.len());
        }
        if args[0] == b"PING" {
            portcullis_resp::encode::bulk(&mut reply, &args[1]);
        }
        shown.iter().for_each(|text| portcullis_resp::encode::bulk(&mut reply, text.as_bytes()));
        reply
    }

    /// Lets a slot begin to move, move a key, or arrive.
    pub(super) fn move_something(&mut self, random: &mut Random) {
        let slots: Vec<u16> = self.owners.keys().copied().collect();
        let slot = slots[random.below(slots.len())];
        let owner = self.owners[&slot];
        let Some(Move { to }) = self.moving.get(&slot).copied() else {
            let to = random.below(self.nodes.len());
            if to != owner && self.nodes[owner].is_well() && self.nodes[to].is_well() && self.may_go(slot, to)
            {
                self.moving.insert(slot, Move { to });
            }
            return;
        };
        if self.nodes[owner].is_stopped || self.nodes[to].is_stopped {
            return;
        }
        let key = self.nodes[owner].lists.keys().find(|key| slot_of(key) == slot).cloned();
        match key {
            Some(key) => {
                let list = self.nodes[owner].lists.remove(&key).expect("the key");
                let there = self.nodes[to].lists.entry(key).or_default();
                assert!(there.is_empty(), "a key at two nodes");
                *there = list;
            }
            None => {
                self.moving.remove(&slot);
                self.owners.insert(slot, to);
                self.leave(slot, owner, to);
            }
        }
    }

    /// Returns whether a slot may go to a node, so that no command can overtake another one.
    fn may_go(&self, slot: u16, to: usize) -> bool {
        !self.returned.contains(&slot) && (!self.left.contains(&(slot, to)) || !self.asked.contains(&slot))
    }

    fn leave(&mut self, slot: u16, from: usize, to: usize) {
        if self.left.contains(&(slot, to)) {
            self.returned.insert(slot);
        }
        self.left.insert((slot, from));
    }

    /// Forgets where slots were, because nothing is pending.
    pub(super) fn forget_moves(&mut self) {
        self.left.clear();
        self.returned.clear();
        self.asked.clear();
    }

    /// Returns whether a slot of this node is moving to another one.
    pub(super) fn is_moving_from(&self, node: usize) -> bool {
        self.moving.keys().any(|slot| self.owners[slot] == node)
    }

    /// Kills a node. Another one gets its slots and its data.
    pub(super) fn kill(&mut self, node: usize, heir: usize) {
        if !self.give_over(node, heir) {
            return;
        }
        self.nodes[node].is_dead = true;
        for connection in self.connections.iter_mut().filter(|connection| connection.node == node) {
            connection.is_live = false;
            connection.to_node.clear();
        }
        self.live.retain(|_, connection| self.connections[*connection].is_live);
    }

    /// Gives the slots and the data of a node to another one. Returns whether that is possible.
    pub(super) fn give_over(&mut self, node: usize, heir: usize) -> bool {
        let lost: Vec<u16> =
            self.owners.iter().filter(|(_, owner)| **owner == node).map(|(slot, _)| *slot).collect();
        // A node that dies with keys that it has just got would lose them.
        let gets_keys = self.moving.values().any(|moving| moving.to == node);
        if gets_keys || !lost.iter().all(|slot| self.may_go(*slot, heir)) {
            return false;
        }
        lost.iter().for_each(|slot| self.leave(*slot, node, heir));
        let over = |(slot, moving): (&u16, &Move)| self.owners[slot] == node || moving.to == node;
        let over: Vec<(u16, usize)> = self
            .moving
            .iter()
            .filter(|entry| over(*entry))
            .map(|(slot, moving)| (*slot, moving.to))
            .collect();
        self.moving.retain(|slot, moving| !over.contains(&(*slot, moving.to)));
        // An ASK that is on its way would be followed.
        self.left.extend(over);
        self.owners.values_mut().filter(|owner| **owner == node).for_each(|owner| *owner = heir);
        // A move that was under way is over, and all keys of its slot are at the owner.
        for node in 0..self.nodes.len() {
            if !self.nodes[node].stale.is_empty() {
                continue;
            }
            for (key, list) in std::mem::take(&mut self.nodes[node].lists) {
                let slot = slot_of(&key);
                let place = if self.moving.contains_key(&slot) { node } else { self.owners[&slot] };
                self.nodes[place].lists.entry(key).or_default().extend(list);
            }
        }
        true
    }
}

/// Returns the keys and ids that a command writes. MSET pushes each of its values.
fn pushes(args: &[Vec<u8>]) -> impl Iterator<Item = (&Vec<u8>, u64)> {
    let writes = matches!(&args[0][..], b"RPUSH" | b"MSET");
    let pairs = args[1..].chunks_exact(2).filter(move |_| writes);
    pairs.map(|pair| (&pair[0], String::from_utf8_lossy(&pair[1]).parse().expect("a number")))
}

fn keys(args: &[Vec<u8>]) -> Vec<&Vec<u8>> {
    match &args[0][..] {
        b"PING" | b"DBSIZE" => Vec::new(),
        b"MGET" => args[1..].iter().collect(),
        b"MSET" => args[1..].iter().step_by(2).collect(),
        _ => vec![&args[1]],
    }
}

fn slot_of(key: &[u8]) -> u16 {
    slot(key)
}
