//! The watcher of a cluster: the nodes and slots that the proxy knows, what it says of them, and when it does not believe
//! a node.

use std::time::{Duration, Instant};

use e2e::cluster::INNER;
use e2e::{Cluster, Gate, GateBuilder, PATIENCE, Redis, eventually, holds_for, http};
use rustix::process::Signal;
use serde_json::Value;

const TOKEN: &str = "a-token-for-the-tests-of-clusters";

/// Longer than a node that returns says that it is a master.
const SEVERAL_ROUNDS: Duration = Duration::from_secs(3);

/// Returns a proxy with a token, before the cluster with these nodes. `more` are further keys of the upstream.
pub(super) fn before<S: AsRef<str>>(nodes: &[S], more: &str) -> GateBuilder {
    let nodes: Vec<String> = nodes.iter().map(|node| format!("\"{}\"", node.as_ref())).collect();
    let yaml = format!(
        "listeners: [{{name: public, bind: '127.0.0.1:{{port}}', upstream: main, allow: [127.0.0.1], auth: trust, \
         acl: '@public'}}]\n\
         upstreams: {{main: {{cluster: {{nodes: [{}]}}{more}}}}}\n\
         admin: {{bind: '127.0.0.1:{{admin}}', token: {{file: token}}}}\n",
        nodes.join(", ")
    );
    GateBuilder::default().config(&yaml).file("token", TOKEN).secret(TOKEN)
}

fn of(cluster: &Cluster, nodes: &[usize]) -> GateBuilder {
    before(&nodes.iter().map(|node| cluster.address(*node).to_string()).collect::<Vec<_>>(), "")
}

fn get(gate: &Gate, path: &str, authorization: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}Connection: close\r\n\r\n");
    http::call(gate.admin(), &head).map(|(_, body)| body).unwrap_or_default()
}

/// Returns the nodes that the proxy knows.
pub(super) fn nodes(gate: &Gate) -> Vec<Value> {
    let body = get(gate, "/api/upstreams", &format!("Authorization: Bearer {TOKEN}\r\n"));
    let found: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    found["upstreams"][0]["nodes"].as_array().cloned().unwrap_or_default()
}

/// Returns what the proxy knows of a node.
fn known(gate: &Gate, cluster: &Cluster, node: usize) -> Option<Value> {
    nodes(gate).into_iter().find(|known| known["id"] == cluster.id(node))
}

fn slots(gate: &Gate, cluster: &Cluster, node: usize) -> Option<String> {
    Some(known(gate, cluster, node)?["slots"].as_str()?.to_owned())
}

/// Waits until the proxy knows that a node has exactly these slots.
#[track_caller]
fn assert_slots(gate: &Gate, cluster: &Cluster, node: usize, expected: &str) {
    eventually(&format!("the proxy knows that node {node} has {expected}"), || {
        (slots(gate, cluster, node).as_deref() == Some(expected)).then_some(())
    });
}

#[track_caller]
fn assert_health(gate: &Gate, cluster: &Cluster, node: usize, expected: &str) {
    eventually(&format!("node {node} is {expected}"), || {
        (known(gate, cluster, node)?["health"] == expected).then_some(())
    });
}

#[track_caller]
pub(super) fn assert_ready(gate: &Gate, ready: bool) {
    eventually("/ready changes", || (gate.get("/ready").0 == if ready { 200 } else { 503 }).then_some(()));
}

fn assert_count(gate: &Gate, role: &str, count: f64) {
    gate.assert_metric("upstream_nodes", &[("upstream", "main"), ("role", role)], count);
}

#[test]
fn the_map_is_that_of_the_nodes() {
    let cluster = Cluster::plain();
    let gate = of(&cluster, &[1]).start();
    assert_ready(&gate, true);
    assert_slots(&gate, &cluster, 0, "0-5460");
    for (node, slots) in [(0, "0-5460"), (1, "5461-10922"), (2, "10923-16383"), (3, ""), (4, ""), (5, "")] {
        let known = known(&gate, &cluster, node).expect("the proxy knows the node");
        let expected = (slots, "up", if node < 3 { "master" } else { "replica" });
        let found = ["slots", "health", "role"].map(|key| known[key].as_str().unwrap_or_default().to_owned());
        assert_eq!(found, [expected.0, expected.1, expected.2]);
        assert_eq!(known["address"], cluster.address(node).to_string());
    }
    assert_count(&gate, "master", 3.0);
    assert_count(&gate, "replica", 3.0);
    gate.assert_metric("upstream_uncovered_slots", &[("upstream", "main")], 0.0);
    gate.assert_metric("upstream_redirects_total", &[("upstream", "main"), ("kind", "moved")], 0.0);
    // Only operators see the addresses.
    for path in ["/metrics", "/ready", "/live", "/api/upstreams"] {
        assert!(!get(&gate, path, "").contains(INNER), "{path}");
    }
}

