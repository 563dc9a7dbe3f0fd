//! Steps that a session returns to its caller.

use portcullis_resp::error::RequestError;

use crate::ids::Ticket;
use crate::link::Unavailable;
use crate::route::Route;
use crate::shape::Shape;

/// The action for the bytes of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'s> {
    /// Send `buf[..len]` upstream unchanged and drop it from the buffer.
    Forward {
        /// The connection to send to.
        to: Route,
        /// Bytes of `buf`.
        len: usize,
        /// The first pending reply to these bytes.
        first: Ticket,
        /// The number of pending replies to these bytes. 0 if `len` only continues an earlier command.
        pending: u64,
        /// The shape of each of these replies.
        shape: Shape,
        /// Whether the last command is complete after `len` bytes.
        whole: bool,
    },
    /// Send `bytes` upstream, and drop `skip` bytes from the buffer.
    Instead {
        /// The connection to send to.
        to: Route,
        /// The bytes to send.
        bytes: &'s [u8],
        /// The bytes of `buf` that `bytes` replaces.
        skip: usize,
        /// The pending reply to `bytes`.
        first: Ticket,
        /// The shape of that reply.
        shape: Shape,
    },
    /// Drop `len` bytes from the buffer.
    Skip {
        /// Bytes of `buf`.
        len: usize,
    },
    /// Wait until the buffer holds this many bytes, then call again.
    Need {
        /// More bytes than the buffer holds now.
        at_least: usize,
    },
    /// Call again after this event.
    Wait(Until),
    /// Close both sides: every pending reply was written.
    Close(CloseReason),
}

/// The event that a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// An upstream connection of the client's own. The caller reports it with
    /// [`Session::linked`](super::Session::linked) or [`Session::lost`](super::Session::lost).
    Linked,
    /// A shared connection of another kind. The caller reports it with [`Session::pooled`](super::Session::pooled) or
    /// [`Session::lost`](super::Session::lost).
    Pooled,
    /// The close of the client's own upstream connection, which [`Session::lease`](super::Session::lease) requests. The
    /// caller reports it with [`Session::give_back`](super::Session::give_back).
    GivenBack,
    /// The reply to the gate's own login.
    LoggedIn,
    /// The answer to [`Session::inquiry`](super::Session::inquiry). The caller reports it with
    /// [`Session::informed`](super::Session::informed).
    Clients,
    /// The end of all pending replies.
    NothingPending,
    /// The end of one pending reply, because too many are pending.
    FewerPending,
}

/// A login that the upstream has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingLogin {
    /// A number that differs from the numbers of earlier and later logins.
    pub seq: u64,
    /// Whether this is the client's own login, which the upstream checks. If not, it is the gate's login.
    pub of_client: bool,
}

/// The action for the bytes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyAction {
    /// Pass the bytes on to the client.
    Pass,
    /// Drop the bytes: the client must not see them.
    Drop,
    /// Send this to the client in place of the bytes.
    Replace(&'static [u8]),
    /// Send [`Session::rewritten`](super::Session::rewritten) to the client in place of the bytes.
    Rewritten,
    /// Give up the upstream, because its reply says that it is unavailable, and call
    /// [`Session::lost`](super::Session::lost).
    Lost(Unavailable),
    /// Drop the bytes and leave the server, which is no master, for another one. The session goes on if it may outlive
    /// its connection.
    Misled,
    /// Close both sides, because this reply cannot be the reply to the next command.
    Desync,
}

/// The action for a push, or for a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// Pass the bytes on to the client.
    Pass,
    /// Drop the bytes: the client must not see them.
    Withhold,
}

/// The result of a reload for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// The client stays.
    Stays,
    /// The new configuration does not admit the client, so the session ends.
    Revoked,
}

/// The reason for which a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed its side, or sent QUIT.
    Client,
    /// The client sent bytes that the grammar does not allow.
    Protocol(RequestError),
    /// The client speaks HTTP.
    CrossProtocol,
    /// The client sent another command on a replication stream, or lost the right to the stream.
    NotReplication,
    /// The client failed to log in too often.
    Blocked,
    /// The upstream is unavailable, or was lost.
    Upstream(Option<Unavailable>),
    /// The gate is shutting down.
    Drain,
    /// The configuration in force does not admit the client.
    Revoked,
}
