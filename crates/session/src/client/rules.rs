//! Command rules: the commands that the client may run. The rules come before any other judgement of a command, as soon
//! as the deciding bytes are present. They are applied again if the command had to wait.

use portcullis_acl::{Judgement, Refusal};
use portcullis_resp::command::{CommandId, keys};

use super::command::CommandFrame;
use super::verdict::{Answer, Verdict};
use crate::local::hello::DEFAULT_USER;
use crate::pending::Local;
use crate::plan::Plan;

/// Returns the refusal of a command that the rules of `plan` do not allow.
pub(super) fn refusal(plan: &Plan, command: CommandId, frame: &CommandFrame<'_>) -> Option<Verdict> {
    let rules = plan.rules();
    if rules.class(command).is_free() {
        return None;
    }
    let held = plan.held_command();
    let args = keys::Frame::new(frame.first(held), frame.arguments);
    match rules.judge(command, &args, frame.is_whole_within(held)) {
        Judgement::Allow => None,
        Judgement::More => Some(Verdict::NeedWhole),
        Judgement::Refuse(refusal) if !refusal.command().info().takes(frame.arguments) => {
            Some(Verdict::wrong_arity(refusal.command()))
        }
        Judgement::Refuse(refusal) => Some(refuse(plan, refusal, frame)),
    }
}

fn refuse(plan: &Plan, refusal: Refusal, frame: &CommandFrame<'_>) -> Verdict {
    let mut line = Vec::with_capacity(96);
    let user = plan.user().unwrap_or(DEFAULT_USER);
    refusal.write(&mut line, plan.rules(), user.as_bytes(), frame.name());
    Verdict::Answer(Answer::ByRules(Local::Made(line.into_boxed_slice()), refusal))
}
