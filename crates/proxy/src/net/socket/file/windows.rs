//! Socket files, which the proxy does not have on Windows. The configuration reports an address that needs one.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use portcullis_config::UnixSocket;

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the proxy has no unix sockets on Windows"))
}

/// Reports that there are no unix sockets.
///
/// # Errors
/// Always.
pub(crate) fn listen_unix(_: &UnixSocket) -> io::Result<socket2::Socket> {
    unsupported()
}

/// Reports that there are no unix sockets.
///
/// # Errors
/// Always.
pub(crate) fn try_unix(_: &UnixSocket) -> io::Result<()> {
    unsupported()
}

/// Reports that there are no unix sockets.
///
/// # Errors
/// Always.
pub(in crate::net) fn open_to_group(_: &UnixSocket) -> io::Result<()> {
    unsupported()
}

/// The owner of socket files.
#[derive(Clone, Debug)]
pub(crate) struct Ownership;

impl Ownership {
    /// Another process owns the files.
    pub(crate) const fn of_another() -> Self {
        Self
    }
}

/// The file of a listening unix socket. There is none.
#[derive(Debug)]
pub(crate) struct SocketFile(Infallible);

impl SocketFile {
    /// Reports that there are no unix sockets.
    ///
    /// # Errors
    /// Always.
    pub(crate) fn at(_: &Path) -> io::Result<Self> {
        unsupported()
    }

    /// Reports that there are no unix sockets.
    ///
    /// # Errors
    /// Always.
    pub(crate) fn owned(_: &Path, _: Ownership) -> io::Result<Self> {
        unsupported()
    }

    /// Leaves the file to another process.
    pub(crate) const fn give_away(&self) {
        match self.0 {}
    }
}
