//! The state of a session behind its framing, and the transitions that reach over several of its parts.

use std::sync::Arc;

use portcullis_resp::command::{CommandId, id};

use super::identity::{Identity, Renewed};
use super::modes::Modes;
use super::mute::Mute;
use super::passing::Passing;
use super::pooling::{Lease, Pooling};
use super::profile::{Profile, UpstreamId, Waiting, user_name};
use super::step::{CloseReason, Until};
use super::transaction::Transaction;
use super::upstream::Upstream;
use super::uses::Change;
use super::verdict::Verdict;
use crate::ids::SessionKey;
use crate::link::{PoolKey, Preamble, Stage, Subscribed, Subscriptions, Unavailable};
use crate::local::client_info::{ClientInfo, Masked, View};
use crate::local::clients::{Findings, Inquiry, Listed};
use crate::local::hello::DEFAULT_USER;
use crate::observe::Peer;
use crate::pending::{Local, PendingReplies};
use crate::plan::{Auth, Plan};
use crate::tick::Tick;

/// All that a command is judged by and a reply may change.
#[derive(Debug)]
pub(super) struct State {
    pub(super) pending: PendingReplies,
    pub(super) mute: Mute,
    pub(super) transaction: Transaction,
    pub(super) modes: Modes,
    pub(super) upstream: Upstream,
    pub(super) passing: Passing,
    pub(super) identity: Identity,
    /// Where upstream connections are shared.
    pub(super) pooling: Option<Box<Pooling>>,
    /// The state of CLIENT, if the gate answers it and was asked.
    pub(super) profile: Option<Box<Profile>>,
    /// Bytes that are sent, or passed on, in place of others.
    pub(super) scratch: Vec<u8>,
    ending: Option<CloseReason>,
}

/// What has to be done before anything is read.
pub(super) enum Before {
    /// Nothing.
    Read,
    /// Something has to happen.
    Wait(Until),
    /// The client needs an upstream connection of its own.
    Link,
    /// A step of setting the connection up is to be sent.
    SetUp(Stage),
    /// Redis is to end the wait of another client.
    Unblock,
    /// The HELLO that waits is to be sent.
    Greet,
}

impl State {
    /// The state of a client that has sent nothing yet.
    pub(super) fn of(key: SessionKey, plan: Arc<Plan>) -> Self {
        let mut state = Self {
            pending: PendingReplies::of(key),
            mute: Mute::default(),
            transaction: Transaction::default(),
            modes: Modes::default(),
            upstream: Upstream::default(),
            passing: Passing::default(),
            pooling: plan.is_shared().then(Box::default),
            identity: Identity::of(plan),
            profile: None,
            scratch: Vec::new(),
            ending: None,
        };
        state.rejoin();
        state
    }

    #[inline]
    pub(super) fn plan(&self) -> &Plan {
        self.identity.plan()
    }

    pub(super) fn profile_mut(&mut self) -> &mut Profile {
        self.profile.get_or_insert_default()
    }

    /// Gives memory back that a long command took.
    pub(super) fn shrink(&mut self) {
        if self.scratch.capacity() > IDLE_SCRATCH {
            self.scratch = Vec::new();
        }
    }

    /// Bytes of memory that grow with what the client asks for.
    pub(super) fn held(&self) -> usize {
        let pooling = self.pooling.as_ref().map_or(0, |pooling| pooling.held());
        let profile = self.profile.as_ref().map_or(0, |profile| profile.held());
        self.pending.held()
            + self.scratch.capacity()
            + self.identity.held()
            + pooling
            + profile
            + self.modes.held()
    }
}

/// Its end.
impl State {
    /// Ends the session once no reply is pending. The first reason counts.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.ending.get_or_insert(reason);
    }

    /// The reason for which the session ends.
    pub(super) const fn ending(&self) -> Option<CloseReason> {
        self.ending
    }

    /// The upstream is gone, or cannot be had.
    pub(super) fn lost(&mut self, why: Option<Unavailable>) {
        let cut = self.passing.is_cut();
        // Where the client has the upstream shut down, the end of the connection is the answer.
        let shuts_down = self.pending.front().is_some_and(|front| front.id == id::SHUTDOWN);
        if let Some(profile) = &mut self.profile {
            profile.forget_question();
        }
        let owing = self.pending.forsake_upstream(cut);
        if self.ending.is_some() && !owing {
            return;
        }
        let deferred = self.identity.take_deferred();
        let muted = deferred.map_or_else(|| self.mute.take(), |deferred| deferred.muted);
        let unheard = muted || cut || shuts_down || self.upstream.is_replica();
        if let Some(why) = why.filter(|_| !unheard) {
            let line = format!(
                "-ERR portcullis: upstream '{}' unavailable ({})\r\n",
                self.plan().upstream(),
                why.as_str()
            );
            let line = Local::Made(line.into_bytes().into_boxed_slice());
            self.pending.answer(line, CommandId::UNKNOWN, Tick::default());
        }
        self.ending = Some(CloseReason::Upstream(why));
    }
}

