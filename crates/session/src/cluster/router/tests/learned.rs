//! Commands that the table does not have, as the nodes describe them.

use std::fmt::Write as _;
use std::sync::Arc;

use super::frame;
use super::scripted::{Scene, moved, owner};
use crate::cluster::ServerFacts;

/// The commands of a module: the name, a flag, and the positions of the keys.
const COMMANDS: [(&str, &str, [i8; 3]); 5] = [
    ("doc.get", "readonly", [1, 1, 1]),
    ("doc.mset", "write", [1, -1, 2]),
    ("doc.wait", "blocking", [1, 1, 1]),
    ("doc.list", "readonly", [0, 0, 0]),
    ("doc.search", "movablekeys", [1, 1, 1]),
];

fn scene() -> Scene {
    let mut reply = format!("*{}\r\n", COMMANDS.len());
    for (name, flag, [first, last, step]) in COMMANDS {
        let positions = format!(":{first}\r\n:{last}\r\n:{step}\r\n");
        write!(reply, "*6\r\n${}\r\n{name}\r\n:-2\r\n*1\r\n+{flag}\r\n{positions}", name.len())
            .expect("a string takes all");
    }
    let facts = ServerFacts::read_commands(reply.as_bytes()).expect("a reply to COMMAND");
    let mut scene = Scene::new();
    scene.router.set_server(&Arc::new(facts));
    scene
}

#[test]
fn keys_of_learned_commands_have_their_node() {
    let mut scene = scene();
    for key in ["a", "b", "c", "d"] {
        scene.send(&format!("DOC.GET {key} path"));
        assert_eq!(scene.answer("$1\r\nx\r\n"), owner(key), "{key}");
        scene.send(&format!("doc.mset {key} 1 {{{key}}}2 2"));
        assert_eq!(scene.answer("+OK\r\n"), owner(key), "{key}");
    }
    assert_eq!(scene.got(), "$1\r\nx\r\n+OK\r\n".repeat(4));
    scene.send("DOC.MSET a 1 b 2");
    assert_eq!(scene.got(), "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
}

#[test]
fn learned_commands_follow_their_slot() {
    let other = (owner("key") + 1) % 3;
    let mut scene = scene();
    scene.send("DOC.MSET key 1");
    assert_eq!(scene.answer(&moved("key", other)), owner("key"));
    assert_eq!(scene.take_written().as_bytes(), frame("DOC.MSET key 1"));
    assert_eq!(scene.answer("+OK\r\n"), other);
    scene.written.clear();
    scene.send("MULTI");
    scene.send("DOC.GET key");
    assert_eq!(scene.take_written().as_bytes(), [frame("MULTI"), frame("DOC.GET key")].concat());
    assert_eq!(scene.answer("+OK\r\n+QUEUED\r\n"), owner("key"));
    scene.send("EXEC");
    scene.answer("*1\r\n$1\r\nx\r\n");
    assert_eq!(scene.got(), "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\nx\r\n");
}

#[test]
fn a_learned_command_that_blocks_holds_later_ones() {
    let mut scene = scene();
    scene.send("DOC.WAIT key");
    assert_eq!(scene.router.send(&frame("PING"), scene.now(), true), 0);
    scene.answer("$1\r\nx\r\n");
    scene.send("PING");
    scene.answer("+PONG\r\n");
    assert_eq!(scene.got(), "$1\r\nx\r\n+PONG\r\n");
}

#[test]
fn commands_without_keys_that_can_be_found_are_refused() {
    let mut scene = scene();
    for (line, reply) in [
        ("DOC.LIST", "-ERR portcullis: 'doc.list' would concern one node of a cluster only\r\n"),
        (
            "Doc.Search x",
            "-ERR portcullis: the keys of 'doc.search' are not known, so it cannot be sent to a node of a cluster\r\n",
        ),
    ] {
        scene.send(line);
        assert_eq!(scene.got(), reply);
        scene.send("MULTI");
        scene.send(line);
        scene.send("EXEC");
        assert!(scene.got().contains(reply), "{line} in a transaction");
    }
}

/// A node that has told its commands answers in its own words. Before, the keys of a command may only be unknown here.
#[test]
fn unknown_commands_are_refused_by_a_node() {
    let told = "-ERR unknown command 'doc.none', with args beginning with: 'key' \r\n";
    let mut known = scene();
    known.send("doc.none key");
    known.answer(told);
    assert_eq!(known.got(), told);
    known.send("CONFIG nonsense");
    known.answer("-ERR unknown subcommand\r\n");
    known.got();
    known.send("MULTI");
    known.send("doc.none key");
    known.send("EXEC");
    let got = known.got();
    assert!(got.contains("'doc.none'") && got.contains("-EXECABORT"), "{got}");
    let mut unknown = Scene::new();
    for (line, name) in
        [("Doc.None key", "doc.none"), ("CONFIG Nonsense", "config nonsense"), ("\u{1} x", "unknown")]
    {
        unknown.send(line);
        let refused = format!(
            "-ERR portcullis: the keys of '{name}' are not known, so it cannot be sent to a node of a cluster\r\n"
        );
        assert_eq!(unknown.got(), refused);
    }
}

#[test]
fn long_learned_commands_are_streamed_to_their_node() {
    let value = "v".repeat(100_000);
    let mut scene = scene();
    scene.send(&format!("DOC.MSET key {value}"));
    assert_eq!(scene.answer("+OK\r\n"), owner("key"));
    assert_eq!(scene.got(), "+OK\r\n");
}

/// The watcher has asked whether nodes have several databases.
#[test]
fn a_database_is_refused_here_if_the_servers_have_one() {
    let mut scene = Scene::new();
    scene.router.set_server(&Arc::new(ServerFacts::default().with_one_database(true)));
    for (line, reply) in
        [("SELECT 3", "-ERR SELECT is not allowed in cluster mode\r\n"), ("SELECT 0", "+OK\r\n")]
    {
        scene.send(line);
        assert_eq!(scene.got(), reply, "no node is asked");
    }
    // A node says what is wrong with these.
    for line in ["SELECT x", "SELECT +0", "SELECT 00", "SELECT 0 0", "SELECT"] {
        scene.send(line);
        scene.answer("-ERR no\r\n");
        assert_eq!(scene.got(), "-ERR no\r\n", "{line}");
    }
}
