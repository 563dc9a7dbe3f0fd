//! `auth: users`: logins, Redis's own replies to them, and the proxy's credentials at Redis.

mod living;
mod oracle;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::client::{command, encode};
use e2e::{Client, Gate, Redis, eventually};

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
const NOAUTH: &str = "-NOAUTH Authentication required.";

/// The passwords that the clients know.
const DEFAULT: &str = "canary-default-1";
const ALICE: &str = "canary-alice-new";
const ALICE_OLD: &str = "canary-alice-old";
const BOB: &str = "canary-bob-1";
/// The passwords that only the proxy knows.
const UP_ALICE: &str = "canary-upstream-alice";
const UP_GATE: &str = "canary-upstream-gate";

/// A configuration with passwords from a digest, a file and the environment. Alice has two passwords and upstream
/// credentials of her own; the others use those of the upstream.
const BASE: &str = r#"
listeners:
  - name: public
    bind: "127.0.0.1:{port}"
    upstream: main
    allow: [127.0.0.0/8]
    auth: users
    users: [default, alice, bob]
upstreams:
  main:
    address: {redis}
    credentials: {username: gate, password: {file: gate.pw}}
users:
  default:
    password: {sha256: a5fbede6d89be2ddb5b1e3f38a6f1abd65e64111e7fde6a135f0cf9c631ea0e3}
  alice:
    password: [{file: alice.pw}, {sha256: 2331635ea03b206179cfbb4b741daf9d3c252b045004458f4e6ddef9402cdbf5}]
    upstream_credentials: {main: {username: alice, password: {file: up-alice.pw}}}
  bob:
    password: {env: GATE_TEST_BOB}
admin: {bind: "127.0.0.1:{admin}"}
log: {level: trace}
"#;

/// Starts a Redis whose users and passwords differ from those of the proxy.
fn redis() -> Redis {
    Redis::builder()
        .password("canary-redis-default")
        .line(&format!("user gate on >{UP_GATE} ~* &* +@all"))
        .line(&format!("user alice on >{UP_ALICE} ~* &* +@all -flushall"))
        .start()
}

fn start(redis: &Redis, yaml: &str) -> Gate {
    let mut gate = Gate::before(redis)
        .config(yaml)
        .file("gate.pw", UP_GATE)
        .file("up-alice.pw", &format!("{UP_ALICE}\n"))
        .file("alice.pw", &format!("{ALICE}\n"))
        .environment("GATE_TEST_BOB", BOB);
    for secret in [DEFAULT, ALICE, ALICE_OLD, BOB, UP_ALICE, UP_GATE] {
        gate = gate.secret(secret);
    }
    gate.start()
}

/// Returns `text` with `to` in place of `from`, which must be there.
#[track_caller]
fn edit(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in:\n{text}");
    text.replace(from, to)
}

#[test]
fn every_form_of_login_and_its_upstream_user() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let forms = [
        (format!("AUTH {DEFAULT}"), "gate"),
        (format!("AUTH default {DEFAULT}"), "gate"),
        (format!("AUTH alice {ALICE}"), "alice"),
        (format!("AUTH alice {ALICE_OLD}"), "alice"),
        (format!("auth alice:{ALICE}"), "alice"),
        (format!("AUTH default bob:{BOB}"), "gate"),
        (format!("AUTH bob {BOB}"), "gate"),
    ];
    for (form, whoami) in &forms {
        let mut client = gate.connect();
        client.assert_reply("GET k", NOAUTH);
        client.assert_reply(form, "+OK");
        client.assert_reply("ACL WHOAMI", &format!("\"{whoami}\""));
        // The same login works as an inline command, and pipelined with the next command.
        let mut client = gate.connect();
        client.send_raw(format!("{form}\r\nACL WHOAMI\r\n").as_bytes());
        client.assert_recv("+OK");
        client.assert_recv(&format!("\"{whoami}\""));
    }
    for (form, proto, whoami) in [
        (format!("HELLO 3 AUTH alice {ALICE} SETNAME me"), ":3", "alice"),
        (format!("HELLO 2 SETNAME me AUTH bob {BOB}"), ":2", "gate"),
        (format!("HELLO 3 AUTH default {DEFAULT} SETNAME me"), ":3", "gate"),
        (format!("HELLO 3 AUTH default alice:{ALICE} SETNAME me"), ":3", "alice"),
    ] {
        let mut client = gate.connect();
        for line in [&form, "ACL WHOAMI", "CLIENT GETNAME"] {
            client.hold(&command(line));
        }
        client.send("GET nothing");
        assert_eq!(client.recv().items()[5].to_string(), proto, "{form}");
        client.assert_recv(&format!("\"{whoami}\""));
        client.assert_recv("\"me\"");
        client.assert_recv(if proto == ":3" { "null" } else { "nil" });
    }
}

