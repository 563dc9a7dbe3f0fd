//! Commands about the client's connection: logins, which each leg repeats, and commands that the router answers itself.

use std::borrow::Cow;

use portcullis_resp::command::id;
use portcullis_resp::scan::arguments;
use portcullis_resp::{encode, reply};

use super::class::Refusal;
use super::command::Command;
use super::commands::Judged;
use super::destination::Placed;
use super::identity::Login;
use super::leg::LegIndex;
use super::subscriptions::Subscriptions;
use super::{Broken, Ended, Kind, REDIAL, Router};
use crate::link::Unavailable;
use crate::local::client_info::refused_info;
use crate::tick::Tick;

/// The reply to a HELLO that would change the RESP version of messages.
const SUBSCRIBED: &[u8] =
    b"-ERR portcullis: the RESP version cannot be changed while the client is subscribed to channels of a cluster\r\n";

/// The reply to SELECT of a server that has one database because it is a node of a cluster.
const ONE_DATABASE: &[u8] = b"-ERR SELECT is not allowed in cluster mode\r\n";

/// The reply to CLIENT ID, which each leg would answer differently. The session then knows that the number is unknown.
const NO_ID: &[u8] = b"-ERR portcullis: a client of a cluster has several connections\r\n";

/// The reply to CLIENT UNBLOCK: the client of that number is not blocked here.
const NOT_BLOCKED: &[u8] = b":0\r\n";

impl Router {
    /// Sends a login or SELECT to one node, when nothing is pending. The other legs are closed, because they have the old
    /// login. Only Valkey has several databases in a cluster, from version 9 on. The watcher knows of others that they
    /// refuse, so no node is asked.
    pub(super) fn log_in(&mut self, command: Command<'_>, now: Tick) -> Judged {
        let login = Login::of(command.id, command.frame);
        match login {
            Login::Select(Some(db)) if db == self.identity.db() => {
                return self.answer(Cow::Borrowed(reply::OK), now);
            }
            Login::Select(Some(_)) if self.server.has_one_database() => {
                return self.answer(Cow::Borrowed(ONE_DATABASE), now);
            }
            _ => {}
        }
        if !self.is_settled() {
            return Judged::Later;
        }
        let login = Login::of(command.id, command.frame);
        if self.subscriptions.are_active() && login.changes_version(self.identity.resp3()) {
            return self.answer(Cow::Borrowed(SUBSCRIBED), now);
        }
        let leg = match self.any_leg(now) {
            Placed::At(leg) => leg,
            Placed::Later => return Judged::Later,
            Placed::Answered => {
                self.end(Ended::Unavailable(Unavailable::Timeout));
                return Judged::Taken;
            }
        };
        if !self.subscriptions.are_active() {
            self.subscriptions = Subscriptions::default();
        }
        let may_go = |other: &LegIndex| *other != leg && !self.is_needed(*other);
        let others: Vec<_> = self.legs.all().map(|(other, _)| other).filter(may_go).collect();
        for other in others {
            self.legs.remove(other);
            self.subscriptions.forget_leg(other);
        }
        self.login = Some(Box::new(login));
        self.send_to(leg, command, Kind::Login, false, now)
    }

    /// Sends the login to another node, because this one cannot be reached. Nothing else is pending.
    pub(super) fn log_in_elsewhere(&mut self, leg: LegIndex, now: Tick) {
        let Some(old) = self.legs.get_mut(leg) else { return };
        let since = old.since().unwrap_or(now);
        let Some(node) = self.maps.other_master(old.node) else {
            return old.close(since, now.after(REDIAL));
        };
        let Some(frame) = old.take_unwritten() else {
            return self.break_off(leg, Broken::Unreached(Unavailable::Connect));
        };
        self.legs.remove(leg);
        let Some(leg) = self.leg_for(node, false, now) else { return };
        if let Some(new) = self.legs.get_mut(leg) {
            if new.since().is_some() {
                new.close(since, now.after(REDIAL));
            }
            new.send(&frame, true, self.most_kept, now);
        }
        self.apart.front_mut().into_iter().for_each(|apart| apart.leg = leg);
    }

