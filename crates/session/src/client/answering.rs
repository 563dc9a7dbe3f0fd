//! Effects of the upstream's replies on the client and on the state of its connection.

use portcullis_resp::command::id;
use portcullis_resp::scan::arguments;
use portcullis_resp::{encode, reply};

use super::continuity;
use super::state::State;
use super::step::ReplyAction;
use super::upstream::Upstream;
use crate::link::{Greeting, MAX_LISTED, Part, Stage, Unavailable, is_role_of_replica};
use crate::local::client_info::Introduction;
use crate::local::rewrite::{self, Rewrite};
use crate::observe::Observer;
use crate::pending::{ReplyKind, ReplyMode};
use crate::plan::Auth;
use crate::tick::Tick;

/// The number of bytes of local replies after which the session writes no more of them until the client has read some.
/// Without this limit they would accumulate for a client that never reads. On shared connections the limit is
/// `client_output_buffer`.
pub const MAX_RENDERED: usize = 64 * 1024;

/// The error in place of a redirect, which names another server. No upstream that the gate does not know as a cluster
/// may send its clients to other servers.
const REDIRECTED: &[u8] =
    b"-ERR portcullis: the upstream is a node of a cluster and does not serve this key\r\n";

/// One part of a reply, and the state that it may change.
pub(super) struct Answering<'s> {
    state: &'s mut State,
    part: &'s Part<'s>,
    is_error: bool,
}

impl<'s> Answering<'s> {
    pub(super) fn new(state: &'s mut State, part: &'s Part<'s>) -> Self {
        Self { state, part, is_error: part.head.kind == b'-' }
    }

    /// Returns what to do with the part.
    pub(super) fn answer<O: Observer>(self, now: Tick, observer: &mut O) -> ReplyAction {
        let redirects =
            self.is_error && self.state.plan().face().is_some() && rewrite::is_redirect(self.part.bytes);
        // Within EXEC's reply, or in a line that is longer than any server's, only a script can have made it.
        if redirects && (!self.part.first || self.part.ended == 0) {
            return ReplyAction::Desync;
        }
        match self.settle(now, observer) {
            ReplyAction::Pass if redirects => ReplyAction::Replace(REDIRECTED),
            action => action,
        }
    }

    fn settle<O: Observer>(mut self, now: Tick, observer: &mut O) -> ReplyAction {
        let part = self.part;
        let Some(front) = self.state.pending.expected(part.ticket) else { return ReplyAction::Desync };
        let muted = front.muted;
        let starts_with_error = self.is_error && part.first;
        // Only the first piece of a line shows that the line is an error. The link passes on at least the first
        // kilobyte of a line at once.
        if starts_with_error
            && !self.state.passing.has_answered()
            && let Some(why) = Unavailable::of_greeting(part.bytes)
        {
            return ReplyAction::Lost(why);
        }
        self.state.passing.reply(part.ended);
        if starts_with_error && !front.kind.is_private() {
            observer.error(part.bytes);
        }
        let default = if muted { ReplyAction::Drop } else { ReplyAction::Pass };
        if front.kind.is_plain() {
            return self.settle_plain(default, now, observer);
        }
        if part.first && matches!(front.kind, ReplyKind::ClientLogin { .. }) {
            observer.login_answered(self.is_login_taken());
        }
        let mut kind = self.state.pending.take_kind();
        let action = self.apply(&mut kind, default);
        let of_setup = matches!(kind, ReplyKind::Setup(_));
        self.state.pending.put_kind(kind);
        match action {
            ReplyAction::Desync => return action,
            ReplyAction::Lost(_) | ReplyAction::Misled if of_setup => return action,
            _ => {}
        }
        if part.ended > 0 {
            self.state.pending.settle(part.ended);
        }
        if let Some(pooling) = &mut self.state.pooling {
            pooling.keep_lease(now);
        }
        if of_setup && self.state.upstream == Upstream::AwaitingSetup && self.state.pending.is_empty() {
            self.state.set_up();
        }
        action
    }

