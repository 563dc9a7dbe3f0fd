//! Upstream connections that many clients share: what makes two of them the same to a client, and the state of one.
//!
//! Only commands that leave nothing behind travel there, so all that distinguishes them is who they are logged in as, the
//! database, and the RESP version. Whatever comes that nobody asked for ends the connection, save an invalidation: any client
//! of Redis can have one sent here, its frame is beyond doubt, and it is dropped.

use portcullis_resp::reply;

use crate::ids::{SessionKey, Ticket};
use crate::link::{Incoming, Link, LinkFault, Part, PoolKey, PushKind, Stage, Unavailable};
use crate::shape::Shape;

/// A reply of more bytes makes its connection take no new commands: what would wait behind it had better go elsewhere.
pub const LARGE_REPLY: usize = 256 * 1024;

/// The framing state of one shared connection.
#[derive(Debug)]
pub struct PooledLink {
    link: Link,
    key: PoolKey,
    /// The step of setting up whose reply comes next.
    awaits: Option<Stage>,
    large: bool,
    /// Bytes of the reply that is under way.
    streamed: usize,
    /// Whatever comes after that means nothing.
    failed: Option<PoolFault>,
}

/// What the next bytes from the upstream are.
#[derive(Debug, PartialEq, Eq)]
pub enum Shared<'b> {
    /// Replies to one session, or a piece of one.
    Part(Part<'b>),
    /// So many bytes are the gate's own affair.
    Own(usize),
    /// So many bytes of an invalidation, which is for no session.
    Invalidation {
        /// The number of bytes.
        len: usize,
        /// Whether it ends there.
        ended: bool,
    },
    /// Nothing can be said before the buffer holds this many bytes.
    Need(usize),
    /// The connection must be closed, and all who wait on it told.
    Fault(PoolFault),
}

/// Why a shared connection cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolFault {
    /// What came is not to be trusted.
    Link(LinkFault),
    /// Messages came where nobody subscribes.
    Push,
    /// The upstream does not want us, or not now.
    Unavailable(Unavailable),
    /// The upstream has no such database or RESP version, is busy with a script, or does not allow the command; the
    /// client may read this line, which is about its own command.
    Refused(Box<[u8]>),
}

impl PooledLink {
    /// A connection on which nothing was said yet.
    pub fn new(key: PoolKey) -> Self {
        let awaits = Stage::Auth.needed_by(&key);
        Self { link: Link::new(), key, awaits, large: false, streamed: 0, failed: None }
    }

    /// What must be sent before anything else. Nothing may follow before [`PooledLink::is_ready`]. To be called once.
    pub fn open(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut due = self.awaits;
        while let Some(stage) = due {
            bytes.extend_from_slice(&stage.command(&self.key).unwrap_or_default());
            self.link.expect(Ticket { session: GATE, seq: 0 }, 1, stage.shape());
            due = stage.next(&self.key);
        }
        bytes
    }

    /// Whether the upstream has agreed to all that the key asks for.
    pub const fn is_ready(&self) -> bool {
        self.awaits.is_none()
    }

    /// Announces that `pending` commands of `first`'s session are about to be written, each of which gets `shape` back.
    pub fn expect(&mut self, first: Ticket, pending: u64, shape: Shape) {
        self.link.expect(first, pending, shape);
    }

    /// Whether new commands may go here.
    pub const fn takes_more(&self) -> bool {
        !self.large
    }

    /// Whether nothing is owed to anybody.
    pub fn is_settled(&self) -> bool {
        self.link.is_settled()
    }

    /// Whether anybody but `session` waits for replies.
    pub fn has_pending_for_others(&self, session: SessionKey) -> bool {
        self.link.waiting_sessions().any(|waiting| waiting != session)
    }

    /// The link of a connection that owes replies to `session` and to nobody else, not even to one that is gone: from now on
    /// it is that session's own.
    pub fn hand_over(&mut self, session: SessionKey) -> Option<Link> {
        let only = self.is_ready()
            && self.failed.is_none()
            && !self.is_settled()
            && self.link.waiting_sessions().all(|waiting| waiting == session);
        only.then(|| std::mem::take(&mut self.link))
    }

    /// Whose replies are owed; one may be named more than once.
    pub fn waiting_sessions(&self) -> impl Iterator<Item = SessionKey> + '_ {
        self.link.waiting_sessions().filter(|waiting| *waiting != GATE)
    }

    /// Whether any reply came at all; a connection that ends before that never worked.
    pub const fn answered(&self) -> bool {
        self.link.answered()
    }

    /// Bytes of memory that grow with what is owed.
    pub fn held(&self) -> usize {
        self.link.held()
    }

    /// Divides what was read. `buf` starts at the first byte not yet handed out.
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
        if part.head.kind == b'-' {
            return Shared::Fault(match (Unavailable::of_setup(part.bytes), stage) {
                (Some(why), _) => PoolFault::Unavailable(why),
                (None, Stage::Auth) => PoolFault::Unavailable(Unavailable::of_login(part.bytes)),
                (None, Stage::Hello | Stage::Select) => PoolFault::Refused(part.bytes.into()),
            });
        }
        let agreed = match stage {
            Stage::Auth | Stage::Select => part.bytes == reply::OK,
            Stage::Hello => part.head.kind == b'%',
        };
        if !agreed {
            return Shared::Fault(PoolFault::Link(LinkFault::Mismatch));
        }
        self.awaits = stage.next(&self.key);
        Shared::Own(part.bytes.len())
    }

    fn measure(&mut self, part: &Part<'_>) {
        let announced = match part.head.kind {
            b'$' | b'=' | b'!' => usize::try_from(part.head.count).unwrap_or(0),
            _ => 0,
        };
        self.streamed = if part.ended == 0 { self.streamed.saturating_add(part.bytes.len()) } else { 0 };
        self.large |= (part.ended == 0 && announced > LARGE_REPLY) || self.streamed > LARGE_REPLY;
        // Others like it may wait behind it.
        self.large &= !self.link.is_settled();
    }
}

/// Whose the gate's own commands are. No session has this key: theirs count from 0.
const GATE: SessionKey = SessionKey(u64::MAX);

#[cfg(test)]
mod tests;
