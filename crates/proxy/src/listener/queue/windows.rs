//! The connections that wait on a listening socket, on Windows.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use portcullis_acl::ClientAddr;
use tokio::net::{TcpListener, TcpStream};

use crate::net::socket::Socket;

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    /// The address of the peer.
    pub(super) from: Option<ClientAddr>,
}

/// The reason why no connection was accepted.
pub(super) enum NotAccepted {
    /// None waits.
    Empty,
    /// The connection is gone, and the next one can be accepted.
    Gone,
    /// The process has no sockets or no memory left.
    Failed(io::Error),
}

type Connected = io::Result<(TcpStream, SocketAddr)>;

/// The connections that wait on a socket.
pub(super) struct Queue<'s> {
    listener: TcpListener,
    /// The connection that [`Self::ready`] has found.
    found: Cell<Option<Connected>>,
    socket: PhantomData<&'s socket2::Socket>,
}

/// A sign that connections may wait.
pub(super) struct Ready;

impl Ready {
    /// Waits again the next time. The runtime has noted already that no connection waits.
    pub(super) const fn clear_ready(&mut self) {}
}

impl<'s> Queue<'s> {
    /// Registers the socket with the runtime of this thread.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn of(socket: &'s socket2::Socket) -> io::Result<Self> {
        let listener = TcpListener::from_std(socket.try_clone()?.into())?;
        Ok(Self { listener, found: Cell::new(None), socket: PhantomData })
    }

    /// Waits until a connection may wait.
    ///
    /// # Errors
    /// Never: [`Self::accept`] returns them.
    pub(super) async fn ready(&self) -> io::Result<Ready> {
        let found = self.listener.accept().await;
        self.found.set(Some(found));
        Ok(Ready)
    }

    /// Accepts a connection, and leaves it to no runtime: the worker registers it with its own.
    #[inline]
    pub(super) fn accept(&self, _is_unix: bool) -> Result<Accepted, NotAccepted> {
        let connected = match self.found.take() {
            Some(connected) => connected,
            None => self.accept_raw().ok_or(NotAccepted::Empty)?,
        };
        match connected.and_then(|(stream, from)| Ok((stream.into_std()?, from))) {
            Ok((stream, from)) => {
                Ok(Accepted { socket: Socket::Tcp(stream), from: Some(ClientAddr::from_socket(from)) })
            }
            Err(error) if is_of_the_connection(&error) => Err(NotAccepted::Gone),
            Err(error) => Err(NotAccepted::Failed(error)),
        }
    }

    /// Accepts a connection that waits. `None` if none waits.
    fn accept_raw(&self) -> Option<Connected> {
        match self.listener.poll_accept(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(connected) => Some(connected),
            Poll::Pending => None,
        }
    }
}

/// Returns whether an error concerns only one connection, which is gone, and not the listening socket.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
    )
}

/// Reserves nothing: Windows has no limit of sockets for a process.
#[derive(Debug)]
pub(super) struct Reserve;

impl Reserve {
    /// Makes the value.
    pub(super) const fn new() -> Self {
        Self
    }

    /// Does nothing.
    pub(super) const fn close_waiting(&mut self, _: &Queue<'_>, _: &io::Error, _most: usize) {}
}
