//! Commands that only read, at replicas.

use std::sync::Arc;

use portcullis_resp::slot::slot;

use super::scripted::{Scene, moved, owner};
use super::{announced, frame};
use crate::cluster::{Map, NodeIndex, Received, Role, Turn};
use crate::link::Unavailable;

const MASTERS: usize = 3;

/// Makes the map of three masters with two replicas each: node n and node n + 3 are the replicas of master n % 3. `lost`
/// has changed places with its replica `heir`.
fn map(last: Option<&Map>, change: Option<(usize, usize)>) -> Map {
    let place = |node: usize| match change {
        Some((lost, heir)) if node == heir => lost,
        Some((lost, heir)) if node == lost => heir,
        _ => node,
    };
    let role = |node| if place(node) < MASTERS { Role::Master } else { Role::Replica };
    let mut nodes = announced(3 * MASTERS, role);
    for (number, node) in nodes.iter_mut().enumerate() {
        if place(number) >= MASTERS {
            node.master = Some(format!("{:040}", place(place(number) % MASTERS)).into());
        }
    }
    let owner = |slot: u16| Some(place(usize::from(slot) % MASTERS));
    Map::make(last, 1, &nodes, owner).expect("a map")
}

fn scene() -> Scene {
    Scene::reading(map(None, None))
}

fn replicas(key: &str) -> [usize; 2] {
    [owner(key) + MASTERS, owner(key) + 2 * MASTERS]
}

fn node(scene: &Scene, number: usize) -> NodeIndex {
    scene.map.nodes()[number].index()
}

/// Answers the set-up of every leg that has one.
fn set_up(scene: &mut Scene) -> usize {
    let mut count = 0;
    loop {
        let Some(leg) = scene.router.setting_up().next() else { return count };
        scene.written.remove(&leg);
        assert!(matches!(scene.router.receive(leg, b"+OK\r\n", scene.now()), Received::Skip(5)));
        count += 1;
        scene.go();
    }
}

/// Lets the router send reads of lost legs elsewhere, and then dial for them.
fn go(scene: &mut Scene) {
    scene.go();
    scene.go();
}

/// Sends a read and lets its leg open. Returns the node that has it.
fn read(scene: &mut Scene, line: &str) -> usize {
    scene.send(line);
    set_up(scene);
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg's turn: {:?}", scene.router) };
    scene.legs[&leg]
}

#[test]
fn a_read_goes_to_one_replica_and_a_write_to_the_master() {
    let mut scene = scene();
    scene.send("GET key");
    let leg = scene.router.setting_up().next().expect("the leg is set up");
    assert_eq!(scene.written[&leg], frame("READONLY"), "nothing else before the answer");
    set_up(&mut scene);
    let replica = scene.answer("$1\r\nx\r\n");
    assert!(replicas("key").contains(&replica));
    for _ in 0..3 {
        assert_eq!(read(&mut scene, "GET key"), replica);
        scene.answer("$1\r\nx\r\n");
    }
    for write in ["SET key 1", "PFCOUNT key", "TOUCH key", "OBJECT ENCODING key", "EVAL_RO x 1 key"] {
        scene.send(write);
        assert_eq!(scene.answer("+OK\r\n"), owner("key"), "{write}");
    }
    scene.send("PING");
    assert_eq!(scene.answer("+PONG\r\n"), owner("key"), "a command without keys");
    assert_eq!(scene.router.take_hints().replica_reads, 4);
}

#[test]
fn sessions_use_different_replicas() {
    let mut used = Vec::new();
    for seed in 0..32 {
        let mut scene = scene();
        scene.router.seed = seed;
        let replica = read(&mut scene, "GET key");
        used.push(replica);
    }
    for replica in replicas("key") {
        assert!(used.iter().filter(|used| **used == replica).count() >= 8, "{used:?}");
    }
}

