//! MULTI, EXEC, DISCARD and WATCH: the queued commands, and whether EXEC can still succeed.
//!
//! ```text
//!   none ── MULTI sent ──► begun ── +OK ──► confirmed ── EXEC or DISCARD sent ──► none, when answered
//!                            │                  │
//!                            └── -ERR ──► none  └── a command refused by the gate ──► spoilt: EXEC goes as DISCARD
//! ```

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::{encode, reply};

use super::verdict::{Answer, Verdict};
use crate::observe::Denied;
use crate::pending::{Local, PendingReplies, ReplyKind};
use crate::shape::{QueuedConfirmations, Shape, Verb};

/// The most subscribe and unsubscribe commands that a transaction may queue. The gate remembers the index of each until
/// EXEC is answered.
const MAX_QUEUED_CONFIRMATIONS: usize = 1024;

/// The transaction of one client, as requested by its commands and confirmed by their replies so far.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    begun: Option<Box<Queue>>,
    confirmed: bool,
    /// Whether a WATCH is in force, where the gate follows it.
    watches: bool,
}

/// The commands that a transaction has queued so far.
#[derive(Debug, Default)]
struct Queue {
    len: u64,
    confirmations: QueuedConfirmations,
    spoilt: bool,
}

impl Queue {
    const fn add(&mut self, n: u64) {
        self.len = self.len.saturating_add(n);
    }

    fn subscribing(&self) -> u32 {
        let subscribing = self.confirmations.verbs().filter(|verb| !verb.gives_up()).count();
        u32::try_from(subscribing).unwrap_or(u32::MAX)
    }
}

/// Methods for commands.
impl Transaction {
    /// Returns whether a MULTI was sent and the transaction has not ended.
    pub(super) const fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Returns the number of commands that were sent inside MULTI. `None` outside MULTI.
    pub(super) fn queued(&self) -> Option<u64> {
        self.begun.as_ref().map(|queue| queue.len)
    }

    /// Returns the number of queued subscribing commands.
    pub(super) fn subscribing(&self) -> u32 {
        self.begun.as_ref().map_or(0, |queue| queue.subscribing())
    }

    /// Counts `n` more commands that were sent inside MULTI.
    #[inline]
    pub(super) fn queue(&mut self, n: u64) {
        if let Some(queue) = &mut self.begun {
            queue.add(n);
        }
    }

    /// Counts one command like [`Transaction::queue`]; EXEC will answer it with a confirmation. Returns whether the
    /// transaction had room for it.
    pub(super) fn queue_confirmation(&mut self, verb: Verb) -> bool {
        let Some(queue) =
            self.begun.as_mut().filter(|queue| queue.confirmations.len() < MAX_QUEUED_CONFIRMATIONS)
        else {
            return false;
        };
        queue.confirmations.push(queue.len, verb);
        queue.add(1);
        true
    }

    /// Records that a command was refused inside MULTI: EXEC must fail, as it does in Redis.
    pub(super) fn spoil(&mut self) {
        if let Some(queue) = &mut self.begun {
            queue.spoilt = true;
        }
    }

    /// Refuses a command that would change the user, the encoding or the number of replies in the middle of EXEC's
    /// reply. Whether a transaction has begun is certain only when no reply is pending.
    pub(super) fn excludes(&self, pending: &PendingReplies) -> Option<Verdict> {
        self.begun.as_ref()?;
        if !pending.is_empty() {
            return Some(Verdict::UNTIL_SETTLED);
        }
        let line = Local::Canned(reply::NOT_ALLOWED_IN_TRANSACTION);
        Some(Verdict::Answer(Answer::Refusal(line, Denied::InTransaction)))
    }

    /// Judges MULTI. While the replies to two MULTIs are pending, the gate does not know which one Redis accepts. It
    /// must know this, because it counts the queued commands from there.
    pub(super) fn multi(&mut self, pending: &PendingReplies) -> Verdict {
        match self.begun {
            Some(_) if pending.is_empty() => Verdict::plain(),
            Some(_) => Verdict::UNTIL_SETTLED,
            None => {
                self.begun = Some(Box::default());
                Verdict::Send { shape: Shape::One, kind: ReplyKind::Multi }
            }
        }
    }

