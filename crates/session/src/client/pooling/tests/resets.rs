//! RESET, which the gate answers: the gate ends the state, and closes the client's own connection.

use super::*;

#[test]
fn reset_on_a_shared_connection_restores_the_initial_state() {
    let mut rig = Rig::trust();
    rig.commands("SELECT 5");
    rig.pooled(Ok(()));
    rig.commands("HELLO 3 SETNAME me;CLIENT SETINFO LIB-NAME lib");
    rig.pooled(Ok(()));
    rig.pool("%1|$2|id|:5|");
    assert_eq!(rig.more(), "pool 5 resp3: HELLO 3");
    assert_eq!(rig.commands("GET a;RESET;GET a;CLIENT GETNAME"), "pool 5 resp3: GET a");
    assert_eq!(rig.pool("_|"), "_|+RESET|");
    assert_eq!((&*rig.more(), rig.kind()), ("pool: GET a", (0, false)));
    assert_eq!(rig.pool("$-1|"), "$-1|$-1|");
    rig.commands("CLIENT INFO");
    assert!(rig.receive().contains("lib-name=lib "), "library information stays");
}

#[test]
fn reset_with_arguments_is_refused() {
    for mut rig in [Rig::trust(), Rig::leased()] {
        assert_eq!(rig.commands("RESET x"), "");
        assert_eq!(rig.receive(), "-ERR wrong number of arguments for 'reset' command|");
        assert_eq!(rig.simulated_client.given_back, 0);
    }
}

/// No later command goes to the connection that RESET ends.
#[test]
fn reset_closes_the_own_connection() {
    let subscribed = "*3|$9|subscribe|$1|a|:1|";
    let cases = [
        ("EVAL x 0", ":1|"),
        ("MULTI", "+OK|"),
        ("MULTI;SET a 1", "+OK|+QUEUED|"),
        ("WATCH a", "+OK|"),
        ("SUBSCRIBE a", subscribed),
        ("MONITOR", "+OK|"),
        ("CLIENT TRACKING ON", "+OK|"),
        ("SELECT 5;FOO", "-ERR unknown|"),
    ];
    for secret in [None, Some("secret")] {
        for (state, replies) in cases {
            let mut rig = Rig::new(plan(Auth::Trust, secret));
            rig.commands(state);
            if rig.simulated_client.waits == Some(Until::Pooled) {
                rig.pooled(Ok(()));
            }
            if secret.is_some() {
                rig.own("+OK|");
            }
            if state.starts_with("SELECT") {
                rig.own("+OK|");
            }
            rig.own(replies);
            rig.more();
            assert_eq!(rig.commands("RESET;GET a;EVAL y 0"), "pool: GET a", "after {state}");
            assert_eq!((&*rig.receive(), rig.simulated_client.given_back), ("+RESET|", 1), "after {state}");
            assert_eq!((rig.lease(), rig.kind()), (Lease::None, (0, false)));
            assert_eq!(rig.pool("$-1|"), "$-1|", "after {state}");
            let login = secret.map_or("own: EVAL y 0", |_| "own: AUTH secret");
            assert_eq!(rig.more(), login, "after {state}");
        }
    }
}

#[test]
fn reset_waits_for_pending_replies() {
    let mut rig = Rig::leased();
    assert_eq!(rig.commands("BLPOP a 0;RESET;GET b"), "own: CLIENT ID, BLPOP a 0");
    assert_eq!((rig.simulated_client.waits, rig.lease()), (Some(Until::NothingPending), Lease::Needed));
    assert_eq!(rig.own(":9|*-1|"), "*-1|+RESET|");
    assert_eq!((&*rig.more(), rig.simulated_client.given_back), ("pool: GET b", 1));
}

#[test]
fn reset_does_not_cut_a_message() {
    let mut rig = Rig::trust();
    rig.commands("SUBSCRIBE a");
    rig.own("*3|$9|subscribe|$1|a|:1|");
    let (one, other) = ("*3|$7|message|$1|a|$3000|", format!("{}|", "x".repeat(3000)));
    assert_eq!(rig.own(one), one);
    rig.commands("RESET;PING");
    assert_eq!(rig.receive(), "");
    assert_eq!(rig.own(&other), format!("{other}+RESET|"));
    assert_eq!(rig.more(), "pool: PING");
}

#[test]
fn reset_ends_off_and_is_suppressed_by_a_skip() {
    for mut rig in [Rig::trust(), Rig::leased()] {
        let leased = rig.simulated_client.linked;
        let say = |rig: &mut Rig| if leased { rig.own("+OK|") } else { rig.pool("+OK|") };
        rig.commands("CLIENT REPLY OFF;RESET;GET a");
        assert_eq!(say(&mut rig), "+RESET|");
        assert_eq!(rig.pool("$-1|"), "$-1|");
    }
    for mut rig in [Rig::trust(), Rig::leased()] {
        let leased = rig.simulated_client.linked;
        rig.commands("CLIENT REPLY SKIP;RESET;GET a");
        assert_eq!(if leased { rig.own("+OK|") } else { rig.pool("+OK|") }, "");
        assert!(rig.more().ends_with("pool: GET a") || !leased);
        assert_eq!(rig.pool("$-1|"), "$-1|");
    }
}
