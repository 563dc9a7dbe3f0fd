//! Replies that a client does not read. Progress means that the client accepts bytes, or that Redis accepts more of its
//! pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::certificates::Authority;
use e2e::client::command;
use e2e::{Client, Gate, Redis, eventually, own_turn};
use rustls::ClientConfig;

const MIB: usize = 1024 * 1024;

/// The time limit for the disconnect. `timeouts.write` is 1 s, but other tests run at the same time.
const CUT: Duration = Duration::from_secs(8);

/// The number of values of 1 MiB that each client requests.
const ASKED: usize = 30;

struct Fixture {
    // The proxy is dropped first, because it must not see the end of its upstream.
    gate: Gate,
    redis: Redis,
    tls: Option<Arc<ClientConfig>>,
}

impl Fixture {
    fn start(upstream: &str, tls: bool, tcp: &str) -> Self {
        let redis = Redis::plain();
        let mut control = redis.control();
        control.assert_reply(&format!("SETRANGE big {} x", MIB - 1), &format!(":{MIB}"));
        control.assert_reply("SETRANGE value 99 x", ":100");
        let authority = Authority::new("unread");
        let mut gate = Gate::before(&redis)
            .listener("auth: trust")
            .listener(r#"acl: "+@all -config""#)
            .upstream(upstream)
            .top(&format!("limits: {{timeouts: {{write: 1s}}, tcp: {{{tcp}}}}}"));
        if tls {
            gate = gate.tls(&authority.server(), "");
        }
        Self { gate: gate.start(), redis, tls: tls.then(|| authority.client()) }
    }

    fn connect(&self) -> Client {
        match &self.tls {
            Some(config) => Client::tls(self.gate.address(), config, "localhost"),
            None => self.gate.connect(),
        }
    }

    fn cut(&self) -> f64 {
        self.gate.metric("connections_closed_total", &[("reason", "slow")])
    }
}

/// Returns the bytes that clients send although they do not read: the first bytes, the repeated bytes, and the
/// interval.
fn drips() -> Vec<(Vec<u8>, Vec<u8>, Duration)> {
    let now_and_then = Duration::from_millis(100);
    let again = |bytes: &[u8]| (bytes.to_vec(), bytes.to_vec(), now_and_then);
    vec![
        again(b"\r\n"),
        again(b"*0\r\n"),
        again(b"*-1\r\n"),
        again(b"PING\r\n"),
        again(&command("PING")),
        again(&command("GET big")),
        // The command never ends.
        (b"*2\r\n$4\r\nECHO\r\n$400000000\r\n".to_vec(), b"x".to_vec(), now_and_then),
        // The proxy refuses this command, and skips it as fast as it arrives.
        (
            b"*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$1\r\na\r\n$400000000\r\n".to_vec(),
            vec![b'x'; 64 * 1024],
            Duration::from_millis(5),
        ),
    ]
}

/// A client that reads nothing is disconnected. The bytes that it sends do not matter, unless they are a pipeline.
fn no_progress(upstream: &str, tls: bool) {
    let _turn = own_turn();
    let fixture = Fixture::start(upstream, tls, "");
    let drips = drips();
    std::thread::scope(|scope| {
        for (first, then, pause) in &drips {
            let mut client = fixture.connect();
            scope.spawn(move || {
                client.hold(&command("GET big").repeat(ASKED));
                client.send_raw(first);
                let started = Instant::now();
                while client.try_send_raw(then).is_ok() {
                    let shown = first[..first.len().min(20)].escape_ascii();
                    assert!(started.elapsed() < CUT, "the client is not cut while it sends {shown}");
                    std::thread::sleep(*pause);
                }
            });
        }
    });
    eventually("all are cut for slow reading", || (fixture.cut() == drips.len() as f64).then_some(()));
    eventually("Redis holds nothing for them", || (fixture.redis.tcp_clients().len() < 8).then_some(()));
}

#[test]
fn no_progress_dedicated() {
    no_progress("connections: dedicated", false);
}

#[test]
fn no_progress_shared() {
    no_progress("connections: shared", false);
}

#[test]
fn no_progress_tls() {
    no_progress("connections: dedicated", true);
}

/// Reads `step` bytes at a time, and then the rest. Blank lines that it sends meanwhile have no effect.
fn reads_slowly(mut client: Client, step: usize, pause: Duration) {
    client.send_raw(&command("GET big").repeat(ASKED));
    let due = (MIB + 12) * ASKED;
    let started = Instant::now();
    let (mut read, mut thrown) = (0, Vec::new());
    while started.elapsed() < Duration::from_secs(4) {
        assert!(client.read_up_to(step, &mut thrown), "a slow reader is cut");
        read += step;
        thrown.clear();
        std::thread::sleep(pause);
    }
    client.read_through((due - read) as u64, |_| ());
    client.assert_in_step("after");
}

/// Writes for 4 s before it reads. The kernel must not close the connection after `tcp.user_timeout` either.
fn writes_before_it_reads(mut client: Client) {
    let piece = command("GET value").repeat(3000);
    let started = Instant::now();
    let mut pieces = 0;
    while started.elapsed() < Duration::from_secs(4) {
        client.send_raw(&piece);
        pieces += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    client.read_through(pieces * 3000 * 108, |_| ());
    client.assert_in_step("after");
}

/// Slow readers stay connected, and so does a client that writes a long pipeline before it reads.
fn progress(upstream: &str, tls: bool) {
    let _turn = own_turn();
    let fixture = Fixture::start(upstream, tls, "user_timeout: 2s");
    std::thread::scope(|scope| {
        let [first, second, third] = [(); 3].map(|()| fixture.connect());
        scope.spawn(|| reads_slowly(first, 256 * 1024, Duration::from_millis(200)));
        // The kernel reports no room within the time of `write`.
        scope.spawn(|| reads_slowly(second, 4 * 1024, Duration::from_millis(20)));
        scope.spawn(|| writes_before_it_reads(third));
    });
    assert!(fixture.cut() == 0.0, "{} were cut", fixture.cut());
}

#[test]
fn progress_dedicated() {
    progress("connections: dedicated", false);
}

#[test]
fn progress_shared() {
    progress("connections: shared", false);
}

#[test]
fn progress_tls() {
    progress("connections: dedicated", true);
}
