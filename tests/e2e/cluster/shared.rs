//! Clients that share connections to the nodes of a cluster.

use std::time::Duration;

use e2e::client::{Client, encode};
use e2e::{Cluster, Gate, eventually};
use rustix::process::Signal;

use super::commands::{KEYS, SLOT_OF_B, ready};

/// More clients than a proxy needs connections.
const CLIENTS: usize = 40;

/// The most connections of a proxy with one worker to a node: one for each class of clients, and those of the watcher.
const MOST_CONNECTIONS: usize = 5;

fn started(cluster: &Cluster) -> Gate {
    ready(cluster.gate().upstream("connections: shared").top("workers: 1"))
}

/// Returns the number of connections to a node.
fn connections(cluster: &Cluster, node: usize) -> usize {
    cluster.node(node).tcp_clients().len()
}

#[track_caller]
fn await_few_connections(cluster: &Cluster) {
    for node in 0..3 {
        eventually("the node has few connections", || {
            (connections(cluster, node) <= MOST_CONNECTIONS).then_some(())
        });
    }
}

#[test]
fn many_clients_use_few_connections() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| gate.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        for key in KEYS {
            client.assert_reply(&format!("SET {key}{number} {number}"), "+OK");
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        KEYS.iter().for_each(|key| client.assert_reply(&format!("SET {key} {number}"), "+OK"));
        let keys: Vec<_> = KEYS.iter().map(|key| format!("{key}{number}")).collect();
        let values = [format!("\"{number}\""), format!("\"{number}\""), format!("\"{number}\"")];
        client.assert_reply(&format!("MGET {}", keys.join(" ")), &format!("[{}]", values.join(" ")));
        let pipeline: Vec<u8> =
            (0..90).flat_map(|n| encode(&[b"APPEND", keys[n % 3].as_bytes(), b"x"])).collect();
        client.send_raw(&pipeline);
        let digits = number.to_string().len();
        (0..90).for_each(|n| client.assert_recv(&format!(":{}", digits + n / 3 + 1)));
    }
    for node in 0..3 {
        let count = connections(&cluster, node);
        assert!(count <= MOST_CONNECTIONS, "{count} connections to node {node}");
    }
}

#[test]
fn a_client_with_state_has_connections_of_its_own_and_returns() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply("SET {b}key 1", "+OK");
    client.assert_reply("WATCH {b}key", "+OK");
    gate.connect().assert_reply("INCR {b}key", ":2");
    client.assert_reply("MULTI", "+OK");
    client.assert_reply("INCR {b}key", "+QUEUED");
    client.assert_reply("EXEC", "nil[]");
    client.assert_reply("BLPOP {c}list 0.1", "nil[]");
    client.send_args(&[b"EVAL", b"return redis.call('get', KEYS[1])", b"1", b"{b}key"]);
    client.assert_recv("\"2\"");
    let hello = client.call("HELLO 3").to_string();
    assert!(hello.contains("proto"), "{hello}");
    client.assert_reply("GET {d}none", "null");
    client.assert_reply("SELECT 1", "-ERR SELECT is not allowed in cluster mode");
    client.assert_reply("WAIT 0 0", "-ERR portcullis: WAIT needs connections: dedicated");
    client.assert_reply("INCR {b}key", ":3");
    await_few_connections(&cluster);
    client.assert_reply("INCR {b}key", ":4");
}

#[test]
fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| gate.connect()).collect();
    clients.iter_mut().for_each(|client| client.assert_reply("SET {c}key 0", "+OK"));
    gate.connect().assert_reply("SET {b}key 0", "+OK");
    let mut n = 0;
    let mut increment_all = |clients: &mut Vec<Client>| {
        for client in clients {
            n += 1;
            client.assert_reply("INCR {b}key", &format!(":{n}"));
            n += 1;
            client.assert_reply("INCR {b}key", &format!(":{n}"));
        }
    };
    increment_all(&mut clients);
    let from = cluster.begin_move(SLOT_OF_B, 2);
    increment_all(&mut clients);
    cluster.move_keys(SLOT_OF_B, from, 2);
    // The node answers ASK.
    increment_all(&mut clients);
    cluster.end_move(SLOT_OF_B, from, 2);
    increment_all(&mut clients);
    await_few_connections(&cluster);
}

/// Only commands to a node that does not answer wait for it, also where clients share connections.
#[test]
fn a_node_that_stops_holds_up_its_own_keys_only() {
    let cluster = Cluster::builder().without_replicas().patient().start();
    let gate = started(&cluster);
    let (mut waits, mut goes_on) = (gate.connect(), gate.connect());
    for client in [&mut waits, &mut goes_on] {
        KEYS.iter().for_each(|key| client.assert_reply(&format!("SET {key} x"), "+OK"));
    }
    cluster.node(0).signal(Signal::STOP);
    waits.send_raw(b"GET {b}key\r\nGET {c}key\r\nGET {d}key\r\n");
    for _ in 0..100 {
        for key in &KEYS[1..] {
            goes_on.assert_reply(&format!("GET {key}"), "\"x\"");
        }
    }
    waits.assert_silent_for(Duration::from_millis(200));
    cluster.node(0).signal(Signal::CONT);
    (0..3).for_each(|_| waits.assert_recv("\"x\""));
}

/// A client that does not read continues on connections of its own, and closes no connection of others.
#[test]
fn a_client_that_does_not_read_holds_up_no_other() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut others: Vec<Client> = (0..4).map(|_| gate.connect()).collect();
    let value = "v".repeat(20_000);
    others[0].assert_reply(&format!("SET {{b}}key {value}"), "+OK");
    let mut deaf = gate.connect();
    let count = 2_000;
    let pipeline: Vec<u8> = (0..count).flat_map(|_| encode(&[b"GET", b"{b}key"])).collect();
    deaf.send_raw(&pipeline);
    let mut n = 0;
    for _ in 0..50 {
        for other in &mut others {
            n += 1;
            other.assert_reply("STRLEN {b}key", ":20000");
            other.assert_reply("INCR {c}n", &format!(":{n}"));
        }
    }
    (0..count).for_each(|n| assert_eq!(deaf.recv().text().len(), value.len(), "{n}"));
}
