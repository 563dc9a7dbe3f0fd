//! Sockets that are not registered with a runtime, and their options.

#[cfg_attr(windows, path = "socket/file/windows.rs")]
mod file;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use portcullis_config::{Bind, Tcp};
use socket2::{Domain, Protocol, SockRef, Type};

pub(super) use self::file::open_to_group;
pub(crate) use self::file::{Ownership, SocketFile, listen_unix, try_unix};
use crate::platform::{self, BlockingUnixStream};

/// The number of connections that may wait to be accepted, as in Redis (`tcp-backlog`). The kernel's `somaxconn`
/// limits it.
const BACKLOG: i32 = 511;

/// The keepalive probes without an answer after which a connection is lost, as in Redis.
const PROBES: u32 = 3;

/// A connected, non-blocking socket that is not registered with a runtime.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(BlockingUnixStream),
}

impl Socket {
    /// Writes a short line if the send buffer has room, which is so on a new connection. Returns the number of bytes
    /// written.
    pub(crate) fn try_write(&mut self, line: &[u8]) -> io::Result<usize> {
        use std::io::Write;
        match self {
            Self::Tcp(stream) => stream.write(line),
            Self::Unix(stream) => stream.write(line),
        }
    }

    /// Shuts down the direction to the peer: no more bytes are sent.
    pub(crate) fn close_write(&self) {
        // The call fails if the peer has disconnected, and then there is nothing to do.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Makes the next close a reset. Has no effect on unix sockets.
    pub(crate) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // If the option cannot be set, the close is an ordinary one, which refuses the client as well.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Binds a TCP socket and listens. Options are set on the listening socket, because accepted sockets inherit them:
/// that saves system calls for each connection.
///
/// # Errors
/// The system reports that the address is in use, does not exist, or is not permitted.
pub(crate) fn listen_tcp(addr: SocketAddr, v6only: bool, tcp: &Tcp) -> io::Result<socket2::Socket> {
    let socket = bind_tcp(addr, v6only, tcp)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Binds as [`listen_tcp`] does, and does not listen: no client finds the socket, and another process that wants to
/// listen on the address still can.
///
/// # Errors
/// The errors of [`listen_tcp`].
pub(crate) fn bind_tcp(addr: SocketAddr, v6only: bool, tcp: &Tcp) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(v6only)?;
    }
    platform::reuse_address(&socket)?;
    set_options(&SockRef::from(&socket), tcp)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Sets the options that every TCP socket of the proxy has.
///
/// # Errors
/// The system refuses an option.
pub(crate) fn set_options(socket: &SockRef<'_>, tcp: &Tcp) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = tcp.keepalive() {
        // As in Redis: the interval is a third of the idle time.
        let interval = Duration::from_secs((idle.as_secs() / 3).max(1));
        let keepalive = socket2::TcpKeepalive::new().with_time(idle).with_interval(interval);
        socket.set_tcp_keepalive(&platform::with_probes(keepalive, PROBES))?;
    } else {
        // The option may have been set before, on a socket that listens already.
        socket.set_keepalive(false)?;
    }
    platform::set_user_timeout(socket, tcp.user_timeout())
}

/// The error for an address on which the proxy cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("{owner}: cannot listen on {bind}: {source}{}", after_semicolon(bind_hint(bind, source)))]
pub(crate) struct BindError {
    /// The part of the configuration, or the option of the command, that has the address.
    pub owner: String,
    /// The address.
    pub bind: Bind,
    /// The error of the system.
    pub source: io::Error,
}

fn after_semicolon(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}

/// Returns what to do about an address that cannot be listened on.
pub(crate) fn bind_hint(bind: &Bind, error: &io::Error) -> &'static str {
    match (bind, error.kind()) {
        (Bind::Tcp { .. }, io::ErrorKind::AddrInUse) => {
            "another process already listens there: stop it, or choose another port"
        }
        (Bind::Tcp { .. }, io::ErrorKind::AddrNotAvailable) => "this machine has no such address",
        (Bind::Tcp { .. }, io::ErrorKind::PermissionDenied) => platform::PORT_HINT,
        (Bind::Unix(_), io::ErrorKind::AddrInUse) => {
            "another process already listens there, or a file of another kind has that name: choose another path"
        }
        (Bind::Unix(_), io::ErrorKind::NotFound) => "create the directory",
        (Bind::Unix(_), io::ErrorKind::PermissionDenied) => {
            "let the user that runs portcullis write to the directory"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
