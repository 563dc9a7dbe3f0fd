//! What CLIENT says of the client and asks of others, where the gate answers it: on shared connections, and under `@public`.
//!
//! A question about others is put to the caller ([`Session::inquiry`]); until [`Session::informed`] brings the answer,
//! nothing more of this client is read, so that order holds. Under `auth: passthrough` Redis is asked first whether the
//! client may ask at all: a harmless command of the same name stands for it, and an error is passed on.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::{encode, reply};

use super::command::Frame;
use super::judge::{Answer, Verdict, may_block};
use super::sharing::{Before, MAX_SHARED_FRAME};
use super::{CloseReason, ReplyAction, Session, Step, Until};
use crate::link::{Part, Subscriptions};
use crate::local::client_info::{self, ClientInfo, Filter, Masked, Redirect, Said, View};
use crate::local::clients::{Action, Findings, Inquiry, Listed};
use crate::local::hello::DEFAULT_USER;
use crate::observe::{Denied, Host, Peer};
use crate::pending::{Local, ReplyKind};
use crate::plan::Auth;
use crate::shape::Shape;
use crate::tick::Tick;

/// A command of a dozen bytes may be told kilobytes of its client. With so much told and not yet delivered, the next waits.
const MAX_TOLD: usize = 64 * 1024;

/// What the gate keeps for CLIENT. Apart, as an idle client that never said CLIENT needs none of it.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) client_info: ClientInfo,
    /// The name that a HELLO gives the client, if the server takes that.
    pub(super) naming: Option<Box<[u8]>>,
    /// The reply to CLIENT ID.
    pub(super) id: u64,
    /// The user as whom the client has logged in to Redis.
    user: Option<Box<str>>,
    /// The user as whom it is, if Redis takes the login that is under way.
    entering: Option<Box<str>>,
    /// The database, where the connection is the client's own and the gate answers for it.
    db: u32,
    upstream_id: UpstreamId,
    asking: Asking,
}

/// The longest name of a Redis user that is remembered. Redis has no limit; a longer one is treated as unknown.
const MAX_USER: usize = 1024;

/// Redis's number of the client's own upstream connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum UpstreamId {
    #[default]
    Unknown,
    /// CLIENT ID was sent.
    Asked,
    Known(i64),
    /// Redis does not tell.
    Refused,
}

/// The progress of a question about other clients.
#[derive(Debug, Default)]
enum Asking {
    #[default]
    No,
    /// Redis is asked whether the client may ask.
    Permission(Question),
    /// The caller collects the answer.
    Clients(Question),
    /// Redis ends the wait of the client with this number, or of none.
    Unblock { id: Option<i64>, error: bool, question: Box<Question> },
}

#[derive(Debug)]
struct Question {
    inquiry: Box<Inquiry>,
    resp3: bool,
    muted: bool,
    at: Tick,
}

impl About {
    pub(super) fn held(&self) -> usize {
        let asked = match &self.asking {
            Asking::No => 0,
            Asking::Permission(question) | Asking::Clients(question) => question.held(),
            Asking::Unblock { question, .. } => size_of::<Question>() + question.held(),
        };
        let users = [&self.user, &self.entering].into_iter().flatten().map(|user| user.len()).sum::<usize>();
        size_of::<Self>()
            + self.client_info.held()
            + self.naming.as_ref().map_or(0, |name| name.len())
            + users
            + asked
    }
}

impl Question {
    fn held(&self) -> usize {
        size_of::<Inquiry>() + self.inquiry.filter.held()
    }
}

impl Session {
    /// The question about other clients that [`Until::Clients`] waits for.
    pub fn inquiry(&self) -> Option<&Inquiry> {
        match &self.about.as_ref()?.asking {
            Asking::Clients(question) => Some(&question.inquiry),
            _ => None,
        }
    }

    /// The answer to [`Session::inquiry`]; none where it could not be collected.
    pub fn informed(&mut self, findings: Option<&Findings>) {
        let Some(about) = &mut self.about else { return };
        let Asking::Clients(question) = std::mem::take(&mut about.asking) else { return };
        let Question { inquiry, resp3, muted, at } = &question;
        let said = match (findings, inquiry.action) {
            (None, _) => Said::Error(TOO_MANY_QUESTIONS.to_vec()),
            (Some(findings), Action::Unblock { error }) => {
                let id = findings.blocked_as;
                about.asking = Asking::Unblock { id, error, question: Box::new(question) };
                return;
            }
            (Some(findings), _) => client_info::reply_to(inquiry, findings, *resp3),
        };
        let at = *at;
        if findings.is_some_and(|findings| findings.asker) && inquiry.action != Action::List {
            self.end(CloseReason::Client);
        }
        if !muted && let Said::Reply(bytes) | Said::Error(bytes) = said {
            self.answer(Local::Made(bytes.into_boxed_slice()), id::CLIENT, at);
        }
    }

