use std::fmt::Write;

use crate::tests::pair::{HELD_COMMAND, Pair, frames, plan, show};
use crate::tests::users::rules;
use crate::{Auth, Denied};

const ABOVE: &str = "-ERR portcullis: COUNT above 10000 is not allowed here|";

fn sent(text: &str) -> String {
    show(&frames(text))
}

fn listener(acl: &str) -> Pair {
    Pair::connected(plan(Auth::Trust, None).with_rules(rules(Some(acl))))
}

#[test]
fn a_command_that_costs_too_much_is_not_forwarded() {
    let mut pair = listener("@public");
    let pipeline = "SCAN 0 COUNT 10;SCAN 0 COUNT 20;SCAN 0 COUNT 10001;SCAN 0 COUNT 10000;SPOP s 10001;GET a";
    assert_eq!(pair.commands(pipeline), sent("SCAN 0 COUNT 10;SCAN 0 COUNT 20;SCAN 0 COUNT 10000;GET a"));
    assert_eq!(pair.upstream("*0|*0|*0|$-1|"), format!("*0|*0|{ABOVE}*0|{ABOVE}$-1|"));
    assert_eq!(pair.count.denied, [Denied::Cost; 2]);
    assert_eq!(pair.client("SRANDMEMBER s -9223372036854775808|"), "", "as an inline command as well");
    assert_eq!(pair.receive(), ABOVE);
}

#[test]
fn other_rules_leave_cost_to_redis() {
    for acl in ["+@all", "+@all -@dangerous ~*"] {
        let mut pair = listener(acl);
        let dear = "SCAN 0 COUNT 1000000000;SRANDMEMBER s -3000000;SETRANGE k 536870911 x;LCS a b";
        assert_eq!(pair.commands(dear), sent(dear), "{acl}");
    }
}

#[test]
fn a_refusal_for_its_cost_spoils_a_transaction() {
    let mut pair = listener("@public");
    let sent_now = pair.commands("MULTI;SET a x;SETBIT a 4294967295 1;EXEC");
    assert_eq!(sent_now, sent("MULTI;SET a x"));
    let refused = "-ERR portcullis: a bit offset above 67108864 is not allowed here|";
    assert_eq!(pair.upstream("+OK|+QUEUED|"), format!("+OK|+QUEUED|{refused}"));
    assert_eq!(pair.more(), sent("DISCARD"));
    assert_eq!(pair.upstream("+OK|"), "-EXECABORT Transaction discarded because of previous errors.|");
}

/// No byte of a refused command is forwarded, wherever its frame is split.
#[test]
fn the_rest_of_a_cut_frame_is_awaited() {
    for line in
        ["SCAN 0 MATCH x COUNT 10001", "SPOP s 10001", "PSUBSCRIBE a a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*"]
    {
        let frame = sent(line);
        for cut in 1..frame.len() {
            let mut pair = listener("@public");
            let (begin, end) = frame.split_at(cut);
            assert_eq!(pair.client(begin) + &pair.client(end), "", "{line} cut at {cut}");
            let received = pair.receive();
            assert!(
                received.starts_with("-ERR portcullis: ") && received.matches('|').count() == 1,
                "{received}"
            );
            assert_eq!(pair.commands("GET a"), sent("GET a"));
        }
    }
}

/// SETRANGE is judged by its offset. The size of its value does not matter.
#[test]
fn a_value_behind_a_small_offset_is_forwarded_in_pieces() {
    let value = "x".repeat(10 * HELD_COMMAND);
    for (offset, is_forwarded) in [("8388608", true), ("8388609", false)] {
        let mut pair = listener("@public ~a*");
        let text = format!("*4|$8|SETRANGE|$1|a|$7|{offset}|${}|{value}|", value.len());
        let mut forwarded = String::new();
        for piece in text.as_bytes().chunks(1000) {
            write!(forwarded, "{}", pair.client(std::str::from_utf8(piece).unwrap())).unwrap();
            assert!(pair.client_input.len() < 1000 + 64);
        }
        assert_eq!(forwarded, if is_forwarded { text } else { String::new() });
        assert_eq!(pair.receive().starts_with("-ERR portcullis: an offset above 8388608"), !is_forwarded);
    }
}

/// Options beyond the limit on held bytes cannot be judged.
#[test]
fn a_frame_that_cannot_be_held_is_refused() {
    let mut pair = listener("@public");
    let element = "x".repeat(HELD_COMMAND);
    let text = format!("*5|$4|LPOS|$1|k|${}|{element}|$5|COUNT|$1|1|", element.len());
    for piece in text.as_bytes().chunks(1000) {
        assert_eq!(pair.client(std::str::from_utf8(piece).unwrap()), "");
    }
    assert_eq!(pair.receive(), "-ERR command too large to be checked|");
}

/// Names that the client holds already, or sends twice, do not count again.
#[test]
fn a_client_holds_a_limited_number_of_subscriptions() {
    const REFUSED: &str = "-ERR portcullis: more than 10000 subscriptions are not allowed here|";
    let holding = |channels| {
        let mut pair = listener("@public");
        pair.count.subscriptions.channels = channels;
        pair.count.subscriptions.shards = 1;
        pair
    };
    for (channels, command, fits) in [
        (9_998, "SUBSCRIBE a", true),
        (9_998, "SUBSCRIBE a b", false),
        (9_998, "SUBSCRIBE a a held", true),
        (9_999, "SUBSCRIBE held", true),
        (9_999, "PSUBSCRIBE a", false),
        (9_999, "SSUBSCRIBE a", false),
        (9_999, "UNSUBSCRIBE a", true),
    ] {
        let mut pair = holding(channels);
        assert_eq!(pair.commands(command) == sent(command), fits, "{channels} and {command}");
        assert_eq!(pair.receive(), if fits { "" } else { REFUSED });
    }
    let mut pair = holding(9_998);
    assert_eq!(pair.commands("SUBSCRIBE a;SUBSCRIBE b"), sent("SUBSCRIBE a"), "the first may be refused");
    pair.count.subscriptions.channels = 9_999;
    assert_eq!(pair.upstream("*3|$9|subscribe|$1|a|:9999|"), format!("*3|$9|subscribe|$1|a|:9999|{REFUSED}"));
    assert_eq!(pair.count.denied, [Denied::Subscriptions]);
    assert_eq!(pair.count.rules, ["subscribe limits.subscriptions None"]);
}

#[test]
fn queued_subscriptions_count() {
    let mut pair = listener("@public");
    pair.count.subscriptions.channels = 9_999;
    pair.commands("MULTI;SUBSCRIBE a;SUBSCRIBE b;EXEC");
    let received = pair.upstream("+OK|+QUEUED|");
    assert_eq!(received, "+OK|+QUEUED|-ERR portcullis: more than 10000 subscriptions are not allowed here|");
    assert_eq!(pair.more(), sent("DISCARD"));
    assert!(pair.upstream("+OK|").starts_with("-EXECABORT"));
}

#[test]
fn other_rules_leave_the_number_of_subscriptions_to_redis() {
    for acl in [None, Some("+@all")] {
        let mut pair = Pair::connected(plan(Auth::Trust, None).with_rules(rules(acl)));
        pair.count.subscriptions.channels = 1_000_000;
        assert_eq!(pair.commands("SUBSCRIBE a"), sent("SUBSCRIBE a"));
    }
}
