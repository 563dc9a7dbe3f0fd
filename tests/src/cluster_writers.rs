//! Clients that write to all nodes of a cluster and read what they wrote, while slots move and nodes fail. At the end,
//! what they were told is compared with what the nodes have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Client, command, encode};
use crate::cluster::Cluster;
use crate::random::Random;
use crate::reply::Reply;

/// The time before a writer connects again after its connection was closed.
const BEFORE_RECONNECT: Duration = Duration::from_millis(20);

/// The time between the replies and the next commands of a writer. Without it, the writers take all processors of a small
/// machine, and replicas lag behind.
const PACE: Duration = Duration::from_millis(5);

/// The groups of commands that a writer sends before it reads: RPUSH, INCR, SET and GET of one hash tag each, see
/// [`Form`].
const DEPTH: usize = 12;

/// The length of a long value in bytes. The proxy keeps no copy of a command with it, so it follows no redirect of it.
const LONG: usize = 20_000;

/// The number of list elements that are read at once.
const CHUNK: usize = 10_000;

/// Clients that write until [`stop`](Self::stop).
pub struct ClusterWriters {
    stopping: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    threads: Vec<JoinHandle<ClusterWritten>>,
}

/// The writes of one client.
#[derive(Debug)]
pub struct ClusterWritten {
    number: usize,
    /// Whether acknowledged writes may be lost, because a master is killed.
    may_lose: bool,
    keys: Vec<Keys>,
    errors: BTreeMap<String, u64>,
    closed: u64,
    slowest: Duration,
}

/// The way in which the commands of a group are sent.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    Transaction,
    Script,
}

/// The form of a group, among which plain ones are frequent.
const FORMS: [Form; 6] =
    [Form::Plain, Form::Plain, Form::Plain, Form::Plain, Form::Transaction, Form::Script];

const SCRIPT: &str = "return {redis.call('RPUSH',KEYS[1],ARGV[1]),redis.call('INCR',KEYS[2]),\
                      redis.call('SET',KEYS[3],ARGV[2]),redis.call('GET',KEYS[3])}";

/// The keys of one client with one hash tag.
#[derive(Debug)]
struct Keys {
    tag: String,
    /// The number of values that were sent: 1, 2, 3 and so on.
    sent: u64,
    /// The values whose RPUSH was acknowledged.
    pushed: BTreeSet<u64>,
    /// The number of acknowledged increments, and the newest count.
    increments: u64,
    count: i64,
    /// The newest value that was acknowledged or read.
    newest: u64,
}

impl ClusterWriters {
    /// Starts `count` clients of `address`, which write to keys with these hash tags. `may_lose` says whether
    /// acknowledged writes may be lost.
    pub fn start(address: SocketAddr, count: usize, tags: &[String], may_lose: bool) -> Self {
        let stopping = Arc::<AtomicBool>::default();
        let acknowledged = Arc::<AtomicU64>::default();
        let writer = |number| {
            let (stopping, acknowledged) = (Arc::clone(&stopping), Arc::clone(&acknowledged));
            let mut written = ClusterWritten::new(number, tags, may_lose);
            thread::spawn(move || {
                let mut random = Random::new(number as u64 + 1);
                let mut client = None;
                while !stopping.load(Ordering::Relaxed) {
                    let connected = client.take().or_else(|| connect(address, number));
                    client = connected.and_then(|client| written.write(client, &mut random, &acknowledged));
                    thread::sleep(if client.is_some() { PACE } else { BEFORE_RECONNECT });
                }
                written
            })
        };
        let threads = (0..count).map(writer).collect();
        Self { stopping, acknowledged, threads }
    }

    /// Returns the number of writes that were acknowledged until now.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops the clients after the replies to what they have sent.
    pub fn stop(self) -> Vec<ClusterWritten> {
        self.stopping.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("the writer ends")).collect()
    }
}

/// Connects a client. Every second one uses RESP3. `None`: the proxy does not accept it now.
fn connect(address: SocketAddr, number: usize) -> Option<Client> {
    let mut client = Client::try_tcp(address).ok()?;
    if number % 2 == 1 {
        client.try_send_raw(&command("HELLO 3")).ok()?;
        let reply = client.try_recv().ok()?;
        assert!(matches!(reply, Reply::Map(_)), "{reply}");
    }
    Some(client)
}

impl ClusterWritten {
    fn new(number: usize, tags: &[String], may_lose: bool) -> Self {
        let keys = |tag: &String| Keys {
            tag: tag.clone(),
            sent: 0,
            pushed: BTreeSet::new(),
            increments: 0,
            count: 0,
            newest: 0,
        };
        let keys = tags.iter().map(keys).collect();
        Self { number, may_lose, keys, errors: BTreeMap::new(), closed: 0, slowest: Duration::ZERO }
    }

