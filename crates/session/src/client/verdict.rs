//! Verdicts: the decision on a command, before the gate carries it out.

use std::sync::Arc;

use portcullis_acl::Refusal;
use portcullis_resp::command::CommandId;
use portcullis_resp::reply;

use crate::local::hello::Greeting;
use crate::observe::Denied;
use crate::pending::{Local, ReplyKind};
use crate::plan::Plan;
use crate::shape::Shape;

/// The decision on a command.
pub(super) enum Verdict {
    /// Forward the command unchanged.
    Send { shape: Shape, kind: ReplyKind },
    /// Send these bytes in place of the command.
    Rewrite { bytes: Vec<u8>, shape: Shape, kind: ReplyKind },
    /// Answer the command here.
    Answer(Answer),
    /// Log in another user. The gate first logs in upstream for that user; the reply to the HELLO, if there is one,
    /// follows.
    Identify { plan: Arc<Plan>, hello: Option<Greeting> },
    /// Forward the command to a replication stream. The command gets no reply.
    Raw,
    /// End the session: the command is not allowed on a replication stream.
    EndReplication,
    /// Keep a HELLO, whose user is logged in already, and send it in this form once there is an upstream connection.
    Defer(Greeting),
    /// Wait for the answer to a question about other clients.
    Asked,
    /// Judge the command again later.
    Later(Later),
    /// Wait until the whole command is there, within the limit on held bytes, before judging it.
    NeedWhole,
    /// Wait for more of the command before deciding whether it may use a shared connection.
    NeedMore,
}

/// The event after which a command is judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// An upstream connection of the client's own.
    Linked,
    /// A shared connection of the kind that the command requests.
    Pooled,
    /// The end of all pending replies.
    Settled,
    /// The gate's SELECT of the database.
    Selected,
    /// Redis's id of the upstream connection.
    IdLearned,
    /// The DISCARD of the transaction that an EXEC would have run.
    Discarded,
}

/// The answer to a command without the upstream.
pub(super) enum Answer {
    /// This reply, as Redis would send it.
    Reply(Local),
    /// This error, for a command that Redis would not have run either.
    Error(Local),
    /// This reply, because the command rules do not allow the command.
    ByRules(Local, Refusal),
    /// This reply, because the gate does not allow the command.
    Refusal(Local, Denied),
    /// The reply to wrong credentials.
    LoginFailed,
    /// No reply, as in Redis.
    Nothing,
    /// This reply, and then the end of the session.
    Quit(Local),
    /// The end of the session without a reply.
    Silence,
}

impl Answer {
    pub(super) const fn too_large() -> Self {
        Self::Refusal(Local::Canned(reply::COMMAND_TOO_LARGE), Denied::Size)
    }
}

impl Verdict {
    /// Judge the command again when no reply is pending.
    pub(super) const UNTIL_SETTLED: Self = Self::Later(Later::Settled);
    /// Judge the command again when the client has an upstream connection of its own.
    pub(super) const UNTIL_LINKED: Self = Self::Later(Later::Linked);
    /// Judge the command again after its transaction was discarded upstream.
    pub(super) const DISCARD: Self = Self::Later(Later::Discarded);

    pub(super) const fn plain() -> Self {
        Self::Send { shape: Shape::One, kind: ReplyKind::Plain }
    }

    pub(super) const fn untimed(shape: Shape) -> Self {
        Self::Send { shape, kind: ReplyKind::Untimed }
    }

    pub(super) fn error(line: Vec<u8>) -> Self {
        Self::Answer(Answer::Error(Local::Made(line.into_boxed_slice())))
    }

    pub(super) const fn canned_error(line: &'static [u8]) -> Self {
        Self::Answer(Answer::Error(Local::Canned(line)))
    }

    pub(super) const fn canned_reply(line: &'static [u8]) -> Self {
        Self::Answer(Answer::Reply(Local::Canned(line)))
    }

    pub(super) fn wrong_arity(command: CommandId) -> Self {
        let mut line = Vec::with_capacity(64);
        reply::wrong_arity(&mut line, command.name());
        Self::error(line)
    }
}
