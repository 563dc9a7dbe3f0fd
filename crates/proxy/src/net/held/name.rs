//! A name in the abstract namespace of unix sockets.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// One line for each unix socket; the name is the last column, with `@` for the first byte of an abstract one.
const UNIX_SOCKETS: &str = "/proc/self/net/unix";

/// A name that other processes of this host can see until it is dropped.
#[derive(Debug)]
pub(super) struct HeldName {
    _socket: UnixDatagram,
}

impl HeldName {
    /// Makes a name.
    ///
    /// # Errors
    /// Another process has the name, or there are no more descriptors.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let name = SocketAddr::from_abstract_name(name)?;
        Ok(Self { _socket: UnixDatagram::bind_addr(&name)? })
    }

    /// Returns the names that begin with a prefix, without it.
    pub(super) fn all(prefix: &str) -> HashSet<String> {
        let prefix = format!("@{prefix}");
        let sockets = fs::read_to_string(UNIX_SOCKETS).unwrap_or_default();
        let names =
            sockets.lines().filter_map(|line| line.split_whitespace().next_back()?.strip_prefix(&prefix));
        names.map(str::to_owned).collect()
    }
}
