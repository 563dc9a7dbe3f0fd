use super::*;
use crate::drive::{self, Pace, Sent};
use crate::encode;
use crate::error::RequestError as Error;
use crate::limits::{MAX_BULK, MAX_INLINE};

mod properties;

const LIMITS: RequestLimits = RequestLimits {
    bulk: MAX_BULK,
    arguments: 1024 * 1024,
    inline: MAX_INLINE,
    inline_commands: true,
    authenticated: true,
};

/// Returns the result for the input. Checks that it does not depend on the pieces: whole, every split in two, byte by
/// byte; held and streamed.
fn outcome(input: &[u8], limits: RequestLimits) -> (Vec<Sent>, Option<Error>) {
    let whole = drive::requests(input, limits, Pace::WHOLE);
    for stream_from in [None, Some(0), Some(17)] {
        for split in 0..=input.len().min(300) {
            let chunks = [split, input.len()];
            let run = drive::requests(input, limits, Pace { chunks: &chunks, stream_from });
            assert_eq!(
                run,
                whole,
                "{} split at {split}, streamed from {stream_from:?}",
                input.escape_ascii()
            );
        }
        let run = drive::requests(input, limits, Pace { chunks: &[1], stream_from });
        assert_eq!(run, whole, "{} byte by byte, streamed from {stream_from:?}", input.escape_ascii());
    }
    whole
}

fn refused(input: &[u8]) -> Error {
    let (sent, error) = outcome(input, LIMITS);
    assert_eq!(sent, [], "{}", input.escape_ascii());
    error.unwrap_or_else(|| panic!("{} is not refused", input.escape_ascii()))
}

fn accepted(input: &[u8]) -> Vec<Sent> {
    let (sent, error) = outcome(input, LIMITS);
    assert_eq!(error, None, "{}", input.escape_ascii());
    sent
}

fn command(frame: &[u8]) -> Sent {
    Sent::Command(frame.to_vec())
}

fn inline(line: &[u8]) -> Sent {
    Sent::Inline(line.to_vec())
}

#[test]
fn the_scanner_is_small() {
    assert!(size_of::<RequestScanner>() <= 80, "{}", size_of::<RequestScanner>());
}

#[test]
fn accepts_canonical_frames() {
    let ping = b"*1\r\n$4\r\nPING\r\n";
    let set = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n";
    assert_eq!(accepted(ping), [command(ping)]);
    assert_eq!(accepted(&[&ping[..], set, ping].concat()), [command(ping), command(set), command(ping)]);
    assert_eq!(accepted(b"*1\r\n$0\r\n\r\n"), [command(b"*1\r\n$0\r\n\r\n")], "an empty name is valid");
    let bytes = b"*2\r\n$4\r\nECHO\r\n$9\r\n\r\n*1\r\n\0\xff\n\r\n";
    assert_eq!(accepted(bytes), [command(bytes)], "a body is never read");
}

#[test]
fn refuses_headers_without_crlf() {
    assert_eq!(refused(b"*1\r\n$4\r\nPING\n*1\r\n"), Error::InvalidFraming);
    assert_eq!(refused(b"*1\n$4\nPING\n"), Error::InvalidFraming, "Redis would wait for a CR without end");
    assert_eq!(refused(b"*1\r\n$4\nPING\n"), Error::InvalidFraming);
    assert_eq!(refused(b"*1\rX$4\rXPING\rX"), Error::InvalidFraming);
    assert_eq!(refused(b"*1\r\r$4\r\nPING\r\n"), Error::InvalidFraming);
    assert_eq!(refused(b"*1\r\n$4\r\rPING\r\n"), Error::InvalidFraming);
}

