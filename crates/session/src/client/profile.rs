//! The client as the gate itself knows it, where the gate answers CLIENT: on shared connections, and under `@public`.
//!
//! A question about other clients is put to the caller ([`Session::inquiry`](super::Session::inquiry)). Until
//! [`Session::informed`](super::Session::informed) brings the answer, nothing more of this client is read, so that order
//! holds. Under `auth: passthrough` Redis is asked first whether the client may ask at all: a harmless command of the same
//! name stands for it, and an error is passed on.
//!
//! ```text
//!   No ── ask ──► Clients ── informed ──► No, or Unblock ── sent ──► No
//!    └── ask, passthrough ──► Permission ── refused ──► No
//!                                 └── allowed ──► Clients
//! ```

use crate::local::client_info::{self, ClientInfo, Introduction, Said};
use crate::local::clients::{Action, Findings, Inquiry};
use crate::tick::Tick;

/// The longest name of a Redis user that is remembered. Redis has no limit; a longer one is treated as unknown.
const MAX_USER: usize = 1024;

/// The state of CLIENT. It is kept apart, as an idle client that never said CLIENT needs none of it.
#[derive(Debug, Default)]
pub(super) struct Profile {
    info: ClientInfo,
    /// The name that a HELLO gives the client, if the server takes that.
    naming: Option<Box<[u8]>>,
    /// The reply to CLIENT ID.
    id: u64,
    /// The user as whom the client has logged in to Redis.
    user: Option<Box<str>>,
    /// The user as whom it is logged in, if Redis takes the login that is under way.
    entering: Option<Box<str>>,
    /// The database, where the connection is the client's own and the gate answers for it.
    db: u32,
    upstream_id: UpstreamId,
    asking: Asking,
}

/// Redis's number of the client's own upstream connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum UpstreamId {
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
    Unblock(Box<Unblock>),
}

/// The event that a question about other clients waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Redis's reply.
    Permission,
    /// The caller's answer.
    Clients,
    /// The gate's own CLIENT UNBLOCK, which is to be sent.
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

/// A CLIENT UNBLOCK whose client was looked for.
#[derive(Debug)]
pub(super) struct Unblock {
    /// Redis's number of the connection on which that client waits; none if no client was found.
    pub(super) id: Option<i64>,
    /// Whether that client reads an error.
    pub(super) error: bool,
    pub(super) question: Question,
}

/// The answer to a question about other clients.
#[derive(Debug)]
pub(super) struct Informed {
    /// The reply of the gate, unless it is muted.
    pub(super) reply: Option<Vec<u8>>,
    pub(super) at: Tick,
    /// The client has asked to be closed itself.
    pub(super) ends: bool,
}

impl Question {
    fn held(&self) -> usize {
        size_of::<Inquiry>() + self.inquiry.filter.held()
    }
}

/// The client's names and user.
impl Profile {
    /// The client's name and library, as it gives them.
    pub(super) const fn info(&self) -> &ClientInfo {
        &self.info
    }

    /// Takes the client's name and library, to be put back by [`Profile::set_info`].
    pub(super) fn take_info(&mut self) -> ClientInfo {
        std::mem::take(&mut self.info)
    }

    /// Puts the client's name and library in place.
    pub(super) fn set_info(&mut self, info: ClientInfo) {
        self.info = info;
    }

    /// Redis took a name or library of the client.
    pub(super) fn introduce(&mut self, introduction: Introduction) {
        self.info.take(introduction);
    }

    /// Sets the reply to CLIENT ID.
    pub(super) const fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    /// The reply to CLIENT ID.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// A HELLO is sent that gives the client this name, or none.
    pub(super) fn begin_naming(&mut self, name: Option<&[u8]>) {
        self.naming = name.map(Into::into);
    }

    /// Returns whether a HELLO is pending that gives the client a name.
    pub(super) const fn is_naming(&self) -> bool {
        self.naming.is_some()
    }

    /// Redis answered a HELLO. The name was looked at when the HELLO was read, by the gate or by the server.
    pub(super) fn end_naming(&mut self, taken: bool) {
        if let Some(name) = self.naming.take().filter(|_| taken) {
            let _ = self.info.set_name(&name);
        }
    }

