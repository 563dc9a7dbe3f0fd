use std::sync::Arc;

use crate::Loss::{Closed, Unavailable as Fails};
use crate::client::{Aftermath, CloseReason};
use crate::link::Unavailable;
use crate::tests::pair::{Pair, frames, plan, show};
use crate::tests::users::rules;
use crate::{Auth, Loss, Until};

const IN_FLIGHT: &str =
    "-ERR portcullis: upstream 'main' closed the connection; this command may or may not have run|";

/// Creates a connected client whose session may outlive its connection.
fn carried() -> Pair {
    Pair::connected(plan(Auth::Trust, None).carried())
}

fn sent(text: &str) -> String {
    show(&frames(text))
}

/// Returns the line with which a session ends that something binds to its connection.
fn ends(bond: &str) -> String {
    format!("-ERR portcullis: upstream 'main' closed the connection; this session ends ({bond})|")
}

#[test]
fn an_idle_session_goes_on_and_connects_again_for_the_next_command() {
    let mut pair = carried();
    pair.commands("GET a");
    pair.upstream("$-1|");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    assert_eq!((&*pair.receive(), pair.closed, pair.wants_link), ("", None, false));
    assert!(!pair.session.connects_early(), "only a command connects again");
    assert_eq!(pair.commands("GET b"), "");
    assert_eq!(pair.waits, Some(Until::Linked));
    assert_eq!(pair.reconnect(), sent("GET b"));
    assert_eq!(pair.upstream("$1|x|"), "$1|x|");
}

#[test]
fn a_client_that_kills_its_connection_ends_with_it() {
    for (line, answer, last) in [
        ("CLIENT KILL ID 7 SKIPME no", ":1|", String::new()),
        // Another command is in flight.
        ("CLIENT KILL ID 7;GET a", ":0|", ends("client|kill")),
    ] {
        let mut pair = carried();
        pair.commands(line);
        assert_eq!(pair.upstream(answer), answer);
        assert_eq!(pair.lose_connection(Closed), Aftermath::Ended, "{line}");
        assert_eq!(pair.receive(), last, "{line}");
    }
}

#[test]
fn the_next_connection_is_set_up_in_one_write_before_the_commands() {
    let mut pair = Pair::connected(plan(Auth::Trust, Some("secret")).carried());
    pair.upstream("+OK|");
    let setup = "HELLO 3 SETNAME me;SELECT 3;CLIENT SETINFO lib-name x;CLIENT SETINFO LIB-VER 1.2;\
                 CLIENT NO-EVICT ON;CLIENT NO-TOUCH on;CLIENT NO-EVICT OFF";
    pair.commands(setup);
    pair.upstream("%1|+role|+master|+OK|+OK|+OK|+OK|+OK|+OK|");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    pair.commands("GET a");
    let restored = "AUTH secret;HELLO 3;SELECT 3;CLIENT SETNAME me;CLIENT SETINFO LIB-NAME x;\
                    CLIENT SETINFO LIB-VER 1.2;CLIENT NO-TOUCH ON";
    assert_eq!(pair.reconnect(), sent(restored));
    assert_eq!(pair.upstream("+OK|%0|+OK|+OK|-ERR no|-ERR no|"), "");
    assert_eq!(pair.more(), "", "the last step has no answer yet");
    assert_eq!(pair.upstream("-ERR unknown|"), "", "names and modes are not needed");
    assert_eq!(pair.more(), sent("GET a"));
    assert_eq!(pair.upstream("$-1|"), "$-1|");
    assert!(pair.link.is_resp3());
}

#[test]
fn reset_and_refused_commands_leave_nothing_to_set_up() {
    let mut pair = carried();
    pair.commands("HELLO 3;SELECT 3;CLIENT SETNAME me;CLIENT NO-EVICT ON");
    pair.upstream("%0|+OK|+OK|+OK|");
    pair.commands("RESET");
    pair.upstream("+RESET|");
    pair.commands("HELLO 3 SETNAME x;SELECT 99;CLIENT SETNAME you;CLIENT NO-TOUCH ON");
    pair.upstream("-NOPROTO|-ERR out of range|-ERR|-ERR|");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    pair.commands("GET a");
    assert_eq!(pair.reconnect(), sent("GET a"));
}

