//! Situations that are scripted byte by byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_resp::slot::slot;

use super::{frame, map, migrating, router, write_all};
use crate::cluster::router::readers::Readers;
use crate::cluster::{LegIndex, Map, Received, Router, Turn};
use crate::link::Unavailable;
use crate::tick::Tick;

const HELD: usize = 1 << 20;
pub(super) const NOT_FOLLOWED: &str = "-TRYAGAIN the slot of this command is moving to another node\r\n";

/// A router whose legs are connected to scripted nodes. Node n has the slots whose remainder by 3 is n.
pub(super) struct Scene {
    pub(super) router: Router,
    pub(super) map: Map,
    millis: u64,
    /// The node of each leg.
    pub(super) legs: BTreeMap<LegIndex, usize>,
    pub(super) written: BTreeMap<LegIndex, Vec<u8>>,
    client: String,
}

impl Scene {
    pub(super) fn new() -> Self {
        let map = map(None, 3, |slot| Some(usize::from(slot % 3)));
        Self {
            router: router(map.clone(), HELD),
            map,
            millis: 1,
            legs: BTreeMap::new(),
            written: BTreeMap::new(),
            client: String::new(),
        }
    }

    /// A router whose replicas execute reads.
    pub(super) fn reading(map: Map) -> Self {
        let mut router = router(map.clone(), HELD);
        router.readers = Readers::new(true);
        Self { router, map, ..Self::new() }
    }

    pub(super) fn now(&self) -> Tick {
        Tick::from_nanos(self.millis * 1_000_000)
    }

    /// Sends a command, and everything that can be written.
    pub(super) fn send(&mut self, line: &str) {
        let bytes = frame(line);
        assert_eq!(self.router.send(&bytes, self.now(), true), bytes.len(), "{line} waits");
        self.go();
    }

    /// Lets time pass, dials, and writes.
    pub(super) fn go(&mut self) {
        let now = self.now();
        self.router.advance(now);
        while let Some((leg, node)) = self.router.next_dial(now) {
            self.legs.insert(leg, node.number());
            self.router.connected(leg, now);
        }
        write_all(&mut self.router, &mut self.written);
        self.take_own();
    }

    /// Takes the router's own bytes for the client.
    pub(super) fn take_own(&mut self) {
        let mut own = Vec::new();
        self.router.take_own(&mut own, usize::MAX, self.now());
        self.client.push_str(&String::from_utf8(own).expect("text"));
    }

    pub(super) fn wait(&mut self, millis: u64) {
        self.millis += millis;
        self.go();
    }

    /// Lets the leg whose turn it is answer. Returns its node.
    pub(super) fn answer(&mut self, reply: &str) -> usize {
        let Turn::Leg(leg) = self.router.turn() else { panic!("no leg's turn: {:?}", self.router) };
        let node = self.legs[&leg];
        let mut rest = reply.as_bytes();
        while !rest.is_empty() {
            match self.router.receive(leg, rest, self.now()) {
                Received::Pass(n) => {
                    self.client.push_str(std::str::from_utf8(&rest[..n]).expect("text"));
                    rest = &rest[n..];
                }
                Received::Skip(n) => rest = &rest[n..],
                other => panic!("{other:?} for {rest:?}"),
            }
            self.take_own();
        }
        self.go();
        node
    }

    /// Returns the map after the slot of a key has moved to another node.
    pub(super) fn after_move(&self, key: &str, to: usize) -> Map {
        let moved = slot(key.as_bytes());
        let owner = |slot: u16| if slot == moved { to } else { usize::from(slot % 3) };
        map(Some(&self.map), 3, |slot| Some(owner(slot)))
    }

    /// Takes what was written to the leg whose turn it is.
    pub(super) fn take_written(&mut self) -> String {
        let Turn::Leg(leg) = self.router.turn() else { panic!("no leg's turn: {:?}", self.router) };
        String::from_utf8(self.written.remove(&leg).unwrap_or_default()).expect("text")
    }

    /// Takes what the client has got.
    pub(super) fn got(&mut self) -> String {
        std::mem::take(&mut self.client)
    }
}

