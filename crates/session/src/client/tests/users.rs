use portcullis_resp::error::RequestError;

use crate::client::{CloseReason, Unavailable, Until};
use crate::tests::pair::{Pair, frames, show};
use crate::tests::users::{User, Users};
use crate::{Denied, Link};

const NOAUTH: &str = "-NOAUTH Authentication required.|";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.|";
const NOAUTH_HELLO: &str = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
                            AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
                            protocol version at the same time|";
const HELLO_DONE: &str = "%1|$5|proto|:3|";

/// `alice` and `carol` have upstream logins of their own. `bob` and the default user have the login of a Redis without
/// passwords.
const USERS: [User; 4] = [
    User { name: "alice", password: "a", login: Some(("ua", "pa")), acl: None },
    User { name: "carol", password: "c", login: Some(("uc", "pc")), acl: None },
    User { name: "bob", password: "b", login: None, acl: None },
    User { name: "default", password: "d", login: None, acl: None },
];

fn sent(text: &str) -> String {
    show(&frames(text))
}

fn unwrapped(text: &str) -> String {
    text.replace("                            ", "")
}

/// Creates a client without a login and without an upstream connection.
fn pair() -> Pair {
    Pair::of_users(Users::new(&USERS))
}

/// Creates a client on which `alice` is logged in, after one answered command.
fn alice() -> Pair {
    let mut pair = pair();
    pair.commands("AUTH alice a;PING");
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), sent("AUTH ua pa"));
    pair.upstream("+OK|");
    assert_eq!(pair.more(), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    pair
}

#[test]
fn before_a_login_only_logins_are_accepted_and_nothing_is_connected() {
    let cases = [
        ("GET a", NOAUTH),
        ("MULTI", NOAUTH),
        ("SYNC", NOAUTH),
        ("CLIENT SETINFO LIB-NAME x", NOAUTH),
        ("CLIENT REPLY OFF", NOAUTH),
        ("GET", "-ERR wrong number of arguments for 'get' command|"),
        ("CONFIG", "-ERR wrong number of arguments for 'config' command|"),
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command|"),
        ("config foo x", "-ERR unknown subcommand 'foo'. Try CONFIG HELP.|"),
        ("FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' |"),
        ("EXEC", "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.|"),
        (
            "EXEC x",
            "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command|",
        ),
        ("RESET x", "-ERR wrong number of arguments for 'reset' command|"),
        ("RESET", "+RESET|"),
        ("AUTH", "-ERR wrong number of arguments for 'auth' command|"),
        ("AUTH a b c", "-ERR syntax error|"),
        ("AUTH x", WRONGPASS),
        ("AUTH alice b", WRONGPASS),
        ("AUTH alice:b", WRONGPASS),
        ("AUTH unknown a", WRONGPASS),
        ("HELLO", NOAUTH_HELLO),
        ("HELLO 3", NOAUTH_HELLO),
        ("HELLO 3 SETNAME me", NOAUTH_HELLO),
        (
            "HELLO 3 SETNAME \u{7f}",
            "-ERR Client names cannot contain spaces, newlines or special characters.|",
        ),
        ("HELLO 4 AUTH alice a", "-NOPROTO unsupported protocol version|"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range|"),
        ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'|"),
        ("HELLO 3 AUTH alice b", WRONGPASS),
    ];
    for (command, answer) in cases {
        let mut pair = pair();
        assert_eq!(pair.commands(command), "", "{command}");
        assert_eq!((pair.receive(), pair.wants_link), (unwrapped(answer), false), "{command}");
        pair.client(&format!("{command}|"));
        assert_eq!(pair.receive(), unwrapped(answer), "{command} as an inline command");
        assert_eq!(pair.commands("GET a"), "");
        assert_eq!((&*pair.receive(), pair.session.user()), (NOAUTH, None), "after {command}");
    }
    let mut pair = pair();
    pair.commands("GET a;QUIT x;GET a");
    assert_eq!(pair.receive(), [NOAUTH, "+OK|"].concat());
    assert_eq!((pair.closed, pair.wants_link), (Some(CloseReason::Client), false));
}

/// The replies are the same, wherever the command is split.
#[test]
fn replies_before_a_login_do_not_depend_on_pieces() {
    let long = "x".repeat(200);
    for command in ["FOO a b", &format!("FOO {long} {long} y"), "GET", "CONFIG nothing", "AUTH alice b"] {
        let whole = frames(command);
        let mut at_once = pair();
        at_once.client_bytes(&whole);
        let answer = at_once.receive();
        for cut in 1..whole.len() {
            let mut pair = pair();
            pair.client_bytes(&whole[..cut]);
            pair.client_bytes(&whole[cut..]);
            assert_eq!(pair.receive(), answer, "{command} cut at {cut}");
        }
    }
}

#[test]
fn each_form_of_login_works() {
    let forms =
        [("AUTH d", "default"), ("AUTH bob b", "bob"), ("auth bob:b", "bob"), ("AUTH default d", "default")];
    for (form, user) in forms {
        let mut pair = pair();
        assert_eq!(pair.commands(form), "");
        assert_eq!((&*pair.receive(), pair.session.user()), ("+OK|", Some(user)), "{form}");
        assert!(!pair.wants_link, "{form}");
        pair.commands("GET a");
        pair.connect();
        pair.settle();
        assert_eq!(pair.more(), sent("GET a"), "an upstream without passwords needs no login");
    }
    for (form, rest) in
        [("HELLO 3 AUTH bob b", "HELLO 3"), ("HELLO 2 SETNAME me AUTH bob b", "HELLO 2 SETNAME me")]
    {
        let mut pair = pair();
        assert_eq!(pair.commands(form), "");
        assert_eq!((pair.waits, pair.session.user()), (Some(Until::Linked), Some("bob")), "{form}");
        pair.commands("GET a");
        pair.connect();
        pair.settle();
        assert_eq!(pair.more(), sent(rest) + &sent("GET a"));
    }
}

#[test]
fn the_gate_logs_in_with_the_users_upstream_credentials() {
    let mut pair = pair();
    pair.commands("HELLO 3 AUTH alice a SETNAME me;GET a");
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), sent("AUTH ua pa"), "no command is sent before the login is answered");
    assert_eq!(pair.upstream("+OK|"), "");
    assert_eq!(pair.more(), sent("HELLO 3 SETNAME me;GET a"));
    assert_eq!(pair.upstream(&format!("{HELLO_DONE}_|")), format!("{HELLO_DONE}_|"));
    assert!(pair.session.is_idle());
}

