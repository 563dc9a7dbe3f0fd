//! The map of a cluster: its nodes, and the owner of each slot. Immutable; workers share it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use portcullis_resp::slot::SLOTS;

use super::answer::{Announced, Role};
use super::endpoint::Endpoint;

/// The highest number of nodes of a cluster. The documentation of Redis advises at most 1,000.
pub const MAX_NODES: usize = 4096;

/// The index of a node in the maps of one upstream. The same node has the same index in all maps, and no other node
/// gets the index while any map with the node is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIndex(u16);

impl NodeIndex {
    /// The index of no node: the slot has no owner.
    const NONE: Self = Self(u16::MAX);

    /// Returns the number of the index, below [`MAX_NODES`].
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// A node of the map.
#[derive(Clone, Debug)]
pub struct Node {
    identity: Arc<Identity>,
    /// The address to connect to.
    pub address: Endpoint,
    /// All addresses under which redirects name the node.
    pub names: Box<[Endpoint]>,
    /// The role of the node.
    pub role: Role,
    /// The master whose data the node has, if it is a replica.
    pub master: Option<NodeIndex>,
}

impl Node {
    /// The id of the node.
    pub fn id(&self) -> &str {
        &self.identity.id
    }

    /// The index of the node.
    pub fn index(&self) -> NodeIndex {
        self.identity.index
    }

    /// Returns the reservation of the index.
    pub fn reserve(&self) -> Reserved {
        Reserved(Arc::clone(&self.identity))
    }
}

/// Keeps the index of a node from being given to another node.
#[derive(Clone, Debug)]
pub struct Reserved(
    #[expect(dead_code, reason = "the index is free when the last reference is dropped")] Arc<Identity>,
);

/// The part of a node that is the same in all maps.
#[derive(Debug)]
struct Identity {
    id: Box<str>,
    index: NodeIndex,
}

/// The nodes of a cluster, and the owner of each slot, at one time. The next map has a higher number.
#[derive(Clone)]
pub struct Map {
    number: u64,
    epoch: u64,
    nodes: Box<[Node]>,
    owners: Box<[NodeIndex]>,
    /// The slots that are moving, as far as their owners were asked: the slot, its owner, and the next owner.
    migrating: Box<[(u16, NodeIndex, NodeIndex)]>,
    /// The identities that were given out. Those of dropped maps are free.
    known: Arc<[Weak<Identity>]>,
}

/// The reason why no map can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapFault {
    /// All indices are in use, by this map and by older ones that sessions still have.
    #[error("there are more than {MAX_NODES} nodes, or sessions still use that many")]
    NoIndex,
    /// No node has an address.
    #[error("no node of the cluster has an address")]
    NoNode,
}

impl Map {
    /// Makes a map of these nodes. `owner` returns the index in `announced` of the owner of a slot. Nodes without an
    /// address are left out, and their slots have no owner. The map follows `last`, whose nodes keep their indices.
    ///
    /// # Errors
    /// See [`MapFault`].
    pub fn make(
        last: Option<&Self>,
        epoch: u64,
        announced: &[Announced],
        owner: impl Fn(u16) -> Option<usize>,
    ) -> Result<Self, MapFault> {
        let mut identities = Identities::after(last);
        let mut nodes = Vec::with_capacity(announced.len());
        let mut indices = vec![NodeIndex::NONE; announced.len()];
        for (place, node) in announced.iter().enumerate() {
            let Some(address) = node.address.clone() else { continue };
            let identity = identities.of(&node.id)?;
            if let Some(index) = indices.get_mut(place) {
                *index = identity.index;
            }
            let names = node.names.clone().into();
            nodes.push(Node { identity, address, names, role: node.role, master: None });
        }
        if nodes.is_empty() {
            return Err(MapFault::NoNode);
        }
        let owner_of =
            |slot| owner(slot).and_then(|place| indices.get(place)).copied().unwrap_or(NodeIndex::NONE);
        nodes.sort_by_key(Node::index);
        find_masters(&mut nodes, announced, &indices);
        let owners: Box<[NodeIndex]> = (0..SLOTS).map(owner_of).collect();
        let mut migrating = Vec::new();
        for (from, node) in indices.iter().zip(announced) {
            for (slot, to) in &node.migrating {
                let to = nodes.iter().find(|node| node.id() == &**to).map(Node::index);
                if let Some(to) = to.filter(|_| owners.get(usize::from(*slot)) == Some(from)) {
                    migrating.push((*slot, *from, to));
                }
            }
        }
        migrating.sort_unstable();
        Ok(Self {
            number: last.map_or(0, |last| last.number + 1),
            epoch,
            nodes: nodes.into(),
            owners,
            migrating: migrating.into(),
            known: identities.known.into(),
        })
    }

    /// The number of the map.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The epoch of the cluster at that time.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The nodes, in the order of their indices.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the owner of a slot. `None`: the slot has none.
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<NodeIndex> {
        self.owners.get(usize::from(slot)).copied().filter(|index| *index != NodeIndex::NONE)
    }

    /// Returns whether the owner of a slot said that the slot is moving to a node.
    pub fn is_migrating(&self, slot: u16, from: NodeIndex, to: NodeIndex) -> bool {
        self.migrating.binary_search(&(slot, from, to)).is_ok()
    }

    /// Returns whether the owner of a slot said that the slot is moving.
    pub(super) fn is_moving(&self, slot: u16) -> bool {
        let first = self.migrating.partition_point(|(moving, ..)| *moving < slot);
        self.migrating.get(first).is_some_and(|(moving, ..)| *moving == slot)
    }

