//! Sockets that listen already: another process has bound them, and this process goes on with them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis_config::{Bind, Tcp};
use socket2::SockRef;

use super::held::{is_unspecified, place};
use super::socket::{Ownership, SocketFile, open_to_group, set_options};
use crate::platform::Descriptor;

/// The address of a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadyAddress {
    /// TCP.
    Tcp {
        /// Address and port.
        addr: SocketAddr,
        /// The value of `IPV6_V6ONLY`; false on IPv4.
        v6only: bool,
    },
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for ReadyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { addr, .. } => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ReadyAddress {
    fn is(&self, bind: &Bind) -> bool {
        match (self, bind) {
            (Self::Tcp { addr, v6only }, Bind::Tcp { addr: wanted, v6only: only }) => {
                addr == wanted && v6only == only
            }
            (Self::Unix(path), Bind::Unix(file)) => place(path) == place(file.path()),
            _ => false,
        }
    }
}

/// Returns whether only one of two sockets can listen.
fn overlap(addr: SocketAddr, other: SocketAddr) -> bool {
    addr.port() == other.port() && (addr == other || is_unspecified(&addr) || is_unspecified(&other))
}

/// The process that bound a socket.
#[derive(Clone, Debug)]
pub(crate) enum Binder {
    /// The process of this configuration that ran before. Its socket files belong to this process later.
    Former(Ownership),
    /// The service manager, which calls the socket by this name. It keeps its sockets and their files.
    Manager(String),
}

/// A listening socket of another process.
#[derive(Debug)]
pub(crate) struct ReadySocket {
    socket: socket2::Socket,
    /// Its address.
    pub address: ReadyAddress,
    /// The process that bound it.
    pub binder: Binder,
}

impl ReadySocket {
    /// Takes a descriptor for a listening socket.
    pub(crate) fn new(descriptor: Descriptor, address: ReadyAddress, binder: Binder) -> Self {
        Self { socket: descriptor.into(), address, binder }
    }

    fn prepare(&self, bind: &Bind, tcp: &Tcp) -> io::Result<Option<SocketFile>> {
        self.socket.set_nonblocking(true)?;
        match (bind, &self.binder) {
            (Bind::Tcp { .. }, _) => set_options(&SockRef::from(&self.socket), tcp).map(|()| None),
            (Bind::Unix(file), Binder::Former(owner)) => {
                let taken = SocketFile::owned(file.path(), owner.clone())?;
                open_to_group(file)?;
                Ok(Some(taken))
            }
            (Bind::Unix(file), Binder::Manager(_)) => {
                SocketFile::owned(file.path(), Ownership::of_another()).map(Some)
            }
        }
    }
}

/// The sockets of other processes that this process has not used yet.
#[derive(Debug, Default)]
pub(crate) struct ReadySockets(Vec<ReadySocket>);

impl ReadySockets {
    /// Adds a socket.
    pub(crate) fn add(&mut self, socket: ReadySocket) {
        self.0.push(socket);
    }

    /// Takes a socket for this address, with its file, and gives it the options of the configuration. `None` if there is
    /// none, or if the file of a unix socket is gone: no client can find that socket.
    ///
    /// # Errors
    /// The system refuses an option, or the group or mode of the file.
    pub(crate) fn take(
        &mut self,
        bind: &Bind,
        tcp: &Tcp,
    ) -> io::Result<Option<(socket2::Socket, Option<SocketFile>)>> {
        let Some(index) = self.0.iter().position(|ready| ready.address.is(bind)) else { return Ok(None) };
        let ready = self.0.swap_remove(index);
        match ready.prepare(bind, tcp) {
            Ok(file) => Ok(Some((ready.socket, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the sockets of the former process that no address in `wanted` is for, and that overlap with one of these.
    /// Returns their addresses.
    pub(crate) fn remove_in_the_way(&mut self, wanted: &[&Bind]) -> Vec<ReadyAddress> {
        let is_in_the_way = |socket: &ReadySocket| {
            let ReadyAddress::Tcp { addr, .. } = socket.address else { return false };
            let overlaps =
                |bind: &&&Bind| matches!(bind, Bind::Tcp { addr: other, .. } if overlap(addr, *other));
            matches!(socket.binder, Binder::Former(_))
                && !wanted.iter().any(|bind| socket.address.is(bind))
                && wanted.iter().any(|bind| overlaps(&bind))
        };
        let removed: Vec<ReadyAddress> = self
            .0
            .iter()
            .filter(|socket| is_in_the_way(socket))
            .map(|socket| socket.address.clone())
            .collect();
        self.0.retain(|socket| !is_in_the_way(socket));
        removed
    }

    /// Returns the sockets that were not taken.
    pub(crate) fn rest(&self) -> &[ReadySocket] {
        &self.0
    }
}

#[cfg(test)]
mod tests;
