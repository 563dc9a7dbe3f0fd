//! Logins, databases and names, which every connection to a node has.

use super::frame;
use super::scripted::{Scene, owner};
use crate::cluster::{Received, Turn};

/// A key of each of the three nodes.
fn keys() -> [String; 3] {
    [0, 1, 2]
        .map(|node| (0..).map(|number| format!("k{number}")).find(|key| owner(key) == node).expect("a key"))
}

fn get(key: &str) -> String {
    format!("GET {key}")
}

#[test]
fn names_and_modes_reach_open_connections_and_later_ones() {
    let keys = keys();
    let mut scene = Scene::new();
    for key in &keys[..2] {
        scene.send(&get(key));
        scene.answer("$-1\r\n");
    }
    let lines =
        ["CLIENT SETNAME me", "CLIENT SETINFO lib-name lib", "CLIENT NO-EVICT on", "CLIENT NO-TOUCH on"];
    lines.into_iter().for_each(|line| scene.send(line));
    let told = lines.map(frame).concat();
    assert_eq!(scene.got(), "$-1\r\n".repeat(2) + &"+OK\r\n".repeat(4));
    for (key, reply) in keys.iter().zip(["+OK\r\n+OK\r\n+OK\r\n+OK\r\n$1\r\nx\r\n"; 2]) {
        scene.send(&get(key));
        let written = scene.take_written();
        let first = frame(&get(key));
        assert_eq!(written.as_bytes(), [&first[..], &told, &first].concat(), "{key}");
        scene.answer(reply);
        assert_eq!(scene.got(), "$1\r\nx\r\n", "the other replies are dropped");
    }
    scene.send(&get(&keys[2]));
    let leg = scene.router.setting_up().next().expect("the third node is set up");
    let written = String::from_utf8(scene.written.remove(&leg).expect("bytes")).expect("text");
    for part in ["SETNAME\r\n$2\r\nme", "lib-name", "NO-EVICT", "NO-TOUCH"] {
        assert!(written.to_ascii_uppercase().contains(&part.to_ascii_uppercase()), "{part}: {written}");
    }
}

#[test]
fn a_library_that_redis_refuses_reaches_no_node() {
    let mut scene = Scene::new();
    scene.send(&get("key"));
    scene.answer("$-1\r\n");
    scene.got();
    scene.written.clear();
    for (line, reply) in [
        ("CLIENT SETINFO lib x", "-ERR Unrecognized option 'lib'\r\n"),
        (
            "CLIENT SETINFO LIB-VER \u{1}",
            "-ERR LIB-VER cannot contain spaces, newlines or special characters.\r\n",
        ),
    ] {
        scene.send(line);
        assert_eq!(scene.got(), reply);
    }
    assert!(scene.written.is_empty(), "a node was told: {:?}", scene.written);
    // RESET leaves the library.
    scene.send("CLIENT SETINFO lib-name lib");
    scene.send("RESET");
    assert_eq!(scene.got(), "+OK\r\n+RESET\r\n");
    scene.send(&get("key"));
    let leg = scene.router.setting_up().next().expect("the node is set up again");
    let written = String::from_utf8(scene.written.remove(&leg).expect("bytes")).expect("text");
    assert!(written.ends_with("lib\r\n") && written.contains("SETINFO"), "{written}");
}

/// Only Valkey has several databases in a cluster, from version 9 on.
#[test]
fn a_database_is_selected_at_each_node_if_the_first_one_has_it() {
    const ONE: &str = "-ERR SELECT is not allowed in cluster mode\r\n";
    let keys = keys();
    let mut scene = Scene::new();
    scene.send("SELECT 0");
    assert_eq!(scene.got(), "+OK\r\n", "no node is asked");
    scene.send("SELECT 3");
    scene.answer(ONE);
    scene.send("SELECT 0");
    assert_eq!(scene.got(), format!("{ONE}+OK\r\n"));
    scene.send("SELECT 3");
    let first = scene.answer("+OK\r\n");
    scene.send("SELECT 3");
    assert_eq!(scene.got(), "+OK\r\n+OK\r\n", "it is selected");
    scene.send(&get(&keys[(first + 1) % 3]));
    let leg = scene.router.setting_up().next().expect("another node is set up");
    assert_eq!(scene.written.remove(&leg).expect("bytes"), frame("SELECT 3"));
    assert_eq!(scene.router.receive(leg, b"+OK\r\n", scene.now()), Received::Skip(5));
    scene.go();
    assert_eq!(scene.take_written().as_bytes(), frame(&get(&keys[(first + 1) % 3])));
    scene.answer("$-1\r\n");
    // SELECT 0 is asked now, and RESET goes back to database 0.
    scene.send("SELECT 0");
    assert_eq!(scene.take_written().as_bytes(), frame("SELECT 0"));
    scene.answer("+OK\r\n");
    scene.send("MULTI");
    scene.got();
    scene.send("SELECT 3");
    assert_eq!(scene.got(), "-ERR Command not allowed inside a transaction\r\n");
    scene.send("EXEC");
    assert!(scene.got().starts_with("-EXECABORT") && scene.router.turn() == Turn::None);
}
