//! The transport under the protocol.

use std::io;

use super::admit::{Admitted, Client};
use crate::net::stream::Stream;

/// A connection whose bytes are the client's own.
#[derive(Debug)]
pub struct Secured {
    pub(super) stream: Stream,
    pub(super) client: Client,
}

/// A listener without TLS: the socket's bytes are the client's.
///
/// # Errors
/// Those of the reactor.
pub fn plain(admitted: Admitted) -> io::Result<Secured> {
    let Admitted { socket, client } = admitted;
    Ok(Secured { stream: Stream::register(socket)?, client })
}
