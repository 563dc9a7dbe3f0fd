//! Who the client is, and as whom its upstream connection is logged in.
//!
//! The two never part. Another user comes in when nothing is owed and the upstream has confirmed the login that stands
//! for it; until then nothing more is read. What a user began and what lives on the connection (a WATCH, subscriptions)
//! stays, as it does in Redis.

use std::sync::Arc;

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::reply;

use super::command::Frame;
use super::judge::{Answer, Verdict};
use super::sharing::bad_name;
use super::{CloseReason, ReplyAction, Session, Step};
use crate::client::asked::Login;
use crate::link::{AS_NOBODY, Preamble, Stage, Subscribed, Unavailable};
use crate::local::hello::{Greeting, Hello};
use crate::observe::{Attempt, Authenticator, Denied};
use crate::pending::{Local, PendingReplies, ReplyKind};
use crate::plan::{Auth, Plan};
use crate::shape::Shape;
use crate::tick::Tick;

/// What logs the gate in on the upstream connection, as of when that was dialled or the user came in: a reload that
/// changes credentials is for connections yet to be made.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Of the user in force.
    pub(super) own: Option<Preamble>,
    /// Of the one that RESET leads back to.
    home: Option<Preamble>,
    /// A connection was asked for.
    pub(super) fixed: bool,
    /// One was asked for before a command needed it.
    early: bool,
}

/// A user whose credentials are right, and whom the upstream has not confirmed.
#[derive(Debug)]
pub(super) struct Entering {
    plan: Arc<Plan>,
    /// What logs the gate in on this connection, whatever a reload says meanwhile.
    key: Option<Preamble>,
    hello: Option<Deferred>,
}

/// A HELLO without its credentials, which goes out once its user is in.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) greeting: Greeting,
    at: Tick,
    muted: bool,
}

impl Entering {
    pub(super) fn held(&self) -> usize {
        self.hello.as_ref().map_or(0, Deferred::held)
    }
}

impl Deferred {
    pub(super) fn held(&self) -> usize {
        self.greeting.bytes.capacity() + self.greeting.name.as_ref().map_or(0, |name| name.len())
    }

    pub(super) const fn is_muted(&self) -> bool {
        self.muted
    }
}

impl Keys {
    pub(super) fn of(home: &Plan) -> Self {
        Self { own: home.preamble().cloned(), home: home.preamble().cloned(), fixed: false, early: false }
    }

    /// No connection is asked for any more: what the plans say holds again.
    pub(super) fn refresh(&mut self, plan: &Plan, home: &Plan) {
        *self = Self { own: plan.preamble().cloned(), early: self.early, ..Self::of(home) };
    }
}

impl Session {
    /// The user who is logged in, under [`Auth::Users`].
    pub fn user(&self) -> Option<&str> {
        self.plan.user()
    }

    /// A reload: new rules and limits hold from the next command on. `plan_of` gives what now holds for a user, or for
    /// none; nothing where there is no such user any more. `subscribed` is what its upstream connection has confirmed.
    /// What logs the gate in changes only as long as no upstream connection was asked for.
    ///
    /// False: the session cannot go on under what holds now, or is in the middle of what is no longer allowed, and is to
    /// be cut; it ends by itself once all that is owed was paid.
    #[must_use]
    pub fn renew(
        &mut self,
        subscribed: &Subscribed,
        mut plan_of: impl FnMut(Option<&str>) -> Option<Arc<Plan>>,
    ) -> bool {
        let auth = self.home.auth();
        let mut renewed = |old: &Plan| plan_of(old.user()).filter(|new| new.replaces(old, auth));
        let entering = self.entering.as_ref().map(|entering| renewed(&entering.plan));
        let (Some(home), Some(plan)) = (renewed(&self.home), renewed(&self.plan)) else {
            self.end_mid_frame(CloseReason::Revoked);
            return false;
        };
        if let (Some(entering), Some(new)) = (&mut self.entering, entering) {
            let Some(new) = new else {
                self.end_mid_frame(CloseReason::Revoked);
                return false;
            };
            entering.plan = new;
        }
        if !self.may_go_on(&plan, subscribed) {
            self.end_mid_frame(CloseReason::Revoked);
            return false;
        }
        // What is queued was judged by the old rules, and EXEC would run it under the new.
        if !plan.shares_rules_with(&self.plan)
            && let Some(transaction) = &mut self.asked.transaction
        {
            transaction.spoil();
        }
        if !self.keys.fixed {
            self.keys.refresh(&plan, &home);
            self.repool();
        }
        self.home = home;
        self.plan = plan;
        self.adopt_limits();
        self.may_still_replicate()
    }

    /// A frame that has begun goes on under the limits that it began with.
    pub(super) fn adopt_limits(&mut self) {
        self.limits_due = self.scan.is_mid_frame();
        if !self.limits_due {
            self.scan.set_limits(self.plan.limits());
        }
    }

