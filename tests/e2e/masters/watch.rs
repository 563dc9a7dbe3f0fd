//! The watcher: which server the proxy takes for the master, what it says of it, and when it does not move.

use std::time::Duration;

use e2e::client::command;
use e2e::{FakeSentinel, Gate, GateBuilder, Masters, Redis, eventually, holds_for, http};
use rustix::process::Signal;

const TOKEN: &str = "a token of the admin endpoint";

/// Longer than the time between two questions to a sentinel.
const SEVERAL_ROUNDS: Duration = Duration::from_secs(4);

fn start(builder: GateBuilder) -> Gate {
    builder.listener("auth: trust").listener("acl: \"+@all -@scripting\"").start()
}

/// Waits until a new client of the proxy can write.
#[track_caller]
fn assert_writes(gate: &Gate, line: &str) {
    eventually("a client of the proxy writes", || {
        let mut client = gate.connect();
        client.try_send_raw(&command(line)).ok()?;
        client.try_recv().is_ok_and(|reply| reply.to_string() == "+OK").then_some(())
    });
}

/// Waits until a new client of the proxy writes to this server.
#[track_caller]
fn assert_serves(gate: &Gate, redis: &Redis) {
    let text = redis.address().to_string();
    eventually("a client of the proxy reaches the master", || {
        assert_writes(gate, &format!("SET at {text}"));
        (redis.control().call("GET at").to_string() == format!("{text:?}")).then_some(())
    });
}

#[track_caller]
fn assert_ready(gate: &Gate, ready: bool) {
    eventually("/ready changes", || (gate.get("/ready").0 == if ready { 200 } else { 503 }).then_some(()));
}

/// Returns a proxy whose sentinels are at these addresses.
fn before(nodes: &[String]) -> GateBuilder {
    GateBuilder::default().upstream(&format!("sentinel: {{master: mymaster, nodes: [{}]}}", nodes.join(", ")))
}

