//! Subscriptions of clients of a cluster: channels, patterns, shard channels, slots that move, and nodes that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use e2e::client::{Client, command};
use e2e::reply::Reply;
use e2e::{Cluster, Gate, eventually};
use rustix::process::Signal;

use super::commands::{SLOT_OF_B, started};
use crate::reload::edit;

/// Shard channels of the three masters at the beginning.
const SHARDS: [&str; 3] = ["{b}news", "{c}news", "{d}news"];

fn is_push(reply: &Reply) -> bool {
    matches!(reply, Reply::Push(_))
}

/// A client that uses RESP2 or RESP3.
struct Subscriber {
    client: Client,
    resp3: bool,
}

impl Subscriber {
    fn of(gate: &Gate, resp3: bool) -> Self {
        let mut client = gate.connect();
        if resp3 {
            client.call("HELLO 3");
        }
        Self { client, resp3 }
    }

    /// Checks the next message or confirmation, given by its elements.
    #[track_caller]
    fn assert_next(&mut self, elements: &str) {
        let kind = if self.resp3 { ">" } else { "" };
        self.client.assert_recv(&format!("{kind}[{elements}]"));
    }

    #[track_caller]
    fn assert_reply(&mut self, line: &str, elements: &str) {
        self.client.send(line);
        self.assert_next(elements);
    }
}

#[test]
fn channels_and_patterns_get_messages_of_every_node() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    for resp3 in [false, true] {
        let mut subscriber = Subscriber::of(&gate, resp3);
        let null = if resp3 { "null" } else { "nil" };
        subscriber.assert_reply("UNSUBSCRIBE", &format!("\"unsubscribe\" {null} :0"));
        // A message of the other round may still be under way.
        let (a, p) = if resp3 { ("a3", "p3") } else { ("a2", "p2") };
        subscriber.assert_reply(&format!("SUBSCRIBE {a} b"), &format!("\"subscribe\" \"{a}\" :1"));
        subscriber.assert_next("\"subscribe\" \"b\" :2");
        subscriber.assert_reply(&format!("PSUBSCRIBE {p}*"), &format!("\"psubscribe\" \"{p}*\" :3"));
        for node in 0..3 {
            // The message goes over the bus of the cluster.
            cluster.client(node).send(&format!("PUBLISH {a} from-{node}"));
            subscriber.assert_next(&format!("\"message\" \"{a}\" \"from-{node}\""));
            gate.connect().send(&format!("PUBLISH {p}{node} text"));
            subscriber.assert_next(&format!("\"pmessage\" \"{p}*\" \"{p}{node}\" \"text\""));
        }
        if resp3 {
            subscriber.client.assert_reply("SET {c}k v", "+OK");
            subscriber.client.assert_reply("GET {c}k", "\"v\"");
        } else {
            let line = "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
                        are allowed in this context";
            subscriber.client.assert_reply("GET {c}k", line);
            subscriber.client.assert_reply("PING", "[\"pong\" \"\"]");
        }
        subscriber.assert_reply(&format!("UNSUBSCRIBE {a} b x"), &format!("\"unsubscribe\" \"{a}\" :2"));
        subscriber.assert_next("\"unsubscribe\" \"b\" :1");
        subscriber.assert_next("\"unsubscribe\" \"x\" :1");
        subscriber.assert_reply("PUNSUBSCRIBE", &format!("\"punsubscribe\" \"{p}*\" :0"));
        subscriber.client.assert_reply("PING", "+PONG");
        subscriber.assert_reply("SUBSCRIBE a", "\"subscribe\" \"a\" :1");
        subscriber.client.assert_reply("RESET", "+RESET");
        subscriber.client.assert_reply("GET {d}none", "nil");
        subscriber.client.assert_reply("QUIT", "+OK");
        subscriber.client.assert_closed();
    }
}

