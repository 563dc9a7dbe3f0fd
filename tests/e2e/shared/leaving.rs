//! Clients disconnect at any moment and in any way. Their replies reach no other client, and no other client notices.

use std::time::Duration;

use e2e::client::command;
use e2e::fake::bulk;
use e2e::{Answer, Client, Fake, Gate, eventually};

use super::{Neighbours, before, connections};

/// The way in which a client disconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    End,
    Reset,
    /// The client closes its write side and reads for a while.
    HalfClose,
    /// A reload removes the client's address from the list.
    Revoked,
    /// The client sends CLIENT KILL with its own id, after any command that it waits for.
    KillsItself,
}

const WAYS: [Way; 5] = [Way::End, Way::Reset, Way::HalfClose, Way::Revoked, Way::KillsItself];

const YAML: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [GUESTS 127.0.0.1], auth: trust}
upstreams: {main: {address: {redis}, connections: shared}}
admin: {bind: '127.0.0.1:{admin}'}
workers: 1
reload: signal
";

/// The number of rounds of small replies.
const PROOF: usize = 10;

const BIG: usize = 8 * 1024 * 1024;

struct Fixture {
    fake: Fake,
    gate: Gate,
}

impl Fixture {
    fn new() -> Self {
        let fake = Fake::start(|words| match words.join(" ").as_str() {
            "GET held" => Answer::held(b"$6\r\nheld@0\r\n"),
            "GET half" => Some(Answer::Held(b"$20\r\nhalf".to_vec(), b"0123456789abcdef\r\n".to_vec())),
            "GET big" => Answer::held(&bulk(&"b".repeat(BIG))),
            "GET middling" => Answer::held(&bulk(&"m".repeat(200_000))),
            "SELECT 3" | "UNWATCH" | "HELLO 3" | "EXEC" => Some(Answer::Late),
            "BLPOP list 0" => Answer::held(b"*2\r\n$4\r\nlist\r\n$1\r\nx\r\n"),
            _ => None,
        });
        let yaml = YAML.replace("GUESTS", "127.0.0.2,");
        let gate = Gate::before_address(&fake.address()).config(&yaml).start();
        Self { fake, gate }
    }

    fn guest(&self) -> Client {
        self.gate.connect_from("127.0.0.2", "127.0.0.1")
    }

    #[track_caller]
    fn disconnect(&self, mut guest: Client, id: i64, way: Way) -> Option<Client> {
        match way {
            Way::End => drop(guest),
            Way::Reset => guest.abort(),
            Way::HalfClose => {
                guest.half_close();
                return Some(guest);
            }
            Way::Revoked => {
                self.gate.apply(&YAML.replace("GUESTS", ""));
                guest.read_to_end();
                self.gate.apply(&YAML.replace("GUESTS", "127.0.0.2,"));
            }
            Way::KillsItself => {
                // The proxy may have closed the client already.
                let _ = guest.try_send_raw(&command(&format!("CLIENT KILL ID {id} SKIPME no")));
                return Some(guest);
            }
        }
        None
    }
}

