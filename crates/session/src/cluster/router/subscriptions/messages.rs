//! What the legs with subscriptions send: messages, confirmations, and the ends of subscriptions.

use portcullis_resp::scan::{
    FirstElement, MessageChannel, Reply, ReplyHead, first_element, message_channel, second_element,
};

use super::super::leg::LegIndex;
use super::super::redirects::{MAX_HOPS, NOT_FOLLOWED};
use super::super::replies::Received;
use super::super::{Ended, Router};
use super::Sent;
use super::commands::Asked;
use super::moves::Way;
use super::shards::Place;
use crate::link::MAX_WHOLE_REPLY;
use crate::shape::Verb;
use crate::tick::Tick;

/// The beginnings of the channels of keyspace notifications. Each node sends its own only.
const NOTIFICATIONS: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

/// The end of a refusal of PING, which is as good as its reply: every reply before it has arrived.
const PING_REFUSED: &[u8] = b" run the 'ping' command";

/// A long message of which a part was read.
#[derive(Debug)]
pub(super) struct Passing {
    pub(super) leg: LegIndex,
    is_dropped: bool,
}

impl Passing {
    /// Returns whether the end of this leg leaves the client with a part of a message.
    pub(super) fn is_cut_by(&self, leg: LegIndex) -> bool {
        self.leg == leg && !self.is_dropped
    }
}

/// What to do with a frame.
enum Heard {
    Pass,
    Skip,
    Over,
}

impl Router {
    /// Judges the first bytes of what was read from a leg with subscriptions.
    pub(in super::super) fn hear(&mut self, index: LegIndex, buf: &[u8], now: Tick) -> Received {
        if !self.listening().any(|leg| leg == index) {
            return Received::Need(buf.len() + 1);
        }
        if self.subscriptions.passing.is_some() {
            return self.pass_message_on(buf);
        }
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        match leg.scan.next(buf) {
            Ok(Reply::Need { at_least }) => Received::Need(at_least),
            Ok(Reply::Whole { len, head }) => match self.heard(index, &buf[..len], head, now) {
                Heard::Pass => Received::Pass(len + self.more_messages(index, &buf[len..])),
                Heard::Skip => Received::Skip(len),
                Heard::Over => Received::Over,
            },
            Ok(Reply::Head { .. }) => self.begin_long(index, buf),
            Err(_) => self.distrust(),
        }
    }

    /// Returns the length of the whole messages that follow and that the client gets.
    fn more_messages(&mut self, index: LegIndex, buf: &[u8]) -> usize {
        let mut len = 0;
        while self.is_wanted(&buf[len..]) == Some(true)
            && let Some(leg) = self.legs.get_mut(index)
            && let Ok(Reply::Whole { len: this, .. }) = leg.scan.next(&buf[len..])
        {
            len += this;
        }
        len
    }

    /// Returns whether the client gets a message. `None`: it is no message, or its channel has not arrived.
    fn is_wanted(&self, buf: &[u8]) -> Option<bool> {
        let FirstElement::Text(word) = first_element(buf) else { return None };
        let MessageChannel::Whole(channel) = message_channel(buf) else { return None };
        Some(match word {
            b"smessage" => self.subscriptions.shards.has(channel),
            _ => !NOTIFICATIONS.iter().any(|beginning| channel.starts_with(beginning)),
        })
    }

    /// Begins a message that is too long to be judged whole.
    fn begin_long(&mut self, index: LegIndex, buf: &[u8]) -> Received {
        let is_message =
            matches!(first_element(buf), FirstElement::Text(b"message" | b"pmessage" | b"smessage"));
        let is_dropped = match (self.is_wanted(buf), message_channel(buf)) {
            (Some(wanted), _) => !wanted,
            (None, _) if buf.len() < MAX_WHOLE_REPLY => return Received::Need(buf.len() + 1),
            // No shard channel has such a long name.
            (None, MessageChannel::Cut(beginning)) if is_message => {
                matches!(first_element(buf), FirstElement::Text(b"smessage"))
                    || NOTIFICATIONS.iter().any(|name| beginning.starts_with(name))
            }
            (None, _) => return self.distrust(),
        };
        self.subscriptions.passing = Some(Passing { leg: index, is_dropped });
        self.pass_message_on(buf)
    }

