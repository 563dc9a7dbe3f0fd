//! The client's way to a cluster: several connections that look like one to the session and its link.
//!
//! The [`Router`] decides, and this lane moves bytes. Commands that were judged go to the router, which gives each leg
//! its bytes. Replies are read from the leg whose turn it is, and appended to the bytes that the link judges.
//!
//! ```text
//!   requests ──► Router::send ──► leg sockets ──► Router::receive ──► replies
//!                                     ▲
//!                    dials, set-up ───┘
//! ```

mod kept_replies;
mod leg_socket;
mod shared_leg;
mod sharing;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use portcullis_config::ReadFrom;
use portcullis_session::cluster::{Ended, LegIndex, Node, NodeIndex, Received, Router, RouterSettings, Turn};
use portcullis_session::{Tick, Unavailable};
use tokio::time::{Instant, Sleep, sleep};

use self::leg_socket::{Fill, LegSocket};
use self::shared_leg::Given;
pub(super) use self::sharing::Sharing;
use crate::metrics::{RedirectKind, UpstreamState};
use crate::net::buffer::LEASE;
use crate::net::pipe::Pipe;
use crate::process::hints::{Hint, Moved};
use crate::upstream::shared::Resources;
use crate::upstream::target::Target;
use crate::upstream::view::View;

/// The bytes of the router's own replies that are passed on in one step.
const OWN_REPLIES: usize = 4 * 1024;

/// The legs of one client, and their sockets.
pub(super) struct ManyLane {
    router: Router,
    target: Rc<Target>,
    resources: Rc<Resources>,
    /// The sockets of the legs, by their numbers.
    sockets: Vec<LegSocket>,
    /// Wakes the task when the router has something to do.
    timer: Option<Pin<Box<Sleep>>>,
    /// The number of the view that the router has.
    view: Option<u64>,
    /// Whether the client accepts what is written to it.
    client_reads: bool,
    /// Whether something has changed after which the lane may be able to do more.
    has_changed: bool,
    /// Whether bytes of the client or for it have moved in this turn.
    has_moved: bool,
    /// The router's own replies that are being passed on.
    own: Vec<u8>,
    /// The leg with subscriptions that was read last. The next one is read first.
    heard: Option<LegIndex>,
    /// The connections that the client shares. `None`: it has connections of its own.
    sharing: Option<Sharing>,
    /// The number of removed legs whose sockets are closed.
    removed: u32,
}

impl ManyLane {
    /// Creates the lane of a client of a cluster. `seed` spreads the clients over the nodes. `None`: the map of the
    /// cluster is not known.
    pub(super) fn new(
        target: &Rc<Target>,
        resources: &Rc<Resources>,
        seed: u64,
        sharing: Option<Sharing>,
    ) -> Option<Self> {
        let read_from = target.upstream.cluster().map(|cluster| cluster.read_from());
        let settings = RouterSettings {
            upstream: target.upstream.name().into(),
            held_command: target.logins.nobody().held_command(),
            failover_wait: target.upstream.failover_wait(),
            reads_at_replicas: read_from == Some(ReadFrom::Replicas),
            seed: usize::try_from(seed).unwrap_or(0),
            shared: sharing.as_ref().map(|sharing| sharing.key().clone()),
        };
        let view = target.view.current();
        let map = Arc::clone(view.cluster()?.map());
        let mut lane = Self {
            router: Router::new(settings, map),
            target: Rc::clone(target),
            resources: Rc::clone(resources),
            sockets: Vec::new(),
            timer: None,
            view: None,
            client_reads: true,
            has_changed: true,
            has_moved: false,
            own: Vec::new(),
            heard: None,
            sharing,
            removed: 0,
        };
        lane.look_at_view(&view);
        Some(lane)
    }

