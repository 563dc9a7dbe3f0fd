//! Clients on shared connections.

use portcullis_resp::slot::slot;

use super::scripted::Scene;
use super::{frame, shared_router};
use crate::cluster::Turn;

/// A scene whose client shares connections.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.router = shared_router(scene.map.clone(), 1 << 20);
    scene
}

/// The key of this node, as node n has the slots whose remainder by 3 is n.
fn key_of(node: usize) -> String {
    let mut keys = (0..100).map(|n: u32| n.to_string());
    keys.find(|key| usize::from(slot(key.as_bytes()) % 3) == node).expect("a key")
}

fn get(node: usize) -> String {
    format!("GET {}", key_of(node))
}

#[test]
fn a_client_uses_one_node_at_a_time() {
    let mut scene = scene();
    scene.send(&get(0));
    scene.send(&get(0));
    let other = frame(&get(1));
    assert_eq!(scene.router.send(&other, scene.now(), true), 0, "the other node owes replies");
    assert_eq!(scene.answer("$1\r\n1\r\n"), 0);
    assert_eq!(scene.router.send(&other, scene.now(), true), 0, "one reply is pending");
    assert_eq!(scene.answer("$1\r\n2\r\n"), 0);
    scene.send(&get(1));
    assert_eq!(scene.answer("$1\r\n3\r\n"), 1);
    assert_eq!(scene.got(), "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    assert!(scene.router.legs.all().all(|(_, leg)| leg.is_pooled));
}

#[test]
fn the_parts_of_a_command_go_one_after_the_other() {
    let mut scene = scene();
    let line = format!("MGET {} {} {}", key_of(0), key_of(1), key_of(0));
    scene.send(&line);
    for (node, value) in [(0, "x"), (1, "y"), (0, "z")] {
        assert_eq!(scene.answer(&format!("*1\r\n$1\r\n{value}\r\n")), node);
        scene.router.send(&[], scene.now(), true);
        scene.go();
    }
    assert_eq!(scene.got(), "*3\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n");
}

#[test]
fn moved_is_followed_by_a_shared_connection_and_ask_by_one_of_its_own() {
    let mut scene = scene();
    let number = slot(key_of(0).as_bytes());
    scene.send(&get(0));
    scene.send(&get(0));
    scene.answer(&format!("-MOVED {number} 10.0.0.1:7001\r\n"));
    assert_eq!(scene.answer("$1\r\n1\r\n"), 1);
    assert!(scene.router.legs.all().all(|(_, leg)| leg.is_pooled), "no leg of its own");
    let asked = format!("-ASK {number} 10.0.0.1:7002\r\n");
    // The first ASK may have waited, so the node is asked once more, by a leg that owes nothing.
    scene.answer(&asked);
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg's turn") };
    if scene.legs[&leg] == 0 {
        scene.answer(&asked);
    }
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg's turn") };
    assert!(!scene.router.is_pooled(leg), "ASKING is state");
    assert!(scene.take_written().starts_with("*1\r\n$6\r\nASKING\r\n"));
    scene.answer("+OK\r\n");
    scene.answer("$1\r\n2\r\n");
    assert_eq!(scene.got(), "$1\r\n1\r\n$1\r\n2\r\n");
    scene.wait(1_100);
    assert!(scene.router.legs.all().all(|(_, leg)| leg.is_pooled), "the leg of its own was needed once");
}

#[test]
fn a_lost_shared_connection_fails_what_was_given_to_it() {
    let mut scene = scene();
    scene.send(&get(0));
    let (leg, _) = scene.router.legs.all().next().expect("a leg");
    assert!(scene.router.has_given(leg));
    scene.router.lost(leg, scene.now());
    scene.go();
    assert!(scene.got().contains("closed the connection; this command may or may not have run"));
    scene.send(&get(0));
    assert_eq!(scene.answer("$-1\r\n"), 0);
}