    /// Sends the next values and reads the replies. Returns the client, unless its connection was closed.
    fn write(&mut self, mut client: Client, random: &mut Random, acknowledged: &AtomicU64) -> Option<Client> {
        let number = self.number;
        let mut groups = Vec::new();
        let mut commands = Vec::new();
        for _ in 0..DEPTH {
            let place = random.below(self.keys.len());
            let keys = &mut self.keys[place];
            keys.sent += 1;
            let form = *random.pick(&FORMS);
            let padding = if random.one_in(8) { "x".repeat(LONG) } else { String::new() };
            let text = format!("{}={};{padding}", keys.tag, keys.sent);
            form.write(&mut commands, &keys.names(number), keys.sent, &text);
            groups.push((place, keys.sent, form));
        }
        let begun = Instant::now();
        // A part may have been sent even if writing fails.
        let mut alive = client.try_send_raw(&commands).is_ok();
        for (place, value, form) in groups {
            let Some(replies) = alive.then(|| self.read_group(&mut client, form)).flatten() else {
                alive = false;
                break;
            };
            let keys = &mut self.keys[place];
            match keys.take(&replies, value, self.may_lose) {
                Ok(acks) => acknowledged.fetch_add(acks, Ordering::Relaxed),
                Err(what) => panic!("client {number}, {what}: {value}, {form:?}, {replies:?}, {keys:?}"),
            };
        }
        self.slowest = self.slowest.max(begun.elapsed());
        self.closed += u64::from(!alive);
        alive.then_some(client)
    }

    /// Reads the replies to RPUSH, INCR, SET and GET. `None`: the connection was closed.
    fn read_group(&mut self, client: &mut Client, form: Form) -> Option<[Option<Reply>; 4]> {
        if let Form::Plain = form {
            return Some([self.read(client)?, self.read(client)?, self.read(client)?, self.read(client)?]);
        }
        if let Form::Transaction = form {
            // MULTI, and a reply for each command.
            for _ in 0..5 {
                self.read(client)?;
            }
        }
        let all = self.read(client)?;
        let items = all.as_ref().map(Reply::items).unwrap_or_default();
        assert!(all.is_none() || items.len() == 4, "client {}: {all:?}", self.number);
        let mut replies = items.iter().cloned();
        Some([replies.next(), replies.next(), replies.next(), replies.next()])
    }

    /// Reads one reply. `None`: the connection was closed. `Some(None)`: it is an error.
    fn read(&mut self, client: &mut Client) -> Option<Option<Reply>> {
        match client.try_recv().ok()? {
            error @ Reply::Error(_) => {
                *self.errors.entry(error.to_string()).or_default() += 1;
                Some(None)
            }
            reply => Some(Some(reply)),
        }
    }

    /// The number of acknowledged RPUSH and INCR.
    pub fn acknowledged(&self) -> u64 {
        let of = |keys: &Keys| keys.increments + u64::try_from(keys.pushed.len()).expect("a count");
        self.keys.iter().map(of).sum()
    }

    /// The number of RPUSH and INCR that were sent.
    pub fn sent(&self) -> u64 {
        self.keys.iter().map(|keys| 2 * keys.sent).sum()
    }

    /// The error replies that the client read, with their numbers.
    pub const fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    /// The number of times that the client's connection was closed.
    pub const fn closed(&self) -> u64 {
        self.closed
    }

    /// The longest time from the sending of a pipeline to its last reply.
    pub const fn slowest(&self) -> Duration {
        self.slowest
    }

    /// Checks that the nodes have each value at most once, and none that was not sent. Unless writes may be lost, also
    /// that they have every write that was acknowledged. Returns the number of RPUSH and INCR that they have.
    #[track_caller]
    pub fn assert_stored(&self, stored: &mut Stored) -> u64 {
        let mut total = 0;
        for keys in &self.keys {
            let tag = &keys.tag;
            let what = format!("client {}, {tag}", self.number);
            let [list, count, _] = keys.names(self.number);
            let (mut values, count) = (stored.list(&list), stored.count(&count));
            let length = values.len();
            values.sort_unstable();
            values.dedup();
            assert_eq!(values.len(), length, "{what}: a value is stored twice");
            assert!(values.last().is_none_or(|last| *last <= keys.sent), "{what}: never sent");
            assert!(count <= keys.sent, "{what}: {count} increments of {} stored", keys.sent);
            if !self.may_lose {
                let values: BTreeSet<u64> = values.into_iter().collect();
                let lost: Vec<_> = keys.pushed.difference(&values).collect();
                assert!(lost.is_empty(), "{what}: acknowledged and lost: {lost:?}");
                let acknowledged = keys.increments;
                assert!(count >= acknowledged, "{what}: {acknowledged} acknowledged, {count} stored");
            }
            total += count + u64::try_from(length).expect("a count");
        }
        total
    }
}

