//! One direction of a connection: bytes are read, judged, and written on in order.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::buffer::{Buffer, BufferPool};
use super::stream::Stream;

/// While this much waits outside the read buffer, nothing more is judged: inserted bytes must not pile up.
const MAX_OUT: usize = 64 * 1024;

/// Bytes on their way from one socket to another.
///
/// What goes on unchanged is written from the buffer it was read into. Only where other bytes come between, or some are
/// left out, is what comes before them moved aside.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    buffer: Buffer,
    /// Number of bytes at the front of `buffer` that were judged and may be written.
    passed: usize,
    /// Bytes that are written before `buffer[..passed]`.
    out: Vec<u8>,
    written: usize,
}

impl Pipe {
    /// Returns the bytes that were read and not judged yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer.bytes()[self.passed..]
    }

    /// Passes the first `len` unread bytes.
    pub(crate) const fn pass(&mut self, len: usize) {
        self.passed += len;
    }

    /// Skips the first `len` unread bytes.
    pub(crate) fn skip(&mut self, len: usize) {
        self.set_aside();
        self.buffer.consume(len);
    }

    /// Appends bytes of `write` after all passed bytes. Returns their number.
    pub(crate) fn insert(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        self.set_aside();
        // Written bytes must not count as waiting, here or for `write`.
        self.out.drain(..self.written);
        self.written = 0;
        let before = self.out.len();
        write(&mut self.out);
        self.out.len() - before
    }

    /// Whether anything waits to be written.
    pub(crate) fn is_pending(&self) -> bool {
        self.passed > 0 || self.written < self.out.len()
    }

    /// Whether so much waits that nothing more should be judged.
    pub(crate) fn is_congested(&self) -> bool {
        self.waiting() >= MAX_OUT
    }

    /// Writes until all that was passed is gone. Returns the bytes written by this call through `moved`, also where it
    /// ends in waiting.
    #[inline]
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        moved: &mut u64,
    ) -> Poll<io::Result<()>> {
        if self.is_pending() { self.poll_write(cx, to, moved) } else { Poll::Ready(Ok(())) }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Stream, moved: &mut u64) -> Poll<io::Result<()>> {
        while self.is_pending() {
            let aside = &self.out[self.written..];
            let passed = &self.buffer.bytes()[..self.passed];
            let n = match (aside.is_empty(), passed.is_empty()) {
                (true, _) => ready!(to.poll_write(cx, &[IoSlice::new(passed)]))?,
                (_, true) => ready!(to.poll_write(cx, &[IoSlice::new(aside)]))?,
                _ => ready!(to.poll_write(cx, &[IoSlice::new(aside), IoSlice::new(passed)]))?,
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *moved += n as u64;
            self.forget(n);
        }
        Poll::Ready(Ok(()))
    }

    /// `n` of the bytes that wait were written.
    fn forget(&mut self, n: usize) {
        let from_aside = n.min(self.waiting());
        self.written += from_aside;
        self.passed -= n - from_aside;
        self.buffer.consume(n - from_aside);
        if self.written == self.out.len() && self.written > 0 {
            self.out = Vec::new();
            self.written = 0;
        }
    }

    /// Writes once, whether or not the kernel has said that there is room. Returns the bytes written, if `to` took anything.
    pub(crate) fn push(&mut self, to: &mut Stream) -> Option<u64> {
        let aside = &self.out[self.written..];
        let next = if aside.is_empty() { &self.buffer.bytes()[..self.passed] } else { aside };
        let n = to.push(next)?;
        self.forget(n);
        Some(n as u64)
    }

    /// Writes `bytes` after all that was passed, and keeps what `to` does not take. Returns as [`Pipe::poll_flush`] does.
    pub(crate) fn poll_write_through(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        bytes: &[u8],
        moved: &mut u64,
    ) -> Poll<io::Result<()>> {
        let mut rest = bytes;
        if !self.is_pending() && !bytes.is_empty() {
            match to.poll_write(cx, &[IoSlice::new(bytes)]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    *moved += n as u64;
                    rest = &bytes[n..];
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if !rest.is_empty() {
            self.insert(|out| out.extend_from_slice(rest));
        }
        self.poll_flush(cx, to, moved)
    }

    /// Returns the number of bytes that wait to be written besides those in the read buffer.
    pub(crate) const fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// Reads once. `total`: how many unread bytes there must be room for. 0: the end of the stream.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        total: usize,
        pool: &BufferPool,
    ) -> Poll<io::Result<usize>> {
        ready!(from.poll_readable(cx))?;
        let Some(room) = self.buffer.room(self.passed + total, pool) else {
            pool.wait(cx.waker());
            return Poll::Pending;
        };
        let n = ready!(from.poll_read(cx, room))?;
        self.buffer.filled(n);
        Poll::Ready(Ok(n))
    }

    /// Goes on with what another has read. To be called where nothing is unread.
    pub(crate) fn take_over(&mut self, buffer: Buffer, pool: &BufferPool) {
        self.set_aside();
        self.buffer.release(pool);
        self.buffer = buffer;
    }

    /// Whether so many bytes are in that a read would need more than a lease.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.is_full()
    }

    /// Gives memory back that is not needed while nothing moves.
    pub(crate) fn park(&mut self, pool: &BufferPool) {
        if self.passed == 0 {
            self.buffer.park(pool);
        }
    }

    /// Bytes of memory it leases.
    pub(crate) fn leased(&self) -> usize {
        self.buffer.held()
    }

    /// Bytes of memory it holds besides.
    pub(crate) fn aside(&self) -> usize {
        self.out.capacity()
    }

    /// Gives all memory back.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        self.buffer.release(pool);
        self.passed = 0;
        self.out = Vec::new();
        self.written = 0;
    }

    fn set_aside(&mut self) {
        if self.passed > 0 {
            self.out.extend_from_slice(&self.buffer.bytes()[..self.passed]);
            self.buffer.consume(self.passed);
            self.passed = 0;
        }
    }
}

#[cfg(test)]
mod tests;