#[test]
fn a_failed_login_keeps_the_current_user() {
    let mut pair = alice();
    for attempt in ["AUTH bob a", "AUTH x", "HELLO 2 AUTH bob x", "AUTH a b c", "HELLO 9 AUTH bob b"] {
        assert_eq!(pair.commands(attempt), "", "{attempt}");
        assert_ne!(pair.receive(), "", "{attempt}");
        assert_eq!(pair.session.user(), Some("alice"));
        assert_eq!(pair.commands("GET a"), sent("GET a"));
        pair.upstream("$-1|");
    }
    assert_eq!(pair.count.denied, [Denied::Login; 3]);
}

#[test]
fn another_user_is_logged_in_after_the_upstream_confirms() {
    let mut pair = alice();
    assert_eq!(
        pair.commands("GET a;AUTH carol c;GET b"),
        sent("GET a"),
        "alice's pending replies come first"
    );
    assert_eq!(pair.upstream("$-1|"), "$-1|");
    assert_eq!((pair.more(), pair.session.user()), (sent("AUTH uc pc"), Some("alice")));
    assert_eq!(pair.waits, Some(Until::NothingPending), "GET b is not read");
    assert_eq!((&*pair.upstream("+OK|"), pair.session.user()), ("+OK|", Some("carol")));
    assert_eq!(pair.more(), sent("GET b"));
    assert_eq!(pair.upstream("$-1|"), "$-1|");
    pair.commands("HELLO 3 AUTH alice a;GET c");
    assert_eq!(pair.upstream("+OK|"), "", "HELLO has its own answer");
    assert_eq!(pair.more(), sent("HELLO 3;GET c"));
    assert_eq!((pair.upstream(HELLO_DONE), pair.session.user()), (HELLO_DONE.to_owned(), Some("alice")));
}

