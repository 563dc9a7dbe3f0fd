//! A reload ends a session that does something which the new rules forbid. Other sessions continue.

use std::sync::Arc;

use crate::client::{CloseReason, Standing};
use crate::tests::pair::{HELD_COMMAND, Pair, plan, show};
use crate::tests::users::rules;
use crate::{Auth, Plan};

fn under(acl: Option<&str>) -> Plan {
    plan(Auth::Trust, None).with_rules(rules(acl))
}

/// Applies these rules. Returns whether the session continues.
fn continues_under(pair: &mut Pair, acl: Option<&str>) -> bool {
    let plan = Arc::new(under(acl));
    let standing = pair.session.renew(pair.link.subscribed(), |_| Some(Arc::clone(&plan)));
    pair.settle();
    assert_eq!(pair.session.is_ending(), standing == Standing::Revoked);
    standing == Standing::Stays
}

/// Runs `commands` with their `replies` under `old`. Returns whether the session continues under `new`.
#[track_caller]
fn continues(old: Option<&str>, commands: &str, replies: &str, new: Option<&str>) -> bool {
    let mut pair = Pair::connected(under(old));
    pair.commands(commands);
    // The gate sends RESET after every reply to earlier commands.
    let (before, of_reset) = replies.split_at(replies.find("+RESET|").unwrap_or(replies.len()));
    pair.upstream(before);
    pair.more();
    pair.upstream(of_reset);
    assert!(!pair.desync && pair.fault.is_none(), "{commands}");
    let uses = pair.session.uses_rights(&pair.link);
    let stays = continues_under(&mut pair, new);
    assert!(uses || stays, "uses_rights must report a session that ends: {commands}");
    stays
}

fn confirmation(verb: &str, name: &str, count: u64) -> String {
    format!("*3|${}|{verb}|${}|{name}|:{count}|", verb.len(), name.len())
}

#[test]
fn a_monitor_ends_with_its_rule() {
    for (commands, replies) in [("MONITOR", "+OK|"), ("MONITOR", ""), ("GET a;MONITOR", "$-1|")] {
        assert!(!continues(None, commands, replies, Some("+@all -monitor")), "{commands} {replies}");
        assert!(continues(None, commands, replies, Some("+@all -flushall")));
        assert!(!continues(Some("+@all"), commands, replies, Some("@public")));
    }
    let no = "-NOPERM this user has no permissions to run the 'monitor' command|";
    assert!(continues(None, "MONITOR", no, Some("+@all -monitor")), "the client never monitored");
    assert!(continues(None, "MONITOR;RESET", "+OK|+RESET|", Some("+@all -monitor")));
    assert!(!continues(None, "MONITOR;RESET", "+OK|", Some("+@all -monitor")), "the client still monitors");
}

#[test]
fn a_subscription_ends_with_its_channel() {
    let ab = confirmation("subscribe", "a", 1) + &confirmation("subscribe", "b", 2);
    for old in [None, Some("+@all"), Some("+@all &a &b &c")] {
        for replies in ["", &ab[..20], &ab[..ab.len() / 2], &ab[..ab.len() - 1], &ab] {
            assert!(continues(old, "SUBSCRIBE a b", replies, Some("+@all &a &b")), "{replies}");
            assert!(continues(old, "SUBSCRIBE a b", replies, Some("+@all -flushall &?")), "{replies}");
            assert!(!continues(old, "SUBSCRIBE a b", replies, Some("+@all &a")), "{replies}");
            assert!(!continues(old, "SUBSCRIBE a b", replies, Some("+@all -subscribe")), "{replies}");
        }
    }
    let left = ab.clone() + &confirmation("unsubscribe", "b", 1);
    assert!(continues(None, "SUBSCRIBE a b;UNSUBSCRIBE b", &left, Some("+@all &a")));
    assert!(continues(None, "SUBSCRIBE a b;RESET", &(ab.clone() + "+RESET|"), Some("+@all -subscribe")));
    let all = ab + &confirmation("unsubscribe", "b", 1) + &confirmation("unsubscribe", "a", 0);
    assert!(continues(None, "SUBSCRIBE a b;UNSUBSCRIBE", &all, Some("+@all -subscribe")));
    let no = "-NOPERM No permissions to access a channel|";
    assert!(continues(None, "SUBSCRIBE a", no, Some("+@all -subscribe")), "Redis refused the subscription");
}

