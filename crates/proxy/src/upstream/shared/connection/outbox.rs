//! Bytes of many clients that are written together.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use crate::net::stream::Stream;

/// The capacity in bytes that is kept after a burst.
const KEPT: usize = 64 * 1024;

/// Bytes that wait to be written. They are never printed, because they may contain a login.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the bytes that wait.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Returns the number of bytes that wait.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Returns the capacity of the buffer in bytes.
    pub(super) const fn held(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let n = ready!(to.poll_write(cx, &[IoSlice::new(&self.bytes[self.written..])]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.written = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        Poll::Ready(Ok(()))
    }
}
