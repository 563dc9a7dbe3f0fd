//! Subscriptions: scripted situations, and a simulated cluster whose slots move while messages are published.

mod bus;
mod simulation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_resp::slot::slot;

use super::{frame, map, router, write_all};
use crate::cluster::{Ended, LegIndex, Map, Received, Router, Turn};
use crate::link::Unavailable;
use crate::tick::Tick;

const PING: &str = "*1\r\n$4\r\nPING\r\n";
const PONG: &str = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
const NOT_FOLLOWED: &str = "-TRYAGAIN the slot of this command is moving to another node\r\n";

/// A router whose legs are connected to scripted nodes. Node n has the slots whose remainder by 3 is n.
struct Scene {
    router: Router,
    map: Map,
    millis: u64,
    legs: BTreeMap<LegIndex, usize>,
    /// The nodes that refuse connections.
    refusing: BTreeSet<usize>,
    written: BTreeMap<LegIndex, Vec<u8>>,
    client: String,
}

impl Scene {
    fn new() -> Self {
        let map = map(None, 3, |slot| Some(usize::from(slot % 3)));
        Self {
            router: router(map.clone(), 1 << 20),
            map,
            millis: 1,
            legs: BTreeMap::new(),
            refusing: BTreeSet::new(),
            written: BTreeMap::new(),
            client: String::new(),
        }
    }

    fn now(&self) -> Tick {
        Tick::from_nanos(self.millis * 1_000_000)
    }

    /// Sends a command, which may have to wait until a leg is open.
    #[track_caller]
    fn send(&mut self, line: &str) {
        let bytes = frame(line);
        for _ in 0..4 {
            if self.router.send(&bytes, self.now(), true) == bytes.len() {
                return self.go();
            }
            self.go();
        }
        panic!("{line} waits");
    }

    /// Lets time pass, dials, and writes.
    fn go(&mut self) {
        let now = self.now();
        self.router.advance(now);
        while let Some((leg, node)) = self.router.next_dial(now) {
            self.legs.insert(leg, node.number());
            if self.refusing.contains(&node.number()) {
                self.router.unreachable(leg, Unavailable::Refused, now);
            } else {
                self.router.connected(leg, now);
            }
        }
        write_all(&mut self.router, &mut self.written);
        let mut own = Vec::new();
        self.router.take_own(&mut own, usize::MAX, now);
        self.client.push_str(&String::from_utf8(own).expect("text"));
    }

    fn wait(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(50) {
            self.millis += 50;
            self.go();
        }
    }

    /// Returns the leg with subscriptions at a node.
    #[track_caller]
    fn leg(&self, node: usize) -> LegIndex {
        let leg = self.router.listening().find(|leg| self.legs[leg] == node);
        leg.unwrap_or_else(|| panic!("no subscriptions at {node}: {:?}", self.router))
    }

    /// Returns the node with the channels and patterns.
    #[track_caller]
    fn hub(&self) -> usize {
        self.legs[&self.router.listening().next().expect("a leg")]
    }

    /// Lets a node send bytes on its leg with subscriptions.
    #[track_caller]
    fn say(&mut self, node: usize, bytes: &str) {
        let mut rest = bytes.as_bytes();
        while !rest.is_empty() {
            let leg = self.leg(node);
            match self.router.receive(leg, rest, self.now()) {
                Received::Pass(n) => {
                    self.client.push_str(std::str::from_utf8(&rest[..n]).expect("text"));
                    rest = &rest[n..];
                }
                Received::Skip(n) => rest = &rest[n..],
                Received::Over => return,
                Received::Need(_) => panic!("{rest:?} is not enough"),
            }
            self.go();
        }
    }

    /// Takes what was written to the leg with subscriptions of a node.
    #[track_caller]
    fn take_written(&mut self, node: usize) -> String {
        let leg = self.leg(node);
        String::from_utf8(self.written.remove(&leg).unwrap_or_default()).expect("text")
    }

