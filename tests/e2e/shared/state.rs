//! State that a client leaves on a connection must not be visible to other clients.

use std::time::Duration;

use e2e::client::{command, encode};
use e2e::{Client, Gate, Redis, Stage, Way};

use super::{Neighbours, sharing};

/// A client that subscribes to invalidations receives them on its own connection. No other client receives them.
#[test]
fn invalidations_go_to_their_subscriber() {
    let stage = Stage::new(Way::Shared);
    let mut others: Vec<Client> = (0..10).map(|_| stage.connect()).collect();
    for other in &mut others {
        other.call("HELLO 3");
        other.assert_reply("GET k", "null");
    }
    let mut client = stage.connect();
    client.call("HELLO 3");
    client.assert_reply("CLIENT TRACKING ON", "+OK");
    client.assert_reply("GET k", "null");
    for (number, other) in others.iter_mut().enumerate() {
        other.assert_reply(&format!("SET k {number}"), "+OK");
        client.assert_recv(r#">["invalidate" ["k"]]"#);
        client.assert_reply("GET k", &format!("\"{number}\""));
    }
    for other in &mut others {
        other.assert_in_step("nothing else came");
    }
    client.assert_reply("CLIENT TRACKING OFF", "+OK");
    std::thread::sleep(Duration::from_millis(1500));
    client.assert_reply("GET k", r#""9""#);
    others[0].assert_reply("SET k last", "+OK");
    client.assert_in_step("no longer tracked");
}

/// Invalidations that are redirected to an id of Redis would break a connection that other clients use.
#[test]
fn invalidations_cannot_be_sent_to_shared_connections() {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let mut others: Vec<Client> = (0..10).map(|_| gate.connect()).collect();
    for other in &mut others {
        other.call("HELLO 3");
        other.assert_reply("GET k", "null");
    }
    let ids: Vec<String> = redis
        .tcp_clients()
        .iter()
        .map(|line| {
            line.split(' ').next().and_then(|word| word.strip_prefix("id=")).expect("an id").to_owned()
        })
        .collect();
    for id in &ids {
        let mut client = gate.connect();
        client.call("HELLO 3");
        client.send(&format!("CLIENT TRACKING ON BCAST REDIRECT {id}"));
        // The command is refused; the wording may vary.
        let reply = client.recv();
        assert!(reply.is_error(), "{reply}");
        others[0].assert_reply("SET k x", "+OK");
    }
    for other in &mut others {
        other.assert_reply("GET k", r#""x""#);
    }
    assert_eq!(redis.control().call("INFO stats").text().matches("tracking_total_prefixes:0\r").count(), 1);
}

/// Flags that Redis keeps for a connection end with the client. They never apply to another client.
#[test]
fn flags_are_not_inherited() {
    let stage = Stage::new(Way::Shared);
    for line in [
        "CLIENT NO-EVICT ON",
        "CLIENT TRACKING ON",
        "READONLY",
        "ASKING",
        "CLIENT CACHING YES",
        "SCRIPT DEBUG NO",
    ] {
        let mut client = stage.connect();
        client.call("HELLO 3");
        client.call(line);
        client.assert_reply("SET k v", "+OK");
        client.assert_in_step(line);
        let flags =
            |line: &String| line.split(' ').find_map(|w| w.strip_prefix("flags=")).expect("flags").to_owned();
        // A shared connection may not have this state, so the client has a connection of its own.
        drop(client);
        e2e::eventually("no connection has a flag", || {
            stage.redis.tcp_clients().iter().all(|line| flags(line) == "N").then_some(())
        });
    }
}

/// Only the subscriber receives its messages. When it returns to a shared connection, no late message arrives there.
#[test]
fn subscribers_come_and_go() {
    let stage = Stage::new(Way::Shared);
    let gate = stage.gate.as_ref().expect("a gate");
    let mut neighbours = Neighbours::enter(gate);
    let mut client = stage.connect();
    let mut control = stage.redis.control();
    for round in 0..5 {
        client.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#);
        neighbours.send();
        for number in 0..50 {
            control.assert_reply(&format!("PUBLISH c {round}:{number}"), ":1");
        }
        client.send("UNSUBSCRIBE c");
        for number in 0..50 {
            client.assert_recv(&format!(r#"["message" "c" "{round}:{number}"]"#));
        }
        client.assert_recv(r#"["unsubscribe" "c" :0]"#);
        control.assert_reply("PUBLISH c nobody", ":0");
        client.assert_in_step("between");
        neighbours.assert_own_replies();
    }
    std::thread::sleep(Duration::from_millis(1500));
    client.assert_in_step("pooled");
    neighbours.assert_served();
}

/// A transaction ends with its client.
#[test]
fn transactions_that_are_left() {
    let stage = Stage::new(Way::Shared);
    let gate = stage.gate.as_ref().expect("a gate");
    let mut neighbours = Neighbours::enter(gate);
    for round in 0..20 {
        let mut client = stage.connect();
        client.hold(&command("SET k before"));
        client.hold(&command("MULTI"));
        client.hold(&command("SET k never"));
        client.send("SET other never");
        client.assert_recv("+OK");
        client.assert_recv("+OK");
        if round % 2 == 0 {
            client.abort()
        } else {
            drop(client)
        }
        neighbours.assert_served();
    }
    stage.redis.control().assert_reply("MGET k other", r#"["before" nil]"#);
}

/// MONITOR shows the commands of Redis only to the client that sent it.
#[test]
fn monitors_read_alone() {
    let stage = Stage::new(Way::Shared);
    let gate = stage.gate.as_ref().expect("a gate");
    let mut neighbours = Neighbours::enter(gate);
    let mut client = stage.connect();
    client.assert_reply("MONITOR", "+OK");
    for _ in 0..5 {
        neighbours.assert_served();
    }
    for _ in 0..5 * Neighbours::COUNT * Neighbours::DEPTH {
        let line = client.recv().to_string();
        assert!(line.starts_with("+1"), "{line}");
    }
    client.send("RESET");
    while client.recv().to_string() != "+RESET" {}
    client.assert_in_step("after");
    neighbours.assert_served();
}

/// Refusals keep their order in a pipeline, whichever connections its commands use.
#[test]
fn refused_commands_in_a_pipeline() {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).listener("acl: '+@all -flushall -eval ~app:*'").start();
    let mut neighbours = Neighbours::enter(&gate);
    let mut client = gate.connect();
    for round in 0..50 {
        neighbours.send();
        client.hold(&command(&format!("SET app:k {round}")));
        client.hold(&command("FLUSHALL"));
        client.hold(&command("GET app:k"));
        client.hold(&command("GET other:k"));
        client.hold(&encode(&[b"EVAL", b"return 1", b"0"]));
        client.hold(&command("MULTI"));
        client.hold(&command("FLUSHALL"));
        client.hold(&command("EXEC"));
        client.send("GET app:k");
        let value = format!("\"{round}\"");
        for due in [
            "+OK",
            "-NOPERM User default has no permissions to run the 'flushall' command",
            &value,
            "-NOPERM No permissions to access a key",
            "-NOPERM User default has no permissions to run the 'eval' command",
            "+OK",
            "-NOPERM User default has no permissions to run the 'flushall' command",
            "-EXECABORT Transaction discarded because of previous errors.",
            &value,
        ] {
            client.assert_recv(due);
        }
        neighbours.assert_own_replies();
    }
    assert_eq!(redis.calls("flushall") + redis.calls("eval"), 0);
}
