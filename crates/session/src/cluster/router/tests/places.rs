//! Nodes that lose their places, and still answer or not.

use std::sync::Arc;

use super::scripted::{Scene, moved, owner};
use super::{frame, map_with};
use crate::cluster::{LegIndex, Map, Role, Turn};

const LEFT: &str =
    "-ERR portcullis: upstream 'main' changed a master; this command may or may not have run\r\n";

/// Returns the map after a failover: `heir` has the slots of `lost`, which is a replica.
fn after_failover(scene: &Scene, lost: usize, heir: usize) -> Arc<Map> {
    let role = |node| if node == lost { Role::Replica } else { Role::Master };
    let owner = |slot: u16| Some(if usize::from(slot % 3) == lost { heir } else { usize::from(slot % 3) });
    Arc::new(map_with(Some(&scene.map), 3, role, owner))
}

fn turn(scene: &Scene) -> LegIndex {
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg: {:?}", scene.router) };
    leg
}

/// It may not know that it has lost its role, and lose what it acknowledges.
#[test]
fn a_node_that_lost_its_role_gets_no_new_command() {
    let (home, heir) = (owner("key"), (owner("key") + 1) % 3);
    let mut scene = Scene::new();
    scene.send("SET key 1");
    scene.router.set_map(&after_failover(&scene, home, heir), &[], scene.now());
    let waiting = frame("SET key 2");
    assert_eq!(scene.router.send(&waiting, scene.now(), true), 0, "the old owner still owes a reply");
    assert_eq!(scene.answer("+1\r\n"), home);
    scene.send("SET key 2");
    assert_eq!(scene.answer("+2\r\n"), heir);
    assert_eq!(scene.got(), "+1\r\n+2\r\n");
    assert_eq!(scene.router.legs.all().count(), 1, "the leg to the old owner is closed");
}

#[test]
fn a_silent_node_that_lost_its_place_is_cut_off_after_what_it_has_sent() {
    let (home, heir) = (owner("key"), (owner("key") + 1) % 3);
    let mut scene = Scene::new();
    ["SET key 1", "SET key 2"].into_iter().for_each(|command| scene.send(command));
    let leg = turn(&scene);
    scene.router.cut_off(leg);
    assert!(!scene.router.is_left(leg), "the node has its place, so the leg stays");
    scene.router.set_map(&after_failover(&scene, home, heir), &[], scene.now());
    assert!(scene.router.is_left(leg));
    scene.router.cut_off(leg);
    assert_eq!(scene.answer("+1\r\n"), home, "it was sent before");
    scene.router.lost(leg, scene.now());
    scene.go();
    scene.send("SET key 3");
    assert_eq!(scene.answer("+3\r\n"), heir);
    assert_eq!(scene.got(), format!("+1\r\n{LEFT}+3\r\n"));
}

/// Any node can publish, so PUBLISH does not wait for the owner of the channel's slot, and opens no leg to it.
#[test]
fn publish_goes_past_a_node_that_lost_its_place() {
    let (home, heir) = (owner("key"), (owner("key") + 1) % 3);
    let mut scene = Scene::new();
    scene.send("GET key");
    scene.router.set_map(&after_failover(&scene, home, heir), &[], scene.now());
    assert!(scene.router.maps.is_waiting(), "the old owner still owes a reply");
    scene.send("PUBLISH key text");
    assert_eq!(scene.answer("$1\r\nx\r\n"), home);
    let publisher = scene.answer(":1\r\n");
    assert_ne!(publisher, home);
    assert_eq!(scene.got(), "$1\r\nx\r\n:1\r\n");
}

/// The caller has found another address.
#[test]
fn a_node_at_another_address_gets_new_commands_there() {
    let home = owner("key");
    let mut scene = Scene::new();
    scene.send("SET key 1");
    let old = turn(&scene);
    scene.router.leave(old, scene.now());
    assert_eq!(scene.router.node_of(old).map(|node| node.number()), Some(home));
    assert_eq!(
        scene.router.send(&frame("SET key 2"), scene.now(), true),
        0,
        "the old connection still owes a reply"
    );
    scene.answer("+1\r\n");
    scene.send("SET key 2");
    assert_eq!(scene.legs.values().filter(|node| **node == home).count(), 1, "the index is used again");
    assert_eq!(scene.take_written().as_bytes(), [frame("SET key 1"), frame("SET key 2")].concat());
    scene.answer("+2\r\n");
    assert_eq!(scene.got(), "+1\r\n+2\r\n");
}

/// Nothing was written to the old owner, so the commands go to the new one, in their order.
#[test]
fn a_node_that_lost_its_place_is_not_dialled() {
    let (home, heir) = (owner("key"), (owner("key") + 1) % 3);
    let mut scene = Scene::new();
    let bytes = [frame("SET key 1"), frame("PING"), frame("SET key 2")].concat();
    assert_eq!(scene.router.send(&bytes, scene.now(), true), bytes.len());
    scene.router.set_map(&after_failover(&scene, home, heir), &[], scene.now());
    for reply in ["+1\r\n", "+PONG\r\n", "+2\r\n"] {
        scene.go();
        scene.answer(reply);
    }
    assert!(!scene.legs.values().any(|node| *node == home), "{:?}", scene.legs);
    assert_eq!(scene.got(), "+1\r\n+PONG\r\n+2\r\n");
}