    /// Applies the effect of a reply of this kind. `default` is the action for a reply without an effect.
    fn apply(&mut self, kind: &mut ReplyKind, default: ReplyAction) -> ReplyAction {
        let line = self.part.bytes;
        let ok = line == reply::OK;
        match kind {
            ReplyKind::Plain | ReplyKind::Local(_) => return ReplyAction::Desync,
            ReplyKind::Blocking(frame) if self.is_error => {
                if continuity::keep_unblocked(self.state, line, frame) {
                    return ReplyAction::Misled;
                }
            }
            ReplyKind::Blocking(_) | ReplyKind::Untimed => {}
            // Confirmations are pushes, and CLIENT REPLY OFF does not suppress pushes.
            ReplyKind::Confirmations { .. } | ReplyKind::EndOfTransaction { .. }
                if self.part.confirmation =>
            {
                return ReplyAction::Pass;
            }
            ReplyKind::Confirmations { .. } => {}
            ReplyKind::Multi => self.state.transaction.confirm(self.part.head.kind == b'+'),
            ReplyKind::EndOfTransaction { .. } => self.state.transaction.end(self.is_error, line),
            ReplyKind::Watch if ok => self.state.transaction.watch(),
            ReplyKind::Unwatch if ok => self.state.transaction.unwatch(),
            ReplyKind::Watch | ReplyKind::Unwatch => {}
            ReplyKind::SpoiltExec => return self.exec_discarded(default),
            ReplyKind::Abandoned if ok => {
                self.state.transaction.end_discarded();
                return ReplyAction::Drop;
            }
            ReplyKind::Abandoned => return ReplyAction::Desync,
            ReplyKind::Monitor if ok => self.state.modes.confirm_monitor(),
            ReplyKind::NoEvict(on) if ok => self.state.modes.set_no_evict(*on),
            ReplyKind::NoTouch(on) if ok => self.state.modes.set_no_touch(*on),
            ReplyKind::Monitor | ReplyKind::NoEvict(_) | ReplyKind::NoTouch(_) => {}
            ReplyKind::Tracking { on, frame } => self.state.modes.track(*on, line, || frame.take()),
            ReplyKind::Reset => self.reset(),
            ReplyKind::ReplyMode(mode) if ok => {
                self.state.mute.set(*mode);
                return if *mode == ReplyMode::On { ReplyAction::Pass } else { ReplyAction::Drop };
            }
            ReplyKind::ReplyMode(_) => {}
            ReplyKind::Select(db) if ok => self.state.selected(*db),
            ReplyKind::Select(_) => {}
            ReplyKind::Setup(stage) => return self.set_up(*stage),
            ReplyKind::Identify => return self.identified(default),
            ReplyKind::ClientLogin { known } => return self.client_logged_in(*known, default),
            ReplyKind::Hello => return self.greeted(default),
            ReplyKind::Permission => return self.permitted(default),
            ReplyKind::UpstreamId => return self.learned(),
            ReplyKind::Told(text) => return self.told(std::mem::take(text), default),
            ReplyKind::Introduced(text) if ok => self.introduced(text),
            ReplyKind::Introduced(_) => {}
            ReplyKind::Loaded if self.state.scripts.add(line) => {}
            ReplyKind::Loaded => self.state.kept.bind(id::SCRIPT_LOAD),
            ReplyKind::Channels => return self.channels(default),
            ReplyKind::Presented(rewrite) => return self.presented(*rewrite, default),
        }
        default
    }

    /// Settles plain replies. One part may cover several runs of pending replies, each with its own command and time.
    fn settle_plain<O: Observer>(self, default: ReplyAction, now: Tick, observer: &mut O) -> ReplyAction {
        let pending = &mut self.state.pending;
        let mut left = self.part.ended;
        while left > 0 {
            let Some(front) = pending.front() else { return ReplyAction::Desync };
            let action = if front.muted { ReplyAction::Drop } else { ReplyAction::Pass };
            if !front.kind.is_plain() || action != default {
                return ReplyAction::Desync;
            }
            let n = left.min(front.n);
            observer.answered(front.id, n, now.since(front.at), front.seq);
            pending.settle(n);
            left -= n;
        }
        default
    }

    /// Handles the reply to an EXEC that was sent as DISCARD: the client gets the reply that EXEC would have got.
    fn exec_discarded(&mut self, default: ReplyAction) -> ReplyAction {
        self.state.transaction.end_discarded();
        if default == ReplyAction::Pass && self.part.bytes == reply::OK {
            ReplyAction::Replace(reply::EXECABORT)
        } else {
            default
        }
    }

