//! The shared connection that a client's commands go to, and the client as that connection sees it.
//!
//! A client without a lease sends its commands to a connection of a pool, as many as its window allows. The task of
//! that connection calls [`SharedClient`] with the replies, mostly without waking the client's own task.

mod window;

use portcullis_session::Pooling;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};

use portcullis_session::{Aftermath, Loss, Part, ReplyAction, Session, SessionKey, Tick};

pub(super) use self::window::Window;
use super::lane::{Commands, Reply, Sent};
use super::peer::Asking;
use super::{Relay, RelayHost, Stage, samples};
use crate::metrics::{ClosedReason, Direction};
use crate::net::pipe::Pipe;
use crate::upstream::shared::{
    Class, Connection, Delivered, HandedOver, Outcome, Pool, SharedClient, Unwritten,
};
use crate::upstream::target::Target;
use crate::worker::Worker;

/// The length from which a piece of an incomplete reply shows that the reply is large. Such a piece fills more than
/// half of a read of a shared connection.
pub(super) const LARGE_PIECE: usize = 32 * 1024;

/// The number of small replies in a row after which a client is not expected to request large ones.
pub(super) const PROVEN: u64 = 16;

/// The bytes waiting for a client from which it counts as lagging: it does not read as fast as it sends requests. A
/// quarter of `client_output_buffer` counts instead, if that is less.
pub(super) const LAGGING: usize = 64 * 1024;

/// One client's side of the connections that it shares.
#[derive(Debug)]
pub(super) struct PooledLane {
    key: SessionKey,
    /// The pool that was chosen last.
    pool: Option<Chosen>,
    /// The connection that the client's commands go to, and on which its replies are pending.
    connection: Option<Rc<Connection>>,
    /// A connection of another kind that the session waits for, and the epoch of the pooling for which it was chosen.
    awaited: Option<(u32, Rc<Connection>)>,
    window: Window,
    /// The number of consecutive small replies.
    small: u64,
    /// Whether the client's task is woken when replies come.
    awaits_replies: bool,
    /// The waker of a connection that waits until the client has room for more bytes.
    drained: Option<Waker>,
}

/// A pool, and the epoch and target for which it was chosen.
#[derive(Debug)]
struct Chosen {
    pool: Rc<Pool>,
    epoch: u32,
    target: Rc<Target>,
}

impl Chosen {
    /// Returns whether the pool is the right one for this epoch and target.
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

    /// Returns the key by which shared connections know the client.
    pub(super) const fn key(&self) -> SessionKey {
        self.key
    }

