//! One client: what it asks, in which order it is answered, and what each command does to the connection.
//!
//! ```text
//!   bytes ──► Framing ──► Judge ──► Verdict ──► Step, and a pending reply
//!                           │                        │
//!                           └────── State ───────────┤  pending, transaction, mute, modes, identity,
//!                                     ▲              │  upstream, pooling, profile, passing
//!   parts of replies ──► Answering ───┘              ▼
//!                           └────► ReplyAction   caller sends
//! ```
//!
//! The life of a client, as [`Session::next`] tells it:
//!
//! ```text
//!   reading ◄──────────────► waiting (Step::Wait: a connection, replies, the caller)
//!      │   frame without an end: resumed until it ends
//!      │
//!      ▼ QUIT, eof, drain, broken grammar, lost upstream, revoked
//!   ending ── every pending reply was written ──► closed (Step::Close)
//! ```

mod answering;
mod command;
mod framing;
mod identity;
mod judge;
mod modes;
mod mute;
mod passing;
mod pooling;
mod profile;
mod reading;
mod rules;
mod sending;
mod settling;
mod state;
mod step;
mod transaction;
mod upstream;
mod uses;
mod verdict;

use std::sync::Arc;

use portcullis_resp::scan::MessageChannel;
use portcullis_resp::scan::message_channel;

use self::answering::Answering;
pub use self::answering::MAX_RENDERED;
use self::framing::Framing;
pub use self::pooling::{Lease, Pooling};
use self::reading::Reading;
use self::state::{Before, State};
pub use self::step::{CloseReason, Delivery, PendingLogin, ReplyAction, Step, Until};
use self::upstream::Upstream;
use crate::ids::SessionKey;
use crate::link::{Link, Part, PoolKey, PushKind, Subscribed, Unavailable};
use crate::local::clients::{Findings, Inquiry, Listed};
use crate::observe::{Host, Observer, Peer};
use crate::pending::ReplyKind;
use crate::plan::Plan;
use crate::tick::Tick;

/// The protocol state of one client.
///
/// Call [`Session::next`] with what was read and not yet consumed, do what the [`Step`] says, and call it again until it
/// asks for more bytes or for patience. Call [`Session::write_local_replies`] after every step and every reply.
#[derive(Debug)]
pub struct Session {
    framing: Framing,
    state: State,
}

/// The client's side.
impl Session {
    /// A client that was admitted and said nothing yet. Under [`Auth::Users`](crate::Auth::Users) a plan that names a
    /// user is for a client that something else than a password has made known.
    pub fn new(key: SessionKey, plan: Arc<Plan>) -> Self {
        Self { framing: Framing::new(plan.limits()), state: State::of(key, plan) }
    }

