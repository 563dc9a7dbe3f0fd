//! The upstream of a listener, as one worker uses it.

use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{Tcp, Upstream};

use super::connect::{ConnectError, connect};
use super::view::ViewCell;
use crate::generation::listener::Listener;
use crate::generation::logins::Logins;
use crate::metrics::UpstreamCounts;
use crate::net::stream::Stream;
use crate::process::hints::{Hint, Hints};

/// The upstream of a listener's clients, with their logins. A session keeps the target until its upstream connection
/// is closed, even through reloads.
#[derive(Debug)]
pub(crate) struct Target {
    /// The users of the listener, with their credentials for the upstream.
    pub logins: Arc<Logins>,
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// The current addresses of the upstream.
    pub view: Rc<ViewCell>,
    /// The options of sockets to the upstream.
    pub tcp: Tcp,
    /// The upstream's counters of this worker.
    pub counts: UpstreamCounts,
    /// The hints to the watcher of the upstream.
    hints: Arc<Hints>,
}

impl Target {
    /// Connects to the upstream.
    ///
    /// # Errors
    /// No address serves.
    pub(crate) async fn connect(&self) -> Result<Stream, ConnectError> {
        connect(&self.view, &self.upstream, &self.tcp).await
    }

    /// Tells the watcher of the upstream that the upstream seems to have moved.
    #[expect(dead_code, reason = "sessions give hints as soon as they can wait for another view")]
    pub(crate) fn hint(&self, hint: Hint) {
        self.hints.give(hint);
    }

    /// Returns whether a connection of `other` can serve this target: both have the same upstream and socket options.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.tcp == other.tcp && Rc::ptr_eq(&self.view, &other.view)
    }

    /// Returns the target of a listener's clients, for worker number `worker`.
    /// `view` is the cell of its upstream, `hints` leads to its watcher.
    pub(crate) fn of(
        listener: &Listener,
        view: Rc<ViewCell>,
        hints: Arc<Hints>,
        tcp: &Tcp,
        worker: usize,
    ) -> Self {
        Self {
            logins: Arc::clone(listener.logins()),
            upstream: Arc::clone(listener.upstream()),
            view,
            hints,
            tcp: tcp.clone(),
            counts: UpstreamCounts::new(Arc::clone(listener.upstream_series()), worker),
        }
    }
}
