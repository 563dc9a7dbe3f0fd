//! The client's own upstream connection.
//!
//! ```text
//!            connect()               poll_connect()
//!   Unused -------------> Connecting -------------> Open
//!     |                                              ^
//!     |                   adopt()                    |
//!     +----------------------------------------------+
//!
//!   Unused -- find() --> Finding -- poll_connect() --> Many      the map of a cluster is known
//!   Unused ------------------- share() --------------> Many      its connections are shared
//!
//!   any state -- lose() --> Lost      the connection could not be made, or has ended
//!   any state -- close() -> Unused    the connection is not needed any more
//! ```
//!
//! `adopt()` takes over a connection that was shared. `connect()` and `adopt()` do nothing in states without an
//! arrow.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use portcullis_session::{Incoming, Link, LinkFault, Tick, Unavailable};
use tokio::time::Instant;

use super::lane::Commands;
use super::many_lane::{ManyLane, Sharing};
use crate::metrics::UpstreamState;
use crate::net::buffer::BufferPool;
use crate::net::pipe::Pipe;
use crate::net::stream::Stream;
use crate::upstream::connect::ConnectError;
use crate::upstream::dials::Scout;
use crate::upstream::target::{Patience, Target};
use crate::upstream::view::{Traffic, View};

/// The number of unread bytes with which the link can begin a reply.
const FIRST_NEED: usize = 1;

/// A client's own upstream connection.
pub(super) struct OwnLane {
    state: State,
    link: Link,
    /// The number of unread bytes that the link needs at once.
    reply_need: usize,
    /// Whether the upstream no longer has the address that the connection leads to.
    is_left: bool,
    /// The right to be the only session that tries, until the connection is set up.
    scout: Option<Scout>,
    /// The time since which a failover is under way. `None` if commands and replies travel.
    paused: Option<Instant>,
}

/// The state of the connection. The diagram of the module shows the transitions.
enum State {
    /// No connection was needed yet.
    Unused,
    /// The connection is being made.
    Connecting(Pin<Box<dyn Future<Output = Dialled>>>),
    /// The connection carries commands and replies.
    Open(Stream),
    /// The map of the cluster is not known yet.
    Finding(Pin<Box<dyn Future<Output = Result<(), ConnectError>>>>),
    /// Connections to the nodes of a cluster carry commands and replies.
    Many(Box<ManyLane>),
    /// The connection could not be made, or has ended.
    Lost,
}

/// The result of a dial.
type Dialled = Result<(Stream, Option<Scout>), ConnectError>;

impl OwnLane {
    pub(super) fn new() -> Self {
        Self {
            state: State::Unused,
            link: Link::new(),
            reply_need: FIRST_NEED,
            is_left: false,
            scout: None,
            paused: None,
        }
    }

    pub(super) const fn is_unused(&self) -> bool {
        matches!(self.state, State::Unused)
    }

