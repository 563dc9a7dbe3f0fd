//! Sockets before a runtime knows them, and their options.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Type};

use crate::config::Tcp;

/// How many connections may wait to be accepted, as in Redis (`tcp-backlog`); the kernel's `somaxconn` caps it.
const BACKLOG: i32 = 511;

/// A connected, non-blocking socket that no runtime knows yet.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Wraps a non-blocking descriptor.
    pub fn from_fd(fd: OwnedFd, unix: bool) -> Self {
        if unix { Self::Unix(fd.into()) } else { Self::Tcp(fd.into()) }
    }

    /// Writes a short line if the send buffer takes it, as that of a fresh connection does.
    pub fn try_write(&mut self, line: &[u8]) -> io::Result<usize> {
        use std::io::Write;
        match self {
            Self::Tcp(stream) => stream.write(line),
            Self::Unix(stream) => stream.write(line),
        }
    }

    /// Tells the peer that nothing more will come.
    pub fn close_write(&self) {
        // A peer that is gone already needs no telling.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Makes the coming close a reset.
    pub fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // Where the option cannot be set the close is an ordinary one, which refuses as well.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Binds and listens. Options are set on the listening socket: accepted ones inherit them, which saves a call each.
///
/// # Errors
/// Those of the system: address in use, not available, or not permitted.
pub fn listen_tcp(addr: SocketAddr, v6only: bool, tcp: &Tcp) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(v6only)?;
    }
    socket.set_reuse_address(true)?;
    set_options(&SockRef::from(&socket), tcp)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Binds a socket file and listens. A file that a dead process left behind is taken over; one that answers is not.
///
/// # Errors
/// Those of the system, and [`io::ErrorKind::AddrInUse`] where somebody listens there.
pub fn listen_unix(path: &Path) -> io::Result<socket2::Socket> {
    let addr = socket2::SockAddr::unix(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.bind(&addr) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
            match probe.connect(&addr) {
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                    socket.bind(&addr)?;
                }
                _ => return Err(error),
            }
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Sets what every TCP socket of the gate has.
///
/// # Errors
/// Those of the system.
pub fn set_options(socket: &SockRef<'_>, tcp: &Tcp) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = tcp.keepalive() {
        // As Redis spaces its probes: three, a third of the idle time apart.
        let interval = Duration::from_secs((idle.as_secs() / 3).max(1));
        let keepalive = socket2::TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    socket.set_tcp_user_timeout(tcp.user_timeout())
}