/// Bob has no upstream login of his own: he must not run commands as alice.
#[test]
fn a_user_without_a_login_does_not_inherit_one() {
    let mut pair = alice();
    assert_eq!(pair.commands("AUTH bob b;GET a"), "*3|$4|AUTH|$7|default|$0||");
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    assert_eq!((pair.more(), pair.session.user()), (sent("GET a"), Some("bob")));
    pair.upstream("$-1|");
    assert_eq!(
        pair.commands("AUTH d;GET a"),
        sent("GET a"),
        "two users without an upstream login need no AUTH between them"
    );
    assert_eq!(pair.upstream("$-1|"), "+OK|$-1|");
    let mut refused = alice();
    refused.commands("AUTH bob b;GET a");
    assert_eq!(refused.upstream("-WRONGPASS no|"), "-ERR portcullis: upstream 'main' unavailable (auth)|");
    assert_eq!((refused.more(), refused.session.user()), (String::new(), Some("alice")));
}

#[test]
fn a_refused_upstream_login_ends_the_session_without_details() {
    for words in ["-WRONGPASS no|", "-ERR unknown command 'AUTH', with args beginning with: 'uc' 'pc' |"] {
        let mut pair = alice();
        pair.commands("AUTH carol c;GET b");
        assert_eq!(pair.upstream(words), "-ERR portcullis: upstream 'main' unavailable (auth)|");
        assert_eq!(pair.closed, Some(CloseReason::Upstream(Some(Unavailable::Auth))));
        assert_eq!((&*pair.more(), pair.count.errors.len()), ("", 0));
    }
    for words in ["+QUEUED|", ":1|"] {
        let mut pair = alice();
        pair.commands("AUTH carol c");
        pair.upstream(words);
        assert!(pair.desync, "the line is no reply to AUTH");
    }
}

#[test]
fn a_subscriber_in_resp2_gets_redis_error_whatever_its_credentials() {
    let no = "-ERR Can't execute 'auth': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
              this context\r\n";
    let attempts = [
        ("AUTH carol c", "'auth'"),
        ("AUTH carol wrong", "'auth'"),
        ("AUTH a b c", "'auth'"),
        ("HELLO 3 AUTH carol c", "'hello'"),
        ("HELLO 3 AUTH carol wrong", "'hello'"),
        ("HELLO 4", "'hello'"),
    ];
    for (attempt, name) in attempts {
        let mut pair = alice();
        pair.commands("SUBSCRIBE x");
        pair.upstream("*3|$9|subscribe|$1|x|:1|");
        let before = pair.count.users.attempts;
        assert_eq!(pair.commands(attempt), "", "{attempt}");
        assert_eq!(
            (pair.receive(), pair.session.user()),
            (show(no.replace("'auth'", name).as_bytes()), Some("alice"))
        );
        assert_eq!(pair.count.users.attempts, before, "no password is checked");
        assert_eq!(pair.commands("UNSUBSCRIBE x"), sent("UNSUBSCRIBE x"));
        assert!(pair.fault.is_none() && pair.closed.is_none());
    }
}

#[test]
fn reset_logs_out_once_redis_has_answered() {
    let mut pair = alice();
    assert_eq!(pair.commands("RESET;GET a"), sent("RESET"));
    assert_eq!(pair.session.user(), Some("alice"));
    assert_eq!(pair.upstream("+RESET|"), ["+RESET|", NOAUTH].concat());
    assert_eq!(pair.session.user(), None);
    assert_eq!(pair.commands("RESET;HELLO 3;AUTH bob b;GET a"), sent("GET a"), "bob needs no upstream login");
    assert_eq!(pair.upstream("$-1|"), ["+RESET|", &unwrapped(NOAUTH_HELLO), "+OK|$-1|"].concat());
    pair.commands("RESET");
    pair.upstream("+RESET|");
    assert_eq!(pair.commands("AUTH carol c;GET a"), sent("AUTH uc pc"));
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    assert_eq!(pair.more(), sent("GET a"));
}