impl Form {
    /// Writes the commands of one group.
    fn write(self, out: &mut Vec<u8>, [list, count, last]: &[String; 3], value: u64, text: &str) {
        let value = value.to_string();
        if let Self::Script = self {
            let words = ["EVAL", SCRIPT, "3", list, count, last, &value, text];
            return out.extend(encode(&words.map(str::as_bytes)));
        }
        let is_transaction = matches!(self, Self::Transaction);
        if is_transaction {
            out.extend(command("MULTI"));
        }
        for line in [
            format!("RPUSH {list} {value}"),
            format!("INCR {count}"),
            format!("SET {last} {text}"),
            format!("GET {last}"),
        ] {
            out.extend(command(&line));
        }
        if is_transaction {
            out.extend(command("EXEC"));
        }
    }
}

impl Keys {
    /// Returns the keys of a client: the list, the counter, and the newest value.
    fn names(&self, number: usize) -> [String; 3] {
        ["list", "count", "value"].map(|kind| format!("{{{}}}{kind}:{number}", self.tag))
    }

    /// Takes the replies to the commands of one group, of which `None` was an error. Returns the number of acknowledged
    /// writes, or what is wrong.
    fn take(
        &mut self,
        replies: &[Option<Reply>; 4],
        value: u64,
        may_lose: bool,
    ) -> Result<u64, &'static str> {
        let [push, increment, set, get] = replies;
        let mut acks = 0;
        match push {
            Some(Reply::Integer(_)) => {
                self.pushed.insert(value);
                acks += 1;
            }
            Some(_) => return Err("another reply than that of RPUSH"),
            None => {}
        }
        match increment {
            Some(Reply::Integer(count)) if may_lose || *count > self.count => {
                (self.count, self.increments) = (*count, self.increments + 1);
                acks += 1;
            }
            Some(_) => return Err("another reply than that of INCR, or an old count"),
            None => {}
        }
        match set {
            Some(Reply::Status(text)) if text == "OK" => {
                self.newest = value;
                acks += 1;
            }
            Some(_) => return Err("another reply than that of SET"),
            None => {}
        }
        let found = match get {
            None => return Ok(acks),
            Some(Reply::NullBulk | Reply::Null) => 0,
            Some(Reply::Bulk(text)) => {
                let text = String::from_utf8_lossy(text);
                let found = text.strip_prefix(&self.tag).and_then(|rest| rest.strip_prefix('='));
                let number = found.and_then(|rest| rest.split(';').next());
                number.and_then(|number| number.parse().ok()).ok_or("the value of another key")?
            }
            Some(_) => return Err("another reply than that of GET"),
        };
        if found > value {
            return Err("a value that was not sent");
        }
        if !may_lose && found < self.newest {
            return Err("an older value than one that was acknowledged or read");
        }
        self.newest = found;
        Ok(acks)
    }
}

/// The keys that the masters of a cluster have.
pub struct Stored {
    /// The masters.
    clients: BTreeMap<usize, Client>,
    /// The master of each key.
    homes: BTreeMap<String, usize>,
}

impl Stored {
    /// Finds the keys of all running masters.
    ///
    /// # Panics
    /// If two of them have the same key.
    pub fn of(cluster: &Cluster) -> Self {
        let mut stored = Self { clients: BTreeMap::new(), homes: BTreeMap::new() };
        for node in cluster.masters() {
            let mut client = cluster.node(node).control();
            for key in client.call("KEYS *").items() {
                let other = stored.homes.insert(key.text(), node);
                assert_eq!(other, None, "node {node} has {} too", key.text());
            }
            stored.clients.insert(node, client);
        }
        stored
    }

    fn list(&mut self, key: &str) -> Vec<u64> {
        let Some(client) = self.homes.get(key).and_then(|node| self.clients.get_mut(node)) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        loop {
            let (first, last) = (values.len(), values.len() + CHUNK - 1);
            let list = client.call(&format!("LRANGE {key} {first} {last}"));
            assert!(!list.is_error(), "{key}: {list}");
            values.extend(list.items().iter().map(|item| item.text().parse::<u64>().expect("a value")));
            if list.items().is_empty() {
                return values;
            }
        }
    }

    fn count(&mut self, key: &str) -> u64 {
        let Some(client) = self.homes.get(key).and_then(|node| self.clients.get_mut(node)) else { return 0 };
        let count = client.call(&format!("GET {key}"));
        count.text().parse().unwrap_or_else(|_| panic!("{key}: {count}"))
    }
}