/// The caller has no address for the node any more. The rest of what was sent goes to the new owner.
#[test]
fn a_transaction_at_a_node_that_is_gone_fails_before_it_is_written() {
    const EXPECTED: [&str; 4] =
        ["+OK", "-TRYAGAIN the slot of this transaction has moved", "-EXECABORT", "+2"];
    let (home, heir) = (owner("key"), (owner("key") + 1) % 3);
    for is_map_first in [true, false] {
        let mut scene = Scene::new();
        let lines = ["MULTI", "SET key 1", "EXEC", "SET key 2"];
        let mut bytes = lines.map(frame).concat();
        let sent = scene.router.send(&bytes, scene.now(), true);
        bytes.drain(..sent);
        let next = after_failover(&scene, home, heir);
        if is_map_first {
            scene.router.set_map(&next, &[], scene.now());
        }
        for _ in 0..lines.len() {
            scene.router.advance(scene.now());
            while let Some((leg, node)) = scene.router.next_dial(scene.now()) {
                assert_eq!(node.number(), home);
                scene.router.set_map(&next, &[], scene.now());
                scene.router.gone(leg, scene.now());
                scene.router.advance(scene.now());
            }
            scene.take_own();
        }
        let sent = scene.router.send(&bytes, scene.now(), true);
        assert_eq!(sent, bytes.len(), "{is_map_first}");
        scene.go();
        assert_eq!(scene.answer("+2\r\n"), heir);
        let got = scene.got();
        let is_expected = got.lines().zip(EXPECTED).all(|(line, expected)| line.starts_with(expected));
        assert!(is_expected && got.lines().count() == EXPECTED.len(), "{is_map_first}: {got}");
        assert!(scene.router.is_settled() && scene.router.ended().is_none());
    }
}

#[test]
fn a_transaction_at_a_node_that_lost_its_role_fails() {
    let (home, heir) = (owner("key"), (owner("key") + 1) % 3);
    for begin in [&["WATCH key"][..], &["MULTI", "SET key 1"], &["WATCH key", "MULTI", "SET key 1"]] {
        let mut scene = Scene::new();
        for command in begin {
            scene.send(command);
            match *command {
                "MULTI" => {}
                "WATCH key" => drop(scene.answer("+OK\r\n")),
                _ => drop(scene.answer("+OK\r\n+QUEUED\r\n")),
            }
        }
        scene.router.set_map(&after_failover(&scene, home, heir), &[], scene.now());
        scene.go();
        if begin.len() == 1 {
            scene.send("MULTI");
        }
        scene.got();
        scene.send("SET key 2");
        assert_eq!(scene.answer("+OK\r\n+QUEUED\r\n"), heir, "{begin:?}");
        scene.send("EXEC");
        assert_eq!(scene.take_written().lines().last(), Some("DISCARD"), "{begin:?}");
        scene.answer("+OK\r\n");
        assert!(scene.got().starts_with("+QUEUED\r\n-EXECABORT"), "{begin:?}");
        scene.send("SET key 3");
        assert_eq!(scene.answer("+OK\r\n"), heir);
        assert!(scene.router.ended().is_none());
    }
}

/// The node says that it is a replica, after or before the map does.
#[test]
fn a_blocking_command_follows_the_failover_of_its_node() {
    const UNBLOCKED: &str =
        "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
    let (home, heir) = (owner("key"), (owner("key") + 1) % 3);
    for is_map_first in [true, false] {
        let mut scene = Scene::new();
        scene.send("BLPOP key 0");
        let next = after_failover(&scene, home, heir);
        if is_map_first {
            scene.router.set_map(&next, &[], scene.now());
        }
        assert_eq!(scene.answer(UNBLOCKED), home);
        if !is_map_first {
            assert_eq!(scene.answer(&moved("key", heir)), home, "the node knows its master");
        }
        assert_eq!(scene.answer("*-1\r\n"), heir, "{is_map_first}");
        assert_eq!(scene.got(), "*-1\r\n");
    }
}

/// A redirect by a node that has lost its role is followed.
#[test]
fn a_replica_redirects() {
    let (home, heir) = (owner("key"), (owner("key") + 1) % 3);
    let mut scene = Scene::new();
    scene.send("SET key 1");
    scene.router.set_map(&after_failover(&scene, home, heir), &[], scene.now());
    assert_eq!(scene.answer(&moved("key", heir)), home);
    assert_eq!(scene.answer("+OK\r\n"), heir);
    assert_eq!(scene.got(), "+OK\r\n");
}
