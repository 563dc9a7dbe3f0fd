//! The server that a listener presents itself as: its address, and the gate's answers in the name of that server.
//!
//! A listener can present itself as a standalone server, a sentinel, a cluster of one node, or any combination of these.
//! In each case the client finds one master, at the address of the listener. The answers depend on no server, so the gate
//! gives them without one.

mod cluster;
mod sentinel;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

pub(crate) use self::sentinel::hello as sentinel_hello;
use portcullis_acl::ClientAddr;
use portcullis_resp::{encode, reply};
use sha2::{Digest, Sha256};

/// The presentation of a listener whose clients must not see the address of the upstream.
#[derive(Debug)]
pub struct Face {
    standalone: bool,
    cluster: bool,
    /// The names of the master for clients of a sentinel. Empty if the listener is no sentinel.
    masters: Box<[Box<str>]>,
    announce: Option<Place>,
    tls: bool,
}

/// An address that clients can connect to, and the id of the node at that address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    host: Box<str>,
    port: u16,
    id: Box<str>,
}

/// The gate's answer to a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Reply(Vec<u8>),
    /// An error, as Redis would send it.
    Error(Vec<u8>),
    /// The error for a command that would change the server.
    Refused(&'static [u8]),
}

impl Face {
    /// Creates the face of a standalone server.
    pub fn standalone() -> Self {
        Self { standalone: true, cluster: false, masters: Box::default(), announce: None, tls: false }
    }

    /// Removes the standalone server from the face.
    #[must_use]
    pub fn not_standalone(self) -> Self {
        Self { standalone: false, ..self }
    }

    /// Adds a cluster of one node.
    #[must_use]
    pub fn with_cluster(self) -> Self {
        Self { cluster: true, ..self }
    }

    /// Adds a sentinel that knows one master by these names.
    #[must_use]
    pub fn with_sentinel<'n>(self, masters: impl IntoIterator<Item = &'n str>) -> Self {
        Self { masters: masters.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the address of the server. Otherwise it is the address that the client connected to.
    #[must_use]
    pub fn announcing(self, host: &str, port: u16) -> Self {
        Self { announce: Some(Place::new(host, port)), ..self }
    }

    /// Makes the port of the server a TLS port.
    #[must_use]
    pub fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// Returns whether the gate answers every command, as a sentinel.
    pub(crate) fn is_sentinel_only(&self) -> bool {
        self.is_sentinel() && !self.standalone && !self.cluster
    }

    pub(crate) fn is_sentinel(&self) -> bool {
        !self.masters.is_empty()
    }

    pub(crate) const fn is_cluster(&self) -> bool {
        self.cluster
    }

    /// Returns the mode of the server, as INFO and HELLO name it. Clients of a cluster do not look at it, and clients
    /// of a standalone server may refuse a cluster.
    pub(crate) const fn mode(&self) -> Mode {
        if self.cluster && !self.standalone { Mode::Cluster } else { Mode::Standalone }
    }

    /// Returns the address of the server for a client that connected to `reached`. Returns `None` if the address is not
    /// known.
    pub(crate) fn place(&self, reached: Option<SocketAddr>) -> Option<Cow<'_, Place>> {
        let own = || {
            let reached = ClientAddr::from_socket(reached?);
            Some(Place::new(&reached.ip()?.to_string(), reached.port()?))
        };
        self.announce.as_ref().map(Cow::Borrowed).or_else(|| own().map(Cow::Owned))
    }
}

/// The mode of a server, as INFO and HELLO name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Standalone,
    Cluster,
}

impl Mode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Cluster => "cluster",
        }
    }
}

impl Place {
    /// Creates the place. Gates with the same address have the same id, so clients count them as one node.
    fn new(host: &str, port: u16) -> Self {
        let digest = Sha256::digest(format!("{host}:{port}"));
        let id: String = digest.iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { host: host.into(), port, id: id.into() }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the port of the cluster bus. No client connects to it.
    fn bus(&self) -> u16 {
        self.port.checked_add(BUS_OFFSET).unwrap_or(0)
    }

    /// Returns the host if it is a name and not an IP address.
    fn name(&self) -> Option<&str> {
        self.host.parse::<IpAddr>().is_err().then_some(&*self.host)
    }
}

/// Returns an error for a client whose connection has no address, and for whose listener none is set.
pub(crate) fn no_address() -> Answered {
    Answered::Error(NO_ADDRESS.to_vec())
}

fn unknown_subcommand(container: &str, word: &[u8]) -> Answered {
    let mut line = Vec::with_capacity(64);
    reply::unknown_subcommand(&mut line, container, word);
    Answered::Error(line)
}

fn wrong_arity(name: &str) -> Answered {
    let mut line = Vec::with_capacity(64);
    reply::wrong_arity(&mut line, name);
    Answered::Error(line)
}

fn text_reply(text: &str) -> Answered {
    let mut out = Vec::with_capacity(text.len() + 16);
    encode::bulk(&mut out, text.as_bytes());
    Answered::Reply(out)
}

fn integer_reply(value: i64) -> Answered {
    let mut out = Vec::with_capacity(24);
    encode::integer(&mut out, value);
    Answered::Reply(out)
}

fn empty_array() -> Answered {
    Answered::Reply(b"*0\r\n".to_vec())
}

/// Returns the reply to HELP of a command with these subcommands.
fn help(container: &str, subcommands: &[&str]) -> Answered {
    let mut out = Vec::with_capacity(512);
    encode::array(&mut out, subcommands.len().saturating_add(1));
    encode::status(&mut out, &format!("{container} <subcommand> [<arg> ...]. Subcommands are:"));
    subcommands.iter().for_each(|subcommand| encode::status(&mut out, subcommand));
    Answered::Reply(out)
}

/// Appends a bulk string.
fn bulk(out: &mut Vec<u8>, text: &str) {
    encode::bulk(out, text.as_bytes());
}

/// A node id has 40 hexadecimal digits.
const ID_BYTES: usize = 20;

/// The distance from the port of a node to the port of its cluster bus, as in Redis.
const BUS_OFFSET: u16 = 10_000;

const NO_ADDRESS: &[u8] = b"-ERR portcullis: the address of this listener is not known, set announce\r\n";

#[cfg(test)]
mod tests;
