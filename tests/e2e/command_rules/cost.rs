//! The cost of commands under `@public`. A client repeats each attack while another client sends PING.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::{Client, Gate, Redis, own_turn};

use super::no_command;

const MIB: u64 = 1024 * 1024;

/// The duration of each attack, and of the pause between two. Redis answers several thousand commands in this time on
/// an idle machine.
const ROUND: Duration = Duration::from_millis(200);

/// The fewest answers in a round. With fewer, a 99th percentile has no meaning, so the round continues.
const FEWEST: usize = 200;

/// A 99th percentile up to this value passes. Two cores run other tests, the proxy, Redis and both clients. A time
/// slice of the scheduler is 3 to 4 ms, so an answer may wait for a few slices although Redis does nothing. Without
/// limits, SCAN, LCS, SRANDMEMBER, HRANDFIELD, SETRANGE and SETBIT as below stopped a Redis 7.0 for 1 to 3.5 s each on
/// two busy cores.
const SLICES: Duration = Duration::from_millis(10);

/// The most rounds of one attack. A round is repeated if the machine was busy with other work; a real attack has its
/// effect in each round.
const ROUNDS: usize = 10;

/// Creates the data that make the attacks expensive.
fn data(redis: &Redis) {
    let mut control = redis.control();
    control.assert_reply("DEBUG POPULATE 200000 key 8", "+OK");
    for text in ["a", "b"] {
        control.assert_reply(&format!("SETRANGE {text} 9999 x"), ":10000");
    }
    let members = (0..1000).map(|number| number.to_string()).collect::<Vec<_>>();
    control.assert_reply(&format!("SADD set {}", members.join(" ")), ":1000");
    let pairs = members.iter().map(|member| format!("{member} {member}")).collect::<Vec<_>>().join(" ");
    control.assert_reply(&format!("ZADD zset {pairs}"), ":1000");
    control.assert_reply(&format!("HSET hash {pairs}"), ":1000");
    control.assert_reply(&format!("RPUSH list {}", "x ".repeat(5000).trim()), ":5000");
}

/// Returns the attacks, each with its expected reply. `#` stands for a number that differs in each repetition.
fn attacks() -> Vec<(String, String)> {
    let above = |what: &str| format!("-ERR portcullis: {what} is not allowed here");
    let count = above("COUNT above 10000");
    let stars = "a*".repeat(17);
    vec![
        ("SCAN 0 COUNT 1000000000".to_owned(), count.clone()),
        (format!("SCAN 0 MATCH {stars}b COUNT 10000"), above("a pattern with more than 16 stars")),
        (
            format!("HSCAN hash 0 MATCH {} COUNT 10000", "k?".repeat(1000)),
            above("a pattern above 1024 bytes"),
        ),
        (format!("PSUBSCRIBE {stars}"), above("a pattern with more than 16 stars")),
        ("LCS a b".to_owned(), no_command("lcs")),
        ("SRANDMEMBER set -3000000".to_owned(), count.clone()),
        ("HRANDFIELD hash -3000000 WITHVALUES".to_owned(), count.clone()),
        ("ZRANDMEMBER zset -9223372036854775807".to_owned(), count),
        ("LPOS list x RANK 1000000000".to_owned(), above("RANK above 10000")),
        ("SETRANGE range:# 500000000 x".to_owned(), above("an offset above 8388608")),
        ("SETBIT bit:# 4294967295 1".to_owned(), above("a bit offset above 67108864")),
        ("BITFIELD field:# SET u8 #500000000 1".to_owned(), above("a bit offset above 67108864")),
    ]
}

fn used_memory(redis: &Redis) -> u64 {
    let info = redis.control().call("INFO memory").text();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory_peak:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).expect("INFO memory")
}

/// Returns the 99th percentile of the time until PING is answered, during [`ROUND`].
fn p99(client: &mut Client) -> Duration {
    let (begun, mut waits) = (Instant::now(), Vec::new());
    while begun.elapsed() < ROUND || waits.len() < FEWEST {
        let asked = Instant::now();
        client.assert_reply("PING", "+PONG");
        waits.push(asked.elapsed());
    }
    waits.sort();
    waits[waits.len() * 99 / 100]
}

/// Returns the same percentile while another client repeats `attack`, and the number of repetitions.
fn p99_beside(gate: &Gate, client: &mut Client, attack: &str, reply: &str) -> (Duration, usize) {
    let over = AtomicBool::new(false);
    let mut attacker = gate.connect();
    attacker.assert_reply("PING", "+PONG");
    std::thread::scope(|scope| {
        let attacking = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                rounds += 1;
                attacker.send_raw(&command(&attack.replace(":#", &format!(":{rounds}"))));
                attacker.assert_recv(reply);
            }
            rounds
        });
        let p99 = p99(client);
        over.store(true, Ordering::Relaxed);
        (p99, attacking.join().expect("each is refused"))
    })
}

