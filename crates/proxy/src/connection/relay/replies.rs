//! From the upstream to the client.

use std::task::{Context, Poll};

use portcullis_config::tls::TlsFault;
use portcullis_session::{Delivery, Incoming, LinkFault, ReplyAction, Unavailable};

use super::{Ended, Relay, RelayHost, Upstream};
use crate::metrics::{ClosedReason, Direction, UpstreamErrorKind};

impl Relay {
    /// Reads, judges and writes on, until one of them has to wait.
    pub(super) fn replies(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let held_up = self.judge_replies();
            let flushed = self.flush_down(cx)?;
            if !flushed && !self.hears_login() {
                return Ok(());
            }
            if let Some(reason) = self.closing {
                return Err(Ended::of(reason, &self.guard.entry));
            }
            if flushed && held_up {
                continue;
            }
            if !self.fill_down(cx) {
                return Ok(());
            }
        }
    }

    /// True: so much waits for the client that the rest has to come after it.
    fn judge_replies(&mut self) -> bool {
        self.write_local_replies();
        while self.closing.is_none() && (!self.down.is_congested() || self.hears_login()) {
            if !matches!(self.upstream, Upstream::Open(_)) {
                break;
            }
            let unread = self.down.unread();
            if unread.is_empty() {
                self.reply_need = 1;
                break;
            }
            match self.link.next(unread) {
                Incoming::Part(part) => {
                    let mut host = RelayHost::of(
                        &self.worker,
                        &self.route,
                        &mut self.guard,
                        self.client.as_ref(),
                        &self.link,
                    );
                    let len = part.bytes.len();
                    let streams = part.ended == 0;
                    match self.session.reply(&part, self.answered_at, &mut host) {
                        ReplyAction::Pass => self.down.pass(len),
                        ReplyAction::Drop => self.down.skip(len),
                        ReplyAction::Replace(bytes) => {
                            self.down.insert(|out| out.extend_from_slice(bytes));
                            self.down.skip(len);
                        }
                        ReplyAction::Rewritten => {
                            self.down.insert(|out| out.extend_from_slice(self.session.rewritten()));
                            self.down.skip(len);
                        }
                        ReplyAction::Lost(why) => {
                            self.down.skip(len);
                            self.lose_upstream(Some(why));
                            break;
                        }
                        ReplyAction::Desync => {
                            self.blame_upstream("reply out of order");
                            self.distrust(None);
                            break;
                        }
                    }
                    if streams {
                        self.session.keep_lease(self.answered_at);
                    }
                    self.moves += 1;
                    self.write_local_replies();
                }
                Incoming::Push { kind, bytes, ended } => {
                    let len = bytes.len();
                    match self.session.push(kind, bytes, ended) {
                        Delivery::Pass => self.down.pass(len),
                        Delivery::Withhold => self.down.skip(len),
                    }
                    self.moves += 1;
                    self.write_local_replies();
                }
                Incoming::Need(total) => {
                    self.reply_need = total;
                    break;
                }
                Incoming::Fault(fault) => {
                    self.fault(fault);
                    break;
                }
            }
        }
        self.down.is_congested() || self.session.has_local_reply()
    }

    /// The stream from upstream is of no use beyond this point.
    fn fault(&mut self, fault: LinkFault) {
        let line = self.down.unread();
        let first_words = !self.link.answered();
        let why = match fault {
            LinkFault::TlsAlert => Some(Unavailable::Tls),
            // Said on accept, before any command was read: "max number of clients", protected mode.
            LinkFault::Unsolicited if first_words => Unavailable::of_greeting(line),
            _ => None,
        };
        if why.is_none() {
            self.blame_upstream(&fault.to_string());
        }
        self.distrust(why);
    }

    /// Not one more byte of what came from upstream is passed on.
    fn distrust(&mut self, why: Option<Unavailable>) {
        let unread = self.down.unread().len();
        self.down.skip(unread);
        self.lose_upstream(why);
    }

    fn blame_upstream(&mut self, fault: &str) {
        self.route.counts.error(UpstreamErrorKind::Protocol);
        tracing::warn!(
            upstream = %self.upstream_name(),
            id = self.guard.entry.id,
            fault,
            "upstream connection closed: its replies cannot be trusted"
        );
    }

    /// False: the client takes no more now.
    fn flush_down(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let Some(client) = &mut self.client else { return Ok(false) };
        let (mut moved, mut pressed) = (0, 0);
        let mut flushed = self.down.poll_flush(cx, client, &mut moved);
        while self.presses && flushed.is_pending() {
            let pushed = self.down.push(client);
            self.presses = pushed.is_some();
            pressed += pushed.unwrap_or(0);
            flushed = self.down.poll_flush(cx, client, &mut moved);
        }
        if moved + pressed > 0 {
            self.guard.totals.bytes_to_client += moved + pressed;
            self.count_bytes(Direction::ToClient, moved + pressed);
        }
        if moved > 0 {
            self.accepted();
        }
        self.drained();
        match flushed {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(Ended::at_once(ClosedReason::Client)),
            Poll::Pending => Ok(false),
        }
    }

    /// False: there is nothing to read now.
    fn fill_down(&mut self, cx: &mut Context<'_>) -> bool {
        if self.dry.upstream || !matches!(self.upstream, Upstream::Open(_)) || !self.may_read(cx) {
            return false;
        }
        let Upstream::Open(upstream) = &mut self.upstream else { return false };
        match self.down.poll_fill(cx, upstream, self.reply_need, &self.worker.resources.pool) {
            Poll::Pending => {
                self.dry.upstream = true;
                false
            }
            Poll::Ready(Ok(n @ 1..)) => {
                self.reads_left = self.reads_left.saturating_sub(1);
                self.answered_at = self.worker.resources.clock.now();
                self.silent_since = self.answered_at;
                self.arrived(self.answered_at);
                self.count_bytes(Direction::FromUpstream, n as u64);
                true
            }
            Poll::Ready(ended) => {
                let fault = ended.as_ref().err().and_then(TlsFault::behind);
                let silent = !self.link.answered() && self.session.has_pending();
                let wants_tls = fault.is_some() || (!upstream.is_tls() && self.route.counts.wants_tls());
                if let Some(fault) = fault {
                    tracing::debug!(upstream = %self.upstream_name(), %fault, "TLS with the upstream failed");
                }
                self.lose_upstream(silent.then_some(Unavailable::of_silence(wants_tls)));
                false
            }
        }
    }
}
