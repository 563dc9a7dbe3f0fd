//! Commands that the gate answers: none of their bytes is forwarded.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::reply;

use super::state::State;
use super::step::CloseReason;
use super::verdict::Answer;
use crate::observe::{Denial, Denied, Observer};
use crate::pending::Local;
use crate::tick::Tick;

impl State {
    /// Answers a command and reports a refusal. The client gets no reply if CLIENT REPLY suppresses it.
    pub(super) fn settle<O: Observer>(&mut self, answer: Answer, id: CommandId, now: Tick, observer: &mut O) {
        observer.command(id, 1);
        let muted = self.mute.take();
        let refusal = match &answer {
            Answer::LoginFailed => Some(Denial::new(self.plan(), id, Denied::Login)),
            Answer::ByRules(_, refusal) => Some(Denial::by_rules(self.plan(), *refusal)),
            Answer::Refusal(_, reason) => Some(Denial::new(self.plan(), id, *reason)),
            _ => None,
        };
        if let Some(denial) = refusal {
            observer.denied(&denial);
        }
        let reply = match answer {
            Answer::Reply(reply) => Some(reply),
            Answer::LoginFailed => Some(Local::Canned(reply::WRONGPASS)),
            Answer::Error(reply) | Answer::ByRules(reply, _) | Answer::Refusal(reply, _) => {
                self.transaction.spoil();
                Some(aborted(id, reply))
            }
            Answer::Nothing => None,
            Answer::Quit(reply) => {
                self.end(CloseReason::Client);
                Some(reply)
            }
            Answer::Silence => {
                self.end(CloseReason::CrossProtocol);
                None
            }
        };
        if let Some(reply) = reply.filter(|_| !muted) {
            self.pending.answer(reply, id, now);
        }
    }

    /// Reports a command that is not allowed on a replication stream, and ends the session.
    pub(super) fn end_replication<O: Observer>(&mut self, id: CommandId, observer: &mut O) {
        observer.command(id, 1);
        observer.denied(&Denial::new(self.plan(), id, Denied::Command));
        self.end(CloseReason::NotReplication);
    }
}

/// Returns the error for the refused `command`. For EXEC the error also says that the transaction has ended.
fn aborted(command: CommandId, refusal: Local) -> Local {
    if command != id::EXEC {
        return refusal;
    }
    let why = refusal.bytes().strip_prefix(b"-").unwrap_or_default();
    let mut line = reply::EXECABORT_BECAUSE.to_vec();
    line.extend_from_slice(why.strip_prefix(b"ERR ").unwrap_or(why));
    Local::Made(line.into_boxed_slice())
}
