//! Nodes that die, stop and return, as single clients see them.

use std::time::{Duration, Instant};

use e2e::client::{Client, command};
use e2e::{Cluster, Gate, PATIENCE, eventually};
use rustix::process::Signal;

use super::commands::{KEYS, SLOT_OF_B, ready, started};

const CHANGED: &str =
    "-ERR portcullis: upstream 'main' changed a master; this command may or may not have run";
const CLOSED: &str =
    "-ERR portcullis: upstream 'main' closed the connection; this command may or may not have run";

/// What a client with state at a lost node reads before its connection is closed.
const ENDS: &str = "-ERR portcullis: upstream 'main' closed the connection; this session ends";

/// The commands of a pipeline over all nodes.
const ROUNDS: usize = 200;

/// A cluster whose nodes serve their slots while another node is down.
fn independent() -> Cluster {
    Cluster::builder().without_replicas().line("cluster-require-full-coverage no").start()
}

/// Waits until the proxy does not wait for node 0 any more.
#[track_caller]
fn await_down(gate: &Gate, cluster: &Cluster) {
    gate.assert_log(&format!("node {} is down", cluster.address(0)));
}

/// Checks that commands for node 0 fail, that the others succeed, and that each reply is in its place. None of them waits
/// for the node.
#[track_caller]
fn assert_others_go_on(client: &mut Client) {
    let mut bytes = Vec::new();
    for round in 0..ROUNDS {
        for key in KEYS {
            bytes.extend(command(&format!("SET {key} {round}")));
            bytes.extend(command(&format!("GET {key}")));
        }
    }
    let begun = Instant::now();
    client.send_raw(&bytes);
    for round in 0..ROUNDS {
        for _ in 0..2 {
            let reply = client.recv().to_string();
            assert!(reply.starts_with("-ERR portcullis: upstream 'main' unavailable ("), "{round}: {reply}");
        }
        for _ in &KEYS[1..] {
            client.assert_recv("+OK");
            client.assert_recv(&format!("\"{round}\""));
        }
    }
    // A wait for each of the commands would take minutes.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn a_dead_node_fails_its_own_keys_only() {
    let mut cluster = independent();
    let gate = started(&cluster);
    let mut client = gate.connect();
    KEYS.iter().for_each(|key| client.assert_reply(&format!("SET {key} x"), "+OK"));
    cluster.kill(0);
    // The others are served from the beginning, also while commands for the node wait.
    let begun = Instant::now();
    let mut waiting = gate.connect();
    waiting.send("GET {b}key");
    for key in &KEYS[1..] {
        client.assert_reply(&format!("GET {key}"), "\"x\"");
    }
    let reply = waiting.recv().to_string();
    assert!(reply.starts_with("-ERR portcullis: upstream 'main' unavailable ("), "{reply}");
    assert!(begun.elapsed() < PATIENCE);
    await_down(&gate, &cluster);
    for mut client in [client, waiting, gate.connect()] {
        assert_others_go_on(&mut client);
    }
    cluster.start_again(0);
    let mut client = gate.connect();
    eventually("the node's keys are served", || {
        (client.call("SET {b}key y").to_string() == "+OK").then_some(())
    });
}

/// A stopped node accepts connections, and does not answer.
#[test]
fn a_stopped_node_fails_its_own_keys_only() {
    let cluster = independent();
    let gate = started(&cluster);
    let (mut idle, mut waiting) = (gate.connect(), gate.connect());
    for client in [&mut idle, &mut waiting] {
        KEYS.iter().for_each(|key| client.assert_reply(&format!("SET {key} x"), "+OK"));
    }
    cluster.node(0).signal(Signal::STOP);
    // Only this shows that the node has stopped.
    waiting.send("GET {b}key");
    for key in &KEYS[1..] {
        idle.assert_reply(&format!("GET {key}"), "\"x\"");
    }
    await_down(&gate, &cluster);
    for client in [&mut idle, &mut gate.connect()] {
        assert_others_go_on(client);
    }
    // The command in flight waits for the node, as with one Redis.
    waiting.assert_silent_for(Duration::from_millis(200));
    cluster.node(0).signal(Signal::CONT);
    waiting.assert_recv("\"x\"");
    eventually("the node's keys are served", || {
        (idle.call("SET {b}key y").to_string() == "+OK").then_some(())
    });
}

/// `response_timeout` bounds the wait for a node that does not answer.
#[test]
fn a_client_does_not_wait_longer_than_the_response_timeout() {
    let cluster = independent();
    let gate = ready(cluster.gate().upstream("response_timeout: 1s"));
    let mut client = gate.connect();
    KEYS.iter().for_each(|key| client.assert_reply(&format!("SET {key} x"), "+OK"));
    // A blocking command may take longer.
    client.assert_reply("BLPOP {b}list 2", "nil[]");
    cluster.node(0).signal(Signal::STOP);
    for key in KEYS {
        client.send(&format!("INCR {key}:n"));
    }
    client.assert_recv(CLOSED);
    client.assert_recv(":1");
    client.assert_recv(":1");
    client.assert_reply("GET {c}key", "\"x\"");
    cluster.node(0).signal(Signal::CONT);
}

