//! The addresses to listen on and to connect to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::message::{Harmless, Masked};

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// A TCP address; `v6only` is set for `[::]:port` when the configuration also binds that port on IPv4.
    Tcp {
        /// Address and port.
        addr: SocketAddr,
        /// Value for `IPV6_V6ONLY`; false on IPv4.
        v6only: bool,
    },
    /// A socket file.
    Unix(UnixSocket),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { addr, .. } => addr.fmt(f),
            Self::Unix(file) => write!(f, "unix:{}", file.path().display()),
        }
    }
}

/// A socket file that the gate makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixSocket {
    path: PathBuf,
    mode: u32,
    group: Option<u32>,
}

impl UnixSocket {
    /// Owner and group may connect: operators set the group to that of the permitted users.
    const MODE: u32 = 0o660;

    /// Makes a socket with the mode 0660 and the group of the process.
    pub fn at(path: PathBuf) -> Self {
        Self { path, mode: Self::MODE, group: None }
    }

    /// Sets another mode: nine permission bits.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode: mode & 0o777, ..self }
    }

    /// Sets another group, by its number.
    #[must_use]
    pub fn with_group(self, group: u32) -> Self {
        Self { group: Some(group), ..self }
    }

    /// The path, absolute or relative to the working directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Permission bits of the file, whatever the umask is.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// The group; `None`: the group of the process.
    pub fn group(&self) -> Option<u32> {
        self.group
    }
}

/// The listen address of the admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminBind {
    /// Address and port.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(UnixSocket),
}

impl From<&AdminBind> for Bind {
    fn from(bind: &AdminBind) -> Self {
        match bind {
            AdminBind::Tcp(addr) => Self::Tcp { addr: *addr, v6only: false },
            AdminBind::Unix(file) => Self::Unix(file.clone()),
        }
    }
}

impl fmt::Display for AdminBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(file) => write!(f, "unix:{}", file.path().display()),
        }
    }
}

/// The address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A name or an address (IPv6 without brackets), and a port that is not 0.
    Host {
        /// The host, to be resolved.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// A socket file, its path absolute or relative to the working directory.
    Unix(PathBuf),
}

impl Address {
    /// Whether both are written for the same host and port: names differ at most in case, and addresses in spelling.
    pub fn is_same_host(&self, other: &Self) -> bool {
        let (Self::Host { host, port }, Self::Host { host: other_host, port: other_port }) = (self, other)
        else {
            return self == other;
        };
        let same = match (host.parse::<IpAddr>(), other_host.parse::<IpAddr>()) {
            (Ok(ip), Ok(other)) => ip == other,
            _ => host.eq_ignore_ascii_case(other_host),
        };
        port == other_port && same
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A validated host is shown, as it is wherever the gate speaks of an upstream.
impl Harmless for Address {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { .. } => fmt::Display::fmt(self, f),
            Self::Unix(path) => write!(f, "unix:{}", Masked::path(path)),
        }
    }
}
