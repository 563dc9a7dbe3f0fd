//! Mutated bytes: the scanner against Redis. Redis executes every request that the scanner would forward with exactly
//! the same arguments. Where the two differ, the scanner is stricter.

use std::cell::RefCell;

use portcullis_resp::error::RequestError;
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::{Request, RequestScanner, arguments};
use portcullis_resp::{encode, inline};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::server::Server;

/// The state of the scanner at the end of the input.
#[derive(Debug, PartialEq)]
enum End {
    /// All input is consumed.
    Clean,
    /// A frame has begun and is not complete.
    Waiting,
    Refused(RequestError),
}

/// The canonical frames of all commands in `input` up to its end or the first error, their number, and the end.
fn scanned(input: &[u8]) -> (Vec<u8>, usize, End) {
    let mut scanner = RequestScanner::new(RequestLimits::default());
    let (mut out, mut commands, mut rest) = (Vec::new(), 0, input);
    loop {
        let len = match scanner.next(rest) {
            Err(error) => return (out, commands, End::Refused(error)),
            Ok(Request::Need { .. } | Request::Head { .. }) => {
                let end = if rest.is_empty() { End::Clean } else { End::Waiting };
                return (out, commands, end);
            }
            Ok(Request::Empty { len }) => len,
            Ok(Request::Inline { len }) => match inline::canonicalise(&rest[..len], &mut out) {
                Ok(count) => {
                    commands += usize::from(count > 0);
                    len
                }
                Err(error) => return (out, commands, End::Refused(error)),
            },
            Ok(Request::Command { len, .. }) => {
                let args: Vec<&[u8]> = arguments(&rest[..len]).collect();
                let begin = out.len();
                encode::command(&mut out, &args);
                assert_eq!(&out[begin..], &rest[..len], "an accepted frame must be in canonical form");
                commands += 1;
                len
            }
        };
        rest = &rest[len..];
    }
}

