//! Redis stops, hangs or restarts. Pending commands end, and no reply is sent twice or to another client.

use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::fake::bulk;
use e2e::{Answer, Client, Fake, Gate, Redis, eventually};
use rustix::process::Signal;

use super::{Neighbours, before, recv_own_or_closed, sharing};

/// Clients without pending commands continue on new connections. The other clients are closed.
#[test]
fn killed_and_started_again() {
    let mut redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let mut resting: Vec<Client> = (0..10).map(|_| gate.connect()).collect();
    for (number, client) in resting.iter_mut().enumerate() {
        client.assert_reply(&format!("SELECT {}", number % 3), "+OK");
        if number % 2 == 1 {
            client.call("HELLO 3");
        }
        client.assert_reply(&format!("CLIENT SETNAME name-{number}"), "+OK");
    }
    let mut watching = gate.connect();
    watching.assert_reply("WATCH k", "+OK");
    let mut neighbours = Neighbours::enter(&gate);
    for _ in 0..3 {
        redis.signal(Signal::STOP);
        neighbours.send();
        // After this time the command has been sent to Redis.
        std::thread::sleep(Duration::from_millis(50));
        redis.kill();
        neighbours.assert_own_replies_or_closed();
        redis.start_again(&[], true);
        eventually("the upstream is known to be up", || (gate.get("/ready").0 == 200).then_some(()));
        neighbours.assert_served();
        for (number, client) in resting.iter_mut().enumerate() {
            client.assert_reply(&format!("SET own:{number} {number}"), "+OK");
            client.assert_reply(&format!("GET own:{number}"), &format!("\"{number}\""));
            client.assert_reply("GET nothing", if number % 2 == 1 { "null" } else { "nil" });
            client.assert_reply("CLIENT GETNAME", &format!("\"name-{number}\""));
        }
        let mut control = redis.control();
        for number in 0..10 {
            control.assert_reply(&format!("SELECT {}", number % 3), "+OK");
            control.assert_reply(&format!("GET own:{number}"), &format!("\"{number}\""));
        }
    }
    // A lost WATCH must not continue without notice.
    watching.assert_closed();
}

/// No command is in progress, so no client notices.
#[test]
fn restarted_while_all_rest() {
    let mut redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let mut neighbours = Neighbours::enter(&gate);
    for _ in 0..3 {
        redis.kill();
        redis.start_again(&[], true);
        eventually("the upstream is known to be up", || (gate.get("/ready").0 == 200).then_some(()));
        neighbours.assert_served();
    }
}

/// Clients get one error line of the proxy, and then the close. Later clients are served.
#[test]
fn redis_is_down() {
    let mut redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let mut resting = gate.connect();
    resting.assert_reply("PING", "+PONG");
    redis.kill();
    let mut others: Vec<Client> = (0..20).map(|_| gate.connect()).collect();
    for client in &mut others {
        client.hold(&command("GET k"));
        client.send("GET other");
    }
    for client in others.iter_mut().chain([&mut resting]) {
        let _ = client.try_send_raw(&command("GET k"));
        let (got, _) = client.read_to_end();
        assert_eq!(
            String::from_utf8_lossy(&got),
            "-ERR portcullis: upstream 'main' unavailable (refused)\r\n"
        );
    }
    redis.start_again(&[], true);
    eventually("the upstream is known to be up", || (gate.get("/ready").0 == 200).then_some(()));
    Neighbours::enter(&gate).assert_served();
}

