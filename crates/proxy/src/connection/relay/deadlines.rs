//! How long a session may go without something that should happen. Deadlines are looked at by the worker's tick.

use std::time::Duration;

use portcullis_session::{Lease, PendingLogin, Tick, Unavailable};

use super::{Ended, Relay, Upstream};
use crate::metrics::{ClosedReason, Direction};
use crate::net::stream::Stream;
use crate::worker::deadlines::Deadlines;

/// A command that is still arriving gets its time anew with each of these: `timeouts.frame` bounds stalling, not size.
const FRAME_PROGRESS: usize = 64 * 1024;

/// While replies wait that the client does not take, it must be writing a pipeline to be let be: each time Redis has accepted
/// so many bytes of its commands, that is progress. What the gate leaves out or refuses is none.
const PIPELINE_PROGRESS: u32 = 64 * 1024;

/// While the client's bytes are not read its leaving does not show as an end of stream, so it is looked for.
const PRESENCE_CHECK: Duration = Duration::from_secs(1);

/// Since when the rest of a command is awaited and too little of it comes.
#[derive(Debug, Default)]
pub(super) struct FrameClock {
    since: Option<Tick>,
    bytes: usize,
}

impl FrameClock {
    /// The rest of a command is awaited.
    pub(super) fn start(&mut self, now: Tick) {
        self.since.get_or_insert(now);
    }

    /// `n` bytes came.
    pub(super) fn received(&mut self, n: usize, now: Tick) {
        if self.since.is_none() {
            return;
        }
        self.bytes = self.bytes.saturating_add(n);
        if self.bytes >= FRAME_PROGRESS {
            *self = Self { since: Some(now), bytes: 0 };
        }
    }

    /// The command is whole, or it is not the client that is waited for.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }
}

/// Since when the upstream owes the reply to a login.
#[derive(Debug, Default)]
pub(super) struct LoginClock {
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

impl Relay {
    /// Bytes came at `now`. While replies wait for the client, that says nothing of whether it reads.
    pub(super) fn arrived(&self, now: Tick) {
        if !self.down.is_pending() {
            self.guard.entry.moved.set(now);
        }
    }

    /// The upstream has accepted so many bytes of the client's commands.
    pub(super) fn forwarded(&mut self, n: usize) {
        if !self.down.is_pending() || self.is_progress(n) {
            self.touch();
        }
    }

    /// Whether so many bytes of commands make up a part of a pipeline that counts as progress although replies wait.
    #[cold]
    fn is_progress(&mut self, n: usize) -> bool {
        self.piped = self.piped.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        let is_progress = self.piped >= PIPELINE_PROGRESS;
        if is_progress {
            self.let_write();
        }
        is_progress
    }

    /// A client may write for as long as it likes before it reads, so that it is not for the kernel to cut it: `timeouts.write`
    /// sees to that.
    fn let_write(&mut self) {
        let deadlines = self.guard.entry.listener.deadlines();
        if let Some(client) = self.client.as_ref().filter(|_| !self.lets_write && deadlines.write.is_some()) {
            client.set_user_timeout(None);
            self.lets_write = true;
        }
    }

    /// The client has accepted some of its replies, as the kernel says.
    pub(super) fn accepted(&mut self) {
        self.pressed = false;
        if self.lets_write {
            self.limit_writes();
        }
        self.touch();
    }

    #[cold]
    fn limit_writes(&mut self) {
        self.lets_write = false;
        if let Some(client) = &self.client {
            client.set_user_timeout(self.guard.entry.listener.deadlines().user_timeout);
        }
    }

    /// There was progress; the time of it may be a tick late.
    fn touch(&mut self) {
        self.piped = 0;
        let latest = self.worker.resources.clock.latest();
        if latest > self.guard.entry.moved.get() {
            self.guard.entry.moved.set(latest);
        }
    }

    /// Writes to the client although the kernel does not say that there is room, and goes on until there is none. The kernel
    /// says so only when a third of what it holds was read, which a slow reader may not manage in time. False: there is none.
    fn press(&mut self) -> bool {
        self.pressed = true;
        let Some(moved) = self.client.as_mut().and_then(|client| self.down.push(client)) else {
            return false;
        };
        self.presses = true;
        self.guard.totals.bytes_to_client += moved;
        self.count_bytes(Direction::ToClient, moved);
        true
    }

    pub(super) fn set_deadline(&mut self) {
        match self.session.pending_login() {
            None => self.login.since = None,
            Some(pending) => self.login.look(pending, self.worker.resources.clock.latest()),
        }
        let due = self.due().map(|(at, _)| at);
        let check =
            self.must_notice_leaving().then(|| self.worker.resources.clock.latest().after(PRESENCE_CHECK));
        let rest = self.rest_check();
        self.guard.entry.deadline.set(due.into_iter().chain(check).chain(rest).min());
    }