#[test]
fn each_command_in_flight_reads_one_error_in_its_place() {
    let mut pair = carried();
    pair.commands("GET a;GET b;SELECT 3;BLPOP l 0;SUBSCRIBE a b");
    assert_eq!(pair.upstream("$-1|"), "$-1|");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    assert_eq!(pair.receive(), IN_FLIGHT.repeat(4));
    // A SELECT without its +OK did not change the database.
    pair.commands("GET c");
    assert_eq!(pair.reconnect(), sent("GET c"));
    assert_eq!(pair.upstream("$-1|"), "$-1|");
}

#[test]
fn errors_obey_client_reply() {
    let mut pair = carried();
    pair.commands("CLIENT REPLY SKIP");
    pair.upstream("+OK|");
    pair.commands("GET a;GET b");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    assert_eq!(pair.receive(), IN_FLIGHT);
    pair.commands("CLIENT REPLY OFF");
    pair.reconnect();
    pair.upstream("+OK|");
    pair.commands("GET a");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    assert_eq!(pair.receive(), "");
    pair.commands("GET b");
    pair.reconnect();
    assert_eq!(pair.upstream("$-1|"), "", "replies are still off");
}

#[test]
fn commands_before_the_loss_keep_the_place_of_their_replies() {
    let mut pair = Pair::connected(plan(Auth::Trust, None).with_rules(rules(Some("+get"))).carried());
    pair.commands("GET a;SET a 1;GET b");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    let received = pair.receive();
    let refused = received.strip_prefix(IN_FLIGHT).and_then(|rest| rest.strip_suffix(IN_FLIGHT)).unwrap();
    assert!(refused.starts_with("-NOPERM"), "{received}");
}

#[test]
fn the_rest_of_a_command_in_flight_is_discarded() {
    let long = "v".repeat(100_000);
    let set = frames(&format!("SET a {long}"));
    let mut pair = carried();
    let (head, tail) = set.split_at(50_000);
    pair.client_bytes(head);
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    assert_eq!(pair.receive(), IN_FLIGHT);
    assert_eq!(pair.client_bytes(tail), "");
    assert!(!pair.wants_link);
    pair.commands("GET a");
    assert_eq!(pair.reconnect(), sent("GET a"));
    assert_eq!(pair.upstream("$-1|"), "$-1|");
}

#[test]
fn state_of_the_connection_ends_the_session_with_one_line() {
    for (commands, replies, bond) in [
        ("MULTI", "+OK|", "multi"),
        ("WATCH a", "+OK|", "watch"),
        ("WATCH a;MULTI;EXEC;WATCH b", "+OK|+OK|*0|+OK|", "watch"),
        ("HELLO 3;CLIENT TRACKING ON", "%0|+OK|", "client|tracking"),
        ("SCRIPT LOAD x", "$1|x|", "script|load"),
        ("MULTI;SCRIPT LOAD x;EXEC", "+OK|+QUEUED|*1|$1|x|", "script|load"),
        ("READONLY", "+OK|", "readonly"),
        ("DEBUG JMAP", "+OK|", "debug"),
        ("CLIENT CACHING YES", "+OK|", "client|caching"),
        ("MULTI;SELECT 3;EXEC", "+OK|+QUEUED|*1|+OK|", "select"),
        ("NEW.COMMAND", "+OK|", "an unknown command"),
    ] {
        let mut pair = carried();
        pair.commands(commands);
        pair.upstream(replies);
        assert!(!pair.session.has_pending(), "{commands}");
        assert_eq!(pair.lose_connection(Closed), Aftermath::Ended, "{commands}");
        assert_eq!((&*pair.receive(), pair.closed), (&*ends(bond), Some(CloseReason::Upstream(None))));
    }
}

