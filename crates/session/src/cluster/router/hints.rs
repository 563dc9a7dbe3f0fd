//! What a session learns about the cluster.

use crate::cluster::{Endpoint, NodeIndex, Redirect};

/// News for the watcher of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The newest MOVED: the slot, the node that answered, and the node that it named.
    pub moved: Option<(u16, NodeIndex, Endpoint)>,
    /// The number of MOVED.
    pub moves: u32,
    /// The number of ASK.
    pub asks: u32,
    /// The number of TRYAGAIN.
    pub try_agains: u32,
    /// The number of CLUSTERDOWN.
    pub cluster_downs: u32,
    /// The number of commands that were sent to replicas.
    pub replica_reads: u32,
    /// The number of those that were sent once more, to the master.
    pub replica_refusals: u32,
    /// The node that must be asked which of its slots are moving.
    pub asked: Option<NodeIndex>,
    /// A redirect named an unknown node.
    pub unknown: bool,
    /// A node says that the cluster is down, or that it is no master, or its connection was lost.
    pub cluster_down: bool,
    /// The node that refused a connection last.
    pub refused: Option<NodeIndex>,
    /// The node that has not answered for a second.
    pub silent: Option<NodeIndex>,
    /// The node that takes longer than a second for one command. It may be busy with the command.
    pub slow: Option<NodeIndex>,
}

impl Hints {
    /// Returns whether there is no news.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(
            self,
            Self {
                moved: None,
                moves: 0,
                asks: 0,
                try_agains: 0,
                cluster_downs: 0,
                asked: None,
                unknown: false,
                cluster_down: false,
                refused: None,
                silent: None,
                slow: None,
                replica_reads: 0,
                replica_refusals: 0,
            }
        )
    }

    /// Counts an answer that is no reply to the command.
    pub(super) fn count(&mut self, redirect: Option<&Redirect>) {
        match redirect {
            Some(Redirect::Moved(..)) => self.moves += 1,
            Some(Redirect::Ask(..)) => self.asks += 1,
            Some(Redirect::TryAgain) => self.try_agains += 1,
            Some(Redirect::ClusterDown) => self.cluster_downs += 1,
            None => {}
        }
    }
}
