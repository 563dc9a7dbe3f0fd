//! Clients that share upstream connections: when one needs a connection of its own, and for how long.
//!
//! A client's commands travel either all by shared connections or all by its own. It goes over from one to the other when
//! nothing is owed to it, so that order holds.

mod switch;

use std::time::Duration;

use portcullis_resp::command::{CommandId, id, is_cross_protocol, lookup_subcommand};
use portcullis_resp::reply;

pub(super) use self::switch::bad_name;
use super::command::Frame;
use super::judge::{Answer, Verdict, may_block};
use super::{Session, Until};
use crate::client::asked::Login;
use crate::link::PoolKey;
use crate::local::client_info;
use crate::observe::{Denied, Host};
use crate::pending::{Local, ReplyKind};
use crate::pooling::Pin;
use crate::shape::Shape;
use crate::tick::Tick;

/// A command that is longer goes by a connection of the client's own: on a shared one others would wait for its end. As
/// much as one read brings.
pub(super) const MAX_SHARED_FRAME: usize = 16 * 1024;

/// A connection of the client's own is kept so long after what it was taken for: whoever uses MULTI once does so again.
const FIRST_HOLD: Duration = Duration::from_secs(1);

/// Each time it is taken again it is kept twice as long, so often at most: 64 s.
const MOST_DOUBLINGS: u32 = 6;

/// What a client that shares upstream connections is to them.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    pub(super) db: u32,
    pub(super) resp3: bool,
    /// What the client has asked for and no shared connection was had for yet.
    switching: Option<(u32, bool)>,
    /// Why it cannot be had.
    refusal: Option<Box<[u8]>>,
    /// It has a connection of its own, or waits for one.
    pub(super) leased: bool,
    /// What it left on its own connection cannot be seen to end.
    for_good: bool,
    /// It has had its own connection reset: nothing there is its own any more.
    left: bool,
    /// It does not read as fast as it asks.
    lagging: bool,
    /// How often it has taken a connection of its own.
    taken: u32,
    /// When it last did something that needs one.
    needed_at: Tick,
    /// Changes whenever [`Session::pool_key`] may have changed.
    epoch: u32,
}

impl Sharing {
    pub(super) const fn held(&self) -> usize {
        size_of::<Self>() + if let Some(line) = &self.refusal { line.len() } else { 0 }
    }

    fn hold(&self) -> Duration {
        FIRST_HOLD * 2_u32.pow(self.taken.saturating_sub(1).min(MOST_DOUBLINGS))
    }

    /// Whether the client has a connection of its own for longer than it is kept without need.
    fn is_over(&self, now: Tick) -> bool {
        self.leased && self.needed_at.after(self.hold()) <= now
    }
}

/// What has to be done before anything is read.
pub(super) enum Before {
    Go,
    Wait(Until),
    WaitForLink,
    /// Redis is to end the wait of another client.
    Unblock,
}

/// What is to be done with a client's own upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// There is none to give back.
    None,
    /// It is needed.
    Needed,
    /// It is kept until then.
    Until(Tick),
    /// Close it, unless messages may come on it, and say so with [`Session::give_back`].
    Over,
}

impl Session {
    /// Whether the next command goes to a shared connection, if to any.
    pub fn is_pooled(&self) -> bool {
        self.asked.login == Login::Pooled
    }

    /// What a shared connection for it must be: as asked for, where the client waits for another kind.
    pub fn pool_key(&self) -> PoolKey {
        let (db, resp3) = self
            .sharing
            .as_ref()
            .map_or((0, false), |sharing| sharing.switching.unwrap_or((sharing.db, sharing.resp3)));
        PoolKey { preamble: self.keys.own.clone(), db, resp3 }
    }

    /// As long as it stays the same, so does [`Session::pool_key`].
    pub fn pool_epoch(&self) -> u32 {
        self.sharing.as_ref().map_or(0, |sharing| sharing.epoch)
    }

