//! A crowd of clients of every kind sends a million commands, and clients disconnect at any moment. Each client
//! receives only its own replies.
//!
//! Every value contains the number of its client, of that client's connection and of the command. `E2E_OPERATIONS`
//! sets the number of commands that must get a correct reply (default: a million), `E2E_SEED` selects the commands.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::client::encode;
use e2e::fake::bulk;
use e2e::random::number;
use e2e::{Gate, PATIENCE, Random, Redis, Reply, own_turn};

const MEMBERS: u64 = 32;
const DATABASES: usize = 3;
const SLOTS: usize = 8;

/// The most commands in a pipeline. A pipeline fits into the buffers of the sockets, because a member reads only after
/// it has written everything.
const DEEPEST: usize = 200;

/// The number of batches in one cycle. A quarter of them uses MULTI and scripts.
const SPELL: usize = 200;

#[test]
fn a_million_operations() {
    let _turn = own_turn();
    let crowd =
        Crowd { goal: number("E2E_OPERATIONS", 1_000_000), seed: number("E2E_SEED", 1), ..Crowd::default() };
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .upstream("connections: shared")
        .top("workers: 2")
        .start();
    let started = Instant::now();
    thread::scope(|scope| {
        let members: Vec<_> = (0..MEMBERS)
            .map(|number| {
                let (crowd, to) = (&crowd, gate.address());
                scope.spawn(move || Member::new(number, crowd, to).live())
            })
            .collect();
        let killing = scope.spawn(|| {
            let mut control = redis.control();
            // The longest pause is long enough for clients to give back their leases.
            for rest in [300, 700, 2500].into_iter().cycle().take_while(|_| !crowd.is_over()) {
                thread::sleep(Duration::from_millis(rest));
                control.call("CLIENT KILL TYPE normal");
                crowd.killed.fetch_add(1, Ordering::Relaxed);
            }
        });
        let failed = members.into_iter().map(thread::ScopedJoinHandle::join).filter(Result::is_err).count();
        killing.join().expect("it only kills");
        assert_eq!(failed, 0, "members that read foreign replies (seed {})", crowd.seed);
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (answered, left, cut, killed) =
        (count(&crowd.answered), count(&crowd.left), count(&crowd.cut), count(&crowd.killed));
    // The number is printed on success as well, because the test exists for it.
    let _ = writeln!(
        std::io::stderr().lock(),
        "{answered} answers in {:?}; {left} clients left, {cut} were cut in {killed} kills",
        started.elapsed()
    );
    assert!(answered >= crowd.goal);
    assert!(
        left > 0 && cut > 0 && killed > 0,
        "no client was disturbed: {left} left, {cut} cut, {killed} kills"
    );
}

#[derive(Default)]
struct Crowd {
    goal: u64,
    seed: u64,
    answered: AtomicU64,
    /// The number of clients that disconnected in the middle.
    left: AtomicU64,
    /// The number of clients whose connection to Redis ended while they waited.
    cut: AtomicU64,
    killed: AtomicU64,
    failed: AtomicBool,
}

impl Crowd {
    fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.answered.load(Ordering::Relaxed) >= self.goal
    }
}

struct Member<'c> {
    number: u64,
    crowd: &'c Crowd,
    to: SocketAddr,
    random: Random,
    generation: u64,
}

/// The data in Redis that a member knows, since the start of its connection.
struct Model {
    name: String,
    resp3: bool,
    /// Whether the member sometimes needs a connection of its own.
    stateful: bool,
    batches: usize,
    database: usize,
    values: [[Option<String>; SLOTS]; DATABASES],
    counters: [u64; DATABASES],
    has_list: [bool; DATABASES],
    questions: u64,
}

/// Commands in a row, and the expected replies.
#[derive(Default)]
struct Batch {
    request: Vec<u8>,
    due: Vec<u8>,
    /// The offset at which each reply ends.
    ends: Vec<usize>,
}

/// The reason why a member makes a new connection.
enum End {
    Left,
    Cut,
    Over,
}

impl<'c> Member<'c> {
    fn new(number: u64, crowd: &'c Crowd, to: SocketAddr) -> Self {
        Self { number, crowd, to, random: Random::new(crowd.seed * 1000 + number), generation: 0 }
    }

    fn live(mut self) {
        let _failing = Failing(self.crowd);
        while !self.crowd.is_over() {
            self.generation += 1;
            match self.connection() {
                End::Left => self.crowd.left.fetch_add(1, Ordering::Relaxed),
                End::Cut => self.crowd.cut.fetch_add(1, Ordering::Relaxed),
                End::Over => 0,
            };
        }
    }