#[test]
fn a_planned_failover_is_followed() {
    let masters = Masters::plain();
    let gate = start(masters.gate().token(TOKEN));
    assert_serves(&gate, &masters.servers()[0]);
    assert_ready(&gate, true);
    masters.failover(1);
    let second = masters.await_other_master(0);
    let (former, next) = (masters.servers()[0].address(), masters.servers()[second].address());
    gate.assert_log(&format!("the master is {next} (was {former}), as named by "));
    assert_serves(&gate, &masters.servers()[second]);
    gate.assert_metric("upstream_failovers_total", &[("upstream", "main")], 1.0);
    let of_main = |answer: String| {
        let status: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        status["upstreams"][0].clone()
    };
    let (status, _) = gate.get("/api/status");
    assert_eq!(status, 401, "the address is for operators");
    let request = format!("GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let answer = http::call(gate.admin(), &format!("{request}Connection: close\r\n\r\n")).expect("an answer");
    let main = of_main(answer.1);
    assert_eq!((&main["sentinels"]["failovers"], &main["master"]), (&1.into(), &next.to_string().into()));
    eventually("the pause has ended", || {
        (gate.metric("upstream_paused_seconds_total", &[("upstream", "main")]) > 0.0).then_some(())
    });
    assert_ready(&gate, true);
}

#[test]
fn a_master_that_dies_is_replaced() {
    let mut masters = Masters::plain();
    let gate = start(masters.gate());
    assert_serves(&gate, &masters.servers()[0]);
    assert_ready(&gate, true);
    masters.server(0).kill();
    assert_ready(&gate, false);
    let second = masters.await_other_master(0);
    assert_serves(&gate, &masters.servers()[second]);
    assert_ready(&gate, true);
}

#[test]
fn a_wrong_name_of_the_master_is_said() {
    let masters = Masters::plain();
    let nodes: Vec<String> = masters.sentinel_addresses().iter().map(ToString::to_string).collect();
    let gate = start(
        GateBuilder::default()
            .upstream(&format!("sentinel: {{master: other, nodes: [{}]}}", nodes.join(", "))),
    );
    for node in &nodes {
        gate.assert_log(&format!(
            "sentinel {node} monitors no master named 'other'; correct upstreams.main.sentinel.master"
        ));
    }
    gate.assert_log("upstream is down: the sentinels have not named a master yet");
    assert_ready(&gate, false);
}

#[test]
fn sentinels_may_come_later() {
    let mut masters = Masters::plain();
    (0..3).for_each(|sentinel| masters.stop_sentinel(sentinel));
    let gate = start(masters.gate());
    gate.assert_log("cannot ask sentinel");
    assert_ready(&gate, false);
    (0..3).for_each(|sentinel| masters.start_sentinel(sentinel));
    assert_serves(&gate, &masters.servers()[0]);
    assert_ready(&gate, true);
    // The last known master stays while no sentinel answers.
    (0..3).for_each(|sentinel| masters.stop_sentinel(sentinel));
    gate.assert_log("fewer than half of the sentinels name the master");
    assert_serves(&gate, &masters.servers()[0]);
}

/// Clients are served, so the answer is 200 all the same: another proxy would ask the same sentinels.
#[test]
fn ready_and_the_api_say_that_too_few_sentinels_answer() {
    let mut masters = Masters::plain();
    let gate = start(masters.gate());
    assert_serves(&gate, &masters.servers()[0]);
    let sentinels = |gate: &Gate| {
        let status: serde_json::Value = serde_json::from_str(&gate.get("/api/status").1).expect("JSON");
        status["upstreams"][0]["sentinels"].to_string()
    };
    eventually("all sentinels are asked", || {
        (sentinels(&gate) == r#"{"configured":3,"failovers":0,"naming":3}"#).then_some(())
    });
    masters.stop_sentinel(0);
    eventually("two are enough", || {
        (sentinels(&gate) == r#"{"configured":3,"failovers":0,"naming":2}"#).then_some(())
    });
    eventually("the proxy is ready", || (gate.get("/ready") == (200, "ready\n".into())).then_some(()));
    masters.stop_sentinel(1);
    let line = "upstream 'main': only 1 of 3 sentinels name the master; a failover may go unnoticed\n";
    eventually("/ready says it", || (gate.get("/ready") == (200, format!("ready\n{line}"))).then_some(()));
    assert_eq!(sentinels(&gate), r#"{"configured":3,"failovers":0,"naming":1}"#);
    masters.server(0).kill();
    eventually("/ready has both", || {
        let (status, text) = gate.get("/ready");
        (status == 503 && text.starts_with("upstream 'main' is down") && text.ends_with(line)).then_some(())
    });
    masters.start_sentinel(0);
    eventually("two are enough again", || (!gate.get("/ready").1.contains("sentinels")).then_some(()));
}

#[test]
fn a_sentinel_that_slept_through_a_failover_changes_nothing() {
    let masters = Masters::plain();
    let gate = start(masters.gate());
    assert_serves(&gate, &masters.servers()[0]);
    masters.sentinel_process(2).signal(Signal::STOP);
    masters.failover(0);
    gate.assert_log("(was ");
    gate.assert_log("cannot ask sentinel");
    masters.sentinel_process(2).signal(Signal::CONT);
    gate.assert_log("answers again");
    let second = masters.await_other_master(0);
    assert_serves(&gate, &masters.servers()[second]);
    gate.assert_metric("upstream_failovers_total", &[("upstream", "main")], 1.0);
}

/// Two servers that both say that they are the master, and three sentinels that say what the test wants.
#[test]
fn a_sentinel_alone_moves_nothing_and_two_do() {
    let (first, second) = (Redis::plain(), Redis::plain());
    let sentinels: Vec<FakeSentinel> = (0..3).map(|_| FakeSentinel::naming(first.address(), 7)).collect();
    let nodes: Vec<String> = sentinels.iter().map(FakeSentinel::address).collect();
    let gate = start(before(&nodes));
    assert_serves(&gate, &first);
    let failovers = |gate: &Gate| gate.metric("upstream_failovers_total", &[("upstream", "main")]);
    // One lies.
    sentinels[0].name(second.address(), 999);
    holds_for(SEVERAL_ROUNDS, "one sentinel is alone", || failovers(&gate) == 0.0);
    // Two agree, and the third one is stale.
    sentinels[1].name(second.address(), 8);
    sentinels[0].name(second.address(), 8);
    gate.assert_log(&format!("the master is {} (was {})", second.address(), first.address()));
    assert_serves(&gate, &second);
    // The majority is stale: the epoch of the view is higher.
    sentinels[0].name(first.address(), 7);
    holds_for(SEVERAL_ROUNDS, "a lower epoch", || failovers(&gate) == 1.0);
    // The sentinels were set up again, and their epochs begin at 0.
    sentinels.iter().for_each(|sentinel| sentinel.name(first.address(), 0));
    eventually("the epoch was reset", || (failovers(&gate) == 2.0).then_some(()));
    assert_serves(&gate, &first);
}

#[test]
fn a_replica_is_no_master_whatever_the_sentinels_say() {
    let masters = Masters::plain();
    let replica = masters.servers()[1].address();
    let sentinels: Vec<FakeSentinel> = (0..3).map(|_| FakeSentinel::naming(replica, 7)).collect();
    let nodes: Vec<String> = sentinels.iter().map(FakeSentinel::address).collect();
    let gate = start(before(&nodes));
    gate.assert_log("the server that the sentinels name says that it is a replica");
    assert_ready(&gate, false);
    sentinels.iter().for_each(|sentinel| sentinel.name(masters.servers()[0].address(), 8));
    assert_serves(&gate, &masters.servers()[0]);
}

#[test]
fn a_server_in_place_of_a_sentinel_is_said() {
    let redis = Redis::plain();
    let gate = start(before(&[redis.address().to_string()]));
    gate.assert_log(&format!(
        "{} is a Redis server and not a sentinel; set upstreams.main.sentinel.nodes to sentinels",
        redis.address()
    ));
    assert_ready(&gate, false);
}

#[test]
fn passwords_of_servers_and_sentinels_are_different() {
    let masters = Masters::builder().password("of-the-servers").sentinel_password("of-the-sentinels").start();
    let gate = start(masters.gate());
    assert_serves(&gate, &masters.servers()[0]);
    assert_ready(&gate, true);
    let nodes: Vec<String> = masters.sentinel_addresses().iter().map(ToString::to_string).collect();
    let without = start(before(&nodes).password("of-the-servers"));
    without.assert_log(&format!("sentinel {} wants a login", nodes[0]));
    let wrong = GateBuilder::default().file("wrong", "wrong").upstream(&format!(
        "sentinel: {{master: mymaster, nodes: [{}], credentials: {{password: {{file: wrong}}}}}}",
        nodes[0]
    ));
    let wrong = start(wrong);
    wrong.assert_log(&format!("cannot ask sentinel {}: Redis refused the user name or password", nodes[0]));
    wrong.assert_log("correct upstreams.main.sentinel.credentials");
}

#[test]
fn sentinels_and_servers_may_use_tls() {
    let masters = Masters::builder().tls().start();
    let gate = start(masters.gate());
    assert_writes(&gate, "SET k 1");
    masters.failover(0);
    gate.assert_log("(was ");
    assert_ready(&gate, true);
}
