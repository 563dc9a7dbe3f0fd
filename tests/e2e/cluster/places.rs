//! Nodes that lose their slots or their roles, while commands wait there.

use std::time::{Duration, Instant};

use e2e::{Cluster, Gate, eventually};
use rustix::process::Signal;

/// Its slot is 3300, which node 0 has at the beginning. Node 3 is the replica of node 0.
const KEY: &str = "{b}n";
const SLOT: u16 = 3300;

/// The milliseconds for which the old owner answers no client.
const PAUSE: u32 = 2000;

/// The commands in flight when a slot is handed over.
const IN_FLIGHT: usize = 10_000;

fn started(cluster: &Cluster) -> Gate {
    let gate = cluster.gate().start();
    eventually("the proxy knows the cluster", || (gate.get("/ready").0 == 200).then_some(()));
    gate
}

/// What it executes when it goes on is lost, so that clients must not read its replies.
#[test]
fn a_stopped_master_acknowledges_nothing_after_its_failover() {
    let cluster = Cluster::plain();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply(&format!("INCR {KEY}"), ":1");
    cluster.node(0).signal(Signal::STOP);
    (0..3).for_each(|_| client.send(&format!("INCR {KEY}")));
    eventually("the replica is the master", || {
        cluster.call(3, "INFO replication").contains("role:master\r\n").then_some(())
    });
    for _ in 0..3 {
        let reply = client.recv().to_string();
        assert!(reply.contains("changed a master; this command may or may not have run"), "{reply}");
    }
    cluster.node(0).signal(Signal::CONT);
    client.assert_reply(&format!("INCR {KEY}"), ":2");
    client.assert_reply(&format!("GET {KEY}"), "\"2\"");
}

/// A leg that stayed would be used again for the slots of another master, if the map were wrong for a moment.
#[test]
fn connections_to_a_demoted_master_are_closed() {
    let cluster = Cluster::plain();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply("CLIENT SETNAME demoted", "+OK");
    client.assert_reply(&format!("SET {KEY} 1"), "+OK");
    let is_named = |node: usize| cluster.call(node, "CLIENT LIST").contains("name=demoted");
    assert!(is_named(0));
    cluster.failover(3);
    eventually("the connection is closed", || {
        client.assert_reply(&format!("GET {KEY}"), "\"1\"");
        (!is_named(0) && is_named(3)).then_some(())
    });
}

/// The old owner answers MOVED 10,000 times. Followed one after the other, they would take seconds.
#[test]
fn commands_in_flight_follow_their_slot_together() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply(&format!("INCR {KEY}"), ":1");
    client.assert_reply(&format!("DEL {KEY}"), ":1");
    cluster.node(0).control().assert_reply(&format!("CLIENT PAUSE {PAUSE} ALL"), "+OK");
    client.send_raw(&e2e::client::encode(&[b"INCR", KEY.as_bytes()]).repeat(IN_FLIGHT));
    // The nodes tell each other about the new owner.
    for command in [
        format!("CLUSTER SETSLOT {SLOT} IMPORTING {}", cluster.id(0)),
        format!("CLUSTER SETSLOT {SLOT} NODE {}", cluster.id(1)),
    ] {
        assert_eq!(cluster.call(1, &command), "OK");
    }
    eventually("another node knows the new owner", || (cluster.owner_for(2, SLOT) == Some(1)).then_some(()));
    client.assert_recv(":1");
    let begun = Instant::now();
    for number in 2..=IN_FLIGHT {
        client.assert_recv(&format!(":{number}"));
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let moved = gate.metric("upstream_redirects_total", &[("upstream", "main"), ("kind", "moved")]);
    assert!(moved >= 1000.0, "{moved} commands were redirected");
}

/// Nothing would tell a session of the former cluster where its slots are.
#[test]
fn a_reload_that_replaces_a_cluster_closes_its_clients() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply(&format!("SET {KEY} 1"), "+OK");
    let first = cluster.address(0).to_string();
    let yaml = std::fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("the configuration");
    let nodes =
        format!("cluster: {{nodes: [\"{first}\", \"{}\", \"{}\"]}}", cluster.address(1), cluster.address(2));
    assert!(yaml.contains(&nodes), "{yaml}");
    // One of the nodes stays.
    gate.apply(&yaml.replace(&nodes, &format!("cluster: {{nodes: [\"{first}\"]}}")));
    client.assert_reply(&format!("GET {KEY}"), "\"1\"");
    gate.apply(&yaml.replace(&nodes, &format!("address: \"{first}\"")));
    client.assert_closed();
    gate.connect().assert_reply(&format!("GET {KEY}"), "\"1\"");
}
