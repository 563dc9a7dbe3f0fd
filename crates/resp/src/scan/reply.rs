//! Scans the replies of a server, RESP2 and RESP3.

mod levels;
mod line;
mod message;

use self::levels::{Levels, STREAMED, STREAMED_MAP, STREAMED_STRING};
use self::line::Text;
pub use self::message::{MessageChannel, message_channel};
use super::number;
use super::{Arguments, Streamed};
use crate::error::ReplyError;
use crate::limits::{MAX_REPLY_BULK, MAX_REPLY_ELEMENTS};

/// The result of scanning the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The buffer must have at least `at_least` bytes, more than now, before the scanner can decide.
    Need {
        /// The number of bytes, counted from the first byte of the frame.
        at_least: usize,
    },
    /// `buf[..len]` is one complete top-level reply.
    Whole {
        /// The length of the frame in bytes.
        len: usize,
        /// The beginning of the reply.
        head: ReplyHead,
    },
    /// The head of a reply whose end has not arrived. Call `next` again with more bytes, or call
    /// [`ReplyScanner::stream`].
    Head {
        /// `buf[..scanned]` is validated.
        scanned: usize,
        /// The beginning of the reply.
        head: ReplyHead,
    },
}

/// The beginning of a reply. An attribute and the reply after it are one frame of kind `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// The type byte: `+`, `-`, `:`, `$`, `*`, `_`, `,`, `#`, `!`, `=`, `(`, `%`, `~`, `>` or `|`.
    pub kind: u8,
    /// The number of elements, pairs or bytes. -1 for a null and for a streamed value (`$?`, `*?`). 0 for types
    /// without a count.
    pub count: i64,
}

/// Finds the boundaries of replies. Its methods are called in the same order as those of
/// [`RequestScanner`](super::RequestScanner).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyScanner {
    /// The offset of the next byte to read.
    at: usize,
    /// The remaining bytes of the body at `at`, without its CRLF. [`NO_BODY`] outside a body.
    body: u64,
    levels: Levels,
    /// The kind of the line at `at`, after its type byte was read.
    text: Option<Text>,
    head: ReplyHead,
    last_integer: Option<i64>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No frame has begun.
    Idle,
    /// The first header of the frame is cut. The next call reads the header from its start.
    Begun,
    /// The head is known.
    Inside,
    /// [`ReplyScanner::stream`] has released a part of the frame.
    Streaming,
}

/// A value that is not the length of any body.
const NO_BODY: u64 = u64::MAX;

