use crate::tests::pair::{Pair, frames, show};

fn sent(text: &str) -> String {
    show(&frames(text))
}

#[test]
fn client_reply_is_not_forwarded_and_waits_for_pending_replies() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.commands("GET a;CLIENT REPLY OFF;SET a 1"), sent("GET a"));
    assert_eq!(pair.upstream("$-1|"), "$-1|");
    assert_eq!(pair.more(), sent("CLIENT REPLY ON"));
    assert_eq!(pair.upstream("+OK|"), "");
    assert_eq!(pair.more(), sent("SET a 1"));
    assert_eq!(pair.upstream("+OK|"), "");
    assert_eq!(pair.commands("FOO;SYNC;CLIENT REPLY ON"), sent("FOO"));
    assert_eq!(pair.upstream("-ERR unknown|"), "", "errors are suppressed, the gate's too");
    assert_eq!(pair.more(), sent("CLIENT REPLY ON"));
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    assert_eq!(pair.commands("PING"), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
}

#[test]
fn a_refused_client_reply_changes_nothing() {
    for refusal in ["-NOPERM no|", "+QUEUED|"] {
        let mut pair = Pair::passthrough();
        pair.commands("CLIENT REPLY OFF;PING");
        assert_eq!(pair.upstream(refusal), refusal);
        assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    }
}

#[test]
fn skip_suppresses_the_next_reply_of_gate_and_redis() {
    let mut pair = Pair::passthrough();
    for covered in ["PING", "SYNC", "RESET"] {
        pair.commands("CLIENT REPLY SKIP");
        assert_eq!(pair.upstream("+OK|"), "");
        if pair.commands(covered).ends_with("SYNC|") {
            panic!("SYNC was forwarded");
        }
        if covered != "SYNC" {
            assert_eq!(pair.upstream(if covered == "RESET" { "+RESET|" } else { "+PONG|" }), "", "{covered}");
        }
        pair.commands("PING");
        assert_eq!(pair.upstream("+PONG|"), "+PONG|", "after {covered}");
    }
}

#[test]
fn skip_suppresses_the_error_for_a_broken_command() {
    for cut in [0, 21] {
        let mut pair = Pair::passthrough();
        pair.commands("CLIENT REPLY SKIP");
        pair.upstream("+OK|");
        let (one, other) = "*3|$3|SET|$1|a|$1|12|".split_at(cut);
        pair.client(one);
        pair.client(other);
        assert_eq!((&*pair.receive(), pair.closed.is_some()), ("", true), "cut at {cut}");
    }
}

#[test]
fn reset_ends_off_and_is_answered() {
    let mut pair = Pair::passthrough();
    pair.commands("CLIENT REPLY OFF");
    pair.upstream("+OK|");
    assert_eq!(pair.commands("PING;RESET;PING"), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "");
    assert_eq!(pair.more(), sent("RESET;PING"));
    assert_eq!(pair.upstream("+RESET|+PONG|"), "+RESET|+PONG|");
}

#[test]
fn confirmations_and_messages_are_never_muted() {
    let mut pair = Pair::passthrough();
    pair.commands("CLIENT REPLY OFF");
    pair.upstream("+OK|");
    pair.commands("SUBSCRIBE a");
    let confirmed = "*3|$9|subscribe|$1|a|:1|";
    assert_eq!(pair.upstream(confirmed), confirmed);
    let message = "*3|$7|message|$1|a|$1|x|";
    assert_eq!(pair.upstream(message), message);
    pair.commands("UNSUBSCRIBE;MULTI;SUBSCRIBE a;PING;EXEC");
    pair.upstream("*3|$11|unsubscribe|$1|a|:0|");
    let answers = "+OK|+QUEUED|+QUEUED|*2|*3|$9|subscribe|$1|a|:1|*2|$4|pong|$0||";
    assert_eq!(pair.upstream(answers), confirmed, "of EXEC's array only the confirmation is a push");
}

#[test]
fn muted_commands_of_one_kind_are_one_run() {
    let mut pair = Pair::passthrough();
    pair.commands("CLIENT REPLY OFF");
    pair.upstream("+OK|");
    pair.client_bytes(&frames("SET a 1").repeat(100_000));
    assert!(pair.session.held() + pair.link.held() < 1024, "{}", pair.session.held());
    assert_eq!(pair.upstream_bytes(&b"+OK\r\n".repeat(100_000)), "");
    assert!(pair.session.is_idle());
}

/// As in Redis, an empty command of any form ends the SKIP.
#[test]
fn skip_is_used_up_by_an_empty_command() {
    for empty in ["*0|", "*-1|", "*-10|", "|", "   |"] {
        let mut pair = Pair::passthrough();
        pair.commands("CLIENT REPLY SKIP");
        assert_eq!(pair.upstream("+OK|"), "");
        assert_eq!(pair.client(&format!("{empty}{}", sent("PING;PING"))), sent("PING;PING"), "{empty}");
        assert_eq!(pair.upstream("+PONG|+PONG|"), "+PONG|+PONG|", "{empty}");
        pair.commands("CLIENT REPLY OFF");
        assert_eq!(pair.upstream("+OK|"), "");
        pair.client(&format!("{empty}{}", sent("PING")));
        assert_eq!(pair.upstream("+PONG|"), "", "{empty}: OFF holds");
    }
}
