//! The upstream of a listener, as one worker uses it.

use std::sync::Arc;

use portcullis_config::{Tcp, Upstream};

use crate::generation::listener::Listener;
use crate::generation::logins::Logins;
use crate::metrics::UpstreamCounts;

/// The upstream of a listener's clients, and the logins there. A session keeps the target of its upstream connection until
/// that connection is closed, through reloads too.
#[derive(Debug)]
pub(crate) struct Target {
    /// The users of the listener, and the credentials of each at the upstream.
    pub logins: Arc<Logins>,
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// The options of sockets to it.
    pub tcp: Tcp,
    /// Counters of this worker.
    pub counts: UpstreamCounts,
}

impl Target {
    /// Returns whether a connection to `other` may serve for this target: same upstream, same socket options.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.tcp == other.tcp
    }

    /// Returns the target of a listener's clients, for worker number `worker`.
    pub(crate) fn of(listener: &Listener, tcp: &Tcp, worker: usize) -> Self {
        Self {
            logins: Arc::clone(listener.logins()),
            upstream: Arc::clone(listener.upstream()),
            tcp: tcp.clone(),
            counts: UpstreamCounts::new(Arc::clone(listener.upstream_series()), worker),
        }
    }
}