    /// There is a shared connection as [`Until::Pooled`] asked for; or there cannot be, which the client reads in the
    /// upstream's words.
    pub fn pooled(&mut self, there: Result<(), &[u8]>) {
        let Some(sharing) = &mut self.sharing else { return };
        sharing.epoch = sharing.epoch.wrapping_add(1);
        let Some(switch) = sharing.switching.take() else { return };
        match there {
            Ok(()) => (sharing.db, sharing.resp3) = switch,
            Err(line) => sharing.refusal = Some(line.into()),
        }
    }

    /// The client reads so slowly that others would have to wait for it: it gets a connection of its own.
    pub fn set_lagging(&mut self) {
        if let Some(sharing) = &mut self.sharing {
            sharing.lagging = true;
        }
    }

    /// What is to be done with the upstream connection, if it is the client's own where others share theirs.
    pub fn lease(&self, now: Tick) -> Lease {
        let Some(sharing) = self.sharing.as_ref().filter(|sharing| sharing.leased) else {
            return Lease::None;
        };
        if sharing.left {
            return Lease::Over;
        }
        let free = matches!(self.asked.login, Login::Done | Login::Unselected)
            && self.is_idle()
            && self.entering.is_none()
            && !self.has_state(sharing);
        match sharing.needed_at.after(sharing.hold()) {
            _ if !free => Lease::Needed,
            end if end > now => Lease::Until(end),
            _ => Lease::Over,
        }
    }

    /// Whether the client has said RESET, after which nothing on its own connection is for it.
    pub fn has_left(&self) -> bool {
        self.sharing.as_ref().is_some_and(|sharing| sharing.left)
    }

    /// The client's own upstream connection is needed: something was done that needs it, or messages may come on it.
    pub fn keep_lease(&mut self, now: Tick) {
        if let Some(sharing) = &mut self.sharing {
            sharing.needed_at = now;
        }
    }

    /// The client does not accept its replies: a connection of its own is kept for it, whatever its time.
    pub fn put_off_return(&mut self, now: Tick) {
        if let Some(sharing) = self.sharing.as_mut().filter(|sharing| sharing.is_over(now)) {
            sharing.needed_at = now;
        }
    }

    /// Whether the client can go on by the shared connection that owes it replies, and owes nobody else, as if that had been
    /// its own from the start: nothing is owed but plain replies.
    pub fn may_adopt(&self) -> bool {
        self.is_pooled()
            && self.ending.is_none()
            && self.deferred.is_none()
            && self.pending.is_plain()
            && self.sharing.as_ref().is_some_and(|sharing| sharing.switching.is_none())
    }

    /// That connection is the client's own from now on. It is as [`Session::pool_key`] says, and what is owed comes by it.
    pub fn adopt(&mut self, now: Tick) {
        self.take_lease(now);
        if let Some(sharing) = &mut self.sharing {
            sharing.lagging = false;
        }
        self.logged_in();
        self.keys.fixed = true;
        // What waited until nothing is owed may not have to wait any more: it is judged again.
        self.hold = false;
    }

    /// The client's own upstream connection was closed.
    pub fn give_back(&mut self) {
        let Some(sharing) = &mut self.sharing else { return };
        sharing.leased = false;
        sharing.left = false;
        sharing.for_good = false;
        sharing.refusal = None;
        self.forget_upstream();
        self.asked.transaction = None;
        self.asked.monitors = false;
        self.asked.named = false;
        self.confirmed.in_transaction = false;
        self.confirmed.monitors = false;
        self.confirmed.watches = false;
        self.confirmed.no_evict = false;
        self.tracking = None;
        if self.is_linked() {
            self.asked.login = Login::Unlinked;
        }
        self.keys.refresh(&self.plan, &self.home);
        self.rejoin();
    }

