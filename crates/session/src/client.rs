//! One client: its commands, the order of its replies, and the effect of each command on the connection.
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
//! The life of a client, as [`Session::next`] reports it:
//!
//! ```text
//!   reading ◄──────────────► waiting (Step::Wait: a connection, replies, the caller)
//!      │   incomplete frame: resumed until it ends
//!      │
//!      ▼ QUIT, eof, drain, broken grammar, lost upstream, revoked
//!   ending ── every pending reply was written ──► closed (Step::Close)
//! ```

mod answering;
mod command;
mod continuity;
mod framing;
mod identity;
mod judge;
mod kept;
mod listening;
mod modes;
mod mute;
mod passing;
mod pooling;
mod profile;
mod reading;
mod rules;
mod scripts;
mod sending;
mod settling;
mod state;
mod step;
mod transaction;
mod upstream;
mod uses;
mod verdict;

use std::sync::Arc;

use portcullis_resp::scan::{FirstElement, MessageChannel, first_element, message_channel};

use self::answering::Answering;
pub use self::answering::MAX_RENDERED;
pub use self::continuity::{Aftermath, Continuity, Loss};
use self::framing::Framing;
pub use self::pooling::{Lease, Pooling};
use self::reading::Reading;
use self::state::{Before, State};
pub use self::step::{CloseReason, Delivery, PendingLogin, ReplyAction, Standing, Step, Until};
use self::upstream::Upstream;
use crate::ids::SessionKey;
use crate::link::{Link, Part, PoolKey, PushKind, Subscribed, Unavailable};
use crate::local::clients::{ClientFacts, Findings, Inquiry, Listed};
use crate::observe::{Host, Observer, Peer};
use crate::pending::ReplyKind;
use crate::plan::Plan;
use crate::shape::Verb;
use crate::tick::Tick;

/// The protocol state of one client.
///
/// The caller passes the unconsumed bytes to [`Session::next`] and does what the [`Step`] says. It calls
/// [`Session::next`] again until the step asks for more bytes or for waiting. The caller calls
/// [`Session::write_local_replies`] after every step and every reply.
#[derive(Debug)]
pub struct Session {
    framing: Framing,
    state: State,
}

/// Methods for the client's side.
impl Session {
    /// Creates the session of an admitted client that has sent nothing yet. Under [`Auth::Users`](crate::Auth::Users),
    /// a plan that names a user means that something other than a password has identified the client.
    pub fn new(key: SessionKey, plan: Arc<Plan>) -> Self {
        Self { framing: Framing::new(plan.limits()), state: State::of(key, plan) }
    }

