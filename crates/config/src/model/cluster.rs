//! The nodes by which a cluster is found.

use super::translations::Translations;
use crate::address::Address;

/// Nodes of a cluster. They are asked for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub(crate) nodes: Vec<Address>,
    pub(crate) read_from: ReadFrom,
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

    /// The nodes that execute commands which only read.
    pub const fn read_from(&self) -> ReadFrom {
        self.read_from
    }

    /// Whether both are the same cluster at the same place: the same translations, and a node in common.
    pub fn is_same(&self, other: &Self) -> bool {
        self.translate == other.translate && self.nodes.iter().any(|node| other.nodes.contains(node))
    }
}

/// The nodes of a cluster that execute commands which only read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The owner of the slot.
    #[default]
    Masters,
    /// A replica of the owner, if one answers.
    Replicas,
}

impl ReadFrom {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Masters => "masters",
            Self::Replicas => "replicas",
        }
    }
}
