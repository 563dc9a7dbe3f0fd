//! The deadlines of a session. The worker's tick looks for deadlines that have passed.

use std::time::Duration;

use portcullis_session::{Lease, PendingLogin, Session, Tick, Unavailable};

use super::{Ended, Relay, outage};
use crate::metrics::ClosedReason;
use crate::worker::deadlines::Deadlines;

/// The bytes of a partial command that give it its full time again: `timeouts.frame` limits a stall, not the size.
const FRAME_PROGRESS: usize = 64 * 1024;

/// The interval at which the proxy checks whether the client has disconnected while its bytes are not read. Then the
/// end of its stream does not show.
const PRESENCE_CHECK: Duration = Duration::from_secs(1);

/// The time for which a partial command has been stalled.
#[derive(Debug, Default)]
struct FrameClock {
    /// The time from which the stall counts. `None` if no rest of a command is awaited.
    since: Option<Tick>,
    /// The bytes of the command that were received since then.
    bytes: usize,
}

impl FrameClock {
    /// Starts the clock, unless it is running: the rest of a command is awaited.
    fn start(&mut self, now: Tick) {
        self.since.get_or_insert(now);
    }

    /// Records `n` bytes of the command.
    fn received(&mut self, n: usize, now: Tick) {
        if self.since.is_none() {
            return;
        }
        self.bytes = self.bytes.saturating_add(n);
        if self.bytes >= FRAME_PROGRESS {
            *self = Self { since: Some(now), bytes: 0 };
        }
    }

    /// Stops the clock: the command is complete, or the session waits for something other than the client.
    fn stop(&mut self) {
        *self = Self::default();
    }
}

/// The time for which the reply to a login has been pending.
#[derive(Debug, Default)]
struct LoginClock {
    /// The number of the login, as in [`PendingLogin::seq`]; 0 before the first login.
    seq: u64,
    /// The time at which the login was first found unanswered. `None` if no login is.
    since: Option<Tick>,
}

impl LoginClock {
    /// Starts the clock for `pending`, unless it runs for this login already.
    #[cold]
    fn look(&mut self, pending: PendingLogin, now: Tick) {
        if self.seq != pending.seq {
            *self = Self { seq: pending.seq, since: None };
        }
        self.since.get_or_insert(now);
    }
}

/// The times from which deadlines and durations count.
#[derive(Debug)]
pub(super) struct Clocks {
    asked_at: Tick,
    answered_at: Tick,
    /// The time at which the client got its own upstream connection.
    linked_at: Tick,
    /// The time of the last change of the user that is logged in, or of the start of the session.
    user_since: Tick,
    /// The time of the upstream's last bytes, or of the first command after a time without pending replies.
    silent_since: Tick,
    frame: FrameClock,
    login: LoginClock,
}

impl Clocks {
    /// Creates the clocks of a session that begins at `now`.
    pub(super) fn start(now: Tick) -> Self {
        Self {
            asked_at: now,
            answered_at: now,
            linked_at: now,
            user_since: now,
            silent_since: now,
            frame: FrameClock::default(),
            login: LoginClock::default(),
        }
    }

    /// Returns the time at which the client's unread bytes were read.
    pub(super) const fn asked_at(&self) -> Tick {
        self.asked_at
    }

    /// Returns the time at which the upstream's unread bytes were read.
    pub(super) const fn answered_at(&self) -> Tick {
        self.answered_at
    }

    /// Records that `n` bytes of the client were read at `now`.
    pub(super) fn asked(&mut self, n: usize, now: Tick) {
        self.asked_at = now;
        self.frame.received(n, now);
    }

    /// Records that bytes of the upstream were read at `now`.
    pub(super) const fn answered(&mut self, now: Tick) {
        self.answered_at = now;
        self.silent_since = now;
    }

    /// Records that the client's own upstream connection was opened.
    pub(super) const fn linked(&mut self, now: Tick) {
        self.linked_at = now;
        self.silent_since = now;
    }

    /// Records that the shared connection has become the client's own.
    pub(super) const fn adopted(&mut self, now: Tick) {
        self.linked_at = now;
    }

    /// Records whether a reply is pending. If none is, the time for the upstream's answer begins with the next command.
    /// Returns whether none is.
    pub(super) fn is_idle(&mut self, is_pending: bool) -> bool {
        if !is_pending {
            self.silent_since = self.asked_at.max(self.linked_at);
        }
        !is_pending
    }

    /// Records a change of the user that is logged in.
    pub(super) const fn user_changed(&mut self, now: Tick) {
        self.user_since = now;
    }

    /// Records that the rest of a command is awaited from the client.
    pub(super) fn frame_begins(&mut self, now: Tick) {
        self.frame.start(now);
    }

    /// Records that the command is complete, or that the session waits for something other than the client.
    pub(super) fn frame_ends(&mut self) {
        self.frame.stop();
    }

    /// Updates the login clock. `pending` is the login that the upstream has not answered yet.
    fn watch_login(&mut self, pending: Option<PendingLogin>, latest: Tick) {
        match pending {
            None => self.login.since = None,
            Some(pending) => self.login.look(pending, latest),
        }
    }

    /// Returns the deadline of the login whose reply is next. A login is sent when no reply is pending, so only the
    /// upstream delays its reply. The proxy's own login is a part of connecting, with the same time limit.
    fn login_due(&self, session: &Session, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let since = self.login.since?;
        let limit = if session.pending_login()?.of_client { deadlines.client_login } else { deadlines.login };
        Some((since.after(limit), Due::Response))
    }

