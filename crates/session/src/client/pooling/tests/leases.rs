//! The time for which a client keeps a connection of its own.

use super::*;
use crate::Shape;
use crate::ids::Ticket;

/// The lease of a free connection that was last needed at 0 ms: the hold time is one second.
const HELD: Lease = Lease::Until(at(1000));

#[test]
fn a_lease_lasts_until_the_state_has_ended() {
    let cases = [
        ("EVAL x 0", "+OK|", HELD),
        ("MULTI", "+OK|", Lease::Needed),
        ("MULTI", "-NOPERM no|", HELD),
        ("MULTI;GET a;EXEC", "+OK|+QUEUED|*1|$-1|", HELD),
        ("MULTI;GET a;EXEC", "+OK|+QUEUED|*1|", Lease::Needed),
        ("MULTI;GET;EXEC", "+OK|-ERR wrong|-EXECABORT no|", HELD),
        ("MULTI;DISCARD", "+OK|+OK|", HELD),
        ("MULTI;GET a;DISCARD x", "+OK|+QUEUED|-ERR wrong|", Lease::Needed),
        ("WATCH a", "+OK|", Lease::Needed),
        ("WATCH a", "-NOPERM no|", HELD),
        ("WATCH a;UNWATCH", "+OK|+OK|", HELD),
        ("WATCH a;UNWATCH", "+OK|-NOPERM no|", Lease::Needed),
        ("WATCH a;MULTI;EXEC", "+OK|+OK|*0|", HELD),
        ("WATCH a;MULTI;EXEC", "+OK|+OK|*-1|", HELD),
        ("WATCH a;MULTI;EXEC", "+OK|+OK|-EXECABORT no|", HELD),
        ("WATCH a;MULTI;DISCARD", "+OK|+OK|+OK|", HELD),
        ("WATCH a;EXEC", "+OK|-ERR EXEC without MULTI|", Lease::Needed),
        ("WATCH a;DISCARD", "+OK|-ERR DISCARD without MULTI|", Lease::Needed),
        ("WATCH a;MULTI;UNWATCH;EXEC", "+OK|+OK|+QUEUED|*1|+OK|", HELD),
        ("MULTI;WATCH a;EXEC", "+OK|-ERR WATCH inside MULTI|-EXECABORT no|", HELD),
        ("BLPOP a 0", ":9|", Lease::Needed),
        ("BLPOP a 0", ":9|*-1|", HELD),
        ("MONITOR", "+OK|", Lease::Needed),
        ("MONITOR", "-NOPERM no|", HELD),
        ("CLIENT NO-EVICT ON", "+OK|", Lease::Needed),
        ("CLIENT NO-EVICT ON", "-ERR unknown subcommand|", HELD),
        ("CLIENT NO-EVICT ON;CLIENT NO-EVICT OFF", "+OK|+OK|", HELD),
        ("CLIENT NO-EVICT ON;CLIENT NO-EVICT OFF", "+OK|-NOPERM no|", Lease::Needed),
        ("MULTI;CLIENT NO-EVICT ON;EXEC", "+OK|+QUEUED|*1|+OK|", Lease::Needed),
        ("CLIENT TRACKING ON", "+OK|", Lease::Needed),
        ("CLIENT TRACKING ON;CLIENT TRACKING OFF", "+OK|+OK|", Lease::Needed),
        ("FOO", "-ERR unknown|", Lease::Needed),
        ("MULTI;SELECT 3;EXEC", "+OK|+QUEUED|*1|+OK|", Lease::Needed),
        ("EVAL x 0;GET a", "+OK|", Lease::Needed),
        ("EVAL x 0;SET a", "+OK|-ERR wrong|", HELD),
    ];
    for (commands, replies, lease) in cases {
        let mut rig = Rig::trust();
        rig.at(0);
        rig.commands(commands);
        rig.own(replies);
        assert_eq!(rig.lease(), lease, "{commands}: {replies}");
        rig.at(1000);
        assert_eq!(rig.simulated_client.given_back, u32::from(lease == HELD), "{commands}: {replies}");
        if lease == HELD {
            assert_eq!(rig.commands("GET a"), "pool: GET a", "{commands}: {replies}");
        }
    }
}

