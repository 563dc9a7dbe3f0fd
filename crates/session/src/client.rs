//! One client: what it asks, in which order it is answered, and what each command does to the connection.

mod about;
pub(crate) mod asked;
mod command;
pub(crate) mod confirmed;
mod identity;
mod judge;
mod replication;
mod replies;
mod rules;
mod sharing;
mod step;
pub(crate) mod transaction;
mod uses;

use std::sync::Arc;

use portcullis_resp::command::{CommandId, lookup};
use portcullis_resp::error::RequestError;
use portcullis_resp::scan::{Beginning, Request, RequestScanner, Span};

use self::about::About;
use self::command::{Frame, Source};
use self::identity::{Deferred, Entering, Keys};
pub use self::replies::MAX_RENDERED;
pub use self::sharing::Lease;
use self::sharing::{Before, Sharing};
pub use self::step::{CloseReason, Delivery, PendingLogin, ReplyAction, Step, Until};
use self::uses::Tracking;
use crate::client::asked::{Asked, Login, Mute};
use crate::client::confirmed::Confirmed;
use crate::ids::{SessionKey, Ticket};
use crate::link::Unavailable;
use crate::observe::{Host, Observer};
use crate::pending::{Local, PendingReplies, ReplyKind, Run};
use crate::plan::{Care, Plan};
use crate::shape::Shape;
use crate::tick::Tick;

/// The protocol state of one client.
///
/// Call [`Session::next`] with what was read and not yet consumed, do what the [`Step`] says, and call it again until it
/// asks for more bytes or for patience. Call [`Session::write_local_replies`] after every step and every reply.
#[derive(Debug)]
pub struct Session {
    key: SessionKey,
    seq: u64,
    scan: RequestScanner,
    stream: Stream,
    /// A request that the scanner has left behind and that was not acted on yet.
    peeked: Option<Request>,
    /// What the scanner found after commands that had to go first.
    failed: Option<RequestError>,
    /// Nothing more is read before all that is owed is paid.
    hold: bool,
    asked: Asked,
    confirmed: Confirmed,
    pending: PendingReplies,
    /// What holds now.
    plan: Arc<Plan>,
    /// What holds for the client as it came in, and again after RESET.
    home: Arc<Plan>,
    keys: Keys,
    entering: Option<Box<Entering>>,
    deferred: Option<Box<Deferred>>,
    /// The frames that switched CLIENT TRACKING on.
    tracking: Option<Box<Tracking>>,
    /// Where upstream connections are shared.
    sharing: Option<Box<Sharing>>,
    /// The state of CLIENT, if the gate answers it and was asked.
    about: Option<Box<About>>,
    /// The plan's limits hold from the next frame on.
    limits_due: bool,
    scratch: Vec<u8>,
    draining: bool,
    ending: Option<CloseReason>,
}

impl Session {
    /// A client that was admitted and said nothing yet. Under [`Auth::Users`](crate::Auth::Users) a plan that names a
    /// user is for one whom something else than a password has made known.
    pub fn new(key: SessionKey, plan: Arc<Plan>) -> Self {
        let sharing = plan.is_shared().then(Box::default);
        let mut session = Self {
            key,
            seq: 0,
            scan: RequestScanner::new(plan.limits()),
            stream: Stream::Fresh,
            peeked: None,
            failed: None,
            hold: false,
            asked: Asked::default(),
            confirmed: Confirmed::default(),
            pending: PendingReplies::default(),
            home: Arc::clone(&plan),
            keys: Keys::of(&plan),
            plan,
            entering: None,
            deferred: None,
            tracking: None,
            sharing,
            about: None,
            limits_due: false,
            scratch: Vec::new(),
            draining: false,
            ending: None,
        };
        session.rejoin();
        session
    }

