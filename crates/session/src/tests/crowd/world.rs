//! The clients, the connections that they share, their own connections, and the steps that move bytes between them.

use super::{Fault, ScheduledFault, Setting};
use crate::pooling::{PoolFault, PooledLink, Shared};
use crate::tests::model::Model;
use crate::tests::pair::{frames, show};
use crate::tests::properties::{lines_before_reset, without_monitor};
use crate::tests::script::Command;
use crate::tests::simulated_client::{PooledCommands, SimulatedClient, Turn};
use crate::{Lease, PoolKey, SessionKey, Tick, Until};

/// The maximum number of connections of a kind, so that clients share them.
const MOST_OF_A_KIND: usize = 2;

/// The number of events that [`World::turn`] knows.
const EVENTS: u64 = 13;

/// The number of events that move bytes or state. They are the events from 0 on.
const MOVES: u64 = 11;

pub(super) struct World {
    setting: Setting,
    clients: Vec<Client>,
    /// The shared connections. A broken connection stays as `None`, because clients refer to connections by index.
    pooled: Vec<Option<Pooled>>,
    store: Store,
    now: u64,
    seed: u64,
    most: usize,
}

type Store = (std::collections::BTreeMap<String, String>, std::collections::BTreeMap<String, Vec<String>>);

struct Client {
    simulated_client: SimulatedClient,
    tag: String,
    /// Bytes that the client will send.
    to_send: Vec<u8>,
    /// Bytes that the client has sent.
    sent: Vec<u8>,
    /// Bytes that the client did not send, because it closed its side.
    unsent: Vec<u8>,
    /// The server of the client's own connection.
    own: Option<Model>,
    /// The shared connection that carries the client's pending replies, or carried the last ones.
    on: Option<usize>,
    /// The shared connection that is being opened for the kind that the client waits for.
    awaits: Option<usize>,
    /// Whether the client has disconnected. Later bytes for it are dropped.
    gone: bool,
    /// Whether a connection of the client broke.
    cut: bool,
    ambiguous: bool,
}

struct Pooled {
    link: PooledLink,
    key: PoolKey,
    server: Model,
    /// The commands of the setup, which come before those in `outbox`.
    setup: Vec<u8>,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
}

impl World {
    pub(super) fn new(setting: Setting, lines: &[Vec<Command>], seed: u64, most: usize) -> Self {
        let clients =
            lines.iter().enumerate().map(|(place, script)| Client::new(setting, place, script)).collect();
        Self { setting, clients, pooled: Vec::new(), store: Store::default(), now: 1, seed, most }
    }

    pub(super) fn run(&mut self, scheduled_faults: &[ScheduledFault]) {
        let bytes: usize = self.clients.iter().map(|client| client.to_send.len()).sum();
        for at in 0..1500 + bytes / 4 {
            for scheduled in scheduled_faults.iter().filter(|scheduled| scheduled.at == at) {
                self.apply_fault(scheduled.fault);
            }
            let (event, n) = self.draw();
            let client = self.pick(self.clients.len());
            self.turn(event, client, n);
        }
        self.finish();
    }

    fn finish(&mut self) {
        let mut before = None;
        while before != Some(self.progress()) {
            before = Some(self.progress());
            for event in 0..MOVES {
                for client in 0..self.clients.len().max(self.pooled.len()) {
                    self.turn(event, client, usize::MAX);
                }
            }
        }
    }