/// Redis before 6.2 has no RESET: the gate keeps all state, as that Redis does.
#[test]
fn a_reset_that_redis_does_not_know_changes_no_user() {
    let mut pair = alice();
    pair.commands("RESET;AUTH bob b;GET a");
    assert_eq!(pair.upstream("-ERR unknown command|"), "-ERR unknown command|");
    assert_eq!((&*pair.more(), pair.session.user()), ("*3|$4|AUTH|$7|default|$0||", Some("alice")));
}

#[test]
fn the_user_of_a_certificate_is_logged_in_and_again_after_reset() {
    let mut pair = Pair::of_users(Users::new(&USERS)).certified("alice");
    assert_eq!(pair.session.user(), Some("alice"));
    pair.commands("GET a");
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), sent("AUTH ua pa"));
    pair.upstream("+OK|");
    assert_eq!(pair.more(), sent("GET a"));
    pair.upstream("$-1|");
    pair.commands("AUTH bob b");
    pair.upstream("+OK|");
    pair.more();
    assert_eq!(pair.commands("RESET;GET b"), sent("RESET"));
    assert_eq!(pair.upstream("+RESET|"), "+RESET|");
    assert_eq!((pair.more(), pair.session.user()), (sent("AUTH ua pa"), Some("alice")));
    pair.upstream("+OK|");
    assert_eq!(pair.more(), sent("GET b"));
}

#[test]
fn inside_a_transaction_the_user_does_not_change() {
    for attempt in ["AUTH carol c", "HELLO 3 AUTH carol c", "HELLO 3"] {
        let mut pair = alice();
        pair.commands(&format!("MULTI;GET a;{attempt};EXEC"));
        assert_eq!(
            pair.upstream("+OK|+QUEUED|"),
            "+OK|+QUEUED|-ERR Command not allowed inside a transaction|"
        );
        assert_eq!((pair.more(), pair.session.user()), (sent("DISCARD"), Some("alice")));
        assert_eq!(pair.upstream("+OK|"), "-EXECABORT Transaction discarded because of previous errors.|");
        assert_eq!(pair.count.users.attempts, 1, "alice's own attempt");
    }
}

#[test]
fn a_login_that_waits_is_attempted_once() {
    let mut pair = alice();
    pair.commands("BLPOP l 0;AUTH carol x;AUTH carol y");
    assert_eq!(pair.count.users.attempts, 1, "alice's own attempt; the others wait");
    for _ in 0..3 {
        pair.settle();
    }
    assert_eq!(pair.upstream("*-1|"), ["*-1|", WRONGPASS, WRONGPASS].concat());
    assert_eq!(pair.count.users.attempts, 3);
    let mut hello = Pair::of_users(Users::new(&USERS));
    hello.commands("HELLO 3 AUTH alice a");
    for _ in 0..3 {
        hello.settle();
    }
    hello.connect();
    hello.settle();
    assert_eq!(hello.more(), sent("AUTH ua pa"));
    hello.upstream("+OK|");
    assert_eq!((hello.count.users.attempts, hello.more()), (1, sent("HELLO 3")));
}

#[test]
fn too_many_failures_end_the_session() {
    let mut pair = pair();
    pair.count.users.failures_left = Some(3);
    pair.client_bytes(&frames("AUTH alice x").repeat(10_000));
    assert_eq!(pair.receive(), WRONGPASS.repeat(4));
    assert_eq!((pair.closed, pair.count.users.attempts), (Some(CloseReason::Blocked), 4));
    let mut right = Pair::of_users(Users::new(&USERS));
    right.count.users.failures_left = Some(0);
    right.commands("HELLO 3 AUTH alice a;GET a");
    assert_eq!((&*right.receive(), right.closed), (WRONGPASS, Some(CloseReason::Blocked)));
    assert_eq!((right.session.user(), right.wants_link), (None, false));
}

