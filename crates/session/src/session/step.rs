//! What a session tells its caller to do.

use portcullis_resp::error::RequestError;

use crate::shape::Shape;
use crate::tick::Ticket;

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

/// Why the upstream cannot be had, in the words of the line that the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Its name has no address.
    Resolve,
    /// It cannot be reached, or ended the connection before it said anything.
    Connect,
    /// Nobody listens there, or it does not want us.
    Refused,
    /// It did not answer in time, or is busy with a script.
    Timeout,
    /// It wants TLS, or its TLS cannot be trusted.
    Tls,
    /// It does not accept the gate's credentials.
    Auth,
    /// It is loading its data.
    Loading,
    /// It has no room for another client.
    Limit,
}

impl Unavailable {
    /// What an error line says that a server writes on accept, before it reads a command.
    pub fn of_greeting(line: &[u8]) -> Option<Self> {
        const MEANINGS: [(&[u8], Unavailable); 2] = [
            (b"-ERR max number of clients", Unavailable::Limit),
            (b"-DENIED Redis is running in protected mode", Unavailable::Refused),
        ];
        meaning(line, &MEANINGS)
    }

    /// What it means that a server ended a connection before it said anything: one that `wants_tls` ends those that speak
    /// plain text, or show no certificate; any other may have been stopped.
    pub const fn of_silence(wants_tls: bool) -> Self {
        if wants_tls { Self::Tls } else { Self::Connect }
    }

    /// What an error line says of the server as a whole, in answer to a command with which the gate sets a connection up.
    /// None: it is about that command alone.
    pub fn of_setup(line: &[u8]) -> Option<Self> {
        const MEANINGS: [(&[u8], Unavailable); 4] = [
            (b"-LOADING", Unavailable::Loading),
            (b"-MASTERDOWN", Unavailable::Loading),
            (b"-NOAUTH", Unavailable::Auth),
            (b"-WRONGPASS", Unavailable::Auth),
        ];
        Self::of_greeting(line).or_else(|| meaning(line, &MEANINGS))
    }

    /// What an error line says in answer to the gate's own login.
    pub fn of_login(line: &[u8]) -> Self {
        const BUSY: &[u8] = b"-BUSY";
        let otherwise = if line.starts_with(BUSY) { Self::Timeout } else { Self::Auth };
        Self::of_setup(line).unwrap_or(otherwise)
    }

    /// The word for it, as in error lines and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Loading => "loading",
            Self::Limit => "limit",
        }
    }
}

fn meaning(line: &[u8], meanings: &[(&[u8], Unavailable)]) -> Option<Unavailable> {
    meanings.iter().find(|(prefix, _)| line.starts_with(prefix)).map(|(_, meaning)| *meaning)
}