    fn reset(&mut self) {
        self.state.transaction.end_by_reset();
        if self.part.bytes != reply::RESET {
            return;
        }
        self.state.modes.end_by_reset();
        self.state.reset_profile();
        match self.state.plan().auth() {
            Auth::Users => self.state.leave(),
            Auth::Trust => self.state.set_up_due(),
            Auth::Passthrough => {}
        }
    }

    /// Handles the reply to a step of the connection's setup.
    fn set_up(&mut self, stage: Stage) -> ReplyAction {
        let line = self.part.bytes;
        match stage {
            _ if stage.is_optional() => ReplyAction::Drop,
            Stage::Select if self.is_error && Unavailable::of_setup(line).is_none() => {
                if self.state.pooling.is_some() {
                    self.state.refuse_database(line);
                } else {
                    continuity::refuse(self.state, stage);
                }
                ReplyAction::Drop
            }
            Stage::Hello => match Greeting::of(line, &self.state.pool_key()) {
                Greeting::Welcome => ReplyAction::Drop,
                Greeting::Untold => {
                    self.state.ask_role();
                    ReplyAction::Drop
                }
                Greeting::Replica => ReplyAction::Misled,
                Greeting::Refused => ReplyAction::Lost(Unavailable::of_login(line)),
                Greeting::Mismatch => ReplyAction::Desync,
            },
            Stage::Role if self.part.first && is_role_of_replica(line) => ReplyAction::Misled,
            Stage::Role => ReplyAction::Drop,
            Stage::Scripts if !self.is_error && self.state.scripts.are_known(line) => ReplyAction::Drop,
            Stage::Scripts if Unavailable::of_setup(line).is_none() => {
                continuity::refuse(self.state, stage);
                ReplyAction::Drop
            }
            _ if self.is_error => ReplyAction::Lost(Unavailable::of_login(line)),
            _ if line == reply::OK => ReplyAction::Drop,
            _ => ReplyAction::Desync,
        }
    }

    /// Handles the reply to the gate's login as another user. The client gets the error line only if Redis would have
    /// sent it to the client: other lines may contain the gate's credentials.
    fn identified(&mut self, default: ReplyAction) -> ReplyAction {
        const NOT_NOW: &[u8] = b"-ERR Can't execute 'auth'";
        let line = self.part.bytes;
        let Some(entering) = self.state.identity.take_entering() else { return ReplyAction::Desync };
        if line == reply::OK {
            self.state.identity.confirm_entering(entering.plan, entering.key);
            self.state.upstream.log_in();
            self.state.rejoin();
            let Some(hello) = entering.hello else { return default };
            self.state.identity.defer(hello);
            return ReplyAction::Drop;
        }
        if line.starts_with(NOT_NOW) {
            // The client sent HELLO, so the error must name HELLO.
            let of_hello = entering.hello.is_some() && default == ReplyAction::Pass;
            if of_hello { ReplyAction::Replace(reply::HELLO_NOT_NOW) } else { default }
        } else if self.is_error {
            ReplyAction::Lost(Unavailable::of_login(line))
        } else {
            ReplyAction::Desync
        }
    }

    /// Handles the reply to the client's own login, in an AUTH or in a HELLO. `known` means that HELLO's reply must
    /// contain the gate's CLIENT ID.
    fn client_logged_in(&mut self, known: bool, default: ReplyAction) -> ReplyAction {
        if self.part.first {
            let taken = self.is_login_taken();
            if taken {
                self.state.identity.set_passed_through(true);
            }
            if let Some(profile) = &mut self.state.profile {
                profile.end_login(taken);
            }
        }
        if known { self.greeted(default) } else { default }
    }

    /// Returns whether the reply accepts the client's login.
    fn is_login_taken(&self) -> bool {
        let of_hello = matches!(self.part.head.kind, b'%' | b'*');
        of_hello || self.part.bytes == reply::OK
    }

