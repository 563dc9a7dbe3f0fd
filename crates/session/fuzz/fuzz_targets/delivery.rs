//! Messages on channels of any name, in any pieces, for a client whose rules close the channels of Redis itself. The
//! client gets the messages of all other channels, whole and in order, and no byte of the closed ones.
//!
//! Input: the number of piece sizes, these sizes and the RESP version. Each message follows as the kind of its channel,
//! the lengths of its channel and text, and the bytes of both.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use portcullis_acl::{CommandPlan, CommandRules};
use portcullis_resp::encode;
use portcullis_session::{Delivery, Incoming, Link, ReplyAction, Session, SessionKey, Step, Tick};
use portcullis_session_fuzz::{Choices, TestHost, pieces, split};

/// Rules with key patterns, which also close the channels that name keys.
const RULES: &str = "+@all ~a* allchannels";

/// The beginnings of channels that are closed under [`RULES`].
const CLOSED: [&[u8]; 4] = [b"__sentinel__:", b"__keyspace@", b"__keyevent@", b"__subkey"];

/// The beginnings of similar channels that are open.
const OPEN: [&[u8]; 4] = [b"", b"__", b"__sentinel__", b"__redis__:"];

fuzz_target!(|data: &[u8]| {
    let Some((sizes, version, mut rest)) = split(data) else { return };
    let resp3 = version & 1 != 0;
    let (mut stream, mut expected) = (Vec::new(), Vec::new());
    while let Some((message, is_open, after)) = message(rest, resp3) {
        stream.extend_from_slice(&message);
        if is_open {
            expected.extend_from_slice(&message);
        }
        rest = after;
    }
    let mut client = Client::subscribed(resp3);
    for piece in pieces(&stream, &sizes) {
        client.receive(piece);
    }
    assert_eq!(client.received, expected);
    assert!(client.unread.is_empty());
});

/// Returns the first message of `input` as sent by the upstream, whether its channel is open, and the rest of the
/// input.
fn message(input: &[u8], resp3: bool) -> Option<(Vec<u8>, bool, &[u8])> {
    let [kind, name, text, rest @ ..] = input else { return None };
    let (name, rest) = rest.split_at_checked(usize::from(*name))?;
    let (text, rest) = rest.split_at_checked(usize::from(*text))?;
    let kind = usize::from(kind % 8);
    let beginning = CLOSED.iter().chain(&OPEN).nth(kind)?;
    let channel = [beginning, name].concat();
    let mut wire = Vec::new();
    encode::command(&mut wire, &[b"pmessage", b"*", &channel, text]);
    if resp3 {
        wire[0] = b'>';
    }
    Some((wire, !CLOSED.iter().any(|closed| channel.starts_with(closed)), rest))
}

struct Client {
    session: Session,
    link: Link,
    peer: TestHost,
    unread: Vec<u8>,
    received: Vec<u8>,
}

impl Client {
    /// A client that has subscribed to the pattern `*`.
    fn subscribed(resp3: bool) -> Self {
        let choices = Choices::of(1);
        let rules = Arc::new(CommandRules::parse(RULES).unwrap());
        let plan = choices.plan().with_rules(CommandPlan::new(Some(&rules), None).into());
        let mut session = Session::new(SessionKey(1), plan.into());
        session.linked();
        let (link, peer) = (Link::new(), choices.host());
        let mut client = Self { session, link, peer, unread: Vec::new(), received: Vec::new() };
        if resp3 {
            client.run_command(&[b"HELLO", b"3"], b"%1\r\n$2\r\nid\r\n:5\r\n");
        }
        let mut confirmation = b"*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n".to_vec();
        if resp3 {
            confirmation[0] = b'>';
        }
        client.run_command(&[b"PSUBSCRIBE", b"*"], &confirmation);
        client.received.clear();
        client
    }

    fn run_command(&mut self, words: &[&[u8]], reply: &[u8]) {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        match self.session.next(&bytes, Tick::default(), &mut self.peer) {
            Step::Forward { first, pending, shape, .. } => self.link.expect(first, pending, shape),
            step => panic!("{step:?}"),
        }
        self.receive(reply);
        assert_eq!(self.received, reply);
        self.received.clear();
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while !self.unread.is_empty() {
            let (len, passes) = match self.link.next(&self.unread) {
                Incoming::Part(part) => {
                    let action = self.session.reply(&part, Tick::default(), &mut self.peer);
                    assert_eq!(action, ReplyAction::Pass);
                    (part.bytes.len(), true)
                }
                Incoming::Push { kind, bytes, ended } => {
                    (bytes.len(), self.session.push(kind, bytes, ended) == Delivery::Pass)
                }
                Incoming::Need(_) => return,
                Incoming::Fault(fault) => panic!("{fault:?}"),
            };
            let bytes = self.unread.drain(..len);
            if passes {
                self.received.extend(bytes);
            }
        }
    }
}
