//! Redis restarts, and sessions go on: their state is set up again, and commands in flight read one error.

use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::{Client, Gate, GateBuilder, Redis, eventually};
use rustix::process::Signal;

const IN_FLIGHT: &str =
    "-ERR portcullis: upstream 'main' closed the connection; this command may or may not have run";

fn ends(bond: &str) -> String {
    format!("-ERR portcullis: upstream 'main' closed the connection; this session ends ({bond})")
}

fn trusting(redis: &Redis) -> GateBuilder {
    Gate::before(redis).listener("auth: trust")
}

/// Waits until the proxy has noticed that it has no upstream connections.
fn await_loss(gate: &Gate) {
    eventually("the upstream connections are gone", || {
        (gate.metric("upstream_connections", &[("upstream", "main"), ("state", "used")]) == 0.0).then_some(())
    });
}

fn restart(redis: &mut Redis, gate: &Gate) {
    redis.kill();
    await_loss(gate);
    redis.start_again(&[], true);
}

#[test]
fn an_idle_session_goes_on_with_its_state() {
    let mut redis = Redis::plain();
    let gate = trusting(&redis).start();
    let mut client = gate.connect();
    client.call("HELLO 3 SETNAME me");
    client.assert_reply("SELECT 3", "+OK");
    client.assert_reply("CLIENT NO-EVICT ON", "+OK");
    for _ in 0..3 {
        restart(&mut redis, &gate);
        client.assert_reply("SET k v", "+OK");
        client.assert_reply("GET nothing", "null");
        client.assert_reply("CLIENT GETNAME", "\"me\"");
        let info = client.call("CLIENT INFO").to_string();
        assert!(info.contains(" db=3 ") && info.contains(" resp=3") && info.contains("flags=e"), "{info}");
    }
    assert_eq!(redis.control().call("DBSIZE").to_string(), ":0", "all keys are in database 3");
    gate.assert_metric("sessions_carried_total", &[("upstream", "main")], 3.0);
    gate.assert_metric("sessions_dropped_total", &[("upstream", "main")], 0.0);
}

/// The server ends by SHUTDOWN of another client, and the session does not connect again by itself.
#[test]
fn a_session_connects_again_only_for_a_command() {
    let mut redis = Redis::builder().password("canary-continuity-1").start();
    let gate = trusting(&redis).password("canary-continuity-1").start();
    let mut client = gate.connect();
    client.assert_reply("SET k v", "+OK");
    redis.control().send("SHUTDOWN NOSAVE");
    await_loss(&gate);
    redis.kill();
    redis.start_again(&[], true);
    client.assert_silent_for(Duration::from_millis(500));
    await_loss(&gate);
    client.assert_reply("GET k", "nil");
}

#[test]
fn commands_in_flight_read_one_error_each() {
    let mut redis = Redis::plain();
    let gate = trusting(&redis).start();
    let mut blocked = gate.connect();
    blocked.assert_reply("SELECT 2", "+OK");
    blocked.send("BLPOP nothing 0");
    let mut pipeline = gate.connect();
    pipeline.assert_reply("SET counter 0", "+OK");
    eventually("the command blocks", || {
        redis.control().call("INFO clients").to_string().contains("blocked_clients:1").then_some(())
    });
    redis.signal(Signal::STOP);
    pipeline.send_raw(&command("INCR counter").repeat(100));
    // After this time the commands have been sent to Redis.
    std::thread::sleep(Duration::from_millis(200));
    redis.kill();
    blocked.assert_recv(IN_FLIGHT);
    for _ in 0..100 {
        pipeline.assert_recv(IN_FLIGHT);
    }
    redis.start_again(&[], true);
    pipeline.assert_reply("INCR counter", ":1");
    blocked.assert_reply("RPUSH l x", ":1");
    blocked.assert_reply("BLPOP l 0", "[\"l\" \"x\"]");
    assert_eq!(redis.control().call("EXISTS l counter").to_string(), ":1", "database 2 was selected again");
}

