//! The `redis` crate in its three modes, through one address. Its Sentinel mode tests whether ROLE is `sentinel` at the
//! sentinel and `master` at the data, which one address cannot both be. So it needs a listener that is only a sentinel.

use e2e::{Gate, Redis};
use redis::Commands;
use redis::cluster::ClusterClient;
use redis::sentinel::Sentinel;

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
