use portcullis_session::cluster::{Announced, Endpoint, Role};
use rustls::pki_types::ServerName;

use super::super::tests::{socket, upstream, upstream_with};
use super::super::{Leaving, View};
use super::*;

/// Makes a map of masters, of which the first owns all slots.
fn map(last: Option<&Map>, ids: &[&str]) -> Arc<Map> {
    let node = |id: &&str| Announced {
        id: (*id).into(),
        address: Endpoint::new(id, 6379),
        names: Vec::new(),
        role: Role::Master,
        migrating: Vec::new(),
        master: None,
    };
    let nodes: Vec<Announced> = ids.iter().map(node).collect();
    Arc::new(Map::make(last, 1, &nodes, |_| Some(0)).expect("a map"))
}

/// Returns the sockets of a node that are known.
fn sockets(view: &ClusterView, node: NodeIndex) -> &[SocketAddr] {
    match view.place(node).map(|place| &place.sockets) {
        Some(Sockets::Tcp(sockets)) => sockets,
        _ => &[],
    }
}

/// Returns a node at its own address, or at none if its id is a name.
fn state(node: &Node) -> NodeState {
    let address = portcullis_config::Address::Host { host: node.id().to_owned(), port: 6379 };
    NodeState { place: Place::before_lookup(&address), is_down: node.id() == "192.0.2.2" }
}

fn index(map: &Map, id: &str) -> NodeIndex {
    map.with_id(id).expect("the node is in the map").index()
}

#[test]
fn each_node_has_its_sockets() {
    let map = map(None, &["192.0.2.1", "192.0.2.2", "node.example"]);
    let view = ClusterView::new(Arc::clone(&map), Condition::Ok, state);
    let (first, second, named) =
        (index(&map, "192.0.2.1"), index(&map, "192.0.2.2"), index(&map, "node.example"));
    assert_eq!(sockets(&view, first), [socket("192.0.2.1:6379")]);
    assert_eq!(sockets(&view, second), [socket("192.0.2.2:6379")]);
    assert!(sockets(&view, named).is_empty(), "the name has not been looked up");
    assert_eq!([first, second, named].map(|node| view.is_down(node)), [false, true, false]);
    assert!(view.has(socket("192.0.2.2:6379")) && !view.has(socket("192.0.2.3:6379")));
    assert_eq!(view.map().owner(16383), Some(first));
}

/// An index of a later map is no index of this one, and the other way round.
#[test]
fn a_node_of_another_map_has_no_place() {
    let first = map(None, &["192.0.2.1"]);
    let second = map(Some(&first), &["192.0.2.2"]);
    let view = ClusterView::new(Arc::clone(&second), Condition::Ok, state);
    let gone = index(&first, "192.0.2.1");
    assert!(view.place(gone).is_none() && !view.is_down(gone));
    assert!(view.is_down(index(&second, "192.0.2.2")));
}

#[test]
fn a_view_of_a_cluster_has_no_place_of_its_own() {
    let cluster = |nodes: &str| upstream_with(&format!("{{cluster: {{nodes: {nodes}}}}}"));
    let first = View::first(&cluster("['127.0.0.1:7000', '127.0.0.1:7001']"));
    assert!(first.cluster().is_none() && first.places().is_empty());
    assert!(!first.has(socket("192.0.2.1:6379")), "no node is known");
    let map = map(None, &["192.0.2.1"]);
    let with = |condition| ClusterView::new(Arc::clone(&map), condition, state);
    let view = first.with_cluster(with(Condition::Ok)).expect("a change");
    assert_eq!((view.number(), view.leaving()), (1, Leaving::WhenIdle));
    assert!(view.cluster().is_some_and(|cluster| Arc::ptr_eq(cluster.map(), &map)));
    assert!(view.has(socket("192.0.2.1:6379")) && !view.has(socket("127.0.0.1:7000")));
    assert_eq!(view.with_cluster(with(Condition::Ok)), None);
    for condition in [Condition::Fails, Condition::Silent] {
        let next = view.with_cluster(with(condition)).expect("a change");
        assert_eq!(next.cluster().map(ClusterView::condition), Some(condition));
    }
    assert!(view.is_of(&cluster("['127.0.0.1:7002', '127.0.0.1:7001']")), "a node in common");
    assert!(!view.is_of(&cluster("['127.0.0.1:7002']")) && !view.is_of(&upstream("127.0.0.1:7000")));
}

#[test]
fn the_certificate_of_a_node_has_its_host() {
    const PIN: &str = "sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    let upstream = upstream_with(&format!("{{cluster: {{nodes: '127.0.0.1:7000'}}, tls: {{pin: '{PIN}'}}}}"));
    let tls = upstream.tls().expect("TLS");
    let map = map(None, &["192.0.2.1", "node.example"]);
    let view = ClusterView::new(Arc::clone(&map), Condition::Ok, state);
    for name in ["192.0.2.1", "node.example"] {
        let expected = ServerName::try_from(name).expect("a name");
        let place = view.place(index(&map, name)).expect("the node is in the map");
        assert_eq!(tls.name_of(&place.address), Some(expected));
    }
}
