//! CLIENT under `@public`, on a connection of the client's own. Redis knows this client, but must not show it other
//! clients.

use std::sync::Arc;

use crate::client::Until;
use crate::link::Subscribed;
use crate::tests::pair::{Pair, frames, plan, show};
use crate::tests::users::{User, Users, rules};
use crate::{Action, Auth, Denied, Findings, Standing};

const REFUSED: &str = "-NOPERM portcullis: CLIENT TRACKING cannot REDIRECT to another client here|";

fn sent(text: &str) -> String {
    show(&frames(text))
}

fn public(auth: Auth, acl: &str) -> Pair {
    Pair::connected(plan(auth, None).with_rules(rules(Some(acl))))
}

fn answer_inquiry(pair: &mut Pair, findings: &Findings) -> String {
    assert_eq!(pair.waits, Some(Until::Clients));
    pair.session.informed(Some(findings));
    pair.settle();
    pair.receive()
}

#[test]
fn the_gate_answers_client_info_and_redis_keeps_the_name() {
    let mut pair = public(Auth::Trust, "@public");
    assert_eq!(pair.commands("CLIENT ID"), "");
    assert_eq!(pair.receive(), ":77|");
    let introduction = "CLIENT SETNAME me;CLIENT SETINFO lib-name x;SELECT 3;CLIENT SETNAME bad;CLIENT INFO";
    assert_eq!(pair.commands(introduction), sent(introduction.rsplit_once(';').unwrap().0));
    let received = pair.upstream("+OK|+OK|+OK|-ERR no|");
    assert!(received.starts_with("+OK|+OK|+OK|-ERR no|$"), "{received}");
    for part in ["id=77 ", "addr=192.0.2.7:7777 laddr=0.0.0.0:0 ", " name=me ", " db=3 ", " lib-name=x "] {
        assert!(received.contains(part), "{part} in {received}");
    }
    assert_eq!(pair.commands("RESET;CLIENT INFO"), sent("RESET"));
    let received = pair.upstream("+RESET|");
    assert!(
        received.contains(" name= ") && received.contains(" db=0 ") && received.contains(" lib-name=x "),
        "{received}"
    );
}

#[test]
fn hello_returns_the_same_id_and_names_the_client() {
    for auth in [Auth::Trust, Auth::Passthrough] {
        let mut pair = public(auth, "@public");
        assert_eq!(pair.commands("HELLO 3 SETNAME me"), sent("HELLO 3 SETNAME me"));
        let received = pair.upstream("%2|$2|id|:9|$4|name|:5|");
        assert_eq!(received, "%2|$2|id|:77|$4|name|:5|");
        let mut pair = public(auth, "@public");
        assert_eq!(pair.commands("HELLO 4"), if auth == Auth::Trust { "" } else { "*2|$5|HELLO|$1|4|" });
    }
}

#[test]
fn a_client_has_the_user_of_the_accepted_login() {
    let mut pair = public(Auth::Passthrough, "@public");
    assert_eq!(pair.session.acts_as(), Some("default"));
    let wrong = "-WRONGPASS no|";
    let hello = "%2|$2|id|:9|$4|name|:5|";
    let with_own_id = "%2|$2|id|:77|$4|name|:5|";
    for (login, reply, expected, user) in [
        ("AUTH alice right", "+OK|", "+OK|", "alice"),
        ("AUTH bob wrong", wrong, wrong, "alice"),
        ("HELLO 3 AUTH bob right SETNAME me", hello, with_own_id, "bob"),
        ("HELLO 3 SETNAME you SETNAME me", hello, with_own_id, "bob"),
        ("HELLO 3 AUTH carol wrong", wrong, wrong, "bob"),
        ("HELLO 2 AUTH carol", "-ERR Syntax error|", "-ERR Syntax error|", "bob"),
        ("AUTH of-the-default-user", "+OK|", "+OK|", "default"),
        ("AUTH carol right", "+OK|", "+OK|", "carol"),
        ("RESET", "+RESET|", "+RESET|", "default"),
    ] {
        assert_eq!(pair.commands(login), sent(login));
        assert_eq!(pair.upstream(reply), expected, "{login}");
        assert_eq!(pair.session.acts_as(), Some(user), "{login}");
    }
}

