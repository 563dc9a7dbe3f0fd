//! CLIENT commands that the gate answers or changes.

use portcullis_resp::command::{CommandId, id, lookup_subcommand};
use portcullis_resp::{encode, reply};

use super::{Judge, may_block};
use crate::client::command::CommandFrame;
use crate::client::pooling::MAX_SHARED_FRAME;
use crate::client::profile::{Profile, Question, UpstreamId};
use crate::client::state::State;
use crate::client::verdict::{Answer, Later, Verdict};
use crate::local::client_info::{self, ClientInfo, Filter, Redirect, Said};
use crate::local::clients::{Action, Inquiry};
use crate::observe::{Denied, Host};
use crate::pending::{Local, ReplyKind, ReplyMode};
use crate::plan::Auth;
use crate::shape::Shape;

/// The number of bytes of undelivered local replies from which on another question about a client waits. A question of
/// a dozen bytes can have a reply of kilobytes.
const MAX_TOLD: usize = 64 * 1024;

/// Commands of a client with its own upstream connection.
impl<H: Host> Judge<'_, H> {
    /// Judges a command of a client with command rules, or of one whose upstream is hidden.
    pub(super) fn ruled(&mut self) -> Verdict {
        if self.command == id::CLIENT
            && let Some(verdict) = self.client_ruled()
        {
            return verdict;
        }
        if !self.state.plan().answers_client() {
            return self.by_name();
        }
        if let Some(verdict) = self.learns_before() {
            return verdict;
        }
        match self.command {
            id::SELECT if !self.state.transaction.is_begun() => self.select(),
            id::HELLO => {
                let number = self.host.id();
                self.state.profile_mut().set_id(number);
                self.by_name()
            }
            _ => self.by_name(),
        }
    }

    /// Judges CLIENT for such a client. Returns `None` if the rules change nothing.
    fn client_ruled(&mut self) -> Option<Verdict> {
        let exact = match self.frame.exact(id::CLIENT, self.state.plan().held_command()) {
            Ok(exact) => exact?,
            Err(verdict) => return Some(verdict),
        };
        let answers = self.state.plan().answers_client();
        match exact {
            id::CLIENT_TRACKING => self.own_redirection(),
            id::CLIENT_ID | id::CLIENT_INFO | id::CLIENT_LIST | id::CLIENT_KILL | id::CLIENT_UNBLOCK
                if answers =>
            {
                Some(self.answer_client(exact))
            }
            // A subcommand that the gate does not know may bring pushes with addresses, as MAINT_NOTIFICATIONS does.
            id::CLIENT if self.state.plan().face().is_some() => Some(self.answer_client(exact)),
            id::CLIENT_CAPA => self.capabilities(),
            id::CLIENT_SETNAME | id::CLIENT_SETINFO if answers => self.introduce(exact),
            _ => None,
        }
    }

    /// Judges CLIENT CAPA, with which a client says that it follows redirects. A hidden upstream must not learn that.
    /// Returns `None` if the command may be forwarded.
    pub(super) fn capabilities(&self) -> Option<Verdict> {
        self.state.plan().face()?;
        Some(self.state.excluded().unwrap_or(Verdict::canned_reply(reply::OK)))
    }

    /// Judges CLIENT SETNAME and SETINFO. Redis accepts or refuses the text, and the gate remembers an accepted text.
    fn introduce(&self, exact: CommandId) -> Option<Verdict> {
        if let Some(verdict) = self.state.excluded() {
            return Some(verdict);
        }
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Some(Verdict::NeedWhole);
        }
        match ClientInfo::introduction(exact, self.frame.after_name().get(1..).unwrap_or_default()) {
            // Redis reports the error.
            None => None,
            Some(Err(line)) => Some(Verdict::canned_error(line)),
            Some(Ok(text)) => {
                Some(Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Introduced(Box::new(text)) })
            }
        }
    }

    /// Judges CLIENT TRACKING with REDIRECT under command rules. With REDIRECT to another client, that client would get
    /// messages that it never requested. Returns `None` if the command may be forwarded.
    fn own_redirection(&mut self) -> Option<Verdict> {
        let (answers, begun) = (self.state.plan().answers_client(), self.state.transaction.is_begun());
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Some(Verdict::NeedWhole);
        }
        let args = self.frame.after_name();
        let options = args.get(1..).unwrap_or_default();
        let refused =
            Some(Verdict::Answer(Answer::Refusal(Local::Canned(REDIRECT_REFUSED), Denied::Command)));
        let (target, place) = match client_info::redirects_to(options) {
            Redirect::None => return None,
            Redirect::Unknown if options.iter().any(|word| word.eq_ignore_ascii_case(b"redirect")) => {
                return refused;
            }
            // Redis answers both cases itself: no client has the number 0, and a text that is not a number is an error.
            Redirect::Unknown | Redirect::To { id: None | Some(0), .. } => return None,
            Redirect::To { id: Some(target), place } => (target, place),
        };
        if !self.state.pending.is_empty() {
            return Some(Verdict::UNTIL_SETTLED);
        }
        match self.state.profile.as_ref().map(|profile| profile.upstream_id()).unwrap_or_default() {
            UpstreamId::Unknown if !begun => Some(Verdict::Later(Later::IdLearned)),
            UpstreamId::Known(own) if !answers && own == target => None,
            // The gate cannot replace the id inside MULTI, because it counts only frames that are queued unchanged.
            UpstreamId::Known(own) if answers && !begun && i64::try_from(self.host.id()) == Ok(target) => {
                Some(redirect_to(&args, place, own))
            }
            _ => refused,
        }
    }

    /// Returns the step before a command that may block. The gate first asks Redis for the id of the upstream
    /// connection, so that another client's CLIENT UNBLOCK can name it. Returns `None` if the command may be sent now.
    pub(super) fn learns_before(&self) -> Option<Verdict> {
        let unknown = |profile: &Profile| profile.upstream_id() == UpstreamId::Unknown;
        let learns = may_block(self.command, self.frame)
            && !self.state.transaction.is_begun()
            && self.state.profile.as_deref().is_none_or(unknown)
            && !self.state.plan().rules().class(id::CLIENT_UNBLOCK).is_refused();
        // Only the options show whether the command blocks, and some of them are missing.
        let is_cut = !self.frame.is_whole() && matches!(self.command, id::XREAD | id::XREADGROUP);
        match (learns, is_cut) {
            (false, _) => None,
            (true, true) => (self.frame.present() < MAX_SHARED_FRAME).then_some(Verdict::NeedMore),
            (true, false) => Some(Verdict::Later(Later::IdLearned)),
        }
    }

    /// Judges CLIENT REPLY, which the gate applies itself: if the upstream suppressed replies, the gate could not count
    /// them. The gate sends CLIENT REPLY ON in its place, so that Redis checks whether this client may use the command.
    pub(super) fn client(&mut self) -> Verdict {
        if self.frame.arguments < 3 {
            return Verdict::plain();
        }
        let held = self.state.plan().held_command();
        let Some(subcommand) = self.frame.argument(1, held) else { return Verdict::NeedWhole };
        match lookup_subcommand(id::CLIENT, subcommand) {
            Some(id::CLIENT_REPLY) if self.frame.arguments == 3 => self.client_reply(),
            Some(id::CLIENT_TRACKING) => client_tracking(self.frame, self.state),
            _ => Verdict::plain(),
        }
    }

    fn client_reply(&mut self) -> Verdict {
        let mode = match self.frame.argument(2, self.state.plan().held_command()) {
            None => return Verdict::NeedWhole,
            Some(mode) if mode.eq_ignore_ascii_case(b"on") => ReplyMode::On,
            Some(mode) if mode.eq_ignore_ascii_case(b"off") => ReplyMode::Off,
            Some(mode) if mode.eq_ignore_ascii_case(b"skip") => ReplyMode::Skip,
            Some(_) => return Verdict::plain(),
        };
        if let Some(verdict) = self.state.excluded() {
            return verdict;
        }
        if !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        self.state.pending.hold();
        let mut bytes = Vec::with_capacity(48);
        encode::command(&mut bytes, &[b"CLIENT", b"REPLY", b"ON"]);
        Verdict::Rewrite { bytes, shape: Shape::Whole, kind: ReplyKind::ReplyMode(mode) }
    }
}

