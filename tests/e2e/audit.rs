//! The audit trail: logins, commands, changes by operators, and syslog.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use e2e::client::command;
use e2e::gate::portcullis;
use e2e::reload::TOKEN;
use e2e::{Client, Gate, GateBuilder, Redis, eventually};
use serde_json::{Value, json};

/// A text that clients send as a password, a value, a key or a name. Only lines with plain keys may have it.
const CANARY: &str = "canary-41b7f0";

const PASSWORD: &str = "canary-audit-pw";

/// Builds a proxy with the user `alice`, who may not run FLUSHALL.
fn of_users(redis: &Redis, audit: &str) -> GateBuilder {
    Gate::before(redis)
        .listener("auth: users")
        .listener("users: [alice]")
        .top("users: {alice: {password: {file: alice}, acl: '+@all -flushall ~*'}}")
        .top(&format!("audit: {{{audit}}}"))
        .file("alice", PASSWORD)
        .secret(PASSWORD)
}

/// Waits for `count` lines of an event, and returns them.
#[track_caller]
fn audited(gate: &Gate, event: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines of {event}"), || {
        Some(gate.audited(event)).filter(|lines| lines.len() >= count)
    })
}

/// Reads replies that do not matter.
fn skip(client: &mut Client, replies: usize) {
    (0..replies).for_each(|_| drop(client.recv()));
}

/// Returns the commands with lines, with their numbers.
fn commands(gate: &Gate) -> Vec<(String, u64)> {
    let name = |line: &Value| line["command"].as_str().unwrap_or_default().to_owned();
    gate.audited("command").iter().map(|line| (name(line), line["count"].as_u64().unwrap_or(0))).collect()
}

#[test]
fn logins_are_audited_with_their_result() {
    let redis = Redis::plain();
    let gate = of_users(&redis, "path: stdout").secret(CANARY).start();
    let mut client = gate.connect();
    assert!(client.call(&format!("AUTH alice {CANARY}")).is_error());
    let first = audited(&gate, "login", 1).remove(0);
    assert_eq!(
        (&first["user"], &first["by"], &first["result"], &first["count"]),
        (&json!("alice"), &json!("password"), &json!("failed"), &json!(1))
    );
    // A name that is not configured may be a password.
    assert!(client.call(&format!("AUTH {CANARY} x")).is_error());
    client.assert_reply(&format!("AUTH alice {PASSWORD}"), "+OK");
    let lines = eventually("the other two", || {
        let lines = gate.audited("login");
        let count: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
        (count == 2 && lines.iter().any(|line| line["result"] == "ok")).then_some(lines)
    });
    let taken = lines.iter().find(|line| line["result"] == "ok").expect("found above");
    assert_eq!((&taken["user"], &taken["id"]), (&json!("alice"), &first["id"]));
    assert!(gate.audited("denied").is_empty() && gate.audited("command").is_empty());
}

#[test]
fn logins_that_redis_checks_are_audited() {
    let redis = Redis::builder().password(PASSWORD).start();
    let gate = Gate::before(&redis).secret(PASSWORD).secret(CANARY).start();
    let mut client = gate.connect();
    assert!(client.call(&format!("AUTH {CANARY}")).is_error());
    client.assert_reply(&format!("AUTH {PASSWORD}"), "+OK");
    let lines = audited(&gate, "login", 2);
    let seen: Vec<_> = lines.iter().map(|line| (line["by"].as_str(), line["result"].as_str())).collect();
    assert_eq!(seen, [(Some("upstream"), Some("failed")), (Some("upstream"), Some("ok"))]);
}