impl ReplyScanner {
    /// Makes a scanner for the start of a connection.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            at: 0,
            body: NO_BODY,
            levels: Levels::new(),
            text: None,
            head: ReplyHead { kind: 0, count: 0 },
            last_integer: None,
            phase: Phase::Idle,
        }
    }

    /// Scans the start of `buf`, which must begin at the first byte of the frame in progress.
    ///
    /// # Errors
    /// The bytes are not a reply, or a frame is being streamed.
    #[inline]
    pub fn next(&mut self, buf: &[u8]) -> Result<Reply, ReplyError> {
        if matches!(self.phase, Phase::Idle | Phase::Begun)
            && let Some((len, head, integer)) = short_reply(buf)
        {
            self.last_integer = integer;
            self.phase = Phase::Idle;
            return Ok(Reply::Whole { len, head });
        }
        self.next_slowly(buf)
    }

    /// Skips at most `most` consecutive complete bulk strings. Returns their number and their length in bytes. If it
    /// finds none, [`next`](Self::next) may still find one: a long one, a null, or one that is cut.
    #[inline]
    pub fn bulk_strings(&mut self, buf: &[u8], most: u64) -> (u64, usize) {
        if self.phase != Phase::Idle || buf.first() != Some(&b'$') {
            return (0, 0);
        }
        let (rest, left) = short_blobs(buf, most);
        if left < most {
            self.last_integer = None;
        }
        (most - left, buf.len() - rest.len())
    }

    #[inline(never)]
    fn next_slowly(&mut self, buf: &[u8]) -> Result<Reply, ReplyError> {
        match self.phase {
            Phase::Idle | Phase::Begun => self.begin(buf),
            Phase::Inside => self.go_on(buf),
            Phase::Streaming => Err(ReplyError::InvalidStream),
        }
    }

    /// Releases the bytes of the frame of the last `Head` of [`next`](Self::next), as far as they have arrived. In
    /// the first call `buf` still begins at the first byte of the frame. The caller must consume `len` bytes after
    /// each call.
    ///
    /// # Errors
    /// The bytes do not continue the frame, or there is no such frame.
    pub fn stream(&mut self, buf: &[u8]) -> Result<Streamed, ReplyError> {
        if !matches!(self.phase, Phase::Inside | Phase::Streaming) {
            return Err(ReplyError::InvalidStream);
        }
        let done = self.walk(buf)?;
        if !done && self.body != NO_BODY {
            let here = buf.len().saturating_sub(self.at);
            let taken = usize::try_from(self.body).map_or(here, |body| body.min(here));
            self.at += taken;
            self.body = self.body.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        }
        let len = std::mem::take(&mut self.at);
        self.phase = if done { Phase::Idle } else { Phase::Streaming };
        if done {
            self.levels.finish();
        }
        Ok(Streamed { len, done })
    }

    /// Returns the value of the last `:` element in the current frame, or in the frame that just ended. A
    /// confirmation of SUBSCRIBE has its count there. `None` if the frame has no such element.
    #[must_use]
    pub const fn last_integer(&self) -> Option<i64> {
        self.last_integer
    }

    /// Returns whether a frame has begun and not ended.
    #[must_use]
    pub const fn is_mid_frame(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    fn begin(&mut self, buf: &[u8]) -> Result<Reply, ReplyError> {
        let Some(&kind) = buf.first() else { return Ok(Reply::Need { at_least: 1 }) };
        let Some(count) = head_count(buf, kind)? else {
            self.phase = Phase::Begun;
            return Ok(Reply::Need { at_least: buf.len() + 1 });
        };
        self.head = ReplyHead { kind, count };
        self.last_integer = None;
        self.levels.begin();
        self.at = 0;
        self.body = NO_BODY;
        self.text = None;
        self.go_on(buf)
    }

    fn go_on(&mut self, buf: &[u8]) -> Result<Reply, ReplyError> {
        if self.walk(buf)? {
            self.phase = Phase::Idle;
            self.levels.finish();
            return Ok(Reply::Whole { len: std::mem::take(&mut self.at), head: self.head });
        }
        self.phase = Phase::Inside;
        Ok(Reply::Head { scanned: self.at, head: self.head })
    }

    /// Skips all complete elements, the header of the next one, and the arrived part of its line. Returns whether the
    /// frame ends at the cursor.
    fn walk(&mut self, buf: &[u8]) -> Result<bool, ReplyError> {
        loop {
            if self.body != NO_BODY {
                let Some(()) = self.leave_body(buf)? else { return Ok(false) };
            } else if let Some(text) = self.text {
                let (seen, ended) = text.read(buf, self.at)?;
                self.at = seen;
                if !ended {
                    return Ok(false);
                }
                self.text = None;
                self.levels.element()?;
            } else {
                self.at = self.short_blobs(buf);
                if !self.levels.is_over() {
                    let Some(()) = self.element(buf)? else { return Ok(false) };
                }
            }
            if self.levels.is_over() {
                return Ok(true);
            }
        }
    }

    /// Skips consecutive complete bulk strings. Most arrays consist of them.
    #[inline(always)]
    fn short_blobs(&mut self, buf: &[u8]) -> usize {
        let most = self.levels.countable();
        let (rest, left) = short_blobs(buf.get(self.at..).unwrap_or(&[]), most);
        self.levels.elements(most - left);
        buf.len().saturating_sub(rest.len()).max(self.at)
    }

    /// Moves the cursor after the body and its CRLF. `None` if they have not arrived completely.
    #[inline(always)]
    fn leave_body(&mut self, buf: &[u8]) -> Result<Option<()>, ReplyError> {
        let end = usize::try_from(self.body).ok().and_then(|body| self.at.checked_add(body));
        let Some(end) = end else { return Ok(None) };
        match buf.get(end..).and_then(<[u8]>::first_chunk) {
            Some(b"\r\n") => {}
            Some(_) => return Err(ReplyError::InvalidBulk),
            None => return Ok(None),
        }
        self.at = end + CRLF.len();
        self.body = NO_BODY;
        self.levels.element()?;
        Ok(Some(()))
    }

    /// Reads the header of the element at the cursor. `None` if the header has not arrived completely.
    #[inline(always)]
    fn element(&mut self, buf: &[u8]) -> Result<Option<()>, ReplyError> {
        let Some(&kind) = buf.get(self.at) else { return Ok(None) };
        if self.levels.wants_chunk() != (kind == b';') {
            return Err(ReplyError::InvalidStream);
        }
        match kind {
            b'$' | b'!' | b'=' => return self.blob(buf, kind),
            b':' => {
                let Some((value, next)) = number::signed(buf, self.at + 1).map_err(invalid)? else {
                    return Ok(None);
                };
                self.last_integer = Some(value);
                self.at = next;
                self.levels.element()?;
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => return self.aggregate(buf, kind),
            b'+' | b'-' | b',' | b'(' => {
                self.text = Some(Text::of(kind));
                self.at += 1;
            }
            b'_' | b'#' | b'.' => return self.fixed(buf, kind),
            b';' => return self.chunk(buf),
            _ => return Err(ReplyError::UnknownType(kind)),
        }
        Ok(Some(()))
    }

    #[inline(always)]
    fn blob(&mut self, buf: &[u8], kind: u8) -> Result<Option<()>, ReplyError> {
        let Some((count, next)) = count(buf, self.at, kind)? else { return Ok(None) };
        self.at = next;
        match count {
            Count::Of(len) => self.body = len,
            Count::Null => self.levels.element()?,
            Count::Streamed => self.levels.open(STREAMED_STRING)?,
        }
        Ok(Some(()))
    }

    fn aggregate(&mut self, buf: &[u8], kind: u8) -> Result<Option<()>, ReplyError> {
        let Some((count, next)) = count(buf, self.at, kind)? else { return Ok(None) };
        self.at = next;
        match (kind, count) {
            (_, Count::Null) => self.levels.element()?,
            (b'%', Count::Streamed) => self.levels.open(STREAMED_MAP)?,
            (_, Count::Streamed) => self.levels.open(STREAMED)?,
            (b'|', Count::Of(pairs)) => self.levels.decorate(pairs * 2)?,
            (b'>', Count::Of(elements)) if !self.levels.is_outermost() => self.levels.interleave(elements)?,
            (b'%', Count::Of(pairs)) => self.levels.open(pairs * 2)?,
            (_, Count::Of(elements)) => self.levels.open(elements)?,
        }
        Ok(Some(()))
    }

    /// Reads the header of one chunk of a streamed string. An empty chunk ends the string.
    fn chunk(&mut self, buf: &[u8]) -> Result<Option<()>, ReplyError> {
        let Some((len, next)) = number::unsigned(buf, self.at + 1).map_err(invalid)? else { return Ok(None) };
        if len > MAX_REPLY_BULK {
            return Err(ReplyError::TooLarge);
        }
        self.at = next;
        if len == 0 {
            self.levels.end_chunks();
        } else {
            self.body = len;
        }
        Ok(Some(()))
    }

    /// Reads `_`, `#t`, `#f`, or the `.` that ends a streamed aggregate.
    fn fixed(&mut self, buf: &[u8], kind: u8) -> Result<Option<()>, ReplyError> {
        let Some(next) = fixed(buf, self.at, kind)? else { return Ok(None) };
        self.at = next;
        if kind == b'.' {
            self.levels.end()?
        } else {
            self.levels.element()?
        }
        Ok(Some(()))
    }
}

impl Default for ReplyScanner {
    fn default() -> Self {
        Self::new()
    }
}

/// Parses the aggregate header (`*N`, `~N`, `>N`, `%N`, `|N`) at the start of `buf`. Returns it with its length in
/// bytes. `None` if more bytes are needed.
///
/// # Errors
/// The bytes are not an aggregate header.
pub fn aggregate_header(buf: &[u8]) -> Result<Option<(ReplyHead, usize)>, ReplyError> {
    let Some(&kind) = buf.first() else { return Ok(None) };
    if !matches!(kind, b'*' | b'~' | b'>' | b'%' | b'|') {
        return Err(ReplyError::UnknownType(kind));
    }
    let Some((found, next)) = count(buf, 0, kind)? else { return Ok(None) };
    Ok(Some((ReplyHead { kind, count: found.as_written() }, next)))
}

/// The first element of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstElement<'b> {
    /// A bulk or simple string of at most 32 bytes.
    Text(&'b [u8]),
    /// Any other element, an empty aggregate, or bytes that are not an aggregate.
    Other,
    /// More bytes are needed.
    Need,
}

/// Returns the first element of the aggregate at the start of `buf`. It distinguishes a message from a confirmation.
#[must_use]
pub fn first_element(buf: &[u8]) -> FirstElement<'_> {
    let at = match aggregate_header(buf) {
        Ok(Some((head, at))) if head.count > 0 => at,
        Ok(None) => return FirstElement::Need,
        _ => return FirstElement::Other,
    };
    let Some((&kind, rest)) = buf.get(at..).and_then(<[u8]>::split_first) else { return FirstElement::Need };
    match kind {
        b'$' => match number::unsigned(rest, 0) {
            Ok(Some((len, body))) if len <= FIRST_ELEMENT => {
                let end = usize::try_from(len).map_or(body, |len| body + len);
                rest.get(body..end).map_or(FirstElement::Need, FirstElement::Text)
            }
            Ok(None) => FirstElement::Need,
            _ => FirstElement::Other,
        },
        b'+' => {
            let line = rest.iter().take(33).position(|&byte| byte == b'\r');
            match line {
                Some(end) => rest.get(..end).map_or(FirstElement::Other, FirstElement::Text),
                None if rest.len() > 32 => FirstElement::Other,
                None => FirstElement::Need,
            }
        }
        _ => FirstElement::Other,
    }
}