    /// Says what to do with `buf`, which starts at the first byte not yet consumed. `now` is when it was read. The caller
    /// may keep back some of what it has, also of what it has shown before.
    pub fn next<H: Host>(&mut self, buf: &[u8], now: Tick, host: &mut H) -> Step<'_> {
        let Self { framing, state } = self;
        let reading = Reading { framing, state, now };
        if let Some(reason) = reading.state.ending() {
            return reading.close(reason);
        }
        reading.state.shrink();
        if reading.framing.has_rest() {
            return reading.resume(buf);
        }
        if reading.state.pending.is_full() {
            return Step::Wait(Until::FewerPending);
        }
        if reading.state.pending.holds() {
            return Step::Wait(Until::NothingPending);
        }
        match reading.state.before(now) {
            Before::Read => {}
            Before::Wait(until) => return Step::Wait(until),
            Before::Link => return reading.wait_for_link(),
            Before::SetUp(stage) => return reading.send_setup(stage),
            Before::Unblock => return reading.send_unblock(),
            Before::Greet => return reading.send_deferred(),
        }
        // A frame that has begun goes on under the limits that it began with.
        if !reading.framing.is_mid_frame()
            && let Some(limits) = reading.state.identity.take_limits()
        {
            reading.framing.set_limits(limits);
        }
        if let Some(error) = reading.framing.take_failure() {
            return reading.refuse_bytes(error);
        }
        let looked_at = reading.framing.looked_at();
        if buf.len() < looked_at {
            return Step::Need { at_least: looked_at };
        }
        reading.commands(buf, host)
    }

    /// The client sends nothing more, and what it sent was consumed as far as it can be.
    pub fn eof(&mut self) {
        self.end_mid_frame(CloseReason::Client);
    }

    /// Ends the session once no command is under way.
    pub const fn drain(&mut self) {
        self.framing.drain();
    }

    /// Returns whether nothing more is done but to write the pending replies.
    pub const fn is_ending(&self) -> bool {
        self.state.ending().is_some()
    }

    /// Returns whether no reply is pending, nothing was begun, and nothing waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.state.pending.is_empty()
            && self.framing.is_idle()
            && self.state.identity.deferred().is_none()
            && self.state.profile.as_ref().is_none_or(|profile| profile.waiting().is_none())
    }

    /// Returns whether a command was begun and its end has not come.
    pub const fn is_mid_frame(&self) -> bool {
        self.framing.is_mid_frame()
    }

    /// Bytes of memory that grow with what the client asks for: all but the caller's buffers.
    pub fn held(&self) -> usize {
        self.state.held()
    }

    /// The user that is logged in, under [`Auth::Users`](crate::Auth::Users).
    pub fn user(&self) -> Option<&str> {
        self.state.plan().user()
    }

    /// Returns the user as whom the client's commands run. It is not known before a login under
    /// [`Auth::Users`](crate::Auth::Users), and under [`Auth::Passthrough`](crate::Auth::Passthrough) after a login that
    /// the gate did not follow.
    pub fn acts_as(&self) -> Option<&str> {
        self.state.acts_as()
    }

    /// A reload: new rules and limits hold from the next command on. `plan_of` gives what now holds for a user, or for
    /// none; nothing where there is no such user any more. `subscribed` is what its upstream connection has confirmed.
    /// The gate's credentials change only as long as no upstream connection was asked for.
    ///
    /// False: the session cannot go on under what holds now, or is in the middle of what is no longer allowed, and is to
    /// be cut; it ends by itself once every pending reply was written.
    #[must_use]
    pub fn renew(
        &mut self,
        subscribed: &Subscribed,
        plan_of: impl FnMut(Option<&str>) -> Option<Arc<Plan>>,
    ) -> bool {
        let renewed = self.state.identity.renewed(plan_of);
        let Some(renewed) = renewed.filter(|renewed| self.state.may_go_on(&renewed.plan, subscribed)) else {
            self.end_mid_frame(CloseReason::Revoked);
            return false;
        };
        self.state.renew(renewed)
    }

    /// Returns whether it uses a right that a reload may take away while the client says nothing. It may say yes where
    /// that is over.
    pub fn uses_rights(&self, link: &Link) -> bool {
        self.state.modes.use_rights()
            || self.state.upstream.is_replica()
            || self.state.pending.lasts()
            || link.streams()
    }
}

/// The upstream's side.
impl Session {
    /// A fresh upstream connection of the client's own is there.
    pub fn linked(&mut self) {
        self.state.connected();
    }

    /// Returns whether to connect to the upstream although no command needs it yet. The client has logged in, or need not,
    /// and its first command was answered here: the next one should not wait for a connection. Once for each client.
    pub fn connects_early(&mut self) -> bool {
        let due = self.state.upstream == Upstream::Unlinked
            && self.state.pending.has_begun()
            && self.state.pooling.is_none()
            && self.state.ending().is_none()
            && !self.state.plan().is_anonymous()
            && !self.state.identity.connected_early();
        if due {
            self.state.identity.fix_key_early();
        }
        due
    }

