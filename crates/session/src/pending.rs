//! The pending replies of the client, in order. Equal neighbours form one run, so the queue grows with the number of
//! runs and not of commands.

use std::collections::VecDeque;

use portcullis_resp::command::CommandId;

use crate::ids::{SessionKey, Ticket};
use crate::link::Stage;
use crate::local::client_info::Introduction;
use crate::local::rewrite::Rewrite;
use crate::shape::Shape;
use crate::tick::Tick;

/// The number of runs from which on neighbours are joined even if their names or times differ. A client may send any
/// number of commands before it reads, and they must not cost memory each.
const JOIN_RUNS_FROM: usize = 1024;

/// The number of runs at which the session stops reading until some are answered. Such runs could not be joined.
pub const MAX_RUNS: usize = 16 * 1024;

/// The number of runs for which an idle client keeps memory.
const IDLE_CAPACITY: usize = 1;

/// The pending replies of one client, in the order in which it gets them.
#[derive(Debug)]
pub(crate) struct PendingReplies {
    session: SessionKey,
    /// The position of the next command's reply in the session's order.
    seq: u64,
    /// Whether the session must not read before every reply has arrived.
    holds: bool,
    runs: VecDeque<Run>,
    totals: Totals,
}

/// Sums over the runs that are not plain, for quick checks.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    blocking: u32,
    /// The number of runs whose replies may begin or end subscriber mode, or change the RESP version.
    turning: u32,
    /// The number of runs that a reload must judge again.
    lasting: u32,
    /// The number of names in the subscribing commands.
    subscribing: u64,
    /// The bytes of replies by the gate that are not static.
    made: usize,
    /// The bytes of kept frames.
    kept: usize,
}

/// The size in bytes of the largest frame that is kept for a reload. A larger frame is not kept, and the rules
/// themselves are compared.
const MAX_KEPT: usize = 4 * 1024;

/// The most bytes of kept frames of one client: room for a thousand short ones.
const MAX_KEPT_IN_ALL: usize = 64 * 1024;

/// A frame whose reply is pending, which a reload must judge again. `None` if the frame was too large.
pub(crate) type Kept = Option<Box<[u8]>>;

/// A run of consecutive pending replies of the same kind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) kind: ReplyKind,
    /// The position of the first pending reply of the run in the session's order.
    pub(crate) seq: u64,
    pub(crate) n: u64,
    /// The command, or UNKNOWN if the run has several commands.
    pub(crate) id: CommandId,
    pub(crate) at: Tick,
    pub(crate) muted: bool,
}

/// The origin of a reply, and its effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReplyKind {
    /// The upstream's reply, without any effect.
    Plain,
    /// The upstream's reply to a command that may block until another client acts.
    Blocking(Kept),
    /// The upstream's reply to MULTI.
    Multi,
    /// The upstream's reply to EXEC or DISCARD.
    EndOfTransaction {
        /// The number of subscribing commands that EXEC runs.
        subscribes: u32,
    },
    /// The upstream's reply to RESET.
    Reset,
    /// The upstream's reply to MONITOR.
    Monitor,
    /// The upstream's reply to the DISCARD that was sent for a spoilt EXEC.
    SpoiltExec,
    /// The upstream's reply to the DISCARD before the refusal of an EXEC.
    Abandoned,
    /// The upstream's reply to the CLIENT REPLY ON that the gate sends for a CLIENT REPLY of any mode.
    ReplyMode(ReplyMode),
    /// The upstream's reply to a step of the connection's setup.
    Setup(Stage),
    /// The upstream's reply to the gate's own login as another user, which stands for the client's AUTH or HELLO.
    Identify,
    /// The upstream's reply to the client's own AUTH, or to its HELLO that may contain credentials.
    ClientLogin {
        /// Whether the login is a HELLO whose reply must contain the gate's id of the client.
        known: bool,
    },
    /// The confirmations of a subscribe or unsubscribe command.
    Confirmations {
        /// The number of channels or patterns that the command subscribes to. 0 for an unsubscribe command.
        names: u32,
        /// The command, if it subscribes.
        frame: Kept,
    },
    /// The upstream's reply to CLIENT TRACKING ON or OFF.
    Tracking {
        /// Whether the command is ON.
        on: bool,
        /// The command, if it is ON.
        frame: Kept,
    },
    /// The upstream's reply to HELLO or SCRIPT DEBUG, whose time is not measured.
    Untimed,
    /// The upstream's reply to HELLO, if the gate answers CLIENT ID.
    Hello,
    /// The upstream's reply to the question whether the client may ask about other clients.
    Permission,
    /// The upstream's reply to the gate's own CLIENT ID.
    UpstreamId,
    /// The upstream's reply to a command that the gate answers. The client gets this text in its place, unless the
    /// reply is an error.
    Told(Box<[u8]>),
    /// The upstream's reply to a name or library that the client sets.
    Introduced(Box<Introduction>),
    /// The upstream's reply to SELECT on the client's own connection. The database is `None` if the gate cannot parse
    /// its index.
    Select(Option<u32>),
    /// The upstream's reply to CLIENT NO-EVICT. The value says whether the command switches the mode on.
    NoEvict(bool),
    /// The upstream's reply to a command that shows which server it is. The client gets a reply that shows the gate.
    Presented(Rewrite),
    /// The upstream's reply to CLIENT NO-TOUCH. The value says whether the command switches the mode on.
    NoTouch(bool),
    /// The upstream's reply to SCRIPT LOAD.
    Loaded,
    /// The upstream's list of channels. The client gets only those that it may subscribe to.
    Channels,
    /// The upstream's reply to WATCH.
    Watch,
    /// The upstream's reply to UNWATCH.
    Unwatch,
    /// The gate's own reply.
    Local(Local),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    On,
    Off,
    Skip,
}

