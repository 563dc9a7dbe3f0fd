//! The shared connection that a client's commands go to, and the client as that connection sees it.
//!
//! A client without a lease sends its commands to a connection of a pool, no more than its window has room for. The task of
//! that connection calls [`SharedClient`] with the replies, mostly without waking the client's own task.

mod window;

use portcullis_session::Pooling;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};

use portcullis_session::{Part, ReplyAction, Session, SessionKey, Tick, Unavailable};

use self::window::Window;
use super::lane::{Commands, Reply, Sent};
use super::{Relay, RelayHost, Stage};
use crate::metrics::{ClosedReason, Direction};
use crate::net::pipe::Pipe;
use crate::upstream::shared::{
    Class, Connection, Delivered, HandedOver, Outcome, Pool, SharedClient, Unwritten,
};
use crate::upstream::target::Target;
use crate::worker::Worker;

/// A piece of a reply that has not ended is this long only where the reply fills the better part of a shared connection's
/// read.
const LARGE_PIECE: usize = 32 * 1024;

/// A client with so many small replies in a row is not expected to ask for large ones.
const PROVEN: u64 = 16;

/// A client for which so much waits to be written does not read as fast as it asks; or a quarter of its
/// `client_output_buffer`, where that is less.
pub(super) const LAGGING: usize = 64 * 1024;

/// The side of one client towards the connections that it shares.
#[derive(Debug)]
pub(super) struct PooledLane {
    key: SessionKey,
    pool: Option<Chosen>,
    /// The connection to which its commands go, and on which its replies are pending.
    connection: Option<Rc<Connection>>,
    /// A connection of another kind, which the session waits for as long as its pool's epoch is that.
    awaited: Option<(u32, Rc<Connection>)>,
    window: Window,
    /// The number of replies in a row that were small.
    small: u64,
    /// The client's task has something to do when replies come.
    awaits_replies: bool,
    /// A connection that waits until there is room for more.
    drained: Option<Waker>,
}

/// A pool, and what made it the right one.
#[derive(Debug)]
struct Chosen {
    pool: Rc<Pool>,
    epoch: u32,
    target: Rc<Target>,
}

impl Chosen {
    fn is_right(&self, epoch: u32, target: &Rc<Target>) -> bool {
        self.epoch == epoch && Rc::ptr_eq(&self.target, target)
    }
}

impl PooledLane {
    pub(super) fn new(key: SessionKey) -> Self {
        Self {
            key,
            pool: None,
            connection: None,
            awaited: None,
            window: Window::new(),
            small: 0,
            awaits_replies: false,
            drained: None,
        }
    }

    /// The name under which shared connections know the client.
    pub(super) const fn key(&self) -> SessionKey {
        self.key
    }

