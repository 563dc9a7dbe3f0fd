//! The socket of one leg, and the bytes that were read from it.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use portcullis_session::cluster::LegIndex;

use super::shared_leg::SharedLeg;
use crate::net::buffer::{Buffer, BufferPool};
use crate::net::stream::Stream;
use crate::upstream::connect::ConnectError;

/// A dial to a node.
type Dial = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>>>>;

/// The socket of one leg.
#[derive(Default)]
pub(super) struct LegSocket {
    state: State,
    input: Buffer,
    /// Whether the task is woken when the node sends or closes.
    is_watched: bool,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    Dialling(LegIndex, Dial),
    Open(LegIndex, Stream),
    /// Looking for a connection that the client shares.
    Seeking(LegIndex, Box<SharedLeg>),
    /// Connections that the client shares.
    Shared(LegIndex, Box<SharedLeg>),
    /// The connection was closed here. What it had sent is in the buffer.
    Drained(LegIndex, Whose),
}

/// The owner of a connection that was closed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Own,
    Shared,
}

/// The outcome of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Bytes were read.
    Some,
    /// Nothing can be read now.
    Nothing,
    /// The pool has no memory.
    NoMemory,
    /// The connection has ended.
    Ended,
}

impl LegSocket {
    /// Returns whether the task is woken when the node sends or closes.
    pub(super) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Starts to connect.
    pub(super) fn dial(
        &mut self,
        leg: LegIndex,
        dial: impl Future<Output = Result<Stream, ConnectError>> + 'static,
    ) {
        self.state = State::Dialling(leg, Box::pin(dial));
    }

    /// Starts to look for a connection that the client shares.
    pub(super) fn seek(&mut self, leg: LegIndex, shared: SharedLeg) {
        self.state = State::Seeking(leg, Box::new(shared));
    }

    /// Returns the connections that the client shares, if the leg goes by them.
    pub(super) fn shared(&mut self) -> Option<&mut SharedLeg> {
        match &mut self.state {
            State::Shared(_, shared) => Some(shared),
            _ => None,
        }
    }

    pub(super) const fn is_seeking(&self) -> bool {
        matches!(self.state, State::Seeking(..))
    }

    pub(super) const fn is_dialling(&self) -> bool {
        matches!(self.state, State::Dialling(..) | State::Seeking(..))
    }

    /// Returns the result of a dial that has ended.
    pub(super) fn poll_dial(&mut self, cx: &mut Context<'_>) -> Option<(LegIndex, Result<(), ConnectError>)> {
        if let State::Seeking(..) = self.state {
            return self.poll_seek(cx);
        }
        let State::Dialling(leg, dial) = &mut self.state else { return None };
        let leg = *leg;
        let Poll::Ready(done) = dial.as_mut().poll(cx) else { return None };
        let result = match done {
            Ok(stream) => {
                self.state = State::Open(leg, stream);
                self.is_watched = false;
                Ok(())
            }
            Err(error) => {
                self.state = State::None;
                Err(error)
            }
        };
        Some((leg, result))
    }

    fn poll_seek(&mut self, cx: &Context<'_>) -> Option<(LegIndex, Result<(), ConnectError>)> {
        let State::Seeking(leg, shared) = &mut self.state else { return None };
        let leg = *leg;
        let Poll::Ready(done) = shared.poll_connect(cx) else { return None };
        let state = std::mem::take(&mut self.state);
        if let (Ok(()), State::Seeking(leg, shared)) = (&done, state) {
            self.state = State::Shared(leg, shared);
            // The connection wakes the task.
            self.is_watched = true;
        }
        Some((leg, done.map_err(ConnectError::gave_up)))
    }

    /// Returns the leg that has the connection, if it is open.
    pub(super) const fn leg(&self) -> Option<LegIndex> {
        match &self.state {
            State::Open(leg, _) | State::Shared(leg, _) | State::Drained(leg, _) => Some(*leg),
            State::None | State::Dialling(..) | State::Seeking(..) => None,
        }
    }

    /// Returns the bytes that were read and not judged.
    pub(super) fn unread(&self) -> &[u8] {
        self.input.bytes()
    }