    /// What the client reads in place of a reply, after [`ReplyAction::Rewritten`](super::ReplyAction::Rewritten).
    pub fn rewritten(&self) -> &[u8] {
        &self.scratch
    }

    /// Where there is no connection of its own, whoever is somebody may use shared ones.
    pub(super) fn rejoin(&mut self) {
        let Some(sharing) = &mut self.sharing else { return };
        sharing.epoch = sharing.epoch.wrapping_add(1);
        if !sharing.leased && matches!(self.asked.login, Login::Unlinked | Login::Pooled) {
            self.asked.login = if self.plan.is_anonymous() { Login::Unlinked } else { Login::Pooled };
        }
    }

    /// What logs the gate in may be another. What waits for another kind of connection is judged anew, and may not ask for
    /// it then.
    pub(super) fn repool(&mut self) {
        if let Some(sharing) = &mut self.sharing {
            (sharing.switching, sharing.refusal) = (None, None);
            sharing.epoch = sharing.epoch.wrapping_add(1);
        }
    }

    /// Whether it has a connection of its own where others share theirs, or waits for one.
    pub(super) fn is_leased(&self) -> bool {
        self.sharing.as_ref().is_some_and(|sharing| sharing.leased)
    }

    /// Whether a whole frame of this length may go where commands go now.
    #[inline]
    pub(super) fn fits(&self, len: usize) -> bool {
        len <= MAX_SHARED_FRAME || self.asked.login != Login::Pooled
    }

    pub(super) fn before(&mut self, now: Tick) -> Before {
        if self.is_asking() {
            return self.before_asked();
        }
        if self.sharing.is_none() {
            return Before::Go;
        }
        self.before_shared(now)
    }

    fn before_shared(&mut self, now: Tick) -> Before {
        let Some(sharing) = &mut self.sharing else { return Before::Go };
        if self.asked.login == Login::Pooled && std::mem::take(&mut sharing.lagging) {
            if self.pending.is_empty() {
                self.take_lease(now);
                return Before::WaitForLink;
            }
            sharing.lagging = true;
            return Before::Wait(Until::NothingPending);
        }
        // What is kept no longer than it is needed can only be given back when nothing is owed. The caller puts that off as
        // soon as the client does not accept a reply: it may read nothing before it has written everything.
        let over = sharing.is_over(now);
        if over && self.asked.login == Login::Done && !self.pending.is_empty() {
            let state = self.sharing.as_ref().is_some_and(|sharing| self.has_state(sharing));
            if !state && !self.pending.blocks() && self.asked.transaction.is_none() {
                return Before::Wait(Until::NothingPending);
            }
        }
        self.before_greeting(now)
    }

    /// Beyond what the connection shows by what it owes.
    const fn has_state(&self, sharing: &Sharing) -> bool {
        let confirmed = &self.confirmed;
        sharing.for_good
            || confirmed.in_transaction
            || confirmed.watches
            || confirmed.monitors
            || confirmed.no_evict
            || confirmed.mid_push
            || confirmed.withholds
    }

