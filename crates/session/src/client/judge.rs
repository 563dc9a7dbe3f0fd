//! What becomes of a command that is more than bytes with one reply.

use std::sync::Arc;

use portcullis_acl::Refusal;
use portcullis_resp::command::{CommandId, id, is_cross_protocol, lookup_subcommand};
use portcullis_resp::scan::arguments;
use portcullis_resp::{encode, reply};

use super::Session;
use super::command::Frame;
use crate::client::asked::{Login, Mute};
use crate::local::hello::{self, DEFAULT_USER, Greeting, Hello};
use crate::observe::{Denied, Host, Peer};
use crate::pending::{Local, ReplyKind, ReplyMode};
use crate::plan::{Auth, Plan};
use crate::shape::{Shape, Verb};

/// `HELLO 3 AUTH user password`: with fewer arguments a HELLO logs nobody in. So the number alone decides, wherever the
/// option stands and whatever part of the frame is there.
const HELLO_WITH_CREDENTIALS: u64 = 5;

/// What becomes of a command.
pub(super) enum Verdict {
    /// It travels on as it is.
    Send { shape: Shape, kind: ReplyKind },
    /// Something else travels in its place.
    Rewrite { bytes: Vec<u8>, shape: Shape, kind: ReplyKind },
    /// It is settled here.
    Answer(Answer),
    /// It logs in another user, in whose name the gate logs in upstream first; a HELLO's answer comes after that.
    Identify { plan: Arc<Plan>, hello: Option<Greeting> },
    /// It goes on to a replication stream, and is not answered by replies.
    Raw,
    /// It is settled here, once a DISCARD has gone upstream and what it ends is over.
    Discard,
    /// It has logged in its user, and travels on in this form once there is an upstream.
    Defer(Greeting),
    /// It asks about other clients, which the caller collects.
    Asked,
    /// It is judged again once Redis is asked for the number of the upstream connection.
    LearnId,
    /// It cannot be answered without an upstream connection of the client's own.
    WaitUntilLinked,
    /// It cannot be answered before there is a shared connection of the kind that it asks for.
    WaitUntilPooled,
    /// The database must be selected first.
    Reselect,
    /// It cannot be judged before all that is owed was paid.
    WaitUntilPaid,
    /// It cannot be judged before more of it is there, within what may be held.
    NeedWhole,
    /// Whether it may share a connection is not known before more of it is there.
    NeedMore,
}

/// How a command is settled without the upstream.
pub(super) enum Answer {
    /// By this reply, which is what Redis would say.
    Reply(Local),
    /// By this error, with which Redis would not have run the command.
    Error(Local),
    /// By this reply, for the command rules do not allow the command.
    ByRules(Local, Refusal),
    /// By this reply, for the gate does not allow the command.
    Refusal(Local, Denied),
    /// By the reply to wrong credentials.
    LoginFailed,
    /// By nothing at all, as Redis does.
    Nothing,
    /// By this reply, and the end of the session.
    Quit(Local),
    /// By the end of the session without a word.
    Silence,
}

impl Answer {
    pub(super) const fn too_large() -> Self {
        Self::Refusal(Local::Canned(reply::COMMAND_TOO_LARGE), Denied::Size)
    }
}

impl Verdict {
    pub(super) const fn plain() -> Self {
        Self::Send { shape: Shape::One, kind: ReplyKind::Plain }
    }

    pub(super) const fn untimed(shape: Shape) -> Self {
        Self::Send { shape, kind: ReplyKind::Untimed }
    }

    pub(super) fn wrong_arity(command: CommandId) -> Self {
        let mut line = Vec::with_capacity(64);
        reply::wrong_arity(&mut line, command.name());
        Self::Answer(Answer::Error(Local::Made(line.into_boxed_slice())))
    }
}