#[test]
fn each_level_has_its_commands_and_none_has_arguments() {
    let redis = Redis::plain();
    let expected: [(&str, &[&str]); 4] = [
        ("none", &[]),
        ("denied", &[]),
        ("writes", &["set"]),
        ("all", &["auth", "set", "get", "flushall", "quit"]),
    ];
    for (level, names) in expected {
        let audit = format!("path: stdout, commands: {level}");
        let gate = of_users(&redis, &audit).secret(CANARY).start();
        let mut client = gate.connect();
        client.assert_reply(&format!("AUTH alice {PASSWORD}"), "+OK");
        client.assert_reply(&format!("SET {CANARY} {CANARY}"), "+OK");
        client.assert_reply(&format!("GET {CANARY}"), &format!("{CANARY:?}"));
        assert!(client.call("FLUSHALL").is_error());
        client.assert_reply("QUIT", "+OK");
        audited(&gate, "closed", 1);
        let seen: Vec<_> =
            commands(&gate).into_iter().map(|(name, _)| name).filter(|name| name != "flushall").collect();
        let wanted: Vec<_> = names.iter().filter(|name| **name != "flushall").copied().collect();
        assert_eq!(seen, wanted, "{level}");
        let denied = gate.audited("denied");
        assert_eq!(denied.len(), usize::from(level != "none"), "{level}: {denied:?}");
        for line in &denied {
            let facts = ["command", "reason", "acl", "rule", "user"]
                .map(|field| line[field].as_str().unwrap_or_default());
            assert_eq!(facts, ["flushall", "command", "user", "-flushall", "alice"], "{line}");
        }
    }
}

#[test]
fn pipelines_share_lines_and_a_reload_changes_the_level() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).top("audit: {path: stdout, commands: all}").top("reload: signal").start();
    let mut client = gate.connect();
    let pipeline = [command("GET a").repeat(500), command("SET a 1").repeat(300)].concat();
    client.hold(&pipeline);
    client.send("PING");
    skip(&mut client, 801);
    let total = |name: &str| commands(&gate).iter().filter(|(of, _)| of == name).map(|(_, n)| n).sum::<u64>();
    eventually("all are counted", || (total("ping") == 1).then_some(()));
    assert_eq!((total("get"), total("set")), (500, 300));
    assert!(commands(&gate).len() < 100, "one line for each command");
    let yaml = fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("the test wrote it");
    gate.reload_with(&yaml.replace("commands: all", "commands: none"));
    let before = commands(&gate).len();
    client.assert_reply("PING", "+PONG");
    drop(client);
    audited(&gate, "closed", 1);
    assert_eq!(commands(&gate).len(), before);
}

#[test]
fn keys_are_plain_or_hashed_and_never_those_of_secret_commands() {
    let redis = Redis::plain();
    for form in ["plain", "hashed"] {
        let mut builder = Gate::before(&redis)
            .top(&format!("audit: {{path: stdout, commands: all, keys: {form}}}"))
            .secret(CANARY);
        if form == "hashed" {
            builder = builder.secret("orders:");
        }
        let gate = builder.start();
        let mut client = gate.connect();
        let lines = ["MSET orders:1 x orders:2 y", "GET orders:1", "GET orders:2"].map(command).concat();
        client.hold(&lines);
        client.send(&format!("SET orders:1 {CANARY}"));
        skip(&mut client, 4);
        for secret in ["AUTH", "CONFIG SET appendfilename", "ACL SETUSER", "HELLO"] {
            client.call(&format!("{secret} {CANARY}"));
        }
        let mut large = gate.connect();
        large.assert_reply(&format!("SET orders:1 {}", "v".repeat(300_000)), "+OK");
        let keys = eventually("all lines", || {
            let lines = gate.audited("command");
            let keys: Vec<Value> = lines.iter().map(|line| line["keys"].clone()).collect();
            (keys.len() == 9).then_some(keys)
        });
        let first = |of: usize| keys[of][0].as_str().unwrap_or_default().to_owned();
        if form == "plain" {
            assert_eq!(
                keys[..4],
                [
                    json!(["orders:1", "orders:2"]),
                    json!(["orders:1"]),
                    json!(["orders:2"]),
                    json!(["orders:1"])
                ]
            );
        } else {
            assert!(first(0).starts_with('#') && first(0).len() == 17, "{keys:?}");
        }
        assert_eq!((first(0), first(0)), (first(1), first(8)), "equal keys are equal in the lines");
        assert_ne!(first(1), first(2));
        assert!(keys[4..8].iter().all(|keys| *keys == json!([])), "{keys:?}");
    }
}

