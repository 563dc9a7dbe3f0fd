//! The nodes of a cluster, as one thread knows them: the map, the sockets of each node, and the nodes that are down.

use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_session::cluster::{Map, Node, NodeIndex, ServerFacts};

use super::{Place, Sockets, is_same_server};

/// The nodes of a cluster at one time. Immutable; the next view of the upstream has the next one.
#[derive(Clone, Debug)]
pub(crate) struct ClusterView {
    map: Arc<Map>,
    /// In the order of the map's nodes.
    nodes: Box<[NodeState]>,
    condition: Condition,
    /// The nodes that have lost a place and are silent there, with its sockets.
    silent: Box<[(NodeIndex, Sockets)]>,
    server: Arc<ServerFacts>,
}

/// A node, besides what the map has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeState {
    /// The sockets of the node, under the address whose host its certificate must have.
    pub(crate) place: Place,
    /// Whether the node does not answer. Its commands fail at once, until it answers or the map has another owner.
    pub(crate) is_down: bool,
}

/// Whether the cluster serves all its slots, as its nodes said the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// A node that sees a majority of the masters says so.
    Ok,
    /// All nodes that answer say `cluster_state:fail`.
    Fails,
    /// No node answers.
    Silent,
}

impl ClusterView {
    /// Puts a map and the states of its nodes together. `state` is called for each node of the map.
    pub(crate) fn new(map: Arc<Map>, condition: Condition, state: impl FnMut(&Node) -> NodeState) -> Self {
        let nodes = map.nodes().iter().map(state).collect();
        Self { map, nodes, condition, silent: Box::default(), server: Arc::default() }
    }

    /// Returns the view with these nodes, which have lost a place and are silent there.
    pub(crate) fn with_silent(self, silent: impl Iterator<Item = (NodeIndex, Sockets)>) -> Self {
        Self { silent: silent.collect(), ..self }
    }

    /// Returns the view with what the nodes tell about their servers.
    pub(crate) fn with_server(self, server: &Arc<ServerFacts>) -> Self {
        Self { server: Arc::clone(server), ..self }
    }

    /// The facts that the nodes tell about their servers.
    pub(crate) const fn server(&self) -> &Arc<ServerFacts> {
        &self.server
    }

    /// The owner of each slot.
    pub(crate) const fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Whether the cluster serves all its slots.
    pub(crate) const fn condition(&self) -> Condition {
        self.condition
    }

    /// Returns the place of a node, for `open` and `secure`. `None`: the map has no such node.
    pub(crate) fn place(&self, node: NodeIndex) -> Option<&Place> {
        Some(&self.state(node)?.place)
    }

    /// Returns whether commands for this node fail at once, because it does not answer the watcher either.
    pub(crate) fn is_down(&self, node: NodeIndex) -> bool {
        self.state(node).is_some_and(|state| state.is_down)
    }

    /// Returns whether a node that has lost its place at this socket does not answer there.
    pub(crate) fn is_silent(&self, node: NodeIndex, socket: SocketAddr) -> bool {
        let is_here = |sockets: &Sockets| matches!(sockets, Sockets::Tcp(known) if known.contains(&socket));
        self.silent.iter().any(|(known, sockets)| *known == node && is_here(sockets))
    }

    /// Returns whether a node may have this socket: it does, or its name has not been looked up.
    pub(crate) fn may_be_at(&self, node: NodeIndex, socket: SocketAddr) -> bool {
        self.place(node).is_some_and(|place| match &place.sockets {
            Sockets::Tcp(sockets) => sockets.iter().any(|known| is_same_server(*known, socket)),
            Sockets::Unknown | Sockets::Unresolved(_) => true,
            Sockets::Unix(_) => false,
        })
    }

    /// Returns whether a node has this socket.
    pub(super) fn has(&self, socket: SocketAddr) -> bool {
        self.nodes.iter().any(|node| match &node.place.sockets {
            Sockets::Tcp(sockets) => sockets.iter().any(|known| is_same_server(*known, socket)),
            Sockets::Unknown | Sockets::Unresolved(_) | Sockets::Unix(_) => false,
        })
    }

    fn state(&self, node: NodeIndex) -> Option<&NodeState> {
        let place = self.map.nodes().binary_search_by_key(&node, Node::index).ok()?;
        self.nodes.get(place)
    }
}

/// Views are equal if they have the same map, not only one with the same owners.
impl PartialEq for ClusterView {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.map, &other.map)
            && self.nodes == other.nodes
            && self.condition == other.condition
            && self.silent == other.silent
            && self.server == other.server
    }
}

impl Eq for ClusterView {}

#[cfg(test)]
mod tests;
