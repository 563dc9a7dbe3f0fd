//! Moving bytes: client to upstream and back, both directions in one task, as the session and the link say.

mod deadlines;
mod ended;
mod host;
mod peer;
mod pooled_lane;
mod replies;
mod requests;
mod session_guard;

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use portcullis_session::{CloseReason, Link, Plan, Session, SessionKey, Tick, Unavailable};

use self::deadlines::{FrameClock, LoginClock};
use self::ended::Ended;
use self::host::RelayHost;
use self::peer::Asking;
use self::pooled_lane::PooledLane;
use self::session_guard::SessionGuard;
use super::secure::Secured;
use crate::admission::admit::{Client, Parts};
use crate::clock::wall_clock;
use crate::metrics::{ClosedReason, Direction, UpstreamState};
use crate::net::pipe::Pipe;
use crate::net::stream::Stream;
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::route::Route;
use crate::worker::Worker;
use crate::worker::clients::Listable;
use crate::worker::listener_view::ListenerView;
use crate::worker::table::{Entry, Signal, Undecided};

/// Reads of one turn, both directions together: 128 KiB. A client that pipelines without end takes a fraction of a
/// millisecond at a time, and others on the worker get theirs in between. Tokio's own budget allows five times as much.
const READS_PER_TURN: u32 = 8;

/// What a session owes and is owed counts against the buffers from here on; below, it is part of what a session costs.
const OWED_FREE: usize = 4 * 1024;

/// A client that is served.
pub(crate) enum Relaying {
    /// By a connection of its own, and nobody else knows of it.
    Alone(Rc<RefCell<Relay>>),
    /// By connections that it shares with others, whose tasks know it by its key.
    Sharing(Box<Seated>),
}

/// A client whom the tasks of shared connections know as long as it is there.
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

/// What holds for a client at first: as the user whom its certificate names, where that is one and may come from there.
fn plan_of(client: &Client, named: Option<&str>) -> Arc<Plan> {
    let listener = client.listener();
    let is_admitted = |user: &&str| listener.admits(Some(user), &client.from(), wall_clock()).is_ok();
    let plan = named.filter(is_admitted).and_then(|user| listener.logins().plan(Some(user)));
    Arc::clone(plan.unwrap_or_else(|| listener.logins().nobody()))
}

/// One client with its upstream connection.
pub(crate) struct Relay {
    worker: Rc<Worker>,
    guard: SessionGuard,
    route: Rc<Route>,
    client: Option<Stream>,
    upstream: Upstream,
    session: Session,
    link: Link,
    /// Where upstream connections are shared.
    pooled: Option<Box<PooledLane>>,
    up: Pipe,
    down: Pipe,
    client_ended: bool,
    draining: bool,
    closing: Option<CloseReason>,
    /// How many unread bytes the link wants to see at once.
    reply_need: usize,
    asked_at: Tick,
    answered_at: Tick,
    linked_at: Tick,
    /// Since when it is this user who is logged in, or nobody.
    user_since: Tick,
    /// Since when the upstream owes something and has said nothing.
    silent_since: Tick,
    frame: FrameClock,
    login: LoginClock,
    accounted: usize,
    aside: usize,
    /// Counts what changed in this turn, so that it goes on until nothing does.
    moves: u32,
    /// How many unread bytes there must be for the session to go on, where it waits for nothing else.
    starved: Option<NonZeroU32>,
    /// How many reads are left of this turn.
    reads_left: u32,
    /// Bytes that the upstream accepted since the client last accepted any, while replies wait for it.
    piped: u32,
    /// What waits for the client was pressed on it since it last accepted any.
    pressed: bool,
    /// That goes on until the kernel takes no more.
    presses: bool,
    /// The kernel's own limit is lifted until the client accepts some.
    lets_write: bool,
    /// What a read has found in this turn; its waker will tell when that changes.
    dry: Dry,
    /// The session's question about other clients.
    asking: Option<Box<Asking>>,
}

/// The upstream side.
enum Upstream {
    /// Not needed yet.
    None,
    /// Being connected.
    Dialling(Pin<Box<dyn Future<Output = Result<Stream, ConnectError>>>>),
    /// Connected.
    Open(Stream),
    /// Had and lost, or not to be had.
    Gone,
}

/// Where there is nothing to read.
#[derive(Clone, Copy, Default)]
struct Dry {
    client: bool,
    upstream: bool,
}