    /// A command of a client that shares upstream connections: by the pin table it is settled here, shares, or needs a
    /// connection of the client's own.
    pub(super) fn judge_shared<H: Host>(
        &mut self,
        command: CommandId,
        frame: &Frame<'_>,
        now: Tick,
        host: &mut H,
    ) -> Verdict {
        self.forget_refused_transaction();
        if command == id::QUIT || is_cross_protocol(frame.name()) {
            return self.judge(command, frame, host);
        }
        let exact = match self.exact(command, frame) {
            Ok(exact) => exact,
            Err(verdict) => return verdict,
        };
        if self.asked.login == Login::Unselected
            && let Some(verdict) = self.without_database(exact)
        {
            return verdict;
        }
        let pin = match exact.map_or(Pin::Session, |exact| Pin::of_call(exact, frame.arguments)) {
            Pin::Share if !self.is_leased() && !frame.is_whole() && frame.present() < MAX_SHARED_FRAME => {
                return Verdict::NeedMore;
            }
            Pin::Share if may_block(command, frame) => Pin::State,
            pin => pin,
        };
        match (pin, exact) {
            (Pin::Refuse, _) => {
                let mut line = Vec::with_capacity(64);
                reply::needs_dedicated(&mut line, command.name());
                Verdict::Answer(Answer::Refusal(Local::Made(line.into_boxed_slice()), Denied::WhileShared))
            }
            (Pin::Gate, Some(exact)) => self.settle_shared(exact, frame, now, host),
            (Pin::Share, _) if self.is_leased() => self.judge(command, frame, host),
            (Pin::Share, _) if frame.is_whole() && self.fits(frame.bytes.len()) => {
                self.judge(command, frame, host)
            }
            _ if !self.is_leased() && !self.pending.is_empty() => Verdict::WaitUntilPaid,
            _ if !self.is_leased() => {
                self.take_lease(now);
                Verdict::WaitUntilLinked
            }
            _ => self.judge_leased(pin, exact, command, frame, now, host),
        }
    }

    /// A command for the client's own connection.
    fn judge_leased<H: Host>(
        &mut self,
        pin: Pin,
        exact: Option<CommandId>,
        command: CommandId,
        frame: &Frame<'_>,
        now: Tick,
        host: &mut H,
    ) -> Verdict {
        if exact == Some(id::CLIENT_TRACKING)
            && let Some(verdict) = self.redirection(frame, host)
        {
            return verdict;
        }
        if let Some(verdict) = self.learns_before(command, frame) {
            return verdict;
        }
        self.keep_lease(now);
        if let Some(sharing) = &mut self.sharing {
            sharing.for_good |= pin == Pin::Session;
        }
        if exact == Some(id::CLIENT_NO_EVICT) {
            return self.no_evict(frame);
        }
        match command {
            id::WATCH | id::UNWATCH if self.asked.transaction.is_none() => {
                let kind = if command == id::WATCH { ReplyKind::Watch } else { ReplyKind::Unwatch };
                Verdict::Send { shape: Shape::Whole, kind }
            }
            _ => self.judge(command, frame, host),
        }
    }

    /// The upstream refuses the client's database to a connection of its own, as it does while a script runs.
    pub(super) fn unselected(&mut self, line: &[u8]) {
        self.asked.login = Login::Unselected;
        if let Some(sharing) = &mut self.sharing {
            sharing.refusal = Some(line.into());
        }
    }

    /// What becomes of a command as long as the database is refused. None: it needs none, as what ends a script does.
    /// Anything else reads why, in its own place; the next one has the database selected again first.
    fn without_database(&mut self, command: Option<CommandId>) -> Option<Verdict> {
        let sharing = self.sharing.as_mut()?;
        let refusal = sharing.refusal.take();
        let needs_none = |command| {
            matches!(command, id::SCRIPT_KILL | id::FUNCTION_KILL | id::SHUTDOWN)
                || Pin::of(command) == Pin::Gate
        };
        if command.is_some_and(needs_none) {
            return None;
        }
        Some(match refusal {
            Some(line) => Verdict::Answer(Answer::Error(Local::Made(line))),
            None if self.pending.is_empty() => Verdict::Reselect,
            None => Verdict::WaitUntilPaid,
        })
    }

    /// CLIENT NO-EVICT holds for the client's own connection, which is kept as long as it does. Inside MULTI nobody knows
    /// when it begins or ends.
    fn no_evict(&mut self, frame: &Frame<'_>) -> Verdict {
        if !frame.is_whole_within(self.plan.held_command()) {
            return Verdict::NeedWhole;
        }
        if self.asked.transaction.is_some() {
            if let Some(sharing) = &mut self.sharing {
                sharing.for_good = true;
            }
            self.queue_plain(1);
            return Verdict::plain();
        }
        let on = match frame.after_name()[..] {
            [_, word] if word.eq_ignore_ascii_case(b"on") => true,
            [_, word] if word.eq_ignore_ascii_case(b"off") => false,
            // Redis takes nothing else.
            _ => return Verdict::plain(),
        };
        Verdict::Send { shape: Shape::Whole, kind: ReplyKind::NoEvict(on) }
    }

