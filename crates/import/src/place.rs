//! Addresses to listen on and to connect to, in the form of the gate's configuration.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portcullis_config::message::{Harmless, Masked};

use super::sources::{Net, Sources};

/// The reason why a forward of UDP is left out.
pub(super) const NO_UDP: &str =
    "Redis uses TCP only, and Portcullis forwards no UDP: keep another program for this port";
/// The reason why a revocation list for the certificate of a server is left out.
pub(super) const NO_SERVER_CRL: &str = "there is no revocation list for the server's certificate, so a revoked one is accepted; tls.pin accepts one key only";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bind {
    Tcp {
        addr: SocketAddr,
        /// Whether an IPv6 wildcard accepts IPv4 connections too.
        dual: bool,
    },
    Unix {
        path: String,
        /// The mode of the socket file, in octal digits. `None` means the gate's default.
        mode: Option<String>,
        group: Option<String>,
    },
}

impl Bind {
    pub(super) fn tcp(ip: IpAddr, port: u16) -> Self {
        Self::Tcp { addr: SocketAddr::new(ip, port), dual: false }
    }

    pub(super) fn dual(port: u16) -> Self {
        Self::Tcp { addr: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), dual: true }
    }

    pub(super) fn any_v4(port: u16) -> Self {
        Self::tcp(Ipv4Addr::UNSPECIFIED.into(), port)
    }

    pub(super) fn any_v6(port: u16) -> Self {
        Self::tcp(Ipv6Addr::UNSPECIFIED.into(), port)
    }

    pub(super) fn unix(path: String) -> Self {
        Self::Unix { path, mode: None, group: None }
    }

    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { addr, .. } => Some(addr.port()),
            Self::Unix { .. } => None,
        }
    }

    /// Returns the sources that can connect to this address.
    pub(super) fn reach(&self) -> Sources {
        let [v4, v6, unix] = Net::all().map(Sources::from);
        match self {
            Self::Tcp { addr: SocketAddr::V4(_), .. } => v4,
            Self::Tcp { dual: true, .. } => v4.or(&v6),
            Self::Tcp { .. } => v6,
            Self::Unix { .. } => unix,
        }
    }

    /// Returns the sources that can connect to this address in the gate. There `[::]` accepts IPv4 too, unless an IPv4
    /// address with the same port is bound as well.
    pub(super) fn reach_in_gate(&self) -> Sources {
        match self {
            Self::Tcp { addr: SocketAddr::V6(addr), .. } if addr.ip().is_unspecified() => Sources::inet(),
            _ => self.reach(),
        }
    }

    /// Returns whether the kernel, or the gate's own check, would refuse to bind both addresses.
    pub(super) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix { path: one, .. }, Self::Unix { path: other, .. }) => one == other,
            (Self::Tcp { addr: one, .. }, Self::Tcp { addr: other, .. }) => {
                let (one_ip, other_ip) = (ip(one), ip(other));
                let wide = one_ip.is_unspecified() || other_ip.is_unspecified();
                one.port() == other.port()
                    && one_ip.is_ipv4() == other_ip.is_ipv4()
                    && (wide || one_ip == other_ip)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { addr, .. } => addr.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{path}"),
        }
    }
}

impl Harmless for Bind {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => fmt::Display::fmt(self, f),
            Self::Unix { path, .. } => write!(f, "unix:{}", Masked::path(path.as_ref())),
        }
    }
}

/// Returns the IP address of an address to listen on.
#[expect(clippy::disallowed_methods, reason = "it is no peer's address, so there is nothing to fold")]
fn ip(addr: &SocketAddr) -> IpAddr {
    addr.ip()
}

/// Returns `host:port` or `[v6]:port` for the `address` of an upstream. `None` if the host or the port is not valid in
/// the gate's configuration.
pub(super) fn address(host: &str, port: u16) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if port == 0 {
        return None;
    }
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => Some(format!("[{ip}]:{port}")),
        Ok(IpAddr::V4(ip)) => Some(format!("{ip}:{port}")),
        Err(_) if is_name(host) => Some(format!("{host}:{port}")),
        Err(_) => None,
    }
}

/// Returns the path if it is valid for a socket file: absolute, short enough, without control characters.
pub(super) fn socket_path(path: &str) -> Option<String> {
    /// The most bytes of a path in `sun_path` of Linux, without the closing NUL.
    const LONGEST: usize = 107;
    let sane = path.starts_with('/') && !path.ends_with('/') && path.len() <= LONGEST;
    (sane && !path.chars().any(char::is_control)).then(|| path.to_owned())
}

/// Reads a port: digits only, from 1 to 65535.
pub(super) fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Returns whether the text is a DNS name (RFC 1035, 2.3.4) whose last label is not a number.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    !name.is_empty() && name.len() <= 253 && !numeric && name.split('.').all(label)
}
