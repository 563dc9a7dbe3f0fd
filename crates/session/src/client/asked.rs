//! State as of the last command that was read.

use crate::client::transaction::Transaction;
use crate::link::Stage;

/// What the commands read so far ask for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) transaction: Option<Box<Transaction>>,
    pub(crate) mute: Mute,
    pub(crate) login: Login,
    /// Whether the upstream connection is logged in by a preamble.
    pub(crate) named: bool,
    pub(crate) monitors: bool,
}

/// What CLIENT REPLY asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mute {
    /// Every command is answered.
    #[default]
    No,
    /// The next command is not.
    Next,
    /// No command is.
    All,
}

impl Mute {
    /// What RESET does, once it has been taken by itself.
    pub(crate) fn reset(&mut self) {
        if *self == Self::All {
            *self = Self::No;
        }
    }

    /// Whether the next command goes unanswered.
    pub(crate) const fn covers(self) -> bool {
        !matches!(self, Self::No)
    }

    /// Whether the command that is being read goes unanswered.
    pub(crate) fn take(&mut self) -> bool {
        match self {
            Self::No => false,
            Self::Next => {
                *self = Self::No;
                true
            }
            Self::All => true,
        }
    }
}

/// Whether the upstream connection is this client's yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Login {
    /// There is no connection.
    #[default]
    Unlinked,
    /// There is none of its own: commands flow to connections that it shares.
    Pooled,
    /// This step of setting the connection up must be sent before anything else.
    Due(Stage),
    /// It was sent and is not answered.
    Sent,
    /// Commands may flow.
    Done,
    /// The upstream has refused the database: only commands that need none may flow.
    Unselected,
    /// There is a connection, and the client is not logged in: nothing may flow.
    Nobody,
    /// The connection is a replication stream.
    Replica,
}
