//! The sentinels that name the master of an upstream.

use std::sync::Arc;
use std::time::Duration;

use super::Credentials;
use super::translations::Translations;
use crate::address::Address;
use crate::tls::ClientTls;

/// The sentinels of an upstream, and the master that they watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinel {
    pub(crate) master: String,
    pub(crate) nodes: Vec<Address>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tls: Option<Arc<ClientTls>>,
    pub(crate) pause: Option<Duration>,
    pub(crate) translate: Translations,
}

impl Sentinel {
    /// The name of the master in the configuration of the sentinels.
    pub fn master(&self) -> &str {
        &self.master
    }

    /// The addresses of the sentinels, at least one.
    pub fn nodes(&self) -> &[Address] {
        &self.nodes
    }

    /// The credentials of the proxy at the sentinels.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The TLS settings for the sentinels; `None`: they do not use TLS.
    pub fn tls(&self) -> Option<&Arc<ClientTls>> {
        self.tls.as_ref()
    }

    /// The longest time for which traffic is held during a planned failover; `None`: it is never held.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// Returns the address at which the proxy reaches a server that announces `announced`.
    pub fn reachable<'a>(&'a self, announced: &'a Address) -> &'a Address {
        self.translate.reachable(announced)
    }

    /// The addresses that servers announce, each with the one at which the proxy reaches the server.
    pub fn translations(&self) -> impl Iterator<Item = (&Address, &Address)> {
        self.translate.pairs()
    }

    /// Whether both have the same master at the same place: the same name and translations, and a sentinel in common.
    pub fn has_master_of(&self, other: &Self) -> bool {
        self.master == other.master
            && self.translate == other.translate
            && self.nodes.iter().any(|node| other.nodes.contains(node))
    }
}