/// An incomplete command counts as a command.
#[test]
fn a_lease_does_not_end_in_the_middle_of_a_command() {
    let mut rig = Rig::leased();
    let ping = frames("EVAL y 0");
    assert_eq!(rig.bytes(&ping[..9]), "");
    rig.at(5000);
    assert_eq!((rig.lease(), rig.simulated_client.given_back), (Lease::Needed, 0));
    assert_eq!(rig.bytes(&ping[9..]), "own: EVAL y 0");
}

#[test]
fn a_lease_doubles_each_time_up_to_64_s() {
    let mut rig = Rig::trust();
    let mut now = 0;
    for seconds in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
        rig.at(now);
        rig.commands("BLPOP a 1");
        now += 10;
        rig.at(now);
        rig.own(":9|*-1|");
        let end = now + seconds * 1000;
        assert_eq!(rig.lease(), Lease::Until(at(end)), "the lease begins with the reply");
        rig.at(now + 500);
        rig.commands("GET a");
        rig.own("$-1|");
        assert_eq!(
            rig.lease(),
            Lease::Until(at(end)),
            "a command that could be shared does not extend the lease"
        );
        rig.at(end - 1);
        assert!(rig.simulated_client.linked);
        rig.at(end);
        assert!(!rig.simulated_client.linked, "after {seconds} s");
        now = end;
    }
    rig.at(now);
    rig.commands("EVAL x 0");
    rig.own("+OK|");
    rig.at(now + 63_000);
    rig.commands("BLPOP a 1");
    rig.own(":9|*-1|");
    assert_eq!(
        rig.lease(),
        Lease::Until(at(now + 127_000)),
        "a command that needs the connection extends the lease"
    );
}

#[test]
fn a_connection_with_messages_is_kept_by_the_caller() {
    let mut rig = Rig::trust();
    rig.at(0);
    rig.commands("SUBSCRIBE a");
    rig.own("*3|$9|subscribe|$1|a|:1|");
    assert_eq!(rig.lease(), HELD, "the session does not know of subscriptions");
    rig.at(1000);
    assert_eq!(
        (rig.lease(), rig.simulated_client.given_back),
        (Lease::Until(at(2000)), 0),
        "the link knows of subscriptions"
    );
    rig.at(1900);
    rig.commands("UNSUBSCRIBE");
    rig.own("*3|$11|unsubscribe|$1|a|:0|");
    rig.at(2900);
    assert_eq!(rig.simulated_client.given_back, 1);
    let mut rig = Rig::leased();
    if let Some(pooling) = rig.simulated_client.session.pooling_mut() {
        pooling.keep_lease(at(700));
    }
    assert_eq!(rig.lease(), Lease::Until(at(1700)));
}

#[test]
fn a_client_that_never_pauses_is_made_to() {
    let mut rig = Rig::leased();
    assert_eq!(rig.commands("GET a;GET b"), "own: GET a, GET b");
    rig.at(999);
    assert_eq!(rig.own("$1|a|"), "$1|a|");
    assert_eq!(rig.commands("GET c"), "own: GET c");
    rig.at(1000);
    assert_eq!(rig.commands("GET d;GET e"), "", "the gate sends nothing more there");
    assert_eq!((rig.simulated_client.waits, rig.lease()), (Some(Until::NothingPending), Lease::Needed));
    assert_eq!(rig.own("$1|b|"), "$1|b|");
    assert_eq!(rig.more(), "");
    assert_eq!(rig.own("$1|c|"), "$1|c|");
    assert_eq!((&*rig.more(), rig.simulated_client.given_back), ("pool: GET d, GET e", 1));
}

/// The caller may read nothing from a client that does not accept its replies, before it has written all of them.
#[test]
fn a_client_that_does_not_read_is_not_made_to_pause() {
    let mut rig = Rig::leased();
    assert_eq!(rig.commands("GET a"), "own: GET a");
    rig.at(1000);
    assert_eq!(rig.commands("GET b"), "");
    if let Some(pooling) = rig.simulated_client.session.pooling_mut() {
        pooling.put_off_return(at(1000));
    }
    rig.settle();
    assert_eq!(rig.more(), "own: GET b");
    assert_eq!(rig.own("$1|a|$1|b|"), "$1|a|$1|b|");
    assert_eq!((rig.lease(), rig.simulated_client.given_back), (Lease::Until(at(2000)), 0));
    if let Some(pooling) = rig.simulated_client.session.pooling_mut() {
        pooling.put_off_return(at(1500));
    }
    assert_eq!(rig.lease(), Lease::Until(at(2000)), "only a lease that is over is extended");
    rig.at(2000);
    assert_eq!(rig.simulated_client.given_back, 1);
}

