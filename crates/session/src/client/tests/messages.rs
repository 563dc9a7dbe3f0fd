//! Messages that the rules withhold from a client, and lists of channels of which the client gets only a part.

use std::sync::Arc;

use crate::link::{MAX_LISTED, MAX_WHOLE_REPLY, Unavailable};
use crate::tests::pair::{Pair, frames, plan, show, wire};
use crate::tests::users::rules;
use crate::{Auth, Denied, Standing};

const RESP3: &str = "%1|$5|proto|:3|";
const HELLO: &str = "*3|$7|message|$18|__sentinel__:hello|$1|x|";
const NEWS: &str = "*3|$7|message|$4|news|$1|x|";

fn under(acl: Option<&str>) -> Pair {
    Pair::connected(plan(Auth::Trust, None).with_rules(rules(acl)))
}

/// Creates a client that has subscribed to everything.
fn subscriber(acl: Option<&str>, resp3: bool) -> Pair {
    let mut pair = under(acl);
    if resp3 {
        pair.commands("HELLO 3");
        pair.upstream(RESP3);
    }
    pair.commands("PSUBSCRIBE *");
    let kind = if resp3 { '>' } else { '*' };
    let confirmation = format!("{kind}3|$10|psubscribe|$1|*|:1|");
    assert_eq!(pair.upstream(&confirmation), confirmation, "confirmed under any rules");
    pair
}

fn in_pieces(pair: &mut Pair, text: &str, size: usize) -> String {
    wire(text).chunks(size).map(|piece| pair.upstream_bytes(piece)).collect()
}

/// The test covers both versions of the protocol, messages of channels, patterns and shard channels, and any pieces.
#[test]
fn messages_of_sentinels_are_withheld_under_rules() {
    for resp3 in [false, true] {
        let of = |text: &str| if resp3 { text.replacen('*', ">", 1) } else { text.to_owned() };
        let control = [
            of(HELLO),
            of("*4|$8|pmessage|$1|*|$18|__sentinel__:hello|$1|x|"),
            of("*3|$8|smessage|$18|__sentinel__:hello|$1|x|"),
        ]
        .concat();
        let pattern = of("*4|$8|pmessage|$18|__sentinel__:hello|$4|news|$1|x|");
        let text = [&of(NEWS), &control, &pattern, &of(NEWS)].map(String::as_str).concat();
        let left = [&of(NEWS), &pattern, &of(NEWS)].map(String::as_str).concat();
        for size in [1, 2, 3, 7, 20, text.len() * 2] {
            assert_eq!(in_pieces(&mut subscriber(Some("@public"), resp3), &text, size), left, "by {size}");
            for open in [None, Some("+@all allchannels &__sentinel__:*")] {
                assert_eq!(in_pieces(&mut subscriber(open, resp3), &text, size), text, "{open:?} by {size}");
            }
        }
    }
}

#[test]
fn names_of_keys_are_withheld_under_key_patterns() {
    let event = "*4|$8|pmessage|$1|*|$20|__keyspace@0__:other|$3|del|";
    assert_eq!(subscriber(Some("@public ~app:*"), false).upstream(event), "");
    assert_eq!(subscriber(Some("@public"), false).upstream(event), event);
    assert_eq!(subscriber(Some("@public ~app:* allchannels &__key*"), false).upstream(event), event);
}

/// The client gets a reply even if it looks like a message.
#[test]
fn replies_are_not_filtered() {
    let mut pair = under(Some("@public"));
    pair.commands("LRANGE l 0 -1");
    assert_eq!(pair.upstream(HELLO), HELLO);
    let mut in_resp3 = subscriber(Some("@public"), true);
    in_resp3.commands("LRANGE l 0 -1;MULTI;LRANGE l 0 -1;EXEC");
    let replies = format!("{HELLO}+OK|+QUEUED|*1|{HELLO}");
    assert_eq!(in_resp3.upstream(&replies), replies);
}

/// In RESP3 a message may arrive between the elements of EXEC's array. It is withheld there as well.
#[test]
fn a_message_among_the_elements_of_exec_is_withheld() {
    let mut pair = subscriber(Some("@public"), true);
    pair.commands("MULTI;PING;PING;EXEC");
    let push = HELLO.replacen('*', ">", 1);
    let received = pair.upstream(&format!("+OK|+QUEUED|+QUEUED|*2|+PONG|{push}+PONG|"));
    assert_eq!(received, "+OK|+QUEUED|+QUEUED|*2|+PONG|+PONG|");
    assert!(pair.session.is_idle());
}

/// The pieces of a withheld message are dropped as they arrive. The client has received no part of a message, so the
/// gate's own replies need not wait.
#[test]
fn a_large_message_is_withheld_to_its_end() {
    let body = "y".repeat(3 * MAX_WHOLE_REPLY);
    let text = format!("*3|$7|message|$18|__sentinel__:hello|${}|{body}|", body.len());
    for size in [1000, 16 * 1024] {
        let mut pair = subscriber(Some("@public"), false);
        assert_eq!(in_pieces(&mut pair, &text, size), "");
        assert_eq!(pair.upstream(NEWS), NEWS);
        let half = &text[..text.len() / 2];
        assert_eq!(in_pieces(&mut pair, half, size), "");
        pair.commands("FLUSHALL");
        assert_eq!(pair.receive(), "-NOPERM User default has no permissions to run the 'flushall' command|");
        assert_eq!(in_pieces(&mut pair, &text[text.len() / 2..], size), "");
        assert_eq!(in_pieces(&mut pair, half, size), "");
        pair.commands("PING");
        pair.lose(Some(Unavailable::Timeout));
        assert_eq!(pair.receive(), "-ERR portcullis: upstream 'main' unavailable (timeout)|");
    }
}