#[test]
fn refuses_bodies_without_crlf() {
    for end in [&b"xx"[..], b"\r\r", b"\n\r", b"\rx", b"x\n"] {
        assert_eq!(refused(&[b"*1\r\n$4\r\nPING", end].concat()), Error::InvalidFraming);
        let late = [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv", end].concat();
        assert_eq!(refused(&late), Error::InvalidFraming);
    }
}

#[test]
fn refuses_numbers_that_are_not_canonical() {
    let numbers = [
        "+1",
        "01",
        "00",
        "-0",
        "-",
        "",
        " 1",
        "1 ",
        "0x1",
        "1e1",
        "1.0",
        "--1",
        "-01",
        "+",
        "\0",
        "1\0",
        "٣",
        "111111111111111111111",
        "99999999999999999999",
        "18446744073709551616",
        "9223372036854775808",
        "-9223372036854775809",
        "2147483648",
        "1048577",
    ];
    for number in numbers {
        let input = format!("*{number}\r\n$4\r\nPING\r\n");
        assert_eq!(refused(input.as_bytes()), Error::InvalidMultibulkLength, "{number:?}");
    }
    let lengths = [
        "+4",
        "04",
        " 4",
        "4 ",
        "",
        "-",
        "-0",
        "-1",
        "-4",
        "x",
        "\0",
        "111111111111111111111",
        "536870913",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
    ];
    for length in lengths {
        let input = format!("*1\r\n${length}\r\nPING\r\n");
        assert_eq!(refused(input.as_bytes()), Error::InvalidBulkLength, "{length:?}");
        let second = format!("*2\r\n$4\r\nECHO\r\n${length}\r\nPING\r\n");
        assert_eq!(refused(second.as_bytes()), Error::InvalidBulkLength, "{length:?}");
    }
}

#[test]
fn only_the_limit_decides_on_lengths_around_powers_of_two() {
    for power in [7_u32, 8, 15, 16, 31, 32, 62, 63] {
        for length in [(1_u64 << power) - 1, 1 << power, (1 << power) + 1] {
            let header = format!("*2\r\n$4\r\nECHO\r\n${length}\r\n");
            let limits = RequestLimits { bulk: u64::MAX, ..LIMITS };
            let in_range = i64::try_from(length).is_ok();
            let (sent, error) = outcome(header.as_bytes(), limits);
            assert_eq!((sent, error), (vec![], None), "{length} in range: {in_range}");
            let limited = drive::requests(header.as_bytes(), LIMITS, Pace::WHOLE).1;
            assert_eq!(limited, (length > MAX_BULK).then_some(Error::InvalidBulkLength));
            let count = format!("*{length}\r\n$4\r\nECHO\r\n");
            let limited = drive::requests(count.as_bytes(), LIMITS, Pace::WHOLE).1;
            assert_eq!(limited, (length > LIMITS.arguments).then_some(Error::InvalidMultibulkLength));
        }
    }
}

#[test]
fn limits_are_inclusive() {
    let bulk = format!("*1\r\n${MAX_BULK}\r\n");
    assert_eq!(accepted(bulk.as_bytes()), []);
    assert_eq!(accepted(b"*1048576\r\n"), []);
}

/// Redis first searches for the CR, and then checks the number.
#[test]
fn refuses_headers_without_an_end_at_the_bound_of_redis() {
    let endless = |start: &[u8], len: usize| [start, &b"1".repeat(len)].concat();
    let mut scanner = RequestScanner::new(LIMITS);
    assert!(matches!(scanner.next(&endless(b"*", MAX_INLINE - 1)), Ok(Request::Need { .. })));
    assert_eq!(scanner.next(&endless(b"*", MAX_INLINE)), Err(Error::TooBigMbulkCount));
    let mut scanner = RequestScanner::new(LIMITS);
    assert!(matches!(scanner.next(&endless(b"*1\r\n$", MAX_INLINE - 1)), Ok(Request::Need { .. })));
    assert_eq!(scanner.next(&endless(b"*1\r\n$", MAX_INLINE)), Err(Error::TooBigBulkCount));
    assert_eq!(refused(&[&endless(b"*", 100)[..], b"\r\n"].concat()), Error::InvalidMultibulkLength);
}

#[test]
fn an_endless_header_is_read_once_in_any_pieces() {
    for (start, len, end, error) in [
        (&b"*"[..], MAX_INLINE - 1, &b"\r\n"[..], Error::InvalidMultibulkLength),
        (b"*", MAX_INLINE, b"\r\n", Error::TooBigMbulkCount),
        (b"*", 100_000, b"\r\n", Error::TooBigMbulkCount),
        (b"*2\r\n$1\r\na\r\n$", MAX_INLINE - 1, b"\r\n", Error::InvalidBulkLength),
        (b"*2\r\n$1\r\na\r\n$", 100_000, b"\r\n", Error::TooBigBulkCount),
        (b"*2\r\n$1\r\na\r\n$", 1000, b"\n", Error::InvalidFraming),
    ] {
        let input = [start, &b"x".repeat(len), end].concat();
        for stream_from in [None, Some(0)] {
            for chunks in [&[][..], &[1], &[4096], &[MAX_INLINE + 1, 7]] {
                let run = drive::requests(&input, LIMITS, Pace { chunks, stream_from });
                assert_eq!(run, (vec![], Some(error)), "{len} in {chunks:?}");
            }
        }
    }
}

#[test]
fn limits_apply_to_frames_that_arrived_whole() {
    let frame = b"*3\r\n$3\r\nSET\r\n$2\r\nkk\r\n$12\r\nabcdefghijkl\r\n*1\r\n$4\r\nPING\r\n";
    let of = |bulk, arguments| outcome(frame, RequestLimits { bulk, arguments, ..LIMITS });
    assert_eq!(of(12, 3).1, None);
    assert_eq!(of(12, 2), (vec![], Some(Error::InvalidMultibulkLength)));
    assert_eq!(of(11, 3), (vec![], Some(Error::InvalidBulkLength)));
    assert_eq!(of(2, 3), (vec![], Some(Error::InvalidBulkLength)), "the name is an argument too");
    let many = [&b"*11\r\n"[..], &b"$1\r\na\r\n".repeat(11)].concat();
    assert_eq!(outcome(&many, LIMITS).1, None);
    assert_eq!(outcome(&many, LIMITS.unauthenticated()), (vec![], Some(Error::UnauthenticatedMultibulk)));
}

#[test]
fn empty_commands_are_dropped() {
    for empty in ["*0\r\n", "*-1\r\n", "*-10\r\n", "*-9223372036854775808\r\n", "\r\n", "\n"] {
        assert_eq!(accepted(empty.as_bytes()), [Sent::Empty], "{empty:?}");
    }
    let ping = b"*1\r\n$4\r\nPING\r\n";
    let sent = accepted(b"\r\n*0\r\n*1\r\n$4\r\nPING\r\n\n*-1\r\n*1\r\n$4\r\nPING\r\n");
    let empty = Sent::Empty;
    let both = [empty.clone(), empty.clone(), command(ping), empty.clone(), empty, command(ping)];
    assert_eq!(sent, both);
}

#[test]
fn an_argument_is_a_bulk_string() {
    assert_eq!(refused(b"*1\r\n:5\r\n"), Error::ExpectedDollar(b':'));
    assert_eq!(refused(b"*1\r\n*1\r\n$4\r\nPING\r\n"), Error::ExpectedDollar(b'*'));
    assert_eq!(refused(b"*2\r\n$4\r\nECHO\r\n~1\r\n"), Error::ExpectedDollar(b'~'));
    assert_eq!(refused(b"*2\r\n$4\r\nECHO\r\n>1\r\n"), Error::ExpectedDollar(b'>'));
    assert_eq!(refused(b"*2\r\n$4\r\nECHO\r\n\r\n"), Error::ExpectedDollar(b'\r'));
    assert_eq!(Error::ExpectedDollar(b'\r').reply().unwrap(), "ERR Protocol error: expected '$', got ' '");
    assert_eq!(Error::ExpectedDollar(b'f').reply().unwrap(), "ERR Protocol error: expected '$', got 'f'");
}

#[test]
fn other_bytes_are_an_inline_command() {
    assert_eq!(accepted(b"PING\r\n"), [inline(b"PING\r\n")]);
    assert_eq!(accepted(b"PING\nPING\r\n"), [inline(b"PING\n"), inline(b"PING\r\n")]);
    assert_eq!(
        accepted(b" *1\r\n$4\r\nPING\r\n"),
        [inline(b" *1\r\n"), inline(b"$4\r\n"), inline(b"PING\r\n")]
    );
    assert_eq!(accepted(b"~1\r\n"), [inline(b"~1\r\n")]);
    assert_eq!(accepted(b"PI"), []);
    assert_eq!(refused(b"PI\0NG\r\n"), Error::InvalidFraming);
    assert_eq!(refused(b"\0"), Error::InvalidFraming);
}

#[test]
fn inline_commands_are_bounded() {
    let longest = [vec![b'a'; MAX_INLINE], b"\n".to_vec()].concat();
    assert_eq!(drive::requests(&longest, LIMITS, Pace::WHOLE), (vec![inline(&longest)], None));
    let chunks = [4096];
    for pace in [Pace::WHOLE, Pace { chunks: &chunks, stream_from: None }] {
        let long = [vec![b'a'; MAX_INLINE + 1], b"\n".to_vec()].concat();
        assert_eq!(drive::requests(&long, LIMITS, pace), (vec![], Some(Error::TooBigInline)));
        assert_eq!(drive::requests(&long[..=MAX_INLINE], LIMITS, pace), (vec![], Some(Error::TooBigInline)));
    }
}

#[test]
fn inline_commands_can_be_disabled() {
    let limits = RequestLimits { inline_commands: false, ..LIMITS };
    assert_eq!(outcome(b"PING\r\n", limits), (vec![], Some(Error::InlineDisabled)));
    assert_eq!(outcome(b"*1\r\n$4\r\nPING\r\n", limits).1, None);
    assert_eq!(outcome(b"\r\n\n", limits), (vec![Sent::Empty, Sent::Empty], None));
    assert_eq!(outcome(b"\rx", limits), (vec![], Some(Error::InlineDisabled)));
}

#[test]
fn a_tls_client_is_recognised() {
    assert_eq!(refused(b"\x16\x03\x01\x02\0"), Error::TlsClientHello);
    assert_eq!(Error::TlsClientHello.reply(), None);
    assert_eq!(accepted(b"\x16x\n"), [inline(b"\x16x\n")]);
    let off = RequestLimits { inline_commands: false, ..LIMITS };
    assert_eq!(outcome(b"\x16\x03\x01", off).1, Some(Error::TlsClientHello));
}

#[test]
fn limits_are_lower_before_login() {
    let limits = LIMITS.unauthenticated();
    let of = |input: &str| outcome(input.as_bytes(), limits).1;
    assert_eq!(of("*10\r\n"), None);
    assert_eq!(of("*11\r\n"), Some(Error::UnauthenticatedMultibulk));
    assert_eq!(of("*2147483648\r\n"), Some(Error::InvalidMultibulkLength));
    assert_eq!(of("*1\r\n$16384\r\n"), None);
    assert_eq!(of("*1\r\n$16385\r\n"), Some(Error::UnauthenticatedBulk));
    assert_eq!(of("*1\r\n$536870913\r\n"), Some(Error::InvalidBulkLength));
    let tighter = RequestLimits { bulk: 100, arguments: 5, ..LIMITS }.unauthenticated();
    assert_eq!(outcome(b"*6\r\n", tighter).1, Some(Error::InvalidMultibulkLength));
    assert_eq!(outcome(b"*1\r\n$101\r\n", tighter).1, Some(Error::InvalidBulkLength));
}

#[test]
fn new_limits_apply_from_the_next_header() {
    let mut scanner = RequestScanner::new(LIMITS.unauthenticated());
    let frame = b"*2\r\n$4\r\nECHO\r\n$16385\r\n";
    assert!(matches!(scanner.next(&frame[..14]), Ok(Request::Head { present: 1, .. })));
    scanner.set_limits(LIMITS);
    assert!(matches!(scanner.next(frame), Ok(Request::Head { present: 1, scanned: 22, .. })));
}

#[test]
fn returns_a_head_as_soon_as_the_name_has_arrived() {
    let mut scanner = RequestScanner::new(LIMITS);
    let frame = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    assert_eq!(scanner.next(&frame[..6]), Ok(Request::Need { at_least: 7 }));
    assert_eq!(scanner.next(&frame[..9]), Ok(Request::Need { at_least: 13 }));
    let name = Span { start: 8, end: 11 };
    let head = |scanned, present| Ok(Request::Head { scanned, name, arguments: 3, present });
    assert_eq!(scanner.next(&frame[..13]), head(13, 1));
    assert_eq!(scanner.next(&frame[..18]), head(17, 1));
    assert_eq!(scanner.next(&frame[..20]), head(20, 2));
    assert_eq!(scanner.next(frame), Ok(Request::Command { len: 27, name, arguments: 3 }));
    assert!(!scanner.is_mid_frame());
}

#[test]
fn accepts_a_name_of_any_length() {
    for len in [MAX_NAME - 1, MAX_NAME, MAX_NAME + 1, 100_000] {
        let frame = [format!("*2\r\n${len}\r\n").as_bytes(), &vec![b'n'; len], b"\r\n$1\r\nx\r\n"].concat();
        assert_eq!(drive::requests(&frame, LIMITS, Pace::WHOLE), (vec![command(&frame)], None));
        for stream_from in [None, Some(0)] {
            let run = drive::requests(&frame, LIMITS, Pace { chunks: &[50], stream_from });
            assert_eq!(run, (vec![command(&frame)], None));
        }
    }
    let mut scanner = RequestScanner::new(LIMITS);
    let begun = [&b"*1\r\n$500000000\r\n"[..], &[b'n'; 130]].concat();
    let Ok(Request::Head { name, present: 0, .. }) = scanner.next(&begun) else { panic!("no head") };
    assert_eq!(name.of(&begun), [b'n'; MAX_NAME]);
}

#[test]
fn calls_out_of_order_are_refused() {
    let mut scanner = RequestScanner::new(LIMITS);
    assert_eq!(scanner.stream(b"*1\r\n"), Err(Error::InvalidFraming), "next has returned no head");
    let frame = b"*2\r\n$4\r\nECHO\r\n$5\r\nhe";
    assert!(matches!(scanner.next(frame), Ok(Request::Head { .. })));
    assert_eq!(scanner.stream(frame), Ok(Streamed { len: frame.len(), done: false }));
    assert_eq!(scanner.next(b"llo\r\n"), Err(Error::InvalidFraming), "the frame is being streamed");
}

#[test]
fn streaming_releases_a_line_end_in_one_piece() {
    let mut scanner = RequestScanner::new(LIMITS);
    assert!(matches!(scanner.next(b"*2\r\n$4\r\nECHO\r\n$5\r\nhe"), Ok(Request::Head { .. })));
    assert_eq!(scanner.stream(b"*2\r\n$4\r\nECHO\r\n$5\r\nhe"), Ok(Streamed { len: 20, done: false }));
    assert_eq!(scanner.stream(b"llo\r"), Ok(Streamed { len: 3, done: false }));
    assert_eq!(scanner.stream(b"\r"), Ok(Streamed { len: 0, done: false }));
    assert_eq!(scanner.stream(b"\r\n*1\r\n"), Ok(Streamed { len: 2, done: true }));
    assert!(matches!(scanner.next(b"*1\r\n$4\r\nPING\r\n"), Ok(Request::Command { .. })));
}

#[test]
fn a_command_that_begins_like_the_last_has_the_same_name() {
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    let mut scanner = RequestScanner::new(LIMITS);
    let Ok(Request::Command { len, name, arguments }) = scanner.next(get) else { panic!("a command") };
    assert_eq!((len, name.of(get), arguments), (get.len(), &b"GET"[..], 2));
    let before = Beginning::of(get, name, arguments).unwrap();
    let cut = Ok(Request::Head { scanned: 13, name, arguments, present: 1 });
    for (next, found) in [
        (&b"*2\r\n$3\r\nGET\r\n$2\r\nbb\r\n*2"[..], Some(Ok(Request::Command { len: 21, name, arguments }))),
        (b"*2\r\n$3\r\nGET\r\n$2\r", Some(cut)),
        (b"*2\r\n$3\r\nGET\r\n", Some(cut)),
        (b"*2\r\n$3\r\nGET\r\n$1\r\naXX", Some(Err(Error::InvalidFraming))),
        (b"*2\r\n$3\r\nGET\r", None),
        (b"*2\r\n$3\r\nget\r\n$1\r\na\r\n", None),
        (b"*3\r\n$3\r\nGET\r\n$1\r\na\r\n$1\r\nb\r\n", None),
        (b"", None),
    ] {
        assert_eq!(scanner.clone().next_like(&before, next), found, "{}", next.escape_ascii());
        assert!(found.is_none_or(|found| scanner.clone().next(next) == found));
    }
    assert!(matches!(scanner.next(&get[..get.len() - 1]), Ok(Request::Head { .. })));
    assert_eq!(scanner.next_like(&before, get), None, "a frame has begun");
}

#[test]
fn a_name_that_may_be_cut_gives_no_beginning() {
    for (len, whole) in [(MAX_NAME - 1, true), (MAX_NAME, false), (MAX_NAME + 2, false)] {
        let mut frame = Vec::new();
        encode::command(&mut frame, &[&vec![b'n'; len], b"a"]);
        let request = RequestScanner::new(LIMITS).next(&frame);
        let Ok(Request::Command { name, arguments, .. }) = request else { panic!("{request:?}") };
        assert_eq!(Beginning::of(&frame, name, arguments).is_some(), whole, "{len}");
    }
}