/// The gate does not follow a login under these rules, so it does not know the client's user afterwards.
#[test]
fn the_user_of_an_unfollowed_login_is_unknown() {
    let mut pair = public(Auth::Passthrough, "+@all");
    pair.commands("AUTH alice right");
    pair.upstream("+OK|");
    assert_eq!(pair.session.acts_as(), None);
    // A refused login does not set the user. The client then logs in again under rules that do not follow logins.
    let mut pair = public(Auth::Passthrough, "@public");
    pair.commands("AUTH bob wrong");
    pair.upstream("-WRONGPASS no|");
    let others = Arc::new(plan(Auth::Passthrough, None).with_rules(rules(Some("+@all"))));
    assert_eq!(pair.session.renew(&Subscribed::default(), |_| Some(Arc::clone(&others))), Standing::Stays);
    pair.commands("AUTH carol right");
    pair.upstream("+OK|");
    assert_eq!(pair.session.acts_as(), None);
    let mut pair = public(Auth::Passthrough, "@public");
    for (login, user) in
        [(format!("AUTH {} right", "n".repeat(1025)), None), ("AUTH a b".to_owned(), Some("a"))]
    {
        pair.commands(&login);
        pair.upstream("+OK|");
        assert_eq!(pair.session.acts_as(), user);
    }
}

#[test]
fn other_clients_are_listed_with_hidden_addresses() {
    let mut pair = public(Auth::Trust, "@public +client|kill");
    assert_eq!(pair.commands("GET a;CLIENT LIST;GET b"), sent("GET a"));
    assert_eq!(pair.upstream("$-1|"), "$-1|");
    let inquiry = pair.session.inquiry().expect("a question");
    assert_eq!((inquiry.action, inquiry.narrow, inquiry.masked), (Action::List, true, true));
    let other = pair.session.listed(&pair.count, inquiry, 1);
    assert!(other.line.contains(" addr=0.0.0.0:0 laddr=0.0.0.0:0 "), "{}", other.line);
    let findings = Findings { lines: "x\n".to_owned(), clients: 1, ..Findings::default() };
    assert_eq!(answer_inquiry(&mut pair, &findings), "$2|x\n|");
    assert_eq!(pair.more(), sent("GET b"));
    assert_eq!(pair.upstream("$-1|"), "$-1|");
    pair.commands("CLIENT KILL ID 77 SKIPME no;GET c");
    assert_eq!(
        answer_inquiry(&mut pair, &Findings { clients: 1, asker: true, ..Findings::default() }),
        ":1|"
    );
    assert_eq!((pair.closed, &*pair.more()), (Some(crate::CloseReason::Client), ""));
}

#[test]
fn commands_that_public_refuses_stay_refused() {
    let mut pair = public(Auth::Trust, "@public");
    for (line, name) in
        [("KILL ID 5", "kill"), ("UNBLOCK 5", "unblock"), ("NO-EVICT ON", "no-evict"), ("PAUSE 1", "pause")]
    {
        assert_eq!(pair.commands(&format!("CLIENT {line}")), "");
        let text = format!("-NOPERM User default has no permissions to run the 'client|{name}' command|");
        assert_eq!(pair.receive(), text);
    }
    assert_eq!(pair.commands("MULTI;CLIENT LIST;EXEC"), sent("MULTI"));
    assert_eq!(pair.upstream("+OK|"), "+OK|-ERR Command not allowed inside a transaction|");
}

/// Under passthrough Redis knows the client's rights, so the gate asks it.
#[test]
fn under_passthrough_redis_decides_on_questions() {
    let noauth = "-NOAUTH Authentication required.|";
    for (line, stands) in [
        ("CLIENT ID", "CLIENT ID"),
        ("CLIENT INFO", "CLIENT INFO"),
        ("CLIENT LIST", "CLIENT LIST ID 0"),
        ("CLIENT KILL ID 5", "CLIENT KILL ID 9223372036854775807"),
    ] {
        let mut pair = public(Auth::Passthrough, "@public +client|kill");
        // Later commands wait only if other clients have to be asked.
        let is_own = line == stands;
        let at_once = if is_own { format!("{stands};GET a") } else { stands.to_owned() };
        assert_eq!(pair.commands(&format!("{line};GET a")), sent(&at_once), "{line}");
        assert_eq!(pair.upstream(noauth), noauth, "{line}");
        assert_eq!(pair.more(), if is_own { String::new() } else { sent("GET a") }, "{line}");
        assert_eq!(pair.session.inquiry(), None, "{line}");
    }
    let mut pair = public(Auth::Passthrough, "@public +client|kill");
    assert_eq!(pair.commands("CLIENT KILL ID 5"), sent("CLIENT KILL ID 9223372036854775807"));
    assert_eq!(pair.upstream(":0|"), "");
    assert_eq!(answer_inquiry(&mut pair, &Findings { clients: 1, ..Findings::default() }), ":1|");
    pair.commands("CLIENT ID");
    assert_eq!(pair.upstream(":9|"), ":77|");
}