/// The rules compare patterns literally, and shard channels like channels.
#[test]
fn patterns_and_shard_channels_are_judged_again() {
    let news = confirmation("psubscribe", "news.*", 1);
    for (acl, stays) in [("&news.*", true), ("&news.* &x", true), ("&n*", false), ("&x", false), ("&*", true)]
    {
        let acl = format!("+@all {acl}");
        assert_eq!(continues(None, "PSUBSCRIBE news.*", &news, Some(&acl)), stays, "{acl}");
        assert_eq!(continues(None, "PSUBSCRIBE news.*", "", Some(&acl)), stays, "{acl}");
    }
    let shard = confirmation("ssubscribe", "s", 1);
    assert!(continues(None, "SSUBSCRIBE s", &shard, Some("+@all -subscribe &s")));
    assert!(!continues(None, "SSUBSCRIBE s", &shard, Some("+@all &t")));
    assert!(!continues(None, "SSUBSCRIBE s", &shard, Some("+@all -ssubscribe")));
    let gone = shard + &confirmation("sunsubscribe", "s", 0);
    assert!(
        continues(None, "SSUBSCRIBE s", &gone, Some("+@all &t")),
        "the slot of the channel has moved away"
    );
}

#[test]
fn subscriptions_in_resp3_are_judged_again() {
    let hello = "%1|$5|proto|:3|";
    let push = confirmation("subscribe", "a", 1).replace('*', ">");
    for (acl, stays) in [("+@all &a", true), ("+@all &b", false)] {
        let mut pair = Pair::connected(under(None));
        pair.commands("HELLO 3;SUBSCRIBE a");
        pair.upstream(hello);
        pair.upstream(&push);
        assert!(pair.fault.is_none());
        assert_eq!(continues_under(&mut pair, Some(acl)), stays, "{acl}");
    }
}

/// Some names are too long to be kept, or were in a frame that was not kept. The gate then compares the rules
/// themselves.
#[test]
fn an_unkept_subscription_continues_only_under_equal_or_wider_rights() {
    let long = "x".repeat(20 * 1024);
    let confirmed = confirmation("subscribe", &long, 1);
    for replies in ["", &confirmed] {
        let command = format!("SUBSCRIBE {long}");
        assert!(continues(None, &command, replies, None), "there are no rules");
        assert!(
            !continues(None, &command, replies, Some("+@all &*")),
            "the channel may be one of Redis's own"
        );
        assert!(!continues(None, &command, replies, Some("+@all &x*")));
        assert!(!continues(None, &command, replies, Some("+@all -subscribe")));
    }
    // The name of this subscription is still incomplete.
    let mut pair = Pair::connected(under(None));
    let start = format!("*2|$9|SUBSCRIBE|$30000|{}", "x".repeat(3 * HELD_COMMAND));
    assert_eq!(pair.client(&start), start);
    assert!(!continues_under(&mut pair, Some("+@all &a")));
    assert_eq!(pair.closed, Some(CloseReason::Revoked), "the rest is not awaited");
    // These rules are equal for channels.
    let mut pair = Pair::connected(under(Some("+@all &x*")));
    pair.commands(&format!("SUBSCRIBE {}", "x".repeat(3 * 1024)));
    for _ in 0..100 {
        pair.commands(&format!("SUBSCRIBE {}", "xy".repeat(1024)));
    }
    assert!(pair.session.held() < 100 * 1024);
    assert!(continues_under(&mut pair, Some("+@all -flushall &x* &y")));
    assert!(!continues_under(&mut pair, Some("+@all &xy*")));
}

