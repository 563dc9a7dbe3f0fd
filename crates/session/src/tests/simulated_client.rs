//! A client on shared upstream connections, driven as in the relay. The shared connections belong to the test, which
//! gets the commands for them.

use std::sync::Arc;

use super::pair::Count;
use crate::client::CloseReason;
use crate::ids::Ticket;
use crate::link::{LinkFault, Part, Unavailable};
use crate::{
    Delivery, Incoming, Lease, Link, Plan, Pooling, ReplyAction, Route, Session, SessionKey, Shape, Step,
    Tick, Until,
};

/// Commands for a shared connection.
pub(crate) struct PooledCommands {
    pub(crate) first: Ticket,
    pub(crate) pending: u64,
    pub(crate) shape: Shape,
    pub(crate) bytes: Vec<u8>,
}

/// The outcome of one call of the session.
pub(crate) enum Turn {
    /// Commands for a shared connection.
    Send(PooledCommands),
    /// The session made progress, and the test need not act.
    Progress,
    /// The session needs more bytes, or waits.
    Wait,
}

pub(crate) struct SimulatedClient {
    pub(crate) session: Session,
    pub(crate) count: Count,
    pub(crate) now: Tick,
    /// Bytes that were read from the client and not judged yet.
    pub(crate) client_input: Vec<u8>,
    /// Bytes for the client.
    pub(crate) received: Vec<u8>,
    /// The client's own upstream connection, while `linked`.
    pub(crate) link: Link,
    pub(crate) linked: bool,
    /// Bytes for that connection.
    pub(crate) sent: Vec<u8>,
    /// Bytes that were read from that connection and not judged yet.
    pub(crate) upstream_input: Vec<u8>,
    pub(crate) given_back: u32,
    pub(crate) client_ended: bool,
    pub(crate) waits: Option<Until>,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) fault: Option<LinkFault>,
    pub(crate) desync: bool,
}

impl SimulatedClient {
    pub(crate) fn new(key: SessionKey, plan: Arc<Plan>) -> Self {
        assert!(plan.is_shared());
        Self {
            session: Session::new(key, plan),
            count: Count::default(),
            now: Tick::from_nanos(1),
            client_input: Vec::new(),
            received: Vec::new(),
            link: Link::new(),
            linked: false,
            sent: Vec::new(),
            upstream_input: Vec::new(),
            given_back: 0,
            client_ended: false,
            waits: None,
            closed: None,
            fault: None,
            desync: false,
        }
    }

    pub(crate) fn connect(&mut self) {
        assert!(!self.linked);
        self.linked = true;
        self.session.linked();
    }

    /// Makes the shared connection with the client's pending replies the client's own.
    pub(crate) fn adopt(&mut self, link: Link, unsent: Vec<u8>, upstream_input: Vec<u8>) {
        assert!(!self.linked && self.sent.is_empty() && self.upstream_input.is_empty());
        (self.link, self.linked, self.sent, self.upstream_input) = (link, true, unsent, upstream_input);
        self.session.adopt(self.now);
    }

    /// Loses the client's own upstream connection.
    pub(crate) fn lose(&mut self, why: Option<Unavailable>) {
        self.disconnect();
        self.session.lost(why);
        self.write_local();
    }

    /// Closes the client's own upstream connection after its lease.
    pub(crate) fn return_lease(&mut self) {
        if self.session.lease(self.now) != Lease::Over {
            return;
        }
        if self.link.streams() && !self.session.pooling().is_some_and(Pooling::has_left) {
            if let Some(pooling) = self.session.pooling_mut() {
                pooling.keep_lease(self.now);
            }
            return;
        }
        self.disconnect();
        self.session.give_back();
        self.given_back += 1;
    }

