//! The replies of the legs: which bytes the client gets, and what they change.

use portcullis_resp::reply;
use portcullis_resp::scan::{Reply, ReplyHead};

use super::leg::{LegIndex, LegState};
use super::order::Origin;
use super::{Ended, Front, Kind, Leg, Router, Turn};
use crate::cluster::Redirect;
use crate::link::{Greeting, MAX_WHOLE_ERROR, MAX_WHOLE_REPLY, PoolKey, Stage, Unavailable};
use crate::tick::Tick;

/// The decision on the first bytes that were read from a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The client gets this number of bytes.
    Pass(usize),
    /// This number of bytes is dropped.
    Skip(usize),
    /// More bytes are needed: this many at least.
    Need(usize),
    /// The session is over: [`Router::ended`].
    Over,
}

/// Methods for the bytes of the legs.
impl Router {
    /// Judges the first bytes of what was read from a leg. It must be the leg whose [`Router::turn`] it is, or one of
    /// [`Router::setting_up`] or [`Router::listening`].
    pub fn receive(&mut self, index: LegIndex, buf: &[u8], now: Tick) -> Received {
        if buf.is_empty() {
            return Received::Need(1);
        }
        match self.legs.get(index).map(|leg| &leg.state) {
            Some(LegState::SettingUp { .. }) => self.receive_setup(index, buf, now),
            Some(LegState::Open) if self.legs.get(index).is_some_and(|leg| leg.listens) => {
                self.hear(index, buf, now)
            }
            Some(LegState::Open) if self.turn() == Turn::Leg(index) => self.receive_reply(index, buf, now),
            // The bytes of a leg that owes nothing are read before its next reply.
            Some(LegState::Open) => Received::Need(buf.len() + 1),
            Some(LegState::Closed { .. } | LegState::Broken(_)) | None => Received::Skip(buf.len()),
        }
    }

    fn receive_reply(&mut self, index: LegIndex, buf: &[u8], now: Tick) -> Received {
        let (kind, most) = self.front_kind();
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        if let Some(head) = self.waits.passing {
            return match kind {
                Kind::Part => self.pass_part(index, head, buf, now),
                Kind::Scan => self.drop_scanned(index, head, buf, now),
                _ => self.pass_on(index, kind, head, buf, now),
            };
        }
        let is_dropped = leg.drops_next() || buf.first() == Some(&b'>');
        if kind == Kind::Part && !is_dropped {
            return self.receive_part(index, buf, now);
        }
        if kind == Kind::Scan && !is_dropped {
            return self.receive_scan(index, buf, now);
        }
        match leg.scan.next(buf) {
            Ok(Reply::Need { at_least }) => Received::Need(at_least),
            Ok(Reply::Whole { len, head }) if is_dropped => {
                if head.kind != b'>' {
                    leg.dropped();
                }
                Received::Skip(len)
            }
            Ok(Reply::Head { .. })
                if (is_dropped || kind == Kind::SpoiltExec) && buf.len() < MAX_WHOLE_REPLY =>
            {
                Received::Need(buf.len() + 1)
            }
            Ok(Reply::Whole { len, head }) if head.kind == b'-' => {
                self.receive_error(index, kind, buf, len, now)
            }
            Ok(Reply::Whole { len, .. }) if kind == Kind::SpoiltExec => {
                self.replace(index, reply::EXECABORT);
                Received::Skip(len)
            }
            Ok(Reply::Whole { len, head }) => {
                let more =
                    if kind == Kind::Plain { more_replies(leg, &buf[len..], most - 1) } else { (0, 0) };
                self.settle(index, kind, more.0 + 1, head, now);
                Received::Pass(len + more.1)
            }
            Ok(Reply::Head { head, .. }) if head.kind == b'-' && buf.len() < MAX_WHOLE_ERROR => {
                Received::Need(buf.len() + 1)
            }
            Ok(Reply::Head { .. }) if is_dropped => self.distrust(),
            Ok(Reply::Head { head, .. }) => self.pass_on(index, kind, head, buf, now),
            Err(_) => self.distrust(),
        }
    }