#[test]
fn state_that_cannot_be_set_up_again_ends_the_session() {
    let mut redis = Redis::plain();
    let gate = trusting(&redis).start();
    let mut bound: Vec<(Client, &str)> = Vec::new();
    for (commands, bond) in [
        (&["MULTI", "SET k 1"][..], "multi"),
        (&["WATCH k"], "watch"),
        (&["SUBSCRIBE channel"], "subscriptions"),
        (&["HELLO 3", "SUBSCRIBE channel"], "subscriptions"),
        (&["HELLO 3", "CLIENT TRACKING ON"], "client|tracking"),
        (&["MONITOR"], "monitor"),
    ] {
        let mut client = gate.connect();
        for line in commands {
            client.call(line);
        }
        bound.push((client, bond));
    }
    redis.kill();
    for (client, bond) in &mut bound {
        match *bond {
            // After the lines about earlier commands nothing comes.
            "monitor" => {
                let read = String::from_utf8_lossy(&client.read_to_end().0).into_owned();
                assert!(!read.contains("portcullis"), "{read}");
            }
            "subscriptions" => _ = client.assert_closed(),
            bond => {
                client.assert_recv(&ends(bond));
                client.assert_closed();
            }
        }
    }
    gate.assert_metric("sessions_dropped_total", &[("upstream", "main")], 6.0);
    gate.assert_metric("sessions_carried_total", &[("upstream", "main")], 0.0);
}

/// A lost connection alone changes nothing for scripts. A server that was restarted does not have them any more.
#[test]
fn a_session_that_loaded_scripts_ends_only_if_the_server_has_lost_them() {
    for connections in ["dedicated", "shared"] {
        let mut redis = Redis::plain();
        let gate = trusting(&redis).upstream(&format!("connections: {connections}")).start();
        let mut client = gate.connect();
        client.send_args(&[b"SCRIPT", b"LOAD", b"return 7"]);
        let digest = client.recv().text();
        let run = format!("EVALSHA {digest} 0");
        client.assert_reply(&run, ":7");
        for _ in 0..2 {
            redis.control().call("CLIENT KILL TYPE normal SKIPME yes");
            await_loss(&gate);
            client.assert_reply(&run, ":7");
        }
        // On shared connections, only a client with a connection of its own would notice.
        if connections == "shared" {
            continue;
        }
        restart(&mut redis, &gate);
        client.send(&run);
        client.assert_recv(
            "-ERR portcullis: upstream 'main' no longer has the scripts of SCRIPT LOAD; this session ends (script|load)",
        );
        client.assert_closed();
        gate.connect().assert_reply(&run, "-NOSCRIPT No matching script. Please use EVAL.");
    }
}

#[test]
fn commands_wait_for_a_server_that_comes_back() {
    let mut redis = Redis::plain();
    let gate = trusting(&redis).upstream("failover_wait: 1m").start();
    let mut clients: Vec<Client> = (0..100).map(|_| gate.connect()).collect();
    for client in &mut clients[..50] {
        client.assert_reply("SELECT 1", "+OK");
    }
    redis.kill();
    await_loss(&gate);
    for client in &mut clients {
        client.send_raw(&command("INCR counter").repeat(3));
        client.assert_silent_for(Duration::from_millis(10));
    }
    redis.start_again(&[], true);
    for client in &mut clients {
        for _ in 0..3 {
            assert!(client.recv().to_string().starts_with(':'));
        }
    }
    let mut control = redis.control();
    control.assert_reply("GET counter", "\"150\"");
    control.assert_reply("SELECT 1", "+OK");
    control.assert_reply("GET counter", "\"150\"");
}

#[test]
fn commands_that_wait_too_long_read_an_error_and_the_session_lives() {
    let mut redis = Redis::plain();
    let gate = trusting(&redis).upstream("failover_wait: 1s").start();
    let mut client = gate.connect();
    client.assert_reply("SELECT 3", "+OK");
    redis.kill();
    await_loss(&gate);
    let begun = Instant::now();
    // More than one read of the proxy: the commands have waited at the same time.
    client.send_raw(&command("GET k").repeat(2000));
    for _ in 0..2000 {
        client.assert_recv("-ERR portcullis: upstream 'main' unavailable (refused)");
    }
    assert!(begun.elapsed() >= Duration::from_secs(1));
    redis.start_again(&[], true);
    client.assert_reply("SET k v", "+OK");
    assert_eq!(redis.control().call("DBSIZE").to_string(), ":0", "database 3 was selected again");
    let mut fresh = gate.connect();
    fresh.assert_reply("PING", "+PONG");
}

