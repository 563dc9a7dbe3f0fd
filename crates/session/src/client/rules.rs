//! Command rules: what the client may run. Judged before anything else is made of a command, as soon as what decides is
//! there, and anew where the command had to wait.

use portcullis_acl::{Judgement, Refusal};
use portcullis_resp::command::{CommandId, id, keys};
use portcullis_resp::reply;
use portcullis_resp::scan::Span;

use super::Session;
use super::command::Frame;
use super::judge::{Answer, Verdict};
use crate::local::hello::DEFAULT_USER;
use crate::pending::Local;

impl Session {
    /// Whether the rules allow a whole frame.
    #[inline]
    pub(super) fn is_allowed(&self, command: CommandId, name: Span, bytes: &[u8], arguments: u64) -> bool {
        let args = keys::Frame::behind(name, bytes, arguments);
        bytes.len() <= self.plan.held_command()
            && self.plan.rules().judge(command, &args, true) == Judgement::Allow
    }

    /// None: the rules allow it.
    pub(super) fn refused_by_rules(&self, command: CommandId, frame: &Frame<'_>) -> Option<Verdict> {
        let rules = self.plan.rules();
        if rules.class(command).is_free() {
            return None;
        }
        let held = self.plan.held_command();
        let args = keys::Frame::new(frame.first(held), frame.arguments);
        match rules.judge(command, &args, frame.is_whole_within(held)) {
            Judgement::Allow => None,
            Judgement::More => Some(Verdict::NeedWhole),
            Judgement::Refuse(refusal) if !refusal.command().info().takes(frame.arguments) => {
                Some(Verdict::wrong_arity(refusal.command()))
            }
            Judgement::Refuse(refusal) => Some(self.refuse(refusal, frame)),
        }
    }

    fn refuse(&self, refusal: Refusal, frame: &Frame<'_>) -> Verdict {
        let mut line = Vec::with_capacity(96);
        refusal.write(
            &mut line,
            self.plan.rules(),
            self.user().unwrap_or(DEFAULT_USER).as_bytes(),
            frame.name(),
        );
        Verdict::Answer(Answer::ByRules(Local::Made(line.into_boxed_slice()), refusal))
    }
}

/// An EXEC that is refused ends its transaction, and says so.
pub(super) fn aborted(command: CommandId, refusal: Local) -> Local {
    if command != id::EXEC {
        return refusal;
    }
    let why = refusal.bytes().strip_prefix(b"-").unwrap_or_default();
    let mut line = reply::EXECABORT_BECAUSE.to_vec();
    line.extend_from_slice(why.strip_prefix(b"ERR ").unwrap_or(why));
    Local::Made(line.into_boxed_slice())
}
