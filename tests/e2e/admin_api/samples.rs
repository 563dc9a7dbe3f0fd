//! `/api/slowlog`, `/api/bigkeys` and `/api/hotkeys`: commands that stand out, and what they never show.

use e2e::client::command;
use e2e::{Client, eventually};

use super::*;

/// A value that no answer may have.
const CANARY: &str = "canary-sample-80c3";

fn observed(redis: &Redis, observe: &str) -> Gate {
    before(redis, &format!("{}observe: {observe}\n", with_token())).secret(CANARY).start()
}

fn shown(gate: &Gate, path: &str) -> Value {
    let (code, _, body) = asked(gate, &format!("GET {path}"), &[&bearer()]);
    assert_eq!(code, 200, "{path}: {body}");
    assert!(!body.contains(CANARY), "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Sends a command that Redis answers after a while, and returns its samples.
fn slow(gate: &Gate, key: &str) -> Value {
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    // Redis stands still, and this command with it.
    let mut other = gate.connect();
    other.send("DEBUG SLEEP 0.3");
    std::thread::sleep(std::time::Duration::from_millis(50));
    client.send(&format!("SET {key} {CANARY}"));
    client.assert_recv("+OK");
    eventually("the slow command is shown", || {
        let found = shown(gate, "/api/slowlog");
        let has = found["newest"].as_array()?.iter().any(|sample| sample["command"] == "set");
        has.then_some(found)
    })
}

#[test]
fn slow_commands_are_shown_with_their_key_in_the_form_of_the_configuration() {
    let redis = Redis::builder().line("enable-debug-command yes").start();
    for (form, shown) in [("plain", Some("orders:7")), ("hashed", None), ("off", None)] {
        let gate = observed(&redis, &format!("{{slow: 100ms, keys: {form}}}"));
        let found = slow(&gate, "orders:7");
        let sample =
            found["slowest"].as_array().and_then(|all| all.iter().find(|one| one["command"] == "set"));
        let sample = sample.expect("it is among the slowest too");
        assert!(sample["seconds"].as_f64().is_some_and(|time| (0.1..30.0).contains(&time)), "{sample}");
        assert_eq!((&sample["listener"], &sample["user"]), (&json!("public"), &Value::Null));
        assert!(sample["source"].as_str().is_some_and(|source| source.starts_with("127.0.0.1:")), "{sample}");
        assert_eq!(found["threshold_seconds"], 0.1);
        let key = sample["key"].as_str();
        match form {
            "hashed" => assert!(key.is_some_and(|key| key.starts_with('#') && key.len() == 17), "{sample}"),
            _ => assert_eq!(key, shown, "{sample}"),
        }
    }
}

/// Both lists have room for 128 commands.
#[test]
fn two_hundred_slow_requests_fill_the_lists_and_delay_no_client() {
    const CLIENTS: usize = 200;
    let redis = Redis::plain();
    let gate = observed(&redis, "{slow: 10ms, keys: plain}");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| gate.connect()).collect();
    clients.iter_mut().for_each(|client| client.assert_reply("PING", "+PONG"));
    let mut direct = Client::tcp(redis.address());
    direct.assert_reply("CLIENT PAUSE 60000 WRITE", "+OK");
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&format!("SET late:{n} v"));
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    direct.assert_reply("CLIENT UNPAUSE", "+OK");
    clients.iter_mut().for_each(|client| client.assert_recv("+OK"));
    let found = eventually("the lists are full", || {
        let found = shown(&gate, "/api/slowlog");
        (found["newest"].as_array()?.len() == 128).then_some(found)
    });
    let seconds = |list: &str| -> Vec<f64> {
        let samples = found[list].as_array().expect("a list").iter();
        samples.map(|sample| sample["seconds"].as_f64().expect("a time")).collect()
    };
    let (newest, slowest) = (seconds("newest"), seconds("slowest"));
    assert_eq!((newest.len(), slowest.len()), (128, 128), "{found}");
    assert!(slowest.is_sorted_by(|a, b| a >= b) && slowest[127] >= newest[127].min(newest[0]), "{found}");
    assert_eq!(found.to_string().matches("\"late:").count(), 256, "{found}");
    clients.iter_mut().for_each(|client| client.assert_reply("PING", "+PONG"));
}