#[test]
fn a_flood_of_failures_is_one_line_a_second() {
    let redis = Redis::plain();
    let gate = of_users(&redis, "path: stdout, commands: denied").start();
    let mut client = gate.connect();
    let flood = command("AUTH alice wrong").repeat(400);
    client.hold(&flood);
    client.send("GET a");
    skip(&mut client, 401);
    let sum = |event: &str| gate.audited(event).iter().filter_map(|line| line["count"].as_u64()).sum::<u64>();
    eventually("each is counted", || (sum("login") == 400 && sum("denied") == 401).then_some(()));
    assert!(gate.audited("login").len() < 20 && gate.audited("denied").len() < 20);
}

#[test]
fn changes_name_the_operator() {
    let redis = Redis::plain();
    let base = Gate::before(&redis).top("groups: {office: [192.0.2.1]}").top("audit: {path: audit.log}");
    let gate = base.allow("[office, 127.0.0.1]").token(TOKEN).start();
    assert_eq!(gate.post_reload().0, 200);
    let added = portcullis(gate.directory(), ["groups", "add", "office", "192.0.2.7"]);
    assert_eq!(added.status.code(), Some(0), "{}", String::from_utf8_lossy(&added.stderr));
    let lines = || {
        let text = fs::read_to_string(gate.directory().join("audit.log")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a whole line"));
        lines.filter(|line| line["event"] == "admin").collect::<Vec<_>>()
    };
    let lines = eventually("both changes", || Some(lines()).filter(|lines| lines.len() == 2));
    // Two processes write them.
    let of = |by: &str| lines.iter().find(|line| line["by"] == by).expect("a line of each");
    let (token, cli) = (of("token"), of("cli"));
    assert_eq!(token["path"], "/api/reload");
    assert!(token["source"].as_str().is_some_and(|source| source.starts_with("127.0.0.1:")));
    let facts = ["action", "group"].map(|field| cli[field].as_str().unwrap_or_default());
    assert_eq!(facts, ["groups add", "office"]);
    assert_eq!((&cli["entries"], cli["uid"].is_u64()), (&json!(["192.0.2.7"]), true));
    let dry = portcullis(gate.directory(), ["groups", "add", "office", "192.0.2.8", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0));
    let text = fs::read_to_string(gate.directory().join("audit.log")).expect("it is there");
    assert!(!text.contains("192.0.2.8"), "nothing was changed");
}

#[test]
fn the_user_of_a_unix_peer_is_named() {
    let redis = Redis::plain();
    let yaml = "listeners: [{name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [127.0.0.1]}]\n\
                upstreams: {main: {address: {redis}}}\nadmin: {bind: 'unix:admin.sock', token: {file: token}}\n";
    let directory = tempfile::tempdir().expect("a directory");
    let port = e2e::ports::free();
    let yaml = yaml.replace("{port}", &port.to_string()).replace("{redis}", &redis.address().to_string());
    fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
    fs::write(directory.path().join("token"), TOKEN).expect("writable");
    let words = ["run".to_owned()];
    let gate =
        e2e::process::Process::start(directory.path(), "gate", e2e::gate::binary().as_os_str(), words, &[]);
    let run = |words: &[&str]| portcullis(directory.path(), words);
    eventually("it answers", || (run(&["ready", "--live"]).status.code() == Some(0)).then_some(()));
    let closed = run(&["clients", "--close", "77"]);
    assert_eq!(closed.status.code(), Some(1), "there is no such client");
    let line = eventually("the attempt is audited", || {
        let text = gate.stdout();
        text.lines().find(|line| line.contains("\"event\":\"admin\"")).map(str::to_owned)
    });
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&line["source"], &line["status"]), (&json!("unix"), &json!(404)));
    assert!(line["uid"].is_u64(), "{line}");
}

