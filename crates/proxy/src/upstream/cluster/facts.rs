//! The nodes of a cluster, as operators see them.

use std::collections::HashMap;

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

    #[test]
    fn ranges_of_slots() {
        let node = |port: u16| Announced {
            id: port.to_string().into(),
            address: Endpoint::new("127.0.0.1", port),
            names: Vec::new(),
            role: Role::Master,
            migrating: Vec::new(),
        };
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
