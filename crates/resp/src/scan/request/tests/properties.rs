//! Properties for any bytes in any pieces.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2;

use super::LIMITS;
use crate::drive::{self, Pace, Sent};
use crate::encode;
use crate::error::RequestError as Error;
use crate::limits::RequestLimits;
use crate::scan::{Request, RequestScanner, arguments};

fn encoded(commands: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut out = Vec::new();
    for command in commands {
        let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        encode::command(&mut out, &args);
    }
    out
}

fn any_commands() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let argument = prop_oneof![4 => vec(any::<u8>(), 0..12), 1 => vec(any::<u8>(), 100..300), 2 => vec(b'\r'..=b'\r', 0..3)];
    // Clients repeat commands with the same name and number of arguments, several times in a row.
    let row = (vec(argument.clone(), 1..6), vec(vec(argument, 5), 0..3)).prop_map(|(first, others)| {
        let rest = first.len() - 1;
        let alike = others.into_iter().map(|other| [&first[..1], &other[..rest]].concat());
        std::iter::once(first.clone()).chain(alike).collect::<Vec<_>>()
    });
    vec(row, 1..6).prop_map(|rows| rows.concat())
}

/// Generates bytes that look like requests: valid ones with some changes, lines, and noise of bytes from the grammar.
pub(super) fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (any_commands(), vec((any::<prop::sample::Index>(), mutation()), 0..4)).prop_map(
        |(commands, changes)| {
            let mut bytes = encoded(&commands);
            for (at, change) in changes {
                change.apply(&mut bytes, at);
            }
            bytes
        },
    );
    let soup = vec(prop::sample::select(b"*$\r\n0123456789-+ :~aP\0".to_vec()), 0..60);
    prop_oneof![4 => mutated, 2 => soup, 1 => vec(any::<u8>(), 0..60)]
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(u8),
    Insert(u8),
    Remove,
    Cut,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"*$\r\n0129-+ :".to_vec())];
    (byte, 0..7).prop_map(|(byte, kind)| match kind {
        0..3 => Mutation::Set(byte),
        3..5 => Mutation::Insert(byte),
        5 => Mutation::Remove,
        _ => Mutation::Cut,
    })
}

impl Mutation {
    fn apply(self, bytes: &mut Vec<u8>, at: prop::sample::Index) {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        match self {
            Self::Set(byte) => bytes[at] = byte,
            Self::Insert(byte) => bytes.insert(at, byte),
            Self::Remove => drop(bytes.remove(at)),
            Self::Cut => bytes.truncate(at),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_give_the_same_requests(
        input in any_bytes(),
        chunks in vec(1_usize..40, 1..8),
        stream_from in prop::option::of(0_usize..60),
        (bulk, arguments) in prop_oneof![Just((LIMITS.bulk, LIMITS.arguments)), (0_u64..20, 1_u64..6)],
        authenticated in any::<bool>(),
    ) {
        let limits = RequestLimits { bulk, arguments, authenticated, ..LIMITS };
        let whole = drive::requests(&input, limits, Pace::WHOLE);
        prop_assert_eq!(drive::requests(&input, limits, Pace { chunks: &chunks, stream_from }), whole);
    }

    #[test]
    fn encoded_commands_are_read_back(commands in any_commands(), chunks in vec(1_usize..40, 1..8)) {
        let input = encoded(&commands);
        let (sent, error) = drive::requests(&input, LIMITS, Pace { chunks: &chunks, stream_from: None });
        prop_assert_eq!(error, None);
        let back: Vec<Vec<Vec<u8>>> = sent.iter().map(|sent| match sent {
            Sent::Command(frame) => arguments(frame).map(<[u8]>::to_vec).collect(),
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(back, commands);
    }

    /// Property: the scanner accepts nothing that `redis-protocol` refuses. If `redis-protocol` accepts bytes that
    /// the scanner refuses, one of three reasons must hold. The canonical form of the decoded frame has other bytes,
    /// or it is not an array of bulk strings, or it exceeds the limits.
    #[test]
    fn never_laxer_than_redis_protocol(input in any_bytes()) {
        let ours = RequestScanner::new(LIMITS).next(&input);
        let theirs = resp2::decode::decode(&input);
        match (&ours, &theirs) {
            (Ok(Request::Command { len, arguments: count, .. }), Ok(Some((resp2::types::OwnedFrame::Array(items), used)))) => {
                prop_assert_eq!(len, used);
                prop_assert_eq!(*count, u64::try_from(items.len()).unwrap());
                for (ours, theirs) in arguments(&input[..*len]).zip(items) {
                    prop_assert_eq!(&resp2::types::OwnedFrame::BulkString(ours.to_vec()), theirs);
                }
            }
            (Ok(Request::Command { .. }), other) => prop_assert!(false, "redis-protocol returns {other:?}"),
            (Err(error), Ok(Some((frame, used)))) => {
                prop_assert!(is_strictness_explained(&input[..*used], frame, *error), "{error:?}: {frame:?}");
            }
            _ => {}
        }
    }
}

fn is_strictness_explained(bytes: &[u8], frame: &resp2::types::OwnedFrame, error: Error) -> bool {
    use resp2::types::OwnedFrame as Frame;
    let Frame::Array(items) = frame else {
        // A server reads bytes that are not an array as a line, which a NUL or a limit can make invalid.
        return bytes.first() != Some(&b'*') || matches!(error, Error::InvalidMultibulkLength);
    };
    let Some(args) = items.iter().map(bulk).collect::<Option<Vec<_>>>() else {
        return matches!(error, Error::ExpectedDollar(_) | Error::InvalidBulkLength | Error::InvalidFraming);
    };
    let mut canonical = Vec::new();
    encode::command(&mut canonical, &args);
    canonical != bytes
}

fn bulk(frame: &resp2::types::OwnedFrame) -> Option<&[u8]> {
    match frame {
        resp2::types::OwnedFrame::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
