//! One shared connection. Its task sets the connection up, writes the commands of clients, and hands out the replies.

mod again;
mod ending;
mod handover;
mod outbox;
mod run;
mod stall;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_config::tls::TlsFault;
use portcullis_session::{PoolFault, PooledLink, SessionKey, Shape, Shared, Tick, Ticket, Unavailable};
use tokio::task::{spawn_local, unconstrained};
use tokio::time::{Instant, Sleep, sleep};

use self::ending::{End, Running};
pub(crate) use self::handover::HandedOver;
use self::outbox::Outbox;
use self::run::WriteRun;
use self::stall::Stalled;
use super::pool::{Class, Pool};
use super::resources::Resources;
use super::shared_clients::Delivered;
use crate::metrics::UpstreamState;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use crate::upstream::connect::ConnectError;
use crate::upstream::view::{Leaving, Traffic, View};

/// The size of one read in bytes, enough for the replies to some hundred clients.
const READ: usize = 64 * 1024;

/// The number of reads in one turn of the task. Then other tasks of the worker run.
const READS_PER_TURN: u32 = 4;

/// The number of unwritten bytes from which the connection takes no new commands: Redis does not keep up.
const MAX_UNWRITTEN: usize = 256 * 1024;

/// The time after which an unused connection is closed.
const IDLE: Duration = Duration::from_secs(60);

/// A connection of a pool. The task of the connection holds it too, until the connection ends.
pub(crate) struct Connection {
    resources: Rc<Resources>,
    pool: Rc<Pool>,
    class: Class,
    /// When the connection was asked for.
    opened: Instant,
    state: RefCell<ConnectionState>,
    takes_more: Cell<bool>,
    /// Whether the task has been woken and has not run since.
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    outcome: RefCell<Outcome>,
    /// The clients that wait for the end of the set-up.
    setup_waiters: RefCell<Vec<Waker>>,
    idle_since: Cell<Option<Tick>>,
    /// Whether the connection takes no more commands. It ends when no client waits for a reply on it.
    retired: Cell<bool>,
    /// The upstream no longer has the address that the connection leads to.
    left: Cell<bool>,
    ending: Cell<bool>,
    /// Whether another server is the master now.
    cut: Cell<bool>,
    /// The time since which a failover is under way. `None` if commands and replies travel.
    paused: Cell<Option<Instant>>,
}

/// The progress of a connection, as its clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The set-up is not finished.
    Pending,
    /// The connection is ready for commands.
    Ready,
    /// The upstream is unavailable.
    Unavailable(Unavailable),
    /// The upstream refused the HELLO or SELECT of the set-up with this error line, for example because it has no
    /// such database.
    Refused(Rc<[u8]>),
    /// The connection was ready, and now belongs to one client.
    HandedOver,
    /// The connection is closed.
    Ended,
}

struct ConnectionState {
    stream: Phase,
    link: PooledLink,
    /// The commands of the set-up. They contain the proxy's password, so they are not kept after it. `outbox` has the
    /// commands of clients, which are written after the set-up.
    setup: Outbox,
    outbox: Outbox,
    inbox: Buffer,
    need: usize,
    /// The time limit for the replies to the set-up.
    deadline: Option<Pin<Box<Sleep>>>,
    stalled: Option<Stalled>,
    /// The time for which clients have kept others waiting on this connection. It shrinks by a tenth of the time that
    /// passes.
    spent: Duration,
    spent_at: Tick,
    accounted: usize,
    aside: usize,
}

enum Phase {
    Dialling(Pin<Box<dyn Future<Output = Result<Stream, ConnectError>>>>),
    Open(Stream),
    Closed,
}

