//! The way from a listener to its upstream.

use std::sync::Arc;

use portcullis_config::{Tcp, Upstream};

use crate::generation::logins::Logins;
use crate::generation::store::Generation;
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
    /// Whether connections made for the other may serve for this one: it is the same upstream, reached the same way.
    pub(crate) fn leads_where(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.tcp == other.tcp
    }

    /// The way of the listener with that index, for worker number `worker`. `None`: there is no such listener.
    pub(crate) fn of(generation: &Generation, listener: usize, worker: usize) -> Option<Self> {
        let config = generation.config();
        let upstream = config.listeners().get(listener)?.upstream();
        let index = config.upstreams().iter().position(|other| Arc::ptr_eq(other, upstream))?;
        Some(Self {
            logins: Arc::clone(generation.logins().get(listener)?),
            upstream: Arc::clone(upstream),
            tcp: config.limits().tcp().clone(),
            counts: UpstreamCounts::new(Arc::clone(generation.series().upstreams.get(index)?), worker),
        })
    }
}
