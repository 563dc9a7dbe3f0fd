//! AUTH and HELLO: the commands with which a client logs in as a user.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::reply;

use super::Judge;
use crate::client::command::CommandFrame;
use crate::client::continuity;
use crate::client::state::State;
use crate::client::upstream::Upstream;
use crate::client::verdict::{Answer, Verdict};
use crate::local::client_info;
use crate::local::hello::{self, DEFAULT_USER, Greeting, Hello};
use crate::observe::{Attempt, Denied, Host};
use crate::pending::{Local, ReplyKind};
use crate::plan::Auth;
use crate::shape::Shape;

/// The length of `HELLO 3 AUTH user password` in arguments. A HELLO with fewer arguments logs no user in. Only the
/// number counts, because the position of the option may not have been received yet.
const HELLO_WITH_CREDENTIALS: u64 = 5;

/// Applies Redis's checks up to the check that the client is logged in. Returns `None` if any client may send the
/// command.
pub(super) fn before_login(command: CommandId, frame: &CommandFrame<'_>, held: usize) -> Option<Verdict> {
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

/// A command with which a client logs in.
pub(super) struct Login<'j, H> {
    state: &'j mut State,
    frame: &'j CommandFrame<'j>,
    host: &'j mut H,
}

impl<'j, H: Host> Login<'j, H> {
    /// Takes the command of a judge.
    pub(super) const fn of(judge: &'j mut Judge<'_, H>) -> Self {
        Self { state: judge.state, frame: judge.frame, host: judge.host }
    }