impl Relay {
    /// Makes a session of a connection. `None`: its listener is gone, or does not admit it any more.
    pub(crate) fn begin(worker: Rc<Worker>, id: u64, secured: Secured) -> Option<Relaying> {
        let Secured { stream, client, peer, is_user } = secured;
        // Judged when it was accepted; another config may be in force by now, and the table holds none that it turns away.
        let client = match client.renew(&worker.generation(), wall_clock()) {
            Ok(client) => client,
            Err(revoked) => {
                worker.turn_away(&revoked);
                return None;
            }
        };
        let listener = worker.listener_view(client.listener().name())?;
        let plan = plan_of(&client, peer.as_deref().filter(|_| is_user));
        if !plan.is_shared() {
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
        let route = listener.route();
        let entry = Rc::new(Entry::new(id, from, listener, permit, generation, now).sent_by(sender));
        let relay = Self {
            session: Session::new(shared.unwrap_or(SessionKey(id)), plan),
            guard: SessionGuard::enter(Rc::clone(&worker), entry, place),
            worker,
            route,
            client: Some(stream),
            upstream: Upstream::None,
            link: Link::new(),
            pooled: shared.map(|key| Box::new(PooledLane::new(key))),
            up: Pipe::default(),
            down: Pipe::default(),
            client_ended: false,
            draining: false,
            closing: None,
            reply_need: 1,
            asked_at: now,
            answered_at: now,
            linked_at: now,
            user_since: now,
            silent_since: now,
            frame: FrameClock::default(),
            login: LoginClock::default(),
            accounted: 0,
            aside: 0,
            moves: 0,
            starved: None,
            reads_left: 0,
            piped: 0,
            pressed: false,
            presses: false,
            lets_write: false,
            dry: Dry::default(),
            asking: None,
        };
        let relay = Rc::new(RefCell::new(relay));
        let listable: Rc<RefCell<dyn Listable>> = Rc::clone(&relay) as _;
        relay.borrow().guard.entry.set_relay(Rc::downgrade(&listable));
        relay
    }

    /// Moves what can be moved now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.guard.entry.remember(cx.waker());
        match self.guard.entry.take_signal() {
            Some(Signal::Cut(reason)) => return Poll::Ready(Ended::at_once(reason)),
            Some(Signal::Drain) => self.draining = true,
            None => {}
        }
        if self.guard.entry.take_renewal() {
            self.starved = None;
            let judging = self.guard.entry.take_judging();
            if !self.renew() {
                judging.into_iter().for_each(Undecided::cut);
                return Poll::Ready(Ended::at_once(ClosedReason::Revoked));
            }
        }
        if let Some(ended) = self.expire() {
            return Poll::Ready(ended);
        }
        if let Err(ended) = self.check_shared() {
            return Poll::Ready(ended);
        }
        self.moves = 0;
        self.reads_left = READS_PER_TURN;
        self.dry = Dry::default();
        loop {
            // Subscribers stay until the drain's deadline: for them something is always in flight.
            if self.draining && !self.link.streams() {
                self.session.drain();
            }
            if let Err(ended) = self.requests(cx) {
                return Poll::Ready(ended);
            }
            let before = self.moves;
            if let Err(ended) = self.replies(cx) {
                return Poll::Ready(ended);
            }
            // Before a command of theirs is judged.
            if !self.tell_user() {
                return Poll::Ready(Ended::at_once(ClosedReason::Revoked));
            }
            // A BLPOP must not pop for a client that left, nor a subscriber outlive its reader.
            if self.client_ended && (self.session.blocks() || self.link.streams()) {
                return Poll::Ready(Ended::at_once(ClosedReason::Client));
            }
            if self.moves == before || self.starves_for().is_some() {
                break;
            }
        }
        self.rest();
        Poll::Pending
    }

    /// Goes on under another config. False: not as who the client is.
    fn renew(&mut self) -> bool {
        let listener = &self.guard.entry.listener;
        if matches!(self.upstream, Upstream::None) {
            self.route = listener.route();
        }
        let current = listener.current();
        self.session.renew(self.link.subscribed(), |user| current.logins().plan(user).map(Arc::clone))
    }

    /// The table knows who has logged in, so that a reload can cut who may not stay. False: this one may not.
    fn tell_user(&mut self) -> bool {
        let user = self.session.user();
        if !self.guard.entry.set_user(user) {
            return true;
        }
        self.user_since = self.worker.resources.clock.latest();
        let entry = &self.guard.entry;
        match entry.listener.current().admits(user, &entry.from, wall_clock()) {
            Ok(permit) => {
                entry.set_user_permit(permit);
                true
            }
            // Between the login and what the upstream said to it another config came.
            Err(_) => false,
        }
    }

