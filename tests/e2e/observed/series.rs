//! The number of series: small at the start, and bounded whatever clients send.

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

#[test]
fn random_commands_sources_and_users_leave_their_number_bounded() {
    const ALL: usize = 100_000;
    const BATCH: usize = 1000;
    let redis = Redis::plain();
    let users = format!("users: {{reporting: {{password: {{sha256: {}}}}}}}", "5e".repeat(32));
    let gate = Gate::before(&redis)
        .allow("[127.0.0.0/9]")
        .listener("auth: users")
        .listener("users: [reporting]")
        .top(&users)
        .start();
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
    // Admitted sources, and refused ones.
    for n in 0..2000_u32 {
        let from = format!("127.{}.{}.{}", [1, 200][n as usize % 2], n / 200, n % 200 + 1);
        drop(Client::tcp_from(from.parse().expect("an address"), gate.address()));
    }
    eventually("all connections are counted", || {
        let of = |name: &str| gate.metric(name, &[("listener", "public")]);
        (of("connections_accepted_total") + of("connections_refused_total") >= 2000.0).then_some(())
    });
    let sources = series(&gate);
    assert!(sources <= users + 5 && sources <= 400, "{users} series before, {sources} after sources");
}
