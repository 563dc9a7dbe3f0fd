//! The time that each thing may take in a session. The worker's tick looks for deadlines that have passed.

use std::time::Duration;

use portcullis_session::{Lease, PendingLogin, Session, Tick, Unavailable};

use super::{Ended, Relay};
use crate::metrics::ClosedReason;
use crate::worker::deadlines::Deadlines;

/// A partial command gets its full time again with each of these: `timeouts.frame` bounds stalling, not size.
const FRAME_PROGRESS: usize = 64 * 1024;

/// While the client's bytes are not read its leaving does not show as an end of stream, so it is looked for.
const PRESENCE_CHECK: Duration = Duration::from_secs(1);

/// The time for which a partial command has been stalled.
#[derive(Debug, Default)]
struct FrameClock {
    since: Option<Tick>,
    bytes: usize,
}

impl FrameClock {
    /// The rest of a command is awaited.
    fn start(&mut self, now: Tick) {
        self.since.get_or_insert(now);
    }

    /// `n` bytes came.
    fn received(&mut self, n: usize, now: Tick) {
        if self.since.is_none() {
            return;
        }
        self.bytes = self.bytes.saturating_add(n);
        if self.bytes >= FRAME_PROGRESS {
            *self = Self { since: Some(now), bytes: 0 };
        }
    }

    /// The command is whole, or something else than the client is waited for.
    fn stop(&mut self) {
        *self = Self::default();
    }
}

/// The time for which the reply to a login has been pending.
#[derive(Debug, Default)]
struct LoginClock {
    /// The login, by its place among the replies; the default where there is none.
    seq: u64,
    since: Option<Tick>,
}

impl LoginClock {
    /// `pending` is the login that is unanswered now.
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
    linked_at: Tick,
    /// The last change of the user who is logged in.
    user_since: Tick,
    /// The last time at which the upstream said something, or was asked while no reply was pending.
    silent_since: Tick,
    frame: FrameClock,
    login: LoginClock,
}

impl Clocks {
    /// A session that begins at `now`.
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

    /// The time at which the client's unread bytes were read.
    pub(super) const fn asked_at(&self) -> Tick {
        self.asked_at
    }

    /// The time at which the upstream's unread bytes were read.
    pub(super) const fn answered_at(&self) -> Tick {
        self.answered_at
    }

    /// `n` bytes came from the client.
    pub(super) fn asked(&mut self, n: usize, now: Tick) {
        self.asked_at = now;
        self.frame.received(n, now);
    }

    /// Bytes came from the upstream.
    pub(super) const fn answered(&mut self, now: Tick) {
        self.answered_at = now;
        self.silent_since = now;
    }

    /// There is an upstream connection.
    pub(super) const fn linked(&mut self, now: Tick) {
        self.linked_at = now;
        self.silent_since = now;
    }

    /// The upstream connection that the client shared is its own.
    pub(super) const fn adopted(&mut self, now: Tick) {
        self.linked_at = now;
    }

    /// No reply is pending: the upstream's time to answer begins with the next command.
    pub(super) fn nothing_pending(&mut self) {
        self.silent_since = self.asked_at.max(self.linked_at);
    }

    /// Another user is logged in.
    pub(super) const fn user_changed(&mut self, now: Tick) {
        self.user_since = now;
    }

    /// The rest of a command is awaited from the client.
    pub(super) fn frame_begins(&mut self, now: Tick) {
        self.frame.start(now);
    }

    /// The command is whole, or something else than the client is waited for.
    pub(super) fn frame_ends(&mut self) {
        self.frame.stop();
    }

    /// `pending` is the login that is unanswered now.
    fn watch_login(&mut self, pending: Option<PendingLogin>, latest: Tick) {
        match pending {
            None => self.login.since = None,
            Some(pending) => self.login.look(pending, latest),
        }
    }

    /// A login is sent when no reply is pending, so that nothing but the upstream delays its reply. The gate's own is part
    /// of getting a connection.
    fn login_due(&self, session: &Session, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let since = self.login.since?;
        let limit = if session.pending_login()?.of_client { deadlines.client_login } else { deadlines.login };
        Some((since.after(limit), Due::Response))
    }

    fn enter_due(&self, session: &Session, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let limit = deadlines.enter.filter(|_| session.user().is_none())?;
        Some((self.user_since.after(limit), Due::Close(ClosedReason::Timeout)))
    }

    fn frame_due(&self, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        Some((self.frame.since?.after(deadlines.frame?), Due::Close(ClosedReason::Timeout)))
    }

    fn response_due(&self, limit: Duration) -> (Tick, Due) {
        (self.silent_since.after(limit), Due::Response)
    }
}

impl Relay {
    pub(super) fn set_deadline(&mut self) {
        let latest = self.worker.resources.clock.latest();
        self.clocks.watch_login(self.session.pending_login(), latest);
        let due = self.due().map(|(at, _)| at);
        let check = self.must_notice_leaving().then(|| latest.after(PRESENCE_CHECK));
        // Replies that come by a shared connection do not wake this task, so that it looks by itself whether the client rests.
        let idle = self.guard.entry.listener.deadlines().idle.filter(|_| self.lanes.are_shared());
        let rest = idle.map(|limit| latest.after(limit));
        self.guard.entry.deadline.set(due.into_iter().chain(check).chain(rest).min());
    }

    /// Acts on what has not happened in time, if anything. Returns the end of the session where it ends by that.
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
            Due::Lease => {}
        }
        None
    }

    /// The first thing that must happen, and by when.
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
        // The last time that something moved which counts as progress: `ClientSide` knows what does.
        let moved = self.guard.entry.moved.get();
        if let Some(limit) = deadlines.write {
            if self.replies.is_pending() {
                consider(Some(self.client.write_due(limit, moved)));
            } else if self.requests.is_pending() && self.lanes.own.is_open() {
                consider(Some((moved.after(limit), Due::Close(ClosedReason::Timeout))));
            }
        }
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
        if let Lease::Until(at) = self.session.lease(self.worker.resources.clock.latest()) {
            consider(Some((at, Due::Lease)));
        }
        first
    }

    /// Whether the client's leaving matters at once, and does not show because its bytes are not being read.
    fn must_notice_leaving(&self) -> bool {
        self.lanes.wait_for_others(&self.session) && (self.requests.is_pending() || self.requests.is_full())
    }
}

/// A step to take when its time has come.
#[derive(Clone, Copy)]
pub(super) enum Due {
    /// Close the session.
    Close(ClosedReason),
    /// Give the upstream up: it does not answer.
    Response,
    /// See whether the client still needs a connection of its own.
    Lease,
    /// Write to the client although the kernel does not say that there is room.
    Press,
}

#[cfg(test)]
mod tests;
