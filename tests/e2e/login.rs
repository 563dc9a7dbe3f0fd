//! `auth: trust` with the proxy's own credentials, and `auth: passthrough` with the client's credentials.

use e2e::client::command;
use e2e::{Client, Gate, Redis};

const PASSWORD: &str = "canary-upstream-5b1e";

/// Starts a Redis with an additional user, and a proxy that logs in as that user.
fn with_user() -> (Redis, Gate) {
    let redis = Redis::builder()
        .password("canary-default-77aa")
        .line(&format!("user app on >{PASSWORD} ~* &* +@all"))
        .start();
    let gate = Gate::before(&redis).listener("auth: trust").username("app").password(PASSWORD).start();
    (redis, gate)
}

#[test]
fn the_gate_logs_in_before_the_first_byte() {
    let (redis, gate) = with_user();
    let mut client = gate.connect();
    client.assert_reply("ACL WHOAMI", r#""app""#);
    client.assert_reply("SET k v", "+OK");
    for line in redis.tcp_clients() {
        assert!(!line.contains("user=default"), "{line}");
    }
}

#[test]
fn reset_logs_in_again() {
    let (redis, gate) = with_user();
    let mut client = gate.connect();
    for line in ["ACL WHOAMI", "RESET", "ACL WHOAMI", "HELLO 3", "RESET", "RESET", "ACL WHOAMI"] {
        client.hold(&command(line));
    }
    client.send("SET k v");
    client.assert_recv(r#""app""#);
    client.assert_recv("+RESET");
    client.assert_recv(r#""app""#);
    assert_eq!(client.recv().items().len(), 14);
    client.assert_recv("+RESET");
    client.assert_recv("+RESET");
    client.assert_recv(r#""app""#);
    client.assert_recv("+OK");
    redis.control().assert_reply("GET k", r#""v""#);
}

/// The client sends RESET long after the deadline of the first login has passed.
#[test]
fn reset_late_in_a_session() {
    let redis = Redis::builder().password(PASSWORD).start();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .password(PASSWORD)
        .upstream("connect_timeout: 300ms")
        .start();
    let mut client = gate.connect();
    client.assert_reply("CLIENT SETNAME me", "+OK");
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        client.assert_reply("RESET", "+RESET");
        client.assert_reply("SET k v", "+OK");
    }
}

/// The client's AUTH does not change the order, the content or the number of the commands that Redis receives.
#[test]
fn the_clients_own_auth_never_travels_on() {
    let (redis, gate) = with_user();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    let mut monitor = redis.control();
    monitor.assert_reply("MONITOR", "+OK");
    client.assert_reply("AUTH canary-client-9", "+OK");
    client.assert_reply("AUTH default canary-client-9", "+OK");
    client.assert_reply(
        "AUTH app canary-client-9",
        "-WRONGPASS invalid username-password pair or user is disabled.",
    );
    client.assert_reply(
        "HELLO 3 AUTH app canary-client-9",
        "-WRONGPASS invalid username-password pair or user is disabled.",
    );
    assert_eq!(client.call("HELLO 3 AUTH default canary-client-9 SETNAME named").items().len(), 14);
    client.assert_reply("CLIENT GETNAME", r#""named""#);
    client.assert_reply("ACL WHOAMI", r#""app""#);
    client.assert_reply("SET done 1", "+OK");
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|l: &String| l.contains("\"done\"")) {
        lines.push(monitor.recv().text());
    }
    for line in &lines {
        assert!(!line.contains("canary-client-9"), "{line}");
        assert!(
            !line.contains(&client.local().to_string()),
            "the line has a client's address that Redis cannot know: {line}"
        );
    }
    redis.control().assert_reply("ACL LOG", "[]");
    let info = redis.control().call("INFO stats").text();
    assert!(
        !info.contains("acl_access_denied_auth") || info.contains("acl_access_denied_auth:0\r"),
        "{info}"
    );
}

/// HELLO 3 is the first command, as RESP3 clients send it, with and without AUTH.
#[test]
fn hello_as_the_first_command() {
    let (_redis, gate) = with_user();
    for line in ["HELLO 3", "HELLO 3 AUTH default x", "HELLO 3 AUTH default x SETNAME n"] {
        let mut client = gate.connect();
        let reply = client.call(line);
        assert_eq!(reply.items()[5].to_string(), ":3", "{reply}");
        client.assert_reply("GET nothing", "null");
        client.assert_reply("ACL WHOAMI", r#""app""#);
    }
}

/// The proxy has a password for the default user, and no user name.
#[test]
fn a_password_alone() {
    let redis = Redis::builder().password(PASSWORD).start();
    let gate = Gate::before(&redis).listener("auth: trust").password(PASSWORD).start();
    let mut client = gate.connect();
    client.assert_reply("ACL WHOAMI", r#""default""#);
    client.assert_reply("RESET", "+RESET");
    client.assert_reply("ACL WHOAMI", r#""default""#);
}

/// The proxy reads the password from the environment instead of a file.
#[test]
fn a_password_from_the_environment() {
    let redis = Redis::builder().password(PASSWORD).start();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .upstream("credentials: {password: {env: GATE_TEST_PASSWORD}}")
        .environment("GATE_TEST_PASSWORD", PASSWORD)
        .secret(PASSWORD)
        .start();
    gate.connect().assert_reply("PING", "+PONG");
}

/// Redis checks the logins and sends its own replies. The dialogue is the same directly and through the proxy.
#[test]
fn passthrough_is_redis_own_login() {
    let redis = Redis::builder().password(PASSWORD).line("user app on >apps ~* &* +@all").start();
    let gate = Gate::before(&redis).secret(PASSWORD).start();
    passthrough_dialogue(|| Client::tcp(redis.address()));
    passthrough_dialogue(|| gate.connect());
}

fn passthrough_dialogue(connect: impl Fn() -> Client) {
    let noauth = "-NOAUTH Authentication required.";
    let wrongpass = "-WRONGPASS invalid username-password pair or user is disabled.";
    let mut client = connect();
    client.assert_reply("GET k", noauth);
    client.assert_reply("NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: ");
    client.assert_reply("AUTH wrong", wrongpass);
    client.assert_reply("HELLO 3 AUTH default wrong", wrongpass);
    let hello = client.call("HELLO 3").text();
    assert!(
        hello.starts_with("NOAUTH HELLO must be called with the client already authenticated"),
        "{hello}"
    );
    client.assert_reply("MULTI", noauth);
    client.assert_reply("SUBSCRIBE a b c", noauth);
    client.assert_reply("MONITOR", noauth);
    client.assert_reply("GET k", noauth);
    client.assert_reply(&format!("AUTH {PASSWORD}"), "+OK");
    client.assert_reply("ACL WHOAMI", r#""default""#);
    client.assert_reply("AUTH app wrong", wrongpass);
    client.assert_reply("ACL WHOAMI", r#""default""#);
    client.assert_reply("AUTH app apps", "+OK");
    client.assert_reply("ACL WHOAMI", r#""app""#);
    client.assert_reply("RESET", "+RESET");
    client.assert_reply("GET k", noauth);
    assert_eq!(client.call(&format!("HELLO 3 AUTH default {PASSWORD} SETNAME n")).items().len(), 14);
    client.assert_reply("GET k", "null");
    client.assert_in_step("resp3");

    // The logins are pipelined, and each reply belongs to its command.
    let mut client = connect();
    for line in [&format!("AUTH {PASSWORD}"), "PING", "RESET", "PING", "AUTH app apps", "PING"] {
        client.hold(&command(line));
    }
    client.send("ACL WHOAMI");
    for due in ["+OK", "+PONG", "+RESET", noauth, "+OK", "+PONG", r#""app""#] {
        client.assert_recv(due);
    }
    client.assert_reply("QUIT", "+OK");
    client.assert_closed();

    // Redis's limits before login apply as well.
    let mut client = connect();
    client.send_raw(b"*11\r\n$4\r\nPING\r\n");
    client.assert_recv("-ERR Protocol error: unauthenticated multibulk length");
    client.assert_closed();
    let mut client = connect();
    client.send_raw(b"*2\r\n$4\r\nECHO\r\n$16385\r\n");
    client.assert_recv("-ERR Protocol error: unauthenticated bulk length");
    client.assert_closed();
}
