//! A client whose commands go to connections that it shares with others.

mod window;

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_session::{Lease, Link, Part, ReplyAction, SessionKey, Shape, Tick, Ticket, Unavailable};

use self::window::Window;
use super::{Ended, Relay, RelayHost, Upstream};
use crate::metrics::{ClosedReason, Direction, UpstreamState};
use crate::upstream::route::Route;
use crate::upstream::shared::{Class, Connection, HandedOver, Outcome, Pool, ReplyOutcome, SharedClient};

/// A piece of a reply that has not ended is this long only where the reply fills the better part of a shared connection's
/// read.
const LARGE_PIECE: usize = 32 * 1024;

/// A client with so many small replies in a row is not expected to ask for large ones.
const PROVEN: u64 = 16;

/// A client for which so much waits to be written does not read as fast as it asks; or a quarter of its
/// `client_output_buffer`, where that is less.
const LAGGING: usize = 64 * 1024;

/// What a client has to do with the connections that it shares.
#[derive(Debug)]
pub(super) struct PooledLane {
    pub(super) key: SessionKey,
    pool: Option<Chosen>,
    /// Where its commands go, and where replies to it are owed.
    connection: Option<Rc<Connection>>,
    /// Of another kind, which the session waits for as long as its pool's epoch is that.
    awaited: Option<(u32, Rc<Connection>)>,
    window: Window,
    /// How many replies in a row were small.
    small: u64,
    /// Something has to be done when replies come, other than passing them on.
    pub(super) waits: bool,
    /// The client is gone, as a write has shown.
    broken: bool,
    /// How long it has kept connections waiting.
    stalled: Duration,
    /// A connection that waits until there is room for more.
    drained: Option<Waker>,
    /// What the session left to be said in place of a reply.
    left: Option<Left>,
}

/// A pool, and what made it the right one.
#[derive(Debug)]
struct Chosen {
    pool: Rc<Pool>,
    epoch: u32,
    route: Rc<Route>,
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Canned(&'static [u8]),
    Rewritten,
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
            waits: false,
            broken: false,
            stalled: Duration::ZERO,
            drained: None,
            left: None,
        }
    }

    const fn class(&self) -> Class {
        if self.small >= PROVEN { Class::Proven } else { Class::New }
    }

    /// Gives commands to the shared connection.
    pub(super) fn give(&mut self, first: Ticket, pending: u64, shape: &Shape, bytes: &[u8]) {
        if let Some(connection) = &self.connection {
            connection.send(first, pending, shape.clone(), bytes);
            self.window.give(bytes.len(), pending);
        }
    }
}

impl Relay {
    /// How many of the unread bytes the session may look at now, where it asks for `least`. None: commands have to wait,
    /// and somebody will wake the task.
    pub(super) fn room(&mut self, least: usize, cx: &Context<'_>) -> Option<usize> {
        let unread = self.up.unread().len();
        // What waits for an answer about other clients sends nothing.
        if self.session.inquiry().is_some() {
            return Some(unread);
        }
        let may_send = self.session.is_pooled() && !(unread == 0 && self.session.is_idle());
        if !may_send || self.session.is_ending() {
            if self.pooled.is_some() && self.down.is_pending() {
                self.session.put_off_return(self.worker.resources.clock.latest());
            }
            return Some(unread);
        }
        if self.is_lagging() {
            // A connection of its own is for a client that is owed nothing: there is more room for what the gate owes.
            let up_to = self.output_buffer().saturating_mul(2);
            if self.session.has_local_reply() && self.down.waiting() < up_to {
                self.down.insert(|out| self.session.write_local_replies(out, up_to));
            }
            if self.adopt() {
                return Some(unread);
            }
            self.session.set_lagging();
        }
        if !self.has_connection(cx.waker()) {
            return None;
        }
        let budget = self.output_buffer() / 2;
        let pooled = self.pooled.as_mut()?;
        match pooled.window.room(least, budget) {
            0 => {
                pooled.waits = true;
                None
            }
            room => Some(room.min(unread)),
        }
    }

    /// Whether it does not read as fast as it asks.
    fn is_lagging(&self) -> bool {
        let waiting = self.down.waiting();
        waiting > 0 && waiting >= LAGGING.min(self.output_buffer() / 4)
    }