    /// A login of the client's own is sent. None: the gate cannot follow it.
    pub(super) fn begin_login(&mut self, user: Option<Box<str>>) {
        self.entering = user;
    }

    /// Redis answered the client's own login. A later one must not bring in the user of one that was refused.
    pub(super) fn end_login(&mut self, taken: bool) {
        let entering = self.entering.take();
        if taken {
            self.user = entering;
        }
    }

    /// The user as whom the client has logged in to Redis.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Ends what RESET ends of it.
    pub(super) fn reset(&mut self) {
        self.info.clear();
        self.db = 0;
        self.user = None;
    }

    /// Redis has put the client's own connection into this database.
    pub(super) const fn set_db(&mut self, db: u32) {
        self.db = db;
    }

    /// The database that the client's own connection is in.
    pub(super) const fn db(&self) -> u32 {
        self.db
    }
}

/// Returns the name of a Redis user in the form in which it is remembered, if it can be.
pub(super) fn user_name(user: Option<&[u8]>) -> Option<Box<str>> {
    let user = user.filter(|user| user.len() <= MAX_USER)?;
    std::str::from_utf8(user).ok().map(Into::into)
}

/// The upstream connection.
impl Profile {
    /// A fresh upstream connection has another number, and is in the database that the gate says.
    pub(super) const fn forget_upstream(&mut self) {
        (self.upstream_id, self.db) = (UpstreamId::Unknown, 0);
    }

    /// Redis's number of the upstream connection.
    pub(super) const fn upstream_id(&self) -> UpstreamId {
        self.upstream_id
    }

    /// Redis is asked for that number.
    pub(super) const fn ask_upstream_id(&mut self) {
        self.upstream_id = UpstreamId::Asked;
    }

    /// Redis told that number; None if it refused.
    pub(super) fn set_upstream_id(&mut self, id: Option<i64>) {
        self.upstream_id = id.map_or(UpstreamId::Refused, UpstreamId::Known);
    }
}

/// Questions about other clients.
impl Profile {
    /// The caller is asked.
    pub(super) fn ask(&mut self, question: Question) {
        self.asking = Asking::Clients(question);
    }

    /// Redis is asked first whether the client may ask.
    pub(super) fn ask_permission(&mut self, question: Question) {
        self.asking = Asking::Permission(question);
    }

    /// Redis answered whether the client may ask. Returns whether it was asked at all.
    pub(super) fn permit(&mut self, allowed: bool) -> bool {
        let Asking::Permission(question) = std::mem::take(&mut self.asking) else { return false };
        if allowed {
            self.asking = Asking::Clients(question);
        }
        true
    }

    /// The question that the caller collects the answer to.
    pub(super) fn inquiry(&self) -> Option<&Inquiry> {
        match &self.asking {
            Asking::Clients(question) => Some(&question.inquiry),
            _ => None,
        }
    }

    /// The event that a question waits for, if there is one.
    pub(super) const fn waiting(&self) -> Option<Waiting> {
        match &self.asking {
            Asking::No => None,
            Asking::Permission(_) => Some(Waiting::Permission),
            Asking::Clients(_) => Some(Waiting::Clients),
            Asking::Unblock(_) => Some(Waiting::Unblock),
        }
    }

    /// The caller has the answer; none where it could not be collected. Returns None where no answer is due, or where
    /// Redis is to be told first.
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

    /// Takes the CLIENT UNBLOCK that is to be sent.
    pub(super) fn take_unblock(&mut self) -> Option<Unblock> {
        match std::mem::take(&mut self.asking) {
            Asking::Unblock(unblock) => Some(*unblock),
            asking => {
                self.asking = asking;
                None
            }
        }
    }

    /// The upstream is gone: the session ends without the answer to its question.
    pub(super) fn forget_question(&mut self) {
        self.asking = Asking::No;
    }

    /// Bytes of memory.
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
    }
}

const TOO_MANY_QUESTIONS: &[u8] =
    b"-ERR portcullis: too many clients ask for CLIENT LIST at once, try again\r\n";
