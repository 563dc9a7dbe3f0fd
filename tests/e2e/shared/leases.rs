//! Leases: the clients that get a connection of their own, and for how long.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use e2e::client::{command, encode};
use e2e::{Client, Fake, Gate, Redis, Stage, Way, eventually, holds_for};

use super::{Neighbours, before, connections, sharing};

fn stage() -> (Redis, Gate) {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    (redis, gate)
}

/// Waits until `count` connections to Redis are leased. The connection of the health check does not count.
#[track_caller]
fn wait_for_used(gate: &Gate, count: f64) {
    eventually(&format!("{count} connections are leased"), || {
        (connections(gate, "used") == count).then_some(())
    });
}

#[test]
fn two_hundred_clients_on_a_few_connections() {
    let stage = Stage::new(Way::Shared);
    let gate = stage.gate.as_ref().expect("a gate");
    let mut clients: Vec<Client> = (0..200).map(|_| stage.connect()).collect();
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.hold(&command(&format!("SET k{number} {round}:{number}")));
            client.hold(&command("PING"));
            client.send(&format!("GET k{number}"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.assert_recv("+OK");
            client.assert_recv("+PONG");
            client.assert_recv(&format!("\"{round}:{number}\""));
        }
    }
    let lines = stage.redis.tcp_clients().len();
    // There are a few connections for each worker, and one for the health check. There is one worker for each core.
    let bound = 1 + 8 * thread::available_parallelism().map_or(1, usize::from);
    assert!(lines <= bound, "{lines} connections to Redis for 200 clients");
    let pooled = connections(gate, "pooled");
    assert!(pooled >= 1.0 && pooled <= bound as f64, "{pooled} pooled");
    assert!(connections(gate, "used") == 0.0);
    assert!(stage.redis.connections_received() < 40, "connections come and go");
}

