//! Revocation: the clients of a source that is removed from the list are disconnected within a second, in any state.
//! Other clients are not affected.

mod model;
mod rights;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::client::command;
use e2e::{Client, Gate, Redis, eventually, ports};
use serde_json::Value;

use crate::reload::{assert_refuses, edit};

/// The promised time from the change of the policy to the disconnect.
const WITHIN: Duration = Duration::from_secs(1);

/// Two listeners. 127.0.0.1 belongs to the office, and 127.0.0.2 is a guest.
const YAML: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [office, guests]}
  - {name: other, bind: '127.0.0.1:OTHER', upstream: main, allow: [office, guests]}
upstreams: {main: {address: {redis}}}
groups:
  office: [127.0.0.1]
  guests: {file: guests.txt, allow_empty: true}
  more: []
admin: {bind: '127.0.0.1:{admin}'}
reload: signal
";

const GUESTS: &str = "127.0.0.2\n127.0.0.3\n";

const BIG: usize = 1024 * 1024;
const BIG_REPLIES: usize = 24;

struct Fixture {
    gate: Gate,
    redis: Redis,
    yaml: String,
    other: SocketAddr,
}

impl Fixture {
    fn new(change: impl FnOnce(String) -> String) -> Self {
        let redis = Redis::plain();
        redis.control().assert_reply(&format!("SETRANGE big {} x", BIG - 1), &format!(":{BIG}"));
        let other = ports::free();
        let yaml = change(YAML.replace("OTHER", &other.to_string()));
        let gate = Gate::before(&redis).config(&yaml).file("guests.txt", GUESTS).start();
        Self { gate, redis, yaml, other: ([127, 0, 0, 1], other).into() }
    }

    /// Checks that `change` disconnects guests in every state, and does not disconnect other clients in the same
    /// states.
    #[track_caller]
    fn assert_cuts_guests(&self, to: SocketAddr, change: impl FnOnce(&Gate) -> Value) {
        let stays = Crowd::enter(self, "127.0.0.1", self.gate.address());
        let goes = Crowd::enter(self, "127.0.0.2", to);
        let bystander = Crowd::enter(self, "127.0.0.3", self.gate.address());
        let report = change(&self.gate);
        assert_eq!(report["result"], "applied", "{report}");
        assert_eq!(report["cut"], Crowd::SIZE, "{report}");
        goes.assert_ended();
        self.assert_audited_cut("127.0.0.2", "127.0.0.2", seconds(&report));
        stays.assert_goes_on(&self.redis);
        bystander.leave();
    }

    /// Checks that the audit trail has the end of each client in time, with the entry that admitted the client.
    #[track_caller]
    fn assert_audited_cut(&self, source: &str, entry: &str, at: f64) {
        let closed = eventually("all ends are audited", || {
            let mut closed = self.gate.audited("closed");
            closed.retain(|line| {
                line["source"].as_str().is_some_and(|from| from.starts_with(&format!("{source}:")))
            });
            (closed.len() == Crowd::SIZE).then_some(closed)
        });
        for line in closed {
            assert_eq!(line["reason"], "revoked", "{line}");
            assert_eq!(line["entry"], entry, "{line}");
            assert!(seconds(&line) - at < WITHIN.as_secs_f64(), "{:.3} s late: {line}", seconds(&line) - at);
        }
    }
}

/// Clients of one source, one in each state.
struct Crowd {
    source: String,
    unused: Client,
    used: Client,
    subscribed: Client,
    blocked: Client,
    monitoring: Client,
    pipelining: Client,
    reading: Client,
}

impl Crowd {
    const SIZE: usize = 7;

