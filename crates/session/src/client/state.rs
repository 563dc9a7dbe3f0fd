//! The state of a session without its framing, and the transitions that span several of its parts.

use std::sync::Arc;

use portcullis_resp::command::{CommandId, id};

use super::continuity::{self, Again};
use super::identity::{Deferred, Identity, Renewed};
use super::kept::Kept;
use super::modes::Modes;
use super::mute::Mute;
use super::passing::Passing;
use super::pooling::{Lease, Pooling};
use super::profile::{Profile, Unblock, UpstreamId, Waiting, user_name};
use super::scripts::Scripts;
use super::step::{CloseReason, Standing, Until};
use super::transaction::Transaction;
use super::upstream::Upstream;
use super::uses::Change;
use super::verdict::Verdict;
use crate::ids::SessionKey;
use crate::link::{PoolKey, Preamble, Stage, Subscribed, Subscriptions, Unavailable};
use crate::local::client_info::{ClientInfo, Masked, View};
use crate::local::clients::{ClientFacts, Findings, Inquiry, Listed};
use crate::local::hello::DEFAULT_USER;
use crate::observe::Peer;
use crate::pending::{Local, PendingReplies};
use crate::plan::{Auth, Plan};
use crate::tick::Tick;

/// The state by which a command is judged, and which a reply may change.
#[derive(Debug)]
pub(super) struct State {
    pub(super) pending: PendingReplies,
    pub(super) mute: Mute,
    pub(super) transaction: Transaction,
    pub(super) modes: Modes,
    pub(super) upstream: Upstream,
    pub(super) passing: Passing,
    pub(super) identity: Identity,
    pub(super) kept: Kept,
    /// The scripts that the client has loaded.
    pub(super) scripts: Scripts,
    /// Whether ROLE must ask for the role of the server, because the reply to HELLO does not tell it.
    pub(super) asks_role: bool,
    /// The part that shares upstream connections. `None` on a listener that does not share them.
    pub(super) pooling: Option<Box<Pooling>>,
    /// The state of CLIENT. `None` until the client needs one.
    pub(super) profile: Option<Box<Profile>>,
    /// The blocking command that is sent again to the new master.
    pub(super) again: Option<Box<Again>>,
    /// The bytes that are sent or passed on in place of other bytes.
    pub(super) scratch: Vec<u8>,
    ending: Option<CloseReason>,
}

/// The step that must come before the session reads.
pub(super) enum Before {
    /// None: the session may read.
    Read,
    /// A wait for this event.
    Wait(Until),
    /// A request for an upstream connection of the client's own.
    Link,
    /// A step of the connection's setup.
    SetUp(Stage),
    /// The CLIENT UNBLOCK for another client.
    Unblock(Box<Unblock>),
    /// The HELLO that waits.
    Greet(Box<Deferred>),
    /// The blocking command that is sent again.
    Again(Box<Again>),
}

impl State {
    /// Creates the state of a client that has sent nothing yet.
    pub(super) fn of(key: SessionKey, plan: Arc<Plan>) -> Self {
        let mut state = Self {
            pending: PendingReplies::of(key),
            mute: Mute::default(),
            transaction: Transaction::default(),
            modes: Modes::default(),
            upstream: Upstream::default(),
            passing: Passing::default(),
            pooling: plan.is_shared().then(Box::default),
            kept: Kept::new(plan.carries()),
            scripts: Scripts::default(),
            asks_role: false,
            identity: Identity::of(plan),
            profile: None,
            again: None,
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

    /// Frees memory that a long command needed.
    pub(super) fn shrink(&mut self) {
        if self.scratch.capacity() > IDLE_SCRATCH {
            self.scratch = Vec::new();
        }
    }

    /// Returns the bytes of memory that grow with the client's requests.
    #[inline]
    pub(super) fn held(&self) -> usize {
        let pooling = self.pooling.as_ref().map_or(0, |pooling| pooling.held());
        let profile = self.profile.as_ref().map_or(0, |profile| profile.held());
        self.pending.held()
            + self.scratch.capacity()
            + self.identity.held()
            + self.scripts.held()
            + self.again.as_ref().map_or(0, |again| again.frame.len())
            + pooling
            + profile
            + self.modes.held()
    }
}

/// Methods for the session's end.
impl State {
    /// Ends the session when no reply is pending. If it is called again, the first reason counts.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.ending.get_or_insert(reason);
    }

    /// Returns the reason for which the session ends. `None` if it does not end.
    pub(super) const fn ending(&self) -> Option<CloseReason> {
        self.ending
    }

    /// Handles an upstream that is lost or unavailable.
    pub(super) fn lost(&mut self, why: Option<Unavailable>) {
        let line = why.map(|why| continuity::unavailable(self.plan().upstream(), why));
        self.end_by_loss(line, why);
    }

    /// Ends the session because its upstream is lost or unavailable. `line` is the error that the client gets.
    pub(super) fn end_by_loss(&mut self, line: Option<Vec<u8>>, why: Option<Unavailable>) {
        let cut = self.passing.is_cut();
        // If the client has sent SHUTDOWN, the end of the connection is the reply.
        let shuts_down = self.pending.front().is_some_and(|front| front.id == id::SHUTDOWN);
        if let Some(profile) = &mut self.profile {
            profile.forget_question();
        }
        let had_pending = self.pending.forsake_upstream(cut);
        if self.ending.is_some() && !had_pending {
            return;
        }
        let deferred = self.identity.take_deferred();
        let muted = deferred.map_or_else(|| self.mute.take(), |deferred| deferred.muted);
        let unheard = muted || cut || shuts_down || self.upstream.is_replica();
        if let Some(line) = line.filter(|_| !unheard) {
            self.pending.answer(Local::Made(line.into_boxed_slice()), CommandId::UNKNOWN, Tick::default());
        }
        self.ending = Some(CloseReason::Upstream(why));
    }
}

/// Methods for the client's upstream connection.
impl State {
    /// Refuses a command that is not allowed inside MULTI, if a transaction may have begun.
    pub(super) fn excluded(&self) -> Option<Verdict> {
        self.transaction.excludes(&self.pending)
    }

