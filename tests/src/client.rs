//! A blocking client that sends any bytes and checks what it receives, byte by byte or reply by reply.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::inner::Search;
use crate::reply::Reply;
use crate::wait::PATIENCE;

pub struct Client {
    wire: Wire,
    /// The bytes that were received and not parsed yet.
    inbox: Vec<u8>,
    /// The bytes that go out with the next send, in the same write.
    held: Vec<u8>,
    /// The integer replies `:1 :2 ..` that come before the next reply that the test reads.
    lead: std::ops::RangeInclusive<usize>,
    /// Set if the peer hides the addresses behind it.
    search: Option<Search>,
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The way in which a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Eof,
    Reset,
    /// The stream ended without `close_notify` of TLS.
    Cut,
    /// The peer sent a TLS alert, or bytes that are not TLS.
    Alert,
}

/// Encodes a command as clients send it: an array of bulk strings.
pub fn encode(arguments: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Encodes the words of `line` with [`encode`].
pub fn command(line: &str) -> Vec<u8> {
    encode(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

impl Client {
    pub fn tcp(to: SocketAddr) -> Self {
        Self::over(Wire::Tcp(TcpStream::connect(to).expect("the server listens")))
    }

    /// Does the same as [`tcp`](Self::tcp), but returns the error if the server does not listen.
    pub fn try_tcp(to: SocketAddr) -> std::io::Result<Self> {
        TcpStream::connect(to).map(|stream| Self::over(Wire::Tcp(stream)))
    }

    /// Connects with a small receive buffer.
    pub fn tcp_narrow(to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a size");
        socket.connect(&to.into()).expect("the server listens");
        Self::over(Wire::Tcp(socket.into()))
    }

    /// Connects from the loopback address `from`.
    pub fn tcp_from(from: IpAddr, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(from, 0).into()).expect("a loopback address");
        // The connect has no timeout: with one, it would check the socket again and report a reset that follows the
        // connect.
        socket.connect(&to.into()).expect("the server listens");
        Self::over(Wire::Tcp(socket.into()))
    }

    /// Connects with TLS and the server name `name`, and completes the handshake.
    pub fn tls(to: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        Self::try_tls(to, config, name).unwrap_or_else(|error| panic!("no TLS: {error}"))
    }

    /// Does the same as [`tls`](Self::tls), but returns the error of a failed handshake. In TLS 1.3 the server checks
    /// a client certificate only after the handshake.
    pub fn try_tls(to: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        Self::try_tls_over(TcpStream::connect(to)?, config, name)
    }

    /// Does the same as [`try_tls`](Self::try_tls), but connects from the loopback address `from` and first sends the
    /// bytes of `first` in plain text.
    pub fn try_tls_from(
        from: IpAddr,
        to: SocketAddr,
        first: &[u8],
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&to.into())?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(first)?;
        Self::try_tls_over(stream, config, name)
    }

    fn try_tls_over(mut stream: TcpStream, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut session = ClientConnection::new(Arc::clone(config), name).expect("a config");
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self::over(Wire::Tls(Box::new(StreamOwned::new(session, stream)))))
    }

    /// Changes the keys for sending (TLS 1.3), and asks the peer to do the same.
    pub fn update_keys(&mut self) {
        match &mut self.wire {
            Wire::Tls(stream) => {
                stream.conn.refresh_traffic_keys().expect("TLS 1.3");
                // If the peer has closed, the next read shows it.
                let _ = stream.flush();
            }
            Wire::Tcp(_) | Wire::Unix(_) => panic!("not a TLS client"),
        }
    }

    /// Returns the certificate that the server presented.
    pub fn server_certificate(&self) -> Vec<u8> {
        match &self.wire {
            Wire::Tls(stream) => stream.conn.peer_certificates().expect("a certificate")[0].to_vec(),
            Wire::Tcp(_) | Wire::Unix(_) => panic!("not a TLS client"),
        }
    }

    pub fn unix(path: &Path) -> Self {
        Self::over(Wire::Unix(UnixStream::connect(path).expect("the server listens")))
    }

    /// Connects to a unix socket. `None` if no server listens there.
    pub fn try_unix(path: &Path) -> Option<Self> {
        UnixStream::connect(path).ok().map(|stream| Self::over(Wire::Unix(stream)))
    }

    fn over(wire: Wire) -> Self {
        let peer = match &wire {
            Wire::Tcp(stream) => stream.peer_addr().ok(),
            Wire::Tls(stream) => stream.sock.peer_addr().ok(),
            Wire::Unix(_) => None,
        };
        let client = Self {
            wire,
            inbox: Vec::new(),
            held: Vec::new(),
            lead: std::ops::RangeInclusive::new(1, 0),
            search: peer.and_then(Search::of),
        };
        if let Wire::Tcp(stream) = &client.wire {
            stream.set_nodelay(true).expect("a TCP socket");
        }
        client.set_timeout(PATIENCE);
        client
    }

    fn set_timeout(&self, timeout: Duration) {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match &self.wire {
            Wire::Tcp(s) => s.set_read_timeout(timeout).and_then(|()| s.set_write_timeout(timeout)),
            Wire::Unix(s) => s.set_read_timeout(timeout).and_then(|()| s.set_write_timeout(timeout)),
            Wire::Tls(s) => s.sock.set_read_timeout(timeout).and_then(|()| s.sock.set_write_timeout(timeout)),
        }
        .expect("a timeout above zero");
    }

    /// Returns the local address, as Redis and the proxy show it. Panics for a unix socket.
    pub fn local(&self) -> SocketAddr {
        match &self.wire {
            Wire::Tcp(stream) => stream.local_addr().expect("connected"),
            Wire::Tls(stream) => stream.sock.local_addr().expect("connected"),
            Wire::Unix(_) => panic!("a unix socket has no address"),
        }
    }

    /// Returns a second handle for a thread that only writes.
    pub fn writer(&self) -> Box<dyn Write + Send> {
        match &self.wire {
            Wire::Tcp(stream) => Box::new(stream.try_clone().expect("a file descriptor")),
            Wire::Unix(stream) => Box::new(stream.try_clone().expect("a file descriptor")),
            Wire::Tls(_) => panic!("TLS has one handle"),
        }
    }

    /// Holds `bytes` until the next [`send_raw`](Self::send_raw), so that they arrive together.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Holds `count` INCRs of `key`. The client checks their replies before it reads another reply.
    pub fn lead(&mut self, key: &str, count: usize) {
        let incr = command(&format!("INCR {key}"));
        for _ in 0..count {
            self.hold(&incr);
        }
        self.lead = 1..=count;
    }

    /// Sends a command whose words are separated by spaces.
    #[track_caller]
    pub fn send(&mut self, line: &str) {
        self.send_raw(&command(line));
    }

    #[track_caller]
    pub fn send_args(&mut self, arguments: &[&[u8]]) {
        self.send_raw(&encode(arguments));
    }

    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_send_raw(bytes) {
            panic!("cannot send: {error}");
        }
    }

    pub fn try_send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut out = std::mem::take(&mut self.held);
        out.extend_from_slice(bytes);
        match &mut self.wire {
            Wire::Tcp(stream) => stream.write_all(&out),
            Wire::Unix(stream) => stream.write_all(&out),
            Wire::Tls(stream) => stream.write_all(&out).and_then(|()| stream.flush()),
        }
    }

    /// Sends a command and returns its reply.
    #[track_caller]
    pub fn call(&mut self, line: &str) -> Reply {
        self.send(line);
        self.recv()
    }

    /// Sends a command and checks its reply, in the notation of [`crate::reply`].
    #[track_caller]
    pub fn assert_reply(&mut self, line: &str, reply: &str) {
        self.send(line);
        self.assert_recv(reply);
    }

    /// Returns the next reply.
    #[track_caller]
    pub fn recv(&mut self) -> Reply {
        self.recv_lead();
        self.recv_one()
    }

    /// Checks the next reply, in the notation of [`crate::reply`].
    #[track_caller]
    pub fn assert_recv(&mut self, reply: &str) {
        let got = self.recv().to_string();
        assert_eq!(
            got,
            reply,
            "reply (left) differs from the expected one (right); next bytes: {}",
            self.rest()
        );
    }

    /// Checks that the next bytes are exactly these.
    #[track_caller]
    pub fn assert_recv_raw(&mut self, bytes: &[u8]) {
        self.recv_lead();
        while self.inbox.len() < bytes.len() {
            if let Err(end) = self.fill(PATIENCE) {
                panic!("{end} after {}, expected: {}", self.inbox.escape_ascii(), bytes.escape_ascii());
            }
        }
        let got: Vec<u8> = self.inbox.drain(..bytes.len()).collect();
        assert_eq!(got.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    }

    /// Sends an ECHO of `text` and checks that its reply comes next. So no reply is missing, and none is left over.
    #[track_caller]
    pub fn assert_in_step(&mut self, text: &str) {
        self.send_args(&[b"ECHO", text.as_bytes()]);
        self.assert_recv(&format!("\"{text}\""));
    }

    /// Checks that no bytes arrive within `duration`.
    #[track_caller]
    pub fn assert_silent_for(&mut self, duration: Duration) {
        self.recv_lead();
        if self.inbox.is_empty()
            && let Err(end) = self.fill(duration)
        {
            assert_eq!(end, Pause::Timeout, "the peer closed instead of staying silent");
        }
        assert!(self.inbox.is_empty(), "unexpected bytes: {}", self.inbox.escape_ascii());
    }

    /// Checks that the peer closes the connection and sends nothing before.
    #[track_caller]
    pub fn assert_closed(&mut self) -> End {
        let (rest, end) = self.read_to_end();
        assert!(rest.is_empty(), "unexpected bytes before the close: {}", rest.escape_ascii());
        end
    }

    /// Reads until the peer closes. Returns the bytes, and how the stream ended.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        self.recv_lead();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.fill(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => (),
                Err(Pause::End(end)) => return (std::mem::take(&mut self.inbox), end),
                Err(Pause::Timeout) => {
                    panic!("not closed within {PATIENCE:?}; received {}", self.inbox.escape_ascii())
                }
            }
        }
    }

    /// Appends `length` bytes to `into`, or fewer if the stream ends. Returns whether all of them arrived.
    pub fn read_up_to(&mut self, length: usize, into: &mut Vec<u8>) -> bool {
        let goal = into.len() + length;
        while self.inbox.len() < length && self.fill(PATIENCE).is_ok() {}
        let count = self.inbox.len().min(length);
        into.extend(self.inbox.drain(..count));
        into.len() == goal
    }

    /// Reads `length` bytes, passes them to `look` and drops them.
    pub fn read_through(&mut self, length: u64, mut look: impl FnMut(&[u8])) {
        let mut left = length;
        let mut buffer = vec![0; 256 * 1024];
        let kept = usize::try_from(left).unwrap_or(usize::MAX).min(self.inbox.len());
        look(&self.inbox[..kept]);
        self.inbox.drain(..kept);
        left -= u64::try_from(kept).expect("a length");
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = self.receive(&mut buffer[..room]).expect("more bytes");
            assert!(count > 0, "closed, {left} bytes early");
            look(&buffer[..count]);
            left -= u64::try_from(count).expect("a length");
        }
    }

    /// Closes the write side. Replies can still be read.
    pub fn half_close(&mut self) {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Wire::Unix(stream) => stream.shutdown(Shutdown::Write),
            Wire::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().and_then(|()| stream.sock.shutdown(Shutdown::Write))
            }
        }
        .expect("connected");
    }

    /// Closes the connection with a reset.
    pub fn abort(self) {
        let stream = match &self.wire {
            Wire::Tcp(stream) => stream,
            Wire::Tls(stream) => &stream.sock,
            Wire::Unix(_) => return,
        };
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    #[track_caller]
    fn recv_lead(&mut self) {
        for number in std::mem::replace(&mut self.lead, std::ops::RangeInclusive::new(1, 0)) {
            let reply = self.recv_one();
            assert_eq!(reply.to_string(), format!(":{number}"), "a reply of the pipeline before the test");
        }
    }

    #[track_caller]
    fn recv_one(&mut self) -> Reply {
        loop {
            if let Some((reply, length)) = Reply::parse(&self.inbox) {
                self.inbox.drain(..length);
                return reply;
            }
            if let Err(pause) = self.fill(PATIENCE) {
                panic!("{pause} instead of a reply; received so far: {}", self.inbox.escape_ascii());
            }
        }
    }

    /// Returns the next reply, or how the stream ended before the reply was complete.
    ///
    /// # Panics
    /// If neither happens within [`PATIENCE`].
    #[track_caller]
    pub fn try_recv(&mut self) -> Result<Reply, End> {
        loop {
            if let Some((reply, length)) = Reply::parse(&self.inbox) {
                self.inbox.drain(..length);
                return Ok(reply);
            }
            match self.fill(PATIENCE) {
                Ok(()) => {}
                Err(Pause::End(end)) => return Err(end),
                Err(Pause::Timeout) => panic!("no reply; received so far: {}", self.inbox.escape_ascii()),
            }
        }
    }

    /// Returns the next bytes, for the message of a failure.
    fn rest(&mut self) -> String {
        let _ = self.fill(Duration::from_millis(100));
        self.inbox[..self.inbox.len().min(500)].escape_ascii().to_string()
    }

    fn fill(&mut self, timeout: Duration) -> Result<(), Pause> {
        self.set_timeout(timeout);
        let mut buffer = [0; 64 * 1024];
        let received = self.receive(&mut buffer);
        self.set_timeout(PATIENCE);
        match received {
            Ok(0) => Err(Pause::End(End::Eof)),
            Ok(count) => {
                self.inbox.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Pause::Timeout),
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Err(Pause::End(End::Reset))
            }
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(Pause::End(End::Cut)),
            Err(e) if e.kind() == ErrorKind::InvalidData => Err(Pause::End(End::Alert)),
            Err(e) => panic!("cannot read: {e}"),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let received = match &mut self.wire {
                Wire::Tcp(stream) => stream.read(buffer),
                Wire::Unix(stream) => stream.read(buffer),
                Wire::Tls(stream) => stream.read(buffer),
            };
            match received {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Ok(count) => self.search(&buffer[..count]),
                Err(_) => {}
            }
            return received;
        }
    }

    /// Checks that no address behind the proxy is among the bytes.
    fn search(&mut self, bytes: &[u8]) {
        if let Some(found) = self.search.as_mut().and_then(|search| search.find(bytes)) {
            panic!("the client read an inner address: {found}");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    Timeout,
    End(End),
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "silence",
            Self::End(End::Eof) => "closed",
            Self::End(End::Reset) => "reset",
            Self::End(End::Cut) => "cut off",
            Self::End(End::Alert) => "ended with an alert",
        })
    }
}