impl Connection {
    /// Opens a connection and starts its task.
    pub(crate) fn open(class: Class, resources: Rc<Resources>, pool: Rc<Pool>) -> Rc<Self> {
        let (target, node) = (Rc::clone(pool.target()), pool.node());
        let dial = Box::pin(async move {
            match node {
                Some(node) => target.connect_node(node).await,
                None => target.connect_in_time().await,
            }
        });
        let mut link = PooledLink::new(pool.key().clone());
        let mut setup = Outbox::default();
        setup.push(&link.open());
        let connection = Rc::new(Self {
            state: RefCell::new(ConnectionState {
                stream: Phase::Dialling(dial),
                link,
                setup,
                outbox: Outbox::default(),
                inbox: Buffer::default(),
                need: 1,
                deadline: None,
                stalled: None,
                spent: Duration::ZERO,
                spent_at: Tick::default(),
                accounted: 0,
                aside: 0,
            }),
            resources,
            pool,
            class,
            opened: Instant::now(),
            takes_more: Cell::new(true),
            told: Cell::new(false),
            waker: RefCell::default(),
            outcome: RefCell::new(Outcome::Pending),
            setup_waiters: RefCell::default(),
            idle_since: Cell::new(None),
            retired: Cell::new(false),
            left: Cell::new(false),
            ending: Cell::new(false),
            cut: Cell::new(false),
            paused: Cell::new(None),
        });
        let running = Running(Rc::clone(&connection));
        spawn_local(unconstrained(async move {
            let running = running;
            let end = poll_fn(|cx| running.0.poll(cx)).await;
            running.0.finish(&end);
        }));
        connection
    }

    /// Returns the class of the clients that use the connection.
    pub(crate) const fn class(&self) -> Class {
        self.class
    }

    /// Returns the address of the server. `None` if the connection is not open, does not use TCP, or is in use by its
    /// task.
    pub(crate) fn server(&self) -> Option<std::net::SocketAddr> {
        match &self.state.try_borrow().ok()?.stream {
            Phase::Open(stream) => stream.peer_address(),
            Phase::Dialling(_) | Phase::Closed => None,
        }
    }

    /// Returns whether the connection takes new commands.
    pub(crate) fn takes_more(&self) -> bool {
        self.takes_more.get()
    }

    /// Queues commands: `pending` commands of `first`'s session, each with a reply of `shape`.
    pub(crate) fn send(&self, first: Ticket, pending: u64, shape: Shape, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.link.expect(first, pending, shape);
        state.outbox.push(bytes);
        if state.outbox.len() >= MAX_UNWRITTEN {
            self.takes_more.set(false);
        }
        drop(state);
        self.idle_since.set(None);
        self.tell();
    }

    /// Returns the progress of the connection. During the set-up, `waker` is woken at its end.
    pub(crate) fn outcome(&self, waker: &Waker) -> Outcome {
        let outcome = self.outcome.borrow().clone();
        if outcome == Outcome::Pending {
            let mut setup_waiters = self.setup_waiters.borrow_mut();
            if !setup_waiters.iter().any(|known| known.will_wake(waker)) {
                setup_waiters.push(waker.clone());
            }
        }
        outcome
    }

    /// Wakes `waker` of `client` when the connection takes commands again or is closed.
    pub(crate) fn wait(&self, client: SessionKey, waker: &Waker) {
        self.pool.wait(client, waker, &self.resources.shared_clients);
    }

    /// Closes the connection if it has been unused for [`IDLE`], or if it takes no more commands and no client waits
    /// for its replies.
    pub(crate) fn end_idle(&self, now: Tick) {
        let unused = self.idle_since.get().is_some_and(|since| since.after(IDLE) <= now);
        let state = self.state.borrow();
        let closed_to_new = self.retired.get() || !state.link.takes_more();
        let over = unused || (closed_to_new && !self.has_creditors(&state));
        drop(state);
        if over {
            self.end();
        }
    }

    /// Closes the connection, even if clients wait for replies.
    pub(crate) fn end(&self) {
        self.takes_more.set(false);
        self.ending.set(true);
        self.tell();
    }

    /// Takes no new commands: the upstream no longer has the address that the connection leads to.
    fn leave(&self) {
        self.left.set(true);
        self.retire();
    }

    /// Applies a view of the upstream, which may have another master or a failover under way.
    pub(crate) fn look_at(&self, view: &View) {
        let has = |server| match self.pool.node() {
            Some(node) => view.cluster().is_some_and(|cluster| cluster.may_be_at(node, server)),
            None => view.has(server),
        };
        let is_former = self.server().is_some_and(|server| !has(server));
        match view.leaving() {
            Leaving::AtOnce if is_former => self.cut.set(true),
            Leaving::WhenIdle if is_former => self.leave(),
            Leaving::AtOnce | Leaving::WhenIdle => {}
        }
        self.pause(view);
        self.tell();
    }

