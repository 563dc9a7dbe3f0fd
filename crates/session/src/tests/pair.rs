//! A session and its link, driven like in the relay, with bounded buffers in place of sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_resp::command::CommandId;
use portcullis_resp::limits::RequestLimits;

use super::users::Users;
use crate::client::CloseReason;
use crate::link::{LinkFault, Preamble, Subscriptions, Unavailable};
use crate::{
    Aftermath, Attempt, Auth, Authenticator, Delivery, Denial, Denied, Incoming, Link, Loss, Observer, Peer,
    Plan, ReplyAction, Session, SessionKey, Step, Tick, Until, Verb,
};

/// The reports that the observer received.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) commands: u64,
    /// The batches of commands as reported: the name, and the number of commands.
    pub(crate) batches: Vec<(&'static str, u64)>,
    pub(crate) answered: u64,
    pub(crate) denied: Vec<Denied>,
    /// The rule that decided each refusal.
    pub(crate) rules: Vec<String>,
    pub(crate) errors: Vec<String>,
    pub(crate) users: Users,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) listens_in_resp2: bool,
    pub(crate) resp3: bool,
    /// The upstream's answers to logins of the client.
    pub(crate) logins: Vec<bool>,
}

impl Observer for Count {
    fn command(&mut self, id: CommandId, n: u64) {
        self.commands += n;
        self.batches.push((id.name(), n));
    }

    fn denied(&mut self, denial: &Denial<'_>) {
        self.denied.push(denial.reason());
        let rule = denial.rule();
        self.rules.push(format!("{} {} {:?}", denial.command().name(), rule.rule, rule.owner));
    }

    fn answered(&mut self, _id: CommandId, n: u64, _nanos: u64, _seq: u64) {
        self.answered += n;
    }

    fn login_answered(&mut self, is_taken: bool) {
        self.logins.push(is_taken);
    }

    fn error(&mut self, line: &[u8]) {
        self.errors.push(String::from_utf8_lossy(line).into_owned());
    }
}

impl Authenticator for Count {
    fn authenticate(&mut self, user: Option<&[u8]>, password: &[u8]) -> Attempt {
        self.users.authenticate(user, password)
    }
}

impl Peer for Count {
    fn id(&self) -> u64 {
        77
    }

    fn address(&self) -> String {
        "192.0.2.7:7777".to_owned()
    }

    fn local_address(&self) -> String {
        "192.0.2.1:6379".to_owned()
    }

    fn reached_at(&self) -> Option<SocketAddr> {
        "192.0.2.1:6379".parse().ok()
    }

    fn age(&self) -> Duration {
        Duration::from_secs(7)
    }

    fn idle(&self) -> Duration {
        Duration::ZERO
    }

    fn resp3(&self) -> bool {
        self.resp3
    }

    fn subscriptions(&self) -> Subscriptions {
        self.subscriptions
    }

    fn is_subscribed(&self, _verb: Verb, name: &[u8]) -> bool {
        name == b"held"
    }

    fn listens_in_resp2(&self) -> bool {
        self.listens_in_resp2
    }
}

pub(crate) struct Pair {
    pub(crate) session: Session,
    pub(crate) link: Link,
    pub(crate) count: Count,
    /// Bytes that were read from the client and not judged yet.
    pub(crate) client_input: Vec<u8>,
    /// Bytes for the upstream.
    pub(crate) sent: Vec<u8>,
    /// Bytes that were read from the upstream and not judged yet.
    pub(crate) upstream_input: Vec<u8>,
    /// Bytes for the client.
    pub(crate) received: Vec<u8>,
    pub(crate) client_need: usize,
    pub(crate) upstream_need: usize,
    /// The number of bytes that may wait to be written before the pair stops judging.
    pub(crate) room: usize,
    pub(crate) client_ended: bool,
    pub(crate) wants_link: bool,
    pub(crate) linked: bool,
    pub(crate) gone: bool,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) fault: Option<LinkFault>,
    pub(crate) desync: bool,
    pub(crate) misled: bool,
    pub(crate) waits: Option<Until>,
    pub(crate) forwarded: usize,
    pub(crate) skipped: usize,
}

impl Pair {
    pub(crate) fn new(plan: Plan) -> Self {
        Self::sharing(plan.into())
    }

