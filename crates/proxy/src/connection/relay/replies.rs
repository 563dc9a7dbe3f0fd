//! From the upstream to the client.

use std::task::{Context, Poll};

use portcullis_config::tls::TlsFault;
use portcullis_session::{Delivery, Incoming, LinkFault, ReplyAction, Unavailable};

use super::{Ended, Relay, RelayHost, Stage};
use crate::metrics::{ClosedReason, Direction, UpstreamErrorKind};
use crate::upstream::shared::SharedClient;

impl Relay {
    /// Reads, judges and writes on, until one of them has to wait.
    pub(super) fn replies(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let held_up = self.judge_replies();
            let flushed = self.flush_replies(cx)?;
            if !flushed && !self.awaits_login() {
                return Ok(());
            }
            if let Stage::Closing(reason) = self.stage {
                return Err(Ended::of(reason, &self.guard.entry));
            }
            if flushed && held_up {
                continue;
            }
            if !self.fill_replies(cx) {
                return Ok(());
            }
        }
    }

    /// Judges what came by the client's own upstream connection. True: so much waits for the client that the rest has to
    /// come after it.
    fn judge_replies(&mut self) -> bool {
        self.write_local_replies();
        while !self.stage.is_closing() && (!self.replies.is_congested() || self.awaits_login()) {
            if !self.lanes.own.is_open() {
                break;
            }
            match self.lanes.own.next(self.replies.unread()) {
                Incoming::Part(part) => {
                    let now = self.clocks.answered_at();
                    let (stream, link) = (self.client.stream(), self.lanes.own.link());
                    let mut host = RelayHost::of(&self.worker, &self.route, &mut self.guard, stream, link);
                    let action = self.session.reply(&part, now, &mut host);
                    let (len, streams) = (part.bytes.len(), part.ended == 0);
                    match action {
                        ReplyAction::Pass => self.replies.pass(len),
                        ReplyAction::Drop => self.replies.skip(len),
                        ReplyAction::Replace(bytes) => {
                            self.replies.insert(|out| out.extend_from_slice(bytes));
                            self.replies.skip(len);
                        }
                        ReplyAction::Rewritten => {
                            self.replies.insert(|out| out.extend_from_slice(self.session.rewritten()));
                            self.replies.skip(len);
                        }
                        ReplyAction::Lost(why) => {
                            self.replies.skip(len);
                            self.lose_upstream(Some(why));
                            break;
                        }
                        ReplyAction::Desync => {
                            self.distrust(Some("reply out of order"), None);
                            break;
                        }
                    }
                    if streams {
                        self.session.keep_lease(now);
                    }
                }
                Incoming::Push { kind, bytes, ended } => {
                    let len = bytes.len();
                    match self.session.push(kind, bytes, ended) {
                        Delivery::Pass => self.replies.pass(len),
                        Delivery::Withhold => self.replies.skip(len),
                    }
                }
                Incoming::Need(_) => break,
                Incoming::Fault(fault) => {
                    self.fault(fault);
                    break;
                }
            }
            self.turn.moved();
            self.write_local_replies();
        }
        self.replies.is_congested() || self.session.has_local_reply()
    }

    /// Whether the upstream is listened to although the client does not read: it answers a login, and in few words.
    fn awaits_login(&self) -> bool {
        self.lanes.pooled.is_some() && self.session.is_logging_in()
    }

    /// The stream from upstream is of no use beyond this point.
    fn fault(&mut self, fault: LinkFault) {
        let first_words = !self.lanes.own.link().answered();
        let why = match fault {
            LinkFault::TlsAlert => Some(Unavailable::Tls),
            // Said on accept, before any command was read: "max number of clients", protected mode.
            LinkFault::Unsolicited if first_words => Unavailable::of_greeting(self.replies.unread()),
            _ => None,
        };
        match why {
            Some(why) => self.distrust(None, Some(why)),
            None => self.distrust(Some(&fault.to_string()), None),
        }
    }

    /// Gives the upstream up, and passes on not one more byte of what came from it. `fault`: what it did wrong. `why`: what
    /// the client is told.
    fn distrust(&mut self, fault: Option<&str>, why: Option<Unavailable>) {
        if let Some(fault) = fault {
            self.route.counts.error(UpstreamErrorKind::Protocol);
            tracing::warn!(
                upstream = %self.route.upstream.name(),
                id = self.guard.entry.id,
                fault,
                "upstream connection closed: its replies cannot be trusted"
            );
        }
        let unread = self.replies.unread().len();
        self.replies.skip(unread);
        self.lose_upstream(why);
    }

    /// Writes to the client. False: it takes no more now.
    fn flush_replies(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut written = 0;
        let flushed = self.client.poll_flush(cx, &mut self.replies, &mut self.guard, &mut written);
        if written > 0 {
            self.turn.moved();
        }
        if self.lanes.pooled.is_some() && !self.is_full() {
            self.lanes.pooled.iter_mut().for_each(|pooled| pooled.drained());
        }
        match flushed {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(Ended::at_once(ClosedReason::Client)),
            Poll::Pending => Ok(false),
        }
    }

    /// Reads from the client's own upstream connection once. False: there is nothing to read now.
    fn fill_replies(&mut self, cx: &mut Context<'_>) -> bool {
        let own = &mut self.lanes.own;
        if !self.turn.upstream_may_be_readable() || !own.is_open() || !self.turn.may_read(cx) {
            return false;
        }
        match own.poll_fill(cx, &mut self.replies, &self.worker.resources.pool) {
            Poll::Pending => {
                self.turn.upstream_is_dry();
                false
            }
            Poll::Ready(Ok(n @ 1..)) => {
                self.turn.has_read();
                let now = self.worker.resources.clock.now();
                self.clocks.answered(now);
                self.guard.arrived(now, self.replies.is_pending());
                self.guard.count_bytes(Direction::FromUpstream, n as u64);
                true
            }
            Poll::Ready(ended) => {
                let fault = ended.as_ref().err().and_then(TlsFault::behind);
                let silent = !own.link().answered() && self.session.has_pending();
                let wants_tls = fault.is_some() || (own.is_plain() && self.route.counts.wants_tls());
                if let Some(fault) = fault {
                    tracing::debug!(upstream = %self.route.upstream.name(), %fault, "TLS with the upstream failed");
                }
                self.lose_upstream(silent.then_some(Unavailable::of_silence(wants_tls)));
                false
            }
        }
    }
}