    /// Returns the replicas of a master.
    pub(super) fn replicas_of(&self, master: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        let own = self.nodes.iter().filter(move |node| node.master == Some(master));
        own.map(Node::index)
    }

    /// Returns the moving slots of a node, each with the id of the next owner.
    pub(super) fn migrating_of(&self, from: &str) -> Vec<(u16, Box<str>)> {
        let Some(from) = self.with_id(from).map(Node::index) else { return Vec::new() };
        let own = self.migrating.iter().filter(|(_, owner, _)| *owner == from);
        own.filter_map(|(slot, _, to)| Some((*slot, self.node(*to)?.id().into()))).collect()
    }

    /// Returns a node by its index.
    pub fn node(&self, index: NodeIndex) -> Option<&Node> {
        let place = self.nodes.binary_search_by_key(&index, Node::index).ok()?;
        self.nodes.get(place)
    }

    /// Returns the node that a redirect names.
    pub fn named(&self, name: &Endpoint) -> Option<&Node> {
        self.nodes.iter().find(|node| node.names.contains(name) || node.address == *name)
    }

    /// Returns the node with this id.
    pub fn with_id(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id() == id)
    }

    /// Returns the number of slots that have no owner.
    pub fn uncovered(&self) -> usize {
        self.owners.iter().filter(|index| **index == NodeIndex::NONE).count()
    }

    /// Returns the masters that have lost their places in a later map. They are gone, no masters, at another address, or
    /// have lost all their slots: a master that failed is listed as one until it comes back.
    pub fn lost_places(&self, later: &Self) -> Vec<NodeIndex> {
        let (had, has) = (self.nodes_with_slots(), later.nodes_with_slots());
        let owns = |nodes: &[bool], node: NodeIndex| nodes.get(node.number()).copied().unwrap_or(false);
        let keeps = |node: &Node| {
            later.node(node.index()).is_some_and(|later| {
                later.role == Role::Master
                    && later.address == node.address
                    && (owns(&has, node.index()) || !owns(&had, node.index()))
            })
        };
        let masters = self.nodes.iter().filter(|node| node.role == Role::Master);
        masters.filter(|node| !keeps(node)).map(Node::index).collect()
    }

    /// Returns whether each node has slots, by its index.
    fn nodes_with_slots(&self) -> Vec<bool> {
        let mut nodes = vec![false; self.nodes.last().map_or(0, |node| node.index().number() + 1)];
        for owner in &self.owners {
            if let Some(has) = nodes.get_mut(owner.number()) {
                *has = true;
            }
        }
        nodes
    }

    /// Returns whether the next map would have the same nodes at the same addresses with the same slots and roles.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same = |(one, other): (&Node, &Node)| {
            one.id() == other.id()
                && one.role == other.role
                && one.master == other.master
                && one.address == other.address
                && one.names == other.names
        };
        self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(same)
            && self.owners == other.owners
            && self.migrating == other.migrating
    }
}

/// Finds the master of each replica. `indices` has the indices of the announced nodes.
fn find_masters(nodes: &mut [Node], announced: &[Announced], indices: &[NodeIndex]) {
    let known = announced.iter().zip(indices).filter(|(_, index)| **index != NodeIndex::NONE);
    let by_id: HashMap<&str, NodeIndex> = known.clone().map(|(node, index)| (&*node.id, *index)).collect();
    for (node, index) in known.filter(|(node, _)| node.role == Role::Replica) {
        let master = node.master.as_deref().and_then(|id| by_id.get(id));
        if let Ok(place) = nodes.binary_search_by_key(index, Node::index)
            && let Some(node) = nodes.get_mut(place)
        {
            node.master = master.copied();
        }
    }
}

impl fmt::Debug for Map {
    /// Writes the ranges of slots instead of 16,384 owners.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u16, u16, NodeIndex)> = Vec::new();
        for (slot, owner) in (0..SLOTS).zip(&self.owners) {
            match ranges.last_mut() {
                Some((_, end, last)) if last == owner => *end = slot,
                _ => ranges.push((slot, slot, *owner)),
            }
        }
        f.debug_struct("Map")
            .field("number", &self.number)
            .field("epoch", &self.epoch)
            .field("nodes", &self.nodes)
            .field("ranges", &ranges)
            .finish()
    }
}

/// The identities of the nodes of one upstream.
struct Identities {
    /// All of them, by their indices.
    known: Vec<Weak<Identity>>,
    /// Those in use, by their ids.
    used: HashMap<Box<str>, Arc<Identity>>,
}

impl Identities {
    fn after(last: Option<&Map>) -> Self {
        let known = last.map_or_else(Vec::new, |last| last.known.to_vec());
        let used = known.iter().filter_map(Weak::upgrade).map(|known| (known.id.clone(), known)).collect();
        Self { known, used }
    }

    /// Returns the identity of a node, with the index that it has or the lowest free one.
    fn of(&mut self, id: &str) -> Result<Arc<Identity>, MapFault> {
        if let Some(known) = self.used.get(id) {
            return Ok(Arc::clone(known));
        }
        let free = self.known.iter().position(|known| known.strong_count() == 0).unwrap_or(self.known.len());
        if free >= MAX_NODES {
            return Err(MapFault::NoIndex);
        }
        let index = NodeIndex(u16::try_from(free).map_err(|_| MapFault::NoIndex)?);
        let identity = Arc::new(Identity { id: id.into(), index });
        let known = Arc::downgrade(&identity);
        match self.known.get_mut(free) {
            Some(place) => *place = known,
            None => self.known.push(known),
        }
        self.used.insert(id.into(), Arc::clone(&identity));
        Ok(identity)
    }
}

#[cfg(test)]
mod tests;
