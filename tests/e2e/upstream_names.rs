//! Upstreams that are named by DNS, with a name server that answers as the test decides.

use e2e::names::{NameServer, Zone, resolving};
use e2e::{Gate, Redis, eventually, namespace};

const NAME: &str = "redis.example";

/// Two servers on the same port of two addresses, and a name server that leads to one of them.
struct Fixture {
    names: NameServer,
    first: Redis,
    second: Redis,
    directory: tempfile::TempDir,
}

const FIRST: &str = "127.0.0.1";
const SECOND: &str = "127.0.0.2";

impl Fixture {
    /// Starts a proxy before the name, with further lines of its upstream.
    fn start(&self, upstream: &[&str]) -> Gate {
        let address = format!("{NAME}:{}", self.first.address().port());
        let gate =
            Gate::before_address(&address).listener("auth: trust").under(resolving(self.directory.path()));
        upstream.iter().fold(gate, |gate, line| gate.upstream(line)).start()
    }

    #[track_caller]
    fn assert_moved(&self, gate: &Gate) {
        let port = self.first.address().port();
        gate.assert_log(&format!("{NAME} is now {SECOND}:{port} (was {FIRST}:{port})"));
    }

    fn lead_to(&self, address: &str) {
        self.names.set_addresses(NAME, &[address]);
    }
}

/// Runs a test in its own namespace.
fn alone(test: impl FnOnce(&mut Fixture) + Send) {
    namespace::alone("names of upstreams are", || {
        let first = Redis::plain();
        let second = Redis::builder()
            .line(&format!("bind {SECOND}"))
            .line(&format!("port {}", first.address().port()))
            .start();
        let directory = tempfile::tempdir().expect("a scratch directory");
        let mut fixture = Fixture { names: NameServer::start(), first, second, directory };
        fixture.lead_to(FIRST);
        test(&mut fixture);
    });
}

/// The connections of clients of the proxy. Its health check has one more.
fn connections(redis: &Redis) -> usize {
    redis.tcp_clients().iter().filter(|client| !client.contains("cmd=ping")).count()
}

fn key(redis: &Redis) -> String {
    redis.control().call("GET k").to_string()
}

/// As after the failover of a managed Redis.
#[test]
fn clients_of_shared_connections_go_on_at_the_new_address() {
    alone(|fixture| {
        let gate = fixture.start(&["connections: shared", "resolve_every: 1s"]);
        let mut client = gate.connect();
        client.assert_reply("SET k first", "+OK");
        assert_eq!(key(&fixture.first), "\"first\"");
        fixture.lead_to(SECOND);
        fixture.assert_moved(&gate);
        client.assert_reply("SET k second", "+OK");
        assert_eq!([key(&fixture.first), key(&fixture.second)], ["\"first\"", "\"second\""]);
        eventually("no connection to the old address is left", || {
            fixture.first.tcp_clients().is_empty().then_some(())
        });
        client.assert_reply("GET k", "\"second\"");
    });
}

#[test]
fn an_idle_client_of_a_dedicated_connection_is_closed_and_a_subscriber_stays() {
    alone(|fixture| {
        let gate = fixture.start(&["resolve_every: 1s", "failover_wait: off"]);
        let (mut idle, mut subscriber, mut blocked) = (gate.connect(), gate.connect(), gate.connect());
        idle.assert_reply("SET k first", "+OK");
        subscriber.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#);
        blocked.send("BLPOP list 0");
        eventually("all are connected", || (connections(&fixture.first) == 3).then_some(()));
        fixture.lead_to(SECOND);
        idle.assert_closed();
        let mut next = gate.connect();
        next.assert_reply("SET k second", "+OK");
        assert_eq!([key(&fixture.first), key(&fixture.second)], ["\"first\"", "\"second\""]);
        let mut control = fixture.first.control();
        control.assert_reply("PUBLISH c hello", ":1");
        subscriber.assert_recv(r#"["message" "c" "hello"]"#);
        control.assert_reply("RPUSH list x", ":1");
        blocked.assert_recv(r#"["list" "x"]"#);
        blocked.assert_closed();
        subscriber.assert_reply("UNSUBSCRIBE", r#"["unsubscribe" "c" :0]"#);
        subscriber.assert_closed();
    });
}

#[test]
fn an_idle_client_of_a_dedicated_connection_goes_on_at_the_new_address() {
    alone(|fixture| {
        let gate = fixture.start(&["resolve_every: 1s"]);
        let mut client = gate.connect();
        client.assert_reply("SELECT 0", "+OK");
        client.assert_reply("SET k first", "+OK");
        fixture.lead_to(SECOND);
        eventually("the connection to the old address is closed", || {
            (connections(&fixture.first) == 0).then_some(())
        });
        client.assert_reply("SET k second", "+OK");
        assert_eq!([key(&fixture.first), key(&fixture.second)], ["\"first\"", "\"second\""]);
    });
}

/// The interval is long: it is the failure that asks for a lookup.
#[test]
fn failures_ask_for_a_lookup() {
    alone(|fixture| {
        let gate = fixture.start(&["connections: shared", "resolve_every: 1h"]);
        let mut client = gate.connect();
        client.assert_reply("SET k first", "+OK");
        // The server becomes a replica, and the name follows later.
        fixture.first.control().assert_reply("REPLICAOF 127.0.0.9 1", "+OK");
        fixture.lead_to(SECOND);
        eventually("writes go to the new master", || {
            let reply = client.call("SET k second").to_string();
            assert!(reply == "+OK" || reply.starts_with("-READONLY"), "{reply}");
            (reply == "+OK").then_some(())
        });
        assert_eq!(key(&fixture.second), "\"second\"");
        fixture.first.control().assert_reply("REPLICAOF NO ONE", "+OK");
        // The server goes away.
        fixture.lead_to(FIRST);
        fixture.second.kill();
        eventually("clients are served by the other server", || {
            (gate.connect().call("SET k third").to_string() == "+OK").then_some(())
        });
        assert_eq!(key(&fixture.first), "\"third\"");
        eventually("the proxy is ready", || (gate.get("/ready").0 == 200).then_some(()));
    });
}

#[test]
fn the_last_good_answer_is_kept() {
    alone(|fixture| {
        let gate = fixture.start(&["resolve_every: 1s"]);
        gate.connect().assert_reply("SET k first", "+OK");
        fixture.names.set(NAME, Zone::Fails);
        gate.assert_log("cannot resolve redis.example");
        gate.connect().assert_reply("GET k", "\"first\"");
        fixture.lead_to(SECOND);
        gate.assert_log("redis.example resolves again");
        fixture.assert_moved(&gate);
        gate.connect().assert_reply("GET k", "nil");
    });
}

#[test]
fn a_name_that_is_unknown_at_the_start_serves_once_it_resolves() {
    const UNAVAILABLE: &str = "-ERR portcullis: upstream 'main' unavailable (resolve)";
    alone(|fixture| {
        for zone in [Zone::Fails, Zone::Silent] {
            fixture.names.set(NAME, zone);
            let gate = fixture.start(&["connect_timeout: 200ms"]);
            gate.connect().assert_reply("GET k", UNAVAILABLE);
            fixture.lead_to(FIRST);
            eventually("the name serves", || {
                (gate.connect().call("GET k").to_string() == "nil").then_some(())
            });
        }
    });
}
