//! The distinction between replies and pushes of the upstream.

use portcullis_resp::scan::{
    FirstElement, MessageChannel, Reply, Streamed, first_element, message_channel, second_element,
};

use super::{InProgress, Incoming, Link, LinkFault, MAX_WHOLE_REPLY};
use crate::shape::{Shape, Verb};

/// The kind of a message that no command requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushKind {
    /// A published message, of a channel, a pattern or a shard channel.
    Message,
    /// A line of MONITOR.
    Monitor,
    /// The reply of a script that ran in the debugger. The reply to its EVAL was the first output of the debugger.
    Debugger,
    /// Bytes of a replication stream, which is not RESP.
    Raw,
    /// An invalidation of CLIENT TRACKING, as a RESP3 push. Another client can direct it to this connection with
    /// REDIRECT.
    Invalidation,
    /// Any other push, such as an unsubscription by the server.
    Other,
}

impl Link {
    /// Returns whether a frame that starts with this byte may be a push. Other frames are replies.
    pub(super) const fn may_be_push(&self, first: u8) -> bool {
        match first {
            b'>' => true,
            b'*' => !self.resp3 && self.subscriptions().active(),
            b'+' => self.monitor,
            _ => false,
        }
    }

    /// Returns the kind of the push, or `Ok(None)` for a reply. `Err` contains the value that [`Link::next`] must
    /// return.
    pub(super) fn push_kind<'b>(&self, first: u8, buf: &'b [u8]) -> Result<Option<PushKind>, Incoming<'b>> {
        if first == b'+' {
            return match buf.get(1) {
                None => Err(Incoming::Need(2)),
                Some(digit) => Ok(digit.is_ascii_digit().then_some(PushKind::Monitor)),
            };
        }
        if first == b'>' && !self.resp3 {
            return Err(Incoming::Fault(LinkFault::Mismatch));
        }
        let word = match first_element(buf) {
            FirstElement::Need => return Err(Incoming::Need(buf.len() + 1)),
            FirstElement::Text(word) => word,
            FirstElement::Other if first == b'>' => return Ok(Some(PushKind::Other)),
            FirstElement::Other => return Ok(None),
        };
        let kind = match Verb::from_word(word) {
            Some(verb) if self.awaits(verb) => return Ok(None),
            Some(_) => PushKind::Other,
            None if is_message(word) => PushKind::Message,
            None if first == b'>' && word == b"invalidate" => PushKind::Invalidation,
            None if first == b'>' => PushKind::Other,
            None => return Ok(None),
        };
        // In RESP2, an element of EXEC's array may look like a message. It may be a message that the client published
        // to itself, or data in the same form. The two cannot be told apart.
        if first == b'*' && self.elements.is_some() {
            return Err(Incoming::Fault(LinkFault::Mismatch));
        }
        Ok(Some(kind))
    }

    fn awaits(&self, verb: Verb) -> bool {
        if let Some(elements) = &self.elements {
            return elements.queued.verb_at(elements.index) == Some(verb);
        }
        match self.pending.front().map(|front| &front.shape) {
            Some(Shape::Confirm { verb: asked, .. } | Shape::ConfirmAll(asked)) => *asked == verb,
            _ => false,
        }
    }

    pub(super) fn push<'b>(&mut self, buf: &'b [u8], kind: PushKind) -> Incoming<'b> {
        match self.scan.next(buf) {
            Ok(Reply::Whole { len, .. }) => {
                if kind != PushKind::Debugger {
                    self.leave_shard(buf);
                }
                Incoming::Push { kind, ended: true, bytes: &buf[..len] }
            }
            Ok(Reply::Need { at_least }) => Incoming::Need(at_least),
            // The channel decides whether the client gets the message. Without the channel the session decides for the
            // worst case.
            Ok(Reply::Head { .. })
                if kind == PushKind::Message
                    && buf.len() < MAX_WHOLE_REPLY
                    && matches!(message_channel(buf), MessageChannel::Cut(_)) =>
            {
                Incoming::Need(buf.len() + 1)
            }
            Ok(Reply::Head { .. }) => {
                if kind != PushKind::Debugger {
                    self.leave_shard(buf);
                }
                self.resume_push(buf, kind)
            }
            Err(error) => Incoming::Fault(LinkFault::Protocol(error)),
        }
    }

    pub(super) fn resume_push<'b>(&mut self, buf: &'b [u8], kind: PushKind) -> Incoming<'b> {
        match self.scan.stream(buf) {
            Ok(Streamed { len, done }) => {
                self.frame = if done { InProgress::None } else { InProgress::Push(kind) };
                if len == 0 && !done {
                    return Incoming::Need(buf.len() + 1);
                }
                Incoming::Push { kind, ended: done, bytes: &buf[..len] }
            }
            Err(error) => Incoming::Fault(LinkFault::Protocol(error)),
        }
    }

    /// Records an unsubscription by the server. A server that gives a slot away ends the shard subscriptions of the
    /// slot, and sends one push for each.
    fn leave_shard(&mut self, buf: &[u8]) {
        if let FirstElement::Text(word) = first_element(buf)
            && Verb::from_word(word) == Some(Verb::Sunsubscribe)
        {
            self.subscribed.lose_shard(second_element(buf));
        }
    }
}

fn is_message(word: &[u8]) -> bool {
    matches!(word, b"message" | b"pmessage" | b"smessage")
}
