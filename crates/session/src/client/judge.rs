//! Judges the commands for which it is not enough to pass on one reply.
//!
//! The judge applies the checks of Redis and the command rules first. Then it decides which connection may carry the
//! command (a shared one or the client's own). Last, it judges the command by its name. A command that must wait is
//! judged again from the beginning.

mod client_command;
mod followed;
mod login;
mod presented;
mod replication;
mod sentinel;
mod shared;

use std::collections::BTreeSet;

use portcullis_resp::command::{CommandId, Flags, id, is_cross_protocol, lookup_subcommand};
use portcullis_resp::scan::arguments;
use portcullis_resp::{encode, reply};

use self::login::{Login, before_login};
use super::command::CommandFrame;
use super::continuity;
use super::rules;
use super::state::State;
use super::upstream::Upstream;
use super::verdict::{Answer, Verdict};
use crate::observe::{Denied, Host};
use crate::pending::{Local, PendingReplies, ReplyKind};
use crate::plan::Auth;
use crate::shape::{Shape, Verb};
use crate::tick::Tick;

/// One command, and everything that its judgement depends on.
pub(super) struct Judge<'s, H> {
    state: &'s mut State,
    command: CommandId,
    frame: &'s CommandFrame<'s>,
    now: Tick,
    host: &'s mut H,
}

impl<'s, H: Host> Judge<'s, H> {
    pub(super) const fn new(
        state: &'s mut State,
        command: CommandId,
        frame: &'s CommandFrame<'s>,
        now: Tick,
        host: &'s mut H,
    ) -> Self {
        Self { state, command, frame, now, host }
    }

    /// Returns the verdict on the command.
    pub(super) fn judge(mut self) -> Verdict {
        // The HELLO may log in a user whose CLIENT ID the gate answers.
        if self.command == id::HELLO
            && self.state.plan().auth() == Auth::Users
            && self.state.pooling.is_none()
        {
            self.state.profile_mut().set_id(self.host.id());
        }
        if self.leaves_replication() {
            return Verdict::EndReplication;
        }
        if let Some(verdict) = self.presented() {
            return verdict;
        }
        match self.admissible() {
            Some(Verdict::Answer(answer)) if self.command == id::EXEC => {
                self.state.transaction.refuse_exec(answer, &self.state.pending)
            }
            Some(verdict) => verdict,
            None if self.state.pooling.is_some() => self.shared(),
            None if self.state.upstream == Upstream::Unlinked && !self.needs_no_upstream() => {
                continuity::until_linked(self.state)
            }
            None if continuity::follows(self.state) => self.followed(),
            None if self.state.plan().has_rules() || self.state.plan().answers_client() => self.ruled(),
            None => self.by_name(),
        }
    }

    /// Applies Redis's checks of the command itself, in Redis's order. Returns `None` if the command passes them.
    fn admissible(&self) -> Option<Verdict> {
        if self.command == id::QUIT || is_cross_protocol(self.frame.name()) {
            return None;
        }
        let plan = self.state.plan();
        if plan.is_anonymous() {
            return before_login(self.command, self.frame, plan.held_command());
        }
        rules::refusal(plan, self.command, self.frame)
    }

    /// Returns whether the command ends the session, or the gate answers it without the upstream.
    fn needs_no_upstream(&self) -> bool {
        let users = self.state.plan().auth() == Auth::Users;
        let of_users = match self.command {
            id::AUTH | id::HELLO => users,
            id::RESET => users && self.frame.arguments == 1,
            _ => false,
        };
        of_users || self.command == id::QUIT || is_cross_protocol(self.frame.name())
    }

