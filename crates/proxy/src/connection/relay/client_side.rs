//! The client's socket, and the signs that the client reads what is written to it.

use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_session::Tick;

use super::deadlines::Due;
use super::session_guard::SessionGuard;
use crate::metrics::{ClosedReason, Direction};
use crate::net::buffer::BufferPool;
use crate::net::pipe::Pipe;
use crate::net::stream::Stream;

/// The bytes of commands that count as progress while the client does not take its replies. A client that sends a
/// pipeline may stay as long as it makes progress of this size. A command that the proxy drops or refuses does not
/// count.
const PIPELINE_PROGRESS: u32 = 64 * 1024;

/// The client's socket, and the progress of writing to it.
pub(super) struct ClientSide {
    /// The socket; `None` once the session has ended.
    stream: Option<Stream>,
    /// The bytes of commands that went upstream since the last progress, while replies wait for the client.
    piped: u32,
    /// Whether the end of the client's bytes was read.
    ended: bool,
    /// Whether a write between two turns has failed.
    broken: bool,
    /// Whether [`ClientSide::press`] was called since the client last accepted bytes.
    pressed: bool,
    /// Whether the next flush goes on writing until the kernel takes no more bytes.
    presses: bool,
    /// Whether the kernel's time limit is lifted until the client accepts bytes.
    lets_write: bool,
}

impl ClientSide {
    pub(super) const fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            piped: 0,
            ended: false,
            broken: false,
            pressed: false,
            presses: false,
            lets_write: false,
        }
    }

    /// Returns the socket; `None` once the session has ended.
    pub(super) const fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// Takes the socket of a session that ends.
    pub(super) const fn take_stream(&mut self) -> Option<Stream> {
        self.stream.take()
    }

    /// Returns whether the end of the client's bytes was read.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns whether a write between two turns has failed.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Returns whether the client has closed its side, even if the end of its bytes was not read yet.
    pub(super) fn has_left(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::peer_closed)
    }

    /// Returns the bytes of memory that TLS with the client holds.
    pub(super) fn held_by_tls(&self) -> usize {
        self.stream.as_ref().map_or(0, Stream::held)
    }

    /// Reads once. The buffer gets room for `total` unread bytes. Returns the number of bytes read; 0 is the end of
    /// the client's bytes. The result is also pending if the pool has no memory.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        requests: &mut Pipe,
        total: usize,
        pool: &BufferPool,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        let read = requests.poll_fill(cx, stream, total, pool);
        self.ended |= matches!(read, Poll::Ready(Ok(0)));
        read
    }

    /// Writes the bytes that wait for the client, and adds the number of bytes written to `written`.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        replies: &mut Pipe,
        guard: &mut SessionGuard,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        let (mut moved, mut pressed) = (0, 0);
        let mut flushed = replies.poll_flush(cx, stream, &mut moved);
        while self.presses && flushed.is_pending() {
            let pushed = replies.push(stream);
            self.presses = pushed.is_some();
            pressed += pushed.unwrap_or(0);
            flushed = replies.poll_flush(cx, stream, &mut moved);
        }
        if moved + pressed > 0 {
            guard.count_bytes(Direction::ToClient, moved + pressed);
            *written += moved + pressed;
        }
        if moved > 0 {
            self.accepted(guard);
        }
        flushed
    }

    /// Writes `bytes` between two turns, after the bytes that wait already. Wakes the client's task if the write
    /// fails or if bytes remain.
    pub(super) fn write(&mut self, bytes: &[u8], replies: &mut Pipe, guard: &mut SessionGuard) {
        let Some(stream) = &mut self.stream else { return };
        let mut moved = 0;
        let waker = guard.entry.waker();
        let mut cx = Context::from_waker(waker.as_ref().unwrap_or(Waker::noop()));
        let written = replies.poll_write_through(&mut cx, stream, bytes, &mut moved);
        drop(waker);
        if moved > 0 {
            guard.count_bytes(Direction::ToClient, moved);
            self.accepted(guard);
        }
        match written {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.broken = true;
                guard.entry.wake();
            }
            // The task sets the deadline, and counts the memory of the bytes that remain.
            Poll::Pending => guard.entry.wake(),
        }
    }

    /// Writes although the kernel does not report room, and lets the next flush continue until there is none. The
    /// kernel reports room only when a third of its buffer was read, which a slow reader may not manage in time.
    /// Returns whether there was room.
    pub(super) fn press(&mut self, replies: &mut Pipe, guard: &mut SessionGuard) -> bool {
        self.pressed = true;
        let Some(moved) = self.stream.as_mut().and_then(|stream| replies.push(stream)) else {
            return false;
        };
        self.presses = true;
        guard.count_bytes(Direction::ToClient, moved);
        true
    }

    /// Records that `n` bytes of the client's commands went upstream. `replies_wait` is whether replies wait for the
    /// client.
    pub(super) fn forwarded(&mut self, n: usize, replies_wait: bool, guard: &SessionGuard) {
        if !replies_wait || self.is_progress(n, guard) {
            self.touch(guard);
        }
    }

    /// Returns whether `n` more bytes of commands are enough progress of a pipeline to count although replies wait.
    #[cold]
    fn is_progress(&mut self, n: usize, guard: &SessionGuard) -> bool {
        self.piped = self.piped.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        let is_progress = self.piped >= PIPELINE_PROGRESS;
        if is_progress {
            self.let_write(guard);
        }
        is_progress
    }

    /// Lifts the kernel's time limit if `timeouts.write` is set. A client may write for any time before it reads, and
    /// then `timeouts.write` decides when it is closed.
    fn let_write(&mut self, guard: &SessionGuard) {
        let deadlines = guard.entry.listener.deadlines();
        if let Some(stream) = self.stream.as_ref().filter(|_| !self.lets_write && deadlines.write.is_some()) {
            stream.set_user_timeout(None);
            self.lets_write = true;
        }
    }

    /// Sets the kernel's limit on unacknowledged bytes, unless the client may write for any time before it reads.
    pub(super) fn set_user_timeout(&self, limit: Option<Duration>) {
        if let Some(stream) = self.stream.as_ref().filter(|_| !self.lets_write) {
            stream.set_user_timeout(limit);
        }
    }

    /// Records that the client has accepted bytes of its replies: the kernel reported room and took them.
    fn accepted(&mut self, guard: &SessionGuard) {
        self.pressed = false;
        if self.lets_write {
            self.limit_writes(guard);
        }
        self.touch(guard);
    }

    /// Restores the kernel's time limit.
    #[cold]
    fn limit_writes(&mut self, guard: &SessionGuard) {
        self.lets_write = false;
        if let Some(stream) = &self.stream {
            stream.set_user_timeout(guard.entry.listener.deadlines().user_timeout);
        }
    }

    /// Records progress. The recorded time may be one tick old.
    pub(super) fn touch(&mut self, guard: &SessionGuard) {
        self.piped = 0;
        guard.touch();
    }

    /// Returns the next step against a client that has accepted no bytes since `moved`, and the time of the step.
    /// `limit` is `timeouts.write`.
    pub(super) fn write_due(&self, limit: Duration, moved: Tick) -> (Tick, Due) {
        // At half of the limit, the proxy fills the room that the kernel has without the client's doing. Bytes that
        // the kernel takes at the end of the limit then show that the client has read.
        if self.pressed {
            (moved.after(limit), Due::Close(ClosedReason::Slow))
        } else {
            (moved.after(limit / 2), Due::Press)
        }
    }
}