    /// The client as an inquiry of `asker` sees it.
    pub fn listed<P: Peer>(&self, peer: &P, inquiry: &Inquiry, asker: u64) -> Listed {
        let asks = peer.id() == asker;
        let masked = match (inquiry.masked, asks) {
            (false, _) => Masked::None,
            (true, true) => Masked::Local,
            (true, false) => Masked::Both,
        };
        let view = View { masked, ..self.view(peer) };
        let unnamed = ClientInfo::default();
        let client_info = self.about.as_ref().map_or(&unnamed, |about| &about.client_info);
        let (line, view) = client_info.listed(&view, asks);
        Listed { id: peer.id(), line, blocked_as: self.blocked_as(), view }
    }

    /// Whether the gate answers CLIENT for this client.
    pub(super) fn answers_client(&self) -> bool {
        self.sharing.is_some() || self.plan.is_public()
    }

    /// Whether a question about other clients is under way.
    pub(super) fn is_asking(&self) -> bool {
        self.about.as_ref().is_some_and(|about| !matches!(about.asking, Asking::No))
    }

    /// The event that such a question waits for.
    pub(super) fn before_asked(&self) -> Before {
        match self.about.as_ref().map(|about| &about.asking) {
            None | Some(Asking::No) => Before::Go,
            Some(Asking::Permission(_)) => Before::Wait(Until::NothingPending),
            Some(Asking::Clients(_)) => Before::Wait(Until::Clients),
            Some(Asking::Unblock { .. }) => Before::Unblock,
        }
    }

    pub(super) fn about_mut(&mut self) -> &mut About {
        self.about.get_or_insert_default()
    }

    /// A fresh upstream connection has another number, and is in the database that the gate says.
    pub(super) fn forget_upstream(&mut self) {
        if let Some(about) = &mut self.about {
            (about.upstream_id, about.db) = (UpstreamId::Unknown, 0);
        }
    }

    /// The upstream is gone: the session ends without the answer to its question.
    pub(super) fn forget_question(&mut self) {
        if let Some(about) = &mut self.about {
            about.asking = Asking::No;
        }
    }

    /// Ends what RESET ends of it.
    pub(super) fn reset_about(&mut self) {
        self.confirmed.logged_in = false;
        if let Some(about) = &mut self.about {
            about.client_info.clear();
            about.db = 0;
            about.user = None;
        }
    }

    /// Returns the user as whom the client's commands run. It is not known before a login under [`Auth::Users`], and under
    /// [`Auth::Passthrough`] after a login that the gate did not follow.
    pub fn acts_as(&self) -> Option<&str> {
        let named = self.about.as_ref().and_then(|about| about.user.as_deref());
        match self.plan.auth() {
            Auth::Passthrough if self.confirmed.logged_in => named,
            Auth::Users => self.plan.user(),
            Auth::Passthrough | Auth::Trust => Some(DEFAULT_USER),
        }
    }

    /// The client is `user`, if Redis takes the login that is sent now; whoever it is where that is not known.
    pub(super) fn enters_as(&mut self, user: Option<&[u8]>) {
        let user = user.filter(|user| user.len() <= MAX_USER);
        let user = user.and_then(|user| std::str::from_utf8(user).ok()).map(Into::into);
        if user.is_some() || self.about.is_some() {
            self.about_mut().entering = user;
        }
    }

    /// A HELLO without credentials changes nothing of that.
    pub(super) fn enters_as_before(&mut self) {
        let user = self.acts_as().map(Into::into);
        self.about_mut().entering = user;
    }

    /// Redis took, or did not take, the client's own login, alone or in a HELLO.
    /// `known` says whether the gate's CLIENT ID goes into HELLO's reply.
    pub(super) fn client_logged_in(
        &mut self,
        known: bool,
        part: &Part<'_>,
        action: ReplyAction,
    ) -> ReplyAction {
        let of_hello = matches!(part.head.kind, b'%' | b'*');
        // Also where Redis refuses it: a later login must not bring in the user of this one.
        let entering = self.about.as_mut().filter(|_| part.first).and_then(|about| about.entering.take());
        if part.first && (of_hello || part.bytes == reply::OK) {
            self.confirmed.logged_in = true;
            if let Some(about) = &mut self.about {
                about.user = entering;
            }
        }
        if known { self.greeted(part, action) } else { action }
    }

