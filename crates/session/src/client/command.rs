//! One command by itself: judged, then sent, held up, or answered here.

use portcullis_resp::command::{CommandId, id, is_cross_protocol, lookup_subcommand};
use portcullis_resp::encode::MAX_QUOTED;
use portcullis_resp::scan::{Request, arguments};
use portcullis_resp::{encode, inline, reply};

use super::judge::{Answer, Verdict};
use super::rules::aborted;
use super::{CloseReason, Session, Step, Stream, Until};
use crate::client::asked::Login;
use crate::link::Stage;
use crate::observe::{Denial, Denied, Host, Observer};
use crate::pending::{Local, ReplyKind};
use crate::plan::Auth;
use crate::shape::Shape;
use crate::tick::Tick;

/// A command, or as much of it as there is, in canonical form.
pub(super) struct Frame<'b> {
    /// What of it was validated.
    pub(super) bytes: &'b [u8],
    /// How many arguments it announces, the name included.
    pub(super) arguments: u64,
    pub(super) source: Source<'b>,
}

/// How the command came.
#[derive(Clone, Copy)]
pub(super) enum Source<'b> {
    /// The frame is in the buffer.
    Whole,
    /// The frame has begun; this is the buffer, and all of it belongs to the frame.
    Partial(&'b [u8]),
    /// As an inline line of this many bytes.
    Line(usize),
}

impl<'b> Frame<'b> {
    /// Empty where the name is so long that it is not wholly in.
    pub(super) fn name(&self) -> &'b [u8] {
        arguments(self.bytes).next().unwrap_or(&[])
    }

    /// No more than `held` bytes of it: what a command is judged by must not depend on how it was cut.
    pub(super) fn first(&self, held: usize) -> &'b [u8] {
        self.bytes.get(..held).unwrap_or(self.bytes)
    }

    /// The argument in this place, the name being 0, if it is there already and ends within the first `held` bytes.
    pub(super) fn argument(&self, place: usize, held: usize) -> Option<&'b [u8]> {
        arguments(self.first(held)).nth(place)
    }

    /// The subcommand that it names, or the command itself; where there is no such thing, what Redis says of that.
    pub(super) fn resolve(&self, command: CommandId, held: usize) -> Result<CommandId, Verdict> {
        if command == CommandId::UNKNOWN {
            return Err(self.unknown(held));
        }
        if !command.is_container() || self.arguments < 2 {
            return Ok(command);
        }
        let Some(subcommand) = self.argument(1, held) else { return Err(Verdict::NeedWhole) };
        lookup_subcommand(command, subcommand).ok_or_else(|| {
            let mut line = Vec::with_capacity(64);
            reply::unknown_subcommand(&mut line, command.name(), subcommand);
            Verdict::Answer(Answer::Error(Local::Made(line.into_boxed_slice())))
        })
    }

    /// Redis repeats the name and the first of the arguments.
    fn unknown(&self, held: usize) -> Verdict {
        let mut shown = Vec::new();
        let mut room = MAX_QUOTED;
        for argument in arguments(self.first(held)).skip(1) {
            room = room.saturating_sub(argument.len());
            shown.push(argument);
            if room == 0 {
                break;
            }
        }
        if room > 0 && !self.is_whole_within(held) {
            return Verdict::NeedWhole;
        }
        let mut line = Vec::with_capacity(2 * MAX_QUOTED);
        reply::unknown_command(&mut line, self.name(), shown);
        Verdict::Answer(Answer::Error(Local::Made(line.into_boxed_slice())))
    }

    /// Whether all of it is there, in `held` bytes.
    pub(super) const fn is_whole_within(&self, held: usize) -> bool {
        self.is_whole() && self.bytes.len() <= held
    }

    /// All that are there, without the name.
    pub(super) fn after_name(&self) -> Vec<&'b [u8]> {
        arguments(self.bytes).skip(1).collect()
    }

    pub(super) const fn is_whole(&self) -> bool {
        !matches!(self.source, Source::Partial(_))
    }

    /// Bytes of the client's buffer that it takes up so far.
    pub(super) fn present(&self) -> usize {
        match self.source {
            Source::Whole => self.bytes.len(),
            Source::Partial(buf) => buf.len(),
            Source::Line(len) => len,
        }
    }
}

