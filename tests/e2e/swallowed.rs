//! An upstream answers a login with one reply too few or too many. No other reply is taken for it, and the wait has a
//! time limit.
//!
//! Redis from 7.2 on and Valkey 8 do not answer a failing login while output for the client is pending.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::{Answer, Client, Fake, Gate, GateBuilder, holds_for};

const PASSWORD: &str = "canary-swallowed-31c2";
const TIMEOUT: &str = "-ERR portcullis: upstream 'main' unavailable (timeout)";

/// Starts an upstream that does not answer a login with the password `wrong`.
fn swallowing() -> Fake {
    Fake::start(|words| {
        let login = words[0].eq_ignore_ascii_case("auth") || words[0].eq_ignore_ascii_case("hello");
        (login && words.contains(&"wrong")).then_some(Answer::Nothing)
    })
}

/// Starts an upstream that answers logins until the returned flag is set.
fn forgetful() -> (Fake, Arc<AtomicBool>) {
    let forgets = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&forgets);
    let fake = Fake::start(move |words| {
        (words[0] == "AUTH" && told.load(Ordering::SeqCst)).then_some(Answer::Nothing)
    });
    (fake, forgets)
}

/// Starts a proxy with passthrough logins and a time limit of one second for them.
fn passthrough(fake: &Fake) -> Gate {
    Gate::before_address(&fake.address()).top("limits: {timeouts: {login: 1s}}").start()
}

/// Builds a proxy that logs in itself, with a time limit of one second.
fn trust(fake: &Fake) -> GateBuilder {
    Gate::before_address(&fake.address())
        .listener("auth: trust")
        .password(PASSWORD)
        .upstream("connect_timeout: 1s")
        .upstream("failover_wait: off")
}

/// Checks that the client gets the timeout error after the time limit, and not much later.
#[track_caller]
fn assert_times_out(client: &mut Client, since: Instant) {
    client.assert_recv(TIMEOUT);
    client.assert_closed();
    let waited = since.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&waited), "after {waited:?}");
}

#[test]
fn a_change_of_identity_is_sent_when_no_reply_is_pending() {
    for login in ["AUTH right", "auth default right", "HELLO 3 SETNAME me AUTH default right", "RESET"] {
        let fake = Fake::start(|words| (words == ["GET", "slow"]).then_some(Answer::Late));
        let gate = passthrough(&fake);
        let mut client = gate.connect();
        client.hold(&command("GET slow"));
        client.hold(&command(login));
        client.send("GET after");
        let connection = fake.connection_with("GET slow");
        holds_for(Duration::from_millis(200), "the proxy sends nothing behind the login", || {
            fake.commands_on(connection) == ["GET slow"]
        });
        fake.release();
        client.assert_recv("\"slow@0\"");
        client.recv();
        client.assert_recv("\"after@0\"");
        assert_eq!(fake.commands_on(connection), ["GET slow", login, "GET after"]);
    }
}

#[test]
fn a_swallowed_login_of_a_client_ends_by_a_time_limit() {
    for login in ["AUTH wrong", "HELLO 2 AUTH default wrong"] {
        let fake = swallowing();
        let gate = passthrough(&fake);
        let mut client = gate.connect();
        client.assert_reply("GET a", "\"a@0\"");
        let since = Instant::now();
        client.hold(&command(login));
        client.send("GET b");
        let connection = fake.connection_with(login);
        assert_times_out(&mut client, since);
        assert_eq!(
            fake.commands_on(connection),
            ["GET a", login],
            "the proxy sends nothing behind the login"
        );
        fake.assert_left(connection);
    }
}

