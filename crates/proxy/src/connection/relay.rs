//! The relay of one client: one task moves the bytes in both directions, as the session and the link decide.
//!
//! A [`Relay`] is made of parts with private fields. The relay tells the parts what has happened, and asks them what
//! to do next:
//!
//! - [`ClientSide`]: the client's socket, and whether the client reads what is written to it.
//! - [`Session`]: the protocol. It judges each command and each reply.
//! - [`Lanes`]: the ways upstream, which are the client's [own connection](own_lane) and a [shared one](pooled_lane).
//! - Two [`Pipe`]s: bytes from the client to the upstream, and back.
//! - [`Clocks`], [`Turn`] and [`Account`]: deadlines, the work of one poll, and memory.
//! - [`SessionGuard`]: the session in the worker's table, the counters and the audit trail.
//!
//! The stages of a client's session:
//!
//! ```text
//!   begin() --> Serving ----- Signal::Drain -----> Draining
//!                  |                                  |
//!                  | Step::Close                      | Step::Close, once no command is in progress
//!                  v                                  |
//!               Closing <-----------------------------+
//!                  |
//!                  | the client was sent everything that it is to get
//!                  v
//!               finish()
//!
//!   any stage -- cut, revoked, a deadline, a failed read or write --> finish()
//!   any stage -- the session contradicts itself --> Failed --> finish()
//! ```

mod account;
mod client_side;
mod deadlines;
mod ended;
mod host;
mod lane;
mod many_lane;
mod outage;
mod own_lane;
mod peer;
mod pooled_lane;
mod quiet;
mod replies;
mod requests;
mod samples;
mod session_guard;
mod shared_nodes;
mod turn;

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use portcullis_session::{CloseReason, Lease, Plan, Pooling, Session, SessionKey, Standing, Unavailable};

use self::account::Account;
use self::client_side::ClientSide;
use self::deadlines::Clocks;
use self::ended::Ended;
use self::host::RelayHost;
use self::lane::Lanes;
use self::many_lane::ManyLane;
use self::outage::Outage;
use self::own_lane::OwnLane;
use self::peer::Asking;
use self::pooled_lane::{LAGGING, PooledLane};
use self::session_guard::SessionGuard;
use self::turn::Turn;
use super::secure::Secured;
use crate::admission::admit::{Client, Parts};
use crate::clock::wall_clock;
use crate::metrics::ClosedReason;
use crate::net::pipe::Pipe;
use crate::net::stream::Stream;
use crate::upstream::target::Target;
use crate::worker::Worker;
use crate::worker::clients::Listable;
use crate::worker::listener_view::ListenerView;
use crate::worker::table::{Entry, Signal, Undecided};

/// The bytes for pending replies that do not count against the memory for buffers. If a session holds more, all of
/// them count.
const PENDING_FREE: usize = 4 * 1024;

/// A client that is served.
pub(crate) enum Relaying {
    /// A client with an upstream connection of its own, or of a cluster.
    Alone(Rc<RefCell<Relay>>),
    /// A client of shared connections to one server.
    Sharing(Box<Seated>),
}

/// A client that the tasks of shared connections find by its key, until this value is dropped.
pub(crate) struct Seated {
    worker: Rc<Worker>,
    key: SessionKey,
    relay: Rc<RefCell<Relay>>,
}

impl Future for Relaying {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let end = |relay: &mut Relay, cx: &mut Context<'_>| {
            let ended = ready!(relay.poll(cx));
            relay.finish(ended);
            Poll::Ready(())
        };
        match &mut *self {
            Self::Alone(relay) => end(&mut relay.borrow_mut(), cx),
            Self::Sharing(seated) => end(&mut seated.relay.borrow_mut(), cx),
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.worker.resources.shared_clients.leave(self.key);
    }
}

/// Returns the plan that applies to a client at first: the plan of the user in its certificate, if that user may
/// connect from the client's address. Otherwise the plan without a user applies.
fn plan_of(client: &Client, named: Option<&str>) -> Arc<Plan> {
    let listener = client.listener();
    let is_admitted = |user: &&str| listener.admits(Some(user), &client.from(), wall_clock()).is_ok();
    let plan = named.filter(is_admitted).and_then(|user| listener.logins().plan(Some(user)));
    Arc::clone(plan.unwrap_or_else(|| listener.logins().nobody()))
}

