//! Upstream connections that many clients share: the properties that a client depends on, and the state of one
//! connection.
//!
//! Only commands that leave no state use such a connection. So connections differ only in their login, their database
//! and their RESP version. A push is a fault, with one exception: any client of Redis can direct an invalidation to
//! this connection. The frame of an invalidation is unambiguous, and the gate drops it.

use std::borrow::Cow;

use portcullis_resp::reply;

use crate::ids::{SessionKey, Ticket};
use crate::link::{
    Greeting, Incoming, Link, LinkFault, Part, PoolKey, PushKind, Setup, Stage, Unavailable,
    is_role_of_replica,
};
use crate::shape::Shape;

/// The size in bytes of a reply from which on its connection accepts no new commands. Their replies would wait for the
/// end of the large one, so another connection carries them.
pub const LARGE_REPLY: usize = 256 * 1024;

/// The framing state of one shared connection.
#[derive(Debug)]
pub struct PooledLink {
    link: Link,
    key: PoolKey,
    /// The step of the setup whose reply comes next. `None` when the setup is complete.
    awaits: Option<Stage>,
    /// Whether the reply to HELLO does not say the role that the server must say.
    role_untold: bool,
    large: bool,
    /// The number of bytes received so far of the reply in progress.
    streamed: usize,
    /// The fault of the connection, after which its bytes have no meaning. `None` if there is none.
    failed: Option<PoolFault>,
}

/// The meaning of the next bytes from the upstream.
#[derive(Debug, PartialEq, Eq)]
pub enum Shared<'b> {
    /// Replies to one session, or a piece of one.
    Part(Part<'b>),
    /// The number of bytes of replies to the gate's own commands.
    Own(usize),
    /// Bytes of an invalidation, which belongs to no session.
    Invalidation {
        /// The number of bytes.
        len: usize,
        /// Whether it ends there.
        ended: bool,
    },
    /// Undecided before the buffer holds this many bytes.
    Need(usize),
    /// A fault: the caller must close the connection, and tell all sessions that wait on it.
    Fault(PoolFault),
}

/// The reason why a shared connection cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolFault {
    /// The received bytes cannot be trusted.
    Link(LinkFault),
    /// A message arrived although no client subscribes on shared connections.
    Push,
    /// The upstream refuses the gate, or is unavailable now.
    Unavailable(Unavailable),
    /// The server is a replica, and no command may go there.
    Replica,
    /// The upstream has no such database or RESP version, is busy with a script, or does not allow the command. The
    /// client may get this line, which is about its own command.
    Refused(Box<[u8]>),
}

impl PooledLink {
    /// Creates the state of a connection before its first byte.
    pub fn new(key: PoolKey) -> Self {
        let awaits = Setup::of(&key).first();
        Self { link: Link::new(), key, awaits, role_untold: false, large: false, streamed: 0, failed: None }
    }

    /// Returns the bytes that the caller must send first. The caller sends nothing else before
    /// [`PooledLink::is_ready`], and calls this method once for each connection.
    pub fn open(&mut self) -> Vec<u8> {
        let (mut bytes, mut stages) = (Vec::new(), Vec::new());
        let mut due = self.awaits;
        let setup = Setup::of(&self.key);
        while let Some(stage) = due {
            bytes.extend_from_slice(&stage.command(&setup).unwrap_or_default());
            stages.push(stage);
            due = stage.next(&setup);
        }
        // Clients may have announced commands, which are written after the set-up.
        for stage in stages.into_iter().rev() {
            self.link.expect_first(Ticket { session: GATE, seq: 0 }, stage.shape());
        }
        bytes
    }

    /// Begins the set-up again, on another connection: the server was a replica. The commands that clients have
    /// announced were not written, and stay. The caller then calls [`PooledLink::open`].
    pub fn restart(&mut self) {
        self.link.restart(GATE);
        self.awaits = Setup::of(&self.key).first();
        self.role_untold = false;
        self.failed = None;
    }

    /// Returns the question that the caller must send after the set-up, because the reply to HELLO does not tell the
    /// role of the server. `None` if there is none.
    pub fn question(&mut self) -> Option<Vec<u8>> {
        if self.awaits.is_some() || !std::mem::take(&mut self.role_untold) {
            return None;
        }
        self.awaits = Some(Stage::Role);
        // Clients may have announced commands, which are written after the set-up.
        self.link.expect_first(Ticket { session: GATE, seq: 0 }, Stage::Role.shape());
        let setup = Setup { asks_role: true, ..Setup::of(&self.key) };
        Stage::Role.command(&setup).map(Cow::into_owned)
    }

    /// Returns whether the upstream has accepted everything that the key requires.
    pub const fn is_ready(&self) -> bool {
        self.awaits.is_none() && !self.role_untold
    }

    /// Announces `pending` commands of `first`'s session that the caller is about to write, each with a reply of
    /// `shape`.
    pub fn expect(&mut self, first: Ticket, pending: u64, shape: Shape) {
        self.link.expect(first, pending, shape);
    }

    /// Returns whether the connection accepts new commands.
    pub const fn takes_more(&self) -> bool {
        !self.large
    }

    /// Returns whether no reply is pending.
    pub fn is_settled(&self) -> bool {
        self.link.is_settled()
    }

