//! Three real sentinels monitor a Redis, and a client tries to move the master to its own server.
//!
//! Each test ends with the same attack directly on Redis. This proves that the attack does move the master.

use std::time::Duration;

use e2e::client::encode;
use e2e::gate::portcullis;
use e2e::sentinels::{MASTER, Sentinels};
use e2e::{Client, Gate, Redis, eventually};

const PASSWORD: &str = "canary-of-the-master";
const NO_CHANNEL: &str = "-NOPERM No permissions to access a channel";

/// A time longer than the interval of Sentinel's hello messages, which is two seconds.
const LISTENING: Duration = Duration::from_millis(2500);

/// The attacker's server, and the message that makes sentinels believe that it is the master.
struct Attack {
    server: Redis,
    hello: String,
}

impl Attack {
    fn new() -> Self {
        let server = Redis::plain();
        let port = server.address().port();
        let id = "0123456789".repeat(4);
        let hello = format!("127.0.0.1,1,{id},1,{MASTER},127.0.0.1,{port},99999");
        Self { server, hello }
    }

    /// Checks that the sentinels stay with `redis`. Then publishes the message directly on Redis, and waits until they
    /// follow it. This proves that the message works.
    fn was_in_vain_until_done_directly(&self, redis: &Redis, sentinels: &Sentinels) {
        let is_at = |server: &Redis| {
            let place = format!(r#"["127.0.0.1" "{}"]"#, server.address().port());
            sentinels.masters().iter().all(|master| *master == place)
        };
        assert!(is_at(redis), "the master was moved: {:?}", sentinels.masters());
        redis.control().send_args(&[b"PUBLISH", b"__sentinel__:hello", self.hello.as_bytes()]);
        eventually("the sentinels follow the attacker", || is_at(&self.server).then_some(()));
    }
}

/// Tries PUBLISH and related commands in every form.
fn publish_by_every_route(client: &mut Client, hello: &str) {
    let channel = "__sentinel__:hello";
    for command in ["PUBLISH", "SPUBLISH", "publish"] {
        client.send_args(&[command.as_bytes(), channel.as_bytes(), hello.as_bytes()]);
        client.assert_recv(NO_CHANNEL);
        client.send_raw(format!("{command} \"{channel}\" {hello}\r\n").as_bytes());
        client.assert_recv(NO_CHANNEL);
        client.assert_reply("MULTI", "+OK");
        client.send_args(&[command.as_bytes(), channel.as_bytes(), hello.as_bytes()]);
        client.assert_recv(NO_CHANNEL);
        client.assert_reply("EXEC", "-EXECABORT Transaction discarded because of previous errors.");
    }
    // The command arrives in two reads, so the proxy judges the name before it has the message.
    let frame = encode(&[b"PUBLISH", channel.as_bytes(), hello.as_bytes()]);
    for cut in [20, frame.len() - hello.len() - 4] {
        client.send_raw(&frame[..cut]);
        std::thread::sleep(Duration::from_millis(20));
        client.send_raw(&frame[cut..]);
        client.assert_recv(NO_CHANNEL);
    }
    client.assert_reply("SUBSCRIBE __sentinel__:hello", NO_CHANNEL);
    client.assert_reply("SSUBSCRIBE __sentinel__:hello", NO_CHANNEL);
    client.assert_in_step("after");
}

/// The attack fails with dedicated and shared connections, in RESP2 and RESP3.
#[test]
fn no_client_of_the_public_preset_moves_the_master() {
    let redis = Redis::builder().password(PASSWORD).start();
    let sentinels = Sentinels::watching(&redis);
    let attack = Attack::new();
    let mut subscribers = Vec::new();
    let gates = ["dedicated", "shared"].map(|connections| {
        Gate::before(&redis)
            .password(PASSWORD)
            .listener("auth: trust")
            .listener("acl: \"@public\"")
            .upstream(&format!("connections: {connections}"))
            .start()
    });
    for gate in &gates {
        for resp3 in [false, true] {
            let mut subscriber = gate.connect();
            let kind = if resp3 { ">" } else { "" };
            if resp3 {
                subscriber.call("HELLO 3");
            }
            subscriber.assert_reply("PSUBSCRIBE *", &format!(r#"{kind}["psubscribe" "*" :1]"#));
            subscribers.push((subscriber, kind));
            let mut client = gate.connect();
            if resp3 {
                client.call("HELLO 3");
            }
            publish_by_every_route(&mut client, &attack.hello);
            let vote =
                format!("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 {} 99999 x", redis.address().port());
            let refused = "-NOPERM User default has no permissions to run the 'sentinel|is-master-down-by-addr' command";
            client.assert_reply(&vote, refused);
        }
    }
    let mut direct = redis.control();
    direct.call("SUBSCRIBE __sentinel__:hello");
    assert!(direct.recv().to_string().contains(MASTER), "the sentinels speak");
    for (subscriber, _) in &mut subscribers {
        subscriber.assert_silent_for(LISTENING / 4);
    }
    redis.control().assert_reply("PUBLISH news x", &format!(":{}", subscribers.len()));
    for (subscriber, kind) in &mut subscribers {
        subscriber.assert_recv(&format!(r#"{kind}["pmessage" "*" "news" "x"]"#));
    }
    attack.was_in_vain_until_done_directly(&redis, &sentinels);
}

/// The proxy cannot see the commands of a script. The Redis user that `check` prints restricts them.
#[test]
fn no_script_moves_the_master_under_the_user_that_check_prints() {
    let redis = Redis::builder().password(PASSWORD).start();
    let sentinels = Sentinels::watching(&redis);
    let attack = Attack::new();
    let library = "#!lua name=moving\nredis.register_function('move', function(keys, args) \
                   return redis.call('PUBLISH', '__sentinel__:hello', args[1]) end)";
    redis.control().send_args(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    let gate = Gate::before(&redis)
        .username("app")
        .password(PASSWORD)
        .listener("auth: trust")
        .listener("acl: \"@public @public-scripts ~app:* &app:*\"")
        .start();
    for line in printed(&gate) {
        redis.control().assert_reply(&line, "+OK");
    }
    redis.control().assert_reply(&format!("ACL SETUSER app >{PASSWORD}"), "+OK");

    let mut client = gate.connect();
    publish_by_every_route(&mut client, &attack.hello);
    let script = "return redis.call('PUBLISH', '__sentinel__:hello', ARGV[1])";
    client.send_args(&[b"SCRIPT", b"LOAD", script.as_bytes()]);
    let digest = client.recv().text();
    let hello = attack.hello.as_bytes();
    let routes: [&[&[u8]]; 4] = [
        &[b"EVAL", script.as_bytes(), b"0", hello],
        &[b"EVALSHA", digest.as_bytes(), b"0", hello],
        &[b"FCALL", b"move", b"0", hello],
        &[b"EVAL", b"return redis.pcall('SPUBLISH', '__sentinel__:hello', ARGV[1])", b"0", hello],
    ];
    // The wording differs between versions.
    let refused = |reply: &str| reply.starts_with('-') && reply.contains("channel");
    for route in routes {
        client.send_args(route);
        let reply = client.recv().to_string();
        assert!(refused(&reply), "{reply}");
        client.assert_reply("MULTI", "+OK");
        client.send_args(route);
        client.assert_recv("+QUEUED");
        let reply = client.call("EXEC").to_string();
        assert!(refused(reply.trim_start_matches('[')), "{reply}");
    }
    scripts_have_what_the_acl_gives(&mut client);
    attack.was_in_vain_until_done_directly(&redis, &sentinels);
}

/// Checks that scripts still work within the permissions that the rules give.
fn scripts_have_what_the_acl_gives(client: &mut Client) {
    let runs = |client: &mut Client, script: &str, key: &str| {
        client.send_args(&[b"EVAL", script.as_bytes(), b"1", key.as_bytes()]);
        client.recv().to_string()
    };
    assert_eq!(runs(client, "return redis.call('INCR', KEYS[1])", "app:n"), ":1");
    assert_eq!(runs(client, "return redis.call('PUBLISH', 'app:news', 'x')", "app:n"), ":0");
    for script in [
        "return redis.call('GET', 'other')",
        "return redis.call('CONFIG', 'GET', 'requirepass')",
        "return redis.call('KEYS', '*')",
        "return redis.call('FLUSHALL')",
        "return redis.call('OBJECT', 'FREQ', KEYS[1])",
        "return redis.call('PUBLISH', 'other', 'x')",
    ] {
        let reply = runs(client, script, "app:n");
        assert!(reply.starts_with('-'), "{script}: {reply}");
    }
    client.assert_reply("INFO nosuch", "\"\"");
    client.assert_reply("GET app:n", "\"1\"");
}

/// Returns the commands that `check` prints for Redis.
fn printed(gate: &Gate) -> Vec<String> {
    let output = portcullis(gate.directory(), ["check", "--json", "--config", "portcullis.yaml"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(json["problems"], serde_json::json!([]), "a separate Redis user needs no warning");
    let users = json["redis_users"].as_array().expect("a list");
    users.iter().map(|user| user["acl_setuser"].as_str().expect("a line").to_owned()).collect()
}