/// With `off` and with `auth: passthrough`, a session ends with its upstream connection.
#[test]
fn sessions_end_with_their_connection_where_continuity_is_off() {
    for (listener, upstream) in
        [("auth: trust", "failover_wait: off"), ("auth: passthrough", "failover_wait: 1m")]
    {
        let mut redis = Redis::plain();
        let gate = Gate::before(&redis).listener(listener).upstream(upstream).start();
        let mut client = gate.connect();
        client.assert_reply("SET k v", "+OK");
        redis.kill();
        client.assert_closed();
        let mut fresh = gate.connect();
        fresh.send("PING");
        fresh.assert_recv("-ERR portcullis: upstream 'main' unavailable (refused)");
        fresh.assert_closed();
        gate.assert_metric("sessions_dropped_total", &[("upstream", "main")], 1.0);
    }
}

#[test]
fn a_user_goes_on_as_the_same_user() {
    const PASSWORD: &str = "canary-continuity-user-2";
    let mut redis = Redis::builder().line("user app on >canary-continuity-app-3 ~* &* +@all").start();
    let gate = Gate::before(&redis)
        .listener("auth: users")
        .listener("users: [alice]")
        .file("app", PASSWORD)
        .secret(PASSWORD)
        .file("upstream", "canary-continuity-app-3")
        .secret("canary-continuity-app-3")
        .top(
            "users: {alice: {password: {file: app}, \
             upstream_credentials: {main: {username: app, password: {file: upstream}}}}}",
        )
        .start();
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH alice {PASSWORD}"), "+OK");
    client.assert_reply("ACL WHOAMI", "\"app\"");
    restart(&mut redis, &gate);
    client.assert_reply("ACL WHOAMI", "\"app\"");
}

/// Clients of shared connections read one error for each command in flight, and go on.
#[test]
fn clients_of_shared_connections_go_on() {
    let mut redis = Redis::plain();
    let gate = trusting(&redis).upstream("connections: shared").upstream("failover_wait: 1m").start();
    let mut clients: Vec<Client> = (0..10).map(|_| gate.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.assert_reply(&format!("SELECT {}", number % 3), "+OK");
        client.assert_reply("SET counter 0", "+OK");
    }
    redis.signal(Signal::STOP);
    for client in &mut clients {
        client.send_raw(&command("INCR counter").repeat(5));
    }
    // After this time the commands have been sent to Redis.
    std::thread::sleep(Duration::from_millis(200));
    redis.kill();
    for client in &mut clients {
        for _ in 0..5 {
            client.assert_recv(IN_FLIGHT);
        }
        client.send("INCR after");
    }
    redis.start_again(&[], true);
    for client in &mut clients {
        assert!(client.recv().to_string().starts_with(':'));
        client.assert_reply("EXISTS counter", ":0");
    }
    let mut control = redis.control();
    for (number, count) in [(0, 4), (1, 3), (2, 3)] {
        control.assert_reply(&format!("SELECT {number}"), "+OK");
        control.assert_reply("GET after", &format!("\"{count}\""));
    }
}

/// A shared upstream that stays down: each command reads an error after the wait, and the session lives.
#[test]
fn commands_on_shared_connections_that_wait_too_long_read_an_error() {
    let mut redis = Redis::plain();
    let gate = trusting(&redis).upstream("connections: shared").upstream("failover_wait: 1s").start();
    let mut client = gate.connect();
    client.assert_reply("SET k v", "+OK");
    redis.kill();
    for line in ["GET k", "EVAL return 0", "SELECT 3", "GET k"] {
        client.assert_reply(line, "-ERR portcullis: upstream 'main' unavailable (refused)");
    }
    redis.start_again(&[], true);
    client.assert_reply("SET k v", "+OK");
    client.assert_reply("EVAL return 0", "nil");
    client.assert_reply("SELECT 3", "+OK");
}