    /// Returns what to do with `buf`, which starts at the first unconsumed byte. `now` is the time when the buffer was
    /// read. The caller may pass fewer bytes than it has, and fewer than in an earlier call.
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
            Before::Unblock(unblock) => return reading.send_unblock(&unblock),
            Before::Greet(hello) => return reading.send_deferred(*hello),
            Before::Again(again) => return reading.send_again(*again),
        }
        // A reload must not change the limits of a frame that has begun.
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

    /// Ends the session because the client sends nothing more. The session has consumed as much of its input as it can.
    pub fn eof(&mut self) {
        self.end_mid_frame(CloseReason::Client);
    }

    /// Ends the session once no command is in progress.
    pub const fn drain(&mut self) {
        self.framing.drain();
    }

    /// Returns whether the session ends, so that the only work left is to write the pending replies.
    pub const fn is_ending(&self) -> bool {
        self.state.ending().is_some()
    }

    /// Returns whether no reply is pending, no frame has begun, and no command waits.
    pub fn is_idle(&self) -> bool {
        self.state.pending.is_empty()
            && self.framing.is_idle()
            && self.state.identity.deferred().is_none()
            && self.state.again.is_none()
            && self.state.profile.as_ref().is_none_or(|profile| profile.waiting().is_none())
    }

    /// Returns whether a command has begun and is not complete.
    pub const fn is_mid_frame(&self) -> bool {
        self.framing.is_mid_frame()
    }

    /// Returns the bytes of memory that grow with the client's requests, without the caller's buffers.
    #[inline]
    pub fn held(&self) -> usize {
        self.state.held()
    }

    /// Returns the user that is logged in, under [`Auth::Users`](crate::Auth::Users).
    pub fn user(&self) -> Option<&str> {
        self.state.plan().user()
    }

    /// Returns the user as which the client's commands run. Returns `None` if the user is unknown: under
    /// [`Auth::Users`](crate::Auth::Users) before a login, and under [`Auth::Passthrough`](crate::Auth::Passthrough)
    /// after a login that the gate did not follow.
    pub fn acts_as(&self) -> Option<&str> {
        self.state.acts_as()
    }

    /// Applies a reload: new rules and limits apply from the next command on. `plan_of` returns the plan of a user, or
    /// the plan without a user; it returns `None` if the user no longer exists. `subscribed` holds the subscriptions
    /// that the upstream connection has confirmed. The gate's credentials change only if the session has not yet
    /// requested an upstream connection.
    ///
    /// The client is revoked if the session cannot continue under the new plan, or does something that the new plan
    /// forbids. The caller then cuts the connection, or the session ends by itself after the last pending reply.
    pub fn renew(
        &mut self,
        subscribed: &Subscribed,
        plan_of: impl FnMut(Option<&str>) -> Option<Arc<Plan>>,
    ) -> Standing {
        let renewed = self.state.identity.renewed(plan_of);
        let Some(renewed) = renewed.filter(|renewed| self.state.may_go_on(&renewed.plan, subscribed)) else {
            self.end_mid_frame(CloseReason::Revoked);
            return Standing::Revoked;
        };
        self.state.renew(renewed)
    }

    /// Returns whether the client uses a right that a reload may take away while the client sends nothing. The result
    /// may be `true` although the use has ended.
    pub fn uses_rights(&self, link: &Link) -> bool {
        self.state.modes.use_rights()
            || self.state.upstream.is_replica()
            || self.state.pending.lasts()
            || link.streams()
    }
}

/// Methods for the upstream's side.
impl Session {
    /// Records a fresh upstream connection for this client alone.
    pub fn linked(&mut self) {
        self.state.connected();
    }

    /// Returns whether to connect to the upstream before a command needs it, at most once for each client. The client
    /// must have logged in, or need not log in, and the gate must have answered its first command. The next command
    /// then does not wait for a connection.
    pub fn connects_early(&mut self) -> bool {
        let due = self.state.upstream == Upstream::Unlinked
            && self.state.pending.has_begun()
            && self.state.pooling.is_none()
            && self.state.ending().is_none()
            && !self.state.plan().is_anonymous()
            && !self.state.plan().is_sentinel_only()
            && !self.state.identity.connected_early();
        if due {
            self.state.identity.fix_key_early();
        }
        due
    }

    /// Handles the failure or loss of the early connection. Returns whether no command waits for the connection. If so,
    /// the session forgets the connection; the next command requests another one and gets the error if that fails as
    /// well.
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

    /// Handles an upstream that is unavailable or lost. The client gets the error `why`, if there is one, in place of
    /// the first missing reply. After a part of a reply or message it gets no error, because it would read the error as
    /// a part of that reply.
    pub fn lost(&mut self, why: Option<Unavailable>) {
        self.state.lost(why);
    }

