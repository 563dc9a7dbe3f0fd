use std::collections::BTreeMap;

use super::*;
use crate::link::Preamble;
use crate::tests::pair::{frames, show, wire};

const HELLO: &str = "%1|$5|proto|:3|";

fn key(password: Option<&str>, resp3: bool, db: u32) -> PoolKey {
    PoolKey { preamble: password.map(|password| Preamble::auth(None, password)), db, resp3, asks_role: false }
}

fn ticket(session: u64, seq: u64) -> Ticket {
    Ticket { session: SessionKey(session), seq }
}

/// Returns a link whose setup is accepted. If the kind needs no setup, the server has sent nothing.
fn ready(key: PoolKey) -> PooledLink {
    let mut link = PooledLink::new(key);
    let replies = [
        link.key.preamble.is_some().then_some("+OK|"),
        link.key.resp3.then_some(HELLO),
        (link.key.db > 0).then_some("+OK|"),
    ];
    link.open();
    let received = Received::of(&mut link, &replies.into_iter().flatten().collect::<String>(), usize::MAX);
    assert!(link.is_ready() && received.fault.is_none() && link.is_settled());
    link
}

/// The output of a link: bytes and completed commands of each session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Received {
    text: BTreeMap<u64, String>,
    ended: BTreeMap<u64, u64>,
    own: usize,
    invalidations: u64,
    fault: Option<PoolFault>,
}

impl Received {
    /// Returns the link's output for `text`, which arrives in pieces of `size` bytes.
    fn of(link: &mut PooledLink, text: &str, size: usize) -> Self {
        let mut received = Self::default();
        let mut unread = Vec::new();
        for piece in wire(text).chunks(size) {
            unread.extend_from_slice(piece);
            while received.take(link, &mut unread) {}
            if received.fault.is_some() {
                return received;
            }
        }
        assert!(unread.is_empty(), "left: {}", show(&unread));
        received
    }

    /// Takes the next output. Returns false if the link needs more bytes or has a fault.
    fn take(&mut self, link: &mut PooledLink, unread: &mut Vec<u8>) -> bool {
        let len = match link.next(unread) {
            Shared::Part(part) => {
                let session = part.ticket.session.0;
                self.text.entry(session).or_default().push_str(&show(part.bytes));
                *self.ended.entry(session).or_default() += part.ended;
                part.bytes.len()
            }
            Shared::Own(len) => {
                self.own += len;
                len
            }
            Shared::Invalidation { len, ended } => {
                self.invalidations += u64::from(ended);
                len
            }
            Shared::Need(total) => {
                assert!(total > unread.len(), "the link asks for bytes that it already has");
                return false;
            }
            Shared::Fault(fault) => {
                self.fault = Some(fault);
                return false;
            }
        };
        assert!(len > 0, "no progress");
        unread.drain(..len);
        true
    }
}

#[test]
fn setup_follows_the_steps_of_the_key() {
    let cases = [
        (key(None, false, 0), "", ""),
        (key(Some("secret"), false, 0), "AUTH secret", "+OK|"),
        (key(None, true, 0), "HELLO 3", HELLO),
        (key(None, false, 5), "SELECT 5", "+OK|"),
        (key(Some("secret"), false, 5), "AUTH secret;SELECT 5", "+OK|+OK|"),
        (key(None, true, 15), "HELLO 3;SELECT 15", &format!("{HELLO}+OK|")),
        (key(Some("secret"), true, 5), "AUTH secret;HELLO 3;SELECT 5", &format!("+OK|{HELLO}+OK|")),
    ];
    for (key, commands, replies) in cases {
        let expected = if commands.is_empty() { Vec::new() } else { frames(commands) };
        let replies = wire(replies);
        for size in 1..=replies.len().max(1) {
            let mut link = PooledLink::new(key.clone());
            assert_eq!(show(&link.open()), show(&expected));
            let (mut received, mut unread, mut left) = (Received::default(), Vec::new(), replies.len());
            for piece in replies.chunks(size) {
                assert!(!link.is_ready(), "{commands} in pieces of {size}: {left} bytes early");
                unread.extend_from_slice(piece);
                left -= piece.len();
                while received.take(&mut link, &mut unread) {}
            }
            assert!(link.is_ready() && link.is_settled(), "{commands} in pieces of {size}");
            assert_eq!(
                (received.own, received.fault, link.waiting_sessions().count()),
                (replies.len(), None, 0)
            );
        }
    }
}

