//! What sentinels announce: host names, and failovers that are given up.

use std::time::Duration;

use e2e::client::command;
use e2e::{FakeSentinel, Gate, GateBuilder, Redis, eventually};

fn before(sentinel: &FakeSentinel, pause: &str) -> Gate {
    let node = sentinel.address();
    let gate = GateBuilder::default()
        .listener("auth: trust")
        .upstream(&format!("sentinel: {{master: mymaster, nodes: [{node:?}], pause: {pause}}}"))
        .upstream("failover_wait: 1m")
        .start();
    eventually("the proxy is ready", || (gate.get("/ready").0 == 200).then_some(()));
    gate
}

/// As with `sentinel announce-hostnames yes`. The proxy looks the names up by itself.
#[test]
fn announced_host_names_are_looked_up() {
    let (first, second) = (Redis::plain(), Redis::plain());
    let named = |redis: &Redis| format!("localhost:{}", redis.address().port());
    let sentinel = FakeSentinel::naming(named(&first), 1);
    let gate = before(&sentinel, "off");
    gate.assert_log(&format!("the master is {}, as named by", named(&first)));
    let mut client = gate.connect();
    client.assert_reply("SET at first", "+OK");
    sentinel.name(named(&second), 2);
    gate.assert_log(&format!("the master is {} (was {}), as named by", named(&second), named(&first)));
    client.assert_reply("SET at second", "+OK");
    for (redis, value) in [(&first, "\"first\""), (&second, "\"second\"")] {
        redis.control().assert_reply("GET at", value);
    }
    // The same server by its address is no other master.
    sentinel.name(second.address(), 3);
    client.assert_reply("GET at", "\"second\"");
}

/// The chosen replica never becomes a master, and the leading sentinel gives up.
#[test]
fn traffic_flows_again_when_a_failover_is_given_up() {
    let master = Redis::plain();
    let words = master.address().to_string().replace(':', " ");
    let replica = Redis::builder().line(&format!("replicaof {words}")).start();
    let sentinel = FakeSentinel::naming(master.address(), 1);
    let gate = before(&sentinel, "60s");
    let mut client = gate.connect();
    client.assert_reply("INCR n", ":1");
    let chosen = replica.address().to_string().replace(':', " ");
    eventually("commands are held", || {
        sentinel.publish(
            "+failover-state-send-slaveof-noone",
            &format!("slave {} {chosen} @ mymaster {words}", replica.address()),
        );
        gate.stderr().contains("a failover is in progress: commands are held").then_some(())
    });
    client.send_raw(&command("INCR n"));
    client.assert_silent_for(Duration::from_millis(500));
    sentinel.publish("-failover-abort-slave-timeout", &format!("master mymaster {words}"));
    client.assert_recv(":2");
    gate.assert_log("commands are sent again");
    gate.assert_metric("upstream_failovers_total", &[("upstream", "main")], 0.0);
    gate.assert_metric("sessions_carried_total", &[("upstream", "main")], 0.0);
}