/// A library subscribes in one write, and sends what follows without waiting.
#[test]
fn pipelined_subscriptions_are_confirmed_in_order() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.call("HELLO 3");
    let lines =
        ["SET {b}1 x", "SUBSCRIBE a", "GET {b}1", "SSUBSCRIBE {c}1", "PUBLISH other x", "SUNSUBSCRIBE"];
    client.send_raw(&lines.iter().flat_map(|line| command(line)).collect::<Vec<u8>>());
    client.send("UNSUBSCRIBE");
    let expected = [
        "+OK",
        ">[\"subscribe\" \"a\" :1]",
        "\"x\"",
        ">[\"ssubscribe\" \"{c}1\" :1]",
        ":0",
        ">[\"sunsubscribe\" \"{c}1\" :0]",
        ">[\"unsubscribe\" \"a\" :0]",
    ];
    expected.iter().for_each(|reply| client.assert_recv(reply));
    // What the client publishes after its confirmation is heard.
    for round in 0..20 {
        let lines = ["SUBSCRIBE a".to_owned(), format!("PUBLISH a {round}")];
        client.send_raw(&lines.iter().flat_map(|line| command(line)).collect::<Vec<u8>>());
        client.assert_recv(">[\"subscribe\" \"a\" :1]");
        // The reply may come before the message, which goes over the bus of the cluster.
        let mut replies: Vec<String> = (0..2).map(|_| client.recv().to_string()).collect();
        replies.sort_by_key(|reply| !reply.starts_with(':'));
        assert_eq!(replies[1], format!(">[\"message\" \"a\" \"{round}\"]"));
        client.assert_reply("UNSUBSCRIBE a", ">[\"unsubscribe\" \"a\" :0]");
    }
}

#[test]
fn shard_channels_of_several_nodes_come_to_one_client() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    for resp3 in [false, true] {
        let mut subscriber = Subscriber::of(&gate, resp3);
        subscriber.assert_reply("SUBSCRIBE {b}news", "\"subscribe\" \"{b}news\" :1");
        for (count, name) in (1..).zip(SHARDS) {
            subscriber
                .assert_reply(&format!("SSUBSCRIBE {name}"), &format!("\"ssubscribe\" \"{name}\" :{count}"));
        }
        let crossslot = "-CROSSSLOT Keys in request don't hash to the same slot";
        subscriber.client.assert_reply("SSUBSCRIBE {b}1 {c}1", crossslot);
        let mut publisher = gate.connect();
        for name in SHARDS {
            publisher.assert_reply(&format!("SPUBLISH {name} text"), ":1");
            subscriber.assert_next(&format!("\"smessage\" \"{name}\" \"text\""));
        }
        publisher.assert_reply("SPUBLISH {b}other text", ":0");
        subscriber.assert_reply("SUNSUBSCRIBE {c}news", "\"sunsubscribe\" \"{c}news\" :2");
        eventually("the node knows it", || {
            (publisher.call("SPUBLISH {c}news text").to_string() == ":0").then_some(())
        });
        let lines: Vec<String> = {
            subscriber.client.send("SUNSUBSCRIBE");
            (0..2).map(|_| subscriber.client.recv().to_string()).collect()
        };
        assert!(lines[0].ends_with(":1]") && lines[1].ends_with(":0]"), "{lines:?}");
        subscriber.assert_reply("UNSUBSCRIBE", "\"unsubscribe\" \"{b}news\" :0");
    }
}

/// Publishes numbers to a channel until it is told to stop. Returns the last number. `published` is the newest number
/// whose reply has come.
fn publish_numbers(
    mut publisher: Client,
    channel: &'static str,
    stop: &Arc<AtomicBool>,
    published: &Arc<AtomicU64>,
) -> std::thread::JoinHandle<u64> {
    let (stop, published) = (Arc::clone(stop), Arc::clone(published));
    std::thread::spawn(move || {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            published.store(number, Ordering::Relaxed);
            number += 1;
            let reply = publisher.call(&format!("SPUBLISH {channel} {number}")).to_string();
            assert!(reply.starts_with(':') || reply.starts_with("-TRYAGAIN"), "{reply}");
        }
        number
    })
}

