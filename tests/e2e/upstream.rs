//! Redis is down, refuses or misbehaves. The client gets one clear error; the log, /ready and a metric show the reason.
//! The proxy recovers.

use std::time::{Duration, Instant};

use e2e::{Client, Gate, Redis, eventually, ports};
use rustix::process::Signal;

const PASSWORD: &str = "canary-trouble-41c8";

#[track_caller]
fn assert_unavailable(client: &mut Client, kind: &str) {
    client.send("SET never 1");
    client.assert_recv(&format!("-ERR portcullis: upstream 'main' unavailable ({kind})"));
    client.assert_closed();
}

/// Checks what clients and the operator see while `main` is down for this reason.
#[track_caller]
fn assert_down(gate: &Gate, kind: &str) {
    eventually("the upstream is known to be down", || (gate.get("/ready").0 == 503).then_some(()));
    assert_unavailable(&mut gate.connect(), kind);
    assert_reported_down(gate, kind);
}

/// Checks what the operator sees.
#[track_caller]
fn assert_reported_down(gate: &Gate, kind: &str) {
    eventually("the upstream is known to be down", || (gate.get("/ready").0 == 503).then_some(()));
    let (status, body) = gate.get("/ready");
    assert!(status == 503 && body.contains("main"), "{status} {body}");
    assert_eq!(gate.get("/live").0, 200);
    gate.assert_metric("upstream_up", &[("upstream", "main")], 0.0);
    assert!(gate.has_metric("upstream_up", &[("upstream", "main")]));
    eventually(&format!("{kind} is counted"), || {
        (gate.metric("upstream_errors_total", &[("upstream", "main"), ("kind", kind)]) >= 1.0).then_some(())
    });
    eventually(&format!("the log says {kind}"), || {
        gate.stderr().lines().any(|line| line.contains("main") && line.contains(kind)).then_some(())
    });
}

#[track_caller]
fn assert_up(gate: &Gate) {
    eventually("the upstream is known to be up", || (gate.get("/ready").0 == 200).then_some(()));
    gate.assert_metric("upstream_up", &[("upstream", "main")], 1.0);
    let mut client = gate.connect();
    client.assert_reply("SET k v", "+OK");
    client.assert_in_step("up");
}

#[test]
fn down_at_the_start() {
    let mut redis = Redis::plain();
    redis.kill();
    let gate = Gate::before(&redis).start();
    assert_down(&gate, "refused");
    gate.assert_log(" WARN not ready: upstream 'main' is down (refused)\n");
    let has_line = |start: &str| gate.stderr().lines().any(|line| line.contains(start));
    assert!(!has_line(" INFO ready"), "{}", gate.stderr());
    redis.start_again(&[], true);
    assert_up(&gate);
    gate.assert_log(" INFO ready\n");
    let up = " INFO upstream is up upstream=main down_seconds=";
    let seconds = eventually("the log says how long it was down", || {
        gate.stderr().split_once(up)?.1.lines().next()?.parse::<u64>().ok()
    });
    assert!(seconds >= 4, "{seconds}");
}

#[test]
fn up_at_the_start() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    gate.assert_log(" INFO ready\n");
    gate.assert_log(" INFO upstream is up upstream=main\n");
    assert!(!gate.stderr().contains("not ready"), "{}", gate.stderr());
}

/// Commands in progress end, with or without an error. No command is executed twice, and no reply is invented.
#[test]
fn killed_and_started_again() {
    let mut redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    assert_up(&gate);
    let mut waiting = gate.connect();
    waiting.assert_reply("PING", "+PONG");
    waiting.send("BLPOP nothing 0");
    let mut idle = gate.connect();
    idle.assert_reply("PING", "+PONG");
    redis.kill();
    let (rest, _) = waiting.read_to_end();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || (rest.starts_with("-ERR portcullis: ") && rest.ends_with("\r\n")), "{rest}");
    let (rest, _) = idle.read_to_end();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || (rest.starts_with("-ERR portcullis: ") && rest.ends_with("\r\n")), "{rest}");
    assert_down(&gate, "refused");
    redis.start_again(&[], true);
    assert_up(&gate);
}

#[test]
fn a_name_that_does_not_resolve() {
    let gate = Gate::before_address("no-such-host.invalid:6379").start();
    assert_down(&gate, "resolve");
}

#[test]
fn a_socket_that_is_not_there() {
    let gate = Gate::before_address("unix:/nonexistent/redis.sock").start();
    assert_down(&gate, "refused");
}