#[test]
fn a_subscription_in_a_transaction_is_judged() {
    let a = confirmation("subscribe", "a", 1);
    let exec = format!("+OK|+QUEUED|*1|{a}");
    assert!(continues(None, "MULTI;SUBSCRIBE a;EXEC", &exec, Some("+@all &a")));
    assert!(!continues(None, "MULTI;SUBSCRIBE a;EXEC", &exec, Some("+@all &b")));
    assert!(
        !continues(None, "MULTI;SUBSCRIBE a;EXEC", "+OK|+QUEUED|", Some("+@all &b")),
        "the names of a queued SUBSCRIBE are not kept"
    );
    assert!(continues(
        Some("+@all &*"),
        "MULTI;SUBSCRIBE a;EXEC",
        "+OK|+QUEUED|",
        Some("+@all &* -flushall")
    ));
    assert!(continues(None, "MULTI;SUBSCRIBE a", "+OK|+QUEUED|", Some("+@all &b")), "EXEC fails");
    assert!(continues(None, "MULTI;SUBSCRIBE a;DISCARD", "+OK|+QUEUED|+OK|", Some("+@all &b")));
    let left = format!("{a}+OK|+QUEUED|*1|{}", confirmation("unsubscribe", "a", 0));
    assert!(continues(None, "SUBSCRIBE a;MULTI;UNSUBSCRIBE a;EXEC", &left, Some("+@all &b")));
    let kept = format!("{a}+OK|+QUEUED|+OK|");
    assert!(!continues(None, "SUBSCRIBE a;MULTI;UNSUBSCRIBE a;DISCARD", &kept, Some("+@all &b")));
}

#[test]
fn a_blocked_command_ends_with_its_rights() {
    let blpop = "BLPOP a b 0";
    for (commands, replies) in
        [(blpop, ""), ("PING;BLPOP a b 0;PING", "+PONG|"), ("PING;PING;BLPOP a b 0", "")]
    {
        for old in [None, Some("+@all ~*"), Some("+@all ~a ~b ~c")] {
            assert!(continues(old, commands, replies, Some("+@all -flushall ~a ~b")), "{commands}");
            assert!(continues(old, commands, replies, Some("+blpop +ping")), "{commands}");
            assert!(!continues(old, commands, replies, Some("+@all ~a")), "{commands}");
            assert!(!continues(old, commands, replies, Some("+@all -blpop")), "{commands}");
            assert!(!continues(old, commands, replies, Some("+@all %R~a %R~b")), "{commands}");
        }
    }
    assert!(continues(None, blpop, "*-1|", Some("+@all -blpop")), "the command is answered");
    let xread = "XREAD BLOCK 0 STREAMS s t $ $";
    assert!(continues(None, xread, "", Some("+@all %R~s %R~t")));
    assert!(!continues(None, xread, "", Some("+@all ~s")));
    assert!(
        continues(None, "XREAD STREAMS s $", "", Some("+@all -xread")),
        "without BLOCK the command does not wait"
    );
    let group = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >";
    assert!(continues(None, group, "", Some("+@all ~s")));
    assert!(!continues(None, group, "", Some("+@all -xreadgroup")));
}

#[test]
fn an_unkept_blocked_command_continues_only_under_equal_or_wider_rights() {
    let keys = "k ".repeat(3000);
    let blpop = format!("BLPOP {keys} 0");
    assert!(continues(None, &blpop, "", Some("+@all -flushall")));
    assert!(!continues(None, &blpop, "", Some("+@all ~k")), "the frame was too large to be kept");
    assert!(!continues(None, &blpop, "", Some("+@all -blpop")));
    // The gate keeps frames only up to a limit.
    let mut pair = Pair::connected(under(None));
    for _ in 0..1000 {
        pair.commands(&format!("BLPOP {} 0", "k".repeat(1000)));
    }
    assert!(pair.session.held() < 256 * 1024);
    assert!(continues_under(&mut pair, Some("+@all -flushall")));
    assert!(!continues_under(&mut pair, Some("+@all ~k*")));
}