/// Commands that the gate answers.
impl<H: Host> Judge<'_, H> {
    /// Answers a CLIENT command.
    pub(super) fn answer_client(&mut self, exact: CommandId) -> Verdict {
        if let Some(verdict) = self.state.excluded() {
            return verdict;
        }
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Verdict::NeedWhole;
        }
        // Pending replies may change the facts about the client. Replies about the client must not accumulate either.
        let naming = self.state.profile.as_ref().is_some_and(|profile| profile.is_naming());
        let changing = match exact {
            id::CLIENT_ID | id::CLIENT_GETNAME | id::CLIENT_SETNAME | id::CLIENT_SETINFO => {
                naming || self.state.pending.turns()
            }
            _ => naming || self.state.pooling.as_ref().is_none_or(|pooling| pooling.is_leased()),
        };
        if (changing || self.state.pending.made() >= MAX_TOLD) && !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        let args = self.frame.after_name();
        let args = args.get(usize::from(exact != id::CLIENT)..).unwrap_or_default();
        let mut info = self.state.profile.as_mut().map(|profile| profile.take_info()).unwrap_or_default();
        let view = self.state.view(&*self.host);
        let resp3 = view.resp3;
        let said = info.client(exact, args, &view);
        if info.held() > 0 {
            self.state.profile_mut().set_info(info);
        } else if let Some(profile) = &mut self.state.profile {
            profile.set_info(info);
        }
        match said {
            Said::Reply(text) if self.state.plan().auth() == Auth::Passthrough => {
                let (bytes, text) = (self.frame.bytes.to_vec(), text.into_boxed_slice());
                Verdict::Rewrite { bytes, shape: Shape::Whole, kind: ReplyKind::Told(text) }
            }
            Said::Reply(text) => Verdict::Answer(Answer::Reply(Local::Made(text.into_boxed_slice()))),
            Said::Error(text) => Verdict::error(text),
            Said::Ask(action, filter) => self.ask(action, filter, resp3),
        }
    }

    /// Judges a question about other clients.
    fn ask(&mut self, action: Action, filter: Filter, resp3: bool) -> Verdict {
        if !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        let plan = self.state.plan();
        let passthrough = plan.auth() == Auth::Passthrough;
        let inquiry =
            Box::new(Inquiry { action, filter, narrow: plan.has_rules(), masked: plan.is_public() });
        let question = Question { inquiry, resp3, muted: self.state.mute.covers(), at: self.now };
        let permission: &[&[u8]] = match action {
            // Redis checks this permission later, when it gets the CLIENT UNBLOCK for the client that was found.
            Action::Unblock { .. } => &[],
            Action::List => &[b"CLIENT", b"LIST", b"ID", b"0"],
            Action::Kill | Action::KillAddress => &[b"CLIENT", b"KILL", b"ID", NO_CLIENT],
        };
        if !passthrough || permission.is_empty() {
            self.state.profile_mut().ask(question);
            return Verdict::Asked;
        }
        self.state.profile_mut().ask_permission(question);
        self.state.pending.hold();
        let mut bytes = Vec::with_capacity(64);
        encode::command(&mut bytes, permission);
        Verdict::Rewrite { bytes, shape: Shape::Whole, kind: ReplyKind::Permission }
    }
}

