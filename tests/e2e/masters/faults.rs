//! Masters and sentinels that stop, return, lie, or name the wrong server.

use std::time::Duration;

use e2e::{Answer, Fake, FakeSentinel, Gate, GateBuilder, Masters, Redis, eventually, holds_for};
use rustix::process::Signal;

const IN_FLIGHT: &str =
    "-ERR portcullis: upstream 'main' changed its master; this command may or may not have run";

/// Longer than some rounds of questions to the sentinels, of which there is one each second.
const ROUNDS: Duration = Duration::from_secs(3);

/// Builds a proxy that asks these sentinels.
fn asking(sentinels: &[&FakeSentinel]) -> GateBuilder {
    let nodes: Vec<String> = sentinels.iter().map(|sentinel| sentinel.address()).collect();
    let nodes = nodes.join(", ");
    GateBuilder::default()
        .listener("auth: trust")
        .upstream(&format!("sentinel: {{master: mymaster, nodes: [{nodes}]}}"))
}

fn value(redis: &Redis) -> String {
    redis.control().call("GET n").to_string()
}

/// Commands that wait in the socket of a stopped master are executed when it continues, and its data is then replaced.
/// The client reads an error for each of them at the switch, and no acknowledgement later.
#[test]
fn what_a_stopped_master_acknowledges_later_reaches_no_client() {
    let masters = Masters::builder().down_after(1000).start();
    for connections in ["dedicated", "shared"] {
        let gate =
            masters.gate().listener("auth: trust").upstream(&format!("connections: {connections}")).start();
        let former = masters.master();
        let mut client = gate.connect();
        client.assert_reply("DEL n", &client_count(&masters, former));
        masters.servers()[former].signal(Signal::STOP);
        client.send_raw(b"INCR n\r\nINCR n\r\nINCR n\r\n");
        masters.await_other_master(former);
        for _ in 0..3 {
            client.assert_recv(IN_FLIGHT);
        }
        client.assert_reply("INCR n", ":1");
        masters.servers()[former].signal(Signal::CONT);
        client.assert_silent_for(Duration::from_millis(500));
        client.assert_reply("INCR n", ":2");
        masters.await_replicas();
    }
}

/// Returns the reply to `DEL n`: whether the key exists.
fn client_count(masters: &Masters, master: usize) -> String {
    masters.servers()[master].control().call("EXISTS n").to_string()
}

/// One sentinel of four names another server, with a higher epoch than the others.
#[test]
fn one_lying_sentinel_moves_nothing() {
    let masters = Masters::plain();
    let other = Redis::plain();
    let liar = FakeSentinel::naming(other.address(), 999);
    let mut nodes: Vec<String> = masters.sentinel_addresses().iter().map(ToString::to_string).collect();
    nodes.insert(0, liar.address());
    let nodes = nodes.join(", ");
    let gate = GateBuilder::default()
        .listener("auth: trust")
        .upstream(&format!("sentinel: {{master: mymaster, nodes: [{nodes}]}}"))
        .start();
    let mut client = gate.connect();
    holds_for(ROUNDS, "commands go to the master", || {
        client.call("INCR n");
        value(&other) == "nil"
    });
    assert_ne!(value(&masters.servers()[0]), "nil");
}

/// An administrator removes the master from the sentinels and adds another one. Its epoch begins at 0 again.
#[test]
fn a_lower_epoch_of_all_sentinels_is_followed() {
    let masters = Masters::plain();
    let gate = masters.gate().listener("auth: trust").start();
    masters.failover(0);
    let second = masters.await_other_master(0);
    gate.assert_metric("upstream_failovers_total", &[("upstream", "main")], 1.0);
    masters.await_replicas();
    let chosen = 3 - second;
    let mut client = gate.connect();
    client.assert_reply("INCR n", ":1");
    let address = masters.servers()[chosen].address().to_string().replace(':', " ");
    masters.servers()[chosen].control().assert_reply("REPLICAOF NO ONE", "+OK");
    for sentinel in 0..3 {
        masters.sentinel(sentinel).assert_reply("SENTINEL REMOVE mymaster", "+OK");
    }
    for sentinel in 0..3 {
        masters.sentinel(sentinel).assert_reply(&format!("SENTINEL MONITOR mymaster {address} 2"), "+OK");
    }
    let mut there = masters.servers()[chosen].control();
    eventually("the commands go to the other master", || {
        let before = there.call("GET n").to_string();
        client.call("INCR n");
        (there.call("GET n").to_string() != before).then_some(())
    });
}