/// Each confirmed increment happened once. No increment happened that was not sent.
#[test]
fn no_reply_is_sent_twice() {
    let mut redis = Redis::builder().line("appendonly yes").line("appendfsync always").start();
    let gate = sharing(Gate::before(&redis)).start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let address = gate.address();
    let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let counting: Vec<_> = (0..8)
            .map(|number| {
                let stop = &stop;
                scope.spawn(move || {
                    let (mut sent, mut acknowledged) = (0, 0);
                    let mut client = Client::tcp(address);
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        sent += 1;
                        if client.try_send_raw(&command(&format!("INCR count:{number}"))).is_err() {
                            client = Client::tcp(address);
                            continue;
                        }
                        let mut kind = Vec::new();
                        if client.read_up_to(1, &mut kind) && kind == b":" {
                            let mut rest = Vec::new();
                            while !rest.ends_with(b"\r\n") {
                                assert!(client.read_up_to(1, &mut rest), "half a number");
                            }
                            acknowledged += 1;
                        } else {
                            std::thread::sleep(Duration::from_millis(20));
                            client = Client::tcp(address);
                        }
                    }
                    (sent, acknowledged)
                })
            })
            .collect();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            redis.kill();
            std::thread::sleep(Duration::from_millis(50));
            redis.start_again(&["appendonly yes", "appendfsync always"], true);
        }
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        counting.into_iter().map(|thread| thread.join().expect("it counts")).collect()
    });
    let mut control = redis.control();
    for (number, (sent, acknowledged)) in counts.into_iter().enumerate() {
        let stored: u64 = control.call(&format!("GET count:{number}")).text().parse().expect("a number");
        assert!(acknowledged > 0, "no command of client {number} succeeded");
        assert!(acknowledged <= stored && stored <= sent, "{acknowledged} <= {stored} <= {sent}");
    }
}

/// The proxy closes the connection of a silent upstream and all clients that wait on it. No client receives later
/// output from it.
#[test]
fn a_response_that_does_not_come() {
    let fake =
        Fake::start(|words| (words == ["GET", "held"]).then(|| Answer::Held(Vec::new(), bulk("too late"))));
    let gate = before(&fake).upstream("response_timeout: 1s").start();
    let mut neighbours = Neighbours::enter(&gate);
    let mut client = gate.connect();
    client.send("GET held");
    let connection = fake.connection_with("GET held");
    neighbours.send();
    let since = Instant::now();
    assert!(!recv_own_or_closed(&mut client, &[bulk("held@0")]));
    let took = since.elapsed();
    assert!(
        took > Duration::from_millis(500) && took < Duration::from_secs(5),
        "the proxy gave up after {took:?}"
    );
    let ended = neighbours.assert_own_replies_or_closed();
    assert!(ended > 0, "no client waited there: this proves nothing");
    neighbours.assert_served();
    fake.release();
    fake.assert_left(connection);
    neighbours.assert_served();
}

/// A command without a time limit does not make the upstream count as silent.
#[test]
fn a_response_that_may_take_its_time() {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).upstream("response_timeout: 2s").start();
    let mut neighbours = Neighbours::enter(&gate);
    let mut client = gate.connect();
    client.send("BLPOP list 0");
    for _ in 0..35 {
        neighbours.assert_served();
        std::thread::sleep(Duration::from_millis(100));
    }
    redis.control().assert_reply("RPUSH list x", ":1");
    client.assert_recv(r#"["list" "x"]"#);
    neighbours.assert_served();
}

/// Redis closes connections for its own reasons. Waiting clients get an error, and idle clients notice nothing.
#[test]
fn connections_that_redis_ends() {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let mut neighbours = Neighbours::enter(&gate);
    for _ in 0..10 {
        redis.control().call("CLIENT KILL TYPE normal");
        neighbours.send();
        neighbours.assert_own_replies_or_closed();
        neighbours.assert_served();
    }
    for _ in 0..3 {
        // The pause is long enough for the proxy to notice the close.
        redis.control().call("CLIENT KILL TYPE normal");
        std::thread::sleep(Duration::from_millis(100));
        neighbours.assert_served();
    }
}

/// The upstream's address changes. Idle clients move to the new address, and no client reads another client's value.
#[test]
fn the_upstream_moves() {
    let (one, two) = (Fake::start(|_| None), Fake::start(|_| None));
    let yaml = "\
listeners: [{name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [127.0.0.1], auth: trust}]
upstreams: {main: {address: 'ADDRESS', connections: shared}}
admin: {bind: '127.0.0.1:{admin}'}
workers: 1
reload: signal
";
    let gate = Gate::before_address(&one.address()).config(&yaml.replace("ADDRESS", &one.address())).start();
    let mut neighbours = Neighbours::enter(&gate);
    neighbours.send();
    gate.apply(&yaml.replace("ADDRESS", &two.address()));
    neighbours.assert_own_replies();
    neighbours.assert_served();
    let mut fresh = gate.connect();
    fresh.assert_reply("GET fresh", r#""fresh@0""#);
    assert_eq!(one.connections_with("GET fresh").len() + two.connections_with("GET fresh").len(), 1);
    assert_eq!(two.connections_with("GET fresh").len(), 1, "a new client uses the old upstream");
}
