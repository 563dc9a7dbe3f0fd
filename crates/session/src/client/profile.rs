//! The client as the gate knows it. It is used where the gate answers CLIENT: on shared connections, and under
//! `@public`.
//!
//! The session puts a question about other clients to the caller ([`Session::inquiry`](super::Session::inquiry)). Until
//! [`Session::informed`](super::Session::informed) brings the answer, the session reads nothing more of this client, so
//! that the order of its replies is kept. Under `auth: passthrough` the gate first asks Redis whether the client may
//! ask. It sends a harmless command of the same name, and passes an error on.
//!
//! ```text
//!   No ── ask ──► Clients ── informed ──► No, or Unblock ── sent ──► No
//!    └── ask, passthrough ──► Permission ── refused ──► No
//!                                 └── allowed ──► Clients
//! ```

use super::listening::Listening;
use crate::local::client_info::{self, ClientInfo, Introduction, Said};
use crate::local::clients::{Action, Findings, Inquiry};
use crate::tick::Tick;

/// The longest name of a Redis user that the gate remembers. Redis has no limit; a longer name counts as unknown.
const MAX_USER: usize = 1024;

/// The state of CLIENT. It is boxed, because most clients never send CLIENT and do not need it.
#[derive(Debug, Default)]
pub(super) struct Profile {
    info: ClientInfo,
    /// The name that a pending HELLO gives the client, if the server accepts it.
    naming: Option<Box<[u8]>>,
    /// The reply to CLIENT ID.
    id: u64,
    /// The user as which the client has logged in to Redis.
    user: Option<Box<str>>,
    /// The user as which the client will be logged in, if Redis accepts the pending login.
    entering: Option<Box<str>>,
    upstream_id: UpstreamId,
    asking: Asking,
    /// The client's side of a listener that is only a sentinel.
    listening: Option<Box<Listening>>,
}

/// Redis's id of the client's own upstream connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum UpstreamId {
    #[default]
    Unknown,
    /// The gate has sent CLIENT ID, and Redis has not answered yet.
    Asked,
    Known(i64),
    /// Redis refused CLIENT ID, so the id stays unknown.
    Refused,
}

/// The progress of a question about other clients.
#[derive(Debug, Default)]
enum Asking {
    #[default]
    No,
    /// The gate asks Redis whether the client may ask.
    Permission(Question),
    /// The caller collects the answer.
    Clients(Question),
    /// Redis must unblock the client that was found, or none.
    Unblock(Box<Unblock>),
}

/// The event that a question about other clients waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Redis's reply.
    Permission,
    /// The caller's answer.
    Clients,
    /// The gate's own CLIENT UNBLOCK, which is still to be sent.
    Unblock,
}

/// A question about other clients.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) inquiry: Box<Inquiry>,
    pub(super) resp3: bool,
    pub(super) muted: bool,
    pub(super) at: Tick,
}

/// A CLIENT UNBLOCK after the search for its client.
#[derive(Debug)]
pub(super) struct Unblock {
    /// Redis's id of the connection on which the client to unblock is blocked. `None` if no client was found.
    pub(super) id: Option<i64>,
    /// Whether the unblocked client gets an error.
    pub(super) error: bool,
    pub(super) question: Question,
}

/// The answer to a question about other clients.
#[derive(Debug)]
pub(super) struct Informed {
    /// The reply to the client. `None` if CLIENT REPLY suppresses it.
    pub(super) reply: Option<Vec<u8>>,
    pub(super) at: Tick,
    /// Whether the client's command closes the client itself.
    pub(super) ends: bool,
}

impl Question {
    fn held(&self) -> usize {
        size_of::<Inquiry>() + self.inquiry.filter.held()
    }
}

/// Methods for the client's names and user.
impl Profile {
    /// Returns the client's name and library, as set by the client.
    pub(super) const fn info(&self) -> &ClientInfo {
        &self.info
    }

    /// Takes the client's name and library; [`Profile::set_info`] puts them back.
    pub(super) fn take_info(&mut self) -> ClientInfo {
        std::mem::take(&mut self.info)
    }

    /// Sets the client's name and library.
    pub(super) fn set_info(&mut self, info: ClientInfo) {
        self.info = info;
    }

    /// Records that Redis accepted a name or library of the client.
    pub(super) fn introduce(&mut self, introduction: Introduction) {
        self.info.take(introduction);
    }

    /// Returns the client's side of a listener that is only a sentinel.
    pub(super) fn listening(&self) -> Option<&Listening> {
        self.listening.as_deref()
    }

    /// Returns the client's side of a listener that is only a sentinel, for changes.
    pub(super) fn listening_mut(&mut self) -> &mut Listening {
        self.listening.get_or_insert_default()
    }

    /// Sets the reply to CLIENT ID.
    pub(super) const fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    /// Returns the reply to CLIENT ID.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Records that a HELLO is sent. `name` is the name that it gives the client, or `None`.
    pub(super) fn begin_naming(&mut self, name: Option<&[u8]>) {
        self.naming = name.map(Into::into);
    }

    /// Returns whether a HELLO is pending that gives the client a name.
    pub(super) const fn is_naming(&self) -> bool {
        self.naming.is_some()
    }

    /// Records Redis's reply to a HELLO. `taken` says whether Redis accepted it, including the name.
    pub(super) fn end_naming(&mut self, taken: bool) {
        if let Some(name) = self.naming.take().filter(|_| taken) {
            let _ = self.info.set_name(&name);
        }
    }

    /// Records that the client's own login is sent. `user` is `None` if the gate cannot follow the login.
    pub(super) fn begin_login(&mut self, user: Option<Box<str>>) {
        self.entering = user;
    }