    /// Calls the session once, with at most `room` bytes.
    pub(crate) fn step(&mut self, room: usize) -> Turn {
        self.waits = None;
        if self.closed.is_some() {
            return Turn::Wait;
        }
        let room = room.min(self.client_input.len());
        self.count.subscriptions = self.link.subscriptions();
        self.count.listens_in_resp2 = self.link.listens_in_resp2();
        let turn = match self.session.next(&self.client_input[..room], self.now, &mut self.count) {
            Step::Forward { to, len, first, pending, shape, .. } => {
                assert!(len > 0, "no progress");
                let bytes = self.client_input.drain(..len).collect();
                self.send(to == Route::Pooled, PooledCommands { first, pending, shape, bytes })
            }
            Step::Instead { to, bytes, skip, first, shape } => {
                let commands = PooledCommands { first, pending: 1, shape, bytes: bytes.to_vec() };
                self.client_input.drain(..skip);
                self.send(to == Route::Pooled, commands)
            }
            Step::Skip { len } => {
                self.client_input.drain(..len);
                Turn::Progress
            }
            Step::Need { at_least } if at_least <= self.client_input.len() => return self.step(at_least),
            Step::Need { .. } if self.client_ended && room == self.client_input.len() => {
                self.session.eof();
                Turn::Progress
            }
            Step::Need { at_least } => {
                assert!(at_least > room, "the session asks for bytes that it already has");
                Turn::Wait
            }
            Step::Wait(until) => {
                self.waits = Some(until);
                Turn::Wait
            }
            Step::Close(reason) => {
                self.closed = Some(reason);
                Turn::Wait
            }
        };
        self.write_local();
        turn
    }

    /// Receives a part of a reply on any connection. Returns false if the part is not for this client, or if the
    /// connection is lost.
    pub(crate) fn receive(&mut self, part: &Part<'_>) -> bool {
        match self.session.reply(part, self.now, &mut self.count) {
            ReplyAction::Pass => self.received.extend_from_slice(part.bytes),
            ReplyAction::Drop => {}
            ReplyAction::Replace(bytes) => self.received.extend_from_slice(bytes),
            ReplyAction::Rewritten => self.received.extend_from_slice(self.session.rewritten()),
            ReplyAction::Lost(why) => {
                self.lose(Some(why));
                return false;
            }
            ReplyAction::Misled | ReplyAction::Desync => {
                self.desync = true;
                return false;
            }
        }
        self.write_local();
        true
    }

    /// Receives the bytes of the client's own connection.
    pub(crate) fn own_replies(&mut self) {
        let mut buf = std::mem::take(&mut self.upstream_input);
        while self.linked && self.closed.is_none() {
            let len = match self.link.next(&buf) {
                Incoming::Part(part) => {
                    let len = part.bytes.len();
                    let streams = part.ended == 0;
                    if !self.receive(&part) {
                        return;
                    }
                    if streams && let Some(pooling) = self.session.pooling_mut() {
                        pooling.keep_lease(self.now);
                    }
                    len
                }
                Incoming::Push { kind, bytes, ended } => {
                    if self.session.push(kind, bytes, ended) == Delivery::Pass {
                        self.received.extend_from_slice(bytes);
                    }
                    self.write_local();
                    bytes.len()
                }
                Incoming::Need(total) => {
                    assert!(total > buf.len(), "the link asks for bytes that it already has");
                    break;
                }
                Incoming::Fault(fault) => {
                    self.fault = Some(fault);
                    return self.lose(None);
                }
            };
            buf.drain(..len);
        }
        self.upstream_input = buf;
    }

    fn send(&mut self, pooled: bool, commands: PooledCommands) -> Turn {
        if pooled {
            assert!(!self.linked, "the client has a connection of its own");
            return Turn::Send(commands);
        }
        assert!(self.linked, "the client has no connection");
        if commands.pending > 0 {
            self.link.expect(commands.first, commands.pending, commands.shape);
        }
        self.sent.extend(commands.bytes);
        Turn::Progress
    }

    fn disconnect(&mut self) {
        self.linked = false;
        self.link = Link::new();
        self.sent.clear();
        self.upstream_input.clear();
    }

    fn write_local(&mut self) {
        while self.session.has_local_reply() {
            let mut replies = Vec::new();
            self.session.write_local_replies(&mut replies, crate::client::MAX_RENDERED);
            self.received.extend(replies);
        }
    }
}
