//! Lasting modes of the upstream connection: MONITOR, CLIENT TRACKING, CLIENT NO-EVICT and CLIENT NO-TOUCH.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::reply;

use super::transaction::Transaction;
use super::uses::Change;
use super::verdict::{Answer, Verdict};
use crate::pending::{Kept, PendingReplies, ReplyKind};
use crate::shape::Shape;

/// The most bytes of CLIENT TRACKING frames that are kept for one client. Each frame adds prefixes to those of earlier
/// frames, so all of them are needed.
const MAX_TRACKING: usize = 16 * 1024;

/// The modes of one client's upstream connection.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// Whether MONITOR was sent.
    asks_to_monitor: bool,
    /// Whether Redis accepted MONITOR.
    monitors: bool,
    /// Whether CLIENT NO-EVICT is on, where the gate follows it.
    no_evict: bool,
    /// Whether CLIENT NO-TOUCH is on, where the gate follows it.
    no_touch: bool,
    tracking: Option<Box<Tracking>>,
}

/// The frames that switched CLIENT TRACKING on, within `MAX_TRACKING`.
#[derive(Debug, Default)]
struct Tracking {
    frames: Vec<Box<[u8]>>,
    held: usize,
    /// Whether frames were sent that are not kept.
    incomplete: bool,
}

impl Tracking {
    const fn held(&self) -> usize {
        size_of::<Self>() + self.held
    }

    fn add(&mut self, frame: Kept) {
        let room = MAX_TRACKING - self.held;
        let cost = |frame: &[u8]| frame.len() + size_of::<Box<[u8]>>();
        match frame {
            Some(frame) if self.frames.contains(&frame) => {}
            Some(frame) if cost(&frame) <= room => {
                self.held += cost(&frame);
                self.frames.push(frame);
            }
            Some(_) | None => self.incomplete = true,
        }
    }
}

impl Modes {
    /// Judges MONITOR. Redis does not answer a MONITOR of a client that already monitors.
    pub(super) fn monitor(&mut self, transaction: &Transaction, pending: &PendingReplies) -> Verdict {
        if let Some(verdict) = transaction.excludes(pending) {
            return verdict;
        }
        if self.asks_to_monitor {
            if !pending.is_empty() {
                return Verdict::UNTIL_SETTLED;
            }
            if self.monitors {
                return Verdict::Answer(Answer::Nothing);
            }
        }
        self.asks_to_monitor = true;
        Verdict::Send { shape: Shape::Monitor, kind: ReplyKind::Monitor }
    }

    /// Records that RESET was sent.
    pub(super) const fn reset(&mut self) {
        self.asks_to_monitor = false;
    }

    /// Records that Redis accepted a MONITOR.
    pub(super) const fn confirm_monitor(&mut self) {
        self.monitors = true;
    }

    /// Records that Redis accepted a CLIENT NO-EVICT.
    pub(super) const fn set_no_evict(&mut self, on: bool) {
        self.no_evict = on;
    }

    /// Records that Redis accepted a CLIENT NO-TOUCH.
    pub(super) const fn set_no_touch(&mut self, on: bool) {
        self.no_touch = on;
    }

    /// Returns whether CLIENT NO-EVICT and CLIENT NO-TOUCH are on.
    pub(super) const fn lasting(&self) -> (bool, bool) {
        (self.no_evict, self.no_touch)
    }

    /// Returns the mode that another connection cannot have. `None` if there is none.
    pub(super) const fn bond(&self) -> Option<CommandId> {
        match (self.monitors, &self.tracking) {
            (true, _) => Some(id::MONITOR),
            (false, Some(_)) => Some(id::CLIENT_TRACKING),
            (false, None) => None,
        }
    }

    /// Records that another connection takes the place of this one. It will have the same lasting modes.
    pub(super) fn carry(&mut self) {
        *self = Self { no_evict: self.no_evict, no_touch: self.no_touch, ..Self::default() };
    }

    /// Records Redis's reply `line` to CLIENT TRACKING ON or OFF. If the command is queued in a transaction, an ON
    /// counts as done and an OFF does not. `frame` returns the command of an ON.
    pub(super) fn track(&mut self, on: bool, line: &[u8], frame: impl FnOnce() -> Kept) {
        match (on, line) {
            (true, reply::OK | reply::QUEUED) => self.tracking.get_or_insert_default().add(frame()),
            (false, reply::OK) => self.tracking = None,
            _ => {}
        }
    }

    /// Records that Redis accepted a RESET.
    pub(super) fn end_by_reset(&mut self) {
        (self.monitors, self.no_evict, self.no_touch) = (false, false, false);
        self.tracking = None;
    }

    /// Records the loss of the connection and of all its modes.
    pub(super) fn disconnect(&mut self) {
        *self = Self::default();
    }

    /// Returns whether the connection delivers command lines of other clients.
    pub(super) const fn monitors(&self) -> bool {
        self.monitors
    }

    /// Returns whether the connection has a mode that must not be lost.
    pub(super) const fn hold_connection(&self) -> bool {
        self.monitors || self.no_evict
    }

    /// Returns whether the connection has a mode that a reload may forbid, or has requested one.
    pub(super) const fn use_rights(&self) -> bool {
        self.asks_to_monitor || self.tracking.is_some()
    }

    /// Returns whether changed rules still allow the modes.
    pub(super) fn are_allowed(&self, change: &Change<'_>) -> bool {
        let tracks = self.tracking.as_ref().is_none_or(|tracking| {
            tracking.frames.iter().all(|frame| change.allows_tracking(Some(frame)))
                && (!tracking.incomplete || change.allows_tracking(None))
        });
        tracks && (!self.monitors || change.allows(id::MONITOR, &[id::MONITOR.name().as_bytes()]))
    }

    /// Returns the bytes of memory that grow with the client's input.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.tracking.as_ref().map_or(0, |tracking| tracking.held())
    }
}
