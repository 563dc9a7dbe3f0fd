//! One connection over TCP, a unix socket or TLS, so that there is only one relay.

mod tls;

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::socket::Socket;
use crate::platform::{self, UnixStream};
pub(crate) use tls::TlsStream;

/// A connected stream that belongs to the runtime of this thread.
#[derive(Debug)]
pub(crate) enum Stream {
    /// A connection over TCP, without TLS.
    Tcp(TcpStream),
    /// A connection over a unix socket.
    Unix(UnixStream),
    /// A connection with TLS over one of the others.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Registers a non-blocking socket with the current runtime.
    ///
    /// # Errors
    /// The reactor has no memory, or no room in the poll set.
    pub(crate) fn register(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket)?),
            Socket::Unix(socket) => Self::Unix(UnixStream::from_std(socket)?),
        })
    }

    /// Returns whether the connection has TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Returns the certificates of the peer, its own first; `None` without TLS.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.peer_certificates(),
        }
    }

    /// Ready when a read would not wait; with TLS, it may wait for the rest of a record. This needs no buffer.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
        }
    }

    /// Reads the available bytes, at most `into.len()`. Returns the number of bytes read; 0 is the end of the stream.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(into);
        let done = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Self::Tls(stream) => return stream.poll_read(cx, into),
        };
        done.map_ok(|()| buf.filled().len())
    }

    /// Writes as many bytes of `slices` as there is room for. If the result is pending, the next write must begin
    /// with the same bytes: TLS has encrypted them, and may have sent some of them.
    #[inline]
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Tls(stream), slices) => stream.poll_write(cx, slices),
            (Self::Tcp(stream), [one]) => Pin::new(stream).poll_write(cx, one),
            (Self::Unix(stream), [one]) => Pin::new(stream).poll_write(cx, one),
            (Self::Tcp(stream), many) => Pin::new(stream).poll_write_vectored(cx, many),
            (Self::Unix(stream), many) => Pin::new(stream).poll_write_vectored(cx, many),
        }
    }

    /// Writes as many bytes as the kernel has room for, even if the reactor does not report any room. `bytes` are
    /// those of the last write, which was pending. Returns `None` if the kernel took no bytes. With TLS, 0 means that
    /// it took a part of a record.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        let sent = match self {
            Self::Tcp(stream) => socket2::SockRef::from(&*stream).send(bytes),
            Self::Unix(stream) => socket2::SockRef::from(&*stream).send(bytes),
            Self::Tls(stream) => return stream.push(),
        };
        // An error is returned by the next write as well.
        sent.ok().filter(|n| *n > 0)
    }

    /// Returns whether the peer has closed its side, even if bytes before the end are still unread.
    pub(crate) fn peer_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match self {
            Self::Tcp(stream) => pin!(stream.ready(Interest::READABLE)).poll(&mut cx),
            Self::Unix(stream) => pin!(stream.ready(Interest::READABLE)).poll(&mut cx),
            Self::Tls(stream) => return stream.peer_closed(),
        };
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Sets the longest time without an acknowledgement, or without room at the peer (`TCP_USER_TIMEOUT`). With
    /// `None` the kernel's default applies. Has no effect on unix sockets.
    pub(crate) fn set_user_timeout(&self, limit: Option<Duration>) {
        match self {
            // If the option cannot be set, the old value stays.
            Self::Tcp(stream) => {
                let _ = platform::set_user_timeout(&socket2::SockRef::from(stream), limit);
            }
            Self::Unix(_) => {}
            Self::Tls(stream) => stream.socket().set_user_timeout(limit),
        }
    }

    /// Makes the next close a reset, which discards the bytes that the peer has not taken yet.
    pub(crate) fn reset_on_close(&mut self) {
        match self {
            // If the option cannot be set, the close is an ordinary one.
            Self::Tcp(stream) => {
                let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            }
            Self::Unix(_) => {}
            Self::Tls(stream) => stream.reset_on_close(),
        }
    }

    /// Tells the peer that no more bytes follow. Bytes that are read from now on can only be discarded.
    pub(crate) fn close_write(&mut self) {
        // The call fails if the peer has disconnected, and then there is nothing to do.
        let _ = match self {
            Self::Tcp(stream) => socket2::SockRef::from(&*stream).shutdown(Shutdown::Write),
            Self::Unix(stream) => socket2::SockRef::from(&*stream).shutdown(Shutdown::Write),
            Self::Tls(stream) => {
                stream.close_write();
                Ok(())
            }
        };
    }

    /// Returns the address of the proxy's end of the connection; `None` for unix sockets.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(stream) => stream.socket().local_address(),
        }
    }

    /// Returns the peer's address; `None` for unix sockets.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(stream) => stream.socket().peer_address(),
        }
    }

    /// Returns the bytes of memory for TLS records that are incomplete or cannot be written yet.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 0,
            Self::Tls(stream) => stream.held(),
        }
    }
}

/// The state of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// Both sides have finished the handshake.
    Done,
    /// More bytes of the peer are needed.
    Unfinished,
}
