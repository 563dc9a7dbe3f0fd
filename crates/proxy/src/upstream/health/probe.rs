//! One probe: AUTH and PING on a connection that is reused for the next probe.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_config::tls::TlsFault;
use portcullis_config::{Tcp, Upstream};
use portcullis_resp::encode;
use portcullis_resp::scan::{Reply, ReplyScanner};
use portcullis_resp::value::{self, Value};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::net::stream::Stream;
use crate::upstream::connect::connect;
use crate::upstream::view::ViewCell;

use super::fault::{self, Answer, Fault};

/// The limit of received bytes. Replies to PING and AUTH have less than a hundred bytes; a longer answer does not
/// come from Redis.
const MAX_REPLIES: usize = 64 << 10;
const READ: usize = 4 << 10;
/// The time after which the connection of a probe is replaced. So the probe also notices a name with a new address,
/// or a port that does not accept connections any more.
const KEEP: Duration = Duration::from_secs(5);

/// The pause before a second try. It is long enough for a healthy Redis to notice that a connection is closed.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// The upstream of a probe, and how strict the probe is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) upstream: Arc<Upstream>,
    pub(super) tcp: Tcp,
    /// Whether a listener with `auth: trust` uses the upstream. If so, NOAUTH as the reply to PING is a failure.
    pub(super) login_required: bool,
}

#[derive(Debug)]
pub(super) struct Prober {
    target: Target,
    view: Rc<ViewCell>,
    /// AUTH, if there are credentials, and PING. AUTH is sent each time: after a password change in Redis, an old
    /// connection stays logged in, but a new one cannot log in.
    request: Zeroizing<Vec<u8>>,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    stream: Stream,
    since: Instant,
}

impl Prober {
    pub(super) fn new(target: Target, view: Rc<ViewCell>) -> Self {
        let request = request(&target.upstream);
        Self { target, view, request, kept: None }
    }

    /// Drops the kept connection, so that the next probe opens another.
    pub(super) fn distrust(&mut self) {
        self.kept = None;
    }

    /// Probes once. Each address and the exchange of commands has its own `connect_timeout`.
    pub(super) async fn probe(&mut self) -> Result<(), Fault> {
        if let Some(mut kept) = self.kept.take().filter(|kept| self.is_still_good(kept)) {
            match self.ask(&mut kept.stream).await {
                // Redis may have restarted, or may have closed the idle connection. A new connection shows which.
                Err(Fault::Lost(_) | Fault::Tls { alert: false }) => {}
                result => return self.keep(kept, result),
            }
        }
        let (mut fresh, mut result) = self.ask_anew().await?;
        if result.as_ref().is_err_and(Fault::may_pass) {
            tokio::time::sleep(SECOND_LOOK).await;
            (fresh, result) = self.ask_anew().await?;
        }
        self.keep(fresh, result)
    }

    fn is_still_good(&self, kept: &Kept) -> bool {
        let moved = kept.stream.peer_address().is_some_and(|peer| !self.view.current().has(peer));
        kept.since.elapsed() < KEEP && !moved
    }

    async fn ask_anew(&self) -> Result<(Kept, Result<(), Fault>), Fault> {
        let stream = connect(&self.view, &self.target.upstream, &self.target.tcp).await?;
        let mut fresh = Kept { stream, since: Instant::now() };
        let result = self.ask(&mut fresh.stream).await;
        Ok((fresh, result))
    }

    fn keep(&mut self, kept: Kept, result: Result<(), Fault>) -> Result<(), Fault> {
        if result.is_ok() {
            self.kept = Some(kept);
        }
        result
    }

    async fn ask(&self, stream: &mut Stream) -> Result<(), Fault> {
        let limit = self.target.upstream.connect_timeout();
        let result = tokio::time::timeout(limit, self.exchange(stream)).await;
        match result.unwrap_or(Err(Fault::Silent(limit))) {
            Err(Fault::Lost(error)) => Err(self.lost(error)),
            result => result,
        }
    }

    async fn exchange(&self, stream: &mut Stream) -> Result<(), Fault> {
        // The server may have written a reason and closed before it read anything, so the replies are read even if
        // writing failed.
        let written = write_all(stream, &self.request).await;
        let mut replies = Replies::default();
        if self.target.upstream.credentials().is_some() {
            login(&replies.next(stream).await?)?;
        }
        self.pong(&replies.next(stream).await?)?;
        written.map_err(Fault::Lost)?;
        if replies.buffer.is_empty() { Ok(()) } else { Err(Fault::Answer(Answer::NotRedis)) }
    }