/// Judges CLIENT TRACKING ON and OFF; any other mode is an error.
fn client_tracking(frame: &CommandFrame<'_>, state: &State) -> Verdict {
    let on = match frame.argument(2, state.plan().held_command()) {
        None => return Verdict::NeedWhole,
        Some(word) if word.eq_ignore_ascii_case(b"on") => true,
        Some(word) if word.eq_ignore_ascii_case(b"off") => false,
        Some(_) => return Verdict::plain(),
    };
    let frame = if on { frame.kept(&state.pending) } else { None };
    Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Tracking { on, frame } }
}

/// Returns a verdict that sends CLIENT TRACKING with Redis's id of the client in place of the gate's id. `args` are the
/// arguments after CLIENT. `place` is the index of the id among the arguments after TRACKING.
fn redirect_to(args: &[&[u8]], place: usize, own: i64) -> Verdict {
    let own = own.to_string();
    let mut words = [&[&b"CLIENT"[..]], args].concat();
    if let Some(number) = words.get_mut(place.saturating_add(2)) {
        *number = own.as_bytes();
    }
    let mut bytes = Vec::with_capacity(128);
    encode::command(&mut bytes, &words);
    Verdict::Rewrite { bytes, shape: Shape::One, kind: ReplyKind::Plain }
}

/// An id that no connection of a server has.
const NO_CLIENT: &[u8] = b"9223372036854775807";

const REDIRECT_REFUSED: &[u8] =
    b"-NOPERM portcullis: CLIENT TRACKING cannot REDIRECT to another client here\r\n";
