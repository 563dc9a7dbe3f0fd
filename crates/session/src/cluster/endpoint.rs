//! The host and port of a node, as a server announces them.

use std::fmt;

/// The longest host that is accepted: a name of DNS has at most 253 characters, an IPv6 address with a zone fewer.
const MAX_HOST: usize = 255;

/// A host, which is a name or an address without brackets, and a port that is not 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    host: Box<str>,
    port: u16,
}

impl Endpoint {
    /// Creates an endpoint. Returns `None` if the host is empty, `?`, too long or has other characters than those of
    /// names and addresses, or if the port is 0.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        let fits = !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(is_host) && port != 0;
        fits.then(|| Self { host: host.to_ascii_lowercase().into(), port })
    }

    /// Parses `HOST:PORT`, as MOVED and CLUSTER NODES have it. An IPv6 address has no brackets there, so the port
    /// follows the last colon. Where the host is empty, it is `asked`: the host of the node that sent the text.
    pub fn parse(text: &str, asked: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if host.is_empty() { asked } else { host };
        Self::new(host, port.parse().ok()?)
    }

    /// The name or the address, in lower case and without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests;
