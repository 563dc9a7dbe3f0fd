//! What a session reports while it works, and what it asks.

use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::{DecidingRule, Refusal, Refused};
use portcullis_resp::command::CommandId;

use crate::link::Subscriptions;
use crate::plan::Plan;
use crate::shape::Verb;

/// Takes what happened. Called on the command path: implementations must be cheap and must not fail.
pub trait Observer {
    /// `n` commands were read and will be answered.
    fn command(&mut self, id: CommandId, n: u64);
    /// A command was refused by the gate itself.
    fn denied(&mut self, denial: &Denial<'_>);
    /// `n` commands were answered by the upstream, each `nanos` after the read that brought it.
    fn answered(&mut self, id: CommandId, n: u64, nanos: u64);
    /// An error reply went by; `line` starts with `-` and may be cut short.
    fn error(&mut self, line: &[u8]);
}

/// A command that the gate refused, and what decided it: the one source of the metric and the log line.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'p> {
    plan: &'p Plan,
    command: CommandId,
    reason: Denied,
    refusal: Option<Refusal>,
}

impl<'p> Denial<'p> {
    /// A refusal that is not the command rules'.
    pub(crate) const fn new(plan: &'p Plan, command: CommandId, reason: Denied) -> Self {
        Self { plan, command, reason, refusal: None }
    }

    /// A refusal of the plan's command rules.
    pub(crate) fn by_rules(plan: &'p Plan, refusal: Refusal) -> Self {
        let reason = refusal.what().into();
        Self { plan, command: refusal.command(), reason, refusal: Some(refusal) }
    }

    /// The command: the subcommand where that decided.
    pub const fn command(&self) -> CommandId {
        self.command
    }

    /// Why.
    pub const fn reason(&self) -> Denied {
        self.reason
    }

    /// The user that the gate knows.
    pub fn user(&self) -> Option<&'p str> {
        self.plan.user()
    }

    /// The rule that decided. It goes over the rules again, so ask only where it is logged.
    pub fn rule(&self) -> DecidingRule<'p> {
        match self.refusal {
            Some(refusal) => self.plan.rules().deciding_rule(refusal),
            None => DecidingRule { owner: None, rule: self.reason.rule() },
        }
    }
}

/// Why the gate refused a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The command itself is not allowed here.
    Command,
    /// One of its keys is not.
    Key,
    /// One of its channels is not.
    Channel,
    /// The command is not allowed inside MULTI.
    InTransaction,
    /// The command is not allowed where upstream connections are shared.
    WhileShared,
    /// The command is too large to be checked.
    Size,
    /// Its cost is more than `@public` allows.
    Cost,
    /// The client would hold more subscriptions than `@public` allows.
    Subscriptions,
    /// The client has not logged in, or not with the right credentials.
    Login,
}

impl Denied {
    /// The limit that decided, if no command rule did.
    const fn rule(self) -> &'static str {
        match self {
            Self::InTransaction => "not inside MULTI",
            Self::WhileShared => "connections: shared",
            Self::Size => "limits.held_command",
            Self::Subscriptions => "limits.subscriptions",
            Self::Login => "login",
            Self::Command | Self::Key | Self::Channel | Self::Cost => "never allowed here",
        }
    }
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Command => Self::Command,
            Refused::Key => Self::Key,
            Refused::Channel => Self::Channel,
            Refused::Cost(_) => Self::Cost,
        }
    }
}

/// Judges credentials under [`Auth::Users`](crate::Auth::Users). How they are compared, and how many failures are too
/// many, is its business.
pub trait Authenticator {
    /// A client says that it is `user`. Without one it gave a password alone, which is either the default user's or of
    /// the form `user:password`. Called once an attempt.
    fn authenticate(&mut self, user: Option<&[u8]>, password: &[u8]) -> Attempt;
}

/// All that a session asks and reports.
pub trait Host: Observer + Authenticator + Peer {}

impl<T: Observer + Authenticator + Peer> Host for T {}

/// What an attempt to log in comes to.
#[derive(Clone, Debug)]
pub enum Attempt {
    /// The credentials are right, and this holds for their user: a plan that [names it](Plan::for_user).
    Granted(Arc<Plan>),
    /// They are not.
    Refused,
    /// They were not looked at, or are one failure too many: the client reads what it reads for wrong ones, and the
    /// session ends.
    Blocked,
}

/// Says who a client is, where no server can tell it: on shared connections, and under `@public`.
pub trait Peer {
    /// The number of its connection, at least 1; no other connection of the process ever has it.
    fn id(&self) -> u64;
    /// Where it comes from, as Redis writes it: `192.0.2.1:50000`, `[2001:db8::1]:50000`, or the path of the listening
    /// unix socket and `:0`.
    fn address(&self) -> String;
    /// Where it came to, in the same form.
    fn local_address(&self) -> String;
    /// For how long it has been connected.
    fn age(&self) -> Duration;
    /// For how long it has sent nothing.
    fn idle(&self) -> Duration;
    /// Whether its own upstream connection speaks RESP3.
    fn resp3(&self) -> bool;
    /// How many subscriptions it holds on the upstream connection of its own; none where it has none.
    fn subscriptions(&self) -> Subscriptions;
    /// Whether it is known to hold a subscription of the kind that `verb` makes, by this name.
    fn is_subscribed(&self, verb: Verb, name: &[u8]) -> bool;
    /// Whether it holds some and speaks RESP2 there: Redis allows such a client few commands.
    fn listens_in_resp2(&self) -> bool;
}
