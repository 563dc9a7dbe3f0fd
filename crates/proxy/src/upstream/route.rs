//! The way from a listener to its upstream.

use std::sync::Arc;

use portcullis_config::{Tcp, Upstream};

use crate::generation::listener::Listener;
use crate::generation::logins::Logins;
use crate::metrics::UpstreamCounts;

/// The upstream of a listener's clients, and the logins there. A session keeps the route that it began with.
#[derive(Debug)]
pub(crate) struct Route {
    /// The users that clients can be, and the credentials of each at the upstream.
    pub logins: Arc<Logins>,
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// The options of sockets to it.
    pub tcp: Tcp,
    /// Counters of this worker.
    pub counts: UpstreamCounts,
}

impl Route {
    /// Returns whether connections made for the other may serve for this one: it is the same upstream, reached the same
    /// way.
    pub(crate) fn leads_where(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.tcp == other.tcp
    }

    /// Returns the route of a listener's clients, for worker number `worker`.
    pub(crate) fn of(listener: &Listener, tcp: &Tcp, worker: usize) -> Self {
        Self {
            logins: Arc::clone(listener.logins()),
            upstream: Arc::clone(listener.upstream()),
            tcp: tcp.clone(),
            counts: UpstreamCounts::new(Arc::clone(listener.upstream_series()), worker),
        }
    }
}
