//! SELECT and HELLO: what they ask for is another shared connection, where the client has none of its own.

use portcullis_resp::command::id;
use portcullis_resp::scan::{Reply, ReplyScanner, aggregate_header};
use portcullis_resp::{encode, reply};

use super::Before;
use crate::client::asked::Login;
use crate::client::command::Frame;
use crate::client::judge::{Answer, Verdict};
use crate::client::{ReplyAction, Session, Until};
use crate::link::Part;
use crate::local::client_info;
use crate::local::hello::{Hello, strict_integer};
use crate::pending::{Local, ReplyKind};
use crate::shape::Shape;
use crate::tick::Tick;

impl Session {
    /// A HELLO that asks for the other RESP version waits for a shared connection that speaks it.
    pub(super) fn before_greeting(&mut self, now: Tick) -> Before {
        let Some(sharing) = self.sharing.as_mut().filter(|sharing| !sharing.leased) else {
            return Before::Go;
        };
        let Some(deferred) = &self.deferred else { return Before::Go };
        let resp3 = deferred.greeting.resp3.unwrap_or(sharing.resp3);
        if resp3 == sharing.resp3 {
            return Before::Go;
        }
        let Some(line) = sharing.refusal.take() else {
            let db = sharing.db;
            self.switch_to(db, resp3);
            return Before::Wait(Until::Pooled);
        };
        if !deferred.is_muted() {
            self.answer(Local::Made(line), id::HELLO, now);
        }
        self.deferred = None;
        Before::Go
    }

    /// On a shared connection another database is another connection. On the client's own it is the server that changes
    /// it; inside MULTI nobody knows when.
    pub(in crate::client) fn select(&mut self, frame: &Frame<'_>) -> Verdict {
        if !frame.is_whole_within(self.plan.held_command()) {
            return Verdict::NeedWhole;
        }
        let asked = frame.argument(1, frame.bytes.len()).map_or(Err(reply::NOT_AN_INTEGER), index);
        let leased = self.is_leased();
        let in_transaction = self.asked.transaction.is_some();
        let Some(sharing) = &mut self.sharing else {
            return Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Select(asked.ok()) };
        };
        if leased {
            if in_transaction {
                sharing.for_good = true;
                self.queue_plain(1);
                return Verdict::plain();
            }
            return Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Select(asked.ok()) };
        }
        let db = match asked {
            Ok(db) => db,
            Err(line) => return Verdict::Answer(Answer::Error(Local::Canned(line))),
        };
        if let Some(line) = sharing.refusal.take() {
            return Verdict::Answer(Answer::Error(Local::Made(line)));
        }
        if db == sharing.db {
            return Verdict::Answer(Answer::Reply(Local::Canned(reply::OK)));
        }
        if !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        let resp3 = sharing.resp3;
        self.switch_to(db, resp3);
        Verdict::WaitUntilPooled
    }

    fn switch_to(&mut self, db: u32, resp3: bool) {
        let Some(sharing) = &mut self.sharing else { return };
        // It is judged anew as long as it waits.
        if sharing.switching.replace((db, resp3)) != Some((db, resp3)) {
            sharing.epoch = sharing.epoch.wrapping_add(1);
        }
    }

    /// The server's words to SELECT on the client's own connection.
    pub(in crate::client) fn selected(&mut self, db: Option<u32>, said: &[u8]) {
        if let Some(sharing) = self.sharing.as_mut().filter(|_| said == reply::OK) {
            // A server that takes what is no number here has gone nobody knows where.
            sharing.for_good |= db.is_none();
            sharing.db = db.unwrap_or(sharing.db);
            sharing.epoch = sharing.epoch.wrapping_add(1);
            if self.asked.login == Login::Unselected {
                self.asked.login = Login::Done;
            }
        } else if let Some(db) = db.filter(|_| self.sharing.is_none() && said == reply::OK) {
            self.set_db(db);
        }
    }

    /// A HELLO whose credentials, if any, are right. It is sent once nothing is owed, for it may change where commands go.
    pub(in crate::client) fn greet(&mut self, hello: &Hello<'_>) -> Verdict {
        if let Some(verdict) = bad_name(hello) {
            return verdict;
        }
        if !self.pending.is_empty() {
            return Verdict::WaitUntilPaid;
        }
        Verdict::Defer(hello.greeting(true))
    }

    /// How a HELLO is sent whose time has come.
    pub(in crate::client) fn greeting_form(&mut self, name: Option<&[u8]>) -> (ReplyKind, Shape) {
        if !self.answers_client() {
            return (ReplyKind::Untimed, Shape::Hello);
        }
        self.about_mut().naming = name.map(Into::into);
        (ReplyKind::Hello, Shape::WholeHello)
    }

    /// HELLO's reply has the connection's id in it, which is the gate's to say.
    pub(in crate::client) fn greeted(&mut self, part: &Part<'_>, action: ReplyAction) -> ReplyAction {
        let naming = self.about_mut().naming.take();
        let resp3 = match part.head.kind {
            b'-' => return action,
            b'%' => true,
            b'*' => false,
            _ => return ReplyAction::Desync,
        };
        if let Some(sharing) = &mut self.sharing {
            if !sharing.leased && resp3 != sharing.resp3 {
                return ReplyAction::Desync;
            }
            sharing.resp3 = resp3;
            sharing.epoch = sharing.epoch.wrapping_add(1);
        }
        let about = self.about_mut();
        if let Some(name) = naming {
            // It was looked at when the HELLO was read, by the gate or by the server.
            let _ = about.client_info.set_name(&name);
        }
        if action != ReplyAction::Pass {
            return action;
        }
        self.scratch = with_id(part.bytes, about.id);
        ReplyAction::Rewritten
    }
}

/// Why no client may have the name that it gives itself; names are the gate's to keep.
pub(in crate::client) fn bad_name(hello: &Hello<'_>) -> Option<Verdict> {
    let line =
        if hello.bad_name { reply::HELLO_BAD_NAME } else { client_info::check_name(hello.name?).err()? };
    Some(Verdict::Answer(Answer::Error(Local::Canned(line))))
}

/// A database's index as Redis reads one, or the line that it answers.
fn index(text: &[u8]) -> Result<u32, &'static [u8]> {
    let number = strict_integer(text).ok_or(reply::NOT_AN_INTEGER)?;
    // Redis keeps it in an int.
    let number = i32::try_from(number).map_err(|_| reply::NOT_AN_INT)?;
    u32::try_from(number).map_err(|_| reply::DB_OUT_OF_RANGE)
}

/// HELLO's reply with this in place of the value of `id`.
fn with_id(frame: &[u8], id: u64) -> Vec<u8> {
    const ID: &[u8] = b"$2\r\nid\r\n";
    let mut out = Vec::with_capacity(frame.len() + ID.len());
    let Ok(Some((_, mut at))) = aggregate_header(frame) else { return frame.to_vec() };
    out.extend_from_slice(&frame[..at]);
    let mut names_id = false;
    while let Some(rest) = frame.get(at..).filter(|rest| !rest.is_empty()) {
        let Ok(Reply::Whole { len, .. }) = ReplyScanner::new().next(rest) else { return frame.to_vec() };
        let element = &rest[..len];
        if std::mem::replace(&mut names_id, element == ID) {
            encode::integer(&mut out, i64::try_from(id).unwrap_or(i64::MAX));
        } else {
            out.extend_from_slice(element);
        }
        at += len;
    }
    out
}