    /// That connection cannot be had, or is gone. Returns whether no command waits for it: then it is as if there had been
    /// none, and the next command asks for another and reads what is wrong.
    pub fn forget_early(&mut self) -> bool {
        let unused = self.state.identity.connected_early()
            && (!self.state.passing.has_answered() || self.is_logging_in())
            && self.state.ending().is_none()
            && self.state.pooling.is_none()
            && self.state.pending.is_login()
            && self.framing.is_idle()
            && self.state.identity.deferred().is_none()
            && !self.state.identity.is_entering();
        if unused {
            self.state.pending.clear();
            self.state.upstream.disconnect();
            self.state.identity.refresh_key();
        }
        unused
    }

    /// The upstream cannot be had, or is gone. The client reads `why` where there is one, in the place of the first
    /// reply that it will not get. Where it has read a part of a reply or message, nothing more can be said.
    pub fn lost(&mut self, why: Option<Unavailable>) {
        self.state.lost(why);
    }

    /// The upstream does not take a shared connection for the client's state, as its database while a script runs, and
    /// says so in `line`. Nothing was sent on it: the client reads the line in place of each pending reply.
    pub fn refused(&mut self, line: &[u8]) {
        self.state.pending.answer_with(line);
    }

    /// Says what becomes of a part of a reply.
    pub fn reply<O: Observer>(&mut self, part: &Part<'_>, now: Tick, observer: &mut O) -> ReplyAction {
        Answering::new(&mut self.state, part).answer(now, observer)
    }

    /// Says what becomes of a push, a message or a monitor line, or of a piece of one; all as the link says. The rules of
    /// the moment when a message begins hold to its end.
    pub fn push(&mut self, kind: PushKind, bytes: &[u8], ended: bool) -> Delivery {
        let Self { state: State { passing, identity, .. }, .. } = self;
        let withholds = || kind == PushKind::Message && withholds(identity.plan(), bytes);
        if passing.push(ended, withholds) { Delivery::Withhold } else { Delivery::Pass }
    }

    /// Returns whether a reply of the gate's own comes next.
    pub fn has_local_reply(&self) -> bool {
        !self.state.passing.is_mid_push()
            && matches!(self.state.pending.front(), Some(front) if matches!(front.kind, ReplyKind::Local(_)))
    }

    /// Appends the gate's own replies whose turn has come, until `out` holds `up_to` bytes.
    pub fn write_local_replies(&mut self, out: &mut Vec<u8>, up_to: usize) {
        while out.len() < up_to && self.has_local_reply() {
            let Some(front) = self.state.pending.front() else { return };
            let ReplyKind::Local(local) = &front.kind else { return };
            out.extend_from_slice(local.bytes());
            self.state.pending.settle(1);
        }
    }

    /// The bytes that the client reads in place of a reply, after [`ReplyAction::Rewritten`].
    pub fn rewritten(&self) -> &[u8] {
        &self.state.scratch
    }

    /// Returns whether any reply to the client is pending.
    pub fn has_pending(&self) -> bool {
        !self.state.pending.is_empty()
    }

    /// Returns whether a command may be waiting upstream for what others do.
    pub const fn blocks(&self) -> bool {
        self.state.pending.blocks()
    }

    /// Returns whether the gate's own login is unanswered.
    pub fn is_logging_in(&self) -> bool {
        self.state.upstream.is_setting_up()
    }

    /// The login whose reply comes next, if it is one. Nothing else is sent before that reply; a server may swallow it
    /// where pushes were pending, so that the caller must not wait for it without a limit.
    pub fn pending_login(&self) -> Option<PendingLogin> {
        let front = self.state.pending.front()?;
        let of_client = match front.kind {
            ReplyKind::Setup(_) | ReplyKind::Identify => false,
            // As long as the client still sends it, it cannot be answered.
            ReplyKind::ClientLogin { .. } if !self.framing.has_rest() => true,
            _ => return None,
        };
        Some(PendingLogin { seq: front.seq, of_client })
    }
}

/// Shared connections.
impl Session {
    /// Returns whether the next command goes to a shared connection, if to any.
    pub fn is_pooled(&self) -> bool {
        self.state.upstream.is_pooled()
    }

    /// The kind of shared connection for the client: as asked for, where it waits for another kind.
    pub fn pool_key(&self) -> PoolKey {
        self.state.pool_key()
    }

