use super::*;
use crate::drive::{self, Pace};
use crate::error::ReplyError as Error;
use crate::limits::MAX_DEPTH;

mod properties;

/// Returns the kinds and lengths of the frames in `input`. Checks that they do not depend on the pieces or on
/// streaming.
fn outcome(input: &[u8]) -> (Vec<(u8, i64, usize)>, Option<Error>) {
    let whole = drive::replies(input, Pace::WHOLE);
    for stream_from in [None, Some(0), Some(9)] {
        for split in 0..=input.len().min(300) {
            let chunks = [split, input.len()];
            let run = drive::replies(input, Pace { chunks: &chunks, stream_from });
            assert_eq!(
                run,
                whole,
                "{} split at {split}, streamed from {stream_from:?}",
                input.escape_ascii()
            );
        }
        let run = drive::replies(input, Pace { chunks: &[1], stream_from });
        assert_eq!(run, whole, "{} byte by byte, streamed from {stream_from:?}", input.escape_ascii());
    }
    let heads = whole.0.iter().map(|(head, frame, _)| (head.kind, head.count, frame.len())).collect();
    (heads, whole.1)
}

fn one(input: &str) -> (u8, i64) {
    let (heads, error) = outcome(input.as_bytes());
    let [(kind, count, len)] = heads[..] else { panic!("{input:?}: {heads:?} {error:?}") };
    assert_eq!((len, error), (input.len(), None), "{input:?}");
    (kind, count)
}

fn refused(input: &[u8]) -> Error {
    let (heads, error) = outcome(input);
    assert_eq!(heads, [], "{}", input.escape_ascii());
    error.unwrap_or_else(|| panic!("{} is not refused", input.escape_ascii()))
}

#[test]
fn the_scanner_is_small() {
    assert!(size_of::<ReplyScanner>() <= 160, "{}", size_of::<ReplyScanner>());
}

#[test]
fn scans_every_type_of_resp2() {
    assert_eq!(one("+OK\r\n"), (b'+', 0));
    assert_eq!(one("+\r\n"), (b'+', 0));
    assert_eq!(one("-ERR no\r\n"), (b'-', 0));
    assert_eq!(one(":-9223372036854775808\r\n"), (b':', 0));
    assert_eq!(one("$-1\r\n"), (b'$', -1));
    assert_eq!(one("$0\r\n\r\n"), (b'$', 0));
    assert_eq!(one("$5\r\n*1\r\n\n\r\n"), (b'$', 5));
    assert_eq!(one("*-1\r\n"), (b'*', -1));
    assert_eq!(one("*0\r\n"), (b'*', 0));
    assert_eq!(one("*2\r\n*2\r\n:1\r\n$-1\r\n*0\r\n"), (b'*', 2));
}

#[test]
fn scans_every_type_of_resp3() {
    assert_eq!(one("_\r\n"), (b'_', 0));
    assert_eq!(one("#t\r\n"), (b'#', 0));
    for double in ["1", "-1.5", "1e+22", "1.7976931348623157e+308", "inf", "-inf", "nan", "-nan"] {
        assert_eq!(one(&format!(",{double}\r\n")), (b',', 0));
    }
    assert_eq!(one("(-3492890328409238509324850943850943825024385\r\n"), (b'(', 0));
    assert_eq!(
        one("(123  123\r\n"),
        (b'(', 0),
        "what Redis 7.0 makes of a script's big_number='123\\r\\n123'"
    );
    assert_eq!(one("=8\r\ntxt:some\r\n"), (b'=', 8));
    assert_eq!(one("!9\r\nERR o\r\nno\r\n"), (b'!', 9));
    assert_eq!(one("%2\r\n+a\r\n:1\r\n*1\r\n+b\r\n_\r\n"), (b'%', 2));
    assert_eq!(one("~3\r\n:1\r\n:1\r\n#f\r\n"), (b'~', 3));
    assert_eq!(one(">2\r\n+message\r\n$1\r\nx\r\n"), (b'>', 2));
    assert_eq!(
        one("*1\r\n>1\r\n+nested\r\n:1\r\n"),
        (b'*', 1),
        "a push within a reply is not an element of it"
    );
}

