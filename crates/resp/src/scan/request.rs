//! Scans requests: the canonical multibulk form, and lines for [`crate::inline`].

use super::number::{self, Fault};
use super::{Span, Streamed};
use crate::error::RequestError;
use crate::limits::{MAX_INLINE, MAX_NAME, RequestLimits, UNAUTHENTICATED_ARGUMENTS, UNAUTHENTICATED_BULK};

/// The result of scanning the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The buffer must have at least `at_least` bytes, more than now, before the scanner can decide. `at_least` never
    /// covers more than a header or a name.
    Need {
        /// The number of bytes, counted from the first byte of the frame.
        at_least: usize,
    },
    /// `*0`, `*-N` or a blank line. Redis sends no reply, so the caller drops the bytes.
    Empty {
        /// The number of bytes to drop.
        len: usize,
    },
    /// `buf[..len]` is a line with its newline; see [`crate::inline::canonicalise`].
    Inline {
        /// The length of the line in bytes.
        len: usize,
    },
    /// `buf[..len]` is a complete command in canonical form.
    Command {
        /// The length of the frame in bytes.
        len: usize,
        /// The name of the command, cut at [`MAX_NAME`] bytes.
        name: Span,
        /// The number of arguments, including the name.
        arguments: u64,
    },
    /// The beginning of a command: its name is complete, but not its frame. Call `next` again with more bytes, or
    /// call [`RequestScanner::stream`].
    Head {
        /// `buf[..scanned]` is validated.
        scanned: usize,
        /// The name, cut at [`MAX_NAME`] bytes. If the name is longer and not complete, `present` is 0.
        name: Span,
        /// The number of arguments from the header, including the name.
        arguments: u64,
        /// The number of complete arguments in `buf[..scanned]`.
        present: u64,
    },
}

/// The beginning of a complete command: its bytes up to the end of its name.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'b> {
    bytes: &'b [u8],
    name: Span,
    arguments: u64,
}

impl<'b> Beginning<'b> {
    /// Makes the beginning of the [`Request::Command`] in `frame`, with the name and the number of arguments from the
    /// scanner. `None` if the name may be cut.
    #[inline]
    #[must_use]
    pub fn of(frame: &'b [u8], name: Span, arguments: u64) -> Option<Self> {
        let cut = name.of(frame).len() >= MAX_NAME;
        let end = usize::try_from(name.end).ok().filter(|_| !cut)?;
        Some(Self { bytes: frame.get(..end + CRLF.len())?, name, arguments })
    }
}

/// Finds the boundaries of requests.
///
/// Call [`next`](Self::next) until it returns something other than `Need`. Then drop the bytes of the request, and
/// call `next` again. To stream a frame after its `Head`, call [`stream`](Self::stream) in place of `next` until
/// `done` is true. After an error the boundaries are unknown, and the caller must close the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestScanner {
    limits: RequestLimits,
    cursor: Cursor,
    arguments: u64,
    name: Span,
    /// The number of bytes of the next header that contain neither a number nor its end. Such a header never becomes
    /// valid, so this number never returns to 0.
    searched: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No frame has begun.
    Idle,
    /// A part of a frame has arrived, but not its whole name. The next call reads the frame from its start.
    Begun,
    /// A part of a line has arrived, but not its newline. The search continues at the cursor.
    Line,
    /// The name has arrived completely.
    Arguments,
    /// [`RequestScanner::stream`] has released a part of the frame. The cursor is relative to the buffer of its last
    /// call.
    Streaming,
}

/// A position in a multibulk frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    /// The offset of the next byte to read.
    at: usize,
    /// The number of arguments that have not been read completely.
    left: u64,
    /// The remaining bytes of the body at `at`, without its CRLF. [`HEADER`] if a header comes next.
    body: u64,
}

/// A value that is not the length of any body.
const HEADER: u64 = u64::MAX;

impl RequestScanner {
    /// Makes a scanner for the start of a connection.
    #[must_use]
    pub const fn new(limits: RequestLimits) -> Self {
        Self {
            limits,
            cursor: Cursor { at: 0, left: 0, body: HEADER },
            arguments: 0,
            name: Span { start: 0, end: 0 },
            searched: 0,
            phase: Phase::Idle,
        }
    }

    /// Changes the limits, beginning with the next header.
    pub const fn set_limits(&mut self, limits: RequestLimits) {
        self.limits = limits;
    }