/// Returns the second element of the aggregate at the start of `buf`: the channel of a confirmation. `None` if the
/// first two elements are not both complete bulk strings.
#[must_use]
pub fn second_element(buf: &[u8]) -> Option<&[u8]> {
    let (_, at) = aggregate_header(buf).ok()??;
    Arguments::new(buf.get(at..)?).nth(1)
}

/// The longest first element in bytes. The longest kind of message is `sunsubscribe`; `invalidate` and pushes of
/// modules are short as well.
const FIRST_ELEMENT: u64 = 32;

/// Returns the count of the frame's first header. `None` if the header is cut.
fn head_count(buf: &[u8], kind: u8) -> Result<Option<i64>, ReplyError> {
    match kind {
        b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => {
            Ok(count(buf, 0, kind)?.map(|(count, _)| count.as_written()))
        }
        b':' => Ok(number::signed(buf, 1).map_err(invalid)?.map(|_| 0)),
        b'_' | b'#' => Ok(fixed(buf, 0, kind)?.map(|_| 0)),
        b'+' | b'-' | b',' | b'(' => Ok(Some(0)),
        _ => Err(ReplyError::UnknownType(kind)),
    }
}

/// Skips at most `left` complete bulk strings whose lengths have few digits. Returns the bytes after them, and how
/// many of `left` remain.
#[inline(always)]
fn short_blobs(mut rest: &[u8], mut left: u64) -> (&[u8], u64) {
    while left > 0
        && let Some((_, after)) = short_blob(rest)
    {
        rest = after;
        left -= 1;
    }
    (rest, left)
}