pub(super) fn owner(key: &str) -> usize {
    usize::from(slot(key.as_bytes()) % 3)
}

pub(super) fn moved(key: &str, node: usize) -> String {
    format!("-MOVED {} 10.0.0.1:{}\r\n", slot(key.as_bytes()), 7000 + node)
}

#[test]
fn a_redirect_is_followed_to_another_known_node_only() {
    let (key, home) = ("key", owner("key"));
    let other = (home + 1) % 3;
    let mut scene = Scene::new();
    scene.send("GET key");
    assert_eq!(scene.answer(&moved(key, other)), home);
    assert_eq!(scene.answer("$1\r\nx\r\n"), other);
    assert_eq!(scene.got(), "$1\r\nx\r\n");
    // The node that answered itself.
    scene.send("GET key");
    scene.answer(&moved(key, home));
    assert_eq!(scene.got(), NOT_FOLLOWED);
    // Another slot.
    scene.send("GET key");
    scene.answer("-MOVED 1 10.0.0.1:7001\r\n");
    assert_eq!(scene.got(), NOT_FOLLOWED);
    // A stranger, for whom the next map is awaited for a second.
    scene.send("GET key");
    scene.answer(&format!("-MOVED {} 192.0.2.1:1\r\n", slot(key.as_bytes())));
    assert_eq!((scene.got(), scene.router.take_hints().unknown), (String::new(), true));
    scene.wait(999);
    assert_eq!(scene.got(), "");
    scene.wait(1);
    assert_eq!(scene.got(), NOT_FOLLOWED);
}

#[test]
fn redirects_in_a_circle_end() {
    let (key, home) = ("key", owner("key"));
    let mut scene = Scene::new();
    scene.send("SET key 1");
    let mut at = home;
    for hop in 0.. {
        assert!(hop <= 5, "too many hops");
        let next = (at + 1) % 3;
        assert_eq!(scene.answer(&moved(key, next)), at);
        if scene.client == NOT_FOLLOWED {
            break;
        }
        at = next;
    }
    assert!(scene.router.is_settled());
}

#[test]
fn asking_goes_before_each_command_that_is_sent_again() {
    let (key, other) = ("key", (owner("key") + 1) % 3);
    let mut scene = Scene::new();
    for value in ["1", "2"] {
        scene.send(&format!("SET key {value}"));
        scene.answer(&moved(key, other).replace("MOVED", "ASK"));
        let expected = [frame("ASKING"), frame(&format!("SET key {value}"))].concat();
        assert_eq!(scene.take_written().as_bytes(), expected);
        scene.answer("+OK\r\n+OK\r\n");
        assert_eq!(scene.got(), "+OK\r\n");
    }
}

/// The ASK of a command that was pipelined may be old, so the node is asked again without ASKING.
#[test]
fn an_ask_that_may_be_old_is_not_followed() {
    let (key, home) = ("key", owner("key"));
    let ask = moved(key, (home + 1) % 3).replace("MOVED", "ASK");
    let mut scene = Scene::new();
    scene.send("GET key");
    scene.send("SET key 1");
    scene.answer("$-1\r\n");
    scene.take_written();
    assert_eq!(scene.answer(&ask), home);
    assert_eq!(scene.take_written().as_bytes(), frame("SET key 1"));
    assert_eq!(scene.answer(&ask), home);
    assert_eq!(scene.take_written().as_bytes(), [frame("ASKING"), frame("SET key 1")].concat());
    scene.answer("+OK\r\n+OK\r\n");
    assert_eq!(scene.got(), "$-1\r\n+OK\r\n");
}