    fn connection(&mut self) -> End {
        let mut stream = TcpStream::connect(self.to).expect("the gate listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut model = Model::new(self.number, self.generation, &mut self.random);
        if model.resp3 && !hello(&mut stream) {
            return End::Cut;
        }
        while !self.crowd.is_over() {
            let batch = model.batch(&mut self.random);
            let leaves = self.number.is_multiple_of(3) && self.random.below(10) == 0;
            if leaves {
                self.leave(stream, &batch);
                return End::Left;
            }
            if stream.write_all(&batch.request).is_err() {
                // The proxy may have sent bytes before it closed the connection, and these must be correct too.
                self.read(&mut stream, &batch);
                return End::Cut;
            }
            if !self.read(&mut stream, &batch) {
                return End::Cut;
            }
        }
        End::Over
    }

    /// Disconnects in the middle of writing, in the middle of reading, or between the two, with or without QUIT.
    fn leave(&mut self, mut stream: TcpStream, batch: &Batch) {
        let sent = match self.random.below(2) {
            0 => self.random.below(batch.request.len()),
            _ => batch.request.len(),
        };
        let _ = stream.write_all(&batch.request[..sent]);
        if sent == batch.request.len() && self.random.below(2) == 0 {
            let part = self.random.below(batch.due.len());
            let mut got = vec![0; part];
            let mut filled = 0;
            while filled < part {
                match stream.read(&mut got[filled..]) {
                    Ok(count) if count > 0 => filled += count,
                    _ => break,
                }
            }
            self.check(batch, &got[..filled]);
        }
        if self.random.below(2) == 0 {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
        }
        thread::sleep(Duration::from_micros(self.random.below(2000) as u64));
    }

    /// Reads all replies. Returns false if the connection closed after a part of them. An error line of the proxy may
    /// come before the close.
    fn read(&self, stream: &mut TcpStream, batch: &Batch) -> bool {
        let mut got = Vec::with_capacity(batch.due.len());
        let mut buffer = [0; 32 * 1024];
        while got != batch.due {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    self.check(batch, &got);
                    return false;
                }
                Ok(count) => {
                    got.extend_from_slice(&buffer[..count]);
                    if !batch.due.starts_with(&got) {
                        self.check(batch, &got);
                        return false;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    self.check(batch, &got);
                    return false;
                }
                Err(error) => panic!("{error} after {} of {} bytes", got.len(), batch.due.len()),
            }
        }
        self.crowd.answered.fetch_add(batch.ends.len() as u64, Ordering::Relaxed);
        true
    }

    /// Checks that the bytes are the member's own replies up to some point, and then at most one error line of the
    /// proxy.
    #[track_caller]
    fn check(&self, batch: &Batch, got: &[u8]) {
        let same = got.iter().zip(&batch.due).take_while(|(a, b)| a == b).count();
        let whole = batch.ends.iter().copied().take_while(|end| *end <= same).last().unwrap_or(0);
        self.crowd
            .answered
            .fetch_add(batch.ends.iter().take_while(|end| **end <= same).count() as u64, Ordering::Relaxed);
        if same == got.len() {
            return;
        }
        let line = &got[whole..];
        let told = line.starts_with(b"-ERR portcullis: ") || b"-ERR portcullis: ".starts_with(line);
        assert!(
            told,
            "member {}, connection {}: {} instead of {}",
            self.number,
            self.generation,
            line.escape_ascii(),
            batch.due[whole..].escape_ascii().to_string().chars().take(line.len() + 200).collect::<String>()
        );
    }
}

/// Switches to RESP3. Returns `false` if the proxy could not.
fn hello(stream: &mut TcpStream) -> bool {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    if stream.write_all(&encode(&[b"HELLO", b"3"])).is_err() {
        return false;
    }
    loop {
        match Reply::parse(&got) {
            Some((reply, length)) => {
                assert_eq!(length, got.len(), "more bytes than expected: {}", got.escape_ascii());
                assert!(!reply.is_error() || reply.text().starts_with("ERR portcullis: "), "{reply}");
                return !reply.is_error();
            }
            None => match stream.read(&mut buffer) {
                Ok(count) if count > 0 => got.extend_from_slice(&buffer[..count]),
                _ => return false,
            },
        }
    }
}

impl Model {
    fn new(number: u64, generation: u64, random: &mut Random) -> Self {
        Self {
            name: format!("{number}.{generation}"),
            resp3: random.below(3) == 0,
            stateful: number % 2 == 1,
            batches: 0,
            database: 0,
            values: Default::default(),
            counters: [0; DATABASES],
            has_list: [false; DATABASES],
            questions: 0,
        }
    }

    fn batch(&mut self, random: &mut Random) -> Batch {
        let mut batch = Batch::default();
        let depth = if random.below(4) == 0 { 1 } else { 1 + random.below(DEEPEST) };
        self.batches += 1;
        // Periods with state and periods without state alternate.
        let kinds = if self.stateful && self.batches % SPELL < SPELL / 4 { 104 } else { 100 };
        while batch.ends.len() < depth {
            self.questions += 1;
            match random.below(kinds) {
                0..30 => self.get(&mut batch, random),
                30..50 => self.set(&mut batch, random),
                50..60 => self.mget(&mut batch, random),
                60..75 => self.echo(&mut batch),
                75..83 => self.list(&mut batch),
                83..93 => self.incr(&mut batch),
                93..96 => batch.call(&[b"PING"], b"+PONG\r\n"),
                96..98 => self.wrong(&mut batch),
                98..100 => self.select(&mut batch, random),
                100..102 => self.transaction(&mut batch, random),
                _ => self.script(&mut batch),
            }
        }
        batch
    }

