//! The `redis` crate before a cluster, as a client of one server and as one of a cluster, through one address.

use std::sync::mpsc;
use std::thread;

use e2e::{Cluster, PATIENCE, eventually};
use redis::cluster::{ClusterClient, ClusterConnection, ClusterPipeline};
use redis::{
    Commands, Connection, ConnectionLike, ErrorKind, PushInfo, PushKind, RedisResult, Value, cmd, pipe,
};

use crate::presented::redis_rs::Tapped;

/// The keys of a pipeline and of a loop: far more than nodes.
const KEYS: u64 = 300;

/// Below, at and above the longest command that is sent again after a redirect, and far above all buffers.
const SIZES: [usize; 5] = [0, 16_000, 16_384, 17_000, 8 << 20];

/// The hash tags of three slots at one node each, their slots, and the nodes to which they move.
const MOVES: [(&str, u16, usize); 3] = [("{b}", 3300, 1), ("{c}", 7365, 2), ("{d}", 11_298, 0)];

struct Clients {
    gate: Tapped,
}

impl Clients {
    fn before(cluster: &Cluster) -> Self {
        let gate = cluster.gate().listener("present_as: [standalone, cluster]");
        Self { gate: Tapped::start(gate, None) }
    }

    fn plain(&self) -> Connection {
        redis::Client::open(self.gate.url()).expect("a URL").get_connection().expect("a connection")
    }

    fn cluster(&self) -> ClusterConnection {
        ClusterClient::new([self.gate.url()]).expect("a URL").get_connection().expect("a cluster")
    }
}

#[test]
fn a_plain_client() {
    let cluster = Cluster::builder().without_replicas().start();
    let clients = Clients::before(&cluster);
    let mut client = clients.plain();
    let mut pipeline = pipe();
    for key in 0..KEYS {
        pipeline.set(key, key).ignore().get(key);
    }
    let values: Vec<u64> = pipeline.query(&mut client).expect("a pipeline");
    assert!(values.into_iter().eq(0..KEYS));
    use_slots(&mut client, &clients, "plain");
    let (a, b) = ("{plain}a", "{plain}b");
    let values: (u64, String) =
        pipe().atomic().incr(a, 1).set(b, "x").ignore().get(b).query(&mut client).expect("a transaction");
    assert_eq!(values, (1, "x".to_owned()));
    // Another client changes the key, so the transaction runs twice.
    let mut runs = 0;
    let mut other = clients.plain();
    let value: (u64,) = redis::transaction(&mut client, &[a], |client, pipeline| {
        runs += 1;
        if runs == 1 {
            let () = other.incr(a, 5).expect("INCRBY");
        }
        let value: u64 = client.get(a)?;
        pipeline.incr(a, value).query(client)
    })
    .expect("a transaction");
    assert_eq!((runs, value), (2, (12,)));
    let mixed: RedisResult<Value> = cmd("MSETNX").arg("a").arg(1).arg("b").arg(2).query(&mut client);
    assert_eq!(mixed.expect_err("two slots").code(), Some("CROSSSLOT"));
}

#[test]
fn a_client_of_a_cluster() {
    let cluster = Cluster::builder().without_replicas().start();
    let clients = Clients::before(&cluster);
    let mut client = clients.cluster();
    let mut pipeline = ClusterPipeline::new();
    for key in 0..KEYS {
        pipeline.set(key, key).ignore().get(key);
    }
    let values: Vec<u64> = pipeline.query(&mut client).expect("a pipeline");
    assert!(values.into_iter().eq(0..KEYS));
    use_slots(&mut client, &clients, "cluster");
    let values: Vec<u64> = client.mget((0..20).collect::<Vec<u64>>()).expect("MGET over many slots");
    assert!(values.into_iter().eq(0..20));
}

/// Tests the commands that work the same for both kinds of clients.
fn use_slots(client: &mut impl ConnectionLike, clients: &Clients, name: &str) {
    for key in (0..KEYS).map(|key| format!("{name}:{key}")) {
        let () = client.set(&key, &key).expect("SET");
        assert_eq!(client.get(&key), Ok(key));
    }
    for size in SIZES {
        let value = vec![b'x'; size];
        let () = client.set(name, &value).expect("SET");
        assert!(client.get::<_, Vec<u8>>(name).expect("GET") == value, "{size}");
    }
    let (a, b) = (format!("{{{name}}}1"), format!("{{{name}}}2"));
    let () = client.mset(&[(&a, 1), (&b, 2)]).expect("MSET");
    assert_eq!(client.mget(&[&a, &b]), Ok(vec![1, 2]));
    let wrong: RedisResult<Value> = cmd("LPUSH").arg(&a).arg("x").query(client);
    assert_eq!(wrong.expect_err("a string").code(), Some("WRONGTYPE"));
    run_script(client, name);
    let key = format!("{name}:list");
    let mut other = clients.plain();
    let pushed = key.clone();
    let pushing = thread::spawn(move || other.rpush::<_, _, u64>(pushed, "x").expect("RPUSH"));
    assert_eq!(client.blpop(&key, 30.0), Ok((key, "x".to_owned())));
    assert_eq!(pushing.join().expect("RPUSH"), 1);
}

