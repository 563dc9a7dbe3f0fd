//! A reload withdraws a permission that is in use. The proxy disconnects, counts and audits the clients that use it,
//! and no other client.

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

struct Fixture {
    gate: Gate,
    redis: Redis,
    yaml: String,
}

impl Fixture {
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
            client.call("HELLO 3");
        }
        client
    }

    /// Applies these rules, and checks the number of clients that they disconnect.
    #[track_caller]
    fn assert_cut(&self, acl: &str, cut: u64) {
        let before = self.revoked().len();
        let report = self.gate.apply(&under(&self.yaml, acl));
        assert_eq!(report["cut"], cut, "{acl}: {report}");
        let cut = before + usize::try_from(cut).expect("a few");
        eventually("the cut clients are audited", || (self.revoked().len() == cut).then_some(()));
        self.gate.assert_log(&format!("cut={}", report["cut"]));
    }

    fn revoked(&self) -> Vec<Value> {
        self.gate.audited("closed").into_iter().filter(|line| line["reason"] == "revoked").collect()
    }

    fn blocked(&self) -> usize {
        self.redis.control().call("CLIENT LIST").text().matches("flags=b").count()
    }

    /// Sends a command that blocks, and waits until it blocks.
    fn block(&self, client: &mut Client, command: &str) {
        let before = self.blocked();
        client.send(command);
        eventually("the command blocks", || (self.blocked() > before).then_some(()));
    }
}

fn under(yaml: &str, acl: &str) -> String {
    edit(yaml, "    # rules\n", &format!("    acl: \"{acl}\"\n"))
}

const MODES: [(&str, bool); 4] =
    [("dedicated", false), ("dedicated", true), ("shared", false), ("shared", true)];

/// One client for each kind of permission, subscribed before there are rules. Each reload withdraws one permission.
#[test]
fn each_kind_ends_with_its_own_right_only() {
    for (connections, resp3) in MODES {
        let fixture = Fixture::new(connections, None);
        let mut clients = [0; 6].map(|_| fixture.client(resp3));
        let [monitor, channel, pattern, shard, tracking, idle] = &mut clients;
        idle.assert_reply("PING", "+PONG");
        monitor.assert_reply("MONITOR", "+OK");
        for (client, command) in
            [(channel, "SUBSCRIBE a b"), (pattern, "PSUBSCRIBE p*"), (shard, "SSUBSCRIBE s")]
        {
            client.send(command);
            for _ in 1..command.split(' ').count() {
                assert_eq!(client.recv().items().len(), 3);
            }
        }
        if resp3 {
            tracking.assert_reply("CLIENT TRACKING ON", "+OK");
        } else {
            tracking.assert_reply("PING", "+PONG");
        }
        let [mut popping, mut reading] = [0; 2].map(|_| fixture.client(resp3));
        fixture.block(&mut popping, "BLPOP k l 0");
        fixture.block(&mut reading, "XREAD BLOCK 0 STREAMS k $");

        let [mut monitor, mut channel, mut pattern, mut shard, mut tracking, mut idle] = clients;
        fixture.assert_cut("+@all -flushall &a &b &p* &s ~k ~l ~*", 0);
        fixture.assert_cut("+@all -monitor &a &b &p* &s ~k ~l ~*", 1);
        monitor.read_to_end();
        fixture.assert_cut("+@all -monitor &a &p* &s ~k ~l ~*", 1);
        channel.assert_closed();
        fixture.assert_cut("+@all -monitor &a &p? &s ~k ~l ~*", 1);
        pattern.assert_closed();
        fixture.assert_cut("+@all -monitor &a ~k ~l ~*", 1);
        shard.assert_closed();
        fixture.assert_cut("+@all -monitor -client|tracking &a ~k ~l ~*", u64::from(resp3));
        if resp3 {
            tracking.assert_closed();
        }
        fixture.assert_cut("+@all -monitor -client|tracking &a ~k", 1);
        popping.assert_closed();
        fixture.redis.control().assert_reply("RPUSH k x", ":1");
        fixture.redis.control().assert_reply("DEL k", ":1");
        fixture.redis.control().send("XADD k 1-1 f v");
        reading.recv();
        fixture.block(&mut reading, "XREAD BLOCK 0 STREAMS k $");
        fixture.assert_cut("+@all -monitor -xread ~k", 1);
        reading.assert_closed();
        idle.assert_reply("PING", "+PONG");
        eventually("Redis has no such client either", || (fixture.blocked() == 0).then_some(()));
    }
}

