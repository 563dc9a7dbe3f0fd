//! Sessions that outlive their upstream connection.
//!
//! The gate follows the state of such a client ([`Kept`](super::kept::Kept), names, lasting modes), and sets the next
//! connection up with it. Commands in flight are never sent again, because they may have run. State that another
//! connection cannot have is a bond: it ends the session together with its connection.
//!
//! ```text
//!                          bond, passthrough, login refused
//!                 lose() ─────────────────────────────────────► one error line, then the end; without the line if the
//!                   │                                           client only listens
//!                   └─► one error for each command in flight ─► Unlinked ─► the next command waits for a connection
//!                                                                  ▲                  │
//!                                        recover(), nothing unread │                  │ fail(): it waited too long
//!                                                                  └── each command ◄─┘
//!                                                                      gets the error
//! ```

use portcullis_resp::command::{CommandId, id};

use super::framing::Framing;
use super::state::State;
use super::step::CloseReason;
use super::verdict::Verdict;
use crate::link::{Link, Names, PoolKey, Setup, Stage, Unavailable};
use crate::pending::{Kept, Local};
use crate::pooling::Pin;
use crate::tick::Tick;

const SUBSCRIPTIONS: &str = "subscriptions";

/// The reason why an upstream connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The upstream closed the connection.
    Closed,
    /// The upstream is unavailable.
    Unavailable(Unavailable),
    /// The upstream is unavailable, and no byte of the pending commands was sent.
    Unsent(Unavailable),
    /// Another server is the master now.
    MasterChanged,
    /// The server is not a master.
    Replica,
}

/// The result of a loss for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Aftermath {
    /// The session goes on, and needs another connection for its next command.
    Carried,
    /// The session ends after its last pending reply.
    Ended,
}

/// The part of a session that outlives its upstream connection.
#[derive(Debug)]
pub struct Continuity<'s> {
    framing: &'s mut Framing,
    state: &'s mut State,
}

impl<'s> Continuity<'s> {
    pub(super) const fn of(framing: &'s mut Framing, state: &'s mut State) -> Self {
        Self { framing, state }
    }

    /// Handles the loss of the client's own upstream connection, or the failure to make one. `link` is the state of
    /// that connection. Each command in flight gets an error in place of its reply. If the session cannot go on, the
    /// first of them gets the last line.
    pub fn lose(&mut self, loss: Loss, link: &Link) -> Aftermath {
        let why = loss.why();
        if self.state.ending().is_some()
            || !self.may_outlive()
            || why.is_some_and(|why| !why.passes())
            || self.shuts_down()
        {
            self.state.lost(why);
            return Aftermath::Ended;
        }
        // A client that has killed its own connection expects its end, and nothing else.
        if self.state.kept.bond() == Some(id::CLIENT_KILL) && self.state.pending.is_empty() {
            self.state.lost(None);
            return Aftermath::Ended;
        }
        if let Some(bond) = self.bond(link) {
            // Libraries subscribe again when their connection is closed. A line that answers no command of theirs is an
            // unexpected reply to them: ioredis throws it, redis-py raises it from the loop that reads messages.
            let listens = bond == SUBSCRIPTIONS || bond == id::MONITOR.name();
            let only_listens = listens && self.state.pending.is_empty();
            let line =
                format!("{}; this session ends ({bond})\r\n", loss.beginning(self.state.plan().upstream()));
            self.state.end_by_loss((!only_listens).then(|| line.into_bytes()), why);
            return Aftermath::Ended;
        }
        self.carry(loss);
        Aftermath::Carried
    }

    /// Answers the command that waits for a shared connection of another kind, which cannot be had.
    pub fn refuse_kind(&mut self, why: Option<Unavailable>) {
        let loss = why.map_or(Loss::Closed, Loss::Unavailable);
        let line = format!("{}\r\n", loss.beginning(self.state.plan().upstream()));
        if let Some(pooling) = &mut self.state.pooling {
            pooling.pooled(Err(line.as_bytes()));
        }
    }