    /// A HELLO on a connection of the client's own, where CLIENT ID is the gate's to say: its reply has the gate's number in
    /// it, and `name` is remembered.
    pub(super) fn as_known(&mut self, verdict: Verdict, name: Option<&[u8]>) -> Verdict {
        if self.sharing.is_some() || !self.plan.is_public() {
            return verdict;
        }
        let (bytes, kind) = match verdict {
            Verdict::Send { shape: Shape::Hello, kind: ReplyKind::ClientLogin { .. } } => {
                (None, ReplyKind::ClientLogin { known: true })
            }
            Verdict::Send { shape: Shape::Hello, .. } => (None, ReplyKind::Hello),
            Verdict::Rewrite { bytes, shape: Shape::Hello, .. } => (Some(bytes), ReplyKind::Hello),
            other => return other,
        };
        if !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        self.about_mut().naming = name.map(Into::into);
        let shape = Shape::WholeHello;
        match bytes {
            None => Verdict::Send { shape, kind },
            Some(bytes) => Verdict::Rewrite { bytes, shape, kind },
        }
    }

    /// Redis has put the client's own connection into this database.
    pub(super) fn set_db(&mut self, db: u32) {
        self.about_mut().db = db;
    }

    fn view<'v, P: Peer>(&'v self, peer: &'v P) -> View<'v> {
        let sharing = self.sharing.as_ref();
        let own = sharing.is_none_or(|sharing| sharing.leased);
        let unknown = if self.plan.auth() == Auth::Users { DEFAULT_USER } else { UNKNOWN_USER };
        let db = self.about.as_ref().map_or(0, |about| about.db);
        View {
            peer,
            user: self.acts_as().unwrap_or(unknown),
            db: u64::from(sharing.map_or(db, |sharing| sharing.db)),
            resp3: sharing.map_or_else(|| peer.resp3(), |sharing| sharing.resp3),
            subscriptions: if own { peer.subscriptions() } else { Subscriptions::default() },
            monitors: self.confirmed.monitors,
            blocks: self.pending.blocks(),
            queued: self.asked.transaction.as_ref().map(|transaction| transaction.queued()),
            narrow: self.plan.has_rules(),
            masked: if self.plan.is_public() { Masked::Local } else { Masked::None },
        }
    }

    fn blocked_as(&self) -> Option<i64> {
        match self.about.as_ref()?.upstream_id {
            UpstreamId::Known(id) if self.pending.blocks() => Some(id),
            _ => None,
        }
    }
}

/// Commands.
impl Session {
    /// CLIENT, where the gate answers it.
    pub(super) fn about_client<H: Host>(
        &mut self,
        exact: CommandId,
        frame: &Frame<'_>,
        now: Tick,
        host: &mut H,
    ) -> Verdict {
        if let Some(verdict) = self.outside_transactions_only() {
            return verdict;
        }
        if !frame.is_whole_within(self.plan.held_command()) {
            return Verdict::NeedWhole;
        }
        // What is owed may yet change what is said of the client, and what is said of it must not pile up.
        let naming = self.about.as_ref().is_some_and(|about| about.naming.is_some());
        let changing = match exact {
            id::CLIENT_ID | id::CLIENT_GETNAME | id::CLIENT_SETNAME | id::CLIENT_SETINFO => {
                naming || self.pending.turns()
            }
            _ => naming || self.sharing.as_ref().is_none_or(|sharing| sharing.leased),
        };
        if (changing || self.pending.made() >= MAX_TOLD) && !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        let args = frame.after_name();
        let args = args.get(usize::from(exact != id::CLIENT)..).unwrap_or_default();
        let mut client_info =
            self.about.as_mut().map(|about| std::mem::take(&mut about.client_info)).unwrap_or_default();
        let view = self.view(&*host);
        let resp3 = view.resp3;
        let said = client_info.client(exact, args, &view);
        if client_info.held() > 0 {
            self.about_mut().client_info = client_info;
        } else if let Some(about) = &mut self.about {
            about.client_info = client_info;
        }
        match said {
            Said::Reply(bytes) if self.plan.auth() == Auth::Passthrough => {
                let bytes = bytes.into_boxed_slice();
                Verdict::Rewrite {
                    bytes: frame.bytes.to_vec(),
                    shape: Shape::Whole,
                    kind: ReplyKind::Told(bytes),
                }
            }
            Said::Reply(bytes) => Verdict::Answer(Answer::Reply(Local::Made(bytes.into_boxed_slice()))),
            Said::Error(bytes) => Verdict::Answer(Answer::Error(Local::Made(bytes.into_boxed_slice()))),
            Said::Ask(action, filter) => self.ask(action, filter, resp3, now, !self.pending.is_empty()),
        }
    }

