//! A reload withdraws a permission in use: the proxy cuts, counts and audits its users, and no other client.

use std::time::Duration;

use e2e::scene::CANARY;
use e2e::{Client, Gate, Redis, eventually, holds_for};
use serde_json::Value;

use crate::reload::edit;

const YAML: &str = "\
listeners:
  - name: public
    bind: '127.0.0.1:{port}'
    upstream: main
    auth: trust
    allow: [127.0.0.1]
    # rules
upstreams:
  main:
    address: {redis}
    credentials: {password: {file: password}}
    connections: CONNECTIONS
admin: {bind: '127.0.0.1:{admin}'}
workers: 2
reload: signal
";

struct House {
    gate: Gate,
    redis: Redis,
    yaml: String,
}

impl House {
    fn new(connections: &str, acl: Option<&str>) -> Self {
        let redis = Redis::builder().password(CANARY).start();
        let yaml = YAML.replace("CONNECTIONS", connections);
        let first = acl.map_or_else(|| yaml.clone(), |acl| under(&yaml, acl));
        let gate = Gate::before(&redis).secret(CANARY).config(&first).file("password", CANARY).start();
        Self { gate, redis, yaml }
    }

    fn client(&self, resp3: bool) -> Client {
        let mut client = self.gate.connect();
        if resp3 {
            client.ask("HELLO 3");
        }
        client
    }

    /// Applies these rules and checks the number of clients that they cut.
    #[track_caller]
    fn cuts(&self, acl: &str, cut: u64) {
        let before = self.revoked().len();
        let report = self.gate.applies(&under(&self.yaml, acl));
        assert_eq!(report["cut"], cut, "{acl}: {report}");
        let cut = before + usize::try_from(cut).expect("a few");
        eventually("who was cut is audited", || (self.revoked().len() == cut).then_some(()));
        self.gate.logs(&format!("cut={}", report["cut"]));
    }

    fn revoked(&self) -> Vec<Value> {
        self.gate.audited("closed").into_iter().filter(|line| line["reason"] == "revoked").collect()
    }

    fn blocked(&self) -> usize {
        self.redis.control().ask("CLIENT LIST").text().matches("flags=b").count()
    }

    /// Sends a command that blocks, and waits until it does.
    fn block(&self, client: &mut Client, command: &str) {
        let before = self.blocked();
        client.send(command);
        eventually("it blocks", || (self.blocked() > before).then_some(()));
    }
}

fn under(yaml: &str, acl: &str) -> String {
    edit(yaml, "    # rules\n", &format!("    acl: \"{acl}\"\n"))
}

const MODES: [(&str, bool); 4] =
    [("dedicated", false), ("dedicated", true), ("shared", false), ("shared", true)];

/// One client for each kind of permission, subscribed before there are rules; each reload withdraws one permission.
#[test]
fn each_kind_ends_with_its_own_right_only() {
    for (connections, resp3) in MODES {
        let house = House::new(connections, None);
        let mut clients = [0; 6].map(|_| house.client(resp3));
        let [monitor, channel, pattern, shard, tracking, idle] = &mut clients;
        idle.asks("PING", "+PONG");
        monitor.asks("MONITOR", "+OK");
        for (client, command) in
            [(channel, "SUBSCRIBE a b"), (pattern, "PSUBSCRIBE p*"), (shard, "SSUBSCRIBE s")]
        {
            client.send(command);
            for _ in 1..command.split(' ').count() {
                assert_eq!(client.read().items().len(), 3);
            }
        }
        if resp3 {
            tracking.asks("CLIENT TRACKING ON", "+OK");
        } else {
            tracking.asks("PING", "+PONG");
        }
        let [mut popping, mut reading] = [0; 2].map(|_| house.client(resp3));
        house.block(&mut popping, "BLPOP k l 0");
        house.block(&mut reading, "XREAD BLOCK 0 STREAMS k $");

        let [mut monitor, mut channel, mut pattern, mut shard, mut tracking, mut idle] = clients;
        house.cuts("+@all -flushall &a &b &p* &s ~k ~l ~*", 0);
        house.cuts("+@all -monitor &a &b &p* &s ~k ~l ~*", 1);
        monitor.read_to_end();
        house.cuts("+@all -monitor &a &p* &s ~k ~l ~*", 1);
        channel.is_closed();
        house.cuts("+@all -monitor &a &p? &s ~k ~l ~*", 1);
        pattern.is_closed();
        house.cuts("+@all -monitor &a ~k ~l ~*", 1);
        shard.is_closed();
        house.cuts("+@all -monitor -client|tracking &a ~k ~l ~*", u64::from(resp3));
        if resp3 {
            tracking.is_closed();
        }
        house.cuts("+@all -monitor -client|tracking &a ~k", 1);
        popping.is_closed();
        house.redis.control().asks("RPUSH k x", ":1");
        house.redis.control().asks("DEL k", ":1");
        house.redis.control().send("XADD k 1-1 f v");
        reading.read();
        house.block(&mut reading, "XREAD BLOCK 0 STREAMS k $");
        house.cuts("+@all -monitor -xread ~k", 1);
        reading.is_closed();
        idle.asks("PING", "+PONG");
        eventually("Redis has lost them too", || (house.blocked() == 0).then_some(()));
    }
}

