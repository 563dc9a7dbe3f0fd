//! Reads the client's requests. It forwards some requests together and has the others judged one by one.

use portcullis_resp::command::{CommandId, lookup};
use portcullis_resp::error::RequestError;
use portcullis_resp::inline;
use portcullis_resp::scan::{Beginning, Request};

use super::command::{Arrival, CommandFrame};
use super::framing::Framing;
use super::judge::Judge;
use super::pooling::MAX_SHARED_FRAME;
use super::state::State;
use super::step::{CloseReason, Step, Until};
use super::verdict::{Answer, Verdict};
use crate::ids::Ticket;
use crate::observe::{Host, Observer};
use crate::pending::{Local, ReplyKind};
use crate::shape::Shape;
use crate::tick::Tick;

/// Commands that are forwarded together.
struct Batch<'b> {
    first: Ticket,
    /// The number of commands that have a pending reply already.
    pending: u64,
    /// The last run of commands in the batch: `n` commands of this name that have no pending reply yet.
    id: CommandId,
    n: u64,
    /// The beginning of the second command of the run. Later commands with the same beginning are recognized by it.
    last: Option<Beginning<'b>>,
    now: Tick,
}

impl Batch<'_> {
    const fn begin(first: Ticket, now: Tick) -> Self {
        Self { first, pending: 0, id: CommandId::UNKNOWN, n: 0, last: None, now }
    }

    /// Adds one more command.
    #[inline]
    fn join<O: Observer>(&mut self, id: CommandId, state: &mut State, observer: &mut O) {
        if self.id != id {
            self.close(state, observer);
            self.id = id;
        }
        self.n += 1;
    }

    /// Adds the pending replies of the last run of commands.
    fn close<O: Observer>(&mut self, state: &mut State, observer: &mut O) {
        let n = std::mem::take(&mut self.n);
        if n == 0 {
            return;
        }
        state.transaction.queue(n);
        state.pending.push_plain(n, self.id, self.now, state.mute.is_off());
        observer.command(self.id, n);
        self.pending += n;
    }

    fn forward<O: Observer>(
        mut self,
        len: usize,
        whole: bool,
        state: &mut State,
        observer: &mut O,
    ) -> Step<'static> {
        self.close(state, observer);
        let to = state.upstream.route();
        Step::Forward { to, len, first: self.first, pending: self.pending, shape: Shape::One, whole }
    }
}

/// One call of [`Session::next`](super::Session::next): it decides what to do next, mostly with the client's bytes.
pub(super) struct Reading<'s> {
    pub(super) framing: &'s mut Framing,
    pub(super) state: &'s mut State,
    /// The time when the bytes were read.
    pub(super) now: Tick,
}

