//! Judges commands of a client that shares upstream connections. The pin table decides: the gate answers the command,
//! sends it on a shared connection, or gives the client a connection of its own.

use portcullis_resp::command::{CommandId, id, is_cross_protocol};
use portcullis_resp::reply;

use super::followed::loading;
use super::login::Login;
use super::{Judge, may_block};
use crate::client::command::CommandFrame;
use crate::client::continuity;
use crate::client::pooling::MAX_SHARED_FRAME;
use crate::client::state::State;
use crate::client::upstream::Upstream;
use crate::client::verdict::{Answer, Later, Verdict};
use crate::local::client_info;
use crate::local::hello::strict_integer;
use crate::observe::{Denied, Host};
use crate::pending::{Local, ReplyKind};
use crate::pooling::Pin;
use crate::shape::Shape;

impl<H: Host> Judge<'_, H> {
    pub(super) fn shared(&mut self) -> Verdict {
        self.state.transaction.forget_refused(&self.state.pending);
        if self.command == id::QUIT || is_cross_protocol(self.frame.name()) {
            return self.by_name();
        }
        let exact = match self.frame.exact(self.command, self.state.plan().held_command()) {
            Ok(exact) => exact,
            Err(verdict) => return verdict,
        };
        if self.state.upstream == Upstream::NoDatabase
            && let Some(verdict) = self.without_database(exact)
        {
            return verdict;
        }
        if exact == Some(id::CLIENT_CAPA)
            && let Some(verdict) = self.capabilities()
        {
            return verdict;
        }
        let leased = self.state.is_leased();
        let arguments = self.frame.arguments;
        let pin = match exact.map_or(Pin::Session, |exact| Pin::of_call(exact, arguments)) {
            Pin::Share if !leased && !self.frame.is_whole() && self.frame.present() < MAX_SHARED_FRAME => {
                return Verdict::NeedMore;
            }
            Pin::Share if may_block(self.command, self.frame) => Pin::State,
            pin => pin,
        };
        if let Some(why) = self.state.kept.failing()
            && !matches!(pin, Pin::Gate | Pin::Refuse)
            && (pin != Pin::Share || self.state.upstream == Upstream::Unlinked)
        {
            return Verdict::error(continuity::unavailable(self.state.plan().upstream(), why));
        }
        let fits = !self.state.upstream.is_pooled() || self.frame.bytes.len() <= MAX_SHARED_FRAME;
        match (pin, exact) {
            (Pin::Refuse, _) => {
                let mut line = Vec::with_capacity(64);
                reply::needs_dedicated(&mut line, self.command.name());
                let line = Local::Made(line.into_boxed_slice());
                Verdict::Answer(Answer::Refusal(line, Denied::WhileShared))
            }
            (Pin::Gate, Some(exact)) => self.settle_shared(exact),
            (Pin::Share, _) if leased || (self.frame.is_whole() && fits) => self.by_name(),
            _ if leased => self.leased(pin, exact),
            _ if !self.state.pending.is_empty() => Verdict::UNTIL_SETTLED,
            _ => {
                self.state.take_lease(self.now);
                Verdict::UNTIL_LINKED
            }
        }
    }

    /// Judges a command for the client's own connection.
    fn leased(&mut self, pin: Pin, exact: Option<CommandId>) -> Verdict {
        if exact == Some(id::CLIENT_TRACKING)
            && let Some(verdict) = self.redirection()
        {
            return verdict;
        }
        if let Some(verdict) = self.learns_before() {
            return verdict;
        }
        if exact == Some(id::SCRIPT_LOAD) && self.state.transaction.is_begun() {
            self.state.kept.bind(id::SCRIPT_LOAD);
        }
        if let Some(pooling) = &mut self.state.pooling {
            pooling.keep_lease(self.now);
            if pin == Pin::Session {
                pooling.keep_for_good();
            }
        }
        if exact == Some(id::CLIENT_NO_EVICT) {
            return lasting_mode(self.state, self.frame, id::CLIENT_NO_EVICT);
        }
        match self.command {
            id::WATCH | id::UNWATCH if !self.state.transaction.is_begun() => {
                let kind = if self.command == id::WATCH { ReplyKind::Watch } else { ReplyKind::Unwatch };
                Verdict::Send { shape: Shape::Whole, kind }
            }
            _ => {
                let verdict = self.by_name();
                loading(self.state, exact.unwrap_or(CommandId::UNKNOWN), verdict)
            }
        }
    }

    /// Judges a command while the upstream refuses the database. Returns `None` for a command that needs no database,
    /// such as one that ends a script. Any other command gets the error of the upstream as its reply, and the gate
    /// selects the database again before the next command.
    fn without_database(&mut self, command: Option<CommandId>) -> Option<Verdict> {
        let refusal = self.state.pooling.as_mut()?.take_refusal();
        let needs_none = |command| {
            matches!(command, id::SCRIPT_KILL | id::FUNCTION_KILL | id::SHUTDOWN)
                || Pin::of(command) == Pin::Gate
        };
        if command.is_some_and(needs_none) {
            return None;
        }
        Some(match refusal {
            Some(line) => Verdict::Answer(Answer::Error(Local::Made(line))),
            None if self.state.pending.is_empty() => Verdict::Later(Later::Selected),
            None => Verdict::UNTIL_SETTLED,
        })
    }

    /// Judges CLIENT TRACKING with REDIRECT. Returns `None` if the command has no REDIRECT and may be forwarded.
    fn redirection(&self) -> Option<Verdict> {
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Some(Verdict::NeedWhole);
        }
        let line = self.frame.after_name().get(1..).and_then(client_info::redirect)?;
        // A pending reply may begin or end subscriber mode.
        if !self.state.pending.is_empty() {
            return Some(Verdict::UNTIL_SETTLED);
        }
        let in_resp2 = !self.state.kept.resp3();
        Some(if in_resp2 && self.host.subscriptions().active() {
            Verdict::error(client_info::not_while_subscribed(id::CLIENT_TRACKING))
        } else {
            Verdict::canned_error(line)
        })
    }

    /// Judges a command that the gate answers both on shared connections and on the client's own.
    fn settle_shared(&mut self, exact: CommandId) -> Verdict {
        if !exact.info().takes(self.frame.arguments) {
            return Verdict::wrong_arity(exact);
        }
        match exact {
            id::SELECT => self.select(),
            id::HELLO => {
                let number = self.host.id();
                self.state.profile_mut().set_id(number);
                Login::of(self).hello()
            }
            id::AUTH => Login::of(self).auth(),
            id::RESET => self.reset_shared(),
            id::CLIENT_REPLY => self.by_name(),
            _ => self.answer_client(exact),
        }
    }

    /// Judges RESET. The gate ends all state that RESET ends, and gives back the client's own connection.
    fn reset_shared(&mut self) -> Verdict {
        if !self.state.pending.is_empty() || self.state.passing.is_mid_push() {
            return Verdict::UNTIL_SETTLED;
        }
        if let Some(pooling) = &mut self.state.pooling {
            pooling.leave();
        }
        self.state.reset_profile();
        self.state.transaction.reset();
        self.state.transaction.end_by_reset();
        self.state.mute.reset();
        self.state.leave();
        Verdict::canned_reply(reply::RESET)
    }

    /// Judges SELECT. On shared connections another database means another connection. On the client's own connection
    /// the server changes the database; inside MULTI the gate does not know when.
    pub(super) fn select(&mut self) -> Verdict {
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Verdict::NeedWhole;
        }
        let asked = self.frame.argument(1, self.frame.bytes.len()).map_or(Err(reply::NOT_AN_INTEGER), index);
        let Some(pooling) = self.state.pooling.as_mut().filter(|pooling| !pooling.is_leased()) else {
            return self.select_own(asked.ok());
        };
        let db = match asked {
            Ok(db) => db,
            Err(line) => return Verdict::canned_error(line),
        };
        if let Some(line) = pooling.take_refusal() {
            return Verdict::Answer(Answer::Error(Local::Made(line)));
        }
        let kept = self.state.kept;
        if db == kept.db() {
            return Verdict::canned_reply(reply::OK);
        }
        if !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        pooling.switch_to(db, kept.resp3());
        Verdict::Later(Later::Pooled)
    }

    fn select_own(&mut self, db: Option<u32>) -> Verdict {
        if let Some(pooling) = &mut self.state.pooling
            && self.state.transaction.is_begun()
        {
            pooling.keep_for_good();
            self.state.transaction.queue(1);
            return Verdict::plain();
        }
        Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Select(db) }
    }
}

