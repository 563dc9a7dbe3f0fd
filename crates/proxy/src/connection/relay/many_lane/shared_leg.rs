//! A leg that goes by a connection which the client shares with other clients.
//!
//! ```text
//!   SharedLeg ── commands ──► Connection of the pool of a node
//!       ▲                          │
//!       └──── Inbox ◄── replies ───┘   the task of the connection fills the inbox, and wakes the client's task
//! ```
//!
//! To the connection, each leg is a client of its own. So the end of a leg ends nothing for others, and late replies to
//! it are dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use portcullis_session::cluster::{LegIndex, Router};
use portcullis_session::{Aftermath, Loss, Part, SessionKey, Shape, Tick, Ticket, Unavailable};

use super::kept_replies::KeptReplies;
use crate::connection::relay::pooled_lane::{LARGE_PIECE, PROVEN};
use crate::metrics::ClosedReason;
use crate::upstream::shared::{
    Class, Connection, Delivered, Outcome, Pool, Resources, SharedClient, Unwritten,
};
use crate::worker::table::Entry;

/// The replies of one client on shared connections, as far as its next commands depend on them.
#[derive(Debug, Default)]
pub(super) struct Behaviour {
    /// The number of small replies in a row.
    small: Cell<u64>,
    /// Whether a reply was so large that the client needs connections of its own.
    is_large: Cell<bool>,
    /// The bytes that came since they were taken last.
    received: Cell<usize>,
}

impl Behaviour {
    fn class(&self) -> Class {
        if self.small.get() >= PROVEN { Class::Proven } else { Class::New }
    }

    /// Returns whether a reply was large, and forgets it.
    pub(super) fn take_large(&self) -> bool {
        self.is_large.take()
    }

    /// Returns the number of bytes that came since the last call.
    pub(super) fn take_received(&self) -> usize {
        self.received.take()
    }

    fn received(&self, part: &Part<'_>) {
        let len = part.bytes.len();
        self.received.set(self.received.get().saturating_add(len));
        if part.ended == 0 && len > LARGE_PIECE {
            self.is_large.set(true);
            self.small.set(0);
        } else {
            self.small.set(self.small.get().saturating_add(part.ended));
        }
    }
}

/// A leg by shared connections to one node.
#[derive(Debug)]
pub(super) struct SharedLeg {
    pool: Rc<Pool>,
    resources: Rc<Resources>,
    /// The key by which the connections know the leg.
    key: SessionKey,
    /// The connection that the commands go to.
    connection: Option<Rc<Connection>>,
    /// Whether the connection was set up.
    is_ready: bool,
    /// The number of commands that were sent.
    sent: u64,
    inbox: Rc<RefCell<Inbox>>,
}

/// The outcome of giving commands to a shared connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The connection has the commands.
    All,
    /// They must wait. The task is woken.
    Waits,
    /// No connection takes them, for this reason.
    Lost(Unavailable),
}

impl SharedLeg {
    /// Creates a leg by the connections of `pool`. At most `limit` bytes wait until it is the turn of the leg.
    pub(super) fn new(
        pool: Rc<Pool>,
        resources: Rc<Resources>,
        entry: Rc<Entry>,
        behaviour: Rc<Behaviour>,
        limit: usize,
    ) -> Self {
        let key = resources.shared_clients.reserve(entry.id);
        let inbox = Rc::new(RefCell::new(Inbox::new(entry, behaviour, limit)));
        resources.shared_clients.seat(key, Rc::clone(&inbox) as _);
        Self { pool, resources, key, connection: None, is_ready: false, sent: 0, inbox }
    }

    /// Looks for a connection that is ready.
    pub(super) fn poll_connect(&mut self, cx: &Context<'_>) -> Poll<Result<(), Unavailable>> {
        if self.connection.is_none() {
            let class = self.inbox.borrow().behaviour.class();
            self.connection = self.pool.pick(class, &self.resources, self.key, cx.waker());
            self.is_ready = false;
        }
        let Some(connection) = &self.connection else { return Poll::Pending };
        let why = match connection.outcome(cx.waker()) {
            Outcome::Pending => return Poll::Pending,
            Outcome::Ready => {
                self.is_ready = true;
                return Poll::Ready(Ok(()));
            }
            Outcome::Unavailable(why) => why,
            Outcome::Refused(_) | Outcome::HandedOver | Outcome::Ended => Unavailable::Connect,
        };
        self.connection = None;
        Poll::Ready(Err(why))
    }

