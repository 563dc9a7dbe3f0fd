//! The source of a connection: an address that is normalized once, so that later code need not handle other forms.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The source of a connection, in the form that the policy judges.
///
/// `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2) becomes `a.b.c.d`; no other IPv6 form is mapped. The zone of a link-local
/// address is dropped, because entries match the address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(Inner);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Inner {
    Inet { ip: IpAddr, port: u16 },
    Unix,
}

impl ClientAddr {
    /// The source with the peer address of an accepted socket, or with the source that a trusted PROXY header names.
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the address of a socket")]
    pub fn from_socket(addr: SocketAddr) -> Self {
        Self(Inner::Inet { ip: addr.ip().to_canonical(), port: addr.port() })
    }

    /// The source of a unix socket: it has no address, and only the built-in group `unix` matches it.
    pub const fn unix() -> Self {
        Self(Inner::Unix)
    }

    /// The normalized address; `None` for a unix peer.
    pub fn ip(self) -> Option<IpAddr> {
        match self.0 {
            Inner::Inet { ip, .. } => Some(ip),
            Inner::Unix => None,
        }
    }

    /// The source port; `None` for a unix peer.
    pub fn port(self) -> Option<u16> {
        match self.0 {
            Inner::Inet { port, .. } => Some(port),
            Inner::Unix => None,
        }
    }

    /// Whether the peer connected over a unix socket.
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

/// Seconds since 1970-01-01T00:00:00Z by the wall clock, for `until`. The caller reads the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

#[cfg(test)]
mod tests;