impl Session {
    /// An inline command is judged in its canonical form, and travels in it.
    pub(super) fn inline<H: Host>(
        &mut self,
        request: Request,
        line: &[u8],
        now: Tick,
        observer: &mut H,
    ) -> Step<'_> {
        let mut canonical = Vec::new();
        match inline::canonicalise(line, &mut canonical) {
            Ok(0) => self.skip_empty(line.len()),
            Ok(arguments) => {
                let frame = Frame { bytes: &canonical, arguments, source: Source::Line(line.len()) };
                self.command(request, &frame, now, observer)
            }
            Err(error) => self.refuse_bytes(error),
        }
    }

    /// A command that is more than bytes with one reply, or that comes before the upstream is ours.
    pub(super) fn command<H: Host>(
        &mut self,
        request: Request,
        frame: &Frame<'_>,
        now: Tick,
        observer: &mut H,
    ) -> Step<'_> {
        let id = self.known(frame.name());
        // The user whom it logs in may be one for whom the gate says CLIENT ID.
        if id == id::HELLO && self.plan.auth() == Auth::Users && self.sharing.is_none() {
            self.about_mut().id = observer.id();
        }
        let verdict = match self.admissible(id, frame) {
            _ if self.leaves_replication(id) => return self.end_replication(id, observer),
            Some(Verdict::Answer(answer)) if id == id::EXEC => self.refuse_exec(answer),
            Some(verdict) => verdict,
            None if self.sharing.is_some() => self.judge_shared(id, frame, now, observer),
            None if self.asked.login == Login::Unlinked && !self.needs_no_upstream(id, frame) => {
                Verdict::WaitUntilLinked
            }
            None if self.plan.has_rules() => self.judge_ruled(id, frame, now, observer),
            None => self.judge(id, frame, observer),
        };
        match verdict {
            Verdict::Send { shape, kind } => self.send(frame, shape, kind, id, now, observer),
            Verdict::Rewrite { bytes, shape, kind } => {
                self.send_instead(bytes, frame.present(), shape, kind, id, now, observer)
            }
            Verdict::Answer(answer) => self.settle_here(answer, frame, id, now, observer),
            Verdict::Identify { plan, hello } => {
                observer.command(id, 1);
                self.identify(plan, hello, id, now, frame.present())
            }
            Verdict::Raw => self.send_raw(frame, id, observer),
            Verdict::Discard => {
                self.peeked = frame.is_whole().then_some(request);
                self.discard(now)
            }
            Verdict::Defer(greeting) => {
                observer.command(id, 1);
                self.defer(greeting, now);
                Step::Skip { len: frame.present() }
            }
            Verdict::WaitUntilLinked => {
                self.peeked = frame.is_whole().then_some(request);
                self.wait_for_link()
            }
            Verdict::WaitUntilPooled => {
                self.peeked = frame.is_whole().then_some(request);
                Step::Wait(Until::Pooled)
            }
            Verdict::Reselect => {
                self.peeked = frame.is_whole().then_some(request);
                self.log_in(Stage::Select, now)
            }
            Verdict::Asked => {
                observer.command(id, 1);
                // The answer is silenced, if at all, as the question was.
                self.asked.mute.take();
                Step::Skip { len: frame.present() }
            }
            Verdict::LearnId => {
                self.peeked = frame.is_whole().then_some(request);
                self.learn_id(now)
            }
            Verdict::NeedMore => Step::Need { at_least: frame.present().saturating_add(1) },
            Verdict::WaitUntilPaid => {
                self.hold = true;
                self.peeked = frame.is_whole().then_some(request);
                Step::Wait(Until::NothingPending)
            }
            Verdict::NeedWhole if !frame.is_whole() && frame.present() < self.plan.held_command() => {
                Step::Need { at_least: frame.present().saturating_add(1) }
            }
            Verdict::NeedWhole => self.settle_here(Answer::too_large(), frame, id, now, observer),
        }
    }

    /// Redis's checks of a command by itself, in Redis's order.
    fn admissible(&self, command: CommandId, frame: &Frame<'_>) -> Option<Verdict> {
        if command == id::QUIT || is_cross_protocol(frame.name()) {
            return None;
        }
        if self.plan.is_anonymous() {
            return self.before_login(command, frame);
        }
        self.refused_by_rules(command, frame)
    }

    /// These end the session, or are settled here, whatever the upstream would say.
    fn needs_no_upstream(&self, command: CommandId, frame: &Frame<'_>) -> bool {
        let of_users = match command {
            id::AUTH | id::HELLO => self.plan.auth() == Auth::Users,
            id::RESET => self.plan.auth() == Auth::Users && frame.arguments == 1,
            _ => false,
        };
        of_users || command == id::QUIT || is_cross_protocol(frame.name())
    }

    fn send<O: Observer>(
        &mut self,
        frame: &Frame<'_>,
        shape: Shape,
        kind: ReplyKind,
        id: CommandId,
        now: Tick,
        observer: &mut O,
    ) -> Step<'_> {
        let (len, whole) = match frame.source {
            Source::Line(len) => {
                let bytes = frame.bytes.to_vec();
                return self.send_instead(bytes, len, shape, kind, id, now, observer);
            }
            Source::Whole => (frame.bytes.len(), true),
            Source::Partial(buf) => match self.scan.stream(buf) {
                Ok(streamed) => (streamed.len, false),
                Err(error) => return self.refuse_bytes(error),
            },
        };
        if !whole {
            self.stream = Stream::Forwarding;
        }
        observer.command(id, 1);
        let first = self.push_reply(kind, &shape, id, now);
        Step::Forward { len, first, pending: 1, shape, whole }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of one step")]
    fn send_instead<O: Observer>(
        &mut self,
        bytes: Vec<u8>,
        skip: usize,
        shape: Shape,
        kind: ReplyKind,
        id: CommandId,
        now: Tick,
        observer: &mut O,
    ) -> Step<'_> {
        observer.command(id, 1);
        let first = self.push_reply(kind, &shape, id, now);
        self.scratch = bytes;
        Step::Instead { bytes: &self.scratch, skip, first, shape }
    }

    fn discard(&mut self, now: Tick) -> Step<'_> {
        let first = self.push_unmuted(ReplyKind::Abandoned, CommandId::UNKNOWN, now);
        self.scratch.clear();
        encode::command(&mut self.scratch, &[b"DISCARD"]);
        Step::Instead { bytes: &self.scratch, skip: 0, first, shape: Shape::Whole }
    }

    /// A command was refused inside MULTI: EXEC must fail, as it does in Redis.
    fn spoil(&mut self) {
        if let Some(transaction) = &mut self.asked.transaction {
            transaction.spoil();
        }
    }

    /// The command gets its answer here, and not one byte of it travels on.
    fn settle_here<O: Observer>(
        &mut self,
        answer: Answer,
        frame: &Frame<'_>,
        id: CommandId,
        now: Tick,
        observer: &mut O,
    ) -> Step<'_> {
        observer.command(id, 1);
        let muted = self.asked.mute.take();
        let reply = match answer {
            Answer::Reply(reply) => Some(reply),
            Answer::Error(reply) => {
                self.spoil();
                Some(aborted(id, reply))
            }
            Answer::LoginFailed => {
                observer.denied(&Denial::new(&self.plan, id, Denied::Login));
                Some(Local::Canned(reply::WRONGPASS))
            }
            Answer::ByRules(reply, refusal) => {
                observer.denied(&Denial::by_rules(&self.plan, refusal));
                self.spoil();
                Some(aborted(id, reply))
            }
            Answer::Refusal(reply, reason) => {
                observer.denied(&Denial::new(&self.plan, id, reason));
                self.spoil();
                Some(aborted(id, reply))
            }
            Answer::Nothing => None,
            Answer::Quit(reply) => {
                self.end(CloseReason::Client);
                Some(reply)
            }
            Answer::Silence => {
                self.end(CloseReason::CrossProtocol);
                None
            }
        };
        if let Some(reply) = reply.filter(|_| !muted) {
            self.answer(reply, id, now);
        }
        let Source::Partial(buf) = frame.source else { return Step::Skip { len: frame.present() } };
        match self.scan.stream(buf) {
            Ok(streamed) => {
                self.stream = Stream::Discarding;
                Step::Skip { len: streamed.len }
            }
            Err(error) => self.refuse_bytes(error),
        }
    }
}
