//! The map that a session uses, and the next one.
//!
//! The session takes a new map only when the old owners of the slots that changed owe it nothing. Until then commands on
//! these slots go to the old owner, which redirects them in the order in which it got them. If they went to the new
//! owner at once, `SET k 2` could overtake a `SET k 1` that is being redirected.

use std::sync::Arc;
use std::time::Duration;

use portcullis_resp::slot::SLOTS;

use super::legs::Legs;
use crate::cluster::{Endpoint, Map, Node, NodeIndex, Role};
use crate::tick::Tick;

/// The time after which no further command is judged until the session takes the new map. A client that never lets the
/// old owner come to rest would otherwise be redirected forever.
const PATIENCE: Duration = Duration::from_millis(100);

/// The map in force for one session, and its successor.
#[derive(Debug)]
pub(super) struct Maps {
    current: Arc<Map>,
    next: Option<Next>,
    /// The nodes that do not answer.
    down: Vec<NodeIndex>,
}

/// A map that is not in force yet.
#[derive(Debug)]
struct Next {
    map: Arc<Map>,
    since: Tick,
    /// The owners, according to the map in force, of the slots that have another owner in this one.
    losers: Vec<NodeIndex>,
    /// The nodes that have no place in this map, and one in the map in force.
    lost: Vec<NodeIndex>,
}

impl Maps {
    pub(super) fn of(map: Arc<Map>) -> Self {
        Self { current: map, next: None, down: Vec::new() }
    }

    /// Returns the map by which new commands are sent.
    pub(super) fn current(&self) -> &Map {
        &self.current
    }

    /// Returns the newest map.
    pub(super) fn latest(&self) -> &Map {
        self.next.as_ref().map_or(&self.current, |next| &next.map)
    }

    /// Takes a new map, which is in force after [`Self::adopt`].
    pub(super) fn offer(&mut self, map: &Arc<Map>, down: &[NodeIndex], now: Tick) {
        self.down = down.to_vec();
        if map.number() == self.latest().number() {
            return;
        }
        let mut losers = Vec::new();
        for slot in 0..SLOTS {
            let old = self.current.owner(slot);
            if let Some(old) = old.filter(|old| map.owner(slot) != Some(*old) && !losers.contains(old)) {
                losers.push(old);
            }
        }
        let since = self.next.as_ref().map_or(now, |next| next.since);
        let lost = self.current.lost_places(map);
        self.next = Some(Next { map: Arc::clone(map), since, losers, lost });
    }

    /// Puts the next map in force if the old owners of its changed slots owe nothing.
    pub(super) fn adopt(&mut self, legs: &Legs) {
        let rest = |next: &mut Next| !next.losers.iter().any(|node| legs.node_owes(*node));
        if let Some(next) = self.next.take_if(rest) {
            self.current = next.map;
        }
    }

    /// Returns whether a map waits to be in force.
    pub(super) const fn is_waiting(&self) -> bool {
        self.next.is_some()
    }

    /// Returns the time from which on nothing is judged until the next map is in force.
    pub(super) fn impatient_at(&self) -> Option<Tick> {
        self.next.as_ref().map(|next| next.since.after(PATIENCE))
    }

    /// Returns the node that a redirect names.
    pub(super) fn named(&self, name: &Endpoint) -> Option<NodeIndex> {
        self.latest().named(name).map(Node::index)
    }

    pub(super) fn is_down(&self, node: NodeIndex) -> bool {
        self.down.contains(&node)
    }

    /// Returns whether a node of the map in force has no place in the next one.
    pub(super) fn has_lost_place(&self, node: NodeIndex) -> bool {
        self.next.as_ref().is_some_and(|next| next.lost.contains(&node))
    }

    /// Returns a node of the newest map that has it.
    pub(super) fn node(&self, node: NodeIndex) -> Option<&Node> {
        self.latest().node(node).or_else(|| self.current.node(node))
    }

    /// Returns a master for a command without keys: one that owns slots, if possible one that is not down. `nth` selects
    /// among several.
    pub(super) fn any_master(&self, nth: usize) -> Option<NodeIndex> {
        let nodes = || self.latest().nodes().iter().filter(|node| node.role == Role::Master).map(Node::index);
        let well = nodes().filter(|node| !self.is_down(*node)).count();
        match well {
            0 => nodes().next(),
            well => nodes().filter(|node| !self.is_down(*node)).nth(nth % well),
        }
    }

    /// Returns the master after this one, in turn.
    pub(super) fn other_master(&self, node: NodeIndex) -> Option<NodeIndex> {
        let masters =
            || self.latest().nodes().iter().filter(|node| node.role == Role::Master).map(Node::index);
        let others = || masters().filter(|other| *other != node && !self.is_down(*other));
        others().find(|other| *other > node).or_else(|| others().next())
    }
}