    /// Returns the deadline for the client to log in, on listeners that require a login.
    fn enter_due(&self, session: &Session, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let limit = deadlines.enter.filter(|_| session.user().is_none())?;
        Some((self.user_since.after(limit), Due::Close(ClosedReason::Timeout)))
    }

    /// Returns the deadline for the rest of a command.
    fn frame_due(&self, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        Some((self.frame.since?.after(deadlines.frame?), Due::Close(ClosedReason::Timeout)))
    }

    /// Returns the deadline for the upstream's next bytes.
    fn response_due(&self, limit: Duration) -> (Tick, Due) {
        (self.silent_since.after(limit), Due::Response)
    }
}

impl Relay {
    /// Computes the session's next deadline, and stores it in the worker's table.
    pub(super) fn set_deadline(&mut self) {
        let latest = self.worker.resources.clock.latest();
        self.clocks.watch_login(self.session.pending_login(), latest);
        let due = self.due().map(|(at, _)| at);
        let check = self.must_notice_leaving().then(|| latest.after(PRESENCE_CHECK));
        // Replies on a shared connection do not wake this task, so the task checks by itself whether the client is
        // idle.
        let idle = self.guard.entry.listener.deadlines().idle.filter(|_| self.lanes.are_shared());
        let rest = idle.map(|limit| latest.after(limit));
        self.guard.entry.deadline.set(due.into_iter().chain(check).chain(rest).min());
    }

    /// Acts on a deadline that has passed, if there is one. Returns the end of the session if the deadline ends it.
    pub(super) fn expire(&mut self) -> Option<Ended> {
        let now = self.worker.resources.clock.latest();
        if self.guard.entry.deadline.get().is_none_or(|deadline| deadline > now) {
            return None;
        }
        if self.must_notice_leaving() && self.client.has_left() {
            return Some(Ended::at_once(ClosedReason::Client));
        }
        let (_, due) = self.due().filter(|(at, _)| *at <= now)?;
        match due {
            Due::Response if self.lanes.own.many().is_some_and(|many| many.give_up_front()) => {
                self.clocks.silent_since = now;
            }
            Due::Response => {
                if self.session.is_pooled() {
                    self.lanes.retire_shared();
                }
                self.lose_upstream(Some(Unavailable::Timeout));
            }
            Due::Press => {
                self.client.press(&mut self.replies, &mut self.guard);
            }
            Due::Close(ClosedReason::Slow) if self.client.press(&mut self.replies, &mut self.guard) => {
                self.client.touch(&self.guard);
            }
            Due::Close(reason) => return Some(Ended::at_once(reason)),
            Due::Outage => outage::expire(self),
            Due::Lease => {}
        }
        None
    }

    /// Returns the next deadline and the step to take then. Returns `None` if nothing is awaited.
    fn due(&self) -> Option<(Tick, Due)> {
        let deadlines = self.guard.entry.listener.deadlines();
        let mut first: Option<(Tick, Due)> = None;
        let mut consider = |due: Option<(Tick, Due)>| {
            if let Some((at, _)) = due
                && first.as_ref().is_none_or(|(earliest, _)| at < *earliest)
            {
                first = due;
            }
        };
        // The time of the last progress. `ClientSide` and `SessionGuard` decide what counts as progress.
        let moved = self.guard.entry.moved.get();
        if let Some(limit) = deadlines.write {
            if self.replies.is_pending() {
                consider(Some(self.client.write_due(limit, moved)));
            } else if self.requests.is_pending() && self.lanes.own.is_open() {
                consider(Some((moved.after(limit), Due::Close(ClosedReason::Timeout))));
            }
        }
        let limit = || self.target.upstream.failover_wait();
        consider(self.outage.due(limit).map(|at| (at, Due::Outage)));
        consider(self.clocks.login_due(&self.session, &deadlines));
        consider(self.clocks.enter_due(&self.session, &deadlines));
        consider(self.clocks.frame_due(&deadlines));
        if let Some(limit) = deadlines.idle
            && self.session.is_idle()
            && !self.lanes.own.link().streams()
        {
            consider(Some((moved.after(limit), Due::Close(ClosedReason::Idle))));
        }
        if let Some(limit) = deadlines.response
            && self.session.has_pending()
            && !self.lanes.wait_for_others(&self.session)
            && !self.replies.is_pending()
        {
            consider(Some(self.clocks.response_due(limit)));
        }
        consider(self.lanes.own.idle_due().map(|at| (at, Due::Lease)));
        if let Lease::Until(at) = self.session.lease(self.worker.resources.clock.latest()) {
            consider(Some((at, Due::Lease)));
        }
        first
    }

    /// Returns whether the session must end as soon as the client disconnects, although its bytes are not read. The end
    /// of the client's stream does not show then.
    fn must_notice_leaving(&self) -> bool {
        self.lanes.wait_for_others(&self.session) && (self.requests.is_pending() || self.requests.is_full())
    }
}

/// The step to take at a deadline.
#[derive(Clone, Copy)]
pub(super) enum Due {
    /// Close the session, for this reason.
    Close(ClosedReason),
    /// Give up the upstream, which does not answer in time.
    Response,
    /// Check whether the client still needs its own upstream connection.
    Lease,
    /// Answer the commands that have waited too long for the upstream.
    Outage,
    /// Write to the client although the kernel does not report room.
    Press,
}

#[cfg(test)]
mod tests;