    /// Records the reply to a login.
    pub(super) fn logged_in(&mut self, is_error: bool) {
        if let Some(login) = self.login.take().filter(|_| !is_error) {
            self.identity.accept(*login);
        }
    }

    /// Answers RESET, when nothing is pending. The legs are closed, because the state of each would have to be reset.
    pub(super) fn reset(&mut self, now: Tick) -> Judged {
        if !self.is_settled() {
            return Judged::Later;
        }
        self.transaction.reset();
        self.subscriptions = Subscriptions::default();
        self.identity.reset();
        let all: Vec<_> = self.legs.all().map(|(leg, _)| leg).collect();
        all.into_iter().for_each(|leg| self.legs.remove(leg));
        self.answer(Cow::Borrowed(reply::RESET), now)
    }

    /// Answers a command about the connection. Names and modes are set on all legs, now or when they open.
    pub(super) fn of_connection(&mut self, command: Command<'_>, now: Tick) -> Judged {
        if !command.id.info().takes(command.arguments) {
            return self.answer_arity(command, now);
        }
        if command.id == id::CLIENT_SETNAME && !arguments(command.frame).skip(2).all(super::identity::is_name)
        {
            return self.answer(Cow::Borrowed(reply::HELLO_BAD_NAME), now);
        }
        let args: Vec<&[u8]> = arguments(command.frame).skip(1).collect();
        let reply = match (command.id, &args[..]) {
            (id::READONLY | id::READWRITE | id::ASKING | id::CLIENT_REPLY, _) => Cow::Borrowed(reply::OK),
            (id::CLIENT_ID, _) => Cow::Borrowed(NO_ID),
            (id::CLIENT_UNBLOCK, _) => Cow::Borrowed(NOT_BLOCKED),
            (id::CLIENT_GETNAME, _) => self.name(),
            (id::CLIENT_SETNAME, [_, name]) => {
                self.identity.set_name(name);
                self.tell_legs(command.frame)
            }
            (id::CLIENT_SETINFO, [_, what, value]) => match refused_info(what, value) {
                Some(line) => Cow::Owned(line),
                None => {
                    self.identity.set_info(what, value);
                    self.tell_legs(command.frame)
                }
            },
            (id::CLIENT_NO_EVICT | id::CLIENT_NO_TOUCH, [_, mode]) => self.set_mode(command, mode),
            _ => return self.refuse(command, Refusal::OneNode, now),
        };
        self.answer(reply, now)
    }

    fn name(&self) -> Cow<'static, [u8]> {
        let mut line = Vec::new();
        match self.identity.name() {
            "" => encode::null(&mut line, self.identity.resp3()),
            name => encode::bulk(&mut line, name.as_bytes()),
        }
        Cow::Owned(line)
    }

    /// Sends a command to the legs that have a connection. Their replies are dropped.
    fn tell_legs(&mut self, frame: &[u8]) -> Cow<'static, [u8]> {
        for (_, leg) in
            self.legs.all_mut().filter(|(_, leg)| leg.takes_commands() && leg.is_set_up() && !leg.is_pooled)
        {
            leg.add_silent(frame, 1);
        }
        Cow::Borrowed(reply::OK)
    }

    fn set_mode(&mut self, command: Command<'_>, mode: &[u8]) -> Cow<'static, [u8]> {
        let on = mode.eq_ignore_ascii_case(b"on");
        if !on && !mode.eq_ignore_ascii_case(b"off") {
            return Cow::Borrowed(reply::SYNTAX_ERROR);
        }
        self.identity.set_mode(command.id == id::CLIENT_NO_EVICT, on);
        self.tell_legs(command.frame)
    }
}