    fn key(&self, slot: usize) -> String {
        format!("k:{}:{slot}", self.name)
    }

    fn text(&self, kind: &str) -> String {
        format!("{kind}:{}:{}", self.name, self.questions)
    }

    fn known(&self, slot: usize) -> Vec<u8> {
        match &self.values[self.database][slot] {
            Some(value) => bulk(value),
            None if self.resp3 => b"_\r\n".to_vec(),
            None => b"$-1\r\n".to_vec(),
        }
    }

    fn get(&self, batch: &mut Batch, random: &mut Random) {
        let slot = random.below(SLOTS);
        batch.call(&[b"GET", self.key(slot).as_bytes()], &self.known(slot));
    }

    fn set(&mut self, batch: &mut Batch, random: &mut Random) {
        let slot = random.below(SLOTS);
        let mut value = self.text(&format!("v{}", self.database));
        if random.below(20) == 0 {
            value += &"+".repeat(random.below(3000));
        }
        batch.call(&[b"SET", self.key(slot).as_bytes(), value.as_bytes()], b"+OK\r\n");
        self.values[self.database][slot] = Some(value);
    }

    fn mget(&self, batch: &mut Batch, random: &mut Random) {
        let slots: Vec<usize> = (0..3).map(|_| random.below(SLOTS)).collect();
        let keys: Vec<String> = slots.iter().map(|slot| self.key(*slot)).collect();
        let words: Vec<&[u8]> =
            std::iter::once(b"MGET".as_slice()).chain(keys.iter().map(|key| key.as_bytes())).collect();
        let mut due = b"*3\r\n".to_vec();
        slots.iter().for_each(|slot| due.extend(self.known(*slot)));
        batch.call(&words, &due);
    }

    fn echo(&self, batch: &mut Batch) {
        let text = self.text("echo");
        batch.call(&[b"ECHO", text.as_bytes()], &bulk(&text));
    }

    fn list(&mut self, batch: &mut Batch) {
        let key = format!("l:{}", self.name);
        let elements: [String; 3] =
            std::array::from_fn(|n| format!("element:{}:{}:{n}", self.name, self.database));
        if !self.has_list[self.database] {
            self.has_list[self.database] = true;
            let [a, b, c] = &elements;
            batch.call(&[b"RPUSH", key.as_bytes(), a.as_bytes(), b.as_bytes(), c.as_bytes()], b":3\r\n");
        }
        let due = elements.iter().fold(b"*3\r\n".to_vec(), |mut due, element| {
            due.extend(bulk(element));
            due
        });
        batch.call(&[b"LRANGE", key.as_bytes(), b"0", b"-1"], &due);
    }

    fn incr(&mut self, batch: &mut Batch) {
        let counter = &mut self.counters[self.database];
        *counter += 1;
        let due = format!(":{counter}\r\n");
        batch.call(&[b"INCR", format!("n:{}", self.name).as_bytes()], due.as_bytes());
    }

    fn wrong(&mut self, batch: &mut Batch) {
        self.list(batch);
        batch.call(
            &[b"INCR", format!("l:{}", self.name).as_bytes()],
            b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        );
    }

    fn select(&mut self, batch: &mut Batch, random: &mut Random) {
        self.database = random.below(DATABASES);
        batch.call(&[b"SELECT", self.database.to_string().as_bytes()], b"+OK\r\n");
    }

    fn transaction(&mut self, batch: &mut Batch, random: &mut Random) {
        batch.call(&[b"MULTI"], b"+OK\r\n");
        let mut queued = Batch::default();
        for _ in 0..1 + random.below(3) {
            self.questions += 1;
            self.get(&mut queued, random);
            self.set(&mut queued, random);
            self.incr(&mut queued);
        }
        batch.request.extend_from_slice(&queued.request);
        for _ in &queued.ends {
            batch.expect(b"+QUEUED\r\n");
        }
        let mut due = format!("*{}\r\n", queued.ends.len()).into_bytes();
        due.extend_from_slice(&queued.due);
        batch.call(&[b"EXEC"], &due);
    }

    fn script(&self, batch: &mut Batch) {
        let text = self.text("script");
        let mut due = b"*2\r\n".to_vec();
        due.extend(bulk(&text));
        due.extend(bulk(&self.name));
        batch.call(
            &[b"EVAL", b"return {KEYS[1], ARGV[1]}", b"1", text.as_bytes(), self.name.as_bytes()],
            &due,
        );
    }
}

impl Batch {
    fn call(&mut self, words: &[&[u8]], due: &[u8]) {
        self.request.extend(encode(words));
        self.expect(due);
    }

    fn expect(&mut self, due: &[u8]) {
        self.due.extend_from_slice(due);
        self.ends.push(self.due.len());
    }
}

/// Stops the other threads if one fails.
struct Failing<'c>(&'c Crowd);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
    }
}