    /// Bytes that may wait to be written to the client while its commands go to connections that it shares.
    pub(super) fn output_buffer(&self) -> usize {
        self.guard.entry.listener.output_buffer()
    }

    /// Renders the gate's own replies that come before those to commands which were just given to a shared connection,
    /// whatever waits already: its replies are taken as soon as they are there. The command before had few.
    #[inline]
    pub(super) fn write_held_replies(&mut self) {
        if self.session.has_local_reply() {
            self.down.insert(|out| self.session.write_local_replies(out, usize::MAX));
        }
    }

    /// A client that does not read may write for as long as it likes, as with a connection of its own. Where no other client
    /// waits for replies on the shared connection, that becomes its own, with the replies that it does not take yet. True:
    /// so it was.
    fn adopt(&mut self) -> bool {
        if !matches!(self.upstream, Upstream::None) || !self.session.may_adopt() {
            return false;
        }
        let epoch = self.session.pool_epoch();
        let Some(pooled) = &mut self.pooled else { return false };
        // Not where a reload leads it elsewhere by now, or logs it in as another.
        let as_now = |chosen: &Chosen| chosen.epoch == epoch && Rc::ptr_eq(&chosen.route, &self.route);
        if !pooled.pool.as_ref().is_some_and(as_now) {
            return false;
        }
        let handed = pooled.connection.as_ref().and_then(|connection| connection.hand_over(pooled.key));
        let Some(HandedOver { stream, link, inbox, need, unwritten }) = handed else { return false };
        (pooled.connection, pooled.drained) = (None, None);
        (pooled.window, pooled.small) = (Window::new(), 0);
        self.route.counts.connection(UpstreamState::Used, 1);
        self.upstream = Upstream::Open(stream);
        self.link = link;
        self.reply_need = need;
        self.up.insert(|out| out.extend_from_slice(&unwritten));
        self.down.take_over(inbox, &self.worker.resources.pool);
        let now = self.worker.resources.clock.latest();
        self.linked_at = now;
        self.dry.upstream = false;
        self.session.adopt(now);
        self.moves += 1;
        true
    }

    /// The server of the connection where its commands go.
    pub(super) fn pooled_server(&self) -> Option<std::net::SocketAddr> {
        self.pooled.as_ref()?.connection.as_ref()?.server()
    }

    /// Its task is to be woken when replies come.
    pub(super) fn await_replies(&mut self) {
        if let Some(pooled) = &mut self.pooled {
            pooled.waits = true;
        }
    }

    /// No reply is for it any more.
    pub(super) fn leave_shared(&self) {
        if let Some(pooled) = &self.pooled {
            self.worker.resources.shared_clients.forget(pooled.key);
        }
    }

    /// Whether the connection where commands go takes more; chosen anew where nothing is owed.
    fn has_connection(&mut self, waker: &Waker) -> bool {
        let has_pending = self.session.has_pending();
        let epoch = self.session.pool_epoch();
        let Some(pooled) = &mut self.pooled else { return false };
        pooled.waits = false;
        if let Some(connection) = pooled.connection.as_ref().filter(|_| has_pending) {
            // The client may be another user since, and what is owed no more than the gate's own word of that.
            if pooled.pool.as_ref().is_none_or(|chosen| chosen.epoch != epoch) {
                pooled.waits = true;
                return false;
            }
            if !connection.takes_more() {
                connection.wait(pooled.key, waker);
                pooled.waits = true;
            }
            return connection.takes_more();
        }
        let (class, key) = (pooled.class(), pooled.key);
        let pool = self.pool();
        let picked = pool.and_then(|pool| pool.pick(class, &self.worker.resources, key, waker));
        let Some(pooled) = &mut self.pooled else { return false };
        pooled.connection = picked;
        pooled.connection.is_some()
    }

    fn pool(&mut self) -> Option<Rc<Pool>> {
        let epoch = self.session.pool_epoch();
        let pooled = self.pooled.as_mut()?;
        if let Some(chosen) = &pooled.pool
            && chosen.epoch == epoch
            && Rc::ptr_eq(&chosen.route, &self.route)
        {
            return Some(Rc::clone(&chosen.pool));
        }
        let pool = self.worker.pools.pool(&self.route, self.session.pool_key());
        pooled.pool = Some(Chosen { pool: Rc::clone(&pool), epoch, route: Rc::clone(&self.route) });
        Some(pool)
    }