/// Disconnects a guest in the middle of an operation, between the commands of its neighbours, in each way.
#[track_caller]
fn at(moment: fn(&Fixture, &mut Client)) {
    let fixture = Fixture::new();
    let mut neighbours = Neighbours::enter(&fixture.gate);
    // A client that had only small replies so far uses another connection than a new client.
    for _ in 0..PROOF {
        neighbours.assert_served();
    }
    for way in WAYS {
        let mut guest = fixture.guest();
        for number in 0..PROOF * Neighbours::DEPTH {
            guest.assert_in_step(&format!("guest:{number}"));
        }
        let connection =
            fixture.fake.connection_with(&format!("ECHO guest:{}", PROOF * Neighbours::DEPTH - 1));
        assert!(
            neighbours.connections(&fixture.fake).contains(&connection),
            "the guest shares no connection with a neighbour"
        );
        fixture.fake.hold();
        let id = guest.call("CLIENT ID").integer();
        neighbours.send();
        moment(&fixture, &mut guest);
        neighbours.send();
        let guest = fixture.disconnect(guest, id, way);
        // Before this time has passed, the proxy has noticed the disconnect, if it can notice it.
        std::thread::sleep(Duration::from_millis(30));
        fixture.fake.release();
        neighbours.round -= 1;
        neighbours.assert_own_replies();
        neighbours.round += 1;
        neighbours.assert_own_replies();
        neighbours.assert_served();
        drop(guest);
        eventually("the guest is gone", || {
            (fixture.gate.metric("clients", &[]) == Neighbours::COUNT as f64).then_some(())
        });
        eventually("no lease is left", || (connections(&fixture.gate, "used") == 0.0).then_some(()));
        neighbours.assert_served();
    }
    let mut late = fixture.gate.connect();
    for line in ["GET late", "SELECT 3", "GET late", "MULTI", "GET late", "DISCARD"] {
        late.hold(&command(line));
    }
    late.send("HELLO 3");
    for due in [r#""late@0""#, "+OK", r#""late@3""#, "+OK", "+QUEUED", "+OK"] {
        late.assert_recv(due);
    }
    assert!(!late.recv().is_error());
    late.assert_reply("GET late", r#""late@3""#);
}

#[test]
fn half_a_command() {
    at(|_, guest| guest.send_raw(b"*2\r\n$3\r\nGET\r\n$100\r\nhalf of a key"));
}

#[test]
fn commands_and_half_a_command() {
    at(|_, guest| {
        guest.hold(&command("GET a"));
        guest.hold(&command("GET held"));
        guest.send_raw(b"*2\r\n$3\r\nGET\r\n$100\r\nhalf of a key");
    });
}

/// The command is larger than any buffer, so the proxy already forwards it.
#[test]
fn half_a_large_command() {
    at(|fixture, guest| {
        guest.hold(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1000000\r\n");
        guest.send_raw(&[b'x'; 300_000]);
        eventually("the guest has a lease", || (connections(&fixture.gate, "used") == 1.0).then_some(()));
    });
}

#[test]
fn an_answer_is_awaited() {
    at(|fixture, guest| {
        for line in ["GET held", "GET a", "GET b"] {
            guest.hold(&command(line));
        }
        guest.send_raw(b"");
        fixture.fake.connection_with("GET held");
    });
}

#[test]
fn many_answers_are_awaited() {
    at(|fixture, guest| {
        for number in 0..1000 {
            guest.hold(&command(&format!("ECHO {number}")));
        }
        guest.hold(&command("GET held"));
        for number in 0..1000 {
            guest.hold(&command(&format!("ECHO {number}")));
        }
        guest.send_raw(b"");
        fixture.fake.connection_with("GET held");
    });
}

#[test]
fn half_an_answer_has_come() {
    at(|fixture, guest| {
        guest.hold(&command("GET half"));
        guest.send("GET a");
        fixture.fake.connection_with("GET half");
    });
}

#[test]
fn half_an_answer_is_read() {
    at(|fixture, guest| {
        guest.hold(&command("GET middling"));
        guest.send("GET a");
        fixture.fake.release();
        guest.read_through(50_000, |_| ());
    });
}

#[test]
fn half_a_big_answer_is_read() {
    at(|fixture, guest| {
        guest.hold(&command("GET big"));
        guest.send("GET a");
        fixture.fake.release();
        guest.read_through(1_000_000, |_| ());
    });
}

/// The guest requests 24 MiB and reads nothing.
#[test]
fn big_answers_are_not_read() {
    at(|fixture, guest| {
        guest.send_raw(&command("GET big").repeat(3));
        fixture.fake.release();
        std::thread::sleep(Duration::from_millis(50));
    });
}

#[test]
fn another_database_is_entered() {
    at(|fixture, guest| {
        guest.hold(&command("GET a"));
        guest.hold(&command("SELECT 3"));
        guest.send("GET b");
        guest.assert_recv(r#""a@0""#);
        fixture.fake.connection_with("SELECT 3");
    });
}

#[test]
fn the_protocol_is_changed() {
    at(|fixture, guest| {
        guest.hold(&command("GET a"));
        guest.hold(&command("HELLO 3"));
        guest.send("GET b");
        guest.assert_recv(r#""a@0""#);
        fixture.fake.connection_with("HELLO 3");
    });
}

/// The proxy is selecting the database of the lease.
#[test]
fn a_lease_is_made() {
    at(|fixture, guest| {
        fixture.fake.release();
        guest.assert_reply("SELECT 3", "+OK");
        guest.assert_reply("GET a", r#""a@3""#);
        fixture.fake.hold();
        let pools = fixture.fake.connections_with("SELECT 3").len();
        guest.hold(&command("MULTI"));
        guest.send("GET queued");
        eventually("the guest's lease is being set up", || {
            (fixture.fake.connections_with("SELECT 3").len() > pools).then_some(())
        });
    });
}

#[test]
fn commands_are_queued() {
    at(|_, guest| {
        guest.assert_reply("MULTI", "+OK");
        guest.assert_reply("SET k never", "+QUEUED");
    });
}

#[test]
fn a_transaction_is_executed() {
    at(|fixture, guest| {
        guest.assert_reply("MULTI", "+OK");
        guest.assert_reply("GET queued", "+QUEUED");
        guest.hold(&command("EXEC"));
        guest.send("GET behind");
        fixture.fake.connection_with("EXEC");
    });
}

#[test]
fn it_is_blocked() {
    at(|fixture, guest| {
        guest.hold(&command("BLPOP list 0"));
        guest.send("GET behind");
        fixture.fake.connection_with("BLPOP list 0");
    });
}

#[test]
fn it_is_subscribed() {
    at(|_, guest| guest.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#));
}

/// The state of the guest ends, and the guest waits for a shared connection.
#[test]
fn a_lease_is_given_back() {
    at(|fixture, guest| {
        guest.assert_reply("WATCH k", "+OK");
        guest.hold(&command("UNWATCH"));
        guest.send("GET behind");
        fixture.fake.connection_with("UNWATCH");
    });
}

/// The login of the first connection has not been answered yet. Later clients use this connection or another one.
#[test]
fn the_first_connection_is_made() {
    for reset in [false, true] {
        let fake =
            Fake::start(|words| (words[0] == "AUTH").then(|| Answer::Held(Vec::new(), b"+OK\r\n".to_vec())));
        let gate = before(&fake).password("canary-first-22").upstream("connect_timeout: 10s").start();
        let guests: Vec<Client> = (0..8)
            .map(|number| {
                let mut guest = gate.connect();
                guest.send(&format!("GET guest:{number}"));
                guest
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        let mut stays = gate.connect();
        stays.send("GET stays");
        for guest in guests {
            if reset { guest.abort() } else { drop(guest) }
        }
        let mut late = gate.connect();
        late.send("GET comes");
        std::thread::sleep(Duration::from_millis(50));
        fake.release();
        stays.assert_recv(r#""stays@0""#);
        late.assert_recv(r#""comes@0""#);
        Neighbours::enter(&gate).assert_served();
    }
}

/// An idle client is closed together with its lease. An active client on the same connection stays.
#[test]
fn resting_for_too_long() {
    let fake = Fake::start(|_| None);
    let gate = before(&fake).top("limits: {timeouts: {idle: 2s}}").start();
    let mut neighbours = Neighbours::enter(&gate);
    let mut pooled = gate.connect();
    pooled.assert_reply("GET a", r#""a@0""#);
    let mut leased = gate.connect();
    leased.assert_reply("WATCH k", "+OK");
    for _ in 0..45 {
        neighbours.assert_served();
        std::thread::sleep(Duration::from_millis(100));
    }
    pooled.assert_closed();
    leased.assert_closed();
    gate.assert_metric("connections_closed_total", &[("reason", "idle")], 2.0);
    assert!(connections(&gate, "used") == 0.0);
    neighbours.assert_served();
}
