//! Clients that write all the time while the master changes. At the end, what they were told is compared with what
//! is stored: each command runs at most once, and an acknowledged write is not lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::Client;
use crate::reply::Reply;

/// The time before a writer connects again after its connection was closed.
const BEFORE_RECONNECT: Duration = Duration::from_millis(20);

/// The time between the replies and the next commands of a writer. Without it, the writers take all processors of a small
/// machine, and replicas lag behind. A failover loses what the chosen replica has not received, with or without a proxy.
const PACE: Duration = Duration::from_millis(5);

/// The number of list elements that are read at once.
const CHUNK: usize = 10_000;

/// Clients that write until [`stop`](Self::stop).
pub struct Writers {
    stopping: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Written>>,
}

/// The writes of one client.
#[derive(Debug, Default)]
pub struct Written {
    number: usize,
    /// The number of values that were sent: 0, 1, 2 and so on, each once to the end of a list, with one INCR.
    sent: u64,
    pushed: BTreeSet<u64>,
    increments: u64,
    /// The error replies, with their numbers.
    errors: BTreeMap<String, u64>,
    /// The number of times that the connection was closed.
    closed: u64,
}

impl Writers {
    /// Starts `count` clients of `address`. Each sends `depth` pairs of RPUSH and INCR before it reads the replies.
    pub fn start(address: SocketAddr, count: usize, depth: u64) -> Self {
        Self::start_at(0, address, count, depth)
    }

    /// Does the same as [`start`](Self::start). The number of the first client is `first`: clients with the same number
    /// write to the same keys.
    pub fn start_at(first: usize, address: SocketAddr, count: usize, depth: u64) -> Self {
        let stopping = Arc::<AtomicBool>::default();
        let acknowledged = Arc::<AtomicU64>::default();
        let writer = |number| {
            let (stopping, acknowledged) = (Arc::clone(&stopping), Arc::clone(&acknowledged));
            thread::spawn(move || {
                let mut written = Written { number, ..Written::default() };
                let mut client = None;
                while !stopping.load(Ordering::Relaxed) {
                    let connected = client.take().or_else(|| Client::try_tcp(address).ok());
                    client = connected.and_then(|client| written.write(client, depth, &acknowledged));
                    thread::sleep(if client.is_some() { PACE } else { BEFORE_RECONNECT });
                }
                written
            })
        };
        let threads = (first..first + count).map(writer).collect();
        Self { stopping, acknowledged, threads }
    }

    /// Returns the number of writes that were acknowledged until now.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops the clients after the replies to what they have sent.
    pub fn stop(self) -> Vec<Written> {
        self.stopping.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("the writer ends")).collect()
    }
}

impl Written {
    /// Sends the next values and reads the replies. Returns the client, unless its connection was closed.
    fn write(&mut self, mut client: Client, depth: u64, acknowledged: &AtomicU64) -> Option<Client> {
        let values = self.sent..self.sent + depth;
        let number = self.number;
        let commands: String = values
            .clone()
            .map(|value| format!("RPUSH list:{number} {value}\r\nINCR count:{number}\r\n"))
            .collect();
        // A part may have been sent even if writing fails.
        self.sent += depth;
        let mut alive = client.try_send_raw(commands.as_bytes()).is_ok();
        for value in values {
            alive = alive && self.read(&mut client, acknowledged, |written| _ = written.pushed.insert(value));
            alive = alive && self.read(&mut client, acknowledged, |written| written.increments += 1);
        }
        self.closed += u64::from(!alive);
        alive.then_some(client)
    }

    fn read(&mut self, client: &mut Client, acknowledged: &AtomicU64, count: impl FnOnce(&mut Self)) -> bool {
        match client.try_recv() {
            Ok(Reply::Integer(_)) => {
                count(self);
                acknowledged.fetch_add(1, Ordering::Relaxed);
                true
            }
            Ok(other) => {
                *self.errors.entry(other.to_string()).or_default() += 1;
                true
            }
            Err(_) => false,
        }
    }

    /// The number of acknowledged writes.
    pub fn acknowledged(&self) -> u64 {
        self.increments + u64::try_from(self.pushed.len()).expect("a count")
    }

    /// The number of writes that were sent.
    pub const fn sent(&self) -> u64 {
        2 * self.sent
    }

    /// The error replies that the client read, with their numbers.
    pub const fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    /// The number of times that the client's connection was closed.
    pub const fn closed(&self) -> u64 {
        self.closed
    }

    /// Checks that `server` has each value at most once, and none that was not sent.
    #[track_caller]
    pub fn assert_once(&self, server: &mut Client) {
        let (mut stored, count) = self.on(server);
        stored.sort_unstable();
        let twice: Vec<_> = stored.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        assert!(twice.is_empty(), "client {}: stored twice: {twice:?}", self.number);
        assert!(stored.last().is_none_or(|last| *last < self.sent), "client {}: never sent", self.number);
        assert!(count <= self.sent, "client {}: {count} increments of {} stored", self.number, self.sent);
    }

    /// Checks that `server` has every write that was acknowledged, besides [`Self::assert_once`].
    #[track_caller]
    pub fn assert_nothing_lost(&self, server: &mut Client) {
        self.assert_once(server);
        let (stored, count) = self.on(server);
        let lost: Vec<_> = self.pushed.difference(&stored.iter().copied().collect()).copied().collect();
        assert!(lost.is_empty(), "client {}: acknowledged and lost: {lost:?}", self.number);
        let acknowledged = self.increments;
        assert!(count >= acknowledged, "client {}: {acknowledged} acknowledged, {count} stored", self.number);
    }

    /// Returns the number of writes of the client that `server` has.
    pub fn stored(&self, server: &mut Client) -> u64 {
        let (values, count) = self.on(server);
        count + u64::try_from(values.len()).expect("a count")
    }

    /// Returns the values and the count that `server` has.
    fn on(&self, server: &mut Client) -> (Vec<u64>, u64) {
        let mut values = Vec::new();
        loop {
            let (first, last) = (values.len(), values.len() + CHUNK - 1);
            let list = server.call(&format!("LRANGE list:{} {first} {last}", self.number));
            values.extend(list.items().iter().map(|item| item.text().parse::<u64>().expect("a value")));
            if list.items().is_empty() {
                break;
            }
        }
        let count = server.call(&format!("INCRBY count:{} 0", self.number)).integer();
        (values, count.try_into().expect("not negative"))
    }
}