/// Its upstream connection.
impl State {
    /// Refuses a command that has no place inside MULTI, where there may be one.
    pub(super) fn excluded(&self) -> Option<Verdict> {
        self.transaction.excludes(&self.pending)
    }

    /// The kind of shared connection for the client: as asked for, where it waits for another kind. A connection of its own
    /// is set up as this says too.
    pub(super) fn pool_key(&self) -> PoolKey {
        let (db, resp3) = self.pooling.as_ref().map_or((0, false), |pooling| pooling.wanted());
        PoolKey { preamble: self.identity.key().cloned(), db, resp3 }
    }

    /// A fresh upstream connection of the client's own is there.
    pub(super) fn connected(&mut self) {
        self.passing.connect();
        if let Some(profile) = &mut self.profile {
            profile.forget_upstream();
        }
        self.set_up_due();
    }

    /// A fresh connection, or one that was RESET, has to be set up before commands may flow.
    pub(super) fn set_up_due(&mut self) {
        self.identity.connect();
        if self.plan().is_anonymous() {
            self.upstream.connect_anonymous();
        } else {
            self.upstream.connect(Stage::Auth.needed_by(&self.pool_key()));
        }
    }

    /// The upstream took all that sets the connection up.
    pub(super) const fn set_up(&mut self) {
        self.upstream.set_up();
        self.identity.set_up();
    }

    /// The upstream refuses the client's database to a connection of its own, as it does while a script runs.
    pub(super) fn refuse_database(&mut self, line: &[u8]) {
        self.upstream.refuse_database();
        if let Some(pooling) = &mut self.pooling {
            pooling.refuse(line);
        }
    }

    /// Redis put the client's own connection into this database; into one that the gate does not know if None.
    pub(super) fn selected(&mut self, db: Option<u32>) {
        if let Some(pooling) = &mut self.pooling {
            pooling.selected(db);
            self.upstream.select_database();
        } else if let Some(db) = db {
            self.profile_mut().set_db(db);
        }
    }
}

/// Who the client is.
impl State {
    /// Returns the user as whom the client's commands run. It is not known before a login under [`Auth::Users`], and under
    /// [`Auth::Passthrough`] after a login that the gate did not follow.
    pub(super) fn acts_as(&self) -> Option<&str> {
        match self.plan().auth() {
            Auth::Passthrough if self.identity.has_passed_through() => self.profile.as_ref()?.user(),
            Auth::Users => self.plan().user(),
            Auth::Passthrough | Auth::Trust => Some(DEFAULT_USER),
        }
    }

    /// A login of the client's own as `user` is sent. None: it is not known who logs in.
    pub(super) fn begin_login(&mut self, user: Option<&[u8]>) {
        let user = user_name(user);
        if user.is_some() || self.profile.is_some() {
            self.profile_mut().begin_login(user);
        }
    }

    /// Returns whether another user may come in now: no pending reply to this one may come on another connection.
    pub(super) fn may_enter(&self) -> bool {
        self.pending.is_empty() || !(self.upstream.is_linked() || self.pooling.is_some())
    }

    /// Another user is in.
    pub(super) fn enter(&mut self, plan: Arc<Plan>, key: Option<Preamble>) {
        self.identity.enter(plan, key);
        self.upstream.admit();
        self.rejoin();
    }

    /// The upstream has forgotten who the client was, or never knew.
    pub(super) fn leave(&mut self) {
        self.identity.leave();
        if self.upstream.is_linked() {
            self.set_up_due();
        }
        self.rejoin();
    }

    /// Ends what RESET ends of what the gate knows of the client.
    pub(super) fn reset_profile(&mut self) {
        self.identity.set_passed_through(false);
        if let Some(profile) = &mut self.profile {
            profile.reset();
        }
    }

    /// Puts the plans of a new configuration in force. Returns whether the session may go on: of a replication stream that
    /// has begun, not one byte more is for a client whose rules no longer name it.
    pub(super) fn renew(&mut self, renewed: Renewed) -> bool {
        // Queued commands were judged by the old rules, and EXEC would run them under the new.
        if !renewed.plan.shares_rules_with(self.plan()) {
            self.transaction.spoil();
        }
        if self.identity.renew(renewed)
            && let Some(pooling) = &mut self.pooling
        {
            pooling.forget_switch();
        }
        let named = [id::SYNC, id::PSYNC].iter().any(|command| !self.plan().cares_by_rule(*command));
        let may_go_on = named || !self.upstream.is_replica();
        if !may_go_on {
            self.end(CloseReason::NotReplication);
        }
        may_go_on
    }

