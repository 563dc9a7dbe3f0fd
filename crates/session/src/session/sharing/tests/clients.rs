//! CLIENT speaks of a server on which the client is alone.

use super::*;

#[test]
fn it_is_answered_here() {
    let cases = [
        ("CLIENT ID", ":77|"),
        ("client id", ":77|"),
        ("CLIENT GETNAME", "$-1|"),
        ("CLIENT SETNAME me;CLIENT GETNAME", "+OK|$2|me|"),
        ("CLIENT SETINFO LIB-VER 1", "+OK|"),
        ("CLIENT UNBLOCK 5", ":0|"),
        ("CLIENT KILL 192.0.2.9:1", "-ERR No such client|"),
        ("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command|"),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command|"),
        ("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.|"),
        ("CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.|"),
    ];
    for (commands, said) in cases {
        let mut rig = Rig::trust();
        assert_eq!(rig.commands(commands), "", "{commands}");
        assert_eq!((&*rig.hear(), rig.lease()), (said, Lease::None), "{commands}");
        let mut rig = Rig::leased();
        assert_eq!(rig.commands(commands), "", "{commands} on a connection of its own");
        assert_eq!(rig.hear(), said, "{commands} on a connection of its own");
    }
}

#[test]
fn it_is_refused_inside_a_transaction() {
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
fn it_sees_its_own_database_version_and_flags() {
    let mut rig = Rig::trust();
    rig.commands("SELECT 5");
    rig.pooled(Ok(()));
    rig.hear();
    rig.commands("CLIENT SETNAME me;CLIENT INFO");
    let info = rig.hear();
    for part in
        ["id=77 ", "addr=192.0.2.7:7777 ", "name=me ", " db=5 ", " resp=2 ", " flags=N ", "user=default "]
    {
        assert!(info.contains(part), "{part} in {info}");
    }
    let mut rig = Rig::trust();
    rig.commands("MONITOR");
    rig.own("+OK|");
    rig.commands("CLIENT LIST");
    assert!(rig.hear().contains(" flags=O "));
}

#[test]
fn it_may_end_itself() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a;CLIENT KILL ID 77 SKIPME NO;GET b"), "pool: GET a");
    assert_eq!(rig.pool("$-1|"), "$-1|:1|");
    assert_eq!(rig.tenant.closed, Some(crate::CloseReason::Client));
}

#[test]
fn tracking_goes_to_nobody_else() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("CLIENT TRACKING ON REDIRECT 5"), "");
    assert_eq!(rig.hear(), "-ERR The client ID you want redirect to does not exist|");
    rig.at(1000);
    assert_eq!(rig.commands("CLIENT TRACKING ON"), "own: CLIENT TRACKING ON");
}

/// In RESP2 a subscriber hears nothing but that; what it did before may still end that.
#[test]
fn a_subscriber_asks_nothing_of_clients() {
    let mut rig = Rig::trust();
    rig.commands("SUBSCRIBE a");
    let subscribed = "*3|$9|subscribe|$1|a|:1|";
    assert_eq!(rig.own(subscribed), subscribed);
    let rest = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context|";
    for (line, name) in [("INFO", "info"), ("TRACKING ON REDIRECT 5", "tracking"), ("SETNAME me", "setname")]
    {
        assert_eq!(rig.commands(&format!("CLIENT {line}")), "", "{line}");
        assert_eq!(rig.hear(), format!("-ERR Can't execute 'client|{name}': {rest}"));
    }
    let line = "UNSUBSCRIBE;CLIENT TRACKING ON REDIRECT 5;CLIENT GETNAME";
    assert_eq!(rig.commands(line), "own: UNSUBSCRIBE");
    let unsubscribed = "*3|$11|unsubscribe|$1|a|:0|";
    let heard = rig.own(unsubscribed) + &rig.hear();
    let no_client = "-ERR The client ID you want redirect to does not exist|";
    assert_eq!(heard, format!("{unsubscribed}{no_client}$-1|"));
}

#[test]
fn what_is_told_of_a_client_does_not_pile_up() {
    let mut rig = Rig::trust();
    rig.commands(&format!("CLIENT SETNAME {}", "n".repeat(1000)));
    rig.hear();
    assert_eq!(rig.commands("GET a"), "pool: GET a");
    rig.commands(&["CLIENT INFO"; 1000].join(";"));
    assert!(rig.tenant.session.held() < 256 * 1024, "{} bytes", rig.tenant.session.held());
    let heard = rig.pool("$-1|");
    assert_eq!(heard.matches("name=nnn").count(), 1000);
}