    /// Tells the router where the nodes are now.
    pub(super) fn look_at_view(&mut self, view: &View) {
        let Some(cluster) = view.cluster() else { return };
        if self.view == Some(view.number()) {
            return;
        }
        self.view = Some(view.number());
        self.has_changed = true;
        let nodes = cluster.map().nodes().iter().map(Node::index);
        let down: Vec<NodeIndex> = nodes.filter(|node| cluster.is_down(*node)).collect();
        let now = self.resources.clock.latest();
        self.router.set_server(cluster.server());
        self.router.set_map(cluster.map(), &down, now);
        for socket in &mut self.sockets {
            let (Some(leg), Some(peer)) = (socket.leg(), socket.peer_address()) else { continue };
            let Some(node) = self.router.node_of(leg) else { continue };
            let is_at = cluster.may_be_at(node, peer);
            if !is_at {
                self.router.leave(leg, now);
            }
            let is_silent = cluster.is_silent(node, peer) || (is_at && cluster.is_down(node));
            if is_silent && self.router.is_left(leg) {
                socket.drain(&self.resources.pool);
                self.router.cut_off(leg);
            }
        }
    }

    /// Begins a turn of the task, before which time has passed.
    pub(super) fn turn_begins(&mut self) {
        self.router.advance(self.resources.clock.now());
        (self.has_changed, self.has_moved) = (true, false);
    }

    /// Ends a turn of the task. Another one follows if a node has closed an idle connection.
    pub(super) fn turn_ends(&mut self, cx: &mut Context<'_>) {
        if self.sharing.is_some() {
            self.tell_turn();
        }
        if self.look_at_idle_legs(cx) {
            cx.waker().wake_by_ref();
        }
    }