#[test]
fn refused_setup_differs_from_unavailable_upstream() {
    use Unavailable::{Auth, Limit, Loading, Refused};
    let mismatch = || PoolFault::Link(LinkFault::Mismatch);
    let refused = |line: &str| PoolFault::Refused(wire(line).into());
    let all = || key(Some("secret"), true, 5);
    let unknown = "-ERR unknown command `HELLO`, with args beginning with: `3`, |";
    let no_db = "-ERR DB index is out of range|";
    let cases = [
        (all(), "", "-WRONGPASS invalid|", PoolFault::Unavailable(Auth)),
        (all(), "", "-ERR AUTH <password> called without any password|", PoolFault::Unavailable(Auth)),
        (all(), "", "-NOAUTH Authentication required.|", PoolFault::Unavailable(Auth)),
        (all(), "", "-ERR max number of clients reached|", PoolFault::Unavailable(Limit)),
        (all(), "", "-LOADING Redis is loading|", PoolFault::Unavailable(Loading)),
        (all(), "", "-DENIED Redis is running in protected mode|", PoolFault::Unavailable(Refused)),
        (all(), "", "+QUEUED|", mismatch()),
        (all(), "", ":1|", mismatch()),
        (all(), "+OK|", unknown, refused(unknown)),
        (all(), "+OK|", "-NOPROTO unsupported|", refused("-NOPROTO unsupported|")),
        (all(), "+OK|", "-LOADING Redis is loading|", PoolFault::Unavailable(Loading)),
        (all(), "+OK|", "+OK|", mismatch()),
        (all(), "+OK|", "*2|$5|proto|:2|", mismatch()),
        (all(), &format!("+OK|{HELLO}"), no_db, refused(no_db)),
        (all(), &format!("+OK|{HELLO}"), "-MASTERDOWN Link|", PoolFault::Unavailable(Loading)),
        (all(), &format!("+OK|{HELLO}"), "$2|OK|", mismatch()),
        (all(), &format!("+OK|{HELLO}"), "*0|", mismatch()),
        (all(), &format!("+OK|{HELLO}"), ">2|$7|message|$1|x|", PoolFault::Push),
        (key(None, true, 0), "", unknown, refused(unknown)),
        (key(None, true, 0), "", "-NOAUTH HELLO must be called|", PoolFault::Unavailable(Auth)),
        (all(), "", "-BUSY Redis is busy|", PoolFault::Unavailable(Unavailable::Timeout)),
        (all(), &format!("+OK|{HELLO}"), "-BUSY Redis is busy|", refused("-BUSY Redis is busy|")),
        (all(), &format!("+OK|{HELLO}"), "-NOPERM no|", refused("-NOPERM no|")),
        (key(None, false, 5), "", no_db, refused(no_db)),
        (key(None, false, 5), "", "-NOAUTH Authentication required.|", PoolFault::Unavailable(Auth)),
        (key(None, false, 5), "", ">2|", mismatch()),
    ];
    for (key, before, last, fault) in cases {
        for size in 1..=before.len() + last.len() {
            let mut link = PooledLink::new(key.clone());
            link.open();
            let received = Received::of(&mut link, &format!("{before}{last}"), size);
            assert_eq!(received.fault.as_ref(), Some(&fault), "{before}{last} in pieces of {size}");
            assert!(!link.is_ready());
        }
    }
}

#[test]
fn a_refusal_on_accept_is_recognized_without_setup() {
    let cases = [
        ("-ERR max number of clients reached|", Unavailable::Limit),
        ("-DENIED Redis is running in protected mode because|", Unavailable::Refused),
        ("\u{15}\u{3}\u{1}", Unavailable::Tls),
    ];
    for (greeting, why) in cases {
        let fault = Some(PoolFault::Unavailable(why));
        let mut link = ready(key(None, false, 0));
        assert_eq!(
            Received::of(&mut link, greeting, usize::MAX).fault,
            fault,
            "no command is pending: {greeting}"
        );
        for size in 1..greeting.len() {
            let mut link = ready(key(None, false, 0));
            link.expect(ticket(1, 0), 1, Shape::One);
            assert_eq!(
                Received::of(&mut link, greeting, size).fault,
                fault,
                "{greeting} in pieces of {size}"
            );
            assert!(
                link.waiting_sessions().any(|waiting| waiting == SessionKey(1)),
                "{greeting} is no reply"
            );
        }
    }
    let greeting = "-ERR max number of clients reached|";
    let mut link = ready(key(Some("secret"), false, 0));
    link.expect(ticket(1, 0), 1, Shape::One);
    assert_eq!(
        Received::of(&mut link, greeting, 3).text[&1],
        greeting,
        "only the first reply can be a refusal on accept"
    );
    for line in ["-LOADING Redis is loading|", "-NOAUTH Authentication required.|", "-MASTERDOWN Link|"] {
        let mut link = ready(key(None, false, 0));
        link.expect(ticket(1, 0), 1, Shape::One);
        assert_eq!(
            Received::of(&mut link, line, 3).text[&1],
            line,
            "the error of a command is for its client"
        );
    }
}

