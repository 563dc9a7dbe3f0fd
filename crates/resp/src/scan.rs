//! Scanners that find the boundaries of requests and replies.
//!
//! Both scanners keep their position between reads. They skip a body by its length without reading it, and they read
//! each line once. Only a header that the end of the buffer cuts is read again (at most 22 bytes, and a name). The
//! scanners hold no bytes; the caller's buffer is the only one.

mod number;
mod reply;
mod request;

pub use reply::{
    FirstElement, MessageChannel, Reply, ReplyHead, ReplyScanner, aggregate_header, first_element,
    message_channel, second_element,
};
pub use request::{Beginning, Request, RequestScanner};

/// A range of a buffer, stored in 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The offset of the first byte.
    pub start: u32,
    /// The offset after the last byte.
    pub end: u32,
}

impl Span {
    /// Returns the bytes of `buf` in this range. Empty if the buffer is shorter.
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        let (Ok(start), Ok(end)) = (usize::try_from(self.start), usize::try_from(self.end)) else {
            return &[];
        };
        buf.get(start..end).unwrap_or(&[])
    }

    fn at(start: usize, len: usize) -> Self {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(start.saturating_add(len)) }
    }
}

/// The result of [`RequestScanner::stream`] and [`ReplyScanner::stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// The caller must forward `buf[..len]`, which is valid. 0 if a header or a line end is cut.
    pub len: usize,
    /// Whether the frame ends after these bytes.
    pub done: bool,
}

/// Returns the complete arguments of a canonical request, or of the part that a scanner has accepted. The name comes
/// first.
///
/// The iterator stops at bytes that are not canonical. It never panics.
#[must_use]
pub fn arguments(frame: &[u8]) -> Arguments<'_> {
    let rest = match frame.first() {
        Some(b'*') => match number::unsigned(frame, 1) {
            Ok(Some((_, at))) => frame.get(at..).unwrap_or(&[]),
            _ => &[],
        },
        _ => &[],
    };
    Arguments { rest }
}

/// The iterator that [`arguments`] returns.
#[derive(Clone, Debug)]
pub struct Arguments<'b> {
    rest: &'b [u8],
}

impl<'b> Arguments<'b> {
    /// Makes an iterator over the arguments in `rest`, which must begin after an argument and its CRLF.
    pub(crate) const fn new(rest: &'b [u8]) -> Self {
        Self { rest }
    }

    /// Returns the bytes that have not been read.
    pub(crate) const fn rest(&self) -> &'b [u8] {
        self.rest
    }
}

impl<'b> Iterator for Arguments<'b> {
    type Item = &'b [u8];

    #[inline]
    fn next(&mut self) -> Option<&'b [u8]> {
        if self.rest.first() != Some(&b'$') {
            return None;
        }
        let (len, body) = match number::short(self.rest, b'$') {
            Some((len, body)) => (u64::try_from(len).ok()?, body),
            None => number::unsigned(self.rest, 1).ok()??,
        };
        let end = body.checked_add(usize::try_from(len).ok()?)?;
        let after = self.rest.get(end..)?.strip_prefix(b"\r\n")?;
        let argument = self.rest.get(body..end)?;
        self.rest = after;
        Some(argument)
    }
}
