//! The proxy connects to Redis before a command needs the connection, if it answers the first commands itself.

use std::time::Duration;

use e2e::client::command;
use e2e::{Gate, GateBuilder, Redis, eventually, holds_for, ports};

const PASSWORD: &str = "canary-early-1";
const UPSTREAM: &str = "canary-early-2";

/// Adds users: clients log in at the proxy, and the proxy logs in at Redis.
fn with_users(builder: GateBuilder) -> GateBuilder {
    builder
        .listener("auth: users")
        .listener("users: [app]")
        .listener(r#"acl: "+@all -config""#)
        .password(UPSTREAM)
        .file("app.pw", PASSWORD)
        .secret(PASSWORD)
        .top("users: {app: {password: {file: app.pw}}}")
}

fn used(gate: &Gate) -> f64 {
    gate.metric("upstream_connections", &[("state", "used")])
}

fn redis() -> Redis {
    Redis::builder().password(UPSTREAM).start()
}

/// Before the login there is no connection. After the login there is one, so the next command does not wait.
#[test]
fn a_login_connects() {
    let redis = redis();
    let gate = with_users(Gate::before(&redis)).start();
    let mut client = gate.connect();
    assert!(client.call("PING").is_error() && client.call("AUTH app wrong").is_error());
    holds_for(Duration::from_millis(300), "there is no connection", || used(&gate) == 0.0);
    client.assert_reply(&format!("AUTH app {PASSWORD}"), "+OK");
    eventually("there is a connection", || (used(&gate) == 1.0).then_some(()));
    let logins = redis.calls("auth");
    client.assert_reply("PING", "+PONG");
    client.assert_reply("GET nothing", "nil");
    assert!(redis.calls("auth") <= logins + 1, "only the test itself has logged in since");
    assert!(used(&gate) == 1.0);
}

/// The proxy also answers a command itself if it refuses it.
#[test]
fn a_refusal_connects() {
    let redis = redis();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .listener(r#"acl: "+@all -config""#)
        .password(UPSTREAM)
        .start();
    let mut client = gate.connect();
    for _ in 0..3 {
        assert!(client.call("CONFIG GET maxmemory").is_error());
    }
    eventually("there is a connection", || (used(&gate) == 1.0).then_some(()));
    client.assert_reply("PING", "+PONG");
    assert!(used(&gate) == 1.0);
}

/// A login causes at most one connection. QUIT alone or a silent client causes none.
#[test]
fn connections_that_a_login_costs() {
    const COUNT: u64 = 50;
    let redis = redis();
    let gate = with_users(Gate::before(&redis)).start();
    let dials = |act: &dyn Fn()| {
        let before = redis.connections_received();
        act();
        eventually("all connections are closed", || (used(&gate) == 0.0).then_some(()));
        redis.connections_received() - before
    };
    // The connections of the test, and perhaps of a health check.
    const BESIDES: u64 = 10;
    let logins = dials(&|| {
        for _ in 0..COUNT {
            let mut client = gate.connect();
            for _ in 0..3 {
                client.hold(&command(&format!("AUTH app {PASSWORD}")));
            }
            client.send("QUIT");
            for _ in 0..4 {
                client.assert_recv("+OK");
            }
            client.assert_closed();
        }
    });
    assert!(logins <= COUNT + BESIDES, "{logins} connections for {COUNT} clients");
    let quits = dials(&|| {
        for _ in 0..COUNT {
            drop(gate.connect());
            gate.connect().assert_reply("QUIT", "+OK");
        }
    });
    assert!(quits <= BESIDES, "{quits} connections for clients that only send QUIT");
}

/// The client gets the error about an unreachable Redis only when a command needs Redis.
#[test]
fn an_upstream_that_is_not_there() {
    let nowhere = format!("127.0.0.1:{}", ports::free());
    let gate = with_users(Gate::before_address(&nowhere)).upstream("failover_wait: off").start();
    let mut client = gate.connect();
    for _ in 0..2 {
        client.assert_reply(&format!("AUTH app {PASSWORD}"), "+OK");
        client.assert_silent_for(Duration::from_millis(300));
    }
    client.send("PING");
    client.assert_recv("-ERR portcullis: upstream 'main' unavailable (refused)");
    client.assert_closed();
}

/// If Redis refuses the proxy's login, the client also gets the error only when a command needs Redis.
#[test]
fn an_upstream_that_refuses_the_gates_login() {
    let redis = Redis::builder().password("canary-early-3").start();
    let gate = with_users(Gate::before(&redis)).start();
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH app {PASSWORD}"), "+OK");
    client.assert_silent_for(Duration::from_millis(300));
    client.assert_reply(&format!("AUTH app {PASSWORD}"), "+OK");
    client.send("PING");
    client.assert_recv("-ERR portcullis: upstream 'main' unavailable (auth)");
    client.assert_closed();
}
