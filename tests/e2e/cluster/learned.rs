//! Commands of modules, whose keys the proxy learns from the nodes, and the number of databases.

use e2e::fake::Answer;
use e2e::{Cluster, eventually};

use super::commands::started;
use super::lying::Liars;

/// A command as COMMAND describes it: its name, a flag, and the positions of its keys.
type Described = (&'static str, &'static str, [i8; 3]);

const COMMANDS: [Described; 5] = [
    ("get", "readonly", [1, 1, 1]),
    ("doc.get", "readonly", [1, 1, 1]),
    ("doc.mset", "write", [1, -1, 2]),
    ("doc.list", "readonly", [0, 0, 0]),
    ("doc.search", "movablekeys", [1, 1, 1]),
];

fn described() -> Vec<u8> {
    let one = |(name, flag, [first, last, step]): &Described| {
        format!(
            "*6\r\n${}\r\n{name}\r\n:-2\r\n*1\r\n+{flag}\r\n:{first}\r\n:{last}\r\n:{step}\r\n",
            name.len()
        )
    };
    format!("*{}\r\n{}", COMMANDS.len(), COMMANDS.iter().map(one).collect::<String>()).into_bytes()
}

/// Starts nodes that have these commands. Each answers those of the module by its number.
fn nodes() -> Liars {
    Liars::start(|node, words, _| {
        let is_known = |word: &str| COMMANDS.iter().any(|(name, ..)| word.eq_ignore_ascii_case(name));
        match words {
            ["COMMAND", "COUNT"] => Answer::line(&format!(":{}", COMMANDS.len())),
            ["COMMAND"] => Some(Answer::Bytes(described())),
            ["SELECT", "1"] => Answer::line("-ERR SELECT is not allowed in cluster mode"),
            [name, ..] if name.to_ascii_uppercase().starts_with("DOC.") && is_known(name) => {
                Answer::line(&format!("+node {node}"))
            }
            _ => None,
        }
    })
}

#[test]
fn commands_of_a_module_go_to_the_node_of_their_keys() {
    let nodes = nodes();
    let gate = nodes.serve();
    gate.assert_log("learned the keys of commands from the nodes");
    let mut client = gate.connect();
    for (command, reply) in [
        ("DOC.GET {b}1 path", "+node 0"),
        ("DOC.GET {d}1 path", "+node 1"),
        ("doc.mset {d}1 x {d}2 y", "+node 1"),
        ("DOC.MSET {b}1 x {d}2 y", "-CROSSSLOT Keys in request don't hash to the same slot"),
        ("DOC.LIST", "-ERR portcullis: 'doc.list' would concern one node of a cluster only"),
        (
            "DOC.SEARCH {b}1",
            "-ERR portcullis: the keys of 'doc.search' are not known, so it cannot be sent to a node of a cluster",
        ),
        // A node says that it has no such command.
        ("DOC.NONE {b}1", "-ERR unknown command 'DOC.NONE'"),
        ("SELECT 1", "-ERR SELECT is not allowed in cluster mode"),
        ("SELECT 0", "+OK"),
    ] {
        client.assert_reply(command, reply);
    }
    for node in 0..2 {
        // The watcher asks each node. A client's SELECT would be another one.
        assert!(nodes.count(node, "SELECT 1") <= 1, "SELECT was asked at node {node}");
    }
}

/// The nodes tell nothing about their commands.
#[test]
fn commands_that_no_node_describes_are_refused() {
    let gate = Liars::start(|_, _, _| None).serve();
    gate.connect().assert_reply(
        "Doc.Get {b}1",
        "-ERR portcullis: the keys of 'doc.get' are not known, so it cannot be sent to a node of a cluster",
    );
}

/// What real nodes say is understood: an unknown command, an unknown subcommand and another database are their errors.
#[test]
fn real_nodes_tell_their_commands() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let unknown = "-ERR unknown command 'nonsense', with args beginning with: 'x' ";
    eventually("the nodes have told their commands", || {
        let reply = client.call("nonsense x").to_string();
        (reply.trim_end() == unknown.trim_end()).then_some(())
    });
    for (command, reply) in [
        ("OBJECT nonsense", "-ERR unknown subcommand 'nonsense'. Try OBJECT HELP."),
        ("SELECT 1", "-ERR SELECT is not allowed in cluster mode"),
        ("SELECT 0 0", "-ERR wrong number of arguments for 'select' command"),
        ("GET {b}none", "nil"),
    ] {
        client.assert_reply(command, reply);
    }
}
