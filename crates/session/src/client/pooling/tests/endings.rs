//! Connections that are lost, clients that disconnect, and a gate that shuts down.

use super::*;
use crate::CloseReason;
use crate::link::Unavailable;

fn unavailable(why: &str) -> String {
    format!("-ERR portcullis: upstream 'main' unavailable ({why})|")
}

#[test]
fn a_client_that_waits_on_a_lost_connection_gets_one_error() {
    let mut rig = Rig::trust();
    rig.commands("GET a;CLIENT ID;GET b");
    rig.simulated_client.lose(Some(Unavailable::Timeout));
    rig.settle();
    assert_eq!(rig.receive(), unavailable("timeout"));
    assert_eq!(rig.simulated_client.closed, Some(CloseReason::Upstream(Some(Unavailable::Timeout))));
    assert_eq!(rig.commands("GET c"), "");
    let mut rig = Rig::trust();
    rig.commands("CLIENT REPLY SKIP");
    rig.pool("+OK|");
    rig.commands("SELECT 5");
    rig.simulated_client.lose(Some(Unavailable::Refused));
    rig.settle();
    assert_eq!(
        (&*rig.receive(), rig.simulated_client.closed.is_some()),
        ("", true),
        "CLIENT REPLY SKIP suppresses the error"
    );
}

#[test]
fn half_a_reply_is_not_followed_by_an_error() {
    let mut rig = Rig::trust();
    rig.commands("GET a");
    let half = format!("$5000|{}", "x".repeat(2000));
    assert_eq!(rig.pool(&half), half);
    rig.simulated_client.lose(Some(Unavailable::Timeout));
    rig.settle();
    assert_eq!((&*rig.receive(), rig.simulated_client.closed.is_some()), ("", true));
}

#[test]
fn another_kind_or_an_own_connection_may_be_unavailable() {
    for command in ["SELECT 5", "HELLO 3"] {
        let mut rig = Rig::trust();
        rig.commands(command);
        assert_eq!(rig.simulated_client.waits, Some(Until::Pooled));
        rig.simulated_client.lose(Some(Unavailable::Connect));
        rig.settle();
        assert_eq!(
            (rig.receive(), rig.simulated_client.closed.is_some()),
            (unavailable("connect"), true),
            "{command}"
        );
    }
    let mut rig = Rig::new(plan(Auth::Trust, Some("secret")));
    rig.commands("EVAL x 0");
    assert_eq!(rig.own("-WRONGPASS no|"), unavailable("auth"));
    assert!(rig.simulated_client.closed.is_some());
}

#[test]
fn unsolicited_bytes_end_the_own_connection() {
    let mut rig = Rig::leased();
    assert_eq!(rig.own("+more|"), "");
    assert!(rig.simulated_client.fault.is_some() && rig.simulated_client.closed.is_some());
}

#[test]
fn a_drain_waits_for_pending_replies() {
    let mut rig = Rig::trust();
    rig.commands("GET a");
    rig.simulated_client.session.drain();
    rig.settle();
    assert_eq!(rig.simulated_client.closed, None);
    assert_eq!(rig.pool("$-1|"), "$-1|");
    assert_eq!(rig.simulated_client.closed, Some(CloseReason::Drain));
    for mut rig in [Rig::trust(), Rig::leased()] {
        rig.simulated_client.session.drain();
        rig.settle();
        assert_eq!(rig.simulated_client.closed, Some(CloseReason::Drain));
    }
}

#[test]
fn a_client_that_disconnects_gets_its_pending_replies() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a;EVAL x 0"), "pool: GET a");
    rig.simulated_client.client_ended = true;
    rig.settle();
    assert_eq!(rig.pool("$-1|"), "$-1|");
    assert_eq!(rig.more(), "own: EVAL x 0");
    assert_eq!(rig.own(":1|"), ":1|");
    assert_eq!(rig.simulated_client.closed, Some(CloseReason::Client));
}

#[test]
fn half_a_command_gets_no_reply() {
    let mut rig = Rig::trust();
    let bytes = frames("GET a;GET b");
    assert_eq!(rig.bytes(&bytes[..bytes.len() - 3]), "pool: GET a");
    rig.simulated_client.client_ended = true;
    assert_eq!(rig.pool("$-1|"), "$-1|");
    assert_eq!(
        (rig.simulated_client.closed, rig.simulated_client.session.has_pending()),
        (Some(CloseReason::Client), false)
    );
    let mut rig = Rig::trust();
    rig.commands("GET a");
    assert_eq!(rig.bytes(b"*1\r\n$4\rXPING\r\n"), "");
    let line = "-ERR Protocol error: invalid request framing|";
    assert_eq!(rig.pool("$-1|"), format!("$-1|{line}"));
    assert!(matches!(rig.simulated_client.closed, Some(CloseReason::Protocol(_))));
}
