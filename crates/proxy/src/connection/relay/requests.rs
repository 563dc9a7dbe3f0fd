//! From the client to the upstream.

use std::num::NonZeroU32;
use std::task::{Context, Poll};

use portcullis_session::{MAX_RENDERED, Pooling, Session, Step, Until};

use super::lane::{Commands, Sent};
use super::peer::question;
use super::turn::Read;
use super::{Ended, Relay, RelayHost, Stage};
use crate::metrics::{ClosedReason, Direction};
use crate::net::pipe::Pipe;

/// The use that the client's bytes are of now.
enum Want {
    /// There must be so many of them.
    Bytes(usize),
    /// Only to notice that the client leaves; they wait for something else.
    Company,
    /// Nothing: what was judged must be written first, or all is over.
    Nothing,
}

impl Relay {
    /// Reads, judges and writes on, until one of them has to wait.
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

    /// The number of unread bytes without which nothing more can be done for the client. `None`: other things may change
    /// that as well.
    pub(super) fn starves_for(&self) -> Option<usize> {
        let waits_for_others = self.lanes.are_shared()
            || self.client.has_ended()
            || self.stage != Stage::Serving
            || self.session.is_ending();
        let starved = self.starved.filter(|_| !waits_for_others)?;
        usize::try_from(starved.get()).ok()
    }

    /// Judges and writes what there is. Gives the number of unread bytes for which to read on.
    fn wanted(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        loop {
            self.return_lease();
            let want = self.judge_requests(cx);
            if self.lanes.own.is_unused() && self.session.connects_early() {
                self.lanes.own.connect(&self.target);
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

    fn judge_requests(&mut self, cx: &Context<'_>) -> Want {
        if !self.session.has_pending() {
            self.clocks.nothing_pending();
        }
        let mut least = 0;
        loop {
            if self.requests.is_congested() || self.stage.is_closing() {
                return Want::Nothing;
            }
            let Some(room) = self.room(least, cx) else { return Want::Company };
            let (stream, link) = (self.client.stream(), self.lanes.own.link());
            let mut host = RelayHost::of(&self.worker, &self.target, &mut self.guard, stream, link);
            match self.session.next(&self.requests.unread()[..room], self.clocks.asked_at(), &mut host) {
                Step::Forward { to, len, first, pending, shape, .. } => {
                    if pending > 0 {
                        self.clocks.frame_ends();
                    }
                    let commands = Commands { first, pending, shape, len, instead: None };
                    let sent = self.lanes.send(to.into(), &mut self.requests, commands);
                    self.sent(sent);
                }
                Step::Instead { to, bytes, skip, first, shape } => {
                    let commands = Commands { first, pending: 1, shape, len: skip, instead: Some(bytes) };
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

    /// Commands were sent.
    #[inline(always)]
    fn sent(&mut self, sent: Sent) {
        match sent {
            // They count when they are written.
            Sent::Queued => {}
            Sent::Given(len) => {
                // The gate's own replies that come before those to what was given, whatever waits already: the other replies
                // are taken as soon as they are there. The command before had few.
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

    /// So many bytes of commands have left.
    fn forwarded(&mut self, len: u64) {
        self.guard.count_bytes(Direction::ToUpstream, len);
        self.turn.moved();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.client.forwarded(len, self.replies.is_pending(), &self.guard);
    }

    /// The session waits. Says whether it may be asked again at once: what it waits for has come, or something else has
    /// changed.
    fn wait(&mut self, until: Until, cx: &Context<'_>) -> bool {
        match until {
            Until::Linked => {
                self.lanes.own.connect(&self.target);
                return false;
            }
            Until::Pooled => {
                if let Some(pooled) = &mut self.lanes.pooled
                    && pooled.poll_switch(&mut self.session, &self.target, &self.worker, cx)
                {
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
        // What it waits for may have been that alone.
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

    /// Reads from the client once, until `total` bytes are unread.
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

    /// Writes the gate's own replies, where it is their turn. Says whether there were any.
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

/// Writes the gate's own replies, whose turn it is. `output_buffer`: the bytes that may wait for a client that shares
/// connections. Kept out of the caller, which is asked after every command and finds nothing to write.
#[inline(never)]
fn write_due_replies(session: &mut Session, replies: &mut Pipe, output_buffer: usize) -> bool {
    let up_to = if session.is_pooled() { output_buffer } else { MAX_RENDERED };
    replies.waiting() < up_to && replies.insert(|out| session.write_local_replies(out, up_to)) > 0
}
