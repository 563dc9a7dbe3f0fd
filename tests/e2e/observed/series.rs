//! The number of series: small at the start, and bounded whatever clients send.

use std::net::Ipv4Addr;

use e2e::client::encode;
use e2e::{Client, Gate, Random, Redis, eventually};

/// Returns the number of series on the page.
fn series(gate: &Gate) -> usize {
    gate.get("/metrics").1.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

#[test]
fn a_fresh_proxy_with_one_listener_has_few_series() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).allow("[office]").top("groups: {office: [127.0.0.1]}").start();
    let fresh = series(&gate);
    assert!(fresh <= 300, "{fresh} series");
}

/// The random commands, users and sources that a client can send.
const ALL: u32 = 100_000;

/// A proxy that admits one half of the sources of [`connect_from_sources`].
fn gate(redis: &Redis) -> Gate {
    let users = format!("users: {{reporting: {{password: {{sha256: {}}}}}}}", "5e".repeat(32));
    Gate::before(redis)
        .allow("[127.0.0.0/9]")
        .listener("auth: users")
        .listener("users: [reporting]")
        .top(&users)
        .start()
}

/// Connects once from each of so many addresses. Returns when all of them are counted.
fn connect_from_sources(gate: &Gate, sources: u32) {
    for n in 0..sources {
        // The second byte is below or above 128: the address is admitted or refused.
        let [_, high, middle, low] = (n / 2).to_be_bytes();
        let from = Ipv4Addr::new(127, high + [1, 200][n as usize % 2], middle, low);
        drop(Client::tcp_from(from.into(), gate.address()));
    }
    eventually("all connections are counted", || {
        let of = |name: &str| gate.metric(name, &[("listener", "public")]);
        let counted = of("connections_accepted_total") + of("connections_refused_total");
        (counted >= f64::from(sources)).then_some(())
    });
}

#[test]
fn random_commands_sources_and_users_leave_their_number_bounded() {
    const BATCH: u32 = 1000;
    let redis = Redis::plain();
    let gate = gate(&redis);
    let mut random = Random::new(7);
    let mut word = |beginning: &str| format!("{beginning}{:x}", random.below(usize::MAX)).into_bytes();
    let send = |make: &mut dyn FnMut() -> Vec<u8>| {
        let mut client = gate.connect();
        for _ in 0..ALL / BATCH {
            let batch: Vec<u8> = (0..BATCH).flat_map(|_| make()).collect();
            client.send_raw(&batch);
            (0..BATCH).for_each(|_| assert!(client.recv().is_error()));
        }
        series(&gate)
    };
    let commands = send(&mut || encode(&[&word("cmd"), b"x"]));
    let users = send(&mut || encode(&[b"AUTH", &word("user"), b"x"]));
    assert!(users <= commands + 5, "{commands} series after commands, {users} after users");
    connect_from_sources(&gate, 2000);
    let sources = series(&gate);
    assert!(sources <= users + 5 && sources <= 400, "{users} series before, {sources} after sources");
}

#[test]
#[ignore = "half a minute of connections; `cargo test -p e2e -- --ignored a_hundred_thousand_sources`"]
fn a_hundred_thousand_sources_leave_the_number_of_series_bounded() {
    let redis = Redis::plain();
    let mut gate = gate(&redis);
    connect_from_sources(&gate, 2000);
    let (before, memory) = (series(&gate), gate.process().memory());
    connect_from_sources(&gate, ALL);
    let (after, grown) = (series(&gate), gate.process().memory().saturating_sub(memory));
    assert!(grown < 64 << 20, "{grown} bytes more");
    assert!(after <= before + 5 && after <= 400, "{before} series before, {after} after");
}
