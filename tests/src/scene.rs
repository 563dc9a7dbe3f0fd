//! Runs one behaviour directly and through the proxy, in both protocols, alone and after a deep pipeline.

use std::cell::Cell;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::certificates::Authority;
use crate::client::Client;
use crate::gate::Gate;
use crate::redis::Redis;

/// The way in which the clients of a test reach Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Redis itself, without a password. It shows the expected behaviour.
    Direct,
    /// `auth: trust`. The proxy sends the password that Redis requires.
    Trust,
    /// `auth: passthrough`, with a Redis that has no password.
    Passthrough,
    /// [`Way::Trust`] with TLS on both sides.
    Tls,
    /// [`Way::Trust`] with `connections: shared`.
    Shared,
}

impl Way {
    /// Returns whether the proxy answers logins itself.
    pub fn is_trust(self) -> bool {
        matches!(self, Self::Trust | Self::Tls | Self::Shared)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Resp2,
    Resp3,
}

/// The number of pipelined commands before the first command of the test.
const DEEP: usize = 1000;

/// The password of Redis under [`Way::Trust`], [`Way::Tls`] and [`Way::Shared`]. No output may contain it.
pub const CANARY: &str = "canary-a7f3c9d2e1";

/// The processes of one test.
pub struct Stage {
    // Dropped first, so that the proxy does not see its upstream end.
    pub gate: Option<Gate>,
    pub redis: Redis,
    pub way: Way,
    trusts: Arc<ClientConfig>,
}

/// The processes of a test, as one variation of a behaviour uses them.
pub struct Scene<'s> {
    pub stage: &'s Stage,
    pub protocol: Protocol,
    lead: usize,
    clients: Cell<usize>,
}

impl Stage {
    pub fn new(way: Way) -> Self {
        let authority = Authority::new("scene");
        let redis = match way {
            Way::Tls => Redis::builder().password(CANARY).tls(&authority.server(), &authority.pem()).start(),
            Way::Trust | Way::Shared => Redis::builder().password(CANARY).start(),
            Way::Direct | Way::Passthrough => Redis::plain(),
        };
        let gate = match way {
            Way::Direct => None,
            Way::Trust => Some(Gate::before(&redis).listener("auth: trust").password(CANARY).start()),
            Way::Shared => Some(
                Gate::before(&redis)
                    .listener("auth: trust")
                    .password(CANARY)
                    .upstream("connections: shared")
                    .start(),
            ),
            Way::Passthrough => Some(Gate::before(&redis).start()),
            Way::Tls => Some(
                Gate::before(&redis)
                    .listener("auth: trust")
                    .password(CANARY)
                    .tls(&authority.server(), "")
                    .file("ca.pem", &authority.pem())
                    .upstream("tls: {ca: ca.pem, server_name: localhost}")
                    .start(),
            ),
        };
        Self { gate, redis, way, trusts: authority.client() }
    }

    pub fn is_direct(&self) -> bool {
        self.way == Way::Direct
    }

    /// Returns whether the commands of a client may share a connection to Redis with those of other clients.
    pub fn is_shared(&self) -> bool {
        self.way == Way::Shared
    }

    /// Returns whether the proxy connects a client again whose connection to Redis was closed.
    pub fn outlives_connections(&self) -> bool {
        self.way.is_trust()
    }

    /// Removes all keys, and waits until Redis has closed the subscribers of earlier clients.
    fn clear(&self) {
        self.redis.control().assert_reply("FLUSHALL", "+OK");
        self.redis.await_subscribers(0);
    }

    /// Connects a client to Redis or to the proxy, in RESP2.
    pub fn connect(&self) -> Client {
        match &self.gate {
            None => Client::tcp(self.redis.address()),
            Some(gate) if self.way == Way::Tls => Client::tls(gate.address(), &self.trusts, "localhost"),
            Some(gate) => gate.connect(),
        }
    }
}

impl Scene<'_> {
    /// Connects the client under test, in the protocol of this variation. If the variation has a pipeline of 1,000
    /// commands, the pipeline goes out with the first command of the test.
    pub fn client(&self) -> Client {
        let mut client = self.other();
        self.clients.set(self.clients.get() + 1);
        client.lead(&format!("lead:{}", self.clients.get()), self.lead);
        client
    }

    /// Connects another client in the same protocol, without a pipeline.
    pub fn other(&self) -> Client {
        let mut client = self.stage.connect();
        if self.protocol == Protocol::Resp3 {
            assert_eq!(client.call("HELLO 3").items()[5].to_string(), ":3");
        }
        client
    }

    /// Writes the message of a subscription: `["a" "b"]`, or `>["a" "b"]` in RESP3.
    pub fn push(&self, items: &str) -> String {
        match self.protocol {
            Protocol::Resp2 => format!("[{items}]"),
            Protocol::Resp3 => format!(">[{items}]"),
        }
    }

    /// Returns the null in place of a bulk string, as this protocol has it.
    pub fn nil(&self) -> &'static str {
        self.by("nil", "null")
    }

    pub fn by<T>(&self, resp2: T, resp3: T) -> T {
        match self.protocol {
            Protocol::Resp2 => resp2,
            Protocol::Resp3 => resp3,
        }
    }

    pub fn is_resp2(&self) -> bool {
        self.protocol == Protocol::Resp2
    }
}

/// Runs `behaviour` in both protocols, alone and after a pipeline, each time on an empty Redis.
pub fn play(way: Way, behaviour: fn(&Scene<'_>)) {
    let stage = Stage::new(way);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        // TLS carries the same bytes as plain text, so the variation with a pipeline is enough.
        for lead in if way == Way::Tls { &[DEEP][..] } else { &[0, DEEP] }.iter().copied() {
            let note = Note(way, protocol, lead);
            stage.clear();
            behaviour(&Scene { stage: &stage, protocol, lead, clients: Cell::new(0) });
            drop(note);
        }
    }
}

/// Prints the variation in which a test failed.
struct Note(Way, Protocol, usize);

impl Drop for Note {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(way, protocol, lead) = self;
            // A failed write is ignored, because the test has failed already.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr().lock(),
                format_args!("in variation {way:?}, {protocol:?}, after {lead} pipelined commands\n"),
            );
        }
    }
}

/// Makes five tests of each function `fn name(scene: &Scene)`: direct, trust, passthrough, TLS and shared
/// connections.
#[macro_export]
macro_rules! behaviours {
    ($($(#[$meta:meta])* fn $name:ident($scene:ident: &Scene<'_>) $body:block)*) => {$(
        $(#[$meta])*
        fn $name($scene: &$crate::Scene<'_>) $body

        mod $name {
            #[test]
            fn direct() {
                $crate::scene::play($crate::Way::Direct, super::$name);
            }

            #[test]
            fn trust() {
                $crate::scene::play($crate::Way::Trust, super::$name);
            }

            #[test]
            fn tls() {
                $crate::scene::play($crate::Way::Tls, super::$name);
            }

            #[test]
            fn passthrough() {
                $crate::scene::play($crate::Way::Passthrough, super::$name);
            }

            #[test]
            fn shared() {
                $crate::scene::play($crate::Way::Shared, super::$name);
            }
        }
    )*};
}