/// Sentinels may name a server that is a replica, for example in the middle of a failover. It gets no command of a
/// client.
#[test]
fn a_replica_that_the_sentinels_name_gets_no_command() {
    let master = Redis::plain();
    let address = master.address().to_string().replace(':', " ");
    let replica = Redis::builder().line(&format!("replicaof {address}")).line("replica-read-only no").start();
    let sentinels = [1, 2, 3].map(|_| FakeSentinel::naming(replica.address(), 1));
    let gate = asking(&sentinels.each_ref()).upstream("failover_wait: 1s").start();
    let mut client = gate.connect();
    client.assert_reply("SET n 1", "-ERR portcullis: upstream 'main' unavailable (timeout)");
    assert_eq!(replica.calls("set"), 0);
    assert_eq!(gate.get("/ready").0, 503);
    sentinels.iter().for_each(|sentinel| sentinel.name(master.address(), 2));
    eventually("the master gets commands", || (client.call("SET n 2").to_string() == "+OK").then_some(()));
    assert_eq!(value(&master), r#""2""#);
}

/// The first master accepts connections, and does not answer the login. The master changes meanwhile.
#[test]
fn a_dial_in_progress_turns_to_the_new_master() {
    let silent = Fake::start(|_| Some(Answer::Nothing));
    let redis = Redis::plain();
    let sentinels = [1, 2, 3].map(|_| FakeSentinel::naming(silent.address(), 1));
    let gate =
        asking(&sentinels.each_ref()).upstream("connect_timeout: 15s").upstream("failover_wait: 20s").start();
    let mut client = gate.connect();
    client.send("INCR n");
    eventually("a sentinel is asked, and the server is dialled", || (silent.in_use() > 0).then_some(()));
    sentinels.iter().for_each(|sentinel| sentinel.name(redis.address(), 2));
    client.assert_recv(":1");
    let sent: Vec<String> = silent.connections_with("INCR n").iter().map(usize::to_string).collect();
    assert_eq!(sent, [""; 0], "the first server got the command");
}

/// All connections of the upstream, with its sentinels too, use TLS.
#[test]
fn a_failover_over_tls() {
    let mut masters = Masters::builder().tls().down_after(1000).start();
    let gate = masters.gate().listener("auth: trust").start();
    let mut client = gate.connect();
    client.assert_reply("INCR n", ":1");
    masters.server(0).kill();
    masters.await_other_master(0);
    eventually("the commands go to the other master", || (!client.call("INCR n").is_error()).then_some(()));
}

/// Without any sentinel the last master stays, and the clients with it.
#[test]
fn without_sentinels_the_last_master_stays() {
    let mut masters = Masters::plain();
    let gate = masters.gate().listener("auth: trust").start();
    let mut client = gate.connect();
    client.assert_reply("INCR n", ":1");
    (0..3).for_each(|sentinel| masters.stop_sentinel(sentinel));
    let mut expected = 1;
    holds_for(ROUNDS, "the client is served", || {
        expected += 1;
        client.call("INCR n").to_string() == format!(":{expected}")
    });
    // A sentinel that was away during a failover names the old master.
    assert_new_client(&gate);
}

fn assert_new_client(gate: &Gate) {
    gate.connect().assert_reply("PING", "+PONG");
}
