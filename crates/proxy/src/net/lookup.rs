//! Names and their addresses, as the system resolves them.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::run_on_thread::run_on_thread;

/// The reason why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    /// The words of the system.
    #[error("{0}")]
    System(String),
    /// An answer without addresses.
    #[error("the name has no address")]
    NoAddress,
    /// The system has no thread for the lookup.
    #[error("cannot start a thread to look it up")]
    NoThread,
}

/// Looks a name up in `/etc/hosts`, then at the name servers of `/etc/resolv.conf`. Returns at least one address, with `port`,
/// in the order in which the system wants them tried. The lookup has a thread of its own; if the caller gives up, the thread
/// ends when the system does.
///
/// # Errors
/// The name has no address, or the system cannot tell.
pub(crate) async fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let asked = name.to_owned();
    let found = run_on_thread("resolve", move || -> io::Result<Vec<SocketAddr>> {
        Ok((asked.as_str(), port).to_socket_addrs()?.collect())
    });
    match found.await {
        None => Err(LookupError::NoThread),
        Some(Err(error)) => Err(LookupError::System(error.to_string())),
        Some(Ok(addresses)) if addresses.is_empty() => Err(LookupError::NoAddress),
        Some(Ok(addresses)) => Ok(addresses),
    }
}