/// The proxy asks every ten seconds when nothing tells it to ask earlier.
#[test]
fn slots_that_move_and_nodes_that_come_and_go_are_followed() {
    let mut cluster = Cluster::builder().without_replicas().start();
    let gate = of(&cluster, &[0, 1, 2]).start();
    assert_slots(&gate, &cluster, 1, "5461-10922");
    let added = cluster.add_master();
    cluster.node(0).control().assert_reply("SET {06S}a 1", "+OK");
    cluster.move_slot(0, added);
    cluster.move_slot(5461, 0);
    assert_slots(&gate, &cluster, added, "0");
    assert_slots(&gate, &cluster, 0, "1-5461");
    assert_count(&gate, "master", 4.0);
    cluster.move_slot(0, 0);
    cluster.remove(added);
    eventually("the proxy has forgotten the node", || known(&gate, &cluster, added).is_none().then_some(()));
    assert_slots(&gate, &cluster, 0, "0-5461");
    assert_count(&gate, "master", 3.0);
    assert_ready(&gate, true);
}

#[test]
fn a_planned_failover_is_followed() {
    let cluster = Cluster::plain();
    let gate = of(&cluster, &[0, 1, 2]).start();
    assert_slots(&gate, &cluster, 0, "0-5460");
    gate.assert_metric("upstream_failovers_total", &[("upstream", "main")], 0.0);
    cluster.failover(3);
    assert_slots(&gate, &cluster, 3, "0-5460");
    gate.assert_metric("upstream_failovers_total", &[("upstream", "main")], 1.0);
    assert_eq!(slots(&gate, &cluster, 0).as_deref(), Some(""));
    assert_ready(&gate, true);
}

#[test]
fn a_master_that_dies_is_down_and_then_replaced() {
    let mut cluster = Cluster::plain();
    let gate = of(&cluster, &[0, 1, 2]).start();
    assert_slots(&gate, &cluster, 0, "0-5460");
    cluster.kill(0);
    assert_health(&gate, &cluster, 0, "down");
    gate.assert_log(&format!("node {} is down", cluster.address(0)));
    assert_slots(&gate, &cluster, 3, "0-5460");
    assert_ready(&gate, true);
    cluster.start_again(0);
    assert_health(&gate, &cluster, 0, "up");
    gate.assert_log(&format!("node {} is up", cluster.address(0)));
    assert_slots(&gate, &cluster, 3, "0-5460");
}

/// A master that was stopped, and returns, says for a moment that it still has its slots. It is the only configured
/// node.
#[test]
fn a_master_that_wakes_up_does_not_get_its_slots_back() {
    let cluster = Cluster::plain();
    let gate = of(&cluster, &[0, 1]).start();
    assert_slots(&gate, &cluster, 0, "0-5460");
    cluster.node(0).signal(Signal::STOP);
    assert_health(&gate, &cluster, 0, "down");
    assert_slots(&gate, &cluster, 3, "0-5460");
    cluster.node(0).signal(Signal::CONT);
    holds_for(SEVERAL_ROUNDS, "the new owner has the slots", || {
        slots(&gate, &cluster, 3).as_deref() == Some("0-5460")
    });
    assert_health(&gate, &cluster, 0, "up");
}

/// A node that sees no majority says `cluster_state:fail`. The map stays, and the proxy is not ready.
#[test]
fn a_minority_does_not_change_the_map() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = of(&cluster, &[0, 1, 2]).start();
    assert_slots(&gate, &cluster, 1, "5461-10922");
    assert_ready(&gate, true);
    for node in [1, 2] {
        cluster.node(node).signal(Signal::STOP);
    }
    assert_ready(&gate, false);
    gate.assert_log("upstream is down: every node of the cluster that answers says cluster_state:fail");
    assert_eq!(slots(&gate, &cluster, 1).as_deref(), Some("5461-10922"));
    for node in [1, 2] {
        cluster.node(node).signal(Signal::CONT);
    }
    assert_ready(&gate, true);
}

