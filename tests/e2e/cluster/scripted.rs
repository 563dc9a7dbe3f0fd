//! Nodes that say what no node of Redis says, or that say it in an unusual form.

use std::fmt::Write as _;

use e2e::fake::{Answer, Fake, bulk};
use e2e::{Gate, GateBuilder, eventually, holds_for};

use super::watch::{assert_ready, before, nodes};

const ID: &str = "07c37dfeb235213a872192d90877d0cd55635b91";

/// One range of slots in CLUSTER SLOTS.
struct Range {
    start: u16,
    end: u16,
    /// The host as RESP.
    host: String,
    port: u16,
    id: String,
}

impl Range {
    fn new(start: u16, end: u16, port: u16, id: &str) -> Self {
        Self { start, end, host: host("127.0.0.1"), port, id: id.to_owned() }
    }
}

fn host(name: &str) -> String {
    text(name)
}

fn text(value: &str) -> String {
    String::from_utf8(bulk(value)).expect("text")
}

/// Starts a node that gives these answers. `ranges` gets the port of the node.
fn node(ranges: impl Fn(u16) -> Vec<Range> + Send + Sync + 'static) -> Fake {
    // The port is known only when the server listens.
    let port = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(0));
    let known = std::sync::Arc::clone(&port);
    let fake = Fake::start(move |words| {
        let ranges = ranges(known.load(std::sync::atomic::Ordering::Relaxed));
        match words {
            ["CLUSTER", "SLOTS"] => Some(Answer::Bytes(slots(&ranges).into_bytes())),
            ["CLUSTER", "NODES"] => Some(Answer::Bytes(b"-ERR unknown subcommand\r\n".to_vec())),
            ["CLUSTER", "INFO"] => {
                let info = "cluster_state:ok\r\ncluster_current_epoch:1\r\n";
                Some(Answer::Bytes(bulk(info)))
            }
            _ => None,
        }
    });
    let at = fake.address();
    let own = at.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    port.store(own, std::sync::atomic::Ordering::Relaxed);
    fake
}

fn slots(ranges: &[Range]) -> String {
    let mut reply = format!("*{}\r\n", ranges.len());
    for Range { start, end, host, port, id } in ranges {
        write!(reply, "*3\r\n:{start}\r\n:{end}\r\n*4\r\n{host}:{port}\r\n{}*0\r\n", text(id))
            .expect("a string takes all");
    }
    reply
}

fn start(fake: &Fake) -> Gate {
    let gate: GateBuilder = before(&[fake.address()], "");
    gate.start()
}

/// Waits until the proxy logs a text, and checks that it does not log it again.
#[track_caller]
fn assert_logged_once(gate: &Gate, text: &str) {
    gate.assert_log(text);
    holds_for(std::time::Duration::from_secs(2), "one line", || gate.stderr().matches(text).count() == 1);
}

#[test]
fn overlapping_ranges_are_refused() {
    let other = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1";
    let fake = node(move |port| vec![Range::new(0, 7, port, ID), Range::new(7, 16_383, port, other)]);
    let gate = start(&fake);
    assert_logged_once(
        &gate,
        &format!("the answer of {} is not used: slot 7 has two owners", fake.address()),
    );
    assert_ready(&gate, false);
    assert!(nodes(&gate).is_empty());
}

/// 4,096 nodes are a cluster, and one more is none.
#[test]
fn the_number_of_nodes_is_bounded() {
    let many = |count: u16| {
        node(move |port| (0..count).map(|n| Range::new(n, n, port, &format!("{n:040x}"))).collect())
    };
    let fake = many(4096);
    let gate = start(&fake);
    gate.assert_metric("upstream_nodes", &[("upstream", "main"), ("role", "master")], 4096.0);
    gate.assert_metric("upstream_uncovered_slots", &[("upstream", "main")], f64::from(16_384 - 4096));
    assert_ready(&gate, true);
    let fake = many(4097);
    let gate = start(&fake);
    assert_logged_once(
        &gate,
        &format!("the answer of {} is not used: there are more than 4096 nodes", fake.address()),
    );
    assert_ready(&gate, false);
}

/// `cluster-preferred-endpoint-type unknown-endpoint`, and a single node that has met no other.
#[test]
fn a_host_that_is_not_announced_is_the_one_that_was_asked() {
    for host in ["$-1\r\n".to_owned(), text("")] {
        let fake = node(move |port| vec![Range { host: host.clone(), ..Range::new(0, 16_383, port, ID) }]);
        let gate = start(&fake);
        assert_ready(&gate, true);
        let known = eventually("the proxy knows the node", || nodes(&gate).into_iter().next());
        assert_eq!(known["reached_at"], fake.address());
        assert_eq!((&known["slots"], &known["health"]), (&"0-16383".into(), &"up".into()));
    }
}

/// A node whose host name is not set has no address. The others are used.
#[test]
fn a_node_without_an_address_has_no_slots() {
    let other = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1";
    let fake = node(move |port| {
        vec![Range::new(0, 99, port, ID), Range { host: text("?"), ..Range::new(100, 16_383, port, other) }]
    });
    let gate = start(&fake);
    assert_ready(&gate, true);
    gate.assert_metric("upstream_uncovered_slots", &[("upstream", "main")], f64::from(16_384 - 100));
    gate.assert_metric("upstream_nodes", &[("upstream", "main"), ("role", "master")], 1.0);
}

/// A node that sends half an answer holds up nothing but itself.
#[test]
fn a_node_that_hangs_does_not_hold_up_the_others() {
    let hanging = Fake::start(|words| match words {
        ["CLUSTER", ..] => Some(Answer::Held(b"*3\r\n:0\r\n".to_vec(), Vec::new())),
        _ => None,
    });
    let well = node(|port| vec![Range::new(0, 16_383, port, ID)]);
    let gate = before(&[hanging.address(), well.address()], ", connect_timeout: 1s").start();
    assert_ready(&gate, true);
    gate.assert_log(&format!(
        "cannot ask node {}: connected, but no answer to CLUSTER SLOTS",
        hanging.address()
    ));
}

/// A client has at most 120 connections to nodes. It uses more nodes in turn.
#[test]
fn a_client_may_use_more_nodes_than_it_has_connections() {
    const NODES: u16 = 150;
    let fake = node(|port| {
        let size = 16_384 / NODES;
        (0..NODES).map(|n| Range::new(n * size, n * size + size - 1, port, &format!("{n:040x}"))).collect()
    });
    let gate = start(&fake);
    assert_ready(&gate, true);
    let mut client = gate.connect();
    for _ in 0..2 {
        // The slots behind the last range have no owner.
        let mut keys = Vec::new();
        for number in 0..3000 {
            let key = format!("key:{number}");
            client.send(&format!("GET {key}"));
            keys.push(key);
        }
        let unserved = |reply: &str| reply == "-CLUSTERDOWN Hash slot not served";
        for key in keys {
            let reply = client.recv().to_string();
            assert!(reply == format!("\"{key}@0\"") || unserved(&reply), "{key}: {reply}");
        }
        client.assert_in_step("after");
    }
    assert!(fake.in_use() <= 121, "{} connections", fake.in_use());
}