impl Session {
    pub(super) fn judge<H: Host>(&mut self, command: CommandId, frame: &Frame<'_>, host: &mut H) -> Verdict {
        self.forget_refused_transaction();
        let alone = frame.arguments == 1;
        let verdict = match command {
            CommandId::UNKNOWN if is_cross_protocol(frame.name()) => {
                return Verdict::Answer(Answer::Silence);
            }
            id::QUIT => return Verdict::Answer(Answer::Quit(Local::Canned(reply::OK))),
            id::SYNC | id::PSYNC | id::REPLCONF => return self.replicate(command, frame),
            id::RESET if alone => return self.reset(),
            id::MULTI if alone => return self.multi(),
            id::EXEC => return self.exec(alone),
            id::DISCARD if alone => {
                self.asked.transaction = None;
                let kind = ReplyKind::EndOfTransaction { subscribes: 0 };
                return Verdict::Send { shape: Shape::One, kind };
            }
            id::MULTI | id::DISCARD | id::RESET | id::WATCH => return Verdict::plain(),
            id::AUTH if !alone || self.plan.auth() == Auth::Users => self.auth(frame, host),
            id::HELLO => self.hello(frame, host),
            id::CLIENT => self.client(frame),
            id::SCRIPT => self.script(frame),
            id::MONITOR if alone => self.monitor(),
            id::PUBSUB if self.plan.rules().filters_channels() => self.pubsub(frame),
            _ => match Verb::of(command) {
                Some(verb) => self.subscription(verb, frame, host),
                None => self.blocking(command, frame),
            },
        };
        if let Verdict::Send {
            kind: ReplyKind::Plain | ReplyKind::Blocking(_) | ReplyKind::Tracking { .. },
            ..
        } = verdict
        {
            self.queue_plain(1);
        }
        verdict
    }

    /// An EXEC that is not let through ends its transaction all the same.
    pub(super) fn refuse_exec(&mut self, answer: Answer) -> Verdict {
        if self.asked.transaction.is_some() && !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        self.forget_refused_transaction();
        if self.asked.transaction.take().is_some() { Verdict::Discard } else { Verdict::Answer(answer) }
    }

    /// A MULTI that Redis refused began nothing; that is known once all is paid.
    pub(super) fn forget_refused_transaction(&mut self) {
        if self.pending.is_empty() && !self.confirmed.in_transaction {
            self.asked.transaction = None;
        }
    }

    /// Which of two MULTIs Redis took is certain only when both are answered; what is queued counts from that one.
    fn multi(&mut self) -> Verdict {
        match self.asked.transaction {
            Some(_) if self.pending.is_empty() => Verdict::plain(),
            Some(_) => Verdict::WaitUntilPaid,
            None => {
                self.asked.transaction = Some(Box::default());
                Verdict::Send { shape: Shape::One, kind: ReplyKind::Multi }
            }
        }
    }

    /// EXEC with arguments is wrong, and ends the transaction all the same. A spoilt one is sent as DISCARD, once it is
    /// certain that there is something to discard.
    fn exec(&mut self, alone: bool) -> Verdict {
        let spoilt =
            alone && self.asked.transaction.as_ref().is_some_and(|transaction| transaction.is_dirty());
        if spoilt && !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        let transaction = self.asked.transaction.take();
        if spoilt {
            let mut bytes = Vec::with_capacity(32);
            encode::command(&mut bytes, &[b"DISCARD"]);
            return Verdict::Rewrite { bytes, shape: Shape::Whole, kind: ReplyKind::SpoiltExec };
        }
        let subscribes = transaction.as_ref().map_or(0, |transaction| transaction.subscribing());
        let confirmations = transaction.map(|transaction| transaction.into_confirmations());
        let shape = Shape::Exec(confirmations.unwrap_or_default());
        Verdict::Send { shape, kind: ReplyKind::EndOfTransaction { subscribes } }
    }

