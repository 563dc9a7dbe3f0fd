//! CLIENT LIST, KILL, UNBLOCK and TRACKING REDIRECT: the clients that a client can see and act on.
//!
//! On shared connections, and under `@public`, the proxy answers these commands. A client then sees only clients of the
//! proxy. With rules it sees only clients of its own listener and user.

use e2e::{Client, Gate, GateBuilder, Redis};

const SHARED: &str = "connections: shared";

/// Builds a proxy with several workers, so that clients are on different workers.
fn gate(redis: &Redis, lines: &[&str], upstream: &[&str]) -> GateBuilder {
    let builder = Gate::before(redis).listener("auth: trust").top("workers: 3");
    let builder = lines.iter().fold(builder, |builder, line| builder.listener(line));
    upstream.iter().fold(builder, |builder, line| builder.upstream(line))
}

/// Returns the configurations in which the proxy itself answers CLIENT.
fn ways(redis: &Redis) -> [(&'static str, Gate); 3] {
    let public = r#"acl: "@public +client|kill +client|unblock""#;
    [
        ("shared", gate(redis, &[], &[SHARED]).start()),
        ("shared @public", gate(redis, &[public], &[SHARED]).start()),
        ("dedicated @public", gate(redis, &[public], &[]).start()),
    ]
}

fn field(line: &str, name: &str) -> String {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
}

fn ids(list: &str) -> Vec<i64> {
    list.lines().map(|line| field(line, "id").parse().expect("a number")).collect()
}

/// Waits until `count` clients of Redis are in a blocking command.
fn wait_until_blocked(redis: &Redis, count: usize) {
    e2e::eventually("they wait", || {
        let info = redis.control().call("INFO clients").text();
        info.contains(&format!("blocked_clients:{count}\r\n")).then_some(())
    });
}

/// BullMQ and Bull use these commands in `getWorkers()`: each worker sends CLIENT SETNAME, and any client sends CLIENT
/// LIST.
#[test]
fn workers_find_each_other() {
    let redis = Redis::plain();
    let rules = r#"acl: "@public""#;
    for (lines, upstream) in
        [(vec![], vec![]), (vec![], vec![SHARED]), (vec![rules], vec![]), (vec![rules], vec![SHARED])]
    {
        let gate = gate(&redis, &lines, &upstream).start();
        let mut workers: Vec<Client> = (0..9).map(|_| gate.connect()).collect();
        let mut expected = Vec::new();
        for (number, worker) in workers.iter_mut().enumerate() {
            worker.assert_reply(&format!("CLIENT SETNAME bull:cXVldWU=:w:{number}"), "+OK");
            expected.push(worker.call("CLIENT ID").integer());
            if number % 2 == 0 {
                worker.send("BZPOPMIN bull:queue:marker 0");
            }
        }
        wait_until_blocked(&redis, 5);
        let mut client = gate.connect();
        let list = client.call("CLIENT LIST").text();
        let named: Vec<&str> = list.lines().filter(|line| line.contains(" name=bull:cXVldWU=:w:")).collect();
        assert_eq!(named.len(), 9, "{lines:?} {upstream:?}: {list}");
        expected.sort_unstable();
        assert_eq!(ids(&named.join("\n")), expected, "{lines:?} {upstream:?}: {list}");
        let blocked = named.iter().filter(|line| field(line, "flags") == "b").count();
        assert_eq!(blocked, 5, "{lines:?} {upstream:?}: {list}");
        let typed = client.call("CLIENT LIST TYPE normal").text();
        assert!(ids(&typed).ends_with(&[client.call("CLIENT ID").integer()]), "{typed}");
        let chosen = client.call(&format!("CLIENT LIST ID {} {} 999999", expected[3], expected[7])).text();
        assert_eq!(ids(&chosen), [expected[3], expected[7]]);
        drop(workers);
        wait_until_blocked(&redis, 0);
    }
}

/// The list has neither the proxy's connections to Redis nor other clients of Redis.
#[test]
fn only_clients_of_the_gate_are_listed() {
    let redis = Redis::plain();
    let mut direct = redis.control();
    direct.assert_reply("CLIENT SETNAME direct", "+OK");
    for (way, gate) in ways(&redis) {
        let (mut one, mut other) = (gate.connect(), gate.connect());
        one.assert_reply("SET k v", "+OK");
        other.assert_reply("CLIENT SETNAME other", "+OK");
        let list = one.call("CLIENT LIST").text();
        let numbers = [&mut one, &mut other].map(|client| client.call("CLIENT ID").integer());
        let mut expected = numbers.to_vec();
        expected.sort_unstable();
        assert_eq!(ids(&list), expected, "{way}: {list}");
        let line = |number: i64| {
            list.lines().find(|line| line.starts_with(&format!("id={number} "))).expect("its line").to_owned()
        };
        let (own, its) = (line(numbers[0]), line(numbers[1]));
        assert_eq!(field(&own, "addr"), one.local().to_string(), "{way}");
        assert_eq!((field(&own, "cmd"), field(&its, "cmd")), ("client|list".to_owned(), "NULL".to_owned()));
        let public = way.contains("@public");
        let hidden = "0.0.0.0:0".to_owned();
        let shown = |address: String| if public { hidden.clone() } else { address };
        assert_eq!(field(&its, "addr"), shown(other.local().to_string()), "{way}");
        for line in [&own, &its, &one.call("CLIENT INFO").text()] {
            assert_eq!(field(line, "laddr"), shown(gate.address().to_string()), "{way}");
        }
        let killed = one.call(&format!("CLIENT KILL ADDR {}", other.local())).integer();
        assert_eq!(killed, i64::from(!public), "{way}: CLIENT KILL finds a hidden address");
    }
    direct.assert_reply("CLIENT GETNAME", r#""direct""#);
}

#[test]
fn kill_reaches_what_list_shows() {
    let redis = Redis::plain();
    for (way, gate) in ways(&redis) {
        let mut killer = gate.connect();
        let own = killer.call("CLIENT ID").integer();
        let (mut victim, mut subscriber) = (gate.connect(), gate.connect());
        let number = victim.call("CLIENT ID").integer();
        let subscribed = subscriber.call("CLIENT ID").integer();
        subscriber.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#);
        assert_eq!(ids(&killer.call("CLIENT LIST TYPE pubsub").text()), [subscribed], "{way}");
        killer.assert_reply(&format!("CLIENT KILL ID {number} TYPE pubsub"), ":0");
        killer.assert_reply(&format!("CLIENT KILL ID {number} MAXAGE 1000"), ":0");
        killer.assert_reply(&format!("CLIENT KILL ID {own}"), ":0");
        killer.assert_reply("CLIENT KILL 192.0.2.1:1", "-ERR No such client");
        killer.assert_reply("CLIENT KILL LADDR 192.0.2.1:1", ":0");
        killer.assert_reply("CLIENT KILL TYPE master", ":0");
        victim.assert_in_step("still there");
        killer.assert_reply(&format!("CLIENT KILL ID {number} USER default TYPE normal"), ":1");
        victim.assert_closed();
        killer.assert_reply("CLIENT KILL TYPE pubsub", ":1");
        subscriber.assert_closed();
        killer.assert_reply(&format!("CLIENT KILL ID {number}"), ":0");
        assert_eq!(ids(&killer.call("CLIENT LIST").text()), [own], "{way}");
        let mut others: Vec<Client> = (0..6).map(|_| gate.connect()).collect();
        others.iter_mut().for_each(|client| client.assert_in_step("here"));
        killer.assert_reply("CLIENT KILL SKIPME yes", ":6");
        for client in &mut others {
            client.assert_closed();
        }
        gate.assert_metric("connections_closed_total", &[("reason", "admin")], 8.0);
        killer.hold(&e2e::client::command(&format!("CLIENT KILL {}", killer.local())));
        killer.send("ECHO behind");
        killer.assert_recv("+OK");
        killer.assert_closed();
    }
}

#[test]
fn a_client_that_waits_is_unblocked() {
    let redis = Redis::plain();
    for (way, gate) in ways(&redis) {
        let mut waker = gate.connect();
        for (reason, said) in [("", "null"), (" TIMEOUT", "null"), (" error", UNBLOCKED)] {
            let mut waiting = gate.connect();
            let number = waiting.call("CLIENT ID").integer();
            waker.assert_reply(&format!("CLIENT UNBLOCK {number}{reason}"), ":0");
            waiting.send("BLPOP nothing 0");
            wait_until_blocked(&redis, 1);
            waker.hold(&e2e::client::command("ECHO before"));
            waker.hold(&e2e::client::command(&format!("CLIENT UNBLOCK {number}{reason}")));
            waker.send("ECHO after");
            for due in [r#""before""#, ":1", r#""after""#] {
                waker.assert_recv(due);
            }
            let reply = waiting.recv().to_string();
            assert!(reply == said || (said == "null" && reply.contains("nil")), "{way}{reason}: {reply}");
            waiting.assert_in_step("after");
            waiting.send("BLPOP nothing 0");
            wait_until_blocked(&redis, 1);
            waker.assert_reply(&format!("CLIENT UNBLOCK {number}"), ":1");
            waiting.recv();
            waiting.assert_in_step("again");
        }
        waker.assert_reply("CLIENT UNBLOCK 999999", ":0");
        waker.assert_in_step("end");
    }
}

const UNBLOCKED: &str = "-UNBLOCKED client unblocked via CLIENT UNBLOCK";

const YAML: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [127.0.0.1], auth: users, users: [a, b]}
upstreams:
  main: {address: {redis}, connections: CONNECTIONS}
users:
  a: {password: {file: a.txt}, acl: 'ACL'}
  b: {password: {file: b.txt}, acl: 'ACL'}
workers: 2
admin: {bind: '127.0.0.1:{admin}'}
";

/// Users with rules do not see each other, whatever form of the commands they use.
#[test]
fn users_with_rules_are_alone() {
    const SOME: &str = "@public +client|kill +client|unblock";
    let redis = Redis::builder().line("user a on >pa ~* &* +@all").line("user b on >pb ~* &* +@all").start();
    let gate_before = |yaml: &str| Gate::before(&redis).config(yaml).file("a.txt", "pa").file("b.txt", "pb");
    let of_users = |connections, acl| {
        let yaml = YAML.replace("CONNECTIONS", connections).replace("ACL", acl);
        (format!("{connections} {acl}"), gate_before(&yaml).start())
    };
    let passthrough = Gate::before(&redis).listener(&format!("acl: {SOME:?}")).top("workers: 3").start();
    for (way, gate) in [
        of_users("shared", "+@all ~*"),
        of_users("shared", SOME),
        of_users("dedicated", SOME),
        ("passthrough".to_owned(), passthrough),
    ] {
        let user = |name: &str| {
            let mut client = gate.connect();
            client.assert_reply(&format!("AUTH {name} p{name}"), "+OK");
            client
        };
        let (mut a, mut friend, mut b, mut waiting) = (user("a"), user("a"), user("b"), user("b"));
        let numbers = [&mut a, &mut friend].map(|client| client.call("CLIENT ID").integer());
        let strangers = [&mut b, &mut waiting].map(|client| client.call("CLIENT ID").integer());
        waiting.send("BLPOP nothing 0");
        wait_until_blocked(&redis, 1);
        let _unknown = gate.connect();
        let mut expected = numbers.to_vec();
        expected.sort_unstable();
        let list = a.call("CLIENT LIST").text();
        assert_eq!(ids(&list), expected, "{way}: {list}");
        assert!(list.lines().all(|line| field(line, "user") == "a"), "{list}");
        for number in strangers {
            assert_eq!(a.call(&format!("CLIENT LIST ID {number}")).text(), "", "{way}");
            a.assert_reply(&format!("CLIENT KILL ID {number}"), ":0");
            a.assert_reply(&format!("CLIENT UNBLOCK {number}"), ":0");
            a.assert_reply(&format!("CLIENT UNBLOCK {number} ERROR"), ":0");
        }
        a.assert_reply("CLIENT KILL USER b", "-ERR No such user 'b'");
        a.assert_reply(&format!("CLIENT KILL ADDR {}", b.local()), ":0");
        a.assert_reply("CLIENT KILL TYPE normal", ":1");
        friend.assert_closed();
        b.assert_in_step("b");
        redis.control().assert_reply("RPUSH nothing x", ":1");
        waiting.assert_recv(r#"["nothing" "x"]"#);
        redis.control().assert_reply("DEL nothing", ":0");
    }
}

/// A client with rules cannot redirect invalidations to another client.
#[test]
fn tracking_with_rules_is_not_redirected_to_others() {
    let redis = Redis::plain();
    let refused = "-NOPERM portcullis: CLIENT TRACKING cannot REDIRECT to another client here";
    for acl in ["+@all", "@public"] {
        let gate = gate(&redis, &[&format!("acl: '{acl}'")], &[]).start();
        let (mut client, mut victim) = (gate.connect(), gate.connect());
        victim.assert_in_step("here");
        for line in redis.tcp_clients() {
            let number = field(&line, "id");
            let reply = client.call(&format!("CLIENT TRACKING ON REDIRECT {number}")).to_string();
            let own = acl == "+@all" && client.call("CLIENT ID").to_string() == format!(":{number}");
            let gates = acl == "@public" && client.call("CLIENT ID").to_string() == format!(":{number}");
            assert_eq!(reply, if own || gates { "+OK" } else { refused }, "{acl}: {line}");
        }
        let own = client.call("CLIENT ID").integer();
        client.assert_reply("CLIENT TRACKING OFF", "+OK");
        client.assert_reply(&format!("CLIENT TRACKING ON REDIRECT {own}"), "+OK");
        client.assert_reply("CLIENT TRACKING OFF", "+OK");
        victim.assert_in_step("still there");
    }
}

/// Other clients of Redis can send invalidations to shared connections. The proxy's clients on these connections do not
/// get them.
#[test]
fn invalidations_sent_to_shared_connections_are_dropped() {
    let redis = Redis::plain();
    let gate = gate(&redis, &[], &[SHARED]).start();
    let mut victims: Vec<Client> = (0..12).map(|_| gate.connect()).collect();
    for victim in &mut victims {
        assert!(!victim.call("HELLO 3").is_error());
        victim.assert_in_step("here");
    }
    let shared: Vec<String> = redis.tcp_clients().iter().map(|line| field(line, "id")).collect();
    assert!(!shared.is_empty());
    for number in &shared {
        let mut attacker = redis.control();
        attacker.assert_reply(&format!("CLIENT TRACKING ON BCAST REDIRECT {number}"), "+OK");
        for round in 0..50 {
            redis.control().assert_reply(&format!("SET k:{round} v"), "+OK");
            victims.iter_mut().for_each(|victim| victim.assert_in_step(&format!("{number}-{round}")));
        }
    }
    let dropped = gate.metric("upstream_pushes_dropped_total", &[("upstream", "main")]);
    assert!(dropped >= 50.0, "{dropped}");
    assert_eq!(gate.metric("upstream_errors_total", &[("kind", "protocol")]), 0.0);
    let after: Vec<String> = redis.tcp_clients().iter().map(|line| field(line, "id")).collect();
    assert!(
        shared.iter().all(|number| after.contains(number)),
        "{shared:?}, {after:?}: connections were lost"
    );
}

/// CLIENT NO-EVICT applies to the client's own connection, which the proxy closes when the flag is off again.
#[test]
fn no_evict_works_where_connections_are_shared() {
    let redis = Redis::plain();
    let flagged = || redis.tcp_clients().iter().filter(|line| field(line, "flags") == "e").count();
    let gate = gate(&redis, &[], &[SHARED]).start();
    let mut client = gate.connect();
    client.assert_reply("CLIENT NO-EVICT ON", "+OK");
    client.assert_reply("SET k v", "+OK");
    assert_eq!(flagged(), 1);
    client.assert_reply("CLIENT NO-EVICT OFF", "+OK");
    assert_eq!(flagged(), 0);
    gate.assert_metric("upstream_connections", &[("state", "used")], 0.0);
    client.assert_reply("GET k", r#""v""#);
}
