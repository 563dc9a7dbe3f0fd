//! One client, the shared connection that is of its kind, and the connection of its own if it has one.

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
    /// What was sent where, in order.
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

    /// Nobody checks credentials, and the upstream wants none.
    fn trust() -> Self {
        Self::new(plan(Auth::Trust, None))
    }

    /// The same, with a connection of its own for a script that was answered.
    fn leased() -> Self {
        let mut rig = Self::trust();
        assert_eq!(rig.commands("EVAL x 0"), "own: EVAL x 0");
        assert_eq!(rig.own("+OK|"), "+OK|");
        rig
    }

    /// The client sends these commands; returns what goes where for it.
    fn commands(&mut self, text: &str) -> String {
        self.bytes(&frames(text))
    }

    fn bytes(&mut self, bytes: &[u8]) -> String {
        self.simulated_client.asked.extend_from_slice(bytes);
        self.settle();
        self.more()
    }

    /// What goes where besides.
    fn more(&mut self) -> String {
        let sent = std::mem::take(&mut self.sent);
        let shown = sent.iter().map(|(place, bytes)| format!("{place}: {}", words(bytes)));
        shown.collect::<Vec<_>>().join("; ")
    }

    /// The shared connection says so; returns what the client hears then.
    fn pool(&mut self, text: &str) -> String {
        self.inbox.extend(wire(text));
        while let Shared::Part(part) = self.pool.next(&self.inbox) {
            let len = part.bytes.len();
            assert!(self.simulated_client.receive(&part), "not taken");
            self.inbox.drain(..len);
        }
        self.settle();
        self.receive()
    }

    /// The client's own connection says so; returns what the client hears then.
    fn own(&mut self, text: &str) -> String {
        assert!(self.simulated_client.linked);
        self.simulated_client.answered.extend(wire(text));
        self.settle();
        self.receive()
    }

    /// The shared connection becomes the client's own, if that may be.
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

    /// The shared connection that is waited for is there, or cannot be.
    fn pooled(&mut self, there: Result<(), &str>) {
        assert_eq!(self.simulated_client.waits, Some(Until::Pooled));
        match there {
            Ok(()) => self.simulated_client.session.pooled(Ok(())),
            Err(line) => self.simulated_client.session.pooled(Err(&wire(line))),
        }
        self.settle();
    }

    /// What it asks about other clients is answered; returns what goes where then.
    fn told(&mut self, findings: Option<Findings>) -> String {
        assert_eq!(self.simulated_client.waits, Some(Until::Clients));
        self.simulated_client.session.informed(findings.as_ref());
        self.settle();
        self.more()
    }

    /// So many milliseconds after the beginning.
    fn at(&mut self, millis: u64) {
        self.simulated_client.now = at(millis);
        self.settle();
    }

    fn lease(&self) -> Lease {
        self.simulated_client.session.lease(self.simulated_client.now)
    }

    /// The database and whether RESP3 is spoken, where its commands go next.
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
        let SimulatedClient { asked, answered, received, given_back, linked, waits, closed, .. } =
            &self.simulated_client;
        (asked.len(), answered.len(), received.len(), self.sent.len(), *given_back, *linked, *waits, *closed)
    }

    fn requests(&mut self) {
        loop {
            match self.simulated_client.step(usize::MAX) {
                Turn::Rests => return,
                Turn::Moved => {
                    let bytes = std::mem::take(&mut self.simulated_client.sent);
                    self.note("own".to_owned(), bytes);
                }
                Turn::Gives(given) => {
                    self.join();
                    self.pool.expect(given.first, given.pending, given.shape);
                    let PoolKey { db, resp3, .. } = self.key;
                    let place = match (db, resp3) {
                        (0, false) => "pool".to_owned(),
                        (db, resp3) => format!("pool {db}{}", if resp3 { " resp3" } else { "" }),
                    };
                    self.note(place, given.bytes);
                }
            }
        }
    }

    /// Goes to a shared connection as it has to be, where that is another one.
    fn join(&mut self) {
        let key = self.simulated_client.session.pool_key();
        if key == self.key {
            return;
        }
        assert!(self.pool.is_settled(), "replies are owed on another connection");
        self.pool = PooledLink::new(key.clone());
        let steps = [(key.preamble.is_some(), "+OK|"), (key.resp3, "%1|$5|proto|:3|"), (key.db > 0, "+OK|")];
        let said: String = steps.iter().filter(|(due, _)| *due).map(|(_, said)| *said).collect();
        let mut said = wire(&said);
        self.pool.open();
        while let Shared::Own(len) = self.pool.next(&said) {
            said.drain(..len);
        }
        assert!(self.pool.is_ready() && said.is_empty());
        self.key = key;
    }

    fn note(&mut self, place: String, bytes: Vec<u8>) {
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

/// Commands in canonical form, in words; long ones by their length.
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
