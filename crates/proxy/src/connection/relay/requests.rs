//! From the client to the upstream.

use std::num::NonZeroU32;
use std::task::{Context, Poll};

use portcullis_session::{MAX_RENDERED, Step, Until};

use super::{Ended, Relay, RelayHost, Upstream};
use crate::metrics::{ClosedReason, Direction};

/// What the client's bytes are good for now.
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
            if self.client_ended || !self.may_read(cx) || !self.fill_up(cx, total)? {
                return Ok(());
            }
            self.starved = None;
        }
    }

    /// How many unread bytes there must be before anything more can be done for the client. `None`: other things may
    /// change that as well.
    pub(super) fn starves_for(&self) -> Option<usize> {
        let waits_for_others = self.pooled.is_some()
            || self.client_ended
            || self.draining
            || self.closing.is_some()
            || self.session.is_ending();
        let starved = self.starved.filter(|_| !waits_for_others)?;
        usize::try_from(starved.get()).ok()
    }

    /// Judges and writes what there is. Gives the number of unread bytes for which to read on.
    fn wanted(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        loop {
            self.return_lease();
            let want = self.judge_requests(cx);
            if matches!(self.upstream, Upstream::None) && self.session.connects_early() {
                self.dial();
            }
            if self.poll_dial(cx) {
                continue;
            }
            if !self.flush_up(cx) {
                self.frame.stop();
                return None;
            }
            return match want {
                Want::Bytes(total) => {
                    let dials = matches!(self.upstream, Upstream::Dialling(_));
                    self.starved = u32::try_from(total).ok().and_then(NonZeroU32::new).filter(|_| !dials);
                    Some(total)
                }
                Want::Company if !self.up.is_full() => Some(self.up.unread().len() + 1),
                Want::Company | Want::Nothing => None,
            };
        }
    }

    fn judge_requests(&mut self, cx: &Context<'_>) -> Want {
        if !self.session.has_pending() {
            self.silent_since = self.asked_at.max(self.linked_at);
        }
        let mut least = 0;
        loop {
            if self.up.is_congested() || self.closing.is_some() {
                return Want::Nothing;
            }
            let Some(room) = self.room(least, cx) else { return Want::Company };
            let pooled = self.session.is_pooled();
            let mut host =
                RelayHost::of(&self.worker, &self.route, &mut self.guard, self.client.as_ref(), &self.link);
            match self.session.next(&self.up.unread()[..room], self.asked_at, &mut host) {
                Step::Forward { len, first, pending, shape, .. } if pooled => {
                    let bytes = &self.up.unread()[..len];
                    self.pooled.iter_mut().for_each(|pooled| pooled.give(first, pending, &shape, bytes));
                    self.up.skip(len);
                    self.write_held_replies();
                    self.count_bytes(Direction::ToUpstream, len as u64);
                    self.forwarded(len);
                }
                Step::Instead { bytes, skip, first, shape } if pooled => {
                    self.pooled.iter_mut().for_each(|pooled| pooled.give(first, 1, &shape, bytes));
                    let len = bytes.len();
                    self.up.skip(skip);
                    self.write_held_replies();
                    self.count_bytes(Direction::ToUpstream, len as u64);
                    self.forwarded(len);
                }
                Step::Forward { len, first, pending, shape, .. } => {
                    if pending > 0 {
                        self.link.expect(first, pending, shape);
                        self.frame.stop();
                    }
                    self.up.pass(len);
                }
                Step::Instead { bytes, skip, first, shape } => {
                    self.link.expect(first, 1, shape);
                    self.up.insert(|out| out.extend_from_slice(bytes));
                    self.up.skip(skip);
                }
                Step::Skip { len } => self.up.skip(len),
                Step::Need { at_least } if at_least <= self.up.unread().len() => {
                    least = at_least.max(2 * room);
                    continue;
                }
                Step::Need { .. } if self.client_ended => self.session.eof(),
                Step::Need { at_least } => {
                    if self.session.is_mid_frame() {
                        self.frame.start(self.worker.resources.clock.latest());
                    }
                    return Want::Bytes(at_least);
                }
                Step::Wait(Until::Linked) => {
                    self.frame.stop();
                    if matches!(self.upstream, Upstream::None) {
                        self.dial();
                    }
                    return Want::Company;
                }
                Step::Wait(until) => {
                    self.frame.stop();
                    if until == Until::Pooled && self.switch_pool(cx) {
                        continue;
                    }
                    if until == Until::Clients && self.poll_asking(cx.waker()) {
                        continue;
                    }
                    // What it waits for may have been that alone.
                    if self.write_local_replies() {
                        continue;
                    }
                    if self.session.has_left() && self.return_lease() {
                        continue;
                    }
                    self.await_replies();
                    return Want::Company;
                }
                Step::Close(reason) => {
                    self.closing = Some(reason);
                    self.moves += 1;
                    return Want::Nothing;
                }
            }
            if !self.session.is_mid_frame() {
                self.frame.stop();
            }
            self.write_local_replies();
            least = 0;
        }
    }

    /// False: the upstream takes no more now.
    fn flush_up(&mut self, cx: &mut Context<'_>) -> bool {
        let Upstream::Open(upstream) = &mut self.upstream else { return true };
        let mut moved = 0;
        let flushed = self.up.poll_flush(cx, upstream, &mut moved);
        if moved > 0 {
            self.count_bytes(Direction::ToUpstream, moved);
            self.forwarded(usize::try_from(moved).unwrap_or(usize::MAX));
        }
        match flushed {
            Poll::Ready(Ok(())) => true,
            // What it said before it went is still to be read; then its end shows there.
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    /// False: there is nothing to read now.
    fn fill_up(&mut self, cx: &mut Context<'_>, total: usize) -> Result<bool, Ended> {
        let Some(client) = self.client.as_mut().filter(|_| !self.dry.client) else { return Ok(false) };
        match self.up.poll_fill(cx, client, total, &self.worker.resources.pool) {
            Poll::Pending => {
                self.dry.client = true;
                Ok(false)
            }
            Poll::Ready(Err(_)) => Err(Ended::at_once(ClosedReason::Client)),
            Poll::Ready(Ok(0)) => {
                self.client_ended = true;
                self.moves += 1;
                Ok(true)
            }
            Poll::Ready(Ok(n)) => {
                self.reads_left = self.reads_left.saturating_sub(1);
                self.asked_at = self.worker.resources.clock.now();
                self.arrived(self.asked_at);
                self.guard.totals.bytes_from_client += n as u64;
                self.count_bytes(Direction::FromClient, n as u64);
                self.frame.received(n, self.asked_at);
                Ok(true)
            }
        }
    }

    /// The gate's own replies, where it is their turn. Says whether there were any.
    #[inline]
    pub(super) fn write_local_replies(&mut self) -> bool {
        self.session.has_local_reply() && self.write_due_replies()
    }

    fn write_due_replies(&mut self) -> bool {
        let up_to = if self.session.is_pooled() { self.output_buffer() } else { MAX_RENDERED };
        let has_room = self.down.waiting() < up_to;
        let spoke = has_room && self.down.insert(|out| self.session.write_local_replies(out, up_to)) > 0;
        self.moves += u32::from(spoke);
        spoke
    }
}