    fn ask(&mut self, action: Action, filter: Filter, resp3: bool, now: Tick, has_pending: bool) -> Verdict {
        if has_pending {
            return Verdict::WaitUntilPaid;
        }
        let (narrow, masked) = (self.plan.has_rules(), self.plan.is_public());
        let inquiry = Box::new(Inquiry { action, filter, narrow, masked });
        let question = Question { inquiry, resp3, muted: self.asked.mute.covers(), at: now };
        let permission: &[&[u8]] = match action {
            // Redis is asked in any case, once the client is found.
            Action::Unblock { .. } => &[],
            Action::List => &[b"CLIENT", b"LIST", b"ID", b"0"],
            Action::Kill | Action::KillAddress => &[b"CLIENT", b"KILL", b"ID", NO_CLIENT],
        };
        if self.plan.auth() != Auth::Passthrough || permission.is_empty() {
            self.about_mut().asking = Asking::Clients(question);
            return Verdict::Asked;
        }
        self.about_mut().asking = Asking::Permission(question);
        self.hold = true;
        let mut bytes = Vec::with_capacity(64);
        encode::command(&mut bytes, permission);
        Verdict::Rewrite { bytes, shape: Shape::Whole, kind: ReplyKind::Permission }
    }

    /// The CLIENT UNBLOCK that ends another client's wait, in Redis's words.
    pub(super) fn unblock(&mut self) -> Step<'_> {
        let asking = self.about.as_mut().map(|about| std::mem::take(&mut about.asking));
        let Some(Asking::Unblock { id, error, question }) = asking else {
            return Step::Wait(Until::NothingPending);
        };
        let first = self.push_apart(ReplyKind::Plain, id::CLIENT_UNBLOCK, question.at, question.muted);
        self.scratch = client_info::unblock_command(id, error);
        Step::Instead { bytes: &self.scratch, skip: 0, first, shape: Shape::Whole }
    }

    /// A command of a client with an upstream connection of its own and command rules.
    pub(super) fn judge_ruled<H: Host>(
        &mut self,
        command: CommandId,
        frame: &Frame<'_>,
        now: Tick,
        host: &mut H,
    ) -> Verdict {
        if command == id::CLIENT
            && let Some(verdict) = self.client_ruled(frame, now, host)
        {
            return verdict;
        }
        if !self.plan.is_public() {
            return self.judge(command, frame, host);
        }
        if let Some(verdict) = self.learns_before(command, frame) {
            return verdict;
        }
        match command {
            id::SELECT if self.asked.transaction.is_none() => self.select(frame),
            id::HELLO => {
                let number = host.id();
                self.about_mut().id = number;
                self.judge(command, frame, host)
            }
            _ => self.judge(command, frame, host),
        }
    }

    fn client_ruled<H: Host>(&mut self, frame: &Frame<'_>, now: Tick, host: &mut H) -> Option<Verdict> {
        let exact = match self.exact(id::CLIENT, frame) {
            Ok(exact) => exact?,
            Err(verdict) => return Some(verdict),
        };
        match exact {
            id::CLIENT_TRACKING => self.own_redirection(frame, host),
            id::CLIENT_ID | id::CLIENT_INFO | id::CLIENT_LIST | id::CLIENT_KILL | id::CLIENT_UNBLOCK
                if self.plan.is_public() =>
            {
                Some(self.about_client(exact, frame, now, host))
            }
            id::CLIENT_SETNAME | id::CLIENT_SETINFO if self.plan.is_public() => self.introduce(exact, frame),
            _ => None,
        }
    }

    /// CLIENT SETNAME and SETINFO on a connection of the client's own: Redis takes the text or not, and the gate remembers
    /// what it took.
    fn introduce(&self, exact: CommandId, frame: &Frame<'_>) -> Option<Verdict> {
        if let Some(verdict) = self.outside_transactions_only() {
            return Some(verdict);
        }
        if !frame.is_whole_within(self.plan.held_command()) {
            return Some(Verdict::NeedWhole);
        }
        match ClientInfo::introduction(exact, frame.after_name().get(1..).unwrap_or_default()) {
            // Redis says what is wrong with it.
            None => None,
            Some(Err(line)) => Some(Verdict::Answer(Answer::Error(Local::Canned(line)))),
            Some(Ok(text)) => {
                Some(Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Introduced(Box::new(text)) })
            }
        }
    }

    /// CLIENT TRACKING with REDIRECT, under command rules: another client would get what it never asked for. Nothing: it
    /// may travel on.
    fn own_redirection<H: Host>(&mut self, frame: &Frame<'_>, host: &H) -> Option<Verdict> {
        if !frame.is_whole_within(self.plan.held_command()) {
            return Some(Verdict::NeedWhole);
        }
        let args = frame.after_name();
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
        if !self.pending.is_empty() {
            return Some(Verdict::WaitUntilPaid);
        }
        match self.about.as_ref().map(|about| about.upstream_id).unwrap_or_default() {
            UpstreamId::Unknown if self.asked.transaction.is_none() => Some(Verdict::LearnId),
            UpstreamId::Known(own) if !self.plan.is_public() && own == target => None,
            // What is queued in another form is not counted as what the client queued.
            UpstreamId::Known(own)
                if self.plan.is_public()
                    && self.asked.transaction.is_none()
                    && i64::try_from(host.id()) == Ok(target) =>
            {
                Some(redirect_to(&args, place, own))
            }
            _ => refused,
        }
    }

    /// What has to come before a command that may block: Redis's number of the upstream connection, so that CLIENT UNBLOCK of
    /// another client can name it. Nothing: it may go.
    pub(super) fn learns_before(&self, command: CommandId, frame: &Frame<'_>) -> Option<Verdict> {
        let learns = may_block(command, frame)
            && self.asked.transaction.is_none()
            && self.about.as_ref().is_none_or(|about| about.upstream_id == UpstreamId::Unknown)
            && !self.plan.rules().class(id::CLIENT_UNBLOCK).is_refused();
        // Whether it blocks is only known where its options are there.
        let is_cut = !frame.is_whole() && matches!(command, id::XREAD | id::XREADGROUP);
        match (learns, is_cut) {
            (false, _) => None,
            (true, true) => (frame.present() < MAX_SHARED_FRAME).then_some(Verdict::NeedMore),
            (true, false) => Some(Verdict::LearnId),
        }
    }

    /// Asks Redis for the number of the upstream connection.
    pub(super) fn learn_id(&mut self, now: Tick) -> Step<'_> {
        self.about_mut().upstream_id = UpstreamId::Asked;
        let first = self.push_unmuted(ReplyKind::UpstreamId, id::CLIENT_ID, now);
        self.scratch.clear();
        encode::command(&mut self.scratch, &[b"CLIENT", b"ID"]);
        Step::Instead { bytes: &self.scratch, skip: 0, first, shape: Shape::Whole }
    }
}