    pub(crate) fn sharing(plan: Arc<Plan>) -> Self {
        Self {
            session: Session::new(SessionKey(7), plan),
            link: Link::new(),
            count: Count::default(),
            client_input: Vec::new(),
            sent: Vec::new(),
            upstream_input: Vec::new(),
            received: Vec::new(),
            client_need: 1,
            upstream_need: 1,
            room: usize::MAX,
            client_ended: false,
            wants_link: false,
            linked: false,
            gone: false,
            closed: None,
            fault: None,
            desync: false,
            misled: false,
            waits: None,
            forwarded: 0,
            skipped: 0,
        }
    }

    /// Creates a connected client under `auth: passthrough`.
    pub(crate) fn passthrough() -> Self {
        Self::connected(plan(Auth::Passthrough, None))
    }

    /// Creates a connected client of a gate without credentials, with an upstream without a password.
    pub(crate) fn trust() -> Self {
        Self::connected(plan(Auth::Trust, None))
    }

    /// Creates a client without a login and without an upstream connection, on a listener with these users.
    pub(crate) fn of_users(users: Users) -> Self {
        let anonymous = users.plan_of(None).expect("the plan without a user");
        let mut pair = Self::sharing(anonymous);
        pair.count.users = users;
        pair
    }

    /// Replaces the session by that of a client that is identified as `user` before its first command.
    pub(crate) fn certified(mut self, user: &str) -> Self {
        let plan = self.count.users.plan_of(Some(user)).expect("a user");
        self.session = Session::new(SessionKey(7), plan);
        self
    }

    pub(crate) fn connected(plan: Plan) -> Self {
        let mut pair = Self::new(plan);
        pair.connect();
        pair
    }

    pub(crate) fn connect(&mut self) {
        self.linked = true;
        self.session.linked();
    }

    /// Sends `text` from the client, with `|` for a line end. Returns the bytes for the upstream.
    pub(crate) fn client(&mut self, text: &str) -> String {
        self.client_bytes(&wire(text))
    }

    /// Sends these commands from the client in canonical form, with `;` between commands and blanks between words.
    /// Returns the bytes for the upstream.
    pub(crate) fn commands(&mut self, text: &str) -> String {
        self.client_bytes(&frames(text))
    }

    pub(crate) fn client_bytes(&mut self, bytes: &[u8]) -> String {
        self.client_input.extend_from_slice(bytes);
        self.settle();
        show(&std::mem::take(&mut self.sent))
    }

    /// Receives `text` from the upstream, with `|` for a line end. Returns the client's output.
    pub(crate) fn upstream(&mut self, text: &str) -> String {
        self.upstream_bytes(&wire(text))
    }

    pub(crate) fn upstream_bytes(&mut self, bytes: &[u8]) -> String {
        self.upstream_input.extend_from_slice(bytes);
        self.settle();
        self.receive()
    }

    pub(crate) fn receive(&mut self) -> String {
        show(&std::mem::take(&mut self.received))
    }

    /// Takes the bytes for the upstream since the last call.
    pub(crate) fn more(&mut self) -> String {
        show(&std::mem::take(&mut self.sent))
    }

    pub(crate) fn end_client(&mut self) {
        self.client_ended = true;
        self.settle();
    }

    pub(crate) fn lose(&mut self, why: Option<Unavailable>) {
        self.gone = true;
        self.session.lost(why);
        self.settle();
    }

    /// Loses the upstream connection. If the session goes on, it has no connection until [`Pair::connect`].
    pub(crate) fn lose_connection(&mut self, loss: Loss) -> Aftermath {
        let aftermath = self.session.continuity().lose(loss, &self.link);
        self.gone = aftermath == Aftermath::Ended;
        (self.link, self.linked, self.wants_link) = (Link::new(), false, false);
        self.sent.clear();
        self.upstream_input.clear();
        self.settle();
        aftermath
    }

    /// Makes the connection that the session waits for. Returns the bytes for the upstream.
    pub(crate) fn reconnect(&mut self) -> String {
        assert!(self.wants_link, "no command waits for a connection");
        self.connect();
        self.settle();
        self.more()
    }

    pub(crate) fn settle(&mut self) {
        loop {
            let before = (
                self.client_input.len(),
                self.upstream_input.len(),
                self.received.len(),
                self.closed,
                self.waits,
            );
            self.requests();
            self.replies();
            if before
                == (
                    self.client_input.len(),
                    self.upstream_input.len(),
                    self.received.len(),
                    self.closed,
                    self.waits,
                )
            {
                return;
            }
        }
    }

