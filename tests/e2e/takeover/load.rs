//! Ten restarts under load: no client is refused, and every reply is complete.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::{Client, Gate, PATIENCE, Process, Redis, Reply, own_turn};

use super::take_over;

/// The clients that connect, send PING, read PONG and close.
const SHORT: usize = 50;
/// The clients that send pipelines.
const PIPELINES: usize = 8;
const RESTARTS: usize = 10;

/// The time limit from the connect to the PONG. On a busy machine a thread can wait for seconds for its turn, so the
/// limit shows only clients that waited for something else. The test prints the longest time that it measured.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// What the clients saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pongs: AtomicU64,
    refused: AtomicU64,
    without_reply: AtomicU64,
    slowest: AtomicU64,
    replies: AtomicU64,
    partial: AtomicU64,
    messages: AtomicU64,
    closed: AtomicU64,
}

impl Seen {
    /// Checks what the clients saw.
    pub(super) fn check(&self, limit: Duration) {
        let slowest = Duration::from_micros(self.slowest.load(Relaxed));
        // Not captured: the figures are wanted of a test that passes, too.
        let _ = writeln!(std::io::stdout().lock(), "{self:?}; from connect to PONG {slowest:?} at most");
        assert_eq!(self.refused.load(Relaxed), 0, "refused connections");
        assert_eq!(self.without_reply.load(Relaxed), 0, "connections that were closed without a reply");
        assert_eq!(self.partial.load(Relaxed), 0, "replies that were cut off");
        assert!(self.pongs.load(Relaxed) > 100 && self.replies.load(Relaxed) > 100, "{self:?}");
        assert!(self.messages.load(Relaxed) > 0 && self.closed.load(Relaxed) > 0, "{self:?}");
        assert!(slowest <= limit, "a client waited {slowest:?} for its PONG");
    }
}

/// Restarts the proxy at `address` ten times under load. `redis` is behind it.
pub(super) fn under_load(address: SocketAddr, redis: SocketAddr, mut restart: impl FnMut(usize)) -> Seen {
    let (seen, stop) = (Seen::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (seen, stop) = (&seen, &stop);
        for number in 0..SHORT {
            scope.spawn(move || repeat(stop, || short(address, seen, number)));
        }
        for number in 0..PIPELINES {
            scope.spawn(move || repeat(stop, || pipeline(address, seen, stop, number)));
        }
        scope.spawn(move || repeat(stop, || subscriber(address, seen, stop)));
        scope.spawn(move || repeat(stop, || blocked(address, seen, stop)));
        scope.spawn(move || {
            let mut control = Client::tcp(redis);
            repeat(stop, || {
                control.call("PUBLISH news hello");
                sleep(Duration::from_millis(20));
            });
        });
        // The clients end also if a restart fails.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sleep(Duration::from_millis(300));
            for number in 0..RESTARTS {
                restart(number);
                sleep(Duration::from_millis(300));
            }
        }));
        stop.store(true, Relaxed);
        wake(redis);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
    seen
}

/// Wakes the clients that wait for Redis. One message or element may go to a connection that has just ended.
fn wake(redis: SocketAddr) {
    let mut control = Client::tcp(redis);
    control.call("RPUSH nothing-here 1 2 3 4 5");
    for _ in 0..25 {
        control.call("PUBLISH news end");
        sleep(Duration::from_millis(20));
    }
}

fn repeat(stop: &AtomicBool, mut turn: impl FnMut()) {
    while !stop.load(Relaxed) {
        turn();
    }
}

/// Connects, sends PING, reads PONG and closes.
fn short(address: SocketAddr, seen: &Seen, number: usize) {
    let begin = Instant::now();
    match TcpStream::connect(address) {
        Err(_) => drop(seen.refused.fetch_add(1, Relaxed)),
        Ok(mut stream) => {
            stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
            let mut pong = [0; 7];
            let sent = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut pong));
            match sent {
                Ok(()) if pong == *b"+PONG\r\n" => drop(seen.pongs.fetch_add(1, Relaxed)),
                _ => drop(seen.without_reply.fetch_add(1, Relaxed)),
            }
        }
    }
    let micros = u64::try_from(begin.elapsed().as_micros()).expect("a short time");
    seen.slowest.fetch_max(micros, Relaxed);
    // The clients are not in step.
    sleep(Duration::from_millis(20 + number as u64 % 7));
}

/// Sends pipelines until the connection ends, which may be only between two replies.
fn pipeline(address: SocketAddr, seen: &Seen, stop: &AtomicBool, number: usize) {
    let Ok(mut client) = Client::try_tcp(address) else {
        seen.refused.fetch_add(1, Relaxed);
        return;
    };
    let text = format!("{number}:{}", "x".repeat(2000));
    let batch = command(&format!("ECHO {text}")).repeat(20);
    let due = format!("${}\r\n{text}\r\n", text.len()).repeat(20);
    while !stop.load(Relaxed) {
        if client.try_send_raw(&batch).is_err() {
            return;
        }
        let mut got = Vec::new();
        let whole = client.read_up_to(due.len(), &mut got);
        assert!(due.as_bytes().starts_with(&got), "foreign bytes in the replies");
        let one = due.len() / 20;
        seen.replies.fetch_add((got.len() / one) as u64, Relaxed);
        if got.len() % one != 0 {
            seen.partial.fetch_add(1, Relaxed);
        }
        if !whole {
            return;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Stays subscribed until its process ends the drain.
fn subscriber(address: SocketAddr, seen: &Seen, stop: &AtomicBool) {
    let Ok(mut client) = Client::try_tcp(address) else {
        seen.refused.fetch_add(1, Relaxed);
        return;
    };
    client.send("SUBSCRIBE news");
    while !stop.load(Relaxed) {
        match client.try_recv() {
            Ok(Reply::Array(_)) => drop(seen.messages.fetch_add(1, Relaxed)),
            Ok(other) => panic!("not a message: {other}"),
            Err(_) => {
                seen.closed.fetch_add(1, Relaxed);
                return;
            }
        }
    }
}

/// Waits in BLPOP until its process ends the drain.
fn blocked(address: SocketAddr, seen: &Seen, stop: &AtomicBool) {
    let Ok(mut client) = Client::try_tcp(address) else {
        seen.refused.fetch_add(1, Relaxed);
        return;
    };
    while !stop.load(Relaxed) {
        client.send("BLPOP nothing-here 0");
        if client.try_recv().is_err() {
            seen.closed.fetch_add(1, Relaxed);
            return;
        }
    }
}

#[test]
fn ten_restarts_under_load() {
    let _turn = own_turn();
    let redis = Redis::plain();
    // Much shorter than the restarts together, so that drains end while clients are there.
    let mut gate = Gate::before(&redis).top("limits: {timeouts: {drain: 1s}}").start();
    let mut old: Vec<Process> = Vec::new();
    let (address, inner) = (gate.address(), redis.address());
    let seen = under_load(address, inner, |number| {
        old.push(take_over(&mut gate, &format!("process-{number}")));
    });
    for process in &mut old {
        assert_eq!(process.wait().code(), Some(0));
        assert!(process.stderr().contains(" drained "), "{}", process.stderr());
    }
    seen.check(LIMIT);
}