    /// Whether to connect to the upstream although no command needs it yet. The client has logged in, or need not, and its
    /// first command was answered here: the next one should not wait for a connection. Once for each client.
    pub fn connects_early(&mut self) -> bool {
        let due = self.asked.login == Login::Unlinked
            && self.seq > 0
            && !self.keys.early
            && self.sharing.is_none()
            && self.ending.is_none()
            && !self.plan.is_anonymous();
        if due {
            (self.keys.early, self.keys.fixed) = (true, true);
        }
        due
    }

    /// That connection cannot be had, or is gone. Returns whether no command waits for it: then it is as if there had been
    /// none, and the next command asks for another and reads what is wrong.
    pub fn forget_early(&mut self) -> bool {
        let unused = self.keys.early
            && (!self.confirmed.answered || self.is_logging_in())
            && self.ending.is_none()
            && self.sharing.is_none()
            && self.pending.is_login()
            && !self.is_mid_frame()
            && self.peeked.is_none()
            && self.deferred.is_none()
            && self.entering.is_none();
        if unused {
            self.pending = PendingReplies::default();
            self.asked.login = Login::Unlinked;
            self.keys.refresh(&self.plan, &self.home);
        }
        unused
    }

    /// Whether there is an upstream connection of the client's own.
    pub(super) const fn is_linked(&self) -> bool {
        !matches!(self.asked.login, Login::Unlinked | Login::Pooled)
    }

    /// Whether another user may come in now: none of what is owed to this one may be owed on another connection.
    fn may_enter(&self) -> bool {
        self.pending.is_empty() || !(self.is_linked() || self.sharing.is_some())
    }

    /// What a fresh connection, or one that was RESET, needs before commands may flow.
    pub(super) fn login_due(&mut self) {
        self.asked.named = false;
        self.asked.login = if self.plan.is_anonymous() {
            Login::Nobody
        } else {
            Stage::Auth.needed_by(&self.pool_key()).map_or(Login::Done, Login::Due)
        };
    }