    /// RESET ends CLIENT REPLY OFF before it is answered, but a CLIENT REPLY SKIP before it covers it.
    ///
    /// It is sent when no reply is pending: Redis (6.2.18, 7.2.8 and later) closes a connection that is not logged in
    /// and has more than 1 KiB of output waiting, which may be the replies from before RESET.
    fn reset(&mut self) -> Verdict {
        let users = self.plan.auth() == Auth::Users;
        if users && matches!(self.asked.login, Login::Unlinked | Login::Nobody) {
            self.leave();
            return Verdict::Answer(Answer::Reply(Local::Canned(reply::RESET)));
        }
        if !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        // The gate's own login follows the reply: see `client_login`.
        self.hold |= users || self.keys.own.is_some();
        self.asked.transaction = None;
        if self.asked.mute == Mute::All {
            self.asked.mute = Mute::No;
        }
        self.asked.monitors = false;
        Verdict::Send { shape: Shape::Reset, kind: ReplyKind::Reset }
    }

    /// Redis does not answer a MONITOR that is one already.
    fn monitor(&mut self) -> Verdict {
        if let Some(verdict) = self.outside_transactions_only() {
            return verdict;
        }
        if self.asked.monitors {
            if !self.pending.is_empty() {
                return Verdict::WaitUntilPaid;
            }
            if self.confirmed.monitors {
                return Verdict::Answer(Answer::Nothing);
            }
        }
        self.asked.monitors = true;
        Verdict::Send { shape: Shape::Monitor, kind: ReplyKind::Monitor }
    }

    pub(super) fn auth<H: Host>(&mut self, frame: &Frame<'_>, host: &mut H) -> Verdict {
        if let Some(verdict) = self.outside_transactions_only() {
            return verdict;
        }
        if self.plan.auth() == Auth::Passthrough {
            return self.client_auth(frame);
        }
        if frame.arguments > 1
            && let Some(verdict) = self.not_while_subscribed(reply::AUTH_NOT_NOW, host)
        {
            return verdict;
        }
        if self.plan.auth() == Auth::Users {
            return self.auth_user(frame, host);
        }
        if !frame.is_whole_within(self.plan.held_command()) {
            return Verdict::NeedWhole;
        }
        let args = frame.after_name();
        Verdict::Answer(Answer::Reply(Local::Canned(hello::auth(&args))))
    }

    /// Whether the gate answers a HELLO itself, or may.
    fn answers(&self, hello: &Result<Hello<'_>, Vec<u8>>) -> bool {
        let users = self.plan.auth() == Auth::Users;
        match hello {
            Err(_) => true,
            Ok(hello) if users => self.sharing.is_some() || hello.credentials.is_some(),
            Ok(hello) => self.sharing.is_some() || !hello.is_of_default_user(),
        }
    }

    /// What Redis says to AUTH and HELLO of a client that listens in RESP2. Whether it does is certain only when no reply
    /// is pending that may change it.
    fn not_while_subscribed<H: Host>(&self, line: &'static [u8], host: &H) -> Option<Verdict> {
        if !self.is_linked() || self.asked.login == Login::Nobody {
            return None;
        }
        if self.pending.turns() {
            return Some(Verdict::WaitUntilPaid);
        }
        host.listens_in_resp2().then(|| Verdict::Answer(Answer::Error(Local::Canned(line))))
    }

    /// A login that the upstream judges. Redis from 7.2 on and Valkey 8 do not answer one that fails while any
    /// output for the client is pending. So it is sent when no reply is pending, and what follows waits for its reply.
    fn client_login(&mut self, shape: Shape) -> Verdict {
        if !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        self.hold = true;
        Verdict::Send { shape, kind: ReplyKind::ClientLogin { known: false } }
    }

    fn client_auth(&mut self, frame: &Frame<'_>) -> Verdict {
        if self.plan.is_public() {
            if !frame.is_whole_within(self.plan.held_command()) {
                return Verdict::NeedWhole;
            }
            match frame.after_name()[..] {
                [_password] => self.enters_as(Some(DEFAULT_USER.as_bytes())),
                [user, _password] => self.enters_as(Some(user)),
                // Redis takes no login of another form.
                _ => {}
            }
        }
        self.client_login(Shape::One)
    }