#[test]
fn shard_channels_follow_a_slot_that_moves_while_messages_are_published() {
    let mut cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let added = cluster.add_master();
    let mut subscriber = gate.connect();
    subscriber.call("HELLO 3");
    subscriber.assert_reply("SSUBSCRIBE {b}news", ">[\"ssubscribe\" \"{b}news\" :1]");
    let stop = Arc::new(AtomicBool::new(false));
    let published = Arc::<AtomicU64>::default();
    let publisher = publish_numbers(gate.connect(), "{b}news", &stop, &published);
    let hear = |subscriber: &mut Client, last: u64| {
        let message = subscriber.recv();
        let words: Vec<String> = message.items().iter().map(Reply::text).collect();
        assert_eq!((words[0].as_str(), words[1].as_str()), ("smessage", "{b}news"), "{message}");
        let number: u64 = words[2].parse().expect("a number");
        assert!(number > last, "{number} after {last}");
        number
    };
    let mut last = 0;
    for to in [added, 1, 2, 0] {
        cluster.move_slot(SLOT_OF_B, to);
        // A message that was published after the move comes from the new owner.
        let before = published.load(Ordering::Relaxed) + 1;
        while last <= before {
            last = hear(&mut subscriber, last);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let newest = publisher.join().expect("documented replies only");
    while last < newest {
        last = hear(&mut subscriber, last);
    }
    subscriber.assert_reply("SUNSUBSCRIBE", ">[\"sunsubscribe\" \"{b}news\" :0]");
    subscriber.assert_reply("GET {b}none", "null");
}

/// The node ends the subscription by itself, while the client's command is on its way.
#[test]
fn a_client_unsubscribes_while_the_slot_moves() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    for resp3 in [false, true] {
        let mut subscriber = Subscriber::of(&gate, resp3);
        for to in [1, 2, 0, 1, 2, 0] {
            subscriber.assert_reply("SSUBSCRIBE {b}1 {b}2", "\"ssubscribe\" \"{b}1\" :1");
            subscriber.assert_next("\"ssubscribe\" \"{b}2\" :2");
            let from = cluster.begin_move(SLOT_OF_B, to);
            let moves = || cluster.end_move(SLOT_OF_B, from, to);
            std::thread::scope(|scope| {
                scope.spawn(moves);
                subscriber.assert_reply("SUNSUBSCRIBE {b}1", "\"sunsubscribe\" \"{b}1\" :1");
                subscriber.assert_reply("SSUBSCRIBE {b}1", "\"ssubscribe\" \"{b}1\" :2");
                subscriber.assert_reply("SUNSUBSCRIBE {b}2", "\"sunsubscribe\" \"{b}2\" :1");
            });
            let mut publisher = gate.connect();
            eventually("one subscription is left", || {
                let here = publisher.call("SPUBLISH {b}1 here").to_string() == ":1";
                here.then(|| subscriber.assert_next("\"smessage\" \"{b}1\" \"here\""))
            });
            publisher.assert_reply("SPUBLISH {b}2 gone", ":0");
            subscriber.assert_reply("SUNSUBSCRIBE", "\"sunsubscribe\" \"{b}1\" :0");
        }
    }
}

/// Every master hands its slots to its replica, and keeps the subscriptions to channels.
#[test]
fn subscriptions_outlive_a_failover() {
    let cluster = Cluster::plain();
    let gate = started(&cluster);
    let mut subscriber = gate.connect();
    subscriber.call("HELLO 3");
    subscriber.assert_reply("SUBSCRIBE a", ">[\"subscribe\" \"a\" :1]");
    SHARDS.iter().for_each(|name| assert!(is_push(&subscriber.call(&format!("SSUBSCRIBE {name}")))));
    (3..6).for_each(|replica| cluster.failover(replica));
    cluster.await_ok();
    let mut publisher = gate.connect();
    for name in SHARDS {
        // A former master may have accepted the subscription again as a replica. It gets the messages of its master.
        let is_heard = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                eventually("a message arrives", || {
                    publisher.call(&format!("SPUBLISH {name} text"));
                    is_heard.load(Ordering::Relaxed).then_some(())
                });
            });
            while subscriber.recv().items()[1].text() != name {}
            is_heard.store(true, Ordering::Relaxed);
        });
    }
    publisher.call("PUBLISH a text");
    while subscriber.recv().items()[1].text() != "a" {}
    subscriber.assert_reply("GET {b}none", "null");
}

/// A dead node: its shard channels are subscribed again at the next master. Channels and patterns end the session, so
/// that the client learns of the gap.
#[test]
fn a_node_that_dies_is_replaced_for_shard_channels() {
    let mut cluster = Cluster::plain();
    let gate = cluster.gate().upstream("failover_wait: 20s").start();
    eventually("the proxy knows the cluster", || (gate.get("/ready").0 == 200).then_some(()));
    let mut shards = gate.connect();
    shards.call("HELLO 3");
    shards.assert_reply("SSUBSCRIBE {b}news", ">[\"ssubscribe\" \"{b}news\" :1]");
    // Several clients, so that one of them has its channel at the node.
    let mut channels: Vec<Client> = (0..6).map(|_| gate.connect()).collect();
    for client in &mut channels {
        client.assert_reply("SUBSCRIBE a", "[\"subscribe\" \"a\" :1]");
    }
    cluster.kill(0);
    cluster.await_master(3);
    let mut publisher = gate.connect();
    eventually("the next master has the subscription", || {
        (publisher.call("SPUBLISH {b}news text").to_string() == ":1").then_some(())
    });
    shards.assert_recv(">[\"smessage\" \"{b}news\" \"text\"]");
    publisher.send("PUBLISH a text");
    publisher.recv();
    let mut ended = 0;
    for client in &mut channels {
        // The session may have ended.
        let _ = client.try_send_raw(&command("PING"));
        match client.try_recv() {
            Ok(reply) => {
                let mut replies = [reply, client.recv()].map(|reply| reply.to_string());
                replies.sort();
                assert_eq!(replies, ["[\"message\" \"a\" \"text\"]", "[\"pong\" \"\"]"]);
            }
            Err(_) => ended += 1,
        }
    }
    assert!((1..6).contains(&ended), "{ended} of 6 sessions ended");
    // Another connection is served by another node.
    gate.connect().assert_reply("SUBSCRIBE a", "[\"subscribe\" \"a\" :1]");
}