/// The second command is sent again only after the reply to the first one.
#[test]
fn commands_on_one_key_keep_their_order_through_redirects() {
    let (key, home) = ("key", owner("key"));
    let other = (home + 1) % 3;
    let mut scene = Scene::new();
    scene.send("SET key 1");
    scene.send("SET key 2");
    scene.answer(&moved(key, other));
    assert_eq!(scene.take_written().as_bytes(), frame("SET key 1"));
    // The new map is not taken while the old owner owes a reply, so this command goes there too.
    let next = scene.after_move("key", other);
    scene.router.set_map(&Arc::new(next), &[], scene.now());
    let third = frame("SET key 3");
    assert_eq!(scene.router.send(&third, scene.now(), true), 0, "the first one is on its way");
    assert_eq!(scene.answer("+1\r\n"), other);
    scene.send("SET key 3");
    for reply in ["+2\r\n", "+3\r\n"] {
        assert_eq!(scene.answer(&moved(key, other)), home);
        assert_eq!(scene.answer(reply), other);
    }
    assert_eq!(scene.got(), "+1\r\n+2\r\n+3\r\n");
    scene.send("SET key 4");
    assert_eq!(scene.answer("+4\r\n"), other, "the new map is in force");
}

#[test]
fn a_script_is_sent_again_only_if_the_map_agrees() {
    let (key, home) = ("key", owner("key"));
    let other = (home + 1) % 3;
    let mut scene = Scene::new();
    // The script itself may have made the error.
    scene.send("EVAL x 1 key");
    scene.answer(&moved(key, other));
    assert_eq!(scene.got(), "");
    scene.wait(1000);
    assert_eq!(scene.got(), NOT_FOLLOWED);
    scene.send("EVAL x 1 key");
    scene.answer(&moved(key, other).replace("MOVED", "ASK"));
    assert_eq!(
        (scene.got(), scene.router.take_hints().asked),
        (String::new(), scene.map.owner(slot(b"key")))
    );
    scene.wait(1000);
    assert_eq!(scene.got(), NOT_FOLLOWED);
    scene.send("EVAL x 1 key");
    scene.answer(&moved(key, other));
    let next = scene.after_move("key", other);
    scene.router.set_map(&Arc::new(next), &[], scene.now());
    scene.go();
    assert_eq!(scene.answer(":1\r\n"), other);
    assert_eq!(scene.got(), ":1\r\n");
}

#[test]
fn try_again_is_tried_for_a_second_unless_a_later_command_would_overtake() {
    const TRY: &str = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
    let mut scene = Scene::new();
    scene.send("MGET {key}1 {key}2");
    scene.answer(TRY);
    let waiting = frame("PING");
    assert_eq!(scene.router.send(&waiting, scene.now(), true), 0, "nothing is judged meanwhile");
    scene.wait(10);
    scene.answer("*0\r\n");
    assert_eq!(scene.got(), "*0\r\n");
    scene.send("MGET {key}1 {key}2");
    for wait in [10, 20, 40, 80, 160, 320] {
        scene.answer(TRY);
        scene.wait(wait);
    }
    scene.answer(TRY);
    assert_eq!(scene.got(), NOT_FOLLOWED);
    scene.send("MGET {key}1 {key}2");
    scene.send("GET {key}1");
    scene.answer(TRY);
    assert_eq!(scene.got(), TRY);
}

#[test]
fn a_node_that_cannot_be_reached_fails_after_a_second_and_then_at_once() {
    let mut scene = Scene::new();
    let bytes = frame("GET key");
    assert_eq!(scene.router.send(&bytes, scene.now(), true), bytes.len());
    for _ in 0..40 {
        let now = scene.now();
        scene.router.advance(now);
        while let Some((leg, _)) = scene.router.next_dial(now) {
            scene.router.unreachable(leg, Unavailable::Refused, now);
        }
        scene.millis += 50;
    }
    let mut reply = Vec::new();
    scene.router.take_own(&mut reply, usize::MAX, scene.now());
    let unavailable = b"-ERR portcullis: upstream 'main' unavailable (refused)\r\n";
    assert_eq!(reply, unavailable);
    let down = scene.map.owner(slot(b"key")).expect("an owner");
    scene.router.set_map(&Arc::new(scene.map.clone()), &[down], scene.now());
    scene.send("GET key");
    assert_eq!(scene.got(), "-ERR portcullis: upstream 'main' unavailable (timeout)\r\n");
}