    fn draw(&mut self) -> (u64, usize) {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed % EVENTS, usize::try_from(self.seed >> 32).unwrap() % self.most + 1)
    }

    fn pick(&mut self, among: usize) -> usize {
        let (_, n) = self.draw();
        (n * 31 + usize::try_from(self.seed % 8191).unwrap()) % among.max(1)
    }

    /// Runs one event, for up to `n` bytes if the event moves bytes.
    fn turn(&mut self, event: u64, place: usize, n: usize) {
        match event {
            0..=5 if place < self.clients.len() => self.client_turn(event, place, n),
            6..=10 if !self.pooled.is_empty() => self.pooled_turn(event, place % self.pooled.len(), n),
            11 => self.pass_time(u64::try_from(n).unwrap()),
            12 if place < self.clients.len() => self.adopt(place),
            _ => {}
        }
    }

    fn client_turn(&mut self, event: u64, place: usize, n: usize) {
        let client = &mut self.clients[place];
        if client.gone {
            return;
        }
        match event {
            0 => client.send_some(n),
            1 => self.requests(place, n),
            2 => self.requests(place, usize::MAX),
            3 => {
                let Some(own) = &mut client.own else { return };
                let n = n.min(client.simulated_client.sent.len());
                let bytes: Vec<u8> = client.simulated_client.sent.drain(..n).collect();
                own.feed_on(&mut self.store, &bytes);
            }
            4 => {
                let Some(own) = &mut client.own else { return };
                let n = n.min(own.output.len());
                client.simulated_client.upstream_input.extend(own.output.drain(..n));
                client.ambiguous |= own.ambiguous;
            }
            _ => client.simulated_client.own_replies(),
        }
        let client = &mut self.clients[place];
        client.cut |= client.simulated_client.fault.is_some();
        if !client.simulated_client.linked {
            client.own = None;
        }
    }

    fn pooled_turn(&mut self, event: u64, place: usize, n: usize) {
        let Some(pooled) = &mut self.pooled[place] else { return };
        match event {
            6 => {
                let n = n.min(pooled.setup.len());
                let bytes: Vec<u8> = pooled.setup.drain(..n).collect();
                pooled.server.feed_on(&mut self.store, &bytes);
            }
            7 if pooled.link.is_ready() => {
                let n = n.min(pooled.outbox.len());
                let bytes: Vec<u8> = pooled.outbox.drain(..n).collect();
                pooled.server.feed_on(&mut self.store, &bytes);
            }
            8 | 9 => {
                let n = n.min(pooled.server.output.len());
                pooled.inbox.extend(pooled.server.output.drain(..n));
            }
            _ => self.deliver(place),
        }
    }

    /// Makes a shared connection the client's own, if only this client has pending replies there.
    fn adopt(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let Some(on) = client.on.filter(|_| !client.gone && client.simulated_client.session.may_adopt())
        else {
            return;
        };
        let key = SessionKey(u64::try_from(place).unwrap());
        let Some(pooled) = &mut self.pooled[on] else { return };
        if pooled.key != client.simulated_client.session.pool_key() {
            return;
        }
        let Some(link) = pooled.link.hand_over(key) else { return };
        let Some(Pooled { server, outbox, inbox, .. }) = self.pooled[on].take() else { return };
        client.on = None;
        client.own = Some(server);
        client.simulated_client.adopt(link, outbox, inbox);
        for other in self.clients.iter_mut().filter(|other| other.awaits == Some(on)) {
            other.awaits = None;
            other.simulated_client.session.pooled(Ok(()));
        }
    }

    fn pass_time(&mut self, millis: u64) {
        self.now += millis * 1_000_000;
        for client in &mut self.clients {
            client.simulated_client.now = Tick::from_nanos(self.now);
        }
    }

    fn requests(&mut self, place: usize, room: usize) {
        self.clients[place].simulated_client.return_lease();
        loop {
            if self.clients[place].simulated_client.session.is_pooled() && !self.has_connection(place) {
                return;
            }
            match self.clients[place].simulated_client.step(room) {
                Turn::Progress => {}
                Turn::Send(commands) => self.send(place, commands),
                Turn::Wait if self.end_wait(place) => {}
                Turn::Wait => return,
            }
        }
    }

    /// Ends the client's wait if that is possible. Returns whether it ended.
    fn end_wait(&mut self, place: usize) -> bool {
        let client = &mut self.clients[place];
        match client.simulated_client.waits {
            Some(Until::Linked) if !client.simulated_client.linked => {
                client.own = Some(self.setting.upstream());
                client.simulated_client.connect();
                true
            }
            Some(Until::Pooled) => self.try_switch(place),
            _ => false,
        }
    }

    /// Returns whether a shared connection is ready for the client's commands. If no reply is pending, another
    /// connection may be chosen.
    fn has_connection(&mut self, place: usize) -> bool {
        let client = &self.clients[place];
        if client.simulated_client.session.is_ending() {
            return true;
        }
        if client.simulated_client.session.has_pending()
            && let Some(on) = client.on
        {
            return self.pooled[on].as_ref().is_none_or(|pooled| pooled.link.takes_more());
        }
        let key = client.simulated_client.session.pool_key();
        let on = self.connection(&key);
        self.clients[place].on = on;
        on.is_some()
    }

    /// Returns a connection of this kind that accepts commands. `None` if there is none yet.
    fn connection(&mut self, key: &PoolKey) -> Option<usize> {
        let of_kind = |pooled: &Option<Pooled>| pooled.as_ref().is_some_and(|pooled| pooled.key == *key);
        let all: Vec<usize> = (0..self.pooled.len()).filter(|place| of_kind(&self.pooled[*place])).collect();
        let wanted = self.pick(MOST_OF_A_KIND);
        if let Some(&place) = all.get(wanted).or_else(|| all.last().filter(|_| all.len() == MOST_OF_A_KIND)) {
            return self.pooled[place]
                .as_ref()
                .is_some_and(|pooled| pooled.link.takes_more())
                .then_some(place);
        }
        let mut link = PooledLink::new(key.clone());
        let setup = link.open();
        let server = self.setting.upstream();
        let (outbox, inbox) = (Vec::new(), Vec::new());
        self.pooled.push(Some(Pooled { link, key: key.clone(), server, setup, outbox, inbox }));
        Some(self.pooled.len() - 1)
    }

    fn send(&mut self, place: usize, commands: PooledCommands) {
        let client = &mut self.clients[place];
        let Some(pooled) = client.on.and_then(|on| self.pooled[on].as_mut()) else {
            panic!("the client has no connection");
        };
        assert_eq!(pooled.key, client.simulated_client.session.pool_key());
        pooled.link.expect(commands.first, commands.pending, commands.shape);
        pooled.outbox.extend(commands.bytes);
    }

    /// Returns whether the connection that the client waits for is ready.
    fn try_switch(&mut self, place: usize) -> bool {
        let key = self.clients[place].simulated_client.session.pool_key();
        let awaits = match self.clients[place].awaits {
            Some(awaits) => Some(awaits),
            None => self.connection(&key),
        };
        self.clients[place].awaits = awaits;
        let ready = awaits
            .and_then(|awaits| self.pooled[awaits].as_ref())
            .is_some_and(|pooled| pooled.link.is_ready());
        if ready {
            self.clients[place].awaits = None;
            self.clients[place].simulated_client.session.pooled(Ok(()));
        }
        ready
    }

    /// Delivers the received replies to their clients.
    fn deliver(&mut self, place: usize) {
        while let Some(pooled) = &mut self.pooled[place] {
            let len = match pooled.link.next(&pooled.inbox) {
                Shared::Own(len) | Shared::Invalidation { len, .. } => len,
                Shared::Need(total) => {
                    assert!(total > pooled.inbox.len(), "the link asks for bytes that it already has");
                    return;
                }
                Shared::Part(part) => {
                    let to = usize::try_from(part.ticket.session.0).unwrap();
                    if let Some(client) = self.clients.get_mut(to).filter(|client| !client.gone) {
                        assert_eq!(client.on, Some(place), "a reply on a connection without a command");
                        assert!(client.simulated_client.receive(&part), "{} refuses its reply", client.tag);
                    }
                    part.bytes.len()
                }
                Shared::Fault(PoolFault::Refused(line)) => {
                    self.pooled[place] = None;
                    for client in self.clients.iter_mut().filter(|client| client.awaits == Some(place)) {
                        client.awaits = None;
                        client.simulated_client.session.pooled(Err(&line));
                    }
                    return;
                }
                Shared::Fault(fault) => panic!("{fault:?}"),
            };
            pooled.inbox.drain(..len);
        }
    }

    fn apply_fault(&mut self, fault: Fault) {
        let place = self.pick(self.clients.len());
        let client = &mut self.clients[place];
        match fault {
            Fault::Disconnects => client.gone = true,
            Fault::ClosesItsSide => client.unsent.append(&mut client.to_send),
            Fault::OwnBreaks if client.simulated_client.linked && !client.gone => {
                client.cut = true;
                client.simulated_client.lose(None);
                client.own = None;
            }
            Fault::OwnBreaks => {}
            Fault::PoolBreaks => {
                let place = self.pick(self.pooled.len());
                self.break_pooled(place);
            }
        }
    }

    fn break_pooled(&mut self, place: usize) {
        let Some(pooled) = self.pooled.get_mut(place).and_then(Option::take) else { return };
        let waiting_sessions: Vec<u64> = pooled.link.waiting_sessions().map(|key| key.0).collect();
        for (at, client) in self.clients.iter_mut().enumerate().filter(|(_, client)| !client.gone) {
            let waits = client.awaits == Some(place);
            if waits || waiting_sessions.contains(&u64::try_from(at).unwrap()) {
                client.awaits = None;
                client.cut = true;
                client.simulated_client.session.lost(None);
            }
        }
    }

    /// Returns the number of bytes at each place, and the counters of finished work.
    fn progress(&self) -> Vec<usize> {
        let clients = self.clients.iter().flat_map(|client| {
            let SimulatedClient {
                client_input,
                sent,
                upstream_input,
                received,
                linked,
                given_back,
                closed,
                ..
            } = &client.simulated_client;
            let (own, seen) = client.own.as_ref().map_or((0, 0), |own| (own.output.len(), own.seen.len()));
            let commands = usize::try_from(client.simulated_client.count.commands).unwrap();
            let flags =
                usize::from(*linked) + 2 * usize::from(closed.is_some()) + 4 * client.awaits.map_or(0, |_| 1);
            [
                client.to_send.len(),
                client_input.len(),
                sent.len(),
                own,
                upstream_input.len(),
                received.len(),
                flags,
                *given_back as usize,
                seen,
                commands,
            ]
        });
        let pooled = self.pooled.iter().flatten().flat_map(|pooled| {
            [pooled.setup.len(), pooled.outbox.len(), pooled.server.output.len(), pooled.inbox.len()]
        });
        clients.chain(pooled).chain([self.pooled.len()]).collect()
    }

    pub(super) fn check(&self) {
        for client in &self.clients {
            client.check(self.setting, &self.store);
            let others = self.clients.iter().filter(|other| other.tag != client.tag);
            for other in others {
                assert!(
                    !show(&client.simulated_client.received).contains(&other.tag),
                    "{} receives {}",
                    client.tag,
                    other.tag
                );
            }
        }
        self.check_settled();
    }

    fn check_settled(&self) {
        for pooled in self.pooled.iter().flatten() {
            assert!(pooled.link.is_settled() && pooled.link.is_ready(), "a reply is still pending");
            assert!(pooled.link.takes_more());
        }
    }

    /// Sends RESET from every connected client. After that no client may have a connection of its own.
    pub(super) fn end_leases(&mut self) {
        for client in
            self.clients.iter_mut().filter(|client| !client.gone && client.simulated_client.closed.is_none())
        {
            if client.simulated_client.session.is_mid_frame() {
                client.simulated_client.client_ended = true;
            } else {
                client.simulated_client.client_input.extend(frames("RESET;PING"));
            }
        }
        self.finish();
        for client in self.clients.iter().filter(|client| !client.gone) {
            assert!(
                client.simulated_client.closed.is_some() || client.simulated_client.session.is_idle(),
                "{}",
                client.tag
            );
            assert!(
                client.simulated_client.closed.is_some()
                    || client.simulated_client.session.lease(client.simulated_client.now) == Lease::None
            );
        }
        self.check_settled();
    }
}

