//! One upstream connection. It divides the received bytes into replies, messages and lines of MONITOR, and finds the
//! session that gets each reply.

mod kind;
mod preamble;
mod subscriptions;
mod unavailable;

use std::collections::VecDeque;

use portcullis_resp::error::ReplyError;
use portcullis_resp::reply;
use portcullis_resp::scan::{
    FirstElement, Reply, ReplyHead, ReplyScanner, Streamed, aggregate_header, first_element, second_element,
};

pub use self::kind::PushKind;
pub(crate) use self::preamble::{AS_NOBODY, Digest, Greeting, Names, Setup, Stage, is_role_of_replica};
pub use self::preamble::{PoolKey, Preamble};
pub use self::subscriptions::{Subscribed, Subscriptions};
pub use self::unavailable::Unavailable;
use crate::ids::{SessionKey, Ticket};
use crate::shape::{QueuedConfirmations, Shape, Verb};

/// The longest reply in bytes that must be seen in one piece. Servers answer AUTH, DISCARD and CLIENT REPLY in one
/// line.
pub const MAX_WHOLE_REPLY: usize = 64 * 1024;

/// The longest listing in bytes that the session filters: as long as the longest held command.
pub const MAX_LISTED: usize = 1024 * 1024;

/// The framing state of one upstream connection.
///
/// Before the caller writes a command's bytes, [`Link::expect`] announces the replies to them. [`Link::next`] then
/// divides the received bytes. The caller drops the bytes of each returned piece before the next call.
#[derive(Debug, Default)]
pub struct Link {
    scan: ReplyScanner,
    pending: VecDeque<Expected>,
    subscribed: Subscribed,
    resp3: bool,
    monitor: bool,
    /// Whether scripts run in the debugger.
    debugs: bool,
    raw: bool,
    answered: bool,
    frame: InProgress,
    elements: Option<Elements>,
    failed: Option<LinkFault>,
}

/// The meaning of the next bytes from the upstream.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'b> {
    /// Replies, or a piece of one.
    Part(Part<'b>),
    /// A push, a published message or a line of MONITOR, or a piece of one. No command requested it; it is a part of
    /// the stream.
    Push {
        /// The kind of push.
        kind: PushKind,
        /// Whether it ends with `bytes`.
        ended: bool,
        /// The bytes of the push.
        bytes: &'b [u8],
    },
    /// The link needs more bytes: the caller calls again when the buffer holds this many bytes.
    Need(usize),
    /// The stream is invalid, so the connection must be closed.
    Fault(LinkFault),
}

/// One or more whole replies, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'b> {
    /// The first reply that `bytes` belongs to.
    pub ticket: Ticket,
    /// The number of commands whose replies are complete after `bytes`.
    pub ended: u64,
    /// Whether `bytes` begins at the first byte of a reply.
    pub first: bool,
    /// The type byte and the count in the first line of the first reply in `bytes`.
    pub head: ReplyHead,
    /// Whether `bytes` belongs to a confirmation of a subscribe or unsubscribe command. A confirmation has the form of
    /// a push.
    pub confirmation: bool,
    /// The bytes, unchanged.
    pub bytes: &'b [u8],
}

/// The reason why an upstream connection is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// Bytes that are not RESP.
    #[error("upstream broke the protocol: {0}")]
    Protocol(ReplyError),
    /// A TLS alert in reply to plain text.
    #[error("upstream wants TLS")]
    TlsAlert,
    /// A reply without a command.
    #[error("upstream sent a reply that no command asked for")]
    Unsolicited,
    /// A reply of a form that its command cannot have.
    #[error("upstream sent a reply of a form that does not fit the command")]
    Mismatch,
    /// A control reply longer than [`MAX_WHOLE_REPLY`].
    #[error("upstream sent a control reply that is too long")]
    TooLong,
}

impl Link {
    /// Creates the state of a connection before its first byte: RESP2, without subscriptions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces `pending` commands that the caller is about to write, each with a reply of `shape`.
    pub fn expect(&mut self, first: Ticket, pending: u64, shape: Shape) {
        if shape == Shape::Raw {
            self.raw = true;
            return;
        }
        if shape == Shape::One
            && let Some(last) = self.pending.back_mut()
            && last.shape == Shape::One
            && last.first.plus(last.left) == first
        {
            last.left = last.left.saturating_add(pending);
            return;
        }
        if self.pending.capacity() == 0 {
            self.pending.reserve_exact(IDLE_CAPACITY);
        }
        self.pending.push_back(Expected { first, left: pending, shape });
    }