/// Its answer says that it was not executed.
#[test]
fn a_read_that_a_replica_refuses_goes_to_the_master_once() {
    let masterdown = "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n";
    for refusal in [
        &moved("key", owner("key")),
        "-LOADING Redis is loading the dataset in memory\r\n",
        masterdown,
        "-CLUSTERDOWN The cluster is down\r\n",
    ] {
        let mut scene = scene();
        let first = read(&mut scene, "GET key");
        assert_eq!(scene.answer(refusal), first);
        // What the master answers is final.
        assert_eq!(scene.answer(masterdown), owner("key"));
        assert_eq!(scene.got(), masterdown);
        assert_eq!(scene.router.take_hints().replica_refusals, 1);
        let second = read(&mut scene, "GET key");
        assert!(replicas("key").contains(&second) && second != first, "the other replica");
        assert_eq!(scene.answer(refusal), second);
        scene.answer("$1\r\nx\r\n");
        assert_eq!(read(&mut scene, "GET key"), owner("key"), "no replica is left");
        scene.answer("$1\r\nx\r\n");
        scene.wait(1000);
        assert_eq!(read(&mut scene, "GET key"), first, "{refusal}");
    }
}

/// A MOVED of the master is followed as usual: the slot has moved after the map was made.
#[test]
fn a_read_follows_its_slot_from_the_master_on() {
    let (home, other) = (owner("key"), (owner("key") + 1) % 3);
    let mut scene = scene();
    read(&mut scene, "GET key");
    scene.answer(&moved("key", home));
    assert_eq!(scene.answer(&moved("key", other)), home);
    assert_eq!(scene.answer("$1\r\nx\r\n"), other);
    assert_eq!(scene.got(), "$1\r\nx\r\n");
}

#[test]
fn reads_of_a_lost_replica_go_to_the_master() {
    let mut scene = scene();
    let replica = read(&mut scene, "GET key");
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg's turn") };
    (0..200).for_each(|_| scene.send("GET key"));
    scene.router.lost(leg, scene.now());
    go(&mut scene);
    for number in 0..=200 {
        assert_eq!(scene.answer(&format!(":{number}\r\n")), owner("key"));
    }
    let expected: Vec<String> = (0..=200).map(|number| format!(":{number}\r\n")).collect();
    assert_eq!(scene.got(), expected.concat());
    assert_ne!(read(&mut scene, "GET key"), replica);
    assert!(scene.router.ended().is_none());
}

/// Up to 64 reads are sent again in one write.
#[test]
fn reads_of_a_lost_replica_are_sent_again_together() {
    let mut scene = scene();
    read(&mut scene, "GET key");
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg's turn") };
    (0..9).for_each(|_| scene.send("GET key"));
    scene.router.lost(leg, scene.now());
    go(&mut scene);
    assert_eq!(scene.take_written(), String::from_utf8(frame("GET key").repeat(10)).expect("text"));
}

#[test]
fn a_reply_that_has_begun_ends_the_session_with_its_replica() {
    let mut scene = scene();
    read(&mut scene, "GET key");
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg's turn") };
    let head = format!("${}\r\nx", 1 << 20);
    scene.router.receive(leg, head.as_bytes(), scene.now());
    let rest = vec![b'x'; 100_000];
    let received = scene.router.receive(leg, &[head.as_bytes(), &rest].concat(), scene.now());
    assert!(matches!(received, Received::Pass(_)), "a long reply is passed on: {received:?}");
    scene.router.lost(leg, scene.now());
    go(&mut scene);
    assert!(scene.router.ended().is_some());
}

/// No client waits for a replica that cannot be reached.
#[test]
fn a_replica_that_refuses_the_connection_is_passed_over() {
    let mut scene = scene();
    let now = scene.now();
    let bytes = [frame("GET key"), frame("GET key")].concat();
    assert_eq!(scene.router.send(&bytes, now, true), bytes.len());
    let (leg, silent) = scene.router.next_dial(now).expect("a leg");
    scene.router.unreachable(leg, Unavailable::Refused, now);
    go(&mut scene);
    for _ in 0..2 {
        assert_eq!(scene.answer("$1\r\nx\r\n"), owner("key"));
    }
    let hints = scene.router.take_hints();
    assert_eq!((hints.refused, hints.silent), (Some(silent), Some(silent)));
    let other = read(&mut scene, "GET key");
    assert!(replicas("key").contains(&other) && node(&scene, other) != silent);
}

#[test]
fn a_replica_that_is_down_is_left() {
    let mut scene = scene();
    let replica = read(&mut scene, "GET key");
    let down = [node(&scene, replica)];
    scene.router.set_map(&Arc::new(map(None, None)), &down, scene.now());
    go(&mut scene);
    assert_eq!(scene.answer("$1\r\nx\r\n"), owner("key"));
    let other = read(&mut scene, "GET key");
    assert!(replicas("key").contains(&other) && other != replica);
    scene.answer("$1\r\nx\r\n");
    let down = replicas("key").map(|number| node(&scene, number));
    scene.router.set_map(&Arc::new(map(None, None)), &down, scene.now());
    go(&mut scene);
    assert_eq!(read(&mut scene, "GET key"), owner("key"));
}