#[test]
fn a_command_that_was_written_is_never_sent_again_when_its_leg_is_lost() {
    let mut scene = Scene::new();
    scene.send("INCR key");
    let Turn::Leg(leg) = scene.router.turn() else { panic!("a leg") };
    scene.router.lost(leg, scene.now());
    scene.go();
    assert!(scene.got().contains("may or may not have run"));
    // One of which no byte was written is.
    scene.send("GET key");
    let bytes = frame("INCR key");
    scene.answer("$-1\r\n");
    scene.router.send(&bytes, scene.now(), true);
    let Turn::Leg(leg) = scene.router.turn() else { panic!("a leg") };
    scene.router.lost(leg, scene.now());
    scene.go();
    scene.answer(":1\r\n");
    assert_eq!(scene.got(), "$-1\r\n:1\r\n");
}

#[test]
fn a_slot_without_an_owner_is_awaited_for_a_second() {
    let mut scene = Scene::new();
    let bytes = frame("GET key");
    let next = map(Some(&scene.map), 3, |other| (other != slot(b"key")).then_some(1));
    scene.router.set_map(&Arc::new(next), &[], scene.now());
    assert_eq!(scene.router.send(&bytes, scene.now(), true), 0);
    scene.wait(1000);
    scene.send("GET key");
    assert_eq!(scene.got(), "-CLUSTERDOWN Hash slot not served\r\n");
    scene.send("GET key");
    assert_eq!(scene.got(), "-CLUSTERDOWN Hash slot not served\r\n");
}

#[test]
fn a_long_command_is_streamed_to_its_node_and_not_sent_again() {
    let mut scene = Scene::new();
    let long = frame(&format!("SET key {}", "v".repeat(100_000)));
    for piece in long.chunks(9_999) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = &rest[scene.router.send(rest, scene.now(), true)..];
            scene.go();
        }
    }
    assert_eq!(scene.take_written().as_bytes(), long);
    scene.answer(&moved("key", (owner("key") + 1) % 3));
    assert_eq!(scene.got(), NOT_FOLLOWED);
    scene.send("GET key");
    scene.answer("$-1\r\n");
    assert_eq!(scene.got(), "$-1\r\n");
}

/// A client writes 300,000 commands before it reads a reply.
#[test]
fn a_long_pipeline_over_three_nodes_costs_little() {
    const COMMANDS: usize = 300_000;
    const MOST: usize = 2 * 1024 * 1024;
    let mut scene = Scene::new();
    let mut most = 0;
    for number in 0..COMMANDS {
        let bytes =
            if number % 2 == 0 { frame(&format!("GET {number}")) } else { frame(&format!("SET {number} v")) };
        assert_eq!(scene.router.send(&bytes, scene.now(), false), bytes.len());
        if number % 100 == 0 {
            scene.go();
            scene.written.clear();
        }
        most = most.max(scene.router.held());
    }
    assert!(most < MOST, "{most}");
    scene.go();
    for number in 0..COMMANDS {
        let Turn::Leg(leg) = scene.router.turn() else { panic!("a leg") };
        let reply = format!(":{number}\r\n");
        assert_eq!(scene.router.receive(leg, reply.as_bytes(), scene.now()), Received::Pass(reply.len()));
        assert_eq!(scene.legs[&leg], owner(&number.to_string()));
    }
    assert!(scene.router.is_settled());
    assert!(scene.router.held() < 16 * 1024, "{}", scene.router.held());
}

/// A node that has stopped keeps its connections open, so nothing else shows that it is gone.
#[test]
fn the_watcher_hears_of_a_node_that_takes_long() {
    let mut scene = Scene::new();
    let slow = |scene: &mut Scene| scene.router.take_hints().slow.map(crate::cluster::NodeIndex::number);
    scene.send("GET key");
    scene.wait(999);
    assert_eq!((slow(&mut scene), scene.router.idle_due()), (None, Some(Tick::from_nanos(1_001_000_000))));
    scene.wait(1);
    assert_eq!(slow(&mut scene), Some(owner("key")));
    scene.wait(5000);
    assert_eq!(slow(&mut scene), None, "it is told once for each command");
    scene.answer("$1\r\nx\r\n");
    scene.send("GET key");
    scene.wait(1000);
    assert_eq!(slow(&mut scene), Some(owner("key")));
    scene.answer("$1\r\nx\r\n");
    scene.send("BLPOP key 0");
    scene.wait(5000);
    assert_eq!(slow(&mut scene), None, "the command may block");
}