/// A local reply, in the bytes that the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    Canned(&'static [u8]),
    Made(Box<[u8]>),
}

impl ReplyKind {
    /// Returns whether the reply has no effect. Most commands need only this check.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Returns whether an error in place of the reply may contain the gate's credentials, or concerns only the gate.
    pub(crate) const fn is_private(&self) -> bool {
        matches!(self, Self::Setup(_) | Self::Identify | Self::UpstreamId)
    }

    /// Returns whether the gate sent the command by itself, so the client expects no reply to it.
    const fn is_of_gate(&self) -> bool {
        matches!(self, Self::Setup(_) | Self::UpstreamId | Self::Abandoned)
    }

    const fn turns(&self) -> bool {
        matches!(
            self,
            Self::Confirmations { .. }
                | Self::EndOfTransaction { .. }
                | Self::Untimed
                | Self::Hello
                | Self::Reset
        )
    }

    /// Returns the bytes of the reply on the heap.
    fn made(&self) -> usize {
        match self {
            Self::Local(Local::Made(bytes)) | Self::Told(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Returns the bytes of the frame that is kept with the reply.
    fn kept(&self) -> usize {
        match self {
            Self::Blocking(frame) | Self::Confirmations { frame, .. } | Self::Tracking { frame, .. } => {
                frame.as_ref().map_or(0, |frame| frame.len())
            }
            _ => 0,
        }
    }

    const fn names(&self) -> u64 {
        match self {
            Self::Confirmations { names: n, .. } | Self::EndOfTransaction { subscribes: n } => *n as u64,
            _ => 0,
        }
    }

    /// Returns whether the command uses a right for a longer time, which a reload may take away.
    const fn lasts(&self) -> bool {
        match self {
            Self::Blocking(_) | Self::Monitor => true,
            Self::EndOfTransaction { subscribes } => *subscribes > 0,
            Self::Confirmations { names, .. } => *names > 0,
            Self::Tracking { on, .. } => *on,
            _ => false,
        }
    }
}

impl Local {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Canned(bytes) => bytes,
            Self::Made(bytes) => bytes,
        }
    }
}

impl PendingReplies {
    /// Creates the queue of a client that has sent nothing yet.
    pub(crate) fn of(session: SessionKey) -> Self {
        Self { session, seq: 0, holds: false, runs: VecDeque::new(), totals: Totals::default() }
    }

    /// Returns the ticket of the next reply that will be added.
    pub(crate) const fn ticket(&self) -> Ticket {
        Ticket { session: self.session, seq: self.seq }
    }

    /// Returns whether a reply has ever been added.
    pub(crate) const fn has_begun(&self) -> bool {
        self.seq > 0
    }

    /// Adds `n` plain replies, which the link may join with their neighbours.
    pub(crate) fn push_plain(&mut self, n: u64, id: CommandId, at: Tick, muted: bool) {
        self.push(Run { kind: ReplyKind::Plain, n, id, at, muted, seq: self.seq });
        self.seq = self.seq.wrapping_add(n);
    }