/// Every wrong login gets the same reply, and causes no connection to Redis.
#[test]
fn wrong_credentials() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut client = gate.connect();
    let wrong = [
        "AUTH nobody x".to_owned(),
        "AUTH alice x".to_owned(),
        format!("AUTH alice {BOB}"),
        format!("AUTH Alice {ALICE}"),
        format!("AUTH {ALICE}"),
        format!("AUTH alice:{BOB}"),
        format!("AUTH bob alice:{ALICE}"),
        format!("AUTH gate {UP_GATE}"),
        format!("AUTH alice {UP_ALICE}"),
        "HELLO 3 AUTH alice x SETNAME me".to_owned(),
    ];
    for attempt in &wrong {
        client.assert_reply(attempt, WRONGPASS);
        client.assert_reply("GET k", NOAUTH);
    }
    assert!(redis.tcp_clients().iter().all(|line| line.contains("cmd=ping")), "only the health check");
    gate.assert_metric("auth_failures_total", &[("listener", "public")], 10.0);
    gate.assert_metric("commands_denied_total", &[("reason", "login")], 20.0);
    client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    client.assert_reply("AUTH bob x", WRONGPASS);
    client.assert_reply("HELLO 3 AUTH bob x", WRONGPASS);
    client.assert_reply("ACL WHOAMI", "\"alice\"");
}

/// Passwords with bytes that are not text, or that look like several lines.
#[test]
fn odd_passwords() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut client = gate.connect();
    for (user, password) in
        [(&b"ali\0ce"[..], &b"x"[..]), (b"a\r\n+OK", b"b\r\n+OK\r\n"), (b"", b""), (b"\xff\xfe", b"\x00")]
    {
        client.send_args(&[b"AUTH", user, password]);
        client.assert_recv(WRONGPASS);
        client.send_args(&[b"HELLO", b"3", b"AUTH", user, password]);
        client.assert_recv(WRONGPASS);
        client.send_args(&[b"AUTH", password]);
        client.assert_recv(WRONGPASS);
    }
    client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    client.assert_in_step("after");
}

/// Another user logs in on the same connection, on which the first user left state.
#[test]
fn another_user_on_the_same_connection() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut client = gate.connect();
    let steps = [
        format!("AUTH alice {ALICE}"),
        "ACL WHOAMI".to_owned(),
        "WATCH w".to_owned(),
        format!("AUTH bob {BOB}"),
        "ACL WHOAMI".to_owned(),
        "MULTI".to_owned(),
        "INCR a".to_owned(),
        "EXEC".to_owned(),
        format!("HELLO 3 AUTH alice {ALICE_OLD}"),
        "ACL WHOAMI".to_owned(),
        "FLUSHALL".to_owned(),
        "RESET".to_owned(),
        "GET k".to_owned(),
        "RESET".to_owned(),
        format!("AUTH {DEFAULT}"),
        "ACL WHOAMI".to_owned(),
        "FLUSHALL".to_owned(),
        "QUIT".to_owned(),
    ];
    for step in &steps {
        client.hold(&command(step));
    }
    client.send_raw(b"");
    for due in ["+OK", "\"alice\"", "+OK", "+OK", "\"gate\"", "+OK", "+QUEUED", "[:1]"] {
        client.assert_recv(due);
    }
    assert_eq!(client.recv().items().len(), 14);
    client.assert_recv("\"alice\"");
    let refused = client.recv().to_string();
    assert!(refused.starts_with("-NOPERM"), "Redis's own rules for alice: {refused}");
    for due in ["+RESET", NOAUTH, "+RESET", "+OK", "\"gate\"", "+OK", "+OK"] {
        client.assert_recv(due);
    }
    client.assert_closed();
}