#[test]
fn an_attribute_and_its_reply_are_one_frame() {
    assert_eq!(one("|1\r\n+ttl\r\n:3600\r\n$1\r\nx\r\n"), (b'|', 1));
    assert_eq!(one("*2\r\n|1\r\n+a\r\n*0\r\n:1\r\n:2\r\n"), (b'*', 2));
    assert_eq!(one("|0\r\n|1\r\n+a\r\n+b\r\n:1\r\n"), (b'|', 0));
    assert_eq!(outcome(b"|1\r\n+a\r\n+b\r\n"), (vec![], None), "the reply after the attribute is missing");
}

#[test]
fn scans_streamed_values() {
    assert_eq!(one("$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n"), (b'$', -1));
    assert_eq!(one("$?\r\n;0\r\n"), (b'$', -1));
    assert_eq!(one("*?\r\n:1\r\n*?\r\n.\r\n$?\r\n;0\r\n.\r\n"), (b'*', -1));
    assert_eq!(one("~?\r\n.\r\n"), (b'~', -1));
    assert_eq!(one("%?\r\n+a\r\n:1\r\n+b\r\n%?\r\n.\r\n.\r\n"), (b'%', -1));
    assert_eq!(
        one("%?\r\n|1\r\n+x\r\n+y\r\n+a\r\n:1\r\n.\r\n"),
        (b'%', -1),
        "an attribute is not an element"
    );
    assert_eq!(refused(b"%?\r\n+a\r\n.\r\n"), Error::InvalidStream, "a key without a value");
    assert_eq!(refused(b"*1\r\n.\r\n"), Error::InvalidStream);
    assert_eq!(refused(b"*?\r\n;1\r\nx\r\n"), Error::InvalidStream);
    assert_eq!(refused(b"$?\r\n:1\r\n"), Error::InvalidStream);
    assert_eq!(refused(b"$?\r\n;1\r\nx\r\n.\r\n"), Error::InvalidStream);
    assert_eq!(refused(b">?\r\n"), Error::InvalidNumber, "pushes are not streamed");
    assert_eq!(
        refused(b"*?\r\n|1\r\n+a\r\n+b\r\n.\r\n"),
        Error::InvalidStream,
        "an attribute without a reply"
    );
    assert_eq!(refused(b"%?\r\n|0\r\n.\r\n"), Error::InvalidStream, "an attribute without a reply");
    assert_eq!(one("*?\r\n|1\r\n+a\r\n+b\r\n:1\r\n.\r\n"), (b'*', -1));
}

#[test]
fn refuses_replies_that_no_server_sends() {
    for input in ["PONG\r\n", "\r\n", "\0", "H 1\r\n", "/x\r\n"] {
        assert_eq!(refused(input.as_bytes()), Error::UnknownType(input.as_bytes()[0]), "{input:?}");
    }
    for input in [".\r\n", ";1\r\nx\r\n"] {
        assert_eq!(refused(input.as_bytes()), Error::UnknownType(input.as_bytes()[0]), "{input:?}");
    }
    for input in [
        "$+3\r\n",
        "$03\r\n",
        "$ 3\r\n",
        "$\r\n",
        "*+1\r\n",
        "*01\r\n",
        ":+1\r\n",
        ":01\r\n",
        ":-0\r\n",
        ":\r\n",
        ":9223372036854775808\r\n",
        "$3\n",
        "$3\rx",
        "%x\r\n",
        "=-1\r\n",
        "~-1\r\n",
    ] {
        assert_eq!(refused(input.as_bytes()), Error::InvalidNumber, "{input:?}");
    }
    for input in [
        "$-2\r\n",
        "*-10\r\n",
        "$-1x",
        "+a\nb\r\n",
        "+a\rb\r\n",
        "-a\n",
        "#x\r\n",
        "_x\r\n",
        ",1,5\r\n",
        "#t\n",
        "$?x",
    ] {
        assert_eq!(refused(input.as_bytes()), Error::InvalidLine, "{input:?}");
    }
    assert_eq!(refused(b"$3\r\nabcxx"), Error::InvalidBulk);
    assert_eq!(refused(b"*1\r\n$3\r\nabc\r\r"), Error::InvalidBulk);
    assert_eq!(refused(b"$1099511627777\r\n"), Error::TooLarge);
    assert_eq!(refused(b"*1099511627777\r\n"), Error::TooLarge);
    assert_eq!(refused(b"$9223372036854775807\r\n"), Error::TooLarge);
}

