//! An upstream sends too much, too little or invalid data. The waiting clients are closed, and no client gets a wrong
//! reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::client::command;
use e2e::fake::bulk;
use e2e::{Answer, Client, Fake, Gate};

use super::{Neighbours, before, recv_own_or_closed};

const MIB: u64 = 1024 * 1024;

/// The size in bytes of a reply from which on its connection accepts no more commands.
const LARGE: usize = 256 * 1024;

/// The limit for the proxy's resident memory in all of these tests.
const BOUND: u64 = 48 * MIB;

/// A client that requests `key`, and neighbours whose commands come before and after its own. Then the upstream sends
/// the answer.
struct Trouble<'g> {
    client: Client,
    neighbours: Neighbours<'g>,
    connection: usize,
}

impl<'g> Trouble<'g> {
    #[track_caller]
    fn with(fake: &Fake, gate: &'g Gate, question: &str) -> Self {
        fake.hold();
        let mut neighbours = Neighbours::enter(gate);
        let mut client = gate.connect();
        client.send(question);
        let connection = fake.connection_with(question);
        neighbours.send();
        // After this time the commands of the neighbours have been sent on their connections, and all clients wait.
        std::thread::sleep(std::time::Duration::from_millis(50));
        fake.release();
        Self { client, neighbours, connection }
    }

    /// Checks that the proxy closes the connection and the clients that wait on it, and continues on other connections.
    #[track_caller]
    fn assert_passes(mut self, fake: &Fake) {
        let ended = self.neighbours.assert_own_replies_or_closed();
        assert!(ended > 0, "no neighbour shared the connection: this proves nothing");
        fake.assert_left(self.connection);
        self.neighbours.assert_served();
        self.neighbours.assert_served();
    }
}

/// Starts an upstream that holds the answer to `GET trouble` until all clients wait.
fn troubled(bytes: impl Into<Vec<u8>>) -> Fake {
    let bytes = bytes.into();
    Fake::start(move |words| (words == ["GET", "trouble"]).then(|| Answer::Held(Vec::new(), bytes.clone())))
}

/// The upstream sends a line while no client waits. The clients of that connection notice nothing.
#[test]
fn an_unrequested_line() {
    for bytes in [
        b"+forged\r\n".as_slice(),
        b"-ERR forged\r\n",
        b"$6\r\nforged\r\n",
        b":666\r\n",
        b"*1\r\n+forged\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
        b"+for",
        b"$6\r\nfor",
        b"\r\n",
        b"+a\r\n+b\r\n+c\r\n+d\r\n",
    ] {
        let fake = Fake::start(|_| None);
        let gate = before(&fake).start();
        let mut neighbours = Neighbours::enter(&gate);
        for connection in neighbours.connections(&fake) {
            fake.send(connection, bytes);
            fake.assert_left(connection);
        }
        neighbours.assert_served();
        neighbours.assert_served();
    }
}

/// An upstream sends a push that no client requested. Clients in RESP3 have connections on which pushes are allowed,
/// but a shared connection never subscribes.
#[test]
fn an_unrequested_push() {
    let fake = Fake::start(|_| None);
    let gate = before(&fake).start();
    let mut clients: Vec<Client> = (0..8).map(|_| gate.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert!(!client.call("HELLO 3").is_error());
        client.assert_in_step(&format!("{number}"));
    }
    for bytes in [
        b">2\r\n$21\r\ntracking-redir-broken\r\n:7\r\n".as_slice(),
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$6\r\nforged\r\n",
    ] {
        let mut connections: Vec<usize> =
            (0..8).map(|number| fake.connection_with(&format!("ECHO {number}"))).collect();
        connections.dedup();
        for connection in connections {
            fake.send(connection, bytes);
            fake.assert_left(connection);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.assert_in_step(&format!("{number}"));
        }
    }
}

/// An invalidation on a shared connection comes from another client of Redis. The clients on this connection did not
/// cause it.
#[test]
fn unrequested_invalidations_are_dropped() {
    let fake = Fake::start(|_| None);
    let gate = before(&fake).start();
    let mut client = gate.connect();
    assert!(!client.call("HELLO 3").is_error());
    client.assert_in_step("before");
    let connection = fake.connection_with("ECHO before");
    let long = format!("*200\r\n{}", "$3\r\nkey\r\n".repeat(200));
    for keys in ["*1\r\n$1\r\nk\r\n", "_\r\n", &long] {
        fake.send(connection, format!(">2\r\n$10\r\ninvalidate\r\n{keys}").as_bytes());
        client.assert_in_step("after");
    }
    gate.assert_metric("upstream_pushes_dropped_total", &[("upstream", "main")], 3.0);
    assert!(fake.is_open(connection));
    client.assert_in_step("end");
    assert_eq!(fake.connection_with("ECHO end"), connection);
}