#[test]
fn refused_commands_delay_no_client_and_redis_stays_small() {
    let _turn = own_turn();
    let redis = Redis::builder().line("enable-debug-command yes").start();
    data(&redis);
    let gate = Gate::before(&redis).listener("auth: trust").listener("acl: \"@public\"").start();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    let before = used_memory(&redis);
    let mut idle = p99(&mut client);
    for (attack, reply) in attacks() {
        let name = attack.split(' ').next().expect("a name").to_lowercase();
        let calls = redis.calls(&name);
        let mut waited = Vec::new();
        loop {
            let (beside, rounds) = p99_beside(&gate, &mut client, &attack, &reply);
            assert!(rounds > 1, "{attack}");
            let before = std::mem::replace(&mut idle, p99(&mut client));
            waited.push((beside, before, idle));
            if beside <= SLICES.max(before.max(idle) * 5) {
                break;
            }
            assert!(waited.len() < ROUNDS, "{attack}: p99 beside it, before and after it: {waited:?}");
        }
        assert_eq!(redis.calls(&name), calls, "{attack} reached Redis");
    }
    let grown = used_memory(&redis).saturating_sub(before);
    assert!(grown <= 64 * MIB, "Redis's memory grew by {} MiB", grown / MIB);
}

/// Commands within the limits work. The limits of a listener replace those of the process.
#[test]
fn commands_within_the_limits_pass() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .listener("acl: \"@public\"")
        .listener("limits: {count: 50, bulk: 64KiB}")
        .top("limits: {count: 5, pattern: 4}")
        .start();
    let mut client = gate.connect();
    client.assert_reply("SADD set a", ":1");
    client.assert_reply("SRANDMEMBER set 50", "[\"a\"]");
    client.assert_reply("SRANDMEMBER set -51", "-ERR portcullis: COUNT above 50 is not allowed here");
    client.assert_reply("HSCAN none 0 MATCH k*:1 COUNT 50", "[\"0\" []]");
    client.assert_reply(
        "HSCAN none 0 MATCH k*:12",
        "-ERR portcullis: a pattern above 4 bytes is not allowed here",
    );
    client.assert_reply("SETRANGE k 1024 x", ":1025");
    client.assert_reply("SETRANGE k 1025 x", "-ERR portcullis: an offset above 1024 is not allowed here");
    client.assert_reply("MULTI", "+OK");
    client.assert_reply("SPOP set 51", "-ERR portcullis: COUNT above 50 is not allowed here");
    client.assert_reply("EXEC", "-EXECABORT Transaction discarded because of previous errors.");
    client.assert_reply("SCARD set", ":1");
    gate.assert_metric("commands_denied_total", &[("reason", "size")], 4.0);
    let other = Gate::before(&redis).listener("auth: trust").listener("acl: \"+@all\"").start();
    let mut client = other.connect();
    client.assert_reply("SRANDMEMBER set -20000", &format!("[{}]", vec!["\"a\""; 20_000].join(" ")));
}

/// The count follows the confirmations of Redis: refused and ended subscriptions do not count.
#[test]
fn subscriptions_are_limited_by_what_redis_confirmed() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .listener("acl: \"@public\"")
        .listener("limits: {subscriptions: 3}")
        .start();
    let refused = "-ERR portcullis: more than 3 subscriptions are not allowed here";
    let mut client = gate.connect();
    client.assert_reply("SUBSCRIBE a", r#"["subscribe" "a" :1]"#);
    client.assert_reply("SUBSCRIBE b c d", refused);
    client.assert_reply("PSUBSCRIBE p*", r#"["psubscribe" "p*" :2]"#);
    client.assert_reply("SSUBSCRIBE s", r#"["ssubscribe" "s" :1]"#);
    client.assert_reply("SUBSCRIBE a", r#"["subscribe" "a" :2]"#);
    client.assert_reply("SUBSCRIBE b", refused);
    client.assert_reply("PUNSUBSCRIBE", r#"["punsubscribe" "p*" :1]"#);
    client.assert_reply("SUBSCRIBE b", r#"["subscribe" "b" :2]"#);
    gate.assert_metric("commands_denied_total", &[("command", "subscribe"), ("reason", "size")], 2.0);
    gate.assert_log("rule=\"limits.subscriptions\"");
}
