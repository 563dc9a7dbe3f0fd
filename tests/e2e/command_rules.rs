//! `acl`: a refused command gets its reply in order, and none of its bytes reaches Redis.

mod channels;
mod cost;
mod denials;
mod public;
mod tap;

use std::time::Duration;

use e2e::client::{command, encode};
use e2e::{Client, Gate, GateBuilder, Redis, eventually};

use self::tap::Tap;

const MIB: usize = 1024 * 1024;
const NO_KEY: &str = "-NOPERM No permissions to access a key";
const NO_CHANNEL: &str = "-NOPERM No permissions to access a channel";

fn no_command(name: &str) -> String {
    format!("-NOPERM User default has no permissions to run the '{name}' command")
}

fn under(tap: &Tap, acl: &str) -> GateBuilder {
    Gate::before_address(&tap.address()).listener("auth: trust").listener(&format!("acl: {acl}"))
}

/// Redis receives exactly the allowed commands: in RESP2 and RESP3, alone and after a thousand other commands.
#[test]
fn a_refusal_stands_in_its_place() {
    let redis = Redis::plain();
    let tap = Tap::before(&redis);
    let gate = under(&tap, "\"+@all -@dangerous ~app:* ~lead &news:*\"").start();
    let mut number = 0;
    for protocol in ["2", "3"] {
        for deep in [0, 1000] {
            number += 1;
            redis.control().assert_reply("FLUSHALL", "+OK");
            let marker = format!("marker-{number}");
            let mut client = gate.connect();
            client.send(&format!("HELLO {protocol}"));
            assert_eq!(client.recv().items().len(), 14);
            client.assert_reply(&format!("ECHO {marker}"), &format!("\"{marker}\""));
            let mut due = command(&format!("HELLO {protocol}"));
            due.extend(command(&format!("ECHO {marker}")));
            due.extend(command("INCR lead").repeat(deep));
            client.lead("lead", deep);
            let (flushall, config) = (no_command("flushall"), no_command("config|get"));
            let table = [
                ("SET app:1 x", "+OK"),
                ("GET other", NO_KEY),
                ("GET app:1", "\"x\""),
                ("FLUSHALL", &flushall),
                ("MSET app:2 a other b", NO_KEY),
                ("CONFIG GET requirepass", &config),
                ("PUBLISH news:1 x", ":0"),
                ("PUBLISH secret x", NO_CHANNEL),
                ("SUBSCRIBE news:1 secret", NO_CHANNEL),
                ("PSUBSCRIBE n*", NO_CHANNEL),
                ("flushall async", &flushall),
                ("EXISTS app:1 app:2", ":1"),
                ("PING", "+PONG"),
            ];
            for (line, reply) in table {
                client.hold(&command(line));
                if !reply.starts_with("-NOPERM") {
                    due.extend(command(line));
                }
            }
            client.send_raw(b"");
            for (_, reply) in table {
                client.assert_recv(reply);
            }
            let sent = tap.with(&marker);
            assert_eq!(sent, String::from_utf8(due).expect("text"));
        }
    }
    gate.assert_metric("commands_denied_total", &[("reason", "command")], 12.0);
    gate.assert_metric("commands_denied_total", &[("reason", "key")], 8.0);
    gate.assert_metric("commands_denied_total", &[("reason", "channel")], 12.0);
}

#[test]
fn inline_commands_are_judged_alike() {
    let redis = Redis::plain();
    let tap = Tap::before(&redis);
    let gate = under(&tap, "\"+@all -@dangerous ~app:* &news:*\"").start();
    let mut client = gate.connect();
    let lines = [
        ("ECHO marker", "\"marker\"".to_owned()),
        ("SET app:1 x", "+OK".to_owned()),
        ("GET other", NO_KEY.to_owned()),
        (r#""\x47ET" "oth\x65r""#, NO_KEY.to_owned()),
        ("gEt 'app:1'", "\"x\"".to_owned()),
        ("FlushAll", no_command("flushall")),
        ("config\tGET *", no_command("config|get")),
        ("PUBLISH secret x", NO_CHANNEL.to_owned()),
    ];
    for (line, _) in &lines {
        client.hold(format!("{line}\r\n").as_bytes());
    }
    client.send_raw(b"");
    for (_, reply) in &lines {
        client.assert_recv(reply);
    }
    let sent = tap.with("marker");
    assert!(!sent.contains("other") && !sent.contains("secret") && !sent.to_lowercase().contains("flushall"));
}

/// Checks the counter of input bytes in Redis.
#[test]
fn the_input_counter_of_redis_does_not_move() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).listener("auth: trust").listener("acl: \"+@all -debug ~app:*\"").start();
    let read = || {
        let info = redis.control().call("INFO stats").text();
        let line = info.lines().find_map(|line| line.strip_prefix("total_net_input_bytes:"));
        line.and_then(|n| n.trim().parse::<u64>().ok()).expect("INFO stats")
    };
    let mut client = gate.connect();
    client.assert_reply("SET app:1 x", "+OK");
    let refused = [
        encode(&[b"SET", b"other", "x".repeat(1024).as_bytes()]),
        encode(&[b"DEBUG", b"JMAP", "x".repeat(1024).as_bytes()]),
        encode(&[b"NOSUCH", "x".repeat(1024).as_bytes()]),
    ];
    let before = read();
    for frame in &refused {
        client.hold(&frame.repeat(3000));
    }
    client.send("GET app:1");
    for reply in [NO_KEY, &no_command("debug"), &no_command("NOSUCH")] {
        for _ in 0..3000 {
            let got = client.recv().to_string();
            assert_eq!(got.to_lowercase(), reply.to_lowercase());
        }
    }
    client.assert_recv("\"x\"");
    // Only the health check and this command move the counter.
    let moved = read() - before;
    assert!(moved < 1000, "{moved} bytes of 9 MiB of refused commands reached Redis");
}