/// A client that only listens takes a line for an unexpected reply. Its library subscribes again after the close.
#[test]
fn a_client_that_only_listens_reads_no_line() {
    for (commands, replies, bond) in [
        ("MONITOR", "+OK|", "monitor"),
        ("SUBSCRIBE a", "*3|$9|subscribe|$1|a|:1|", "subscriptions"),
        ("HELLO 3;PSUBSCRIBE a*", "%0|>3|$10|psubscribe|$2|a*|:1|", "subscriptions"),
    ] {
        for (in_flight, last) in [("", String::new()), ("PING", ends(bond))] {
            let mut pair = carried();
            pair.commands(commands);
            pair.upstream(replies);
            pair.commands(in_flight);
            assert_eq!(pair.lose_connection(Closed), Aftermath::Ended, "{commands}");
            assert_eq!((pair.receive(), pair.closed), (last, Some(CloseReason::Upstream(None))));
        }
    }
}

#[test]
fn state_that_has_ended_binds_no_more() {
    for (commands, replies) in [
        ("MULTI;SET a 1;EXEC", "+OK|+QUEUED|*1|+OK|"),
        ("MULTI;DISCARD", "+OK|+OK|"),
        ("WATCH a;UNWATCH", "+OK|+OK|"),
        ("WATCH a;MULTI;EXEC", "+OK|+OK|*0|"),
        ("MULTI", "-ERR not now|"),
        ("WATCH a", "-ERR no|"),
        ("MONITOR", "-NOPERM|"),
        ("CLIENT TRACKING ON;CLIENT TRACKING OFF", "+OK|+OK|"),
        ("SUBSCRIBE a;UNSUBSCRIBE", "*3|$9|subscribe|$1|a|:1|*3|$11|unsubscribe|$1|a|:0|"),
        ("EVALSHA x 0;CLIENT PAUSE 1;SCRIPT EXISTS x", "-NOSCRIPT|+OK|*1|:0|"),
    ] {
        let mut pair = carried();
        pair.commands(commands);
        pair.upstream(replies);
        assert!(!pair.session.has_pending(), "{commands}");
        assert_eq!(pair.lose_connection(Closed), Aftermath::Carried, "{commands}");
    }
}

/// Two digests, as SCRIPT LOAD returns them.
const DIGESTS: [&str; 2] =
    ["0123456789012345678901234567890123456789", "abcdefabcdabcdefabcdabcdefabcdabcdefabcd"];

/// Creates a client that has loaded two scripts, one of them twice.
fn with_scripts() -> Pair {
    let mut pair = carried();
    let [one, other] = DIGESTS;
    assert_eq!(pair.commands("SCRIPT LOAD a;SCRIPT LOAD b;SCRIPT LOAD a;SCRIPT LOAD x"), sent_scripts());
    let replies = format!("$40|{one}|$40|{other}|$40|{one}|-ERR compiling|");
    assert_eq!(pair.upstream(&replies), replies);
    pair
}

fn sent_scripts() -> String {
    sent("SCRIPT LOAD a;SCRIPT LOAD b;SCRIPT LOAD a;SCRIPT LOAD x")
}

/// The connection was lost, and the server still has the scripts.
#[test]
fn a_session_with_scripts_goes_on_if_the_server_has_them() {
    let mut pair = with_scripts();
    for _ in 0..2 {
        assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
        pair.commands("GET a");
        assert_eq!(pair.reconnect(), sent(&format!("SCRIPT EXISTS {}", DIGESTS.join(" "))));
        assert_eq!((pair.upstream("*2|:1|:1|"), pair.more()), (String::new(), sent("GET a")));
        assert_eq!(pair.upstream("$-1|"), "$-1|");
    }
    // Scripts that the client has dropped are not missed.
    pair.commands("SCRIPT FLUSH");
    pair.upstream("+OK|");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    pair.commands("GET a");
    assert_eq!(pair.reconnect(), sent("GET a"));
}

/// Another server, one that was restarted, or one whose ACL forbids the question.
#[test]
fn a_session_with_scripts_ends_if_the_server_may_not_have_them() {
    for reply in ["*2|:1|:0|", "*2|:0|:0|", "-NOPERM no|", "*1|:1|"] {
        let mut pair = with_scripts();
        assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
        pair.commands("EVALSHA x 0");
        pair.reconnect();
        assert_eq!(
            pair.upstream(reply),
            "-ERR portcullis: upstream 'main' no longer has the scripts of SCRIPT LOAD; this session ends \
             (script|load)|",
            "{reply}"
        );
        assert_eq!((&*pair.more(), pair.closed), ("", Some(CloseReason::Upstream(None))));
    }
}