#[test]
fn before_a_login_the_limits_are_small() {
    let cases = [
        ("*11|", RequestError::UnauthenticatedMultibulk),
        ("*2|$4|AUTH|$16385|", RequestError::UnauthenticatedBulk),
        ("*2|$16385|", RequestError::UnauthenticatedBulk),
    ];
    for (text, error) in cases {
        let mut pair = pair();
        pair.client(text);
        let expected = format!("-{}|", error.reply().unwrap());
        assert_eq!((pair.receive(), pair.closed), (expected, Some(CloseReason::Protocol(error))), "{text}");
    }
    let large = format!("*2|$4|ECHO|$16385|{}|", "x".repeat(16385));
    let mut pair = pair();
    assert_eq!(pair.client(&format!("{}{large}", sent("AUTH bob b"))), "");
    pair.connect();
    pair.settle();
    assert_eq!(
        (&*pair.receive(), pair.more()),
        ("+OK|", large.clone()),
        "a larger command is allowed after the login"
    );
    pair.upstream("+x|");
    pair.client(&format!("{}{large}", sent("RESET")));
    pair.upstream("+RESET|");
    assert_eq!(
        pair.closed,
        Some(CloseReason::Protocol(RequestError::UnauthenticatedBulk)),
        "the small limit holds again after RESET"
    );
}

#[test]
fn bytes_of_refused_commands_are_not_kept() {
    let mut pair = pair();
    for _ in 0..1000 {
        pair.client(&format!("*10|$3|SET|{}", format!("$16384|{}|", "x".repeat(16384)).repeat(9)));
        assert!(pair.client_input.len() < 64 && pair.session.held() < 4096);
    }
    assert_eq!(pair.receive(), NOAUTH.repeat(1000));
}

#[test]
fn skip_suppresses_the_reply_to_a_login() {
    let mut pair = alice();
    for covered in ["AUTH carol x", "AUTH carol c", "HELLO 3 AUTH alice a", "HELLO 3 AUTH alice x"] {
        pair.commands("CLIENT REPLY SKIP");
        pair.upstream("+OK|");
        let sent_up = pair.commands(covered);
        if !sent_up.is_empty() {
            assert_eq!(pair.upstream("+OK|"), "", "{covered}");
        }
        if covered == "HELLO 3 AUTH alice a" {
            assert_eq!(pair.more(), sent("HELLO 3"));
            assert_eq!(pair.upstream(HELLO_DONE), "");
        }
        assert_eq!(pair.commands("PING"), sent("PING"), "{covered}");
        assert_eq!(pair.upstream("+PONG|"), "+PONG|", "{covered}");
    }
}

#[test]
fn a_login_that_waits_for_an_unavailable_upstream_gets_the_error() {
    let mut pair = pair();
    pair.commands("HELLO 3 AUTH alice a;GET a");
    pair.lose(Some(Unavailable::Refused));
    assert_eq!(pair.receive(), "-ERR portcullis: upstream 'main' unavailable (refused)|");
    assert_eq!(pair.closed, Some(CloseReason::Upstream(Some(Unavailable::Refused))));
}

/// After the login the session requests a connection, but only once. If the connection is lost before its first reply,
/// the client gets no error.
#[test]
fn an_early_connection_may_be_lost() {
    let mut pair = pair();
    pair.commands("GET a;AUTH alice wrong");
    assert!(!pair.session.connects_early(), "no user is logged in");
    pair.commands("AUTH alice a");
    assert!(pair.session.connects_early());
    assert!(!pair.session.connects_early(), "once");
    pair.receive();
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), sent("AUTH ua pa"));
    assert!(pair.session.forget_early());
    (pair.linked, pair.link) = (false, Link::new());
    assert_eq!((pair.commands("GET a"), pair.waits), (String::new(), Some(Until::Linked)));
    assert!(!pair.session.connects_early());
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), sent("AUTH ua pa"));
    assert!(!pair.session.forget_early(), "a command waits for the connection");
    pair.upstream("+OK|");
    assert_eq!(pair.more(), sent("GET a"));
    pair.upstream("$-1|");
    assert!(!pair.session.forget_early(), "the connection was used");
}