    pub(super) const fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(_) | State::Finding(_))
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_) | State::Many(_))
    }

    /// Returns the link, which frames the replies.
    pub(super) const fn link(&self) -> &Link {
        &self.link
    }

    /// Returns the server's address, if the connection is open and over TCP.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Open(stream) => stream.peer_address(),
            _ => None,
        }
    }

    /// Sets the kernel's limit on unacknowledged bytes, if the connection is open.
    pub(super) fn set_user_timeout(&self, limit: Option<Duration>) {
        if let State::Open(stream) = &self.state {
            stream.set_user_timeout(limit);
        }
    }

    /// Looks whether the upstream still has the address that the connection leads to, and whether traffic flows.
    pub(super) fn look_at_view(&mut self, view: &View) {
        self.is_left = self.server().is_some_and(|server| !view.has(server));
        self.paused = match view.traffic() {
            Traffic::Flows => None,
            Traffic::Paused { since } => Some(since),
        };
        if let State::Many(many) = &mut self.state {
            many.look_at_view(view);
        }
    }

    /// Returns whether nothing more is read, because what the server executes may be lost.
    fn is_mute(&self) -> bool {
        self.paused.is_some_and(|since| since.elapsed() >= Traffic::READING)
    }

    /// Returns whether the connection leads to an address that the upstream no longer has.
    pub(super) const fn leads_elsewhere(&self) -> bool {
        self.is_left
    }

    /// Returns the bytes of memory that TLS with the upstream holds, or that the connections to a cluster hold.
    pub(super) fn held_aside(&self) -> usize {
        match &self.state {
            State::Open(stream) => stream.held(),
            State::Many(many) => many.held(),
            _ => 0,
        }
    }

    /// Starts to connect, if no connection was needed before.
    pub(super) fn connect(&mut self, target: &Rc<Target>, patience: Patience) {
        if self.is_unused() {
            let target = Rc::clone(target);
            if target.upstream.is_cluster() {
                self.state = State::Finding(Box::pin(async move { target.find(patience).await }));
                return;
            }
            self.state = State::Connecting(match patience {
                Patience::Once => {
                    Box::pin(async move { target.connect().await.map(|stream| (stream, None)) })
                }
                Patience::Waits => Box::pin(async move { target.connect_patiently().await }),
            });
        }
    }

    /// Records that the connection is set up, so the upstream is available.
    pub(super) fn works(&mut self, target: &Target) {
        if self.is_open() {
            self.scout = None;
            target.view.dials().works(self.link.answered());
        }
    }

    /// Returns the result of connecting. Pending also in all states but `Connecting`.
    pub(super) fn poll_connect(
        &mut self,
        target: &Target,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectError>> {
        if let State::Finding(found) = &mut self.state {
            return found.as_mut().poll(cx);
        }
        let State::Connecting(attempt) = &mut self.state else { return Poll::Pending };
        let Poll::Ready(done) = attempt.as_mut().poll(cx) else { return Poll::Pending };
        Poll::Ready(match done {
            Ok((stream, scout)) => {
                target.counts.connection(UpstreamState::Used, 1);
                (self.state, self.scout) = (State::Open(stream), scout);
                Ok(())
            }
            Err(error) => {
                self.state = State::Lost;
                Err(error)
            }
        })
    }

    /// Begins to use the nodes of a cluster, whose map is known. `lane` is `None` if it is not.
    pub(super) fn spread(&mut self, lane: Option<ManyLane>) {
        if matches!(self.state, State::Finding(_)) {
            self.state = lane.map_or(State::Lost, |lane| State::Many(Box::new(lane)));
        }
    }

    /// Begins to share connections to the nodes of a cluster with other clients.
    pub(super) fn share(&mut self, lane: ManyLane) {
        if self.is_unused() {
            *self = Self { state: State::Many(Box::new(lane)), ..Self::new() };
        }
    }

    /// Returns the connections to the nodes of a cluster that the client shares. `None` if it shares none.
    pub(super) fn sharing(&mut self) -> Option<&mut Sharing> {
        match &mut self.state {
            State::Many(many) => many.sharing(),
            _ => None,
        }
    }

    /// Begins a turn of the task on the connections to a cluster.
    #[inline]
    pub(super) fn turn_begins(&mut self) {
        if let State::Many(many) = &mut self.state {
            many.turn_begins();
        }
    }

    /// Ends a turn of the task on the connections to a cluster.
    #[inline]
    pub(super) fn turn_ends(&mut self, cx: &mut Context<'_>) {
        if let State::Many(many) = &mut self.state {
            many.turn_ends(cx);
        }
    }

    /// Moves what needs no bytes of the client on the connections to a cluster. `client_reads` says whether the client
    /// accepts what is written to it.
    #[inline]
    pub(super) fn drive(&mut self, cx: &mut Context<'_>, client_reads: bool) {
        if let State::Many(many) = &mut self.state {
            many.drive(cx, client_reads);
        }
    }

    /// Gives back the memory of connections to a cluster that is not needed while no bytes move.
    #[inline]
    pub(super) fn park(&mut self) {
        if let State::Many(many) = &mut self.state {
            many.park();
        }
    }

    /// Returns the connections to the nodes of a cluster. `None` if the upstream is no cluster.
    pub(super) fn many(&mut self) -> Option<&mut ManyLane> {
        match &mut self.state {
            State::Many(many) => Some(many),
            _ => None,
        }
    }

    /// Returns the time at which an idle connection to a node of a cluster is closed.
    pub(super) fn idle_due(&self) -> Option<Tick> {
        match &self.state {
            State::Many(many) => many.idle_due(),
            _ => None,
        }
    }

    /// Returns the bytes of memory that connections to a cluster lease.
    pub(super) fn leased(&self) -> usize {
        match &self.state {
            State::Many(many) => many.leased(),
            _ => 0,
        }
    }

    /// Takes over a connection that was shared, with the replies that are pending on it. Does nothing unless the
    /// state is `Unused`.
    pub(super) fn adopt(&mut self, stream: Stream, link: Link, reply_need: usize, target: &Target) {
        if self.is_unused() {
            target.counts.connection(UpstreamState::Used, 1);
            *self = Self { state: State::Open(stream), link, reply_need, ..Self::new() };
        }
    }

    /// Ends the connection. No other connection is made in its place.
    pub(super) fn lose(&mut self, target: &Target) {
        if let State::Open(_) = std::mem::replace(&mut self.state, State::Lost) {
            target.counts.connection(UpstreamState::Used, -1);
        }
    }

    /// Ends a connection that is not needed, and discards the bytes that were read from it and not passed on. Another
    /// connection may be made later.
    pub(super) fn close(&mut self, target: &Target, replies: &mut Pipe) {
        self.lose(target);
        *self = Self::new();
        replies.skip(replies.unread().len());
    }

    /// Passes commands on, which are written as soon as the connection is open.
    #[inline(always)]
    pub(super) fn send(&mut self, requests: &mut Pipe, commands: Commands<'_>) {
        let Commands { first, pending, shape, len, instead } = commands;
        if pending > 0 {
            self.link.expect(first, pending, shape);
        }
        match instead {
            None => requests.pass(len),
            Some(bytes) => {
                requests.insert(|out| out.extend_from_slice(bytes));
                requests.skip(len);
            }
        }
    }

    /// Writes the commands that were passed on, and adds the number of bytes written to `moved`. Pending if some
    /// remain, or if writing failed.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        requests: &mut Pipe,
        moved: &mut u64,
    ) -> Poll<()> {
        let stream = match &mut self.state {
            State::Open(stream) => stream,
            State::Many(many) => return many.poll_flush(cx, requests, moved),
            _ => return Poll::Ready(()),
        };
        if self.paused.is_some() && requests.is_pending() {
            return Poll::Pending;
        }
        match requests.poll_flush(cx, stream, moved) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            // After a failed write, the upstream's last replies can still be read. The end of the connection then
            // shows there.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// Reads once. Returns the number of bytes read; 0 is the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        replies: &mut Pipe,
        pool: &BufferPool,
    ) -> Poll<io::Result<usize>> {
        if self.is_mute() {
            return Poll::Pending;
        }
        match &mut self.state {
            State::Open(stream) => replies.poll_fill(cx, stream, self.reply_need, pool),
            State::Many(many) => many.poll_fill(cx, replies),
            _ => Poll::Pending,
        }
    }

    /// Returns whether the connection is open and without TLS.
    pub(super) fn is_plain(&self) -> bool {
        matches!(&self.state, State::Open(stream) if !stream.is_tls())
    }

    /// Returns the reason why the upstream is unavailable, if `fault` shows one. `unread` begins with the bytes of
    /// the fault.
    pub(super) fn meaning_of(&self, fault: LinkFault, unread: &[u8]) -> Option<Unavailable> {
        match fault {
            LinkFault::TlsAlert => Some(Unavailable::Tls),
            // The server sends such a line on accept, before it reads a command: "max number of clients", protected
            // mode.
            LinkFault::Unsolicited if !self.link.answered() => Unavailable::of_greeting(unread),
            _ => None,
        }
    }

    /// Returns the next part of what was read. `unread` starts at the first byte that was not judged yet.
    pub(super) fn next<'b>(&mut self, unread: &'b [u8]) -> Incoming<'b> {
        let incoming = if unread.is_empty() { Incoming::Need(FIRST_NEED) } else { self.link.next(unread) };
        if let Incoming::Need(total) = incoming {
            self.reply_need = total;
        }
        incoming
    }
}
