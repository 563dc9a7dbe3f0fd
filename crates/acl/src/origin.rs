//! The source of a connection. The address is normalized once, so that later code handles only one form.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The source of a connection, in the form that the policy judges.
///
/// `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2) becomes `a.b.c.d`; no other IPv6 form becomes IPv4. The zone of a link-local
/// address is dropped, because entries match only the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(Inner);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Inner {
    Inet { ip: IpAddr, port: u16 },
    Unix,
}

impl ClientAddr {
    /// Makes a source from the peer address of an accepted socket, or from the address in a trusted PROXY header.
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the address of a socket")]
    pub fn from_socket(addr: SocketAddr) -> Self {
        Self(Inner::Inet { ip: addr.ip().to_canonical(), port: addr.port() })
    }

    /// Makes the source of a peer on a unix socket. It has no address, and only the built-in group `unix` matches it.
    pub const fn unix() -> Self {
        Self(Inner::Unix)
    }

    /// Returns the normalized address. `None` for a peer on a unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        match self.0 {
            Inner::Inet { ip, .. } => Some(ip),
            Inner::Unix => None,
        }
    }

    /// Returns the source port. `None` for a peer on a unix socket.
    pub fn port(self) -> Option<u16> {
        match self.0 {
            Inner::Inet { port, .. } => Some(port),
            Inner::Unix => None,
        }
    }

    /// Returns whether the peer connected over a unix socket.
    pub fn is_unix(self) -> bool {
        matches!(self.0, Inner::Unix)
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Inner::Inet { ip, port } => SocketAddr::new(ip, port).fmt(f),
            Inner::Unix => f.write_str("unix"),
        }
    }
}

/// Seconds since 1970-01-01T00:00:00Z by the wall clock, used for `until`. The caller reads the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

#[cfg(test)]
mod tests;
