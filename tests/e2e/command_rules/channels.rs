//! Channels and key names that not every client may see, on live connections: events of Redis, tracking, lists of
//! channels.

use std::time::Duration;

use e2e::{Client, Gate, Redis};

use super::{NO_CHANNEL, NO_KEY};

/// The time in which Redis would send such messages.
const A_MOMENT: Duration = Duration::from_millis(100);

/// Starts proxies with these rules, with each kind of connection.
fn gates(redis: &Redis, acl: &str) -> [Gate; 2] {
    ["dedicated", "shared"].map(|connections| {
        Gate::before(redis)
            .listener("auth: trust")
            .listener(&format!("acl: \"{acl}\""))
            .upstream(&format!("connections: {connections}"))
            .start()
    })
}

fn in_resp3(gate: &Gate) -> Client {
    let mut client = gate.connect();
    client.call("HELLO 3");
    client
}

#[test]
fn under_key_patterns_no_event_names_other_keys() {
    let redis = Redis::builder().line("notify-keyspace-events AKE").start();
    let mut control = redis.control();
    for gate in gates(&redis, "@public ~app:*") {
        for resp3 in [false, true] {
            let (mut client, kind) = if resp3 { (in_resp3(&gate), ">") } else { (gate.connect(), "") };
            for refused in [
                "SUBSCRIBE __keyevent@0__:set",
                "SUBSCRIBE news __keyspace@0__:app:1",
                "PSUBSCRIBE __key*__:*",
                "PUBLISH __keyevent@0__:expired app:1",
                "PUBLISH __redis__:invalidate app:1",
            ] {
                client.assert_reply(refused, NO_CHANNEL);
            }
            client.assert_reply("PSUBSCRIBE *", &format!(r#"{kind}["psubscribe" "*" :1]"#));
            client.assert_reply("PSUBSCRIBE _*", &format!(r#"{kind}["psubscribe" "_*" :2]"#));
            redis.await_subscribers(1);
            control.assert_reply("SET other x", "+OK");
            control.assert_reply("PUBLISH news x", ":1");
            client.assert_recv(&format!(r#"{kind}["pmessage" "*" "news" "x"]"#));
            client.assert_reply("PUNSUBSCRIBE _*", &format!(r#"{kind}["punsubscribe" "_*" :1]"#));
        }
    }
    for gate in gates(&redis, "@public ~app:* &__keyevent@* &app:*") {
        let mut client = gate.connect();
        client.assert_reply("PSUBSCRIBE __keyevent@*", r#"["psubscribe" "__keyevent@*" :1]"#);
        control.assert_reply("SET app:1 x", "+OK");
        client.assert_recv(r#"["pmessage" "__keyevent@*" "__keyevent@0__:set" "app:1"]"#);
    }
}

/// A message of half a megabyte that the client may not see arrives in many pieces. No piece is delivered.
#[test]
fn a_large_message_is_kept_back_whole() {
    let redis = Redis::plain();
    for gate in gates(&redis, "@public") {
        let mut client = gate.connect();
        client.assert_reply("PSUBSCRIBE *", r#"["psubscribe" "*" :1]"#);
        redis.await_subscribers(1);
        let large = "x".repeat(512 * 1024);
        for _ in 0..3 {
            redis.control().assert_reply(&format!("PUBLISH __sentinel__:hello {large}"), ":1");
        }
        redis.control().assert_reply("PUBLISH news x", ":1");
        client.assert_recv(r#"["pmessage" "*" "news" "x"]"#);
    }
}

#[test]
fn tracking_names_no_other_keys() {
    let redis = Redis::plain();
    let mut control = redis.control();
    for gate in gates(&redis, "@public ~app:* ~x") {
        let mut client = in_resp3(&gate);
        for refused in [
            "CLIENT TRACKING ON BCAST",
            "CLIENT TRACKING ON BCAST PREFIX ap",
            "CLIENT TRACKING ON PREFIX app: BCAST PREFIX x",
            "client tracking on prefix app: bcast noloop prefix other",
        ] {
            client.assert_reply(refused, NO_KEY);
        }
        client.assert_reply("CLIENT TRACKING ON PREFIX app:1 NOLOOP BCAST PREFIX app:2", "+OK");
        control.assert_reply("SET other x", "+OK");
        control.assert_reply("SET app:2 x", "+OK");
        client.assert_recv(r#">["invalidate" ["app:2"]]"#);
        client.assert_silent_for(A_MOMENT);
        client.assert_reply("CLIENT TRACKING OFF", "+OK");
    }
}

#[test]
fn pubsub_lists_channels_that_the_client_may_know() {
    let redis = Redis::plain();
    let mut others = redis.control();
    others.send("SUBSCRIBE app:1 news __sentinel__:hello");
    for _ in 0..3 {
        others.recv();
    }
    let mut shards = redis.control();
    shards.call("SSUBSCRIBE app:s");
    shards.call("SSUBSCRIBE other:s");
    for gate in gates(&redis, "@public ~app:* &app:*") {
        for mut client in [gate.connect(), in_resp3(&gate)] {
            client.assert_reply("PUBSUB CHANNELS", r#"["app:1"]"#);
            client.assert_reply("PUBSUB CHANNELS n*", "[]");
            client.assert_reply("pubsub shardchannels", r#"["app:s"]"#);
            client.assert_reply("PUBSUB NUMSUB app:1", r#"["app:1" :1]"#);
            client.assert_reply("PUBSUB NUMSUB app:1 news", NO_CHANNEL);
            client.assert_reply("PUBSUB SHARDNUMSUB other:s", NO_CHANNEL);
            client.assert_in_step("after");
        }
    }
    let [gate, _] = gates(&redis, "@public");
    let listed = gate.connect().call("PUBSUB CHANNELS").items().len();
    assert_eq!(listed, 3, "without key patterns all are shown");
}
