//! Feeds input to the scanners in pieces, and checks their invariants. Only for tests and fuzzing: all functions here
//! panic if an invariant does not hold.

use crate::error::{ReplyError, RequestError};
use crate::limits::{MAX_NAME, RequestLimits};
use crate::scan::{self, Beginning, Reply, ReplyHead, ReplyScanner, Request, RequestScanner, Span};

/// How the input arrives, and how incomplete frames are handled.
#[derive(Clone, Copy, Debug)]
pub struct Pace<'c> {
    /// The sizes of the pieces, repeated until the end of the input. Without a size above 0, the whole input arrives
    /// at once.
    pub chunks: &'c [usize],
    /// The number of bytes of an incomplete frame from which it is streamed, if its name is known. With `None` the
    /// buffer holds each frame until it is complete.
    pub stream_from: Option<usize>,
}

impl Pace<'static> {
    /// The whole input arrives at once, and frames are held until they are complete.
    pub const WHOLE: Self = Self { chunks: &[], stream_from: None };
}

/// One request, as the scanner found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A request that gets no reply.
    Empty,
    /// A line, with its newline.
    Inline(Vec<u8>),
    /// A whole frame.
    Command(Vec<u8>),
}

/// Returns all requests in `input`, and the error that ended the scan, if any.
pub fn requests(input: &[u8], limits: RequestLimits, pace: Pace<'_>) -> (Vec<Sent>, Option<RequestError>) {
    let mut sent = Vec::new();
    let mut scanner = RequestScanner::new(limits);
    let mut feed = Feed::new(input, pace.chunks);
    let mut scanned_before = 0;
    let mut last: Option<LastCommand> = None;
    while feed.more() {
        loop {
            let buf = feed.buf();
            let request = match next(&mut scanner, last.as_ref(), buf) {
                Ok(request) => request,
                Err(error) => return (sent, Some(error)),
            };
            let frame = |len: usize| buf[..len].to_vec();
            let (len, piece) = match request {
                Request::Need { at_least } => {
                    assert!(at_least > buf.len(), "needs only bytes that have arrived");
                    assert!(at_least <= buf.len().max(24 + 24 + MAX_NAME + 2) + 1, "needs more than a name");
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

/// A whole command, with its name and its number of arguments.
type LastCommand = (Vec<u8>, Span, u64);

/// Returns the next request. If `buf` begins like the last command, checks that [`RequestScanner::next_like`] returns
/// the same.
fn next(
    scanner: &mut RequestScanner,
    last: Option<&LastCommand>,
    buf: &[u8],
) -> Result<Request, RequestError> {
    let mut short_cut = scanner.clone();
    let alike = last.and_then(|(frame, name, arguments)| {
        short_cut.next_like(&Beginning::of(frame, *name, *arguments)?, buf)
    });
    let request = scanner.next(buf);
    if let Some(alike) = alike {
        assert_eq!(alike, request);
        assert!(request.is_err() || short_cut == *scanner, "{short_cut:?} for {scanner:?}");
    }
    request
}

/// One reply: its head, its bytes, and its last integer.
pub type Answer = (ReplyHead, Vec<u8>, Option<i64>);

/// Returns all replies in `input`, and the error that ended the scan, if any.
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

/// Checks that [`ReplyScanner::bulk_strings`] and [`ReplyScanner::next`] find the same bulk strings.
fn check_bulk_strings(scanner: &ReplyScanner, buf: &[u8]) {
    let (mut together, mut apart) = (scanner.clone(), scanner.clone());
    let (n, len) = together.bulk_strings(buf, 3);
    assert!(n <= 3);
    let mut at = 0;
    for _ in 0..n {
        let reply = apart.next(&buf[at..]);
        let Ok(Reply::Whole { len, head: ReplyHead { kind: b'$', .. } }) = reply else {
            panic!("{reply:?} is not a whole bulk string");
        };
        at += len;
    }
    assert_eq!(at, len);
    assert_eq!(together, apart);
}

/// Streams one frame to its end. Returns all bytes of the frame, or `None` if the input ends first.
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
        assert!(held.len() < 64 || is_junk_header(held), "more bytes than a header are held");
        if !feed.more() {
            return Ok(None);
        }
    }
}

/// Returns whether the bytes begin a header that has no end yet. Like Redis, the scanner waits for the end before it
/// checks the number in the header.
fn is_junk_header(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'$') && !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

fn count(items: impl Iterator) -> u64 {
    u64::try_from(items.count()).unwrap()
}

/// Input that arrives in pieces. Bytes stay until they are consumed.
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

    /// Adds the next piece. Returns false at the end of the input. Empty input has one empty piece.
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
