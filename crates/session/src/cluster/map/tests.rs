use super::{MAX_NODES, Map, MapFault, NodeIndex};
use crate::cluster::answer::{Announced, Role};
use crate::cluster::endpoint::Endpoint;

fn announced(id: &str, port: u16) -> Announced {
    let address = Endpoint::new("127.0.0.1", port);
    Announced {
        id: id.into(),
        names: address.iter().cloned().chain(Endpoint::new("node.example", port)).collect(),
        address,
        role: Role::Master,
        migrating: Vec::new(),
        master: None,
    }
}

/// Makes a map in which each node owns an equal part of the slots.
fn map(last: Option<&Map>, nodes: &[Announced]) -> Map {
    Map::make(last, 1, nodes, |slot| Some(usize::from(slot) * nodes.len() / 16384)).expect("a map")
}

fn index_of(map: &Map, id: &str) -> Option<usize> {
    map.with_id(id).map(|node| node.index().number())
}

#[test]
fn owners_and_names() {
    let map = map(None, &[announced("a", 1), announced("b", 2)]);
    let owner = |slot| map.owner(slot).and_then(|index| map.node(index)).map(|node| node.id().to_owned());
    assert_eq!(owner(0).as_deref(), Some("a"));
    assert_eq!(owner(16383).as_deref(), Some("b"));
    assert_eq!(owner(16384), None);
    assert_eq!(map.uncovered(), 0);
    let named = |host: &str, port| {
        let name = Endpoint::new(host, port).expect("an endpoint");
        map.named(&name).map(|node| node.id().to_owned())
    };
    assert_eq!(named("127.0.0.1", 2).as_deref(), Some("b"));
    assert_eq!(named("node.example", 1).as_deref(), Some("a"));
    assert_eq!(named("node.example", 3), None);
}

#[test]
fn a_node_without_an_address_owns_nothing() {
    let nodes = [announced("a", 1), announced("b", 0)];
    let map = Map::make(None, 1, &nodes, |slot| Some(usize::from(slot % 2))).expect("a map");
    assert_eq!((map.owner(0).is_some(), map.owner(1)), (true, None));
    assert_eq!(map.uncovered(), 8192);
    assert_eq!(Map::make(None, 1, &[announced("b", 0)], |_| Some(0)).err(), Some(MapFault::NoNode));
}

#[test]
fn a_node_keeps_its_index() {
    let first = map(None, &[announced("a", 1), announced("b", 2), announced("c", 3)]);
    let second = map(Some(&first), &[announced("c", 3), announced("d", 4), announced("a", 1)]);
    assert_eq!(index_of(&second, "a"), Some(0));
    assert_eq!(index_of(&second, "c"), Some(2));
    // The first map is still in use, and `b` has index 1 there.
    assert_eq!(index_of(&second, "d"), Some(3));
    drop(first);
    let third = map(Some(&second), &[announced("d", 4), announced("e", 5)]);
    assert_eq!((index_of(&third, "d"), index_of(&third, "e")), (Some(3), Some(1)));
    let sorted: Vec<NodeIndex> = third.nodes().iter().map(super::Node::index).collect();
    assert!(sorted.is_sorted());
    assert_eq!(third.number(), 2);
}

#[test]
fn maps_are_compared_by_what_they_say() {
    let nodes = [announced("a", 1), announced("b", 2)];
    let first = map(None, &nodes);
    assert!(first.is_same_as(&map(Some(&first), &nodes)));
    assert!(!first.is_same_as(&map(Some(&first), &nodes[..1])));
    assert!(!first.is_same_as(&map(Some(&first), &[announced("a", 1), announced("b", 3)])));
    let other = Map::make(Some(&first), 1, &nodes, |_| Some(0)).expect("a map");
    assert!(!first.is_same_as(&other));
}

#[test]
fn indices_have_an_end() {
    let nodes: Vec<Announced> = (0..MAX_NODES).map(|number| announced(&format!("n{number}"), 1)).collect();
    let full = map(None, &nodes);
    assert_eq!(full.nodes().len(), MAX_NODES);
    let more = [announced("another", 1)];
    assert_eq!(Map::make(Some(&full), 1, &more, |_| Some(0)).err(), Some(MapFault::NoIndex));
}

#[test]
fn a_map_is_written_as_ranges() {
    let text = format!("{:?}", map(None, &[announced("a", 1), announced("b", 2)]));
    assert!(text.contains("(0, 8191, NodeIndex(0)), (8192, 16383, NodeIndex(1))"), "{text}");
}

#[test]
fn masters_lose_their_places() {
    let with = |id: &str, port, role| Announced { role, ..announced(id, port) };
    let before = map(
        None,
        &[
            announced("stays", 1),
            announced("empty", 2),
            announced("moved", 3),
            announced("demoted", 4),
            announced("gone", 5),
        ],
    );
    let later = [
        announced("stays", 1),
        announced("empty", 2),
        announced("moved", 33),
        with("demoted", 4, Role::Replica),
        announced("new", 6),
    ];
    let later =
        Map::make(Some(&before), 1, &later, |slot| Some(if slot < 9 { 0 } else { 2 })).expect("a map");
    let id = |node: NodeIndex| before.node(node).map(|node| node.id().to_owned()).expect("a node");
    let lost: Vec<String> = before.lost_places(&later).into_iter().map(id).collect();
    assert_eq!(lost, ["empty", "moved", "demoted", "gone"]);
    // A node that has never had a slot loses none.
    let last = Map::make(
        Some(&later),
        1,
        &[announced("stays", 1), announced("empty", 2), announced("new", 6)],
        |_| Some(0),
    );
    let lost = later.lost_places(&last.expect("a map"));
    assert_eq!(lost, [before.with_id("moved").expect("a node").index()]);
}
