//! SELECT and HELLO, which lead to shared connections of another kind.

use super::*;
use crate::client::Pooling;

const GREETING: &str = "%2|$2|id|:5|$5|proto|:3|";

#[test]
fn another_database_means_another_connection() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a;SELECT 5;GET a;SELECT 5;SELECT 0;GET b"), "pool: GET a");
    assert_eq!((rig.simulated_client.waits, rig.kind()), (Some(Until::NothingPending), (0, false)));
    assert_eq!(rig.pool("$-1|"), "$-1|");
    assert_eq!((rig.simulated_client.waits, rig.kind()), (Some(Until::Pooled), (5, false)));
    rig.pooled(Ok(()));
    assert_eq!((&*rig.receive(), &*rig.more()), ("+OK|", "pool 5: GET a"));
    assert_eq!(rig.pool("$-1|"), "$-1|+OK|", "the client is already in that database");
    rig.pooled(Ok(()));
    assert_eq!((&*rig.receive(), &*rig.more(), rig.kind()), ("+OK|", "pool: GET b", (0, false)));
}

#[test]
fn a_refused_switch_returns_the_reason_and_changes_nothing() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("SELECT 99;GET a;SELECT 98"), "");
    rig.pooled(Err("-ERR DB index is out of range|"));
    assert_eq!((&*rig.receive(), &*rig.more()), ("-ERR DB index is out of range|", "pool: GET a"));
    assert_eq!(rig.pool("$-1|"), "$-1|");
    rig.pooled(Err("-ERR another|"));
    assert_eq!((&*rig.receive(), rig.kind()), ("-ERR another|", (0, false)));
    assert_eq!(rig.commands("HELLO 3 SETNAME me;GET a;CLIENT GETNAME"), "");
    assert_eq!(rig.kind(), (0, true));
    rig.pooled(Err("-ERR unknown command 'HELLO'|"));
    assert_eq!((&*rig.receive(), &*rig.more()), ("-ERR unknown command 'HELLO'|", "pool: GET a"));
    assert_eq!(rig.pool("$-1|"), "$-1|$-1|");
    rig.simulated_client.session.pooled(Ok(()));
    assert_eq!(rig.kind(), (0, false), "no switch was requested");
}

#[test]
fn an_invalid_index_is_refused_here() {
    let no_integer = "-ERR value is not an integer or out of range|";
    let cases = [
        ("SELECT x", no_integer),
        ("SELECT 01", no_integer),
        ("SELECT +1", no_integer),
        ("SELECT 2147483648", "-ERR value is out of range, value must between -2147483648 and 2147483647|"),
        ("SELECT 9223372036854775808", no_integer),
        ("SELECT -1", "-ERR DB index is out of range|"),
        ("SELECT", "-ERR wrong number of arguments for 'select' command|"),
        ("SELECT 1 2", "-ERR wrong number of arguments for 'select' command|"),
    ];
    for (command, line) in cases {
        let mut rig = Rig::trust();
        assert_eq!(rig.commands(command), "", "{command}");
        assert_eq!((&*rig.receive(), rig.kind()), (line, (0, false)), "{command}");
    }
    let mut rig = Rig::trust();
    rig.commands("SELECT 2147483647");
    assert_eq!(rig.kind(), (2_147_483_647, false), "the server decides on the index");
}

#[test]
fn a_suppressed_switch_has_no_reply() {
    let mut rig = Rig::trust();
    for (command, there, kind) in [
        ("SELECT 5", Ok(()), (5, false)),
        ("SELECT 6", Err("-ERR no|"), (5, false)),
        ("HELLO 3", Err("-ERR no|"), (5, false)),
        ("HELLO 3", Ok(()), (5, true)),
    ] {
        rig.commands("CLIENT REPLY SKIP");
        assert_eq!(rig.pool("+OK|"), "");
        assert_eq!(rig.commands(&format!("{command};GET a")), "");
        rig.pooled(there);
        assert_eq!((&*rig.receive(), rig.kind()), ("", kind), "{command}");
        if command == "HELLO 3" && there.is_ok() {
            assert_eq!(rig.more(), "pool 5 resp3: HELLO 3, GET a");
            assert_eq!(rig.pool(GREETING), "");
        }
        assert!(rig.more().ends_with("GET a") || rig.simulated_client.session.has_pending());
        assert_eq!(rig.pool("$-1|"), "$-1|", "only the reply to {command} is suppressed");
    }
}

#[test]
fn hello_goes_to_a_connection_of_its_version_and_returns_the_gates_id() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a;HELLO 3;GET b"), "pool: GET a");
    assert_eq!(rig.pool("$-1|"), "$-1|");
    assert_eq!(rig.kind(), (0, true));
    rig.pooled(Ok(()));
    assert_eq!(rig.more(), "pool 0 resp3: HELLO 3, GET b");
    assert_eq!(rig.pool(&format!("{GREETING}_|")), "%2|$2|id|:77|$5|proto|:3|_|");
    assert_eq!(rig.commands("HELLO;HELLO 3"), "pool 0 resp3: HELLO");
    assert_eq!(rig.pool(GREETING), "%2|$2|id|:77|$5|proto|:3|");
    assert_eq!(rig.more(), "pool 0 resp3: HELLO 3");
    rig.pool(GREETING);
    assert_eq!(rig.commands("HELLO 2;CLIENT GETNAME"), "");
    rig.pooled(Ok(()));
    assert_eq!((&*rig.more(), rig.kind()), ("pool: HELLO 2", (0, false)));
    assert_eq!(rig.pool("*4|$2|id|:5|$5|proto|:2|"), "*4|$2|id|:77|$5|proto|:2|$-1|");
}

