use crate::session::CloseReason;
use crate::tests::pair::{Count, Pair, frames, show};

/// One whose commands go on together: the upstream has answered before.
fn flowing() -> Pair {
    let mut pair = Pair::passthrough();
    pair.client_bytes(&frames("PING"));
    pair.upstream("+PONG|");
    pair.count = Count::default();
    pair
}

#[test]
fn neighbours_of_one_name_are_counted_together_and_travel_with_the_others() {
    let mut pair = flowing();
    let asked = frames("GET a;get b;SET a 1;GET a;GET b;GET c");
    assert_eq!(pair.client_bytes(&asked), show(&asked));
    assert_eq!(pair.count.batches, [("get", 2), ("set", 1), ("get", 3)]);
    for left in (0..6).rev() {
        assert!(!pair.session.is_idle());
        pair.upstream("$-1|");
        assert_eq!(pair.count.answered, 6 - left);
    }
    assert!(pair.session.is_idle());
}

/// The last one has begun and is not over: it counts with those before it.
#[test]
fn a_command_that_goes_on_in_pieces_ends_a_batch() {
    let mut pair = flowing();
    let mut asked = frames("GET a;SET b 1");
    asked.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$70000\r\n");
    asked.resize(asked.len() + 30_000, b'x');
    assert_eq!(pair.client_bytes(&asked), show(&asked));
    assert_eq!(pair.count.batches, [("get", 1), ("set", 2)]);
    pair.upstream("$-1|+OK|");
    assert!(!pair.session.is_idle(), "the third is owed");
    let mut rest = vec![b'x'; 40_000];
    rest.extend_from_slice(b"\r\n");
    pair.client_bytes(&rest);
    assert_eq!(pair.count.commands, 3);
    pair.upstream("+OK|");
    assert!(pair.session.is_idle());
}

/// What breaks the grammar in a batch's middle comes after the replies to what was before it.
#[test]
fn a_batch_is_owed_before_what_ends_the_session() {
    let mut pair = flowing();
    let mut asked = frames("GET a;GET b;SET c 1");
    asked.extend_from_slice(b"*1\r\n$x\r\n");
    pair.client_bytes(&asked);
    assert_eq!(pair.count.batches, [("get", 2), ("set", 1)]);
    assert_eq!(pair.upstream("$-1|$-1|"), "$-1|$-1|");
    assert_eq!(pair.closed, None);
    assert_eq!(pair.upstream("+OK|"), "+OK|-ERR Protocol error: invalid bulk length|");
    assert!(matches!(pair.closed, Some(CloseReason::Protocol(_))), "{:?}", pair.closed);
}

/// EXEC's confirmations are found by how many were queued before them, in however many batches.
#[test]
fn each_of_a_batch_is_queued() {
    let mut pair = Pair::passthrough();
    pair.client_bytes(&frames("MULTI;GET a;GET b;SET c 1;SUBSCRIBE s;GET d;EXEC"));
    pair.upstream("+OK|+QUEUED|+QUEUED|+QUEUED|+QUEUED|+QUEUED|");
    pair.upstream("*5|$-1|$-1|+OK|*3|$9|subscribe|$1|s|:1|");
    assert!(!pair.session.is_idle(), "one element is left");
    pair.upstream("$-1|");
    assert!(pair.session.is_idle() && pair.fault.is_none(), "{:?}", pair.fault);
    assert!(pair.link.streams(), "a subscriber");
}