#[test]
fn large_requests_and_replies_are_shown_with_their_size() {
    let redis = Redis::plain();
    let gate = observed(&redis, "{large: 64KiB, keys: plain}");
    let mut client = gate.connect();
    let value = CANARY.repeat(30_000);
    client.assert_reply(&format!("SET big:1 {value}"), "+OK");
    client.assert_reply("SET small:1 x", "+OK");
    client.send("GET big:1");
    client.recv();
    client.assert_reply("PING", "+PONG");
    let found = eventually("both are shown", || {
        let found = shown(&gate, "/api/bigkeys");
        (found["largest"].as_array()?.len() == 2).then_some(found)
    });
    for (command, of) in [("set", "request"), ("get", "reply")] {
        let all = found["largest"].as_array().expect("a list");
        let sample = all.iter().find(|one| one["of"] == of).unwrap_or_else(|| panic!("no {of} in {found}"));
        assert_eq!((&sample["command"], &sample["key"]), (&json!(command), &json!("big:1")), "{sample}");
        let bytes = sample["bytes"].as_u64().expect("a size");
        assert!((value.len() as u64..value.len() as u64 + 100).contains(&bytes), "{sample}");
    }
    assert_eq!(found["newest"].as_array().map(Vec::len), Some(2));
}

#[test]
fn keys_that_are_used_much_are_found() {
    let redis = Redis::plain();
    let gate = observed(&redis, "{hot: on, keys: plain}");
    let mut client = gate.connect();
    let mut batch = Vec::new();
    for n in 0..1000 {
        batch.extend(command("GET hot:1"));
        batch.extend(command(&format!("GET cold:{n}")));
    }
    let found = eventually("the key is found", || {
        client.hold(&batch);
        client.send("PING");
        (0..2001).for_each(|_| drop(client.recv()));
        let found = shown(&gate, "/api/hotkeys");
        let first = found["listeners"][0]["keys"][0].clone();
        (first["key"] == "hot:1" && first["commands"].as_u64()? > 1000).then_some(found)
    });
    assert_eq!((&found["counted"], &found["sampled_of"]), (&json!(true), &json!(64)));
    let off = observed(&redis, "{hot: off}");
    assert_eq!(shown(&off, "/api/hotkeys"), json!({"counted": false, "sampled_of": 64, "listeners": []}));
}

#[test]
fn commands_with_secrets_show_no_argument() {
    let redis = Redis::plain();
    // Each command is slow, and each key is counted in its turn.
    let gate = observed(&redis, "{slow: 1ms, large: 64KiB, hot: on, keys: plain}");
    let mut client = gate.connect();
    let long = CANARY.repeat(6_000);
    for line in [
        "AUTH",
        "ACL SETUSER x",
        "CONFIG SET appendfilename",
        "MIGRATE 127.0.0.1 1 k 0 1 AUTH",
        "HELLO 3 AUTH x",
    ] {
        client.call(&format!("{line} {CANARY}"));
        gate.connect().call(&format!("{line} {long}"));
    }
    let batch = command(&format!("CONFIG SET appendfilename {CANARY}")).repeat(500);
    client.hold(&batch);
    client.send("PING");
    (0..501).for_each(|_| drop(client.recv()));
    for path in ["/api/slowlog", "/api/bigkeys", "/api/hotkeys"] {
        let found = shown(&gate, path).to_string();
        assert!(!found.contains("appendfilename") && !found.contains("SETUSER"), "{path}: {found}");
    }
}

#[test]
fn a_reader_without_a_token_sees_no_key() {
    let redis = Redis::plain();
    let yaml = format!("{BASE}observe: {{large: 64KiB, hot: on, keys: plain}}\n");
    let gate = before(&redis, &yaml).start();
    let mut client = gate.connect();
    client.assert_reply(&format!("SET orders:9 {}", "v".repeat(100_000)), "+OK");
    let batch = command("GET orders:9x").repeat(300);
    client.hold(&batch);
    client.send("PING");
    (0..301).for_each(|_| drop(client.recv()));
    eventually("the request is shown", || {
        (read(&gate, "/api/bigkeys")["newest"].as_array()?.len() == 1).then_some(())
    });
    for path in ["/api/bigkeys", "/api/slowlog", "/api/hotkeys"] {
        let found = read(&gate, path);
        assert!(!found.to_string().contains("orders:"), "{path}: {found}");
    }
}

#[test]
fn a_reload_changes_what_is_sampled() {
    let redis = Redis::plain();
    let gate = observed(&redis, "{large: off, keys: plain}");
    let mut client = gate.connect();
    let set = format!("SET big:2 {}", "v".repeat(100_000));
    client.assert_reply(&set, "+OK");
    assert_eq!(shown(&gate, "/api/bigkeys")["newest"], json!([]));
    gate.configure(&format!("{}observe: {{large: 64KiB, keys: plain}}\n", with_token()));
    assert_eq!(gate.post_reload().0, 200);
    client.assert_reply(&set, "+OK");
    eventually("it is shown", || (shown(&gate, "/api/bigkeys")["newest"][0]["key"] == "big:2").then_some(()));
    // Keys in another form than the configuration wants are forgotten.
    gate.configure(&format!("{}observe: {{large: 64KiB, keys: hashed}}\n", with_token()));
    assert_eq!(gate.post_reload().0, 200);
    assert_eq!(shown(&gate, "/api/bigkeys")["newest"], json!([]));
}
