//! Logins that a server may not answer. The gate sends them when no reply is pending, and sends nothing more before
//! their reply.
//!
//! Redis from 7.2 on and Valkey 8 do not answer an AUTH, or a HELLO with AUTH, that fails while output is pending.

use crate::Auth;
use crate::client::{CloseReason, PendingLogin, Unavailable, Until};
use crate::link::LinkFault;
use crate::observe::Denied;
use crate::tests::pair::{HELD_COMMAND, Pair, frames, plan, show};
use crate::tests::users::{User, Users};

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.|";

fn sent(text: &str) -> String {
    show(&frames(text))
}

/// Every form of a client's own login.
const LOGINS: [&str; 6] = [
    "AUTH wrong",
    "auth default wrong",
    "AUTH a b c",
    "HELLO 3 AUTH default wrong",
    "hello 2 setname me auth default wrong",
    "HELLO 3 SETNAME me SETNAME you AUTH default wrong",
];

fn has_pending_login(pair: &Pair, of_client: bool) -> bool {
    pair.session.pending_login().is_some_and(|login: PendingLogin| login.of_client == of_client)
}

#[test]
fn a_clients_login_waits_for_pending_replies() {
    for login in LOGINS {
        let mut pair = Pair::passthrough();
        assert_eq!(pair.commands(&format!("PING;{login};GET a")), sent("PING"), "{login}");
        assert_eq!(pair.waits, Some(Until::NothingPending), "{login}");
        assert_eq!(pair.session.pending_login(), None, "{login}");
        assert_eq!(pair.upstream("+PONG|"), "+PONG|", "{login}");
        assert_eq!(pair.more(), sent(login));
        assert!(has_pending_login(&pair, true), "{login}");
    }
}

#[test]
fn commands_behind_a_clients_login_wait_for_its_reply() {
    for login in LOGINS {
        let mut pair = Pair::passthrough();
        assert_eq!(pair.commands(&format!("{login};GET a;GET b")), sent(login));
        assert_eq!(pair.waits, Some(Until::NothingPending));
        assert_eq!(pair.upstream(WRONGPASS), WRONGPASS);
        assert_eq!(pair.more(), sent("GET a;GET b"), "{login}");
        assert_eq!(pair.session.pending_login(), None);
        assert_eq!(pair.upstream("$1|a|$1|b|"), "$1|a|$1|b|");
    }
}

#[test]
fn logins_are_sent_one_by_one() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.commands("AUTH a;AUTH b;HELLO 3 AUTH c d"), sent("AUTH a"));
    let first = pair.session.pending_login();
    assert_eq!(pair.upstream("-WRONGPASS a|"), "-WRONGPASS a|");
    assert_eq!(pair.more(), sent("AUTH b"));
    assert_ne!(pair.session.pending_login(), first, "each login has a timeout of its own");
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    assert_eq!(pair.more(), sent("HELLO 3 AUTH c d"));
}

/// `HELLO 3` alone, with or without a name, logs no user in and is always answered.
#[test]
fn a_hello_without_credentials_waits_for_nothing() {
    for hello in ["HELLO", "HELLO 3", "HELLO 3 SETNAME me", "HELLO 3 AUTH default", "AUTH"] {
        let mut pair = Pair::passthrough();
        assert_eq!(pair.commands(&format!("PING;{hello};GET a")), sent(&format!("PING;{hello};GET a")));
    }
}

#[test]
fn an_inline_login_waits_as_well() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.client("PING|auth wrong|GET a|"), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    assert_eq!(pair.more(), sent("auth wrong"));
    assert_eq!(pair.upstream(WRONGPASS), WRONGPASS);
    assert_eq!(pair.more(), sent("GET a"));
}

/// The announced number of arguments decides, not the position of AUTH or the number of received bytes.
#[test]
fn a_login_in_pieces_waits_as_well() {
    let long = "n".repeat(4 * HELD_COMMAND);
    for login in [format!("HELLO 3 SETNAME {long} AUTH default wrong"), format!("AUTH {long}")] {
        let frame = sent(&login).replace('|', "\r\n").into_bytes();
        for cut in [7, 40, HELD_COMMAND, frame.len() - 1] {
            let mut pair = Pair::passthrough();
            assert_eq!(pair.commands("PING"), sent("PING"));
            assert_eq!(pair.client_bytes(&frame[..cut]), "", "{cut}: a reply is pending");
            assert_eq!(pair.upstream("+PONG|"), "+PONG|");
            let first = pair.more();
            assert!(!has_pending_login(&pair, true), "{cut}: the login is incomplete");
            let rest = pair.client_bytes(&[&frame[cut..], &frames("GET a")].concat());
            assert_eq!(first + &rest, show(&frame), "{cut}: GET waits");
            assert!(has_pending_login(&pair, true));
            assert_eq!(pair.upstream(WRONGPASS), WRONGPASS);
            assert_eq!(pair.more(), sent("GET a"));
        }
    }
}

#[test]
fn a_login_inside_a_transaction_is_an_error_of_it() {
    for login in ["AUTH wrong", "AUTH default wrong", "HELLO 3 AUTH default wrong", "HELLO 3"] {
        let mut pair = Pair::passthrough();
        assert_eq!(pair.commands(&format!("MULTI;SET a 1;{login};PING;EXEC")), sent("MULTI;SET a 1"));
        assert_eq!(
            pair.upstream("+OK|+QUEUED|"),
            "+OK|+QUEUED|-ERR Command not allowed inside a transaction|"
        );
        assert_eq!(pair.count.denied, [Denied::InTransaction]);
        assert_eq!(pair.more(), sent("PING"));
        assert_eq!(pair.upstream("+QUEUED|"), "+QUEUED|");
        assert_eq!(pair.more(), sent("DISCARD"), "EXEC would run a part of the queued commands");
        let aborted = "-EXECABORT Transaction discarded because of previous errors.|";
        assert_eq!(pair.upstream("+OK|"), aborted);
    }
}