    /// Judges AUTH.
    pub(super) fn auth(&mut self) -> Verdict {
        if let Some(verdict) = self.state.excluded() {
            return verdict;
        }
        let auth = self.state.plan().auth();
        if auth == Auth::Passthrough {
            return self.client_auth();
        }
        if self.frame.arguments > 1
            && let Some(verdict) = self.not_while_subscribed(reply::AUTH_NOT_NOW)
        {
            return verdict;
        }
        if auth == Auth::Users {
            return self.auth_user();
        }
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Verdict::NeedWhole;
        }
        Verdict::canned_reply(hello::auth(&self.frame.after_name()))
    }

    /// Judges AUTH under [`Auth::Users`].
    fn auth_user(&mut self) -> Verdict {
        match self.frame.arguments {
            0 | 1 => return Verdict::wrong_arity(id::AUTH),
            2 | 3 => {}
            _ => return Verdict::canned_error(reply::SYNTAX_ERROR),
        }
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Verdict::NeedWhole;
        }
        if !self.state.may_enter() {
            return Verdict::UNTIL_SETTLED;
        }
        let attempt = match self.frame.after_name()[..] {
            [password] => self.host.authenticate(None, password),
            [user, password] => self.host.authenticate(Some(user), password),
            _ => Attempt::Refused,
        };
        self.attempted(attempt, None)
    }

    /// Judges AUTH under [`Auth::Passthrough`].
    fn client_auth(&mut self) -> Verdict {
        if self.state.plan().answers_client() {
            if !self.frame.is_whole_within(self.state.plan().held_command()) {
                return Verdict::NeedWhole;
            }
            match self.frame.after_name()[..] {
                [_password] => self.state.begin_login(Some(DEFAULT_USER.as_bytes())),
                [user, _password] => self.state.begin_login(Some(user)),
                // Redis accepts no login of another form.
                _ => {}
            }
        }
        self.client_login(Shape::One)
    }

    /// Judges a login that the upstream checks. Redis from 7.2 on and Valkey 8 do not answer a failed login while any
    /// output for the client is pending. So the gate sends it when no reply is pending, and later commands wait for its
    /// reply.
    fn client_login(&mut self, shape: Shape) -> Verdict {
        if !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        self.state.pending.hold();
        Verdict::Send { shape, kind: ReplyKind::ClientLogin { known: false } }
    }

    /// Judges HELLO.
    pub(super) fn hello(&mut self) -> Verdict {
        if let Some(verdict) = self.state.excluded() {
            return verdict;
        }
        let plan = self.state.plan();
        let auth = plan.auth();
        if auth == Auth::Passthrough && !plan.answers_client() {
            let may_log_in = self.frame.arguments >= HELLO_WITH_CREDENTIALS;
            return if may_log_in { self.client_login(Shape::Hello) } else { Verdict::untimed(Shape::Hello) };
        }
        if !self.frame.is_whole_within(plan.held_command()) {
            return Verdict::NeedWhole;
        }
        let args = self.frame.after_name();
        let hello = Hello::read(&args);
        let name = hello.as_ref().ok().and_then(|hello| hello.name);
        if auth == Auth::Passthrough {
            let verdict = self.client_hello(hello.as_ref().ok());
            return self.as_known(verdict, name);
        }
        let shares = self.state.pooling.is_some();
        let answered_here = match &hello {
            Err(_) => true,
            Ok(_) if shares => true,
            Ok(hello) if auth == Auth::Users => hello.credentials.is_some(),
            Ok(hello) => !hello.is_of_default_user(),
        };
        if answered_here && let Some(verdict) = self.not_while_subscribed(reply::HELLO_NOT_NOW) {
            return verdict;
        }
        let verdict = match hello {
            Err(line) => Verdict::Answer(Answer::Reply(Local::Made(line.into_boxed_slice()))),
            Ok(hello) if auth == Auth::Users => self.hello_user(&hello),
            Ok(hello) if !hello.is_of_default_user() => Verdict::canned_reply(reply::WRONGPASS),
            Ok(hello) if shares => self.greet(&hello),
            Ok(hello) if hello.credentials.is_none() => Verdict::untimed(Shape::Hello),
            Ok(hello) => {
                let bytes = hello.without_credentials();
                Verdict::Rewrite { bytes, shape: Shape::Hello, kind: ReplyKind::Untimed }
            }
        };
        self.as_known(verdict, name)
    }

    /// Judges HELLO under [`Auth::Passthrough`] where the gate answers CLIENT. `hello` is `None` if Redis will refuse the HELLO.
    fn client_hello(&mut self, hello: Option<&Hello<'_>>) -> Verdict {
        if self.frame.arguments < HELLO_WITH_CREDENTIALS {
            return Verdict::untimed(Shape::Hello);
        }
        match hello.and_then(|hello| hello.credentials) {
            Some((user, _password)) => self.state.begin_login(Some(user)),
            // A HELLO without credentials does not change the client's user.
            None => {
                let user = self.state.acts_as().map(Into::into);
                self.state.profile_mut().begin_login(user);
            }
        }
        self.client_login(Shape::Hello)
    }

    /// Judges HELLO under [`Auth::Users`].
    fn hello_user(&mut self, hello: &Hello<'_>) -> Verdict {
        let shares = self.state.pooling.is_some();
        let Some((user, password)) = hello.credentials else {
            return match (self.state.plan().is_anonymous(), hello.bad_name) {
                (true, true) => Verdict::canned_error(reply::HELLO_BAD_NAME),
                (true, false) => {
                    Verdict::Answer(Answer::Refusal(Local::Canned(reply::NOAUTH_HELLO), Denied::Login))
                }
                (false, _) if shares => self.greet(hello),
                (false, _) if self.state.upstream.is_linked() => Verdict::untimed(Shape::Hello),
                (false, _) => continuity::until_linked(self.state),
            };
        };
        if !self.state.may_enter() {
            return Verdict::UNTIL_SETTLED;
        }
        if shares && let Some(verdict) = bad_name(hello) {
            return verdict;
        }
        let attempt = self.host.authenticate(Some(user), password);
        self.attempted(attempt, Some(hello.greeting(shares)))
    }

    fn attempted(&mut self, attempt: Attempt, hello: Option<Greeting>) -> Verdict {
        let plan = match attempt {
            Attempt::Granted(plan) if plan.auth() == Auth::Users && !plan.is_anonymous() => plan,
            Attempt::Granted(_) | Attempt::Refused => return Verdict::Answer(Answer::LoginFailed),
            Attempt::Blocked => {
                self.state.end(crate::client::CloseReason::Blocked);
                return Verdict::Answer(Answer::LoginFailed);
            }
        };
        let linked = self.state.upstream.is_linked();
        if linked && (plan.preamble().is_some() || self.state.identity.uses_key()) {
            return Verdict::Identify { plan, hello };
        }
        let key = plan.preamble().cloned();
        self.state.enter(plan, key);
        match hello {
            None => Verdict::canned_reply(reply::OK),
            Some(greeting) => Verdict::Defer(greeting),
        }
    }

    /// Refuses AUTH and HELLO of a client in RESP2 subscriber mode, with Redis's reply. The mode is certain only when
    /// no pending reply may change it.
    fn not_while_subscribed(&self, line: &'static [u8]) -> Option<Verdict> {
        let upstream = self.state.upstream;
        if !upstream.is_linked() || upstream == Upstream::Anonymous {
            return None;
        }
        if self.state.pending.turns() {
            return Some(Verdict::UNTIL_SETTLED);
        }
        self.host.listens_in_resp2().then(|| Verdict::canned_error(line))
    }

    /// Judges a HELLO whose credentials are right or missing. The gate sends it when no reply is pending, because it
    /// may change the connection that later commands use.
    fn greet(&mut self, hello: &Hello<'_>) -> Verdict {
        if let Some(verdict) = bad_name(hello) {
            return verdict;
        }
        if !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        Verdict::Defer(hello.greeting(true))
    }

    /// Marks a HELLO on the client's own connection, if the gate answers CLIENT ID there or follows the client's state.
    /// The gate remembers `name`.
    fn as_known(&mut self, verdict: Verdict, name: Option<&[u8]>) -> Verdict {
        let is_known = self.state.plan().answers_client() || continuity::follows(self.state);
        if self.state.pooling.is_some() || !is_known {
            return verdict;
        }
        let (bytes, kind) = match verdict {
            Verdict::Send { shape: Shape::Hello, kind: ReplyKind::ClientLogin { .. } } => {
                (None, ReplyKind::ClientLogin { known: true })
            }
            Verdict::Send { shape: Shape::Hello, .. } => (None, ReplyKind::Hello),
            Verdict::Rewrite { bytes, shape: Shape::Hello, .. } => (Some(bytes), ReplyKind::Hello),
            other => return other,
        };
        if !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        self.state.profile_mut().begin_naming(name);
        let shape = Shape::WholeHello;
        match bytes {
            None => Verdict::Send { shape, kind },
            Some(bytes) => Verdict::Rewrite { bytes, shape, kind },
        }
    }
}

/// Refuses a HELLO with a name that Redis does not allow. The gate checks the name here, because it keeps the names
/// itself.
fn bad_name(hello: &Hello<'_>) -> Option<Verdict> {
    let line =
        if hello.bad_name { reply::HELLO_BAD_NAME } else { client_info::check_name(hello.name?).err()? };
    Some(Verdict::canned_error(line))
}
