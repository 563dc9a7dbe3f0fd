//! One client, with a shared connection of the kind that it needs, and with a connection of its own if it has one.

mod clients;
mod databases;
mod endings;
mod leases;
mod resets;
mod routes;
mod switches;
mod users;

use std::sync::Arc;

use crate::pooling::{PooledLink, Shared};
use crate::tests::pair::{frames, plan, show, wire};
use crate::tests::simulated_client::{SimulatedClient, Turn};
use crate::{Auth, Findings, Lease, Plan, PoolKey, SessionKey, Tick, Until};

struct Rig {
    simulated_client: SimulatedClient,
    pool: PooledLink,
    key: PoolKey,
    inbox: Vec<u8>,
    /// The bytes sent on each connection, in order.
    sent: Vec<(String, Vec<u8>)>,
}

impl Rig {
    fn new(plan: Plan) -> Self {
        Self::of(plan.shared().into())
    }

    fn of(plan: Arc<Plan>) -> Self {
        let simulated_client = SimulatedClient::new(SessionKey(7), plan);
        let key = PoolKey::default();
        Self {
            simulated_client,
            pool: PooledLink::new(key.clone()),
            key,
            inbox: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Creates a client of a gate without credentials, with an upstream without a password.
    fn trust() -> Self {
        Self::new(plan(Auth::Trust, None))
    }

    /// Creates such a client with a connection of its own, after a script whose reply arrived.
    fn leased() -> Self {
        let mut rig = Self::trust();
        assert_eq!(rig.commands("EVAL x 0"), "own: EVAL x 0");
        assert_eq!(rig.own("+OK|"), "+OK|");
        rig
    }

    /// Sends these commands from the client. Returns the bytes that go to each connection.
    fn commands(&mut self, text: &str) -> String {
        self.bytes(&frames(text))
    }

    fn bytes(&mut self, bytes: &[u8]) -> String {
        self.simulated_client.client_input.extend_from_slice(bytes);
        self.settle();
        self.more()
    }

    /// Takes the bytes that went to each connection since the last call.
    fn more(&mut self) -> String {
        let sent = std::mem::take(&mut self.sent);
        let shown = sent.iter().map(|(place, bytes)| format!("{place}: {}", words(bytes)));
        shown.collect::<Vec<_>>().join("; ")
    }

    /// Receives `text` on the shared connection. Returns the client's output.
    fn pool(&mut self, text: &str) -> String {
        self.inbox.extend(wire(text));
        while let Shared::Part(part) = self.pool.next(&self.inbox) {
            let len = part.bytes.len();
            assert!(self.simulated_client.receive(&part), "the client refuses its reply");
            self.inbox.drain(..len);
        }
        self.settle();
        self.receive()
    }

    /// Receives `text` on the client's own connection. Returns the client's output.
    fn own(&mut self, text: &str) -> String {
        assert!(self.simulated_client.linked);
        self.simulated_client.upstream_input.extend(wire(text));
        self.settle();
        self.receive()
    }

    /// Makes the shared connection the client's own. Returns false if that is not possible.
    fn adopt(&mut self) -> bool {
        let link =
            if self.simulated_client.session.may_adopt() { self.pool.hand_over(SessionKey(7)) } else { None };
        let Some(link) = link else { return false };
        let inbox = std::mem::take(&mut self.inbox);
        self.simulated_client.adopt(link, Vec::new(), inbox);
        self.pool = PooledLink::new(self.key.clone());
        self.settle();
        true
    }

    fn receive(&mut self) -> String {
        show(&std::mem::take(&mut self.simulated_client.received))
    }

    /// Reports the shared connection that the client waits for, or the error of the upstream.
    fn pooled(&mut self, there: Result<(), &str>) {
        assert_eq!(self.simulated_client.waits, Some(Until::Pooled));
        match there {
            Ok(()) => self.simulated_client.session.pooled(Ok(())),
            Err(line) => self.simulated_client.session.pooled(Err(&wire(line))),
        }
        self.settle();
    }

    /// Answers the client's question about other clients. Returns the bytes that go to each connection.
    fn answer_inquiry(&mut self, findings: Option<Findings>) -> String {
        assert_eq!(self.simulated_client.waits, Some(Until::Clients));
        self.simulated_client.session.informed(findings.as_ref());
        self.settle();
        self.more()
    }

    /// Sets the time to this many milliseconds after the start.
    fn at(&mut self, millis: u64) {
        self.simulated_client.now = at(millis);
        self.settle();
    }

    fn lease(&self) -> Lease {
        self.simulated_client.session.lease(self.simulated_client.now)
    }

    /// Returns the kind of the connection for the client's next command: the database, and whether it uses RESP3.
    fn kind(&self) -> (u32, bool) {
        let key = self.simulated_client.session.pool_key();
        (key.db, key.resp3)
    }

    fn settle(&mut self) {
        loop {
            let before = self.progress();
            self.simulated_client.return_lease();
            self.requests();
            if self.simulated_client.waits == Some(Until::Linked) && !self.simulated_client.linked {
                self.simulated_client.connect();
            }
            self.simulated_client.own_replies();
            if before == self.progress() {
                return;
            }
        }
    }

    fn progress(&self) -> impl PartialEq + use<> {
        let SimulatedClient {
            client_input, upstream_input, received, given_back, linked, waits, closed, ..
        } = &self.simulated_client;
        (
            client_input.len(),
            upstream_input.len(),
            received.len(),
            self.sent.len(),
            *given_back,
            *linked,
            *waits,
            *closed,
        )
    }

    fn requests(&mut self) {
        loop {
            match self.simulated_client.step(usize::MAX) {
                Turn::Wait => return,
                Turn::Progress => {
                    let bytes = std::mem::take(&mut self.simulated_client.sent);
                    self.record("own".to_owned(), bytes);
                }
                Turn::Send(commands) => {
                    self.change_pool();
                    self.pool.expect(commands.first, commands.pending, commands.shape);
                    let PoolKey { db, resp3, .. } = self.key;
                    let place = match (db, resp3) {
                        (0, false) => "pool".to_owned(),
                        (db, resp3) => format!("pool {db}{}", if resp3 { " resp3" } else { "" }),
                    };
                    self.record(place, commands.bytes);
                }
            }
        }
    }

    /// Opens a shared connection of the client's kind, if the current one is of another kind.
    fn change_pool(&mut self) {
        let key = self.simulated_client.session.pool_key();
        if key == self.key {
            return;
        }
        assert!(self.pool.is_settled(), "replies are pending on another connection");
        self.pool = PooledLink::new(key.clone());
        let steps = [(key.preamble.is_some(), "+OK|"), (key.resp3, "%1|$5|proto|:3|"), (key.db > 0, "+OK|")];
        let replies: String = steps.iter().filter(|(needed, _)| *needed).map(|(_, reply)| *reply).collect();
        let mut replies = wire(&replies);
        self.pool.open();
        while let Shared::Own(len) = self.pool.next(&replies) {
            replies.drain(..len);
        }
        assert!(self.pool.is_ready() && replies.is_empty());
        self.key = key;
    }

    fn record(&mut self, place: String, bytes: Vec<u8>) {
        match self.sent.last_mut() {
            _ if bytes.is_empty() => {}
            Some((last, sent)) if *last == place => sent.extend(bytes),
            _ => self.sent.push((place, bytes)),
        }
    }
}

const fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000 + 1)
}

/// Returns commands in canonical form as words. Returns only their length if they are long.
fn words(bytes: &[u8]) -> String {
    if bytes.len() > 1000 {
        return format!("{} bytes", bytes.len());
    }
    let text = show(bytes);
    let mut lines = text.split('|');
    let mut out = Vec::new();
    while let Some(count) = lines.next().and_then(|line| line.strip_prefix('*')) {
        let count = count.parse().expect("a count");
        let args: Vec<_> = (0..count).filter_map(|_| lines.next().and_then(|_| lines.next())).collect();
        out.push(args.join(" "));
    }
    out.join(", ")
}
