//! One direction of a connection: bytes are read, judged and written in order.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::buffer::{Buffer, BufferPool};
use super::stream::Stream;

/// The number of bytes outside the read buffer from which no more bytes are judged. Otherwise inserted bytes could
/// pile up.
const MAX_OUT: usize = 64 * 1024;

/// Bytes on their way from one socket to another.
///
/// Bytes that are passed on unchanged are written from the buffer into which they were read. If other bytes are
/// inserted, or some are left out, the bytes before that place are moved to `out`.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    buffer: Buffer,
    /// The number of bytes at the front of `buffer` that were judged and may be written.
    passed: usize,
    /// The bytes that are written before `buffer[..passed]`.
    out: Vec<u8>,
    /// The number of bytes at the front of `out` that were written.
    written: usize,
}

impl Pipe {
    /// Returns the bytes that were read and not judged yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer.bytes()[self.passed..]
    }

    /// Passes on the first `len` unread bytes.
    pub(crate) const fn pass(&mut self, len: usize) {
        self.passed += len;
    }

    /// Drops the first `len` unread bytes.
    pub(crate) fn skip(&mut self, len: usize) {
        self.set_aside();
        self.buffer.consume(len);
    }

    /// Appends the bytes that `write` produces after all bytes that were passed on. Returns their number.
    pub(crate) fn insert(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        self.set_aside();
        // Bytes that were written must not count as waiting, here or in `write`.
        self.out.drain(..self.written);
        self.written = 0;
        let before = self.out.len();
        write(&mut self.out);
        self.out.len() - before
    }

    /// Returns whether bytes wait to be written.
    pub(crate) fn is_pending(&self) -> bool {
        self.passed > 0 || self.written < self.out.len()
    }

    /// Returns whether so many bytes wait that no more bytes should be judged.
    pub(crate) fn is_congested(&self) -> bool {
        self.waiting() >= MAX_OUT
    }

    /// Writes until all bytes that were passed on are written. Adds the number of bytes written to `moved`, also if
    /// the result is pending or an error.
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

    /// Forgets the first `n` waiting bytes, which were written.
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

    /// Writes once, even if the kernel has not reported room. Returns the number of bytes written, or `None` if `to`
    /// took nothing.
    pub(crate) fn push(&mut self, to: &mut Stream) -> Option<u64> {
        let aside = &self.out[self.written..];
        let next = if aside.is_empty() { &self.buffer.bytes()[..self.passed] } else { aside };
        let n = to.push(next)?;
        self.forget(n);
        Some(n as u64)
    }

    /// Writes `bytes` after all bytes that were passed on, and keeps the bytes that `to` does not take. The result
    /// and `moved` are as in [`Pipe::poll_flush`].
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

    /// Gives the bytes that were passed on to `take`, which returns how many of them it takes. Returns their number.
    pub(crate) fn give(&mut self, mut take: impl FnMut(&[u8]) -> usize) -> usize {
        let mut given = 0;
        loop {
            let aside = &self.out[self.written..];
            let next = if aside.is_empty() { &self.buffer.bytes()[..self.passed] } else { aside };
            let n = if next.is_empty() { 0 } else { take(next) };
            if n == 0 {
                return given;
            }
            self.forget(n);
            given += n;
        }
    }

    /// Makes room for `len` more unread bytes. Returns whether there is room.
    pub(crate) fn reserve(&mut self, len: usize, pool: &BufferPool) -> bool {
        let total = self.buffer.bytes().len() + len;
        self.buffer.room(total, pool).is_some()
    }

    /// Appends unread bytes. Returns whether there was room for them.
    pub(crate) fn receive(&mut self, bytes: &[u8], pool: &BufferPool) -> bool {
        let total = self.buffer.bytes().len() + bytes.len();
        let Some(room) = self.buffer.room(total, pool).and_then(|room| room.get_mut(..bytes.len())) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.buffer.filled(bytes.len());
        true
    }

    /// Returns the number of bytes that wait to be written outside the read buffer.
    pub(crate) const fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// Reads once. The buffer gets room for `total` unread bytes. Returns the number of bytes read; 0 is the end of
    /// the stream. If the pool has no memory, the task is woken when it has.
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

    /// Continues with the bytes that another reader has read. The caller makes sure that this pipe has no unread
    /// bytes.
    pub(crate) fn take_over(&mut self, buffer: Buffer, pool: &BufferPool) {
        self.set_aside();
        self.buffer.release(pool);
        self.buffer = buffer;
    }

    /// Returns whether the buffer holds so many bytes that a read would need more than one lease.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.is_full()
    }

    /// Gives back the memory that is not needed while no bytes move.
    pub(crate) fn park(&mut self, pool: &BufferPool) {
        if self.passed == 0 {
            self.buffer.park(pool);
        }
    }

    /// Returns the bytes of memory that the pipe leases.
    pub(crate) fn leased(&self) -> usize {
        self.buffer.held()
    }

    /// Returns the bytes of memory that the pipe holds besides its lease.
    pub(crate) fn aside(&self) -> usize {
        self.out.capacity()
    }

    /// Drops the bytes that were passed on and not written. The unread bytes stay.
    pub(crate) fn drop_passed(&mut self) {
        self.buffer.consume(self.passed);
        self.passed = 0;
        self.out = Vec::new();
        self.written = 0;
    }

    /// Drops all bytes and gives all memory back.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        self.buffer.release(pool);
        self.passed = 0;
        self.out = Vec::new();
        self.written = 0;
    }

    /// Moves the bytes that were passed on from the read buffer to `out`.
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