    /// Judges the command by its name.
    fn by_name(&mut self) -> Verdict {
        self.state.transaction.forget_refused(&self.state.pending);
        let alone = self.frame.arguments == 1;
        let verdict = match self.command {
            CommandId::UNKNOWN if is_cross_protocol(self.frame.name()) => {
                return Verdict::Answer(Answer::Silence);
            }
            id::QUIT => return Verdict::Answer(Answer::Quit(Local::Canned(reply::OK))),
            id::SYNC | id::PSYNC | id::REPLCONF => return self.replicate(),
            id::RESET if alone => return self.reset(),
            id::MULTI if alone => return self.state.transaction.multi(&self.state.pending),
            id::EXEC => return self.state.transaction.exec(alone, &self.state.pending),
            id::DISCARD if alone => return self.state.transaction.discard(),
            id::MULTI | id::DISCARD | id::RESET | id::WATCH => return Verdict::plain(),
            id::AUTH if !alone || self.state.plan().auth() == Auth::Users => Login::of(self).auth(),
            id::HELLO => Login::of(self).hello(),
            id::CLIENT => self.client(),
            id::SCRIPT if !self.state.transaction.is_begun() => {
                script(self.frame, self.state.plan().held_command())
            }
            id::MONITOR if alone => self.state.modes.monitor(&self.state.transaction, &self.state.pending),
            id::INFO | id::ROLE | id::CONFIG if self.state.plan().face().is_some() => self.rewritten(),
            id::PUBSUB if self.state.plan().rules().filters_channels() => pubsub(self.frame, self.state),
            _ => match Verb::of(self.command) {
                Some(verb) => self.subscription(verb),
                None => blocking(self.command, self.frame, self.state),
            },
        };
        if let Verdict::Send {
            kind: ReplyKind::Plain | ReplyKind::Blocking(_) | ReplyKind::Tracking { .. },
            ..
        } = verdict
        {
            self.state.transaction.queue(1);
        }
        verdict
    }

    /// Judges RESET, which the gate sends only when no reply is pending. Redis (6.2.18, 7.2.8 and later) closes a
    /// connection that is not logged in and has more than 1 KiB of pending output. Replies to commands before RESET
    /// could be such output.
    fn reset(&mut self) -> Verdict {
        let users = self.state.plan().auth() == Auth::Users;
        if users && matches!(self.state.upstream, Upstream::Unlinked | Upstream::Anonymous) {
            self.state.leave();
            return Verdict::canned_reply(reply::RESET);
        }
        if !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        // The gate's own login follows the reply, and the gate sends it when no reply is pending.
        if users || self.state.identity.key().is_some() {
            self.state.pending.hold();
        }
        self.state.transaction.reset();
        self.state.mute.reset();
        self.state.modes.reset();
        Verdict::Send { shape: Shape::Reset, kind: ReplyKind::Reset }
    }

    /// Judges SUBSCRIBE and its variants.
    fn subscription(&mut self, verb: Verb) -> Verdict {
        let channels = self.frame.arguments.saturating_sub(1);
        if channels == 0 && !verb.gives_up() {
            return Verdict::plain();
        }
        if let Some(verdict) = self.too_many_subscriptions(verb) {
            return verdict;
        }
        let kind = confirmations(verb, self.frame, &self.state.pending);
        if !self.state.transaction.is_begun() {
            let shape = match channels {
                0 => Shape::ConfirmAll(verb),
                n => Shape::Confirm { verb, n },
            };
            return Verdict::Send { shape, kind };
        }
        if channels != 1 || !self.state.transaction.queue_confirmation(verb) {
            return self.state.excluded().unwrap_or(Verdict::UNTIL_SETTLED);
        }
        Verdict::Send { shape: Shape::Confirm { verb, n: 1 }, kind }
    }

