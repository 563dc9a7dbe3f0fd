//! The lanes of one client: where its commands go, and the one place that carries out what becomes of a reply.
//!
//! A command goes by a [`Lane`], and its reply comes back by the same one. [`Lanes::send`] and [`Relay::deliver`] are the
//! only functions that tell the lanes apart command by command:
//!
//! ```text
//!   Session::next --> Commands --> Lanes::send ----> OwnLane::send       the client's own connection
//!                                              `--> PooledLane::send    a shared connection
//!
//!   Session::reply -> ReplyAction -> Relay::deliver <- Reply::Own       from the relay's own buffer
//!                                                   <- Reply::Pooled    from the shared connection's buffer
//! ```
//!
//! Each command names its lane: the session's [`Route`]. A lane is a plain value and not the connection itself, for the
//! session may need the connection's state while it judges. All commands of a client use one lane at a time. It changes
//! only when no reply is pending, or when the shared connection becomes the client's own with all pending replies. So
//! replies stay in order.

use std::net::SocketAddr;

use portcullis_session::{ReplyAction, Route, Session, Shape, Ticket};

use super::Relay;
use super::client_side::ClientSide;
use super::own_lane::OwnLane;
use super::pooled_lane::PooledLane;
use super::session_guard::SessionGuard;
use crate::net::pipe::Pipe;
use crate::upstream::shared::{Delivered, Unwritten};

/// The way by which commands go upstream and their replies come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The client's own upstream connection.
    Own,
    /// A connection that it shares with others.
    Pooled,
}

impl From<Route> for Lane {
    fn from(route: Route) -> Self {
        match route {
            Route::Own => Self::Own,
            Route::Pooled => Self::Pooled,
        }
    }
}

/// The lanes of one client.
pub(super) struct Lanes {
    pub(super) own: OwnLane,
    /// None where the listener's clients share no connections.
    pub(super) pooled: Option<Box<PooledLane>>,
}

/// Commands that the session lets go upstream.
pub(super) struct Commands<'a> {
    /// The first reply that is pending for them.
    pub(super) first: Ticket,
    /// The number of replies that are pending for them.
    pub(super) pending: u64,
    /// The form of each of these replies.
    pub(super) shape: Shape,
    /// The number of the client's unread bytes that they are.
    pub(super) len: usize,
    /// The bytes that go upstream in place of the client's.
    pub(super) instead: Option<&'a [u8]>,
}

/// The outcome of sending commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// They are written when their connection takes them.
    Queued,
    /// The shared connection has taken over so many bytes.
    Given(usize),
    /// There is no such lane, or it has no connection.
    Nowhere,
}

impl Lanes {
    /// Whether the client shares connections as long as it needs none of its own.
    pub(super) const fn are_shared(&self) -> bool {
        self.pooled.is_some()
    }

    /// Sends commands by `lane`. They begin at the first of the client's unread bytes.
    #[inline(always)]
    pub(super) fn send(&mut self, lane: Lane, requests: &mut Pipe, commands: Commands<'_>) -> Sent {
        match (lane, &mut self.pooled) {
            (Lane::Own, _) => {
                self.own.send(requests, commands);
                Sent::Queued
            }
            (Lane::Pooled, Some(pooled)) => pooled.send(requests, commands),
            (Lane::Pooled, None) => Sent::Nowhere,
        }
    }

    /// The shared connection does not answer in time: it takes no new commands.
    pub(super) fn retire_shared(&self) {
        if let Some(pooled) = &self.pooled {
            pooled.retire();
        }
    }

    /// Whether the replies that are pending may take any time.
    pub(super) fn wait_for_others(&self, session: &Session) -> bool {
        session.blocks() || self.own.link().streams()
    }

    /// Whether the upstream is listened to although the client does not read: it answers a login, and in few words.
    pub(super) fn await_login(&self, session: &Session) -> bool {
        self.are_shared() && session.is_logging_in()
    }

    /// The server that the client's commands reach. None: that is not over TCP, or not yet known.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        if self.own.is_open() { self.own.server() } else { self.pooled.as_ref()?.server() }
    }
}

/// A part of a reply, by the lane on which it came.
pub(super) enum Reply<'r, 'b> {
    /// So many of the unread bytes from the client's own connection.
    Own(usize),
    /// So many bytes of a shared connection's buffer. They follow those that are for the client and not written yet.
    Pooled(usize, &'r mut Unwritten<'b>),
}

impl Reply<'_, '_> {
    /// The client gets its bytes.
    fn pass(self, replies: &mut Pipe) {
        match self {
            Self::Own(len) => replies.pass(len),
            Self::Pooled(len, unwritten) => unwritten.pass(len),
        }
    }

    /// The client gets what `instead` appends, and not its bytes.
    fn replace(
        self,
        replies: &mut Pipe,
        client: &mut ClientSide,
        guard: &mut SessionGuard,
        instead: impl FnOnce(&mut Vec<u8>),
    ) {
        match self {
            Self::Own(len) => {
                replies.insert(instead);
                replies.skip(len);
            }
            Self::Pooled(len, unwritten) => {
                unwritten.skip(len, |bytes| client.write(bytes, replies, guard));
                replies.insert(instead);
            }
        }
    }

    /// The client does not get its bytes.
    fn skip(self, replies: &mut Pipe, client: &mut ClientSide, guard: &mut SessionGuard) {
        match self {
            Self::Own(len) => replies.skip(len),
            Self::Pooled(len, unwritten) => {
                unwritten.skip(len, |bytes| client.write(bytes, replies, guard));
            }
        }
    }
}

impl Relay {
    /// Carries out what the session has decided about a part of a reply.
    #[inline(always)]
    pub(super) fn deliver(&mut self, action: ReplyAction, reply: Reply<'_, '_>) -> Delivered {
        let (replies, client, guard) = (&mut self.replies, &mut self.client, &mut self.guard);
        match action {
            ReplyAction::Pass => reply.pass(replies),
            ReplyAction::Drop => reply.skip(replies, client, guard),
            ReplyAction::Replace(bytes) => {
                reply.replace(replies, client, guard, |out| out.extend_from_slice(bytes));
            }
            ReplyAction::Rewritten => {
                let session = &self.session;
                reply.replace(replies, client, guard, |out| out.extend_from_slice(session.rewritten()));
            }
            ReplyAction::Lost(why) => {
                reply.skip(replies, client, guard);
                self.lose_upstream(Some(why));
                return Delivered::Gone;
            }
            ReplyAction::Desync => {
                reply.skip(replies, client, guard);
                return Delivered::Desync;
            }
        }
        Delivered::Taken
    }
}