#[test]
fn each_session_gets_its_own_replies_in_any_pieces() {
    let error = format!("-ERR {}|", "x".repeat(2000));
    let value = format!("$500|{}|", "y".repeat(500));
    let replies = format!("+a1|:2|{value}-ERR no|+a3|{error}*2|$1|m|*1|:7|_|{HELLO}+a4|");
    let pending = [
        (ticket(1, 0), 2, Shape::One),
        (ticket(2, 0), 1, Shape::One),
        (ticket(3, 9), 1, Shape::One),
        (ticket(1, 2), 1, Shape::One),
        (ticket(3, 10), 3, Shape::One),
        (ticket(2, 5), 1, Shape::WholeHello),
        (ticket(1, 3), 1, Shape::One),
    ];
    let texts = [
        (1, "+a1|:2|+a3|+a4|".to_owned()),
        (2, format!("{value}{HELLO}")),
        (3, format!("-ERR no|{error}*2|$1|m|*1|:7|_|")),
    ];
    for size in 1..=replies.len() {
        let mut link = ready(key(None, true, 0));
        for (first, n, shape) in &pending {
            link.expect(*first, *n, shape.clone());
        }
        let received = Received::of(&mut link, &replies, size);
        assert_eq!(received.fault, None, "in pieces of {size}");
        assert_eq!(received.text, texts.clone().into(), "in pieces of {size}");
        assert_eq!(received.ended, [(1, 4), (2, 2), (3, 4)].into(), "in pieces of {size}");
        assert!(link.is_settled() && link.takes_more());
    }
}

#[test]
fn unsolicited_bytes_are_a_fault_after_pending_replies() {
    let unsolicited = PoolFault::Link(LinkFault::Unsolicited);
    let message = "$7|message|$1|a|$1|x|";
    let cases = [
        (false, "+b|".to_owned(), unsolicited),
        (false, format!("*3|{message}"), PoolFault::Link(LinkFault::Unsolicited)),
        (false, format!(">3|{message}"), PoolFault::Link(LinkFault::Mismatch)),
        (false, "+1700000000.000001 [0 x] \"PING\"|".to_owned(), PoolFault::Link(LinkFault::Unsolicited)),
        (true, "+b|".to_owned(), PoolFault::Link(LinkFault::Unsolicited)),
        (true, format!(">3|{message}"), PoolFault::Push),
        (true, ">3|$11|unsubscribe|$1|c|:0|".to_owned(), PoolFault::Push),
        (true, ">2|$21|tracking-redir-broken|:7|".to_owned(), PoolFault::Push),
        (true, ">1|:7|".to_owned(), PoolFault::Push),
        (false, ">2|$10|invalidate|_|".to_owned(), PoolFault::Link(LinkFault::Mismatch)),
    ];
    for (resp3, more, fault) in cases {
        for size in [1, 2, 7, usize::MAX] {
            let mut link = ready(key(None, resp3, 0));
            link.expect(ticket(1, 0), 1, Shape::One);
            let received = Received::of(&mut link, &format!("+a|{more}"), size);
            assert_eq!(
                (&*received.text[&1], received.fault),
                ("+a|", Some(fault.clone())),
                "{more} by {size}"
            );
        }
    }
    let mut link = ready(key(None, true, 0));
    link.expect(ticket(1, 0), 2, Shape::One);
    let received = Received::of(&mut link, &format!("+a|>3|{message}+b|"), usize::MAX);
    assert_eq!((&*received.text[&1], received.fault), ("+a|", Some(PoolFault::Push)), "between two replies");
    let mut link = ready(key(None, false, 0));
    link.expect(ticket(1, 0), 1, Shape::One);
    assert!(matches!(
        Received::of(&mut link, "hello|", 1).fault,
        Some(PoolFault::Link(LinkFault::Protocol(_)))
    ));
    assert!(Received::of(&mut link, "+a|", 1).fault.is_some(), "the fault stays");
    let mut link = PooledLink::new(key(Some("secret"), false, 0));
    link.open();
    link.expect(ticket(1, 0), 1, Shape::One);
    let fault = Received::of(&mut link, "+QUEUED|+a|", usize::MAX).fault;
    assert_eq!(fault, Some(PoolFault::Link(LinkFault::Mismatch)));
    assert_eq!(
        Received::of(&mut link, "+a|", 1),
        Received { fault, ..Received::default() },
        "the fault stays"
    );
}