#[test]
fn a_slot_without_an_owner_is_counted() {
    let cluster = Cluster::builder().without_replicas().line("cluster-require-full-coverage no").start();
    let gate = of(&cluster, &[0]).start();
    assert_slots(&gate, &cluster, 0, "0-5460");
    assert_eq!(cluster.call(0, "CLUSTER DELSLOTS 7 8 9"), "OK");
    // The other nodes do not hear of it.
    for other in [1, 2] {
        assert_eq!(cluster.call(other, "CLUSTER DELSLOTS 7 8 9"), "OK");
    }
    gate.assert_metric("upstream_uncovered_slots", &[("upstream", "main")], 3.0);
    assert_slots(&gate, &cluster, 0, "0-6,10-5460");
    assert_ready(&gate, true);
}

#[test]
fn the_nodes_may_come_later() {
    let mut cluster = Cluster::builder().without_replicas().start();
    (0..3).for_each(|node| cluster.kill(node));
    let begun = Instant::now();
    let gate = of(&cluster, &[0, 1]).start();
    assert!(begun.elapsed() < PATIENCE);
    gate.assert_log(&format!("cannot ask node {}", cluster.address(0)));
    gate.assert_log("upstream is down: no node of the cluster has answered");
    assert_ready(&gate, false);
    (0..3).for_each(|node| cluster.start_again(node));
    assert_ready(&gate, true);
    assert_slots(&gate, &cluster, 2, "10923-16383");
    let log = gate.stderr();
    assert_eq!(log.matches(&format!("cannot ask node {}", cluster.address(0))).count(), 1, "{log}");
}

#[test]
fn a_server_without_cluster_support_is_said() {
    let redis = Redis::plain();
    let gate = before(&[redis.address().to_string()], "").start();
    let text = format!("{} is no node of a cluster: cluster support is disabled there", redis.address());
    gate.assert_log(&text);
    assert_ready(&gate, false);
    assert_eq!(gate.stderr().matches(&text).count(), 1);
}

#[test]
fn the_nodes_of_two_clusters_are_said() {
    let (first, second) =
        (Cluster::builder().without_replicas().start(), Cluster::builder().without_replicas().start());
    let both = [first.address(0).to_string(), second.address(0).to_string()];
    let gate = before(&both, "").start();
    let text = "the configured nodes belong to two clusters";
    gate.assert_log(text);
    assert_ready(&gate, false);
    assert!(nodes(&gate).is_empty());
    assert_eq!(gate.stderr().matches(text).count(), 1);
}

#[test]
fn host_names_are_translated() {
    let cluster = Cluster::builder().without_replicas().host_names().start();
    let gate = before(&[cluster.address(0).to_string()], &format!(", {}", cluster.translation())).start();
    assert_ready(&gate, true);
    assert_slots(&gate, &cluster, 2, "10923-16383");
    for node in 0..3 {
        let known = known(&gate, &cluster, node).expect("the proxy knows the node");
        let announced = format!("node-{}.example:{}", node + 1, cluster.address(node).port());
        assert_eq!((known["address"].as_str(), known["link"].as_str()), (Some(&*announced), Some("ok")));
        assert_eq!(known["reached_at"], cluster.address(node).to_string());
    }
}

#[test]
fn nodes_with_tls_and_a_password() {
    let cluster = Cluster::builder().tls().password("a-password-of-nodes").start();
    let gate = cluster.gate().upstream("tls: {ca: ca.pem}").start();
    assert_ready(&gate, true);
    assert_count(&gate, "replica", 3.0);
    gate.assert_metric("upstream_uncovered_slots", &[("upstream", "main")], 0.0);
}

#[test]
fn a_reload_may_change_the_nodes() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = of(&cluster, &[0, 1]).start();
    assert_ready(&gate, true);
    let path = gate.directory().join("portcullis.yaml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    let (first, third) = (cluster.address(0).to_string(), cluster.address(2).to_string());
    std::fs::write(&path, text.replace(&first, &third)).expect("writable");
    gate.signal(Signal::HUP);
    // The proxy may have seen the change of the file before the signal.
    eventually("the configuration is applied", || {
        (gate.metric("config_reloads_total", &[("result", "applied")]) >= 1.0).then_some(())
    });
    assert_slots(&gate, &cluster, 0, "0-5460");
    assert_ready(&gate, true);
}