    pub(crate) fn requests(&mut self) {
        self.waits = None;
        while self.sent.len() < self.room && self.closed.is_none() {
            self.count.listens_in_resp2 = self.link.listens_in_resp2();
            self.count.resp3 = self.link.is_resp3();
            match self.session.next(&self.client_input, Tick::from_nanos(1), &mut self.count) {
                Step::Forward { len, first, pending, shape, .. } => {
                    if pending > 0 {
                        self.link.expect(first, pending, shape);
                    }
                    assert!(len > 0 && self.linked);
                    self.sent.extend(self.client_input.drain(..len));
                    self.forwarded += len;
                }
                Step::Instead { bytes, skip, first, shape, .. } => {
                    assert!(self.linked);
                    self.link.expect(first, 1, shape);
                    self.sent.extend_from_slice(bytes);
                    self.client_input.drain(..skip);
                    self.skipped += skip;
                }
                Step::Skip { len } => {
                    self.client_input.drain(..len);
                    self.skipped += len;
                }
                Step::Need { .. } if self.client_ended => self.session.eof(),
                Step::Need { at_least } => {
                    assert!(
                        at_least > self.client_input.len(),
                        "the session asks for bytes that it already has"
                    );
                    self.client_need = at_least;
                    return;
                }
                Step::Wait(until) => {
                    self.wants_link |= until == Until::Linked;
                    self.waits = Some(until);
                    self.write_local();
                    return;
                }
                Step::Close(reason) => self.closed = Some(reason),
            }
            self.write_local();
        }
    }

    pub(crate) fn replies(&mut self) {
        self.write_local();
        while self.closed.is_none() && !self.gone && self.linked && self.received.len() < self.room {
            match self.link.next(&self.upstream_input) {
                Incoming::Part(part) => {
                    let len = part.bytes.len();
                    match self.session.reply(&part, Tick::from_nanos(2), &mut self.count) {
                        ReplyAction::Pass => self.received.extend(self.upstream_input.drain(..len)),
                        ReplyAction::Drop => drop(self.upstream_input.drain(..len)),
                        ReplyAction::Replace(bytes) => {
                            self.received.extend_from_slice(bytes);
                            self.upstream_input.drain(..len);
                        }
                        ReplyAction::Rewritten => {
                            self.received.extend_from_slice(self.session.rewritten());
                            self.upstream_input.drain(..len);
                        }
                        ReplyAction::Lost(why) => {
                            self.upstream_input.drain(..len);
                            self.gone = true;
                            self.session.lost(Some(why));
                            return self.write_local();
                        }
                        ReplyAction::Misled => {
                            self.upstream_input.drain(..len);
                            self.misled = self.lose_connection(Loss::Replica) == Aftermath::Carried;
                            return;
                        }
                        ReplyAction::Desync => {
                            self.desync = true;
                            self.gone = true;
                            return;
                        }
                    }
                    self.write_local();
                }
                Incoming::Push { kind, bytes, ended } => {
                    let len = bytes.len();
                    let delivery = self.session.push(kind, bytes, ended);
                    match delivery {
                        Delivery::Pass => self.received.extend(self.upstream_input.drain(..len)),
                        Delivery::Withhold => drop(self.upstream_input.drain(..len)),
                    }
                    self.write_local();
                }
                Incoming::Need(total) => {
                    assert!(total > self.upstream_input.len(), "the link asks for bytes that it already has");
                    self.upstream_need = total;
                    return;
                }
                Incoming::Fault(fault) => {
                    self.fault = Some(fault);
                    self.gone = true;
                    self.session.lost(None);
                    return self.write_local();
                }
            }
        }
    }

    fn write_local(&mut self) {
        while self.session.has_local_reply() && self.received.len() < self.room {
            let mut replies = Vec::new();
            self.session.write_local_replies(&mut replies, crate::client::MAX_RENDERED);
            self.received.extend(replies);
        }
    }
}

pub(crate) fn plan(auth: Auth, password: Option<&str>) -> Plan {
    let preamble = password.map(|password| Preamble::auth(None, password));
    Plan::new(auth, preamble, "main", RequestLimits::default(), HELD_COMMAND)
}

/// The limit on held bytes. It is small, so that tests reach it.
pub(crate) const HELD_COMMAND: usize = 4096;

/// Returns `text` with a line end for each `|`.
pub(crate) fn wire(text: &str) -> Vec<u8> {
    text.replace('|', "\r\n").into_bytes()
}

pub(crate) fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "|")
}

/// Returns commands in canonical form. In `text`, `;` stands between commands and blanks between words.
pub(crate) fn frames(text: &str) -> Vec<u8> {
    text.split(';').flat_map(|command| frame(command.split_whitespace())).collect()
}

pub(crate) fn frame<'w>(words: impl Iterator<Item = &'w str>) -> Vec<u8> {
    let words: Vec<&str> = words.collect();
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    out
}