    /// Records Redis's reply to the client's own login. A refused login is forgotten, so that a later login cannot use
    /// its user.
    pub(super) fn end_login(&mut self, taken: bool) {
        let entering = self.entering.take();
        if taken {
            self.user = entering;
        }
    }

    /// Returns the user as which the client has logged in to Redis.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Ends the state that RESET ends.
    pub(super) fn reset(&mut self) {
        self.info.clear();
        self.user = None;
    }
}

/// Returns the name of a Redis user in the form that the gate remembers. `None` if the name is unknown, too long or not
/// UTF-8.
pub(super) fn user_name(user: Option<&[u8]>) -> Option<Box<str>> {
    let user = user.filter(|user| user.len() <= MAX_USER)?;
    std::str::from_utf8(user).ok().map(Into::into)
}

/// Methods for the upstream connection.
impl Profile {
    /// Records a new upstream connection. Its id is unknown.
    pub(super) const fn forget_upstream(&mut self) {
        self.upstream_id = UpstreamId::Unknown;
    }

    /// Returns Redis's id of the upstream connection.
    pub(super) const fn upstream_id(&self) -> UpstreamId {
        self.upstream_id
    }

    /// Records that the gate asks Redis for the id of the upstream connection.
    pub(super) const fn ask_upstream_id(&mut self) {
        self.upstream_id = UpstreamId::Asked;
    }

    /// Records Redis's reply to CLIENT ID. `None` means that Redis refused it.
    pub(super) fn set_upstream_id(&mut self, id: Option<i64>) {
        self.upstream_id = id.map_or(UpstreamId::Refused, UpstreamId::Known);
    }
}

/// Methods for questions about other clients.
impl Profile {
    /// Puts a question to the caller.
    pub(super) fn ask(&mut self, question: Question) {
        self.asking = Asking::Clients(question);
    }

    /// Keeps a question while Redis is asked whether the client may ask it.
    pub(super) fn ask_permission(&mut self, question: Question) {
        self.asking = Asking::Permission(question);
    }

    /// Records Redis's reply on whether the client may ask. Returns whether a question was waiting for it.
    pub(super) fn permit(&mut self, allowed: bool) -> bool {
        let Asking::Permission(question) = std::mem::take(&mut self.asking) else { return false };
        if allowed {
            self.asking = Asking::Clients(question);
        }
        true
    }

    /// Returns the question whose answer the caller collects.
    pub(super) fn inquiry(&self) -> Option<&Inquiry> {
        match &self.asking {
            Asking::Clients(question) => Some(&question.inquiry),
            _ => None,
        }
    }

    /// Returns the event that a question waits for, if there is one.
    pub(super) const fn waiting(&self) -> Option<Waiting> {
        match &self.asking {
            Asking::No => None,
            Asking::Permission(_) => Some(Waiting::Permission),
            Asking::Clients(_) => Some(Waiting::Clients),
            Asking::Unblock(_) => Some(Waiting::Unblock),
        }
    }

    /// Accepts the answer of the caller. `findings` is `None` if the caller could not collect it. Returns `None` if no
    /// question waits for an answer, or if the gate must first send a command to Redis.
    pub(super) fn inform(&mut self, findings: Option<&Findings>) -> Option<Informed> {
        let Asking::Clients(question) = std::mem::take(&mut self.asking) else { return None };
        let Question { inquiry, resp3, muted, at } = &question;
        let said = match (findings, inquiry.action) {
            (None, _) => Said::Error(TOO_MANY_QUESTIONS.to_vec()),
            (Some(findings), Action::Unblock { error }) => {
                let id = findings.blocked_as;
                self.asking = Asking::Unblock(Box::new(Unblock { id, error, question }));
                return None;
            }
            (Some(findings), _) => client_info::reply_to(inquiry, findings, *resp3),
        };
        let ends = findings.is_some_and(|findings| findings.asker) && inquiry.action != Action::List;
        let reply = match said {
            Said::Reply(bytes) | Said::Error(bytes) if !muted => Some(bytes),
            _ => None,
        };
        Some(Informed { reply, at: *at, ends })
    }

    /// Takes the CLIENT UNBLOCK that is still to be sent.
    pub(super) fn take_unblock(&mut self) -> Option<Box<Unblock>> {
        match std::mem::take(&mut self.asking) {
            Asking::Unblock(unblock) => Some(unblock),
            asking => {
                self.asking = asking;
                None
            }
        }
    }

    /// Drops the question, and returns its time and whether its reply is suppressed. `None` if there is no question.
    pub(super) fn give_up_question(&mut self) -> Option<(Tick, bool)> {
        match std::mem::take(&mut self.asking) {
            Asking::No => None,
            Asking::Permission(question) | Asking::Clients(question) => Some((question.at, question.muted)),
            Asking::Unblock(unblock) => Some((unblock.question.at, unblock.question.muted)),
        }
    }

    /// Drops the question, because the upstream is lost and the session ends without an answer.
    pub(super) fn forget_question(&mut self) {
        self.asking = Asking::No;
    }

    /// Returns the bytes of memory that the value occupies.
    pub(super) fn held(&self) -> usize {
        let asked = match &self.asking {
            Asking::No => 0,
            Asking::Permission(question) | Asking::Clients(question) => question.held(),
            Asking::Unblock(unblock) => size_of::<Unblock>() + unblock.question.held(),
        };
        let users = [&self.user, &self.entering].into_iter().flatten().map(|user| user.len()).sum::<usize>();
        size_of::<Self>()
            + self.info.held()
            + self.naming.as_ref().map_or(0, |name| name.len())
            + users
            + asked
            + self.listening.as_ref().map_or(0, |listening| listening.held())
    }
}

const TOO_MANY_QUESTIONS: &[u8] =
    b"-ERR portcullis: too many clients ask for CLIENT LIST at once, try again\r\n";
