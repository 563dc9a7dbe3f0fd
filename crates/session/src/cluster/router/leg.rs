//! One connection to a node of the cluster.
//!
//! ```text
//!            dialled              set up
//!   Closed ──────────► SettingUp ────────► Open ── lost ──► Broken: each pending command gets an error
//!     ▲  │                 │                 │
//!     │  └─ 1 s ──► Broken ◄── refused       │ lost, and no byte of a pending command was written
//!     └──────────────────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use portcullis_resp::scan::ReplyScanner;

use super::kept::Kept;
use super::scan::Process;
use crate::cluster::{Node, NodeIndex, Reserved};
use crate::link::{Stage, Unavailable};
use crate::tick::Tick;

/// The most legs of one session, so that an index fits into seven bits beside two special codes. A session that needs
/// more nodes waits until a leg is idle, which is closed.
pub(super) const MAX_LEGS: usize = 120;

/// The bytes of a leg that are not written, at which nothing more is judged.
pub(super) const MAX_UNWRITTEN: usize = 64 * 1024;

/// The room that a leg takes for commands at first. A batch of commands then needs no second allocation.
const FIRST_OUT: usize = 512;

/// The time after which a leg without state or pending replies is closed.
const IDLE: Duration = Duration::from_secs(60);

/// The time after which a leg of a client on shared connections is closed that is not shared: only a command that was
/// redirected has needed it.
const BRIEF: Duration = Duration::from_secs(1);

/// The index of a leg in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegIndex(u8);

impl LegIndex {
    pub(super) const fn of_code(code: u8) -> Self {
        Self(code)
    }

    pub(super) const fn code(self) -> u8 {
        self.0
    }

    /// Returns the number of the index. Numbers are small and used again.
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

/// A connection to a node, or the wish for one.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) node: NodeIndex,
    /// The index means this node as long as the leg exists.
    _reserved: Reserved,
    /// The host of the node. It stands for the empty host of a redirect.
    pub(super) host: Box<str>,
    /// Whether the leg gets only commands that were sent before and redirected.
    pub(super) is_side: bool,
    /// Whether the leg goes by connections that the client shares with other clients.
    pub(super) is_pooled: bool,
    /// The time after which the leg is closed, if it has no state and no pending replies.
    pub(super) idle: Duration,
    /// Whether the leg carries subscriptions only.
    pub(super) listens: bool,
    /// The master for which the leg carries reads: its node is a replica of this one.
    pub(super) reads_for: Option<NodeIndex>,
    /// Whether the node has lost its place, so the leg takes no new commands.
    pub(super) is_left: bool,
    /// Whether nothing more is written to the node or read from it, except what it has sent before.
    pub(super) is_cut: bool,
    pub(super) state: LegState,
    /// The set-up of the connection, while it is being sent.
    pub(super) setup: Vec<u8>,
    /// The commands that are not written, from `written` on.
    out: Vec<u8>,
    written: usize,
    pub(super) kept: Kept,
    pub(super) scan: ReplyScanner,
    /// The process that the connection leads to, if it was asked.
    pub(super) process: Option<Process>,
    /// The number of commands that were sent by this leg, and the number of those that were answered.
    sent: u64,
    answered: u64,
    /// The number of the newest command that was given to a shared connection.
    given: u64,
    /// The time since which commands wait for a shared connection.
    pub(super) sought_since: Option<Tick>,
    /// The number of the newest command that may write.
    newest_write: u64,
    /// The number of the newest command that depends on the state of this connection.
    newest_bound: u64,
    /// The replies to drop: the number of the command before whose reply they come, and how many.
    drops: VecDeque<(u64, u32)>,
    /// Whether a byte of a pending command was written.
    has_written: bool,
    /// Whether a command that writes data was sent by this connection.
    pub(super) has_written_data: bool,
    pub(super) used_at: Tick,
}

/// The state of a leg. The diagram of the module shows the transitions.
#[derive(Debug)]
pub(super) enum LegState {
    /// There is no connection. The caller must dial from `retry_at` on.
    Closed {
        /// The time of the first attempt.
        since: Tick,
        retry_at: Tick,
        /// Whether the caller is dialling.
        is_dialling: bool,
    },
    /// The node must answer these steps of the set-up.
    SettingUp { since: Tick, left: VecDeque<Stage> },
    /// The connection carries commands and replies.
    Open,
    /// The connection has ended, or could not be made.
    Broken(Broken),
}

/// The error in place of each pending reply of a broken leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The node cannot be reached. It has not executed the commands.
    Unreached(Unavailable),
    /// The connection was lost. The commands may have run.
    Lost,
    /// The node has lost its place. The commands may have run.
    Left,
}

