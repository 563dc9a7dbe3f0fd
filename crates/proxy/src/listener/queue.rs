//! The connections that wait on a listening socket.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use portcullis_acl::ClientAddr;
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::net::socket::Socket;

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    /// `None` if the peer has already disconnected.
    pub(super) from: Option<ClientAddr>,
}

/// The reason why no connection was accepted.
pub(super) enum NotAccepted {
    /// None waits.
    Empty,
    /// The connection is gone, and the next one can be accepted.
    Gone,
    /// The process has no descriptors or no memory left.
    Failed(io::Error),
}

/// The connections that wait on a socket.
pub(super) struct Queue<'s> {
    socket: &'s socket2::Socket,
    ready: AsyncFd<BorrowedFd<'s>>,
}

impl<'s> Queue<'s> {
    /// Registers the socket with the runtime of this thread. The listeners of tokio register each accepted socket as
    /// well; these sockets belong to the workers.
    ///
    /// # Errors
    /// The reactor has no memory, or no room in the poll set.
    pub(super) fn of(socket: &'s socket2::Socket) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "tokio has no safe call for a descriptor that is borrowed")]
        // SAFETY: the descriptor is borrowed from `socket`, which outlives the result; a `BorrowedFd` always returns the
        // same descriptor.
        let ready = unsafe { AsyncFd::register(socket.as_fd()) }?;
        Ok(Self { socket, ready })
    }

    /// Waits until a connection may wait.
    ///
    /// # Errors
    /// The runtime ends.
    pub(super) async fn ready(&self) -> io::Result<AsyncFdReadyGuard<'_, BorrowedFd<'s>>> {
        self.ready.readable().await
    }

    /// Accepts a connection. `is_unix` is whether the socket is a unix socket.
    #[inline]
    pub(super) fn accept(&self, is_unix: bool) -> Result<Accepted, NotAccepted> {
        match self.accept_raw() {
            Ok((fd, _)) if is_unix => {
                Ok(Accepted { socket: Socket::Unix(fd.into()), from: Some(ClientAddr::unix()) })
            }
            Ok((fd, from)) => Ok(Accepted {
                socket: Socket::Tcp(fd.into()),
                from: from.and_then(|peer| peer.try_into().ok()).map(ClientAddr::from_socket),
            }),
            Err(Errno::WOULDBLOCK) => Err(NotAccepted::Empty),
            Err(errno) if is_of_the_connection(errno) => Err(NotAccepted::Gone),
            Err(errno) => Err(NotAccepted::Failed(errno.into())),
        }
    }

    fn accept_raw(&self) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
        acceptfrom_with(self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
    }
}

/// Returns whether an error of accept(2) concerns only one connection, which is gone, and not the listening socket.
fn is_of_the_connection(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
    )
}

/// A descriptor that is closed for a moment when descriptors run out. It makes it possible to accept and close the
/// connections that wait.
#[derive(Debug)]
pub(super) struct Reserve(Option<OwnedFd>);

impl Reserve {
    /// Reserves a descriptor, if there is one.
    pub(super) fn new() -> Self {
        Self(File::open("/dev/null").ok().map(OwnedFd::from))
    }

    /// Accepts and closes up to `most` connections, if descriptors have run out.
    pub(super) fn close_waiting(&mut self, queue: &Queue<'_>, error: &io::Error, most: usize) {
        let errno = Errno::from_io_error(error);
        if matches!(errno, Some(Errno::MFILE | Errno::NFILE)) && self.0.take().is_some() {
            for _ in 0..most {
                if queue.accept_raw().is_err() {
                    break;
                }
            }
        }
        if self.0.is_none() {
            *self = Self::new();
        }
    }
}