/// Redis accepts connections but does not answer.
#[test]
fn stopped() {
    let redis = Redis::builder().password(PASSWORD).start();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .password(PASSWORD)
        .upstream("connect_timeout: 500ms")
        .upstream("failover_wait: off")
        .start();
    assert_up(&gate);
    redis.signal(Signal::STOP);
    assert_down(&gate, "timeout");
    let started = Instant::now();
    assert_unavailable(&mut gate.connect(), "timeout");
    assert!(started.elapsed() < Duration::from_secs(5), "the line took {:?}", started.elapsed());
    redis.signal(Signal::CONT);
    assert_up(&gate);
}

#[test]
fn wrong_password() {
    let redis = Redis::builder().password("canary-the-right-one").start();
    let gate = Gate::before(&redis).listener("auth: trust").password(PASSWORD).start();
    assert_down(&gate, "auth");
    redis.control().assert_reply(&format!("CONFIG SET requirepass {PASSWORD}"), "+OK");
    assert_up(&gate);
}

/// Redis requires a password, but none is configured. The client gets Redis's own error.
#[test]
fn no_password() {
    let redis = Redis::builder().password(PASSWORD).start();
    let gate = Gate::before(&redis).listener("auth: trust").secret(PASSWORD).start();
    assert_reported_down(&gate, "auth");
    let mut client = gate.connect();
    client.assert_reply("SET never 1", "-NOAUTH Authentication required.");
    client.assert_reply("SET never 1", "-NOAUTH Authentication required.");
}

/// Under passthrough the clients have the passwords, so NOAUTH from Redis means that it is up.
#[test]
fn noauth_is_up_under_passthrough() {
    let redis = Redis::builder().password(PASSWORD).start();
    let gate = Gate::before(&redis).secret(PASSWORD).start();
    eventually("the upstream is known to be up", || (gate.get("/ready").0 == 200).then_some(()));
    gate.connect().assert_reply("PING", "-NOAUTH Authentication required.");
}

#[test]
fn wants_tls() {
    let redis = Redis::builder().tls_only().start();
    let gate = Gate::before(&redis).listener("auth: trust").start();
    assert_down(&gate, "tls");
}

#[test]
fn full() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    let mut control = redis.control();
    control.assert_reply("CONFIG SET maxclients 1", "+OK");
    assert_down(&gate, "limit");
    control.assert_reply("CONFIG SET maxclients 100", "+OK");
    assert_up(&gate);
}

#[test]
fn loading() {
    let mut redis = Redis::plain();
    redis.control().assert_reply("DEBUG POPULATE 30000", "+OK");
    redis.control().assert_reply("SAVE", "+OK");
    let gate = Gate::before(&redis).listener("auth: trust").start();
    redis.kill();
    // With a delay of 100 microseconds for each key, loading takes 3 s, and Redis checks its clients often.
    redis.start_again(&["key-load-delay 100", "loading-process-events-interval-bytes 1024"], false);
    eventually("Redis loads its data", || {
        let mut client = Client::try_unix(&redis.socket())?;
        client.call("PING").is_error().then_some(())
    });
    assert_reported_down(&gate, "loading");
    // As with Redis itself, the connection stays, and works when Redis has loaded its data.
    let mut client = gate.connect();
    client.assert_reply("SET never 1", "-LOADING Redis is loading the dataset in memory");
    assert_up(&gate);
    client.assert_reply("DBSIZE", ":30001");
    gate.connect().assert_reply("DBSIZE", ":30001");
}

/// The proxy uses the first address that answers.
#[test]
fn several_addresses() {
    let redis = Redis::plain();
    let dead = format!("127.0.0.1:{}", ports::free());
    let gate = Gate::before(&redis).addresses([dead, redis.address().to_string()]).start();
    assert_up(&gate);
    gate.connect().assert_reply("GET k", r#""v""#);
}

/// Fifty clients at once get the same error. Each of them is closed.
#[test]
fn many_clients_while_it_is_down() {
    let mut redis = Redis::plain();
    redis.kill();
    let gate = Gate::before(&redis).start();
    let mut clients: Vec<Client> = (0..50).map(|_| gate.connect()).collect();
    for client in &mut clients {
        client.send("GET k");
    }
    for client in &mut clients {
        client.assert_recv("-ERR portcullis: upstream 'main' unavailable (refused)");
        client.assert_closed();
    }
    eventually("the clients are closed", || {
        (gate.metric("clients", &[("listener", "public")]) == 0.0).then_some(())
    });
}
