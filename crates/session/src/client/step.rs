//! What a session tells its caller to do.

use portcullis_resp::error::RequestError;

use crate::ids::Ticket;
use crate::link::Unavailable;
use crate::shape::Shape;

/// What to do with the bytes of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'s> {
    /// Send `buf[..len]` upstream as it is and drop it from the buffer.
    Forward {
        /// Bytes of `buf`.
        len: usize,
        /// The first reply that is owed for them.
        first: Ticket,
        /// How many replies are owed for them: 0 where `len` goes on with a command that was begun earlier.
        pending: u64,
        /// What each of them is.
        shape: Shape,
        /// Whether the last command is complete at `len`.
        whole: bool,
    },
    /// Send `bytes` upstream, and drop `skip` bytes from the buffer.
    Instead {
        /// What to send.
        bytes: &'s [u8],
        /// Bytes of `buf` that it stands for.
        skip: usize,
        /// The reply that is owed for it.
        first: Ticket,
        /// What that reply is.
        shape: Shape,
    },
    /// Drop `len` bytes from the buffer.
    Skip {
        /// Bytes of `buf`.
        len: usize,
    },
    /// Come back when the buffer holds this many bytes.
    Need {
        /// More than it holds now.
        at_least: usize,
    },
    /// Come back when this is so.
    Wait(Until),
    /// All that the client is owed was rendered: close both sides.
    Close(CloseReason),
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// An upstream connection of the client's own; say so with [`Session::linked`](super::Session::linked), or
    /// [`Session::lost`](super::Session::lost).
    Linked,
    /// A shared connection of another kind; say so with [`Session::pooled`](super::Session::pooled), or
    /// [`Session::lost`](super::Session::lost).
    Pooled,
    /// The client's own upstream connection was closed, as [`Session::lease`](super::Session::lease) asks for; say so with
    /// [`Session::give_back`](super::Session::give_back).
    GivenBack,
    /// The gate's own login was answered.
    LoggedIn,
    /// The answer to [`Session::inquiry`](super::Session::inquiry); say so with
    /// [`Session::informed`](super::Session::informed).
    Clients,
    /// Everything that the client is owed was paid.
    NothingPending,
    /// Something that the client is owed was paid: too much is outstanding.
    FewerPending,
}

/// A login that the upstream has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingLogin {
    /// Tells it from the logins before and after it.
    pub seq: u64,
    /// The client's own, which the upstream judges. Otherwise it is the gate's.
    pub of_client: bool,
}

/// What to do with the bytes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyAction {
    /// They go to the client.
    Pass,
    /// The client must not see them.
    Drop,
    /// The client reads this in their place.
    Replace(&'static [u8]),
    /// The client reads [`Session::rewritten`](super::Session::rewritten) in their place.
    Rewritten,
    /// They say that the upstream cannot be had: give it up, and say so with
    /// [`Session::lost`](super::Session::lost).
    Lost(Unavailable),
    /// The reply is not the one that comes next: close both sides.
    Desync,
}

/// The fate of a push, or of a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// It goes to the client.
    Pass,
    /// The client must not see it.
    Withhold,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed its side, or said QUIT.
    Client,
    /// The client sent bytes that the grammar does not allow.
    Protocol(RequestError),
    /// The client speaks HTTP.
    CrossProtocol,
    /// The client took over a replication stream, and asked for something else or may have it no longer.
    NotReplication,
    /// The client failed to log in too often.
    Blocked,
    /// The upstream cannot be had, or is gone.
    Upstream(Option<Unavailable>),
    /// The gate is shutting down.
    Drain,
    /// There is no place for the client under what holds now.
    Revoked,
}
