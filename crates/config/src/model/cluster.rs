//! The nodes by which a cluster is found.

use super::translations::Translations;
use crate::address::Address;

/// Nodes of a cluster. They are asked for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub(crate) nodes: Vec<Address>,
    pub(crate) translate: Translations,
}

impl Cluster {
    /// The addresses of the configured nodes, at least one.
    pub fn nodes(&self) -> &[Address] {
        &self.nodes
    }

    /// Returns the address at which the proxy reaches a node that announces `announced`.
    pub fn reachable<'a>(&'a self, announced: &'a Address) -> &'a Address {
        self.translate.reachable(announced)
    }

    /// The addresses that servers announce, each with the one at which the proxy reaches the server.
    pub fn translations(&self) -> impl Iterator<Item = (&Address, &Address)> {
        self.translate.pairs()
    }

    /// The nodes that serve commands that only read: the word of `read_from`, which has one value so far.
    pub fn reads_from(&self) -> &'static str {
        "masters"
    }

    /// Whether both are the same cluster at the same place: the same translations, and a node in common.
    pub fn is_same(&self, other: &Self) -> bool {
        self.translate == other.translate && self.nodes.iter().any(|node| other.nodes.contains(node))
    }
}