    /// Returns the kind of shared connection that the client needs. If the client waits for another kind, returns that
    /// kind. The client's own connection is set up for the same kind.
    pub(super) fn pool_key(&self) -> PoolKey {
        let awaited = self.pooling.as_ref().and_then(|pooling| pooling.awaited());
        let (db, resp3) = awaited.unwrap_or_else(|| (self.kept.db(), self.kept.resp3()));
        PoolKey { preamble: self.identity.key().cloned(), db, resp3, asks_role: self.plan().asks_role() }
    }

    /// Records a fresh upstream connection for this client alone.
    pub(super) fn connected(&mut self) {
        self.passing.connect();
        if let Some(profile) = &mut self.profile {
            profile.forget_upstream();
        }
        self.set_up_due();
    }

    /// Requests the setup of a fresh connection, or of one after RESET, before it carries commands.
    pub(super) fn set_up_due(&mut self) {
        self.identity.connect();
        self.asks_role = false;
        if self.plan().is_anonymous() {
            self.upstream.connect_anonymous();
        } else {
            let key = self.pool_key();
            self.upstream.connect(continuity::setup(self, &key).first());
        }
    }

    /// Records that the upstream accepted the connection's setup.
    pub(super) const fn set_up(&mut self) {
        self.upstream.set_up();
        self.identity.set_up();
    }

    /// Lets ROLE ask for the role of the server, after the other steps of the set-up.
    pub(super) fn ask_role(&mut self) {
        self.asks_role = true;
        self.upstream.ask_role();
    }

    /// Records that the upstream refuses the client's database on the client's own connection, as it does while a
    /// script runs.
    pub(super) fn refuse_database(&mut self, line: &[u8]) {
        self.upstream.refuse_database();
        if let Some(pooling) = &mut self.pooling {
            pooling.refuse(line);
        }
    }

    /// Records that Redis switched the client's own connection to this database. `None` means a database that the gate
    /// does not know.
    pub(super) fn selected(&mut self, db: Option<u32>) {
        match db {
            Some(db) => self.kept.select(db),
            None => self.kept.bind(id::SELECT),
        }
        if let Some(pooling) = &mut self.pooling {
            pooling.selected(db.is_some());
            self.upstream.select_database();
        }
    }
}

/// Methods for the client's user.
impl State {
    /// Returns the user as which the client's commands run. Returns `None` if the user is unknown: under
    /// [`Auth::Users`] before a login, and under [`Auth::Passthrough`] after a login that the gate did not follow.
    pub(super) fn acts_as(&self) -> Option<&str> {
        match self.plan().auth() {
            Auth::Passthrough if self.identity.has_passed_through() => self.profile.as_ref()?.user(),
            Auth::Users => self.plan().user(),
            Auth::Passthrough | Auth::Trust => Some(DEFAULT_USER),
        }
    }

    /// Records that the client's own login as `user` is sent. `None` means a user that the gate does not know.
    pub(super) fn begin_login(&mut self, user: Option<&[u8]>) {
        let user = user_name(user);
        if user.is_some() || self.profile.is_some() {
            self.profile_mut().begin_login(user);
        }
    }

    /// Returns whether another user may log in now. While a reply to the current user is pending on an upstream
    /// connection, no other user may.
    pub(super) fn may_enter(&self) -> bool {
        self.pending.is_empty() || !(self.upstream.is_linked() || self.pooling.is_some())
    }

