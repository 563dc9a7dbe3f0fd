//! SCAN over a cluster: every key that exists all the time is returned, whatever happens to the nodes meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::client::{Client, encode};
use e2e::{Cluster, eventually};

use super::commands::{KEYS, started};

/// The keys of a test.
const COUNT: usize = 3000;

/// The calls after which a scan is taken for endless.
const MOST_CALLS: usize = 100_000;

/// Writes the keys of a test, in all slots. Returns their names.
fn fill(client: &mut Client, count: usize) -> BTreeSet<String> {
    let names: BTreeSet<String> = (0..count).map(|number| format!("key:{number}")).collect();
    client.send_raw(
        &names.iter().flat_map(|name| encode(&[b"SET", name.as_bytes(), b"x"])).collect::<Vec<_>>(),
    );
    names.iter().for_each(|_| client.assert_recv("+OK"));
    names
}

/// Calls SCAN once. Returns the next cursor.
#[track_caller]
fn call(client: &mut Client, cursor: &str, options: &str, found: &mut Vec<String>) -> String {
    let reply = client.call(format!("SCAN {cursor} {options}").trim_end());
    let [next, keys] = reply.items() else { panic!("{reply}") };
    found.extend(keys.items().iter().map(|key| key.text()));
    let next = next.text();
    assert!(next.parse::<u64>().expect("a cursor") < 1 << 53, "{next}");
    next
}

/// Scans everything. `between` is called between two calls.
#[track_caller]
fn scan(client: &mut Client, options: &str, mut between: impl FnMut(&mut Client, usize)) -> Vec<String> {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    for number in 0..MOST_CALLS {
        cursor = call(client, &cursor, options, &mut found);
        if cursor == "0" {
            return found;
        }
        between(client, number);
    }
    panic!("the scan does not end: {} keys, cursor {cursor}", found.len());
}

#[track_caller]
fn assert_all(found: Vec<String>, names: &BTreeSet<String>) {
    let found: BTreeSet<String> = found.into_iter().collect();
    let missing: Vec<_> = names.difference(&found).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), names.len());
}

#[test]
fn every_key_is_returned_once() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    assert_eq!(scan(&mut client, "", |_, _| ()), Vec::<String>::new());
    let names = fill(&mut client, COUNT);
    let found = scan(&mut client, "COUNT 100", |_, _| ());
    assert_eq!(found.len(), COUNT);
    assert_all(found, &names);
    client.assert_reply("RPUSH {b}list 1", ":1");
    assert_eq!(scan(&mut client, "TYPE list COUNT 500", |_, _| ()), ["{b}list"]);
    let found = scan(&mut client, "MATCH key:77? COUNT 1000", |_, _| ());
    assert_all(found, &(770..780).map(|number| format!("key:{number}")).collect());
    client.send("HELLO 3");
    client.recv();
    assert_all(scan(&mut client, "COUNT 1000", |_, _| ()), &names);
}

/// The proxy keeps nothing between two calls.
#[test]
fn another_proxy_continues_a_scan() {
    let cluster = Cluster::builder().without_replicas().start();
    let mut gates: Vec<_> = (0..2).map(|_| started(&cluster)).collect();
    let names = fill(&mut gates[0].connect(), COUNT);
    let mut client = gates[0].connect();
    let found = scan(&mut client, "COUNT 50", |client, number| {
        if number == 20 {
            gates[0] = started(&cluster);
        }
        *client = gates[number % 2].connect();
    });
    assert_eq!(found.len(), COUNT);
    assert_all(found, &names);
}

