//! CLIENT commands that the gate answers.

use super::*;
use crate::{Action, Findings};

#[test]
fn the_gate_answers_client() {
    let cases = [
        ("CLIENT ID", ":77|"),
        ("client id", ":77|"),
        ("CLIENT GETNAME", "$-1|"),
        ("CLIENT SETNAME me;CLIENT GETNAME", "+OK|$2|me|"),
        ("CLIENT SETINFO LIB-VER 1", "+OK|"),
        ("CLIENT UNBLOCK 5 LATER", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR|"),
        ("CLIENT KILL SKIPME 5", "-ERR syntax error|"),
        ("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command|"),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command|"),
        ("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.|"),
        ("CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.|"),
    ];
    for (commands, reply) in cases {
        let mut rig = Rig::trust();
        assert_eq!(rig.commands(commands), "", "{commands}");
        assert_eq!((&*rig.receive(), rig.lease()), (reply, Lease::None), "{commands}");
        let mut rig = Rig::leased();
        assert_eq!(rig.commands(commands), "", "{commands} on a connection of its own");
        assert_eq!(rig.receive(), reply, "{commands} on a connection of its own");
    }
}

#[test]
fn client_is_refused_inside_a_transaction() {
    let refused = "-ERR Command not allowed inside a transaction|";
    for command in ["CLIENT ID", "CLIENT LIST", "CLIENT REPLY OFF", "AUTH default x", "HELLO 3", "CLIENT FOO"]
    {
        let mut rig = Rig::trust();
        assert_eq!(rig.commands(&format!("MULTI;{command};EXEC;GET a")), "own: MULTI", "{command}");
        assert_eq!(rig.own("+OK|"), format!("+OK|{refused}"), "{command}");
        assert_eq!(rig.more(), "own: DISCARD, GET a", "{command}");
        assert!(rig.own("+OK|").starts_with("-EXECABORT"), "{command}");
    }
}

#[test]
fn client_info_shows_database_version_and_flags() {
    let mut rig = Rig::trust();
    rig.commands("SELECT 5");
    rig.pooled(Ok(()));
    rig.receive();
    rig.commands("CLIENT SETNAME me;CLIENT INFO");
    let info = rig.receive();
    for part in
        ["id=77 ", "addr=192.0.2.7:7777 ", "name=me ", " db=5 ", " resp=2 ", " flags=N ", "user=default "]
    {
        assert!(info.contains(part), "{part} in {info}");
    }
    let mut rig = Rig::trust();
    rig.commands("MONITOR");
    rig.own("+OK|");
    rig.commands("CLIENT INFO");
    assert!(rig.receive().contains(" flags=O "));
}

/// While a question about other clients waits for its answer, the session reads no further commands.
#[test]
fn questions_about_other_clients_are_answered_in_order() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a;CLIENT LIST ID 5 6;CLIENT KILL 192.0.2.9:1;GET b"), "pool: GET a");
    assert_eq!(
        (rig.simulated_client.waits, rig.simulated_client.session.inquiry()),
        (Some(Until::NothingPending), None)
    );
    assert_eq!(rig.pool("$-1|"), "$-1|");
    let inquiry = rig.simulated_client.session.inquiry().expect("a question");
    assert_eq!((inquiry.action, inquiry.narrow, inquiry.masked), (Action::List, false, false));
    assert_eq!((rig.simulated_client.waits, rig.lease()), (Some(Until::Clients), Lease::None));
    assert!(!rig.simulated_client.session.is_idle());
    let lines = "id=5 \nid=6 \n".to_owned();
    assert_eq!(rig.answer_inquiry(Some(Findings { lines, clients: 2, ..Findings::default() })), "");
    assert_eq!(rig.receive(), "$12|id=5 \nid=6 \n|");
    assert_eq!(rig.simulated_client.session.inquiry().expect("a question").action, Action::KillAddress);
    assert_eq!(rig.answer_inquiry(Some(Findings::default())), "pool: GET b");
    assert_eq!(rig.receive(), "-ERR No such client|");
    assert_eq!(rig.pool("$-1|"), "$-1|");
    assert!(rig.simulated_client.session.is_idle());
}

#[test]
fn a_suppressed_question_has_no_reply_and_one_without_findings_an_error() {
    let mut rig = Rig::leased();
    assert_eq!(rig.commands("CLIENT REPLY SKIP;CLIENT LIST;CLIENT ID;CLIENT LIST"), "own: CLIENT REPLY ON");
    assert_eq!(rig.own("+OK|"), "");
    assert_eq!(rig.answer_inquiry(Some(Findings::default())), "");
    assert_eq!((&*rig.receive(), rig.simulated_client.waits), (":77|", Some(Until::Clients)));
    assert_eq!(rig.answer_inquiry(None), "");
    assert_eq!(rig.receive(), "-ERR portcullis: too many clients ask for CLIENT LIST at once, try again|");
}