    /// Takes what the client has got.
    fn got(&mut self) -> String {
        std::mem::take(&mut self.client)
    }

    /// Makes another node the owner of all slots.
    fn give_all_to(&mut self, node: usize) {
        self.map = map(Some(&self.map), 3, |_| Some(node));
        self.router.set_map(&Arc::new(self.map.clone()), &[], self.now());
    }

    /// Subscribes to a shard channel.
    #[track_caller]
    fn ssubscribe(&mut self, name: &str) {
        self.send(&format!("SSUBSCRIBE {name}"));
        let node = owner(name);
        assert_eq!(self.take_written(node), command(&format!("SSUBSCRIBE {name}")));
        self.say(node, &(confirmation("ssubscribe", name, 1) + PONG));
    }

    #[track_caller]
    fn assert_got(&mut self, expected: &str) {
        assert_eq!(self.got(), expected);
    }
}

fn owner(name: &str) -> usize {
    usize::from(slot(name.as_bytes()) % 3)
}

/// The bytes of a command on shard channels.
fn command(line: &str) -> String {
    String::from_utf8(frame(line)).expect("text") + PING
}

fn confirmation(verb: &str, name: &str, count: usize) -> String {
    format!("*3\r\n${}\r\n{verb}\r\n${}\r\n{name}\r\n:{count}\r\n", verb.len(), name.len())
}

fn message(kind: &str, name: &str, text: &str) -> String {
    String::from_utf8(frame(&format!("{kind} {name} {text}"))).expect("text")
}

fn moved(name: &str, node: usize) -> String {
    format!("-MOVED {} 10.0.0.1:{}\r\n", slot(name.as_bytes()), 7000 + node)
}

#[test]
fn channels_and_patterns_are_at_one_node() {
    let mut scene = Scene::new();
    scene.send("SUBSCRIBE a b");
    let hub = scene.hub();
    let confirmed = confirmation("subscribe", "a", 1) + &confirmation("subscribe", "b", 2);
    assert_eq!(scene.take_written(hub).as_bytes(), frame("SUBSCRIBE a b"));
    let next = frame("PSUBSCRIBE p*");
    assert_eq!(scene.router.send(&next, scene.now(), true), 0, "one command at a time");
    scene.say(hub, &confirmed);
    scene.assert_got(&confirmed);
    scene.send("PSUBSCRIBE p*");
    assert_eq!(scene.take_written(hub).as_bytes(), next);
    let texts = confirmation("psubscribe", "p*", 3)
        + &message("message", "a", "hello")
        + &message("pmessage", "p*", "p1 hello");
    scene.say(hub, &texts);
    scene.assert_got(&texts);
    // Without names: one confirmation for each channel.
    scene.send("UNSUBSCRIBE");
    let texts = confirmation("unsubscribe", "a", 2) + &confirmation("unsubscribe", "b", 1);
    scene.say(hub, &texts);
    scene.send("PUNSUBSCRIBE p*");
    scene.say(hub, &confirmation("punsubscribe", "p*", 0));
    scene.assert_got(&(texts + &confirmation("punsubscribe", "p*", 0)));
    scene.send("UNSUBSCRIBE");
    scene.send("PUNSUBSCRIBE x y");
    let nothing = "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n".to_owned();
    let texts = confirmation("punsubscribe", "x", 0) + &confirmation("punsubscribe", "y", 0);
    scene.assert_got(&(nothing + &texts));
    assert!(scene.router.is_settled());
}

