//! Masters that become replicas, at once or without knowing it.

use super::simulation::{NODES, Simulation};
use crate::cluster::{LegIndex, Router};

/// The number of the newest ids of each key that a failover with loss loses, at most.
const MOST_LOST: usize = 3;

impl Simulation {
    /// Lets something happen to the role of a node.
    pub(super) fn change_a_role(&mut self) {
        let (node, other) = (self.random.below(NODES), self.random.below(NODES));
        match self.random.below(5) {
            0 if self.world.nodes[node].is_well() && self.is_quiet() => {
                self.world.nodes[node].is_stopped = true
            }
            1 if self.world.nodes[node].is_well() && self.is_quiet() => self.hand_over(node, other),
            2 => self.replace_a_stopped_node(other),
            3 => self.resume(node),
            _ => self.world.nodes[node].is_replica &= !self.world.nodes[node].stale.is_empty(),
        }
    }

    /// Returns whether no other node is in trouble.
    fn is_quiet(&self) -> bool {
        self.world.nodes.iter().all(|node| !node.is_dead && !node.is_stopped && node.stale.is_empty())
    }

    /// Returns whether a node can take the place of another one.
    fn can_inherit(&self, node: usize) -> bool {
        let node = &self.world.nodes[node];
        !node.is_dead && !node.is_stopped && node.stale.is_empty()
    }

    /// A master gives its place to another node, which has all data. So does CLUSTER FAILOVER.
    fn hand_over(&mut self, node: usize, heir: usize) {
        if node != heir && self.can_inherit(heir) && self.world.give_over(node, heir) {
            self.world.nodes[node].is_replica = true;
            self.world.nodes[heir].is_replica = false;
            self.client.count("handed over");
        }
    }

    /// Another node takes the place of one that does not answer. Some ids may be lost.
    fn replace_a_stopped_node(&mut self, heir: usize) {
        let stopped = self.world.nodes.iter().position(|node| node.is_stopped && !node.is_replica);
        let Some(node) = stopped.filter(|node| *node != heir && self.can_inherit(heir)) else { return };
        if self.world.is_moving_from(node) {
            // It would have to know which of its keys it has given away.
            return;
        }
        let before = self.world.nodes[node].lists.clone();
        let slots =
            self.world.owners.iter().filter(|(_, owner)| **owner == node).map(|(slot, _)| *slot).collect();
        if !self.world.give_over(node, heir) {
            return;
        }
        self.world.nodes[heir].is_replica = false;
        let lossy = self.random.one_in(2);
        for key in before.keys().filter(|_| lossy) {
            let n = self.random.below(MOST_LOST + 1);
            let Some(list) = self.world.nodes[heir].lists.get_mut(key) else { continue };
            let lost = list.split_off(list.len().saturating_sub(n));
            self.world.lost.extend(lost);
        }
        let node = &mut self.world.nodes[node];
        (node.lists, node.stale, node.is_replica) = (before, slots, true);
        self.client.count("replaced");
    }

    /// A stopped node goes on. It executes what waits in its sockets, if it has not heard of its failover yet.
    fn resume(&mut self, node: usize) {
        if self.world.nodes[node].is_stopped {
            self.world.nodes[node].is_stopped = false;
        } else if !self.world.nodes[node].stale.is_empty() {
            self.learn(node);
        }
    }

    fn learn(&mut self, node: usize) {
        let node = &mut self.world.nodes[node];
        node.stale.clear();
        node.lists.clear();
    }

    /// Cuts off what has left silent nodes, as the watcher of a cluster does.
    pub(super) fn cut_off_silent_nodes(&mut self) {
        let live: Vec<(LegIndex, usize)> =
            self.world.live.iter().map(|(leg, connection)| (*leg, *connection)).collect();
        for (leg, connection) in live {
            let connection = &mut self.world.connections[connection];
            if self.world.nodes[connection.node].is_stopped && Router::is_left(&self.router, leg) {
                self.router.cut_off(leg);
                connection.is_cut = true;
                self.client.count("cut off");
            }
        }
    }

    /// Lets all nodes answer, and know their roles.
    pub(super) fn calm(&mut self) {
        for node in 0..NODES {
            self.world.nodes[node].is_dead = false;
            self.world.nodes[node].is_stopped = false;
            self.learn_if_stale(node);
        }
    }

    fn learn_if_stale(&mut self, node: usize) {
        if !self.world.nodes[node].stale.is_empty() {
            self.learn(node);
        }
    }
}