    /// Adds one reply. The link may join it with its neighbours only if it is plain and not suppressed.
    pub(crate) fn push_reply(
        &mut self,
        kind: ReplyKind,
        shape: &Shape,
        id: CommandId,
        at: Tick,
        muted: bool,
    ) -> Ticket {
        if muted || !kind.is_plain() || *shape != Shape::One {
            return self.push_apart(kind, id, at, muted);
        }
        let ticket = self.ticket();
        self.push_plain(1, id, at, muted);
        ticket
    }

    /// Adds one reply that the link must not join with its neighbours, because the session handles it separately.
    pub(crate) fn push_apart(&mut self, kind: ReplyKind, id: CommandId, at: Tick, muted: bool) -> Ticket {
        self.seq = self.seq.wrapping_add(1);
        let ticket = self.ticket();
        self.push(Run { kind, n: 1, id, at, muted, seq: ticket.seq });
        self.seq = self.seq.wrapping_add(2);
        ticket
    }

    /// Adds a reply of the gate's own.
    pub(crate) fn answer(&mut self, reply: Local, id: CommandId, at: Tick) {
        self.push(Run { kind: ReplyKind::Local(reply), n: 1, id, at, muted: false, seq: self.seq });
        self.seq = self.seq.wrapping_add(1);
    }

    /// Stops the session from reading until no reply is pending.
    pub(crate) const fn hold(&mut self) {
        self.holds = true;
    }

    /// Ends a hold early, so that the waiting command is judged again.
    pub(crate) const fn release(&mut self) {
        self.holds = false;
    }

    /// Returns whether the session must not read yet.
    pub(crate) fn holds(&mut self) -> bool {
        self.holds &= !self.runs.is_empty();
        self.holds
    }

    pub(crate) fn push(&mut self, run: Run) {
        let full = self.runs.len() >= JOIN_RUNS_FROM;
        if let Some(last) = self.runs.back_mut()
            && last.muted == run.muted
            && last.seq.wrapping_add(last.n) == run.seq
            && match &run.kind {
                ReplyKind::Plain => last.kind.is_plain(),
                ReplyKind::Local(_) => last.kind == run.kind,
                _ => false,
            }
        {
            let same = last.id == run.id && last.at == run.at;
            if same || full {
                last.n = last.n.saturating_add(run.n);
                if !same {
                    last.id = CommandId::UNKNOWN;
                }
                return;
            }
        }
        if !run.kind.is_plain() {
            self.count(&run.kind);
        }
        if self.runs.capacity() == 0 {
            self.runs.reserve_exact(IDLE_CAPACITY);
        }
        self.runs.push_back(run);
    }

    #[inline(never)]
    fn count(&mut self, kind: &ReplyKind) {
        self.totals.blocking += u32::from(matches!(kind, ReplyKind::Blocking(_)));
        self.totals.lasting += u32::from(kind.lasts());
        self.totals.subscribing = self.totals.subscribing.saturating_add(kind.names());
        self.totals.turning += u32::from(kind.turns());
        self.totals.made += kind.made();
        self.totals.kept += kind.kept();
    }

    pub(crate) fn front(&self) -> Option<&Run> {
        self.runs.front()
    }

    /// Returns the next reply, if this is its ticket.
    pub(crate) fn expected(&self, ticket: Ticket) -> Option<&Run> {
        self.runs.front().filter(|front| ticket.session == self.session && ticket.seq == front.seq)
    }

    /// Removes all replies, because the connection that should deliver them was never used.
    pub(crate) fn clear(&mut self) {
        self.runs = VecDeque::new();
        self.totals = Totals::default();
    }

    /// Settles `n` replies of the front run.
    pub(crate) fn settle(&mut self, n: u64) {
        let Some(front) = self.runs.front_mut() else { return };
        front.n = front.n.saturating_sub(n);
        front.seq = front.seq.wrapping_add(n);
        if front.n == 0 {
            if let Some(run) = self.runs.pop_front().filter(|run| !run.kind.is_plain()) {
                self.forget(&run.kind);
            }
            if self.runs.is_empty() && self.runs.capacity() > IDLE_CAPACITY {
                self.runs.shrink_to(IDLE_CAPACITY);
            }
        }
    }

    /// Removes the reply to the newest command, whose frame was cut, so the reply will never arrive. Returns whether
    /// the reply was suppressed.
    pub(crate) fn retract(&mut self) -> bool {
        let Some(last) = self.runs.back_mut() else { return false };
        let muted = last.muted;
        last.n = last.n.saturating_sub(1);
        if last.n == 0
            && let Some(run) = self.runs.pop_back()
        {
            self.forget(&run.kind);
        }
        muted
    }