    fn lost(&self, error: io::Error) -> Fault {
        match error.downcast::<TlsFault>() {
            Ok(fault) => Fault::Broken {
                fault,
                shows_certificate: self.target.upstream.tls().is_some_and(|tls| tls.has_identity()),
            },
            Err(error) => Fault::Lost(error),
        }
    }

    /// Checks the reply to PING. Errors that do not affect every client count as success: the server is alive, and
    /// each client gets its own error.
    fn pong(&self, reply: &Value) -> Result<(), Fault> {
        let answer = match reply {
            Value::Error(line) if line.starts_with(b"NOAUTH") => {
                self.target.login_required.then_some(Answer::PasswordWanted)
            }
            Value::Error(line) => fault::unasked(line),
            other if other.as_bytes() == Some(b"PONG") => None,
            _ => Some(Answer::NotRedis),
        };
        answer.map_or(Ok(()), |answer| Err(Fault::Answer(answer)))
    }
}

fn request(upstream: &Upstream) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(512));
    if let Some(credentials) = upstream.credentials() {
        let password = credentials.password().expose_secret().as_bytes();
        match credentials.username() {
            Some(username) => encode::command(&mut out, &[b"AUTH", username.as_bytes(), password]),
            None => encode::command(&mut out, &[b"AUTH", password]),
        }
    }
    encode::command(&mut out, &[b"PING"]);
    out
}

fn login(reply: &Value) -> Result<(), Fault> {
    match reply {
        Value::Status(text) if text == b"OK" => Ok(()),
        Value::Error(line) => Err(Fault::Answer(fault::login_error(line))),
        _ => Err(Fault::Answer(Answer::NotRedis)),
    }
}

/// Reads replies one after another.
#[derive(Default)]
struct Replies {
    buffer: Vec<u8>,
    answered: bool,
}

impl Replies {
    async fn next(&mut self, stream: &mut Stream) -> Result<Value, Fault> {
        let mut scanner = ReplyScanner::new();
        loop {
            if let Some(value) = self.whole(&mut scanner)? {
                self.answered = true;
                return Ok(value);
            }
            self.read(stream).await?;
            if !self.answered && self.buffer.starts_with(TLS_ALERT) {
                return Err(Fault::Tls { alert: true });
            }
        }
    }

    fn whole(&mut self, scanner: &mut ReplyScanner) -> Result<Option<Value>, Fault> {
        let not_redis = || Fault::Answer(Answer::NotRedis);
        if self.buffer.is_empty() {
            return Ok(None);
        }
        match scanner.next(&self.buffer).map_err(|_| not_redis())? {
            Reply::Whole { len, .. } => {
                let frame: Vec<u8> = self.buffer.drain(..len.min(self.buffer.len())).collect();
                value::decode(&frame).map(Some).map_err(|_| not_redis())
            }
            _ if self.buffer.len() > MAX_REPLIES => Err(not_redis()),
            _ => Ok(None),
        }
    }

    async fn read(&mut self, stream: &mut Stream) -> Result<(), Fault> {
        let mut chunk = [0; READ];
        let read = poll_fn(|cx| stream.poll_read(cx, &mut chunk)).await;
        let silent = !self.answered && self.buffer.is_empty();
        match read {
            Ok(n @ 1..) => {
                self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
                Ok(())
            }
            // A TLS server closes a plain text connection, with or without an alert.
            Ok(_) if silent && !stream.is_tls() => Err(Fault::Tls { alert: false }),
            Err(error) if silent && !stream.is_tls() && error.kind() == io::ErrorKind::ConnectionReset => {
                Err(Fault::Tls { alert: false })
            }
            Ok(_) => Err(Fault::Lost(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(Fault::Lost(error)),
        }
    }
}

/// The first bytes of a TLS alert: the content type, and the major version that SSL 3.0 to TLS 1.3 have in common.
const TLS_ALERT: &[u8] = &[0x15, 0x03];

async fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(n..).unwrap_or_default();
    }
    Ok(())
}
