//! Connects to an upstream: tries its addresses in order, each with its own timeout, and with TLS if configured.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::tls::{ClientTls, TlsFault};
use portcullis_config::{Tcp, Upstream};
use portcullis_session::Unavailable;
use socket2::SockRef;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::view::{Leaving, Place, Sockets, ViewCell};
use crate::net::socket::set_options;
use crate::net::stream::Stream;
use crate::platform::UnixStream;
use crate::tls;

/// The number of addresses that are tried for one name. The limit keeps the first command of a client from waiting
/// too long.
pub(crate) const TRIES_PER_NAME: usize = 4;

/// The time in which a server that timed out in a TLS handshake can answer in plain text.
const PLAIN_ANSWER: Duration = Duration::from_millis(200);

/// The highest number of dials in one attempt. A further dial follows only if the names have other addresses meanwhile.
const DIALS: usize = 3;

/// Connects to the first address that answers, with TLS if configured.
///
/// Each address has its own `connect_timeout`, also where a name has several addresses: if the first does not answer,
/// the next one is tried. The wait for the first lookup of a name and each TLS handshake have the same timeout of their
/// own.
///
/// # Errors
/// The error of the last address.
pub(crate) async fn connect(cell: &ViewCell, upstream: &Upstream, tcp: &Tcp) -> Result<Stream, ConnectError> {
    let mut last = None;
    for _ in 0..DIALS {
        let view = cell.current();
        for index in 0..view.places().len() {
            let Some(place) = cell.place(index, upstream.connect_timeout()).await else { break };
            match connect_one(&place, upstream, tcp).await {
                // No byte may go to an address that the upstream does not have any more.
                Ok(stream) if stream.peer_address().is_some_and(|peer| !cell.current().has(peer)) => {
                    last = Some(ConnectError { address: place.address.to_string(), cause: Cause::Moved });
                    break;
                }
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        if Arc::ptr_eq(&cell.current(), &view) {
            break;
        }
    }
    let cause = if cell.current().leaving() == Leaving::AtOnce { Cause::NoMaster } else { Cause::NoAddress };
    Err(last.unwrap_or_else(|| ConnectError { address: "no address".to_owned(), cause }))
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
    Resolve(Arc<str>),
    #[error("the name server has not answered within {0:?}")]
    NoNameServer(Duration),
    #[error("the name has other addresses now")]
    Moved,
    #[error("the name has no address")]
    NoAddress,
    #[error("no master is known")]
    NoMaster,
    #[error("still unavailable")]
    GaveUp(Unavailable),
    #[error("{0}")]
    Connect(io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Tls(TlsFault, bool),
}

impl ConnectError {
    /// Returns whether the server reset the connection.
    pub(crate) fn is_reset(&self) -> bool {
        matches!(&self.cause, Cause::Connect(error) if error.kind() == io::ErrorKind::ConnectionReset)
    }

    /// Creates the error of an upstream that has not become available in time. `why` is the reason of the last failure.
    pub(crate) fn gave_up(why: Unavailable) -> Self {
        Self { address: "every address".to_owned(), cause: Cause::GaveUp(why) }
    }

    /// Returns the kind of the error, as in error replies and metrics.
    pub(crate) fn kind(&self) -> Unavailable {
        match &self.cause {
            Cause::Resolve(_) | Cause::NoNameServer(_) | Cause::NoAddress => Unavailable::Resolve,
            Cause::Moved => Unavailable::Connect,
            Cause::GaveUp(why) => *why,
            Cause::Connect(error) => match error.kind() {
                // A missing socket file means that the server does not run.
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Unavailable::Refused,
                io::ErrorKind::TimedOut => Unavailable::Timeout,
                _ => Unavailable::Connect,
            },
            // The server may speak plain text instead of TLS. Until that is known, it may also hang.
            Cause::NoMaster | Cause::Timeout(_) | Cause::Tls(TlsFault::Timeout(_), _) => Unavailable::Timeout,
            Cause::Tls(..) => Unavailable::Tls,
        }
    }

    /// Returns what failed as text, without the address and the number of a system error.
    pub(crate) fn text(&self) -> String {
        let mut text = self.cause.to_string();
        if let Some(number) = text.find(" (os error ") {
            text.truncate(number);
        }
        text
    }

    /// Returns the TLS failure and whether the proxy has a client certificate. `None` for other errors.
    pub(crate) fn tls(&self) -> Option<(&TlsFault, bool)> {
        match &self.cause {
            Cause::Tls(fault, shows_certificate) => Some((fault, *shows_certificate)),
            _ => None,
        }
    }
}

/// Connects to one place, with TLS if configured.
///
/// # Errors
/// No socket of the place accepts, or the TLS handshake fails.
pub(super) async fn connect_one(
    place: &Place,
    upstream: &Upstream,
    tcp: &Tcp,
) -> Result<Stream, ConnectError> {
    let limit = upstream.connect_timeout();
    let stream = open(place, limit, tcp).await?;
    match upstream.tls() {
        Some(tls) => secure(stream, place, tls, limit, tcp).await,
        None => Ok(stream),
    }
}

/// Connects to the first socket of a place that accepts, without TLS.
///
/// # Errors
/// No socket accepts, or the place has none.
pub(crate) async fn open(place: &Place, limit: Duration, tcp: &Tcp) -> Result<Stream, ConnectError> {
    open_socket(place, limit, tcp).await.map_err(|cause| failed(place, cause))
}

/// Performs the TLS handshake on a connection to a place.
///
/// # Errors
/// The handshake fails, or the place has no name to verify.
pub(crate) async fn secure(
    stream: Stream,
    place: &Place,
    tls: &ClientTls,
    limit: Duration,
    tcp: &Tcp,
) -> Result<Stream, ConnectError> {
    let name = tls.name_of(&place.address).ok_or_else(|| failed(place, Cause::NoAddress))?;
    // The handshake is boxed, because otherwise each session's future would reserve space for it.
    match Box::pin(tls::connect(stream, tls, name, limit)).await {
        Ok(secured) => Ok(Stream::Tls(Box::new(secured))),
        Err(TlsFault::Timeout(_)) if Box::pin(speaks_plain(place, tcp)).await => {
            Err(failed(place, Cause::Tls(TlsFault::Plain, tls.has_identity())))
        }
        Err(fault) => Err(failed(place, Cause::Tls(fault, tls.has_identity()))),
    }
}

fn failed(place: &Place, cause: Cause) -> ConnectError {
    ConnectError { address: place.address.to_string(), cause }
}

async fn open_socket(place: &Place, limit: Duration, tcp: &Tcp) -> Result<Stream, Cause> {
    let sockets = match &place.sockets {
        Sockets::Unix(path) => {
            return within(limit, UnixStream::connect(path)).await.map(Stream::Unix);
        }
        Sockets::Unknown => return Err(Cause::NoNameServer(limit)),
        Sockets::Unresolved(why) => return Err(Cause::Resolve(Arc::clone(why))),
        Sockets::Tcp(sockets) => sockets,
    };
    let mut last = Cause::NoAddress;
    for addr in sockets.iter().take(TRIES_PER_NAME) {
        match within(limit, connect_tcp(*addr, tcp)).await {
            Ok(stream) => return Ok(stream),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// Checks whether a server that did not answer a TLS handshake speaks plain text, with a PING on a second connection.
/// Redis takes a TLS hello for the beginning of an inline command, and waits for the rest without a limit.
async fn speaks_plain(place: &Place, tcp: &Tcp) -> bool {
    let ask = async {
        let mut stream = open(place, PLAIN_ANSWER, tcp).await.ok()?;
        let mut answer = [0];
        poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(b"PING\r\n")])).await.ok()?;
        poll_fn(|cx| stream.poll_read(cx, &mut answer)).await.ok()?;
        Some(matches!(answer, [b'+' | b'-']))
    };
    timeout(PLAIN_ANSWER, ask).await == Ok(Some(true))
}

async fn within<T>(limit: Duration, attempt: impl Future<Output = io::Result<T>>) -> Result<T, Cause> {
    match timeout(limit, attempt).await {
        Ok(done) => done.map_err(Cause::Connect),
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
