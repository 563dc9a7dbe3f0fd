//! The upstream of a listener, as one worker uses it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Tcp, Upstream};
use portcullis_session::Unavailable;
use portcullis_session::cluster::NodeIndex;
use tokio::time::timeout;

use super::connect::{ConnectError, connect, connect_one};
use super::dials::Scout;
use super::view::ViewCell;
use crate::generation::listener::Listener;
use crate::generation::logins::Logins;
use crate::metrics::UpstreamCounts;
use crate::net::stream::Stream;
use crate::process::hints::{Hint, Hints, Moved};

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

/// What a dial does if the upstream is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It fails.
    Once,
    /// It waits.
    Waits,
}

impl Target {
    /// Returns whether an upstream that ends a connection before its first byte probably requires TLS. One that has
    /// served connections without TLS does not: it was stopped.
    pub(crate) fn wants_tls(&self) -> bool {
        self.counts.wants_tls() && !self.view.dials().has_worked()
    }

    /// Connects to the upstream.
    ///
    /// # Errors
    /// No address serves.
    pub(crate) async fn connect(&self) -> Result<Stream, ConnectError> {
        self.view.flowing().await;
        // A dial that waits for its place has no other time limit.
        let place = timeout(self.upstream.connect_timeout(), self.view.dials().place()).await;
        let connected = connect(&self.view, &self.upstream, &self.tcp).await;
        drop(place);
        connected
    }

    /// Connects to the upstream as soon as it is available, however long that takes. Returns the connection. If the
    /// upstream was down, returns also the right to be the scout, which ends when the connection is set up.
    ///
    /// # Errors
    /// The upstream cannot be used as it is configured.
    pub(crate) async fn connect_patiently(&self) -> Result<(Stream, Option<Scout>), ConnectError> {
        let dials = self.view.dials();
        loop {
            self.view.flowing().await;
            let scout = dials.turn().await;
            let place = dials.place().await;
            let connected = connect(&self.view, &self.upstream, &self.tcp).await;
            drop(place);
            match connected {
                Ok(stream) => return Ok((stream, scout)),
                Err(error) if error.kind().passes() => {
                    tracing::debug!(upstream = %self.upstream.name(), %error, "cannot reach the upstream yet");
                    self.counts.error(error.kind().into());
                    match error.kind() {
                        Unavailable::Refused => self.hint(Hint::Refused),
                        Unavailable::Timeout => self.hint(Hint::Silent),
                        _ => {}
                    }
                    dials.failed(error.kind());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the map of the cluster is known, however long that takes if the caller is patient.
    ///
    /// # Errors
    /// No node of the cluster has answered in time.
    pub(crate) async fn find(&self, patience: Patience) -> Result<(), ConnectError> {
        let mapped = self.view.mapped();
        match patience {
            Patience::Waits => mapped.await,
            Patience::Once => {
                let found = timeout(self.upstream.connect_timeout(), mapped).await;
                found.map_err(|_| ConnectError::gave_up(Unavailable::Timeout))?;
            }
        }
        Ok(())
    }

    /// Connects to a node of a cluster.
    ///
    /// # Errors
    /// The node cannot be reached, or the map has it no more.
    pub(crate) async fn connect_node(&self, node: NodeIndex) -> Result<Stream, ConnectError> {
        let place = self.view.current().cluster().and_then(|cluster| cluster.place(node).cloned());
        let Some(place) = place else { return Err(ConnectError::gave_up(Unavailable::Resolve)) };
        let turn = timeout(self.upstream.connect_timeout(), self.view.dials().place()).await;
        let connected = connect_one(&place, &self.upstream, &self.tcp).await;
        drop(turn);
        connected
    }

    /// Connects to the upstream as soon as it is available, and at the latest after `failover_wait`.
    ///
    /// # Errors
    /// No address serves.
    pub(crate) async fn connect_in_time(&self) -> Result<Stream, ConnectError> {
        match self.upstream.failover_wait() {
            Some(limit) => self.connect_within(limit).await,
            None => self.connect().await,
        }
    }

    /// Connects to the upstream as soon as it is available, and at the latest after `limit`.
    ///
    /// # Errors
    /// No address serves.
    pub(crate) async fn connect_within(&self, limit: Duration) -> Result<Stream, ConnectError> {
        match timeout(limit, self.connect_patiently()).await {
            Ok(connected) => connected.map(|(stream, _)| stream),
            Err(_) => Err(ConnectError::gave_up(self.view.dials().why().unwrap_or(Unavailable::Timeout))),
        }
    }

    /// Tells the watcher of the upstream that the upstream seems to have moved.
    pub(crate) fn hint(&self, hint: Hint) {
        self.hints.give(hint);
    }

    /// Demands that a node of a cluster is asked about its slots.
    pub(crate) fn hint_asked(&self, node: NodeIndex) {
        self.hints.give_asked(node);
    }

    /// Tells the watcher of a cluster that a slot has another owner.
    pub(crate) fn hint_moved(&self, moved: Moved) {
        self.hints.give_moved(moved);
    }

    /// Tells the watcher of a cluster that a node refuses connections ([`Hint::Refused`]), takes long for a command
    /// ([`Hint::Slow`]), or has not answered for a second ([`Hint::Silent`]).
    pub(crate) fn hint_about(&self, node: NodeIndex, hint: Hint) {
        self.hints.give_about(node, hint);
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
