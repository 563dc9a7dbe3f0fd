//! `connections: shared`: many clients use few connections to Redis, and each client seems to have a server of its own.
//!
//! The other files test what is true for every connection: each of the `behaviours!` of this package also runs with
//! shared connections. Behaviours that differ there say so in their code. WAIT is refused. The ids of CLIENT ID are the
//! proxy's own, so Redis cannot use them for CLIENT KILL, CLIENT UNBLOCK and CLIENT TRACKING REDIRECT.

mod alone;
mod crowd;
mod fairness;
mod faults;
mod forged;
mod leases;
mod leaving;
mod order;
mod pause;
mod pipelines;
mod restart;
mod state;
mod users;

use e2e::client::encode;
use e2e::fake::bulk;
use e2e::{Client, Fake, Gate, GateBuilder};

/// Makes tests of behaviour that is the same on direct and on shared connections.
#[macro_export]
macro_rules! alike {
    ($($(#[$meta:meta])* fn $name:ident($scene:ident: &Scene<'_>) $body:block)*) => {$(
        $(#[$meta])*
        fn $name($scene: &e2e::Scene<'_>) $body

        mod $name {
            #[test]
            fn direct() {
                e2e::scene::play(e2e::Way::Direct, super::$name);
            }

            #[test]
            fn shared() {
                e2e::scene::play(e2e::Way::Shared, super::$name);
            }
        }
    )*};
}

/// Builds a proxy with one worker, so that all clients may share connections.
fn before(fake: &Fake) -> GateBuilder {
    sharing(Gate::before_address(&fake.address()))
}

fn sharing(builder: GateBuilder) -> GateBuilder {
    builder
        .listener("auth: trust")
        .upstream("connections: shared")
        .upstream("failover_wait: off")
        .top("workers: 1")
}

/// Returns the number of the proxy's connections to its upstream, from `/metrics`.
fn connections(gate: &Gate, state: &str) -> f64 {
    gate.metric("upstream_connections", &[("state", state)])
}

/// Reads the replies `due`, byte for byte. Returns false if the connection closed after a part of them. An error line
/// of the proxy may come before the close.
#[track_caller]
fn recv_own_or_closed(client: &mut Client, due: &[Vec<u8>]) -> bool {
    for reply in due {
        let mut got = Vec::new();
        if client.read_up_to(reply.len(), &mut got) && got == *reply {
            continue;
        }
        let cut_short = reply.starts_with(&got);
        got.extend(client.read_to_end().0);
        let line = String::from_utf8_lossy(&got);
        let told = line.starts_with("-ERR portcullis: ") && line.find("\r\n") == Some(line.len() - 2);
        assert!(cut_short || told, "{line:?} instead of {}", reply.escape_ascii());
        return false;
    }
    true
}

/// Clients with unique values. A few of them share each connection.
struct Neighbours<'g> {
    gate: &'g Gate,
    clients: Vec<Client>,
    round: usize,
}

impl<'g> Neighbours<'g> {
    /// The number of clients, which is enough to use every shared connection of one worker.
    const COUNT: usize = 32;

    /// The number of replies that are pending for each client.
    const DEPTH: usize = 3;

    #[track_caller]
    fn enter(gate: &'g Gate) -> Self {
        let mut all = Self { gate, clients: Vec::new(), round: 0 };
        all.clients = (0..Self::COUNT).map(|_| gate.connect()).collect();
        all.assert_served();
        all
    }

    fn send(&mut self) {
        self.round += 1;
        for (number, client) in self.clients.iter_mut().enumerate() {
            for text in texts(number, self.round) {
                client.hold(&encode(&[b"ECHO", text.as_bytes()]));
            }
            client.send_raw(b"");
        }
    }

    /// Checks that each client receives exactly its own replies.
    #[track_caller]
    fn assert_own_replies(&mut self) {
        for (number, client) in self.clients.iter_mut().enumerate() {
            for text in texts(number, self.round) {
                client.assert_recv_raw(&bulk(&text));
            }
        }
    }

    #[track_caller]
    fn assert_served(&mut self) {
        self.send();
        self.assert_own_replies();
    }

    /// Checks that each client receives its own replies, or a part of them and then the close. Replaces the clients
    /// that were closed, and returns their number.
    #[track_caller]
    fn assert_own_replies_or_closed(&mut self) -> usize {
        let mut ended = 0;
        for (number, client) in self.clients.iter_mut().enumerate() {
            let due = texts(number, self.round).map(|text| bulk(&text));
            if !recv_own_or_closed(client, &due) {
                *client = self.gate.connect();
                ended += 1;
            }
        }
        ended
    }

    /// Returns the connections of `fake` on which the last commands of the clients arrived.
    fn connections(&self, fake: &Fake) -> Vec<usize> {
        let mut connections: Vec<usize> = (0..Self::COUNT)
            .flat_map(|number| fake.connections_with(&format!("ECHO {}", texts(number, self.round)[0])))
            .collect();
        connections.sort_unstable();
        connections.dedup();
        connections
    }
}

fn texts(number: usize, round: usize) -> [String; Neighbours::DEPTH] {
    std::array::from_fn(|k| format!("neighbour:{number}:{round}:{k}"))
}