/// The replica takes the place of its master, and its connection for reads is used no more.
#[test]
fn a_failover_changes_the_replicas() {
    let mut scene = scene();
    let replica = read(&mut scene, "GET key");
    let next = Arc::new(map(Some(&scene.map), Some((owner("key"), replica))));
    scene.router.set_map(&next, &[], scene.now());
    assert_eq!(scene.answer("$1\r\nx\r\n"), replica, "it has executed the read");
    scene.send("SET key 1");
    assert_eq!(scene.answer("+OK\r\n"), replica, "it is the master");
    let now = read(&mut scene, "GET key");
    assert!(now != replica && [&replicas("key")[..], &[owner("key")]].concat().contains(&now));
}

#[test]
fn a_read_at_a_replica_that_has_lost_its_role_is_redirected() {
    let mut scene = scene();
    let replica = read(&mut scene, "GET key");
    let next = Arc::new(map(Some(&scene.map), Some((owner("key"), replica))));
    // The replica answers as one, and has its master's place meanwhile.
    scene.router.set_map(&next, &[], scene.now());
    scene.answer(&moved("key", owner("key")));
    assert_eq!(scene.answer("$1\r\nx\r\n"), replica);
    assert_eq!(scene.got(), "$1\r\nx\r\n");
}

#[test]
fn parts_of_a_command_go_to_replicas() {
    let mut scene = scene();
    let keys = ["a", "b", "c", "d"];
    scene.send(&format!("MGET {}", keys.join(" ")));
    set_up(&mut scene);
    for key in &keys[..2] {
        let answered = scene.answer(&format!("*1\r\n$1\r\n{key}\r\n"));
        assert!(replicas(key).contains(&answered));
    }
    // The third part is refused, and the fourth one is at a replica that is lost.
    assert!(replicas("c").contains(&scene.answer("-LOADING\r\n")));
    assert_eq!(scene.answer("*1\r\n$1\r\nc\r\n"), owner("c"));
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg's turn") };
    scene.router.lost(leg, scene.now());
    go(&mut scene);
    assert_eq!(scene.answer("*1\r\n$1\r\nd\r\n"), owner("d"));
    assert_eq!(scene.got(), "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n");
    scene.send(&format!("DEL {}", keys.join(" ")));
    for _ in 0..keys.len() {
        assert!(scene.answer(":1\r\n") < MASTERS);
    }
    assert!(scene.got().ends_with(":4\r\n"));
}

#[test]
fn reads_stay_at_the_master_where_a_replica_cannot_serve_them() {
    // Watched keys.
    let mut scene = scene();
    scene.send("WATCH key");
    scene.answer("+OK\r\n");
    assert_eq!(read(&mut scene, "GET key"), owner("key"));
    scene.answer("$1\r\nx\r\n");
    scene.send("MULTI");
    scene.send("GET key");
    assert_eq!(scene.answer("+OK\r\n+QUEUED\r\n"), owner("key"));
    // Blocking commands.
    let mut scene = self::scene();
    scene.send("XREAD BLOCK 10 STREAMS key $");
    assert_eq!(scene.answer("*-1\r\n"), owner("key"));
    assert!(replicas("key").contains(&read(&mut scene, "XREAD STREAMS key 0")));
    // A slot that moves.
    let mut scene = self::scene();
    let mut nodes = announced(3 * MASTERS, |node| if node < MASTERS { Role::Master } else { Role::Replica });
    let heir = nodes[(owner("key") + 1) % 3].id.clone();
    nodes[owner("key")].migrating.push((slot(b"key"), heir));
    for (number, node) in nodes.iter_mut().enumerate().skip(MASTERS) {
        node.master = Some(format!("{:040}", number % MASTERS).into());
    }
    let moving = Map::make(Some(&scene.map), 1, &nodes, |slot| Some(usize::from(slot) % MASTERS));
    scene.router.set_map(&Arc::new(moving.expect("a map")), &[], scene.now());
    assert_eq!(read(&mut scene, "GET key"), owner("key"));
    // Frames that are not kept.
    let mut scene = self::scene();
    assert_eq!(read(&mut scene, &format!("GETRANGE key 0 {}", "9".repeat(20_000))), owner("key"));
}
