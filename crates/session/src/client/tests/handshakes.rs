use crate::Auth;
use crate::client::{CloseReason, Unavailable, Until};
use crate::link::MAX_WHOLE_ERROR;
use crate::tests::pair::{Pair, frames, plan, show};

fn sent(text: &str) -> String {
    show(&frames(text))
}

#[test]
fn the_gate_logs_in_before_the_first_command_and_after_each_reset() {
    let mut pair = Pair::connected(plan(Auth::Trust, Some("secret")));
    assert_eq!(pair.commands("PING"), sent("AUTH secret"));
    assert_eq!(pair.upstream("+O"), "");
    assert_eq!(pair.upstream("K|"), "");
    assert_eq!(pair.more(), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    assert_eq!(pair.commands("RESET;GET a"), sent("RESET"), "the login waits, and so does GET");
    assert_eq!(pair.waits, Some(Until::NothingPending));
    assert_eq!(pair.upstream("+RESET|"), "+RESET|");
    assert_eq!(pair.more(), sent("AUTH secret"));
    assert_eq!(pair.waits, Some(Until::LoggedIn));
    assert_eq!(pair.upstream("+OK|"), "");
    assert_eq!(pair.more(), sent("GET a"));
}

#[test]
fn a_refused_login_of_the_gate_ends_the_session() {
    let mut pair = Pair::connected(plan(Auth::Trust, Some("secret")));
    pair.commands("PING;PING");
    assert_eq!(pair.upstream("-WRONGPASS no|"), "-ERR portcullis: upstream 'main' unavailable (auth)|");
    assert_eq!(pair.closed, Some(CloseReason::Upstream(Some(Unavailable::Auth))));
    let mut pair = Pair::connected(plan(Auth::Trust, Some("secret")));
    pair.commands("PING");
    assert_eq!(pair.upstream("+QUEUED|"), "");
    assert!(pair.desync, "the line is no reply to AUTH");
}

#[test]
fn under_trust_credentials_are_answered_here() {
    let cases = [
        ("AUTH x", "+OK|"),
        ("AUTH default x", "+OK|"),
        ("auth other x", "-WRONGPASS invalid username-password pair or user is disabled.|"),
        ("AUTH a b c", "-ERR syntax error|"),
        ("HELLO 3 AUTH other x", "-WRONGPASS invalid username-password pair or user is disabled.|"),
        ("HELLO 4 AUTH default x", "-NOPROTO unsupported protocol version|"),
        ("HELLO +3", "-ERR Protocol version is not an integer or out of range|"),
        ("HELLO 3 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'|"),
    ];
    for (command, answer) in cases {
        let mut pair = Pair::trust();
        assert_eq!(pair.commands(command), "", "{command}");
        assert_eq!(pair.receive(), answer, "{command}");
    }
    let mut pair = Pair::trust();
    assert_eq!(pair.commands("HELLO 3 AUTH default x SETNAME me"), sent("HELLO 3 SETNAME me"));
    assert_eq!(pair.commands("HELLO 3"), sent("HELLO 3"));
}

#[test]
fn under_passthrough_credentials_are_forwarded() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.commands("AUTH x"), sent("AUTH x"));
    assert_eq!(pair.upstream("-WRONGPASS no|"), "-WRONGPASS no|");
    assert_eq!(pair.commands("HELLO 3 AUTH a b"), sent("HELLO 3 AUTH a b"));
    assert_eq!(pair.upstream("-WRONGPASS no|"), "-WRONGPASS no|");
}

#[test]
fn a_refusal_on_accept_is_for_the_gate_in_any_pieces() {
    let cases = [
        ("-ERR max number of clients reached|", "limit"),
        ("-DENIED Redis is running in protected mode because|", "refused"),
    ];
    for (greeting, kind) in cases {
        for cut in 0..greeting.len() {
            let mut pair = Pair::trust();
            pair.commands("PING");
            let (one, other) = greeting.split_at(cut);
            let received = pair.upstream(one) + &pair.upstream(other);
            assert_eq!(received, format!("-ERR portcullis: upstream 'main' unavailable ({kind})|"), "{cut}");
        }
    }
}

/// Servers do not send these lines on accept, so they are replies to a command.
#[test]
fn the_first_error_of_a_command_is_for_the_client() {
    let lines = [
        "-NOAUTH Authentication required.|",
        "-LOADING Redis is loading|",
        "-MASTERDOWN Link is down|",
        "-BUSY x|",
    ];
    for line in lines {
        for mut pair in [Pair::passthrough(), Pair::trust()] {
            pair.commands("EVAL x 0;PING");
            assert_eq!(pair.upstream(&format!("{line}+PONG|")), format!("{line}+PONG|"));
            assert_eq!(pair.closed, None);
        }
    }
}

#[test]
fn only_the_first_reply_can_be_a_refusal_on_accept() {
    let mut pair = Pair::trust();
    pair.commands("PING;PING");
    let greeting = "-ERR max number of clients reached|";
    assert_eq!(pair.upstream(&format!("+PONG|{greeting}")), format!("+PONG|{greeting}"));
    assert_eq!(pair.closed, None);
}

#[test]
fn only_the_beginning_of_a_refusal_on_accept_is_judged() {
    let mut pair = Pair::trust();
    pair.commands("PING");
    let head = format!("-ERR {}", "x".repeat(MAX_WHOLE_ERROR));
    assert_eq!(pair.upstream(&head), head);
    assert_eq!(pair.upstream("-LOADING is how this piece begins|"), "-LOADING is how this piece begins|");
    assert!(!pair.gone);
}

/// If the gate answers in Redis's place, a client in RESP2 subscriber mode gets the answer of Redis.
#[test]
fn under_trust_a_subscriber_in_resp2_gets_redis_error() {
    let no = |name: &str| {
        format!(
            "-ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context|"
        )
    };
    let attempts = [
        ("AUTH x", "auth"),
        ("AUTH other x", "auth"),
        ("HELLO 4", "hello"),
        ("HELLO 3 AUTH other x", "hello"),
    ];
    for (attempt, name) in attempts {
        let mut pair = Pair::trust();
        assert_eq!(pair.commands(&format!("SUBSCRIBE a;{attempt}")), sent("SUBSCRIBE a"));
        let confirmed = "*3|$9|subscribe|$1|a|:1|";
        assert_eq!(pair.upstream(confirmed), confirmed.to_owned() + &no(name), "{attempt}");
        pair.commands("UNSUBSCRIBE a");
        pair.upstream("*3|$11|unsubscribe|$1|a|:0|");
        pair.commands(attempt);
        assert!(!pair.receive().contains("Can't execute"), "{attempt}");
    }
    let mut pair = Pair::trust();
    assert_eq!(pair.commands("GET a;AUTH x;GET b"), sent("GET a;GET b"), "a client may read late");
    assert_eq!(pair.upstream("$-1|$-1|"), "$-1|+OK|$-1|");
    let mut pair = Pair::trust();
    pair.commands("HELLO 3;SUBSCRIBE a");
    pair.upstream("%1|$5|proto|:3|>3|$9|subscribe|$1|a|:1|");
    pair.commands("AUTH x");
    assert_eq!(pair.receive(), "+OK|", "RESP3 allows every command");
}