/// A pattern may be so long that the channel does not arrive in time. A client with rules then does not get the
/// message.
#[test]
fn a_channel_that_comes_too_late_counts_as_closed() {
    let pattern = "*".repeat(2 * MAX_WHOLE_REPLY);
    let text = |channel: &str| {
        format!("*4|$8|pmessage|${}|{pattern}|${}|{channel}|$1|x|", pattern.len(), channel.len())
    };
    for channel in ["__sentinel__:hello", "news"] {
        let text = text(channel);
        assert_eq!(in_pieces(&mut subscriber(Some("@public"), false), &text, 16 * 1024), "");
        assert_eq!(in_pieces(&mut subscriber(None, false), &text, 16 * 1024), text);
    }
    // A long channel that certainly does not belong to Redis itself is delivered.
    let long = "c".repeat(2 * MAX_WHOLE_REPLY);
    let text = format!("*3|$7|message|${}|{long}|$1|x|", long.len());
    assert_eq!(in_pieces(&mut subscriber(Some("@public"), false), &text, 16 * 1024), text);
    let key = format!("__keyspace@0__:{long}");
    let text = format!("*3|$7|message|${}|{key}|$1|x|", key.len());
    assert_eq!(in_pieces(&mut subscriber(Some("@public ~app:*"), false), &text, 16 * 1024), "");
}

/// The rules in force at the start of a message hold until its end.
#[test]
fn a_reload_in_the_middle_of_a_message_affects_the_next_one() {
    let body = "y".repeat(2 * MAX_WHOLE_REPLY);
    for (channel, first, then) in
        [("__sentinel__:hello", None, Some("@public")), ("__sentinel__:hello", Some("@public"), None)]
    {
        let text = format!("*3|$7|message|${}|{channel}|${}|{body}|", channel.len(), body.len());
        let mut pair = subscriber(first, false);
        let mut received = in_pieces(&mut pair, &text[..text.len() / 2], 16 * 1024);
        let new = Arc::new(plan(Auth::Trust, None).with_rules(rules(then)));
        assert_eq!(pair.session.renew(pair.link.subscribed(), |_| Some(Arc::clone(&new))), Standing::Stays);
        received += &in_pieces(&mut pair, &text[text.len() / 2..], 16 * 1024);
        assert_eq!(received, if first.is_none() { text.clone() } else { String::new() });
        assert_eq!(pair.upstream(HELLO), if then.is_none() { HELLO } else { "" });
    }
}

const TENANT: &str = "@public ~app:* &app:*";

#[test]
fn only_channels_that_the_client_may_subscribe_to_are_listed() {
    for command in ["PUBSUB CHANNELS", "pubsub Channels *", "PUBSUB SHARDCHANNELS"] {
        for size in [1, 5, 1000] {
            let mut pair = under(Some(TENANT));
            assert_eq!(pair.commands(&format!("{command};PING")), show(&frames(&format!("{command};PING"))));
            let received =
                in_pieces(&mut pair, "*4|$5|app:1|$4|news|$18|__sentinel__:hello|$5|app:2|+PONG|", size);
            assert_eq!(received, "*2|$5|app:1|$5|app:2|+PONG|", "{command} by {size}");
            assert!(pair.session.is_idle());
        }
    }
    for rest in ["*0|", "-ERR no|"] {
        let mut pair = under(Some(TENANT));
        pair.commands("PUBSUB CHANNELS");
        assert_eq!(pair.upstream(rest), rest);
    }
    let mut open = under(Some("@public"));
    open.commands("PUBSUB CHANNELS");
    assert_eq!(open.upstream("*1|$4|news|"), "*1|$4|news|");
}

#[test]
fn a_list_that_cannot_be_filtered_is_not_passed_on() {
    let mut pair = under(Some(TENANT));
    let count = MAX_LISTED / 8;
    let list = format!("*{count}|{}", "$4|news|".repeat(count));
    assert!(list.len() > MAX_LISTED);
    pair.commands("PUBSUB CHANNELS;PING");
    let received = in_pieces(&mut pair, &format!("{list}+PONG|"), 16 * 1024);
    assert_eq!(
        received,
        "-ERR portcullis: too many channels to list here, name a pattern that fewer match|+PONG|"
    );
    assert!(pair.session.is_idle() && pair.session.held() < 2048);
    for odd in ["+OK|", ":1|", "*1|:1|", "*1|*1|$1|a|"] {
        let mut pair = under(Some(TENANT));
        pair.commands("PUBSUB CHANNELS");
        pair.upstream(odd);
        assert!(pair.desync, "{odd}");
    }
}

#[test]
fn a_list_of_channels_is_not_queued() {
    let mut pair = under(Some(TENANT));
    pair.commands("MULTI;PUBSUB CHANNELS");
    pair.upstream("+OK|");
    assert_eq!(pair.count.denied, [Denied::InTransaction]);
    pair.commands("EXEC");
    assert!(pair.upstream("+OK|").starts_with("-EXECABORT"));
    let mut counted = under(Some(TENANT));
    counted.commands("MULTI;PUBSUB NUMSUB app:1;PUBSUB NUMSUB news");
    let received = counted.upstream("+OK|+QUEUED|");
    assert_eq!(received, "+OK|+QUEUED|-NOPERM No permissions to access a channel|");
    let mut muted = under(Some(TENANT));
    muted.commands("CLIENT REPLY SKIP");
    muted.upstream("+OK|");
    muted.commands("PUBSUB CHANNELS;PING");
    assert_eq!(muted.upstream("*1|$5|app:1|+PONG|"), "+PONG|");
}
