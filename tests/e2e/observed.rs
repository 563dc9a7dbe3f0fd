//! Metrics, log and audit trail are complete and contain no secrets.

mod series;

use e2e::client::command;
use e2e::scene::CANARY;
use e2e::{Gate, Redis, Stage, Way, eventually};

#[test]
fn accepted_and_closed_are_audited() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).allow("[office]").top("groups: {office: [127.0.0.0/24]}").start();
    let mut client = gate.connect();
    client.assert_reply("SET key value", "+OK");
    client.assert_reply("GET key", r#""value""#);
    let source = client.local().to_string();
    drop(client);
    let closed = eventually("the event is audited", || gate.audited("closed").pop());
    let accepted = gate.audited("accepted").pop().expect("accepted before closed");
    for line in [&accepted, &closed] {
        assert_eq!(line["source"], source.as_str(), "{line}");
        assert_eq!(line["listener"], "public", "{line}");
        assert_eq!(line["id"], accepted["id"], "{line}");
        assert!(line["time"].is_string(), "{line}");
    }
    assert_eq!(accepted["group"], "office");
    assert_eq!(accepted["entry"], "127.0.0.0/24");
    assert_eq!(closed["reason"], "client");
    assert_eq!(closed["commands"], 2);
    let sent = command("SET key value").len() + command("GET key").len();
    assert_eq!(closed["bytes_from_client"], sent);
    assert_eq!(closed["bytes_to_client"], "+OK\r\n$5\r\nvalue\r\n".len());
}

/// The first refusal is written at once. Further refusals in the same second are summarized.
#[test]
fn refusals_are_audited_and_gathered() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    for _ in 0..30 {
        gate.connect_from("127.0.0.2", "127.0.0.1").read_to_end();
    }
    eventually("thirty refusals are audited", || {
        let lines = gate.audited("refused");
        let count: u64 = lines.iter().map(|line| line["count"].as_u64().unwrap_or(1)).sum();
        (count == 30).then_some(())
    });
    let lines = gate.audited("refused");
    assert!(lines.len() < 10, "{} lines for 30 refusals", lines.len());
    for line in &lines {
        assert!(line["source"].as_str().is_some_and(|s| s.starts_with("127.0.0.2")), "{line}");
        assert_eq!(line["reason"], "not_allowed", "{line}");
        assert_eq!(line["listener"], "public", "{line}");
    }
}

#[test]
fn commands_bytes_and_errors_are_counted() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    for _ in 0..100 {
        client.hold(&command("GET k"));
    }
    client.send("LPUSH list a");
    for _ in 0..100 {
        client.assert_recv("nil");
    }
    client.assert_recv(":1");
    client.assert_reply("GET list", "-WRONGTYPE Operation against a key holding the wrong kind of value");
    client
        .assert_reply("SOMETHING new", "-ERR unknown command 'SOMETHING', with args beginning with: 'new' ");
    let of = |name: &str, labels: &[(&str, &str)]| gate.metric(name, labels);
    eventually("the commands are counted", || {
        (of("commands_total", &[("command", "get")]) == 101.0).then_some(())
    });
    assert!(of("commands_total", &[("command", "lpush")]) == 1.0);
    assert!(of("commands_total", &[("command", "other")]) == 1.0);
    assert!(of("commands_total", &[("command", "something")]) == 0.0);
    assert!(of("error_replies_total", &[("error", "WRONGTYPE")]) == 1.0);
    assert!(of("error_replies_total", &[("error", "ERR")]) == 1.0);
    assert!(of("command_duration_seconds_count", &[("command", "get")]) == 101.0);
    let sent = command("GET k").len() * 100
        + command("LPUSH list a").len()
        + command("GET list").len()
        + command("SOMETHING new").len();
    let sent = u32::try_from(sent).map(f64::from).expect("few bytes");
    assert!(of("bytes_total", &[("direction", "from_client")]) == sent);
    assert!(of("bytes_total", &[("direction", "to_upstream")]) >= sent);
    assert!(of("clients", &[("listener", "public")]) == 1.0);
    for name in
        ["build_info", "group_entries", "upstream_up", "buffers_bytes", "config_last_reload_successful"]
    {
        let found = gate.has_metric(name, &[]);
        assert!(found || name == "group_entries", "portcullis_{name} is missing");
    }
}

/// Names from clients never become labels.
#[test]
fn the_number_of_series_does_not_grow() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    client.call("UNKNOWN0");
    let series = || gate.get("/metrics").1.lines().filter(|l| l.starts_with("portcullis_")).count();
    eventually("the event is counted", || {
        (gate.metric("commands_total", &[("command", "other")]) == 1.0).then_some(())
    });
    let before = series();
    for i in 0..2000 {
        client.hold(&command(&format!("UNKNOWN{i}")));
    }
    client.send("PING");
    for _ in 0..2000 {
        client.recv();
    }
    client.assert_recv("+PONG");
    eventually("all are counted", || {
        (gate.metric("commands_total", &[("command", "other")]) == 2001.0).then_some(())
    });
    // PING is a new series.
    let allowed = before + 20;
    assert!(series() < allowed, "{} series, {before} before", series());
}

/// Text of a client in the log or in the audit trail does not begin a new line.
#[test]
fn logs_and_audit_in_json() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).top("log: {format: json, level: debug}").start();
    let mut client = gate.connect();
    client.send_args(&[b"EVIL\r\n\x1b[31m{\"event\":\"forged\"}", b"x"]);
    client.recv();
    client.send_raw(b"*x\"\r\n");
    client.read_to_end();
    eventually("the event is audited", || gate.audited("closed").pop());
    assert!(gate.audited("forged").is_empty());
    let log = gate.stderr();
    // The last line may be incomplete.
    for line in log[..log.rfind('\n').expect("lines")].lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "no JSON: {line}");
    }
    assert!(!gate.stderr().contains('\u{1b}'));
}

/// All outputs at the most verbose level, with every way to configure a password. When a proxy ends, each test with a
/// password searches the proxy's output for the password.
#[test]
fn secrets_at_trace_level() {
    let redis = Redis::builder().password(CANARY).start();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .password(CANARY)
        .secret("canary-of-a-client")
        .top("log: {level: trace}")
        .start();
    let mut client = gate.connect();
    for line in [
        "AUTH canary-of-a-client",
        "AUTH default canary-of-a-client",
        "HELLO 3 AUTH default canary-of-a-client",
        "RESET",
        "AUTH a b c canary-of-a-client",
    ] {
        client.call(line);
    }
    client.send_raw(b"AUTH canary-of-a-client\r\n");
    client.recv();
    client.send_raw(b"*2\r\n$4\r\nAUTH\r\n$18\r\ncanary-of-a-clientXX");
    client.read_to_end();
    for path in ["/metrics", "/ready", "/live", "/"] {
        gate.get(path);
    }
    drop(redis);
    eventually("the gate says that Redis is away", || (gate.get("/ready").0 == 503).then_some(()));
}

/// Other users can read the arguments and the environment of the proxy. These contain no secret.
#[test]
fn secrets_are_not_in_the_command_line() {
    let mut stage = Stage::new(Way::Trust);
    let gate = stage.gate.as_mut().expect("a gate");
    let words = std::fs::read(format!("/proc/{}/cmdline", gate.process().pid())).expect("the gate runs");
    assert!(!String::from_utf8_lossy(&words).contains(CANARY));
}
