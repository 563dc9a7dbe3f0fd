//! Commands of clients of a cluster: slots that move, commands that are refused, and nodes that fail.

use std::time::{Duration, Instant};

use e2e::client::{Client, command};
use e2e::{Cluster, Gate, GateBuilder, eventually};

/// Keys of the three masters at the beginning: slot 3300 is at node 0, 7365 at node 1, 11298 at node 2.
pub(super) const KEYS: [&str; 3] = ["{b}key", "{c}key", "{d}key"];
pub(super) const SLOT_OF_B: u16 = 3300;

/// Longer than a pipeline needs, and shorter than the time for which a test waits.
const PIPELINE: usize = 3000;

pub(super) fn started(cluster: &Cluster) -> Gate {
    ready(cluster.gate())
}

/// Starts a proxy, and waits until it knows its cluster.
#[track_caller]
pub(super) fn ready(gate: GateBuilder) -> Gate {
    let gate = gate.start();
    eventually("the proxy knows the cluster", || (gate.get("/ready").0 == 200).then_some(()));
    gate
}

/// Sends a pipeline of increments of one key per node, and returns the replies as one text.
fn increments(client: &mut Client, n: usize) -> Vec<String> {
    let mut bytes = Vec::new();
    for number in 0..n {
        bytes.extend(e2e::client::encode(&[b"INCR", KEYS[number % KEYS.len()].as_bytes()]));
    }
    client.send_raw(&bytes);
    (0..n).map(|_| client.recv().to_string()).collect()
}

#[test]
fn one_connection_reaches_every_node() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    for key in KEYS {
        client.assert_reply(&format!("SET {key} of-{key}"), "+OK");
        client.assert_reply(&format!("GET {key}"), &format!("\"of-{key}\""));
    }
    for (number, reply) in increments(&mut client, PIPELINE).into_iter().enumerate() {
        assert!(reply.contains("not an integer"), "{number}: {reply}");
    }
    KEYS.iter().for_each(|key| client.assert_reply(&format!("DEL {key}"), ":1"));
    for (number, reply) in increments(&mut client, PIPELINE).into_iter().enumerate() {
        assert_eq!(reply, format!(":{}", number / KEYS.len() + 1), "{number}");
    }
    for (node, key) in KEYS.iter().enumerate() {
        cluster.client(node).assert_reply(&format!("GET {key}"), &format!("\"{}\"", PIPELINE / KEYS.len()));
    }
}

#[test]
fn commands_without_keys_and_about_the_connection_are_answered() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    for (command, reply) in [
        ("PING", "+PONG"),
        ("ECHO hello", "\"hello\""),
        ("SELECT 0", "+OK"),
        ("SELECT 1", "-ERR SELECT is not allowed in cluster mode"),
        ("CLIENT SETNAME me", "+OK"),
        ("EVAL return(1) 0", ":1"),
        ("PUBLISH channel text", ":0"),
        ("CLIENT REPLY ON", "+OK"),
        ("RESET", "+RESET"),
        ("PING", "+PONG"),
    ] {
        client.assert_reply(command, reply);
    }
    let info = client.call("INFO").text();
    assert!(info.contains("redis_mode:standalone") && !info.contains("127.0.2."), "{info}");
    assert!(client.call("HELLO 3").to_string().contains("standalone"));
    client.assert_reply("GET {b}none", "null");
    client.assert_reply("GET {d}none", "null");
}

/// Client libraries send HELLO and CLIENT SETINFO in one write. The commands after a login or a blocking command wait for
/// its reply, and the proxy answers them then, although no byte of a node comes.
#[test]
fn commands_behind_one_that_is_waited_for_are_answered() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    for (first, reply) in [("HELLO 3", ""), ("BLPOP {b}list 0.2", "nil[]"), ("WATCH {b}key", "+OK")] {
        let mut client = gate.connect();
        let commands = [first, "CLIENT SETINFO LIB-NAME x", "MSETNX {b}key 1 {c}key 2", "CLIENT SETNAME me"];
        client.send_raw(&commands.iter().flat_map(|line| command(line)).collect::<Vec<u8>>());
        let found = client.recv().to_string();
        assert!(first.starts_with("HELLO") || found == reply, "{first}: {found}");
        client.assert_recv("+OK");
        client.assert_recv("-CROSSSLOT Keys in request don't hash to the same slot");
        client.assert_recv("+OK");
    }
}

