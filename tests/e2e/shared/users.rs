//! Clients with different credentials at Redis never share a connection.

use e2e::client::command;
use e2e::{Client, Gate, Redis};

use super::connections;

const YAML: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [127.0.0.1], auth: users, users: [writer, reader, guest]}
upstreams:
  main: {address: {redis}, connections: shared, credentials: {username: app, password: {file: app.txt}}}
users:
  writer: {password: {file: writer.txt}}
  reader: {password: {file: reader.txt}, upstream_credentials: {main: {username: ro, password: {file: ro.txt}}}}
  guest: {password: {file: guest.txt}, upstream_credentials: {main: {username: other, password: {file: other.txt}}}}
workers: 1
admin: {bind: '127.0.0.1:{admin}'}
";

const UPSTREAM: [(&str, &str); 3] = [("app", "canary-up-1"), ("ro", "canary-up-2"), ("other", "canary-up-3")];
const CLIENTS: [(&str, &str); 3] = [("writer", "app"), ("reader", "ro"), ("guest", "other")];

fn start() -> (Redis, Gate) {
    let mut redis = Redis::builder().password("canary-default-1");
    for (name, password) in UPSTREAM {
        let rules = if name == "ro" { "+@all -@write" } else { "+@all" };
        redis = redis.line(&format!("user {name} on >{password} ~* &* {rules}"));
    }
    let redis = redis.start();
    let mut gate = Gate::before(&redis).config(YAML);
    for (name, password) in UPSTREAM {
        gate = gate.file(&format!("{name}.txt"), password).secret(password);
    }
    for (name, _) in CLIENTS {
        gate = gate.file(&format!("{name}.txt"), &secret(name)).secret(&secret(name));
    }
    (redis, gate.start())
}

fn secret(name: &str) -> String {
    format!("canary-client-{name}")
}

fn login(name: &str) -> String {
    format!("AUTH {name} {}", secret(name))
}

#[test]
fn each_has_its_own() {
    let (redis, gate) = start();
    let mut clients: Vec<(Client, &str, &str)> = Vec::new();
    for number in 0..30 {
        let (name, upstream) = CLIENTS[number % 3];
        let mut client = gate.connect();
        client.assert_reply("GET k", "-NOAUTH Authentication required.");
        client.assert_reply(&login(name), "+OK");
        clients.push((client, name, upstream));
    }
    // It is undefined in which order Redis serves the connections.
    clients[0].0.assert_reply("SET k v", "+OK");
    for round in 0..20 {
        for (client, _, _) in &mut clients {
            client.hold(&command(&format!("ECHO {round}")));
            client.hold(&command("SET k v"));
            client.send("EXISTS k");
        }
        for (client, _, upstream) in &mut clients {
            client.assert_recv(&format!("\"{round}\""));
            let set = client.recv();
            assert_eq!(set.is_error(), *upstream == "ro", "{upstream}: {set}");
            client.assert_recv(":1");
        }
    }
    assert!(connections(&gate, "used") == 0.0, "the clients never used shared connections");
    // The same is true if each client has a connection of its own.
    for (client, _, upstream) in &mut clients {
        client.assert_reply("WATCH k", "+OK");
        client.assert_reply("ACL WHOAMI", &format!("\"{upstream}\""));
        client.assert_reply("UNWATCH", "+OK");
    }
    let lines = redis.tcp_clients();
    assert!(lines.iter().all(|line| !line.contains("user=default")), "{lines:?}");
}

/// The client logs in as another user. Earlier commands ran as the user before.
#[test]
fn a_client_becomes_another() {
    let (_redis, gate) = start();
    let mut client = gate.connect();
    client.assert_reply(&login("writer"), "+OK");
    for _ in 0..5 {
        client.hold(&command("SET k v"));
        client.hold(&command("ACL WHOAMI"));
        client.hold(&command("SELECT 2"));
        client.hold(&command(&login("reader")));
        client.hold(&command("ACL WHOAMI"));
        client.hold(&command("SET k w"));
        client.hold(&command("AUTH guest wrong"));
        client.hold(&command("ACL WHOAMI"));
        client.hold(&command("SELECT 0"));
        client.hold(&command(&login("guest")));
        client.hold(&command("GET k"));
        client.hold(&command("ACL WHOAMI"));
        client.send(&login("writer"));
        for due in ["+OK", r#""app""#, "+OK", "+OK", r#""ro""#] {
            client.assert_recv(due);
        }
        assert!(client.recv().text().starts_with("NOPERM "));
        for due in [
            "-WRONGPASS invalid username-password pair or user is disabled.",
            r#""ro""#,
            "+OK",
            "+OK",
            r#""v""#,
            r#""other""#,
            "+OK",
        ] {
            client.assert_recv(due);
        }
    }
    client.assert_reply("RESET", "+RESET");
    client.assert_reply("GET k", "-NOAUTH Authentication required.");
    client.assert_reply(&login("reader"), "+OK");
    client.assert_reply("ACL WHOAMI", r#""ro""#);
}

/// The login as another user waits while the most bytes are pending. Later commands run as the new user.
#[test]
fn a_client_becomes_another_behind_a_full_buffer() {
    const REPLY: usize = 1024;
    let (_redis, gate) = start();
    let mut client = gate.connect();
    client.assert_reply(&login("reader"), "+OK");
    client.assert_reply("GET k", "nil");
    let name = "n".repeat(REPLY - "$1000\r\n\r\n".len());
    client.assert_reply(&format!("CLIENT SETNAME {name}"), "+OK");
    let times = 64 * 1024 / REPLY;
    for _ in 0..times {
        client.hold(&command("CLIENT GETNAME"));
    }
    client.hold(&command(&login("writer")));
    client.send("SET k v");
    for _ in 0..times {
        client.assert_recv(&format!("{name:?}"));
    }
    client.assert_recv("+OK");
    client.assert_recv("+OK");
}

/// Users with the same Redis user may share a connection. Each user's rules stay separate.
#[test]
fn rules_stay_with_their_user() {
    let redis = Redis::plain();
    let yaml = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [127.0.0.1], auth: users, users: [a, b]}
upstreams:
  main: {address: {redis}, connections: shared}
users:
  a: {password: {file: a.txt}, acl: '+@all ~a:*'}
  b: {password: {file: b.txt}, acl: '+@all ~b:*'}
workers: 1
admin: {bind: '127.0.0.1:{admin}'}
";
    let gate = Gate::before(&redis).config(yaml).file("a.txt", "pa").file("b.txt", "pb").start();
    let mut clients: Vec<(Client, &str)> = Vec::new();
    for number in 0..20 {
        let name = if number % 2 == 0 { "a" } else { "b" };
        let mut client = gate.connect();
        client.assert_reply(&format!("AUTH {name} p{name}"), "+OK");
        clients.push((client, name));
    }
    for round in 0..20 {
        for (client, name) in &mut clients {
            client.hold(&command(&format!("SET {name}:k {name}")));
            client.hold(&command("GET a:k"));
            client.hold(&command("GET b:k"));
            client.send(&format!("ECHO {round}"));
        }
        for (client, name) in &mut clients {
            client.assert_recv("+OK");
            let refused = "-NOPERM No permissions to access a key";
            client.assert_recv(if *name == "a" { r#""a""# } else { refused });
            client.assert_recv(if *name == "b" { r#""b""# } else { refused });
            client.assert_recv(&format!("\"{round}\""));
        }
    }
}
