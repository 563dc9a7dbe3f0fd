//! Optimistic locks and queues of several clients, while slots move and masters change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use e2e::client::Client;
use e2e::{Cluster, Gate, Reply, eventually};

use super::commands::{SLOT_OF_B, started};

/// The clients that share one lock, and those that take from one queue.
const CLIENTS: usize = 3;

/// The errors of a transaction that was not executed.
const NOT_EXECUTED: [&str; 2] = ["-EXECABORT ", "-TRYAGAIN "];

/// Moves the slot from node to node, and makes replicas masters.
fn shake(cluster: &mut Cluster, mut check: impl FnMut()) {
    let added = cluster.add_master();
    for to in [added, 1, 2, 0] {
        let from = cluster.begin_move(SLOT_OF_B, to);
        check();
        while cluster.move_keys(SLOT_OF_B, from, to) > 0 {}
        check();
        cluster.end_move(SLOT_OF_B, from, to);
        check();
    }
    cluster.failover(3);
    check();
    cluster.await_ok();
    cluster.failover(0);
    check();
    cluster.await_ok();
}

/// Threads that work until they are stopped.
struct Workers<T> {
    stopping: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<T>>,
}

impl<T: Send + 'static> Workers<T> {
    /// Starts clients that do `work` until it returns `None`. It gets the number of the client, and counts what it does.
    fn start(
        gate: &Gate,
        work: impl Fn(usize, Client, &AtomicBool, &AtomicU64) -> T + Clone + Send + 'static,
    ) -> Self {
        let (stopping, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let worker = |number| {
            let (client, work) = (gate.connect(), work.clone());
            let (stopping, done) = (Arc::clone(&stopping), Arc::clone(&done));
            thread::spawn(move || work(number, client, &stopping, &done))
        };
        Self { threads: (0..CLIENTS).map(worker).collect(), stopping, done }
    }

    /// Waits until the clients have worked a while longer.
    #[track_caller]
    fn work_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("the clients go on", || (self.done.load(Ordering::Relaxed) > before + 20).then_some(()));
    }

    fn stop(self) -> Vec<T> {
        self.stopping.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("the client ends")).collect()
    }
}

/// Adds one to a number under WATCH. Returns whether it did. `None`: the session has ended, and nothing was executed.
fn add_one(client: &mut Client) -> Option<bool> {
    const KEY: &str = "{b}number";
    let ended = |reply: &Reply| reply.to_string().contains("this session ends");
    let watched = client.call(&format!("WATCH {KEY}"));
    if watched.is_error() {
        return (!ended(&watched)).then_some(false);
    }
    let found = client.call(&format!("GET {KEY}"));
    let number: u64 = match &found {
        Reply::NullBulk => 0,
        Reply::Bulk(_) => found.text().strip_prefix("n=").and_then(|n| n.parse().ok()).expect("a number"),
        error => {
            assert!(error.is_error(), "{error}");
            if ended(error) {
                return None;
            }
            let reply = client.call("UNWATCH");
            assert!(reply.to_string() == "+OK" || ended(&reply) || reply.is_error(), "{reply}");
            return (!ended(&reply)).then_some(false);
        }
    };
    for line in ["MULTI".to_owned(), format!("SET {KEY} n={}", number + 1)] {
        let reply = client.call(&line);
        if ended(&reply) {
            return None;
        }
    }
    let reply = client.call("EXEC");
    match &reply {
        Reply::Array(items) => {
            assert_eq!(items.len(), 1, "{reply}");
            Some(!items[0].is_error())
        }
        Reply::NullArray => Some(false),
        _ if ended(&reply) => None,
        error => {
            let text = error.to_string();
            assert!(NOT_EXECUTED.iter().any(|known| text.starts_with(known)), "{text}");
            Some(false)
        }
    }
}

/// Each successful EXEC has added one to the number that the client had read: no other client changed it in between.
#[test]
fn optimistic_locks_hold_while_slots_move_and_masters_change() {
    let mut cluster = Cluster::builder().patient().start();
    let gate = started(&cluster);
    let address = gate.address();
    let workers = Workers::start(&gate, move |_, mut client, stopping, done| {
        let mut added = 0_u64;
        while !stopping.load(Ordering::Relaxed) {
            match add_one(&mut client) {
                Some(true) => added += 1,
                Some(false) => {}
                None => client = Client::tcp(address),
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        added
    });
    workers.work_on();
    shake(&mut cluster, || workers.work_on());
    let added: u64 = workers.stop().into_iter().sum();
    assert!(added > 100, "{added}");
    gate.connect().assert_reply("GET {b}number", &format!("\"n={added}\""));
}

/// Each element of a queue reaches one client, whatever node the queue is at.
#[test]
fn elements_of_a_queue_are_taken_once_while_slots_move_and_masters_change() {
    let mut cluster = Cluster::builder().patient().start();
    let gate = started(&cluster);
    let workers = Workers::start(&gate, |_, mut client, stopping, done| {
        let mut taken = Vec::new();
        while !stopping.load(Ordering::Relaxed) {
            let reply = client.call("BLPOP {b}queue 1");
            match &reply {
                Reply::Array(items) => taken.push(items[1].text().parse::<u64>().expect("an element")),
                Reply::NullArray => {}
                error => assert!(
                    NOT_EXECUTED[1..].iter().any(|known| error.to_string().starts_with(known)),
                    "{error}"
                ),
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        taken
    });
    let mut producer = gate.connect();
    let mut pushed = BTreeSet::new();
    let mut next = 0_u64;
    shake(&mut cluster, || {
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            next += 1;
            let reply = producer.call(&format!("RPUSH {{b}}queue {next}"));
            match reply {
                Reply::Integer(_) => assert!(pushed.insert(next)),
                error => assert!(error.to_string().starts_with("-TRYAGAIN "), "{error}"),
            }
            thread::sleep(Duration::from_millis(2));
        }
    });
    eventually("the queue is empty", || (producer.call("LLEN {b}queue").to_string() == ":0").then_some(()));
    let taken: Vec<u64> = workers.stop().into_iter().flatten().collect();
    let once: BTreeSet<u64> = taken.iter().copied().collect();
    assert_eq!(once.len(), taken.len(), "an element was taken twice");
    assert_eq!(once, pushed);
    assert!(pushed.len() > 100, "{}", pushed.len());
}