/// The proxy refuses the command as soon as it has the deciding bytes. It skips the rest without using memory.
#[test]
fn a_refused_gibibyte() {
    let redis = Redis::plain();
    let tap = Tap::before(&redis);
    let gate = under(&tap, "\"+@all -debug ~app:*\"").listener("limits: {bulk: 2GiB}").start();
    let mut client = gate.connect();
    client.assert_reply("ECHO marker", "\"marker\"");
    let before = gate.peak_memory();
    let chunk = vec![b'x'; MIB];
    for (head, reply) in [
        ("*3\r\n$3\r\nSET\r\n$5\r\nother\r\n$1073741824\r\n", NO_KEY.to_owned()),
        ("*2\r\n$5\r\nDEBUG\r\n$1073741824\r\n", no_command("debug")),
    ] {
        client.send_raw(head.as_bytes());
        if head.contains("SET") {
            // The reply does not wait for the rest.
            client.assert_recv(&reply);
        }
        for _ in 0..1024 {
            client.send_raw(&chunk);
        }
        client.send_raw(b"\r\n");
        if !head.contains("SET") {
            let got = client.recv().to_string();
            assert!(got.starts_with('-'), "{got}");
        }
        client.assert_reply("GET app:1", "nil");
    }
    let grown = gate.peak_memory() - before;
    assert!(grown < 1024 * 1024, "{grown} bytes more");
    assert!(tap.with("marker").len() < 200);
}

#[test]
fn a_refusal_spoils_its_transaction() {
    let redis = Redis::plain();
    let tap = Tap::before(&redis);
    let gate = under(&tap, "\"+@all -@dangerous ~app:*\"").start();
    let aborted = "-EXECABORT Transaction discarded because of previous errors.";
    for (refused, reply) in [("FLUSHALL", no_command("flushall")), ("GET other", NO_KEY.to_owned())] {
        let mut client = gate.connect();
        for line in ["MULTI", "SET app:a 1", refused, "SET app:b 1", "EXEC", "EXISTS app:a app:b", "EXEC"] {
            client.hold(&command(line));
        }
        client.send("MULTI");
        for due in ["+OK", "+QUEUED", &reply, "+QUEUED", aborted, ":0", "-ERR EXEC without MULTI", "+OK"] {
            client.assert_recv(due);
        }
        // No command from before is queued.
        client.assert_reply("SET app:c 1", "+QUEUED");
        client.assert_reply("EXEC", "[+OK]");
    }
    assert!(tap.all().iter().all(|sent| !sent.contains("FLUSHALL") && !sent.contains("other")));
}

/// The declared keys of a script are checked. A script with an invalid number of keys is refused.
#[test]
fn scripts_under_key_rules() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).listener("auth: trust").listener("acl: \"+@all ~app:*\"").start();
    let mut client = gate.connect();
    let script = "return(redis.call('set',KEYS[1],'x'))";
    client.assert_reply(&format!("EVAL {script} 1 app:s"), "+OK");
    client.assert_reply(&format!("EVAL {script} 1 other"), NO_KEY);
    client.assert_reply(&format!("EVAL {script} 2 app:s other"), NO_KEY);
    client.assert_reply(&format!("EVAL {script} x app:s"), NO_KEY);
    client.assert_reply("EVAL return(1) 0", ":1");
    gate.assert_log("scripts or functions are allowed");
    redis.control().assert_reply("EXISTS other", ":0");
}