    fn pause(&self, view: &View) {
        self.paused.set(match view.traffic() {
            Traffic::Flows => None,
            Traffic::Paused { since } => Some(since),
        });
    }

    /// Returns whether the connection leads to an address that the upstream no longer has.
    pub(crate) fn is_left(&self) -> bool {
        self.left.get()
    }

    /// Stops new commands on the connection, because it seems to hang. Pending replies are still read.
    pub(crate) fn retire(&self) {
        self.takes_more.set(false);
        self.retired.set(true);
    }

    fn has_creditors(&self, state: &ConnectionState) -> bool {
        state.link.waiting_sessions().any(|key| self.resources.shared_clients.get(key).is_some())
    }

    fn tell(&self) {
        if !self.told.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<End> {
        self.told.set(false);
        self.remember(cx.waker());
        let mut state = self.state.borrow_mut();
        let done = self.advance(&mut state, cx);
        let rested = state.rest(&self.resources);
        if done.is_pending() {
            self.update(&state, rested);
        }
        done
    }

    fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Updates whether the connection is idle and takes commands. Wakes waiting clients if it takes commands again.
    fn update(&self, state: &ConnectionState, idle: bool) {
        let now = self.resources.clock.latest();
        self.idle_since.set(idle.then(|| self.idle_since.get().unwrap_or(now)));
        let takes_more = state.link.takes_more()
            && state.stalled.is_none()
            && state.outbox.len() < MAX_UNWRITTEN
            && !self.retired.get();
        if takes_more && !self.takes_more.replace(true) {
            self.pool.wake_waiting();
        } else if !takes_more {
            self.takes_more.set(false);
        }
    }

    fn advance(&self, state: &mut ConnectionState, cx: &mut Context<'_>) -> Poll<End> {
        if self.ending.get() {
            return Poll::Ready(End::Unused);
        }
        if self.cut.get() {
            return Poll::Ready(End::MasterChanged);
        }
        if !state.link.is_ready() || matches!(state.stream, Phase::Dialling(_)) {
            if let Poll::Ready(end) = self.dial(state, cx) {
                return Poll::Ready(end);
            }
            if let Some(deadline) = &mut state.deadline
                && deadline.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(End::SetupTimeout);
            }
        }
        if self.paused.get().is_none() {
            state.write(cx);
        }
        if let Some(end) = self.unstall(state, cx) {
            return Poll::Ready(end);
        }
        for _ in 0..READS_PER_TURN {
            let is_mute = self.paused.get().is_some_and(|since| since.elapsed() >= Traffic::READING);
            if state.stalled.is_some() || is_mute {
                return Poll::Pending;
            }
            match state.read(cx, &self.resources) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(end),
            }
            match self.hand_out(state, cx) {
                Ok(()) => {}
                Err(End::Fault(PoolFault::Replica)) if self.dials_again(state) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(end) => return Poll::Ready(end),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn dial(&self, state: &mut ConnectionState, cx: &mut Context<'_>) -> Poll<End> {
        let Phase::Dialling(attempt) = &mut state.stream else { return Poll::Pending };
        match attempt.as_mut().poll(cx) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => return Poll::Ready(End::Dial(error)),
            Poll::Ready(Ok(stream)) => {
                state.stream = Phase::Open(stream);
                self.pause(&self.pool.target().view.current());
                self.pool.target().counts.connection(UpstreamState::Pooled, 1);
                if state.link.is_ready() {
                    self.settle(Outcome::Ready);
                } else {
                    state.deadline = Some(Box::pin(sleep(self.pool.target().upstream.connect_timeout())));
                }
            }
        }
        Poll::Pending
    }

    /// Handles the reply to a step of the set-up. Returns whether the server has answered all of them.
    fn continue_setup(&self, link: &mut PooledLink, setup: &mut Outbox) -> bool {
        if let Some(question) = link.question() {
            setup.push(&question);
            self.tell();
        }
        if !link.is_ready() {
            return false;
        }
        *setup = Outbox::default();
        self.pool.target().view.dials().works(true);
        self.settle(Outcome::Ready);
        self.tell();
        true
    }

    fn settle(&self, outcome: Outcome) {
        if outcome == Outcome::Ready {
            self.pool.target().view.dials().revive();
        }
        *self.outcome.borrow_mut() = outcome;
        for waker in self.setup_waiters.take() {
            waker.wake();
        }
    }

    /// Hands each client the replies that were read for it.
    fn hand_out(&self, state: &mut ConnectionState, cx: &mut Context<'_>) -> Result<(), End> {
        let now = self.resources.clock.now();
        let mut run = WriteRun::default();
        let (mut full, mut at) = (None, 0);
        let buf = state.inbox.bytes();
        let ended = loop {
            match state.link.next(&buf[at..]) {
                Shared::Own(len) => {
                    let _ = std::mem::take(&mut run).end();
                    at += len;
                    if self.continue_setup(&mut state.link, &mut state.setup) {
                        state.deadline = None;
                    }
                }
                Shared::Invalidation { len, ended } => {
                    let _ = std::mem::take(&mut run).end();
                    at += len;
                    if ended {
                        self.pool.target().counts.push_dropped();
                    }
                }
                Shared::Need(total) => {
                    state.need = total;
                    break Ok(());
                }
                Shared::Fault(fault) => break Err(End::Fault(fault)),
                Shared::Part(part) => {
                    let key = part.ticket.session;
                    if !run.is_of(key) {
                        full = run.end();
                        run = WriteRun::new(key, self.resources.shared_clients.get(key), &buf[at..]);
                    }
                    match run.take(&part, now) {
                        Delivered::Desync => {
                            // This client must not wait for replies here any more, and no other code would tell it.
                            self.lose(key, None);
                            break Err(End::Desync);
                        }
                        Delivered::Gone => self.resources.shared_clients.forget(key),
                        Delivered::Taken | Delivered::HeldUp => {}
                    }
                    at += part.bytes.len();
                    if full.is_some() || run.is_held_up() {
                        break Ok(());
                    }
                }
            }
        };
        let held_up = run.is_held_up();
        let last = run.end();
        state.inbox.consume(at);
        // Reading must stop for a client that is held up. A client that is only over its limit comes second.
        if let Some((key, shared_client)) = if held_up { last } else { full.or(last) } {
            self.stall(state, key, &shared_client, now, cx);
        }
        ended
    }
}

impl ConnectionState {
    /// Writes the set-up, and after it the commands of clients, until the socket takes no more.
    fn write(&mut self, cx: &mut Context<'_>) {
        let Phase::Open(stream) = &mut self.stream else { return };
        // If a write fails, the last replies of the server may still be readable. The end of the connection shows
        // there.
        if let Poll::Ready(Ok(())) = self.setup.poll_write(cx, stream)
            && self.link.is_ready()
        {
            let _ = self.outbox.poll_write(cx, stream);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, resources: &Resources) -> Poll<Result<(), End>> {
        let Phase::Open(stream) = &mut self.stream else { return Poll::Pending };
        std::task::ready!(stream.poll_readable(cx)).map_err(broken)?;
        let Some(room) = self.inbox.room(self.need.max(READ), &resources.pool) else {
            resources.pool.wait(cx.waker());
            return Poll::Pending;
        };
        match std::task::ready!(stream.poll_read(cx, room)) {
            Ok(n @ 1..) => {
                self.inbox.filled(n);
                Poll::Ready(Ok(()))
            }
            Ok(0) => Poll::Ready(Err(End::Broken(None))),
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }

    /// Updates the accounting of memory. Returns whether the connection is idle: ready, without pending replies or
    /// unwritten bytes.
    fn rest(&mut self, resources: &Resources) -> bool {
        let aside = self.outbox.held() + self.link.held();
        let held = aside + self.inbox.held();
        if held != self.accounted {
            resources.pool.count_aside(self.aside, aside);
            self.aside = aside;
            let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
            resources.stats.buffers(signed(held) - signed(self.accounted));
            self.accounted = held;
        }
        self.link.is_ready() && self.link.is_settled() && self.outbox.len() == 0
    }
}

fn broken(error: std::io::Error) -> End {
    End::Broken(TlsFault::behind(&error).map(ToString::to_string))
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}
