//! The places that nodes have lost: whether the nodes still answer there.
//!
//! Sessions may still wait for replies of such a node. They wait as long as it answers probes. If it is silent, it may
//! not know that it has lost its place, and what it acknowledges when it wakes up is lost. Then they wait no longer.

use std::time::Duration;

use portcullis_config::Address;
use portcullis_session::cluster::{Map, Node, NodeIndex, Reserved};
use tokio::time::Instant;

use super::follow::Probe;
use crate::upstream::view::{Place, Sockets};

/// The time between two probes of a place.
const RETRY: Duration = Duration::from_millis(250);

/// The time without an answer after which sessions wait no longer.
const SILENCE: Duration = Duration::from_millis(250);

/// The time for which a place is probed. Later, the limits of the sessions' connections end what still waits.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The most places that are probed. Each needs a connection.
const MOST: usize = 64;

/// The places that nodes of one cluster have lost, oldest first.
#[derive(Debug, Default)]
pub(crate) struct FormerPlaces(Vec<Former>);

#[derive(Debug)]
struct Former {
    id: Box<str>,
    index: NodeIndex,
    /// No other node gets the index while sessions may have connections to this one.
    _reserved: Reserved,
    address: Address,
    place: Place,
    until: Instant,
    next: Instant,
    /// The time of the oldest probe that has no answer.
    asked: Option<Instant>,
    is_silent: bool,
}

impl FormerPlaces {
    /// Takes another map. `reached_at` returns the place of a node of the former map.
    pub(crate) fn replaced(
        &mut self,
        before: &Map,
        after: &Map,
        reached_at: impl Fn(&Node) -> (Address, Place),
        now: Instant,
    ) {
        for node in before.lost_places(after).into_iter().filter_map(|node| before.node(node)) {
            let (address, place) = reached_at(node);
            self.0.retain(|former| former.index != node.index() || former.address != address);
            if self.0.len() >= MOST {
                self.0.remove(0);
            }
            self.0.push(Former {
                id: node.id().into(),
                index: node.index(),
                _reserved: node.reserve(),
                address,
                place,
                until: now + REMEMBERED,
                next: now,
                asked: None,
                is_silent: false,
            });
        }
    }

