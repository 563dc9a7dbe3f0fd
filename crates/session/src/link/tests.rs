use super::{Incoming, Link, LinkFault, MAX_WHOLE_ERROR, MAX_WHOLE_REPLY, PushKind};
use crate::ids::{SessionKey, Ticket};
use crate::shape::{QueuedConfirmations, Shape, Verb};
use crate::tests::pair::{show, wire};

const CONFIRMED: &str = "*3|$9|subscribe|$1|a|:1|";
const GONE: &str = "*3|$11|unsubscribe|$1|a|:0|";
const MESSAGE: &str = "*3|$7|message|$1|a|$1|x|";

/// The output of a link in short form: each reply with its `ended`, each push in braces.
#[derive(Debug, Default, PartialEq, Eq)]
struct Received {
    text: String,
    ended: u64,
    fault: Option<LinkFault>,
}

/// Returns the link's output for `text`, which arrives in pieces of `size` bytes.
fn receive_in_pieces(link: &mut Link, text: &str, size: usize) -> Received {
    let mut received = Received::default();
    let mut unread = Vec::new();
    for piece in wire(text).chunks(size) {
        unread.extend_from_slice(piece);
        loop {
            let len = match link.next(&unread) {
                Incoming::Part(part) => {
                    received.text.push_str(&show(part.bytes));
                    received.ended += part.ended;
                    part.bytes.len()
                }
                Incoming::Push { bytes, kind, ended } => {
                    received.text.push_str(&format!("{{{}}}", String::from_utf8_lossy(bytes).escape_debug()));
                    assert!(kind != PushKind::Other || ended);
                    bytes.len()
                }
                Incoming::Need(total) => {
                    assert!(total > unread.len());
                    break;
                }
                Incoming::Fault(fault) => {
                    received.fault = Some(fault);
                    return received;
                }
            };
            unread.drain(..len);
        }
    }
    received
}

fn receive(link: &mut Link, text: &str) -> Received {
    receive_in_pieces(link, text, usize::MAX)
}

fn ticket(seq: u64) -> Ticket {
    Ticket { session: SessionKey(1), seq }
}

fn link(shapes: &[Shape]) -> Link {
    let mut link = Link::new();
    for (seq, shape) in (0..).zip(shapes) {
        // The gap prevents the link from joining neighbours.
        link.expect(ticket(2 * seq), 1, shape.clone());
    }
    link
}

fn subscribe(n: u64) -> Shape {
    Shape::Confirm { verb: Verb::Subscribe, n }
}

fn unsubscribe() -> Shape {
    Shape::ConfirmAll(Verb::Unsubscribe)
}

fn exec(queued: u64, confirmations: &[u64]) -> Shape {
    let mut queue = QueuedConfirmations::default();
    for place in confirmations {
        queue.push(*place, Verb::Subscribe);
    }
    Shape::Exec(queue.among(queued))
}

fn resp3(shapes: &[Shape]) -> Link {
    let mut link = link(&[Shape::Hello]);
    assert_eq!(receive(&mut link, "%1|$5|proto|:3|").ended, 1);
    for (seq, shape) in (100..).zip(shapes) {
        link.expect(ticket(2 * seq), 1, shape.clone());
    }
    link
}

#[test]
fn replies_are_joined_only_within_a_run() {
    let mut link = Link::new();
    link.expect(ticket(0), 2, Shape::One);
    link.expect(ticket(2), 1, Shape::One);
    link.expect(ticket(4), 1, Shape::One);
    let bytes = wire("+A|$1|b|:1|+D|");
    let Incoming::Part(part) = link.next(&bytes) else { panic!("no reply") };
    assert_eq!((part.ticket, part.ended, show(part.bytes)), (ticket(0), 3, "+A|$1|b|:1|".to_owned()));
    let Incoming::Part(part) = link.next(&bytes[part.bytes.len()..]) else { panic!("no reply") };
    assert_eq!((part.ticket, part.ended), (ticket(4), 1));
}

#[test]
fn bulk_strings_are_joined_up_to_the_end_of_their_run_an_error_or_a_cut() {
    let mut link = Link::new();
    link.expect(ticket(0), 3, Shape::One);
    link.expect(ticket(4), 5, Shape::One);
    let bytes = wire("$1|a|$1|b|$1|c|$1|d|$1|e|-ERR|$1|f|$1|");
    let mut rest = &bytes[..];
    for (seq, ended, text) in
        [(0, 3, "$1|a|$1|b|$1|c|"), (4, 2, "$1|d|$1|e|"), (6, 1, "-ERR|"), (7, 1, "$1|f|")]
    {
        let Incoming::Part(part) = link.next(rest) else { panic!("no reply") };
        assert_eq!((part.ticket, part.ended, show(part.bytes)), (ticket(seq), ended, text.to_owned()));
        rest = &rest[part.bytes.len()..];
    }
    assert!(matches!(link.next(rest), Incoming::Part(part) if part.ended == 0 && part.bytes == rest));
}