    /// Judges EXEC. An EXEC with arguments is an error, but it ends the transaction. A spoilt EXEC is sent as DISCARD,
    /// once it is certain that a transaction has begun.
    pub(super) fn exec(&mut self, alone: bool, pending: &PendingReplies) -> Verdict {
        let spoilt = alone && self.begun.as_ref().is_some_and(|queue| queue.spoilt);
        if spoilt && !pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        let queue = self.begun.take();
        if spoilt {
            let mut bytes = Vec::with_capacity(32);
            encode::command(&mut bytes, &[b"DISCARD"]);
            return Verdict::Rewrite { bytes, shape: Shape::Whole, kind: ReplyKind::SpoiltExec };
        }
        let subscribes = queue.as_ref().map_or(0, |queue| queue.subscribing());
        let confirmations = queue.map(|queue| queue.confirmations.among(queue.len));
        let shape = Shape::Exec(confirmations.unwrap_or_default());
        Verdict::Send { shape, kind: ReplyKind::EndOfTransaction { subscribes } }
    }

    /// Judges an EXEC that the gate refuses. The EXEC ends its transaction, so the transaction is first discarded
    /// upstream.
    pub(super) fn refuse_exec(&mut self, answer: Answer, pending: &PendingReplies) -> Verdict {
        if self.begun.is_some() && !pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        self.forget_refused(pending);
        if self.begun.take().is_some() { Verdict::DISCARD } else { Verdict::Answer(answer) }
    }

    /// Judges DISCARD.
    pub(super) fn discard(&mut self) -> Verdict {
        self.begun = None;
        Verdict::Send { shape: Shape::One, kind: ReplyKind::EndOfTransaction { subscribes: 0 } }
    }

    /// Records that RESET is sent.
    pub(super) fn reset(&mut self) {
        self.begun = None;
    }

    /// Forgets a MULTI that Redis refused. The refusal is certain when no reply is pending.
    pub(super) fn forget_refused(&mut self, pending: &PendingReplies) {
        if pending.is_empty() && !self.confirmed {
            self.begun = None;
        }
    }
}

/// Methods for replies.
impl Transaction {
    /// Returns whether the connection has a transaction or a WATCH.
    pub(super) const fn holds_connection(&self) -> bool {
        self.confirmed || self.watches
    }

    /// Returns the command that binds the client to its connection, as far as no pending reply ends it. An EXEC that was
    /// sent ends its transaction, whether Redis answers it or not.
    pub(super) const fn bond(&self) -> Option<CommandId> {
        match (&self.begun, self.watches) {
            (Some(_), _) => Some(id::MULTI),
            (None, true) => Some(id::WATCH),
            (None, false) => None,
        }
    }

    /// Records Redis's reply to MULTI.
    pub(super) const fn confirm(&mut self, begun: bool) {
        self.confirmed |= begun;
    }

    /// Records Redis's reply `line` to EXEC or DISCARD, which is an error if `is_error`.
    pub(super) fn end(&mut self, is_error: bool, line: &[u8]) {
        self.confirmed = false;
        // Without MULTI, EXEC and DISCARD do not end a WATCH.
        self.watches &= is_error && !line.starts_with(b"-EXECABORT");
    }

    /// Records that Redis discarded the transaction.
    pub(super) const fn end_discarded(&mut self) {
        (self.confirmed, self.watches) = (false, false);
    }

    /// Records Redis's reply to RESET.
    pub(super) const fn end_by_reset(&mut self) {
        self.confirmed = false;
    }

    /// Records that Redis accepted a WATCH.
    pub(super) const fn watch(&mut self) {
        self.watches = true;
    }

    /// Records that Redis accepted an UNWATCH.
    pub(super) const fn unwatch(&mut self) {
        self.watches = false;
    }

    /// Records the loss of the connection and of its transaction.
    pub(super) fn disconnect(&mut self) {
        *self = Self::default();
    }
}
