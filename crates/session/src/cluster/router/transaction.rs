//! MULTI, EXEC, DISCARD and WATCH. A transaction runs at the node of its first key.
//!
//! ```text
//!            MULTI            first keyed command                          EXEC, DISCARD
//!   None ────────────► Held ─────────────────────► Running (leg, slot) ─────────────────► None
//!     ▲     answered    │     MULTI and the kept     commands go to the leg
//!     │     here        │     commands go first
//!     └── EXEC, DISCARD ┘
//! ```
//!
//! WATCH binds the session to the leg of its keys. Commands on this slot, MULTI and EXEC then go by this leg.

use std::borrow::Cow;

use portcullis_resp::command::CommandId;
use portcullis_resp::reply;

use super::class::{Class, Refusal};
use super::command::Command;
use super::commands::Judged;
use super::destination::Placed;
use super::leg::LegIndex;
use super::{Kind, Router};
use crate::cluster::CommandSlot;
use crate::tick::Tick;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";
const EMPTY: &[u8] = b"*0\r\n";

/// The error for a transaction whose kept commands are too long.
const TOO_LONG: &[u8] =
    b"-ERR portcullis: the commands of the transaction before its first key are too long\r\n";

/// The transaction of one session, and its WATCH.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    state: State,
    watch: Option<(LegIndex, u16)>,
    /// Whether the node of a WATCH has lost its place, so that the next EXEC fails.
    is_watch_lost: bool,
    /// The slot of the WATCH or of the first keyed command whose reply is pending.
    slot: u16,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    /// MULTI was answered, and no command had a key yet.
    Held {
        /// The commands so far, and their number.
        frames: Vec<u8>,
        n: u32,
        /// Whether a command was refused, so that EXEC fails.
        is_spoilt: bool,
    },
    /// The commands go to this leg.
    Running { leg: LegIndex, slot: u16, is_spoilt: bool },
}

impl Transaction {
    pub(super) const fn is_begun(&self) -> bool {
        !matches!(self.state, State::None)
    }

    /// Returns whether there is neither a transaction nor a WATCH.
    pub(super) const fn is_none(&self) -> bool {
        matches!(self.state, State::None) && self.watch.is_none()
    }

    /// Returns whether the leg has the transaction or the WATCH.
    pub(super) fn uses(&self, leg: LegIndex) -> bool {
        self.watch.is_some_and(|(watching, _)| watching == leg)
            || matches!(self.state, State::Running { leg: running, .. } if running == leg)
    }

    /// Returns the leg that watches keys of this slot.
    pub(super) fn watching(&self, slot: u16) -> Option<LegIndex> {
        self.watch.filter(|(_, watched)| *watched == slot).map(|(leg, _)| leg)
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Records that a command was refused. EXEC then fails, as on one Redis.
    pub(super) fn spoil(&mut self) {
        match &mut self.state {
            State::Held { is_spoilt, .. } | State::Running { is_spoilt, .. } => *is_spoilt = true,
            State::None => {}
        }
    }

    /// Records that the first keyed command was queued nowhere, unless it was.
    pub(super) fn spoil_unopened(&mut self) {
        if let State::Held { is_spoilt, .. } = &mut self.state {
            *is_spoilt = true;
        }
    }

    /// Returns what must be sent again if the first keyed command is redirected: MULTI and the kept commands, and their
    /// number. `None`: the transaction cannot move, because keys are watched.
    pub(super) fn opening(&self) -> Option<(Vec<u8>, u32)> {
        match (&self.state, self.watch) {
            (State::Held { frames, n, .. }, None) => Some(([MULTI, frames].concat(), n + 1)),
            _ => None,
        }
    }

    /// Records that the first keyed command was queued at this leg, or that it got an error there.
    pub(super) fn opened(&mut self, leg: LegIndex) {
        if let State::Held { is_spoilt, .. } = self.state {
            self.state = State::Running { leg, slot: self.slot, is_spoilt };
        }
    }

    /// Records that the node of a leg has lost its place. The transaction or the WATCH there cannot succeed.
    pub(super) fn leave(&mut self, leg: LegIndex) {
        if !self.uses(leg) {
            return;
        }
        self.is_watch_lost = self.watch.take().is_some() && !self.is_begun();
        if self.is_begun() {
            self.state = State::Held { frames: Vec::new(), n: 0, is_spoilt: true };
        }
    }

    /// Records that a WATCH was accepted at this leg.
    pub(super) const fn watched(&mut self, leg: LegIndex) {
        self.watch = Some((leg, self.slot));
    }

    pub(super) fn held(&self) -> usize {
        match &self.state {
            State::Held { frames, .. } => frames.capacity(),
            State::None | State::Running { .. } => 0,
        }
    }
}

/// Methods for commands outside a transaction.
impl Router {
    pub(super) fn multi(&mut self, now: Tick) -> Judged {
        let is_spoilt = std::mem::take(&mut self.transaction.is_watch_lost);
        self.transaction.state = State::Held { frames: Vec::new(), n: 0, is_spoilt };
        self.answer(Cow::Borrowed(reply::OK), now)
    }