#[test]
fn commands_that_no_single_node_can_run_are_refused() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let crossslot = "-CROSSSLOT Keys in request don't hash to the same slot";
    for (command, reply) in [
        ("MSETNX {b}1 x {c}1 y", crossslot),
        ("RENAME {b}1 {c}1", crossslot),
        ("EVAL return(1) 2 {b}1 {c}1", crossslot),
        ("MONITOR", "-ERR portcullis: 'monitor' would concern one node of a cluster only"),
        ("CONFIG SET maxmemory 0", "-ERR portcullis: 'config set' would concern one node of a cluster only"),
        ("CLIENT TRACKING on", "-ERR portcullis: 'client tracking' would concern one node of a cluster only"),
    ] {
        client.assert_reply(command, reply);
    }
    client.assert_reply("MGET {b}1 {b}2", "[nil nil]");
}

/// The replies of the nodes become the one that a single Redis would give.
#[test]
fn commands_of_several_nodes_have_one_reply() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    for (command, reply) in [
        ("MSET {b}1 one {c}1 two {d}1 three {b}2 four", "+OK"),
        ("MGET {d}1 {b}1 none {c}1 {b}2", "[\"three\" \"one\" nil \"two\" \"four\"]"),
        ("DBSIZE", ":4"),
        ("EXISTS {b}1 {c}1 {d}1 {d}1", ":4"),
        ("TOUCH {b}1 {c}1 none", ":2"),
        ("KEYS {d}*", "[\"{d}1\"]"),
        ("UNLINK {b}1 {c}1", ":2"),
        ("MSET {b}1 x {c}1", "-ERR wrong number of arguments for 'mset' command"),
        ("SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "[:0]"),
        ("SCRIPT LOAD return(1)", "\"930269f31393d0be681588b6ab08dccee7d6bb67\""),
        ("PUBSUB NUMSUB channel", "[\"channel\" :0]"),
        ("FLUSHALL", "+OK"),
        ("DBSIZE", ":0"),
        ("RANDOMKEY", "nil"),
        ("MULTI", "+OK"),
        (
            "DBSIZE",
            "-ERR portcullis: 'dbsize' concerns all nodes of a cluster, and a transaction runs at one",
        ),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
    ] {
        client.assert_reply(command, reply);
    }
    client.call("HELLO 3");
    client.assert_reply("MGET {b}1 {c}1", "[null null]");
    client.assert_reply("RANDOMKEY", "null");
}