#[test]
fn an_error_is_returned_alone_and_in_one_piece() {
    let mut link = Link::new();
    link.expect(ticket(0), 3, Shape::One);
    let bytes = wire("+A|-ERR b|+C|");
    for (seq, text) in [(0, "+A|"), (1, "-ERR b|"), (2, "+C|")] {
        let Incoming::Part(part) =
            link.next(&bytes[usize::try_from(seq).unwrap() * 4 + usize::from(seq == 2) * 4..])
        else {
            panic!("no reply")
        };
        assert_eq!((part.ticket, show(part.bytes)), (ticket(seq), text.to_owned()));
    }
    link.expect(ticket(9), 1, Shape::One);
    assert!(matches!(link.next(b"-ERR b"), Incoming::Need(7)));
    let long = [&b"-"[..], &b"x".repeat(MAX_WHOLE_ERROR)].concat();
    assert!(matches!(link.next(&long), Incoming::Part(part) if part.ended == 0));
}

#[test]
fn a_message_is_one_only_between_the_first_confirmation_and_the_last() {
    for size in 1..40 {
        let mut link = link(&[Shape::One, subscribe(1), unsubscribe(), Shape::One]);
        let text = [MESSAGE, CONFIRMED, MESSAGE, GONE, MESSAGE].concat();
        let received = receive_in_pieces(&mut link, &text, size);
        assert_eq!((received.ended, received.fault), (4, None), "the first and the last are data");
        assert!(!link.streams());
    }
}

#[test]
fn a_push_of_another_version_is_data_or_a_fault() {
    let mut in_resp3 = resp3(&[subscribe(1), Shape::One]);
    let received = receive(&mut in_resp3, &[">3|$9|subscribe|$1|a|:1|", MESSAGE].concat());
    assert_eq!((received.ended, received.fault), (2, None), "in RESP3 an array is a reply");
    assert_eq!(receive(&mut link(&[Shape::One]), ">1|+a|").fault, Some(LinkFault::Mismatch));
    let mut monitor = link(&[Shape::Monitor, Shape::One, Shape::One]);
    let received = receive(&mut monitor, "+OK|+170.1 [0 x] \"PING\"|+PONG|$2|+1|");
    assert_eq!((received.ended, received.fault), (3, None));
    assert!(received.text.contains("{+170.1"));
    assert_eq!(receive(&mut link(&[Shape::One]), "+170.1|").ended, 1, "without MONITOR that is a reply");
}

#[test]
fn pings_of_subscribers_are_replies() {
    let mut link = link(&[subscribe(1), Shape::One, Shape::One]);
    let received =
        receive(&mut link, &[CONFIRMED, "*2|$4|pong|$7|message|", MESSAGE, "*2|$4|pong|$0||"].concat());
    assert_eq!((received.ended, received.fault), (3, None));
}

#[test]
fn reset_ends_all_streams() {
    let mut link = link(&[Shape::Monitor, subscribe(1), Shape::Reset, Shape::One]);
    let received = receive(&mut link, &["+OK|", CONFIRMED, MESSAGE, "+RESET|", MESSAGE].concat());
    assert_eq!((received.ended, received.fault), (4, None));
    assert!(!link.streams());
    let mut queued = self::link(&[Shape::Monitor, Shape::Reset]);
    receive(&mut queued, "+QUEUED|-ERR unknown command 'RESET'|");
    assert!(!queued.streams(), "MONITOR was not done");
}

#[test]
fn a_confirmation_longer_than_any_buffer_streams() {
    let name = "n".repeat(100_000);
    let long = format!("*3|$9|subscribe|$100000|{name}|:1|");
    let mut link = link(&[subscribe(2), Shape::One]);
    let text = [&long, MESSAGE, &long, "*2|$4|pong|$0||"].concat();
    let received = receive_in_pieces(&mut link, &text, 512);
    assert_eq!((received.ended, received.fault), (2, None));
    assert!(link.streams());
}

#[test]
fn unsubscribe_without_arguments_gets_one_confirmation_each_and_at_least_one() {
    let mut some = link(&[subscribe(2), unsubscribe(), unsubscribe(), Shape::One]);
    let text = "*3|$9|subscribe|$1|a|:1|*3|$9|subscribe|$1|b|:2|*3|$11|unsubscribe|$1|b|:1|\
                *3|$11|unsubscribe|$1|a|:0|*3|$11|unsubscribe|$-1|:0|+PONG|";
    let received = receive(&mut some, &text.replace("                ", ""));
    assert_eq!((received.ended, received.fault), (4, None));
    let mut refused = link(&[subscribe(3), Shape::One]);
    assert_eq!(receive(&mut refused, "-NOPERM no|+PONG|").ended, 2, "one error stands for all");
    assert_eq!(receive(&mut link(&[subscribe(1)]), GONE).fault, Some(LinkFault::Mismatch));
    assert_eq!(receive(&mut link(&[subscribe(1)]), ":1|").fault, Some(LinkFault::Mismatch));
}