/// A client that has sent EXEC knows from its error that no transaction is open any more.
#[test]
fn a_transaction_in_flight_as_a_whole_does_not_bind() {
    let mut pair = carried();
    pair.commands("MULTI;SET a 1;EXEC;GET a");
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    assert_eq!(pair.receive(), IN_FLIGHT.repeat(3));
    pair.commands("MULTI");
    assert_eq!(pair.reconnect(), sent("MULTI"));
    assert_eq!(pair.upstream("+OK|"), "+OK|");
}

#[test]
fn a_session_ends_without_a_word_in_the_middle_of_a_reply_and_after_shutdown() {
    for (command, half) in [("GET a", "$10|half"), ("SHUTDOWN", "")] {
        let mut pair = carried();
        pair.commands(command);
        assert_eq!(pair.upstream(half), half);
        assert_eq!(pair.lose_connection(Closed), Aftermath::Ended);
        assert_eq!((&*pair.receive(), pair.closed), ("", Some(CloseReason::Upstream(None))));
    }
}

#[test]
fn the_first_line_of_a_bound_session_is_the_last() {
    let mut pair = carried();
    pair.commands("MULTI;SET a 1;SET b 1");
    assert_eq!(pair.upstream("+OK|+QUEUED|"), "+OK|+QUEUED|");
    let loss = Fails(Unavailable::Timeout);
    assert_eq!(pair.lose_connection(loss), Aftermath::Ended);
    let line = "-ERR portcullis: upstream 'main' unavailable (timeout); this session ends (multi)|";
    assert_eq!(
        (&*pair.receive(), pair.closed),
        (line, Some(CloseReason::Upstream(Some(Unavailable::Timeout))))
    );
}

#[test]
fn other_sessions_end_as_without_continuity() {
    for plan in [plan(Auth::Passthrough, None).carried(), plan(Auth::Trust, None)] {
        let mut pair = Pair::connected(plan);
        pair.commands("GET a;GET b");
        assert_eq!(pair.lose_connection(Fails(Unavailable::Timeout)), Aftermath::Ended);
        assert_eq!(pair.receive(), "-ERR portcullis: upstream 'main' unavailable (timeout)|");
    }
    for why in [Unavailable::Auth, Unavailable::Tls] {
        let mut pair = Pair::new(plan(Auth::Trust, None).carried());
        pair.commands("GET a");
        assert_eq!(pair.lose_connection(Fails(why)), Aftermath::Ended);
        let line = format!("-ERR portcullis: upstream 'main' unavailable ({})|", why.as_str());
        assert_eq!(pair.receive(), line);
    }
}

#[test]
fn commands_that_waited_too_long_get_an_error_and_later_ones_wait_again() {
    let mut pair = Pair::new(plan(Auth::Trust, None).carried());
    pair.commands("GET a;MULTI;QUIET");
    assert_eq!(pair.waits, Some(Until::Linked));
    assert_eq!(pair.lose_connection(Fails(Unavailable::Refused)), Aftermath::Carried);
    assert_eq!(pair.receive(), "", "they may wait");
    pair.session.continuity().fail(Unavailable::Refused);
    pair.settle();
    let line = "-ERR portcullis: upstream 'main' unavailable (refused)|";
    assert_eq!(pair.receive(), line.repeat(3));
    pair.session.continuity().recover();
    pair.commands("GET b");
    assert_eq!(pair.receive(), "");
    assert_eq!(pair.reconnect(), sent("GET b"));
    assert_eq!(pair.upstream("$-1|"), "$-1|");
}

#[test]
fn a_login_that_gets_no_answer_is_repeated_on_the_next_connection() {
    let mut pair = Pair::new(plan(Auth::Trust, Some("secret")).carried());
    pair.commands("GET a");
    assert_eq!(pair.reconnect(), sent("AUTH secret"));
    assert_eq!(pair.lose_connection(Fails(Unavailable::Timeout)), Aftermath::Carried);
    assert_eq!((&*pair.receive(), pair.closed), ("", None));
    assert_eq!(pair.reconnect(), sent("AUTH secret"));
    assert_eq!(pair.upstream("+OK|"), "");
    assert_eq!(pair.more(), sent("GET a"));
}