/// A client under any rules must not choose the messages that another client gets.
#[test]
fn tracking_is_not_redirected_to_another_client_under_rules() {
    let id = sent("CLIENT ID");
    for acl in ["+@all", "@public", "+@all ~a*"] {
        for line in
            ["ON REDIRECT 5", "on noloop redirect 9", "ON FUTURE REDIRECT 77", "ON PREFIX a REDIRECT 5"]
        {
            let mut pair = public(Auth::Trust, acl);
            let sent_first = pair.commands(&format!("CLIENT TRACKING {line};GET a"));
            let received = if sent_first == id { pair.upstream(":12|") } else { pair.receive() };
            assert_eq!(received, REFUSED, "{acl}: {line}");
            assert_eq!(pair.count.denied, [Denied::Command], "{acl}: {line}");
        }
        let mut pair = public(Auth::Trust, acl);
        assert_eq!(pair.commands("MULTI;CLIENT TRACKING ON REDIRECT 12;EXEC"), sent("MULTI"));
        assert_eq!(pair.upstream("+OK|"), format!("+OK|{REFUSED}"), "{acl}");
        for line in ["ON", "OFF", "ON REDIRECT 0", "ON REDIRECT x", "ON PREFIX redirect"] {
            let mut pair = public(Auth::Trust, acl);
            let line = format!("CLIENT TRACKING {line}");
            assert_eq!(pair.commands(&line), sent(&line), "{acl}");
        }
        let mut pair = public(Auth::Trust, acl);
        assert_eq!(pair.commands("CLIENT TRACKING ON REDIRECT 12"), id);
        assert_eq!(pair.upstream("-NOPERM no|"), REFUSED, "{acl}: Redis refuses the id");
    }
}

#[test]
fn tracking_is_redirected_to_the_client_itself() {
    let mut pair = public(Auth::Trust, "+@all");
    assert_eq!(pair.commands("CLIENT TRACKING ON REDIRECT 12"), sent("CLIENT ID"));
    assert_eq!(pair.upstream(":12|"), "");
    assert_eq!(pair.more(), sent("CLIENT TRACKING ON REDIRECT 12"));
    let mut pair = public(Auth::Trust, "@public");
    assert_eq!(pair.commands("CLIENT TRACKING ON PREFIX redirect REDIRECT 77"), sent("CLIENT ID"));
    assert_eq!(pair.upstream(":12|"), "");
    assert_eq!(
        pair.more(),
        sent("CLIENT TRACKING ON PREFIX redirect REDIRECT 12"),
        "with the id that Redis knows"
    );
    let mut pair = Pair::trust();
    let line = "CLIENT TRACKING ON REDIRECT 5";
    assert_eq!(pair.commands(line), sent(line), "without rules Redis answers");
}

#[test]
fn a_blocking_command_has_a_known_upstream_id() {
    let mut pair = public(Auth::Trust, "@public");
    assert_eq!(pair.commands("BLPOP a 0"), sent("BLPOP a 0"));
    let mut pair = public(Auth::Trust, "@public +client|unblock");
    assert_eq!(pair.commands("BLPOP a 0"), sent("CLIENT ID;BLPOP a 0"));
    assert_eq!(pair.upstream(":12|*-1|"), "*-1|");
    assert_eq!(pair.commands("CLIENT UNBLOCK 5 ERROR"), "");
    assert_eq!(answer_inquiry(&mut pair, &Findings { blocked_as: Some(4), ..Findings::default() }), "");
    assert_eq!(pair.more(), sent("CLIENT UNBLOCK 4 ERROR"));
    assert_eq!(pair.upstream(":1|"), ":1|");
}

/// The listener has no rules, and the user's rules have `@public`.
#[test]
fn hello_with_a_login_returns_the_id_of_client_list() {
    let user = User { name: "u", password: "u", login: None, acl: Some("@public") };
    let mut pair = Pair::of_users(Users::new(&[user]));
    pair.connect();
    assert_eq!(pair.commands("HELLO 3 AUTH u u SETNAME me"), sent("HELLO 3 SETNAME me"));
    assert_eq!(pair.upstream("%1|$2|id|:9|"), "%1|$2|id|:77|");
}
