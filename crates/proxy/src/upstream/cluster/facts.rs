//! The nodes of a cluster, as operators see them.

use std::collections::{HashMap, HashSet};

use portcullis_resp::slot::SLOTS;
use portcullis_session::cluster::{Map, NodeIndex, Role};

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// The id of the node.
    pub(crate) id: String,
    /// The address that the cluster announces.
    pub(crate) address: String,
    /// The address at which the proxy reaches the node.
    pub(crate) reached_at: String,
    /// `master` or `replica`.
    pub(crate) role: &'static str,
    /// The ranges of its slots, the ends included.
    pub(crate) slots: Vec<(u16, u16)>,
    /// `up`, `failing` or `down`.
    pub(crate) health: &'static str,
    /// `ok`, or the kind of the failure of the last question or probe.
    pub(crate) link: &'static str,
}

/// Returns the word for a role in metrics and in the admin API.
pub(crate) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Replica => "replica",
    }
}

/// Returns the ranges of slots of each node that owns any.
pub(crate) fn ranges(map: &Map) -> HashMap<NodeIndex, Vec<(u16, u16)>> {
    let mut ranges: HashMap<NodeIndex, Vec<(u16, u16)>> = HashMap::new();
    for slot in 0..SLOTS {
        let Some(owner) = map.owner(slot) else { continue };
        let own = ranges.entry(owner).or_default();
        match own.last_mut() {
            Some((_, end)) if *end + 1 == slot => *end = slot,
            _ => own.push((slot, slot)),
        }
    }
    ranges
}

/// The replicas of a cluster, and former ones that have no slots yet: the role and the slots of a node may change in two
/// views.
#[derive(Debug, Default)]
pub(crate) struct Replicas(HashSet<Box<str>>);

impl Replicas {
    /// Takes another map. Returns the number of failovers: replicas that have become masters with slots.
    pub(crate) fn follow(&mut self, map: &Map) -> usize {
        let (ranges, before) = (ranges(map), std::mem::take(&mut self.0));
        let mut failovers = 0;
        for node in map.nodes() {
            let is_known = before.contains(node.id());
            let has_slots = ranges.contains_key(&node.index());
            if node.role == Role::Replica || (is_known && !has_slots) {
                self.0.insert(node.id().into());
            } else if is_known {
                failovers += 1;
            }
        }
        failovers
    }
}

/// Returns the number of slots in some ranges.
pub(crate) fn count(ranges: &[(u16, u16)]) -> usize {
    ranges.iter().map(|(start, end)| usize::from(end - start) + 1).sum()
}

/// Writes ranges as `redis-cli` does: `0-5460,5462`.
pub(crate) fn text(ranges: &[(u16, u16)]) -> String {
    let range = |(start, end): &(u16, u16)| match start == end {
        true => start.to_string(),
        false => format!("{start}-{end}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use portcullis_session::cluster::{Announced, Endpoint};

    use super::*;

    fn announced(port: u16, role: Role) -> Announced {
        Announced {
            id: port.to_string().into(),
            address: Endpoint::new("127.0.0.1", port),
            names: Vec::new(),
            role,
            migrating: Vec::new(),
            master: None,
        }
    }

    #[test]
    fn a_replica_that_gets_slots_is_a_failover() {
        use Role::{Master, Replica};
        let map = |roles: [Role; 3], owner: usize| {
            let nodes: Vec<_> = (7000..).zip(roles).map(|(port, role)| announced(port, role)).collect();
            Map::make(None, 1, &nodes, move |_| Some(owner)).expect("a map")
        };
        let mut replicas = Replicas::default();
        assert_eq!(replicas.follow(&map([Master, Replica, Master], 0)), 0, "the first map");
        assert_eq!(replicas.follow(&map([Master, Replica, Master], 2)), 0, "the slots moved");
        assert_eq!(replicas.follow(&map([Master, Master, Master], 2)), 0, "it has no slots yet");
        assert_eq!(replicas.follow(&map([Master, Master, Replica], 1)), 1);
        assert_eq!(replicas.follow(&map([Master, Master, Replica], 1)), 0, "it is counted");
        assert_eq!(
            replicas.follow(&map([Replica, Replica, Replica], 2)),
            0,
            "a redirect comes before the role"
        );
        assert_eq!(replicas.follow(&map([Replica, Replica, Master], 2)), 1);
    }

    #[test]
    fn ranges_of_slots() {
        let node = |port: u16| announced(port, Role::Master);
        let owner = |slot| match slot {
            5 => None,
            7 => Some(1),
            0..=9 => Some(0),
            _ => Some(1),
        };
        let map = Map::make(None, 1, &[node(7000), node(7001)], owner).expect("a map");
        let ranges = ranges(&map);
        let of = |id: &str| &ranges[&map.with_id(id).expect("a node").index()];
        assert_eq!((text(of("7000")), count(of("7000"))), ("0-4,6,8-9".to_owned(), 8));
        assert_eq!((text(of("7001")), count(of("7001"))), ("7,10-16383".to_owned(), 16375));
        assert_eq!(count(&[]), 0);
    }
}
