//! Drives the scanners over input in pieces and checks what must always hold. For tests and fuzzing only: everything
//! here panics on a broken invariant.

use crate::error::{ReplyError, RequestError};
use crate::limits::{MAX_NAME, RequestLimits};
use crate::scan::{self, Beginning, Reply, ReplyHead, ReplyScanner, Request, RequestScanner, Span};

/// The pieces of the input, and the treatment of a partial frame.
#[derive(Clone, Copy, Debug)]
pub struct Pace<'c> {
    /// Sizes of the pieces, over and over; empty or zeros: all at once.
    pub chunks: &'c [usize],
    /// Frames are streamed when this many bytes of them are in and the name is known; `None`: held until whole.
    pub stream_from: Option<usize>,
}

impl Pace<'static> {
    /// All at once, held.
    pub const WHOLE: Self = Self { chunks: &[], stream_from: None };
}

/// One thing a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing that is answered.
    Empty,
    /// A line, its newline included.
    Inline(Vec<u8>),
    /// A whole frame.
    Command(Vec<u8>),
}

/// All requests in `input`, and what is wrong with it.
pub fn requests(input: &[u8], limits: RequestLimits, pace: Pace<'_>) -> (Vec<Sent>, Option<RequestError>) {
    let mut sent = Vec::new();
    let mut scanner = RequestScanner::new(limits);
    let mut feed = Feed::new(input, pace.chunks);
    let mut scanned_before = 0;
    let mut last: Option<(Vec<u8>, Span, u64)> = None;
    while feed.more() {
        loop {
            let buf = feed.buf();
            let mut short_cut = scanner.clone();
            let alike = last.as_ref().and_then(|(frame, name, arguments)| {
                short_cut.next_like(&Beginning::of(frame, *name, *arguments)?, buf)
            });
            let request = scanner.next(buf);
            if let Some(alike) = alike {
                assert_eq!(alike, request);
                assert!(request.is_err() || short_cut == scanner, "{short_cut:?} for {scanner:?}");
            }
            let request = match request {
                Ok(request) => request,
                Err(error) => return (sent, Some(error)),
            };
            let frame = |len: usize| buf[..len].to_vec();
            let (len, piece) = match request {
                Request::Need { at_least } => {
                    assert!(at_least > buf.len(), "asks for what is there");
                    assert!(
                        at_least <= buf.len().max(24 + 24 + MAX_NAME + 2) + 1,
                        "asks for more than a name"
                    );
                    assert_eq!(scanner.is_mid_frame(), !buf.is_empty());
                    break;
                }
                Request::Head { scanned, name, arguments, present } => {
                    assert!(scanned <= buf.len() && present < arguments && scanned >= scanned_before);
                    assert!(scanner.is_mid_frame());
                    assert!(name.of(buf).len() <= MAX_NAME);
                    assert_eq!(count(scan::arguments(&buf[..scanned])), present);
                    scanned_before = scanned;
                    if pace.stream_from.is_none_or(|from| buf.len() < from) {
                        break;
                    }
                    match stream(&mut feed, |buf| scanner.stream(buf)) {
                        Ok(Some(frame)) => sent.push(Sent::Command(frame)),
                        Ok(None) => return (sent, None),
                        Err(error) => return (sent, Some(error)),
                    }
                    scanned_before = 0;
                    continue;
                }
                Request::Empty { len } => (len, Sent::Empty),
                Request::Inline { len } => (len, Sent::Inline(frame(len))),
                Request::Command { len, name, arguments } => {
                    let given: Vec<_> = scan::arguments(&buf[..len]).collect();
                    assert_eq!(u64::try_from(given.len()).unwrap(), arguments);
                    assert_eq!(name.of(buf), &given[0][..given[0].len().min(MAX_NAME)]);
                    last = Some((frame(len), name, arguments));
                    (len, Sent::Command(frame(len)))
                }
            };
            assert!(len > 0 && len <= buf.len() && !scanner.is_mid_frame());
            scanned_before = 0;
            sent.push(piece);
            feed.consume(len);
        }
    }
    (sent, None)
}

/// One reply: how it begins, its bytes, the last integer in it.
pub type Answer = (ReplyHead, Vec<u8>, Option<i64>);

