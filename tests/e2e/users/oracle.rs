//! The same dialogues with the proxy and with a Redis that has the same users. The replies are equal, byte for byte.

use e2e::client::{command, encode};
use e2e::{Client, Gate, Redis};

/// A configuration whose users have the same names upstream, so that Redis's replies are the same.
const YAML: &str = r#"
listeners:
  - {name: public, bind: "127.0.0.1:{port}", upstream: main, allow: [127.0.0.1], auth: users, users: [default, alice]}
upstreams:
  main: {address: {redis}}
users:
  default: {password: {file: d.pw}, upstream_credentials: {main: {password: {file: d.pw}}}}
  alice:
    password: [{file: a.pw}, {file: b.pw}]
    upstream_credentials: {main: {username: alice, password: {file: a.pw}}}
admin: {bind: "127.0.0.1:{admin}"}
"#;

fn stage() -> (Redis, Gate) {
    let redis = Redis::builder()
        .password("dddd")
        .line("user alice on >aaaa >bbbb ~* &* +@all -flushall -client|kill")
        .start();
    let gate =
        Gate::before(&redis).config(YAML).file("d.pw", "dddd").file("a.pw", "aaaa").file("b.pw", "bbbb");
    let gate = gate.start();
    (redis, gate)
}

/// Commands to send with and without a login. They cause each kind of error, in Redis's order of checks.
const EVERYTHING: &[&str] = &[
    "GET k",
    "GET",
    "SET k",
    "NOSUCH",
    "NOSUCH a b",
    "nosuch a",
    "CONFIG",
    "CONFIG NOPE",
    "config get",
    "CLIENT",
    "client nope x",
    "CLIENT GETNAME",
    "CLIENT SETNAME bad\u{7f}name",
    "PING",
    "PING a b",
    "ECHO",
    "AUTH",
    "AUTH a b c",
    "AUTH wrong",
    "AUTH nobody x",
    "AUTH alice wrong",
    "AUTH default wrong",
    "HELLO 1",
    "HELLO 4",
    "HELLO x",
    "HELLO 03",
    "HELLO 3 FOO",
    "HELLO 3 AUTH alice",
    "HELLO 3 AUTH alice wrong",
    "HELLO 3 AUTH alice wrong SETNAME x",
    "HELLO 3 SETNAME",
    "HELLO 3 SETNAME bad\u{7f}name",
    "EXEC",
    "DISCARD",
    "EXEC x",
    "MULTI x",
    "SUBSCRIBE",
    "PUBLISH a",
    "MONITOR x",
    "RESET x",
    "SELECT a",
    "OBJECT NOPE x",
    "XREAD",
    "",
];

/// Dialogues that are followed by all commands of [`EVERYTHING`].
const BEFORE_EVERYTHING: &[&[&str]] = &[
    &["HELLO", "HELLO 3", "HELLO 2 SETNAME x", "MULTI", "WATCH k", "SUBSCRIBE a b", "UNSUBSCRIBE"],
    &["SYNC", "PSYNC ? -1", "REPLCONF ack 1", "MONITOR", "CLIENT REPLY OFF", "CLIENT REPLY SKIP", "RESET"],
    &["AUTH dddd"],
    &["AUTH alice aaaa"],
    &["HELLO 3 AUTH alice bbbb"],
    &["HELLO 3 AUTH default dddd SETNAME me", "CLIENT GETNAME"],
];

/// Other dialogues.
const DIALOGUES: &[&[&str]] = &[
    &["AUTH alice bbbb", "ACL WHOAMI", "AUTH dddd", "ACL WHOAMI", "AUTH alice x", "ACL WHOAMI"],
    &["AUTH alice aaaa", "FLUSHALL", "CLIENT KILL ID 9", "RESET", "FLUSHALL", "AUTH dddd", "FLUSHALL"],
    &["AUTH alice aaaa", "MULTI", "SET k v", "NOSUCH", "EXEC", "MULTI", "INCR n", "EXEC", "DEL n"],
    &["MULTI", "AUTH alice aaaa", "EXEC", "WATCH k", "MULTI", "GET k", "RESET", "EXEC", "GET k"],
    &["AUTH alice aaaa", "SUBSCRIBE a b", "AUTH dddd", "HELLO 3 AUTH default dddd", "GET k", "RESET", "PING"],
    &["HELLO 3 AUTH alice aaaa", "SUBSCRIBE a", "AUTH dddd", "ACL WHOAMI", "UNSUBSCRIBE", "RESET", "HELLO 3"],
    &["AUTH alice aaaa", "CLIENT REPLY OFF", "GET k", "AUTH alice x", "CLIENT REPLY ON", "RESET", "GET k"],
    &[
        "AUTH alice aaaa",
        "CLIENT REPLY SKIP",
        "AUTH dddd",
        "ACL WHOAMI",
        "CLIENT REPLY SKIP",
        "RESET",
        "GET k",
    ],
    &[
        "AUTH alice aaaa",
        "SELECT 3",
        "SET in3 1",
        "AUTH dddd",
        "EXISTS in3",
        "RESET",
        "AUTH dddd",
        "EXISTS in3",
    ],
    &["RESET", "RESET", "AUTH alice aaaa", "RESET", "AUTH alice bbbb", "RESET", "QUIT", "GET k"],
];