    /// The server of the connection where its commands go.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        self.connection.as_ref()?.server()
    }

    /// The client's task is to be woken when replies come.
    pub(super) const fn await_replies(&mut self) {
        self.awaits_replies = true;
    }

    /// The client's task looks by itself at what came.
    pub(super) const fn turn_begins(&mut self) {
        self.awaits_replies = false;
    }

    /// No new commands go to its connection: that does not answer in time.
    pub(super) fn retire(&self) {
        if let Some(connection) = &self.connection {
            connection.retire();
        }
    }

    /// There is room again for what waits to be written.
    pub(super) fn drained(&mut self) {
        if let Some(waker) = self.drained.take() {
            waker.wake();
        }
    }

    /// The number of unread bytes that may be given now; `least` and `budget` as [`Window::room`] takes them. None: the
    /// replies that are pending have to come first, and the client's task will be woken.
    pub(super) fn room(&mut self, least: usize, budget: usize) -> Option<usize> {
        match self.window.room(least, budget) {
            0 => {
                self.awaits_replies = true;
                None
            }
            room => Some(room),
        }
    }

    /// Gives commands to the shared connection.
    pub(super) fn send(&mut self, requests: &mut Pipe, commands: Commands<'_>) -> Sent {
        let Commands { first, pending, shape, len, instead } = commands;
        let Some(connection) = &self.connection else { return Sent::Nowhere };
        let bytes = instead.unwrap_or_else(|| &requests.unread()[..len]);
        let given = bytes.len();
        connection.send(first, pending, shape, bytes);
        self.window.give(given, pending);
        requests.skip(len);
        Sent::Given(given)
    }

    /// Takes a part of a reply into account. `large`: it belongs to a large one.
    fn answered(&mut self, part: &Part<'_>, large: bool) {
        self.window.answer(part.bytes.len(), part.ended);
        self.small = if large { 0 } else { self.small.saturating_add(part.ended) };
    }

    /// Whether the connection where commands go takes more. It is chosen again where no reply is pending.
    pub(super) fn has_connection(
        &mut self,
        session: &Session,
        target: &Rc<Target>,
        worker: &Worker,
        waker: &Waker,
    ) -> bool {
        self.awaits_replies = false;
        if let Some(connection) = self.connection.as_ref().filter(|_| session.has_pending()) {
            // The client may be another user since, and what is pending no more than the gate's own word of that.
            if self
                .pool
                .as_ref()
                .is_none_or(|chosen| chosen.epoch != session.pooling().map_or(0, Pooling::epoch))
            {
                self.awaits_replies = true;
                return false;
            }
            if !connection.takes_more() {
                connection.wait(self.key, waker);
                self.awaits_replies = true;
            }
            return connection.takes_more();
        }
        let class = if self.small >= PROVEN { Class::Proven } else { Class::New };
        let pool = self.pool(session, target, worker);
        self.connection = pool.pick(class, &worker.resources, self.key, waker);
        self.connection.is_some()
    }

    fn pool(&mut self, session: &Session, target: &Rc<Target>, worker: &Worker) -> Rc<Pool> {
        let epoch = session.pooling().map_or(0, Pooling::epoch);
        if let Some(chosen) = self.pool.as_ref().filter(|chosen| chosen.is_right(epoch, target)) {
            return Rc::clone(&chosen.pool);
        }
        let pool = worker.pools.pool(target, session.pool_key());
        self.pool = Some(Chosen { pool: Rc::clone(&pool), epoch, target: Rc::clone(target) });
        pool
    }

    /// Looks for a connection of the kind that the session asks for. Says whether the session was told how that ended.
    pub(super) fn poll_switch(
        &mut self,
        session: &mut Session,
        target: &Rc<Target>,
        worker: &Worker,
        cx: &Context<'_>,
    ) -> bool {
        let epoch = session.pooling().map_or(0, Pooling::epoch);
        let awaited = self.awaited.take().filter(|(of, _)| *of == epoch);
        let picked = awaited.map(|(_, connection)| connection).or_else(|| {
            let pool = self.pool(session, target, worker);
            pool.pick(Class::New, &worker.resources, self.key, cx.waker())
        });
        let Some(connection) = picked else { return false };
        match connection.outcome(cx.waker()) {
            Outcome::Pending => {
                self.awaited = Some((epoch, connection));
                return false;
            }
            Outcome::Ready | Outcome::HandedOver => session.pooled(Ok(())),
            Outcome::Refused(line) => session.pooled(Err(&line)),
            Outcome::Unavailable(why) => session.lost(Some(why)),
            Outcome::Ended => session.lost(None),
        }
        true
    }

    /// Takes the shared connection for the client alone, where no other client waits for replies on it.
    fn hand_over(&mut self, session: &Session, target: &Rc<Target>) -> Option<HandedOver> {
        // Not where a reload leads the client elsewhere by now, or logs it in as another.
        self.pool
            .as_ref()
            .filter(|chosen| chosen.is_right(session.pooling().map_or(0, Pooling::epoch), target))?;
        let handed = self.connection.as_ref()?.hand_over(self.key)?;
        (self.connection, self.drained) = (None, None);
        (self.window, self.small) = (Window::new(), 0);
        Some(handed)
    }

    /// The connection does not take the client's commands, none of which it has sent.
    fn refused(&mut self) {
        (self.connection, self.window) = (None, Window::new());
    }
}

impl Drop for PooledLane {
    fn drop(&mut self) {
        self.drained();
        // What it was doing when it panicked may be half done.
        if let Some(connection) = self.connection.take().filter(|_| std::thread::panicking()) {
            connection.end();
        }
    }
}

impl Relay {
    /// The number of unread bytes that the session may look at now, where it asks for `least`. None: commands have to wait,
    /// and something will wake the task.
    pub(super) fn room(&mut self, least: usize, cx: &Context<'_>) -> Option<usize> {
        let unread = self.requests.unread().len();
        // A session that waits for an answer about other clients sends nothing.
        if self.session.inquiry().is_some() {
            return Some(unread);
        }
        let may_send = self.session.is_pooled() && !(unread == 0 && self.session.is_idle());
        if !may_send || self.session.is_ending() {
            if self.replies.is_pending()
                && let Some(pooling) = self.session.pooling_mut()
            {
                pooling.put_off_return(self.worker.resources.clock.latest());
            }
            return Some(unread);
        }
        let output_buffer = self.guard.entry.listener.output_buffer();
        // It does not read as fast as it asks.
        let waiting = self.replies.waiting();
        if waiting > 0 && waiting >= LAGGING.min(output_buffer / 4) {
            // A connection of its own is for a client with no pending reply: there is more room for the gate's own.
            let up_to = output_buffer.saturating_mul(2);
            if self.session.has_local_reply() && self.replies.waiting() < up_to {
                self.replies.insert(|out| self.session.write_local_replies(out, up_to));
            }
            if self.adopt() {
                return Some(unread);
            }
            if let Some(pooling) = self.session.pooling_mut() {
                pooling.set_lagging();
            }
        }
        let Some(pooled) = &mut self.lanes.pooled else {
            self.guard.report_bug("a client without a pooled lane is to share connections");
            self.stage.fail();
            return None;
        };
        if !pooled.has_connection(&self.session, &self.target, &self.worker, cx.waker()) {
            return None;
        }
        pooled.room(least, output_buffer / 2).map(|room| room.min(unread))
    }

