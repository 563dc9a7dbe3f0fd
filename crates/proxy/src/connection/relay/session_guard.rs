//! The presence of a session in the worker's table, in the counters and in the audit trail, which begins and ends in
//! all three together.

use std::rc::Rc;
use std::time::Instant;

use portcullis_session::Tick;

use crate::admission::admit::ClientPlace;
use crate::audit::{LoginCheck, LoginResult, Subject, Totals};
use crate::metrics::{ClosedReason, Direction};
use crate::worker::Worker;
use crate::worker::table::{Entry, Signal};

/// The presence of a session, from [`SessionGuard::enter`] to [`SessionGuard::leave`]. If the guard is dropped
/// without `leave`, the worker stopped before the session's turn, or the session panicked. The reported reason is
/// that of an order to cut the session, or else an error.
pub(super) struct SessionGuard {
    pub(super) entry: Rc<Entry>,
    pub(super) totals: Totals,
    worker: Rc<Worker>,
    /// The key of the session in the worker's table.
    key: usize,
    /// The time at which the session began.
    pub(super) since: Instant,
    /// Whether the end of the session was reported.
    left: bool,
    _place: ClientPlace,
}

impl SessionGuard {
    /// Adds a session to the worker's table, the counters and the audit trail.
    pub(super) fn enter(worker: Rc<Worker>, entry: Rc<Entry>, place: ClientPlace) -> Self {
        entry.listener.counts.opened();
        worker.resources.stats.clients(1);
        let guard = Self {
            key: worker.table.insert(Rc::clone(&entry)),
            totals: Totals::default(),
            worker,
            entry,
            since: Instant::now(),
            left: false,
            _place: place,
        };
        guard.report(|audit, subject| audit.accepted(subject));
        guard
    }

    /// Reports the user that the client's certificate names.
    pub(super) fn named_by_certificate(&self, user: &str) {
        let Entry { id, from: source, listener, .. } = &*self.entry;
        let listener = listener.name();
        let who = Subject { id: *id, source: *source, listener, rule: None, user: Some(user) };
        self.worker.process.audit.login(&who, listener, LoginCheck::Certificate, LoginResult::Ok);
    }

    /// Reports the end of the session to the counters and the audit trail. Later calls do nothing.
    pub(super) fn leave(&mut self, reason: ClosedReason) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        self.totals.duration = self.since.elapsed();
        self.entry.listener.counts.closed(reason);
        self.entry.count_commands(self.totals.commands);
        self.worker.resources.stats.clients(-1);
        self.report(|audit, subject| audit.closed(subject, reason, &self.totals));
    }

    /// Counts bytes that were read or written.
    pub(super) fn count_bytes(&mut self, direction: Direction, n: u64) {
        match direction {
            Direction::FromClient => self.totals.bytes_from_client += n,
            Direction::ToClient => self.totals.bytes_to_client += n,
            Direction::ToUpstream | Direction::FromUpstream => {}
        }
        self.entry.listener.counts.bytes(direction, n);
    }

    /// Records that bytes arrived at `now`, as progress of the session. While replies wait for the client, such bytes
    /// do not show whether the client reads, and do not count.
    pub(super) fn arrived(&self, now: Tick, replies_wait: bool) {
        if !replies_wait {
            self.entry.moved.set(now);
        }
    }

    /// Records progress of the session. The recorded time may be one tick old.
    pub(super) fn touch(&self) {
        let latest = self.worker.resources.clock.latest();
        if latest > self.entry.moved.get() {
            self.entry.moved.set(latest);
        }
    }

    /// Logs a contradiction in the state of the session, for which the session is closed.
    #[cold]
    pub(super) fn report_bug(&self, contradiction: &str) {
        tracing::error!(id = self.entry.id, contradiction, "session closed: please report this as a bug");
    }

    /// Calls `tell` with the audit trail and with this session as the subject.
    fn report(&self, tell: impl FnOnce(&crate::audit::Audit, &Subject<'_>)) {
        let generation = self.entry.admitted_by.borrow();
        let permit = self.entry.permit.borrow();
        let rule = generation.policy().rule(permit.rule());
        let user = self.entry.user();
        let subject = Subject {
            id: self.entry.id,
            source: self.entry.from,
            listener: self.entry.listener.name(),
            rule: rule.as_ref(),
            user: user.as_deref(),
        };
        tell(&self.worker.process.audit, &subject);
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let reason = match self.entry.take_signal() {
            Some(Signal::Cut(reason)) if !std::thread::panicking() => reason,
            _ => ClosedReason::Error,
        };
        self.leave(reason);
        self.worker.table.remove(self.key);
    }
}