    /// Says what to do with `buf`, which starts at the first byte not yet consumed. `now` is when it was read. The caller
    /// may keep back some of what it has, also of what it has shown before.
    pub fn next<H: Host>(&mut self, buf: &[u8], now: Tick, observer: &mut H) -> Step<'_> {
        if let Some(reason) = self.ending {
            return if self.pending.is_empty() {
                Step::Close(reason)
            } else {
                Step::Wait(Until::NothingPending)
            };
        }
        if self.scratch.capacity() > IDLE_SCRATCH {
            self.scratch = Vec::new();
        }
        match self.stream {
            Stream::Fresh => {}
            Stream::Forwarding | Stream::Discarding => return self.resume(buf),
        }
        if self.pending.is_full() {
            return Step::Wait(Until::FewerPending);
        }
        self.hold &= !self.pending.is_empty();
        if self.hold {
            return Step::Wait(Until::NothingPending);
        }
        // Nothing is said any more on a connection that is being given back.
        if self.has_left() {
            return Step::Wait(Until::GivenBack);
        }
        match self.asked.login {
            Login::Due(stage) => return self.log_in(stage, now),
            Login::Sent => return Step::Wait(Until::LoggedIn),
            Login::Unlinked if self.deferred.is_some() || self.is_leased() => return self.wait_for_link(),
            Login::Unlinked
            | Login::Pooled
            | Login::Nobody
            | Login::Done
            | Login::Unselected
            | Login::Replica => {}
        }
        match self.before(now) {
            Before::Go => {}
            Before::Wait(until) => return Step::Wait(until),
            Before::WaitForLink => return self.wait_for_link(),
            Before::Unblock => return self.unblock(),
        }
        if let Some(deferred) = self.deferred.take() {
            return self.send_deferred(*deferred);
        }
        if self.limits_due {
            self.adopt_limits();
        }
        if let Some(error) = self.failed.take() {
            return self.refuse_bytes(error);
        }
        let looked_at = self.looked_at();
        if buf.len() < looked_at {
            return Step::Need { at_least: looked_at };
        }
        self.commands(buf, now, observer)
    }

    /// The client sends nothing more, and what it sent was consumed as far as it can be.
    pub fn eof(&mut self) {
        self.end_mid_frame(CloseReason::Client);
    }

    /// Ends the session once no command is under way.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// A fresh upstream connection is there.
    pub fn linked(&mut self) {
        // What a fresh connection says first may be about itself, whatever another has said before.
        self.confirmed.answered = false;
        self.forget_upstream();
        self.login_due();
    }

    /// The upstream cannot be had, or is gone. The client reads `why` where there is one, in the place of the first
    /// reply that it will not get. Where it has read a part of a reply or message, nothing more can be said.
    pub fn lost(&mut self, why: Option<Unavailable>) {
        let cut = self.confirmed.mid_reply || self.confirmed.mid_push;
        let shuts_down = self.shuts_down();
        self.forget_question();
        let owing = self.pending.forsake_upstream(cut);
        if self.ending.is_some() && !owing {
            return;
        }
        let deferred = self.deferred.take();
        let unheard = deferred.map_or_else(|| self.asked.mute.take(), |deferred| deferred.is_muted());
        let unheard = unheard || cut || shuts_down || self.asked.login == Login::Replica;
        if let Some(why) = why.filter(|_| !unheard) {
            let line = format!(
                "-ERR portcullis: upstream '{}' unavailable ({})\r\n",
                self.plan.upstream(),
                why.as_str()
            );
            self.answer(
                Local::Made(line.into_bytes().into_boxed_slice()),
                CommandId::UNKNOWN,
                Tick::default(),
            );
        }
        self.ending = Some(CloseReason::Upstream(why));
    }

    /// The upstream does not take a shared connection for what the client is in, as its database while a script runs, and
    /// says so in `line`. Nothing that the client is owed was sent on it: the client reads the line in place of each reply.
    pub fn refused(&mut self, line: &[u8]) {
        self.pending.answer_with(line);
    }

    /// Whether a command may be waiting upstream for what others do.
    pub const fn blocks(&self) -> bool {
        self.pending.blocks()
    }

    /// Whether nothing is owed, nothing was begun, and nothing waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && !self.is_mid_frame()
            && self.peeked.is_none()
            && self.deferred.is_none()
            && !self.is_asking()
    }

    /// Bytes of memory that grow with what the client asks for: all but the caller's buffers.
    pub fn held(&self) -> usize {
        let hello = self.deferred.as_ref().map_or(0, |deferred| deferred.held());
        let entering = self.entering.as_ref().map_or(0, |entering| entering.held());
        let sharing = self.sharing.as_ref().map_or(0, |sharing| sharing.held());
        let about = self.about.as_ref().map_or(0, |about| about.held());
        let tracking = self.tracking.as_ref().map_or(0, |tracking| tracking.held());
        self.pending.held() + self.scratch.capacity() + hello + entering + sharing + about + tracking
    }

    /// Whether nothing more is done but to pay what is owed.
    pub const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether the gate's own login is unanswered.
    pub fn is_logging_in(&self) -> bool {
        matches!(self.asked.login, Login::Due(_) | Login::Sent)
    }

    /// The login whose reply the upstream owes next, if it owes one. Nothing else is sent before that reply; a server may
    /// swallow it where pushes were pending, so that the caller must not wait for it without a limit.
    pub fn pending_login(&self) -> Option<PendingLogin> {
        let front = self.pending.front()?;
        let of_client = match front.kind {
            ReplyKind::Login | ReplyKind::Greeting | ReplyKind::Selecting | ReplyKind::Identify => false,
            // As long as the client still sends it, nobody can answer it.
            ReplyKind::ClientLogin { .. } if self.stream == Stream::Fresh => true,
            _ => return None,
        };
        Some(PendingLogin { seq: front.seq, of_client })
    }

    /// Whether a command was begun and its end has not come.
    pub const fn is_mid_frame(&self) -> bool {
        self.scan.is_mid_frame()
    }

    /// Whether anything is owed to the client.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How much of the buffer is known already. Whoever says how much a client may send now may show less of it.
    const fn looked_at(&self) -> usize {
        match self.peeked {
            Some(
                Request::Command { len, .. }
                | Request::Inline { len }
                | Request::Empty { len }
                | Request::Head { scanned: len, .. },
            ) => len,
            Some(Request::Need { .. }) | None => self.scan.looked_at(),
        }
    }

    fn commands<H: Host>(&mut self, buf: &[u8], now: Tick, observer: &mut H) -> Step<'_> {
        let mut at = 0;
        let mut batch =
            Batch { first: self.ticket(), pending: 0, id: CommandId::UNKNOWN, n: 0, last: None, now };
        let flows = self.flows();
        loop {
            let rest = &buf[at..];
            // A pipeline repeats itself: what begins as a command before it needs no second look at its name.
            let alike = batch.last.and_then(|last| self.scan.next_like(&last, rest));
            if let Some(Ok(Request::Command { len, name, arguments })) = alike
                && self.is_plain(batch.id, name, &rest[..len], arguments)
            {
                batch.n += 1;
                at += len;
                continue;
            }
            let request = match self.peeked.take() {
                Some(request) => request,
                None if rest.is_empty() => Request::Need { at_least: 1 },
                None => match alike.unwrap_or_else(|| self.scan.next(rest)) {
                    Ok(request) => request,
                    Err(error) if at > 0 => {
                        self.failed = Some(error);
                        break;
                    }
                    Err(error) => return self.refuse_bytes(error),
                },
            };
            match request {
                Request::Need { .. } if at > 0 => break,
                Request::Need { at_least } => return self.need(at_least),
                Request::Command { len, name, arguments }
                    if flows && let Some(id) = self.plain(name, &rest[..len], arguments) =>
                {
                    // Only the second of a name makes it likely that there is a third.
                    let repeats = batch.n > 0 && batch.id == id;
                    self.join(&mut batch, id, observer);
                    batch.last = if repeats { Beginning::of(&rest[..len], name, arguments) } else { None };
                    at += len;
                }
                Request::Head { name, .. }
                    if flows
                        && self.asked.login == Login::Done
                        && let Some(id) = self.plain_by_name(name.of(rest)) =>
                {
                    match self.scan.stream(rest) {
                        Ok(streamed) => at += streamed.len,
                        Err(error) if at > 0 => {
                            self.failed = Some(error);
                            break;
                        }
                        Err(error) => return self.refuse_bytes(error),
                    }
                    self.join(&mut batch, id, observer);
                    self.stream = Stream::Forwarding;
                    return self.forward(batch, at, false, observer);
                }
                Request::Head { .. } if at > 0 => break,
                request if at > 0 => {
                    self.peeked = Some(request);
                    break;
                }
                Request::Empty { len } => return self.skip_empty(len),
                Request::Inline { len } => return self.inline(request, &rest[..len], now, observer),
                Request::Command { len, arguments, .. } => {
                    let frame = Frame { bytes: &rest[..len], arguments, source: Source::Whole };
                    return self.command(request, &frame, now, observer);
                }
                Request::Head { scanned, arguments, .. } => {
                    let source = Source::Partial(rest);
                    let frame = Frame { bytes: &rest[..scanned], arguments, source };
                    return self.command(request, &frame, now, observer);
                }
            }
        }
        self.forward(batch, at, true, observer)
    }

    /// An empty command has no reply, and Redis spends a CLIENT REPLY SKIP on it.
    fn skip_empty(&mut self, len: usize) -> Step<'_> {
        self.asked.mute.take();
        Step::Skip { len }
    }

    /// One more command goes on with those before it.
    #[inline]
    fn join<O: Observer>(&mut self, batch: &mut Batch<'_>, id: CommandId, observer: &mut O) {
        if batch.id != id {
            self.push_batch(batch, observer);
            batch.id = id;
        }
        batch.n += 1;
    }

    /// The commands of one name that came last.
    fn push_batch<O: Observer>(&mut self, batch: &mut Batch<'_>, observer: &mut O) {
        let n = std::mem::take(&mut batch.n);
        if n == 0 {
            return;
        }
        self.queue_plain(n);
        let muted = self.asked.mute == Mute::All;
        let seq = batch.first.plus(batch.pending).seq;
        self.pending.push(Run { kind: ReplyKind::Plain, n, id: batch.id, at: batch.now, muted, seq });
        observer.command(batch.id, n);
        batch.pending += n;
    }

    fn forward<O: Observer>(
        &mut self,
        mut batch: Batch<'_>,
        len: usize,
        whole: bool,
        observer: &mut O,
    ) -> Step<'_> {
        self.push_batch(&mut batch, observer);
        let Batch { first, pending, .. } = batch;
        self.seq = self.seq.wrapping_add(pending);
        Step::Forward { len, first, pending, shape: Shape::One, whole }
    }

    fn resume(&mut self, buf: &[u8]) -> Step<'_> {
        match self.scan.stream(buf) {
            Ok(streamed) => {
                let forwarding = self.stream == Stream::Forwarding;
                if streamed.done {
                    self.stream = Stream::Fresh;
                }
                match (streamed.len, forwarding) {
                    (0, _) if !streamed.done => Step::Need { at_least: buf.len().saturating_add(1) },
                    (len, false) => Step::Skip { len },
                    (len, true) => {
                        let first = self.ticket();
                        Step::Forward { len, first, pending: 0, shape: Shape::One, whole: streamed.done }
                    }
                }
            }
            Err(error) => {
                // A CLIENT REPLY SKIP that covered the command covers what is said of it.
                if self.stream == Stream::Forwarding && self.pending.retract() && self.asked.mute == Mute::No
                {
                    self.asked.mute = Mute::Next;
                }
                self.stream = Stream::Fresh;
                self.refuse_bytes(error)
            }
        }
    }

    /// From here on what logs the gate in is what the dialled upstream was configured with.
    const fn wait_for_link(&mut self) -> Step<'_> {
        self.keys.fixed = true;
        Step::Wait(Until::Linked)
    }

    fn need(&mut self, at_least: usize) -> Step<'_> {
        if self.draining && !self.is_mid_frame() {
            self.end(CloseReason::Drain);
            return if self.pending.is_empty() {
                Step::Close(CloseReason::Drain)
            } else {
                Step::Wait(Until::NothingPending)
            };
        }
        Step::Need { at_least }
    }

    /// The client's bytes break the grammar: what came before is answered, then the reason, then nothing more.
    fn refuse_bytes(&mut self, error: RequestError) -> Step<'_> {
        let muted = self.asked.mute.take() || self.asked.login == Login::Replica;
        if let Some(text) = error.reply().filter(|_| !muted) {
            let mut line = Vec::with_capacity(64);
            portcullis_resp::encode::error(&mut line, &text);
            self.answer(Local::Made(line.into_boxed_slice()), CommandId::UNKNOWN, Tick::default());
        }
        self.end(CloseReason::Protocol(error));
        if self.pending.is_empty() {
            Step::Close(CloseReason::Protocol(error))
        } else {
            Step::Wait(Until::NothingPending)
        }
    }

    /// The upstream never answers half a command.
    fn end_mid_frame(&mut self, reason: CloseReason) {
        if self.stream == Stream::Forwarding {
            self.pending.retract();
            self.stream = Stream::Fresh;
        }
        self.end(reason);
    }

    fn end(&mut self, reason: CloseReason) {
        self.ending.get_or_insert(reason);
    }

    /// The command, if it is bytes with one reply that may go on with its neighbours.
    #[inline]
    fn plain(&self, name: Span, bytes: &[u8], arguments: u64) -> Option<CommandId> {
        lookup(name.of(bytes)).filter(|id| self.is_plain(*id, name, bytes, arguments))
    }

    /// Whether a command of this name is such bytes.
    #[inline]
    fn is_plain(&self, id: CommandId, name: Span, bytes: &[u8], arguments: u64) -> bool {
        self.fits(bytes.len())
            && match self.plan.care(id) {
                Care::None => true,
                Care::Rules => self.is_allowed(id, name, bytes, arguments),
                Care::Own => false,
            }
    }

    fn plain_by_name(&self, name: &[u8]) -> Option<CommandId> {
        lookup(name).filter(|id| self.plan.care(*id) == Care::None)
    }

    /// Whether commands may go on with their neighbours.
    fn flows(&self) -> bool {
        matches!(self.asked.login, Login::Done | Login::Pooled) && self.asked.mute != Mute::Next
    }

    fn known(&self, name: &[u8]) -> CommandId {
        lookup(name).unwrap_or(CommandId::UNKNOWN)
    }

    fn queue_plain(&mut self, n: u64) {
        if let Some(transaction) = &mut self.asked.transaction {
            transaction.queue(n);
        }
    }

    fn answer(&mut self, reply: Local, id: CommandId, at: Tick) {
        self.pending.push(Run { kind: ReplyKind::Local(reply), n: 1, id, at, muted: false, seq: self.seq });
        self.seq = self.seq.wrapping_add(1);
    }

    /// One reply. The link joins it with its neighbours only where nothing tells it from them.
    fn push_reply(&mut self, kind: ReplyKind, shape: &Shape, id: CommandId, at: Tick) -> Ticket {
        let muted = self.asked.mute.take();
        if muted || !kind.is_plain() || *shape != Shape::One {
            return self.push_apart(kind, id, at, muted);
        }
        let ticket = self.ticket();
        self.pending.push(Run { kind, n: 1, id, at, muted, seq: ticket.seq });
        self.seq = self.seq.wrapping_add(1);
        ticket
    }

    fn push_unmuted(&mut self, kind: ReplyKind, id: CommandId, at: Tick) -> Ticket {
        self.push_apart(kind, id, at, false)
    }

    /// One reply that the link must not join with its neighbours, for it is treated apart.
    fn push_apart(&mut self, kind: ReplyKind, id: CommandId, at: Tick, muted: bool) -> Ticket {
        self.seq = self.seq.wrapping_add(1);
        let ticket = self.ticket();
        self.pending.push(Run { kind, n: 1, id, at, muted, seq: ticket.seq });
        self.seq = self.seq.wrapping_add(2);
        ticket
    }

    const fn ticket(&self) -> Ticket {
        Ticket { session: self.key, seq: self.seq }
    }
}

/// Commands that go on together.
struct Batch<'b> {
    first: Ticket,
    /// How many of them are owed by now.
    pending: u64,
    /// Those after them: `n` in a row of this name, which are not.
    id: CommandId,
    n: u64,
    /// How the second of those began: later ones that begin alike are known by it.
    last: Option<Beginning<'b>>,
    now: Tick,
}

/// What was sent in place of a client's bytes leaves this much room behind; an idle session is meant to be small.
const IDLE_SCRATCH: usize = 256;

/// What happens to the rest of a frame whose beginning was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Fresh,
    Forwarding,
    Discarding,
}

#[cfg(test)]
mod tests;