impl Leg {
    pub(super) fn new(node: &Node, is_side: bool, now: Tick) -> Self {
        Self {
            node: node.index(),
            _reserved: node.reserve(),
            host: node.address.host().into(),
            is_side,
            is_pooled: false,
            idle: IDLE,
            listens: false,
            reads_for: None,
            is_left: false,
            is_cut: false,
            state: LegState::Closed { since: now, retry_at: now, is_dialling: false },
            setup: Vec::new(),
            out: Vec::new(),
            written: 0,
            kept: Kept::default(),
            scan: ReplyScanner::new(),
            process: None,
            sent: 0,
            answered: 0,
            given: 0,
            sought_since: None,
            newest_write: 0,
            newest_bound: 0,
            drops: VecDeque::new(),
            has_written: false,
            has_written_data: false,
            used_at: now,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, LegState::Open)
    }

    /// Returns whether the set-up of the connection was sent, or is being sent.
    pub(super) const fn is_set_up(&self) -> bool {
        matches!(self.state, LegState::Open | LegState::SettingUp { .. })
    }

    pub(super) const fn broken(&self) -> Option<Broken> {
        match self.state {
            LegState::Broken(why) => Some(why),
            _ => None,
        }
    }

    /// Returns whether new commands may go by this leg.
    pub(super) const fn takes_commands(&self) -> bool {
        !self.is_left && self.broken().is_none()
    }

    /// Returns the time of the first attempt to connect. `None`: the leg has a connection, or is broken.
    pub(super) const fn since(&self) -> Option<Tick> {
        match self.state {
            LegState::Closed { since, .. } | LegState::SettingUp { since, .. } => Some(since),
            LegState::Open | LegState::Broken(_) => None,
        }
    }

    /// Returns the number of commands without a reply.
    pub(super) const fn pending(&self) -> u64 {
        self.sent - self.answered
    }

    /// Returns the number of commands that were sent, cut at the size of an address.
    pub(super) fn sent(&self) -> usize {
        usize::try_from(self.sent).unwrap_or(usize::MAX / 2)
    }

    /// Makes the leg one of a client on shared connections. `is_pooled` says whether the leg goes by them itself.
    pub(super) const fn share(mut self, is_pooled: bool) -> Self {
        self.is_pooled = is_pooled;
        self.idle = if is_pooled { IDLE } else { BRIEF };
        self
    }

    /// Returns the number of commands that were not given to a shared connection.
    pub(super) fn ungiven(&self) -> u64 {
        self.sent - self.given.max(self.answered)
    }

    /// Records that all commands were given to a shared connection.
    pub(super) fn gave(&mut self) {
        (self.given, self.sought_since) = (self.sent, None);
        self.wrote(self.out.len() - self.written);
    }

    /// Returns whether a command that may write has no reply yet.
    pub(super) const fn owes_write(&self) -> bool {
        self.newest_write > self.answered
    }

    /// Adds a command. `room` is the number of bytes that the session may still keep.
    pub(super) fn send(&mut self, frame: &[u8], writes: bool, room: usize, now: Tick) {
        self.kept.push(frame, room);
        self.begin(writes, now);
        self.add(frame);
    }

    /// Adds a command of which only the beginning is known. It is not kept.
    pub(super) fn begin_stream(&mut self, writes: bool, now: Tick) {
        self.kept.push(&[], 0);
        self.begin(writes, now);
    }

    fn begin(&mut self, writes: bool, now: Tick) {
        // The reply to a silent command may be on its way, and no other connection has it.
        if self.pending() == 0 && self.out.is_empty() && self.drops.is_empty() {
            self.has_written = false;
        }
        self.sent += 1;
        if writes {
            self.newest_write = self.sent;
        }
        self.used_at = now;
    }

    /// Records that the newest command depends on the commands before it on this connection. No other connection may
    /// carry it.
    pub(super) const fn bind(&mut self) {
        self.newest_bound = self.sent;
    }

    /// Returns whether a pending command depends on the commands before it on this connection.
    pub(super) const fn is_bound(&self) -> bool {
        self.newest_bound > self.answered
    }