#[test]
fn a_client_in_resp2_may_only_listen() {
    let mut scene = Scene::new();
    scene.ssubscribe("s");
    scene.got();
    for line in ["GET key", "MULTI", "HELLO 3", "PUBLISH a b"] {
        scene.send(line);
        let name = line.split(' ').next().expect("a name").to_lowercase();
        assert!(scene.got().starts_with(&format!("-ERR Can't execute '{name}': only (P|S)SUBSCRIBE")));
    }
    scene.send("PING");
    scene.send("PING text");
    scene.assert_got(&(PONG.to_owned() + "*2\r\n$4\r\npong\r\n$4\r\ntext\r\n"));
    scene.send("GET a b c");
    scene.assert_got("-ERR wrong number of arguments for 'get' command\r\n");
    scene.send("SUNSUBSCRIBE");
    scene.assert_got(&confirmation("sunsubscribe", "s", 0));
    scene.send("GET key");
    assert!(matches!(scene.router.turn(), Turn::Leg(_)));
}

#[test]
fn reset_ends_all_subscriptions() {
    let mut scene = Scene::new();
    scene.ssubscribe("s");
    scene.send("SUBSCRIBE a");
    let hub = scene.hub();
    scene.say(hub, &confirmation("subscribe", "a", 1));
    scene.got();
    scene.send("RESET");
    scene.assert_got("+RESET\r\n");
    assert_eq!(scene.router.listening().count(), 0);
    scene.send("SUNSUBSCRIBE");
    scene.assert_got("*3\r\n$12\r\nsunsubscribe\r\n$-1\r\n:0\r\n");
}

#[test]
fn messages_of_keyspace_notifications_are_dropped() {
    let mut scene = Scene::new();
    let refusal = "-ERR portcullis: keyspace notifications would come from one node of a cluster only\r\n";
    for line in ["SUBSCRIBE a __keyevent@0__:expired", "PSUBSCRIBE __key*"] {
        scene.send(line);
        scene.assert_got(refusal);
    }
    scene.send("PSUBSCRIBE *");
    let hub = scene.hub();
    scene.say(hub, &confirmation("psubscribe", "*", 1));
    scene.got();
    let long = "x".repeat(100_000);
    scene.say(hub, &message("pmessage", "*", "__keyspace@0__:key del"));
    scene.say(hub, &message("pmessage", "*", &format!("__keyspace@0__:key {long}")));
    scene.say(hub, &message("pmessage", "*", "__keys text"));
    scene.assert_got(&message("pmessage", "*", "__keys text"));
}

#[test]
fn a_long_message_passes_in_pieces_and_nothing_comes_between() {
    let mut scene = Scene::new();
    scene.ssubscribe("s");
    scene.send("SUBSCRIBE a");
    let (home, hub) = (owner("s"), scene.hub());
    scene.say(hub, &confirmation("subscribe", "a", 1));
    scene.got();
    let long = message("smessage", "s", &"x".repeat(200_000));
    let (first, second) = long.split_at(100_000);
    scene.say(home, first);
    assert_eq!(scene.router.listening().collect::<Vec<_>>(), [scene.leg(home)]);
    assert!(matches!(scene.router.turn(), Turn::None));
    scene.say(home, second);
    assert_eq!(scene.got(), long);
    assert!(scene.router.listening().count() >= 1);
    // The end of the leg within a message is the end of the session.
    scene.say(home, first);
    scene.router.lost(scene.leg(home), scene.now());
    assert_eq!(scene.router.ended(), Some(Ended::Lost));
}