    /// Announces one command that the caller is about to write before those that are pending, none of which is written
    /// yet.
    pub(crate) fn expect_first(&mut self, ticket: Ticket, shape: Shape) {
        self.pending.push_front(Expected { first: ticket, left: 1, shape });
    }

    /// Begins again on another connection. Replies to `gone` are not expected any more; the commands of other sessions
    /// were not written, and their replies stay pending.
    pub(crate) fn restart(&mut self, gone: SessionKey) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|expected| expected.first.session != gone);
        *self = Self { pending, ..Self::default() };
    }

    /// Divides the received bytes. `buf` starts at the first byte that was not returned yet.
    pub fn next<'b>(&mut self, buf: &'b [u8]) -> Incoming<'b> {
        if let Some(fault) = self.failed {
            return Incoming::Fault(fault);
        }
        let incoming = match self.frame {
            InProgress::None => self.begin(buf),
            InProgress::Push(kind) => self.resume_push(buf, kind),
            InProgress::Reply(opening) => self.resume_reply(buf, opening),
        };
        if let Incoming::Fault(fault) = incoming {
            self.failed = Some(fault);
        }
        incoming
    }

    /// Returns whether any reply arrived. If a connection ends before its first reply, it never worked.
    pub const fn answered(&self) -> bool {
        self.answered
    }

    /// Returns whether messages, command lines or a replication stream may arrive at any time.
    pub const fn streams(&self) -> bool {
        self.raw || self.monitor || self.subscriptions().active()
    }

    /// Returns whether the connection is in RESP2 subscriber mode, in which the upstream allows few commands.
    pub const fn listens_in_resp2(&self) -> bool {
        !self.resp3 && self.subscriptions().active()
    }

    /// Returns whether the connection uses RESP3.
    pub const fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Returns the number of subscriptions that were confirmed so far.
    pub const fn subscriptions(&self) -> Subscriptions {
        self.subscribed.counts()
    }

    /// Returns the subscriptions that were confirmed so far, with their names.
    pub const fn subscribed(&self) -> &Subscribed {
        &self.subscribed
    }

    /// Returns whether no reply is pending.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns the number of pending replies.
    pub fn pending(&self) -> u64 {
        self.pending.iter().map(|expected| expected.left).sum()
    }

    /// Returns the sessions with pending replies, in order. A session may occur more than once.
    pub fn waiting_sessions(&self) -> impl Iterator<Item = SessionKey> + '_ {
        self.pending.iter().map(|expected| expected.first.session)
    }

    /// Returns the bytes of memory that grow with the pending replies and the subscriptions.
    #[inline]
    pub fn held(&self) -> usize {
        self.pending.capacity() * size_of::<Expected>() + self.subscribed.held()
    }

    fn begin<'b>(&mut self, buf: &'b [u8]) -> Incoming<'b> {
        let Some(&first) = buf.first() else { return Incoming::Need(1) };
        if self.raw {
            return Incoming::Push { kind: PushKind::Raw, ended: true, bytes: buf };
        }
        if first == TLS_ALERT && !self.answered {
            return Incoming::Fault(LinkFault::TlsAlert);
        }
        if self.may_be_push(first) {
            match self.push_kind(first, buf) {
                Ok(Some(kind)) => return self.push(buf, kind),
                Ok(None) => {}
                Err(incoming) => return incoming,
            }
        }
        let Some(front) = self.pending.front() else {
            // The debugger's last command has had its reply, so this is the reply of the script.
            return match self.debugs {
                true => self.push(buf, PushKind::Debugger),
                false => Incoming::Fault(LinkFault::Unsolicited),
            };
        };
        if self.elements.is_some() {
            return self.element(buf);
        }
        match &front.shape {
            Shape::One | Shape::Raw => self.run(buf),
            Shape::Whole | Shape::WholeHello | Shape::Monitor | Shape::Reset | Shape::Debug { .. } => {
                self.whole(buf)
            }
            Shape::Hello => self.one(buf, None),
            Shape::Listed => self.listed(buf),
            Shape::Exec(_) if first == b'*' => self.exec(buf),
            Shape::Exec(_) => self.one(buf, None),
            Shape::Confirm { verb, .. } | Shape::ConfirmAll(verb) => {
                let verb = *verb;
                self.confirmation(buf, first, verb)
            }
        }
    }

    /// Returns as many whole plain replies as the buffer has, up to the end of the queue's first entry. An error reply
    /// is returned alone, so that the caller sees each error.
    fn run<'b>(&mut self, buf: &'b [u8]) -> Incoming<'b> {
        let Some(front) = self.pending.front() else { return Incoming::Fault(LinkFault::Unsolicited) };
        let (mut len, mut ended, left) = (0, 0, front.left);
        let mut head = ReplyHead { kind: 0, count: 0 };
        while ended < left {
            let rest = &buf[len..];
            let Some(&first) = rest.first() else { break };
            if ended > 0 && (first == b'-' || self.may_be_push(first)) {
                break;
            }
            match self.scan.next(rest) {
                Ok(Reply::Whole { len: reply, head: this }) => {
                    if ended == 0 {
                        head = this;
                    }
                    len += reply;
                    ended += 1;
                    match this.kind {
                        b'-' => break,
                        // Bulk strings arrive in sequences, and are neither errors nor pushes.
                        b'$' => {
                            let (more, bytes) = self.scan.bulk_strings(&buf[len..], left - ended);
                            len += bytes;
                            ended += more;
                        }
                        _ => {}
                    }
                }
                Ok(_) if ended > 0 => break,
                Ok(Reply::Head { head, .. }) => {
                    return self.open_reply(buf, Opening { head, confirms: None });
                }
                Ok(Reply::Need { at_least }) => return Incoming::Need(at_least),
                Err(error) if ended > 0 => {
                    self.failed = Some(LinkFault::Protocol(error));
                    break;
                }
                Err(error) => return Incoming::Fault(LinkFault::Protocol(error)),
            }
        }
        self.hand_out(&buf[..len], true, Opening { head, confirms: None }, ended)
    }

    /// Returns one reply that changes the state of the link, or one element of EXEC's reply.
    fn one<'b>(&mut self, buf: &'b [u8], confirms: Option<Verb>) -> Incoming<'b> {
        match self.scan.next(buf) {
            Ok(Reply::Whole { len, head }) => {
                let first = self.elements.is_none();
                let opening = Opening { head, confirms };
                let name = confirms.and_then(|_| second_element(&buf[..len]));
                let ended = self.finish(opening, name);
                self.hand_out(&buf[..len], first, opening, ended)
            }
            // The name must be complete, because a reload judges it again.
            Ok(Reply::Head { .. }) if confirms.is_some() && buf.len() < MAX_WHOLE_REPLY => {
                Incoming::Need(buf.len() + 1)
            }
            Ok(Reply::Head { head, .. }) => self.open_reply(buf, Opening { head, confirms }),
            Ok(Reply::Need { at_least }) => Incoming::Need(at_least),
            Err(error) => Incoming::Fault(LinkFault::Protocol(error)),
        }
    }

    fn whole<'b>(&mut self, buf: &'b [u8]) -> Incoming<'b> {
        match self.scan.next(buf) {
            Ok(Reply::Whole { len, .. }) if len > MAX_WHOLE_REPLY => Incoming::Fault(LinkFault::TooLong),
            Ok(Reply::Whole { len, head }) => {
                self.turn(&buf[..len]);
                self.hand_out(&buf[..len], true, Opening { head, confirms: None }, 1)
            }
            Ok(_) if buf.len() >= MAX_WHOLE_REPLY => Incoming::Fault(LinkFault::TooLong),
            Ok(Reply::Need { at_least }) => Incoming::Need(at_least),
            Ok(Reply::Head { .. }) => Incoming::Need(buf.len() + 1),
            Err(error) => Incoming::Fault(LinkFault::Protocol(error)),
        }
    }

    /// Returns a listing in one piece, if it has at most `MAX_LISTED` bytes.
    fn listed<'b>(&mut self, buf: &'b [u8]) -> Incoming<'b> {
        match self.scan.next(buf) {
            Ok(Reply::Whole { len, head }) => {
                self.hand_out(&buf[..len], true, Opening { head, confirms: None }, 1)
            }
            Ok(Reply::Head { head, .. }) if buf.len() >= MAX_LISTED => {
                self.open_reply(buf, Opening { head, confirms: None })
            }
            Ok(Reply::Need { at_least }) => Incoming::Need(at_least),
            Ok(Reply::Head { .. }) => Incoming::Need(buf.len() + 1),
            Err(error) => Incoming::Fault(LinkFault::Protocol(error)),
        }
    }

    /// Applies the effect of a whole reply to the state of the link. Any other text, such as `+QUEUED`, changes
    /// nothing.
    fn turn(&mut self, said: &[u8]) {
        match self.pending.front().map(|front| &front.shape) {
            Some(Shape::Monitor) if said == reply::OK => self.monitor = true,
            Some(Shape::Debug { on }) if said == reply::OK => self.debugs = *on,
            Some(Shape::WholeHello) if said.starts_with(b"%") => self.resp3 = true,
            Some(Shape::WholeHello) if said.starts_with(b"*") => self.resp3 = false,
            Some(Shape::Reset) if said == reply::RESET => {
                self.subscribed = Subscribed::default();
                self.monitor = false;
                self.debugs = false;
                self.resp3 = false;
            }
            _ => {}
        }
    }

    fn confirmation<'b>(&mut self, buf: &'b [u8], first: u8, verb: Verb) -> Incoming<'b> {
        match first {
            b'-' | b'+' => self.one(buf, None),
            b'*' | b'>' if (first == b'>') == self.resp3 => match first_element(buf) {
                FirstElement::Need => Incoming::Need(buf.len() + 1),
                FirstElement::Text(word) if Verb::from_word(word) == Some(verb) => self.one(buf, Some(verb)),
                _ => Incoming::Fault(LinkFault::Mismatch),
            },
            _ => Incoming::Fault(LinkFault::Mismatch),
        }
    }

    /// Splits EXEC's array into its header and its elements, each of which is read like a reply. So confirmations of
    /// queued SUBSCRIBEs are counted, and messages between the elements are not.
    fn exec<'b>(&mut self, buf: &'b [u8]) -> Incoming<'b> {
        match aggregate_header(buf) {
            Ok(None) => Incoming::Need(buf.len() + 1),
            Err(error) => Incoming::Fault(LinkFault::Protocol(error)),
            // A streamed array has no count. No server answers EXEC in this form.
            Ok(Some((head, _))) if head.count < 0 && !buf.starts_with(NULL_ARRAY) => {
                Incoming::Fault(LinkFault::Mismatch)
            }
            Ok(Some((head, len))) => {
                let opening = Opening { head, confirms: None };
                let Ok(count @ 1..) = u64::try_from(head.count) else {
                    return self.hand_out(&buf[..len], true, opening, 1);
                };
                let queued = match self.pending.front_mut().map(|front| &mut front.shape) {
                    Some(Shape::Exec(queued)) => std::mem::take(queued),
                    _ => QueuedConfirmations::default(),
                };
                if !queued.fits(count) {
                    return Incoming::Fault(LinkFault::Mismatch);
                }
                self.elements = Some(Elements { index: 0, count, queued });
                self.hand_out(&buf[..len], true, opening, 0)
            }
        }
    }

    fn element<'b>(&mut self, buf: &'b [u8]) -> Incoming<'b> {
        let queued = self.elements.as_ref().and_then(|elements| elements.queued.verb_at(elements.index));
        let confirms = match (queued, buf.first()) {
            (Some(verb), Some(b'*' | b'>')) => match first_element(buf) {
                FirstElement::Need => return Incoming::Need(buf.len() + 1),
                FirstElement::Text(word) if Verb::from_word(word) == Some(verb) => Some(verb),
                _ => return Incoming::Fault(LinkFault::Mismatch),
            },
            (Some(_), Some(b'-')) | (None, _) => None,
            _ => return Incoming::Fault(LinkFault::Mismatch),
        };
        self.one(buf, confirms)
    }

    /// Begins a reply that is incomplete in the buffer, and returns the received part. Only an error is returned whole,
    /// up to a limit, because the session reads its text.
    fn open_reply<'b>(&mut self, buf: &'b [u8], opening: Opening) -> Incoming<'b> {
        if opening.head.kind == b'-' && buf.len() < MAX_WHOLE_ERROR {
            return Incoming::Need(buf.len() + 1);
        }
        let first = self.elements.is_none();
        self.stream_reply(buf, opening, first)
    }

    fn resume_reply<'b>(&mut self, buf: &'b [u8], opening: Opening) -> Incoming<'b> {
        self.stream_reply(buf, opening, false)
    }

    fn stream_reply<'b>(&mut self, buf: &'b [u8], opening: Opening, first: bool) -> Incoming<'b> {
        match self.scan.stream(buf) {
            Ok(Streamed { len: 0, done: false }) => {
                self.frame = InProgress::Reply(opening);
                Incoming::Need(buf.len() + 1)
            }
            Ok(Streamed { len, done }) => {
                self.frame = if done { InProgress::None } else { InProgress::Reply(opening) };
                let ended = if done { self.finish(opening, None) } else { 0 };
                self.hand_out(&buf[..len], first, opening, ended)
            }
            Err(error) => Incoming::Fault(LinkFault::Protocol(error)),
        }
    }

    /// Applies the effect of a whole reply, element or confirmation. `name` is the channel of a confirmation, if it is
    /// known. Returns the number of commands that are answered now.
    fn finish(&mut self, opening: Opening, name: Option<&[u8]>) -> u64 {
        if let Some(verb) = opening.confirms {
            let count = self.scan.last_integer().and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
            let all = self.subscriptions().confirmations_of_all(verb);
            self.subscribed.confirm(verb, name, count);
            if self.elements.is_none() {
                return self.confirmed(all);
            }
        }
        if let Some(elements) = &mut self.elements {
            elements.index += 1;
            if elements.index < elements.count {
                return 0;
            }
            self.elements = None;
            return 1;
        }
        if self.pending.front().is_some_and(|front| front.shape == Shape::Hello) {
            match opening.head.kind {
                b'%' => self.resp3 = true,
                b'*' => self.resp3 = false,
                _ => {}
            }
        }
        1
    }

    /// Counts one confirmation of the first pending command. `all` is the number of confirmations that a command
    /// without arguments gets. Returns 1 if this was the last confirmation, else 0.
    fn confirmed(&mut self, all: u64) -> u64 {
        let Some(front) = self.pending.front_mut() else { return 0 };
        let (verb, n) = match front.shape {
            Shape::Confirm { verb, n } => (verb, n),
            Shape::ConfirmAll(verb) => (verb, all),
            _ => return 0,
        };
        front.shape = Shape::Confirm { verb, n: n.saturating_sub(1) };
        u64::from(n <= 1)
    }

    fn hand_out<'b>(&mut self, bytes: &'b [u8], first: bool, opening: Opening, ended: u64) -> Incoming<'b> {
        let Some(front) = self.pending.front_mut() else { return Incoming::Fault(LinkFault::Unsolicited) };
        let ticket = front.first;
        front.first = ticket.plus(ended);
        front.left = front.left.saturating_sub(ended);
        if front.left == 0 {
            self.pending.pop_front();
            if self.pending.is_empty() && self.pending.capacity() > IDLE_CAPACITY {
                self.pending.shrink_to(IDLE_CAPACITY);
            }
        }
        self.answered = true;
        let Opening { head, confirms } = opening;
        Incoming::Part(Part { ticket, ended, first, head, confirmation: confirms.is_some(), bytes })
    }
}

/// The length in bytes up to which an error line is seen in one piece. Redis's own error lines are shorter. An error of
/// a script may have any length.
pub(crate) const MAX_WHOLE_ERROR: usize = 1024;

const NULL_ARRAY: &[u8] = b"*-1";

/// The first byte of a TLS alert record. A TLS server sends such a record in reply to plain text.
const TLS_ALERT: u8 = 0x15;

/// The number of queue entries for which an idle connection keeps memory.
const IDLE_CAPACITY: usize = 1;

#[derive(Debug)]
struct Expected {
    first: Ticket,
    left: u64,
    shape: Shape,
}

/// The frame of which a part was returned and the rest is missing.
#[derive(Clone, Copy, Debug, Default)]
enum InProgress {
    #[default]
    None,
    Push(PushKind),
    Reply(Opening),
}

/// The beginning of a reply.
#[derive(Clone, Copy, Debug)]
struct Opening {
    head: ReplyHead,
    /// The verb that the reply confirms. `None` if the reply is not a confirmation.
    confirms: Option<Verb>,
}

/// The position of the stream inside EXEC's array.
#[derive(Debug)]
struct Elements {
    index: u64,
    count: u64,
    queued: QueuedConfirmations,
}

#[cfg(test)]
mod tests;