/// Messages that arrive meanwhile are forwarded. They do not extend the time limit.
#[test]
fn messages_do_not_extend_the_time_limit() {
    let fake = swallowing();
    let gate = passthrough(&fake);
    let mut client = gate.connect();
    client.assert_reply("MONITOR", "+OK");
    let since = Instant::now();
    client.send("AUTH wrong");
    let connection = fake.connection_with("AUTH wrong");
    let message = "+1700000000.000001 [0 127.0.0.1:1] \"PING\"";
    let mut passed_on = 0;
    while since.elapsed() < Duration::from_secs(4) && fake.is_open(connection) {
        fake.send(connection, format!("{message}\r\n").as_bytes());
        passed_on += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(since.elapsed() < Duration::from_secs(4), "the wait has no time limit");
    let (read, _) = client.read_to_end();
    let read = String::from_utf8(read).expect("text");
    assert!(passed_on > 10 && read.ends_with(&format!("{TIMEOUT}\r\n")), "{read}");
    assert!(read.lines().all(|line| line == message || line == TIMEOUT), "{read}");
}

#[test]
fn a_second_reply_to_a_login_ends_the_session() {
    let fake = Fake::start(|words| {
        let login = words[0] == "AUTH" || words[0] == "HELLO";
        login.then(|| Answer::Bytes(b"+OK\r\n+OK\r\n".to_vec()))
    });
    let gate = passthrough(&fake);
    let mut client = gate.connect();
    client.hold(&command("AUTH twice"));
    client.send("GET a");
    client.assert_recv("+OK");
    client.assert_closed();
    assert_eq!(fake.commands_on(fake.connection_with("AUTH twice")), ["AUTH twice"]);
}

#[test]
fn the_gates_login_after_reset_ends_by_a_time_limit() {
    let (fake, forgets) = forgetful();
    let gate = trust(&fake).start();
    let mut client = gate.connect();
    client.assert_reply("GET a", "\"a@0\"");
    forgets.store(true, Ordering::SeqCst);
    let since = Instant::now();
    client.hold(&command("RESET"));
    client.send("GET b");
    client.assert_recv("+RESET");
    assert_times_out(&mut client, since);
    assert!(fake.connections_with("GET b").is_empty());
}

#[test]
fn the_gates_login_after_reset_waits_for_the_reply() {
    let fake = Fake::start(|words| (words == ["RESET"]).then_some(Answer::Late));
    let gate = trust(&fake).start();
    let mut client = gate.connect();
    client.hold(&command("RESET"));
    client.send("GET b");
    let connection = fake.connection_with("RESET");
    let login = format!("AUTH {PASSWORD}");
    holds_for(Duration::from_millis(200), "the proxy sends nothing behind the login", || {
        fake.commands_on(connection) == [&*login, "RESET"]
    });
    fake.release();
    client.assert_recv("+RESET");
    client.assert_recv("\"b@0\"");
    assert_eq!(fake.commands_on(connection), [&*login, "RESET", &*login, "GET b"]);
}

/// With `auth: users`, another user requires another login of the proxy.
#[test]
fn the_gates_login_for_another_user_ends_by_a_time_limit() {
    let fake = Fake::start(|words| {
        (words.first() == Some(&"AUTH") && words.contains(&"upstream-bob")).then_some(Answer::Nothing)
    });
    let gate = Gate::before_address(&fake.address())
        .listener("auth: users")
        .listener("users: [alice, bob]")
        .upstream("connect_timeout: 1s")
        .upstream("failover_wait: off")
        .file("secret", "canary-swallowed-users\n")
        .top(
            "users: {alice: {password: {file: secret}, upstream_credentials: {main: {username: upstream-alice, password: \
             {file: secret}}}}, bob: {password: {file: secret}, upstream_credentials: {main: {username: upstream-bob, \
             password: {file: secret}}}}}",
        )
        .start();
    let mut client = gate.connect();
    client.assert_reply("AUTH alice canary-swallowed-users", "+OK");
    client.assert_reply("GET a", "\"a@0\"");
    let since = Instant::now();
    client.hold(&command("AUTH bob canary-swallowed-users"));
    client.send("GET b");
    assert_times_out(&mut client, since);
    assert!(fake.connections_with("GET b").is_empty());
}

/// The setup of shared connections and of leased ones.
#[test]
fn the_gates_login_on_shared_connections_ends_by_a_time_limit() {
    for command in ["GET a", "EVAL x 0"] {
        let (fake, forgets) = forgetful();
        let gate = trust(&fake).upstream("connections: shared").start();
        forgets.store(true, Ordering::SeqCst);
        let mut client = gate.connect();
        let since = Instant::now();
        client.send(command);
        assert_times_out(&mut client, since);
        assert!(fake.connections_with(command).is_empty());
    }
}
