//! Random commands of many clients, each sent through the proxy and directly to a reference server of the same
//! version. Meanwhile the test kills connections to Redis and reloads rules. Each client must receive the replies of
//! the reference server.
//!
//! `E2E_SEED` selects the commands, `E2E_FUZZ_SECONDS` the duration. The test runs with each server of
//! `TEST_SERVERS`.

mod actor;
mod script;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use e2e::random::number;
use e2e::{Authority, Client, Gate, Random, Redis, Server};
use rustls::ClientConfig;

use self::actor::Actor;
use self::script::{Listener, password};

const ACTORS: u64 = 20;

/// Seconds of the run in the default tests, for each server.
const SECONDS: u64 = 6;

/// The rules of both users, at the proxy and on the reference server.
const ALICE: &str = "+@all -flushall -debug -keys -config -monitor -swapdb ~k:* &c:s:* &c:p:*";
const BOB: &str = "+@all -flushall -debug -keys -config -monitor -swapdb -set ~k:* &c:s:* &c:p:*";

/// The permission that every other configuration withdraws.
const WITHDRAWN: &str = " -getset";

/// The time for which a disturbance continues after its cause, because the proxy and the clients notice it later.
const AFTERMATH: Duration = Duration::from_millis(600);

/// The time between two disturbances, in which no connection may close.
const CALM: Duration = Duration::from_millis(400);

const UPSTREAM: &str = "canary-upstream";

#[derive(Default)]
struct Tally {
    /// The number of equal replies.
    compared: AtomicU64,
    /// The number of clients that disconnected in the middle.
    left: AtomicU64,
    /// The number of clients that the proxy disconnected in a disturbance.
    closed: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

struct Stage {
    // The proxy is dropped first, because it must not see the end of its upstream.
    gate: Gate,
    redis: Redis,
    beside: Redis,
    version: u32,
    /// Whether the upstream speaks TLS.
    tls: bool,
    trusts: Arc<ClientConfig>,
    until: Instant,
    tally: Tally,
    /// Increases when a disturbance begins, and again when it ends.
    disturbances: AtomicU64,
    /// The lines of the audit trail that the proxy wrote in each past disturbance.
    disturbed: Mutex<Vec<Range<usize>>>,
    failed: AtomicBool,
}

impl Stage {
    fn connect(&self, listener: Listener) -> Option<Client> {
        let host = match listener {
            Listener::Users => 1,
            Listener::Shared => 2,
            Listener::Public => 3,
            Listener::Passthrough => 4,
        };
        let to = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), self.gate.port()));
        match listener {
            Listener::Users => Client::try_tls(to, &self.trusts, "localhost").ok(),
            _ => Some(Client::tcp(to)),
        }
    }

    fn twin(&self) -> SocketAddr {
        self.beside.address()
    }

    fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::SeqCst)
    }

    /// Returns whether a disturbance was in progress at `since`, or began later.
    fn was_disturbed_since(&self, since: u64) -> bool {
        !since.is_multiple_of(2) || self.disturbances() != since
    }

    fn disturb(&self, act: impl FnOnce()) {
        self.disturbances.fetch_add(1, Ordering::SeqCst);
        let begin = self.audited();
        act();
        thread::sleep(AFTERMATH);
        self.disturbed.lock().expect("no thread panics with the lock").push(begin..self.audited());
        self.disturbances.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns whether the proxy wrote line `number` of the audit trail in a past disturbance.
    fn was_disturbed_at(&self, number: usize) -> bool {
        self.disturbed
            .lock()
            .expect("no thread panics with the lock")
            .iter()
            .any(|lines| lines.contains(&number))
    }

    /// Returns whether Redis closed a connection because of too much pending output. Without a login Redis allows 1
    /// KiB, and lines of MONITOR from before RESET may still be pending.
    fn has_overrun(&self) -> bool {
        self.redis.log().contains("closed for overcoming of output buffer limits")
    }

    /// Returns the number of complete lines in the audit trail.
    fn audited(&self) -> usize {
        self.gate.stdout().matches('\n').count()
    }

    fn kill(&self, kind: &str) {
        self.control().call(&format!("CLIENT KILL TYPE {kind}"));
    }

    fn control(&self) -> Client {
        let mut control = Client::unix(&self.redis.socket());
        control.assert_reply("AUTH control any", "+OK");
        control
    }

    fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    fn failing(&self) -> Failing<'_> {
        Failing(&self.failed)
    }
}

/// Stops the other threads when one fails.
struct Failing<'s>(&'s AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Returns the configuration. `more` withdraws further permissions from the users.
fn configuration(redis: &Redis, tls: bool, more: &str) -> String {
    let tls = if tls { "tls: {ca: ca.pem, server_name: localhost}, " } else { "" };
    let own =
        format!("address: {{redis}}, {tls}credentials: {{username: gate, password: {{file: gate.pw}}}}");
    format!(
        r#"
listener_defaults: {{allow: [127.0.0.0/8]}}
listeners:
  - {{name: users, bind: "127.0.0.1:{{port}}", upstream: own, auth: users, users: [alice, bob],
     tls: {{cert: server.pem, key: server.key}}}}
  - {{name: shared, bind: "127.0.0.2:{{port}}", upstream: pool, auth: users, users: [alice, bob]}}
  - {{name: public, bind: "127.0.0.3:{{port}}", upstream: own, auth: trust, acl: "@public ~k:* &c:s:* &c:p:*"}}
  - {{name: passthrough, bind: "127.0.0.4:{{port}}", upstream: plain}}
upstreams:
  own: {{{own}}}
  pool: {{{own}, connections: shared}}
  plain: {{address: "unix:{socket}"}}
users:
  alice: {{password: {{file: alice.pw}}, acl: "{ALICE}{more}"}}
  bob: {{password: {{file: bob.pw}}, acl: "{BOB}{more}"}}
workers: 3
reload: signal
admin: {{bind: "127.0.0.1:{{admin}}"}}
"#,
        socket = redis.socket().display(),
    )
}

