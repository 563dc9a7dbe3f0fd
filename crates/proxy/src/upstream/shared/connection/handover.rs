//! A shared connection that becomes the dedicated connection of one client, with its pending replies.

use std::rc::Rc;

use portcullis_session::{Link, SessionKey};

use super::{Connection, Outcome, Phase};
use crate::metrics::UpstreamState;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;

/// The state of a connection when its new owner takes it over.
pub(crate) struct HandedOver {
    /// The connection, set up as the key of its pool requires.
    pub stream: Stream,
    /// The framing and the pending replies.
    pub link: Link,
    /// Bytes that were read and not handed out yet.
    pub inbox: Buffer,
    /// The number of bytes that `inbox` must have before the next reply can be parsed.
    pub need: usize,
    /// Commands that were not written yet.
    pub unwritten: Vec<u8>,
}

impl Connection {
    /// Removes the connection from its pool and gives it to `client`. `None` if the connection is not ready, or is
    /// ending or retired. `None` too if the pending replies are not all for `client`, or none is pending.
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