#[test]
fn unknown_commands_need_their_name() {
    let redis = Redis::plain();
    let gate =
        Gate::before(&redis).listener("auth: trust").listener("acl: [\"+@all\", \"+json.set\"]").start();
    let mut client = gate.connect();
    client.assert_reply("NOSUCH a", &no_command("NOSUCH"));
    client.assert_reply("JSON.GET a", &no_command("JSON.GET"));
    client.assert_reply("JSON.SET a", "-ERR unknown command 'JSON.SET', with args beginning with: 'a' ");
    client.assert_reply("CONFIG NOSUCH", &no_command("config"));
    // The proxy does not know the keys of this command.
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .listener("acl: [\"+@all\", \"+json.set\", \"~app:*\"]")
        .start();
    gate.connect().assert_reply("JSON.SET app:1", NO_KEY);
}

/// One set of rules may allow a command that another set refuses. The keys of a selector apply only to that selector.
#[test]
fn selectors() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .listener("acl: \"+@read ~a:* (+set ~b:*) (+@hash %R~c:* %W~d:*)\"")
        .start();
    let mut client = gate.connect();
    for (line, reply) in [
        ("GET a:1", "nil"),
        ("GET b:1", NO_KEY),
        ("SET b:1 x", "+OK"),
        ("SET a:1 x", NO_KEY),
        ("SET b:1 x GET", NO_KEY),
        ("HGET c:1 f", "nil"),
        ("HSET d:1 f x", ":1"),
        ("HSET c:1 f x", NO_KEY),
    ] {
        let got = client.call(line).to_string();
        let due = if line == "SET b:1 x GET" && !got.starts_with('-') { got.as_str() } else { reply };
        assert_eq!(got, due, "{line}");
    }
}

/// Both sets of rules must allow a command, so a user's rules never allow more than the listener's.
#[test]
fn listener_and_user_rules_meet() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: users")
        .listener("users: [reporting, all]")
        .listener("acl: \"@public ~app:*\"")
        .top("users: {reporting: {password: {env: GATE_TEST_A}, acl: \"+@all -@write ~app:r:* ~other:*\"}, all: {password: {env: GATE_TEST_A}}}")
        .environment("GATE_TEST_A", "canary-users-a")
        .secret("canary-users-a")
        .start();
    let no = |user: &str, name: &str| {
        format!("-NOPERM User {user} has no permissions to run the '{name}' command")
    };
    let mut client = gate.connect();
    client.assert_reply("AUTH reporting canary-users-a", "+OK");
    client.assert_reply("GET app:r:1", "nil");
    client.assert_reply("GET app:x", NO_KEY);
    client.assert_reply("GET other:1", NO_KEY);
    client.assert_reply("SET app:r:1 x", &no("reporting", "set"));
    client.assert_reply("CONFIG GET x", &no("reporting", "config|get"));
    client.assert_reply("AUTH all canary-users-a", "+OK");
    client.assert_reply("SET app:x 1", "+OK");
    client.assert_reply("SET other:1 1", NO_KEY);
    client.assert_reply("CONFIG GET x", &no("all", "config|get"));
    // AUTH, HELLO, QUIT and RESET need no rule.
    client.assert_reply("RESET", "+RESET");
    client.assert_reply("AUTH reporting canary-users-a", "+OK");
    client.assert_reply("QUIT", "+OK");
}