/// Parses the bulk string at the start of `rest`. Returns its length and the bytes after it. `None` if it is not
/// complete, or if its length has many digits.
#[inline(always)]
fn short_blob(rest: &[u8]) -> Option<(usize, &[u8])> {
    let (len, header) = number::short(rest, b'$')?;
    let (end, after) = rest.get(header + len..)?.split_first_chunk()?;
    (end == CRLF).then_some((len, after))
}

/// Parses a frequent, complete reply of one element. Returns its length in bytes, its head, and its value if it is an
/// integer. `None` for other replies.
#[inline(always)]
fn short_reply(buf: &[u8]) -> Option<(usize, ReplyHead, Option<i64>)> {
    match *buf.first()? {
        kind @ b'$' => match short_blob(buf) {
            Some((len, after)) => {
                Some((buf.len() - after.len(), ReplyHead { kind, count: i64::try_from(len).ok()? }, None))
            }
            None => buf.starts_with(NULL).then_some((NULL.len(), ReplyHead { kind, count: -1 }, None)),
        },
        kind @ b':' => {
            let (value, len) = number::unsigned(buf, 1).ok()??;
            Some((len, ReplyHead { kind, count: 0 }, Some(i64::try_from(value).ok()?)))
        }
        kind @ (b'+' | b'-') => {
            let line = buf.get(..buf.len().min(SHORT_LINE))?;
            let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
            let whole = buf.get(end..)?.first_chunk() == Some(CRLF);
            whole.then_some((end + CRLF.len(), ReplyHead { kind, count: 0 }, None))
        }
        _ => None,
    }
}