#[test]
fn wrong_cursors_and_options_are_refused() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let foreign = "-ERR portcullis: invalid cursor: this proxy did not make it. Begin with 0";
    for (command, reply) in [
        ("SCAN abc", "-ERR invalid cursor"),
        ("SCAN -1", "-ERR invalid cursor"),
        ("SCAN 18446744073709551616", "-ERR invalid cursor"),
        ("SCAN 17", foreign),
        ("SCAN 18446744073709551615", foreign),
        ("SCAN", "-ERR wrong number of arguments for 'scan' command"),
        ("SCAN 0 COUNT", "-ERR syntax error"),
        ("SCAN 0 COUNT 0", "-ERR syntax error"),
        ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range"),
        ("SCAN 0 STRANGE x", "-ERR syntax error"),
    ] {
        client.assert_reply(command, reply);
    }
    client.assert_reply("MULTI", "+OK");
    client.assert_reply(
        "SCAN 0",
        "-ERR portcullis: 'scan' concerns all nodes of a cluster, and a transaction runs at one",
    );
    client.assert_reply("DISCARD", "+OK");
    // What follows a SCAN waits for it.
    client.send("SCAN 0");
    client.send("SET {c}key 1");
    client.send("PING");
    assert_eq!(client.recv().items().len(), 2);
    client.assert_recv("+OK");
    client.assert_recv("+PONG");
}

/// A slot leaves its node key by key, while clients scan with small steps.
#[test]
fn keys_of_slots_that_move_are_returned() {
    let cluster = Cluster::builder().without_replicas().patient().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let mut names = fill(&mut client, COUNT);
    // Slots with many keys are under way for long.
    let tags = cluster.tags(&(3000..=3039), 8);
    for name in tags.iter().flat_map(|tag| (0..100).map(move |number| format!("{{{tag}}}{number}"))) {
        client.assert_reply(&format!("SET {name} x"), "+OK");
        names.insert(name);
    }
    let over = AtomicBool::new(false);
    let scans = std::thread::scope(|scope| {
        let scanner = scope.spawn(|| {
            let mut scans = 0;
            while !over.load(Ordering::Relaxed) {
                let mut client = gate.connect();
                assert_all(
                    scan(&mut client, &format!("COUNT {}", 20 + 100 * (scans % 3)), |_, _| ()),
                    &names,
                );
                scans += 1;
            }
            scans
        });
        for (slots, from, to) in [
            (3000..=3039, 0, 1),
            (5000..=5019, 0, 2),
            (15_000..=15_019, 2, 0),
            (3000..=3039, 1, 2),
            (3000..=3039, 2, 0),
        ] {
            cluster.move_slots(slots, from, to);
        }
        over.store(true, Ordering::Relaxed);
        scanner.join().expect("every key is returned")
    });
    assert!(scans > 1, "{scans} scans");
}

/// A replica takes the place of its master, and a master starts again, in the middle of a scan.
#[test]
fn keys_are_returned_after_a_failover_and_a_restart() {
    let mut cluster = Cluster::builder().patient().line("save 3600 1").start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let names = fill(&mut client, COUNT);
    let found = scan(&mut client, "COUNT 100", |client, number| match number {
        3 => {
            cluster.failover(3);
            eventually("the new master answers", || {
                (client.call("SET {b}key x").to_string() == "+OK").then_some(())
            });
        }
        // The nodes 1 and 2 are not scanned yet, or being scanned.
        12 => {
            cluster.await_ok();
            for node in [1, 2] {
                cluster.call(node, "SAVE");
                cluster.kill(node);
                cluster.start_again(node);
            }
            cluster.await_ok();
            eventually("the nodes answer", || {
                KEYS.iter().all(|key| client.call(&format!("SET {key} x")).to_string() == "+OK").then_some(())
            });
        }
        _ => {}
    });
    assert_all(found, &names);
}

#[test]
fn a_scan_fails_while_a_node_is_down() {
    let mut cluster = Cluster::builder().without_replicas().line("cluster-require-full-coverage no").start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    fill(&mut client, 300);
    cluster.kill(1);
    let mut found = Vec::new();
    let mut cursor = "0".to_owned();
    let error = loop {
        let reply = client.call(&format!("SCAN {cursor} COUNT 1000"));
        match reply.items() {
            [next, keys] => {
                cursor = next.text();
                found.extend(keys.items().iter().map(|key| key.text()));
            }
            _ => break reply.to_string(),
        }
        assert_ne!(cursor, "0", "the scan has an end without the keys of a node");
    };
    let is_documented = error.contains("unavailable (") || error.contains("closed the connection");
    assert!(is_documented || error.starts_with("-CLUSTERDOWN"), "{error}");
    assert!(!found.is_empty());
    client.assert_reply("SET {b}key x", "+OK");
}