    /// A client that does not read may write for as long as it likes, as with a connection of its own. Where no other client
    /// waits for replies on the shared connection, that becomes its own, with the replies that it does not take yet. Says
    /// whether it did.
    fn adopt(&mut self) -> bool {
        if !self.lanes.own.is_unused() || !self.session.may_adopt() {
            return false;
        }
        let pooled = self.lanes.pooled.as_mut();
        let handed = pooled.and_then(|pooled| pooled.hand_over(&self.session, &self.target));
        let Some(HandedOver { stream, link, inbox, need, unwritten }) = handed else { return false };
        self.lanes.own.adopt(stream, link, need, &self.target);
        self.requests.insert(|out| out.extend_from_slice(&unwritten));
        self.replies.take_over(inbox, &self.worker.resources.pool);
        let now = self.worker.resources.clock.latest();
        self.clocks.adopted(now);
        self.session.adopt(now);
        self.turn.upstream_changed();
        true
    }
}

impl SharedClient for Relay {
    fn receive(&mut self, part: &Part<'_>, unwritten: &mut Unwritten<'_>, now: Tick) -> Delivered {
        let len = part.bytes.len();
        self.clocks.answered(now);
        self.guard.arrived(now, self.replies.is_pending());
        self.guard.count_bytes(Direction::FromUpstream, len as u64);
        let Some(pooled) = &mut self.lanes.pooled else { return Delivered::Desync };
        let (stream, link) = (self.client.stream(), self.lanes.own.link());
        let mut host = RelayHost::of(&self.worker, &self.target, &mut self.guard, stream, link);
        let action = self.session.reply(part, now, &mut host);
        let large = part.ended == 0 && len > LARGE_PIECE;
        if large && let Some(pooling) = self.session.pooling_mut() {
            pooling.set_lagging();
        }
        pooled.answered(part, large);
        let wakes = pooled.awaits_replies || self.stage != Stage::Serving || self.client.has_ended();
        let delivered = self.deliver(action, Reply::Pooled(len, unwritten));
        if wakes || delivered == Delivered::Gone {
            self.guard.entry.wake();
        }
        let inserted = matches!(action, ReplyAction::Replace(_) | ReplyAction::Rewritten);
        if delivered != Delivered::Taken || !(inserted || self.session.has_local_reply()) {
            return delivered;
        }
        // The gate's own replies come next.
        unwritten.write(|bytes| self.client.write(bytes, &mut self.replies, &mut self.guard));
        let up_to = self.guard.entry.listener.output_buffer();
        self.replies.insert(|out| self.session.write_local_replies(out, up_to));
        self.client.write(&[], &mut self.replies, &mut self.guard);
        if self.session.has_local_reply() { Delivered::HeldUp } else { Delivered::Taken }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.client.write(bytes, &mut self.replies, &mut self.guard);
    }

    fn is_full(&self) -> bool {
        let is_held_up = self.session.is_pooled() && self.session.has_local_reply();
        let has_no_room = self.replies.waiting() >= self.guard.entry.listener.output_buffer();
        !self.client.is_broken() && (is_held_up || has_no_room)
    }

    fn wake_when_drained(&mut self, waker: &Waker) {
        if let Some(pooled) = &mut self.lanes.pooled {
            pooled.drained = Some(waker.clone());
        }
    }

    fn cut(&mut self) {
        self.guard.entry.cut(ClosedReason::Slow);
    }

    fn lost(&mut self, why: Option<Unavailable>) {
        self.session.lost(why);
        self.guard.entry.wake();
    }

    fn refused(&mut self, line: &[u8]) {
        self.session.refused(line);
        if let Some(pooled) = &mut self.lanes.pooled {
            pooled.refused();
        }
        self.guard.entry.wake();
    }
}
