//! Another dial of a connection whose server is a replica. Its clients wait for the next view of the upstream.

use std::rc::Rc;

use portcullis_session::Unavailable;

use super::{Connection, ConnectionState, Outbox, Phase};
use crate::metrics::UpstreamState;
use crate::process::hints::Hint;

impl Connection {
    /// Leaves a server that is a replica, and dials again when the upstream has another view. No command of a client was
    /// written. Returns whether the clients still wait.
    pub(super) fn dials_again(&self, state: &mut ConnectionState) -> bool {
        let target = self.pool.target();
        let left = target.upstream.failover_wait().and_then(|limit| limit.checked_sub(self.opened.elapsed()));
        let Some(left) = left.filter(|left| !left.is_zero()) else { return false };
        target.hint(Hint::Replica);
        target.view.dials().misled();
        target.counts.error(Unavailable::Timeout.into());
        target.counts.connection(UpstreamState::Pooled, -1);
        state.link.restart();
        state.setup = Outbox::default();
        state.setup.push(&state.link.open());
        state.inbox.release(&self.resources.pool);
        (state.need, state.deadline) = (1, None);
        let target = Rc::clone(target);
        state.stream = Phase::Dialling(Box::pin(async move { target.connect_within(left).await }));
        true
    }
}