    /// Returns the server of the connection that the client's commands go to. Returns `None` if the server is not
    /// known.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        self.connection.as_ref()?.server()
    }

    /// Lets the next replies wake the client's task.
    pub(super) const fn await_replies(&mut self) {
        self.awaits_replies = true;
    }

    /// Records that a turn of the client's task begins, in which the task itself looks at the replies.
    pub(super) const fn turn_begins(&mut self) {
        self.awaits_replies = false;
    }

    /// Stops sending new commands to the connection, which does not answer in time.
    pub(super) fn retire(&self) {
        if let Some(connection) = &self.connection {
            connection.retire();
        }
    }

    /// Wakes the connection that waits until the client has room for more bytes.
    pub(super) fn drained(&mut self) {
        if let Some(waker) = self.drained.take() {
            waker.wake();
        }
    }

    /// Returns the number of unread bytes that may be sent now; see [`Window::room`] for `least` and `budget`.
    /// Returns `None` if pending replies have to come first. These then wake the client's task.
    pub(super) fn room(&mut self, least: usize, budget: usize) -> Option<usize> {
        match self.window.room(least, budget) {
            0 => {
                self.awaits_replies = true;
                None
            }
            room => Some(room),
        }
    }

    /// Sends commands to the shared connection.
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

    /// Updates the window and the count of small replies. `large` is whether the part belongs to a large reply.
    fn answered(&mut self, part: &Part<'_>, large: bool) {
        self.window.answer(part.bytes.len(), part.ended);
        self.small = if large { 0 } else { self.small.saturating_add(part.ended) };
    }

    /// Returns whether the connection takes more commands; otherwise the client's task is woken later. While no reply
    /// is pending, the connection is chosen again.
    pub(super) fn has_connection(
        &mut self,
        session: &Session,
        target: &Rc<Target>,
        worker: &Worker,
        waker: &Waker,
    ) -> bool {
        self.awaits_replies = false;
        if let Some(connection) = self.connection.as_ref().filter(|_| session.has_pending()) {
            // The client may have become another user since, and the pending replies may be only the proxy's own
            // reply to that login. Then this connection has the wrong login.
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

    /// Returns the pool for the session's login, database and RESP version. Chooses again if one of them has changed.
    fn pool(&mut self, session: &Session, target: &Rc<Target>, worker: &Worker) -> Rc<Pool> {
        let epoch = session.pooling().map_or(0, Pooling::epoch);
        if let Some(chosen) = self.pool.as_ref().filter(|chosen| chosen.is_right(epoch, target)) {
            return Rc::clone(&chosen.pool);
        }
        let pool = worker.pools.pool(target, session.pool_key(), None);
        self.pool = Some(Chosen { pool: Rc::clone(&pool), epoch, target: Rc::clone(target) });
        pool
    }

    /// Looks for a shared connection of the kind that the session needs. Returns whether the session was told the
    /// outcome.
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
            Outcome::Unavailable(why) if session.continuity().may_outlive() && why.passes() => {
                session.continuity().refuse_kind(Some(why));
            }
            Outcome::Ended if session.continuity().may_outlive() => session.continuity().refuse_kind(None),
            Outcome::Unavailable(why) => session.lost(Some(why)),
            Outcome::Ended => session.lost(None),
        }
        true
    }

    /// Makes the shared connection the client's own, if no other client has pending replies on it. Returns `None`
    /// otherwise.
    fn hand_over(&mut self, session: &Session, target: &Rc<Target>) -> Option<HandedOver> {
        // After a reload the client may belong to another upstream, or to another login there.
        self.pool
            .as_ref()
            .filter(|chosen| chosen.is_right(session.pooling().map_or(0, Pooling::epoch), target))?;
        let handed = self.connection.as_ref()?.hand_over(self.key)?;
        (self.connection, self.drained) = (None, None);
        (self.window, self.small) = (Window::new(), 0);
        Some(handed)
    }

    /// Forgets the connection and its window. It refused the client's commands before it sent any of them.
    fn refused(&mut self) {
        (self.connection, self.window) = (None, Window::new());
    }
}

impl Drop for PooledLane {
    fn drop(&mut self) {
        self.drained();
        // After a panic, the last action on the connection may be incomplete.
        if let Some(connection) = self.connection.take().filter(|_| std::thread::panicking()) {
            connection.end();
        }
    }
}

impl Relay {
    /// Returns the number of unread bytes that the session may look at now; the session needs `least`. Returns `None`
    /// if commands have to wait; the task is woken later.
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
        // The client does not read as fast as it sends requests.
        let waiting = self.replies.waiting();
        if waiting > 0 && waiting >= LAGGING.min(output_buffer / 4) {
            // A client gets a connection of its own only when no reply is pending. So the proxy's own replies may
            // take twice the usual room here.
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
            return self.room_at_nodes(least, output_buffer);
        };
        if !pooled.has_connection(&self.session, &self.target, &self.worker, cx.waker()) {
            return None;
        }
        pooled.room(least, output_buffer / 2).map(|room| room.min(unread))
    }

    /// Makes the shared connection the client's own, if no other client has pending replies on it. So a client that
    /// does not read may write for any time, and Redis holds the replies that the client does not take yet. Returns
    /// whether the connection became the client's own.
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
        if self.worker.watch.samples() && (part.ended == 0 || !part.first) {
            samples::received(&self.worker, &self.guard.entry, part.ticket.seq, len, part.ended > 0);
        }
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
        // The proxy's own replies come next.
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

    fn lost(&mut self, loss: Option<Loss>) -> Aftermath {
        self.guard.entry.wake();
        let aftermath = match loss.filter(|_| self.target.upstream.failover_wait().is_some()) {
            Some(loss) => self.session.continuity().lose(loss, self.lanes.own.link()),
            None => {
                self.session.lost(loss.and_then(Loss::why));
                Aftermath::Ended
            }
        };
        match (aftermath, &mut self.lanes.pooled) {
            (Aftermath::Carried, Some(pooled)) => {
                pooled.refused();
                self.asking = Asking::default();
                if !matches!(loss, Some(Loss::Unsent(_))) {
                    self.target.counts.session_carried();
                }
            }
            _ => self.target.counts.session_dropped(),
        }
        aftermath
    }

    fn refused(&mut self, line: &[u8]) {
        self.session.refused(line);
        if let Some(pooled) = &mut self.lanes.pooled {
            pooled.refused();
        }
        self.guard.entry.wake();
    }
}