    /// Scans the start of `buf`, which must begin at the first byte of the frame in progress.
    ///
    /// # Errors
    /// The bytes are not a canonical request, or a frame is being streamed.
    #[inline]
    pub fn next(&mut self, buf: &[u8]) -> Result<Request, RequestError> {
        if matches!(self.phase, Phase::Idle | Phase::Begun)
            && let Some((cursor, name)) = self.short_head(buf)
        {
            return self.rest(buf, cursor, name, cursor.left + 1);
        }
        self.next_slowly(buf)
    }

    /// Does the same as [`next`](Self::next), if `buf` begins with exactly the bytes of an earlier command. Then both
    /// have the same name and number of arguments. Returns `None` and reads nothing if `buf` begins differently, or
    /// if a frame has begun. The limits must be the same as for the earlier command.
    ///
    /// # Errors
    /// The errors of `next`.
    #[inline]
    pub fn next_like(&mut self, before: &Beginning<'_>, buf: &[u8]) -> Option<Result<Request, RequestError>> {
        if self.phase != Phase::Idle || !buf.starts_with(before.bytes) {
            return None;
        }
        let left = before.arguments.checked_sub(1)?;
        let cursor = Cursor { at: before.bytes.len(), left, body: HEADER };
        Some(self.rest(buf, cursor, before.name, before.arguments))
    }

    #[inline(never)]
    fn next_slowly(&mut self, buf: &[u8]) -> Result<Request, RequestError> {
        match self.phase {
            Phase::Idle | Phase::Begun => match buf.first() {
                Some(b'*') => self.long_head(buf),
                Some(_) => self.line(buf, 0),
                None => Ok(Request::Need { at_least: 1 }),
            },
            Phase::Arguments => self.rest(buf, self.cursor, self.name, self.arguments),
            Phase::Line => self.line(buf, self.cursor.at),
            Phase::Streaming => Err(RequestError::InvalidFraming),
        }
    }

    /// Releases the bytes of the frame of the last `Head` of [`next`](Self::next), as far as they have arrived. In
    /// the first call `buf` still begins at the first byte of the frame. The caller must consume `len` bytes after
    /// each call.
    ///
    /// # Errors
    /// The bytes do not continue the frame, or there is no such frame.
    pub fn stream(&mut self, buf: &[u8]) -> Result<Streamed, RequestError> {
        if !matches!(self.phase, Phase::Arguments | Phase::Streaming) {
            return Err(RequestError::InvalidFraming);
        }
        let mut cursor = self.walk(buf, self.cursor)?;
        if cursor.left > 0 && cursor.body != HEADER {
            let here = buf.len().saturating_sub(cursor.at);
            let taken = usize::try_from(cursor.body).map_or(here, |body| body.min(here));
            cursor.at += taken;
            cursor.body = cursor.body.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        }
        let streamed = Streamed { len: cursor.at, done: cursor.left == 0 };
        self.cursor = Cursor { at: 0, ..cursor };
        self.phase = if streamed.done { Phase::Idle } else { Phase::Streaming };
        Ok(streamed)
    }

