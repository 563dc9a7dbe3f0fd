//! Servers that say their role in another way than current Redis, and a master that says for a while that it is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::client::command;
use e2e::{Answer, Client, Fake, FakeSentinel, Gate, GateBuilder, eventually};

const UNKNOWN: &str = "-ERR unknown command 'HELLO', with args beginning with: '2' ";
const NOPERM: &str = "-NOPERM this user has no permissions to run this command";
const MASTER: &str = "*3\r\n$6\r\nmaster\r\n:0\r\n*0";
const REPLICA: &str = "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:1";

/// Starts a server that answers HELLO with this line, and ROLE with `MASTER` or `REPLICA`.
fn server(hello: &'static str, is_replica: &Arc<AtomicBool>) -> Fake {
    let is_replica = Arc::clone(is_replica);
    Fake::start(move |words| match words[0].to_ascii_uppercase().as_str() {
        "HELLO" => Answer::line(hello),
        "ROLE" => Answer::line(if is_replica.load(Ordering::SeqCst) { REPLICA } else { MASTER }),
        _ => None,
    })
}

fn before(server: &Fake, connections: &str) -> (Gate, FakeSentinel) {
    let sentinel = FakeSentinel::naming(server.address(), 7);
    let gate = GateBuilder::default()
        .listener("auth: trust")
        .upstream(&format!("sentinel: {{master: mymaster, nodes: [{:?}]}}", sentinel.address()))
        .upstream(&format!("connections: {connections}"))
        .upstream("failover_wait: 1m")
        .start();
    eventually("the proxy is ready", || (gate.get("/ready").0 == 200).then_some(()));
    (gate, sentinel)
}

fn with_database(gate: &Gate) -> Client {
    let mut client = gate.connect();
    client.assert_reply("SELECT 3", "+OK");
    client.assert_reply("GET k", "\"k@3\"");
    client
}

/// Makes the server a replica, and closes its connections with a client's database. Returns the number of these.
fn demote(server: &Fake, is_replica: &AtomicBool, gate: &Gate, state: &str) -> usize {
    let set_up = server.connections_with("SELECT 3");
    let open = || gate.metric("upstream_connections", &[("upstream", "main"), ("state", state)]);
    let before = open();
    is_replica.store(true, Ordering::SeqCst);
    set_up.iter().for_each(|connection| server.close(*connection));
    eventually("the proxy has noticed", || (open() <= before - set_up.len() as f64).then_some(()));
    set_up.len()
}

/// A server without HELLO says only to ROLE that it is a replica, and gets no command until it is none. The sessions wait:
/// only the watcher asks again.
#[test]
fn role_tells_where_hello_is_unknown_and_sessions_wait_for_the_watcher() {
    for (connections, state) in [("dedicated", "used"), ("shared", "pooled")] {
        let is_replica = Arc::new(AtomicBool::new(false));
        let server = server(UNKNOWN, &is_replica);
        let (gate, _sentinel) = before(&server, connections);
        let mut clients: Vec<Client> = (0..20).map(|_| with_database(&gate)).collect();
        let set_up = demote(&server, &is_replica, &gate, state);
        for client in &mut clients {
            client.send_raw(&command("GET later"));
        }
        clients[0].assert_silent_for(Duration::from_secs(2));
        assert!(server.connections_with("GET later").is_empty(), "a replica got a command");
        // Sessions that repeated the question would have made twenty more.
        let dials = server.connections_with("SELECT 3").len() - set_up;
        assert!(dials <= clients.len(), "{dials}");
        is_replica.store(false, Ordering::SeqCst);
        for client in &mut clients {
            client.assert_recv("\"later@3\"");
        }
    }
}

/// A server that tells its role to no question may be a master.
#[test]
fn a_server_that_tells_no_role_is_used() {
    let server = Fake::start(|words| match words[0].to_ascii_uppercase().as_str() {
        "HELLO" | "ROLE" => Answer::line(NOPERM),
        _ => None,
    });
    for connections in ["dedicated", "shared"] {
        let (gate, _sentinel) = before(&server, connections);
        with_database(&gate);
    }
}

/// Such a push tells a client to connect to another address. A hidden upstream must not do that.
#[test]
fn a_push_that_names_a_server_is_dropped_and_counted() {
    let server = Fake::start(|_| None);
    let (gate, _sentinel) = before(&server, "dedicated");
    let mut client = gate.connect();
    client.call("HELLO 3");
    client.assert_reply("GET here", "\"here@0\"");
    let connection = server.connection_with("GET here");
    server.send(connection, b">4\r\n+MOVING\r\n:1\r\n:30\r\n$13\r\n10.0.0.7:6379\r\n");
    eventually("the push is counted", || {
        (gate.metric("upstream_pushes_dropped_total", &[("upstream", "main")]) == 1.0).then_some(())
    });
    client.assert_reply("GET k", "\"k@0\"");
}