    /// Returns whether all that the client is in the middle of is allowed by `plan` too.
    pub(super) fn may_go_on(&self, plan: &Plan, subscribed: &Subscribed) -> bool {
        if plan.shares_rules_with(self.plan()) {
            return true;
        }
        let change = Change { old: self.plan(), new: plan };
        self.modes.are_allowed(&change)
            && change.allows_subscribed(subscribed)
            && self.pending.runs().all(|run| change.allows_run(run))
    }
}

/// Shared connections.
impl State {
    /// Returns whether the client has a connection of its own where others share theirs, or waits for one.
    pub(super) fn is_leased(&self) -> bool {
        self.pooling.as_ref().is_some_and(|pooling| pooling.is_leased())
    }

    /// Where there is no connection of its own, a client that is logged in may use shared ones.
    pub(super) fn rejoin(&mut self) {
        let may_share = !self.plan().is_anonymous();
        let Some(pooling) = &mut self.pooling else { return };
        pooling.advance();
        if !pooling.is_leased() {
            self.upstream.share(may_share);
        }
    }

    /// The client needs a connection of its own.
    pub(super) fn take_lease(&mut self, now: Tick) {
        let Some(pooling) = &mut self.pooling else { return };
        pooling.take(now);
        self.upstream.disconnect();
    }

    /// The shared connection that has replies for the client, and for no other, is its own from now on. It is as
    /// [`State::pool_key`] says.
    pub(super) fn adopt(&mut self, now: Tick) {
        self.take_lease(now);
        if let Some(pooling) = &mut self.pooling {
            pooling.adopt();
        }
        self.set_up();
        self.identity.fix_key();
        // A command that waited for its pending replies may not have to wait any more.
        self.pending.release();
    }

    /// The client's own upstream connection was closed.
    pub(super) fn give_back(&mut self) {
        let Some(pooling) = &mut self.pooling else { return };
        pooling.give_back();
        if let Some(profile) = &mut self.profile {
            profile.forget_upstream();
        }
        self.transaction.disconnect();
        self.modes.disconnect();
        if self.upstream.is_linked() {
            self.upstream.disconnect();
        }
        self.identity.refresh_key();
        self.rejoin();
    }

    /// Returns what is to be done with the upstream connection, if it is the client's own where others share theirs.
    /// `is_idle` says whether nothing of the client is under way.
    pub(super) fn lease(&self, now: Tick, is_idle: bool) -> Lease {
        let Some(pooling) = self.pooling.as_ref().filter(|pooling| pooling.is_leased()) else {
            return Lease::None;
        };
        if pooling.has_left() {
            return Lease::Over;
        }
        let free =
            self.upstream.is_set_up() && is_idle && !self.identity.is_entering() && !self.has_state(pooling);
        match pooling.lease_end() {
            _ if !free => Lease::Needed,
            end if end > now => Lease::Until(end),
            _ => Lease::Over,
        }
    }

    /// Returns whether the connection has state beyond what its pending replies show.
    const fn has_state(&self, pooling: &Pooling) -> bool {
        pooling.is_for_good()
            || self.transaction.holds_connection()
            || self.modes.hold_connection()
            || self.passing.is_mid_message()
    }

    /// What has to be done before anything is read.
    pub(super) fn before(&mut self, now: Tick) -> Before {
        // Nothing is sent any more on a connection that is being given back.
        if self.pooling.as_ref().is_some_and(|pooling| pooling.has_left()) {
            return Before::Wait(Until::GivenBack);
        }
        match self.upstream {
            Upstream::SetupDue(stage) => return Before::SetUp(stage),
            Upstream::AwaitingSetup => return Before::Wait(Until::LoggedIn),
            Upstream::Unlinked if self.identity.deferred().is_some() || self.is_leased() => {
                return Before::Link;
            }
            Upstream::Unlinked
            | Upstream::Pooled
            | Upstream::Ready
            | Upstream::NoDatabase
            | Upstream::Anonymous
            | Upstream::Replica => {}
        }
        match self.profile.as_ref().and_then(|profile| profile.waiting()) {
            Some(Waiting::Permission) => return Before::Wait(Until::NothingPending),
            Some(Waiting::Clients) => return Before::Wait(Until::Clients),
            Some(Waiting::Unblock) => return Before::Unblock,
            None => {}
        }
        match self.before_shared(now) {
            Before::Read if self.identity.deferred().is_some() => Before::Greet,
            before => before,
        }
    }

