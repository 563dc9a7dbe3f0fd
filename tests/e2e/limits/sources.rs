//! `limits.per_source`: the clients and the connects of each address, or of each IPv6 /64.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Client, Gate, Redis, eventually};

use super::{MAX_CLIENTS, counts, with};

const TOO_MANY: &str = "-ERR too many connections from your address, try again later";

#[track_caller]
fn assert_refused(client: &mut Client, line: &str) {
    client.assert_recv(line);
    client.assert_closed();
}

#[test]
fn clients_of_one_address() {
    let redis = Redis::plain();
    let gate =
        Gate::before(&redis).allow("[127.0.0.0/8]").listener("limits: {per_source: {clients: 2}}").start();
    let from = |address: &str| gate.connect_from(address, "127.0.0.1");
    let (mut one, mut two, mut other) = (from("127.0.0.1"), from("127.0.0.1"), from("127.0.0.2"));
    for client in [&mut one, &mut two, &mut other] {
        client.assert_reply("PING", "+PONG");
    }
    assert_refused(&mut from("127.0.0.1"), MAX_CLIENTS);
    counts(&gate, "connections_refused_total", "source_limit", 1.0);
    from("127.0.0.2").assert_reply("PING", "+PONG");
    drop(one);
    eventually("there is room", || (from("127.0.0.1").call("PING").to_string() == "+PONG").then_some(()));
    two.assert_reply("PING", "+PONG");
}

/// One host can use all addresses of its /64. The test creates the addresses in a network namespace.
#[test]
fn clients_of_one_network_of_ipv6() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .bind("[::]:{port}")
        .allow("[127.0.0.1, \"::1\"]")
        .listener("limits: {per_source: {clients: 1}}")
        .start();
    let mut six = gate.connect_from("::1", "::1");
    six.assert_reply("PING", "+PONG");
    assert_refused(&mut gate.connect_from("::1", "::1"), MAX_CLIENTS);
    // An IPv4 client of a dual-stack socket counts as IPv4.
    let mut four = gate.connect();
    four.assert_reply("PING", "+PONG");
    assert_refused(&mut gate.connect(), MAX_CLIENTS);

    let namespace = std::process::id();
    let script = format!(
        "set -e; ip link set lo up; for a in 2001:db8:{n:x}::1 2001:db8:{n:x}::2 2001:db8:{n:x}:1::1; do \
         ip addr add $a/128 dev lo; done; \"$0\" --exact limits::sources::in_a_namespace --ignored --nocapture",
        n = namespace % 0xffff
    );
    let me = std::env::current_exe().expect("this test's path");
    let output = Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", &script])
        .arg(me)
        .env("GATE_TEST_PREFIX", format!("2001:db8:{:x}", namespace % 0xffff))
        .output()
        .expect("unshare of util-linux");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// Runs in a namespace with the addresses. The test above starts it.
#[test]
#[ignore = "needs addresses of its own"]
fn in_a_namespace() {
    let Ok(prefix) = std::env::var("GATE_TEST_PREFIX") else { return };
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .bind("[::]:{port}")
        .allow("[\"2001:db8::/32\"]")
        .listener("limits: {per_source: {clients: 1}}")
        .start();
    let from = |end: &str| {
        let address: IpAddr = format!("{prefix}{end}").parse().expect("an address");
        Client::tcp_from(address, SocketAddr::new(address, gate.port()))
    };
    let mut one = from("::1");
    one.assert_reply("PING", "+PONG");
    assert_refused(&mut from("::2"), MAX_CLIENTS);
    from(":1::1").assert_reply("PING", "+PONG");
    one.assert_reply("PING", "+PONG");
}

#[test]
fn connects_in_a_time() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .allow("[127.0.0.0/8]")
        .listener("limits: {per_source: {connects: 5/2s}}")
        .start();
    let started = Instant::now();
    let results: Vec<String> = (0..12).map(|_| gate.connect().call("PING").to_string()).collect();
    let took = started.elapsed();
    let good = results.iter().filter(|reply| *reply == "+PONG").count();
    assert!(good >= 5 && good <= 6 + usize::try_from(took.as_millis() / 400).expect("short"), "{results:?}");
    assert!(results.iter().all(|reply| reply == "+PONG" || reply == TOO_MANY), "{results:?}");
    let refused = gate.metric("connections_refused_total", &[("reason", "rate")]);
    assert_eq!(refused, f64::from(u32::try_from(12 - good).expect("few")));
    gate.connect_from("127.0.0.2", "127.0.0.1").assert_reply("PING", "+PONG");
    std::thread::sleep(Duration::from_millis(900));
    gate.connect().assert_reply("PING", "+PONG");
    assert_eq!(gate.metric("connections_refused_total", &[("reason", "not_allowed")]), 0.0);
}

/// A source that the list does not allow learns nothing about limits, and takes no seat.
#[test]
fn the_list_comes_first() {
    let redis = Redis::plain();
    let gate = with(&redis, "{per_source: {clients: 1, connects: 2/1m}}");
    for _ in 0..5 {
        assert_refused(
            &mut gate.connect_from("127.0.0.9", "127.0.0.1"),
            "-DENIED source address not allowed",
        );
    }
    gate.connect().assert_reply("PING", "+PONG");
    assert_eq!(gate.metric("connections_refused_total", &[("reason", "rate")]), 0.0);
}

/// After a reload, new limits apply to new connections. Existing clients stay and are counted.
#[test]
fn changed_by_a_reload() {
    const YAML: &str = r#"
listeners:
  - {name: public, bind: "127.0.0.1:{port}", upstream: main, allow: [127.0.0.1], limits: {per_source: {clients: 5}}}
upstreams: {main: {address: {redis}}}
admin: {bind: "127.0.0.1:{admin}"}
"#;
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(YAML).start();
    let mut clients: Vec<Client> = (0..4).map(|_| gate.connect()).collect();
    for client in &mut clients {
        client.assert_reply("PING", "+PONG");
    }
    gate.apply(&YAML.replace("clients: 5", "clients: 3"));
    assert_refused(&mut gate.connect(), MAX_CLIENTS);
    for client in &mut clients {
        client.assert_reply("PING", "+PONG");
    }
    gate.apply(&YAML.replace("{per_source: {clients: 5}}", "{}"));
    gate.connect().assert_reply("PING", "+PONG");
}