/// Clients with permissions that are still allowed continue.
#[test]
fn what_is_still_allowed_goes_on() {
    for (connections, resp3) in MODES {
        let house = House::new(connections, Some("+@all &news:* &x ~a* ~b"));
        let mut subscriber = house.client(resp3);
        for i in 1..=1000 {
            subscriber.hold(&e2e::client::command(&format!("SUBSCRIBE news:{i}")));
        }
        subscriber.send("PSUBSCRIBE news:*");
        (0..1001).for_each(|_| drop(subscriber.read()));
        let mut blocked = house.client(resp3);
        house.block(&mut blocked, "BLPOP a1 b 0");
        let mut left = house.client(resp3);
        left.ask("SUBSCRIBE x");
        left.ask("UNSUBSCRIBE");
        house.cuts("+@all -@dangerous &news:* ~a? ~b", 0);
        house.redis.control().asks("PUBLISH news:700 hello", ":2");
        assert_eq!(subscriber.read().items().last().expect("a message").to_string(), "\"hello\"");
        subscriber.read();
        house.redis.control().asks("RPUSH b x", ":1");
        blocked.gets(r#"["b" "x"]"#);
        left.asks("PING", "+PONG");
        house.cuts("+@all &news:1* &news:*", 0);
        house.cuts("+@all &news:*0", 1);
        subscriber.is_closed();
        left.asks("PING", "+PONG");
    }
}

/// A blocked command without a reply, which Redis has not started because earlier commands come first.
#[test]
fn a_blocked_command_behind_other_replies_is_cut() {
    for (connections, _) in MODES.into_iter().step_by(2) {
        let house = House::new(connections, None);
        let mut first = house.client(false);
        first.hold(&e2e::client::command("BLPOP first 0"));
        house.block(&mut first, "BLPOP second 0");
        house.cuts("+@all ~first ~second", 0);
        house.cuts("+@all ~first", 1);
        first.is_closed();
        house.redis.control().asks("RPUSH first x", ":1");
        holds_for(Duration::from_millis(200), "nobody takes it", || {
            house.redis.control().ask("LLEN first").to_string() == ":1"
        });
    }
}

/// A client has more subscriptions than the proxy remembers. After a change of channels, the proxy cannot prove that
/// they are allowed.
#[test]
fn who_subscribes_to_more_than_is_remembered_is_cut_for_certainty() {
    let house = House::new("dedicated", Some("+@all"));
    let mut client = house.client(false);
    let names: Vec<String> = (0..1000).map(|i| format!("{i}{}", "x".repeat(2000))).collect();
    for some in names.chunks(250) {
        client.send(&format!("SUBSCRIBE {}", some.join(" ")));
        some.iter().for_each(|_| drop(client.read()));
    }
    let mut huge = house.client(false);
    huge.ask(&format!("SUBSCRIBE {}", "y".repeat(300_000)));
    house.cuts("+@all -flushall", 0);
    house.cuts("+@all &*x &*y", 2);
    client.is_closed();
    huge.is_closed();
}

/// The stream of a replica, and a client that connected under another `auth`.
#[test]
fn a_replica_and_who_came_in_under_another_auth() {
    let house = House::new("dedicated", Some("+@all +sync +psync"));
    let mut replica = house.client(false);
    replica.send("SYNC");
    replica.gets_raw(b"$");
    house.cuts("+@all +sync +psync -flushall", 0);
    house.cuts("+@all", 1);
    replica.read_to_end();
    let mut subscriber = house.client(false);
    subscriber.ask("SUBSCRIBE a");
    let report = house.gate.applies(&edit(&house.yaml, "    auth: trust\n", ""));
    assert_eq!(report["cut"], 1, "{report}");
    subscriber.is_closed();
}

/// The rules of one user change; others are not affected.
#[test]
fn a_user_loses_a_right() {
    let redis = Redis::plain();
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let user = |name: &str| format!("  {name}: {{password: {{sha256: {hash}}}, acl: \"+@all\"}}\n");
    let yaml = format!(
        "listeners:\n  - {{name: public, bind: '127.0.0.1:{{port}}', upstream: main, auth: users, users: [alice, bob], \
         allow: [127.0.0.1]}}\nupstreams: {{main: {{address: {{redis}}}}}}\nusers:\n{}{}admin: {{bind: \
         '127.0.0.1:{{admin}}'}}\nreload: signal\n",
        user("alice"),
        user("bob")
    );
    let gate = Gate::before(&redis).config(&yaml).start();
    let mut clients = ["alice", "bob"].map(|name| {
        let mut client = gate.connect();
        client.asks(&format!("AUTH {name} abc"), "+OK");
        client.ask("SUBSCRIBE a");
        client
    });
    let alice = user("alice").replace("+@all", "+@all &b");
    let report = gate.applies(&edit(&yaml, &user("alice"), &alice));
    assert_eq!(report["cut"], 1, "{report}");
    clients[0].is_closed();
    redis.control().asks("PUBLISH a x", ":1");
    clients[1].gets(r#"["message" "a" "x"]"#);
}