    /// Connects to the upstream, as the session's first command asks for.
    fn dial(&mut self) {
        let route = Rc::clone(&self.route);
        self.upstream =
            Upstream::Dialling(Box::pin(async move { connect(&route.upstream, &route.tcp).await }));
    }

    /// True: what came of it may let the session go on.
    fn poll_dial(&mut self, cx: &mut Context<'_>) -> bool {
        let Upstream::Dialling(attempt) = &mut self.upstream else { return false };
        let Poll::Ready(done) = attempt.as_mut().poll(cx) else { return false };
        self.moves += 1;
        match done {
            Ok(stream) => {
                self.route.counts.connection(UpstreamState::Used, 1);
                self.upstream = Upstream::Open(stream);
                self.dry.upstream = false;
                self.linked_at = self.worker.resources.clock.now();
                self.silent_since = self.linked_at;
                self.session.linked();
            }
            Err(error) => {
                tracing::debug!(upstream = %self.upstream_name(), %error, "cannot reach the upstream");
                self.upstream = Upstream::Gone;
                self.lose_upstream(Some(error.kind()));
            }
        }
        true
    }

    /// The upstream is of no use any more. `why`: what the client is told.
    fn lose_upstream(&mut self, why: Option<Unavailable>) {
        if let Some(why) = why {
            self.route.counts.error(why.into());
        }
        if self.forget_early() {
            return;
        }
        self.hang_up();
        self.leave_shared();
        self.session.lost(why);
        self.moves += 1;
    }

    /// Whether it was of no use yet, and nothing waits for it.
    fn forget_early(&mut self) -> bool {
        let nothing_waits = self.up.unread().is_empty() && !self.up.is_pending();
        if !nothing_waits || !self.session.forget_early() {
            return false;
        }
        self.hang_up();
        self.upstream = Upstream::None;
        self.link = Link::new();
        self.reply_need = 1;
        let unread = self.down.unread().len();
        self.down.skip(unread);
        self.route = self.guard.entry.listener.route();
        self.moves += 1;
        true
    }

    fn hang_up(&mut self) {
        if let Upstream::Open(_) = std::mem::replace(&mut self.upstream, Upstream::Gone) {
            self.route.counts.connection(UpstreamState::Used, -1);
        }
    }

    /// Nothing more can be done now: memory goes back, and the next deadline is set.
    fn rest(&mut self) {
        self.up.park(&self.worker.resources.pool);
        self.down.park(&self.worker.resources.pool);
        let pending = self.session.held() + self.link.held();
        let aside = self.up.aside()
            + self.down.aside()
            + self.held_by_tls()
            + if pending > OWED_FREE { pending } else { 0 };
        self.account(self.up.leased() + self.down.leased(), aside);
        self.guard.entry.uses_rights.set(self.session.uses_rights(&self.link));
        self.set_deadline();
    }

    fn held_by_tls(&self) -> usize {
        let upstream = match &self.upstream {
            Upstream::Open(upstream) => upstream.held(),
            _ => 0,
        };
        self.client.as_ref().map_or(0, Stream::held) + upstream
    }

    /// Whether this turn may read once more. If not, the next turn is asked for.
    fn may_read(&self, cx: &Context<'_>) -> bool {
        if self.reads_left == 0 {
            cx.waker().wake_by_ref();
        }
        self.reads_left > 0
    }

    fn account(&mut self, leased: usize, aside: usize) {
        if aside != self.aside {
            self.worker.resources.pool.count_aside(self.aside, aside);
            self.aside = aside;
        }
        let held = leased + aside;
        if held == self.accounted {
            return;
        }
        self.guard.entry.held.set(held);
        let delta =
            i64::try_from(held).unwrap_or(i64::MAX) - i64::try_from(self.accounted).unwrap_or(i64::MAX);
        self.worker.resources.stats.buffers(delta);
        self.accounted = held;
    }

    fn finish(&mut self, ended: Ended) {
        self.guard.leave(ended.reason);
        let Some(mut client) = self.client.take() else { return };
        match ended.reason {
            // What the kernel still holds for a client that does not read is memory as well.
            ClosedReason::Slow | ClosedReason::Limit => client.reset_on_close(),
            _ if ended.gently && !self.client_ended => self.worker.lingering.part(client),
            _ => {}
        }
    }

    fn upstream_name(&self) -> &str {
        self.route.upstream.name()
    }

    fn count_bytes(&mut self, direction: Direction, n: u64) {
        self.guard.entry.listener.counts.bytes(direction, n);
        self.moves += 1;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.hang_up();
        self.up.release(&self.worker.resources.pool);
        self.down.release(&self.worker.resources.pool);
        self.account(0, 0);
    }
}