    /// The part that shares upstream connections, if the client's listener does.
    pub fn pooling(&self) -> Option<&Pooling> {
        self.state.pooling.as_deref()
    }

    /// As [`Session::pooling`].
    pub fn pooling_mut(&mut self) -> Option<&mut Pooling> {
        self.state.pooling.as_deref_mut()
    }

    /// Returns what is to be done with the upstream connection, if it is the client's own where others share theirs.
    pub fn lease(&self, now: Tick) -> Lease {
        self.state.lease(now, self.is_idle())
    }

    /// Returns whether the client can go on by the shared connection that has replies for it, and for no other client, as
    /// if that had been its own from the start: only plain replies are pending.
    pub fn may_adopt(&self) -> bool {
        self.is_pooled()
            && self.state.ending().is_none()
            && self.state.identity.deferred().is_none()
            && self.state.pending.is_plain()
            && self.state.pooling.as_ref().is_some_and(|pooling| !pooling.is_switching())
    }

    /// That connection is the client's own from now on. It is as [`Session::pool_key`] says, and the pending replies come
    /// by it.
    pub fn adopt(&mut self, now: Tick) {
        self.state.adopt(now);
    }

    /// The client's own upstream connection was closed.
    pub fn give_back(&mut self) {
        self.state.give_back();
    }
}

/// Other clients.
impl Session {
    /// The question about other clients that [`Until::Clients`] waits for.
    pub fn inquiry(&self) -> Option<&Inquiry> {
        self.state.profile.as_ref()?.inquiry()
    }

    /// The answer to [`Session::inquiry`]; none where it could not be collected.
    pub fn informed(&mut self, findings: Option<&Findings>) {
        self.state.informed(findings);
    }

    /// Returns the client as an inquiry of `asker` sees it.
    pub fn listed<P: Peer>(&self, peer: &P, inquiry: &Inquiry, asker: u64) -> Listed {
        self.state.listed(peer, inquiry, asker)
    }
}

impl Session {
    /// Ends the session, and with it a frame that is not wholly there: the upstream never answers half a command.
    fn end_mid_frame(&mut self, reason: CloseReason) {
        if self.framing.cut_forwarded() {
            self.state.pending.retract();
        }
        self.state.end(reason);
    }
}

/// Returns whether the rules keep a message from the client that begins so.
fn withholds(plan: &Plan, message: &[u8]) -> bool {
    let rules = plan.rules();
    rules.withholds()
        && !match message_channel(message) {
            MessageChannel::Whole(channel) => rules.delivers(channel, true),
            MessageChannel::Cut(beginning) => rules.delivers(beginning, false),
            MessageChannel::Unknown => rules.delivers(&[], false),
        }
}

/// To be removed once the relay asks the parts.
impl Session {
    /// See [`Pooling::epoch`].
    pub fn pool_epoch(&self) -> u32 {
        self.state.pooling.as_ref().map_or(0, |pooling| pooling.epoch())
    }

    /// See [`Pooling::pooled`].
    pub fn pooled(&mut self, there: Result<(), &[u8]>) {
        if let Some(pooling) = &mut self.state.pooling {
            pooling.pooled(there);
        }
    }

    /// See [`Pooling::set_lagging`].
    pub fn set_lagging(&mut self) {
        if let Some(pooling) = &mut self.state.pooling {
            pooling.set_lagging();
        }
    }

    /// See [`Pooling::has_left`].
    pub fn has_left(&self) -> bool {
        self.state.pooling.as_ref().is_some_and(|pooling| pooling.has_left())
    }

    /// See [`Pooling::keep_lease`].
    pub fn keep_lease(&mut self, now: Tick) {
        if let Some(pooling) = &mut self.state.pooling {
            pooling.keep_lease(now);
        }
    }

    /// See [`Pooling::put_off_return`].
    pub fn put_off_return(&mut self, now: Tick) {
        if let Some(pooling) = &mut self.state.pooling {
            pooling.put_off_return(now);
        }
    }
}

#[cfg(test)]
mod tests;
