//! One client: what it asks, in which order it is answered, and what each command does to the connection.

mod judge;
mod replies;

use std::sync::Arc;

use portcullis_resp::command::{CommandId, lookup};
use portcullis_resp::error::RequestError;
use portcullis_resp::inline;
use portcullis_resp::scan::{Request, RequestScanner, Span};

use self::judge::{Frame, Verdict};
use crate::observe::Observer;
use crate::owed::{Local, Owed, Run, What};
use crate::plan::Plan;
use crate::shape::Shape;
use crate::state::asked::{Asked, Login, Mute};
use crate::state::confirmed::Confirmed;
use crate::tick::{SessionKey, Tick, Ticket};

/// The protocol state of one client.
///
/// Call [`Session::next`] with what was read and not yet consumed, do what the [`Step`] says, and call it again until it
/// asks for more bytes or for patience. Call [`Session::render`] after every step and every reply.
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
    owed: Owed,
    plan: Arc<Plan>,
    scratch: Vec<u8>,
    draining: bool,
    ending: Option<CloseReason>,
}

/// What to do with the bytes of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'s> {
    /// Send `buf[..len]` upstream as it is and drop it from the buffer.
    Forward {
        /// Bytes of `buf`.
        len: usize,
        /// The first reply that is owed for them.
        first: Ticket,
        /// How many replies are owed for them: 0 where `len` goes on with a command that was begun earlier.
        owed: u64,
        /// What each of them is.
        shape: Shape,
        /// Whether the last command is complete at `len`.
        whole: bool,
    },
    /// Send `bytes` upstream, and drop `skip` bytes from the buffer.
    Instead {
        /// What to send.
        bytes: &'s [u8],
        /// Bytes of `buf` that it stands for.
        skip: usize,
        /// The reply that is owed for it.
        first: Ticket,
        /// What that reply is.
        shape: Shape,
    },
    /// Drop `len` bytes from the buffer.
    Skip {
        /// Bytes of `buf`.
        len: usize,
    },
    /// Come back when the buffer holds this many bytes.
    Need {
        /// More than it holds now.
        at_least: usize,
    },
    /// Come back when this is so.
    Wait(Until),
    /// All that the client is owed was rendered: close both sides.
    Close(CloseReason),
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// An upstream connection; say so with [`Session::linked`], or [`Session::lost`].
    Linked,
    /// The gate's own login was answered.
    LoggedIn,
    /// Everything that the client is owed was paid.
    NothingOwed,
}

/// What to do with the bytes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They go to the client.
    Pass,
    /// The client must not see them.
    Drop,
    /// The client reads this in their place.
    Replace(&'static [u8]),
    /// They say that the upstream cannot be had: give it up, and say so with [`Session::lost`].
    Lost(Unavailable),
    /// The reply is not the one that comes next: close both sides.
    Doubt,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed its side, or said QUIT.
    Client,
    /// The client sent bytes that the grammar does not allow.
    Protocol(RequestError),
    /// The client speaks HTTP.
    CrossProtocol,
    /// The upstream cannot be had, or is gone.
    Upstream(Option<Unavailable>),
    /// The gate is shutting down.
    Drain,
}

/// Why the upstream cannot be had, in the words of the line that the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Its name has no address.
    Resolve,
    /// It cannot be reached, or ended the connection before it said anything.
    Connect,
    /// Nobody listens there, or it does not want us.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// It wants TLS, or its TLS cannot be trusted.
    Tls,
    /// It does not accept the gate's credentials.
    Auth,
    /// It is loading its data.
    Loading,
    /// It has no room for another client.
    Limit,
}

impl Unavailable {
    /// What a server's first error line says of it, where that is about the connection and not the command.
    pub fn of_greeting(line: &[u8]) -> Option<Self> {
        const MEANINGS: [(&[u8], Unavailable); 5] = [
            (b"-LOADING", Unavailable::Loading),
            (b"-MASTERDOWN", Unavailable::Loading),
            (b"-ERR max number of clients", Unavailable::Limit),
            (b"-DENIED Redis is running in protected mode", Unavailable::Refused),
            (b"-NOAUTH", Unavailable::Auth),
        ];
        MEANINGS.iter().find(|(prefix, _)| line.starts_with(prefix)).map(|(_, meaning)| *meaning)
    }

    /// What a server's error line in answer to the gate's own login says of it.
    pub fn of_login(line: &[u8]) -> Self {
        Self::of_greeting(line).unwrap_or(Self::Auth)
    }

    /// The word for it, as in error lines and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Loading => "loading",
            Self::Limit => "limit",
        }
    }
}