/// Replies.
impl Session {
    /// Redis's word on whether the client may ask about others.
    pub(super) fn permitted(&mut self, said: &[u8], action: ReplyAction) -> ReplyAction {
        let Some(about) = &mut self.about else { return ReplyAction::Desync };
        let Asking::Permission(question) = std::mem::take(&mut about.asking) else {
            return ReplyAction::Desync;
        };
        if said.starts_with(b"-") {
            return action;
        }
        about.asking = Asking::Clients(question);
        ReplyAction::Drop
    }

    /// Redis has answered the command that stands for one which the gate answers: with `text`.
    pub(super) fn told(&mut self, text: Box<[u8]>, said: &[u8], action: ReplyAction) -> ReplyAction {
        if said.starts_with(b"-") || action != ReplyAction::Pass {
            return action;
        }
        self.scratch = text.into_vec();
        ReplyAction::Rewritten
    }

    /// Redis took, or did not take, what the client says of itself.
    pub(super) fn introduced(&mut self, text: client_info::Introduction, said: &[u8]) {
        if said == reply::OK {
            self.about_mut().client_info.take(text);
        }
    }

    /// Redis's number of the upstream connection, or why it does not tell.
    pub(super) fn learned(&mut self, said: &[u8]) -> ReplyAction {
        let number = said.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let error = said.starts_with(b"-");
        if number.is_none() && !error {
            return ReplyAction::Desync;
        }
        self.about_mut().upstream_id = number.map_or(UpstreamId::Refused, UpstreamId::Known);
        ReplyAction::Drop
    }
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

/// In CLIENT LIST, in place of a name that the gate does not know.
const UNKNOWN_USER: &str = "?";

const REDIRECT_REFUSED: &[u8] =
    b"-NOPERM portcullis: CLIENT TRACKING cannot REDIRECT to another client here\r\n";

const TOO_MANY_QUESTIONS: &[u8] =
    b"-ERR portcullis: too many clients ask for CLIENT LIST at once, try again\r\n";