/// Commands that wait in the socket of a stopped master are executed when it continues, and its data is then replaced.
/// The client reads an error for each of them at the failover, and no acknowledgement later.
#[test]
fn what_a_stopped_master_acknowledges_later_reaches_no_client() {
    let cluster = Cluster::plain();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply("SET {b}n 0", "+OK");
    cluster.await_ok();
    cluster.node(0).signal(Signal::STOP);
    client.send_raw(b"INCR {b}n\r\nINCR {c}n\r\nINCR {b}n\r\nGET {b}n\r\n");
    cluster.await_master(3);
    for reply in [CHANGED, ":1", CHANGED, CHANGED] {
        client.assert_recv(reply);
    }
    client.assert_reply("INCR {b}n", ":1");
    cluster.node(0).signal(Signal::CONT);
    client.assert_silent_for(Duration::from_millis(500));
    client.assert_reply("INCR {b}n", ":2");
    eventually("the former master is a replica", || {
        cluster.call(0, "INFO replication").contains("role:slave").then_some(())
    });
    client.assert_reply("GET {b}n", "\"2\"");
    gate.connect().assert_reply("GET {b}n", "\"2\"");
}

/// The state of a WATCH or of a transaction is lost with its node, so the session ends.
#[test]
fn a_client_with_state_at_a_dead_node_is_closed() {
    let mut cluster = Cluster::plain();
    let gate = started(&cluster);
    let (mut watching, mut queuing) = (gate.connect(), gate.connect());
    watching.assert_reply("WATCH {b}n", "+OK");
    queuing.assert_reply("MULTI", "+OK");
    queuing.assert_reply("SET {b}n 1", "+QUEUED");
    queuing.assert_reply("SET {b}n 2", "+QUEUED");
    cluster.kill(0);
    for (mut client, state) in [(queuing, "multi"), (watching, "watch")] {
        client.assert_recv(&format!("{ENDS} ({state})"));
        client.assert_closed();
    }
    cluster.await_master(3);
    let mut client = gate.connect();
    eventually("the new master serves the keys", || {
        (client.call("GET {b}n").to_string() == "nil").then_some(())
    });
}

/// A failover unblocks the clients of the former master. The proxy sends their commands to the new one.
#[test]
fn blocked_clients_stay_through_a_failover_and_a_move() {
    let mut cluster = Cluster::plain();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let is_blocked = |cluster: &Cluster, node: usize| {
        eventually("a client is blocked", || {
            cluster.call(node, "INFO clients").contains("blocked_clients:1\r\n").then_some(())
        });
    };
    client.send("BLPOP {b}list 0");
    client.send("PING");
    is_blocked(&cluster, 0);
    cluster.failover(3);
    is_blocked(&cluster, 3);
    let added = cluster.add_master();
    cluster.move_slot(SLOT_OF_B, added);
    is_blocked(&cluster, added);
    gate.connect().assert_reply("RPUSH {b}list x", ":1");
    client.assert_recv("[\"{b}list\" \"x\"]");
    client.assert_recv("+PONG");
    // A node that dies takes its blocked clients with it: the element may be on its way.
    client.send("BLPOP {c}list 0");
    is_blocked(&cluster, 1);
    cluster.kill(1);
    client.assert_recv(CLOSED);
    client.assert_reply("PING", "+PONG");
}

#[test]
fn a_client_that_comes_before_the_nodes_is_served_later() {
    let mut cluster = independent();
    (0..3).for_each(|node| cluster.kill(node));
    let gate = cluster.gate().upstream("failover_wait: 1s").start();
    let mut client = gate.connect();
    let reply = client.call("SET {b}key x").to_string();
    assert!(reply.starts_with("-ERR portcullis: upstream 'main' unavailable ("), "{reply}");
    assert_eq!(gate.get("/ready").0, 503);
    (0..3).for_each(|node| cluster.start_again(node));
    for key in KEYS {
        eventually("the keys are served", || {
            (client.call(&format!("SET {key} x")).to_string() == "+OK").then_some(())
        });
    }
    super::watch::assert_ready(&gate, true);
}

/// The errors in place of replies that are lost are no replies either.
#[test]
fn a_client_without_replies_reads_no_error() {
    let mut cluster = independent();
    let gate = started(&cluster);
    let mut client = gate.connect();
    KEYS.iter().for_each(|key| client.assert_reply(&format!("SET {key} x"), "+OK"));
    cluster.kill(0);
    for _ in 0..2 {
        client.send("CLIENT REPLY OFF");
        KEYS.iter().for_each(|key| client.send(&format!("INCR {key}:n")));
        client.send("CLIENT REPLY ON");
        client.assert_recv("+OK");
        client.send("CLIENT REPLY SKIP");
        client.send("GET {b}key");
        client.assert_reply("GET {c}key", "\"x\"");
        await_down(&gate, &cluster);
    }
    client.assert_reply("GET {d}key:n", "\"2\"");
}

/// The error is the node's own.
#[test]
fn a_node_without_room_for_a_client_fails_its_own_keys_only() {
    let cluster = independent();
    let gate = started(&cluster);
    let mut control = cluster.node(1).control();
    control.assert_reply("CONFIG SET maxclients 1", "+OK");
    let mut client = gate.connect();
    for _ in 0..3 {
        client.send("SET {b}key x");
        client.send("SET {c}key x");
        client.send("SET {d}key x");
        client.assert_recv("+OK");
        let reply = client.recv().to_string();
        assert!(reply.starts_with("-ERR max number of clients"), "{reply}");
        client.assert_recv("+OK");
    }
    control.assert_reply("CONFIG SET maxclients 1000", "+OK");
    eventually("the node is used", || (client.call("SET {c}key x").to_string() == "+OK").then_some(()));
}