    /// What becomes of a CLIENT TRACKING that is to REDIRECT. Nothing: it is none, and may travel on.
    fn redirection<H: Host>(&self, frame: &Frame<'_>, host: &H) -> Option<Verdict> {
        if !frame.is_whole_within(self.plan.held_command()) {
            return Some(Verdict::NeedWhole);
        }
        let line = frame.after_name().get(1..).and_then(client_info::redirect)?;
        // What is owed may make it a subscriber, or end that.
        if !self.pending.is_empty() {
            return Some(Verdict::WaitUntilPaid);
        }
        let in_resp2 = self.sharing.as_ref().is_some_and(|sharing| !sharing.resp3);
        let line = if in_resp2 && host.subscriptions().active() {
            Local::Made(client_info::not_while_subscribed(id::CLIENT_TRACKING).into_boxed_slice())
        } else {
            Local::Canned(line)
        };
        Some(Verdict::Answer(Answer::Error(line)))
    }

    /// The subcommand that it names, or the command itself; none where it is not known. CLIENT stands for what it does not
    /// have: the gate says so.
    pub(super) fn exact(&self, command: CommandId, frame: &Frame<'_>) -> Result<Option<CommandId>, Verdict> {
        if command == CommandId::UNKNOWN {
            return Ok(None);
        }
        if !command.is_container() || frame.arguments < 2 {
            return Ok(Some(command));
        }
        match frame.argument(1, self.plan.held_command()) {
            None => Err(Verdict::NeedWhole),
            Some(subcommand) => Ok(lookup_subcommand(command, subcommand)
                .or_else(|| (command == id::CLIENT).then_some(id::CLIENT))),
        }
    }

    fn take_lease(&mut self, now: Tick) {
        let Some(sharing) = &mut self.sharing else { return };
        sharing.leased = true;
        sharing.taken = sharing.taken.saturating_add(1);
        sharing.needed_at = now;
        // It is set up as the client has it; the server says whether that may change.
        (sharing.switching, sharing.refusal) = (None, None);
        sharing.epoch = sharing.epoch.wrapping_add(1);
        self.asked.login = Login::Unlinked;
    }

    fn settle_shared<H: Host>(
        &mut self,
        exact: CommandId,
        frame: &Frame<'_>,
        now: Tick,
        host: &mut H,
    ) -> Verdict {
        if !exact.info().takes(frame.arguments) {
            return Verdict::wrong_arity(exact);
        }
        match exact {
            id::SELECT => self.select(frame),
            id::HELLO => {
                self.about_mut().id = host.id();
                self.hello(frame, host)
            }
            id::AUTH => self.auth(frame, host),
            id::RESET => self.reset_shared(),
            id::CLIENT_REPLY => self.judge(id::CLIENT, frame, host),
            _ => self.about_client(exact, frame, now, host),
        }
    }

    /// Everything that RESET ends is ended here, and the client's own connection with it.
    fn reset_shared(&mut self) -> Verdict {
        if !self.pending.is_empty() || self.confirmed.mid_push {
            return Verdict::WaitUntilPaid;
        }
        let Some(sharing) = &mut self.sharing else { return Verdict::plain() };
        (sharing.db, sharing.resp3) = (0, false);
        sharing.left = sharing.leased;
        self.reset_about();
        self.asked.transaction = None;
        self.asked.mute.reset();
        self.confirmed.in_transaction = false;
        self.leave();
        Verdict::Answer(Answer::Reply(Local::Canned(reply::RESET)))
    }
}

#[cfg(test)]
mod tests;
