//! The direction from the client to the upstream.

use std::mem::take;
use std::num::NonZeroU32;
use std::task::{Context, Poll};

use portcullis_session::{MAX_RENDERED, Pooling, Session, Step, Until};

use super::lane::{Commands, Sent};
use super::peer::question;
use super::samples::{self, Seen};
use super::turn::Read;
use super::{Ended, Relay, RelayHost, Stage, outage};
use crate::metrics::{ClosedReason, Direction};
use crate::net::pipe::Pipe;
use crate::upstream::target::Patience;

/// The reason to read more of the client's bytes.
enum Want {
    /// The session needs this number of unread bytes.
    Bytes(usize),
    /// The bytes must wait for something else. They are read only to notice that the client disconnects.
    Company,
    /// No bytes are needed: judged bytes must be written first, or the session ends.
    Nothing,
}

impl Relay {
    /// Reads, judges and sends commands until one of these has to wait. An error is the end of the session.
    pub(super) fn requests(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let Some(total) = self.starves_for().or_else(|| self.wanted(cx)) else { return Ok(()) };
            if self.client.has_ended() || !self.turn.may_read(cx) {
                return Ok(());
            }
            if self.fill_requests(cx, total)? == Read::Nothing {
                return Ok(());
            }
            self.starved = None;
        }
    }

    /// Returns the number of unread bytes without which nothing more can be done for the client. Returns `None` if
    /// something else may let the session continue.
    pub(super) fn starves_for(&self) -> Option<usize> {
        let waits_for_others = self.lanes.are_shared()
            || self.client.has_ended()
            || self.stage != Stage::Serving
            || self.session.is_ending();
        let starved = self.starved.filter(|_| !waits_for_others)?;
        usize::try_from(starved.get()).ok()
    }

    /// Judges and sends the unread commands. Returns the number of unread bytes up to which to read, or `None` if no
    /// read is needed.
    fn wanted(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        loop {
            self.return_lease();
            let want = self.judge_requests(cx);
            if self.lanes.own.is_unused() && self.session.connects_early() {
                self.lanes.own.connect(&self.target, Patience::Once);
            }
            if self.poll_connect(cx) {
                continue;
            }
            let mut written = 0;
            let flushed = self.lanes.own.poll_flush(cx, &mut self.requests, &mut written);
            if written > 0 {
                self.forwarded(written);
            }
            if flushed.is_pending() {
                self.clocks.frame_ends();
                return None;
            }
            return match want {
                Want::Bytes(total) => {
                    let connects = self.lanes.own.is_connecting();
                    self.starved = u32::try_from(total).ok().and_then(NonZeroU32::new).filter(|_| !connects);
                    Some(total)
                }
                Want::Company if !self.requests.is_full() => Some(self.requests.unread().len() + 1),
                Want::Company | Want::Nothing => None,
            };
        }
    }

    /// Judges the unread commands one after the other. Returns the reason to read more bytes.
    fn judge_requests(&mut self, cx: &Context<'_>) -> Want {
        let (mut least, mut alone) = (0, self.clocks.is_idle(self.session.has_pending()));
        loop {
            if self.requests.is_congested() || self.stage.is_closing() {
                return Want::Nothing;
            }
            let Some(room) = self.room(least, cx) else { return Want::Company };
            let (stream, link) = (self.client.stream(), self.lanes.own.link());
            let bytes = &self.requests.unread()[..room];
            let host = RelayHost::of(&self.worker, &self.target, &mut self.guard, stream, link);
            match self.session.next(bytes, self.clocks.asked_at(), &mut host.judging(bytes)) {
                Step::Forward { to, len, first, pending, shape, whole } => {
                    if pending > 0 {
                        self.clocks.frame_ends();
                    }
                    let commands = Commands { first, pending, shape, len, instead: None };
                    let seen = Seen { first, pending, len, whole, alone: take(&mut alone) };
                    samples::sent(&self.worker, &self.guard.entry, bytes, seen);
                    let sent = self.lanes.send(to.into(), &mut self.requests, commands);
                    self.sent(sent);
                }
                Step::Instead { to, bytes: instead, skip, first, shape } => {
                    let commands = Commands { first, pending: 1, shape, len: skip, instead: Some(instead) };
                    let seen = Seen::one(first, skip, take(&mut alone));
                    samples::sent(&self.worker, &self.guard.entry, bytes, seen);
                    let sent = self.lanes.send(to.into(), &mut self.requests, commands);
                    self.sent(sent);
                }
                Step::Skip { len } => self.requests.skip(len),
                Step::Need { at_least } if at_least <= self.requests.unread().len() => {
                    least = at_least.max(2 * room);
                    continue;
                }
                Step::Need { .. } if self.client.has_ended() => self.session.eof(),
                Step::Need { at_least } => {
                    if self.session.is_mid_frame() {
                        self.clocks.frame_begins(self.worker.resources.clock.latest());
                    }
                    return Want::Bytes(at_least);
                }
                Step::Wait(until) => {
                    self.clocks.frame_ends();
                    if self.wait(until, cx) {
                        continue;
                    }
                    return Want::Company;
                }
                Step::Close(reason) => {
                    self.stage.close(reason);
                    self.turn.moved();
                    return Want::Nothing;
                }
            }
            if !self.session.is_mid_frame() {
                self.clocks.frame_ends();
            }
            self.write_local_replies();
            least = 0;
        }
    }

    /// Records the outcome of sending commands.
    #[inline(always)]
    fn sent(&mut self, sent: Sent) {
        match sent {
            // The bytes are counted when they are written.
            Sent::Queued => {}
            Sent::Given(len) => {
                // The proxy's own replies that precede the replies to these commands are written now, however many
                // bytes wait already: the client takes the other replies as soon as they arrive. The command before
                // added only a few.
                if self.session.has_local_reply() {
                    self.replies.insert(|out| self.session.write_local_replies(out, usize::MAX));
                }
                self.forwarded(len as u64);
            }
            Sent::Nowhere => {
                self.guard.report_bug("a command was to go where there is no connection");
                self.stage.fail();
            }
        }
    }

    /// Records that `len` bytes of commands went upstream.
    fn forwarded(&mut self, len: u64) {
        self.guard.count_bytes(Direction::ToUpstream, len);
        self.turn.moved();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.client.forwarded(len, self.replies.is_pending(), &self.guard);
    }

    /// Handles a step in which the session waits. Returns whether the session may be asked again at once: the event
    /// has occurred, or something else has changed.
    fn wait(&mut self, until: Until, cx: &Context<'_>) -> bool {
        match until {
            Until::Linked => {
                outage::connect(self);
                return false;
            }
            Until::Pooled => {
                if let Some(pooled) = &mut self.lanes.pooled
                    && pooled.poll_switch(&mut self.session, &self.target, &self.worker, cx)
                {
                    self.turn.moved();
                    return true;
                }
                if self.poll_switch_at_nodes(cx) {
                    self.turn.moved();
                    return true;
                }
            }
            Until::Clients => {
                let (session, entry, lanes, target) =
                    (&self.session, &self.guard.entry, &self.lanes, &self.target);
                let question = || question(session, entry, lanes.server(), target.upstream.name());
                if let Poll::Ready(findings) = self.asking.poll(&self.worker, cx.waker(), question) {
                    self.session.informed(findings.as_ref());
                    self.turn.moved();
                    return true;
                }
            }
            Until::GivenBack | Until::LoggedIn | Until::NothingPending | Until::FewerPending => {}
        }
        // The session may have waited only for this.
        if self.write_local_replies()
            || (self.session.pooling().is_some_and(Pooling::has_left) && self.return_lease())
        {
            return true;
        }
        if let Some(pooled) = &mut self.lanes.pooled {
            pooled.await_replies();
        }
        false
    }

    /// Reads once from the client, with room for `total` unread bytes.
    fn fill_requests(&mut self, cx: &mut Context<'_>, total: usize) -> Result<Read, Ended> {
        if !self.turn.client_may_be_readable() {
            return Ok(Read::Nothing);
        }
        match self.client.poll_fill(cx, &mut self.requests, total, &self.worker.resources.pool) {
            Poll::Pending => {
                self.turn.client_is_dry();
                Ok(Read::Nothing)
            }
            Poll::Ready(Err(_)) => Err(Ended::at_once(ClosedReason::Client)),
            Poll::Ready(Ok(0)) => {
                self.turn.moved();
                Ok(Read::Progress)
            }
            Poll::Ready(Ok(n)) => {
                self.turn.has_read();
                let now = self.worker.resources.clock.now();
                self.guard.arrived(now, self.replies.is_pending());
                self.guard.count_bytes(Direction::FromClient, n as u64);
                self.clocks.asked(n, now);
                Ok(Read::Progress)
            }
        }
    }

    /// Writes the proxy's own replies that are next in order. Returns whether there were any.
    #[inline]
    pub(super) fn write_local_replies(&mut self) -> bool {
        if !self.session.has_local_reply() {
            return false;
        }
        let output_buffer = self.guard.entry.listener.output_buffer();
        let wrote = write_due_replies(&mut self.session, &mut self.replies, output_buffer);
        if wrote {
            self.turn.moved();
        }
        wrote
    }
}

/// Writes the proxy's own replies that are next in order, and returns whether there were any. `output_buffer` is the
/// most bytes that may wait for a client of shared connections. This function is not inlined: its caller runs after
/// every command and mostly finds nothing to write.
#[inline(never)]
fn write_due_replies(session: &mut Session, replies: &mut Pipe, output_buffer: usize) -> bool {
    let up_to = if session.is_pooled() { output_buffer } else { MAX_RENDERED };
    replies.waiting() < up_to && replies.insert(|out| session.write_local_replies(out, up_to)) > 0
}
