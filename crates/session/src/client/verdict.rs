//! What becomes of a command, before it is done.

use std::sync::Arc;

use portcullis_acl::Refusal;
use portcullis_resp::command::CommandId;
use portcullis_resp::reply;

use crate::local::hello::Greeting;
use crate::observe::Denied;
use crate::pending::{Local, ReplyKind};
use crate::plan::Plan;
use crate::shape::Shape;

/// What becomes of a command.
pub(super) enum Verdict {
    /// It travels on as it is.
    Send { shape: Shape, kind: ReplyKind },
    /// These bytes travel in its place.
    Rewrite { bytes: Vec<u8>, shape: Shape, kind: ReplyKind },
    /// It is answered here.
    Answer(Answer),
    /// It logs in another user, in whose name the gate logs in upstream first; a HELLO's answer comes after that.
    Identify { plan: Arc<Plan>, hello: Option<Greeting> },
    /// It goes on to a replication stream, and is not answered by replies.
    Raw,
    /// It has no place on a replication stream: the session ends.
    EndReplication,
    /// It has logged in its user, and travels on in this form once there is an upstream.
    Defer(Greeting),
    /// It asks about other clients, which the caller collects.
    Asked,
    /// It is judged again later.
    Later(Later),
    /// It cannot be judged before more of it is there, within what may be held.
    NeedWhole,
    /// Whether it may share a connection is not known before more of it is there.
    NeedMore,
}

/// What comes before a command is judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// An upstream connection of the client's own.
    Linked,
    /// A shared connection of the kind that it asks for.
    Pooled,
    /// Every pending reply.
    Settled,
    /// The gate's SELECT of the database.
    Selected,
    /// Redis's number of the upstream connection.
    IdLearned,
    /// The DISCARD of the transaction that it would have run.
    Discarded,
}

/// How a command is answered without the upstream.
pub(super) enum Answer {
    /// By this reply, which is what Redis would say.
    Reply(Local),
    /// By this error, with which Redis would not have run the command.
    Error(Local),
    /// By this reply, for the command rules do not allow the command.
    ByRules(Local, Refusal),
    /// By this reply, for the gate does not allow the command.
    Refusal(Local, Denied),
    /// By the reply to wrong credentials.
    LoginFailed,
    /// By no reply at all, as Redis does.
    Nothing,
    /// By this reply, and the end of the session.
    Quit(Local),
    /// By the end of the session without a reply.
    Silence,
}

impl Answer {
    pub(super) const fn too_large() -> Self {
        Self::Refusal(Local::Canned(reply::COMMAND_TOO_LARGE), Denied::Size)
    }
}

impl Verdict {
    /// It is judged again when no reply is pending.
    pub(super) const UNTIL_SETTLED: Self = Self::Later(Later::Settled);
    /// It is judged again when there is an upstream connection of the client's own.
    pub(super) const UNTIL_LINKED: Self = Self::Later(Later::Linked);
    /// It is judged again when its transaction was discarded upstream.
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
