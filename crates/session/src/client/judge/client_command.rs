//! CLIENT, where the gate answers it or changes it.

use portcullis_resp::command::{CommandId, id, lookup_subcommand};
use portcullis_resp::encode;

use super::{Judge, may_block};
use crate::client::command::Frame;
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

/// A command of a dozen bytes may be answered with kilobytes about its client. With so much not yet delivered, the next
/// waits.
const MAX_TOLD: usize = 64 * 1024;

/// A command of a client with an upstream connection of its own.
impl<H: Host> Judge<'_, H> {
    /// A command of a client with command rules.
    pub(super) fn ruled(&mut self) -> Verdict {
        if self.command == id::CLIENT
            && let Some(verdict) = self.client_ruled()
        {
            return verdict;
        }
        if !self.state.plan().is_public() {
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

    /// CLIENT of a client with command rules. None: it is judged as without them.
    fn client_ruled(&mut self) -> Option<Verdict> {
        let exact = match self.frame.exact(id::CLIENT, self.state.plan().held_command()) {
            Ok(exact) => exact?,
            Err(verdict) => return Some(verdict),
        };
        let public = self.state.plan().is_public();
        match exact {
            id::CLIENT_TRACKING => self.own_redirection(),
            id::CLIENT_ID | id::CLIENT_INFO | id::CLIENT_LIST | id::CLIENT_KILL | id::CLIENT_UNBLOCK
                if public =>
            {
                Some(self.answer_client(exact))
            }
            id::CLIENT_SETNAME | id::CLIENT_SETINFO if public => self.introduce(exact),
            _ => None,
        }
    }

    /// CLIENT SETNAME and SETINFO: Redis takes the text or not, and the gate remembers what it took.
    fn introduce(&self, exact: CommandId) -> Option<Verdict> {
        if let Some(verdict) = self.state.excluded() {
            return Some(verdict);
        }
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Some(Verdict::NeedWhole);
        }
        match ClientInfo::introduction(exact, self.frame.after_name().get(1..).unwrap_or_default()) {
            // Redis says what is wrong with it.
            None => None,
            Some(Err(line)) => Some(Verdict::canned_error(line)),
            Some(Ok(text)) => {
                Some(Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Introduced(Box::new(text)) })
            }
        }
    }

    /// CLIENT TRACKING with REDIRECT, under command rules: another client would get what it never asked for. None: it may
    /// travel on.
    fn own_redirection(&mut self) -> Option<Verdict> {
        let (public, begun) = (self.state.plan().is_public(), self.state.transaction.is_begun());
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
            // No client has the number 0, and what is no number is an error: Redis says so.
            Redirect::Unknown | Redirect::To { id: None | Some(0), .. } => return None,
            Redirect::To { id: Some(target), place } => (target, place),
        };
        if !self.state.pending.is_empty() {
            return Some(Verdict::UNTIL_SETTLED);
        }
        match self.state.profile.as_ref().map(|profile| profile.upstream_id()).unwrap_or_default() {
            UpstreamId::Unknown if !begun => Some(Verdict::Later(Later::IdLearned)),
            UpstreamId::Known(own) if !public && own == target => None,
            // What is queued in another form is not counted as what the client queued.
            UpstreamId::Known(own) if public && !begun && i64::try_from(self.host.id()) == Ok(target) => {
                Some(redirect_to(&args, place, own))
            }
            _ => refused,
        }
    }

    /// What has to come before a command that may block: Redis's number of the upstream connection, so that CLIENT UNBLOCK of
    /// another client can name it. None: it may go.
    pub(super) fn learns_before(&self) -> Option<Verdict> {
        let unknown = |profile: &Profile| profile.upstream_id() == UpstreamId::Unknown;
        let learns = may_block(self.command, self.frame)
            && !self.state.transaction.is_begun()
            && self.state.profile.as_deref().is_none_or(unknown)
            && !self.state.plan().rules().class(id::CLIENT_UNBLOCK).is_refused();
        // Whether it blocks is only known where its options are there.
        let is_cut = !self.frame.is_whole() && matches!(self.command, id::XREAD | id::XREADGROUP);
        match (learns, is_cut) {
            (false, _) => None,
            (true, true) => (self.frame.present() < MAX_SHARED_FRAME).then_some(Verdict::NeedMore),
            (true, false) => Some(Verdict::Later(Later::IdLearned)),
        }
    }

    /// CLIENT REPLY stays here: were replies switched off upstream, they could not be counted. CLIENT REPLY ON goes in
    /// its place, so that Redis still says whether this client may say it.
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

/// A command that the gate answers.
impl<H: Host> Judge<'_, H> {
    /// CLIENT, where the gate answers it.
    pub(super) fn answer_client(&mut self, exact: CommandId) -> Verdict {
        if let Some(verdict) = self.state.excluded() {
            return verdict;
        }
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Verdict::NeedWhole;
        }
        // Pending replies may yet change what is said of the client, and what is said of it must not pile up.
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

    /// A question about other clients.
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
            // Redis is asked in any case, once the client is found.
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

/// CLIENT TRACKING ON and OFF; others are errors.
fn client_tracking(frame: &Frame<'_>, state: &State) -> Verdict {
    let on = match frame.argument(2, state.plan().held_command()) {
        None => return Verdict::NeedWhole,
        Some(word) if word.eq_ignore_ascii_case(b"on") => true,
        Some(word) if word.eq_ignore_ascii_case(b"off") => false,
        Some(_) => return Verdict::plain(),
    };
    let frame = if on { frame.kept(&state.pending) } else { None };
    Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Tracking { on, frame } }
}

/// CLIENT TRACKING with Redis's number of the client in place of the gate's. `args` are those after CLIENT.
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

/// No connection of a server has this number.
const NO_CLIENT: &[u8] = b"9223372036854775807";

const REDIRECT_REFUSED: &[u8] =
    b"-NOPERM portcullis: CLIENT TRACKING cannot REDIRECT to another client here\r\n";
