//! Replicas: SYNC and PSYNC turn the connection into a stream that nobody here can read.
//!
//! What comes from upstream is passed on as it is from then on. What the client says is judged as before, for Redis
//! runs commands of replicas too; but only those of replication may pass, and none of them is answered by a reply.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::reply;

use super::command::{Frame, Source};
use super::judge::{Answer, Verdict};
use super::{CloseReason, Session, Step, Stream};
use crate::client::asked::Login;
use crate::observe::{Denial, Denied, Observer};
use crate::pending::Local;
use crate::shape::Shape;

impl Session {
    /// A command of replication that the rules name.
    pub(super) fn replicate(&mut self, command: CommandId, frame: &Frame<'_>) -> Verdict {
        if self.asked.login == Login::Replica {
            return Verdict::Raw;
        }
        if let Some(verdict) = self.outside_transactions_only() {
            return verdict;
        }
        if command == id::REPLCONF {
            return self.replconf(frame);
        }
        if !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        self.asked.login = Login::Replica;
        Verdict::Raw
    }

    /// Redis does not answer these options, so that they cannot be told from commands that it is slow to answer. No
    /// replica sends them before its stream has begun.
    fn replconf(&self, frame: &Frame<'_>) -> Verdict {
        const UNANSWERED: [&[u8]; 3] = [b"ack", b"fack", b"getack"];
        if !frame.is_whole_within(self.plan.held_command()) {
            return Verdict::NeedWhole;
        }
        let silent = |option: &&[u8]| UNANSWERED.iter().any(|word| option.eq_ignore_ascii_case(word));
        if frame.after_name().iter().any(silent) {
            return Verdict::Answer(Answer::Refusal(Local::Canned(reply::SYNTAX_ERROR), Denied::Command));
        }
        Verdict::plain()
    }

    pub(super) fn send_raw<O: Observer>(
        &mut self,
        frame: &Frame<'_>,
        id: CommandId,
        observer: &mut O,
    ) -> Step<'_> {
        let first = self.ticket();
        observer.command(id, 1);
        let (len, whole) = match frame.source {
            Source::Line(len) => {
                self.scratch = frame.bytes.to_vec();
                return Step::Instead { bytes: &self.scratch, skip: len, first, shape: Shape::Raw };
            }
            Source::Whole => (frame.bytes.len(), true),
            Source::Partial(buf) => match self.scan.stream(buf) {
                Ok(streamed) => (streamed.len, false),
                Err(error) => return self.refuse_bytes(error),
            },
        };
        if !whole {
            self.stream = Stream::Forwarding;
        }
        Step::Forward { len, first, pending: 1, shape: Shape::Raw, whole }
    }

    /// Whether the command has no place on a replication stream: what would be said of it would be a part of the stream.
    pub(super) fn leaves_replication(&self, command: CommandId) -> bool {
        self.asked.login == Login::Replica
            && (!matches!(command, id::SYNC | id::PSYNC | id::REPLCONF) || self.plan.cares_by_rule(command))
    }

    pub(super) fn end_replication<O: Observer>(&mut self, id: CommandId, observer: &mut O) -> Step<'_> {
        observer.command(id, 1);
        observer.denied(&Denial::new(&self.plan, id, Denied::Command));
        self.end(CloseReason::NotReplication);
        Step::Close(CloseReason::NotReplication)
    }

    /// Of a stream that has begun, not one byte more is for a client whose rules no longer name it.
    pub(super) fn may_still_replicate(&mut self) -> bool {
        let named = [id::SYNC, id::PSYNC].iter().any(|command| !self.plan.cares_by_rule(*command));
        let may = named || self.asked.login != Login::Replica;
        if !may {
            self.end(CloseReason::NotReplication);
        }
        may
    }
}
