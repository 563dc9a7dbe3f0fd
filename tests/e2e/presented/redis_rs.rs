//! The `redis` crate in its three modes, through one address. Its Sentinel mode tests whether ROLE is `sentinel` at the
//! sentinel and `master` at the data, which one address cannot both be. So it needs a listener that is only a sentinel.

use e2e::{Gate, GateBuilder, Masters, Redis, Tap, eventually};
use redis::cluster::ClusterClient;
use redis::sentinel::Sentinel;
use redis::{Commands, ConnectionLike};

use super::{ALL, hidden};

fn gate(redis: &Redis, connections: &str) -> Gate {
    Gate::before(redis)
        .listener("auth: trust")
        .listener(ALL)
        .upstream(&format!("connections: {connections}"))
        .start()
}

fn use_it(connection: &mut impl Commands) {
    let () = connection.set("a", 1).expect("SET");
    let value: i64 = connection.incr("a", 1).expect("INCR");
    assert_eq!(value, 2);
}

#[test]
fn one_server_and_a_cluster() {
    let redis = hidden(93);
    for connections in ["dedicated", "shared"] {
        let gate = gate(&redis, connections);
        let url = format!("redis://{}/", gate.address());
        let client = redis::Client::open(url.as_str()).expect("a URL");
        use_it(&mut client.get_connection().expect("a connection"));
        let mut cluster = ClusterClient::new([url]).expect("a URL").get_connection().expect("a cluster");
        use_it(&mut cluster);
        let keys: Vec<String> = (0..20).map(|number| format!("key:{number}")).collect();
        for key in &keys {
            let () = cluster.set(key, key).expect("SET");
        }
        let values: Vec<String> = cluster.mget(&keys).expect("MGET over many slots");
        assert_eq!(values, keys);
    }
}

#[test]
fn a_sentinel() {
    let redis = hidden(94);
    let data = gate(&redis, "dedicated");
    let sentinel = Gate::before(&redis)
        .listener("auth: trust")
        .listener("present_as: [sentinel]")
        .listener(&format!("announce: {}", data.address()))
        .start();
    let mut sentinels = Sentinel::build(vec![format!("redis://{}/", sentinel.address())]).expect("a URL");
    let master = sentinels.master_for("mymaster", None).expect("the master");
    use_it(&mut master.get_connection().expect("a connection"));
    assert!(sentinels.master_for("unknown", None).is_err());
    // On a listener that is also a server, ROLE is that of a server.
    let mut mixed = Sentinel::build(vec![format!("redis://{}/", data.address())]).expect("a URL");
    assert!(mixed.master_for("mymaster", None).is_err());
}

/// A proxy that clients reach through a tap, which is the address that it announces.
pub(crate) struct Tapped {
    tap: Tap,
    _gate: Gate,
}

impl Tapped {
    pub(crate) fn start(gate: GateBuilder, announced: Option<&Self>) -> Self {
        let tap = Tap::reserve();
        let announced = announced.map_or_else(|| tap.address(), |other| other.tap.address());
        let gate = gate.listener(&format!("announce: {announced}")).start();
        tap.open(gate.address());
        Self { tap, _gate: gate }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.tap.address())
    }
}

/// Counts up by one. While the master changes, a command that may have run reads an error, and none is sent again.
fn count(connection: &mut impl ConnectionLike, key: &str, acknowledged: &mut u64) {
    match redis::cmd("INCR").arg(key).query::<u64>(connection) {
        Ok(_) => *acknowledged += 1,
        Err(error) => {
            let text = error.to_string();
            let known = ["this command may or may not have run", "READONLY"];
            assert!(known.iter().any(|known| text.contains(known)), "{text}");
        }
    }
}

/// The same connection of each mode goes on after a planned failover, and no acknowledged write is lost.
#[test]
fn before_masters_that_move() {
    let masters = Masters::plain();
    let gate = || masters.gate().listener("auth: trust");
    let data = Tapped::start(gate().listener(ALL), None);
    let sentinel = Tapped::start(gate().listener("present_as: [sentinel]"), Some(&data));
    let mut plain = redis::Client::open(data.url()).expect("a URL").get_connection().expect("a connection");
    let mut cluster = ClusterClient::new([data.url()]).expect("a URL").get_connection().expect("a cluster");
    let mut sentinels = Sentinel::build(vec![sentinel.url()]).expect("a URL");
    let named = sentinels.master_for("mymaster", None).expect("the master");
    let mut mastered = named.get_connection().expect("a connection");
    let mut acknowledged = [0; 3];
    let mut count_all = || {
        count(&mut plain, "plain", &mut acknowledged[0]);
        count(&mut cluster, "cluster", &mut acknowledged[1]);
        count(&mut mastered, "mastered", &mut acknowledged[2]);
        acknowledged
    };
    (0..10).for_each(|_| _ = count_all());
    masters.failover(2);
    eventually("all sentinels name another master", || {
        count_all();
        (0..3).all(|sentinel| masters.master_of(sentinel).is_some_and(|server| server != 0)).then_some(())
    });
    let before = count_all();
    let after = eventually("each connection goes on", || {
        let after = count_all();
        after.iter().zip(before).all(|(after, before)| *after > before + 10).then_some(after)
    });
    let mut control = masters.servers()[masters.master()].control();
    for (key, acknowledged) in ["plain", "cluster", "mastered"].into_iter().zip(after) {
        let stored: u64 = control.call(&format!("GET {key}")).text().parse().expect("a number");
        assert!(stored >= acknowledged, "{key}: {acknowledged} acknowledged, {stored} stored");
    }
    // A new connection of the same object of the library.
    use_it(&mut named.get_connection().expect("a connection"));
    let again = sentinels.master_for("mymaster", None).expect("the master");
    use_it(&mut again.get_connection().expect("a connection"));
}