    /// Answers the commands that wait for an upstream connection with an error, because they have waited too long. Later
    /// commands get the same error until [`Continuity::recover`].
    pub fn fail(&mut self, why: Unavailable) {
        self.state.kept.set_failing(Some(why));
        let line = unavailable(self.state.plan().upstream(), why);
        self.state.give_back();
        let deferred = self.state.identity.take_deferred().map(|hello| (hello.muted, id::HELLO, hello.at));
        let again = self.state.again.take().map(|again| (again.muted, again.command, again.at));
        for (_, command, at) in deferred.into_iter().chain(again).filter(|(muted, ..)| !muted) {
            self.state.pending.answer(Local::Made(line.clone().into_boxed_slice()), command, at);
        }
    }

    /// Lets commands wait for an upstream connection again: all commands that waited have their errors.
    pub fn recover(&mut self) {
        self.state.kept.set_failing(None);
    }

    /// Returns whether the session may outlive its connection, unless the connection has state that another one cannot have.
    pub fn may_outlive(&self) -> bool {
        follows(self.state) && self.state.kept.is_whole()
    }

    /// Returns whether the client has sent SHUTDOWN, whose reply is the end of the connection.
    fn shuts_down(&self) -> bool {
        self.state.pending.front().is_some_and(|front| front.id == id::SHUTDOWN)
    }

    /// Returns the name of what binds the client to its connection. `None` if nothing does.
    fn bond(&mut self, link: &Link) -> Option<&'static str> {
        self.state.transaction.forget_refused(&self.state.pending);
        let by_command = || {
            let State { transaction, modes, kept, .. } = &*self.state;
            transaction.bond().or_else(|| modes.bond()).or_else(|| kept.bond())
        };
        if self.state.passing.is_cut() {
            return Some("half a reply");
        }
        if self.state.upstream.is_replica() {
            return Some("replication");
        }
        if link.subscriptions().active() {
            return Some(SUBSCRIPTIONS);
        }
        let pooling = self.state.pooling.as_ref();
        if pooling.is_some_and(|pooling| pooling.is_leased() && pooling.is_for_good()) {
            return Some("state of the connection");
        }
        if pooling.is_some() && self.state.modes.hold_connection() {
            return Some("a mode of the connection");
        }
        by_command().map(|command| match command {
            CommandId::UNKNOWN => "an unknown command",
            command => command.name(),
        })
    }

    fn carry(&mut self, loss: Loss) {
        let fate =
            if matches!(loss, Loss::Unsent(_)) { "" } else { "; this command may or may not have run" };
        let line = format!("{}{fate}\r\n", loss.beginning(self.state.plan().upstream()));
        let state = &mut *self.state;
        self.framing.discard_rest();
        state.pending.answer_with(line.as_bytes());
        if let Some(profile) = &mut state.profile {
            let question = profile.give_up_question();
            profile.end_naming(false);
            profile.forget_upstream();
            if let Some((at, false)) = question {
                let line = Local::Made(line.into_bytes().into_boxed_slice());
                state.pending.answer(line, id::CLIENT, at);
            }
        }
        state.passing.disconnect();
        state.scripts.doubt();
        if state.pooling.is_some() {
            state.give_back();
            return;
        }
        state.transaction.disconnect();
        state.modes.carry();
        state.upstream.disconnect();
        state.identity.carry();
    }
}

impl Loss {
    /// Returns the reason why the upstream is unavailable, if that is the loss.
    pub const fn why(self) -> Option<Unavailable> {
        match self {
            Self::Closed | Self::MasterChanged | Self::Replica => None,
            Self::Unavailable(why) | Self::Unsent(why) => Some(why),
        }
    }

    /// Returns the beginning of the error line: what has happened.
    fn beginning(self, upstream: &str) -> String {
        match self {
            Self::Closed => format!("-ERR portcullis: upstream '{upstream}' closed the connection"),
            Self::MasterChanged => format!("-ERR portcullis: upstream '{upstream}' changed its master"),
            Self::Replica => format!("-ERR portcullis: upstream '{upstream}' has no master"),
            Self::Unavailable(why) | Self::Unsent(why) => {
                format!("-ERR portcullis: upstream '{upstream}' unavailable ({})", why.as_str())
            }
        }
    }
}

