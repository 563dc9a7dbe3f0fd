//! The socket of one leg, and the bytes that were read from it.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use portcullis_session::cluster::LegIndex;

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
    /// The connection was closed here. What it had sent is in the buffer.
    Drained(LegIndex),
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

    pub(super) const fn is_dialling(&self) -> bool {
        matches!(self.state, State::Dialling(..))
    }

    /// Returns the result of a dial that has ended.
    pub(super) fn poll_dial(&mut self, cx: &mut Context<'_>) -> Option<(LegIndex, Result<(), ConnectError>)> {
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

    /// Returns the leg that has the connection, if it is open.
    pub(super) const fn leg(&self) -> Option<LegIndex> {
        match &self.state {
            State::Open(leg, _) | State::Drained(leg) => Some(*leg),
            State::None | State::Dialling(..) => None,
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
            State::None | State::Dialling(..) | State::Drained(_) => None,
        }
    }

    /// Closes the connection. What the node has sent before can still be read, up to one buffer of it.
    pub(super) fn drain(&mut self, pool: &BufferPool) {
        let mut cx = Context::from_waker(Waker::noop());
        while !self.input.is_full()
            && self.poll_fill(&mut cx, self.input.bytes().len() + 1, pool) == Fill::Some
        {}
        if let State::Open(leg, _) = self.state {
            self.state = State::Drained(leg);
        }
    }

    /// Reads once, with room for `total` unread bytes.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, total: usize, pool: &BufferPool) -> Fill {
        let stream = match &mut self.state {
            State::Open(_, stream) => stream,
            State::Drained(_) => return Fill::Ended,
            State::None | State::Dialling(..) => return Fill::Nothing,
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

    /// Returns whether the node has closed the connection. Bytes that it has sent are kept, up to one buffer.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>, pool: &BufferPool) -> bool {
        !self.input.is_full() && self.poll_fill(cx, self.input.bytes().len() + 1, pool) == Fill::Ended
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut self.state {
            State::Open(_, stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
            State::None | State::Dialling(..) | State::Drained(_) => Poll::Pending,
        }
    }

    /// Closes the connection, or gives the dial up. Returns whether the connection was open.
    pub(super) fn close(&mut self, pool: &BufferPool) -> bool {
        self.input.release(pool);
        matches!(std::mem::take(&mut self.state), State::Open(..) | State::Drained(_))
    }

    /// Gives back the memory that is not needed while no bytes move.
    pub(super) fn park(&mut self, pool: &BufferPool) {
        self.input.park(pool);
    }

    pub(super) fn leased(&self) -> usize {
        self.input.held()
    }

    pub(super) fn held_by_tls(&self) -> usize {
        match &self.state {
            State::Open(_, stream) => stream.held(),
            State::None | State::Dialling(..) | State::Drained(_) => 0,
        }
    }
}