    /// Returns the part that outlives the upstream connection.
    pub const fn continuity(&mut self) -> Continuity<'_> {
        Continuity::of(&mut self.framing, &mut self.state)
    }

    /// Handles an upstream that refuses a shared connection of the kind that the client needs, for example its database
    /// while a script runs. Nothing was sent on the connection, so the client gets the error `line` for each pending
    /// reply.
    pub fn refused(&mut self, line: &[u8]) {
        self.state.pending.answer_with(line);
    }

    /// Returns what to do with a part of a reply.
    pub fn reply<O: Observer>(&mut self, part: &Part<'_>, now: Tick, observer: &mut O) -> ReplyAction {
        Answering::new(&mut self.state, part).answer(now, observer)
    }

    /// Returns what to do with a push, a message, a line of MONITOR or a piece of one, as the link reports it. The
    /// rules that apply to the start of a message apply until its end.
    pub fn push(&mut self, kind: PushKind, bytes: &[u8], ended: bool) -> Delivery {
        let Self { state: State { passing, identity, .. }, .. } = self;
        let plan = identity.plan();
        let withholds = || match kind {
            PushKind::Message => withholds(plan, bytes),
            PushKind::Other => plan.face().is_some() && !is_unsubscription(bytes),
            _ => false,
        };
        if passing.push(ended, withholds) { Delivery::Withhold } else { Delivery::Pass }
    }

    /// Returns whether the next reply is one of the gate's own.
    pub fn has_local_reply(&self) -> bool {
        !self.state.passing.is_mid_push()
            && matches!(self.state.pending.front(), Some(front) if matches!(front.kind, ReplyKind::Local(_)))
    }

    /// Appends the gate's own replies that are next in order, until `out` holds `up_to` bytes.
    pub fn write_local_replies(&mut self, out: &mut Vec<u8>, up_to: usize) {
        while out.len() < up_to && self.has_local_reply() {
            let Some(front) = self.state.pending.front() else { return };
            let ReplyKind::Local(local) = &front.kind else { return };
            out.extend_from_slice(local.bytes());
            self.state.pending.settle(1);
        }
    }

    /// Returns the bytes that the client gets in place of a reply, after [`ReplyAction::Rewritten`].
    pub fn rewritten(&self) -> &[u8] {
        &self.state.scratch
    }

    /// Returns whether any reply to the client is pending.
    pub fn has_pending(&self) -> bool {
        !self.state.pending.is_empty()
    }

    /// Returns whether the upstream may be blocking a command until another client acts.
    pub const fn blocks(&self) -> bool {
        self.state.pending.blocks()
    }

    /// Returns whether the gate's own login has no reply yet.
    pub fn is_logging_in(&self) -> bool {
        self.state.upstream.is_setting_up()
    }

    /// Returns the login whose reply is next. Returns `None` if the next reply is not one of a login, or if the client
    /// is still sending the login. Nothing else is sent before that reply. A server may drop the reply if pushes were
    /// pending, so the caller needs a timeout.
    pub fn pending_login(&self) -> Option<PendingLogin> {
        let front = self.state.pending.front()?;
        let of_client = match front.kind {
            ReplyKind::Setup(_) | ReplyKind::Identify => false,
            // The upstream cannot answer a frame that the client is still sending.
            ReplyKind::ClientLogin { .. } if !self.framing.has_rest() => true,
            _ => return None,
        };
        Some(PendingLogin { seq: front.seq, of_client })
    }
}

/// Methods for shared connections.
impl Session {
    /// Returns whether the next command goes to a shared connection, if it goes upstream.
    pub fn is_pooled(&self) -> bool {
        self.state.upstream.is_pooled()
    }

    /// Returns the kind of shared connection that the client needs. If the client waits for another kind, returns that
    /// kind.
    pub fn pool_key(&self) -> PoolKey {
        self.state.pool_key()
    }

    /// Returns the part that shares upstream connections. Returns `None` if the client's listener does not share them.
    pub fn pooling(&self) -> Option<&Pooling> {
        self.state.pooling.as_deref()
    }

    /// Returns the part that shares upstream connections, for changes. Returns `None` if the client's listener does not
    /// share them.
    pub fn pooling_mut(&mut self) -> Option<&mut Pooling> {
        self.state.pooling.as_deref_mut()
    }