/// A command of many keys needs no more memory than the command itself and the parts under way.
#[test]
fn a_command_of_many_keys_is_bounded() {
    const KEYS: usize = 50_000;
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    let before = gate.peak_memory();
    let names: Vec<String> = (0..KEYS).map(|n| format!("key:{n}")).collect();
    for name in ["MSET", "MGET", "DEL"] {
        let mut words = vec![name.as_bytes()];
        for key in &names {
            words.push(key.as_bytes());
            words.extend((name == "MSET").then_some(&b"v"[..]));
        }
        // The longest command that is held has 1 MiB.
        let chunk = if name == "MSET" { 1 + KEYS } else { words.len() };
        for part in words[1..].chunks(chunk - 1) {
            client.send_args(&[&words[..1], part].concat());
            let reply = client.recv().to_string();
            match name {
                "MSET" => assert_eq!(reply, "+OK"),
                "MGET" => assert_eq!(reply.matches("\"v\"").count(), KEYS),
                _ => assert_eq!(reply, format!(":{KEYS}")),
            }
        }
    }
    let grown = gate.peak_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

#[test]
fn a_slot_that_moves_is_followed_while_its_keys_are_written() {
    let mut cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let added = cluster.add_master();
    client.assert_reply("SET {b}here 1", "+OK");
    let from = cluster.begin_move(SLOT_OF_B, added);
    // The key that is not there yet is written to the node that gets the slot, which has no slot so far.
    client.assert_reply("SET {b}new 2", "+OK");
    client.assert_reply("GET {b}here", "\"1\"");
    client.assert_reply("GET {b}new", "\"2\"");
    let reply = client.call("MGET {b}here {b}new").to_string();
    assert!(reply.starts_with("-TRYAGAIN"), "{reply}");
    while cluster.move_keys(SLOT_OF_B, from, added) > 0 {}
    client.assert_reply("MGET {b}here {b}new", "[\"1\" \"2\"]");
    cluster.end_move(SLOT_OF_B, from, added);
    client.assert_reply("MGET {b}here {b}new", "[\"1\" \"2\"]");
    client.assert_reply("SET {b}here 3", "+OK");
    client.assert_reply("GET {b}here", "\"3\"");
    let redirects = [("upstream", "main"), ("kind", "ask")];
    assert!(gate.metric("upstream_redirects_total", &redirects) >= 1.0);
}

#[test]
fn increments_are_executed_once_while_slots_move() {
    let mut cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let added = cluster.add_master();
    let mut client = gate.connect();
    let worker = std::thread::spawn(move || {
        let mut last = [0; 3];
        for _ in 0..40 {
            for (number, reply) in increments(&mut client, 300).into_iter().enumerate() {
                if reply.starts_with("-TRYAGAIN") {
                    continue;
                }
                let value: u64 = reply.trim_start_matches(':').parse().unwrap_or_else(|_| panic!("{reply}"));
                assert_eq!(value, last[number % 3] + 1, "{number}");
                last[number % 3] = value;
            }
        }
        last
    });
    for to in [added, 1, 2, 0] {
        cluster.move_slot(SLOT_OF_B, to);
    }
    let last = worker.join().expect("each increment is executed once");
    let mut client = gate.connect();
    for (key, last) in KEYS.iter().zip(last) {
        client.assert_reply(&format!("GET {key}"), &format!("\"{last}\""));
    }
}

#[test]
fn transactions_run_at_the_node_of_their_first_key() {
    let mut cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    for (command, reply) in [
        ("MULTI", "+OK"),
        ("PING", "+QUEUED"),
        ("INCR {b}n", "+QUEUED"),
        ("INCR {b}n", "+QUEUED"),
        ("EXEC", "[+PONG :1 :2]"),
        ("MULTI", "+OK"),
        ("INCR {b}n", "+QUEUED"),
        ("INCR {c}n", "-CROSSSLOT Keys in request don't hash to the same slot"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
        ("GET {b}n", "\"2\""),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        ("WATCH {c}n", "+OK"),
        ("MULTI", "+OK"),
        ("INCR {c}n", "+QUEUED"),
    ] {
        client.assert_reply(command, reply);
    }
    gate.connect().assert_reply("SET {c}n 7", "+OK");
    client.assert_reply("EXEC", "nil[]");
    let added = cluster.add_master();
    cluster.move_slot(SLOT_OF_B, added);
    client.send("MULTI");
    client.send("INCR {b}n");
    client.send("GET {b}n");
    client.send("EXEC");
    for reply in ["+OK", "+QUEUED", "+QUEUED", "[:3 \"3\"]"] {
        client.assert_recv(reply);
    }
}

#[test]
fn a_blocking_command_waits_at_its_node() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.send("BLPOP {d}list 0");
    client.send("PING");
    eventually("the node has a blocked client", || {
        cluster.call(2, "INFO clients").contains("blocked_clients:1").then_some(())
    });
    gate.connect().assert_reply("RPUSH {d}list x", ":1");
    client.assert_recv("[\"{d}list\" \"x\"]");
    client.assert_recv("+PONG");
}

#[test]
fn long_commands_and_long_replies_pass() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let value = vec![b'v'; 3_000_000];
    for key in KEYS {
        client.send_args(&[b"SET", key.as_bytes(), &value]);
    }
    KEYS.iter().for_each(|_| client.assert_recv("+OK"));
    for key in KEYS {
        client.send(&format!("GET {key}"));
        client.send("PING");
    }
    for _ in KEYS {
        assert_eq!(client.recv().text().len(), value.len());
        client.assert_recv("+PONG");
    }
}

#[test]
fn a_failover_under_way_loses_no_acknowledged_write() {
    let cluster = Cluster::plain();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let worker = std::thread::spawn(move || {
        let (mut acked, mut sent) = (0_u64, 0_u64);
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            sent += 1;
            let reply = client.call("INCR {b}n").to_string();
            match reply.strip_prefix(':') {
                Some(_) => acked += 1,
                None => assert!(reply.contains("may or may not have run"), "{reply}"),
            }
        }
        (acked, sent)
    });
    cluster.failover(3);
    let (acked, sent) = worker.join().expect("documented errors only");
    let stored: u64 = gate.connect().call("GET {b}n").text().parse().expect("a number");
    assert!(acked <= stored && stored <= sent, "{acked} acknowledged, {stored} stored, {sent} sent");
    assert!(acked > 100);
}

#[test]
fn a_node_that_is_down_fails_its_own_keys_only() {
    let mut cluster = Cluster::builder().without_replicas().line("cluster-require-full-coverage no").start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply("SET {b}1 x", "+OK");
    cluster.kill(0);
    eventually("the keys of the node fail", || {
        let reply = client.call("GET {b}1").to_string();
        let is_documented = reply.contains("unavailable (") || reply.contains("CLUSTERDOWN");
        assert!(is_documented || reply.contains("closed the connection"), "{reply}");
        is_documented.then_some(())
    });
    client.assert_reply("SET {c}1 y", "+OK");
    client.assert_reply("GET {c}1", "\"y\"");
    client.assert_reply("SET {d}1 z", "+OK");
    cluster.start_again(0);
    eventually("the keys of the node are served", || {
        (client.call("SET {b}1 z").to_string() == "+OK").then_some(())
    });
}