    /// Handles the reply to HELLO. The reply contains the connection's id, which the gate replaces by its own.
    fn greeted(&mut self, default: ReplyAction) -> ReplyAction {
        let resp3 = match self.part.head.kind {
            b'-' => None,
            b'%' => Some(true),
            b'*' => Some(false),
            _ => return ReplyAction::Desync,
        };
        let profile = self.state.profile.get_or_insert_default();
        profile.end_naming(resp3.is_some());
        let Some(resp3) = resp3 else { return default };
        let changes = resp3 != self.state.kept.resp3();
        if self.state.pooling.as_mut().is_some_and(|pooling| !pooling.greeted(changes)) {
            return ReplyAction::Desync;
        }
        self.state.kept.greet(resp3);
        let id = profile.id();
        if default != ReplyAction::Pass || !self.state.answers_client() {
            return default;
        }
        let mode = self.state.plan().face().map(|face| face.mode());
        self.state.scratch.clear();
        match rewrite::hello(self.part.bytes, id, mode, &mut self.state.scratch) {
            Some(()) => ReplyAction::Rewritten,
            None => ReplyAction::Desync,
        }
    }

    /// Handles a reply that shows which server the upstream is. A reply that is too long to be rewritten becomes an
    /// error, and so the client never gets a part of it.
    fn presented(&mut self, rewrite: Rewrite, default: ReplyAction) -> ReplyAction {
        if default != ReplyAction::Pass || !self.part.first {
            return ReplyAction::Drop;
        }
        if self.is_error {
            return default;
        }
        if self.part.ended == 0 || self.part.bytes.len() > MAX_LISTED {
            return ReplyAction::Replace(rewrite.of.too_long());
        }
        self.state.scratch.clear();
        match rewrite.write(self.part.bytes, &mut self.state.scratch) {
            Some(()) => ReplyAction::Rewritten,
            None => ReplyAction::Desync,
        }
    }

    /// Handles Redis's reply to the question whether the client may ask about other clients.
    fn permitted(&mut self, default: ReplyAction) -> ReplyAction {
        let Some(profile) = &mut self.state.profile else { return ReplyAction::Desync };
        if !profile.permit(!self.is_error) {
            return ReplyAction::Desync;
        }
        if self.is_error { default } else { ReplyAction::Drop }
    }

    /// Handles Redis's reply to CLIENT ID on the upstream connection, which may be an error.
    fn learned(&mut self) -> ReplyAction {
        let number = self.part.bytes.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if number.is_none() && !self.is_error {
            return ReplyAction::Desync;
        }
        self.state.profile_mut().set_upstream_id(number);
        ReplyAction::Drop
    }

    /// Handles Redis's reply to a command that the gate answers itself, but sends to Redis to check the client's
    /// rights. The client gets `text`, or Redis's error.
    fn told(&mut self, text: Box<[u8]>, default: ReplyAction) -> ReplyAction {
        if self.is_error || default != ReplyAction::Pass {
            return default;
        }
        self.state.scratch = text.into_vec();
        ReplyAction::Rewritten
    }

    /// Records that Redis accepted a name or library of the client.
    fn introduced(&mut self, introduction: &Introduction) {
        self.state.profile_mut().introduce(introduction.clone());
    }

    /// Handles the reply to PUBSUB CHANNELS or SHARDCHANNELS: the client gets only the channels that it may subscribe
    /// to.
    fn channels(&mut self, default: ReplyAction) -> ReplyAction {
        if default != ReplyAction::Pass || !self.part.first {
            return ReplyAction::Drop;
        }
        match self.part.head.kind {
            b'-' => return ReplyAction::Pass,
            b'*' if self.part.head.count >= 0 => {}
            _ => return ReplyAction::Desync,
        }
        if self.part.ended == 0 {
            return ReplyAction::Replace(reply::TOO_MANY_CHANNELS);
        }
        let listed: Vec<&[u8]> = arguments(self.part.bytes).collect();
        if i64::try_from(listed.len()) != Ok(self.part.head.count) {
            return ReplyAction::Desync;
        }
        let rules = self.state.identity.plan().rules();
        let shown: Vec<&[u8]> = listed.into_iter().filter(|channel| rules.shows_channel(channel)).collect();
        self.state.scratch.clear();
        encode::command(&mut self.state.scratch, &shown);
        ReplyAction::Rewritten
    }
}