    /// Records the result of [`Until::Pooled`]. A shared connection of the requested kind is ready, or Redis refuses it
    /// with the error line in `there`, which the client gets.
    pub fn pooled(&mut self, there: Result<(), &[u8]>) {
        if let Some((db, resp3)) = self.state.pooling.as_mut().and_then(|pooling| pooling.pooled(there)) {
            self.state.kept.select(db);
            self.state.kept.greet(resp3);
        }
    }

    /// Returns what to do with the client's own upstream connection, on a listener that shares connections.
    pub fn lease(&self, now: Tick) -> Lease {
        self.state.lease(now, self.is_idle())
    }

    /// Returns whether the client can adopt the shared connection that carries its pending replies. The condition is
    /// that no other client has pending replies there, and that all pending replies are plain.
    pub fn may_adopt(&self) -> bool {
        self.is_pooled()
            && self.state.ending().is_none()
            && self.state.identity.deferred().is_none()
            && self.state.pending.is_plain()
            && self.state.pooling.as_ref().is_some_and(|pooling| !pooling.is_switching())
    }

    /// Makes the shared connection that carries the pending replies the client's own. The connection is of the kind of
    /// [`Session::pool_key`].
    pub fn adopt(&mut self, now: Tick) {
        self.state.adopt(now);
    }

    /// Records that the client's own upstream connection was closed.
    pub fn give_back(&mut self) {
        self.state.give_back();
    }
}

/// Methods for commands about other clients.
impl Session {
    /// Returns the question about other clients that [`Until::Clients`] waits for.
    pub fn inquiry(&self) -> Option<&Inquiry> {
        self.state.profile.as_ref()?.inquiry()
    }

    /// Accepts the answer to [`Session::inquiry`]. `None` means that the caller could not collect the answer.
    pub fn informed(&mut self, findings: Option<&Findings>) {
        self.state.informed(findings);
    }

    /// Returns the client as the operator sees it.
    pub fn facts<P: Peer>(&self, peer: &P) -> ClientFacts {
        self.state.facts(peer)
    }

    /// Returns the client as the inquiry of `asker` sees it.
    pub fn listed<P: Peer>(&self, peer: &P, inquiry: &Inquiry, asker: u64) -> Listed {
        self.state.listed(peer, inquiry, asker)
    }
}

impl Session {
    /// Ends the session together with an incomplete frame, because the upstream never answers an incomplete command.
    fn end_mid_frame(&mut self, reason: CloseReason) {
        if self.framing.cut_forwarded() {
            self.state.pending.retract();
        }
        self.state.end(reason);
    }
}

/// Returns whether a push that begins with these bytes ends a subscription. A hidden upstream may send no other push
/// that no command requested: Redis announces the addresses of servers in such pushes.
fn is_unsubscription(push: &[u8]) -> bool {
    matches!(first_element(push), FirstElement::Text(word) if Verb::from_word(word).is_some())
}

/// Returns whether the client must not get a message that begins with these bytes. The rules withhold some channels.
/// Messages of the sentinels name the servers, so the clients of a hidden upstream do not get them.
fn withholds(plan: &Plan, message: &[u8]) -> bool {
    let rules = plan.rules();
    if plan.face().is_some() && !tells_no_server(message) {
        return true;
    }
    rules.withholds()
        && !match message_channel(message) {
            MessageChannel::Whole(channel) => rules.delivers(channel, true),
            MessageChannel::Cut(beginning) => rules.delivers(beginning, false),
            MessageChannel::Unknown => rules.delivers(&[], false),
        }
}

/// Returns whether a message is certainly not one of the sentinels.
fn tells_no_server(message: &[u8]) -> bool {
    match message_channel(message) {
        MessageChannel::Whole(channel) => !channel.starts_with(SENTINELS),
        MessageChannel::Cut(beginning) => {
            !beginning.starts_with(SENTINELS) && beginning.len() >= SENTINELS.len()
        }
        MessageChannel::Unknown => false,
    }
}

/// The beginning of the channels on which sentinels tell each other about servers.
const SENTINELS: &[u8] = b"__sentinel__:";

#[cfg(test)]
mod tests;
