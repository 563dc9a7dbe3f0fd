//! How long a session may go without something that should happen. Deadlines are looked at by the worker's tick.

use std::time::Duration;

use portcullis_session::Tick;
use portcullis_session::session::Unavailable;

use super::{Ended, Relay, Upstream};
use crate::config::Timeouts;
use crate::metrics::ClosedReason;
use crate::net::stream::Stream;

/// A command that is still arriving gets its time anew with each of these: `timeouts.frame` bounds stalling, not size.
const FRAME_PROGRESS: usize = 64 * 1024;

/// While the client's bytes are not read its leaving does not show as an end of stream, so it is looked for.
const PRESENCE_CHECK: Duration = Duration::from_secs(1);

/// Since when the command that is arriving has made too little progress.
#[derive(Debug, Default)]
pub(super) struct FrameClock {
    since: Option<Tick>,
    bytes: usize,
}

impl FrameClock {
    /// `n` bytes came.
    pub(super) fn received(&mut self, n: usize, now: Tick) {
        self.bytes = self.bytes.saturating_add(n);
        if self.bytes >= FRAME_PROGRESS {
            self.restart(now);
        }
    }

    /// What arrives from here on belongs to another command.
    pub(super) const fn restart(&mut self, now: Tick) {
        self.since = Some(now);
        self.bytes = 0;
    }
}

impl Relay {
    /// Bytes moved; the time of it may be a tick late.
    pub(super) fn touch(&self) {
        let latest = self.worker.clock.latest();
        if latest > self.presence.entry.moved.get() {
            self.presence.entry.moved.set(latest);
        }
    }

    pub(super) fn set_deadline(&self) {
        let due = self.due().map(|(at, _)| at);
        let check = self.is_deaf().then(|| self.worker.clock.latest().after(PRESENCE_CHECK));
        self.presence.entry.deadline.set(due.into_iter().chain(check).min());
    }

    /// What has not happened in time, if anything.
    pub(super) fn expire(&mut self) -> Option<Ended> {
        let now = self.worker.clock.latest();
        if self.presence.entry.deadline.get().is_none_or(|deadline| deadline > now) {
            return None;
        }
        let must_stay = self.session.blocks() || self.link.streams();
        if must_stay && self.is_deaf() && self.client.as_ref().is_some_and(Stream::peer_closed) {
            return Some(Ended::at_once(ClosedReason::Client));
        }
        match self.due() {
            Some((at, Due::Response)) if at <= now => {
                self.lose_upstream(Some(Unavailable::Timeout));
                None
            }
            Some((at, Due::Close(reason))) if at <= now => Some(Ended::at_once(reason)),
            _ => None,
        }
    }

    /// The first thing that must happen, and by when.
    fn due(&self) -> Option<(Tick, Due)> {
        let timeouts = self.timeouts()?;
        let moved = self.presence.entry.moved.get();
        let after = |limit: Option<Duration>, since: Tick| limit.map(|limit| since.after(limit));
        let upstream_stuck = self.up.is_pending() && matches!(self.upstream, Upstream::Open(_));
        let stuck = match (self.down.is_pending(), upstream_stuck) {
            (true, _) => Some(ClosedReason::Slow),
            (false, true) => Some(ClosedReason::Timeout),
            (false, false) => None,
        };
        let write =
            stuck.and_then(|reason| after(timeouts.write(), moved).map(|at| (at, Due::Close(reason))));
        let arriving = self.session.is_mid_frame() && !upstream_stuck;
        let frame = self.frame.since.filter(|_| arriving).and_then(|since| after(timeouts.frame(), since));
        let idle = self.session.is_idle() && !self.link.streams();
        let idle = if idle { after(timeouts.idle(), moved) } else { None };
        let waits =
            self.session.owes() && !self.session.blocks() && !self.link.streams() && !self.down.is_pending();
        let response = if waits { after(self.response_timeout(), moved) } else { None };
        let login =
            if self.session.is_logging_in() { after(self.connect_timeout(), self.linked_at) } else { None };
        write
            .into_iter()
            .chain(login.map(|at| (at, Due::Response)))
            .chain(frame.map(|at| (at, Due::Close(ClosedReason::Timeout))))
            .chain(idle.map(|at| (at, Due::Close(ClosedReason::Idle))))
            .chain(response.map(|at| (at, Due::Response)))
            .min_by_key(|(at, _)| *at)
    }

    /// Whether the client's bytes are not being read.
    fn is_deaf(&self) -> bool {
        self.up.is_pending() || self.up.is_full()
    }

    fn timeouts(&self) -> Option<&Timeouts> {
        let listeners = self.worker.shared.config.listeners();
        listeners.get(self.presence.entry.listener).map(|listener| listener.limits().timeouts())
    }

    fn connect_timeout(&self) -> Option<Duration> {
        Some(self.worker.shared.config.upstreams().get(self.upstream_index())?.connect_timeout())
    }

    fn response_timeout(&self) -> Option<Duration> {
        self.worker.shared.config.upstreams().get(self.upstream_index())?.response_timeout()
    }
}

enum Due {
    Close(ClosedReason),
    Response,
}