    /// Looks for a connection of the kind that the session asks for. True: the session has been told how that ended.
    pub(super) fn switch_pool(&mut self, cx: &Context<'_>) -> bool {
        let Some(pooled) = &mut self.pooled else { return false };
        let epoch = self.session.pool_epoch();
        let awaited = pooled.awaited.take().filter(|(of, _)| *of == epoch);
        let key = pooled.key;
        let picked = awaited.map(|(_, connection)| connection).or_else(|| {
            self.pool().and_then(|pool| pool.pick(Class::New, &self.worker.resources, key, cx.waker()))
        });
        let Some(connection) = picked else { return false };
        match connection.outcome(cx.waker()) {
            Outcome::Pending => {
                if let Some(pooled) = &mut self.pooled {
                    pooled.awaited = Some((epoch, connection));
                }
                return false;
            }
            Outcome::Ready | Outcome::HandedOver => self.session.pooled(Ok(())),
            Outcome::Refused(line) => self.session.pooled(Err(&line)),
            Outcome::Unavailable(why) => self.session.lost(Some(why)),
            Outcome::Ended => self.session.lost(None),
        }
        self.moves += 1;
        true
    }

    /// Whether the upstream is listened to although the client does not read: what it says is about a login, and short.
    pub(super) fn hears_login(&self) -> bool {
        self.pooled.is_some() && self.session.is_logging_in()
    }

    /// Closes the client's own upstream connection once it is not needed any more. True: it was closed.
    pub(super) fn return_lease(&mut self) -> bool {
        if self.pooled.is_none() {
            return false;
        }
        let now = self.worker.resources.clock.latest();
        if self.session.lease(now) != Lease::Over {
            return false;
        }
        // Messages may come, unless the client has said RESET.
        if !self.session.has_left() && (self.link.streams() || self.down.waiting() > LAGGING) {
            self.session.keep_lease(now);
            return false;
        }
        // It was answered before it was told all: the rest of that must not go where the next one leads.
        if self.up.is_pending() {
            if matches!(self.upstream, Upstream::Open(_)) {
                self.lose_upstream(None);
            }
            return false;
        }
        self.hang_up();
        self.upstream = Upstream::None;
        self.link = Link::new();
        self.reply_need = 1;
        let unread = self.down.unread().len();
        self.down.skip(unread);
        self.session.give_back();
        // A reload has passed by who had a connection. Who may not stay ends by itself.
        if !Rc::ptr_eq(&self.route, &self.guard.entry.listener.route()) {
            let _ = self.renew();
        }
        self.moves += 1;
        true
    }

    /// The upstream connection of a client that shares does not answer in time.
    pub(super) fn retire_shared(&self) {
        if let Some(connection) = self.pooled.as_ref().and_then(|pooled| pooled.connection.as_ref())
            && self.session.is_pooled()
        {
            connection.retire();
        }
    }

    /// What a shared connection found out about the client.
    pub(super) fn check_shared(&mut self) -> Result<(), Ended> {
        let Some(pooled) = &mut self.pooled else { return Ok(()) };
        pooled.waits = false;
        if pooled.broken { Err(Ended::at_once(ClosedReason::Client)) } else { Ok(()) }
    }

    /// There may be room again for what waits to be written.
    pub(super) fn drained(&mut self) {
        let full = self.is_full();
        if let Some(pooled) = self.pooled.as_mut().filter(|_| !full)
            && let Some(waker) = pooled.drained.take()
        {
            waker.wake();
        }
    }

    fn wake(&self) {
        self.guard.entry.wake();
    }
}