    /// Refuses a command with which the client would hold more subscriptions than `@public` allows. A name counts only
    /// if the client does not hold it yet, and only once. The client's subscriptions are certain only when no reply is
    /// pending.
    fn too_many_subscriptions(&self, verb: Verb) -> Option<Verdict> {
        let plan = self.state.plan();
        let pending = &self.state.pending;
        let limit = plan.rules().costs().filter(|_| !verb.gives_up())?.subscriptions;
        let queued = self.state.transaction.subscribing();
        let held = self.host.subscriptions().total().saturating_add(u64::from(queued));
        let exceeds = |more: u64| held.saturating_add(more) > limit;
        let named = self.frame.arguments.saturating_sub(1);
        if !exceeds(pending.subscribing().saturating_add(named)) {
            return None;
        }
        if !pending.is_empty() {
            return Some(Verdict::UNTIL_SETTLED);
        }
        if !self.frame.is_whole_within(plan.held_command()) {
            return Some(Verdict::NeedWhole);
        }
        let names = arguments(self.frame.bytes).skip(1).filter(|name| !self.host.is_subscribed(verb, name));
        let new = names.collect::<BTreeSet<_>>().len();
        if !exceeds(u64::try_from(new).unwrap_or(u64::MAX)) {
            return None;
        }
        let mut line = Vec::with_capacity(80);
        encode::error(
            &mut line,
            &format!("ERR portcullis: more than {limit} subscriptions are not allowed here"),
        );
        Some(Verdict::Answer(Answer::Refusal(Local::Made(line.into_boxed_slice()), Denied::Subscriptions)))
    }
}

fn blocking(command: CommandId, frame: &CommandFrame<'_>, state: &State) -> Verdict {
    if state.transaction.is_begun() || !may_block(command, frame) {
        return Verdict::plain();
    }
    Verdict::Send { shape: Shape::One, kind: ReplyKind::Blocking(frame.kept(&state.pending)) }
}

/// Judges SCRIPT DEBUG. A script in the debugger gets one more reply than it has commands.
fn script(frame: &CommandFrame<'_>, held: usize) -> Verdict {
    if frame.arguments != 3 {
        return Verdict::plain();
    }
    let Some(subcommand) = frame.argument(1, held) else { return Verdict::NeedWhole };
    if lookup_subcommand(id::SCRIPT, subcommand) != Some(id::SCRIPT_DEBUG) {
        return Verdict::plain();
    }
    let Some(mode) = frame.argument(2, held) else { return Verdict::NeedWhole };
    Verdict::untimed(Shape::Debug { on: !mode.eq_ignore_ascii_case(b"no") })
}

fn confirmations(verb: Verb, frame: &CommandFrame<'_>, pending: &PendingReplies) -> ReplyKind {
    if verb.gives_up() {
        return ReplyKind::Confirmations { names: 0, frame: None };
    }
    let names = u32::try_from(frame.arguments.saturating_sub(1)).unwrap_or(u32::MAX);
    ReplyKind::Confirmations { names, frame: frame.kept(pending) }
}

/// Returns whether Redis may block the command until another client acts.
fn may_block(command: CommandId, frame: &CommandFrame<'_>) -> bool {
    if !command.info().flags.contains(Flags::BLOCKING) {
        return false;
    }
    // The end of the options may be missing in an incomplete frame.
    let has_block = |options: usize| {
        let mut block = false;
        for argument in arguments(frame.bytes).skip(options) {
            if argument.eq_ignore_ascii_case(b"streams") {
                return block;
            }
            block |= argument.eq_ignore_ascii_case(b"block");
        }
        block || !frame.is_whole()
    };
    match command {
        id::XREAD => has_block(1),
        id::XREADGROUP => has_block(4),
        _ => true,
    }
}

/// Judges PUBSUB. The reply to a queued PUBSUB is inside EXEC's reply, which the gate does not filter.
fn pubsub(frame: &CommandFrame<'_>, state: &State) -> Verdict {
    if frame.arguments < 2 {
        return Verdict::plain();
    }
    let Some(subcommand) = frame.argument(1, state.plan().held_command()) else {
        return Verdict::NeedWhole;
    };
    match lookup_subcommand(id::PUBSUB, subcommand) {
        Some(id::PUBSUB_CHANNELS | id::PUBSUB_SHARDCHANNELS) => {
            state.excluded().unwrap_or(Verdict::Send { shape: Shape::Listed, kind: ReplyKind::Channels })
        }
        _ => Verdict::plain(),
    }
}