/// Feeds `bytes` and returns whether the link accepted new commands after each piece.
fn takes_more_during(link: &mut PooledLink, bytes: &[u8], size: usize) -> Vec<bool> {
    let mut received = Received::default();
    let mut unread = Vec::new();
    let mut took = Vec::new();
    for piece in bytes.chunks(size) {
        unread.extend_from_slice(piece);
        while received.take(link, &mut unread) {}
        took.push(link.takes_more());
    }
    assert_eq!((received.fault, unread.len()), (None, 0));
    took
}

#[test]
fn a_large_reply_stops_new_commands_until_no_reply_is_pending() {
    let body = "x".repeat(LARGE_REPLY + 1);
    let elements = "$1000|".to_owned() + &"y".repeat(1000) + "|";
    let streamed = format!("*400|{}", elements.repeat(400));
    for large in
        [format!("${}|{body}|", LARGE_REPLY + 1), format!("={}|txt:{}|", LARGE_REPLY + 1, &body[4..])]
    {
        let mut link = ready(key(None, true, 0));
        link.expect(ticket(1, 0), 1, Shape::One);
        link.expect(ticket(2, 0), 1, Shape::One);
        assert_eq!(
            takes_more_during(&mut link, &wire(&large), 1000).first(),
            Some(&false),
            "the length was announced"
        );
        assert!(!link.takes_more(), "another large reply is pending");
        assert_eq!(takes_more_during(&mut link, b"+", 1), [false]);
        assert_eq!(takes_more_during(&mut link, b"OK\r\n", usize::MAX), [true]);
    }
    let mut link = ready(key(None, true, 0));
    link.expect(ticket(1, 0), 1, Shape::One);
    link.expect(ticket(2, 0), 1, Shape::One);
    let took = takes_more_during(&mut link, &wire(&streamed), 1024);
    assert_eq!(
        (took[255], took[257], took[took.len() - 1]),
        (true, false, false),
        "the length was not announced"
    );
    assert_eq!(takes_more_during(&mut link, b"+OK\r\n", 1), [false, false, false, false, true]);
    link.expect(ticket(3, 0), 1, Shape::One);
    let took = takes_more_during(
        &mut link,
        &wire("$9000|").into_iter().chain(vec![b'z'; 100]).collect::<Vec<_>>(),
        50,
    );
    assert!(took.iter().all(|took| *took), "the count starts again");
}

#[test]
fn whole_or_small_replies_do_not_stop_new_commands() {
    let exact = format!("${LARGE_REPLY}|{}|", "x".repeat(LARGE_REPLY));
    let whole = format!("${}|{}|", LARGE_REPLY * 2, "x".repeat(LARGE_REPLY * 2));
    let many = format!("$1000|{}|", "x".repeat(1000)).repeat(1000);
    for (replies, n, size) in [(&exact, 1, LARGE_REPLY), (&whole, 1, usize::MAX), (&many, 1000, 700)] {
        let mut link = ready(key(None, false, 0));
        link.expect(ticket(1, 0), n, Shape::One);
        link.expect(ticket(2, 0), 1, Shape::One);
        assert!(takes_more_during(&mut link, &wire(replies), size).iter().all(|took| *took));
    }
}

#[test]
fn waiting_sessions_have_pending_replies() {
    let mut link = PooledLink::new(key(Some("secret"), false, 0));
    link.open();
    assert_eq!(
        (link.waiting_sessions().count(), link.is_settled()),
        (0, false),
        "the gate's own commands belong to no session"
    );
    Received::of(&mut link, "+OK|", 1);
    assert!(link.answered() && link.is_settled());
    link.expect(ticket(4, 0), 1, Shape::One);
    assert!(!link.has_pending_for_others(SessionKey(4)) && link.has_pending_for_others(SessionKey(5)));
    link.expect(ticket(4, 1), 2, Shape::One);
    link.expect(ticket(5, 0), 1, Shape::One);
    link.expect(ticket(4, 9), 1, Shape::Whole);
    assert!(link.has_pending_for_others(SessionKey(4)) && link.has_pending_for_others(SessionKey(5)));
    assert_eq!(link.waiting_sessions().map(|key| key.0).collect::<Vec<_>>(), [4, 5, 4]);
    Received::of(&mut link, ":1|:2|:3|:4|", 2);
    assert_eq!(link.waiting_sessions().map(|key| key.0).collect::<Vec<_>>(), [4]);
    assert!(!link.has_pending_for_others(SessionKey(4)) && link.held() > 0);
    Received::of(&mut link, ":5|", 2);
    assert_eq!((link.waiting_sessions().count(), link.is_settled()), (0, true));
}