impl Client {
    fn new(setting: Setting, place: usize, script: &[Command]) -> Self {
        let tag = format!("#{place}");
        let users = setting.users();
        let mut simulated_client =
            SimulatedClient::new(SessionKey(u64::try_from(place).unwrap()), setting.plan(&users));
        simulated_client.count.users = users;
        let to_send = script.iter().flat_map(|command| command.clone().tagged(&tag).bytes()).collect();
        Self {
            simulated_client,
            tag,
            to_send,
            sent: Vec::new(),
            unsent: Vec::new(),
            own: None,
            on: None,
            awaits: None,
            gone: false,
            cut: false,
            ambiguous: false,
        }
    }

    fn send_some(&mut self, n: usize) {
        let n = n.min(self.to_send.len());
        self.sent.extend_from_slice(&self.to_send[..n]);
        self.simulated_client.client_input.extend(self.to_send.drain(..n));
    }

    fn check(&self, setting: Setting, store: &Store) {
        let mut reference = setting.reference();
        reference.feed(&self.sent);
        let SimulatedClient { received, closed, desync, fault, session, .. } = &self.simulated_client;
        assert!(!desync, "{}: a reply was taken for another", self.tag);
        assert!(fault.is_none() || self.ambiguous, "{}: {fault:?} after {}", self.tag, show(&self.sent));
        let lost = [received, &reference.output].map(|stream| lines_before_reset(stream));
        let (received, mut received_lines) = without_monitor(received);
        let (expected, mut expected_lines) = without_monitor(&reference.output);
        received_lines -= lost[0];
        expected_lines -= lost[1];
        // The gate may refuse a command before it has received all of it.
        let half = session.is_mid_frame() && received != expected;
        if self.gone || self.cut || half {
            reference.feed(&[&self.to_send[..], &self.unsent].concat());
            let (all, _) = without_monitor(&reference.output);
            assert!(all.starts_with(&received), "\n received {}\n expected {}", show(&received), show(&all));
            assert!(!half || self.gone || self.cut || received.starts_with(&expected));
            return;
        }
        assert_eq!(show(&received), show(&expected), "{} sends {}", self.tag, show(&self.sent));
        assert!(received_lines == expected_lines || reference.closed && received_lines < expected_lines);
        assert_eq!(closed.is_some(), reference.closed);
        let is_settled = reference.closed || session.is_idle() || session.is_mid_frame();
        assert!(is_settled, "{} still has a pending reply after {}", self.tag, show(&self.sent));
        let is_own = |key: &String| key.ends_with(&self.tag);
        let strings: Vec<_> = store.0.iter().filter(|(key, _)| is_own(key)).collect();
        let lists: Vec<_> = store.1.iter().filter(|(key, _)| is_own(key)).collect();
        assert_eq!(strings, reference.strings.iter().collect::<Vec<_>>());
        assert_eq!(lists, reference.lists.iter().collect::<Vec<_>>());
    }
}

impl Model {
    /// Feeds the model like [`Model::feed`], on the shared store.
    fn feed_on(&mut self, store: &mut Store, bytes: &[u8]) {
        std::mem::swap(&mut self.strings, &mut store.0);
        std::mem::swap(&mut self.lists, &mut store.1);
        self.feed(bytes);
        std::mem::swap(&mut self.strings, &mut store.0);
        std::mem::swap(&mut self.lists, &mut store.1);
    }
}