/// Redis unblocks the client, because only Redis knows whether it is blocked.
#[test]
fn a_blocked_client_is_unblocked_by_its_upstream_id() {
    let unblocked = |id: Option<i64>| Some(Findings { blocked_as: id, ..Findings::default() });
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("CLIENT UNBLOCK 5 ERROR;GET a"), "");
    assert_eq!(rig.answer_inquiry(unblocked(Some(12))), "pool: CLIENT UNBLOCK 12 ERROR, GET a");
    assert_eq!(rig.pool(":1|$-1|"), ":1|$-1|");
    assert_eq!(rig.commands("CLIENT UNBLOCK 6"), "");
    assert_eq!(
        rig.answer_inquiry(unblocked(None)),
        "pool: CLIENT UNBLOCK 0 TIMEOUT",
        "Redis answers for an unknown client"
    );
    assert_eq!(rig.pool(":0|"), ":0|");
    let mut rig = Rig::leased();
    rig.commands("CLIENT UNBLOCK 5");
    assert_eq!(rig.answer_inquiry(unblocked(Some(12))), "own: CLIENT UNBLOCK 12 TIMEOUT");
    assert_eq!(rig.own(":1|"), ":1|");
}

#[test]
fn the_upstream_id_is_requested_once_per_connection() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("BLPOP a 0"), "own: CLIENT ID, BLPOP a 0");
    let blocked_as = |rig: &Rig| {
        let inquiry = crate::Inquiry {
            action: Action::List,
            filter: crate::local::clients::Filter::default(),
            narrow: false,
            masked: false,
        };
        rig.simulated_client.session.listed(&rig.simulated_client.count, &inquiry, 1)
    };
    assert_eq!(blocked_as(&rig).blocked_as, None);
    assert_eq!(rig.own(":12|"), "");
    let listed = blocked_as(&rig);
    assert_eq!((listed.blocked_as, listed.id), (Some(12), 77));
    assert!(listed.line.contains(" flags=b ") && listed.line.contains(" cmd=NULL "), "{}", listed.line);
    assert_eq!(rig.own("*-1|"), "*-1|");
    assert_eq!(blocked_as(&rig).blocked_as, None);
    assert_eq!(rig.commands("BLPOP a 0"), "own: BLPOP a 0");
    assert_eq!(blocked_as(&rig).blocked_as, Some(12));
    let mut rig = Rig::trust();
    rig.commands("BLPOP a 1");
    assert_eq!(rig.own("-NOPERM no|*-1|"), "*-1|", "Redis may refuse the id");
    assert_eq!(rig.commands("BLPOP a 1"), "own: BLPOP a 1");
}

#[test]
fn a_client_may_kill_itself() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a;CLIENT KILL ID 77 SKIPME NO;GET b"), "pool: GET a");
    assert_eq!(rig.pool("$-1|"), "$-1|");
    rig.answer_inquiry(Some(Findings { clients: 1, asker: true, ..Findings::default() }));
    assert_eq!(rig.receive(), ":1|");
    assert_eq!(rig.simulated_client.closed, Some(crate::CloseReason::Client));
}

#[test]
fn tracking_is_not_redirected_to_another_client() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("CLIENT TRACKING ON REDIRECT 5"), "");
    assert_eq!(rig.receive(), "-ERR The client ID you want redirect to does not exist|");
    rig.at(1000);
    assert_eq!(rig.commands("CLIENT TRACKING ON"), "own: CLIENT TRACKING ON");
}

/// A client in subscriber mode in RESP2 gets only that error; an earlier command may still end the mode.
#[test]
fn a_subscriber_in_resp2_gets_an_error_for_client() {
    let mut rig = Rig::trust();
    rig.commands("SUBSCRIBE a");
    let subscribed = "*3|$9|subscribe|$1|a|:1|";
    assert_eq!(rig.own(subscribed), subscribed);
    let rest = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context|";
    for (line, name) in [("INFO", "info"), ("TRACKING ON REDIRECT 5", "tracking"), ("SETNAME me", "setname")]
    {
        assert_eq!(rig.commands(&format!("CLIENT {line}")), "", "{line}");
        assert_eq!(rig.receive(), format!("-ERR Can't execute 'client|{name}': {rest}"));
    }
    let line = "UNSUBSCRIBE;CLIENT TRACKING ON REDIRECT 5;CLIENT GETNAME";
    assert_eq!(rig.commands(line), "own: UNSUBSCRIBE");
    let unsubscribed = "*3|$11|unsubscribe|$1|a|:0|";
    let received = rig.own(unsubscribed) + &rig.receive();
    let no_client = "-ERR The client ID you want redirect to does not exist|";
    assert_eq!(received, format!("{unsubscribed}{no_client}$-1|"));
}

#[test]
fn replies_about_a_client_do_not_pile_up() {
    let mut rig = Rig::trust();
    rig.commands(&format!("CLIENT SETNAME {}", "n".repeat(1000)));
    rig.receive();
    assert_eq!(rig.commands("GET a"), "pool: GET a");
    rig.commands(&["CLIENT INFO"; 1000].join(";"));
    assert!(
        rig.simulated_client.session.held() < 256 * 1024,
        "{} bytes",
        rig.simulated_client.session.held()
    );
    let received = rig.pool("$-1|");
    assert_eq!(received.matches("name=nnn").count(), 1000);
}