    /// Returns whether a frame has begun and not ended.
    #[must_use]
    pub const fn is_mid_frame(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// Returns the number of bytes of the frame in progress that the scanner will not read again.
    /// [`next`](Self::next) must still get them, and takes fewer bytes for another frame.
    #[must_use]
    pub const fn looked_at(&self) -> usize {
        match self.phase {
            Phase::Line | Phase::Arguments => self.cursor.at,
            Phase::Idle | Phase::Begun | Phase::Streaming => 0,
        }
    }

    /// Parses the usual beginning of a command: a number of arguments and a name, both short and both complete.
    /// `None` if the slower functions must decide.
    #[inline(always)]
    fn short_head(&self, buf: &[u8]) -> Option<(Cursor, Span)> {
        let (count, at) = number::short(buf, b'*')?;
        let rest = buf.get(at..)?;
        let (len, header) = number::short(rest, b'$')?;
        let (body, end) = (at + header, at + header + len);
        let left = count.checked_sub(1)?;
        let taken = left < self.limits.arguments_now() && len <= self.limits.bulk_now().min(MAX_NAME);
        if !taken || rest.get(header + len..)?.first_chunk() != Some(CRLF) {
            return None;
        }
        Some((
            Cursor { at: end + CRLF.len(), left: u64::try_from(left).ok()?, body: HEADER },
            Span::at(body, len),
        ))
    }

    fn long_head(&mut self, buf: &[u8]) -> Result<Request, RequestError> {
        let Some((arguments, at)) = self.count(buf)? else { return Ok(self.need(buf.len() + 1)) };
        if arguments == 0 {
            self.phase = Phase::Idle;
            return Ok(Request::Empty { len: at });
        }
        let Some((len, body)) = self.header(buf, at)? else { return Ok(self.need(buf.len() + 1)) };
        let shown = usize::try_from(len).map_or(MAX_NAME, |len| len.min(MAX_NAME));
        let name = Span::at(body, shown);
        let whole = usize::try_from(len).is_ok_and(|len| len == shown);
        let wanted = body + shown + if whole { CRLF.len() } else { 0 };
        if buf.len() < wanted {
            return Ok(self.need(wanted));
        }
        self.rest(buf, Cursor { at: body, left: arguments, body: len }, name, arguments)
    }

    /// Reads `*N`. Returns the number of arguments (0 for a negative number too) with the offset after the header.
    /// `None` if the header is not complete.
    fn count(&mut self, buf: &[u8]) -> Result<Option<(u64, usize)>, RequestError> {
        let read = if buf.get(1) == Some(&b'-') {
            number::signed(buf, 1).map(|found| found.map(|(_, at)| (0, at)))
        } else {
            number::unsigned(buf, 1)
        };
        let (count, at) = match read {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(Fault::NotCrlf) => return Err(RequestError::InvalidFraming),
            Err(Fault::NotCanonical) => {
                return self.no_number(
                    buf,
                    RequestError::InvalidMultibulkLength,
                    RequestError::TooBigMbulkCount,
                );
            }
        };
        if count > self.limits.arguments {
            return Err(RequestError::InvalidMultibulkLength);
        }
        if count > UNAUTHENTICATED_ARGUMENTS && !self.limits.authenticated {
            return Err(RequestError::UnauthenticatedMultibulk);
        }
        Ok(Some((count, at)))
    }

    /// Reads `$N` at `at`. Returns the length with the offset after the header. `None` if the header is not complete.
    fn header(&mut self, buf: &[u8], at: usize) -> Result<Option<(u64, usize)>, RequestError> {
        match buf.get(at) {
            Some(b'$') => {}
            Some(&byte) => return Err(RequestError::ExpectedDollar(byte)),
            None => return Ok(None),
        }
        let (len, body) = match number::unsigned(buf, at + 1) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(Fault::NotCrlf) => return Err(RequestError::InvalidFraming),
            Err(Fault::NotCanonical) => {
                let header = buf.get(at..).unwrap_or(&[]);
                return self.no_number(
                    header,
                    RequestError::InvalidBulkLength,
                    RequestError::TooBigBulkCount,
                );
            }
        };
        if len > self.limits.bulk {
            return Err(RequestError::InvalidBulkLength);
        }
        if len > UNAUTHENTICATED_BULK && !self.limits.authenticated {
            return Err(RequestError::UnauthenticatedBulk);
        }
        Ok(Some((len, body)))
    }

    /// Scans the frame after its name.
    #[inline(always)]
    fn rest(
        &mut self,
        buf: &[u8],
        from: Cursor,
        name: Span,
        arguments: u64,
    ) -> Result<Request, RequestError> {
        let cursor = self.walk(buf, from)?;
        if cursor.left == 0 {
            self.phase = Phase::Idle;
            return Ok(Request::Command { len: cursor.at, name, arguments });
        }
        self.phase = Phase::Arguments;
        self.cursor = cursor;
        self.name = name;
        self.arguments = arguments;
        Ok(Request::Head {
            scanned: cursor.at,
            name,
            arguments,
            present: arguments.saturating_sub(cursor.left),
        })
    }

    /// Skips all complete arguments, and the header of the next one.
    #[inline(always)]
    fn walk(&mut self, buf: &[u8], from: Cursor) -> Result<Cursor, RequestError> {
        let Cursor { at, mut left, body } = from;
        let mut rest = buf.get(at..).unwrap_or(&[]);
        if body == HEADER {
            let longest = self.limits.bulk_now();
            while left > 0
                && let Some(after) = short_argument(rest, longest)
            {
                rest = after;
                left -= 1;
            }
        }
        let at = buf.len() - rest.len();
        if left == 0 {
            Ok(Cursor { at, left, body: HEADER })
        } else {
            self.walk_on(buf, Cursor { at, left, body })
        }
    }