#[test]
fn tracking_ends_with_its_rights() {
    let on = "CLIENT TRACKING ON OPTIN";
    for replies in ["", "+OK|"] {
        assert!(!continues(None, on, replies, Some("+@all -client|tracking")), "{replies}");
        assert!(
            !continues(None, on, replies, Some("+@all ~a*")),
            "{replies}: keys that were read before are still reported"
        );
        assert!(continues(None, on, replies, Some("+@all -flushall")), "{replies}");
        assert!(continues(Some("+@all ~a ~b"), on, replies, Some("+@all -flushall ~b ~c ~a")), "{replies}");
        assert!(!continues(Some("+@all ~a ~b"), on, replies, Some("+@all ~a")), "{replies}");
    }
    for replies in ["", "+OK|"] {
        let redirected = "CLIENT TRACKING ON REDIRECT 7";
        assert!(continues(None, redirected, replies, None), "{replies}");
        assert!(
            !continues(None, redirected, replies, Some("+@all -flushall")),
            "{replies}: the rules refuse it"
        );
    }
    let err = "-ERR Client tracking can be enabled only in RESP3 mode or when in REDIRECT mode|";
    let none = Some("+@all -client|tracking");
    assert!(continues(None, "CLIENT TRACKING ON", err, none), "tracking never was on");
    assert!(continues(None, "CLIENT TRACKING ON;CLIENT TRACKING OFF", "+OK|+OK|", none));
    assert!(!continues(None, "CLIENT TRACKING ON;CLIENT TRACKING OFF", "+OK|", none), "tracking still is on");
    assert!(continues(None, "CLIENT TRACKING ON;RESET", "+OK|+RESET|", none));
    assert!(!continues(None, "MULTI;CLIENT TRACKING ON;EXEC", "+OK|+QUEUED|*1|+OK|", none));
    assert!(!continues(
        None,
        "CLIENT TRACKING ON;MULTI;CLIENT TRACKING OFF;DISCARD",
        "+OK|+OK|+QUEUED|+OK|",
        none
    ));
    // Each frame adds prefixes. If a frame does not fit, the gate compares the rules.
    let mut pair = Pair::connected(under(Some("+@all")));
    for i in 0..100 {
        pair.commands(&format!("CLIENT TRACKING ON BCAST PREFIX {i}{}", "p".repeat(1000)));
        pair.upstream("+OK|");
    }
    assert!(pair.session.held() < 64 * 1024);
    assert!(continues_under(&mut pair, Some("+@all -flushall")));
}

#[test]
fn other_changes_of_rules_end_no_session() {
    for commands in ["GET a", "MULTI;SET a 1", "WATCH a", "EVAL x 0", "PUBLISH c m", "CLIENT LIST"] {
        assert!(continues(None, commands, "", Some("-@all +ping &nothing ~nothing")), "{commands}");
    }
}

/// Even for an incomplete frame, the subcommand decides whether the session waits for the rest.
#[test]
fn other_client_commands_are_forwarded_unchanged() {
    let mut pair = Pair::connected(under(None));
    let start = format!("*3|$6|CLIENT|$7|SETNAME|$30000|{}", "x".repeat(3 * HELD_COMMAND));
    assert_eq!(pair.client(&start), start);
    let mut pair = Pair::connected(under(None));
    let whole = "*4|$6|CLIENT|$8|TRACKING|$2|ON|$5|BCAST|";
    for cut in 1..whole.len() {
        let mut sent = pair.client(&whole[..cut]);
        sent += &pair.client(&whole[cut..]);
        assert_eq!((sent, &*show(&[])), (whole.to_owned(), ""), "cut at {cut}");
        assert_eq!(pair.upstream("+OK|"), "+OK|");
    }
}
