//! The state of a client's connection, at the nodes that the client is connected to already and at later ones.

use e2e::client::Client;
use e2e::{Cluster, eventually};

use super::commands::{KEYS, SLOT_OF_B, started};

/// Returns the lines of CLIENT LIST of a node that have a text.
fn clients_with(cluster: &Cluster, node: usize, text: &str) -> usize {
    cluster.call(node, "CLIENT LIST").lines().filter(|line| line.contains(text)).count()
}

/// Uses the nodes of these keys.
#[track_caller]
fn use_nodes(client: &mut Client, keys: &[&str], none: &str) {
    keys.iter().for_each(|key| client.assert_reply(&format!("GET {key}"), none));
}

#[test]
fn a_name_reaches_open_connections_and_later_ones() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    use_nodes(&mut client, &KEYS[..2], "nil");
    client.assert_reply("CLIENT SETNAME first", "+OK");
    // A server before Redis 7.2 does not know the command. Its error is dropped.
    client.assert_reply("CLIENT SETINFO LIB-NAME library", "+OK");
    client.assert_reply("CLIENT SETINFO nonsense x", "-ERR Unrecognized option 'nonsense'");
    client.send_args(&[b"CLIENT", b"SETINFO", b"lib-ver", b"1 2"]);
    client.assert_recv("-ERR lib-ver cannot contain spaces, newlines or special characters.");
    client.assert_reply("CLIENT GETNAME", "\"first\"");
    client.assert_reply("CLIENT NO-EVICT on", "+OK");
    use_nodes(&mut client, &KEYS, "nil");
    for node in 0..3 {
        assert_eq!(clients_with(&cluster, node, " name=first "), 1, "node {node}");
        // The flag of NO-EVICT.
        assert_eq!(clients_with(&cluster, node, " flags=e "), 1, "node {node}");
    }
    // An empty name is none.
    client.send_args(&[b"CLIENT", b"SETNAME", b""]);
    client.assert_recv("+OK");
    client.assert_reply("CLIENT GETNAME", "nil");
    use_nodes(&mut client, &KEYS, "nil");
    assert!((0..3).all(|node| clients_with(&cluster, node, " name=first ") == 0));
}

#[test]
fn hello_opens_all_connections_again() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    use_nodes(&mut client, &KEYS, "nil");
    for (version, none) in [("3", "null"), ("2", "nil")] {
        let name = format!("resp{version}");
        let hello = client.call(&format!("HELLO {version} SETNAME {name}")).to_string();
        assert!(hello.contains("proto"), "{hello}");
        use_nodes(&mut client, &KEYS, none);
        client.assert_reply("CLIENT GETNAME", &format!("\"{name}\""));
        for node in 0..3 {
            assert_eq!(clients_with(&cluster, node, &format!(" name={name} ")), 1, "node {node}");
            let version = format!(" resp={version}");
            let at_node = cluster.call(node, "CLIENT LIST");
            let line = at_node.lines().find(|line| line.contains(&format!(" name={name} "))).expect("listed");
            assert!(format!("{line} ").contains(&version), "{line}");
        }
    }
    // Another version, while replies are pending: each reply has the version in force.
    client.send_raw(b"GET {b}none\r\nHELLO 3\r\nGET {c}none\r\nHELLO 2\r\nGET {d}none\r\n");
    client.assert_recv("nil");
    client.recv();
    client.assert_recv("null");
    client.recv();
    client.assert_recv("nil");
    client.assert_reply("HELLO 9", "-NOPROTO unsupported protocol version");
    client.assert_reply("RESET", "+RESET");
    use_nodes(&mut client, &KEYS, "nil");
    client.assert_reply("CLIENT GETNAME", "nil");
    eventually("no node has the old name", || {
        (0..3).all(|node| clients_with(&cluster, node, " name=resp2 ") == 0).then_some(())
    });
}

#[test]
fn replies_are_switched_off_at_all_nodes() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    use_nodes(&mut client, &KEYS, "nil");
    client.send("CLIENT REPLY SKIP");
    client.send("MSET {b}key 1 {c}key 1 {d}key 1");
    client.assert_reply("MGET {b}key {c}key {d}key", "[\"1\" \"1\" \"1\"]");
    client.send("CLIENT REPLY OFF");
    KEYS.iter().for_each(|key| client.send(&format!("INCR {key}")));
    client.send("MGET {b}key {c}key {d}key");
    client.send("MSETNX {b}x 1 {c}x 1");
    client.send("MULTI");
    client.send("INCR {c}key");
    client.send("EXEC");
    client.send("CLIENT REPLY ON");
    client.assert_recv("+OK");
    client.assert_reply("MGET {b}key {c}key {d}key", "[\"2\" \"3\" \"2\"]");
    // A slot moves meanwhile. The redirects are no replies.
    client.send("CLIENT REPLY OFF");
    cluster.move_slot(SLOT_OF_B, 2);
    (0..100).for_each(|_| client.send("INCR {b}key"));
    client.send("CLIENT REPLY ON");
    client.assert_recv("+OK");
    client.assert_reply("GET {b}key", "\"102\"");
}
