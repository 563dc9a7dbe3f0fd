//! A client can choose text in a status or an error. Such text could end its line and forge the reply to another
//! client.

use e2e::client::{command, encode};
use e2e::{Answer, Client, Fake, Gate, Redis, Stage, Way};

use super::{Neighbours, before, sharing};

/// Scripts whose line contains a line break, for all versions of Redis, including the versions with CVE-2025-67733.
const SCRIPTS: &[&str] = &[
    r"return redis.error_reply('x\r\n+forged')",
    r"return redis.error_reply('-ERR x\r\n$6\r\nforged')",
    r"return {err = 'x\r\n+forged\r\n+forged'}",
    r"return redis.status_reply('x\r\n+forged')",
    r"return {ok = 'x\r\n:1\r\n*1\r\n+forged'}",
    r"error('x\r\n+forged')",
    r"error({err = 'x\r\n+forged'})",
    r"error({err = 'x\r\n+forged', source = 'a\r\n+forged', line = '1\r\n+forged'})",
    r"local t = {} setmetatable(t, {__index = function() return 'x\r\n+forged' end}) return redis.error_reply(t.x)",
    r"return redis.call('x\r\n+forged')",
    r"return redis.pcall('x\r\n+forged')",
    r"return redis.pcall('SET', 'k', 'v', 'x\r\n+forged')",
    r"return {{err = 'x\r\n+forged'}, {ok = 'x\r\n+forged'}}",
    r"redis.setresp(3) return {big_number = '1\r\n+forged'}",
    r"redis.setresp(3) return {verbatim_string = {format = 'tx\r', string = 'x\r\n+forged'}}",
    r"redis.setresp(3) return {double = '1\r\n+forged'}",
    "#!lua name=x\r\n+forged\nreturn 1",
    "#!x\r\n+forged\nreturn 1",
    "#!lua flags=x\r\n+forged\nreturn 1",
    "#!lua\nreturn redis.error_reply('x\\r\\n+forged')",
    "this is no lua '\r\n+forged\r\n",
];

/// Sends the script in every form. Only the attacker may notice an effect.
fn attack(client: &mut Client, script: &str) {
    client.hold(&encode(&[b"EVAL", script.as_bytes(), b"0"]));
    client.hold(&encode(&[b"EVALSHA", script.as_bytes(), b"0"]));
    client.hold(&encode(&[b"EVAL_RO", script.as_bytes(), b"0"]));
    client.hold(&encode(&[b"SCRIPT", b"LOAD", script.as_bytes()]));
    client.hold(&encode(&[b"FUNCTION", b"LOAD", b"REPLACE", script.as_bytes()]));
    client.hold(&encode(&[b"FCALL", script.as_bytes(), b"0"]));
    // The proxy may have closed the client already.
    let _ = client.try_send_raw(b"");
}

fn scripts_that_forge(connect: impl Fn() -> Client, neighbours: &mut Neighbours<'_>) {
    for script in SCRIPTS {
        let mut attackers = [connect(), connect(), connect()];
        // A client that had only small replies so far shares a connection with similar clients.
        for number in 0..30 {
            attackers.iter_mut().for_each(|attacker| attacker.assert_in_step(&format!("{number}")));
        }
        attackers[1].assert_reply("SELECT 0", "+OK");
        attackers[2].call("HELLO 3");
        for _ in 0..3 {
            neighbours.send();
            for attacker in &mut attackers {
                attack(attacker, script);
            }
            neighbours.send();
            // The replies to the first round come first, and then the replies to the second.
            neighbours.round -= 1;
            neighbours.assert_own_replies();
            neighbours.round += 1;
            neighbours.assert_own_replies();
        }
        // New clients take the places of the attackers.
        drop(attackers);
        neighbours.assert_served();
    }
}

#[test]
fn scripts_of_redis() {
    let stage = Stage::new(Way::Shared);
    let mut neighbours = Neighbours::enter(stage.gate.as_ref().expect("a gate"));
    scripts_that_forge(|| stage.connect(), &mut neighbours);
}

/// Starts an upstream that repeats its input unchanged in its error lines.
fn careless() -> Fake {
    Fake::start(|words| {
        let forged = words.iter().find(|word| word.contains("forged"))?;
        match words[0] {
            "SET" | "GET" | "ECHO" | "MGET" | "PING" => None,
            _ => Answer::line(&format!("-ERR wrong: {forged}")),
        }
    })
}

#[test]
fn scripts_of_a_careless_upstream() {
    let fake = careless();
    let gate = before(&fake).start();
    let mut neighbours = Neighbours::enter(&gate);
    scripts_that_forge(|| gate.connect(), &mut neighbours);
}

/// A text that ends its line in an error and adds a status, if a server repeats it unchanged.
const TEXT: &[u8] = b"x\r\n+forged";