    /// Replies that came by a shared connection do not wake this task, so that it looks by itself whether the client rests.
    fn rest_check(&self) -> Option<Tick> {
        let deadlines = self.guard.entry.listener.deadlines();
        let limit = deadlines.idle.filter(|_| self.pooled.is_some())?;
        Some(self.worker.resources.clock.latest().after(limit))
    }

    /// What has not happened in time, if anything.
    pub(super) fn expire(&mut self) -> Option<Ended> {
        let now = self.worker.resources.clock.latest();
        if self.guard.entry.deadline.get().is_none_or(|deadline| deadline > now) {
            return None;
        }
        if self.must_notice_leaving() && self.client.as_ref().is_some_and(Stream::peer_closed) {
            return Some(Ended::at_once(ClosedReason::Client));
        }
        match self.due() {
            Some((at, Due::Response)) if at <= now => {
                self.retire_shared();
                self.lose_upstream(Some(Unavailable::Timeout));
                None
            }
            Some((at, Due::Press)) if at <= now => {
                self.press();
                None
            }
            Some((at, Due::Close(ClosedReason::Slow))) if at <= now && self.press() => {
                self.touch();
                None
            }
            Some((at, Due::Close(reason))) if at <= now => Some(Ended::at_once(reason)),
            _ => None,
        }
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
        consider(self.write_due(&deadlines));
        consider(self.login_due(&deadlines));
        consider(self.enter_due(&deadlines));
        consider(self.frame_due(&deadlines));
        consider(self.idle_due(&deadlines));
        consider(self.response_due(&deadlines));
        consider(self.lease_due());
        first
    }

    /// Nothing that counts has moved, and it should: [`Relay::arrived`], [`Relay::forwarded`] and [`Relay::accepted`] say what
    /// counts.
    fn write_due(&self, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let (limit, moved) = (deadlines.write?, self.guard.entry.moved.get());
        if self.down.is_pending() {
            // Room that the kernel has found since, and the client has not made, is used up before it could count.
            return Some(if self.pressed {
                (moved.after(limit), Due::Close(ClosedReason::Slow))
            } else {
                (moved.after(limit / 2), Due::Press)
            });
        }
        let waits = self.up.is_pending() && matches!(self.upstream, Upstream::Open(_));
        waits.then(|| (moved.after(limit), Due::Close(ClosedReason::Timeout)))
    }

    /// A login is sent when no reply is pending, so that nothing but the upstream delays its reply. The gate's own is part
    /// of getting a connection.
    fn login_due(&self, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let since = self.login.since?;
        let limit =
            if self.session.pending_login()?.of_client { deadlines.client_login } else { deadlines.login };
        Some((since.after(limit), Due::Response))
    }

    fn enter_due(&self, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let limit = deadlines.enter.filter(|_| self.session.user().is_none())?;
        Some((self.user_since.after(limit), Due::Close(ClosedReason::Timeout)))
    }

    fn frame_due(&self, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        Some((self.frame.since?.after(deadlines.frame?), Due::Close(ClosedReason::Timeout)))
    }

    fn idle_due(&self, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let limit = deadlines.idle?;
        let idle = self.session.is_idle() && !self.link.streams();
        idle.then(|| (self.guard.entry.moved.get().after(limit), Due::Close(ClosedReason::Idle)))
    }

    fn response_due(&self, deadlines: &Deadlines) -> Option<(Tick, Due)> {
        let limit = deadlines.response?;
        let waits = self.session.has_pending() && !self.waits_for_others() && !self.down.is_pending();
        waits.then(|| (self.silent_since.after(limit), Due::Response))
    }

    /// A connection of its own that the client needs no longer.
    fn lease_due(&self) -> Option<(Tick, Due)> {
        match self.session.lease(self.worker.resources.clock.latest()) {
            Lease::Until(at) => Some((at, Due::Lease)),
            _ => None,
        }
    }

    /// Whether what the upstream owes may take any time.
    fn waits_for_others(&self) -> bool {
        self.session.blocks() || self.link.streams()
    }

    /// Whether the client's leaving matters at once, and does not show because its bytes are not being read.
    fn must_notice_leaving(&self) -> bool {
        self.waits_for_others() && (self.up.is_pending() || self.up.is_full())
    }
}

#[derive(Clone, Copy)]
enum Due {
    Close(ClosedReason),
    Response,
    Lease,
    Press,
}

#[cfg(test)]
mod tests;