#[test]
fn announced_lengths_reserve_no_memory() {
    for announced in ["*2147483647\r\n", "*1099511627776\r\n", "%1099511627776\r\n", "$1099511627776\r\n"] {
        let mut scanner = ReplyScanner::new();
        assert!(matches!(scanner.next(announced.as_bytes()), Ok(Reply::Head { .. })), "{announced}");
    }
}

#[test]
fn nesting_is_limited_without_recursion() {
    let nested = |levels: usize| ["*1\r\n".repeat(levels).as_bytes(), b":1\r\n"].concat();
    let deepest = nested(MAX_DEPTH);
    assert_eq!(drive::replies(&deepest, Pace::WHOLE).1, None);
    assert_eq!(drive::replies(&deepest, Pace { chunks: &[7], stream_from: Some(0) }).0.len(), 1);
    for levels in [MAX_DEPTH + 1, 1_000_000] {
        assert_eq!(drive::replies(&nested(levels), Pace::WHOLE), (vec![], Some(Error::TooDeep)));
    }
    let siblings = ["*1000\r\n", &"*1\r\n*1\r\n*0\r\n".repeat(1000)].concat();
    assert_eq!(one(&siblings), (b'*', 1000));
}

#[test]
fn a_long_line_is_read_once() {
    let mut scanner = ReplyScanner::new();
    let mut buf = b"+".to_vec();
    for i in 0..1000 {
        buf.extend_from_slice(&[b'x'; 100]);
        let head = ReplyHead { kind: b'+', count: 0 };
        assert_eq!(scanner.next(&buf), Ok(Reply::Head { scanned: buf.len(), head }), "{i}");
    }
    buf.push(b'\r');
    assert!(
        matches!(scanner.next(&buf), Ok(Reply::Head { scanned: 100_001, .. })),
        "a CR counts only with its LF"
    );
    buf.push(b'\n');
    assert!(matches!(scanner.next(&buf), Ok(Reply::Whole { len: 100_003, .. })));
}

#[test]
fn keeps_the_last_integer_of_the_frame() {
    let run = |input: &str| drive::replies(input.as_bytes(), Pace::WHOLE).0.last().unwrap().2;
    assert_eq!(run("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:7\r\n"), Some(7));
    assert_eq!(run(":5\r\n$1\r\nx\r\n"), None);
    assert_eq!(run(":5\r\n+OK\r\n"), None);
    assert_eq!(run(":-5\r\n"), Some(-5));
}

#[test]
fn consecutive_bulk_strings_are_whole_and_within_the_limit() {
    let row = b"$1\r\na\r\n$2\r\nbb\r\n$0\r\n\r\n";
    let mut scanner = ReplyScanner::new();
    let mut found = |buf: &[u8], most| scanner.bulk_strings(buf, most);
    assert_eq!(found(row, 2), (2, 15));
    assert_eq!(found(&[&row[..], b"-ERR\r\n$1\r\na\r\n"].concat(), 9), (3, row.len()));
    assert_eq!(found(&[&row[..], b"$3\r\ncc"].concat(), 9), (3, row.len()));
    assert_eq!(found(b":1\r\n", 9), (0, 0));
    assert_eq!(found(b"$1\r\naXX$1\r\na\r\n", 9), (0, 0), "next reports the error");
    assert_eq!(
        scanner.next(b"$3\r\ncc"),
        Ok(Reply::Head { scanned: 4, head: ReplyHead { kind: b'$', count: 3 } })
    );
    assert_eq!(scanner.bulk_strings(row, 9), (0, 0), "a frame has begun");
}