    /// Continues [`walk`](Self::walk) at an argument that needs the slower functions.
    #[inline(never)]
    fn walk_on(&mut self, buf: &[u8], from: Cursor) -> Result<Cursor, RequestError> {
        let longest = self.limits.bulk_now();
        let Cursor { mut at, mut left, mut body } = from;
        while left > 0 {
            if body == HEADER {
                let rest = buf.get(at..).unwrap_or(&[]);
                if let Some(after) = short_argument(rest, longest) {
                    at = buf.len() - after.len();
                    left -= 1;
                    continue;
                }
                let Some((len, after)) = self.header(buf, at)? else { break };
                at = after;
                body = len;
            }
            let Some(end) = usize::try_from(body).ok().and_then(|body| at.checked_add(body)) else { break };
            match buf.get(end..).and_then(<[u8]>::first_chunk) {
                Some(b"\r\n") => {}
                Some(_) => return Err(RequestError::InvalidFraming),
                None => break,
            }
            at = end + CRLF.len();
            body = HEADER;
            left -= 1;
        }
        Ok(Cursor { at, left, body })
    }

    /// Handles a header that is not a number, as Redis does: Redis first searches for the CR, up to a limit, and then
    /// checks the number. A bare LF is refused at once, because Redis would wait without end.
    #[cold]
    fn no_number<T>(
        &mut self,
        header: &[u8],
        wrong: RequestError,
        endless: RequestError,
    ) -> Result<Option<T>, RequestError> {
        let bounded = header.get(..=MAX_INLINE).unwrap_or(header);
        let unseen = bounded.get(usize::try_from(self.searched).unwrap_or(0)..).unwrap_or(&[]);
        match unseen.iter().find(|byte| matches!(byte, b'\r' | b'\n')) {
            Some(b'\r') => Err(wrong),
            Some(_) => Err(RequestError::InvalidFraming),
            None if header.len() > MAX_INLINE => Err(endless),
            None => {
                self.searched = u32::try_from(header.len()).unwrap_or(u32::MAX);
                Ok(None)
            }
        }
    }

    fn line(&mut self, buf: &[u8], from: usize) -> Result<Request, RequestError> {
        match buf {
            [TLS_HANDSHAKE] => return Ok(self.need(2)),
            [TLS_HANDSHAKE, TLS_MAJOR, ..] => return Err(RequestError::TlsClientHello),
            [b'\n', ..] => return Ok(self.empty(1)),
            [b'\r', b'\n', ..] => return Ok(self.empty(2)),
            [b'\r'] => return Ok(self.need(2)),
            _ if !self.limits.inline_commands => return Err(RequestError::InlineDisabled),
            _ => {}
        }
        let unseen = buf.get(from..).unwrap_or(&[]);
        let end = unseen.iter().position(|&byte| byte == b'\n' || byte == 0).map(|end| from + end);
        if end.unwrap_or(buf.len()) > self.limits.inline {
            return Err(RequestError::TooBigInline);
        }
        match end {
            Some(end) if buf.get(end) == Some(&b'\n') => {
                self.phase = Phase::Idle;
                Ok(Request::Inline { len: end + 1 })
            }
            Some(_) => Err(RequestError::InvalidFraming),
            None => {
                self.phase = Phase::Line;
                self.cursor.at = buf.len();
                Ok(Request::Need { at_least: buf.len() + 1 })
            }
        }
    }

    const fn need(&mut self, at_least: usize) -> Request {
        self.phase = Phase::Begun;
        Request::Need { at_least }
    }

    const fn empty(&mut self, len: usize) -> Request {
        self.phase = Phase::Idle;
        Request::Empty { len }
    }
}

/// Returns the bytes after the argument at the start of `rest`. `None` if the argument is not complete, is too long,
/// or has a length with many digits.
#[inline(always)]
fn short_argument(rest: &[u8], longest: usize) -> Option<&[u8]> {
    let (len, header) = number::short(rest, b'$')?;
    let (end, after) = rest.get(header + len..)?.split_first_chunk()?;
    (end == CRLF && len <= longest).then_some(after)
}

const CRLF: &[u8; 2] = b"\r\n";
/// The first two bytes of a TLS connection: a handshake record of version 3.x.
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_MAJOR: u8 = 0x03;

#[cfg(test)]
mod tests;