    pub(super) fn hello<H: Host>(&mut self, frame: &Frame<'_>, host: &mut H) -> Verdict {
        if let Some(verdict) = self.outside_transactions_only() {
            return verdict;
        }
        let may_log_in = frame.arguments >= HELLO_WITH_CREDENTIALS;
        if self.plan.auth() == Auth::Passthrough && !self.plan.is_public() {
            return if may_log_in { self.client_login(Shape::Hello) } else { Verdict::untimed(Shape::Hello) };
        }
        if !frame.is_whole_within(self.plan.held_command()) {
            return Verdict::NeedWhole;
        }
        let args = frame.after_name();
        let hello = Hello::read(&args);
        let name = hello.as_ref().ok().and_then(|hello| hello.name);
        if self.plan.auth() == Auth::Passthrough {
            if !may_log_in {
                return self.as_known(Verdict::untimed(Shape::Hello), name);
            }
            // Redis says what is wrong with it, or that it is none.
            let credentials = hello.as_ref().ok().and_then(|hello| hello.credentials);
            match credentials {
                Some((user, _password)) => self.enters_as(Some(user)),
                None => self.enters_as_before(),
            }
            let verdict = self.client_login(Shape::Hello);
            return self.as_known(verdict, name);
        }
        if self.answers(&hello)
            && let Some(verdict) = self.not_while_subscribed(reply::HELLO_NOT_NOW, host)
        {
            return verdict;
        }
        let verdict = match hello {
            Err(line) => Verdict::Answer(Answer::Reply(Local::Made(line.into_boxed_slice()))),
            Ok(hello) if self.plan.auth() == Auth::Users => self.hello_user(&hello, host),
            Ok(hello) if !hello.is_of_default_user() => {
                Verdict::Answer(Answer::Reply(Local::Canned(reply::WRONGPASS)))
            }
            Ok(hello) if self.sharing.is_some() => self.greet(&hello),
            Ok(hello) if hello.credentials.is_none() => Verdict::untimed(Shape::Hello),
            Ok(hello) => {
                let bytes = hello.without_credentials();
                Verdict::Rewrite { bytes, shape: Shape::Hello, kind: ReplyKind::Untimed }
            }
        };
        self.as_known(verdict, name)
    }

    /// CLIENT REPLY stays here: were replies switched off upstream, they could not be counted. CLIENT REPLY ON goes in
    /// its place, so that Redis still says whether this client may say it.
    pub(super) fn client(&mut self, frame: &Frame<'_>) -> Verdict {
        if frame.arguments < 3 {
            return Verdict::plain();
        }
        let held = self.plan.held_command();
        let Some(subcommand) = frame.argument(1, held) else { return Verdict::NeedWhole };
        match lookup_subcommand(id::CLIENT, subcommand) {
            Some(id::CLIENT_REPLY) if frame.arguments == 3 => self.client_reply(frame),
            Some(id::CLIENT_TRACKING) => self.client_tracking(frame),
            _ => Verdict::plain(),
        }
    }

    fn client_reply(&mut self, frame: &Frame<'_>) -> Verdict {
        let held = self.plan.held_command();
        let mode = match frame.argument(2, held) {
            None => return Verdict::NeedWhole,
            Some(mode) if mode.eq_ignore_ascii_case(b"on") => ReplyMode::On,
            Some(mode) if mode.eq_ignore_ascii_case(b"off") => ReplyMode::Off,
            Some(mode) if mode.eq_ignore_ascii_case(b"skip") => ReplyMode::Skip,
            Some(_) => return Verdict::plain(),
        };
        if let Some(verdict) = self.outside_transactions_only() {
            return verdict;
        }
        if !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        self.hold = true;
        let mut bytes = Vec::with_capacity(48);
        encode::command(&mut bytes, &[b"CLIENT", b"REPLY", b"ON"]);
        Verdict::Rewrite { bytes, shape: Shape::Whole, kind: ReplyKind::ReplyMode(mode) }
    }