/// One client and its ways to the upstream.
pub(crate) struct Relay {
    worker: Rc<Worker>,
    guard: SessionGuard,
    /// The upstream, and the logins there.
    target: Rc<Target>,
    client: ClientSide,
    session: Session,
    lanes: Lanes,
    /// The bytes from the client to the upstream.
    requests: Pipe,
    /// The bytes from the upstream to the client.
    replies: Pipe,
    clocks: Clocks,
    turn: Turn,
    account: Account,
    asking: Asking,
    /// The number of unread bytes that the session needs to continue. `None` if it may also continue for another
    /// reason.
    starved: Option<NonZeroU32>,
    stage: Stage,
    outage: Outage,
}

/// The stage of a session. The diagram of the module shows the transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client is served.
    Serving,
    /// The session ends as soon as no command is in progress.
    Draining,
    /// The session ends, for this reason, when the client was sent everything that it is to get.
    Closing(CloseReason),
    /// The session contradicts itself, and ends at once.
    Failed,
}

impl Stage {
    fn drain(&mut self) {
        if *self == Self::Serving {
            *self = Self::Draining;
        }
    }

    const fn close(&mut self, reason: CloseReason) {
        *self = Self::Closing(reason);
    }

    const fn fail(&mut self) {
        *self = Self::Failed;
    }

    /// Returns whether no more commands and replies are judged.
    const fn is_closing(self) -> bool {
        matches!(self, Self::Closing(_) | Self::Failed)
    }
}

impl Relay {
    /// Creates the session of a secured connection. Returns `None` if its listener no longer exists or no longer
    /// admits the client.
    pub(crate) fn begin(worker: Rc<Worker>, id: u64, secured: Secured) -> Option<Relaying> {
        let Secured { stream, client, peer, is_user } = secured;
        // The client was judged when it was accepted, and the worker may have adopted another configuration since. A
        // reload judges only the sessions in the table, so this client is judged again before it enters the table.
        let client = match client.renew(&worker.generation(), wall_clock()) {
            Ok(client) => client,
            Err(revoked) => {
                worker.turn_away(&revoked);
                return None;
            }
        };
        let listener = worker.listener_view(client.listener().name())?;
        let plan = plan_of(&client, peer.as_deref().filter(|_| is_user));
        // To the connections of a cluster, each leg of the client is a client of its own.
        if !plan.is_shared() || listener.target().upstream.is_cluster() {
            let relay = Self::new(worker, id, stream, client, listener, plan, None);
            return Some(Relaying::Alone(relay));
        }
        let key = worker.resources.shared_clients.reserve(id);
        let relay = Self::new(Rc::clone(&worker), id, stream, client, listener, plan, Some(key));
        worker.resources.shared_clients.seat(key, Rc::clone(&relay) as _);
        Some(Relaying::Sharing(Box::new(Seated { worker, key, relay })))
    }

    fn new(
        worker: Rc<Worker>,
        id: u64,
        stream: Stream,
        client: Client,
        listener: Rc<ListenerView>,
        plan: Arc<Plan>,
        shared: Option<SessionKey>,
    ) -> Rc<RefCell<Self>> {
        let Parts { from, sender, permit, generation, place } = client.into_parts();
        let now = worker.resources.clock.now();
        let (target, is_shared) = (listener.target(), plan.is_shared());
        let entry = Rc::new(Entry::new(id, from, listener, permit, generation, now).sent_by(sender));
        let guard = SessionGuard::enter(Rc::clone(&worker), entry, place);
        // No command was read yet, so the certificate has named the user.
        plan.user().into_iter().for_each(|user| guard.named_by_certificate(user));
        let relay = Self {
            session: Session::new(shared.unwrap_or(SessionKey(id)), plan),
            guard,
            worker,
            target,
            client: ClientSide::new(stream),
            lanes: Lanes {
                own: OwnLane::new(),
                pooled: shared.map(|key| Box::new(PooledLane::new(key))),
                is_shared,
                awaited: None,
            },
            requests: Pipe::default(),
            replies: Pipe::default(),
            clocks: Clocks::start(now),
            turn: Turn::default(),
            account: Account::default(),
            asking: Asking::default(),
            starved: None,
            stage: Stage::Serving,
            outage: Outage::default(),
        };
        let relay = Rc::new(RefCell::new(relay));
        let listable: Rc<RefCell<dyn Listable>> = Rc::clone(&relay) as _;
        relay.borrow().guard.entry.set_relay(Rc::downgrade(&listable));
        relay
    }