    /// Judges WATCH, which waits until nothing is pending. So a redirect of it meets idle legs.
    pub(super) fn watch(&mut self, command: Command<'_>, now: Tick) -> Judged {
        let slot = match command.slot() {
            CommandSlot::One(slot) => slot,
            CommandSlot::Several => return self.answer(Cow::Borrowed(reply::CROSSSLOT), now),
            CommandSlot::None | CommandSlot::Unknown => return self.send_to_any(command, Kind::Plain, now),
        };
        if !self.is_settled() {
            return Judged::Later;
        }
        if self.transaction.watch.is_some_and(|(_, watched)| watched != slot) {
            return self.answer(Cow::Borrowed(reply::CROSSSLOT), now);
        }
        match self.leg_of_slot(slot, now) {
            Placed::At(leg) => {
                self.transaction.slot = slot;
                self.send_to(leg, command, Kind::Watch, false, now)
            }
            Placed::Answered => Judged::Taken,
            Placed::Later => Judged::Later,
        }
    }

    pub(super) fn unwatch(&mut self, command: Command<'_>, now: Tick) -> Judged {
        match self.transaction.watch.take() {
            Some((leg, slot)) => {
                let judged = self.send_to(leg, command, Kind::Queued, false, now);
                self.settle_elsewhere(leg, slot);
                judged
            }
            None => {
                self.transaction.is_watch_lost = false;
                self.answer(Cow::Borrowed(reply::OK), now)
            }
        }
    }
}

impl Router {
    /// Lets nothing be judged until every reply has arrived, if later commands on this slot go by another leg than this
    /// one: they could overtake.
    fn settle_elsewhere(&mut self, leg: LegIndex, slot: u16) {
        let main = self.maps.current().owner(slot).and_then(|owner| self.legs.of(owner, false));
        self.waits.for_all |= main != Some(leg);
    }
}

/// Methods for commands inside a transaction.
impl Router {
    pub(super) fn in_transaction(&mut self, command: Command<'_>, class: Class, now: Tick) -> Judged {
        match class {
            Class::Multi => self.answer(Cow::Borrowed(reply::NESTED_MULTI), now),
            Class::Exec => self.exec(command, now),
            Class::Discard => self.discard(command, now),
            Class::Reset => self.reset(now),
            Class::Watch => self.refuse_watch(command, now),
            Class::Login | Class::Subscription(_) => {
                self.refuse_queued(Cow::Borrowed(reply::NOT_ALLOWED_IN_TRANSACTION), now)
            }
            Class::AllMasters(_) | Class::Scan | Class::Wait => {
                self.refuse_queued(Cow::Owned(Refusal::InTransaction.line(command.id.name())), now)
            }
            Class::Refused(refusal) => self.refuse_queued(Cow::Owned(refusal.line(&command.name())), now),
            Class::Keyed | Class::Script => match command.slot() {
                CommandSlot::One(slot) => self.queue_keyed(command, slot, now),
                CommandSlot::Several => self.refuse_queued(Cow::Borrowed(reply::CROSSSLOT), now),
                CommandSlot::None | CommandSlot::Unknown => self.queue_keyless(command, now),
            },
            Class::Any | Class::Info | Class::Publish | Class::Connection | Class::Unwatch => {
                self.queue_keyless(command, now)
            }
        }
    }

    /// Refuses a command of a transaction, whose EXEC must then fail.
    fn refuse_queued(&mut self, line: Cow<'static, [u8]>, now: Tick) -> Judged {
        self.transaction.spoil();
        self.answer(line, now)
    }

    /// Refuses WATCH in a transaction. As in Redis, EXEC fails only if WATCH has no arguments.
    fn refuse_watch(&mut self, command: Command<'_>, now: Tick) -> Judged {
        if command.id.info().takes(command.arguments) {
            return self.answer(Cow::Borrowed(reply::WATCH_IN_MULTI), now);
        }
        self.refuse_arity(command, now)
    }

    fn refuse_arity(&mut self, command: Command<'_>, now: Tick) -> Judged {
        let mut line = Vec::new();
        reply::wrong_arity(&mut line, command.id.name());
        self.refuse_queued(Cow::Owned(line), now)
    }

