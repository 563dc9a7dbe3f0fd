//! The client's socket, and whether the client reads what is written to it.

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

/// A client that does not take its replies must be writing a pipeline to stay. Each time Redis has accepted so many bytes of
/// its commands, that is progress. A command that the gate leaves out or refuses is none.
const PIPELINE_PROGRESS: u32 = 64 * 1024;

/// The client's socket, and the progress of writing to it.
pub(super) struct ClientSide {
    /// None once the session has ended.
    stream: Option<Stream>,
    /// Bytes that the upstream accepted since the client last accepted any, while replies wait for it.
    piped: u32,
    /// The end of what it sends was read.
    ended: bool,
    /// A write between two turns has failed.
    broken: bool,
    /// The replies that wait were pressed on it since it last accepted any.
    pressed: bool,
    /// Pressing goes on until the kernel takes no more.
    presses: bool,
    /// The kernel's own limit is lifted until the client accepts some.
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

    /// Its socket, as long as the session lives.
    pub(super) const fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// The socket of a session that ends.
    pub(super) const fn take_stream(&mut self) -> Option<Stream> {
        self.stream.take()
    }

    /// Whether the end of what it sends was read.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a write between two turns has failed.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it has closed its side, though that was not read yet.
    pub(super) fn has_left(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::peer_closed)
    }

    /// Bytes of memory that TLS with the client holds.
    pub(super) fn held_by_tls(&self) -> usize {
        self.stream.as_ref().map_or(0, Stream::held)
    }

    /// Reads once. `total`: the number of unread bytes for which there must be room. 0: the end of what it sends.
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

    /// Writes what waits. Adds the bytes written to `written`.
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

    /// Writes between two turns: `bytes`, after what waits already. The client's task learns the outcome if it has to.
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
            // The task sees to the deadline, and to the account.
            Poll::Pending => guard.entry.wake(),
        }
    }

    /// Writes although the kernel does not say that there is room, and goes on until there is none. The kernel says so only
    /// when a third of what it holds was read, which a slow reader may not manage in time. Says whether there was room.
    pub(super) fn press(&mut self, replies: &mut Pipe, guard: &mut SessionGuard) -> bool {
        self.pressed = true;
        let Some(moved) = self.stream.as_mut().and_then(|stream| replies.push(stream)) else {
            return false;
        };
        self.presses = true;
        guard.count_bytes(Direction::ToClient, moved);
        true
    }

    /// The upstream has accepted so many bytes of its commands. `replies_wait`: the client has not taken all of its replies.
    pub(super) fn forwarded(&mut self, n: usize, replies_wait: bool, guard: &SessionGuard) {
        if !replies_wait || self.is_progress(n, guard) {
            self.touch(guard);
        }
    }

    /// Whether so many bytes of commands make up a part of a pipeline that counts as progress although replies wait.
    #[cold]
    fn is_progress(&mut self, n: usize, guard: &SessionGuard) -> bool {
        self.piped = self.piped.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        let is_progress = self.piped >= PIPELINE_PROGRESS;
        if is_progress {
            self.let_write(guard);
        }
        is_progress
    }

    /// A client may write for as long as it likes before it reads. So the kernel must not cut it: `timeouts.write` does.
    fn let_write(&mut self, guard: &SessionGuard) {
        let deadlines = guard.entry.listener.deadlines();
        if let Some(stream) = self.stream.as_ref().filter(|_| !self.lets_write && deadlines.write.is_some()) {
            stream.set_user_timeout(None);
            self.lets_write = true;
        }
    }

    /// The client has accepted some of its replies, as the kernel says.
    fn accepted(&mut self, guard: &SessionGuard) {
        self.pressed = false;
        if self.lets_write {
            self.limit_writes(guard);
        }
        self.touch(guard);
    }

    #[cold]
    fn limit_writes(&mut self, guard: &SessionGuard) {
        self.lets_write = false;
        if let Some(stream) = &self.stream {
            stream.set_user_timeout(guard.entry.listener.deadlines().user_timeout);
        }
    }

    /// There was progress; the time of it may be a tick late.
    pub(super) fn touch(&mut self, guard: &SessionGuard) {
        self.piped = 0;
        guard.touch();
    }

    /// The next step against a client that has accepted nothing since `moved`, where `limit` is the time for that.
    pub(super) fn write_due(&self, limit: Duration, moved: Tick) -> (Tick, Due) {
        // Room that the kernel has found since, and the client has not made, is used up before it could count.
        if self.pressed {
            (moved.after(limit), Due::Close(ClosedReason::Slow))
        } else {
            (moved.after(limit / 2), Due::Press)
        }
    }
}
