//! The addresses of servers and sentinels, while the master changes. Each client searches what it reads, in every test
//! with [`Masters`] (`tests/src/inner.rs`). These clients ask the questions whose answers have addresses.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use e2e::client::command;
use e2e::{Client, Gate, Masters, eventually};

use crate::presented::{ALL, TELLING};

/// The rounds of questions before the failover, and again after it.
const ROUNDS: usize = 3;

/// The commands of a client in each round.
#[derive(Clone, Copy)]
enum Part {
    /// Asks all questions.
    Questions,
    /// Waits for an element that never comes.
    Blocking,
    /// Is subscribed to all channels.
    Subscriber,
    /// Tracks the keys that it reads.
    Tracking,
}

impl Part {
    fn commands(self) -> Vec<&'static str> {
        match self {
            Self::Questions => TELLING.to_vec(),
            Self::Blocking => vec!["SET k v", "BLPOP absent 0.2", "INFO replication", "ROLE"],
            Self::Subscriber => vec!["PSUBSCRIBE *", "SUBSCRIBE __sentinel__:hello +switch-master", "PING"],
            Self::Tracking => vec!["CLIENT TRACKING ON", "GET k", "SET k v", "MULTI", "SET k v", "EXEC"],
        }
    }

    /// Sends the commands, and reads until the reply to a last one.
    fn play(self, client: &mut Client) -> Option<()> {
        let commands = self.commands();
        let bytes: Vec<u8> = commands.iter().chain(&["PING end"]).flat_map(|line| command(line)).collect();
        client.try_send_raw(&bytes).ok()?;
        loop {
            let reply = client.try_recv().ok()?.to_string();
            // An error in its place, if the master changed meanwhile.
            if reply.contains("\"end\"") || reply.starts_with("-ERR portcullis: upstream 'main' ") {
                return Some(());
            }
        }
    }
}

/// Plays a part again and again, on a new connection whenever one was closed.
fn play_on(gate: &Gate, part: Part, hello: &str, stopping: &AtomicBool, rounds: &AtomicUsize) {
    let mut client = None;
    while !stopping.load(Ordering::Relaxed) {
        let mut current = client.take().unwrap_or_else(|| {
            let mut client = gate.connect();
            client.call(hello);
            client
        });
        if part.play(&mut current).is_some() {
            rounds.fetch_add(1, Ordering::Relaxed);
            client = Some(current);
        }
    }
}

#[test]
fn no_client_reads_an_address_before_during_or_after_a_failover() {
    let masters = Masters::plain();
    let gates = ["dedicated", "shared"].map(|connections| {
        let gate = masters.gate().listener("auth: trust").listener(ALL);
        gate.upstream(&format!("connections: {connections}")).start()
    });
    let parts = [Part::Questions, Part::Blocking, Part::Subscriber, Part::Tracking];
    let stopping = AtomicBool::new(false);
    let rounds: Vec<AtomicUsize> = (0..parts.len() * gates.len() * 2).map(|_| AtomicUsize::new(0)).collect();
    let await_rounds = || {
        let goals: Vec<usize> = rounds.iter().map(|count| count.load(Ordering::Relaxed) + ROUNDS).collect();
        eventually("each client has played its part", || {
            let mut done = rounds.iter().zip(&goals);
            done.all(|(count, goal)| count.load(Ordering::Relaxed) >= *goal).then_some(())
        });
    };
    thread::scope(|scope| {
        let _stop = Stop(&stopping);
        let clients = gates.iter().flat_map(|gate| ["HELLO 2", "HELLO 3"].map(|hello| (gate, hello)));
        let clients = clients.flat_map(|(gate, hello)| parts.map(|part| (gate, part, hello)));
        for ((gate, part, hello), count) in clients.zip(&rounds) {
            let stopping = &stopping;
            scope.spawn(move || play_on(gate, part, hello, stopping, count));
        }
        await_rounds();
        masters.failover(1);
        masters.await_other_master(0);
        await_rounds();
    });
}

/// A script may show addresses. The search finds them: it is not in vain in the other tests.
#[test]
#[should_panic(expected = "the client read an inner address")]
fn an_address_that_is_not_hidden_is_found() {
    let masters = Masters::plain();
    let gate = masters.gate().listener("auth: trust").start();
    let mut client = gate.connect();
    client.send_args(&[b"EVAL", b"return redis.call('INFO', 'replication')", b"0"]);
    client.recv();
}

/// Ends the clients also if the test fails.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