    /// Keeps only the local replies before the first reply from the upstream. If `cut`, the client has received a part
    /// of a reply, so no reply is kept. Returns whether a reply from the upstream was pending.
    pub(crate) fn forsake_upstream(&mut self, cut: bool) -> bool {
        let kept = self.runs.iter().take_while(|run| matches!(run.kind, ReplyKind::Local(_))).count();
        let had_pending = kept < self.runs.len();
        self.runs.truncate(if cut { 0 } else { kept });
        self.runs.shrink_to(IDLE_CAPACITY);
        let made = self.runs.iter().map(|run| run.kind.made()).sum();
        self.totals = Totals { made, ..Totals::default() };
        had_pending
    }

    /// Replaces each reply from the upstream by `line`. Suppressed replies and replies to the gate's own commands are
    /// removed.
    pub(crate) fn answer_with(&mut self, line: &[u8]) {
        self.totals = Totals::default();
        for run in std::mem::take(&mut self.runs) {
            match run.kind {
                ReplyKind::Local(_) => self.push(run),
                _ if run.muted || run.kind.is_of_gate() => {}
                _ => self.push(Run { kind: ReplyKind::Local(Local::Made(line.into())), ..run }),
            }
        }
    }

    /// Returns the bytes of memory that the queue occupies.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.runs.capacity() * size_of::<Run>() + self.totals.made + self.totals.kept
    }

    /// Returns the bytes of replies by the gate that are not static.
    pub(crate) const fn made(&self) -> usize {
        self.totals.made
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns whether no pending reply has an effect.
    pub(crate) fn is_plain(&self) -> bool {
        self.runs.iter().all(|run| run.kind.is_plain() || matches!(run.kind, ReplyKind::Local(_)))
    }

    /// Returns whether all pending replies are replies to the connection's setup.
    pub(crate) fn is_login(&self) -> bool {
        self.runs.iter().all(|run| matches!(run.kind, ReplyKind::Setup(_)))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.runs.len() >= MAX_RUNS
    }

    /// Returns whether a reply to a command that may block is pending.
    pub(crate) const fn blocks(&self) -> bool {
        self.totals.blocking > 0
    }

    /// Returns whether a pending reply may change the subscriber mode or the RESP version.
    pub(crate) const fn turns(&self) -> bool {
        self.totals.turning > 0
    }

    /// Returns a copy of a frame for the time until its reply arrives. `None` if the frame is too large, or too many
    /// are kept.
    pub(crate) fn keep(&self, frame: &[u8]) -> Kept {
        let fits = frame.len() <= MAX_KEPT && self.totals.kept + frame.len() <= MAX_KEPT_IN_ALL;
        fits.then(|| frame.into())
    }

    /// Returns whether a reply to a command that uses a right for a longer time is pending.
    pub(crate) const fn lasts(&self) -> bool {
        self.totals.lasting > 0
    }

    /// Returns the number of names in the pending subscribing commands.
    pub(crate) const fn subscribing(&self) -> u64 {
        self.totals.subscribing
    }

    /// Returns all pending replies, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// Takes the kind of the next reply. [`PendingReplies::put_kind`] puts it back.
    pub(crate) fn take_kind(&mut self) -> ReplyKind {
        let Some(front) = self.runs.front_mut() else { return ReplyKind::Plain };
        let kind = std::mem::replace(&mut front.kind, ReplyKind::Plain);
        self.forget(&kind);
        kind
    }

    /// Puts back the kind that [`PendingReplies::take_kind`] took.
    pub(crate) fn put_kind(&mut self, kind: ReplyKind) {
        self.count(&kind);
        if let Some(front) = self.runs.front_mut() {
            front.kind = kind;
        }
    }

    #[inline(never)]
    fn forget(&mut self, kind: &ReplyKind) {
        self.totals.blocking =
            self.totals.blocking.saturating_sub(u32::from(matches!(kind, ReplyKind::Blocking(_))));
        self.totals.lasting = self.totals.lasting.saturating_sub(u32::from(kind.lasts()));
        self.totals.subscribing = self.totals.subscribing.saturating_sub(kind.names());
        self.totals.made = self.totals.made.saturating_sub(kind.made());
        self.totals.kept = self.totals.kept.saturating_sub(kind.kept());
        self.totals.turning = self.totals.turning.saturating_sub(u32::from(kind.turns()));
    }
}

#[cfg(test)]
mod tests;