impl SharedClient for Relay {
    fn reply(&mut self, part: &Part<'_>, now: Tick) -> ReplyOutcome {
        self.answered_at = now;
        self.silent_since = now;
        self.arrived(now);
        self.count_bytes(Direction::FromUpstream, part.bytes.len() as u64);
        let mut host =
            RelayHost::of(&self.worker, &self.route, &mut self.guard, self.client.as_ref(), &self.link);
        let fate = self.session.reply(part, now, &mut host);
        let large = part.ended == 0 && part.bytes.len() > LARGE_PIECE;
        if large {
            self.session.set_lagging();
        }
        let Some(pooled) = &mut self.pooled else { return ReplyOutcome::Desync };
        pooled.window.answer(part.bytes.len(), part.ended);
        pooled.small = if large { 0 } else { pooled.small.saturating_add(part.ended) };
        let heard = match fate {
            ReplyAction::Pass => ReplyOutcome::Pass,
            ReplyAction::Drop => ReplyOutcome::Drop,
            ReplyAction::Replace(bytes) => {
                pooled.left = Some(Left::Canned(bytes));
                ReplyOutcome::Other
            }
            ReplyAction::Rewritten => {
                pooled.left = Some(Left::Rewritten);
                ReplyOutcome::Other
            }
            ReplyAction::Lost(why) => {
                self.route.counts.error(why.into());
                self.session.lost(Some(why));
                self.wake();
                return ReplyOutcome::Gone;
            }
            ReplyAction::Desync => return ReplyOutcome::Desync,
        };
        if pooled.waits || self.draining || self.client_ended {
            self.wake();
        }
        heard
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(client) = self.client.as_mut() else { return };
        let mut moved = 0;
        let entry = Rc::clone(&self.guard.entry);
        let waker = entry.waker();
        let mut cx = Context::from_waker(waker.as_ref().unwrap_or(Waker::noop()));
        let written = self.down.poll_write_through(&mut cx, client, bytes, &mut moved);
        drop(waker);
        if moved > 0 {
            self.guard.totals.bytes_to_client += moved;
            self.count_bytes(Direction::ToClient, moved);
            self.accepted();
        }
        match written {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                if let Some(pooled) = &mut self.pooled {
                    pooled.broken = true;
                }
                self.wake();
            }
            // Its task sees to the deadline, and to the account.
            Poll::Pending => self.wake(),
        }
    }

    fn has_local_reply(&self) -> bool {
        self.session.has_local_reply()
    }

    fn write_local_replies(&mut self) {
        let left = self.pooled.as_mut().and_then(|pooled| pooled.left.take());
        let up_to = self.output_buffer();
        let session = &mut self.session;
        self.down.insert(|out| {
            match left {
                Some(Left::Canned(bytes)) => out.extend_from_slice(bytes),
                Some(Left::Rewritten) => out.extend_from_slice(session.rewritten()),
                None => {}
            }
            session.write_local_replies(out, up_to);
        });
        self.write(&[]);
    }

    fn is_full(&self) -> bool {
        let broken = self.pooled.as_ref().is_some_and(|pooled| pooled.broken);
        let is_held_up = self.session.is_pooled() && self.session.has_local_reply();
        !broken && (is_held_up || self.down.waiting() >= self.output_buffer())
    }

    fn wake_when_drained(&mut self, waker: &Waker) {
        if let Some(pooled) = &mut self.pooled {
            pooled.drained = Some(waker.clone());
        }
    }

    fn stalled(&self) -> Duration {
        self.pooled.as_ref().map_or(Duration::ZERO, |pooled| pooled.stalled)
    }

    fn has_stalled(&mut self, time: Duration) {
        if let Some(pooled) = &mut self.pooled {
            pooled.stalled = pooled.stalled.saturating_add(time);
        }
    }

    fn cut(&mut self) {
        self.guard.entry.cut(ClosedReason::Slow);
    }

    fn lost(&mut self, why: Option<Unavailable>) {
        self.session.lost(why);
        self.wake();
    }

    fn refused(&mut self, line: &[u8]) {
        self.session.refused(line);
        if let Some(pooled) = &mut self.pooled {
            (pooled.connection, pooled.window) = (None, Window::new());
        }
        self.wake();
    }
}

impl Drop for PooledLane {
    fn drop(&mut self) {
        if let Some(waker) = self.drained.take() {
            waker.wake();
        }
        // What it was doing when it panicked may be half done.
        if let Some(connection) = self.connection.take().filter(|_| std::thread::panicking()) {
            connection.end();
        }
    }
}