#[test]
fn an_idle_connection_to_a_node_that_is_down_gets_no_command() {
    let mut scene = Scene::new();
    scene.send("GET key");
    scene.answer("$1\r\nx\r\n");
    scene.got();
    let down: Vec<_> = scene
        .map
        .nodes()
        .iter()
        .map(crate::cluster::Node::index)
        .filter(|node| node.number() == owner("key"))
        .collect();
    let map = Arc::new(scene.map.clone());
    scene.router.set_map(&map, &down, scene.now());
    scene.send("GET key");
    assert_eq!(scene.got(), "-ERR portcullis: upstream 'main' unavailable (timeout)\r\n");
    scene.router.set_map(&map, &[], scene.now());
    scene.send("GET key");
    assert_eq!(scene.answer("$1\r\ny\r\n"), owner("key"));
}

/// A script can return any error after it has run.
#[test]
fn a_script_that_says_tryagain_is_not_sent_again() {
    let mut scene = Scene::new();
    scene.router.send(&frame("EVAL x 1 key"), scene.now(), true);
    scene.go();
    scene.answer("-TRYAGAIN later\r\n");
    assert_eq!(scene.got(), "-TRYAGAIN later\r\n");
    scene.send("GET key");
    assert_eq!(scene.answer("$1\r\nx\r\n"), owner("key"));
    assert_eq!(scene.got(), "$1\r\nx\r\n");
}

/// Sends the frame of `SET key VALUE` with a value of this length in pieces that a socket gives.
fn send_long(scene: &mut Scene, key: &str, length: usize) {
    let bytes = frame(&format!("SET {key} {}", "v".repeat(length)));
    for piece in bytes.chunks(4096) {
        let mut at = 0;
        while at < piece.len() {
            at += scene.router.send(&piece[at..], scene.now(), true);
            scene.go();
        }
    }
}

#[test]
fn a_long_command_for_a_node_that_is_down_has_one_answer() {
    let mut scene = Scene::new();
    let down: Vec<_> = scene.map.nodes().iter().map(crate::cluster::Node::index).collect();
    let map = Arc::new(scene.map.clone());
    scene.router.set_map(&map, &down, scene.now());
    send_long(&mut scene, "key", 100_000);
    assert_eq!(scene.got(), "-ERR portcullis: upstream 'main' unavailable (timeout)\r\n");
    scene.router.set_map(&map, &[], scene.now());
    scene.send("GET key");
    scene.answer("$1\r\nx\r\n");
    assert_eq!(scene.got(), "$1\r\nx\r\n");
}