/// A MULTI that the upstream has refused begins no transaction, so the login is sent.
#[test]
fn a_login_after_a_refused_multi_is_sent() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.commands("MULTI;AUTH x"), sent("MULTI"));
    assert_eq!(pair.upstream("-NOAUTH Authentication required.|"), "-NOAUTH Authentication required.|");
    assert_eq!(pair.more(), sent("AUTH x"));
}

#[test]
fn only_the_gate_gets_the_reply_to_a_muted_login() {
    let mut pair = Pair::passthrough();
    pair.commands("CLIENT REPLY SKIP");
    assert_eq!(pair.upstream("+OK|"), "");
    assert_eq!(pair.commands("AUTH wrong;PING"), sent("AUTH wrong"));
    assert_eq!(pair.upstream(WRONGPASS), "", "the SKIP suppresses the reply");
    assert_eq!(pair.more(), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    pair.commands("CLIENT REPLY OFF");
    assert_eq!(pair.upstream("+OK|"), "");
    assert_eq!(pair.commands("AUTH wrong;CLIENT REPLY ON;PING"), sent("AUTH wrong"));
    assert_eq!(pair.upstream(WRONGPASS), "");
    assert_eq!(pair.more(), sent("CLIENT REPLY ON"));
}

/// If the client disconnects, it still gets the pending replies, and its login is not sent.
#[test]
fn a_client_that_disconnects_after_a_login_gets_its_pending_replies() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.commands("PING;AUTH wrong;PING"), sent("PING"));
    pair.end_client();
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    assert_eq!(pair.more(), sent("AUTH wrong"));
    assert_eq!(pair.upstream(WRONGPASS), WRONGPASS);
    assert_eq!(pair.more(), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    assert_eq!(pair.closed, Some(CloseReason::Client));
}

/// A server dropped the reply to the login because messages were pending. The caller's timeout ends the wait, and no
/// message is taken for the reply.
#[test]
fn a_login_without_a_reply_ends_by_a_timeout() {
    let mut pair = Pair::passthrough();
    pair.commands("MONITOR");
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    pair.commands("AUTH wrong;GET a");
    let line = "+1700000000.1 [0 127.0.0.1:1] \"PING\"|";
    assert_eq!(pair.upstream(line), line);
    assert!(has_pending_login(&pair, true));
    assert_eq!(pair.waits, Some(Until::NothingPending));
    pair.lose(Some(Unavailable::Timeout));
    assert_eq!(pair.receive(), "-ERR portcullis: upstream 'main' unavailable (timeout)|");
    assert_eq!(pair.closed, Some(CloseReason::Upstream(Some(Unavailable::Timeout))));
}

#[test]
fn a_second_reply_to_a_login_is_a_fault() {
    let mut pair = Pair::passthrough();
    pair.commands("AUTH x;GET a");
    assert_eq!(pair.upstream("+OK|+OK|"), "+OK|");
    assert_eq!(pair.more(), "", "GET is not sent after the fault");
    assert_eq!(pair.fault, Some(LinkFault::Unsolicited));
}

#[test]
fn the_gates_login_after_reset_waits_for_the_reply() {
    let mut pair = Pair::connected(plan(Auth::Trust, Some("secret")));
    pair.commands("PING");
    pair.upstream("+OK|");
    pair.more();
    assert_eq!(pair.commands("PING;RESET;PING"), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    assert_eq!(pair.more(), "", "a reply is pending");
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    assert_eq!(pair.more(), sent("RESET"), "RESET is unanswered");
    assert_eq!(pair.session.pending_login(), None);
    assert_eq!(pair.upstream("+RESET|"), "+RESET|");
    assert_eq!(pair.more(), sent("AUTH secret"));
    assert!(has_pending_login(&pair, false));
    assert_eq!(pair.upstream(WRONGPASS), "-ERR portcullis: upstream 'main' unavailable (auth)|");
}

/// A server without RESET leaves the connection unchanged, so the gate is still logged in.
#[test]
fn a_refused_reset_is_followed_by_no_login() {
    let mut pair = Pair::connected(plan(Auth::Trust, Some("secret")));
    pair.commands("PING");
    pair.upstream("+OK|");
    pair.more();
    pair.upstream("+PONG|");
    assert_eq!(pair.commands("RESET;GET a"), sent("RESET"));
    assert_eq!(pair.upstream("-ERR unknown command 'RESET'|"), "-ERR unknown command 'RESET'|");
    assert_eq!(pair.more(), sent("GET a"));
}

#[test]
fn the_gates_login_for_another_user_waits_for_pending_replies() {
    let login = Some(("ua", "pa"));
    let mut pair = Pair::of_users(Users::new(&[User { name: "alice", password: "a", login, acl: None }]));
    pair.commands("AUTH alice a;PING");
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), sent("AUTH ua pa"));
    pair.upstream("+OK|");
    pair.more();
    assert_eq!(pair.commands("AUTH alice a;PING"), "", "PONG is pending");
    pair.upstream("+PONG|");
    assert_eq!(pair.more(), sent("AUTH ua pa"));
    assert!(has_pending_login(&pair, false), "the gate's own login has a timeout");
}
