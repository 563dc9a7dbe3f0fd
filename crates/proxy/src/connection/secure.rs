//! The transport under the protocol.

use std::io;

use portcullis_acl::{ClientAddr, Permit};

use super::admit::{Admitted, Place};
use crate::net::stream::Stream;

/// A connection whose bytes are the client's own.
#[derive(Debug)]
pub struct Secured {
    pub(super) stream: Stream,
    pub(super) from: ClientAddr,
    pub(super) listener: usize,
    pub(super) permit: Permit,
    pub(super) place: Place,
}

/// A listener without TLS: the socket's bytes are the client's.
///
/// # Errors
/// Those of the reactor.
pub fn plain(admitted: Admitted) -> io::Result<Secured> {
    let Admitted { socket, from, listener, permit, place } = admitted;
    Ok(Secured { stream: Stream::register(socket)?, from, listener, permit, place })
}