#[test]
fn hello_without_a_version_returns_the_current_one() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("HELLO"), "pool: HELLO");
    assert!(!rig.simulated_client.desync);
    rig.inbox.extend(wire(GREETING));
    let Shared::Part(part) = rig.pool.next(&rig.inbox) else { panic!("no reply") };
    assert!(
        !rig.simulated_client.receive(&part) && rig.simulated_client.desync,
        "RESP3 on a connection with RESP2"
    );
}

#[test]
fn the_gate_judges_the_clients_part_of_hello() {
    let cases = [
        ("HELLO 4", "-NOPROTO unsupported protocol version|"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range|"),
        ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'|"),
        ("HELLO 3 AUTH other x", "-WRONGPASS invalid username-password pair or user is disabled.|"),
        (
            "HELLO 3 SETNAME \u{7f}",
            "-ERR Client names cannot contain spaces, newlines or special characters.|",
        ),
        (
            &format!("HELLO 3 SETNAME {}", "n".repeat(1025)),
            "-ERR portcullis: a name can have 1024 bytes at most|",
        ),
    ];
    for (command, line) in cases {
        let mut rig = Rig::trust();
        assert_eq!(rig.commands(command), "", "{command}");
        assert_eq!((&*rig.receive(), rig.kind()), (line, (0, false)), "{command}");
    }
    let mut rig = Rig::trust();
    rig.commands("HELLO 3 AUTH default x SETNAME me");
    rig.pooled(Ok(()));
    assert_eq!(rig.more(), "pool 0 resp3: HELLO 3", "the gate keeps the name");
    rig.pool(GREETING);
    rig.commands("CLIENT GETNAME");
    assert_eq!(rig.receive(), "$2|me|");
    assert!(rig.simulated_client.session.held() > 0);
}

#[test]
fn a_connection_of_its_own_is_switched_by_the_server() {
    let mut rig = Rig::leased();
    assert_eq!(
        rig.commands("SELECT 5;SELECT 99;SELECT x;HELLO 3;GET a"),
        "own: SELECT 5, SELECT 99, SELECT x"
    );
    assert_eq!(rig.own("+OK|-ERR DB index|"), "+OK|-ERR DB index|");
    assert_eq!(rig.kind(), (5, false));
    assert_eq!(rig.own("-ERR no integer|"), "-ERR no integer|");
    assert_eq!(rig.more(), "own: HELLO 3, GET a");
    assert_eq!(rig.own(&format!("{GREETING}_|")), "%2|$2|id|:77|$5|proto|:3|_|");
    assert_eq!(rig.kind(), (5, true));
    rig.at(2000);
    assert_eq!((rig.simulated_client.given_back, &*rig.commands("GET a")), (1, "pool 5 resp3: GET a"));
    rig.pool("_|");
    assert_eq!(rig.commands("EVAL x 0"), "own: HELLO 3, SELECT 5");
    assert_eq!(rig.own(GREETING), "");
    assert_eq!(rig.own("+OK|"), "");
    assert_eq!(rig.more(), "own: EVAL x 0");
}

#[test]
fn a_client_that_takes_its_own_connection_waits_for_no_other_kind() {
    let mut rig = Rig::trust();
    rig.commands("SELECT 5;SELECT 2;GET a");
    assert_eq!((rig.simulated_client.waits, rig.kind()), (Some(Until::Pooled), (5, false)));
    if let Some(pooling) = rig.simulated_client.session.pooling_mut() {
        pooling.set_lagging();
    }
    rig.settle();
    assert_eq!(rig.more(), "own: SELECT 5, SELECT 2, GET a", "the connection is set up as it was before");
    assert_eq!(rig.own("-ERR out of range|+OK|$-1|"), "-ERR out of range|+OK|$-1|");
    assert_eq!(rig.kind(), (2, false));
    rig.at(2000);
    assert_eq!(rig.commands("GET a"), "pool 2: GET a");
}

#[test]
fn a_change_of_kind_changes_the_epoch() {
    let mut rig = Rig::trust();
    let mut before = (
        rig.simulated_client.session.pool_key(),
        rig.simulated_client.session.pooling().map_or(0, Pooling::epoch),
    );
    let mut check = |rig: &Rig| {
        let now = (
            rig.simulated_client.session.pool_key(),
            rig.simulated_client.session.pooling().map_or(0, Pooling::epoch),
        );
        assert!(now.0 == before.0 || now.1 != before.1, "{:?} is {:?}", before.0, now.0);
        before = now;
    };
    rig.commands("SELECT 5");
    check(&rig);
    rig.pooled(Err("-ERR no|"));
    check(&rig);
    rig.commands("HELLO 3");
    check(&rig);
    rig.pooled(Ok(()));
    check(&rig);
    rig.pool(GREETING);
    check(&rig);
    rig.commands("EVAL x 0");
    rig.own(GREETING);
    rig.own(":1|");
    rig.commands("SELECT 7");
    rig.own("+OK|");
    check(&rig);
    rig.commands("HELLO 2");
    rig.own("*2|$2|id|:5|");
    check(&rig);
    rig.commands("RESET");
    check(&rig);
}