/// Each node has notifications of its own keys only.
#[test]
fn keyspace_notifications_are_not_delivered() {
    let cluster = Cluster::builder().without_replicas().line("notify-keyspace-events KEA").start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let refusal = "-ERR portcullis: keyspace notifications would come from one node of a cluster only";
    client.assert_reply("SUBSCRIBE __keyevent@0__:set", refusal);
    client.assert_reply("PSUBSCRIBE __key*", refusal);
    client.assert_reply("PSUBSCRIBE *", "[\"psubscribe\" \"*\" :1]");
    let mut other = gate.connect();
    ["{b}k", "{c}k", "{d}k"].iter().for_each(|key| other.assert_reply(&format!("SET {key} v"), "+OK"));
    other.send("PUBLISH last text");
    client.assert_recv("[\"pmessage\" \"*\" \"last\" \"text\"]");
}

/// The messages wait at the nodes while the client does not read, and all of them arrive.
#[test]
fn a_subscriber_that_does_not_read_costs_the_proxy_little() {
    const MESSAGES: usize = 240;
    const MOST: u64 = 6 * 1024 * 1024;
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = Client::tcp_narrow(gate.address());
    client.call("HELLO 3");
    client.assert_reply("SUBSCRIBE a", ">[\"subscribe\" \"a\" :1]");
    client.assert_reply("SSUBSCRIBE {b}a", ">[\"ssubscribe\" \"{b}a\" :1]");
    let before = gate.peak_memory();
    let text = "x".repeat(50_000);
    let mut publisher = gate.connect();
    for number in 0..MESSAGES / 2 {
        publisher.send(&format!("PUBLISH a {number}-{text}"));
        publisher.send(&format!("SPUBLISH {{b}}a {number}-{text}"));
        publisher.recv();
        publisher.recv();
    }
    let used = gate.peak_memory() - before;
    assert!(used < MOST, "{used} bytes for {} of messages", MESSAGES * text.len());
    let mut next = [0; 2];
    for _ in 0..MESSAGES {
        let message = client.recv();
        let words: Vec<String> = message.items().iter().map(Reply::text).collect();
        let next = &mut next[usize::from(words[0] == "smessage")];
        assert_eq!(words[2], format!("{next}-{text}"));
        *next += 1;
    }
    client.assert_reply("GET {c}none", "null");
}

/// A reload withdraws the right to a channel. The clients that are subscribed to it are disconnected.
#[test]
fn a_reload_ends_subscriptions_that_are_not_allowed() {
    let cluster = Cluster::builder().without_replicas().start();
    let yaml = format!(
        "listeners: [{{name: public, bind: '127.0.0.1:{{port}}', upstream: main, allow: [127.0.0.1], auth: trust, \
         acl: '+@all &a &p* &s'}}]\n\
         upstreams: {{main: {{cluster: {{nodes: ['{}']}}}}}}\n\
         admin: {{bind: '127.0.0.1:{{admin}}'}}\n\
         reload: signal\n",
        cluster.address(0)
    );
    let gate = e2e::GateBuilder::default().config(&yaml).start();
    eventually("the proxy knows the cluster", || (gate.get("/ready").0 == 200).then_some(()));
    let mut clients = ["SUBSCRIBE a", "PSUBSCRIBE p*", "SSUBSCRIBE s"].map(|line| {
        let mut client = gate.connect();
        assert_eq!(client.call(line).items().len(), 3);
        client
    });
    assert!(clients[0].call("SUBSCRIBE b").to_string().starts_with("-NOPERM"));
    assert_eq!(gate.apply(&edit(&yaml, "&a ", ""))["cut"], 1);
    clients[0].assert_closed();
    assert_eq!(gate.apply(&edit(&edit(&yaml, "&a ", ""), " &s", ""))["cut"], 1);
    clients[2].assert_closed();
    clients[1].assert_reply("PING", "[\"pong\" \"\"]");
    gate.signal(Signal::TERM);
}