#[test]
fn streaming_a_bulk_string_releases_the_bytes_that_arrived() {
    let mut scanner = ReplyScanner::new();
    let head = ReplyHead { kind: b'$', count: 5 };
    assert_eq!(scanner.next(b"$5\r\nhe"), Ok(Reply::Head { scanned: 4, head }));
    assert_eq!(scanner.stream(b"$5\r\nhe"), Ok(Streamed { len: 6, done: false }));
    assert_eq!(scanner.next(b"llo\r\n"), Err(Error::InvalidStream), "the frame is being streamed");
    assert_eq!(scanner.stream(b"llo\r"), Ok(Streamed { len: 3, done: false }));
    assert!(scanner.is_mid_frame());
    assert_eq!(scanner.stream(b"\r\n+OK\r\n"), Ok(Streamed { len: 2, done: true }));
    assert_eq!(scanner.stream(b"+OK\r\n"), Err(Error::InvalidStream), "next has returned no head");
}

#[test]
fn aggregate_headers() {
    assert_eq!(aggregate_header(b""), Ok(None));
    assert_eq!(aggregate_header(b"*1"), Ok(None));
    assert_eq!(aggregate_header(b"*12\r\nx"), Ok(Some((ReplyHead { kind: b'*', count: 12 }, 5))));
    assert_eq!(aggregate_header(b"*-1\r\n"), Ok(Some((ReplyHead { kind: b'*', count: -1 }, 5))));
    assert_eq!(aggregate_header(b"$1\r\n"), Err(Error::UnknownType(b'$')));
}

#[test]
fn second_elements() {
    for (input, expected) in [
        (&b"*3\r\n$9\r\nsubscribe\r\n$2\r\nab\r\n:1\r\n"[..], Some(&b"ab"[..])),
        (b">3\r\n$9\r\nsubscribe\r\n$0\r\n\r\n:1\r\n", Some(b"")),
        (b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", None),
        (b">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n", None),
        (b"*3\r\n$9\r\nsubscribe\r\n$2\r\nab", None),
        (b"*3\r\n+subscribe\r\n$2\r\nab\r\n", None),
        (b"+OK\r\n", None),
    ] {
        assert_eq!(second_element(input), expected, "{}", input.escape_ascii());
    }
}

#[test]
fn first_elements() {
    use FirstElement::{Need, Other, Text};
    let cases: [(&[u8], FirstElement<'_>); 14] = [
        (b"", Need),
        (b"*3", Need),
        (b"*3\r\n", Need),
        (b"*3\r\n$7\r\nmess", Need),
        (b"*3\r\n$7\r\nmessage", Text(b"message")),
        (b">3\r\n+message\r\n", Text(b"message")),
        (b">3\r\n+message", Need),
        (b"*3\r\n:1\r\n", Other),
        (b"*0\r\n", Other),
        (b"*-1\r\n", Other),
        (b"+OK\r\n", Other),
        (b"*1\r\n$33\r\n", Other),
        (b"*1\r\n$-1\r\n", Other),
        (b"*1\r\n$32\r\n01234567890123456789012345678901", Text(b"01234567890123456789012345678901")),
    ];
    for (input, expected) in cases {
        assert_eq!(first_element(input), expected, "{}", input.escape_ascii());
    }
    let long = [b"*1\r\n+", &[b'x'; 33][..]].concat();
    assert_eq!(first_element(&long), Other);
}