fn stage(server: &Server, seconds: u64) -> Stage {
    let authority = Authority::new("differential");
    let tls = server.has_tls();
    let redis = Redis::builder().server(server);
    let redis = if tls { redis.tls(&authority.server(), &authority.pem()) } else { redis };
    let redis = redis
        .line("user default off")
        .line(&format!("user gate on >{UPSTREAM} ~* &* +@all"))
        .line(&format!("user carol on >{} resetchannels ~k:* &c:s:* &c:p:* +@all -debug", password("carol")))
        .line("user control on nopass ~* &* +@all")
        .start();
    let user = |name: &str, rules: &str| format!("user {name} on >{} resetchannels {rules}", password(name));
    let beside = Redis::builder()
        .server(server)
        .line("user default on nopass ~* &* +@all -debug")
        .line(&user("alice", ALICE))
        .line(&user("bob", BOB))
        .line(&user("carol", "~k:* &c:s:* &c:p:* +@all -debug"))
        .start();
    let mut gate = Gate::before(&redis)
        .config(&configuration(&redis, tls, ""))
        .file("ca.pem", &authority.pem())
        .file("gate.pw", UPSTREAM)
        .secret(UPSTREAM);
    let pair = authority.server();
    gate = gate.file("server.pem", &pair.cert).file("server.key", &pair.key);
    for user in ["alice", "bob"] {
        gate = gate.file(&format!("{user}.pw"), password(user)).secret(password(user));
    }
    Stage {
        gate: gate.start(),
        tls,
        version: server.version().0,
        beside,
        redis,
        trusts: authority.client(),
        until: Instant::now() + Duration::from_secs(seconds),
        tally: Tally::default(),
        disturbances: AtomicU64::new(0),
        disturbed: Mutex::default(),
        failed: AtomicBool::new(false),
    }
}

/// Kills connections to Redis, changes rules, and lets the clients work undisturbed for a while, in turn.
fn trouble(stage: &Stage, seed: u64) {
    let _failing = stage.failing();
    let mut random = Random::new(seed);
    let configurations = [WITHDRAWN, ""].map(|more| configuration(&stage.redis, stage.tls, more));
    let mut next = configurations.iter().cycle();
    loop {
        thread::sleep(CALM);
        if stage.is_over() {
            return;
        }
        stage.disturb(|| match random.below(3) {
            0 => stage.kill("normal"),
            1 => stage.kill("pubsub"),
            _ => {
                let configuration = next.next().expect("a cycle does not end");
                stage.gate.apply(configuration);
            }
        });
    }
}

/// Publishes messages like those of Sentinels all the time. No client of the proxy may receive them.
fn chatter(stage: &Stage) {
    let _failing = stage.failing();
    let mut control = stage.control();
    while !stage.is_over() {
        // The connection may have been killed with the others.
        if control.try_send_raw(&e2e::client::command("PUBLISH __sentinel__:hello secret")).is_err()
            || control.try_recv().is_err()
        {
            control = stage.control();
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_client_reads_the_replies_of_the_reference_server() {
    for server in Server::all() {
        run(&server, number("E2E_SEED", 1), number("E2E_FUZZ_SECONDS", SECONDS));
    }
}

fn run(server: &Server, seed: u64, seconds: u64) {
    let stage = stage(server, seconds);
    thread::scope(|scope| {
        let stage = &stage;
        let mut threads: Vec<_> =
            (0..ACTORS).map(|number| scope.spawn(move || Actor::new(stage, number, seed).live())).collect();
        threads.push(scope.spawn(move || trouble(stage, seed)));
        threads.push(scope.spawn(move || chatter(stage)));
        let failed = threads.into_iter().map(thread::ScopedJoinHandle::join).filter(Result::is_err).count();
        assert_eq!(failed, 0, "clients with different replies ({}, E2E_SEED={seed})", server.name);
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let tally = &stage.tally;
    let (compared, left, closed) = (count(&tally.compared), count(&tally.left), count(&tally.closed));
    // The output is not essential, so errors are ignored. It is printed on success as well, because the test exists for
    // these numbers.
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr().lock(),
        format_args!(
            "{compared} replies agree, {left} clients left, {closed} were closed in {} disturbances ({})\n",
            stage.disturbances() / 2,
            server.name
        ),
    );
    for upstream in ["own", "pool", "plain"] {
        let broken =
            stage.gate.metric("upstream_errors_total", &[("upstream", upstream), ("kind", "protocol")]);
        assert_eq!(broken, 0.0, "replies of {upstream} did not match their commands");
    }
    assert!(
        compared > 1000 && left > 0 && closed > 0,
        "{compared} {left} {closed}: too few to prove anything"
    );
}