    /// Returns the places to probe now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Probe> {
        self.0.retain(|former| now < former.until);
        let mut due = Vec::new();
        for former in self.0.iter_mut().filter(|former| !former.is_silent && now >= former.next) {
            former.next = now + RETRY;
            former.asked.get_or_insert(now);
            due.push(Probe {
                node: former.id.clone(),
                address: former.address.clone(),
                place: former.place.clone(),
            });
        }
        due
    }

    /// Records that the server at an address answers.
    pub(crate) fn answers(&mut self, address: &Address) {
        self.0.iter_mut().filter(|former| former.address == *address).for_each(|former| former.asked = None);
    }

    /// Returns whether any node is silent from now on.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let is_due = |former: &Former| former.asked.is_some_and(|asked| now >= asked + SILENCE);
        let mut any = false;
        for former in self.0.iter_mut().filter(|former| !former.is_silent && is_due(former)) {
            former.is_silent = true;
            any = true;
        }
        any
    }

    /// Returns when something is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let next = |former: &Former| match former.asked {
            _ if former.is_silent => former.until,
            Some(asked) => former.next.min(asked + SILENCE),
            None => former.next,
        };
        self.0.iter().map(next).min()
    }

    /// Returns the silent nodes, with the sockets at which they are silent.
    pub(crate) fn silent(&self) -> impl Iterator<Item = (NodeIndex, Sockets)> {
        let silent = self.0.iter().filter(|former| former.is_silent);
        silent.map(|former| (former.index, former.place.sockets.clone()))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_session::cluster::{Announced, Endpoint, Role};

    use super::*;

    fn map(last: Option<&Map>, nodes: &[(&str, u16, Role)]) -> Map {
        let node = |(id, port, role): &(&str, u16, Role)| Announced {
            id: (*id).into(),
            address: Endpoint::new("192.0.2.1", *port),
            names: Vec::new(),
            role: *role,
            migrating: Vec::new(),
            master: None,
        };
        let nodes: Vec<Announced> = nodes.iter().map(node).collect();
        Map::make(last, 1, &nodes, |_| Some(0)).expect("a map")
    }

    fn reached_at(node: &Node) -> (Address, Place) {
        let address = Address::Host { host: node.address.host().to_owned(), port: node.address.port() };
        (address.clone(), Place::before_lookup(&address))
    }

    const BEFORE: [(&str, u16, Role); 4] = [
        ("stays", 7000, Role::Master),
        ("demoted", 7001, Role::Master),
        ("moved", 7002, Role::Master),
        ("gone", 7003, Role::Master),
    ];
    const AFTER: [(&str, u16, Role); 3] =
        [("stays", 7000, Role::Master), ("demoted", 7001, Role::Replica), ("moved", 8002, Role::Master)];

    #[test]
    fn places_that_were_lost_are_probed_until_they_are_silent() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let before = map(None, &BEFORE);
        let after = map(Some(&before), &AFTER);
        let mut former = FormerPlaces::default();
        assert_eq!(former.next(), None);
        former.replaced(&before, &after, reached_at, start);
        let mut due = former.due(start);
        due.sort_by(|one, other| one.node.cmp(&other.node));
        let probed: Vec<String> =
            due.iter().map(|probe| format!("{} {}", probe.node, probe.address)).collect();
        assert_eq!(probed, ["demoted 192.0.2.1:7001", "gone 192.0.2.1:7003", "moved 192.0.2.1:7002"]);
        for probe in due.iter().filter(|probe| &*probe.node != "gone") {
            former.answers(&probe.address);
        }
        assert!(!former.tick(at(249)) && former.next() == Some(at(250)));
        assert!(former.tick(at(250)) && !former.tick(at(251)), "it is told once");
        let gone = before.with_id("gone").expect("the node").index();
        let silent: Vec<(NodeIndex, Sockets)> = former.silent().collect();
        assert_eq!(silent, [(gone, Sockets::Tcp(["192.0.2.1:7003".parse().expect("a socket")].into()))]);
        assert_eq!(former.due(at(250)).len(), 2, "the silent one is not probed");
        assert!(former.due(start + REMEMBERED).is_empty() && former.silent().next().is_none());
    }

    /// A session may still have a connection to the node that had the index.
    #[test]
    fn the_index_of_a_node_is_not_given_away_while_its_former_place_is_known() {
        let now = Instant::now();
        let before = map(None, &BEFORE);
        let gone = before.with_id("gone").expect("the node").index();
        let after = map(Some(&before), &AFTER);
        let mut former = FormerPlaces::default();
        former.replaced(&before, &after, reached_at, now);
        drop(before);
        let with_new =
            |last: &Map| map(Some(last), &[AFTER[0], AFTER[1], AFTER[2], ("new", 7004, Role::Master)]);
        let next = with_new(&after);
        assert_ne!(next.with_id("new").expect("the node").index(), gone);
        drop(next);
        former.due(now + REMEMBERED);
        assert_eq!(with_new(&after).with_id("new").expect("the node").index(), gone);
    }

    #[test]
    fn few_places_are_probed() {
        let now = Instant::now();
        let ids: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        let nodes: Vec<(&str, u16, Role)> =
            (7000..).zip(&ids).map(|(port, id)| (id.as_str(), port, Role::Master)).collect();
        let before = map(None, &nodes);
        let after = map(Some(&before), &nodes[..1]);
        let mut former = FormerPlaces::default();
        former.replaced(&before, &after, reached_at, now);
        assert_eq!(former.due(now).len(), MOST);
    }
}