#[test]
fn the_counts_of_shard_channels_are_those_of_the_client() {
    let first = "{a}1";
    let names = (0..).map(|number| format!("channel{number}"));
    let second = &names.into_iter().find(|name| owner(name) != owner(first)).expect("another node");
    let mut scene = Scene::new();
    scene.ssubscribe(first);
    scene.ssubscribe(second);
    let confirmed = confirmation("ssubscribe", first, 1) + &confirmation("ssubscribe", second, 2);
    scene.assert_got(&confirmed);
    scene.send(&format!("SSUBSCRIBE {first} {second}"));
    scene.assert_got("-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    scene.send("SSUBSCRIBE {a}2 {a}1");
    let two = confirmation("ssubscribe", "{a}2", 2) + &confirmation("ssubscribe", first, 2);
    scene.say(owner(first), &(two + PONG));
    let two = confirmation("ssubscribe", "{a}2", 3) + &confirmation("ssubscribe", first, 3);
    scene.assert_got(&two);
    // A message of a channel that the client has left is dropped, although the node does not know yet.
    scene.send("SUNSUBSCRIBE {a}1");
    scene.say(owner(first), &(message("smessage", first, "late") + &message("smessage", "{a}2", "text")));
    scene.assert_got(&(confirmation("sunsubscribe", first, 2) + &message("smessage", "{a}2", "text")));
    scene.take_written(owner(first));
    scene.say(owner(first), &(confirmation("sunsubscribe", first, 1) + PONG));
    scene.assert_got("");
    scene.send("SUNSUBSCRIBE");
    let left = confirmation("sunsubscribe", "{a}2", 1) + &confirmation("sunsubscribe", second, 0);
    let other = confirmation("sunsubscribe", second, 1) + &confirmation("sunsubscribe", "{a}2", 0);
    let got = scene.got();
    assert!(got == left || got == other, "{got}");
}

#[test]
fn a_slot_that_moves_is_subscribed_again_and_its_push_dropped() {
    let (name, home) = ("s", owner("s"));
    let other = (home + 1) % 3;
    let mut scene = Scene::new();
    scene.ssubscribe(name);
    scene.got();
    scene.take_written(home);
    scene.say(home, &confirmation("sunsubscribe", name, 0));
    // The map still names the old owner, which redirects.
    assert_eq!(scene.take_written(home), command("SSUBSCRIBE s"));
    assert!(scene.router.take_hints().cluster_down);
    scene.say(home, &(moved(name, other) + "+PONG\r\n"));
    scene.go();
    assert_eq!(scene.take_written(other), command("SSUBSCRIBE s"));
    scene.say(other, &(confirmation("ssubscribe", name, 1) + PONG + &message("smessage", name, "hello")));
    scene.assert_got(&message("smessage", name, "hello"));
    // With the new map, its owner is asked at once.
    scene.give_all_to(home);
    scene.say(other, &confirmation("sunsubscribe", name, 0));
    assert_eq!(scene.take_written(home), command("SSUBSCRIBE s"));
    scene.say(home, &(confirmation("ssubscribe", name, 1) + PONG));
    scene.assert_got("");
}

#[test]
fn a_push_is_passed_on_if_the_subscription_cannot_be_made_again() {
    let (name, home) = ("s", owner("s"));
    let mut scene = Scene::new();
    scene.ssubscribe(name);
    scene.got();
    scene.say(home, &confirmation("sunsubscribe", name, 0));
    scene.say(
        home,
        &("-NOPERM this user has no permissions to access the channel\r\n".to_owned() + "+PONG\r\n"),
    );
    scene.go();
    scene.assert_got(&confirmation("sunsubscribe", name, 0));
    scene.take_written(home);
    // No node takes the slot within a second.
    scene.ssubscribe(name);
    scene.got();
    scene.say(home, &confirmation("sunsubscribe", name, 0));
    for _ in 0..19 {
        scene.say(home, &(moved(name, home) + "+PONG\r\n"));
        scene.wait(50);
        scene.assert_got("");
    }
    scene.say(home, &(moved(name, home) + "+PONG\r\n"));
    scene.wait(100);
    scene.assert_got(&confirmation("sunsubscribe", name, 0));
    scene.send("SUNSUBSCRIBE s");
    scene.assert_got(&confirmation("sunsubscribe", name, 0));
}

/// The node ends the subscription unasked, and then says MOVED to the SUNSUBSCRIBE.
#[test]
fn a_client_that_unsubscribes_during_a_move_gets_one_confirmation() {
    let (name, home) = ("s", owner("s"));
    let other = (home + 1) % 3;
    let mut scene = Scene::new();
    scene.ssubscribe(name);
    scene.got();
    scene.take_written(home);
    scene.send("SUNSUBSCRIBE s");
    scene.assert_got(&confirmation("sunsubscribe", name, 0));
    assert_eq!(scene.take_written(home), command("SUNSUBSCRIBE s"));
    scene.say(home, &(confirmation("sunsubscribe", name, 0) + &moved(name, other) + "+PONG\r\n"));
    scene.assert_got("");
    // It is subscribed again while the old node is still being asked.
    scene.give_all_to(other);
    scene.send("SSUBSCRIBE s");
    scene.say(other, &(confirmation("ssubscribe", name, 1) + PONG));
    scene.assert_got(&confirmation("ssubscribe", name, 1));
    // The client leaves the channel while it is subscribed again elsewhere.
    scene.say(other, &confirmation("sunsubscribe", name, 0));
    scene.take_written(other);
    scene.send("SUNSUBSCRIBE s");
    scene.assert_got(&confirmation("sunsubscribe", name, 0));
    scene.say(other, &(confirmation("ssubscribe", name, 1) + &message("smessage", name, "late") + PONG));
    assert_eq!(scene.take_written(other), command("SUNSUBSCRIBE s"));
    scene.say(other, &(confirmation("sunsubscribe", name, 0) + PONG));
    scene.assert_got("");
    assert!(scene.router.is_settled());
}

#[test]
fn an_ssubscribe_follows_its_slot() {
    let (name, home) = ("s", owner("s"));
    let other = (home + 1) % 3;
    let mut scene = Scene::new();
    scene.send("SSUBSCRIBE s");
    scene.take_written(home);
    scene.say(home, &(moved(name, other) + "+PONG\r\n"));
    scene.go();
    assert_eq!(scene.take_written(other), command("SSUBSCRIBE s"));
    scene.say(other, &(confirmation("ssubscribe", name, 1) + PONG));
    scene.assert_got(&confirmation("ssubscribe", name, 1));
    // An error of the node is the answer. The user may be forbidden to send PING, too.
    let refusal = "-NOPERM this user has no permissions to access one of the channels\r\n";
    let far = if home == owner("{a}") { "{b}" } else { "{a}" };
    scene.send(&format!("SSUBSCRIBE {far}"));
    let no_ping = "-NOPERM this user has no permissions to run the 'ping' command\r\n";
    scene.say(owner(far), &(refusal.to_owned() + no_ping));
    scene.assert_got(refusal);
    // Nodes that redirect in a circle.
    scene.send(&format!("SSUBSCRIBE {far}"));
    for _ in 0..30 {
        scene.say(owner(far), &(moved(far, owner(far)) + "+PONG\r\n"));
        scene.wait(50);
        if !scene.client.is_empty() {
            break;
        }
    }
    scene.assert_got(NOT_FOLLOWED);
}

#[test]
fn a_lost_connection_of_shard_channels_is_made_again_for_a_while() {
    let (name, home) = ("s", owner("s"));
    let other = (home + 1) % 3;
    let mut scene = Scene::new();
    scene.ssubscribe(name);
    scene.got();
    scene.refusing.insert(home);
    scene.router.lost(scene.leg(home), scene.now());
    scene.wait(3000);
    scene.give_all_to(other);
    scene.go();
    scene.go();
    assert_eq!(scene.take_written(other), command("SSUBSCRIBE s"));
    scene.say(other, &(confirmation("ssubscribe", name, 1) + PONG));
    scene.assert_got("");
    assert_eq!(scene.router.ended(), None);
    scene.refusing.insert(other);
    scene.router.lost(scene.leg(other), scene.now());
    scene.wait(4900);
    assert_eq!(scene.router.ended(), None);
    scene.wait(200);
    assert_eq!((scene.router.ended(), scene.got()), (Some(Ended::Lost), String::new()));
}

#[test]
fn the_loss_of_the_hub_ends_the_session() {
    let mut scene = Scene::new();
    scene.send("SUBSCRIBE a");
    let hub = scene.hub();
    // Nothing is lost yet: the client gets an error.
    scene.router.lost(scene.leg(hub), scene.now());
    scene.go();
    assert!(scene.got().contains("closed the connection; this command may or may not have run"));
    assert_eq!(scene.router.ended(), None);
    scene.send("SUBSCRIBE a");
    let hub = scene.hub();
    scene.say(hub, &confirmation("subscribe", "a", 1));
    // The node is no master any more, and keeps the subscription.
    scene.give_all_to((hub + 1) % 3);
    scene.say(hub, &message("message", "a", "text"));
    assert!(scene.got().ends_with(&message("message", "a", "text")));
    scene.router.lost(scene.leg(hub), scene.now());
    assert_eq!(scene.router.ended(), Some(Ended::Lost));
}

#[test]
fn a_node_that_lost_its_slots_and_does_not_answer_is_left() {
    let (name, home) = ("s", owner("s"));
    let other = (home + 1) % 3;
    let mut scene = Scene::new();
    scene.ssubscribe(name);
    scene.got();
    let down = scene.map.owner(slot(name.as_bytes())).expect("an owner");
    scene.router.set_map(&Arc::new(scene.map.clone()), &[down], scene.now());
    assert_eq!(scene.leg(home), scene.router.listening().next().expect("a leg"), "it may come back");
    scene.map = map(Some(&scene.map), 3, |_| Some(other));
    scene.router.set_map(&Arc::new(scene.map.clone()), &[down], scene.now());
    scene.go();
    scene.go();
    assert_eq!(scene.take_written(other), command("SSUBSCRIBE s"));
}

#[test]
fn an_unreachable_node_is_replaced_by_another_one_for_channels() {
    let mut scene = Scene::new();
    scene.refusing.insert(0);
    let bytes = frame("SUBSCRIBE a");
    for _ in 0..40 {
        if scene.router.send(&bytes, scene.now(), true) > 0 {
            break;
        }
        scene.wait(50);
    }
    scene.go();
    assert_eq!(scene.hub(), 1);
    scene.say(1, &confirmation("subscribe", "a", 1));
    scene.assert_got(&confirmation("subscribe", "a", 1));
    // The owner of a slot cannot be replaced.
    let name = ["a", "b", "c", "d"].into_iter().find(|name| owner(name) == 0).expect("a channel");
    let bytes = frame(&format!("SSUBSCRIBE {name}"));
    for _ in 0..40 {
        if scene.router.send(&bytes, scene.now(), true) > 0 {
            break;
        }
        scene.wait(50);
    }
    scene.go();
    scene.assert_got("-ERR portcullis: upstream 'main' unavailable (refused)\r\n");
}

#[test]
fn the_names_of_shard_channels_are_bounded() {
    let mut scene = Scene::new();
    let name = "s".repeat(1000);
    let mut count = 0;
    loop {
        let name = format!("{{s}}{count}{name}");
        scene.send(&format!("SSUBSCRIBE {name}"));
        if scene.client.starts_with('-') {
            break;
        }
        scene.say(owner("s"), &(confirmation("ssubscribe", &name, count + 1) + PONG));
        scene.got();
        count += 1;
    }
    assert!(scene.got().contains("longer than 64 KiB together"));
    assert!(count > 50 && scene.router.held() < 80 * 1024, "{count}, {}", scene.router.held());
    scene.send("SUNSUBSCRIBE");
    scene.got();
    scene.say(owner("s"), PONG);
    scene.go();
    assert!(scene.router.held() < 4096, "{}", scene.router.held());
}

/// A node that says what no command has asked for ends the session.
#[test]
fn a_node_that_breaks_the_protocol_is_not_trusted() {
    for reply in ["-ERR no\r\n", "+PONG\r\n", ":1\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n", "@\r\n"]
    {
        let mut scene = Scene::new();
        scene.ssubscribe("s");
        scene.say(owner("s"), reply);
        assert_eq!(scene.router.ended(), Some(Ended::Protocol), "{reply}");
    }
}