/// Another client of Redis can direct invalidations to this connection with CLIENT TRACKING REDIRECT.
#[test]
fn invalidations_are_dropped_at_any_position() {
    let keys = |n: usize| format!("*{n}|{}", "$1|k|".repeat(n));
    let push = |n| format!(">2|$10|invalidate|{}", keys(n));
    let text = format!("{}+a|>2|$10|invalidate|_|{}$1|b|{}", push(1), push(3), push(200));
    for size in [1, 2, 7, 100, usize::MAX] {
        let mut link = ready(key(None, true, 0));
        link.expect(ticket(1, 0), 1, Shape::One);
        link.expect(ticket(2, 0), 1, Shape::One);
        let received = Received::of(&mut link, &text, size);
        let texts: Vec<&str> = received.text.values().map(|text| &**text).collect();
        assert_eq!(
            (texts, received.invalidations, received.fault),
            (vec!["+a|", "$1|b|"], 4, None),
            "by {size}"
        );
        assert!(link.is_settled() && link.takes_more());
        link.expect(ticket(1, 1), 1, Shape::One);
        assert_eq!(Received::of(&mut link, "+c|", size).text[&1], "+c|");
    }
}

#[test]
fn a_server_that_says_no_role_to_hello_is_asked_with_role() {
    const REPLICA: &str = "*5|$5|slave|$9|127.0.0.1|:6379|$9|connected|:1|";
    for hello in ["-ERR unknown command|", "-NOPERM no|", "*2|$5|proto|:2|"] {
        for (role, fault) in
            [("*3|$6|master|:0|*0|", None), ("-NOPERM no|", None), (REPLICA, Some(PoolFault::Replica))]
        {
            let mut link = PooledLink::new(PoolKey { asks_role: true, ..key(None, false, 3) });
            assert_eq!(show(&link.open()), show(&frames("HELLO 2;SELECT 3")));
            assert_eq!(link.question(), None, "HELLO is not answered");
            // A client's command waits for the set-up.
            link.expect(ticket(1, 0), 1, Shape::One);
            Received::of(&mut link, &format!("{hello}+OK|"), usize::MAX);
            assert!(!link.is_ready());
            assert_eq!(show(&link.question().unwrap()), show(&frames("ROLE")));
            assert_eq!(link.question(), None, "it is asked once");
            let received = Received::of(&mut link, role, usize::MAX);
            assert!(received.text.is_empty(), "the client gets no reply of the set-up");
            assert_eq!(
                (received.fault.clone(), link.is_ready()),
                (fault.clone(), fault.is_none()),
                "{hello} {role}"
            );
        }
    }
    let mut link = PooledLink::new(PoolKey { asks_role: true, ..key(None, false, 0) });
    link.open();
    Received::of(&mut link, "*2|$4|role|$6|master|", usize::MAX);
    assert!(link.is_ready() && link.question().is_none());
}

/// The commands of clients wait for a server that is no replica.
#[test]
fn after_a_replica_the_set_up_begins_again_on_another_connection() {
    let mut link = PooledLink::new(PoolKey { asks_role: true, ..key(Some("x"), false, 3) });
    let setup = show(&frames("AUTH x;HELLO 2;SELECT 3"));
    assert_eq!(show(&link.open()), setup);
    link.expect(ticket(1, 0), 1, Shape::One);
    let received = Received::of(&mut link, "+OK|*2|$4|role|$5|slave|", usize::MAX);
    assert_eq!(received.fault, Some(PoolFault::Replica));
    link.restart();
    assert_eq!(show(&link.open()), setup);
    link.expect(ticket(2, 0), 1, Shape::One);
    let received = Received::of(&mut link, "+OK|*2|$4|role|$6|master|+OK|$1|x|$1|y|", usize::MAX);
    assert_eq!((received.fault, link.is_ready()), (None, true));
    assert_eq!((&*received.text[&1], &*received.text[&2]), ("$1|x|", "$1|y|"));
}
