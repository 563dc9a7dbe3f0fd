//! Opening a connection to an upstream: its addresses in order, each within its time.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use portcullis_session::session::Unavailable;
use socket2::SockRef;
use tokio::net::{TcpSocket, UnixStream, lookup_host};
use tokio::time::timeout;

use crate::config::{Address, Tcp, Upstream};
use crate::net::socket::set_options;
use crate::net::stream::Stream;

/// Connects to the first address that answers. Each has `connect_timeout` of its own, name resolution included.
///
/// # Errors
/// What the last address failed with.
pub async fn connect(upstream: &Upstream, tcp: &Tcp) -> Result<Stream, ConnectError> {
    let mut last = None;
    for address in upstream.addresses() {
        match connect_one(address, upstream.connect_timeout(), tcp).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| ConnectError::new("no address", Cause::NoAddress)))
}

/// Why an upstream cannot be reached, and at which address.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {cause}")]
pub struct ConnectError {
    address: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("name does not resolve: {0}")]
    Resolve(io::Error),
    #[error("name has no address")]
    NoAddress,
    #[error("{0}")]
    Connect(io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl ConnectError {
    fn new(address: &str, cause: Cause) -> Self {
        Self { address: address.to_owned(), cause }
    }

    pub(crate) fn unknown() -> Self {
        Self::new("no upstream", Cause::NoAddress)
    }

    /// The word for it, as in error lines and metrics.
    pub fn kind(&self) -> Unavailable {
        match &self.cause {
            Cause::Resolve(_) | Cause::NoAddress => Unavailable::Resolve,
            Cause::Connect(error) => match error.kind() {
                // A socket file that is not there is a server that does not run.
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Unavailable::Refused,
                io::ErrorKind::TimedOut => Unavailable::Timeout,
                _ => Unavailable::Connect,
            },
            Cause::Timeout(_) => Unavailable::Timeout,
        }
    }
}

async fn connect_one(address: &Address, limit: Duration, tcp: &Tcp) -> Result<Stream, ConnectError> {
    let attempt = async {
        match address {
            Address::Unix(path) => connect_unix(path).await,
            Address::Host { host, port } => connect_host(host, *port, tcp).await,
        }
    };
    match timeout(limit, attempt).await {
        Ok(done) => done.map_err(|cause| ConnectError { address: address.to_string(), cause }),
        Err(_) => Err(ConnectError::new(&address.to_string(), Cause::Timeout(limit))),
    }
}

async fn connect_unix(path: &Path) -> Result<Stream, Cause> {
    UnixStream::connect(path).await.map(Stream::Unix).map_err(Cause::Connect)
}

async fn connect_host(host: &str, port: u16, tcp: &Tcp) -> Result<Stream, Cause> {
    if let Ok(ip) = host.parse() {
        return connect_tcp(SocketAddr::new(ip, port), tcp).await.map_err(Cause::Connect);
    }
    let mut last = Cause::NoAddress;
    for addr in lookup_host((host, port)).await.map_err(Cause::Resolve)? {
        match connect_tcp(addr, tcp).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Cause::Connect(error),
        }
    }
    Err(last)
}

async fn connect_tcp(addr: SocketAddr, tcp: &Tcp) -> io::Result<Stream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    set_options(&SockRef::from(&socket), tcp)?;
    Ok(Stream::Tcp(socket.connect(addr).await?))
}
