//! The TLS handshakes with clients and upstreams.

mod handshake;
mod places;

pub(crate) use self::handshake::{HandshakeFailure, accept, connect};
