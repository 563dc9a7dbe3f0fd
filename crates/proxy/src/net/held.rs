//! The addresses that a running proxy holds, for `check` on the same host: a port that the proxy of the same
//! configuration holds is no obstacle to a reload.
//!
//! The proxy binds a name in the abstract namespace of unix sockets for each address. Ports and these names belong to
//! the same network namespace, and the kernel removes both when the process ends. No program can connect to a name.

#[cfg_attr(windows, path = "held/name/windows.rs")]
mod name;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_config::Bind;
use sha2::{Digest, Sha256};

use self::name::HeldName;

/// The names of this process.
#[derive(Debug)]
pub(crate) struct Held {
    prefix: String,
    names: HashMap<String, HeldName>,
}

impl Held {
    /// Makes the names of the proxy that runs this configuration file.
    pub(crate) fn new(config: &Path) -> Self {
        Self { prefix: prefix(config), names: HashMap::new() }
    }

    /// Has a name for each of these addresses, and for no others.
    pub(crate) fn follow(&mut self, addresses: &[Bind]) {
        let wanted: HashSet<String> =
            addresses.iter().map(|bind| format!("{}{}", self.prefix, Address::of(bind))).collect();
        self.names.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if self.names.contains_key(&name) {
                continue;
            }
            // Without a name, `check` reports the address as in use.
            match HeldName::new(&name) {
                Ok(held) => drop(self.names.insert(name, held)),
                Err(error) => tracing::debug!(%name, %error, "cannot announce an address to 'check'"),
            }
        }
    }
}

/// An address that a process listens on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Address<'a> {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(&'a Path),
}

impl<'a> Address<'a> {
    /// The address to listen on.
    pub(crate) fn of(bind: &'a Bind) -> Self {
        match bind {
            Bind::Tcp { addr, .. } => Self::Tcp(*addr),
            Bind::Unix(file) => Self::Unix(file.path()),
        }
    }
}

impl std::fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", digest(&place(path))),
        }
    }
}

/// The addresses that the running proxy of a configuration holds.
#[derive(Debug, Default)]
pub(crate) struct HeldElsewhere(HashSet<String>);

impl HeldElsewhere {
    /// Reads what is held for this configuration file.
    pub(crate) fn by(config: &Path) -> Self {
        Self(HeldName::all(&prefix(config)))
    }

    /// Returns whether the running proxy holds the address, or one on the same port that a reload releases for it.
    pub(crate) fn has(&self, address: Address<'_>) -> bool {
        let overlaps = |held: &String| match (held.parse::<SocketAddr>(), address) {
            (Ok(held), Address::Tcp(addr)) => {
                held.port() == addr.port() && (is_unspecified(&held) || is_unspecified(&addr))
            }
            _ => false,
        };
        self.0.contains(&address.to_string()) || self.0.iter().any(overlaps)
    }
}

/// Returns whether a socket with the address listens on all addresses of the machine.
pub(super) fn is_unspecified(addr: &SocketAddr) -> bool {
    match addr {
        SocketAddr::V4(addr) => addr.ip().is_unspecified(),
        SocketAddr::V6(addr) => addr.ip().is_unspecified(),
    }
}

fn prefix(config: &Path) -> String {
    format!("portcullis/{}/", digest(&place(config)))
}

/// Returns the path with the links of its directory resolved. The file itself may be a link that is replaced.
pub(crate) fn place(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (path.parent().and_then(|parent| parent.canonicalize().ok()), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path,
    }
}

/// Sixteen hexadecimal digits: a name has room for them, and two paths do not share them by chance.
pub(crate) fn digest(path: &Path) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
