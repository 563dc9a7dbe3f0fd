//! A shared connection that becomes one client's own, with the replies that it owes.

use std::rc::Rc;

use portcullis_session::{Link, SessionKey};

use super::{Connection, Outcome, Phase};
use crate::metrics::UpstreamState;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;

/// A connection as its new owner goes on with it.
pub(crate) struct HandedOver {
    /// The connection, set up as its pool's key says.
    pub stream: Stream,
    /// The replies that it owes.
    pub link: Link,
    /// Bytes that were read and are not judged yet.
    pub inbox: Buffer,
    /// Bytes that its replies need.
    pub need: usize,
    /// Commands that were not written yet.
    pub unwritten: Vec<u8>,
}

impl Connection {
    /// Gives the connection to `client`, if that is the only one to which it owes replies. It leaves its pool.
    pub(crate) fn hand_over(self: &Rc<Self>, client: SessionKey) -> Option<HandedOver> {
        if self.ending.get() || self.retired.get() || *self.outcome.borrow() != Outcome::Ready {
            return None;
        }
        let mut state = self.state.borrow_mut();
        if !matches!(state.stream, Phase::Open(_)) {
            return None;
        }
        let link = state.link.hand_over(client)?;
        let Phase::Open(stream) = std::mem::replace(&mut state.stream, Phase::Closed) else { return None };
        state.stalled = None;
        let unwritten = std::mem::take(&mut state.outbox).waiting().to_vec();
        let (inbox, need) = (std::mem::take(&mut state.inbox), state.need);
        state.rest(&self.resources);
        drop(state);
        self.pool.target().counts.connection(UpstreamState::Pooled, -1);
        self.settle(Outcome::HandedOver);
        self.end();
        self.pool.remove(self);
        Some(HandedOver { stream, link, inbox, need, unwritten })
    }
}