/// Commands whose errors contain [`TEXT`] on such a server.
const REPEATED: &[&[&[u8]]] = &[
    &[TEXT],
    &[b"NOSUCH", TEXT],
    &[b"JSON.SET", b"k", TEXT],
    &[b"FT.SEARCH", TEXT],
    &[b"EVAL", TEXT, b"0"],
    &[b"EVALSHA", TEXT, b"0"],
    &[b"EVAL_RO", TEXT, b"0"],
    &[b"EVALSHA_RO", TEXT, b"0"],
    &[b"FCALL", TEXT, b"0"],
    &[b"FCALL_RO", TEXT, b"0"],
    &[b"SCRIPT", b"LOAD", TEXT],
    &[b"SCRIPT", TEXT],
    &[b"FUNCTION", b"LOAD", TEXT],
    &[b"FUNCTION", b"RESTORE", TEXT],
    &[b"FUNCTION", TEXT],
    &[b"MODULE", b"LOAD", TEXT],
    &[b"CONFIG", b"SET", TEXT, b"1"],
    &[b"CONFIG", TEXT],
    &[b"CLIENT", TEXT],
    &[b"OBJECT", TEXT, b"k"],
    &[b"XINFO", TEXT, b"k"],
    &[b"XGROUP", TEXT, b"k"],
    &[b"MEMORY", TEXT],
    &[b"LATENCY", TEXT],
    &[b"SLOWLOG", TEXT],
    &[b"PUBSUB", TEXT],
    &[b"COMMAND", TEXT],
    &[b"CLUSTER", TEXT],
    &[b"ACL", b"SETUSER", b"u", TEXT],
    &[b"ACL", TEXT],
    &[b"DEBUG", TEXT],
    &[b"MIGRATE", b"host", b"1", b"k", b"0", b"1", TEXT],
    &[b"HELLO", b"3", TEXT],
    &[b"MONITOR", TEXT],
    &[b"SUBSCRIBE", TEXT],
    &[b"PSUBSCRIBE", TEXT],
    &[b"BLPOP", TEXT, b"0.01"],
];

/// An error that repeats a client's text never reaches another client.
#[test]
fn words_that_come_back() {
    let fake = careless();
    let gate = before(&fake).start();
    let mut neighbours = Neighbours::enter(&gate);
    for words in REPEATED {
        let mut attackers: Vec<Client> = (0..3).map(|_| gate.connect()).collect();
        neighbours.send();
        for attacker in &mut attackers {
            attacker.hold(&command("GET innocent"));
            attacker.hold(&encode(words));
            let _ = attacker.try_send_raw(&command("GET innocent"));
        }
        neighbours.assert_own_replies();
        for attacker in &mut attackers {
            attacker.assert_recv(r#""innocent@0""#);
        }
        neighbours.assert_served();
        let shown = words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
        let sent = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
        for connection in fake.connections_with(&sent) {
            let strangers = fake.commands_on(connection).iter().any(|sent| sent.contains("neighbour:"));
            assert!(!strangers, "{shown} came on a connection of other clients");
        }
    }
}

/// Names of keys, values and members are not sent in lines, so they may contain any bytes.
#[test]
fn data_with_line_breaks() {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let mut neighbours = Neighbours::enter(&gate);
    let text: &[u8] = b"x\r\n+forged\r\n$6\r\nforged\r\n-ERR forged\r\n";
    let mut client = gate.connect();
    for words in [
        &[b"SET".as_slice(), text, text] as &[&[u8]],
        &[b"GET", text],
        &[b"SET", b"k", b"v", text],
        &[b"HSET", b"h", text, text],
        &[b"HGETALL", b"h"],
        &[b"HINCRBY", b"h", text, b"x"],
        &[b"INCRBY", b"k", text],
        &[b"ZADD", b"z", text, b"m"],
        &[b"ZADD", b"z", b"1", text],
        &[b"ZRANGE", b"z", text, b"x"],
        &[b"GEOADD", b"g", text, b"1", b"m"],
        &[b"BITFIELD", b"b", b"GET", text, b"0"],
        &[b"XADD", b"s", text, b"f", b"v"],
        &[b"XADD", b"s", b"*", text, b"v"],
        &[b"XRANGE", b"s", text, b"+"],
        &[b"SETEX", b"k", text, b"v"],
        &[b"EXPIRE", b"k", text],
        &[b"SORT", b"k", b"BY", text],
        &[b"LPOS", b"l", text, b"RANK", text],
        &[b"SCAN", text],
        &[b"OBJECT", b"ENCODING", text],
        &[b"OBJECT", text],
        &[b"TYPE", text],
        &[b"ECHO", text],
        &[b"PING", text],
        &[b"SELECT", text],
        &[b"HELLO", text],
        &[b"HELLO", b"3", text],
        &[b"AUTH", text],
        &[b"AUTH", text, text],
        &[b"CLIENT", b"SETNAME", text],
        &[b"CLIENT", text],
        &[b"CLIENT", b"KILL", text],
        &[b"CLIENT", b"SETINFO", text, text],
        &[b"RESTORE", b"r", b"0", text],
        &[b"COPY", b"k", b"k2", b"DB", text],
        &[b"CONFIG", b"GET", text],
        &[b"PUBLISH", text, text],
        &[b"WAIT", text, text],
    ] {
        neighbours.send();
        client.hold(&encode(words));
        client.send("ECHO next");
        client.recv();
        client.assert_recv(r#""next""#);
        neighbours.assert_own_replies();
    }
    neighbours.assert_served();
}
