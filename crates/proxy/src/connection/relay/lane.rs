//! The ways by which one client's commands go upstream and their replies come back.

use super::own_lane::OwnLane;
use super::pooled_lane::PooledLane;

/// The lanes of one client.
pub(super) struct Lanes {
    pub(super) own: OwnLane,
    /// None where the listener's clients share no connections.
    pub(super) pooled: Option<Box<PooledLane>>,
}

impl Lanes {
    /// The server that the client's commands reach. None: that is not over TCP, or not yet known.
    pub(super) fn server(&self) -> Option<std::net::SocketAddr> {
        if self.own.is_open() { self.own.server() } else { self.pooled.as_ref()?.server() }
    }
}