impl Session {
    /// A client that was admitted and said nothing yet.
    pub fn new(key: SessionKey, plan: Arc<Plan>) -> Self {
        Self {
            key,
            seq: 0,
            scan: RequestScanner::new(plan.limits()),
            stream: Stream::Fresh,
            peeked: None,
            failed: None,
            hold: false,
            asked: Asked::default(),
            confirmed: Confirmed::default(),
            owed: Owed::default(),
            plan,
            scratch: Vec::new(),
            draining: false,
            ending: None,
        }
    }

    /// Says what to do with `buf`, which starts at the first byte not yet consumed. `now` is when it was read.
    pub fn next<O: Observer>(&mut self, buf: &[u8], now: Tick, observer: &mut O) -> Step<'_> {
        if let Some(reason) = self.ending {
            return if self.owed.is_empty() { Step::Close(reason) } else { Step::Wait(Until::NothingOwed) };
        }
        match self.stream {
            Stream::Fresh => {}
            Stream::Forwarding | Stream::Discarding => return self.resume(buf),
        }
        if self.hold || self.owed.is_full() {
            if !self.owed.is_empty() {
                return Step::Wait(Until::NothingOwed);
            }
            self.hold = false;
        }
        match self.asked.login {
            Login::Due => return self.log_in(now),
            Login::Sent => return Step::Wait(Until::LoggedIn),
            Login::Unlinked | Login::Done => {}
        }
        if let Some(error) = self.failed.take() {
            return self.refuse_bytes(error);
        }
        self.commands(buf, now, observer)
    }

    /// The client sends nothing more, and what it sent was consumed as far as it can be.
    pub fn eof(&mut self) {
        if self.stream == Stream::Forwarding {
            self.owed.retract();
            self.stream = Stream::Fresh;
        }
        self.end(CloseReason::Client);
    }

    /// Ends the session once no command is under way.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// A fresh upstream connection is there.
    pub fn linked(&mut self) {
        self.asked.login = if self.plan.preamble().is_some() { Login::Due } else { Login::Done };
    }

    /// The upstream cannot be had, or is gone. The client reads `why` where there is one.
    pub fn lost(&mut self, why: Option<Unavailable>) {
        self.owed.forsake_upstream();
        if let Some(why) = why
            && self.asked.mute != Mute::All
        {
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

    /// Whether a command may be waiting upstream for what others do.
    pub const fn blocks(&self) -> bool {
        self.owed.blocks()
    }

    /// Whether nothing is owed and nothing was begun.
    pub fn is_idle(&self) -> bool {
        self.owed.is_empty() && !self.is_mid_frame()
    }

    /// Whether the gate's own login is unanswered.
    pub fn is_logging_in(&self) -> bool {
        self.asked.login == Login::Sent
    }

    /// Whether a command was begun and its end has not come.
    pub const fn is_mid_frame(&self) -> bool {
        self.scan.is_mid_frame()
    }

    /// Whether anything is owed to the client.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    fn commands<O: Observer>(&mut self, buf: &[u8], now: Tick, observer: &mut O) -> Step<'_> {
        let (mut at, mut owed) = (0, 0);
        let first = self.ticket();
        loop {
            let rest = &buf[at..];
            let request = match self.peeked.take() {
                Some(request) => request,
                None if rest.is_empty() => Request::Need { at_least: 1 },
                None => match self.scan.next(rest) {
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
                Request::Command { len, name, .. } if self.is_plain(name.of(rest)) => {
                    let id = self.known(name.of(rest));
                    self.queue_plain();
                    self.owe_at(first.plus(owed), What::Plain, id, now, false);
                    observer.command(id, 1);
                    at += len;
                    owed += 1;
                }
                Request::Head { name, .. } if self.is_plain(name.of(rest)) => {
                    let id = self.known(name.of(rest));
                    match self.scan.stream(rest) {
                        Ok(streamed) => at += streamed.len,
                        Err(error) if at > 0 => {
                            self.failed = Some(error);
                            break;
                        }
                        Err(error) => return self.refuse_bytes(error),
                    }
                    self.queue_plain();
                    self.owe_at(first.plus(owed), What::Plain, id, now, false);
                    observer.command(id, 1);
                    self.stream = Stream::Forwarding;
                    self.seq = self.seq.wrapping_add(owed + 1);
                    return Step::Forward { len: at, first, owed: owed + 1, shape: Shape::One, whole: false };
                }
                Request::Head { .. } if at > 0 => break,
                request if at > 0 => {
                    self.peeked = Some(request);
                    break;
                }
                Request::Empty { len } => return Step::Skip { len },
                Request::Inline { len } => return self.inline(request, &rest[..len], now, observer),
                Request::Command { len, name, arguments } => {
                    let frame = Frame { bytes: &rest[..len], name, arguments, whole: true };
                    return self.command(request, frame, None, now, observer);
                }
                Request::Head { scanned, name, arguments, .. } => {
                    let frame = Frame { bytes: &rest[..scanned], name, arguments, whole: false };
                    return self.command(request, frame, Some(rest), now, observer);
                }
            }
        }
        self.seq = self.seq.wrapping_add(owed);
        Step::Forward { len: at, first, owed, shape: Shape::One, whole: true }
    }

    /// A command that is more than bytes with one reply, or that comes before the upstream is ours.
    fn command<O: Observer>(
        &mut self,
        request: Request,
        frame: Frame<'_>,
        partial: Option<&[u8]>,
        now: Tick,
        observer: &mut O,
    ) -> Step<'_> {
        if self.asked.login == Login::Unlinked {
            self.peeked = frame.whole.then_some(request);
            return Step::Wait(Until::Linked);
        }
        let id = self.known(frame.name());
        let len = frame.bytes.len();
        match self.judge(id, &frame) {
            Verdict::WaitUntilPaid => {
                self.peeked = frame.whole.then_some(request);
                Step::Wait(Until::NothingOwed)
            }
            Verdict::NeedWhole if len < self.plan.held_command() => {
                Step::Need { at_least: partial.map_or(len, <[u8]>::len).saturating_add(1) }
            }
            Verdict::NeedWhole => self.refuse(Verdict::too_large(), id, len, partial, now, observer),
            Verdict::Send { shape, what } => {
                let (len, whole) = match partial {
                    None => (len, true),
                    Some(rest) => match self.scan.stream(rest) {
                        Ok(streamed) => (streamed.len, false),
                        Err(error) => return self.refuse_bytes(error),
                    },
                };
                if !whole {
                    self.stream = Stream::Forwarding;
                }
                let first = self.owe_alone(what, id, now);
                observer.command(id, 1);
                Step::Forward { len, first, owed: 1, shape, whole }
            }
            Verdict::Rewrite { bytes, shape, what } => {
                let first = self.owe_alone(what, id, now);
                observer.command(id, 1);
                self.scratch = bytes;
                Step::Instead { bytes: &self.scratch, skip: len, first, shape }
            }
            refusal => self.refuse(refusal, id, len, partial, now, observer),
        }
    }

    /// An inline command is judged in its canonical form, and travels in it.
    fn inline<O: Observer>(
        &mut self,
        request: Request,
        line: &[u8],
        now: Tick,
        observer: &mut O,
    ) -> Step<'_> {
        let mut canonical = std::mem::take(&mut self.scratch);
        canonical.clear();
        let arguments = match inline::canonicalise(line, &mut canonical) {
            Ok(0) => return Step::Skip { len: line.len() },
            Ok(arguments) => arguments,
            Err(error) => return self.refuse_bytes(error),
        };
        let Some(name) = first_argument(&canonical) else { return Step::Skip { len: line.len() } };
        if self.asked.login == Login::Unlinked {
            self.peeked = Some(request);
            return Step::Wait(Until::Linked);
        }
        let id = self.known(name.of(&canonical));
        let frame = Frame { bytes: &canonical, name, arguments, whole: true };
        match self.judge(id, &frame) {
            Verdict::WaitUntilPaid => {
                self.peeked = Some(request);
                Step::Wait(Until::NothingOwed)
            }
            Verdict::Send { shape, what } => {
                let first = self.owe_alone(what, id, now);
                observer.command(id, 1);
                self.scratch = canonical;
                Step::Instead { bytes: &self.scratch, skip: line.len(), first, shape }
            }
            Verdict::Rewrite { bytes, shape, what } => {
                let first = self.owe_alone(what, id, now);
                observer.command(id, 1);
                self.scratch = bytes;
                Step::Instead { bytes: &self.scratch, skip: line.len(), first, shape }
            }
            refusal => self.refuse(refusal, id, line.len(), None, now, observer),
        }
    }

    /// The command gets its answer here, and not one byte of it travels on.
    fn refuse<O: Observer>(
        &mut self,
        refusal: Verdict,
        id: CommandId,
        len: usize,
        partial: Option<&[u8]>,
        now: Tick,
        observer: &mut O,
    ) -> Step<'_> {
        observer.command(id, 1);
        let muted = self.asked.mute.take();
        match refusal {
            Verdict::Answer { reply, denied } => {
                if let Some(reason) = denied {
                    observer.denied(id, reason);
                    if let Some(transaction) = &mut self.asked.transaction {
                        transaction.spoil();
                    }
                }
                if !muted {
                    self.answer(reply, id, now);
                }
            }
            Verdict::Quit(reply) => {
                if !muted {
                    self.answer(reply, id, now);
                }
                self.end(CloseReason::Client);
            }
            _ => self.end(CloseReason::CrossProtocol),
        }
        match partial {
            None => Step::Skip { len },
            Some(rest) => match self.scan.stream(rest) {
                Ok(streamed) => {
                    self.stream = Stream::Discarding;
                    Step::Skip { len: streamed.len }
                }
                Err(error) => self.refuse_bytes(error),
            },
        }
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
                        Step::Forward { len, first, owed: 0, shape: Shape::One, whole: streamed.done }
                    }
                }
            }
            Err(error) => {
                if self.stream == Stream::Forwarding {
                    self.owed.retract();
                }
                self.stream = Stream::Fresh;
                self.refuse_bytes(error)
            }
        }
    }

    fn log_in(&mut self, now: Tick) -> Step<'_> {
        self.asked.login = Login::Sent;
        let first = self.owe_unmuted(What::Login, CommandId::UNKNOWN, now);
        let bytes = self.plan.preamble().map_or(&[][..], |preamble| preamble.bytes());
        Step::Instead { bytes, skip: 0, first, shape: Shape::Whole }
    }

    fn need(&mut self, at_least: usize) -> Step<'_> {
        if self.draining && !self.is_mid_frame() {
            self.end(CloseReason::Drain);
            return if self.owed.is_empty() {
                Step::Close(CloseReason::Drain)
            } else {
                Step::Wait(Until::NothingOwed)
            };
        }
        Step::Need { at_least }
    }

    /// The client's bytes break the grammar: what came before is answered, then the reason, then nothing more.
    fn refuse_bytes(&mut self, error: RequestError) -> Step<'_> {
        if let Some(text) = error.reply()
            && self.asked.mute != Mute::All
        {
            let mut line = Vec::with_capacity(64);
            portcullis_resp::encode::error(&mut line, &text);
            self.answer(Local::Made(line.into_boxed_slice()), CommandId::UNKNOWN, Tick::default());
        }
        self.end(CloseReason::Protocol(error));
        if self.owed.is_empty() {
            Step::Close(CloseReason::Protocol(error))
        } else {
            Step::Wait(Until::NothingOwed)
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.ending.get_or_insert(reason);
    }

    fn is_plain(&self, name: &[u8]) -> bool {
        self.asked.login == Login::Done
            && self.asked.mute == Mute::No
            && lookup(name).is_some_and(|id| !self.plan.cares(id))
    }

    fn known(&self, name: &[u8]) -> CommandId {
        lookup(name).unwrap_or(CommandId::UNKNOWN)
    }

    fn queue_plain(&mut self) {
        if let Some(transaction) = &mut self.asked.transaction {
            transaction.queue();
        }
    }

    fn answer(&mut self, reply: Local, id: CommandId, at: Tick) {
        self.owed.push(Run { what: What::Local(reply), n: 1, id, at, muted: false, seq: self.seq });
        self.seq = self.seq.wrapping_add(1);
    }

    /// One reply that the link must not join with its neighbours, for it is treated apart.
    fn owe_alone(&mut self, what: What, id: CommandId, at: Tick) -> Ticket {
        let muted = self.asked.mute.take();
        self.owe_apart(what, id, at, muted)
    }

    fn owe_unmuted(&mut self, what: What, id: CommandId, at: Tick) -> Ticket {
        self.owe_apart(what, id, at, false)
    }

    fn owe_apart(&mut self, what: What, id: CommandId, at: Tick, muted: bool) -> Ticket {
        self.seq = self.seq.wrapping_add(1);
        let ticket = self.ticket();
        self.owe_at(ticket, what, id, at, muted);
        self.seq = self.seq.wrapping_add(2);
        ticket
    }

    fn owe_at(&mut self, ticket: Ticket, what: What, id: CommandId, at: Tick, muted: bool) {
        self.owed.push(Run { what, n: 1, id, at, muted, seq: ticket.seq });
    }

    const fn ticket(&self) -> Ticket {
        Ticket { session: self.key, seq: self.seq }
    }
}

/// What happens to the rest of a frame whose beginning was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Fresh,
    Forwarding,
    Discarding,
}

/// The name's place in a canonical frame.
fn first_argument(frame: &[u8]) -> Option<Span> {
    let name = portcullis_resp::scan::arguments(frame).next()?;
    let start = frame.windows(2).position(|pair| pair == b"\r\n")?;
    let header = frame.get(start + 2..)?.windows(2).position(|pair| pair == b"\r\n")?;
    let start = u32::try_from(start + 2 + header + 2).ok()?;
    Some(Span { start, end: start.checked_add(u32::try_from(name.len()).ok()?)? })
}