/// A push arrives before a pending reply.
#[test]
fn a_push_among_replies() {
    for hello in ["HELLO 2", "HELLO 3"] {
        let fake = troubled(*b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n$9\r\ntrouble@0\r\n");
        let gate = before(&fake).start();
        let mut clients: Vec<Client> = (0..16).map(|_| gate.connect()).collect();
        for client in &mut clients {
            assert!(!client.call(hello).is_error());
        }
        let mut client = gate.connect();
        assert!(!client.call(hello).is_error());
        client.send("GET trouble");
        let connection = fake.connection_with("GET trouble");
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&format!("ECHO {number}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        fake.release();
        recv_own_or_closed(&mut client, &[b"$9\r\ntrouble@0\r\n".to_vec()]);
        for (number, client) in clients.iter_mut().enumerate() {
            let text = number.to_string();
            if recv_own_or_closed(client, &[bulk(&text)]) {
                client.assert_in_step("after");
            }
        }
        if hello == "HELLO 2" {
            fake.assert_left(connection);
        } else {
            assert!(fake.is_open(connection));
            gate.assert_metric("upstream_pushes_dropped_total", &[("upstream", "main")], 1.0);
        }
    }
}

/// The upstream sends one reply too many while no other client waits. The client receives the first reply, and no
/// client receives the second.
#[test]
fn one_reply_too_many() {
    let fake = Fake::start(|words| {
        (words == ["GET", "trouble"]).then(|| Answer::Bytes(b"$9\r\ntrouble@0\r\n$6\r\nforged\r\n".to_vec()))
    });
    let gate = before(&fake).start();
    let mut neighbours = Neighbours::enter(&gate);
    let mut client = gate.connect();
    for _ in 0..5 {
        client.send("GET trouble");
        let connection = fake.connection_with("GET trouble");
        if recv_own_or_closed(&mut client, &[b"$9\r\ntrouble@0\r\n".to_vec()]) {
            fake.assert_left(connection);
            neighbours.assert_served();
        } else {
            client = gate.connect();
        }
        neighbours.assert_served();
    }
}

/// The proxy cannot distinguish an invented reply from a real one, but the damage is limited. If replies are left over
/// or missing, the proxy closes the connection. No later client gets a reply from it.
#[test]
fn a_count_that_is_wrong() {
    for bytes in [b"$9\r\ntrouble@0\r\n$6\r\nforged\r\n".as_slice(), b""] {
        let fake = troubled(bytes);
        let gate = before(&fake).upstream("response_timeout: 1s").start();
        let trouble = Trouble::with(&fake, &gate, "GET trouble");
        let Trouble { client, neighbours, connection } = trouble;
        fake.assert_left(connection);
        drop((client, neighbours));
        let mut neighbours = Neighbours::enter(&gate);
        neighbours.assert_served();
    }
}

/// The connection ends in place of a reply. Clients before it have received their replies.
#[test]
fn a_close_instead_of_replies() {
    let fake = Fake::start(move |words| match words {
        ["GET", "trouble"] => Some(Answer::Late),
        ["ECHO", "last"] => Some(Answer::Last(Vec::new())),
        _ => None,
    });
    let gate = before(&fake).start();
    let mut last: Vec<Client> = (0..16).map(|_| gate.connect()).collect();
    last.iter_mut().for_each(|client| client.assert_in_step("here"));
    let mut trouble = Trouble::with(&fake, &gate, "GET trouble");
    assert!(recv_own_or_closed(&mut trouble.client, &[bulk("trouble@0")]));
    trouble.neighbours.assert_own_replies();
    trouble.neighbours.send();
    for client in &mut last {
        client.hold(&command("ECHO last"));
        client.send("ECHO behind");
    }
    for client in &mut last {
        assert!(!recv_own_or_closed(client, &[bulk("last")]));
    }
    trouble.neighbours.assert_own_replies_or_closed();
    trouble.neighbours.assert_served();
}

#[test]
fn no_reply_at_all() {
    for bytes in [
        b"hello\r\n".as_slice(),
        b"\r\n",
        b"\0\0\0\0\r\n",
        b"$-2\r\n",
        b"$x\r\n",
        b"$5\r\nhelloXX$5\r\nhello\r\n",
        b"$5\nhello\n\r\n",
        b"*-5\r\n",
        b"$99999999999999999999\r\n",
        b"*99999999999999999999\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ] {
        let fake = troubled(bytes);
        let gate = before(&fake).start();
        let mut trouble = Trouble::with(&fake, &gate, "GET trouble");
        let got = String::from_utf8_lossy(&trouble.client.read_to_end().0).into_owned();
        // The proxy may have forwarded the valid beginning of a reply.
        let told = got.is_empty() || (got.starts_with("-ERR portcullis: ") && got.ends_with("\r\n"));
        let begun = bytes.starts_with(got.as_bytes());
        assert!(told || begun, "{got:?} for {}", bytes.escape_ascii());
        trouble.assert_passes(&fake);
    }
}

/// The upstream sends half a reply and closes. The client may receive this half, but then nothing more, not even an
/// error line of the proxy.
#[test]
fn half_a_reply() {
    let large = [b"$1000000\r\n".as_slice(), &[b'x'; 400_000]].concat();
    for bytes in [
        b"$100\r\nhalf of it".as_slice(),
        b"$100",
        b"+OK",
        b"*2\r\n$1\r\na\r\n",
        b"*2\r\n$1\r\na\r\n$100\r\nx",
        &large,
    ] {
        let half = bytes.to_vec();
        let fake = Fake::start(move |words| match words {
            ["GET", "trouble"] => Some(Answer::Held(half.clone(), Vec::new())),
            _ => None,
        });
        let gate = before(&fake).start();
        let mut neighbours = Neighbours::enter(&gate);
        let mut client = gate.connect();
        client.send("GET trouble");
        let connection = fake.connection_with("GET trouble");
        neighbours.send();
        std::thread::sleep(std::time::Duration::from_millis(50));
        fake.close(connection);
        let got = client.read_to_end().0;
        let told = got.starts_with(b"-ERR portcullis: ") && got.ends_with(b"\r\n");
        assert!(bytes.starts_with(&got) || told, "{} bytes that do not belong to the half", got.len());
        fake.release();
        fake.assert_left(connection);
        // If the announced length is large, the neighbours use other connections.
        assert!(neighbours.assert_own_replies_or_closed() > 0 || bytes.len() > LARGE);
        neighbours.assert_served();
        neighbours.assert_served();
    }
}

/// The proxy does not buffer a line without an end.
#[test]
fn lines_without_end() {
    for byte in [b'-', b'+', b'$', b'*', b':'] {
        let fake = Fake::start(move |words| {
            (words == ["GET", "trouble"]).then(|| {
                let mut block = vec![b'1'; 64 * 1024];
                if matches!(byte, b'-' | b'+') {
                    block.fill(byte);
                } else {
                    block[0] = byte;
                }
                Answer::Endless(block)
            })
        });
        let mut gate = before(&fake).start();
        {
            let mut neighbours = Neighbours::enter(&gate);
            let mut client = gate.connect();
            client.send("GET trouble");
            let connection = fake.connection_with("GET trouble");
            for _ in 0..5 {
                neighbours.send();
                neighbours.assert_own_replies_or_closed();
            }
            let mut read = 0;
            while read < 64 * MIB && client.read_up_to(64 * 1024, &mut Vec::new()) {
                read += 64 * 1024;
            }
            drop(client);
            fake.assert_left(connection);
            neighbours.assert_served();
        }
        let peak = gate.process().peak_memory();
        assert!(peak < BOUND, "{} MiB for a line of {}", peak / MIB, char::from(byte));
    }
}

/// Replies with the largest depth, length or count that a number can express.
#[test]
fn replies_beyond_measure() {
    let deep = b"*1\r\n".repeat(1_000_000);
    for bytes in [
        deep.as_slice(),
        b"*2147483647\r\n",
        b"*1099511627776\r\n*1099511627776\r\n*1099511627776\r\n",
        b"$1099511627776\r\nx",
        b"$536870912\r\nx",
    ] {
        let answer = bytes.to_vec();
        let fake =
            Fake::start(move |words| (words == ["GET", "trouble"]).then(|| Answer::Bytes(answer.clone())));
        let mut gate = before(&fake).upstream("response_timeout: 1s").start();
        {
            let mut neighbours = Neighbours::enter(&gate);
            let mut client = gate.connect();
            client.send("GET trouble");
            let connection = fake.connection_with("GET trouble");
            neighbours.send();
            neighbours.assert_own_replies_or_closed();
            drop(client);
            fake.assert_left(connection);
            neighbours.assert_served();
        }
        let peak = gate.process().peak_memory();
        assert!(peak < BOUND, "{} MiB", peak / MIB);
    }
}

/// The proxy gets invalid answers to its own commands, which prepare a connection for a client. No client receives
/// them.
#[test]
fn answers_to_the_gate_itself() {
    for (question, bytes) in [
        ("SELECT 3", b"$6\r\nforged\r\n".as_slice()),
        ("SELECT 3", b"forged\r\n"),
        ("SELECT 3", b"*1\r\n+forged\r\n"),
        ("HELLO 3", b"forged\r\n"),
        ("HELLO 3", b">1\r\n+forged\r\n"),
    ] {
        let answer = bytes.to_vec();
        let fake = Fake::start(move |words| {
            words.join(" ").starts_with(question).then(|| Answer::Bytes(answer.clone()))
        });
        let gate = before(&fake).start();
        let mut neighbours = Neighbours::enter(&gate);
        for _ in 0..4 {
            let mut client = gate.connect();
            for line in ["ECHO before", question, "ECHO after"] {
                client.hold(&command(line));
            }
            client.send("QUIT");
            assert!(recv_own_or_closed(&mut client, &[bulk("before")]));
            let rest = String::from_utf8_lossy(&client.read_to_end().0).into_owned();
            assert!(!rest.contains("forged"), "{rest:?} to {question}");
            neighbours.assert_served();
        }
    }
}

/// If Redis refuses a database, the client gets its error, and no other client is affected.
#[test]
fn a_database_that_is_refused() {
    let fake = Fake::start(|words| {
        (words == ["SELECT", "3"]).then(|| Answer::line("-NOPERM not there").expect("one"))
    });
    let gate = before(&fake).start();
    let mut neighbours = Neighbours::enter(&gate);
    let mut client = gate.connect();
    client.assert_reply("SELECT 2", "+OK");
    client.hold(&command("GET a"));
    client.hold(&command("SELECT 3"));
    client.send("GET b");
    for due in [r#""a@2""#, "-NOPERM not there", r#""b@2""#] {
        client.assert_recv(due);
    }
    neighbours.assert_served();
}

/// A new connection is opened for clients that have selected the database already, and Redis refuses the database. The
/// proxy sent none of their commands, and each client gets the reason.
#[test]
fn a_database_that_is_refused_later() {
    const BUSY: &str = "-BUSY Redis is busy running a script.";
    let busy = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&busy);
    let fake = Fake::start(move |words| match words {
        ["SELECT", _] if told.load(Ordering::SeqCst) => Answer::line(BUSY),
        _ => None,
    });
    let gate = before(&fake).start();
    let mut clients: Vec<Client> = (0..4).map(|_| gate.connect()).collect();
    for client in &mut clients {
        client.assert_reply("SELECT 3", "+OK");
        client.assert_in_step("before");
    }
    busy.store(true, Ordering::SeqCst);
    let mut connections = fake.connections_with("SELECT 3");
    connections.dedup();
    for connection in connections {
        fake.close(connection);
        fake.assert_left(connection);
    }
    for client in &mut clients {
        client.hold(&command("GET a"));
        client.hold(&command("CLIENT GETNAME"));
        client.hold(&command("SET b 1"));
        client.send("GET c");
    }
    for client in &mut clients {
        for reply in [BUSY, "nil", BUSY, BUSY] {
            client.assert_recv(reply);
        }
    }
    busy.store(false, Ordering::SeqCst);
    for client in &mut clients {
        client.assert_in_step("after");
    }
}

/// No other reply is pending on that connection, but the client must still get an error.
#[test]
fn an_answer_that_cannot_be_hellos() {
    let fake = Fake::start(|words| (words == ["HELLO"]).then(|| Answer::Bytes(bulk("forged"))));
    let gate = before(&fake).start();
    for _ in 0..2 {
        let mut client = gate.connect();
        client.send("HELLO");
        let rest = String::from_utf8_lossy(&client.read_to_end().0).into_owned();
        assert_eq!(rest, "");
    }
}
