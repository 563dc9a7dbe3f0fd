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
}

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
            nodes.push(Node { identity, address, names: node.names.clone().into(), role: node.role });
        }
        if nodes.is_empty() {
            return Err(MapFault::NoNode);
        }
        let owner_of =
            |slot| owner(slot).and_then(|place| indices.get(place)).copied().unwrap_or(NodeIndex::NONE);
        nodes.sort_by_key(Node::index);
        Ok(Self {
            number: last.map_or(0, |last| last.number + 1),
            epoch,
            nodes: nodes.into(),
            owners: (0..SLOTS).map(owner_of).collect(),
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

    /// Returns whether the next map would have the same nodes at the same addresses with the same slots and roles.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same = |(one, other): (&Node, &Node)| {
            one.id() == other.id()
                && one.role == other.role
                && one.address == other.address
                && one.names == other.names
        };
        self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(same)
            && self.owners == other.owners
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