#[test]
fn syslog_gets_each_line_and_a_server_that_is_away_delays_no_client() {
    let redis = Redis::plain();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log.sock");
    let gate = Gate::before(&redis).top(&format!("audit: {{path: 'syslog:{}'}}", path.display())).start();
    gate.connect().assert_reply("PING", "+PONG");
    gate.assert_log("cannot write to audit output");
    let server = UnixDatagram::bind(&path).expect("a socket");
    server.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let mut bytes = [0; 4096];
    let message = eventually("a message", || {
        gate.connect().assert_reply("PING", "+PONG");
        server.set_nonblocking(true).expect("a socket");
        let n = server.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..n]).into_owned())
    });
    let fields: Vec<&str> = message.splitn(8, ' ').collect();
    assert_eq!((fields[0], fields[3], fields[6]), ("<86>1", "portcullis", "-"), "{message}");
    let line: Value = serde_json::from_str(fields[7]).expect("JSON");
    assert_eq!(
        (line["event"].as_str(), line["time"].as_str()),
        (Some(fields[5]), Some(fields[1])),
        "{message}"
    );
    gate.assert_log("works again");
    assert!(gate.metric("log_lines_dropped_total", &[]) > 0.0, "lost lines are counted");
}

#[test]
fn a_log_server_that_reads_nothing_delays_no_client() {
    let redis = Redis::plain();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("a port");
    let gate = Gate::before(&redis)
        .top(&format!("audit: {{path: 'syslog:{to}', commands: all, keys: plain}}"))
        .start();
    let mut client = gate.connect();
    let pipeline = command(&format!("GET {}", "k".repeat(100))).repeat(2000);
    let dropped = || gate.metric("log_lines_dropped_total", &[]) > 0.0;
    eventually("lines are dropped", || {
        client.hold(&pipeline);
        client.send("PING");
        skip(&mut client, 2001);
        dropped().then_some(())
    });
    client.assert_reply("PING", "+PONG");
    let mut other = Client::tcp(gate.address());
    other.assert_reply("PING", "+PONG");
}

/// The connection breaks while lines are written to it, and nothing listens any more.
#[test]
fn a_log_server_that_breaks_the_connection_delays_no_client() {
    let redis = Redis::plain();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("a port");
    let gate = Gate::before(&redis)
        .top(&format!("audit: {{path: 'syslog:{to}', commands: all, keys: plain}}"))
        .start();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    let (stream, _) = listener.accept().expect("the gate connects");
    // Lines that nobody has read are lost with a reset.
    client.assert_reply("GET k", "nil");
    eventually("a line waits", || stream.peek(&mut [0; 1]).is_ok_and(|n| n > 0).then_some(()));
    drop((stream, listener));
    let pipeline = command("GET k").repeat(2000);
    eventually("lines are dropped", || {
        client.hold(&pipeline);
        client.send("PING");
        skip(&mut client, 2001);
        (gate.metric("log_lines_dropped_total", &[]) > 0.0).then_some(())
    });
    gate.assert_log("cannot write to audit output");
    let listener = TcpListener::bind(to).expect("the port is free");
    listener.set_nonblocking(true).expect("a socket");
    let (mut stream, _) = eventually("the gate connects again", || {
        client.assert_reply("GET again", "nil");
        listener.accept().ok()
    });
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let mut seen = Vec::new();
    eventually("a later line arrives", || {
        let mut bytes = [0; 4096];
        let n = stream.read(&mut bytes).ok()?;
        seen.extend_from_slice(bytes.get(..n)?);
        String::from_utf8_lossy(&seen).contains("\"again\"").then_some(())
    });
    gate.assert_log("works again");
}
