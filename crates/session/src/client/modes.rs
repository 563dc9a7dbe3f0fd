//! Modes of the upstream connection that last: MONITOR, CLIENT TRACKING and CLIENT NO-EVICT.

use portcullis_resp::command::id;
use portcullis_resp::reply;

use super::transaction::Transaction;
use super::uses::Change;
use super::verdict::{Answer, Verdict};
use crate::pending::{Kept, PendingReplies, ReplyKind};
use crate::shape::Shape;

/// The frames of one client's CLIENT TRACKING may take so much; each adds prefixes to those of the ones before.
const MAX_TRACKING: usize = 16 * 1024;

/// The modes of one client's upstream connection.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// MONITOR was sent.
    asks_to_monitor: bool,
    /// Redis took it.
    monitors: bool,
    /// CLIENT NO-EVICT is on, where upstream connections are shared.
    no_evict: bool,
    tracking: Option<Box<Tracking>>,
}

/// The frames that switched CLIENT TRACKING on, as far as they are known.
#[derive(Debug, Default)]
struct Tracking {
    frames: Vec<Box<[u8]>>,
    held: usize,
    /// There were more.
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
    /// MONITOR. Redis does not answer one of a client that monitors already.
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

    /// RESET was sent.
    pub(super) const fn reset(&mut self) {
        self.asks_to_monitor = false;
    }

    /// Redis took a MONITOR.
    pub(super) const fn confirm_monitor(&mut self) {
        self.monitors = true;
    }

    /// Redis took a CLIENT NO-EVICT.
    pub(super) const fn set_no_evict(&mut self, on: bool) {
        self.no_evict = on;
    }

    /// Redis answered CLIENT TRACKING ON or OFF with `line`. What is queued in a transaction counts as switched on, and
    /// not as switched off. `frame` gives the command, for one that is ON.
    pub(super) fn track(&mut self, on: bool, line: &[u8], frame: impl FnOnce() -> Kept) {
        match (on, line) {
            (true, reply::OK | reply::QUEUED) => self.tracking.get_or_insert_default().add(frame()),
            (false, reply::OK) => self.tracking = None,
            _ => {}
        }
    }

    /// Redis took a RESET.
    pub(super) fn end_by_reset(&mut self) {
        self.monitors = false;
        self.tracking = None;
    }

    /// The connection is gone, and everything on it.
    pub(super) fn disconnect(&mut self) {
        *self = Self::default();
    }

    /// Returns whether command lines of other clients come on the connection.
    pub(super) const fn monitors(&self) -> bool {
        self.monitors
    }

    /// Returns whether the connection has a mode that must not be lost.
    pub(super) const fn hold_connection(&self) -> bool {
        self.monitors || self.no_evict
    }

    /// Returns whether a reload may take one of them away.
    pub(super) const fn use_rights(&self) -> bool {
        self.asks_to_monitor || self.tracking.is_some()
    }

    /// Returns whether changed rules allow them too.
    pub(super) fn are_allowed(&self, change: &Change<'_>) -> bool {
        let tracks = self.tracking.as_ref().is_none_or(|tracking| {
            tracking.frames.iter().all(|frame| change.allows_tracking(Some(frame)))
                && (!tracking.incomplete || change.allows_tracking(None))
        });
        tracks && (!self.monitors || change.allows(id::MONITOR, &[id::MONITOR.name().as_bytes()]))
    }

    /// Bytes of memory that grow with what the client says.
    pub(super) fn held(&self) -> usize {
        self.tracking.as_ref().map_or(0, |tracking| tracking.held())
    }
}