    fn pass_message_on(&mut self, buf: &[u8]) -> Received {
        let Some(passing) = &self.subscriptions.passing else { return Received::Over };
        let is_dropped = passing.is_dropped;
        let Some(leg) = self.legs.get_mut(passing.leg) else { return Received::Over };
        let Ok(streamed) = leg.scan.stream(buf) else { return self.distrust() };
        if streamed.done {
            self.subscriptions.passing = None;
        } else if streamed.len == 0 {
            return Received::Need(buf.len() + 1);
        }
        if is_dropped { Received::Skip(streamed.len) } else { Received::Pass(streamed.len) }
    }

    /// Judges a whole frame.
    fn heard(&mut self, index: LegIndex, frame: &[u8], head: ReplyHead, now: Tick) -> Heard {
        let word = match (head.kind, first_element(frame)) {
            (b'-', _) => return self.heard_error(index, frame, now),
            (b'+', _) if frame == b"+PONG\r\n" => return self.heard_pong(index),
            (b'*' | b'>', FirstElement::Text(word)) => word,
            (b'>', _) => return Heard::Skip,
            _ => return self.distrust_heard(),
        };
        match (self.is_wanted(frame), Verb::from_word(word)) {
            (Some(true), _) => Heard::Pass,
            (Some(false), _) => Heard::Skip,
            (None, Some(verb)) => self.heard_confirmation(index, verb, frame),
            (None, None) if word == b"pong" => self.heard_pong(index),
            (None, None) if head.kind == b'>' => Heard::Skip,
            (None, None) => self.distrust_heard(),
        }
    }

    fn distrust_heard(&mut self) -> Heard {
        self.end(Ended::Protocol);
        Heard::Over
    }

    /// Records that every reply to a command on shard channels has arrived.
    fn heard_pong(&mut self, index: LegIndex) -> Heard {
        let commands = self.subscriptions.legs.get_mut(&index);
        let sent = commands.and_then(|commands| commands.sent.take());
        let is_answered = match sent {
            Some(Sent::Shards) => {
                !matches!(&self.subscriptions.asked, Some(Asked::Shards(asked)) if asked.leg == Some(index))
            }
            Some(Sent::Again(slot)) => {
                let place = self.subscriptions.shards.place(slot);
                !matches!(place, Some(Place::Asking(leg, _)) if leg == index)
            }
            Some(Sent::End(_)) => true,
            Some(Sent::Hub) | None => false,
        };
        if !is_answered {
            return self.distrust_heard();
        }
        self.free_leg(index);
        Heard::Skip
    }

    /// Records that no command is pending on a leg, so that others can be sent there.
    fn free_leg(&mut self, index: LegIndex) {
        if let Some(commands) = self.subscriptions.legs.get_mut(&index) {
            commands.sent = None;
            if commands.is_free() {
                self.subscriptions.legs.remove(&index);
            }
        }
    }

    fn heard_confirmation(&mut self, index: LegIndex, verb: Verb, frame: &[u8]) -> Heard {
        let name = second_element(frame);
        if self.confirmed_by_hub(index, verb) {
            return Heard::Pass;
        }
        let commands = self.subscriptions.legs.get(&index);
        match (commands.and_then(|commands| commands.sent.as_ref()), verb, name) {
            (Some(Sent::Shards), Verb::Ssubscribe, Some(name)) => self.confirmed_shard(index, name),
            (Some(Sent::Again(slot)), Verb::Ssubscribe, Some(name)) => {
                let slot = *slot;
                self.confirmed_again(index, slot, name);
                Heard::Skip
            }
            (Some(Sent::End(names)), Verb::Sunsubscribe, Some(name))
                if names.iter().any(|ended| **ended == *name) =>
            {
                Heard::Skip
            }
            (_, Verb::Sunsubscribe, Some(name)) => {
                self.hints.cluster_down |= self.subscriptions.shards.end(name, index);
                Heard::Skip
            }
            _ => self.distrust_heard(),
        }
    }