/// Frames whose replies show what Redis executed: ECHO repeats its argument, an unknown command its name and
/// arguments.
fn pipeline() -> impl Strategy<Value = Vec<u8>> {
    let text =
        || vec(prop_oneof![4 => b'a'..=b'z', 1 => prop::sample::select(b"\r\n*$ 1:\0\xff".to_vec())], 0..12);
    let echo = text().prop_map(|text| vec![b"ECHO".to_vec(), text]);
    let unknown = vec(text(), 1..4).prop_map(|mut args| {
        args[0].insert(0, b'_');
        args
    });
    let frame = prop_oneof![3 => echo, 1 => unknown].prop_map(|args| {
        let mut out = Vec::new();
        encode::command(&mut out, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
        out
    });
    let empty =
        prop::sample::select(vec!["*0\r\n", "*-1\r\n", "\r\n", "\n", "ECHO inline\r\n", "ECHO 'a b'\n"]);
    let piece = prop_oneof![6 => frame, 1 => empty.prop_map(|text| text.as_bytes().to_vec())];
    vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"*$\r\n0123456789-+ x\0".to_vec())];
    let change = (any::<prop::sample::Index>(), 0..6, byte);
    (pipeline(), vec(change, 0..4)).prop_map(|(mut bytes, changes)| {
        for (at, kind, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0..3 => bytes[at] = byte,
                3 => bytes.insert(at, byte),
                4 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

/// Checks one input and returns the state of the scanner at its end.
fn compare(server: &Server, input: &[u8]) -> Result<End, TestCaseError> {
    let (canonical, commands, end) = scanned(input);
    let said = server.connect().send_until_closed(input);
    let mut client = server.connect();
    client.send(&canonical);
    let expected: Vec<u8> = (0..commands).flat_map(|_| client.frame()).collect();
    prop_assert!(
        said.starts_with(&expected),
        "{}\nreply of Redis: {}\nreply to the forwarded part: {}",
        input.escape_ascii(),
        said.escape_ascii(),
        expected.escape_ascii()
    );
    let more = &said[expected.len()..];
    match end {
        End::Clean | End::Waiting => prop_assert_eq!(more, b"", "{}", input.escape_ascii()),
        End::Refused(RequestError::InvalidFraming | RequestError::TlsClientHello) => {}
        End::Refused(error) => {
            // Redis waits for a CR before it checks a header; the scanner does not wait.
            let text = format!("-{}\r\n", error.reply().unwrap());
            let ours_alone = matches!(error, RequestError::InvalidMultibulkLength) && beyond_our_limit(input);
            prop_assert!(
                more.is_empty() || more == text.as_bytes() || ours_alone || is_raw_byte(error, more),
                "{}: {} instead of {text}",
                input.escape_ascii(),
                more.escape_ascii()
            );
        }
    }
    Ok(end)
}

/// Whether Redis waits for more arguments than our limit allows.
fn beyond_our_limit(input: &[u8]) -> bool {
    input.windows(8).any(|window| window[0] == b'*' && window[1..].iter().all(u8::is_ascii_digit))
}

/// Whether the texts differ only in a byte that Redis repeats unchanged: we repeat only printable bytes.
fn is_raw_byte(error: RequestError, said: &[u8]) -> bool {
    matches!(error, RequestError::ExpectedDollar(byte) if !byte.is_ascii_graphic())
        && said.starts_with(b"-ERR Protocol error: expected '$', got '")
}

#[test]
fn redis_executes_forwarded_requests_alike() {
    let server = Server::start(&[]);
    let tally = RefCell::new([0_u32; 3]);
    let config = ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&mutated(), |input| {
            let end = compare(&server, &input)?;
            let kind = match end {
                End::Clean => 0,
                End::Waiting => 1,
                End::Refused(_) => 2,
            };
            tally.borrow_mut()[kind] += 1;
            Ok(())
        })
        .unwrap();
    let tally = tally.into_inner();
    assert!(tally.iter().all(|&count| count > 300), "each outcome must occur often: {tally:?}");
}

#[test]
fn handles_odd_bytes_as_expected() {
    let server = Server::start(&[]);
    // `compare` checks the action of Redis for each input, and that the scanner is at least as strict. This test adds
    // the expected outcome.
    let refused = [
        "*1\r\n$4\r\nPING\n*",
        "*1\rX$4\rXPING\rX",
        "*1\r\n$4\r\nPINGxx",
        "*+1\r\n$4\r\nPING\r\n",
        "*01\r\n$4\r\nPING\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*1\r\n$+4\r\nPING\r\n",
        "*1\r\n$ 4\r\nPING\r\n",
        "*-0\r\n",
        "*\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n:5\r\n",
        "*1\r\n*1\r\n$4\r\nPING\r\n",
        "*111111111111111111111\r\n",
        "*2147483648\r\n",
        "*1\r\n$536870913\r\n",
        "PI\0NG\r\n",
        "PING \"a\r\n",
    ];
    for input in refused {
        let end = compare(&server, input.as_bytes()).unwrap();
        assert!(matches!(end, End::Refused(_)), "{input:?}: {end:?}");
    }
    let clean = [
        "*0\r\n",
        "*-1\r\n",
        "*-10\r\n",
        "\r\n",
        " *1\r\n$4\r\nPING\r\n",
        "\"PI\\x4eG\"\n",
        "'PING'\tx\n",
        "~1\r\n",
    ];
    for input in clean {
        assert_eq!(compare(&server, input.as_bytes()).unwrap(), End::Clean, "{input:?}");
    }
    for input in ["*2147483647\r\n", "*1\r\n$536870912\r\n", "*1\r\n$4\r\nPIN", "*1\r\n$4\r\nPING\n", "PING"]
    {
        let end = compare(&server, input.as_bytes()).unwrap();
        let ours = RequestError::InvalidMultibulkLength;
        assert!(matches!(end, End::Waiting) || end == End::Refused(ours), "{input:?}: {end:?}");
    }
}