    pub(super) fn consume(&mut self, len: usize) {
        self.input.consume(len);
    }

    /// Returns the address of the node, if the connection is open.
    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Open(_, stream) => stream.peer_address(),
            State::Shared(_, shared) => shared.server(),
            State::None | State::Dialling(..) | State::Seeking(..) | State::Drained(..) => None,
        }
    }

    /// Closes the connection. What the node has sent before can still be read, up to one buffer of it.
    pub(super) fn drain(&mut self, pool: &BufferPool) {
        let mut cx = Context::from_waker(Waker::noop());
        while !self.input.is_full()
            && self.poll_fill(&mut cx, self.input.bytes().len() + 1, pool) == Fill::Some
        {}
        match &self.state {
            State::Open(leg, _) => self.state = State::Drained(*leg, Whose::Own),
            State::Shared(leg, shared) => {
                shared.retire();
                self.state = State::Drained(*leg, Whose::Shared);
            }
            State::None | State::Dialling(..) | State::Seeking(..) | State::Drained(..) => {}
        }
    }

    /// Reads once, with room for `total` unread bytes.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, total: usize, pool: &BufferPool) -> Fill {
        let stream = match &mut self.state {
            State::Open(_, stream) => stream,
            State::Shared(..) => return self.take_shared(total, pool),
            State::Drained(..) => return Fill::Ended,
            State::None | State::Dialling(..) | State::Seeking(..) => return Fill::Nothing,
        };
        self.is_watched = false;
        match stream.poll_readable(cx) {
            Poll::Pending => {
                self.is_watched = true;
                return Fill::Nothing;
            }
            Poll::Ready(Err(_)) => return Fill::Ended,
            Poll::Ready(Ok(())) => {}
        }
        let Some(room) = self.input.room(total, pool) else { return Fill::NoMemory };
        match stream.poll_read(cx, room) {
            Poll::Pending => {
                self.is_watched = true;
                Fill::Nothing
            }
            Poll::Ready(Ok(0) | Err(_)) => Fill::Ended,
            Poll::Ready(Ok(n)) => {
                self.input.filled(n);
                Fill::Some
            }
        }
    }

    /// Takes replies that came on a shared connection.
    fn take_shared(&mut self, total: usize, pool: &BufferPool) -> Fill {
        let State::Shared(_, shared) = &self.state else { return Fill::Nothing };
        if !shared.has_bytes() {
            return if shared.is_lost() { Fill::Ended } else { Fill::Nothing };
        }
        let Some(room) = self.input.room(total, pool) else { return Fill::NoMemory };
        let n = shared.take(room);
        self.input.filled(n);
        Fill::Some
    }

    /// Returns whether the node has closed the connection. Bytes that it has sent are kept, up to one buffer.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>, pool: &BufferPool) -> bool {
        !self.input.is_full() && self.poll_fill(cx, self.input.bytes().len() + 1, pool) == Fill::Ended
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut self.state {
            State::Open(_, stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
            State::None
            | State::Dialling(..)
            | State::Seeking(..)
            | State::Shared(..)
            | State::Drained(..) => Poll::Pending,
        }
    }

    /// Closes the connection, or gives the dial up. Returns whether the leg had an open connection of its own.
    pub(super) fn close(&mut self, pool: &BufferPool) -> bool {
        self.input.release(pool);
        matches!(std::mem::take(&mut self.state), State::Open(..) | State::Drained(_, Whose::Own))
    }

    /// Gives back the memory that is not needed while no bytes move.
    pub(super) fn park(&mut self, pool: &BufferPool) {
        self.input.park(pool);
    }

    pub(super) fn leased(&self) -> usize {
        self.input.held()
    }

    /// Returns the bytes of memory that TLS or a shared leg holds.
    pub(super) fn held_aside(&self) -> usize {
        match &self.state {
            State::Open(_, stream) => stream.held(),
            State::Seeking(_, shared) | State::Shared(_, shared) => shared.held(),
            State::None | State::Dialling(..) | State::Drained(..) => 0,
        }
    }
}