    /// Returns whether replies to another session than `session` are pending.
    pub fn has_pending_for_others(&self, session: SessionKey) -> bool {
        self.link.waiting_sessions().any(|waiting| waiting != session)
    }

    /// Returns the link of a connection whose pending replies are all for `session`, and none for a session that has
    /// ended. From now on the link is that session's own.
    pub fn hand_over(&mut self, session: SessionKey) -> Option<Link> {
        let only = self.is_ready()
            && self.failed.is_none()
            && !self.is_settled()
            && self.link.waiting_sessions().all(|waiting| waiting == session);
        only.then(|| std::mem::take(&mut self.link))
    }

    /// Returns the sessions with pending replies; a session may occur more than once.
    pub fn waiting_sessions(&self) -> impl Iterator<Item = SessionKey> + '_ {
        self.link.waiting_sessions().filter(|waiting| *waiting != GATE)
    }

    /// Returns whether any reply arrived; a connection that ends before its first reply never worked.
    pub const fn answered(&self) -> bool {
        self.link.answered()
    }

    /// Returns the bytes of memory that grow with the pending replies.
    pub fn held(&self) -> usize {
        self.link.held()
    }

    /// Divides the received bytes. `buf` starts at the first byte that was not returned yet.
    pub fn next<'b>(&mut self, buf: &'b [u8]) -> Shared<'b> {
        if let Some(fault) = &self.failed {
            return Shared::Fault(fault.clone());
        }
        let shared = self.divide(buf);
        if let Shared::Fault(fault) = &shared {
            self.failed = Some(fault.clone());
        }
        shared
    }

    fn divide<'b>(&mut self, buf: &'b [u8]) -> Shared<'b> {
        let first_words = !self.link.answered();
        match self.link.next(buf) {
            Incoming::Part(part)
                if first_words
                    && part.head.kind == b'-'
                    && let Some(why) = Unavailable::of_greeting(part.bytes) =>
            {
                // The line is no reply: the command of a client is still pending.
                if part.ticket.session != GATE {
                    self.link.expect_first(part.ticket, Shape::One);
                }
                Shared::Fault(PoolFault::Unavailable(why))
            }
            Incoming::Part(part) if part.ticket.session == GATE => self.set_up(&part),
            Incoming::Part(part) => {
                self.measure(&part);
                Shared::Part(part)
            }
            Incoming::Need(total) => Shared::Need(total),
            Incoming::Push { kind: PushKind::Invalidation, ended, bytes } => {
                Shared::Invalidation { len: bytes.len(), ended }
            }
            Incoming::Push { .. } => Shared::Fault(PoolFault::Push),
            Incoming::Fault(LinkFault::Unsolicited) if first_words => {
                let greeting = Unavailable::of_greeting(buf);
                Shared::Fault(
                    greeting.map_or(PoolFault::Link(LinkFault::Unsolicited), PoolFault::Unavailable),
                )
            }
            Incoming::Fault(LinkFault::TlsAlert) => Shared::Fault(PoolFault::Unavailable(Unavailable::Tls)),
            Incoming::Fault(fault) => Shared::Fault(PoolFault::Link(fault)),
        }
    }

    fn set_up<'b>(&mut self, part: &Part<'b>) -> Shared<'b> {
        let Some(stage) = self.awaits else { return Shared::Fault(PoolFault::Link(LinkFault::Unsolicited)) };
        if stage == Stage::Role {
            if is_role_of_replica(part.bytes) {
                return Shared::Fault(PoolFault::Replica);
            }
            self.awaits = None;
            return Shared::Own(part.bytes.len());
        }
        if stage == Stage::Hello {
            match Greeting::of(part.bytes, &self.key) {
                greeting @ (Greeting::Welcome | Greeting::Untold) => {
                    self.role_untold = greeting == Greeting::Untold;
                    self.awaits = stage.next(&Setup::of(&self.key));
                    return Shared::Own(part.bytes.len());
                }
                Greeting::Replica => return Shared::Fault(PoolFault::Replica),
                Greeting::Refused | Greeting::Mismatch => {}
            }
        }
        if part.head.kind == b'-' {
            return Shared::Fault(match (Unavailable::of_setup(part.bytes), stage) {
                (Some(why), _) => PoolFault::Unavailable(why),
                (None, Stage::Auth) => PoolFault::Unavailable(Unavailable::of_login(part.bytes)),
                (None, _) => PoolFault::Refused(part.bytes.into()),
            });
        }
        if stage == Stage::Hello || part.bytes != reply::OK {
            return Shared::Fault(PoolFault::Link(LinkFault::Mismatch));
        }
        self.awaits = stage.next(&Setup::of(&self.key));
        Shared::Own(part.bytes.len())
    }

    fn measure(&mut self, part: &Part<'_>) {
        let announced = match part.head.kind {
            b'$' | b'=' | b'!' => usize::try_from(part.head.count).unwrap_or(0),
            _ => 0,
        };
        self.streamed = if part.ended == 0 { self.streamed.saturating_add(part.bytes.len()) } else { 0 };
        self.large |= (part.ended == 0 && announced > LARGE_REPLY) || self.streamed > LARGE_REPLY;
        // Other large replies may be pending behind it.
        self.large &= !self.link.is_settled();
    }
}

/// The key of the gate's own commands. No session has this key: keys of sessions count from 0.
const GATE: SessionKey = SessionKey(u64::MAX);

#[cfg(test)]
mod tests;