    /// Passes a part of a long reply on.
    fn pass_on(&mut self, index: LegIndex, kind: Kind, head: ReplyHead, buf: &[u8], now: Tick) -> Received {
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        let Ok(streamed) = leg.scan.stream(buf) else { return self.distrust() };
        self.waits.passing = (!streamed.done).then_some(head);
        self.front_since = now;
        if streamed.done {
            self.settle(index, kind, 1, head, now);
        } else if streamed.len == 0 {
            return Received::Need(buf.len() + 1);
        }
        Received::Pass(streamed.len)
    }

    /// Returns the effect of the reply to the front, and the number of plain replies that come from the same leg.
    fn front_kind(&self) -> (Kind, u64) {
        match (&self.front, self.order.front()) {
            (Front::Again(again), _) => (again.kind, 1),
            (_, Some((Origin::Apart, _))) => (self.apart.front().map_or(Kind::Plain, |apart| apart.kind), 1),
            (_, Some((_, n))) => (Kind::Plain, self.in_a_row(n)),
            (_, None) => (Kind::Plain, 1),
        }
    }

    /// Records `n` replies of a leg that the client gets.
    fn settle(&mut self, index: LegIndex, kind: Kind, n: u64, head: ReplyHead, now: Tick) {
        self.took_effect(index, kind, head);
        if let Some(leg) = self.legs.get_mut(index) {
            leg.settle(n);
        }
        if n > 1 {
            self.pop_order(n - 1);
        }
        self.finish_front(now);
    }

    /// Applies the effect of a reply that the client gets.
    pub(super) fn took_effect(&mut self, index: LegIndex, kind: Kind, head: ReplyHead) {
        let is_error = head.kind == b'-';
        match kind {
            Kind::Login => self.logged_in(is_error),
            Kind::Watch if !is_error => self.transaction.watched(index),
            Kind::Opening => self.transaction.opened(index),
            _ => {}
        }
        if self.legs.get(index).is_some_and(|leg| leg.is_left) {
            self.transaction.leave(index);
        }
    }

    /// Gives up a node that breaks the protocol. Nothing that it says can be trusted, so the session ends.
    pub(super) fn distrust(&mut self) -> Received {
        self.end(Ended::Protocol);
        Received::Over
    }

    /// Judges an error in place of the front's reply. The first `len` bytes of `buf` are the error.
    pub(super) fn receive_error(
        &mut self,
        index: LegIndex,
        kind: Kind,
        buf: &[u8],
        len: usize,
        now: Tick,
    ) -> Received {
        let line = &buf[..len];
        const BY_FAILOVER: &[u8] =
            b"-UNBLOCKED force unblock from blocking operation, instance state changed";
        let host = self.legs.get(index).map_or("", |leg| &*leg.host);
        let redirect = Redirect::read(line, host);
        self.hints.count(redirect.as_ref());
        let is_refused_read = self.is_refused_read(index, line);
        if is_refused_read
            || [&b"-LOADING"[..], b"-MASTERDOWN", b"-CLUSTERDOWN", b"-READONLY"]
                .iter()
                .any(|error| line.starts_with(error))
        {
            self.hints.cluster_down = true;
        }
        if matches!(redirect, Some(Redirect::Moved(..))) {
            let sent = self.send_ahead(index, kind, buf, now);
            if sent > 0 {
                return Received::Skip(sent);
            }
        }
        if is_refused_read {
            self.read_at_master(index, kind, now);
            return Received::Skip(len);
        }
        let is_used_up = match redirect {
            Some(Redirect::ClusterDown) => false,
            Some(redirect) => self.redirected(index, kind, redirect, now),
            None if kind == Kind::Blocking && line.starts_with(BY_FAILOVER) => self.unblocked(index, now),
            None => false,
        };
        if is_used_up {
            return Received::Skip(line.len());
        }
        if kind == Kind::Part {
            self.part_failed(index, line, now);
            return Received::Skip(line.len());
        }
        let head = ReplyHead { kind: b'-', count: 0 };
        self.settle(index, kind, 1, head, now);
        Received::Pass(line.len())
    }