    fn queue_keyless(&mut self, command: Command<'_>, now: Tick) -> Judged {
        if !command.id.info().takes(command.arguments) {
            return self.refuse_arity(command, now);
        }
        let most = self.most_kept;
        match &mut self.transaction.state {
            State::Running { leg, .. } => {
                let leg = *leg;
                self.send_to(leg, command, Kind::Queued, false, now)
            }
            // No node can say yet that it has no such command.
            State::Held { .. } if command.id == CommandId::UNKNOWN => {
                self.refuse_queued(Cow::Owned(Refusal::Unknown.line(&command.name())), now)
            }
            State::Held { frames, n, .. } if frames.len() + command.frame.len() <= most => {
                frames.extend_from_slice(command.frame);
                *n += 1;
                self.answer(Cow::Borrowed(reply::QUEUED), now)
            }
            State::Held { .. } | State::None => self.refuse_queued(Cow::Borrowed(TOO_LONG), now),
        }
    }

    fn queue_keyed(&mut self, command: Command<'_>, slot: u16, now: Tick) -> Judged {
        if let State::Running { leg, slot: running, .. } = self.transaction.state {
            if running != slot {
                return self.refuse_queued(Cow::Borrowed(reply::CROSSSLOT), now);
            }
            return self.send_to(leg, command, Kind::Queued, false, now);
        }
        if self.transaction.watch.is_some_and(|(_, watched)| watched != slot) {
            return self.refuse_queued(Cow::Borrowed(reply::CROSSSLOT), now);
        }
        let leg = match self.leg_of_slot(slot, now) {
            Placed::At(leg) => leg,
            Placed::Answered => {
                self.transaction.spoil();
                return Judged::Taken;
            }
            Placed::Later => return Judged::Later,
        };
        self.transaction.slot = slot;
        self.open_at(leg);
        self.send_to(leg, command, Kind::Opening, false, now)
    }

    /// Sends MULTI and the kept commands to a leg.
    fn open_at(&mut self, leg: LegIndex) {
        if let State::Held { frames, n, .. } = &self.transaction.state
            && let Some(leg) = self.legs.get_mut(leg)
        {
            leg.add_silent(MULTI, 1);
            leg.add_silent(frames, *n);
        }
    }

    fn exec(&mut self, command: Command<'_>, now: Tick) -> Judged {
        let watching = self.transaction.watch.map(|(leg, _)| leg);
        match self.transaction.state {
            State::Held { is_spoilt: true, .. } => {
                self.forget_held();
                self.answer(Cow::Borrowed(reply::EXECABORT), now)
            }
            State::Held { n: 0, .. } if watching.is_none() => {
                self.forget_held();
                self.answer(Cow::Borrowed(EMPTY), now)
            }
            State::Held { .. } => {
                let leg = match watching.map_or_else(|| self.any_leg(now), Placed::At) {
                    Placed::At(leg) => leg,
                    Placed::Answered => {
                        self.forget_held();
                        return Judged::Taken;
                    }
                    Placed::Later => return Judged::Later,
                };
                if self.legs.others_owe_write(leg) {
                    return Judged::Later;
                }
                self.open_at(leg);
                self.transaction.reset();
                self.send_to(leg, command, Kind::Exec, false, now)
            }
            State::Running { leg, is_spoilt: true, .. } => {
                self.transaction.reset();
                let discard = Command { frame: DISCARD, name_at: None, ..command };
                self.send_to(leg, discard, Kind::SpoiltExec, false, now)
            }
            State::Running { leg, slot, .. } => {
                if self.legs.others_owe_write(leg) {
                    return Judged::Later;
                }
                self.transaction.reset();
                let judged = self.send_to(leg, command, Kind::Exec, false, now);
                self.settle_elsewhere(leg, slot);
                judged
            }
            State::None => self.answer(Cow::Borrowed(reply::EXEC_WITHOUT_MULTI), now),
        }
    }

    fn discard(&mut self, command: Command<'_>, now: Tick) -> Judged {
        if let State::Running { leg, .. } = self.transaction.state {
            self.transaction.reset();
            return self.send_to(leg, command, Kind::Queued, false, now);
        }
        self.forget_held();
        self.answer(Cow::Borrowed(reply::OK), now)
    }

    /// Ends a transaction of which no node knows, together with its WATCH.
    fn forget_held(&mut self) {
        if let Some((leg, _)) = self.transaction.watch
            && let Some(leg) = self.legs.get_mut(leg)
        {
            leg.add_silent(UNWATCH, 1);
        }
        self.transaction.reset();
    }

    /// Refuses a command of a transaction at its reply: the slot has moved. The server has spoilt its transaction too.
    pub(super) const fn moved_away() -> &'static [u8] {
        b"-TRYAGAIN the slot of this transaction has moved\r\n"
    }

    /// Returns the error of an EXEC whose slot has moved.
    pub(super) const fn exec_moved() -> &'static [u8] {
        b"-EXECABORT Transaction discarded because its slot has moved\r\n"
    }

    /// Adds a DISCARD whose reply is dropped.
    pub(super) fn discard_at(&mut self, leg: LegIndex) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.add_silent(DISCARD, 1);
        }
    }
}
