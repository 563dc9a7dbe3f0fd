//! The identity of a client: the peer of the socket, or the address in the PROXY header of a trusted peer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::ClientAddr;
use portcullis_resp::proxy_header::{HeaderSource, MAX_V2, Parsed, ProxyHeaderError, parse};
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::generation::listener::Listener;
use crate::net::socket::Socket;

/// A connection whose source is known, and nothing else.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(super) socket: Socket,
    pub(super) from: ClientAddr,
    /// The sender of the PROXY header, if there is one; boxed, because few have one and every session's future has
    /// room for it.
    pub(super) sender: Option<Box<ClientAddr>>,
    pub(super) listener: Arc<Listener>,
}

impl Identified {
    /// The source is the peer of the socket.
    pub(crate) const fn by_peer(socket: Socket, from: ClientAddr, listener: Arc<Listener>) -> Self {
        Self { socket, from, sender: None, listener }
    }

    /// Returns the client that a trusted `sender`'s header names.
    ///
    /// # Errors
    /// The header names no address that could be judged.
    pub(crate) fn by_header(
        socket: Socket,
        sender: ClientAddr,
        header: HeaderSource,
        listener: Arc<Listener>,
    ) -> Result<Self, HeaderFault> {
        let from = match header {
            HeaderSource::Tcp { source, .. } => ClientAddr::from_socket(source),
            HeaderSource::Local => sender,
            HeaderSource::Unknown => return Err(HeaderFault::Nobody),
        };
        Ok(Self { socket, from, sender: Some(Box::new(sender)), listener })
    }
}

/// The reason why the connection of a trusted sender is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderFault {
    /// The first bytes are not a header.
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
    /// Its header names no address.
    #[error("proxy header without an address")]
    Nobody,
    /// The rest of the header did not come in time.
    #[error("no proxy header within {0:?}")]
    Timeout(Duration),
    /// The sender disconnected before its header was complete.
    #[error("disconnected before the end of its proxy header")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// Reads a PROXY header and not one byte more: what follows it is TLS's or the client's.
///
/// # Errors
/// There is none, it is malformed, or it does not come `within` that time.
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
        sender.readable().await?;
        let fresh = match sender.receive(&mut seen, RecvFlags::PEEK) {
            Ok(0) => return Err(HeaderFault::Closed),
            Ok(n) => seen.get(..n).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        let before = header.len();
        header.extend_from_slice(fresh);
        match parse(&header)? {
            Parsed::Header { len, source } => {
                sender.take(&mut seen, len.saturating_sub(before))?;
                return Ok(source);
            }
            // All that is there belongs to the header, and has to go before the next bytes can be seen.
            Parsed::Need { .. } => sender.take(&mut seen, header.len() - before)?,
        }
    }
}

/// The socket of a trusted sender while its header is awaited.
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

    /// Moves the client to another thread's runtime.
    fn release(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Socket::Tcp(stream.into_std()?),
            Self::Unix(stream) => Socket::Unix(stream.into_std()?),
        })
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    fn receive(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let receive = |fd: BorrowedFd<'_>| Ok(rustix::net::recv(fd, into, flags)?.0);
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || receive(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || receive(stream.as_fd())),
        }
    }

    /// Removes bytes that were peeked at, so they are there.
    fn take(&self, into: &mut [u8], len: usize) -> Result<(), HeaderFault> {
        let taken = self.receive(into.get_mut(..len).unwrap_or_default(), RecvFlags::empty())?;
        if taken == len { Ok(()) } else { Err(HeaderFault::Closed) }
    }
}

#[cfg(test)]
mod tests;