    fn before_shared(&mut self, now: Tick) -> Before {
        let Some(pooling) = &mut self.pooling else { return Before::Read };
        if self.upstream.is_pooled() && pooling.take_lagging() {
            if self.pending.is_empty() {
                self.take_lease(now);
                return Before::Link;
            }
            pooling.set_lagging();
            return Before::Wait(Until::NothingPending);
        }
        // What is kept no longer than it is needed can only be given back when no reply is pending. The caller puts that
        // off as soon as the client does not accept a reply: it may read nothing before it has written everything.
        let over = pooling.is_over(now);
        if over && self.upstream == Upstream::Ready && !self.pending.is_empty() {
            let state = self.pooling.as_ref().is_some_and(|pooling| self.has_state(pooling));
            if !state && !self.pending.blocks() && !self.transaction.is_begun() {
                return Before::Wait(Until::NothingPending);
            }
        }
        self.before_greeting(now)
    }

    /// A HELLO that asks for the other RESP version waits for a shared connection that speaks it.
    fn before_greeting(&mut self, now: Tick) -> Before {
        let Some(pooling) = self.pooling.as_mut().filter(|pooling| !pooling.is_leased()) else {
            return Before::Read;
        };
        let Some(deferred) = self.identity.deferred() else { return Before::Read };
        let resp3 = deferred.greeting.resp3.unwrap_or_else(|| pooling.resp3());
        if resp3 == pooling.resp3() {
            return Before::Read;
        }
        let Some(line) = pooling.take_refusal() else {
            pooling.switch_to(pooling.db(), resp3);
            return Before::Wait(Until::Pooled);
        };
        let deferred = self.identity.take_deferred();
        if deferred.is_some_and(|deferred| !deferred.muted) {
            self.pending.answer(Local::Made(line), id::HELLO, now);
        }
        Before::Read
    }
}

/// The client as others see it.
impl State {
    /// The answer to a question about other clients; none where it could not be collected.
    pub(super) fn informed(&mut self, findings: Option<&Findings>) {
        let Some(informed) = self.profile.as_mut().and_then(|profile| profile.inform(findings)) else {
            return;
        };
        if informed.ends {
            self.end(CloseReason::Client);
        }
        if let Some(bytes) = informed.reply {
            self.pending.answer(Local::Made(bytes.into_boxed_slice()), id::CLIENT, informed.at);
        }
    }

    /// Returns whether the gate answers CLIENT for this client.
    pub(super) fn answers_client(&self) -> bool {
        self.pooling.is_some() || self.plan().is_public()
    }

    pub(super) fn view<'v, P: Peer>(&'v self, peer: &'v P) -> View<'v> {
        let pooling = self.pooling.as_ref();
        let own = pooling.is_none_or(|pooling| pooling.is_leased());
        let unknown = if self.plan().auth() == Auth::Users { DEFAULT_USER } else { UNKNOWN_USER };
        let db = self.profile.as_ref().map_or(0, |profile| profile.db());
        View {
            peer,
            user: self.acts_as().unwrap_or(unknown),
            db: u64::from(pooling.map_or(db, |pooling| pooling.db())),
            resp3: pooling.map_or_else(|| peer.resp3(), |pooling| pooling.resp3()),
            subscriptions: if own { peer.subscriptions() } else { Subscriptions::default() },
            monitors: self.modes.monitors(),
            blocks: self.pending.blocks(),
            queued: self.transaction.queued(),
            narrow: self.plan().has_rules(),
            masked: if self.plan().is_public() { Masked::Local } else { Masked::None },
        }
    }

    /// Returns the client as an inquiry of `asker` sees it.
    pub(super) fn listed<P: Peer>(&self, peer: &P, inquiry: &Inquiry, asker: u64) -> Listed {
        let asks = peer.id() == asker;
        let masked = match (inquiry.masked, asks) {
            (false, _) => Masked::None,
            (true, true) => Masked::Local,
            (true, false) => Masked::Both,
        };
        let view = View { masked, ..self.view(peer) };
        let unnamed = ClientInfo::default();
        let info = self.profile.as_ref().map_or(&unnamed, |profile| profile.info());
        let (line, view) = info.listed(&view, asks);
        let blocked_as = match self.profile.as_ref().map(|profile| profile.upstream_id()) {
            Some(UpstreamId::Known(id)) if self.pending.blocks() => Some(id),
            _ => None,
        };
        Listed { id: peer.id(), line, blocked_as, view }
    }
}

/// What was sent in place of a client's bytes leaves this much room behind; an idle session is meant to be small.
const IDLE_SCRATCH: usize = 256;

/// In CLIENT LIST, in place of a name that the gate does not know.
const UNKNOWN_USER: &str = "?";
