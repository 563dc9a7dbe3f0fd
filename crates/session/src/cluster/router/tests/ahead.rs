//! MOVED lines that are read ahead.

use std::sync::Arc;

use portcullis_resp::slot::slot;

use super::scripted::{Scene, moved, owner};
use super::{frame, map};
use crate::cluster::{Received, Turn};

/// The commands in flight when a slot is handed over.
const COMMANDS: usize = 10_000;

/// The round trips that the commands may cost: one for each 64 of them, and a few before the map is known.
const MOST_ROUND_TRIPS: usize = COMMANDS / 64 + 2;

#[test]
fn a_hand_over_with_10_000_commands_in_flight_costs_few_round_trips() {
    let (home, other) = (owner("key"), (owner("key") + 1) % 3);
    let mut scene = Scene::new();
    for number in 0..COMMANDS {
        scene.send(&format!("SET key {number}"));
    }
    assert_eq!(scene.take_written().lines().filter(|line| *line == "SET").count(), COMMANDS);
    let next = scene.after_move("key", other);
    scene.router.set_map(&Arc::new(next), &[], scene.now());
    let lines = moved("key", other).repeat(COMMANDS);
    let mut unread = lines.as_bytes();
    let (mut round_trips, mut values) = (0, Vec::new());
    while !scene.router.is_settled() {
        let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg: {:?}", scene.router) };
        if scene.legs[&leg] == home {
            let Received::Skip(n) = scene.router.receive(leg, unread, scene.now()) else { panic!("no line") };
            unread = &unread[n..];
            scene.go();
            continue;
        }
        round_trips += 1;
        let written = scene.take_written();
        values.extend(written.lines().filter_map(|line| line.parse::<usize>().ok()));
        let n = written.lines().filter(|line| *line == "SET").count();
        scene.answer(&"+OK\r\n".repeat(n));
    }
    assert_eq!((unread, scene.got()), (&b""[..], "+OK\r\n".repeat(COMMANDS)));
    assert_eq!(values, (0..COMMANDS).collect::<Vec<_>>(), "in the client's order");
    assert!(round_trips <= MOST_ROUND_TRIPS, "{round_trips}");
    assert!(scene.router.held() < 16 * 1024, "{}", scene.router.held());
}

/// Sends these commands, lets all of them read the lines at once, and returns what the other node gets first.
fn sent_first(commands: &[&str], lines: &str, agrees: bool) -> String {
    let other = (owner("key") + 1) % 3;
    let mut scene = Scene::new();
    commands.iter().for_each(|command| scene.send(command));
    if agrees {
        let next = scene.after_move("key", other);
        scene.router.set_map(&Arc::new(next), &[], scene.now());
    }
    let Turn::Leg(leg) = scene.router.turn() else { panic!("no leg") };
    assert!(matches!(scene.router.receive(leg, lines.as_bytes(), scene.now()), Received::Skip(_)));
    scene.go();
    scene.take_written()
}

#[test]
fn only_what_nothing_else_can_redirect_is_sent_ahead() {
    let other = (owner("key") + 1) % 3;
    let line = moved("key", other);
    let both = [frame("GET key"), frame("SET key 1")].concat();
    let first = |commands: &[&str], lines: &str, agrees| sent_first(commands, lines, agrees).into_bytes();
    assert_eq!(first(&["GET key", "SET key 1"], &line.repeat(2), true), both);
    // The map does not agree yet.
    assert_eq!(first(&["GET key", "SET key 1"], &line.repeat(2), false), frame("GET key"));
    // The second line has not arrived, leads elsewhere, is for another slot, or is no MOVED.
    let third = moved("key", (other + 1) % 3);
    let ask = line.replace("MOVED", "ASK");
    let slot = slot(b"key");
    for second in
        ["-MOVED", &third, &line.replace(&slot.to_string(), "1"), &ask, "+OK\r\n", "-TRYAGAIN x\r\n"]
    {
        let lines = format!("{line}{second}");
        assert_eq!(first(&["GET key", "SET key 1"], &lines, true), frame("GET key"), "{second}");
    }
    // Several keys, and scripts.
    for second in ["MGET key {key}2", "EVAL x 1 key"] {
        assert_eq!(first(&["GET key", second], &line.repeat(2), true), frame("GET key"), "{second}");
    }
}

/// The commands between, which other nodes answer, keep their places.
#[test]
fn replies_of_other_nodes_come_between() {
    let (home, other) = (owner("key"), (owner("key") + 1) % 3);
    let third =
        (0..).map(|number| format!("k{number}")).find(|key| owner(key) == (home + 2) % 3).expect("a key");
    let mut scene = Scene::new();
    for command in ["SET key 1", &format!("GET {third}"), "SET key 2", "GET key"] {
        scene.send(command);
    }
    let next = map(Some(&scene.map), 3, |slot| {
        Some(if usize::from(slot % 3) == home { other } else { usize::from(slot % 3) })
    });
    scene.router.set_map(&Arc::new(next), &[], scene.now());
    assert_eq!(scene.answer(&moved("key", other).repeat(3)), home);
    assert_eq!(
        scene.take_written().as_bytes(),
        [frame("SET key 1"), frame("SET key 2"), frame("GET key")].concat()
    );
    assert_eq!(scene.answer("+1\r\n"), other);
    assert_eq!(scene.answer("+other\r\n"), (home + 2) % 3);
    assert_eq!(scene.answer("+2\r\n$1\r\n2\r\n"), other);
    assert_eq!(scene.got(), "+1\r\n+other\r\n+2\r\n$1\r\n2\r\n");
    assert!(scene.router.is_settled());
}

/// A node that lost the slot too redirects each of them.
#[test]
fn commands_that_were_sent_ahead_are_redirected_in_their_order() {
    let (home, other) = (owner("key"), (owner("key") + 1) % 3);
    let last = (home + 2) % 3;
    let mut scene = Scene::new();
    ["SET key 1", "SET key 2"].into_iter().for_each(|command| scene.send(command));
    let next = scene.after_move("key", other);
    scene.router.set_map(&Arc::new(next), &[], scene.now());
    assert_eq!(scene.answer(&moved("key", other).repeat(2)), home);
    for number in ["1", "2"] {
        assert_eq!(scene.answer(&moved("key", last)), other);
        assert_eq!(scene.take_written().as_bytes(), frame(&format!("SET key {number}")));
        assert_eq!(scene.answer(&format!("+{number}\r\n")), last);
    }
    assert_eq!(scene.got(), "+1\r\n+2\r\n");
}