    /// Gives the commands of a leg to the connection. While no reply is pending, the connection is chosen again.
    pub(super) fn give(&mut self, cx: &Context<'_>, leg: LegIndex, router: &mut Router) -> Given {
        let (is_lost, is_settled, class) = {
            let inbox = self.inbox.borrow();
            (inbox.is_lost, inbox.pending == 0 && !router.has_given(leg), inbox.behaviour.class())
        };
        if is_lost {
            // The replies that came before are passed on first.
            return Given::Waits;
        }
        if is_settled {
            let is_ready = self.is_ready;
            let is_unfit = |connection: &Connection| !connection.takes_more() || connection.class() != class;
            self.connection.take_if(|connection| is_ready && is_unfit(connection));
            match self.poll_connect(cx) {
                Poll::Pending => return Given::Waits,
                Poll::Ready(Err(why)) => return Given::Lost(why),
                Poll::Ready(Ok(())) => {}
            }
        }
        let Some(connection) = &self.connection else { return Given::Waits };
        if !connection.takes_more() {
            connection.wait(self.key, cx.waker());
            return Given::Waits;
        }
        let n = router.commands_for(leg);
        self.inbox.borrow_mut().pending += n;
        connection.send(Ticket { session: self.key, seq: self.sent }, n, Shape::One, router.bytes_for(leg));
        self.sent = self.sent.wrapping_add(n);
        router.gave(leg);
        Given::All
    }

    /// Moves bytes of replies into `room`. Returns their number.
    pub(super) fn take(&self, room: &mut [u8]) -> usize {
        let mut inbox = self.inbox.borrow_mut();
        let n = inbox.replies.take(room);
        inbox.go_on();
        n
    }

    /// Returns whether bytes of replies wait.
    pub(super) fn has_bytes(&self) -> bool {
        self.inbox.borrow().replies.waiting() > 0
    }

    /// Returns whether no more replies come, although some are pending.
    pub(super) fn is_lost(&self) -> bool {
        self.inbox.borrow().is_lost
    }

    /// Records whether the client gets the next replies as soon as it reads. If not, it waits for another node.
    pub(super) fn set_turn(&self, is_in_turn: bool) {
        let mut inbox = self.inbox.borrow_mut();
        inbox.is_in_turn = is_in_turn;
        inbox.go_on();
    }

    /// Stops new commands on the connection, which seems to hang.
    pub(super) fn retire(&self) {
        if let Some(connection) = &self.connection {
            connection.retire();
        }
    }

    /// Returns the address of the node, if it is known.
    pub(super) fn server(&self) -> Option<std::net::SocketAddr> {
        self.connection.as_ref()?.server()
    }

    /// Returns the bytes of memory that the leg occupies.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + size_of::<Inbox>() + self.inbox.borrow().replies.held()
    }
}

impl Drop for SharedLeg {
    fn drop(&mut self) {
        self.resources.shared_clients.leave(self.key);
        if let Some(waker) = self.inbox.borrow_mut().drained.take() {
            waker.wake();
        }
    }
}

/// The mailbox of a leg.
struct Inbox {
    entry: Rc<Entry>,
    behaviour: Rc<Behaviour>,
    replies: KeptReplies,
    /// The number of commands without a complete reply.
    pending: u64,
    is_in_turn: bool,
    is_lost: bool,
    /// The waker of the connection, which waits until there is room.
    drained: Option<Waker>,
}

impl Inbox {
    const fn new(entry: Rc<Entry>, behaviour: Rc<Behaviour>, limit: usize) -> Self {
        Self {
            entry,
            behaviour,
            replies: KeptReplies::new(limit),
            pending: 0,
            is_in_turn: false,
            is_lost: false,
            drained: None,
        }
    }

    /// Wakes the connection if it waits and need not.
    fn go_on(&mut self) {
        if !self.is_full()
            && let Some(waker) = self.drained.take()
        {
            waker.wake();
        }
    }
}

impl SharedClient for Inbox {
    fn receive(&mut self, part: &Part<'_>, unwritten: &mut Unwritten<'_>, _now: Tick) -> Delivered {
        unwritten.skip(part.bytes.len(), |_| {});
        self.behaviour.received(part);
        self.pending = self.pending.saturating_sub(part.ended);
        self.replies.add(part, self.is_in_turn);
        self.entry.wake();
        Delivered::Taken
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn is_full(&self) -> bool {
        self.is_in_turn && self.replies.is_full()
    }

    fn wake_when_drained(&mut self, waker: &Waker) {
        self.drained = Some(waker.clone());
    }

    fn cut(&mut self) {
        self.entry.cut(ClosedReason::Slow);
    }

    fn lost(&mut self, _loss: Option<Loss>) -> Aftermath {
        self.is_lost = true;
        self.entry.wake();
        Aftermath::Ended
    }

    fn refused(&mut self, _line: &[u8]) {
        self.is_lost = true;
        self.entry.wake();
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("replies", &self.replies.waiting()).finish_non_exhaustive()
    }
}
