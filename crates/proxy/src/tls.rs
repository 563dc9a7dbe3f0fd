//! The TLS handshakes of clients and upstreams.

mod handshake;
mod places;

pub use self::handshake::{Unshaken, accept, connect};