    pub(super) fn log_in(&mut self, stage: Stage, now: Tick) -> Step<'_> {
        let key = self.pool_key();
        self.asked.login = stage.next(&key).map_or(Login::Sent, Login::Due);
        let kind = match stage {
            Stage::Auth => ReplyKind::Login,
            Stage::Hello => ReplyKind::Greeting,
            Stage::Select => ReplyKind::Selecting,
        };
        let first = self.push_unmuted(kind, CommandId::UNKNOWN, now);
        let shape = stage.shape();
        let bytes = match stage {
            Stage::Auth => self.keys.own.as_ref().map_or(&[][..], Preamble::bytes),
            Stage::Hello | Stage::Select => {
                self.scratch = stage.command(&key).unwrap_or_default().into_owned();
                &self.scratch
            }
        };
        Step::Instead { bytes, skip: 0, first, shape }
    }

    /// The upstream took all that sets the connection up.
    pub(super) const fn logged_in(&mut self) {
        self.asked.login = Login::Done;
        self.asked.named = self.keys.own.is_some();
    }

    /// Redis's checks before it asks who the client is, and that one. None: the command may come from anybody.
    pub(super) fn before_login(&self, command: CommandId, frame: &Frame<'_>) -> Option<Verdict> {
        let held = self.plan.held_command();
        let exact = match frame.resolve(command, held) {
            Ok(exact) => exact,
            Err(verdict) => return Some(verdict),
        };
        if !exact.info().takes(frame.arguments) {
            return Some(Verdict::wrong_arity(exact));
        }
        if matches!(command, id::AUTH | id::HELLO | id::RESET) {
            return None;
        }
        Some(Verdict::Answer(Answer::Refusal(Local::Canned(reply::NOAUTH), Denied::Login)))
    }

    /// AUTH under [`Auth::Users`].
    pub(super) fn auth_user<A: Authenticator>(
        &mut self,
        frame: &Frame<'_>,
        authenticator: &mut A,
    ) -> Verdict {
        match frame.arguments {
            0 | 1 => return Verdict::wrong_arity(id::AUTH),
            2 | 3 => {}
            _ => return Verdict::Answer(Answer::Error(Local::Canned(reply::SYNTAX_ERROR))),
        }
        if !frame.is_whole_within(self.plan.held_command()) {
            return Verdict::NeedWhole;
        }
        if !self.may_enter() {
            return Verdict::WaitUntilPaid;
        }
        let attempt = match frame.after_name()[..] {
            [password] => authenticator.authenticate(None, password),
            [user, password] => authenticator.authenticate(Some(user), password),
            _ => Attempt::Refused,
        };
        self.attempted(attempt, None)
    }

    /// HELLO under [`Auth::Users`].
    pub(super) fn hello_user<A: Authenticator>(
        &mut self,
        hello: &Hello<'_>,
        authenticator: &mut A,
    ) -> Verdict {
        let Some((user, password)) = hello.credentials else {
            return match (self.plan.is_anonymous(), hello.bad_name) {
                (true, true) => Verdict::Answer(Answer::Error(Local::Canned(reply::HELLO_BAD_NAME))),
                (true, false) => {
                    Verdict::Answer(Answer::Refusal(Local::Canned(reply::NOAUTH_HELLO), Denied::Login))
                }
                (false, _) if self.sharing.is_some() => self.greet(hello),
                (false, _) if self.is_linked() => Verdict::untimed(Shape::Hello),
                (false, _) => Verdict::WaitUntilLinked,
            };
        };
        if !self.may_enter() {
            return Verdict::WaitUntilPaid;
        }
        if let Some(verdict) = self.sharing.as_ref().and_then(|_| bad_name(hello)) {
            return verdict;
        }
        let attempt = authenticator.authenticate(Some(user), password);
        self.attempted(attempt, Some(hello.greeting(self.sharing.is_some())))
    }

    fn attempted(&mut self, attempt: Attempt, hello: Option<Greeting>) -> Verdict {
        let plan = match attempt {
            Attempt::Granted(plan) if plan.auth() == Auth::Users && !plan.is_anonymous() => plan,
            Attempt::Granted(_) | Attempt::Refused => return Verdict::Answer(Answer::LoginFailed),
            Attempt::Blocked => {
                self.end(CloseReason::Blocked);
                return Verdict::Answer(Answer::LoginFailed);
            }
        };
        if self.is_linked() && (plan.preamble().is_some() || self.asked.named) {
            return Verdict::Identify { plan, hello };
        }
        let key = plan.preamble().cloned();
        self.enter(plan, key);
        match hello {
            None => Verdict::Answer(Answer::Reply(Local::Canned(reply::OK))),
            Some(greeting) => Verdict::Defer(greeting),
        }
    }

    /// The gate logs in as another user; the client is who it was until that is confirmed.
    pub(super) fn identify(
        &mut self,
        plan: Arc<Plan>,
        hello: Option<Greeting>,
        command: CommandId,
        now: Tick,
        skip: usize,
    ) -> Step<'_> {
        let muted = self.asked.mute.take();
        let first = self.push_apart(ReplyKind::Identify, command, now, muted);
        self.hold = true;
        let hello = hello.map(|greeting| Deferred { greeting, at: now, muted });
        let key = plan.preamble().cloned();
        let entering = self.entering.insert(Box::new(Entering { plan, key, hello }));
        let bytes = entering.key.as_ref().map_or(AS_NOBODY, Preamble::bytes);
        Step::Instead { bytes, skip, first, shape: Shape::Whole }
    }

    /// What the upstream said to that. Its words are for the client only where Redis would have said them to the client:
    /// others may repeat the gate's credentials.
    pub(super) fn identified(&mut self, said: &[u8], action: ReplyAction) -> ReplyAction {
        const NOT_NOW: &[u8] = b"-ERR Can't execute 'auth'";
        let Some(entering) = self.entering.take() else { return ReplyAction::Desync };
        if said == reply::OK {
            let Entering { plan, key, hello } = *entering;
            self.asked.named = key.is_some();
            if self.asked.login != Login::Unselected {
                self.asked.login = Login::Done;
            }
            self.enter(plan, key);
            let Some(hello) = hello else { return action };
            self.deferred = Some(Box::new(hello));
            return ReplyAction::Drop;
        }
        if said.starts_with(NOT_NOW) {
            // The client said HELLO, and reads of HELLO.
            if entering.hello.is_some() && action == ReplyAction::Pass {
                ReplyAction::Replace(reply::HELLO_NOT_NOW)
            } else {
                action
            }
        } else if said.starts_with(b"-") {
            ReplyAction::Lost(Unavailable::of_login(said))
        } else {
            ReplyAction::Desync
        }
    }

    pub(super) fn defer(&mut self, greeting: Greeting, at: Tick) {
        let muted = self.asked.mute.take();
        self.deferred = Some(Box::new(Deferred { greeting, at, muted }));
    }

    /// The HELLO whose credentials were taken.
    pub(super) fn send_deferred(&mut self, deferred: Deferred) -> Step<'_> {
        let Deferred { greeting, at, muted } = deferred;
        let (kind, shape) = self.greeting_form(greeting.name.as_deref());
        let first = self.push_apart(kind, id::HELLO, at, muted);
        self.scratch = greeting.bytes;
        Step::Instead { bytes: &self.scratch, skip: 0, first, shape }
    }

    /// The upstream has forgotten who the client was, or never knew.
    pub(super) fn leave(&mut self) {
        self.keys.own = self.keys.home.clone();
        self.plan = Arc::clone(&self.home);
        self.adopt_limits();
        if self.is_linked() {
            self.login_due();
        }
        self.rejoin();
    }

    fn enter(&mut self, plan: Arc<Plan>, key: Option<Preamble>) {
        self.keys.own = key;
        self.plan = plan;
        self.adopt_limits();
        if self.asked.login == Login::Nobody {
            self.asked.login = Login::Done;
        }
        self.rejoin();
    }
}
