//! An upstream that answers as a test decides, and records the commands of each connection.
//!
//! Without a script it is a small Redis: the reply to `GET k` is `"k@0"` in database 0. So a value names its key and
//! its database.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use crate::wait::eventually;

/// The words of a command.
pub type Words = Vec<Vec<u8>>;

/// Chooses the answer to a command. `None` means the default answer.
type Script = dyn Fn(&[&str]) -> Option<Answer> + Send + Sync;

pub enum Answer {
    Bytes(Vec<u8>),
    /// The first part at once, and the second after [`Fake::release`]. The connection waits until then.
    Held(Vec<u8>, Vec<u8>),
    /// The default answer, sent after [`Fake::release`].
    Late,
    /// No answer. Later commands are answered.
    Nothing,
    /// These bytes. Then the connection is closed.
    Last(Vec<u8>),
    /// These bytes again and again until the peer closes, or until 64 MiB are sent.
    Endless(Vec<u8>),
}

impl Answer {
    pub fn line(text: &str) -> Option<Self> {
        Some(Self::Bytes(format!("{text}\r\n").into_bytes()))
    }

    /// Returns an answer that is held completely until [`Fake::release`].
    pub fn held(bytes: &[u8]) -> Option<Self> {
        Some(Self::Held(Vec::new(), bytes.to_vec()))
    }
}

pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    connections: Mutex<Vec<Connection>>,
    held: Mutex<bool>,
    released: Condvar,
    over: AtomicBool,
}

/// One connection of the fake upstream.
struct Connection {
    stream: TcpStream,
    commands: Vec<String>,
    open: bool,
}

impl Fake {
    /// Starts an upstream that first asks `script` for the answer. It holds held answers until
    /// [`release`](Self::release).
    pub fn start(script: impl Fn(&[&str]) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            connections: Mutex::default(),
            held: Mutex::new(true),
            released: Condvar::new(),
            over: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || server.accept(&listener));
        Self { address, shared }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sends the held answers. Later answers are not held.
    pub fn release(&self) {
        *lock(&self.shared.held) = false;
        self.shared.released.notify_all();
    }

    /// Holds answers from now on.
    pub fn hold(&self) {
        *lock(&self.shared.held) = true;
    }

    /// Returns the connections on which `command` arrived, oldest first.
    pub fn connections_with(&self, command: &str) -> Vec<usize> {
        let connections = lock(&self.shared.connections);
        (0..connections.len())
            .filter(|i| connections[*i].commands.iter().any(|sent| sent == command))
            .collect()
    }

    /// Waits until `command` arrives, and returns the last connection on which it arrived.
    #[track_caller]
    pub fn connection_with(&self, command: &str) -> usize {
        eventually(&format!("{command} arrives"), || self.connections_with(command).last().copied())
    }

    /// Returns the commands that a connection has received so far.
    pub fn commands_on(&self, connection: usize) -> Vec<String> {
        lock(&self.shared.connections)[connection].commands.clone()
    }

    pub fn is_open(&self, connection: usize) -> bool {
        lock(&self.shared.connections)[connection].open
    }

    #[track_caller]
    pub fn assert_left(&self, connection: usize) {
        eventually("the gate closes the connection", || (!self.is_open(connection)).then_some(()));
    }

    /// Returns the number of open connections that received other commands than those of a health check.
    pub fn in_use(&self) -> usize {
        let connections = lock(&self.shared.connections);
        let probes = |command: &String| command == "PING" || command.starts_with("AUTH ");
        connections
            .iter()
            .filter(|connection| connection.open && !connection.commands.iter().all(probes))
            .count()
    }

    /// Sends bytes that are not the answer to a command.
    pub fn send(&self, connection: usize, bytes: &[u8]) {
        let mut stream =
            lock(&self.shared.connections)[connection].stream.try_clone().expect("a file descriptor");
        // The proxy may have closed the connection, and then these bytes cannot mislead a client.
        let _ = stream.write_all(bytes);
    }

    /// Closes a connection at once.
    pub fn close(&self, connection: usize) {
        let _ = lock(&self.shared.connections)[connection].stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.release();
        for connection in lock(&self.shared.connections).iter() {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        // This connection wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            stream.set_nodelay(true).expect("a TCP socket");
            let mut connections = lock(&self.connections);
            let number = connections.len();
            let kept = stream.try_clone().expect("a file descriptor");
            connections.push(Connection { stream: kept, commands: Vec::new(), open: true });
            let shared = Arc::clone(self);
            thread::spawn(move || {
                Server { shared: &shared, number, stream, database: 0, resp3: false, queue: None }.serve();
                lock(&shared.connections)[number].open = false;
            });
        }
    }

    /// Waits until [`Fake::release`] is called or the test ends.
    fn wait(&self) {
        let mut held = lock(&self.held);
        while *held && !self.over.load(Ordering::SeqCst) {
            held = self.released.wait(held).expect("no test panics with the lock");
        }
    }
}

/// The state of one connection, as its thread serves it.
struct Server<'s> {
    shared: &'s Shared,
    number: usize,
    stream: TcpStream,
    database: usize,
    resp3: bool,
    /// The replies for EXEC. `None` outside MULTI.
    queue: Option<Vec<Vec<u8>>>,
}

