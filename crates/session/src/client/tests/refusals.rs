use portcullis_resp::error::RequestError;

use crate::client::{CloseReason, Until};
use crate::tests::pair::{HELD_COMMAND, Pair, frames, plan, show};
use crate::{Auth, Denied};

const TOO_LARGE: &str = "-ERR command too large to be checked|";

/// The session holds a command that it cannot judge yet, but only up to a limit. The announced form does not matter.
#[test]
fn a_frame_that_is_too_large_to_check_is_refused_and_discarded() {
    let huge = "536870912";
    let many = "100000";
    let heads = [
        format!("*3|$4|AUTH|$7|default|${huge}|"),
        format!("*{many}|$5|HELLO|$1|3|"),
        format!("*3|$6|CLIENT|${huge}|"),
        format!("*3|$6|CLIENT|$5|REPLY|${huge}|"),
    ];
    for head in heads {
        let mut pair = Pair::trust();
        let filler = if head.contains(many) { "$1|x|".repeat(2000) } else { "x".repeat(2 * HELD_COMMAND) };
        let mut sent = pair.client(&head);
        let mut most = 0;
        for byte in filler.as_bytes().chunks(100) {
            sent += &pair.client(std::str::from_utf8(byte).unwrap());
            most = most.max(pair.client_input.len());
        }
        assert_eq!(sent, "", "no byte of {head} is forwarded");
        assert_eq!(pair.receive(), TOO_LARGE, "{head}");
        assert!(most <= HELD_COMMAND + 100, "{most} bytes were held of {head}");
        assert_eq!(pair.count.denied, [Denied::Size]);
        assert!(pair.session.is_mid_frame());
    }
}

#[test]
fn commands_after_a_discarded_frame_are_read() {
    let mut pair = Pair::trust();
    let password = "x".repeat(HELD_COMMAND);
    let text = format!("*3|$4|AUTH|$7|default|${}|{password}|", password.len());
    for at in (0..text.len()).step_by(1000) {
        assert_eq!(pair.client(&text[at..text.len().min(at + 1000)]), "");
    }
    assert_eq!(pair.receive(), TOO_LARGE);
    assert_eq!(pair.commands("PING"), show(&frames("PING")));
}

/// A body that looks like a command is not read as a command.
#[test]
fn a_body_is_not_a_command() {
    let inner = show(&frames("FLUSHALL"));
    let text = format!("*2|$8|REPLCONF|${}|{inner}|", inner.replace('|', "\r\n").len());
    for cut in 0..text.len() {
        let mut pair = Pair::passthrough();
        let sent = pair.client(&text[..cut]) + &pair.client(&text[cut..]);
        assert_eq!(sent, "", "cut at {cut}");
        assert!(pair.receive().starts_with("-NOPERM"));
    }
}

#[test]
fn replication_is_refused_in_any_spelling() {
    for command in ["SYNC", "psync ? -1", "ReplConf ACK 1"] {
        let mut pair = Pair::passthrough();
        assert_eq!(pair.commands(command), "");
        let name = command.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let line = format!("-NOPERM portcullis: '{name}' is refused here unless an acl names it: +{name}|");
        assert_eq!(pair.receive(), line);
        assert_eq!(pair.client(&format!("{command}|")), "");
        assert_eq!(pair.count.denied, [Denied::Command; 2]);
        let rule = format!(
            "{} only a rule with its name allows it None",
            command.split(' ').next().unwrap().to_lowercase()
        );
        assert_eq!(pair.count.rules, [&*rule, &*rule]);
    }
}

#[test]
fn http_is_closed_without_a_reply_and_without_an_upstream() {
    for text in ["POST / HTTP/1.1|", "host: x|", "*1|$4|post|", "*2|$5|Host:|$1|x|"] {
        let mut pair = Pair::new(plan(Auth::Passthrough, None));
        assert_eq!(pair.client(text), "");
        assert_eq!((pair.closed, &*pair.receive()), (Some(CloseReason::CrossProtocol), ""));
        assert!(!pair.wants_link);
    }
    let mut pair = Pair::passthrough();
    pair.commands("MULTI;POST x;SET a 1");
    assert_eq!(pair.closed, None);
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    assert_eq!(pair.closed, Some(CloseReason::CrossProtocol));
    assert_eq!(pair.more(), "", "later bytes are not read");
}

#[test]
fn bytes_outside_the_grammar_are_answered_in_their_place() {
    let mut pair = Pair::passthrough();
    let sent = pair.client("*1|$4|PING|*2|$4|ECHO|$x|");
    assert!(sent.starts_with("*1|$4|PING|"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|-ERR Protocol error: invalid bulk length|");
    assert_eq!(pair.closed, Some(CloseReason::Protocol(RequestError::InvalidBulkLength)));
}

#[test]
fn nothing_is_sent_before_there_is_a_connection() {
    let mut pair = Pair::new(plan(Auth::Passthrough, None));
    assert_eq!(pair.commands("GET a;GET b"), "");
    assert_eq!((pair.waits, pair.session.is_idle()), (Some(Until::Linked), false));
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), show(&frames("GET a;GET b")));
}

#[test]
fn a_second_monitor_is_not_sent() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.commands("MONITOR;MONITOR;PING"), show(&frames("MONITOR")));
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    assert_eq!(pair.more(), show(&frames("PING")));
    assert_eq!(pair.upstream("+PONG|+170.1 [0 x] \"PING\"|"), "+PONG|+170.1 [0 x] \"PING\"|");
    let mut pair = Pair::passthrough();
    pair.commands("MONITOR;MONITOR");
    pair.upstream("-NOPERM no|");
    assert_eq!(pair.more(), show(&frames("MONITOR")), "the first MONITOR was refused");
}
