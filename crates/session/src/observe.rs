//! The reports of a session about its work, and the questions to its caller.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::{DecidingRule, Refusal, Refused};
use portcullis_resp::command::CommandId;

use crate::link::Subscriptions;
use crate::plan::Plan;
use crate::shape::Verb;

/// A receiver of reports. The session calls it on the command path: implementations must be cheap and must not fail.
pub trait Observer {
    /// Reports that `n` commands were read, each of which gets an answer.
    fn command(&mut self, id: CommandId, n: u64);
    /// Reports that the gate itself refused a command.
    fn denied(&mut self, denial: &Denial<'_>);
    /// Reports that the upstream answered `n` commands, each `nanos` nanoseconds after the command was read. `seq` is
    /// the position of the first of them, as in its [`Ticket`](crate::Ticket).
    fn answered(&mut self, id: CommandId, n: u64, nanos: u64, seq: u64);
    /// Reports the upstream's answer to a login of the client under [`Auth::Passthrough`](crate::Auth::Passthrough).
    fn login_answered(&mut self, is_taken: bool);
    /// Reports an error reply. `line` starts with `-` and may be cut short.
    fn error(&mut self, line: &[u8]);
}

/// A refused command and the reason. The metric and the log line both use this value.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'p> {
    plan: &'p Plan,
    command: CommandId,
    reason: Denied,
    refusal: Option<Refusal>,
}

impl<'p> Denial<'p> {
    /// Creates a refusal for a reason other than the command rules.
    pub(crate) const fn new(plan: &'p Plan, command: CommandId, reason: Denied) -> Self {
        Self { plan, command, reason, refusal: None }
    }

    /// Creates a refusal by the plan's command rules.
    pub(crate) fn by_rules(plan: &'p Plan, refusal: Refusal) -> Self {
        let reason = refusal.what().into();
        Self { plan, command: refusal.command(), reason, refusal: Some(refusal) }
    }

    /// Returns the command, or its subcommand if the rule is about the subcommand.
    pub const fn command(&self) -> CommandId {
        self.command
    }

    /// Returns the reason for the refusal.
    pub const fn reason(&self) -> Denied {
        self.reason
    }

    /// Returns the user that the gate knows. `None` if it knows none.
    pub fn user(&self) -> Option<&'p str> {
        self.plan.user()
    }

    /// Returns the rule that decided. This applies the rules again, so it is meant for log lines only.
    pub fn rule(&self) -> DecidingRule<'p> {
        match self.refusal {
            Some(refusal) => self.plan.rules().deciding_rule(refusal),
            None => DecidingRule { owner: None, rule: self.reason.rule() },
        }
    }
}

/// The reason why the gate refused a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The command itself is not allowed here.
    Command,
    /// One of the command's keys is not allowed.
    Key,
    /// One of the command's channels is not allowed.
    Channel,
    /// The command is not allowed inside MULTI.
    InTransaction,
    /// The command is not allowed on shared upstream connections.
    WhileShared,
    /// The command is too large to be checked.
    Size,
    /// The cost of the command is higher than `@public` allows.
    Cost,
    /// The client would hold more subscriptions than `@public` allows.
    Subscriptions,
    /// The client has not logged in, or has sent wrong credentials.
    Login,
}

impl Denied {
    /// Returns the setting or state that decided, in the words of a log line.
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

/// The check of credentials under [`Auth::Users`](crate::Auth::Users). The implementation decides how to compare them,
/// and how many failures are too many.
pub trait Authenticator {
    /// Checks the credentials of a client that claims to be `user`. If `user` is `None`, the client sent only a
    /// password. Such a password is either the default user's, or has the form `user:password`. The session calls the
    /// method once for each attempt.
    fn authenticate(&mut self, user: Option<&[u8]>, password: &[u8]) -> Attempt;
}

/// All traits that a session needs from its caller.
pub trait Host: Observer + Authenticator + Peer {}

impl<T: Observer + Authenticator + Peer> Host for T {}

/// The outcome of an attempt to log in.
#[derive(Clone, Debug)]
pub enum Attempt {
    /// The credentials are right. The value is the plan of the user, which [names the user](Plan::for_user).
    Granted(Arc<Plan>),
    /// The credentials are wrong.
    Refused,
    /// The attempt was not checked, or it was one failure too many. The client gets the reply to wrong credentials, and
    /// the session ends.
    Blocked,
}

/// The facts about a client that no server knows, for replies on shared connections and under `@public`.
pub trait Peer {
    /// Returns the id of the client's connection, which is at least 1 and unique in the process.
    fn id(&self) -> u64;
    /// Returns the client's address, as Redis writes it: `192.0.2.1:50000`, `[2001:db8::1]:50000`, or the path of the
    /// listening unix socket and `:0`.
    fn address(&self) -> String;
    /// Returns the address that the client connected to, in the same form.
    fn local_address(&self) -> String;
    /// Returns the address that the client dialled, as far as it is known: the destination in a trusted PROXY header,
    /// or else the local address of the connection. Returns `None` for unix sockets.
    fn reached_at(&self) -> Option<SocketAddr>;
    /// Returns the time since the client connected.
    fn age(&self) -> Duration;
    /// Returns the time since the client last sent something.
    fn idle(&self) -> Duration;
    /// Returns whether the client's own upstream connection uses RESP3.
    fn resp3(&self) -> bool;
    /// Returns the number of subscriptions on the client's own upstream connection. All counts are 0 if it has none.
    fn subscriptions(&self) -> Subscriptions;
    /// Returns whether the client certainly has a subscription with this name, of the kind of `verb`.
    fn is_subscribed(&self, verb: Verb, name: &[u8]) -> bool;
    /// Returns whether the client's own upstream connection is in RESP2 subscriber mode, in which Redis allows few
    /// commands.
    fn listens_in_resp2(&self) -> bool;
}
