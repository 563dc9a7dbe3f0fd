//! Limits: the reply of each limit, its counter, and no effect on clients within it. `buffers` is in `attacks.rs`, the
//! limits before login in `users.rs`, `proxy_header` in `proxy_protocol.rs`, `drain` in `lifecycle.rs`.

mod logins;
mod sources;

use std::time::{Duration, Instant};

use e2e::client::{command, encode};
use e2e::{Gate, Redis, eventually};

const MAX_CLIENTS: &str = "-ERR max number of clients reached";

fn with(redis: &Redis, limits: &str) -> Gate {
    Gate::before(redis).listener(&format!("limits: {limits}")).start()
}

#[track_caller]
fn counts(gate: &Gate, metric: &str, reason: &str, due: f64) {
    gate.assert_metric(metric, &[("reason", reason)], due);
}

/// The limits of the process and of a listener. A client that disconnects makes room for another one.
#[test]
fn clients() {
    let redis = Redis::plain();
    for gate in [with(&redis, "{clients: 2}"), Gate::before(&redis).top("limits: {clients: 2}").start()] {
        let (mut one, mut two) = (gate.connect(), gate.connect());
        one.assert_reply("PING", "+PONG");
        two.assert_reply("PING", "+PONG");
        let mut three = gate.connect();
        three.assert_recv(MAX_CLIENTS);
        three.assert_closed();
        counts(&gate, "connections_refused_total", "limit", 1.0);
        drop(one);
        eventually("there is room", || {
            let mut client = gate.connect();
            (client.call("PING").to_string() == "+PONG").then_some(())
        });
        two.assert_reply("PING", "+PONG");
    }
}

/// The error of each limit is Redis's own.
#[test]
fn sizes() {
    let redis = Redis::plain();
    let gate = with(&redis, "{bulk: 2KiB, arguments: 4, inline: 1KiB}");
    let cases: [(Vec<u8>, &str); 4] = [
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2049\r\n".to_vec(), "invalid bulk length"),
        (b"*5\r\n".to_vec(), "invalid multibulk length"),
        (vec![b'x'; 1100], "too big inline request"),
        (b"*1\r\n$2049\r\n".to_vec(), "invalid bulk length"),
    ];
    for (bytes, reason) in &cases {
        let mut client = gate.connect();
        client.hold(&command("PING"));
        client.send_raw(bytes);
        client.assert_recv("+PONG");
        client.assert_recv(&format!("-ERR Protocol error: {reason}"));
        client.assert_closed();
    }
    counts(&gate, "connections_closed_total", "protocol", 4.0);
    let mut client = gate.connect();
    client.send_args(&[b"SET", b"k", &[b'x'; 2048]]);
    client.assert_recv("+OK");
    client.assert_reply("SET k v XX", "+OK");
    client.send_raw(format!("ECHO {}\r\n", "x".repeat(1000)).as_bytes());
    client.assert_recv(&format!("\"{}\"", "x".repeat(1000)));
}

/// A command whose keys are not within the bytes that may be held.
#[test]
fn held_command() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .listener("acl: \"+@all -@dangerous ~app:*\"")
        .listener("limits: {held_command: 16KiB}")
        .start();
    let mut client = gate.connect();
    let keys: Vec<Vec<u8>> = (0..3000).map(|n| format!("app:{n}").into_bytes()).collect();
    let mut words: Vec<&[u8]> = vec![b"DEL"];
    words.extend(keys.iter().map(Vec::as_slice));
    client.hold(&encode(&words));
    client.send("GET app:1");
    client.assert_recv("-ERR command too large to be checked");
    client.assert_recv("nil");
    gate.assert_metric("commands_denied_total", &[("reason", "size")], 1.0);
    // A large value after a visible key is streamed.
    client.send_args(&[b"SET", b"app:large", &[b'x'; 100_000]]);
    client.assert_recv("+OK");
    client.assert_reply("STRLEN app:large", ":100000");
}

#[test]
fn timeouts_of_clients() {
    let redis = Redis::plain();
    let gate = with(&redis, "{timeouts: {idle: 1s, frame: 1s, write: 1s}}");
    let started = Instant::now();
    let (mut idle, mut half, mut subscriber, mut blocked) =
        (gate.connect(), gate.connect(), gate.connect(), gate.connect());
    half.send_raw(b"*1\r\n$4\r\nPI");
    subscriber.assert_reply("SUBSCRIBE a", r#"["subscribe" "a" :1]"#);
    blocked.send("BLPOP l 3");
    idle.assert_closed();
    half.assert_closed();
    let took = started.elapsed();
    assert!(took > Duration::from_millis(700) && took < Duration::from_secs(4), "{took:?}");
    counts(&gate, "connections_closed_total", "idle", 1.0);
    counts(&gate, "connections_closed_total", "timeout", 1.0);
    blocked.assert_recv("nil[]");
    redis.control().assert_reply("PUBLISH a x", ":1");
    subscriber.assert_recv(r#"["message" "a" "x"]"#);

    // This client does not read its reply.
    redis.control().assert_reply(&format!("SET big {}", "x".repeat(1 << 20)), "+OK");
    let mut deaf = gate.connect();
    deaf.send_raw(&command("GET big").repeat(64));
    counts(&gate, "connections_closed_total", "slow", 1.0);
    drop(deaf);
}

/// The timeouts of an upstream.
#[test]
fn timeouts_of_upstreams() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).upstream("response_timeout: 1s").start();
    let mut client = gate.connect();
    client.assert_reply("BLPOP nothing 2", "nil[]");
    redis.signal(rustix::process::Signal::STOP);
    client.send("GET k");
    let started = Instant::now();
    client.assert_recv("-ERR portcullis: upstream 'main' unavailable (timeout)");
    client.assert_closed();
    assert!(started.elapsed() > Duration::from_millis(700), "{:?}", started.elapsed());
    redis.signal(rustix::process::Signal::CONT);
    eventually("the event is counted", || {
        (gate.metric("upstream_errors_total", &[("kind", "timeout")]) >= 1.0).then_some(())
    });
    counts(&gate, "connections_closed_total", "upstream", 1.0);
}