/// Returns the dialogues, one for each client. QUIT is added later.
fn dialogues() -> Vec<Vec<String>> {
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let with_everything = BEFORE_EVERYTHING.iter().map(|before| owned(&[*before, EVERYTHING].concat()));
    with_everything.chain(DIALOGUES.iter().map(|lines| owned(lines))).collect()
}

/// Removes the differences that are allowed: Redis up to 7.0 omits a word, and the ids of connections differ.
fn comparable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("the HELLO <proto> AUTH", "the HELLO AUTH");
    let mut parts = text.split("$2\r\nid\r\n:");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        masked += "$2\r\nid\r\n:?";
        masked += rest;
    }
    masked
}

fn pipelined(mut client: Client, dialogue: &[String], form: fn(&str) -> Vec<u8>) -> String {
    for line in dialogue {
        client.hold(&form(line));
    }
    client.send("QUIT");
    comparable(&client.read_to_end().0)
}

/// Sends each command in its own write, and then waits, so that its reply comes before the next command.
fn one_by_one(mut client: Client, dialogue: &[String]) -> String {
    for line in dialogue {
        client.send(line);
        std::thread::sleep(std::time::Duration::from_millis(4));
    }
    client.send("QUIT");
    comparable(&client.read_to_end().0)
}

fn inline(line: &str) -> Vec<u8> {
    format!("{line}\r\n").into_bytes()
}

#[test]
fn replies_are_those_of_redis() {
    let (redis, gate) = stage();
    for dialogue in dialogues() {
        let (direct, through) = (|| Client::tcp(redis.address()), || gate.connect());
        let expected = pipelined(direct(), &dialogue, command);
        assert_eq!(pipelined(through(), &dialogue, command), expected, "pipelined: {dialogue:?}");
        // After QUIT the connection closes sooner or later, so a later command may fail.
        if !dialogue.iter().any(|line| line == "QUIT") {
            assert_eq!(one_by_one(through(), &dialogue), one_by_one(direct(), &dialogue), "{dialogue:?}");
        }
        let expected = pipelined(direct(), &dialogue, inline);
        assert_eq!(pipelined(through(), &dialogue, inline), expected, "inline: {dialogue:?}");
    }
}

/// Arguments that are cut, escaped or too long for the error.
#[test]
fn replies_to_odd_bytes_are_those_of_redis() {
    let (redis, gate) = stage();
    let long = "l".repeat(300);
    let frames: [&[&[u8]]; 10] = [
        &[b"NO\r\nSUCH", b"a\r\nb"],
        &[b"\xff\xc3", b"\xfe"],
        &[long.as_bytes(), long.as_bytes(), b"never shown"],
        &[b"NOSUCH", &[b'x'; 100], &[b'y'; 100], b"z"],
        &[b"CONFIG", b"no\r\npe"],
        &[b"CLIENT", long.as_bytes()],
        &[b"HELLO", b"3", b"F\r\nOO"],
        &[b"AUTH", b"al\0ice", b"\r\n"],
        &[b"GET ", b"k"],
        &[b""],
    ];
    for login in ["PING", "AUTH alice aaaa"] {
        for frame in frames {
            let answers = |mut client: Client| {
                client.hold(&command(login));
                client.hold(&encode(frame));
                client.send("QUIT");
                comparable(&client.read_to_end().0)
            };
            let due = answers(Client::tcp(redis.address()));
            assert_eq!(
                answers(gate.connect()),
                due,
                "{:?} after {login}",
                frame[0].escape_ascii().to_string()
            );
        }
    }
}
