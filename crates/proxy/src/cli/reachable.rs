//! Addresses at which this host reaches its own servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns the address at which to reach a server that listens on `bind`, which may stand for all addresses.
pub(super) fn reachable(bind: SocketAddr) -> SocketAddr {
    let mut to = bind;
    match &bind {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => to.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => to.set_ip(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        SocketAddr::V4(_) | SocketAddr::V6(_) => {}
    }
    to
}
