//! The end of a shared connection, and the errors that its waiting clients get.

use std::collections::HashSet;
use std::rc::Rc;

use portcullis_session::{Aftermath, Loss, PoolFault, PoolKey, PooledLink, SessionKey, Unavailable};

use super::{Connection, Outbox, Outcome, Phase};
use crate::metrics::{UpstreamErrorKind, UpstreamState};
use crate::process::hints::Hint;
use crate::upstream::connect::ConnectError;

/// The reason why a connection ends.
pub(super) enum End {
    Dial(ConnectError),
    Fault(PoolFault),
    Desync,
    SetupTimeout,
    Broken(Option<String>),
    /// Another server is the master now.
    MasterChanged,
    /// No client needs the connection any more.
    Unused,
}

impl Connection {
    pub(super) fn finish(&self, end: &End) {
        self.takes_more.set(false);
        let was_open = matches!(self.state.borrow().stream, Phase::Open(_));
        if was_open {
            self.pool.target().counts.connection(UpstreamState::Pooled, -1);
        }
        let why = self.report(end);
        if *self.outcome.borrow() != Outcome::HandedOver {
            self.settle(match end {
                End::Fault(PoolFault::Refused(line)) => Outcome::Refused(line.as_ref().into()),
                _ => why.map_or(Outcome::Ended, Outcome::Unavailable),
            });
        }
        match end {
            End::Fault(PoolFault::Refused(line)) => self.refuse(line),
            _ => self.abandon(self.loss(end, why, was_open)),
        }
    }

    /// Returns what has happened to the commands of waiting clients. `None` if no reply can be trusted. `why` is the
    /// result of [`Self::report`].
    fn loss(&self, end: &End, why: Option<Unavailable>, was_open: bool) -> Option<Loss> {
        let was_ready = was_open && self.state.borrow().link.is_ready();
        let target = self.pool.target();
        let loss = match (end, why) {
            (End::Fault(PoolFault::Link(_) | PoolFault::Push) | End::Desync | End::Unused, None) => {
                return None;
            }
            (End::MasterChanged, _) => Loss::MasterChanged,
            (_, Some(why)) if was_ready => Loss::Unavailable(why),
            (_, Some(why)) => Loss::Unsent(why),
            (_, None) if was_ready => Loss::Closed,
            (_, None) => Loss::Unsent(Unavailable::Connect),
        };
        match loss {
            // The legs of a cluster's clients tell the watcher which node it is.
            _ if self.pool.node().is_some() => {}
            _ if matches!(end, End::Fault(PoolFault::Replica)) => target.view.dials().misled(),
            Loss::Unsent(why) if was_open => target.view.dials().failed(why),
            Loss::Closed => target.hint(Hint::Silent),
            _ => {}
        }
        Some(loss)
    }

    /// Frees the socket and the buffers at once. Clients hold the connection until they need another one.
    fn release(&self) {
        let mut state = self.state.borrow_mut();
        state.stream = Phase::Closed;
        state.inbox.release(&self.resources.pool);
        state.outbox = Outbox::default();
        state.link = PooledLink::new(PoolKey::default());
        state.rest(&self.resources);
    }

    /// Tells all clients with pending replies that no reply will come.
    fn abandon(&self, loss: Option<Loss>) {
        let waiting_sessions: HashSet<_> = self.state.borrow().link.waiting_sessions().collect();
        for key in waiting_sessions {
            self.lose(key, loss);
        }
    }

    /// Tells all clients with pending replies that the upstream refused the proxy's SELECT or HELLO with `line`. None
    /// of their commands was sent.
    fn refuse(&self, line: &[u8]) {
        let waiting_sessions: Vec<_> = self.state.borrow().link.waiting_sessions().collect();
        for key in waiting_sessions {
            if let Some(shared_client) = self.resources.shared_clients.get(key) {
                shared_client.borrow_mut().refused(line);
            }
        }
    }

    /// Tells one client that no more replies will come for it.
    pub(super) fn lose(&self, key: SessionKey, loss: Option<Loss>) {
        if let Some(shared_client) = self.resources.shared_clients.get(key)
            && shared_client.borrow_mut().lost(loss) == Aftermath::Ended
        {
            self.resources.shared_clients.forget(key);
        }
    }

    /// Counts and logs the end. Returns the error for waiting clients; `None` if the upstream was not unavailable.
    fn report(&self, end: &End) -> Option<Unavailable> {
        let target = self.pool.target();
        let upstream = target.upstream.name();
        let state = self.state.borrow();
        let why = match end {
            End::Dial(error) => {
                tracing::debug!(%upstream, %error, "cannot reach the upstream");
                Some(error.kind())
            }
            End::SetupTimeout => Some(Unavailable::Timeout),
            End::Fault(PoolFault::Unavailable(why)) => Some(*why),
            End::Fault(PoolFault::Replica) => {
                target.hint(Hint::Replica);
                Some(Unavailable::Timeout)
            }
            End::Fault(PoolFault::Refused(_)) | End::Unused | End::MasterChanged => None,
            End::Fault(PoolFault::Push) => {
                self.blame("upstream sent a message without a subscription");
                None
            }
            End::Fault(PoolFault::Link(fault)) => {
                self.blame(&fault.to_string());
                None
            }
            End::Desync => {
                self.blame("reply out of order");
                None
            }
            End::Broken(fault) => {
                let plain = matches!(&state.stream, Phase::Open(stream) if !stream.is_tls());
                let silent = !state.link.answered() && !state.link.is_settled();
                if let Some(fault) = fault {
                    tracing::debug!(%upstream, %fault, "TLS with the upstream failed");
                }
                let wants_tls = fault.is_some() || (plain && target.wants_tls());
                silent.then_some(Unavailable::of_silence(wants_tls))
            }
        };
        if let Some(why) = why {
            target.counts.error(why.into());
        }
        why
    }

    fn blame(&self, fault: &str) {
        let target = self.pool.target();
        target.counts.error(UpstreamErrorKind::Protocol);
        tracing::warn!(
            upstream = %target.upstream.name(),
            fault,
            "shared upstream connection closed: its replies cannot be trusted"
        );
    }
}

/// The guard of a connection's task. However the task ends, no client waits for the connection afterwards.
pub(super) struct Running(pub(super) Rc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        let Self(connection) = self;
        connection.takes_more.set(false);
        // The task was dropped or has panicked.
        if matches!(*connection.outcome.borrow(), Outcome::Pending | Outcome::Ready) {
            connection.finish(&End::Unused);
        }
        connection.release();
        connection.pool.remove(connection);
    }
}