/// A command of a transaction may be longer than a frame that is kept.
#[test]
fn long_commands_of_a_transaction_are_queued_or_spoil_it() {
    let mut scene = Scene::new();
    scene.send("MULTI");
    send_long(&mut scene, "key", 100_000);
    scene.answer("+OK\r\n+QUEUED\r\n");
    send_long(&mut scene, "key", 100_000);
    scene.answer("+QUEUED\r\n");
    assert_eq!(scene.got(), "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    send_long(&mut scene, "key", 2 * HELD);
    assert_eq!(scene.got(), "-ERR command too large to be checked\r\n");
    scene.send("EXEC");
    assert!(scene.take_written().ends_with("\r\n*1\r\n$7\r\nDISCARD\r\n"));
    scene.answer("+OK\r\n");
    assert!(scene.got().starts_with("-EXECABORT"));
}

/// A node that always leaves some bytes unwritten must not make the buffer grow.
#[test]
fn bytes_that_were_written_make_room() {
    let mut scene = Scene::new();
    scene.send("GET key");
    scene.answer("$1\r\nx\r\n");
    let command = frame("GET key");
    let leg = *scene.legs.keys().next().expect("a leg");
    for number in 0..20_000 {
        assert_eq!(scene.router.send(&command, scene.now(), true), command.len(), "{number}");
        let unwritten = scene.router.bytes_for(leg).len();
        scene.router.wrote(leg, unwritten.saturating_sub(100));
        if number % 100 == 99 {
            for _ in 0..100 {
                assert_eq!(scene.router.receive(leg, b"$1\r\nx\r\n", scene.now()), Received::Pass(7));
            }
        }
    }
    assert!(scene.router.held() < 16 * 1024, "{}", scene.router.held());
}

#[test]
fn watch_in_a_transaction_is_refused_and_does_not_spoil_it() {
    let mut scene = Scene::new();
    ["MULTI", "WATCH key", "EXEC"].into_iter().for_each(|line| scene.send(line));
    assert_eq!(scene.got(), "+OK\r\n-ERR WATCH inside MULTI is not allowed\r\n*0\r\n");
    ["MULTI", "WATCH", "EXEC"].into_iter().for_each(|line| scene.send(line));
    assert!(scene.got().ends_with("-EXECABORT Transaction discarded because of previous errors.\r\n"));
}

#[test]
fn a_name_that_redis_refuses_is_refused() {
    let mut scene = Scene::new();
    let bytes =
        [&b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$3\r\na b\r\n"[..], &frame("CLIENT GETNAME")].concat();
    assert_eq!(scene.router.send(&bytes, scene.now(), true), bytes.len());
    scene.go();
    let refusal = "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
    assert_eq!(scene.got(), format!("{refusal}$-1\r\n"));
}

/// The node has executed the second command, so the first one must not be executed after it.
#[test]
fn commands_on_a_slot_that_comes_back_do_not_swap() {
    let (home, other) = (owner("key"), (owner("key") + 1) % 3);
    let mut scene = Scene::new();
    scene.send("SET key 1");
    scene.send("SET key 2");
    assert_eq!(scene.answer(&moved("key", other)), home);
    assert_eq!(scene.answer(&moved("key", home)), other);
    assert_eq!(scene.got(), NOT_FOLLOWED);
    assert_eq!(scene.answer("+2\r\n"), home);
    assert_eq!(scene.got(), "+2\r\n");
    // Without a later command, or with one on another slot, it is followed.
    let neighbour = (0..).map(|number| format!("k{number}")).find(|key| owner(key) == home).expect("a key");
    scene.send("SET key 3");
    scene.send(&format!("SET {neighbour} 1"));
    assert_eq!(scene.answer(&moved("key", other)), home);
    assert_eq!(scene.answer(&moved("key", home)), other);
    assert_eq!(scene.answer("+3\r\n"), home);
    assert_eq!(scene.got(), "+3\r\n");
}

/// A script that makes the error itself would run twice.
#[test]
fn an_ask_of_a_script_is_followed_only_if_its_node_says_that_the_slot_moves() {
    let (home, other) = (owner("key"), (owner("key") + 1) % 3);
    let ask = moved("key", other).replace("MOVED", "ASK");
    let asked = [frame("ASKING"), frame("EVAL x 1 key")].concat();
    let mut scene = Scene::new();
    let next = Arc::new(migrating(&scene.map, slot(b"key"), home, other));
    scene.send("EVAL x 1 key");
    assert_eq!(scene.answer(&ask), home);
    scene.router.set_map(&next, &[], scene.now());
    scene.go();
    assert_eq!(scene.take_written().as_bytes(), asked);
    assert_eq!(scene.answer("+OK\r\n:1\r\n"), other);
    // The ASK of a pipelined script may have waited, so its node is asked once more.
    scene.send("GET key");
    scene.send("EVAL x 1 key");
    scene.answer("$-1\r\n");
    scene.take_written();
    assert_eq!(scene.answer(&ask), home);
    assert_eq!(scene.take_written().as_bytes(), frame("EVAL x 1 key"));
    assert_eq!(scene.answer(&ask), home);
    assert_eq!(scene.take_written().as_bytes(), asked);
    scene.answer("+OK\r\n:2\r\n");
    assert_eq!(scene.got(), ":1\r\n$-1\r\n:2\r\n");
    // Another node than the one that gets the slot.
    scene.send("EVAL x 1 key");
    scene.answer(&ask.replace(&(7000 + other).to_string(), &(7000 + (other + 1) % 3).to_string()));
    scene.wait(1000);
    assert_eq!(scene.got(), NOT_FOLLOWED);
}