    /// Makes another user the current one.
    pub(super) fn enter(&mut self, plan: Arc<Plan>, key: Option<Preamble>) {
        self.identity.enter(plan, key);
        self.upstream.admit();
        self.rejoin();
    }

    /// Makes the user at admission the current one again, because the upstream has forgotten the client's user or never
    /// knew it.
    pub(super) fn leave(&mut self) {
        self.identity.leave();
        if self.upstream.is_linked() {
            self.set_up_due();
        }
        self.rejoin();
    }

    /// Ends the part of the client's profile that RESET ends.
    pub(super) fn reset_profile(&mut self) {
        self.identity.set_passed_through(false);
        self.kept.reset();
        if let Some(profile) = &mut self.profile {
            profile.reset();
        }
    }

    /// Puts the plans of a new configuration in force. If the client's rules no longer name replication, a replication
    /// stream ends at once, without one more byte.
    pub(super) fn renew(&mut self, renewed: Renewed) -> Standing {
        // The old rules allowed the queued commands, but EXEC would run them under the new rules.
        if !renewed.plan.shares_rules_with(self.plan()) {
            self.transaction.spoil();
        }
        self.kept.renew(renewed.plan.carries());
        if self.identity.renew(renewed)
            && let Some(pooling) = &mut self.pooling
        {
            pooling.forget_switch();
        }
        let named = [id::SYNC, id::PSYNC].iter().any(|command| !self.plan().cares_by_rule(*command));
        if named || !self.upstream.is_replica() {
            return Standing::Stays;
        }
        self.end(CloseReason::NotReplication);
        Standing::Revoked
    }

    /// Returns whether `plan` allows everything that the client has in progress.
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

/// Methods for shared connections.
impl State {
    /// Returns whether the client has its own connection, or waits for one, on a listener that shares connections.
    pub(super) fn is_leased(&self) -> bool {
        self.pooling.as_ref().is_some_and(|pooling| pooling.is_leased())
    }

    /// Lets the client use shared connections again, if it is logged in and has no connection of its own.
    pub(super) fn rejoin(&mut self) {
        let may_share = !self.plan().is_anonymous();
        let Some(pooling) = &mut self.pooling else { return };
        pooling.advance();
        if !pooling.is_leased() {
            self.upstream.share(may_share);
        }
    }

    /// Gives the client a connection of its own.
    pub(super) fn take_lease(&mut self, now: Tick) {
        let Some(pooling) = &mut self.pooling else { return };
        pooling.take(now);
        self.upstream.disconnect();
    }

    /// Makes a shared connection the client's own. It carries no pending replies of other clients, and is of the kind
    /// of [`State::pool_key`].
    pub(super) fn adopt(&mut self, now: Tick) {
        self.take_lease(now);
        if let Some(pooling) = &mut self.pooling {
            pooling.adopt();
        }
        self.set_up();
        self.identity.fix_key();
        // A command that waited for the pending replies may not need to wait any more.
        self.pending.release();
    }

    /// Records that the client's own upstream connection was closed.
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

    /// Returns what to do with the client's own connection, on a listener that shares connections. `is_idle` says
    /// whether the client has nothing in progress.
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

    /// Returns whether the connection has state other than pending replies.
    const fn has_state(&self, pooling: &Pooling) -> bool {
        pooling.is_for_good()
            || self.transaction.holds_connection()
            || self.modes.hold_connection()
            || self.passing.is_mid_message()
    }

    /// Returns the step that must come before the session reads.
    pub(super) fn before(&mut self, now: Tick) -> Before {
        // The gate sends no more commands on a connection that will be given back.
        if self.pooling.as_ref().is_some_and(|pooling| pooling.has_left()) {
            return Before::Wait(Until::GivenBack);
        }
        match self.upstream {
            Upstream::SetupDue(stage) => return Before::SetUp(stage),
            Upstream::AwaitingSetup => return Before::Wait(Until::LoggedIn),
            Upstream::Unlinked
                if self.identity.deferred().is_some() || self.again.is_some() || self.waits_for_lease() =>
            {
                return Before::Link;
            }
            Upstream::Unlinked
            | Upstream::Pooled
            | Upstream::Ready
            | Upstream::NoDatabase
            | Upstream::Anonymous
            | Upstream::Replica => {}
        }
        if let Some(again) = self.again.take() {
            return Before::Again(again);
        }
        if let Some(profile) = &mut self.profile {
            match profile.waiting() {
                Some(Waiting::Permission) => return Before::Wait(Until::NothingPending),
                Some(Waiting::Clients) => return Before::Wait(Until::Clients),
                Some(Waiting::Unblock) | None => {}
            }
            if let Some(unblock) = profile.take_unblock() {
                return Before::Unblock(unblock);
            }
        }
        match self.before_shared(now) {
            Before::Read => self.identity.take_deferred().map_or(Before::Read, Before::Greet),
            before => before,
        }
    }