/// All replies in `input`, and what is wrong with it.
pub fn replies(input: &[u8], pace: Pace<'_>) -> (Vec<Answer>, Option<ReplyError>) {
    let mut answers = Vec::new();
    let mut scanner = ReplyScanner::new();
    let mut feed = Feed::new(input, pace.chunks);
    let mut scanned_before = 0;
    while feed.more() {
        loop {
            let buf = feed.buf();
            check_bulk_strings(&scanner, buf);
            match scanner.next(buf) {
                Ok(Reply::Need { at_least }) => {
                    assert!(at_least > buf.len() && at_least <= buf.len() + 1);
                    assert_eq!(scanner.is_mid_frame(), !buf.is_empty());
                    break;
                }
                Ok(Reply::Head { scanned, head }) => {
                    assert!(scanned <= buf.len() && scanned >= scanned_before && scanner.is_mid_frame());
                    scanned_before = scanned;
                    if pace.stream_from.is_none_or(|from| buf.len() < from) {
                        break;
                    }
                    match stream(&mut feed, |buf| scanner.stream(buf)) {
                        Ok(Some(frame)) => answers.push((head, frame, scanner.last_integer())),
                        Ok(None) => return (answers, None),
                        Err(error) => return (answers, Some(error)),
                    }
                    scanned_before = 0;
                }
                Ok(Reply::Whole { len, head }) => {
                    assert!(len > 0 && len <= buf.len() && !scanner.is_mid_frame());
                    answers.push((head, buf[..len].to_vec(), scanner.last_integer()));
                    scanned_before = 0;
                    feed.consume(len);
                }
                Err(error) => return (answers, Some(error)),
            }
        }
    }
    (answers, None)
}

/// Bulk strings found in a row are those that are found one by one.
fn check_bulk_strings(scanner: &ReplyScanner, buf: &[u8]) {
    let (mut together, mut apart) = (scanner.clone(), scanner.clone());
    let (n, len) = together.bulk_strings(buf, 3);
    assert!(n <= 3);
    let mut at = 0;
    for _ in 0..n {
        let reply = apart.next(&buf[at..]);
        let Ok(Reply::Whole { len, head: ReplyHead { kind: b'$', .. } }) = reply else {
            panic!("{reply:?} is no whole bulk string");
        };
        at += len;
    }
    assert_eq!(at, len);
    assert_eq!(together, apart);
}

/// Streams one frame to its end: all that was handed out, or `None` where the input ends first.
fn stream<E>(
    feed: &mut Feed<'_>,
    mut next: impl FnMut(&[u8]) -> Result<scan::Streamed, E>,
) -> Result<Option<Vec<u8>>, E> {
    let mut frame = Vec::new();
    loop {
        let buf = feed.buf();
        let streamed = next(buf)?;
        assert!(streamed.len <= buf.len());
        frame.extend_from_slice(&buf[..streamed.len]);
        feed.consume(streamed.len);
        if streamed.done {
            return Ok(Some(frame));
        }
        let held = feed.buf();
        assert!(held.len() < 64 || is_junk_header(held), "holds back more than a header");
        if !feed.more() {
            return Ok(None);
        }
    }
}

/// Redis waits for the end of a header before it looks at the number in it, and so does the scanner.
fn is_junk_header(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'$') && !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

fn count(items: impl Iterator) -> u64 {
    u64::try_from(items.count()).unwrap()
}

/// Input that arrives in pieces; what is not consumed stays.
struct Feed<'i> {
    input: &'i [u8],
    begin: usize,
    end: usize,
    chunks: std::iter::Cycle<std::slice::Iter<'i, usize>>,
    started: bool,
}

impl<'i> Feed<'i> {
    fn new(input: &'i [u8], chunks: &'i [usize]) -> Self {
        let chunks = if chunks.iter().all(|&size| size == 0) { &[] } else { chunks };
        Self { input, begin: 0, end: 0, chunks: chunks.iter().cycle(), started: false }
    }

    /// Takes the next piece; the empty input is one empty piece.
    fn more(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.started, true);
        if self.end == self.input.len() {
            return first;
        }
        for &size in self.chunks.by_ref() {
            if size > 0 {
                self.end = self.input.len().min(self.end + size);
                return true;
            }
        }
        self.end = self.input.len();
        true
    }

    fn buf(&self) -> &'i [u8] {
        &self.input[self.begin..self.end]
    }

    fn consume(&mut self, len: usize) {
        self.begin += len;
    }
}