    /// Judges a reply to the set-up of a leg.
    fn receive_setup(&mut self, index: LegIndex, buf: &[u8], now: Tick) -> Received {
        let resp3 = self.identity.resp3();
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        let len = match leg.scan.next(buf) {
            Ok(Reply::Whole { len, .. }) => len,
            Ok(Reply::Need { at_least }) if at_least <= MAX_WHOLE_REPLY => return Received::Need(at_least),
            Ok(Reply::Head { .. }) if buf.len() < MAX_WHOLE_REPLY => return Received::Need(buf.len() + 1),
            _ => {
                self.unreachable(index, Unavailable::Connect, now);
                return Received::Skip(buf.len());
            }
        };
        let LegState::SettingUp { left, .. } = &mut leg.state else { return Received::Skip(len) };
        let reply = &buf[..len];
        if let Some(why) = left.pop_front().and_then(|stage| refusal(stage, reply, resp3)) {
            self.unreachable(index, why, now);
            return Received::Skip(buf.len());
        }
        if left.is_empty() && leg.setup.is_empty() {
            leg.state = LegState::Open;
            self.opened(index, now);
        }
        Received::Skip(len)
    }
}

/// Methods for the replies that no leg gives.
impl Router {
    /// Writes the reply to the front, which is one of the router's own or belongs to a broken leg.
    pub(super) fn take_ordered(&mut self, out: &mut Vec<u8>) {
        let leg = match self.order.front() {
            Some((Origin::Own, _)) => {
                if let Some(reply) = self.own.front() {
                    out.extend_from_slice(reply);
                }
                return;
            }
            Some((Origin::Leg(leg), _)) => Some(self.ahead_of(leg)),
            _ => self.apart.front().map(|apart| apart.leg),
        };
        let line = self.loss_line(leg);
        out.extend_from_slice(&line);
        if let Some(leg) = leg.and_then(|leg| self.legs.get_mut(leg)) {
            leg.settle(1);
        }
    }
}

/// Returns the reason why a leg cannot be used after this reply to a step of its set-up. `None`: it can.
fn refusal(stage: Stage, reply: &[u8], resp3: bool) -> Option<Unavailable> {
    let is_error = reply.first() == Some(&b'-');
    match stage {
        _ if stage.is_optional() => None,
        Stage::Hello => {
            let key = PoolKey { resp3, ..PoolKey::default() };
            (Greeting::of(reply, &key) != Greeting::Welcome).then(|| Unavailable::of_login(reply))
        }
        _ => is_error.then(|| Unavailable::of_login(reply)),
    }
}

/// Returns the number of whole replies that follow, at most `most`, and their length. An error ends them, because it
/// may be a redirect.
pub(super) fn more_replies(leg: &mut Leg, buf: &[u8], most: u64) -> (u64, usize) {
    let (mut n, mut len) = (0, 0);
    while n < most && !leg.drops_before(n + 1) {
        let rest = &buf[len..];
        if matches!(rest.first(), None | Some(b'-' | b'>')) {
            break;
        }
        match leg.scan.next(rest) {
            Ok(Reply::Whole { len: this, head }) => {
                n += 1;
                len += this;
                if head.kind == b'$' && !leg.has_drops() {
                    let (more, bytes) = leg.scan.bulk_strings(&buf[len..], most - n);
                    n += more;
                    len += bytes;
                }
            }
            // The scanner goes on from here in the next call.
            Ok(_) | Err(_) => break,
        }
    }
    (n, len)
}