#[test]
fn a_transaction_takes_one_more_for_a_second() {
    let (redis, gate) = stage();
    let mut client = gate.connect();
    client.assert_reply("SET k 1", "+OK");
    let before = redis.tcp_clients().len();
    assert!(connections(&gate, "used") == 0.0);
    client.assert_reply("MULTI", "+OK");
    assert!(connections(&gate, "used") == 1.0);
    assert_eq!(redis.tcp_clients().len(), before + 1);
    client.assert_reply("INCR k", "+QUEUED");
    client.assert_reply("EXEC", "[:2]");
    let since = Instant::now();
    client.assert_reply("GET k", r#""2""#);
    holds_for(Duration::from_millis(600), "the lease is kept", || connections(&gate, "used") == 1.0);
    wait_for_used(&gate, 0.0);
    let took = since.elapsed();
    assert!(took < Duration::from_secs(4), "the lease was kept for {took:?}");
    eventually("Redis has closed the lease", || (redis.tcp_clients().len() == before).then_some(()));
    client.assert_reply("GET k", r#""2""#);
    assert!(connections(&gate, "used") == 0.0);
    assert!(connections(&gate, "pooled") >= 1.0);
}

/// A client that takes a second lease soon after the first keeps the connection for twice as long.
#[test]
fn a_lease_that_is_taken_again() {
    let (_redis, gate) = stage();
    let mut client = gate.connect();
    for least in [600, 1600, 3500] {
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("EXEC", "[]");
        holds_for(Duration::from_millis(least), "the lease is kept", || connections(&gate, "used") == 1.0);
        wait_for_used(&gate, 0.0);
        client.assert_in_step("pooled");
    }
}

/// A hundred transactions in a row share a lease, so they do not open a hundred connections.
#[test]
fn transactions_in_a_row_share_a_lease() {
    let (redis, gate) = stage();
    let mut client = gate.connect();
    let before = redis.connections_received();
    for round in 1..=100 {
        for line in ["MULTI", "INCR k"] {
            client.hold(&command(line));
        }
        client.send("EXEC");
        client.assert_recv("+OK");
        client.assert_recv("+QUEUED");
        client.assert_recv(&format!("[:{round}]"));
        client.assert_reply("GET k", &format!("\"{round}\""));
    }
    let opened = redis.connections_received() - before;
    // The health check connects meanwhile.
    assert!(opened < 10, "{opened} connections");
}

/// A lease ends, whichever command started it.
#[test]
fn every_state_ends() {
    let (redis, gate) = stage();
    let script = encode(&[b"EVAL", b"return 'scripted'", b"0"]);
    let doings: &[(&str, &[&str])] = &[
        ("EXEC", &["MULTI", "EXEC"]),
        ("DISCARD", &["MULTI", "DISCARD"]),
        ("UNWATCH", &["WATCH k", "UNWATCH"]),
        ("UNSUBSCRIBE", &["SUBSCRIBE a", "UNSUBSCRIBE a"]),
        ("PUNSUBSCRIBE", &["PSUBSCRIBE a", "PUNSUBSCRIBE"]),
        ("SUNSUBSCRIBE", &["SSUBSCRIBE a", "SUNSUBSCRIBE a"]),
        ("BLPOP", &["BLPOP nothing 0.01"]),
        ("RESET", &["WATCH k", "RESET"]),
        ("RESET of MONITOR", &["MONITOR", "RESET"]),
        ("EVALSHA", &["EVALSHA x 0"]),
    ];
    let mut clients = Vec::new();
    for (_, lines) in doings {
        let mut client = gate.connect();
        for line in *lines {
            client.hold(&command(line));
        }
        client.send("ECHO done");
        clients.push(client);
    }
    let mut client = gate.connect();
    client.send_raw(&script);
    client.assert_recv(r#""scripted""#);
    for (client, (name, _)) in clients.iter_mut().zip(doings) {
        let mut replies = 0;
        while client.recv().to_string() != r#""done""# {
            replies += 1;
            assert!(replies < 100, "{name}");
        }
    }
    wait_for_used(&gate, 0.0);
    let pooled = connections(&gate, "pooled");
    eventually("Redis has the pooled ones and the probe's", || {
        (redis.tcp_clients().len() as f64 <= pooled + 1.0).then_some(())
    });
    for client in &mut clients {
        client.assert_in_step("after");
    }
    assert!(connections(&gate, "used") == 0.0);
}

/// If state lasts, its lease lasts too, even if the client is idle for long.
#[test]
fn a_state_that_stays() {
    let (redis, gate) = stage();
    let mut watching = gate.connect();
    watching.assert_reply("WATCH k", "+OK");
    let mut queuing = gate.connect();
    queuing.assert_reply("MULTI", "+OK");
    let mut subscribed = gate.connect();
    subscribed.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#);
    let mut tracking = gate.connect();
    tracking.call("HELLO 3");
    tracking.assert_reply("CLIENT TRACKING ON", "+OK");
    tracking.assert_reply("GET k", "null");
    holds_for(Duration::from_secs(3), "the leases stay", || connections(&gate, "used") == 4.0);
    let mut control = redis.control();
    control.assert_reply("SET k changed", "+OK");
    control.assert_reply("PUBLISH c hello", ":1");
    subscribed.assert_recv(r#"["message" "c" "hello"]"#);
    tracking.assert_recv(r#">["invalidate" ["k"]]"#);
    queuing.assert_reply("EXEC", "[]");
    watching.assert_reply("MULTI", "+OK");
    watching.assert_reply("EXEC", "nil[]");
    tracking.assert_reply("RESET", "+RESET");
    subscribed.assert_reply("UNSUBSCRIBE", r#"["unsubscribe" "c" :0]"#);
    wait_for_used(&gate, 0.0);
}

/// When a client disconnects, its lease ends at once.
#[test]
fn a_client_that_leaves_keeps_nothing() {
    let (redis, gate) = stage();
    let mut neighbours = Neighbours::enter(&gate);
    for reset in [false, true] {
        let mut client = gate.connect();
        client.assert_reply("WATCH k", "+OK");
        let mut other = gate.connect();
        other.assert_reply("MULTI", "+OK");
        other.assert_reply("EXEC", "[]");
        assert!(connections(&gate, "used") == 2.0);
        let since = Instant::now();
        if reset {
            client.abort();
            other.abort();
        } else {
            drop((client, other));
        }
        wait_for_used(&gate, 0.0);
        let took = since.elapsed();
        assert!(took < Duration::from_millis(900), "the lease outlived its client by {took:?}");
        neighbours.assert_served();
    }
    eventually("Redis has no client that watches", || {
        redis.tcp_clients().iter().all(|line| line.contains("flags=N")).then_some(())
    });
}

/// The leased connection has the database and the protocol of its client.
#[test]
fn a_lease_begins_where_its_client_is() {
    let fake = Fake::start(|_| None);
    let gate = before(&fake).start();
    let mut client = gate.connect();
    client.assert_reply("SELECT 5", "+OK");
    assert!(!client.call("HELLO 3").is_error());
    client.assert_reply("GET pooled", r#""pooled@5""#);
    client.assert_reply("GET none", "null");
    client.assert_reply("WATCH leased", "+OK");
    client.assert_reply("GET leased", r#""leased@5""#);
    client.assert_reply("GET none", "null");
    let (pool, lease) = (fake.connection_with("GET pooled"), fake.connection_with("WATCH leased"));
    assert_ne!(pool, lease, "a client with state uses a shared connection");
    let begun: Vec<String> =
        fake.commands_on(lease).into_iter().take_while(|line| line != "WATCH leased").collect();
    assert!(begun.iter().any(|line| line.starts_with("HELLO 3")), "{begun:?}");
    assert!(begun.iter().any(|line| line == "SELECT 5"), "{begun:?}");
    client.assert_reply("UNWATCH", "+OK");
    fake.assert_left(lease);
    client.assert_reply("GET again", r#""again@5""#);
    assert_eq!(fake.connection_with("GET again"), pool);
}

/// If the gate cannot see the end of a state, or does not know the state, the lease lasts until RESET or the client's
/// end.
#[test]
fn an_unknown_state() {
    let (_redis, gate) = stage();
    for line in ["NOSUCH", "CLIENT NO-EVICT ON", "CLIENT TRACKING OFF"] {
        let mut client = gate.connect();
        client.call(line);
        client.assert_in_step(line);
        holds_for(Duration::from_millis(2500), line, || connections(&gate, "used") == 1.0);
        client.assert_reply("RESET", "+RESET");
        client.assert_in_step("after");
        wait_for_used(&gate, 0.0);
        client.assert_in_step("pooled");
        assert!(connections(&gate, "used") == 0.0);
    }
}

/// A reload moves the listener to another upstream while a client has a lease. The lease ends, and the client moves
/// too. The new upstream never receives the old upstream's password.
#[test]
fn a_lease_outlives_its_upstream() {
    const YAML: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: old, allow: [127.0.0.1], auth: trust}
upstreams:
  old: {address: {redis}, connections: shared, credentials: {password: {file: old.txt}}}
  new: {address: '{other}', connections: shared, credentials: {password: {file: new.txt}}}
workers: 1
admin: {bind: '127.0.0.1:{admin}'}
";
    let old = Redis::builder().password("canary-old").start();
    let new = Redis::builder().password("canary-new").start();
    old.control().assert_reply("SET who old", "+OK");
    new.control().assert_reply("SET who new", "+OK");
    let yaml = YAML.replace("{other}", &new.address().to_string());
    let gate = Gate::before(&old).config(&yaml).file("old.txt", "canary-old").file("new.txt", "canary-new");
    let gate = gate.secret("canary-old").secret("canary-new").start();
    let mut client = gate.connect();
    client.assert_reply("GET who", r#""old""#);
    client.assert_reply("MULTI", "+OK");
    gate.apply(&yaml.replace("upstream: old", "upstream: new"));
    client.assert_reply("GET who", "+QUEUED");
    client.assert_reply("EXEC", r#"["old"]"#);
    wait_for_used(&gate, 0.0);
    client.assert_reply("GET who", r#""new""#);
    client.assert_reply("MULTI", "+OK");
    client.assert_reply("GET who", "+QUEUED");
    client.assert_reply("EXEC", r#"["new"]"#);
}

/// An upstream answers before it has the whole command. The rest of the command was not judged as a command of its own,
/// so it must not reach another connection.
#[test]
fn a_reply_before_the_whole_command() {
    const BODY: usize = 20_000;
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = upstream.local_addr().expect("bound").to_string();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in upstream.incoming().flatten() {
            let received = Arc::clone(&received);
            thread::spawn(move || answer_too_early(stream, BODY, &received));
        }
    });
    let gate = sharing(Gate::before_address(&address)).start();
    let mut client = gate.connect();
    let left = command("FLUSHALL");
    client.send_raw(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", BODY + left.len()).as_bytes());
    client.send_raw(&vec![b'x'; BODY]);
    client.assert_recv("-ERR Protocol error: invalid bulk length");
    let mut rest = left.clone();
    rest.extend_from_slice(b"\r\n");
    rest.extend(command("RESET"));
    rest.extend(command("MULTI"));
    client.send_raw(&rest);
    client.assert_recv("+RESET");
    client.assert_closed();
    let mut next = gate.connect();
    next.send("MULTI");
    eventually("the server has received another command", || {
        heard.lock().expect("held").ends_with(&command("MULTI")).then_some(())
    });
    let heard = heard.lock().expect("held");
    assert!(!heard.windows(left.len()).any(|bytes| bytes == left), "{}", heard.escape_ascii());
}

/// Answers with an error as soon as more than `body` bytes have arrived, although the command is longer. PING gets its
/// usual reply, so the health check succeeds.
fn answer_too_early(mut stream: TcpStream, body: usize, received: &Mutex<Vec<u8>>) {
    let mut bytes = vec![0; 64 * 1024];
    let mut here = 0;
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        here += n;
        received.lock().expect("held").extend_from_slice(&bytes[..n]);
        let line: &[u8] = if bytes[..n].ends_with(b"PING\r\n") {
            b"+PONG\r\n"
        } else if here > body {
            b"-ERR Protocol error: invalid bulk length\r\n"
        } else {
            continue;
        };
        if stream.write_all(line).is_err() {
            return;
        }
    }
}
