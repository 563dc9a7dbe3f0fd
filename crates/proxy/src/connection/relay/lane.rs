//! The lanes of one client: the ways by which its commands go upstream and replies come back. [`Relay::deliver`]
//! carries out what the session decides about a reply.
//!
//! A command goes by a [`Lane`], and its reply comes back by the same lane. Only [`Lanes::send`] and
//! [`Relay::deliver`] distinguish the lanes command by command:
//!
//! ```text
//!   Session::next --> Commands --> Lanes::send ----> OwnLane::send       the client's own connection
//!                                              `--> PooledLane::send    a shared connection
//!
//!   Session::reply -> ReplyAction -> Relay::deliver <- Reply::Own       from the relay's own buffer
//!                                                   <- Reply::Pooled    from the shared connection's buffer
//! ```
//!
//! The session names the lane of each command ([`Route`]). A lane is a plain value and not the connection itself,
//! because the session may need the connection's state while it judges. All commands of a client use one lane at a
//! time. The lane changes only when no reply is pending, or when the shared connection becomes the client's own with
//! all pending replies. So replies stay in order.

use std::net::SocketAddr;

use portcullis_session::{ReplyAction, Route, Session, Shape, Ticket};

use super::client_side::ClientSide;
use super::own_lane::OwnLane;
use super::pooled_lane::PooledLane;
use super::session_guard::SessionGuard;
use super::shared_nodes::Awaited;
use super::{Relay, outage};
use crate::net::pipe::Pipe;
use crate::upstream::shared::{Delivered, Unwritten};

/// The way by which commands go upstream and their replies come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The client's own upstream connection.
    Own,
    /// A connection that the client shares with other clients.
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
    /// `None` if the clients of the listener do not share connections.
    /// `None` too if the upstream is a cluster: then the own lane shares connections.
    pub(super) pooled: Option<Box<PooledLane>>,
    /// Whether the client shares connections while it needs none of its own.
    pub(super) is_shared: bool,
    /// The connection to a node that shows whether the nodes accept the kind that the client waits for.
    pub(super) awaited: Option<Awaited>,
}

/// Commands that the session sends upstream.
pub(super) struct Commands<'a> {
    /// The ticket of the first pending reply to the commands.
    pub(super) first: Ticket,
    /// The number of pending replies to the commands.
    pub(super) pending: u64,
    /// The shape of each of these replies.
    pub(super) shape: Shape,
    /// The length of the commands: the number of the client's unread bytes.
    pub(super) len: usize,
    /// The bytes that go upstream in place of the client's bytes.
    pub(super) instead: Option<&'a [u8]>,
}

/// The outcome of sending commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The commands are written when the connection accepts them.
    Queued,
    /// The shared connection took this number of bytes.
    Given(usize),
    /// The lane does not exist, or has no connection.
    Nowhere,
}

impl Lanes {
    /// Returns whether the client shares connections while it needs none of its own.
    pub(super) const fn are_shared(&self) -> bool {
        self.is_shared
    }

    /// Begins a turn of the task.
    #[inline]
    pub(super) fn turn_begins(&mut self) {
        if let Some(pooled) = &mut self.pooled {
            pooled.turn_begins();
        }
        self.own.turn_begins();
    }

    /// Sends commands by `lane`. The commands begin at the first of the client's unread bytes.
    #[inline(always)]
    pub(super) fn send(&mut self, lane: Lane, requests: &mut Pipe, commands: Commands<'_>) -> Sent {
        match (lane, &mut self.pooled) {
            (Lane::Own, _) => {
                self.own.send(requests, commands);
                Sent::Queued
            }
            (Lane::Pooled, Some(pooled)) => pooled.send(requests, commands),
            (Lane::Pooled, None) => self.send_to_nodes(requests, commands),
        }
    }

    /// Sends commands to the nodes of a cluster, by connections that the client shares.
    #[inline(never)]
    fn send_to_nodes(&mut self, requests: &mut Pipe, commands: Commands<'_>) -> Sent {
        let Some(sharing) = self.own.sharing() else { return Sent::Nowhere };
        sharing.give(commands.instead.map_or(commands.len, <[u8]>::len), commands.pending);
        self.own.send(requests, commands);
        Sent::Queued
    }

    /// Stops sending new commands to the shared connection, which does not answer in time.
    pub(super) fn retire_shared(&self) {
        if let Some(pooled) = &self.pooled {
            pooled.retire();
        }
    }

    /// Returns whether a client with dedicated connections has nothing in progress on its own connection.
    pub(super) fn may_close_own(&self, session: &Session, requests: &Pipe) -> bool {
        !self.are_shared()
            && session.is_idle()
            && !self.own.link().streams()
            && !requests.is_pending()
            && requests.unread().is_empty()
    }

    /// Returns whether the next replies may take any time: a command blocks, or messages may arrive.
    pub(super) fn wait_for_others(&self, session: &Session) -> bool {
        session.blocks() || self.own.link().streams()
    }

    /// Returns whether the upstream is read although the client does not read its replies. This is so while the
    /// upstream answers a login of the proxy, because that answer is short. It is so too while the client shares
    /// connections to the nodes of a cluster, up to `limit` bytes: a client that does not read gets connections of its
    /// own when no reply is pending.
    pub(super) fn read_on(&self, session: &Session, replies: &Pipe, limit: impl FnOnce() -> usize) -> bool {
        self.are_shared()
            && (session.is_logging_in()
                || (session.is_pooled() && self.own.is_open() && replies.waiting() < limit()))
    }

    /// Returns the server that the client's commands reach. Returns `None` if the server is not reached over TCP, or
    /// is not known yet.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        if self.own.is_open() { self.own.server() } else { self.pooled.as_ref()?.server() }
    }
}

/// A part of a reply, with the lane on which it came.
pub(super) enum Reply<'r, 'b> {
    /// This number of unread bytes from the client's own connection.
    Own(usize),
    /// This number of bytes in the buffer of a shared connection. They follow the bytes that are for the client and
    /// are not written yet.
    Pooled(usize, &'r mut Unwritten<'b>),
}

impl Reply<'_, '_> {
    /// Passes the bytes on to the client.
    fn pass(self, replies: &mut Pipe) {
        match self {
            Self::Own(len) => replies.pass(len),
            Self::Pooled(len, unwritten) => unwritten.pass(len),
        }
    }

    /// Gives the client the bytes that `instead` appends, in place of the bytes of the reply.
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

    /// Drops the bytes, so that the client does not get them.
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
    /// Carries out the session's decision about a part of a reply.
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
            ReplyAction::Misled => {
                reply.skip(replies, client, guard);
                outage::leave_replica(self);
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