    /// Records a confirmation of the hub. Returns whether the client has asked for it.
    fn confirmed_by_hub(&mut self, index: LegIndex, verb: Verb) -> bool {
        let count = self.legs.get(index).and_then(|leg| u64::try_from(leg.scan.last_integer()?).ok());
        let subscriptions = &mut self.subscriptions;
        let Some(Asked::Hub { verb: asked, left, leg }) = &mut subscriptions.asked else { return false };
        if *leg != index || *asked != verb {
            return false;
        }
        subscriptions.hub.counts.confirm(verb, count.unwrap_or(0));
        *left = left.saturating_sub(1);
        if *left == 0 {
            subscriptions.asked = None;
            self.free_leg(index);
        }
        true
    }

    /// Records the confirmation of a shard channel that the client has asked for.
    fn confirmed_shard(&mut self, index: LegIndex, name: &[u8]) -> Heard {
        let subscriptions = &mut self.subscriptions;
        let Some(Asked::Shards(asked)) = &mut subscriptions.asked else { return self.distrust_heard() };
        if asked.leg != Some(index) || asked.names.get(asked.confirmed).is_none_or(|next| **next != *name) {
            return self.distrust_heard();
        }
        asked.confirmed += 1;
        if asked.confirmed == asked.names.len() {
            subscriptions.asked = None;
        }
        subscriptions.shards.add(name, index);
        self.confirm_shard(Verb::Ssubscribe, Some(name));
        Heard::Skip
    }

    /// Records the confirmation of a shard channel whose slot has moved.
    fn confirmed_again(&mut self, index: LegIndex, slot: u16, name: &[u8]) {
        let subscriptions = &mut self.subscriptions;
        if let Some(Place::Asking(leg, _)) = subscriptions.shards.place(slot)
            && leg == index
        {
            subscriptions.shards.set_place(slot, Place::At(leg));
        }
        if !subscriptions.shards.has(name) {
            // The client has ended the subscription meanwhile.
            subscriptions.legs.entry(index).or_default().ending.push(name.into());
        }
    }

    fn heard_error(&mut self, index: LegIndex, line: &[u8], now: Tick) -> Heard {
        if line.starts_with(b"-NOPERM") && line.windows(PING_REFUSED.len()).any(|text| text == PING_REFUSED) {
            return self.heard_pong(index);
        }
        let commands = self.subscriptions.legs.get(&index);
        match commands.and_then(|commands| commands.sent.as_ref()) {
            // The client may not use the channel.
            Some(Sent::Hub) => {
                self.subscriptions.asked = None;
                self.free_leg(index);
                Heard::Pass
            }
            Some(Sent::Shards) => self.asked_failed(index, line, now),
            Some(Sent::Again(slot)) => {
                let slot = *slot;
                self.again_failed(index, slot, line, now);
                Heard::Skip
            }
            // The slot has moved, so the subscription has ended.
            Some(Sent::End(_)) => Heard::Skip,
            None => self.distrust_heard(),
        }
    }

    /// Handles an error in reply to the client's SSUBSCRIBE.
    fn asked_failed(&mut self, index: LegIndex, line: &[u8], now: Tick) -> Heard {
        let slot = match &self.subscriptions.asked {
            Some(Asked::Shards(asked)) if asked.leg == Some(index) => asked.slot,
            _ => return self.distrust_heard(),
        };
        let is_redirect = line.starts_with(b"-MOVED");
        let way = self.redirect_of(index, slot, line);
        let Some(Asked::Shards(asked)) = &mut self.subscriptions.asked else { return Heard::Over };
        match way {
            Way::To(_) | Way::Wait if is_redirect && asked.hops < MAX_HOPS => {
                asked.leg = None;
                asked.hops += 1;
                asked.to = None;
                asked.postpone(now);
                if let Way::To(node) = way {
                    (asked.to, asked.retry_at) = (Some(node), now);
                }
                Heard::Skip
            }
            _ if line.starts_with(b"-MOVED") || line.starts_with(b"-ASK") => {
                self.subscriptions.asked = None;
                self.subscriptions.out.extend_from_slice(NOT_FOLLOWED);
                Heard::Skip
            }
            _ => {
                self.subscriptions.asked = None;
                Heard::Pass
            }
        }
    }
}
