use crate::client::{CloseReason, Until};
use crate::tests::pair::{Pair, frames, plan, show};
use crate::tests::users::rules;
use crate::{Auth, Denied, Standing};

/// A stream that is not RESP: a transfer of unknown length, and text that looks like replies.
const STREAM: &str = "+FULLRESYNC 8de1 1|$EOF:abc|\u{0}garbage*1|-ERR|+OK|";

fn sent(text: &str) -> String {
    show(&frames(text))
}

fn replica() -> Pair {
    let rules = rules(Some("+@all +psync +sync +replconf"));
    Pair::connected(plan(Auth::Trust, None).with_rules(rules))
}

#[test]
fn a_replica_gets_its_stream_unchanged() {
    for piece in [1, 3, 1000] {
        let mut pair = replica();
        assert_eq!(pair.commands("PING;REPLCONF capa eof"), sent("PING;REPLCONF capa eof"));
        assert_eq!(pair.commands("PSYNC ? -1"), "", "PSYNC waits for pending replies");
        assert_eq!(pair.waits, Some(Until::NothingPending));
        pair.upstream("+PONG|+OK|");
        assert_eq!(pair.more(), sent("PSYNC ? -1"));
        let mut received = String::new();
        for bytes in STREAM.as_bytes().chunks(piece) {
            received += &pair.upstream(std::str::from_utf8(bytes).unwrap());
        }
        assert_eq!(received.replace("\r\n", "|"), STREAM);
        assert!(pair.link.streams() && pair.session.is_idle());
        assert_eq!(pair.commands("REPLCONF ACK 1;REPLCONF ACK 2"), sent("REPLCONF ACK 1;REPLCONF ACK 2"));
        assert_eq!(pair.client("|"), "", "a newline keeps the link alive");
        assert_eq!(pair.upstream("more"), "more");
        assert!(!pair.desync && pair.fault.is_none() && pair.closed.is_none());
    }
}

/// Redis also runs commands of replicas, so the gate must not forward them. It cannot answer them on a stream either.
#[test]
fn only_replication_commands_pass_on_a_stream() {
    for command in ["FLUSHALL", "GET a", "QUIT", "RESET", "POST x", "FOO", "AUTH default x", "MULTI"] {
        let mut pair = replica();
        pair.commands("SYNC");
        assert_eq!(
            pair.commands(&format!("REPLCONF ACK 1;{command};REPLCONF ACK 2")),
            sent("REPLCONF ACK 1")
        );
        assert_eq!((&*pair.receive(), pair.closed), ("", Some(CloseReason::NotReplication)), "{command}");
        assert_eq!(pair.count.denied, [Denied::Command]);
    }
    let mut broken = replica();
    broken.commands("SYNC");
    broken.client("*x|");
    assert_eq!((&*broken.receive(), broken.closed.is_some()), ("", true));
}

#[test]
fn a_stream_needs_a_rule_for_each_of_its_commands() {
    for acl in ["+@all", "+@all +replconf", "+@all +sync"] {
        let mut pair = Pair::connected(plan(Auth::Trust, None).with_rules(rules(Some(acl))));
        assert_eq!(pair.commands("PSYNC ? -1"), "", "{acl}");
        assert!(
            pair.receive().starts_with("-NOPERM User default has no permissions to run the 'psync' command")
        );
    }
    let mut pair = Pair::connected(plan(Auth::Trust, None).with_rules(rules(Some("+@all +psync"))));
    pair.commands("PSYNC ? -1");
    pair.more();
    assert_eq!(pair.commands("REPLCONF ACK 1"), "");
    assert_eq!((&*pair.receive(), pair.closed), ("", Some(CloseReason::NotReplication)));
}

/// Redis does not answer these commands, and the gate would take later replies for their replies.
#[test]
fn replconf_without_a_reply_is_not_forwarded_before_the_stream() {
    for command in ["REPLCONF ACK 1", "replconf capa eof getack *", "REPLCONF fack 1"] {
        let mut pair = replica();
        assert_eq!(pair.commands(command), "");
        assert_eq!(pair.receive(), "-ERR syntax error|");
    }
}

#[test]
fn a_stream_does_not_begin_inside_a_transaction() {
    let mut pair = replica();
    assert_eq!(pair.commands("MULTI;PSYNC ? -1"), sent("MULTI"));
    assert_eq!(pair.upstream("+OK|"), "+OK|-ERR Command not allowed inside a transaction|");
}

#[test]
fn a_stream_ends_with_its_rule_and_its_upstream() {
    let mut pair = replica();
    pair.commands("SYNC");
    let without = std::sync::Arc::new(plan(Auth::Trust, None));
    assert_eq!(pair.session.renew(pair.link.subscribed(), |_| Some(without.clone())), Standing::Revoked);
    pair.settle();
    assert_eq!(pair.closed, Some(CloseReason::NotReplication));
    let mut lost = replica();
    lost.commands("SYNC");
    lost.lose(Some(crate::client::Unavailable::Timeout));
    assert_eq!((&*lost.receive(), lost.closed.is_some()), ("", true), "a line would be a part of the stream");
}