/// A reload applies from the next command on, to connected clients in any state.
#[test]
fn other_rules_by_a_reload() {
    const YAML: &str = r#"
listeners:
  - {name: public, bind: "127.0.0.1:{port}", upstream: main, allow: [127.0.0.1], auth: trust, acl: "+@all ~app:*"}
upstreams: {main: {address: {redis}}}
admin: {bind: "127.0.0.1:{admin}"}
"#;
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(YAML).start();
    let (mut idle, mut in_multi, mut fresh) = (gate.connect(), gate.connect(), gate.connect());
    let (mut subscribed, mut revoked) = (gate.connect(), gate.connect());
    idle.assert_reply("SET app:1 x", "+OK");
    in_multi.assert_reply("MULTI", "+OK");
    in_multi.assert_reply("SET app:2 x", "+QUEUED");
    subscribed.assert_reply("SUBSCRIBE other", r#"["subscribe" "other" :1]"#);
    revoked.assert_reply("SUBSCRIBE news", r#"["subscribe" "news" :1]"#);
    gate.apply(&YAML.replace("+@all ~app:*", "+@all -get ~app:* &other"));
    idle.assert_reply("GET app:1", &no_command("get"));
    idle.assert_reply("SET app:1 y", "+OK");
    fresh.assert_reply("GET app:1", &no_command("get"));
    // The queued commands were judged by the old rules.
    in_multi.assert_reply("EXEC", "-EXECABORT Transaction discarded because of previous errors.");
    in_multi.assert_reply("EXISTS app:2", ":0");
    // A subscription that is no longer allowed ends its session.
    revoked.assert_closed();
    subscribed.assert_reply("SUBSCRIBE news2", NO_CHANNEL);
    subscribed.assert_reply("SUBSCRIBE other", r#"["subscribe" "other" :1]"#);
    // Without rules every command is allowed again.
    gate.apply(&YAML.replace(", acl: \"+@all ~app:*\"", ""));
    idle.assert_reply("GET app:1", "\"y\"");
    idle.assert_reply("GET other", "nil");
    // A reload with invalid rules is rejected.
    let report = gate.reload_with(&YAML.replace("+@all ~app:*", "+@nosuch ~app:*"));
    assert_eq!(report["result"], "rejected", "{report}");
    idle.assert_reply("GET other", "nil");
}

/// A real replica can sync through the proxy only if a rule names the commands that it needs.
#[test]
fn a_replica_behind_the_gate() {
    let redis = Redis::builder().password("canary-master").line("repl-diskless-sync-delay 0").start();
    let gate = |acl: &str| {
        Gate::before(&redis).listener("auth: trust").password("canary-master").listener(acl).start()
    };
    let (open, closed) = (gate("acl: \"+psync +replconf +sync +ping\""), gate("acl: \"+@all\""));
    redis.control().assert_reply("SET before 1", "+OK");
    let line = |gate: &Gate| format!("replicaof 127.0.0.1 {}", gate.port());
    let replica = Redis::builder().line(&line(&open)).start();
    eventually("the replica has the data", || {
        (replica.control().call("GET before").to_string() == "\"1\"").then_some(())
    });
    redis.control().assert_reply("SET after 2", "+OK");
    eventually("the replica receives updates", || {
        (replica.control().call("GET after").to_string() == "\"2\"").then_some(())
    });
    eventually("its acknowledgements arrive", || {
        let info = redis.control().call("INFO replication").text();
        let acked = info.lines().any(|line| line.starts_with("slave0:") && line.contains("lag=0"));
        (acked && info.contains("connected_slaves:1")).then_some(())
    });
    redis.control().assert_reply("WAIT 1 5000", ":1");

    let refused = Redis::builder().line(&line(&closed)).start();
    eventually("PSYNC is refused", || {
        (closed.metric("commands_denied_total", &[("reason", "command")]) >= 1.0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    refused.control().assert_reply("GET before", "nil");
    let mut client = closed.connect();
    for (line, name) in [("PSYNC ? -1", "psync"), ("SYNC", "sync"), ("REPLCONF capa eof", "replconf")] {
        client.assert_reply(line, &no_command(name));
    }
    let mut client: Client = open.connect();
    client.assert_reply("GET before", &no_command("get"));
}

/// `explain`, the admin endpoint and the proxy itself agree on each command.
#[test]
fn explain_agrees_with_the_gate() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: users")
        .listener("users: [reporting]")
        .listener("acl: \"@public\"")
        .top(
            "users: {reporting: {password: {env: GATE_TEST_A}, from: [127.0.0.1], acl: \"+@all ~r:* &r:*\"}}",
        )
        .environment("GATE_TEST_A", "canary-users-a")
        .secret("canary-users-a")
        .start();
    let mut client = gate.connect();
    client.assert_reply("AUTH reporting canary-users-a", "+OK");
    for line in [
        "SET r:1 x",
        "GET other",
        "PUBLISH other x",
        "CONFIG GET x",
        "config",
        "NOSUCH a",
        "SORT r:1 BY nosort GET #",
        "PSYNC ? -1",
        "MGET r:1 r:2",
        "MGET r:1 other",
        "KEYS *",
    ] {
        let said = client.call(line).to_string();
        let arguments = ["explain", "127.0.0.1", "--json", "--user", "reporting", "--command", line];
        let output = e2e::gate::portcullis(gate.directory(), arguments);
        let encoded = line.replace(' ', "%20").replace('#', "%23").replace('?', "%3F");
        let (_, served) = gate.get(&format!("/api/explain?ip=127.0.0.1&user=reporting&command={encoded}"));
        for text in [String::from_utf8_lossy(&output.stdout).into_owned(), served] {
            let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let command = &answer["listeners"][0]["command"];
            let refused = command["reply"].as_str();
            assert_eq!(answer["allowed"], refused.is_none(), "{answer}");
            match refused {
                Some(reply) => assert_eq!(said, reply, "{line}"),
                None => assert!(!said.starts_with("-NOPERM"), "{line}: {said}"),
            }
        }
        assert_eq!(
            output.status.code(),
            Some(i32::from(said.starts_with("-NOPERM") || line == "config")),
            "{line}"
        );
    }
}