#[test]
fn a_refused_database_ends_the_session() {
    let mut pair = carried();
    pair.commands("SELECT 3;CLIENT SETNAME me");
    pair.upstream("+OK|+OK|");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    pair.commands("GET a");
    assert_eq!(pair.reconnect(), sent("SELECT 3;CLIENT SETNAME me"));
    assert_eq!(pair.upstream("-ERR DB index is out of range|+OK|"), refused("SELECT 3"));
    assert_eq!((&*pair.more(), pair.closed), ("", Some(CloseReason::Upstream(None))));
}

fn refused(command: &str) -> String {
    format!("-ERR portcullis: upstream 'main' refused {command}; this session ends|")
}

#[test]
fn a_reload_that_ends_continuity_ends_the_session_with_its_connection() {
    let mut pair = carried();
    pair.commands("GET a");
    let renewed = Arc::new(plan(Auth::Trust, None));
    let _ = pair.session.renew(pair.link.subscribed(), |_| Some(Arc::clone(&renewed)));
    let renewed = Arc::new(plan(Auth::Trust, None).carried());
    let _ = pair.session.renew(pair.link.subscribed(), |_| Some(Arc::clone(&renewed)));
    assert_eq!(pair.lose_connection(Closed), Aftermath::Ended, "some state was not followed");
}

/// Creates a client whose server must say that it is a master, without a connection.
fn of_sentinel() -> Pair {
    Pair::new(plan(Auth::Trust, Some("secret")).carried().asking_role())
}

const MASTER: &str = "*2|$4|role|$6|master|";
const REPLICA: &str = "*2|$4|role|$5|slave|";

#[test]
fn no_command_is_sent_before_the_server_says_that_it_is_a_master() {
    let mut pair = of_sentinel();
    pair.commands("GET a");
    assert_eq!(pair.reconnect(), sent("AUTH secret;HELLO 2"));
    assert_eq!((pair.upstream("+OK|"), pair.more()), (String::new(), String::new()));
    assert_eq!((pair.upstream(MASTER), pair.more()), (String::new(), sent("GET a")));
}

/// A server older than HELLO, one whose ACL forbids it, and a proxy that says no role there.
const WITHOUT_ROLE: [&str; 3] = ["-ERR unknown command|", "-NOPERM no|", "*2|$5|proto|:2|"];

#[test]
fn a_server_that_says_no_role_to_hello_is_asked_with_role() {
    for hello in WITHOUT_ROLE {
        for role in
            ["*3|$6|master|:0|*1|*3|$9|127.0.0.1|$4|6380|$1|9|", "-NOPERM no|", "*2|$8|sentinel|*0|", "$-1|"]
        {
            let mut pair = of_sentinel();
            pair.commands("GET a");
            pair.reconnect();
            assert_eq!((pair.upstream(&format!("+OK|{hello}")), pair.more()), (String::new(), sent("ROLE")));
            assert_eq!((pair.upstream(role), pair.more()), (String::new(), sent("GET a")), "{hello} {role}");
            assert!(!pair.misled);
        }
    }
}

#[test]
fn a_replica_that_says_it_only_to_role_gets_no_command() {
    for hello in WITHOUT_ROLE {
        let mut pair = of_sentinel();
        pair.commands("GET a");
        pair.reconnect();
        assert_eq!((pair.upstream(&format!("+OK|{hello}")), pair.more()), (String::new(), sent("ROLE")));
        assert_eq!(pair.upstream("*5|$5|slave|$9|127.0.0.1|:6379|$9|connected|:1|"), "");
        assert!(pair.misled && pair.closed.is_none());
        assert_eq!(pair.more(), "");
        // The next server is asked in the same way.
        assert_eq!(pair.reconnect(), sent("AUTH secret;HELLO 2"));
        pair.upstream(&format!("+OK|{MASTER}"));
        assert_eq!(pair.more(), sent("GET a"));
    }
}