/// The shared connection becomes the client's own. The pending replies come first, and all later commands go there.
#[test]
fn a_client_can_adopt_a_shared_connection() {
    let mut rig = Rig::trust();
    assert!(!rig.adopt(), "no reply is pending");
    assert_eq!(rig.commands("GET a;GET b"), "pool: GET a, GET b");
    // The transaction waits until no reply is pending, because it needs a connection of the client's own.
    assert_eq!(rig.commands("MULTI;GET c;EXEC"), "");
    if let Some(pooling) = rig.simulated_client.session.pooling_mut() {
        pooling.set_lagging();
    }
    rig.inbox = wire("$5|aa");
    assert!(rig.adopt());
    assert_eq!(rig.more(), "own: MULTI, GET c, EXEC");
    assert_eq!(rig.own("aaa|$1|b|+OK|+QUEUED|*1|$1|c|"), "$5|aaaaa|$1|b|+OK|+QUEUED|*1|$1|c|");
    assert_eq!(rig.lease(), HELD);
    rig.at(1000);
    assert_eq!((rig.simulated_client.given_back, &*rig.commands("GET d")), (1, "pool: GET d"));
    assert_eq!(rig.simulated_client.waits, None, "the client is not lagging any more");
}

#[test]
fn a_connection_with_replies_for_others_stays_shared() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a"), "pool: GET a");
    rig.pool.expect(Ticket { session: SessionKey(8), seq: 0 }, 1, Shape::One);
    assert!(!rig.adopt());
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("CLIENT REPLY SKIP"), "pool: CLIENT REPLY ON");
    assert!(!rig.adopt(), "the effect of the reply is not known yet");
}

#[test]
fn a_client_with_state_is_not_made_to_pause() {
    let cases = [("WATCH a", "+OK|"), ("MULTI", "+OK|"), ("FOO", "-ERR no|"), ("BLPOP b 0", "")];
    for (state, replies) in cases {
        let mut rig = Rig::trust();
        rig.at(0);
        rig.commands(state);
        rig.own(replies);
        rig.commands("GET a");
        rig.at(5000);
        assert_eq!(rig.commands("GET b"), "own: GET b", "{state}");
    }
}

#[test]
fn an_own_connection_is_set_up_with_the_gates_login() {
    let mut rig = Rig::new(plan(Auth::Trust, Some("secret")));
    assert_eq!(rig.commands("EVAL x 0;GET a"), "own: AUTH secret");
    assert_eq!(rig.simulated_client.waits, Some(Until::LoggedIn));
    assert_eq!(rig.lease(), Lease::Needed);
    assert_eq!(rig.own("+OK|"), "");
    assert_eq!(rig.more(), "own: EVAL x 0, GET a");
    rig.own(":1|$-1|");
    rig.at(1500);
    assert_eq!((rig.simulated_client.given_back, &*rig.commands("GET a")), (1, "pool: GET a"));
    assert!(rig.key.preamble.is_some());
}

#[test]
fn a_client_that_reads_too_slowly_gets_its_own_connection() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a"), "pool: GET a");
    if let Some(pooling) = rig.simulated_client.session.pooling_mut() {
        pooling.set_lagging();
    }
    assert_eq!(rig.commands("GET b"), "");
    assert_eq!(rig.simulated_client.waits, Some(Until::NothingPending));
    assert_eq!(rig.pool("$1|a|"), "$1|a|");
    assert_eq!(rig.more(), "own: GET b");
    assert_eq!(rig.own("$1|b|"), "$1|b|");
    assert_eq!(rig.lease(), HELD);
    rig.at(1000);
    assert_eq!(rig.commands("GET c"), "pool: GET c");
}