/// Clients continue if their permissions are still allowed.
#[test]
fn what_is_still_allowed_goes_on() {
    for (connections, resp3) in MODES {
        let fixture = Fixture::new(connections, Some("+@all &news:* &x ~a* ~b"));
        let mut subscriber = fixture.client(resp3);
        for i in 1..=1000 {
            subscriber.hold(&e2e::client::command(&format!("SUBSCRIBE news:{i}")));
        }
        subscriber.send("PSUBSCRIBE news:*");
        (0..1001).for_each(|_| drop(subscriber.recv()));
        let mut blocked = fixture.client(resp3);
        fixture.block(&mut blocked, "BLPOP a1 b 0");
        let mut left = fixture.client(resp3);
        left.call("SUBSCRIBE x");
        left.call("UNSUBSCRIBE");
        fixture.assert_cut("+@all -@dangerous &news:* ~a? ~b", 0);
        fixture.redis.control().assert_reply("PUBLISH news:700 hello", ":2");
        assert_eq!(subscriber.recv().items().last().expect("a message").to_string(), "\"hello\"");
        subscriber.recv();
        fixture.redis.control().assert_reply("RPUSH b x", ":1");
        blocked.assert_recv(r#"["b" "x"]"#);
        left.assert_reply("PING", "+PONG");
        fixture.assert_cut("+@all &news:1* &news:*", 0);
        fixture.assert_cut("+@all &news:*0", 1);
        subscriber.assert_closed();
        left.assert_reply("PING", "+PONG");
    }
}

/// Redis has not started the blocking command, because the replies to earlier commands come first.
#[test]
fn a_blocked_command_behind_other_replies_is_cut() {
    for (connections, _) in MODES.into_iter().step_by(2) {
        let fixture = Fixture::new(connections, None);
        let mut first = fixture.client(false);
        first.hold(&e2e::client::command("BLPOP first 0"));
        fixture.block(&mut first, "BLPOP second 0");
        fixture.assert_cut("+@all ~first ~second", 0);
        fixture.assert_cut("+@all ~first", 1);
        first.assert_closed();
        fixture.redis.control().assert_reply("RPUSH first x", ":1");
        holds_for(Duration::from_millis(200), "the element stays in the list", || {
            fixture.redis.control().call("LLEN first").to_string() == ":1"
        });
    }
}

/// A client has more subscriptions than the proxy remembers. After a change of the channel rules, the proxy cannot
/// prove that all of them are allowed.
#[test]
fn a_client_with_too_many_subscriptions_is_cut() {
    let fixture = Fixture::new("dedicated", Some("+@all"));
    let mut client = fixture.client(false);
    let names: Vec<String> = (0..1000).map(|i| format!("{i}{}", "x".repeat(2000))).collect();
    for some in names.chunks(250) {
        client.send(&format!("SUBSCRIBE {}", some.join(" ")));
        some.iter().for_each(|_| drop(client.recv()));
    }
    let mut huge = fixture.client(false);
    huge.call(&format!("SUBSCRIBE {}", "y".repeat(300_000)));
    fixture.assert_cut("+@all -flushall", 0);
    fixture.assert_cut("+@all &*x &*y", 2);
    client.assert_closed();
    huge.assert_closed();
}

/// The stream of a replica, and a client that connected under another `auth`.
#[test]
fn a_replica_and_a_client_under_another_auth() {
    let fixture = Fixture::new("dedicated", Some("+@all +sync +psync"));
    let mut replica = fixture.client(false);
    replica.send("SYNC");
    replica.assert_recv_raw(b"$");
    fixture.assert_cut("+@all +sync +psync -flushall", 0);
    fixture.assert_cut("+@all", 1);
    replica.read_to_end();
    let mut subscriber = fixture.client(false);
    subscriber.call("SUBSCRIBE a");
    let report = fixture.gate.apply(&edit(&fixture.yaml, "    auth: trust\n", ""));
    assert_eq!(report["cut"], 1, "{report}");
    subscriber.assert_closed();
}

/// The rules of one user change. Other users are not affected.
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
        client.assert_reply(&format!("AUTH {name} abc"), "+OK");
        client.call("SUBSCRIBE a");
        client
    });
    let alice = user("alice").replace("+@all", "+@all &b");
    let report = gate.apply(&edit(&yaml, &user("alice"), &alice));
    assert_eq!(report["cut"], 1, "{report}");
    clients[0].assert_closed();
    redis.await_subscribers(1);
    redis.control().assert_reply("PUBLISH a x", ":1");
    clients[1].assert_recv(r#"["message" "a" "x"]"#);
}