#[test]
fn a_transaction_keeps_its_user() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    for attempt in [format!("AUTH bob {BOB}"), format!("HELLO 3 AUTH bob {BOB}")] {
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("SET t 1", "+QUEUED");
        client.assert_reply(&attempt, "-ERR Command not allowed inside a transaction");
        client.assert_reply("EXEC", "-EXECABORT Transaction discarded because of previous errors.");
        client.assert_reply("ACL WHOAMI", "\"alice\"");
        client.assert_reply("EXISTS t", ":0");
    }
    // RESET ends a transaction and the login.
    client.assert_reply("MULTI", "+OK");
    client.assert_reply("RESET", "+RESET");
    client
        .assert_reply("EXEC", "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.");
    client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    client.assert_reply("EXEC", "-ERR EXEC without MULTI");
}

#[test]
fn subscribers_of_two_users() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    client.assert_reply("SUBSCRIBE news", r#"["subscribe" "news" :1]"#);
    client.assert_reply(
        &format!("AUTH bob {BOB}"),
        "-ERR Can't execute 'auth': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
    );
    redis.control().assert_reply("PUBLISH news 1", ":1");
    client.assert_recv(r#"["message" "news" "1"]"#);
    client.assert_reply("RESET", "+RESET");
    client.assert_reply("GET k", NOAUTH);
    redis.control().assert_reply("PUBLISH news 2", ":0");
    // A RESP3 subscriber may log in. Its subscription stays, as in Redis.
    assert_eq!(client.call(&format!("HELLO 3 AUTH alice {ALICE}")).items().len(), 14);
    client.assert_reply("SUBSCRIBE news", r#">["subscribe" "news" :1]"#);
    client.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
    client.assert_reply("ACL WHOAMI", "\"gate\"");
    redis.control().assert_reply("PUBLISH news 3", ":1");
    client.assert_recv(r#">["message" "news" "3"]"#);
}

/// Redis receives only the proxy's own credentials.
#[test]
fn the_clients_credentials_never_travel_on() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut monitor = redis.control();
    monitor.assert_reply("MONITOR", "+OK");
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    client.assert_reply("PING", "+PONG");
    client.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
    client.assert_reply("AUTH bob canary-wrong", WRONGPASS);
    assert_eq!(client.call(&format!("HELLO 3 AUTH alice {ALICE_OLD} SETNAME n")).items().len(), 14);
    client.assert_reply("SET done 1", "+OK");
    let mut seen = String::new();
    while !seen.contains("\"done\"") {
        seen += &monitor.recv().text();
    }
    for secret in [ALICE, ALICE_OLD, BOB, "canary-wrong"] {
        assert!(!seen.contains(secret), "{seen}");
    }
    redis.control().assert_reply("ACL LOG", "[]");
}

/// Before the login, the limits of Redis apply: ten arguments and 16 KiB. After the login, the limits of the listener
/// apply.
#[test]
fn little_may_be_sent_before_login() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let cases = [
        ("*11\r\n$4\r\nPING\r\n", "-ERR Protocol error: unauthenticated multibulk length"),
        ("*2\r\n$4\r\nAUTH\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length"),
    ];
    for (bytes, due) in cases {
        for mut client in [gate.connect(), Client::tcp(redis.address())] {
            client.send_raw(bytes.as_bytes());
            client.assert_recv(due);
            client.assert_closed();
        }
    }
    let most = encode(&[b"AUTH", b"alice", "x".repeat(16384).as_bytes()]);
    let mut client = gate.connect();
    client.send_raw(&most);
    client.assert_recv(WRONGPASS);
    client.send("GET 2 3 4 5 6 7 8 9 10");
    client.assert_recv("-ERR wrong number of arguments for 'get' command");
    client.hold(&command(&format!("AUTH alice {ALICE}")));
    client.send_args(&[b"SET", b"k", "x".repeat(1 << 20).as_bytes()]);
    client.assert_recv("+OK");
    client.assert_recv("+OK");
    // After RESET the low limits apply again.
    client.hold(&command("RESET"));
    client.send_raw(b"*11\r\n$4\r\nPING\r\n");
    client.assert_recv("+RESET");
    client.assert_recv("-ERR Protocol error: unauthenticated multibulk length");
    client.assert_closed();
}

#[test]
fn a_client_without_a_login_is_closed() {
    let redis = redis();
    let yaml = edit(BASE, "auth: users", "auth: users\n    limits: {timeouts: {login: 1s}}");
    let gate = start(&redis, &yaml);
    let (mut mute, mut chatty, mut wrong, mut user) =
        (gate.connect(), gate.connect(), gate.connect(), gate.connect());
    user.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    let started = Instant::now();
    chatty.assert_reply("PING", NOAUTH);
    wrong.assert_reply("AUTH x", WRONGPASS);
    for client in [&mut mute, &mut chatty, &mut wrong] {
        client.assert_closed();
        let took = started.elapsed();
        assert!(took > Duration::from_millis(700) && took < Duration::from_secs(4), "{took:?}");
    }
    eventually("all are counted", || {
        (gate.metric("connections_closed_total", &[("reason", "timeout")]) == 3.0).then_some(())
    });
    user.assert_reply("PING", "+PONG");
    // The time limit starts again when a user logs out.
    user.assert_reply("RESET", "+RESET");
    let started = Instant::now();
    user.assert_closed();
    assert!(started.elapsed() > Duration::from_millis(700), "{:?}", started.elapsed());
}

#[test]
fn redis_cli_with_a_user() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let says = |arguments: &[&str]| {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &gate.port().to_string(), "--no-auth-warning"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli is installed");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim_end().to_owned()
    };
    assert_eq!(says(&["-a", DEFAULT, "ACL", "WHOAMI"]), "gate");
    assert_eq!(says(&["-a", &format!("alice:{ALICE}"), "ACL", "WHOAMI"]), "alice");
    assert_eq!(says(&["--user", "alice", "--pass", ALICE, "ACL", "WHOAMI"]), "alice");
    assert_eq!(says(&["-3", "--user", "alice", "--pass", ALICE, "ACL", "WHOAMI"]), "alice");
    assert_eq!(says(&["-u", &format!("redis://alice:{ALICE}@127.0.0.1:{}", gate.port()), "PING"]), "PONG");
    let refused = says(&["--user", "alice", "--pass", "wrong", "PING"]);
    assert!(refused.contains("WRONGPASS") && refused.contains("NOAUTH"), "{refused}");
}

#[test]
fn the_redis_crate_with_a_user() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let whoami = |credentials: &str, suffix: &str| {
        runtime.block_on(async {
            let url = format!("redis://{credentials}@{}{suffix}", gate.address());
            let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
            redis::cmd("ACL").arg("WHOAMI").query_async::<String>(&mut connection).await
        })
    };
    for suffix in ["", "/0?protocol=resp3"] {
        assert_eq!(whoami(&format!("alice:{ALICE}"), suffix).expect("alice may"), "alice");
        assert_eq!(whoami(&format!(":{DEFAULT}"), suffix).expect("the default user may"), "gate");
        let error = whoami("alice:wrong", suffix).expect_err("nobody may");
        assert!(error.to_string().contains("uthentication") || error.code() == Some("WRONGPASS"), "{error}");
    }
}