    fn enter(fixture: &Fixture, source: &str, to: SocketAddr) -> Self {
        let from: IpAddr = source.parse().expect("an address");
        let connect = || Client::tcp_from(from, to);
        let mut control = fixture.redis.control();
        let mut blocked = || control.call("CLIENT LIST").text().matches("flags=b").count();
        let before = blocked();
        let mut crowd = Self {
            source: source.to_owned(),
            unused: connect(),
            used: connect(),
            subscribed: connect(),
            blocked: connect(),
            monitoring: connect(),
            pipelining: connect(),
            reading: connect(),
        };
        let channel = format!("c:{source}");
        crowd.used.assert_reply("PING", "+PONG");
        crowd
            .subscribed
            .assert_reply(&format!("SUBSCRIBE {channel}"), &format!(r#"["subscribe" "{channel}" :1]"#));
        crowd.blocked.send(&format!("BLPOP list:{source} 0"));
        crowd.monitoring.assert_reply("MONITOR", "+OK");
        for i in 0..100 {
            crowd.pipelining.hold(&command(&format!("ECHO {i}")));
        }
        // This is the beginning of one more command.
        crowd.pipelining.send_raw(b"*2\r\n$4\r\nECHO\r\n$3\r\n1");
        for _ in 0..BIG_REPLIES {
            crowd.reading.hold(&command("GET big"));
        }
        crowd.reading.send_raw(b"");
        crowd.reading.assert_recv_raw(format!("${BIG}\r\n").as_bytes());
        eventually("all clients are in their states", || {
            let of_source = format!("\"{source}:");
            let accepted = fixture.gate.audited("accepted");
            let ours =
                accepted.iter().filter(|line| line["source"].to_string().starts_with(&of_source)).count();
            (ours == Self::SIZE && blocked() > before).then_some(())
        });
        crowd
    }

    /// Checks that every client was closed.
    #[track_caller]
    fn assert_ended(mut self) {
        self.unused.assert_closed();
        self.used.assert_closed();
        self.subscribed.assert_closed();
        self.blocked.assert_closed();
        self.monitoring.read_to_end();
        let (echoed, _) = self.pipelining.read_to_end();
        let due: String = (0..100).map(|i: u32| format!("${}\r\n{i}\r\n", i.to_string().len())).collect();
        assert!(due.as_bytes().starts_with(&echoed), "foreign bytes: {}", echoed.escape_ascii());
        let (read, _) = self.reading.read_to_end();
        assert!(read.len() < (BIG + 12) * BIG_REPLIES, "the client read all: it was not cut in the middle");
    }

    /// Checks that every client continues, with complete replies.
    #[track_caller]
    fn assert_goes_on(mut self, redis: &Redis) {
        let source = &self.source;
        let mut control = redis.control();
        self.unused.assert_reply("PING", "+PONG");
        self.used.assert_reply("PING", "+PONG");
        control.assert_reply(&format!("PUBLISH c:{source} news"), ":1");
        self.subscribed.assert_recv(&format!(r#"["message" "c:{source}" "news"]"#));
        control.assert_reply(&format!("RPUSH list:{source} x"), ":1");
        self.blocked.assert_recv(&format!(r#"["list:{source}" "x"]"#));
        let seen = eventually("MONITOR continues", || {
            Some(self.monitoring.recv().text()).filter(|line| line.contains("RPUSH"))
        });
        assert!(seen.contains(&format!("list:{source}")), "{seen}");
        for i in 0..100 {
            self.pipelining.assert_recv(&format!("\"{i}\""));
        }
        self.pipelining.send_raw(b"00\r\n");
        self.pipelining.assert_recv("\"100\"");
        for reply in 0..BIG_REPLIES {
            if reply > 0 {
                self.reading.assert_recv_raw(format!("${BIG}\r\n").as_bytes());
            }
            let mut value = Vec::new();
            assert!(self.reading.read_up_to(BIG, &mut value), "reply {reply} is torn");
            assert!(
                value.ends_with(b"\0x") && value[..BIG - 1].iter().all(|byte| *byte == 0),
                "reply {reply}"
            );
            self.reading.assert_recv_raw(b"\r\n");
        }
        self.reading.assert_reply("PING", "+PONG");
    }

    fn leave(self) {}
}

/// Returns the time of an audit line in seconds of the day.
fn seconds(line: &Value) -> f64 {
    let time = line["time"].as_str().and_then(|time| time.split_once('T')).expect("a time").1;
    let mut parts = time.trim_end_matches('Z').split(':').map(|part| part.parse::<f64>().expect("a number"));
    let mut next = || parts.next().expect("three parts");
    next() * 3600.0 + next() * 60.0 + next()
}

/// Returns the time in `ahead` seconds: as seconds since 1970, and in the format of `until`.
fn moment(ahead: i64) -> (u64, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let at = now.checked_add_signed(ahead).expect("a time");
    let date =
        Command::new("date").args(["-u", "-d", &format!("@{at}"), "+%FT%TZ"]).output().expect("date starts");
    (at, String::from_utf8(date.stdout).expect("text").trim().to_owned())
}

#[test]
fn an_entry_is_removed() {
    let fixture = Fixture::new(|yaml| edit(&yaml, "[office, guests]", "[office, 127.0.0.3, 127.0.0.2]"));
    let less = edit(&fixture.yaml, ", 127.0.0.2]", "]");
    fixture.assert_cuts_guests(fixture.gate.address(), |gate| gate.reload_with(&less));
    assert_refuses(&fixture.gate, "127.0.0.2");
}

#[test]
fn a_deny_is_added() {
    let fixture = Fixture::new(|yaml| yaml);
    let deny = edit(&fixture.yaml, "[office, guests]", "[office, guests], deny: [127.0.0.2/32]");
    fixture.assert_cuts_guests(fixture.gate.address(), |gate| gate.reload_with(&deny));
    assert_refuses(&fixture.gate, "127.0.0.2");
    fixture.gate.assert_metric("connections_closed_total", &[("reason", "revoked")], 7.0);
}

#[test]
fn a_line_goes_from_a_group_file() {
    let fixture = Fixture::new(|yaml| yaml);
    fixture.assert_cuts_guests(fixture.gate.address(), |gate| {
        gate.put("guests.txt", "127.0.0.3\n");
        let report = gate.reload();
        assert_eq!(report["groups"][0]["lost_entries"][0], "127.0.0.2", "{report}");
        report
    });
}

#[test]
fn a_listener_is_removed() {
    let fixture = Fixture::new(|yaml| yaml);
    let line = fixture.yaml.lines().find(|line| line.contains("other")).expect("the listener").to_owned();
    let without = edit(&fixture.yaml, &format!("{line}\n"), "");
    fixture.assert_cuts_guests(fixture.other, |gate| gate.reload_with(&without));
}

/// With `reload: watch`, the disconnect takes longer only by the time until the file counts as complete.
#[test]
fn a_group_file_is_emptied() {
    let fixture = Fixture::new(|yaml| edit(&yaml, "reload: signal", "reload: watch"));
    let stays = Crowd::enter(&fixture, "127.0.0.1", fixture.gate.address());
    let goes = Crowd::enter(&fixture, "127.0.0.2", fixture.gate.address());
    let report = fixture.gate.reload_after(|| {
        std::fs::write(fixture.gate.directory().join("guests.txt"), "").expect("writable");
    });
    assert_eq!((&report["trigger"], &report["cut"]), (&"watch".into(), &Crowd::SIZE.into()), "{report}");
    assert_eq!(report["groups"][0]["lost"], 2, "{report}");
    goes.assert_ended();
    fixture.assert_audited_cut("127.0.0.2", "127.0.0.2", seconds(&report));
    stays.assert_goes_on(&fixture.redis);
}

/// Nothing is reloaded. The expiry of the entry disconnects the client.
#[test]
fn an_entry_expires() {
    let (at, until) = moment(6);
    let fixture = Fixture::new(|yaml| {
        let entry = format!("[office, {{cidr: 127.0.0.2, until: {until}}}, 127.0.0.3]");
        edit(&yaml, "[office, guests]", &entry)
    });
    let stays = Crowd::enter(&fixture, "127.0.0.1", fixture.gate.address());
    let goes = Crowd::enter(&fixture, "127.0.0.2", fixture.gate.address());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now < at, "too slow a machine for this test");
    goes.assert_ended();
    let second_of_day = u32::try_from(at % 86_400).map(f64::from).expect("a day");
    fixture.assert_audited_cut("127.0.0.2", "127.0.0.2", second_of_day);
    stays.assert_goes_on(&fixture.redis);
    assert!(fixture.gate.audited("reload").is_empty());
    fixture.gate.assert_log("INFO entry expired: its clients are disconnected entry=127.0.0.2 until=");
    fixture.gate.assert_log(&format!(" connections={}\n", Crowd::SIZE));
    assert_refuses(&fixture.gate, "127.0.0.2");
    fixture.gate.assert_metric("connections_refused_total", &[("reason", "expired")], 1.0);
}

/// A reload moves `until` to an earlier time, in the past or in the near future.
#[test]
fn an_entry_is_shortened() {
    let fixture = Fixture::new(|yaml| {
        edit(&yaml, "[office, guests]", "[office, {cidr: 127.0.0.2, until: 2999-01-01T00:00:00Z}]")
    });
    let mut client = fixture.gate.connect_from("127.0.0.2", "127.0.0.1");
    client.assert_reply("PING", "+PONG");
    let report = fixture.gate.apply(&edit(&fixture.yaml, "2999-01-01T00:00:00Z", &moment(2).1));
    assert_eq!(report["cut"], 0, "{report}");
    client.assert_closed();
    let later = fixture.gate.apply(&fixture.yaml);
    assert_eq!(later["result"], "applied");
    let mut client = fixture.gate.connect_from("127.0.0.2", "127.0.0.1");
    client.assert_reply("PING", "+PONG");
    let report = fixture.gate.apply(&edit(&fixture.yaml, "2999", "2001"));
    assert_eq!(report["cut"], 1, "{report}");
    client.assert_closed();
}
