//! Properties for any bytes in any pieces.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::{resp2, resp3};

use crate::drive::{self, Pace};
use crate::scan::{Reply, ReplyScanner};

/// A reply as a tree. It is written in RESP3, or in RESP2 if it has no types of RESP3.
#[derive(Clone, Debug)]
enum Tree {
    Line(u8, String),
    Integer(i64),
    Blob(u8, Vec<u8>),
    Null(&'static str),
    Boolean(bool),
    Chunks(Vec<Vec<u8>>),
    Aggregate(u8, Vec<Self>),
    Streamed(u8, Vec<Self>),
    Decorated(Vec<Self>, Box<Self>),
    /// A push in front of an element.
    Interleaved(Vec<Self>, Box<Self>),
}

impl Tree {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Line(kind, text) => out.extend(format!("{}{text}\r\n", char::from(*kind)).bytes()),
            Self::Integer(value) => out.extend(format!(":{value}\r\n").bytes()),
            Self::Blob(kind, bytes) => {
                out.extend(format!("{}{}\r\n", char::from(*kind), bytes.len()).bytes());
                out.extend(bytes);
                out.extend(b"\r\n");
            }
            Self::Null(text) => out.extend(text.bytes()),
            Self::Boolean(value) => out.extend(if *value { b"#t\r\n" } else { b"#f\r\n" }),
            Self::Chunks(chunks) => {
                out.extend(b"$?\r\n");
                for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                    Self::Blob(b';', chunk.clone()).write(out);
                }
                out.extend(b";0\r\n");
            }
            Self::Aggregate(kind, items) => {
                let count = if *kind == b'%' { items.len() / 2 } else { items.len() };
                out.extend(format!("{}{count}\r\n", char::from(*kind)).bytes());
                items
                    .iter()
                    .take(if *kind == b'%' { count * 2 } else { count })
                    .for_each(|item| item.write(out));
            }
            Self::Streamed(kind, items) => {
                out.extend([*kind, b'?', b'\r', b'\n']);
                let count = if *kind == b'%' { items.len() / 2 * 2 } else { items.len() };
                items.iter().take(count).for_each(|item| item.write(out));
                out.extend(b".\r\n");
            }
            Self::Decorated(attributes, reply) => {
                Self::Aggregate(b'%', attributes.clone()).write_as(b'|', out);
                reply.write(out);
            }
            Self::Interleaved(push, element) => {
                Self::Aggregate(b'>', push.clone()).write(out);
                element.write(out);
            }
        }
    }

    fn write_as(&self, kind: u8, out: &mut Vec<u8>) {
        let at = out.len();
        self.write(out);
        out[at] = kind;
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

fn resp2_leaf() -> impl Strategy<Value = Tree> {
    prop_oneof![
        "[ -~]{0,20}".prop_map(|text| Tree::Line(b'+', text)),
        "[ -~]{0,20}".prop_map(|text| Tree::Line(b'-', text)),
        any::<i64>().prop_map(Tree::Integer),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Tree::Blob(b'$', bytes)),
        prop::sample::select(vec!["$-1\r\n", "*-1\r\n"]).prop_map(Tree::Null),
    ]
}

fn resp2() -> impl Strategy<Value = Tree> {
    resp2_leaf()
        .prop_recursive(6, 40, 6, |inner| vec(inner, 0..6).prop_map(|items| Tree::Aggregate(b'*', items)))
}

fn resp3() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        resp2_leaf(),
        any::<f64>().prop_map(|value| Tree::Line(b',', format!("{value:e}").to_lowercase())),
        "-?[0-9]{1,60}".prop_map(|text| Tree::Line(b'(', text)),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Tree::Blob(b'!', bytes)),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Tree::Blob(b'=', [b"txt:", &bytes[..]].concat())),
        Just(Tree::Null("_\r\n")),
        any::<bool>().prop_map(Tree::Boolean),
        vec(vec(any::<u8>(), 0..20), 0..4).prop_map(Tree::Chunks),
    ];
    let nested = leaf.prop_recursive(8, 60, 6, |inner| {
        let kind = prop::sample::select(b"*~%".to_vec());
        let streamed = prop::sample::select(b"*~%".to_vec());
        let items = || vec(item(inner.clone()), 0..6);
        prop_oneof![
            (kind, items()).prop_map(|(kind, items)| Tree::Aggregate(kind, items)),
            (streamed, items()).prop_map(|(kind, items)| Tree::Streamed(kind, items)),
            (vec(item(inner.clone()), 0..4), inner)
                .prop_map(|(attributes, reply)| Tree::Decorated(attributes, Box::new(reply))),
        ]
    });
    let push = vec(item(nested.clone()), 0..6).prop_map(|items| Tree::Aggregate(b'>', items));
    prop_oneof![6 => nested, 1 => push]
}