    /// Returns whether the client waits for a connection of its own. If the upstream has been unavailable for too long,
    /// its commands get errors.
    fn waits_for_lease(&self) -> bool {
        self.is_leased() && self.kept.failing().is_none()
    }

    fn before_shared(&mut self, now: Tick) -> Before {
        let Some(pooling) = &mut self.pooling else { return Before::Read };
        if self.upstream.is_pooled() && pooling.take_lagging() {
            if self.pending.is_empty() {
                self.take_lease(now);
                return if self.waits_for_lease() { Before::Link } else { Before::Read };
            }
            pooling.set_lagging();
            return Before::Wait(Until::NothingPending);
        }
        // A connection whose lease is over can only be given back when no reply is pending. If the client does not
        // accept a reply, the caller extends the lease at once. Otherwise it would read nothing more from the client
        // until it has written every reply.
        let over = pooling.is_over(now);
        if over && self.upstream == Upstream::Ready && !self.pending.is_empty() {
            let state = self.pooling.as_ref().is_some_and(|pooling| self.has_state(pooling));
            if !state && !self.pending.blocks() && !self.transaction.is_begun() {
                return Before::Wait(Until::NothingPending);
            }
        }
        self.before_greeting(now)
    }

    /// Returns the step before a HELLO is sent. A HELLO for another RESP version waits for a shared connection of that
    /// version.
    fn before_greeting(&mut self, now: Tick) -> Before {
        let Some(pooling) = self.pooling.as_mut().filter(|pooling| !pooling.is_leased()) else {
            return Before::Read;
        };
        let Some(deferred) = self.identity.deferred() else { return Before::Read };
        let resp3 = deferred.greeting.resp3.unwrap_or_else(|| self.kept.resp3());
        if resp3 == self.kept.resp3() {
            return Before::Read;
        }
        let Some(line) = pooling.take_refusal() else {
            pooling.switch_to(self.kept.db(), resp3);
            return Before::Wait(Until::Pooled);
        };
        let deferred = self.identity.take_deferred();
        if deferred.is_some_and(|deferred| !deferred.muted) {
            self.pending.answer(Local::Made(line), id::HELLO, now);
        }
        Before::Read
    }
}

/// Methods for the client as other clients see it.
impl State {
    /// Accepts the answer to a question about other clients. `None` means that the caller could not collect the answer.
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
        self.pooling.is_some() || self.plan().answers_client()
    }

    pub(super) fn view<'v, P: Peer>(&'v self, peer: &'v P) -> View<'v> {
        let pooling = self.pooling.as_ref();
        let own = pooling.is_none_or(|pooling| pooling.is_leased());
        let unknown = if self.plan().auth() == Auth::Users { DEFAULT_USER } else { UNKNOWN_USER };
        let listening = self.profile.as_ref().and_then(|profile| profile.listening());
        let subscriptions = match listening {
            Some(listening) => listening.subscriptions(),
            None if own => peer.subscriptions(),
            None => Subscriptions::default(),
        };
        let is_kept = pooling.is_some() || (continuity::follows(self) && listening.is_none());
        let resp3 = || listening.map_or_else(|| peer.resp3(), |listening| listening.resp3());
        View {
            peer,
            user: self.acts_as().unwrap_or(unknown),
            db: u64::from(self.kept.db()),
            resp3: if is_kept { self.kept.resp3() } else { resp3() },
            subscriptions,
            monitors: self.modes.monitors(),
            blocks: self.pending.blocks(),
            queued: self.transaction.queued(),
            narrow: self.plan().has_rules(),
            masked: if self.plan().is_public() { Masked::Local } else { Masked::None },
        }
    }

    /// Returns the client as the operator sees it.
    pub(super) fn facts<P: Peer>(&self, peer: &P) -> ClientFacts {
        let view = self.view(peer);
        let info = self.profile.as_ref().map(|profile| profile.info());
        let Subscriptions { channels, patterns, shards } = view.subscriptions;
        ClientFacts {
            user: self.acts_as().map(str::to_owned),
            name: info.map(|info| info.name().to_owned()).unwrap_or_default(),
            library: info.map(ClientInfo::library).unwrap_or_default(),
            db: view.db,
            resp3: view.resp3,
            subscriptions: [channels, patterns, shards].into_iter().fold(0, u64::saturating_add),
            monitors: view.monitors,
            blocks: view.blocks,
            in_transaction: view.queued.is_some(),
        }
    }

    /// Returns the client as the inquiry of `asker` sees it.
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

/// The capacity in bytes that `scratch` keeps after use, because an idle session must be small.
const IDLE_SCRATCH: usize = 256;

/// The name of an unknown user in CLIENT LIST.
const UNKNOWN_USER: &str = "?";