impl<'s> Reading<'s> {
    /// Takes as many requests as can be forwarded together, or a single request that must be judged.
    pub(super) fn commands<H: Host>(self, buf: &[u8], host: &mut H) -> Step<'s> {
        if buf.is_empty() {
            return self.need(1);
        }
        let mut at = 0;
        let mut batch = Batch::begin(self.state.pending.ticket(), self.now);
        let flows = self.state.upstream.takes_commands() && !self.state.mute.skips_next();
        let shared = self.state.upstream.is_pooled();
        let most = if shared { MAX_SHARED_FRAME } else { usize::MAX };
        loop {
            let rest = &buf[at..];
            // Pipelines often repeat a command. A frame that begins like the last command has the same name, so the
            // name is not looked up.
            let alike = self.framing.next_like(batch.last.as_ref(), rest);
            if let Some(Ok(Request::Command { len, name, arguments })) = alike
                && len <= most
                && self.state.plan().is_plain(batch.id, name, &rest[..len], arguments)
            {
                batch.n += 1;
                at += len;
                continue;
            }
            match self.framing.next(rest, alike) {
                Ok(Request::Command { len, name, arguments })
                    if flows
                        && len <= most
                        && let Some(id) = lookup(name.of(rest))
                        && self.state.plan().is_plain(id, name, &rest[..len], arguments) =>
                {
                    // Only the second command of a name makes a third likely.
                    let repeats = batch.n > 0 && batch.id == id;
                    batch.join(id, self.state, host);
                    batch.last = if repeats { Beginning::of(&rest[..len], name, arguments) } else { None };
                    at += len;
                }
                Ok(Request::Head { name, .. })
                    if flows
                        && !shared
                        && let Some(id) = lookup(name.of(rest))
                        && self.state.plan().is_plain_by_name(id) =>
                {
                    match self.framing.forward(rest) {
                        Ok(len) => at += len,
                        Err(error) => return self.fail(error, batch, at, host),
                    }
                    batch.join(id, self.state, host);
                    return batch.forward(at, false, self.state, host);
                }
                Ok(request) if at > 0 => {
                    self.framing.keep(request);
                    break;
                }
                Ok(request) => return self.single(request, rest, host),
                Err(error) => return self.fail(error, batch, at, host),
            }
        }
        batch.forward(at, true, self.state, host)
    }

    /// Handles an error of the grammar at offset `at`. The commands before the error are forwarded first.
    fn fail<O: Observer>(
        self,
        error: RequestError,
        batch: Batch<'_>,
        at: usize,
        observer: &mut O,
    ) -> Step<'s> {
        if at == 0 {
            return self.refuse_bytes(error);
        }
        self.framing.fail_later(error);
        batch.forward(at, true, self.state, observer)
    }

    /// Handles a request that cannot be forwarded together with others.
    fn single<H: Host>(self, request: Request, buf: &[u8], host: &mut H) -> Step<'s> {
        match request {
            Request::Need { at_least } => self.need(at_least),
            Request::Empty { len } => self.skip_empty(len),
            Request::Inline { len } => self.inline(request, &buf[..len], host),
            Request::Command { len, arguments, .. } => {
                let frame = CommandFrame { bytes: &buf[..len], arguments, source: Arrival::Whole };
                self.command(request, &frame, host)
            }
            Request::Head { scanned, arguments, .. } => {
                let frame = CommandFrame { bytes: &buf[..scanned], arguments, source: Arrival::Partial(buf) };
                self.command(request, &frame, host)
            }
        }
    }

    /// Skips an empty command. It gets no reply, and ends a CLIENT REPLY SKIP as in Redis.
    fn skip_empty(self, len: usize) -> Step<'s> {
        self.state.mute.take();
        Step::Skip { len }
    }

    /// Judges an inline command in its canonical form, and forwards that form.
    fn inline<H: Host>(self, request: Request, line: &[u8], host: &mut H) -> Step<'s> {
        let mut canonical = Vec::new();
        match inline::canonicalise(line, &mut canonical) {
            Ok(0) => self.skip_empty(line.len()),
            Ok(arguments) => {
                let frame = CommandFrame { bytes: &canonical, arguments, source: Arrival::Line(line.len()) };
                self.command(request, &frame, host)
            }
            Err(error) => self.refuse_bytes(error),
        }
    }

    /// Judges a command on its own and carries out the verdict.
    fn command<H: Host>(mut self, request: Request, frame: &CommandFrame<'_>, host: &mut H) -> Step<'s> {
        let id = lookup(frame.name()).unwrap_or(CommandId::UNKNOWN);
        let verdict = Judge::new(&mut *self.state, id, frame, self.now, host).judge();
        let (len, held) = (frame.present(), self.state.plan().held_command());
        match verdict {
            Verdict::Send { shape, kind } => self.send(frame, (shape, kind), id, host),
            Verdict::Rewrite { bytes, shape, kind } => self.send_instead(bytes, len, (shape, kind), id, host),
            Verdict::Answer(answer) => self.settle(answer, frame, id, host),
            Verdict::Identify { plan, hello } => {
                host.command(id, 1);
                self.send_login(plan, hello, id, len)
            }
            Verdict::Raw => self.send_raw(frame, id, host),
            Verdict::EndReplication => {
                self.state.end_replication(id, host);
                Step::Close(CloseReason::NotReplication)
            }
            Verdict::Defer(greeting) => {
                host.command(id, 1);
                self.defer(greeting);
                Step::Skip { len }
            }
            Verdict::Asked => {
                host.command(id, 1);
                // The answer is suppressed if and only if the question was.
                self.state.mute.take();
                Step::Skip { len }
            }
            Verdict::Later(later) => {
                self.framing.keep(request);
                self.prepare(later)
            }
            Verdict::NeedMore => Step::Need { at_least: len.saturating_add(1) },
            Verdict::NeedWhole if !frame.is_whole() && len < held => {
                Step::Need { at_least: len.saturating_add(1) }
            }
            Verdict::NeedWhole => self.settle(Answer::too_large(), frame, id, host),
        }
    }

    fn send<O: Observer>(
        self,
        frame: &CommandFrame<'_>,
        (shape, kind): (Shape, ReplyKind),
        id: CommandId,
        observer: &mut O,
    ) -> Step<'s> {
        let (len, whole) = match frame.source {
            Arrival::Line(len) => {
                let bytes = frame.bytes.to_vec();
                return self.send_instead(bytes, len, (shape, kind), id, observer);
            }
            Arrival::Whole => (frame.bytes.len(), true),
            Arrival::Partial(buf) => match self.framing.forward(buf) {
                Ok(len) => (len, false),
                Err(error) => return self.refuse_bytes(error),
            },
        };
        observer.command(id, 1);
        let muted = self.state.mute.take();
        let first = self.state.pending.push_reply(kind, &shape, id, self.now, muted);
        let to = self.state.upstream.route();
        Step::Forward { to, len, first, pending: 1, shape, whole }
    }

    fn send_raw<O: Observer>(self, frame: &CommandFrame<'_>, id: CommandId, observer: &mut O) -> Step<'s> {
        let first = self.state.pending.ticket();
        let to = self.state.upstream.route();
        observer.command(id, 1);
        let (len, whole) = match frame.source {
            Arrival::Line(len) => {
                self.state.scratch = frame.bytes.to_vec();
                let bytes = &self.state.scratch;
                return Step::Instead { to, bytes, skip: len, first, shape: Shape::Raw };
            }
            Arrival::Whole => (frame.bytes.len(), true),
            Arrival::Partial(buf) => match self.framing.forward(buf) {
                Ok(len) => (len, false),
                Err(error) => return self.refuse_bytes(error),
            },
        };
        Step::Forward { to, len, first, pending: 1, shape: Shape::Raw, whole }
    }

    /// Answers the command here: none of its bytes is forwarded.
    fn settle<O: Observer>(
        self,
        answer: Answer,
        frame: &CommandFrame<'_>,
        id: CommandId,
        observer: &mut O,
    ) -> Step<'s> {
        self.state.settle(answer, id, self.now, observer);
        let Arrival::Partial(buf) = frame.source else { return Step::Skip { len: frame.present() } };
        match self.framing.discard(buf) {
            Ok(len) => Step::Skip { len },
            Err(error) => self.refuse_bytes(error),
        }
    }

    /// Continues a frame whose beginning was consumed.
    pub(super) fn resume(self, buf: &[u8]) -> Step<'s> {
        match self.framing.resume(buf) {
            Ok(piece) if piece.len == 0 && !piece.ends => {
                Step::Need { at_least: buf.len().saturating_add(1) }
            }
            Ok(piece) if piece.forwarded => {
                let first = self.state.pending.ticket();
                let to = self.state.upstream.route();
                Step::Forward { to, len: piece.len, first, pending: 0, shape: Shape::One, whole: piece.ends }
            }
            Ok(piece) => Step::Skip { len: piece.len },
            Err(error) => {
                if self.framing.give_up() && self.state.pending.retract() {
                    self.state.mute.restore();
                }
                self.refuse_bytes(error)
            }
        }
    }

    fn need(self, at_least: usize) -> Step<'s> {
        if self.framing.is_drained() {
            self.state.end(CloseReason::Drain);
            return self.close(CloseReason::Drain);
        }
        Step::Need { at_least }
    }

    /// Handles bytes that break the grammar. The client gets the earlier replies and then the error; the session then
    /// ends.
    pub(super) fn refuse_bytes(self, error: RequestError) -> Step<'s> {
        let muted = self.state.mute.take() || self.state.upstream.is_replica();
        if let Some(text) = error.reply().filter(|_| !muted) {
            let mut line = Vec::with_capacity(64);
            portcullis_resp::encode::error(&mut line, &text);
            let line = Local::Made(line.into_boxed_slice());
            self.state.pending.answer(line, CommandId::UNKNOWN, Tick::default());
        }
        self.state.end(CloseReason::Protocol(error));
        self.close(CloseReason::Protocol(error))
    }

    /// Closes both sides if every pending reply was written. Otherwise waits for that.
    pub(super) fn close(&self, reason: CloseReason) -> Step<'static> {
        if self.state.pending.is_empty() { Step::Close(reason) } else { Step::Wait(Until::NothingPending) }
    }
}