    /// Adds bytes of a command.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        // Where a node never takes everything, the bytes that it has taken must make room.
        if self.out.len() + bytes.len() > self.out.capacity() && 2 * self.written >= self.out.len() {
            self.out.drain(..self.written);
            self.written = 0;
            if self.out.capacity() == 0 {
                self.out.reserve_exact(bytes.len().max(FIRST_OUT));
            }
        }
        self.out.extend_from_slice(bytes);
    }

    /// Adds `n` commands whose replies are dropped. They come before the next command.
    pub(super) fn add_silent(&mut self, frames: &[u8], n: u32) {
        self.add(frames);
        match self.drops.back_mut() {
            Some((before, drops)) if *before == self.sent => *drops += n,
            _ => self.drops.push_back((self.sent, n)),
        }
    }

    /// Returns whether the next reply must be dropped.
    pub(super) fn drops_next(&self) -> bool {
        self.drops.front().is_some_and(|(before, _)| *before == self.answered)
    }

    /// Returns whether a reply must be dropped after the next `n` replies.
    pub(super) fn drops_before(&self, n: u64) -> bool {
        self.drops.front().is_some_and(|(before, _)| *before == self.answered + n)
    }

    /// Returns whether any reply must be dropped.
    pub(super) fn has_drops(&self) -> bool {
        !self.drops.is_empty()
    }

    /// Records that a reply was dropped.
    pub(super) fn dropped(&mut self) {
        if let Some((_, left)) = self.drops.front_mut() {
            *left -= 1;
            if *left == 0 {
                self.drops.pop_front();
            }
        }
    }

    /// Records the replies to the `n` oldest commands.
    pub(super) fn settle(&mut self, n: u64) {
        self.kept.pop(n);
        self.answer(n);
    }

    /// Records the reply to the oldest command, which asks to send the command elsewhere. Returns its frame, if it was
    /// kept.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let frame = self.kept.take();
        self.answer(1);
        frame
    }

    fn answer(&mut self, n: u64) {
        self.answered = self.sent.min(self.answered + n);
    }

    /// Removes the oldest command, of which no byte was written. `None`: it was written, or its frame was not kept.
    pub(super) fn take_unwritten(&mut self) -> Option<Vec<u8>> {
        if self.has_written || self.written > 0 || self.drops_next() {
            return None;
        }
        let frame = self.kept.take()?;
        self.out.drain(..frame.len().min(self.out.len()));
        self.answer(1);
        Some(frame)
    }

    /// Returns the bytes to write now.
    pub(super) fn unwritten(&self) -> &[u8] {
        match &self.state {
            _ if self.is_cut => &[],
            LegState::SettingUp { .. } => &self.setup,
            LegState::Open => &self.out[self.written..],
            LegState::Closed { .. } | LegState::Broken(_) => &[],
        }
    }

    /// Returns whether the connection is open, and no byte of a pending command was written.
    pub(super) const fn begins(&self) -> bool {
        self.is_open() && !self.has_written
    }

    /// Records that `n` bytes were written.
    pub(super) fn wrote(&mut self, n: usize) {
        if !self.is_open() {
            self.setup.drain(..n.min(self.setup.len()));
            return;
        }
        self.written += n;
        self.has_written |= n > 0;
        if self.written >= self.out.len() {
            (self.out, self.written) = (Vec::new(), 0);
        }
    }

    /// Returns whether so many bytes wait that no more commands should be judged.
    pub(super) fn is_congested(&self) -> bool {
        let is_long = self.out.len() - self.written >= MAX_UNWRITTEN;
        is_long && self.broken().is_none() && !self.is_cut && (self.is_open() || !self.is_left)
    }

    /// Records the loss of the connection. `false`: nothing of a pending command was written, so the leg can be dialled
    /// again.
    pub(super) fn breaks(&self) -> bool {
        self.has_written
            || self.is_bound()
            || self.scan.is_mid_frame()
            || matches!(self.state, LegState::Broken(_))
    }

    /// Returns whether the leg carries commands of any kind to a master.
    pub(super) const fn is_general(&self) -> bool {
        !self.listens && self.reads_for.is_none()
    }

    /// Ends the leg. Each pending command gets an error, or goes to the master if it only reads.
    pub(super) fn break_off(&mut self, why: Broken) {
        self.state = LegState::Broken(why);
        (self.out, self.written, self.setup) = (Vec::new(), 0, Vec::new());
        if self.reads_for.is_none() {
            self.kept = Kept::default();
        }
        self.drops.clear();
    }

    /// Makes the leg ready for another connection.
    pub(super) fn close(&mut self, since: Tick, retry_at: Tick) {
        self.has_written_data &= !self.is_open();
        self.state = LegState::Closed { since, retry_at, is_dialling: false };
        self.scan = ReplyScanner::new();
        self.process = None;
        self.setup = Vec::new();
        if self.pending() == 0 {
            self.drops.clear();
            (self.out, self.written) = (Vec::new(), 0);
        }
    }

    /// Returns the bytes of memory that the leg occupies.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.out.capacity() + self.setup.capacity() + self.kept.held()
    }
}