/// The steps of the set-up are sent in one write, and ROLE follows them.
#[test]
fn role_follows_the_other_steps() {
    let mut pair = of_sentinel();
    pair.commands("SELECT 3");
    pair.reconnect();
    pair.upstream(&format!("+OK|{MASTER}"));
    pair.more();
    pair.upstream("+OK|");
    assert_eq!(pair.lose_connection(Closed), Aftermath::Carried);
    pair.commands("GET a");
    assert_eq!(pair.reconnect(), sent("AUTH secret;HELLO 2;SELECT 3"));
    assert_eq!((pair.upstream("+OK|-ERR unknown command|"), pair.more()), (String::new(), sent("ROLE")));
    assert_eq!((pair.upstream("+OK|"), pair.more()), (String::new(), String::new()));
    assert_eq!((pair.upstream("*3|$6|master|:0|*0|"), pair.more()), (String::new(), sent("GET a")));
}

#[test]
fn a_replica_gets_no_command() {
    let mut pair = of_sentinel();
    pair.commands("GET a");
    pair.reconnect();
    assert_eq!(pair.upstream(&format!("+OK|{REPLICA}")), "");
    assert!(pair.misled && pair.closed.is_none());
    assert_eq!(pair.more(), "");
    assert_eq!(pair.reconnect(), sent("AUTH secret;HELLO 2"));
    pair.upstream(&format!("+OK|{MASTER}"));
    assert_eq!(pair.more(), sent("GET a"));
}

/// Returns a client of a Sentinel upstream, connected and with BLPOP in flight.
fn blocked() -> Pair {
    let mut pair = of_sentinel();
    pair.commands("BLPOP l 0");
    pair.reconnect();
    pair.upstream(&format!("+OK|{MASTER}"));
    assert_eq!(pair.more(), sent("BLPOP l 0"));
    pair
}

const BY_FAILOVER: &str =
    "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)|";

#[test]
fn a_blocking_command_that_a_failover_ended_is_sent_again() {
    let mut pair = blocked();
    assert_eq!(pair.upstream(BY_FAILOVER), "");
    assert!(pair.misled);
    assert_eq!((&*pair.receive(), pair.waits), ("", Some(Until::Linked)));
    pair.commands("GET a");
    assert_eq!(pair.reconnect(), sent("AUTH secret;HELLO 2"));
    pair.upstream(&format!("+OK|{MASTER}"));
    assert_eq!(pair.more(), sent("BLPOP l 0;GET a"));
    assert_eq!(pair.upstream("*2|$1|l|$1|x|$-1|"), "*2|$1|l|$1|x|$-1|");
}

#[test]
fn other_ends_of_a_blocking_command_are_passed_on() {
    for (commands, reply) in [
        ("", "-UNBLOCKED client unblocked via CLIENT UNBLOCK|"),
        ("", "-WRONGTYPE no|"),
        // The order of the commands must not change.
        ("GET a", BY_FAILOVER),
    ] {
        let mut pair = blocked();
        if !commands.is_empty() {
            pair.commands(commands);
        }
        assert_eq!(pair.upstream(reply), reply);
    }
    let mut pair = carried();
    pair.commands("BLPOP l 0");
    assert_eq!(pair.upstream(BY_FAILOVER), BY_FAILOVER, "no view will name another server");
}

#[test]
fn a_blocking_command_that_finds_no_master_gets_an_error() {
    let mut pair = blocked();
    pair.upstream(BY_FAILOVER);
    pair.session.continuity().fail(Unavailable::Timeout);
    pair.settle();
    assert_eq!(pair.receive(), "-ERR portcullis: upstream 'main' unavailable (timeout)|");
}

#[test]
fn after_a_switch_each_command_in_flight_reads_that_the_master_changed() {
    let mut pair = carried();
    pair.commands("GET a;INCR b");
    assert_eq!(pair.lose_connection(Loss::MasterChanged), Aftermath::Carried);
    let line = "-ERR portcullis: upstream 'main' changed its master; this command may or may not have run|";
    assert_eq!(pair.receive(), line.repeat(2));
}
