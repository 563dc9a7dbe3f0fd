//! Random commands of clients, mostly about the state of a connection.

use proptest::prelude::*;
use proptest::sample::select;

use super::pair::frame;

#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) words: Vec<String>,
    inline: bool,
}

impl Command {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words, inline: false }
    }

    /// Returns the command with keys, channels and values that only the client with this tag uses.
    pub(crate) fn tagged(mut self, tag: &str) -> Self {
        let name = self.words[0].to_ascii_lowercase();
        let own = match &*name {
            "get" | "lrange" | "blpop" | "echo" => 1..2,
            "set" | "publish" => 1..3,
            "ping" | "watch" | "subscribe" | "psubscribe" | "ssubscribe" | "unsubscribe" | "punsubscribe"
            | "sunsubscribe" => 1..usize::MAX,
            // The first item may look like a message, so only the last one gets the tag.
            "rpush" => {
                if let Some(last) = self.words.last_mut() {
                    last.push_str(tag);
                }
                1..2
            }
            _ => 0..0,
        };
        for word in self.words.iter_mut().take(own.end).skip(own.start) {
            word.push_str(tag);
        }
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        if self.inline {
            return format!("{}\r\n", self.words.join(" ")).into_bytes();
        }
        frame(self.words.iter().map(String::as_str))
    }
}

pub(crate) fn scripts() -> impl Strategy<Value = Vec<Command>> {
    // Most scripts begin with a login, because with users little happens without one.
    let first = prop::collection::vec(command(login()), 0..4);
    let rest = prop::collection::vec(command(anything()), 1..40);
    (first, rest).prop_map(|(first, rest)| [first, rest].concat())
}

fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => data(),
        5 => transaction(),
        5 => subscription(),
        3 => mode(),
        2 => handshake(),
        2 => login(),
        1 => odd(),
    ]
}

fn command(words: impl Strategy<Value = String>) -> impl Strategy<Value = Command> {
    (words, prop::bool::weighted(0.15)).prop_map(|(words, inline)| {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        // Inline commands are short.
        let inline = inline && words.iter().all(|word| word.len() < 64);
        Command { words, inline }
    })
}

fn data() -> impl Strategy<Value = String> {
    let value = prop_oneof![Just(5_usize), 0..3000_usize].prop_map(|len| "v".repeat(len.max(1)));
    prop_oneof![
        text(&[
            "PING",
            "ping hello",
            "ECHO a",
            "GET a",
            "GET none",
            "LRANGE l 0 -1",
            "BLPOP l 0",
            "BLPOP e 0"
        ]),
        text(&[
            "RPUSH l message a x",
            "RPUSH l subscribe a 1",
            "RPUSH l +1 -ERR",
            "PUBLISH a hi",
            "PUBLISH ab x"
        ]),
        value.prop_map(|value| format!("SET a {value}")),
    ]
}

fn transaction() -> impl Strategy<Value = String> {
    text(&[
        "MULTI",
        "MULTI",
        "MULTI",
        "EXEC",
        "EXEC",
        "EXEC",
        "DISCARD",
        "WATCH a",
        "EXEC foo",
        "DISCARD foo",
    ])
}

fn subscription() -> impl Strategy<Value = String> {
    let verb = select(vec!["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"]);
    let leave = select(vec!["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"]);
    let some = || select(vec!["a", "b", "a b", "a a", "a b c d"]);
    let long = (64..2000_usize).prop_map(|len| format!("SUBSCRIBE {}", "n".repeat(len)));
    prop_oneof![
        4 => (verb, some()).prop_map(|(verb, channels)| format!("{verb} {channels}")),
        2 => (leave.clone(), some()).prop_map(|(verb, channels)| format!("{verb} {channels}")),
        2 => leave.prop_map(str::to_owned),
        1 => long,
        1 => Just("SUBSCRIBE".to_owned()),
    ]
}

fn mode() -> impl Strategy<Value = String> {
    text(&[
        "CLIENT REPLY ON",
        "CLIENT REPLY OFF",
        "client reply skip",
        "CLIENT REPLY SKIP",
        "CLIENT REPLY MAYBE",
        "CLIENT SETNAME me",
        "CLIENT GETNAME",
        "MONITOR",
        "RESET",
        "RESET",
    ])
}

fn handshake() -> impl Strategy<Value = String> {
    text(&[
        "HELLO",
        "HELLO 2",
        "HELLO 3",
        "HELLO 3",
        "HELLO 4",
        "HELLO x",
        "HELLO 3 SETNAME me",
        "HELLO 3 AUTH default secret SETNAME me",
        "HELLO 2 AUTH other secret",
        "HELLO 3 FOO",
        "AUTH secret",
        "AUTH wrong",
        "AUTH default secret",
        "AUTH other secret",
        "AUTH a b c",
        "AUTH alice wrong",
        "HELLO 3 AUTH bob wrong",
    ])
}

/// Generates logins of the users in `properties`.
fn login() -> impl Strategy<Value = String> {
    text(&[
        "AUTH alice a",
        "AUTH carol c",
        "AUTH bob b",
        "AUTH carol:c",
        "AUTH d",
        "HELLO 3 AUTH alice a",
        "HELLO 2 AUTH carol c SETNAME me",
        "HELLO 3 AUTH bob b",
    ])
}

fn odd() -> impl Strategy<Value = String> {
    text(&[
        "FOO a b",
        "GET",
        "PING a b",
        "SYNC",
        "PSYNC ? -1",
        "REPLCONF ACK 1",
        "QUIT",
        "MULTI x",
        "RESET x",
    ])
}

fn text(choices: &[&str]) -> impl Strategy<Value = String> + use<> {
    select(choices.iter().map(|&choice| choice.to_owned()).collect::<Vec<_>>())
}