/// A blocking command that its server gave up unexecuted, and that is sent again to the new master.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) frame: Box<[u8]>,
    pub(super) command: CommandId,
    pub(super) at: Tick,
    pub(super) muted: bool,
}

/// Keeps a blocking command for the new master, if `line` says that its server has become a replica. That server did not
/// execute it. `frame` is the command. Returns whether the command is kept. If replies to later commands are pending,
/// the client gets the error instead, because the order of the commands must not change.
pub(super) fn keep_unblocked(state: &mut State, line: &[u8], frame: &mut Kept) -> bool {
    const BY_FAILOVER: &[u8] = b"-UNBLOCKED force unblock from blocking operation, instance state changed";
    let is_alone = state.pending.runs().count() == 1 && state.pooling.is_none();
    if !(line.starts_with(BY_FAILOVER) && state.plan().asks_role() && follows(state) && is_alone) {
        return false;
    }
    let Some(front) = state.pending.front() else { return false };
    let (command, at, muted) = (front.id, front.at, front.muted);
    state.again = frame.take().map(|frame| Box::new(Again { frame, command, at, muted }));
    state.again.is_some()
}

/// Returns the error line for a command that cannot be sent.
pub(super) fn unavailable(upstream: &str, why: Unavailable) -> Vec<u8> {
    format!("{}\r\n", Loss::Unavailable(why).beginning(upstream)).into_bytes()
}

/// Returns the verdict on a command that needs an upstream connection, while there is none.
pub(super) fn until_linked(state: &State) -> Verdict {
    match state.kept.failing() {
        None => Verdict::UNTIL_LINKED,
        Some(why) => Verdict::error(unavailable(state.plan().upstream(), why)),
    }
}

/// Returns whether the session follows the state that the client leaves on its connection.
pub(super) fn follows(state: &State) -> bool {
    state.plan().carries()
}

/// Returns the set-up of a connection of this kind for the client. Clients of shared connections keep their names here.
pub(super) fn setup<'s>(state: &'s State, key: &'s PoolKey) -> Setup<'s> {
    if !follows(state) {
        return Setup { asks_role: state.asks_role, ..Setup::of(key) };
    }
    let (no_evict, no_touch) = state.modes.lasting();
    let profile = state.profile.as_ref().filter(|_| state.pooling.is_none());
    let names = profile.map_or_else(Names::default, |profile| profile.info().names());
    // A client of shared connections often gets another connection of its own. The scripts are asked for after a loss.
    let scripts = state.scripts.in_doubt(state.pooling.is_none());
    Setup { key, names, no_evict, no_touch, scripts, asks_role: state.asks_role, ..Setup::of(key) }
}

/// Ends the session because the upstream does not accept a step of the set-up that the client's commands depend on.
pub(super) fn refuse(state: &mut State, stage: Stage) {
    let fault = match stage {
        Stage::Scripts => {
            "no longer has the scripts of SCRIPT LOAD; this session ends (script|load)".to_owned()
        }
        Stage::Select => format!("refused SELECT {}; this session ends", state.kept.db()),
        _ => "refused HELLO 3; this session ends".to_owned(),
    };
    let line = format!("-ERR portcullis: upstream '{}' {fault}\r\n", state.plan().upstream());
    state.pending.answer(
        Local::Made(line.into_bytes().into_boxed_slice()),
        CommandId::UNKNOWN,
        Tick::default(),
    );
    state.end(CloseReason::Upstream(None));
}

/// Returns whether a command leaves state on its connection that the gate cannot set up on another one. `begun` says
/// whether a transaction has begun: inside one, the gate does not see whether and when a command takes effect.
pub(super) fn binds(command: CommandId, begun: bool) -> bool {
    match command {
        // The end of the connection may be what the client wants.
        id::CLIENT_KILL => true,
        // The mode is followed by its replies, or is not one of the connection.
        id::CLIENT_TRACKING | id::CLIENT_PAUSE => false,
        id::CLIENT_NO_TOUCH
        | id::CLIENT_NO_EVICT
        | id::CLIENT_SETNAME
        | id::CLIENT_SETINFO
        | id::SCRIPT_LOAD
        | id::SELECT => begun,
        command => Pin::of(command) == Pin::Session,
    }
}

#[cfg(test)]
mod tests;