const NULL: &[u8] = b"$-1\r\n";
/// The length of lines whose end is searched byte by byte. Most lines are `+OK`.
const SHORT_LINE: usize = 32;

#[derive(Clone, Copy)]
enum Count {
    Of(u64),
    Null,
    Streamed,
}

impl Count {
    fn as_written(self) -> i64 {
        match self {
            Self::Of(count) => i64::try_from(count).unwrap_or(i64::MAX),
            Self::Null | Self::Streamed => -1,
        }
    }
}

/// Parses the length or count in the header whose type byte is at `at`. Returns it with the offset after the header.
#[inline(always)]
fn count(buf: &[u8], at: usize, kind: u8) -> Result<Option<(Count, usize)>, ReplyError> {
    let found = match buf.get(at + 1) {
        Some(b'-') if matches!(kind, b'$' | b'*') => {
            return Ok(literal(buf, at + 1, b"-1\r\n")?.map(|next| (Count::Null, next)));
        }
        Some(b'?') if matches!(kind, b'$' | b'*' | b'~' | b'%') => {
            return Ok(literal(buf, at + 1, b"?\r\n")?.map(|next| (Count::Streamed, next)));
        }
        _ => number::unsigned(buf, at + 1).map_err(invalid)?,
    };
    let Some((count, next)) = found else { return Ok(None) };
    let most = if matches!(kind, b'$' | b'!' | b'=') { MAX_REPLY_BULK } else { MAX_REPLY_ELEMENTS };
    if count > most {
        return Err(ReplyError::TooLarge);
    }
    Ok(Some((Count::Of(count), next)))
}

fn fixed(buf: &[u8], at: usize, kind: u8) -> Result<Option<usize>, ReplyError> {
    match kind {
        b'#' => match buf.get(at + 1) {
            Some(b't' | b'f') => literal(buf, at + 2, b"\r\n"),
            Some(_) => Err(ReplyError::InvalidLine),
            None => Ok(None),
        },
        _ => literal(buf, at + 1, b"\r\n"),
    }
}

/// Returns the offset after `expected`, which must be at `at`. `None` if the buffer ends too early to tell.
fn literal(buf: &[u8], at: usize, expected: &[u8]) -> Result<Option<usize>, ReplyError> {
    let here = buf.get(at..).unwrap_or(&[]);
    let seen = here.len().min(expected.len());
    if here.get(..seen) != expected.get(..seen) {
        return Err(ReplyError::InvalidLine);
    }
    Ok((seen == expected.len()).then_some(at + seen))
}

const fn invalid(_: number::Fault) -> ReplyError {
    ReplyError::InvalidNumber
}

const CRLF: &[u8; 2] = b"\r\n";

#[cfg(test)]
mod tests;