/// Judges CLIENT NO-EVICT and CLIENT NO-TOUCH. The mode belongs to the client's own connection, so the client keeps
/// that connection until the mode ends. Inside MULTI the gate does not know when the mode begins or ends.
pub(super) fn lasting_mode(state: &mut State, frame: &CommandFrame<'_>, mode: CommandId) -> Verdict {
    if !frame.is_whole_within(state.plan().held_command()) {
        return Verdict::NeedWhole;
    }
    if state.transaction.is_begun() {
        if let Some(pooling) = &mut state.pooling {
            pooling.keep_for_good();
        }
        state.transaction.queue(1);
        return Verdict::plain();
    }
    let on = match frame.after_name()[..] {
        [_, word] if word.eq_ignore_ascii_case(b"on") => true,
        [_, word] if word.eq_ignore_ascii_case(b"off") => false,
        // Redis accepts no other argument.
        _ => return Verdict::plain(),
    };
    let kind = if mode == id::CLIENT_NO_EVICT { ReplyKind::NoEvict(on) } else { ReplyKind::NoTouch(on) };
    Verdict::Send { shape: Shape::Whole, kind }
}

/// Parses a database index as Redis does. Returns Redis's error line if it is invalid.
fn index(text: &[u8]) -> Result<u32, &'static [u8]> {
    let number = strict_integer(text).ok_or(reply::NOT_AN_INTEGER)?;
    // Redis stores the index in an int.
    let number = i32::try_from(number).map_err(|_| reply::NOT_AN_INT)?;
    u32::try_from(number).map_err(|_| reply::DB_OUT_OF_RANGE)
}
