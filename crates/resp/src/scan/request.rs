//! Requests: the canonical multibulk form, and inline lines for [`crate::inline`].

use super::number::{self, Fault};
use super::{Span, Streamed};
use crate::error::RequestError;
use crate::limits::{MAX_INLINE, MAX_NAME, RequestLimits, UNAUTHENTICATED_ARGUMENTS, UNAUTHENTICATED_BULK};

/// The start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The buffer must grow to `at_least` bytes (more than it has) before more can be said. Never announces more
    /// than a header or a name needs.
    Need {
        /// Bytes, from the frame's first.
        at_least: usize,
    },
    /// An empty request: `*0`, `*-N` or a blank line. Redis sends no reply to it, so it need not be forwarded.
    Empty {
        /// Bytes to drop.
        len: usize,
    },
    /// `buf[..len]` is a line with its newline: see [`crate::inline::canonicalise`].
    Inline {
        /// Bytes of the line.
        len: usize,
    },
    /// `buf[..len]` is a whole command in canonical form.
    Command {
        /// Bytes of the frame.
        len: usize,
        /// Its name, cut at [`MAX_NAME`] bytes.
        name: Span,
        /// Number of arguments, the name included.
        arguments: u64,
    },
    /// The name is in, the frame is not. Call `next` again with more bytes, or [`RequestScanner::stream`].
    Head {
        /// `buf[..scanned]` is validated.
        scanned: usize,
        /// The name, cut at [`MAX_NAME`] bytes. Where it is cut and not wholly in, `present` is 0.
        name: Span,
        /// Number of arguments announced, the name included.
        arguments: u64,
        /// The number of arguments that are complete in `buf[..scanned]`.
        present: u64,
    },
}

/// The start of a complete command: its bytes up to the end of its name.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'b> {
    bytes: &'b [u8],
    name: Span,
    arguments: u64,
}

impl<'b> Beginning<'b> {
    /// That of a [`Request::Command`] which is `frame`, with the name and the number of arguments that it was found with.
    /// `None` where the name may have been cut.
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
/// Order of calls: [`next`](Self::next) until it gives something other than `Need`; drop the bytes it names and go on.
/// After a `Head`, [`stream`](Self::stream) may take over until it says `done`. After an error nothing is known any
/// more, and the connection has to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestScanner {
    limits: RequestLimits,
    cursor: Cursor,
    arguments: u64,
    name: Span,
    /// Bytes of the next header that are known to be no number and to have no end; such a header never becomes valid,
    /// so this never goes back to 0.
    searched: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between frames.
    Idle,
    /// Some bytes of a frame are in, but not its name: it is read from its start again.
    Begun,
    /// In a line without its newline; the cursor is where the search goes on.
    Line,
    /// The name is in.
    Arguments,
    /// [`RequestScanner::stream`] has taken over; the cursor is relative to what it was last given.
    Streaming,
}

/// Place in a multibulk frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    /// Offset of the next byte to look at.
    at: usize,
    /// Arguments not wholly seen.
    left: u64,
    /// Bytes left of the body that stands at `at`, without its CRLF; [`HEADER`] where a header comes next.
    body: u64,
}

/// No body is that long.
const HEADER: u64 = u64::MAX;

impl RequestScanner {
    /// A scanner at the start of a connection.
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

    /// Changes the limits; they hold from the next header that is read.
    pub const fn set_limits(&mut self, limits: RequestLimits) {
        self.limits = limits;
    }

    /// Looks at what `buf` begins with; `buf` starts at the first byte of the frame in progress.
    ///
    /// # Errors
    /// Bytes that are no canonical request; also when called while a frame is being streamed.
    #[inline]
    pub fn next(&mut self, buf: &[u8]) -> Result<Request, RequestError> {
        if matches!(self.phase, Phase::Idle | Phase::Begun)
            && let Some((cursor, name)) = self.short_head(buf)
        {
            return self.rest(buf, cursor, name, cursor.left + 1);
        }
        self.next_slowly(buf)
    }

    /// Scans like [`next`](Self::next), where `buf` begins byte for byte like an earlier command: then it has the
    /// same name and number of arguments. `None`: it does not, or a frame has begun, and nothing was scanned. The
    /// limits must be the same as before.
    ///
    /// # Errors
    /// Those of `next`.
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

    /// Hands out the frame that [`next`](Self::next) last gave as `Head`, as far as it is in. The first call's `buf`
    /// still starts at the frame's first byte; the caller consumes `len` bytes after each call.
    ///
    /// # Errors
    /// Bytes that do not continue the frame; also when there is no such frame.
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

    /// Whether a frame has begun and is not over.
    #[must_use]
    pub const fn is_mid_frame(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// Number of bytes of the current frame that were scanned and not released; [`next`](Self::next) must see them
    /// again, and takes fewer for another frame.
    #[must_use]
    pub const fn looked_at(&self) -> usize {
        match self.phase {
            Phase::Line | Phase::Arguments => self.cursor.at,
            Phase::Idle | Phase::Begun | Phase::Streaming => 0,
        }
    }

    /// The usual beginning, wholly in: a number of arguments and a name, both small.
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

    /// `*N`: the number of arguments (0 for none or a negative number), and the offset behind the header.
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

    /// `$N` at `at`: the length, and the offset behind the header.
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

    /// The step after the name is complete.
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

    /// Goes over all arguments that are wholly in, and the header of the next.
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

    /// The same, where the next argument takes a closer look.
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

    /// Handles a header that is not a number like Redis: it looks for the CR first, up to a bound, and then at the
    /// number. After a bare LF it would wait without end.
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

/// Returns the step after the argument at the start of `rest`, if that is complete and its length has few digits.
#[inline(always)]
fn short_argument(rest: &[u8], longest: usize) -> Option<&[u8]> {
    let (len, header) = number::short(rest, b'$')?;
    let (end, after) = rest.get(header + len..)?.split_first_chunk()?;
    (end == CRLF && len <= longest).then_some(after)
}

const CRLF: &[u8; 2] = b"\r\n";
/// The first two bytes of any TLS connection: a handshake record of version 3.x.
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_MAJOR: u8 = 0x03;

#[cfg(test)]
mod tests;