impl Server<'_> {
    fn serve(&mut self) {
        let mut inbox = Vec::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            while let Some((words, length)) = parse(&inbox) {
                inbox.drain(..length);
                if self.answer(&words).is_none() {
                    let _ = self.stream.shutdown(Shutdown::Both);
                    return;
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => inbox.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Answers a command. `None` if the connection must end.
    fn answer(&mut self, words: &Words) -> Option<()> {
        let text: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let text: Vec<&str> = text.iter().map(String::as_str).collect();
        lock(&self.shared.connections)[self.number].commands.push(text.join(" "));
        match (self.shared.script)(&text) {
            None => {
                let reply = self.usual(&text);
                self.write(&reply)
            }
            Some(Answer::Bytes(bytes)) => self.write(&bytes),
            Some(Answer::Late) => {
                self.shared.wait();
                let reply = self.usual(&text);
                self.write(&reply)
            }
            Some(Answer::Nothing) => Some(()),
            Some(Answer::Held(first, rest)) => {
                self.write(&first)?;
                self.shared.wait();
                self.write(&rest)
            }
            Some(Answer::Last(bytes)) => {
                self.write(&bytes)?;
                None
            }
            Some(Answer::Endless(bytes)) => {
                for _ in 0..(64 << 20) / bytes.len() {
                    self.write(&bytes)?;
                }
                None
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    /// Returns the default answer. Inside MULTI, queues the command.
    fn usual(&mut self, words: &[&str]) -> Vec<u8> {
        let name = words[0].to_ascii_uppercase();
        match (&mut self.queue, name.as_str()) {
            (Some(_), "EXEC") => {
                let replies = self.queue.take().unwrap_or_default();
                let mut out = format!("*{}\r\n", replies.len()).into_bytes();
                out.extend(replies.concat());
                out
            }
            (Some(_), "DISCARD") => {
                self.queue = None;
                b"+OK\r\n".to_vec()
            }
            (Some(_), _) => {
                let reply = self.plain(&name, words);
                if let Some(queue) = &mut self.queue {
                    queue.push(reply);
                }
                b"+QUEUED\r\n".to_vec()
            }
            (None, "MULTI") => {
                self.queue = Some(Vec::new());
                b"+OK\r\n".to_vec()
            }
            (None, _) => self.plain(&name, words),
        }
    }

    fn plain(&mut self, name: &str, words: &[&str]) -> Vec<u8> {
        let nil = if self.resp3 { "_\r\n" } else { "$-1\r\n" };
        match (name, &words[1..]) {
            ("PING", []) => b"+PONG\r\n".to_vec(),
            ("PING" | "ECHO", [text]) => bulk(text),
            ("GET", ["none"]) => nil.into(),
            ("GET", [key]) => bulk(&format!("{key}@{}", self.database)),
            ("MGET", keys) => {
                let mut out = format!("*{}\r\n", keys.len()).into_bytes();
                keys.iter().for_each(|key| out.extend(bulk(&format!("{key}@{}", self.database))));
                out
            }
            ("SELECT", [index]) => match index.parse() {
                Ok(index) if index < 16 => {
                    self.database = index;
                    b"+OK\r\n".to_vec()
                }
                _ => b"-ERR DB index is out of range\r\n".to_vec(),
            },
            // The proxy sends this command before a command that blocks.
            ("CLIENT", ["ID"]) => format!(":{}\r\n", self.number + 1).into_bytes(),
            ("HELLO", rest) => {
                self.resp3 = rest.first().map_or(self.resp3, |version| *version == "3");
                self.hello()
            }
            ("AUTH" | "SET" | "WATCH" | "UNWATCH" | "CLIENT" | "MONITOR", _) => b"+OK\r\n".to_vec(),
            ("RESET", _) => {
                (self.database, self.resp3) = (0, false);
                b"+RESET\r\n".to_vec()
            }
            ("SUBSCRIBE", [channel]) => {
                let kind = if self.resp3 { '>' } else { '*' };
                let mut out = format!("{kind}3\r\n").into_bytes();
                out.extend(bulk("subscribe"));
                out.extend(bulk(channel));
                out.extend(b":1\r\n");
                out
            }
            _ => format!("-ERR unknown command '{}'\r\n", words[0].replace(['\r', '\n'], " ")).into_bytes(),
        }
    }

    fn hello(&self) -> Vec<u8> {
        let (head, proto) = if self.resp3 { ("%7", 3) } else { ("*14", 2) };
        format!(
            "{head}\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:{proto}\r\n\
             $2\r\nid\r\n:{}\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
             $7\r\nmodules\r\n*0\r\n",
            self.number + 1
        )
        .into_bytes()
    }
}

/// Encodes a bulk string.
pub fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

/// Parses the first command in `bytes`. Returns its words and its length. `None` if it is not complete.
///
/// # Panics
/// If the bytes are not an array of bulk strings, because the proxy sends nothing else.
fn parse(bytes: &[u8]) -> Option<(Words, usize)> {
    let (count, mut at) = header(bytes, b'*', 0)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, body) = header(bytes, b'$', at)?;
        at = body + length + 2;
        words.push(bytes.get(body..at)?[..length].to_vec());
    }
    Some((words, at))
}

fn header(bytes: &[u8], kind: u8, at: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|window| window == b"\r\n")?;
    assert_eq!(rest[0], kind, "the gate sends {}", rest.escape_ascii());
    let number =
        std::str::from_utf8(&rest[1..end]).ok().and_then(|text| text.parse().ok()).expect("a number");
    Some((number, at + end + 2))
}

/// Locks a mutex and ignores poisoning: the test that failed while it held the lock has reported its own error.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
