//! The messages of a take-over: lines of JSON. Fields that a version does not know are ignored.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use portcullis_acl::ClientAddr;
use portcullis_acl::rate::Source;
use portcullis_config::Bind;
use serde::{Deserialize, Serialize};

use crate::net::ready::ReadyAddress;

/// The versions of the messages that this release speaks.
pub(super) const VERSIONS: [u32; 1] = [1];

/// The release, which both sides log.
pub(super) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The first message, from the new process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// The versions that the new process speaks.
    pub takeover: Vec<u32>,
    /// Its release.
    pub release: String,
}

impl Request {
    /// Makes the request of this release.
    pub(super) fn new() -> Self {
        Self { takeover: VERSIONS.to_vec(), release: RELEASE.to_owned() }
    }

    /// Returns the highest version that both sides speak.
    pub(super) fn version(&self) -> Option<u32> {
        VERSIONS.into_iter().filter(|version| self.takeover.contains(version)).max()
    }
}

/// The answer of the running process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The reason why it gives nothing.
    Refused(String),
    /// The sockets follow: a line and a descriptor for each.
    Granted(Granted),
}

/// The beginning of a take-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Granted {
    /// The version of the messages that follow.
    pub version: u32,
    /// The release of the running process.
    pub release: String,
    /// The number of sockets.
    pub sockets: usize,
    /// The sources that are blocked.
    pub blocks: Vec<Block>,
}

/// A source that the running process has blocked after failed logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Block {
    /// The name of the listener.
    pub listener: String,
    source: IpAddr,
    milliseconds: u64,
}

impl Block {
    /// Makes the message about a block with the time that is left.
    pub(super) fn new(listener: &str, source: Source, left: Duration) -> Self {
        let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Self { listener: listener.to_owned(), source: source.ip(), milliseconds }
    }

    /// Returns the source.
    pub(super) fn source(&self) -> Option<Source> {
        Source::of(ClientAddr::from_socket(SocketAddr::new(self.source, 0)))
    }

    /// Returns the time that is left.
    pub(super) const fn left(&self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }
}

/// A listening socket, whose descriptor comes with the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Listening {
    /// TCP.
    Tcp {
        /// Address and port, as the configuration has them: the port may be 0.
        address: SocketAddr,
        /// The value of `IPV6_V6ONLY`.
        v6only: bool,
    },
    /// A socket file.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

impl From<&Bind> for Listening {
    fn from(bind: &Bind) -> Self {
        match bind {
            Bind::Tcp { addr, v6only } => Self::Tcp { address: *addr, v6only: *v6only },
            Bind::Unix(file) => Self::Unix { path: file.path().to_owned() },
        }
    }
}

impl From<Listening> for ReadyAddress {
    fn from(listening: Listening) -> Self {
        match listening {
            Listening::Tcp { address, v6only } => Self::Tcp { addr: address, v6only },
            Listening::Unix { path } => Self::Unix(path),
        }
    }
}

impl From<&ReadyAddress> for Listening {
    fn from(address: &ReadyAddress) -> Self {
        match address {
            ReadyAddress::Tcp { addr, v6only } => Self::Tcp { address: *addr, v6only: *v6only },
            ReadyAddress::Unix(path) => Self::Unix { path: path.clone() },
        }
    }
}

/// The state of the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// The new process needs these addresses to be free, because its own overlap with them.
    Release(Vec<Listening>),
    /// The running process has closed them.
    Released,
    /// The new process serves clients.
    Serving,
    /// The running process accepts no more clients.
    Stopped,
}

/// Returns a message as a line.
pub(super) fn line(message: &impl Serialize) -> Vec<u8> {
    // None of the messages has a map or another part that JSON cannot express, apart from paths that are not UTF-8.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}
