//! Finds the address of the client: the peer of the socket, or the address in a trusted peer's PROXY header.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::ClientAddr;
use portcullis_resp::proxy_header::{HeaderSource, MAX_V2, Parsed, ProxyHeaderError, parse};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::generation::listener::Listener;
use crate::net::socket::Socket;
use crate::platform::{self, UnixStream};

/// A connection whose source is known but not yet judged.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(super) socket: Socket,
    pub(super) from: ClientAddr,
    /// The sender of the PROXY header, if there is one. Boxed because few connections have one, and each
    /// session's future reserves space for this field.
    pub(super) sender: Option<Box<ProxySender>>,
    pub(super) listener: Arc<Listener>,
}

/// The sender of a PROXY header, and what the header says besides the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxySender {
    /// The address of the sender.
    pub addr: ClientAddr,
    /// The address to which the client connected. `None` if the header does not say it.
    pub destination: Option<SocketAddr>,
}

impl Identified {
    /// Makes a connection whose source is the peer of the socket.
    pub(crate) const fn by_peer(socket: Socket, from: ClientAddr, listener: Arc<Listener>) -> Self {
        Self { socket, from, sender: None, listener }
    }

    /// Makes a connection whose source is the address in the PROXY header of a trusted `sender`. A LOCAL
    /// header means the sender itself.
    ///
    /// # Errors
    /// [`HeaderFault::Nobody`] if the header names no IP address.
    pub(crate) fn by_header(
        socket: Socket,
        sender: ClientAddr,
        header: HeaderSource,
        listener: Arc<Listener>,
    ) -> Result<Self, HeaderFault> {
        let (from, destination) = match header {
            HeaderSource::Tcp { source, destination } => (ClientAddr::from_socket(source), Some(destination)),
            HeaderSource::Local => (sender, None),
            HeaderSource::Unknown => return Err(HeaderFault::Nobody),
        };
        Ok(Self { socket, from, sender: Some(Box::new(ProxySender { addr: sender, destination })), listener })
    }
}

/// The reason to close the connection of a trusted sender.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderFault {
    /// The first bytes are not a header.
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
    /// The header names no IP address.
    #[error("proxy header without an address")]
    Nobody,
    /// The header was not complete in time.
    #[error("no proxy header within {0:?}")]
    Timeout(Duration),
    /// The sender disconnected before its header was complete.
    #[error("disconnected before the end of its proxy header")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// Reads a PROXY header and not one byte more: the bytes after it belong to TLS or to the client.
///
/// # Errors
/// The header is missing, malformed or not complete `within` that time, or the sender disconnected.
pub(crate) async fn read_header(
    socket: Socket,
    within: Duration,
) -> Result<(Socket, HeaderSource), HeaderFault> {
    let sender = Sender::register(socket)?;
    let source = timeout(within, read(&sender)).await.map_err(|_| HeaderFault::Timeout(within))??;
    Ok((sender.release()?, source))
}

async fn read(sender: &Sender) -> Result<HeaderSource, HeaderFault> {
    let mut header = Vec::new();
    let mut seen = vec![0; MAX_V2];
    loop {
        let fresh = match sender.peek(&mut seen).await? {
            0 => return Err(HeaderFault::Closed),
            n => seen.get(..n).unwrap_or_default(),
        };
        let before = header.len();
        header.extend_from_slice(fresh);
        match parse(&header)? {
            Parsed::Header { len, source } => {
                sender.take(&mut seen, len.saturating_sub(before))?;
                return Ok(source);
            }
            // All bytes seen so far belong to the header. They must be consumed before the next bytes can be
            // seen.
            Parsed::Need { .. } => sender.take(&mut seen, header.len() - before)?,
        }
    }
}

/// The socket of a trusted sender whose header is not complete yet.
enum Sender {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Sender {
    fn register(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream)?),
            Socket::Unix(stream) => Self::Unix(UnixStream::from_std(stream)?),
        })
    }

    /// Unregisters the socket from this runtime, so that the runtime of another thread can serve it.
    fn release(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Socket::Tcp(stream.into_std()?),
            Self::Unix(stream) => Socket::Unix(stream.into_std()?),
        })
    }

    /// Waits for bytes, and leaves them in the socket's buffer.
    async fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(into).await,
            Self::Unix(stream) => platform::peek(stream, into).await,
        }
    }

    /// Consumes `len` bytes that were peeked at before, so they are in the socket's buffer.
    fn take(&self, into: &mut [u8], len: usize) -> Result<(), HeaderFault> {
        let into = into.get_mut(..len).unwrap_or_default();
        let taken = match self {
            Self::Tcp(stream) => stream.try_read(into)?,
            Self::Unix(stream) => stream.try_read(into)?,
        };
        if taken == len { Ok(()) } else { Err(HeaderFault::Closed) }
    }
}

#[cfg(test)]
mod tests;
