use crate::Auth;
use crate::client::CloseReason;
use crate::link::Unavailable;
use crate::tests::pair::{Pair, frames, plan, show};

#[test]
fn after_quit_nothing_is_read() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.commands("GET a;QUIT;SET a 1"), show(&frames("GET a")));
    assert_eq!(pair.upstream("$1|x|"), "$1|x|+OK|");
    assert_eq!(pair.closed, Some(CloseReason::Client));
    let mut pair = Pair::new(plan(Auth::Passthrough, None));
    pair.commands("QUIT");
    assert_eq!((&*pair.receive(), pair.closed), ("+OK|", Some(CloseReason::Client)));
    assert!(!pair.wants_link, "QUIT needs no upstream");
}

#[test]
fn after_eof_earlier_commands_are_answered() {
    let mut pair = Pair::passthrough();
    pair.commands("GET a;GET b");
    pair.end_client();
    assert_eq!(pair.closed, None);
    assert_eq!(pair.upstream("$-1|$-1|"), "$-1|$-1|");
    assert_eq!(pair.closed, Some(CloseReason::Client));
}

/// The upstream never answers an incomplete command.
#[test]
fn a_command_cut_by_eof_is_not_awaited() {
    let text = show(&frames("GET a;SET a 12345;PING"));
    for cut in 0..text.len() {
        let mut pair = Pair::passthrough();
        pair.client(&text[..cut]);
        pair.end_client();
        let ends =
            ["GET a", "GET a;SET a 12345", "GET a;SET a 12345;PING"].map(|text| show(&frames(text)).len());
        for (answer, _) in ["$-1|", "+OK|", "+PONG|"].iter().zip(ends).filter(|(_, end)| *end <= cut) {
            assert_eq!((pair.closed, &*pair.upstream(answer)), (None, *answer), "cut at {cut}");
        }
        assert_eq!(pair.closed, Some(CloseReason::Client), "cut at {cut}");
        assert!(!pair.desync && pair.fault.is_none());
    }
}

#[test]
fn a_lost_upstream_gives_one_error_in_place_of_the_first_missing_reply() {
    let mut pair = Pair::passthrough();
    pair.commands("GET a;GET b;SYNC;GET c");
    pair.upstream("$-1|");
    pair.lose(Some(Unavailable::Timeout));
    assert_eq!(pair.receive(), "-ERR portcullis: upstream 'main' unavailable (timeout)|");
    assert_eq!(pair.closed, Some(CloseReason::Upstream(Some(Unavailable::Timeout))));
}

#[test]
fn no_error_is_sent_in_the_middle_of_a_reply() {
    for half in ["$10|half", "*2|$1|a|", "%1|+a|"] {
        let mut pair = Pair::passthrough();
        pair.commands("GET a;SYNC");
        let received = pair.upstream(half);
        assert!(half.starts_with(&received));
        pair.lose(Some(Unavailable::Timeout));
        assert_eq!(pair.receive(), "", "{half}");
        assert!(pair.closed.is_some());
    }
}

#[test]
fn no_error_is_sent_in_the_middle_of_a_message() {
    let mut pair = Pair::passthrough();
    pair.commands("HELLO 3;SUBSCRIBE a");
    pair.upstream("%1|$5|proto|:3|>3|$9|subscribe|$1|a|:1|");
    pair.upstream(">3|$7|message|$1|a|$10|half");
    pair.commands("SYNC");
    assert_eq!(pair.receive(), "", "the refusal waits for the end of the message");
    assert_eq!(pair.upstream("12345"), "12345");
    assert!(
        pair.upstream("6|")
            .ends_with("-NOPERM portcullis: 'sync' is refused here unless an acl names it: +sync|")
    );
    pair.upstream(">3|$7|message|$1|a|$10|half");
    pair.commands("SYNC");
    pair.lose(Some(Unavailable::Timeout));
    assert_eq!((&*pair.receive(), pair.closed.is_some()), ("", true));
}

#[test]
fn an_unavailable_upstream_gives_an_error_for_the_first_command() {
    for kind in [Unavailable::Resolve, Unavailable::Connect, Unavailable::Refused, Unavailable::Tls] {
        let mut pair = Pair::new(plan(Auth::Trust, Some("secret")));
        pair.commands("GET a;GET b");
        pair.lose(Some(kind));
        let line = format!("-ERR portcullis: upstream 'main' unavailable ({})|", kind.as_str());
        assert_eq!((pair.receive(), pair.closed), (line, Some(CloseReason::Upstream(Some(kind)))));
    }
}

#[test]
fn a_client_that_disconnected_gets_no_error_for_a_lost_upstream() {
    let mut pair = Pair::passthrough();
    pair.session.eof();
    pair.lose(Some(Unavailable::Timeout));
    assert_eq!((&*pair.receive(), pair.closed), ("", Some(CloseReason::Client)));
}

#[test]
fn an_upstream_lost_after_shutdown_gives_no_error() {
    for why in [None, Some(Unavailable::Connect)] {
        let mut pair = Pair::passthrough();
        pair.commands("SHUTDOWN NOSAVE");
        pair.lose(why);
        assert_eq!(
            (&*pair.receive(), pair.closed),
            ("", Some(CloseReason::Upstream(why))),
            "the client asked for the shutdown"
        );
    }
}

#[test]
fn draining_ends_a_session_between_commands() {
    let mut pair = Pair::passthrough();
    pair.commands("GET a");
    pair.client("*2|$3|SET|");
    pair.session.drain();
    pair.upstream("$-1|");
    assert_eq!(pair.closed, None, "a command has begun");
    pair.client("$1|a|");
    pair.upstream("-ERR wrong number of arguments for 'set' command|");
    assert_eq!(pair.closed, Some(CloseReason::Drain));
    let mut idle = Pair::passthrough();
    idle.session.drain();
    idle.settle();
    assert_eq!(idle.closed, Some(CloseReason::Drain));
}

#[test]
fn a_reply_without_a_pending_command_is_a_fault() {
    let mut pair = Pair::passthrough();
    pair.upstream("+OK|");
    assert_eq!(pair.fault, Some(crate::LinkFault::Unsolicited));
    let mut pair = Pair::passthrough();
    pair.commands("PING");
    assert_eq!(pair.upstream("+PONG|+PONG|"), "+PONG|");
    assert_eq!(pair.fault, Some(crate::LinkFault::Unsolicited));
}
