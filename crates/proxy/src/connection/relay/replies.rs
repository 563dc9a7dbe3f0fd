//! The direction from the upstream to the client.

use std::fmt::Display;
use std::task::{Context, Poll};

use portcullis_config::tls::TlsFault;
use portcullis_session::{Delivery, Incoming, PushKind, Unavailable};

use super::lane::Reply;
use super::turn::Read;
use super::{Ended, Relay, RelayHost, Stage, outage, samples};
use crate::metrics::{ClosedReason, Direction, UpstreamErrorKind};
use crate::upstream::shared::{Delivered, SharedClient};

/// The result of judging the bytes that came from the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    /// Everything that is complete was judged.
    All,
    /// The rest has to wait until the client has taken the bytes that were written for it.
    HeldUp,
}

/// The result of writing to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushed {
    /// Everything was written.
    All,
    /// The client accepts no more bytes now.
    Part,
}

impl Relay {
    /// Reads, judges and writes replies until one of these has to wait. An error is the end of the session.
    pub(super) fn replies(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let judged = self.judge_replies();
            let flushed = self.flush_replies(cx)?;
            if flushed == Flushed::Part && !self.reads_on() {
                return Ok(());
            }
            if let Stage::Closing(reason) = self.stage {
                return Err(Ended::of(reason, &self.guard.entry));
            }
            if flushed == Flushed::All && judged == Judged::HeldUp {
                continue;
            }
            if self.fill_replies(cx) == Read::Nothing {
                return Ok(());
            }
        }
    }

    /// Judges the bytes that came on the client's own upstream connection.
    fn judge_replies(&mut self) -> Judged {
        self.write_local_replies();
        while !self.stage.is_closing() && (!self.replies.is_congested() || self.reads_on()) {
            if !self.lanes.own.is_open() {
                break;
            }
            match self.lanes.own.next(self.replies.unread()) {
                Incoming::Part(part) => {
                    let now = self.clocks.answered_at();
                    let (stream, link) = (self.client.stream(), self.lanes.own.link());
                    let mut host = RelayHost::of(&self.worker, &self.target, &mut self.guard, stream, link);
                    let action = self.session.reply(&part, now, &mut host);
                    let (len, streams) = (part.bytes.len(), part.ended == 0);
                    if self.worker.watch.samples() && (streams || !part.first) {
                        samples::received(&self.worker, &self.guard.entry, part.ticket.seq, len, !streams);
                    }
                    match self.deliver(action, Reply::Own(len)) {
                        Delivered::Taken | Delivered::HeldUp => {}
                        Delivered::Gone => break,
                        Delivered::Desync => {
                            self.distrust(&"reply out of order", None);
                            break;
                        }
                    }
                    if streams && let Some(pooling) = self.session.pooling_mut() {
                        pooling.keep_lease(now);
                    }
                }
                Incoming::Push { kind, bytes, ended } => {
                    let len = bytes.len();
                    match self.session.push(kind, bytes, ended) {
                        Delivery::Pass => self.replies.pass(len),
                        Delivery::Withhold => {
                            // A withheld message is one of a channel that the client may not read.
                            if ended && kind == PushKind::Other {
                                self.target.counts.push_dropped();
                            }
                            self.replies.skip(len);
                        }
                    }
                }
                Incoming::Need(_) => break,
                Incoming::Fault(fault) => {
                    let why = self.lanes.own.meaning_of(fault, self.replies.unread());
                    self.distrust(&fault, why);
                    break;
                }
            }
            self.turn.moved();
            self.write_local_replies();
        }
        if self.replies.is_congested() || self.session.has_local_reply() {
            Judged::HeldUp
        } else {
            Judged::All
        }
    }

    /// Returns whether the upstream is read although the client does not read its replies.
    fn reads_on(&self) -> bool {
        self.lanes.read_on(&self.session, &self.replies, || self.guard.entry.listener.output_buffer())
    }

    /// Gives up the upstream, and discards all bytes from it that were not passed on. `why` is the reason why the
    /// upstream is unavailable, which the client gets as an error. With `None`, the fault is logged and counted as
    /// the upstream's.
    fn distrust(&mut self, fault: &dyn Display, why: Option<Unavailable>) {
        if why.is_none() {
            self.target.counts.error(UpstreamErrorKind::Protocol);
            let fault = fault.to_string();
            tracing::warn!(
                upstream = %self.target.upstream.name(),
                id = self.guard.entry.id,
                fault,
                "upstream connection closed: its replies cannot be trusted"
            );
        }
        let unread = self.replies.unread().len();
        self.replies.skip(unread);
        match why {
            Some(_) => self.lose_upstream(why),
            None => {
                self.turn.moved();
                outage::end(self, None);
            }
        }
    }

    /// Writes the bytes that wait for the client.
    fn flush_replies(&mut self, cx: &mut Context<'_>) -> Result<Flushed, Ended> {
        let mut written = 0;
        let flushed = self.client.poll_flush(cx, &mut self.replies, &mut self.guard, &mut written);
        if written > 0 {
            self.turn.moved();
        }
        if self.lanes.are_shared() && !self.is_full() {
            self.lanes.pooled.iter_mut().for_each(|pooled| pooled.drained());
        }
        match flushed {
            Poll::Ready(Ok(())) => Ok(Flushed::All),
            Poll::Ready(Err(_)) => Err(Ended::at_once(ClosedReason::Client)),
            Poll::Pending => Ok(Flushed::Part),
        }
    }

    /// Reads once from the client's own upstream connection.
    fn fill_replies(&mut self, cx: &mut Context<'_>) -> Read {
        let own = &mut self.lanes.own;
        if !self.turn.upstream_may_be_readable() || !own.is_open() || !self.turn.may_read(cx) {
            return Read::Nothing;
        }
        match own.poll_fill(cx, &mut self.replies, &self.worker.resources.pool) {
            Poll::Pending => {
                // A cluster's lane answers some commands itself, as soon as it gets them: no event tells of that.
                if own.many().is_none() {
                    self.turn.upstream_is_dry();
                }
                Read::Nothing
            }
            Poll::Ready(Ok(n @ 1..)) => {
                self.turn.has_read();
                let now = self.worker.resources.clock.now();
                self.clocks.answered(now);
                self.guard.arrived(now, self.replies.is_pending());
                self.guard.count_bytes(Direction::FromUpstream, n as u64);
                Read::Progress
            }
            Poll::Ready(ended) => {
                let fault = ended.as_ref().err().and_then(TlsFault::behind);
                let silent = !own.link().answered() && self.session.has_pending();
                let wants_tls = fault.is_some() || (own.is_plain() && self.target.wants_tls());
                if let Some(fault) = fault {
                    tracing::debug!(upstream = %self.target.upstream.name(), %fault, "TLS with the upstream failed");
                }
                let why = own.many().and_then(|many| many.why_ended());
                self.lose_upstream(why.or_else(|| silent.then_some(Unavailable::of_silence(wants_tls))));
                Read::Nothing
            }
        }
    }
}