    /// Does everything that can be done now. Ready at the end of the session.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.guard.entry.remember(cx.waker());
        match self.guard.entry.take_signal() {
            Some(Signal::Cut(reason)) => return Poll::Ready(Ended::at_once(reason)),
            Some(Signal::Drain) => self.stage.drain(),
            None => {}
        }
        if self.guard.entry.take_renewal() {
            self.starved = None;
            let judging = self.guard.entry.take_judging();
            if self.renew() == Standing::Revoked {
                judging.into_iter().for_each(Undecided::cut);
                return Poll::Ready(Ended::at_once(ClosedReason::Revoked));
            }
        }
        if let Some(ended) = self.expire() {
            return Poll::Ready(ended);
        }
        if self.client.is_broken() {
            return Poll::Ready(Ended::at_once(ClosedReason::Client));
        }
        self.lanes.turn_begins();
        self.turn = Turn::begin();
        loop {
            // Subscribers stay until the drain's deadline, because messages for them may arrive at any time.
            if self.stage == Stage::Draining && !self.lanes.own.link().streams() {
                self.session.drain();
            }
            self.lanes.own.drive(cx, !self.replies.is_pending());
            if let Err(ended) = self.requests(cx) {
                return Poll::Ready(ended);
            }
            if self.stage == Stage::Failed {
                return Poll::Ready(Ended::at_once(ClosedReason::Error));
            }
            let before = self.turn.moves();
            if let Err(ended) = self.replies(cx) {
                return Poll::Ready(ended);
            }
            // The table must know a new user before a command of that user is judged.
            if self.tell_user() == Standing::Revoked {
                return Poll::Ready(Ended::at_once(ClosedReason::Revoked));
            }
            // A BLPOP must not take an element for a client that has disconnected, and no subscription may outlive
            // its client.
            if self.client.has_ended() && self.lanes.wait_for_others(&self.session) {
                return Poll::Ready(Ended::at_once(ClosedReason::Client));
            }
            if self.lanes.own.leads_elsewhere() && self.lanes.may_close_own(&self.session, &self.requests) {
                self.lose_upstream(None);
            }
            if self.turn.moves() == before || self.starves_for().is_some() {
                break;
            }
        }
        self.lanes.own.turn_ends(cx);
        self.rest();
        Poll::Pending
    }

    /// Applies the configuration in force to the session. Returns whether the client may stay.
    fn renew(&mut self) -> Standing {
        let listener = &self.guard.entry.listener;
        let becomes_other = listener.target().upstream.is_cluster() != self.target.upstream.is_cluster();
        if becomes_other && self.lanes.are_shared() {
            // The two kinds of upstreams are shared in different ways.
            return Standing::Revoked;
        }
        if self.lanes.own.is_unused() {
            self.target = listener.target();
        }
        outage::look_at_view(self);
        let listener = &self.guard.entry.listener;
        let current = listener.current();
        let subscribed = self.lanes.own.link().subscribed();
        self.session.renew(subscribed, |user| current.logins().plan(user).map(Arc::clone))
    }

    /// Tells the worker's table which user is logged in, so that a reload can cut the clients of a removed user.
    /// Returns whether the client may stay.
    fn tell_user(&mut self) -> Standing {
        let (user, commands) = (self.session.user(), self.guard.totals.commands);
        if user.is_some() {
            self.guard.entry.count_commands(commands);
        }
        if !self.guard.entry.set_user(user, commands) {
            return Standing::Stays;
        }
        self.clocks.user_changed(self.worker.resources.clock.latest());
        let entry = &self.guard.entry;
        match entry.listener.current().admits(user, &entry.from, wall_clock()) {
            Ok(permit) => {
                entry.set_user_permit(permit);
                Standing::Stays
            }
            // A reload came between the login and the upstream's answer to the login.
            Err(_) => Standing::Revoked,
        }
    }

    /// Continues to connect to the upstream. Returns whether the attempt has ended, with or without success.
    fn poll_connect(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(done) = self.lanes.own.poll_connect(&self.target, cx) else { return false };
        match done {
            Ok(()) => {
                if self.target.upstream.is_cluster() {
                    let (target, resources) = (&self.target, &self.worker.resources);
                    let lane = ManyLane::new(target, resources, self.guard.entry.id, None);
                    self.lanes.own.spread(lane);
                }
                self.turn.upstream_changed();
                self.clocks.linked(self.worker.resources.clock.now());
                self.session.linked();
                outage::look_at_view(self);
            }
            Err(error) => {
                tracing::debug!(upstream = %self.target.upstream.name(), %error, "cannot reach the upstream");
                self.lose_upstream(Some(error.kind()));
            }
        }
        true
    }

    /// Gives up the upstream. `why` is the error that the client gets; with `None` the upstream has closed the
    /// connection. The session may go on with another connection.
    fn lose_upstream(&mut self, why: Option<Unavailable>) {
        if let Some(why) = why {
            self.target.counts.error(why.into());
        }
        self.turn.moved();
        // An early connection that no command waits for is forgotten, and the client does not notice the failure.
        let nothing_waits = self.requests.unread().is_empty() && !self.requests.is_pending();
        if nothing_waits && self.session.forget_early() {
            self.lanes.own.close(&self.target, &mut self.replies);
            self.target = self.guard.entry.listener.target();
            return;
        }
        if !outage::is_survived(self, why) {
            outage::end(self, why);
        }
    }

    /// Closes the client's own upstream connection if its lease is over. Returns whether it was closed.
    fn return_lease(&mut self) -> bool {
        if !self.lanes.are_shared() {
            return false;
        }
        let now = self.worker.resources.clock.latest();
        match self.session.lease(now) {
            Lease::Over => {}
            Lease::Until(_) if self.lanes.own.leads_elsewhere() => {}
            Lease::None | Lease::Needed | Lease::Until(_) => return false,
        }
        // A connection with subscriptions or many unread replies is kept, unless the client has sent RESET.
        let may_bring_more = self.lanes.own.link().streams() || self.replies.waiting() > LAGGING;
        if !self.session.pooling().is_some_and(Pooling::has_left) && may_bring_more {
            if let Some(pooling) = self.session.pooling_mut() {
                pooling.keep_lease(now);
            }
            return false;
        }
        // The upstream answered before all bytes of the commands were sent to it. The rest must not go to the next
        // connection.
        if self.requests.is_pending() {
            if self.lanes.own.is_open() {
                self.turn.moved();
                outage::end(self, None);
            }
            return false;
        }
        self.lanes.own.close(&self.target, &mut self.replies);
        self.session.give_back();
        // A session with an upstream connection keeps its target through a reload, so the reload is applied here. If
        // the client may not stay, the session ends by itself.
        if !Rc::ptr_eq(&self.target, &self.guard.entry.listener.target()) {
            let _ = self.renew();
        }
        self.turn.moved();
        true
    }

    /// Ends a turn in which nothing more can be done: returns memory, updates the accounts and sets the next
    /// deadline.
    fn rest(&mut self) {
        self.requests.park(&self.worker.resources.pool);
        self.replies.park(&self.worker.resources.pool);
        self.lanes.own.park();
        let pending = self.session.held() + self.lanes.own.link().held();
        let aside = self.requests.aside()
            + self.replies.aside()
            + self.client.held_by_tls()
            + self.lanes.own.held_aside()
            + if pending > PENDING_FREE { pending } else { 0 };
        let leased = self.requests.leased() + self.replies.leased() + self.lanes.own.leased();
        self.account.update(&self.worker.resources, &self.guard.entry, leased, aside);
        outage::rest(self);
        quiet::rest(self);
        self.guard.entry.uses_rights.set(self.session.uses_rights(self.lanes.own.link()));
        self.set_deadline();
    }

    /// Reports the end of the session, and closes the client's connection as the reason of the end requires.
    fn finish(&mut self, ended: Ended) {
        self.guard.leave(ended.reason);
        let Some(mut client) = self.client.take_stream() else { return };
        match ended.reason {
            // A client that does not read leaves bytes in the kernel. A reset frees that memory as well.
            ClosedReason::Slow | ClosedReason::Limit => client.reset_on_close(),
            _ if ended.gently && !self.client.has_ended() => self.worker.lingering.part(client),
            _ => {}
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.lanes.own.lose(&self.target);
        self.requests.release(&self.worker.resources.pool);
        self.replies.release(&self.worker.resources.pool);
        self.account.update(&self.worker.resources, &self.guard.entry, 0, 0);
    }
}