    /// SCRIPT DEBUG: a script in the debugger is answered once more than it was asked.
    fn script(&self, frame: &Frame<'_>) -> Verdict {
        if frame.arguments != 3 || self.asked.transaction.is_some() {
            return Verdict::plain();
        }
        let held = self.plan.held_command();
        let Some(subcommand) = frame.argument(1, held) else { return Verdict::NeedWhole };
        if lookup_subcommand(id::SCRIPT, subcommand) != Some(id::SCRIPT_DEBUG) {
            return Verdict::plain();
        }
        let Some(mode) = frame.argument(2, held) else { return Verdict::NeedWhole };
        Verdict::untimed(Shape::Debug { on: !mode.eq_ignore_ascii_case(b"no") })
    }

    fn subscription<P: Peer>(&mut self, verb: Verb, frame: &Frame<'_>, peer: &P) -> Verdict {
        let channels = frame.arguments.saturating_sub(1);
        if channels == 0 && !verb.gives_up() {
            return Verdict::plain();
        }
        if let Some(verdict) = self.too_many_subscriptions(verb, frame, peer) {
            return verdict;
        }
        if self.asked.transaction.is_none() {
            let shape = match channels {
                0 => Shape::ConfirmAll(verb),
                n => Shape::Confirm { verb, n },
            };
            return Verdict::Send { shape, kind: self.confirmations(verb, frame) };
        }
        if channels != 1 {
            return self.outside_transactions_only().unwrap_or(Verdict::WaitUntilPaid);
        }
        let queued =
            self.asked.transaction.as_mut().is_some_and(|transaction| transaction.queue_confirmation(verb));
        if !queued {
            return self.outside_transactions_only().unwrap_or(Verdict::WaitUntilPaid);
        }
        Verdict::Send { shape: Shape::Confirm { verb, n: 1 }, kind: self.confirmations(verb, frame) }
    }

    /// What is queued is answered within EXEC's reply, which is not looked into.
    fn pubsub(&self, frame: &Frame<'_>) -> Verdict {
        if frame.arguments < 2 {
            return Verdict::plain();
        }
        let Some(subcommand) = frame.argument(1, self.plan.held_command()) else { return Verdict::NeedWhole };
        match lookup_subcommand(id::PUBSUB, subcommand) {
            Some(id::PUBSUB_CHANNELS | id::PUBSUB_SHARDCHANNELS) => self
                .outside_transactions_only()
                .unwrap_or(Verdict::Send { shape: Shape::Listed, kind: ReplyKind::Channels }),
            _ => Verdict::plain(),
        }
    }

    fn blocking(&self, command: CommandId, frame: &Frame<'_>) -> Verdict {
        if self.asked.transaction.is_some() || !may_block(command, frame) {
            return Verdict::plain();
        }
        Verdict::Send { shape: Shape::One, kind: ReplyKind::Blocking(self.keep(frame)) }
    }

    /// These would change identity, encoding or the number of replies in the middle of EXEC's reply. Whether MULTI holds
    /// is certain only when nothing is owed.
    pub(super) fn outside_transactions_only(&self) -> Option<Verdict> {
        self.asked.transaction.as_ref()?;
        if !self.pending.is_empty() {
            return Some(Verdict::WaitUntilPaid);
        }
        Some(Verdict::Answer(Answer::Refusal(
            Local::Canned(reply::NOT_ALLOWED_IN_TRANSACTION),
            Denied::InTransaction,
        )))
    }
}

pub(super) fn may_block(command: CommandId, frame: &Frame<'_>) -> bool {
    use portcullis_resp::command::Flags;
    if !command.info().flags.contains(Flags::BLOCKING) {
        return false;
    }
    // Where the options end is not known while the frame is cut.
    let has_block = |options: usize| {
        let mut block = false;
        for argument in arguments(frame.bytes).skip(options) {
            if argument.eq_ignore_ascii_case(b"streams") {
                return block;
            }
            block |= argument.eq_ignore_ascii_case(b"block");
        }
        block || !frame.is_whole()
    };
    match command {
        id::XREAD => has_block(1),
        id::XREADGROUP => has_block(4),
        _ => true,
    }
}
