//! Connects to an upstream: tries its addresses in order, each with its own timeout, and with TLS if configured.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use portcullis_config::tls::TlsFault;
use portcullis_config::{Address, Tcp, Upstream};
use portcullis_session::Unavailable;
use socket2::SockRef;
use tokio::net::{TcpSocket, UnixStream, lookup_host};
use tokio::time::timeout;

use crate::net::socket::set_options;
use crate::net::stream::Stream;
use crate::tls;

/// The number of addresses that are tried for one name. The limit keeps the first command of a client from waiting
/// too long.
const TRIES_PER_NAME: usize = 4;

/// The time in which a server that timed out in a TLS handshake can answer in plain text.
const PLAIN_ANSWER: Duration = Duration::from_millis(200);

/// Connects to the first address that answers, with TLS if configured.
///
/// Each address has its own `connect_timeout`, also where a name has several addresses: if the first does not answer,
/// the next one is tried. The lookup of a name and each TLS handshake have the same timeout of their own.
///
/// # Errors
/// The error of the last address.
pub(crate) async fn connect(upstream: &Upstream, tcp: &Tcp) -> Result<Stream, ConnectError> {
    let mut last = None;
    for address in upstream.addresses() {
        match connect_one(address, upstream, tcp).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| ConnectError::new("no address", Cause::NoAddress)))
}

/// The error of an upstream that cannot be reached, with the address.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {cause}")]
pub(crate) struct ConnectError {
    address: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("cannot resolve the name: {0}")]
    Resolve(io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("{0}")]
    Connect(io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Tls(TlsFault, bool),
}

impl ConnectError {
    fn new(address: &str, cause: Cause) -> Self {
        Self { address: address.to_owned(), cause }
    }

    /// Returns the kind of the error, as in error replies and metrics.
    pub(crate) fn kind(&self) -> Unavailable {
        match &self.cause {
            Cause::Resolve(_) | Cause::NoAddress => Unavailable::Resolve,
            Cause::Connect(error) => match error.kind() {
                // A missing socket file means that the server does not run.
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Unavailable::Refused,
                io::ErrorKind::TimedOut => Unavailable::Timeout,
                _ => Unavailable::Connect,
            },
            // The server may speak plain text instead of TLS. Until that is known, it may also hang.
            Cause::Timeout(_) | Cause::Tls(TlsFault::Timeout(_), _) => Unavailable::Timeout,
            Cause::Tls(..) => Unavailable::Tls,
        }
    }

    /// Returns the TLS failure and whether the proxy has a client certificate. `None` for other errors.
    pub(crate) fn tls(&self) -> Option<(&TlsFault, bool)> {
        match &self.cause {
            Cause::Tls(fault, shows_certificate) => Some((fault, *shows_certificate)),
            _ => None,
        }
    }
}

async fn connect_one(address: &Address, upstream: &Upstream, tcp: &Tcp) -> Result<Stream, ConnectError> {
    let limit = upstream.connect_timeout();
    let attempt = async {
        let stream = open(address, limit, tcp).await?;
        let Some(tls) = upstream.tls() else { return Ok(stream) };
        let name = tls.name_of(address).ok_or(Cause::NoAddress)?;
        // The handshake is boxed, because otherwise each session's future would reserve space for it.
        match Box::pin(tls::connect(stream, tls, name, limit)).await {
            Ok(secured) => Ok(Stream::Tls(Box::new(secured))),
            Err(TlsFault::Timeout(_)) if Box::pin(speaks_plain(address, tcp)).await => {
                Err(Cause::Tls(TlsFault::Plain, tls.has_identity()))
            }
            Err(fault) => Err(Cause::Tls(fault, tls.has_identity())),
        }
    };
    attempt.await.map_err(|cause| ConnectError { address: address.to_string(), cause })
}

async fn open(address: &Address, limit: Duration, tcp: &Tcp) -> Result<Stream, Cause> {
    match address {
        Address::Unix(path) => {
            within(limit, UnixStream::connect(path), Cause::Connect).await.map(Stream::Unix)
        }
        Address::Host { host, port } => connect_host(host, *port, limit, tcp).await,
    }
}

/// Checks whether a server that did not answer a TLS handshake speaks plain text, with a PING on a second connection.
/// Redis takes a TLS hello for the beginning of an inline command, and waits for the rest without a limit.
async fn speaks_plain(address: &Address, tcp: &Tcp) -> bool {
    let ask = async {
        let mut stream = open(address, PLAIN_ANSWER, tcp).await.ok()?;
        let mut answer = [0];
        poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(b"PING\r\n")])).await.ok()?;
        poll_fn(|cx| stream.poll_read(cx, &mut answer)).await.ok()?;
        Some(matches!(answer, [b'+' | b'-']))
    };
    timeout(PLAIN_ANSWER, ask).await == Ok(Some(true))
}

async fn connect_host(host: &str, port: u16, limit: Duration, tcp: &Tcp) -> Result<Stream, Cause> {
    if let Ok(ip) = host.parse() {
        return within(limit, connect_tcp(SocketAddr::new(ip, port), tcp), Cause::Connect).await;
    }
    let mut last = Cause::NoAddress;
    for addr in within(limit, lookup_host((host, port)), Cause::Resolve).await?.take(TRIES_PER_NAME) {
        match within(limit, connect_tcp(addr, tcp), Cause::Connect).await {
            Ok(stream) => return Ok(stream),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

async fn within<T>(
    limit: Duration,
    attempt: impl Future<Output = io::Result<T>>,
    failure: impl FnOnce(io::Error) -> Cause,
) -> Result<T, Cause> {
    match timeout(limit, attempt).await {
        Ok(done) => done.map_err(failure),
        Err(_) => Err(Cause::Timeout(limit)),
    }
}

async fn connect_tcp(addr: SocketAddr, tcp: &Tcp) -> io::Result<Stream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    set_options(&SockRef::from(&socket), tcp)?;
    let stream = socket.connect(addr).await?;
    // If no process listens on a local port of the ephemeral range, the kernel may connect the socket to itself.
    if stream.local_addr()? == addr {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(Stream::Tcp(stream))
}