/// Runs a script by its hash, and by its text where the node does not know it.
fn run_script(client: &mut impl ConnectionLike, name: &str) {
    let text = format!("return redis.call('INCRBY', KEYS[1], ARGV[1]) -- {name}");
    let digest: String =
        cmd("EVAL").arg("return redis.sha1hex(ARGV[1])").arg(0).arg(&text).query(client).expect("EVAL");
    let mut unknown = 0;
    for key in (0..20).map(|key| format!("{name}:count:{key}")) {
        let by_hash = cmd("EVALSHA").arg(&digest).arg(1).arg(&key).arg(2).to_owned();
        let value = by_hash.query(client).unwrap_or_else(|error| {
            assert_eq!(error.kind(), ErrorKind::Server(redis::ServerErrorKind::NoScript), "{error}");
            unknown += 1;
            cmd("EVAL").arg(&text).arg(1).arg(&key).arg(2).query::<u64>(client).expect("EVAL")
        });
        assert_eq!(value, 2);
        assert_eq!(by_hash.query(client), Ok(4));
    }
    assert!((1..=3).contains(&unknown), "{unknown} of 3 nodes did not know the script");
}

/// The same connections go on while slots move and replicas take the place of their masters. Each INCR is executed once,
/// and no reply is an error.
#[test]
fn a_cluster_that_changes() {
    let cluster = Cluster::plain();
    let clients = Clients::before(&cluster);
    let (mut plain, mut clustered) = (clients.plain(), clients.cluster());
    let mut acknowledged = 0;
    let mut count_all = || {
        acknowledged += 1;
        for (tag, ..) in MOVES {
            assert_eq!(plain.incr(format!("{tag}plain"), 1), Ok(acknowledged), "{tag}");
            assert_eq!(clustered.incr(format!("{tag}clustered"), 1), Ok(acknowledged), "{tag}");
        }
    };
    (0..10).for_each(|_| count_all());
    for (_, slot, to) in MOVES {
        let from = cluster.begin_move(slot, to);
        count_all();
        while cluster.move_keys(slot, from, to) > 0 {
            count_all();
        }
        count_all();
        cluster.end_move(slot, from, to);
        (0..10).for_each(|_| count_all());
    }
    for replica in 3..cluster.len() {
        cluster.await_ok();
        cluster.failover(replica);
        (0..10).for_each(|_| count_all());
    }
}

/// A plain client hears channels, in RESP2, and shard channels, in RESP3, while slots move and replicas take the place of
/// their masters. The crate has no subscriptions of a client in cluster mode without async.
#[test]
fn messages_while_the_cluster_changes() {
    let cluster = Cluster::plain();
    let clients = Clients::before(&cluster);
    let mut speaker = clients.plain();
    let mut listener = clients.plain();
    let mut channels = listener.as_pubsub();
    channels.set_read_timeout(Some(PATIENCE)).expect("a socket");
    channels.subscribe("news").expect("SUBSCRIBE");
    let mut sharded = redis::Client::open(format!("{}?protocol=resp3", clients.gate.url()))
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let (sender, pushes) = mpsc::channel();
    sharded.set_push_sender(sender);
    for (tag, ..) in MOVES {
        let mut subscribe = cmd("SSUBSCRIBE");
        subscribe.arg(format!("{tag}news")).set_no_response(true).exec(&mut sharded).expect("SSUBSCRIBE");
    }
    let mut number = 0;
    let mut hear_all = || {
        number += 1;
        let () = speaker.publish("news", number).expect("PUBLISH");
        let heard = channels.get_message().and_then(|message| message.get_payload::<u64>());
        assert_eq!(heard, Ok(number));
        for (tag, ..) in MOVES {
            let channel = format!("{tag}news");
            // A message that is published while the slot moves may be lost.
            eventually(&format!("a message of {channel}"), || {
                let () = cmd("SPUBLISH").arg(&channel).arg(number).query(&mut speaker).expect("SPUBLISH");
                let () = cmd("PING").exec(&mut sharded).expect("PING");
                let name = Value::BulkString(channel.clone().into_bytes());
                let is_it =
                    |push: PushInfo| push.kind == PushKind::SMessage && push.data.first() == Some(&name);
                pushes.try_iter().any(is_it).then_some(())
            });
        }
    };
    hear_all();
    for (_, slot, to) in MOVES {
        cluster.move_slot(slot, to);
        hear_all();
    }
    for replica in 3..cluster.len() {
        cluster.await_ok();
        cluster.failover(replica);
        hear_all();
    }
}