    /// Does everything that needs no bytes of the client, if something has changed. `client_reads` says whether the
    /// client accepts what is written to it.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>, client_reads: bool) {
        if self.has_changed || client_reads != self.client_reads {
            self.client_reads = client_reads;
            self.proceed(cx);
        }
    }

    /// Dials, sets legs up, and writes to them.
    fn proceed(&mut self, cx: &mut Context<'_>) {
        let now = self.resources.clock.latest();
        if self.router.is_calm(now) && !self.sockets.iter().any(LegSocket::is_dialling) {
            self.has_changed = false;
            self.timer = None;
            if self.router.has_unwritten() || self.removed != self.router.removed_legs() {
                self.flush(cx, now);
            }
        } else {
            self.proceed_with_all(cx, now);
        }
        if self.router.has_hints() {
            self.give_hints();
        }
    }

    /// Does everything that may be due.
    fn proceed_with_all(&mut self, cx: &mut Context<'_>, now: Tick) {
        self.router.advance(now);
        if self.router.has_held() {
            self.router.send(&[], now, self.client_reads);
        }
        // A command that is held may go on as soon as bytes were written.
        self.has_changed = self.router.has_held();
        let has_unopened = self.router.has_unopened();
        if has_unopened {
            self.dial(now);
        }
        self.poll_dials(cx, now);
        if has_unopened {
            self.read_setups(cx, now);
        }
        self.flush(cx, now);
        self.set_timer(cx, now);
    }

    /// Takes the commands that were passed on, and adds the number of bytes that went to the router to `moved`. Pending
    /// if some commands wait.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        requests: &mut Pipe,
        moved: &mut u64,
    ) -> Poll<()> {
        if requests.is_pending() {
            let (router, now, reads) = (&mut self.router, self.resources.clock.latest(), self.client_reads);
            let given = requests.give(|bytes| router.send(bytes, now, reads));
            self.has_moved |= given > 0;
            *moved += given as u64;
            self.proceed(cx);
        }
        if requests.is_pending() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Appends the next replies to the unread bytes of `replies`. Returns their number; 0 is the end of the session.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, replies: &mut Pipe) -> Poll<io::Result<usize>> {
        let mut has_changed = false;
        loop {
            let (added, has_moved) = self.add_replies(cx, replies);
            has_changed |= has_moved;
            self.has_moved |= has_moved;
            if has_moved {
                // What the router knows now may let it send more.
                self.proceed(cx);
            }
            if added > 0 {
                return Poll::Ready(Ok(added));
            }
            if self.router.ended().is_some() {
                return Poll::Ready(Ok(0));
            }
            if !has_moved {
                // What was read is not for the client, but a command may have waited for it.
                if has_changed && self.router.has_unjudged() {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
    }

    /// Appends the next replies as far as they can be had now. Returns their number, and whether anything has changed.
    fn add_replies(&mut self, cx: &mut Context<'_>, replies: &mut Pipe) -> (usize, bool) {
        let (mut added, mut has_moved) = (0, false);
        let now = self.resources.clock.latest();
        while added < LEASE {
            let mut next = match self.router.turn() {
                Turn::None => Next::Waits,
                Turn::Own => self.take_own(replies, now),
                Turn::Leg(leg) => self.receive(cx, leg, replies, now),
            };
            if matches!(next, Next::Waits) {
                next = self.hear(cx, replies, now);
            }
            match next {
                Next::Added(n) => {
                    added += n;
                    has_moved = true;
                }
                Next::Waits => break,
                Next::NoMemory => {
                    self.resources.pool.wait(cx.waker());
                    break;
                }
            }
        }
        (added, has_moved)
    }

    /// Returns why the session is over, if the upstream is unavailable.
    pub(super) fn why_ended(&self) -> Option<Unavailable> {
        match self.router.ended()? {
            Ended::Unavailable(why) => Some(why),
            Ended::Lost | Ended::Protocol => None,
        }
    }

    /// Gives up the node whose reply is next, because it does not answer in time. Returns whether there is one.
    pub(super) fn give_up_front(&mut self) -> bool {
        self.has_changed = true;
        if let Turn::Leg(leg) = self.router.turn()
            && let Some(shared) = self.sockets.get_mut(leg.number()).and_then(LegSocket::shared)
        {
            shared.retire();
        }
        self.router.give_up_front()
    }

    /// Returns the time at which an idle leg is closed.
    pub(super) fn idle_due(&self) -> Option<Tick> {
        self.router.idle_due()
    }

    /// Returns the bytes of memory that the lane holds, besides its leases.
    pub(super) fn held(&self) -> usize {
        let aside: usize = self.sockets.iter().map(LegSocket::held_aside).sum();
        size_of::<Self>() + self.router.held() + self.own.capacity() + aside
    }

    /// Returns the bytes of memory that the lane leases.
    pub(super) fn leased(&self) -> usize {
        self.sockets.iter().map(LegSocket::leased).sum()
    }

    /// Gives back the memory that is not needed while no bytes move.
    pub(super) fn park(&mut self) {
        self.sockets.iter_mut().for_each(|socket| socket.park(&self.resources.pool));
    }
}

/// Methods for the sockets of the legs.
impl ManyLane {
    /// Starts the dials that the router wants.
    fn dial(&mut self, now: Tick) {
        while let Some((leg, node)) = self.router.next_dial(now) {
            while self.sockets.len() <= leg.number() {
                self.sockets.push(LegSocket::default());
            }
            let (target, shared) = (Rc::clone(&self.target), self.shared_leg(leg, node));
            self.close(leg);
            let Some(socket) = self.sockets.get_mut(leg.number()) else { continue };
            match shared {
                Some(shared) => socket.seek(leg, shared),
                None => socket.dial(leg, async move { target.connect_node(node).await }),
            }
        }
    }

    fn poll_dials(&mut self, cx: &mut Context<'_>, now: Tick) {
        for number in 0..self.sockets.len() {
            let Some(socket) = self.sockets.get_mut(number) else { continue };
            let is_own = !socket.is_seeking();
            let done = socket.poll_dial(cx);
            self.has_changed |= done.is_some();
            match done {
                Some((leg, Ok(()))) => {
                    if is_own {
                        self.target.counts.connection(UpstreamState::Used, 1);
                    }
                    self.router.connected(leg, now);
                    // The node may have got another address meanwhile.
                    self.view = None;
                }
                Some((leg, Err(error))) => {
                    if is_own {
                        tracing::debug!(upstream = %self.target.upstream.name(), %error, "cannot reach a node");
                        self.target.counts.error(error.kind().into());
                    }
                    self.dial_failed(leg, error.kind(), now);
                }
                None => {}
            }
        }
    }

    /// Tells the router that a node cannot be reached. The node may have left the cluster since the router has looked at
    /// the map.
    fn dial_failed(&mut self, leg: LegIndex, why: Unavailable, now: Tick) {
        let view = self.target.view.current();
        let has_place = |node| view.cluster().is_some_and(|cluster| cluster.place(node).is_some());
        if self.router.node_of(leg).is_some_and(has_place) {
            return self.router.unreachable(leg, why, now);
        }
        self.look_at_view(&view);
        self.router.gone(leg, now);
    }

    /// Notices that nodes have closed connections on which nothing is pending. Looks at all of them if no bytes have moved
    /// in this turn: then one of them may have woken the task. Otherwise looks only where no event would wake the task.
    /// Returns whether a leg was lost.
    fn look_at_idle_legs(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.resources.clock.latest();
        let mut has_lost = false;
        for socket in &mut self.sockets {
            if socket.is_watched() && self.has_moved {
                continue;
            }
            let Some(leg) = socket.leg().filter(|leg| self.router.is_idle(*leg)) else { continue };
            if socket.poll_closed(cx, &self.resources.pool) {
                self.router.lost(leg, now);
                has_lost = true;
            }
        }
        has_lost
    }

    /// Reads the answers to the set-up of legs.
    fn read_setups(&mut self, cx: &mut Context<'_>, now: Tick) {
        let legs: Vec<LegIndex> = self.router.setting_up().collect();
        for leg in legs {
            self.has_changed = true;
            while self.router.setting_up().any(|other| other == leg) {
                let Some(socket) = self.sockets.get_mut(leg.number()) else { break };
                match self.router.receive(leg, socket.unread(), now) {
                    Received::Skip(n) | Received::Pass(n) => socket.consume(n),
                    Received::Need(total) => match socket.poll_fill(cx, total, &self.resources.pool) {
                        Fill::Some => {}
                        Fill::Nothing => break,
                        Fill::NoMemory => {
                            self.resources.pool.wait(cx.waker());
                            break;
                        }
                        Fill::Ended => self.router.lost(leg, now),
                    },
                    Received::Over => break,
                }
            }
        }
    }

    /// Writes what the legs accept, and closes the sockets of legs that the router has given up.
    fn flush(&mut self, cx: &mut Context<'_>, now: Tick) {
        self.removed = self.router.removed_legs();
        for socket in &mut self.sockets {
            let Some(leg) = socket.leg() else { continue };
            if self.router.bytes_for(leg).is_empty() && self.router.has_connection(leg) {
                continue;
            }
            // A node may have closed a connection on which nothing was pending. The commands are not lost yet.
            if self.router.begins(leg) && socket.poll_closed(cx, &self.resources.pool) {
                self.router.lost(leg, now);
                cx.waker().wake_by_ref();
            }
            if !self.router.has_connection(leg) {
                if socket.close(&self.resources.pool) {
                    self.target.counts.connection(UpstreamState::Used, -1);
                }
                continue;
            }
            if let Some(shared) = socket.shared() {
                if let Given::Lost(why) = shared.give(cx, leg, &mut self.router) {
                    self.router.lost_shared(leg, why, now);
                    cx.waker().wake_by_ref();
                }
                continue;
            }
            while !self.router.bytes_for(leg).is_empty() {
                match socket.poll_write(cx, self.router.bytes_for(leg)) {
                    Poll::Ready(Ok(n)) if n > 0 => self.router.wrote(leg, n),
                    // The last replies of the node can still be read. The end of the connection then shows there.
                    Poll::Ready(_) | Poll::Pending => break,
                }
            }
        }
    }

    fn close(&mut self, leg: LegIndex) {
        if let Some(socket) = self.sockets.get_mut(leg.number())
            && socket.close(&self.resources.pool)
        {
            self.target.counts.connection(UpstreamState::Used, -1);
        }
    }

    fn take_own(&mut self, replies: &mut Pipe, now: Tick) -> Next {
        if !replies.reserve(2 * OWN_REPLIES, &self.resources.pool) {
            return Next::NoMemory;
        }
        self.own.clear();
        self.router.take_own(&mut self.own, OWN_REPLIES, now);
        if !replies.receive(&self.own, &self.resources.pool) {
            return Next::NoMemory;
        }
        Next::Added(self.own.len())
    }

    /// Passes bytes of a leg with subscriptions on, in turn with the other ones.
    fn hear(&mut self, cx: &mut Context<'_>, replies: &mut Pipe, now: Tick) -> Next {
        if !self.router.has_listener() || self.router.listening().next().is_none() {
            return Next::Waits;
        }
        let mut legs: Vec<LegIndex> = self.router.listening().collect();
        let read = legs.iter().position(|leg| Some(*leg) > self.heard).unwrap_or(0);
        legs.rotate_left(read);
        for leg in legs {
            match self.receive(cx, leg, replies, now) {
                Next::Waits => {}
                next => {
                    self.heard = Some(leg);
                    return next;
                }
            }
        }
        Next::Waits
    }

    /// Passes bytes of a leg on, and reads more of them.
    fn receive(&mut self, cx: &mut Context<'_>, leg: LegIndex, replies: &mut Pipe, now: Tick) -> Next {
        let Some(socket) = self.sockets.get_mut(leg.number()).filter(|socket| socket.leg() == Some(leg))
        else {
            self.router.lost(leg, now);
            return Next::Added(0);
        };
        let unread = socket.unread().len();
        if unread > 0 && !replies.reserve(unread, &self.resources.pool) {
            return Next::NoMemory;
        }
        match self.router.receive(leg, socket.unread(), now) {
            Received::Pass(n) => {
                let is_passed = replies.receive(&socket.unread()[..n], &self.resources.pool);
                socket.consume(n);
                if is_passed { Next::Added(n) } else { Next::NoMemory }
            }
            Received::Skip(n) => {
                socket.consume(n);
                Next::Added(0)
            }
            Received::Need(total) => match socket.poll_fill(cx, total, &self.resources.pool) {
                Fill::Some => Next::Added(0),
                Fill::Nothing => Next::Waits,
                Fill::NoMemory => Next::NoMemory,
                Fill::Ended => {
                    self.router.lost(leg, now);
                    self.close(leg);
                    Next::Added(0)
                }
            },
            Received::Over => Next::Waits,
        }
    }

    /// Wakes the task when the router has something to do.
    fn set_timer(&mut self, cx: &mut Context<'_>, now: Tick) {
        let Some(due) = self.router.due().filter(|due| *due > now) else {
            self.timer = None;
            return;
        };
        let wait = Duration::from_nanos(due.since(now));
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(wait)));
        timer.as_mut().reset(Instant::now() + wait);
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Tells the watcher of the cluster what the nodes have said, and counts it.
    fn give_hints(&mut self) {
        let hints = self.router.take_hints();
        let counted = [
            (RedirectKind::Moved, hints.moves),
            (RedirectKind::Ask, hints.asks),
            (RedirectKind::TryAgain, hints.try_agains),
            (RedirectKind::ClusterDown, hints.cluster_downs),
        ];
        for (kind, n) in counted {
            (0..n).for_each(|_| self.target.counts.redirected(kind));
        }
        if hints.replica_reads + hints.replica_refusals > 0 {
            self.target.counts.replica_reads(hints.replica_reads, hints.replica_refusals);
        }
        if let Some((slot, from, to)) = hints.moved {
            self.target.hint_moved(Moved { slot, from, to });
        }
        for (node, hint) in
            [(hints.refused, Hint::Refused), (hints.silent, Hint::Silent), (hints.slow, Hint::Slow)]
        {
            if let Some(node) = node {
                self.target.hint_about(node, hint);
            }
        }
        if let Some(node) = hints.asked {
            self.target.hint_asked(node);
        }
        if hints.unknown {
            self.target.hint(Hint::Unknown);
        }
        if hints.cluster_down {
            self.target.hint(Hint::Clusterdown);
        }
    }
}

impl Drop for ManyLane {
    fn drop(&mut self) {
        for socket in &mut self.sockets {
            if socket.close(&self.resources.pool) {
                self.target.counts.connection(UpstreamState::Used, -1);
            }
        }
    }
}

/// The outcome of one step of [`ManyLane::poll_fill`].
enum Next {
    /// This number of bytes was added. The next step may add more.
    Added(usize),
    /// Nothing more can be done now.
    Waits,
    /// The pool has no memory.
    NoMemory,
}
