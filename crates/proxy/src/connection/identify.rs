//! Who connected.

use portcullis_acl::ClientAddr;

use crate::net::socket::Socket;

/// A connection whose source is known, and nothing else.
#[derive(Debug)]
pub struct Identified {
    pub(super) socket: Socket,
    pub(super) from: ClientAddr,
    pub(super) listener: usize,
}

impl Identified {
    /// The source is the peer of the socket.
    pub const fn by_peer(socket: Socket, from: ClientAddr, listener: usize) -> Self {
        Self { socket, from, listener }
    }
}