/// Generates an element of an aggregate, sometimes after a push.
fn item(inner: impl Strategy<Value = Tree> + Clone + 'static) -> impl Strategy<Value = Tree> {
    let interleaved = (vec(inner.clone(), 0..4), inner.clone())
        .prop_map(|(push, element)| Tree::Interleaved(push, Box::new(element)));
    prop_oneof![8 => inner, 1 => interleaved]
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let soup = vec(prop::sample::select(b"*$\r\n0123-+:~%>|_#,(=!?.;tfx".to_vec()), 0..60);
    let changed = (vec(resp3(), 1..4), vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)).prop_map(
        |(trees, changes)| {
            let mut bytes: Vec<u8> = trees.iter().flat_map(Tree::bytes).collect();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    );
    prop_oneof![soup, changed]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_replies_are_read_back(
        trees in vec(resp3(), 1..5),
        chunks in vec(1_usize..40, 1..8),
        stream_from in prop::option::of(0_usize..60),
    ) {
        let frames: Vec<Vec<u8>> = trees.iter().map(Tree::bytes).collect();
        let (answers, error) = drive::replies(&frames.concat(), Pace { chunks: &chunks, stream_from });
        prop_assert_eq!(error, None);
        let back: Vec<Vec<u8>> = answers.into_iter().map(|(_, frame, _)| frame).collect();
        prop_assert_eq!(back, frames);
    }

    #[test]
    fn any_pieces_give_the_same_replies(
        input in any_bytes(),
        chunks in vec(1_usize..40, 1..8),
        stream_from in prop::option::of(0_usize..60),
    ) {
        let whole = drive::replies(&input, Pace::WHOLE);
        prop_assert_eq!(drive::replies(&input, Pace { chunks: &chunks, stream_from }), whole);
    }

    /// Property: `redis-protocol` accepts every RESP2 reply that the scanner accepts, with the same end. If
    /// `redis-protocol` accepts bytes that the scanner refuses, no server writes these bytes: the decoded reply is
    /// encoded to other bytes.
    #[test]
    fn never_laxer_than_redis_protocol_in_resp2(tree in resp2(), at in any::<prop::sample::Index>(), byte in any::<u8>(), change in any::<bool>()) {
        let mut input = tree.bytes();
        if change {
            let at = at.index(input.len());
            input[at] = byte;
        }
        let ours = ReplyScanner::new().next(&input);
        let theirs = resp2::decode::decode(&input);
        match (ours, theirs) {
            (Ok(Reply::Whole { len, head }), theirs) if b"+-:$*".contains(&head.kind) && is_resp2(&input[..len]) => {
                match theirs {
                    Ok(Some((_, used))) => prop_assert_eq!(used, len),
                    // `redis-protocol` expects UTF-8 in errors, but servers quote any bytes of a client.
                    Err(_) => prop_assert!(std::str::from_utf8(&input[..len]).is_err()),
                    Ok(None) => prop_assert!(false, "redis-protocol waits for more of a whole reply"),
                }
            }
            (Err(_), Ok(Some((frame, used)))) => {
                let mut written = vec![0; used + 64];
                let written_len = resp2::encode::encode(&mut written, &frame, false).unwrap();
                prop_assert!(
                    written[..written_len] != input[..used] || input[..used].windows(2).any(bare),
                    "{} is refused", input.escape_ascii()
                );
            }
            _ => {}
        }
    }

    /// Property: if `redis-protocol` accepts a whole RESP3 frame, the scanner finds the same end. It refuses much
    /// that servers send: nulls of RESP2, verbatim strings of other formats, aggregates as keys, streamed values.
    #[test]
    fn agrees_with_redis_protocol_in_resp3(tree in resp3()) {
        let input = tree.bytes();
        let Ok(Reply::Whole { len, .. }) = ReplyScanner::new().next(&input) else {
            panic!("{} is refused", input.escape_ascii())
        };
        prop_assert_eq!(len, input.len());
        let blobs = input.windows(1).any(|byte| byte == b"=" || byte == b"!" || byte == b"?" || byte == b"|");
        // `redis-protocol` counts a push between the elements as an element.
        let interleaved = input.iter().skip(1).any(|byte| *byte == b'>');
        if !blobs && !interleaved && let Ok(Some((_, used))) = resp3::decode::complete::decode_range(&input) {
            prop_assert_eq!(used, len);
        }
    }
}

/// Returns whether one of the two bytes is a CR or LF without the other.
fn bare(pair: &[u8]) -> bool {
    (pair[0] == b'\r') != (pair[1] == b'\n')
}

/// Returns whether the frame has no type of RESP3.
fn is_resp2(frame: &[u8]) -> bool {
    let mut rest = frame;
    while let Some((&kind, _)) = rest.split_first() {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return true };
        let text = std::str::from_utf8(&rest[1..end]).unwrap_or("");
        let body = match kind {
            b'+' | b'-' | b':' | b'*' => 0,
            b'$' => text.parse::<usize>().map_or(0, |len| len + 2),
            _ => return false,
        };
        rest = &rest[end + 2 + body..];
    }
    true
}
