//! Unix sockets, which the proxy does not have on Windows: types without values, so that no other module has code for
//! one system. The configuration reports an address that needs them.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::windows::io::{AsSocket, BorrowedSocket};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the proxy has no unix sockets on Windows; use a TCP address",
    ))
}

/// A connection of the standard library.
#[derive(Debug)]
pub(crate) enum BlockingUnixStream {}

impl BlockingUnixStream {
    pub(crate) fn connect(_: impl AsRef<Path>) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        match *self {}
    }
}

impl Read for BlockingUnixStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }
}

impl Write for BlockingUnixStream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match *self {}
    }
}

/// A datagram socket.
#[derive(Debug)]
pub(crate) enum UnixDatagram {}

impl UnixDatagram {
    pub(crate) fn unbound() -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn connect(&self, _: impl AsRef<Path>) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn send(&self, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }
}

/// A listening socket of tokio.
#[derive(Debug)]
pub(crate) enum UnixListener {}

impl UnixListener {
    pub(crate) fn from_std(_: socket2::Socket) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) async fn accept(&self) -> io::Result<(UnixStream, ())> {
        match *self {}
    }
}

/// A connection of tokio.
#[derive(Debug)]
pub(crate) enum UnixStream {}

impl UnixStream {
    pub(crate) async fn connect(_: impl AsRef<Path>) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn from_std(socket: BlockingUnixStream) -> io::Result<Self> {
        match socket {}
    }

    pub(crate) fn into_std(self) -> io::Result<BlockingUnixStream> {
        match self {}
    }

    pub(crate) fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    pub(crate) async fn ready(&self, _: Interest) -> io::Result<Ready> {
        match *self {}
    }

    pub(crate) fn try_read(&self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }
}

impl AsyncRead for UnixStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsSocket for UnixStream {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        match *self {}
    }
}

/// Returns the user at the other end.
pub(crate) fn peer_user(stream: &UnixStream) -> Option<u32> {
    match *stream {}
}

/// Reads the available bytes, and leaves them there.
///
/// # Errors
/// The socket failed.
pub(crate) async fn peek(stream: &UnixStream, _: &mut [u8]) -> io::Result<usize> {
    match *stream {}
}
