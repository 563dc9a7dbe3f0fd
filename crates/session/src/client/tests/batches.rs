use crate::Auth;
use crate::client::CloseReason;
use crate::tests::pair::{Count, Pair, frames, plan, show};
use crate::tests::users::rules;

/// Creates a client whose commands are forwarded together, because the upstream has answered before.
fn batching() -> Pair {
    let mut pair = Pair::passthrough();
    pair.client_bytes(&frames("PING"));
    pair.upstream("+PONG|");
    pair.count = Count::default();
    pair
}

#[test]
fn commands_of_one_name_are_counted_together_and_forwarded_with_the_others() {
    let mut pair = batching();
    let commands = frames("GET a;get b;SET a 1;GET a;GET b;GET c");
    assert_eq!(pair.client_bytes(&commands), show(&commands));
    assert_eq!(pair.count.batches, [("get", 2), ("set", 1), ("get", 3)]);
    for left in (0..6).rev() {
        assert!(!pair.session.is_idle());
        pair.upstream("$-1|");
        assert_eq!(pair.count.answered, 6 - left);
    }
    assert!(pair.session.is_idle());
}

/// The arguments of a command that begins like the one before it are judged like those of any other.
#[test]
fn each_command_of_a_batch_is_judged_by_its_own_keys() {
    let rules = rules(Some("+@all ~app:*"));
    let mut pair = Pair::connected(plan(Auth::Trust, None).with_rules(rules));
    pair.client_bytes(&frames("PING"));
    pair.upstream("+PONG|");
    pair.count = Count::default();
    let sent = pair.client_bytes(&frames("GET app:1;GET app:2;GET x;GET app:3;GET app:4"));
    assert_eq!(sent, show(&frames("GET app:1;GET app:2;GET app:3;GET app:4")));
    assert_eq!(pair.count.batches, [("get", 2), ("get", 1), ("get", 2)]);
    let refusal = "-NOPERM No permissions to access a key|";
    assert_eq!(pair.upstream("$-1|$1|2|$1|3|$-1|"), format!("$-1|$1|2|{refusal}$1|3|$-1|"));
    assert!(pair.session.is_idle());
}

/// A batch ends with the bytes of one read, wherever the read ends.
#[test]
fn a_batch_may_be_cut_anywhere() {
    let commands = frames("GET a;GET bb;GET ccc;GET a b");
    for cut in 0..commands.len() {
        let mut pair = batching();
        let sent = [pair.client_bytes(&commands[..cut]), pair.client_bytes(&commands[cut..])].concat();
        assert_eq!(sent, show(&commands), "cut at {cut}");
        assert_eq!(pair.count.commands, 4);
        let replies = "$1|a|$2|bb|$-1|-ERR wrong number|";
        assert_eq!(pair.upstream(replies), replies);
        assert!(pair.session.is_idle());
    }
}

/// The last command has begun and is incomplete; it counts with the commands before it.
#[test]
fn an_incomplete_command_ends_a_batch() {
    let mut pair = batching();
    let mut commands = frames("GET a;SET b 1");
    commands.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$70000\r\n");
    commands.resize(commands.len() + 30_000, b'x');
    assert_eq!(pair.client_bytes(&commands), show(&commands));
    assert_eq!(pair.count.batches, [("get", 1), ("set", 2)]);
    pair.upstream("$-1|+OK|");
    assert!(!pair.session.is_idle(), "the third reply is pending");
    let mut rest = vec![b'x'; 40_000];
    rest.extend_from_slice(b"\r\n");
    pair.client_bytes(&rest);
    assert_eq!(pair.count.commands, 3);
    pair.upstream("+OK|");
    assert!(pair.session.is_idle());
}

/// A grammar error in the middle of a batch is reported after the replies to the commands before it.
#[test]
fn a_batch_is_pending_before_the_end_of_the_session() {
    let mut pair = batching();
    let mut commands = frames("GET a;GET b;SET c 1");
    commands.extend_from_slice(b"*1\r\n$x\r\n");
    pair.client_bytes(&commands);
    assert_eq!(pair.count.batches, [("get", 2), ("set", 1)]);
    assert_eq!(pair.upstream("$-1|$-1|"), "$-1|$-1|");
    assert_eq!(pair.closed, None);
    assert_eq!(pair.upstream("+OK|"), "+OK|-ERR Protocol error: invalid bulk length|");
    assert!(matches!(pair.closed, Some(CloseReason::Protocol(_))), "{:?}", pair.closed);
}

/// The number of queued commands determines the indexes of EXEC's confirmations, in any number of batches.
#[test]
fn each_command_of_a_batch_is_queued() {
    let mut pair = Pair::passthrough();
    pair.client_bytes(&frames("MULTI;GET a;GET b;GET c;SET d 1;SUBSCRIBE s;GET e;EXEC"));
    pair.upstream("+OK|+QUEUED|+QUEUED|+QUEUED|+QUEUED|+QUEUED|+QUEUED|");
    pair.upstream("*6|$-1|$-1|$-1|+OK|*3|$9|subscribe|$1|s|:1|");
    assert!(!pair.session.is_idle(), "one element is left");
    pair.upstream("$-1|");
    assert!(pair.session.is_idle() && pair.fault.is_none(), "{:?}", pair.fault);
    assert!(pair.link.streams(), "a subscriber");
}