#[test]
fn exec_counts_its_confirmations_and_not_the_messages_between() {
    let text = "*3|+PONG|*3|$9|subscribe|$1|a|:1|:0|*2|$4|pong|$0||";
    for size in 1..60 {
        let mut link = link(&[exec(3, &[1]), Shape::One]);
        let received = receive_in_pieces(&mut link, text, size);
        assert_eq!((received.ended, received.fault, link.streams()), (2, None, true), "RESP2 by {size}");
        let mut link = resp3(&[exec(2, &[0]), Shape::One]);
        let text = "*2|>3|$9|subscribe|$1|a|:1|>3|$7|message|$1|a|$1|x|:1|+PONG|";
        let received = receive_in_pieces(&mut link, text, size);
        assert_eq!((received.ended, received.fault, link.streams()), (2, None, true), "RESP3 by {size}");
    }
}

#[test]
fn an_element_of_exec_that_could_be_a_message_is_a_fault_in_resp2() {
    for element in [MESSAGE, GONE, "*3|$8|pmessage|$1|a|$1|x|", "*3|$12|sunsubscribe|$1|a|:0|"] {
        let mut link = link(&[exec(2, &[0])]);
        let received = receive(&mut link, &["*2|", CONFIRMED, element].concat());
        assert_eq!((received.ended, received.fault), (0, Some(LinkFault::Mismatch)), "{element}");
    }
    let mut quiet = link(&[exec(1, &[])]);
    assert_eq!(receive(&mut quiet, &["*1|", MESSAGE].concat()).ended, 1, "without subscriptions it is data");
}

#[test]
fn exec_of_unexpected_size_is_a_fault_if_indexes_matter() {
    assert_eq!(receive(&mut link(&[exec(3, &[1])]), "*2|").fault, Some(LinkFault::Mismatch));
    assert_eq!(receive(&mut link(&[exec(3, &[])]), "*2|+a|+b|").ended, 1);
    for end in ["*0|", "*-1|", "-EXECABORT no|"] {
        assert_eq!(receive(&mut link(&[exec(3, &[1])]), end).ended, 1, "{end}");
    }
    assert_eq!(receive(&mut resp3(&[exec(3, &[1])]), "_|").ended, 1);
    let streamed = receive(&mut resp3(&[Shape::Exec(QueuedConfirmations::default())]), "*?|+a|.|");
    assert_eq!(streamed.fault, Some(LinkFault::Mismatch));
    assert_eq!(receive(&mut link(&[exec(2, &[0])]), "*2|+OK|").fault, Some(LinkFault::Mismatch));
    assert_eq!(receive(&mut link(&[exec(2, &[0])]), "*2|-NOPERM no|+OK|").ended, 1);
}

#[test]
fn unsolicited_replies_are_a_fault() {
    assert_eq!(receive(&mut Link::new(), "+OK|").fault, Some(LinkFault::Unsolicited));
    let received = receive(&mut link(&[Shape::One]), "+PONG|+PONG|");
    assert_eq!((received.ended, received.fault), (1, Some(LinkFault::Unsolicited)));
    let invalidation = receive(&mut resp3(&[]), ">2|$10|invalidate|*1|$1|k|");
    assert_eq!((invalidation.ended, invalidation.fault), (0, None), "in RESP3 a push needs no subscription");
}

#[test]
fn a_tls_alert_is_recognized_only_as_the_first_bytes() {
    let mut link = link(&[Shape::One, Shape::One]);
    assert_eq!(link.next(b"\x15"), Incoming::Fault(LinkFault::TlsAlert));
    assert_eq!(link.next(b"+OK\r\n"), Incoming::Fault(LinkFault::TlsAlert), "a fault stays");
    let mut later = self::link(&[Shape::One, Shape::One]);
    let received = receive(&mut later, "+OK|\x15\x03");
    assert!(matches!(received.fault, Some(LinkFault::Protocol(_))));
}

#[test]
fn a_control_reply_has_a_limit_in_any_pieces() {
    let long = format!("${MAX_WHOLE_REPLY}|{}|", "x".repeat(MAX_WHOLE_REPLY));
    for size in [1000, usize::MAX] {
        assert_eq!(
            receive_in_pieces(&mut link(&[Shape::Whole]), &long, size).fault,
            Some(LinkFault::TooLong)
        );
    }
    assert_eq!(receive_in_pieces(&mut link(&[Shape::One]), &long, 1000).ended, 1);
}

#[test]
fn the_server_may_end_shard_subscriptions() {
    let mut link = link(&[Shape::Confirm { verb: Verb::Ssubscribe, n: 1 }, Shape::One]);
    receive(&mut link, "*3|$10|ssubscribe|$1|a|:1|");
    assert!(link.streams());
    let received = receive(&mut link, "*3|$12|sunsubscribe|$1|a|:0|+PONG|");
    assert_eq!((received.ended, received.fault, link.streams()), (1, None, false));
}
