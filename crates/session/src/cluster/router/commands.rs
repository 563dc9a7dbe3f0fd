//! The commands of the client: how they are divided, what holds them back, and where they go.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_resp::command::{CommandId, id, lookup};
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::reply;
use portcullis_resp::scan::{Request, RequestScanner, Span, arguments};
use portcullis_resp::slot::slot;

use super::class::{Class, Refusal};
use super::command::{Command, exact_id, learned, may_block};
use super::destination::Placed;
use super::joins::Sum;
use super::kept::MAX_FRAME;
use super::leg::LegIndex;
use super::order::Origin;
use super::{Apart, Ended, Front, Kind, MAX_OUT_OF_TURN, Router, SILENCE};
use crate::cluster::{CommandSlot, NodeIndex, ServerFacts};
use crate::local::client_info::not_while_subscribed;
use crate::tick::Tick;

/// The limits of the scanner. The session has applied those of the configuration.
const LIMITS: RequestLimits = RequestLimits {
    bulk: u64::MAX / 2,
    arguments: u64::MAX / 2,
    inline: 0,
    inline_commands: false,
    authenticated: true,
};

/// The bytes of the client that are not sent yet, and the state of a frame whose beginning was sent.
#[derive(Debug)]
pub(super) struct Incoming {
    scan: RequestScanner,
    /// A frame that is incomplete or waits.
    partial: Vec<u8>,
    rest: Rest,
    /// The end of what has arrived of the rest of a frame: a header that is cut.
    tail: Vec<u8>,
    /// The longest part of a frame that is held to find its first key.
    most_held: usize,
}

/// The destination of the rest of a frame whose beginning was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// No frame has begun.
    None,
    Sent(LegIndex),
    Discarded,
}

/// The outcome of judging one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// The command was sent or answered.
    Taken,
    /// The command must wait.
    Later,
}

impl Incoming {
    pub(super) const fn new(most_held: usize) -> Self {
        let scan = RequestScanner::new(LIMITS);
        Self { scan, partial: Vec::new(), rest: Rest::None, tail: Vec::new(), most_held }
    }

    /// Discards the rest of a frame whose leg was lost.
    pub(super) fn leg_lost(&mut self, leg: LegIndex) {
        if self.rest == Rest::Sent(leg) {
            self.rest = Rest::Discarded;
        }
    }

    /// Returns the leg that gets the rest of a frame.
    pub(super) const fn streams_to(&self) -> Option<LegIndex> {
        match self.rest {
            Rest::Sent(leg) => Some(leg),
            Rest::None | Rest::Discarded => None,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.partial.capacity() + self.tail.capacity()
    }
}

/// Methods for the client's bytes.
impl Router {
    /// Takes judged commands. Returns the number of bytes that were taken; the others must be passed again, when
    /// something has changed. `reads` says whether the client accepts what is written to it.
    pub fn send(&mut self, buf: &[u8], now: Tick, reads: bool) -> usize {
        let mut taken = 0;
        while !self.holds(now, reads) {
            if self.joins.is_sending() || self.scan.is_some() {
                if !self.go_on_scanning(now) || !self.send_parts(now) {
                    break;
                }
                continue;
            }
            if self.incoming.rest != Rest::None {
                if taken == buf.len() {
                    break;
                }
                taken += self.go_on_with_frame(&buf[taken..]);
                continue;
            }
            if !self.incoming.partial.is_empty() {
                let Some(more) = self.complete(&buf[taken..], now) else { break };
                taken += more;
                continue;
            }
            let rest = &buf[taken..];
            if rest.is_empty() {
                break;
            }
            match self.incoming.scan.next(rest) {
                Ok(Request::Command { len, name, arguments }) => {
                    if self.command(&rest[..len], name, arguments, now) == Judged::Later {
                        break;
                    }
                    taken += len;
                }
                Ok(Request::Empty { len } | Request::Inline { len }) => taken += len,
                Ok(Request::Need { .. } | Request::Head { .. }) => {
                    self.incoming.partial = rest.to_vec();
                    taken = buf.len();
                    if self.complete(&[], now).is_none() {
                        break;
                    }
                }
                Err(_) => {
                    self.ended.get_or_insert(Ended::Protocol);
                }
            }
        }
        self.subscriptions.note_unjudged(taken < buf.len() || self.has_held());
        taken
    }

    /// Returns whether a command waits, so that [`Router::send`] must be called again although no bytes have come.
    pub const fn has_held(&self) -> bool {
        !self.incoming.partial.is_empty() || self.joins.is_sending() || self.scan.is_some()
    }

    /// Returns whether commands of the client wait to be judged.
    pub const fn has_unjudged(&self) -> bool {
        self.subscriptions.have_unjudged()
    }

    /// Returns whether no command may be judged now.
    fn holds(&mut self, now: Tick, reads: bool) -> bool {
        if self.waits.for_all && self.order.is_empty() {
            self.waits.for_all = false;
        }
        let front_waits = matches!(&self.front, Front::Again(again) if again.holds());
        let must_wait = self.waits.for_all || front_waits || self.subscriptions.hold();
        if self.ended.is_some() || must_wait || self.legs.is_congested() {
            return true;
        }
        if !reads {
            return false;
        }
        self.maps.impatient_at().is_some_and(|at| at <= now)
            || (self.order.len() >= MAX_OUT_OF_TURN && self.front_since.after(SILENCE) <= now)
    }

    /// Continues a frame whose beginning was consumed. Returns the number of bytes that were taken.
    fn go_on_with_frame(&mut self, buf: &[u8]) -> usize {
        let tail = std::mem::take(&mut self.incoming.tail);
        let joined;
        let bytes = if tail.is_empty() {
            buf
        } else {
            joined = [&tail, buf].concat();
            &joined
        };
        let Ok(streamed) = self.incoming.scan.stream(bytes) else {
            self.ended.get_or_insert(Ended::Protocol);
            return buf.len();
        };
        let (now, later) = bytes.split_at(streamed.len);
        if let Rest::Sent(leg) = self.incoming.rest
            && let Some(leg) = self.legs.get_mut(leg)
        {
            leg.add(now);
        }
        if streamed.done {
            self.incoming.rest = Rest::None;
            return streamed.len.saturating_sub(tail.len());
        }
        self.incoming.tail = later.to_vec();
        buf.len()
    }

    /// Adds bytes to the incomplete frame, and judges it if it is complete. Returns the number of bytes that were
    /// taken. `None`: more bytes are needed, or the command must wait.
    fn complete(&mut self, buf: &[u8], now: Tick) -> Option<usize> {
        let mut partial = std::mem::take(&mut self.incoming.partial);
        let mut added = 0;
        loop {
            match self.incoming.scan.next(&partial) {
                Ok(Request::Command { len, name, arguments }) => {
                    // The bytes after the frame are still in `buf`.
                    added -= (partial.len() - len).min(added);
                    partial.truncate(len);
                    if self.command(&partial, name, arguments, now) == Judged::Later {
                        self.incoming.partial = partial;
                        return (added > 0).then_some(added);
                    }
                    return Some(added);
                }
                Ok(Request::Head { name, arguments, .. }) if partial.len() >= MAX_FRAME => {
                    let id = lookup(name.of(&partial)).unwrap_or(CommandId::UNKNOWN);
                    let command = Command {
                        id,
                        frame: &partial,
                        arguments,
                        name_at: None,
                        is_whole: false,
                        learned: None,
                    };
                    let exact = exact_id(&command);
                    let server = self.server_for(exact);
                    let learned = server.as_deref().and_then(|server| learned(server, exact, &command));
                    match self.long_command(Command { learned, ..command }, now) {
                        Long::Begun => return Some(added),
                        Long::Later => {
                            self.incoming.partial = partial;
                            return (added > 0).then_some(added);
                        }
                        Long::NeedMore => {}
                    }
                }
                Ok(Request::Need { .. } | Request::Head { .. }) => {}
                Ok(Request::Empty { .. } | Request::Inline { .. }) | Err(_) => {
                    self.ended.get_or_insert(Ended::Protocol);
                    return None;
                }
            }
            if added == buf.len() {
                self.incoming.partial = partial;
                return (added > 0).then_some(added);
            }
            let end = buf.len().min(added + MAX_FRAME);
            partial.extend_from_slice(&buf[added..end]);
            added = end;
        }
    }

    /// Judges the beginning of a long command.
    fn long_command(&mut self, command: Command<'_>, now: Tick) -> Long {
        let class = self.class_of(&command);
        let is_too_long = command.frame.len() >= self.incoming.most_held;
        let may_be_split = Sum::of_split(command.id, command.arguments).is_some();
        if !is_too_long && (self.transaction.is_begun() || may_be_split) {
            return Long::NeedMore;
        }
        let pending = self.order.len();
        let slot = match (class, command.slot()) {
            (Class::Subscription(_), _) if !is_too_long => return Long::NeedMore,
            (Class::Refused(_) | Class::Subscription(_), _) | (_, CommandSlot::Several) => None,
            (Class::Keyed | Class::Script | Class::Any | Class::Publish, CommandSlot::One(slot)) => {
                Some(slot)
            }
            (Class::Any | Class::Publish, _) => None,
            _ if !is_too_long => return Long::NeedMore,
            _ => None,
        };
        let sends_anywhere = matches!(class, Class::Any | Class::Publish);
        let leg = match slot {
            _ if self.transaction.is_begun() || self.only_listens() => None,
            Some(slot) => match self.leg_of_slot(slot, now) {
                Placed::At(leg) => Some(leg),
                Placed::Answered => None,
                Placed::Later => return Long::Later,
            },
            None if sends_anywhere => match self.any_leg(now) {
                Placed::At(leg) => Some(leg),
                Placed::Answered => None,
                Placed::Later => return Long::Later,
            },
            None => None,
        };
        let writes = command.writes();
        let speaks = matches!(class, Class::Script | Class::Publish);
        if leg.is_some_and(|leg| speaks && self.legs.others_owe_write(leg)) {
            return Long::Later;
        }
        if let Some(leg) = leg {
            if command.writes_data() {
                self.written.note(leg, &mut self.legs);
            }
            if let Some(leg) = self.legs.get_mut(leg) {
                leg.begin_stream(writes, now);
            }
            let kind = if class == Class::Script { Kind::Script } else { Kind::Plain };
            self.expect(leg, kind, now);
            self.incoming.rest = Rest::Sent(leg);
        } else {
            self.incoming.rest = Rest::Discarded;
            self.transaction.spoil();
            self.refuse_long(&command, class, pending, now);
        }
        self.go_on_with_frame(command.frame);
        Long::Begun
    }

    /// Answers a long command that is not sent, unless it has its answer already.
    fn refuse_long(&mut self, command: &Command<'_>, class: Class, pending: u64, now: Tick) {
        if self.order.len() > pending {
            return;
        }
        match (class, command.slot()) {
            (Class::Refused(refusal), _) => drop(self.refuse(*command, refusal, now)),
            (class, _) if self.only_listens() && !matches!(class, Class::Subscription(_)) => {
                self.answer(Cow::Owned(not_while_subscribed(command.id)), now);
            }
            (_, CommandSlot::Several) if Sum::of_split(command.id, command.arguments).is_none() => {
                self.answer_error(reply::CROSSSLOT, now);
            }
            _ => self.answer_error(reply::COMMAND_TOO_LARGE, now),
        }
    }

    /// Judges one whole command.
    fn command(&mut self, frame: &[u8], name: Span, arguments: u64, now: Tick) -> Judged {
        let id = lookup(name.of(frame)).unwrap_or(CommandId::UNKNOWN);
        let mut command =
            Command { id, frame, arguments, name_at: Some(name), is_whole: true, learned: None };
        command.id = exact_id(&command);
        let server = self.server_for(command.id);
        command.learned = server.as_deref().and_then(|server| learned(server, command.id, &command));
        let class = self.class_of(&command);
        if let Some(judged) = self.while_listening(&command, class, now) {
            return judged;
        }
        if self.transaction.is_begun() {
            return self.in_transaction(command, class, now);
        }
        match class {
            Class::Keyed | Class::Script => self.keyed(command, class, now),
            Class::Any => self.send_to_any(command, Kind::Plain, now),
            Class::Publish => self.publish(command, now),
            Class::Multi => self.multi(now),
            Class::Exec => self.answer(Cow::Borrowed(reply::EXEC_WITHOUT_MULTI), now),
            Class::Discard => self.answer(Cow::Borrowed(reply::DISCARD_WITHOUT_MULTI), now),
            Class::Watch => self.watch(command, now),
            Class::Unwatch => self.unwatch(command, now),
            Class::AllMasters(joined) => self.fan_out(command, self.sum_of(joined), now),
            Class::Scan => self.scan(command, now),
            Class::Wait => self.wait_for_replicas(command, now),
            Class::Info => self.info(command, now),
            Class::Login => self.log_in(command, now),
            Class::Reset => self.reset(now),
            Class::Connection => self.of_connection(command, now),
            Class::Subscription(verb) => self.subscription(command, verb, now),
            Class::Refused(refusal) => self.refuse(command, refusal, now),
        }
    }

    /// Returns the facts about the servers, for a command that the table does not have.
    fn server_for(&self, id: CommandId) -> Option<Arc<ServerFacts>> {
        (id == CommandId::UNKNOWN).then(|| Arc::clone(&self.server))
    }

    fn class_of(&self, command: &Command<'_>) -> Class {
        match (command.learned, exact_id(command)) {
            (Some(learned), _) => Class::of_learned(learned),
            (None, CommandId::UNKNOWN) => Class::of_unknown(&self.server),
            (None, exact) => Class::of(exact),
        }
    }

    /// Sends a command to the owner of the slot of its keys.
    fn keyed(&mut self, command: Command<'_>, class: Class, now: Tick) -> Judged {
        let slot = match command.slot() {
            CommandSlot::One(slot) => slot,
            CommandSlot::Several => {
                return match Sum::of_split(command.id, command.arguments) {
                    Some(sum) => self.split(command, sum, now),
                    None => self.answer(Cow::Borrowed(reply::CROSSSLOT), now),
                };
            }
            // Any node reports wrong arguments, and runs a command or script without keys.
            CommandSlot::None | CommandSlot::Unknown => {
                let kind = if class == Class::Script { Kind::Script } else { Kind::Plain };
                return self.send_to_any(command, kind, now);
            }
        };
        let reader = if class == Class::Keyed { self.reader_for(&command, slot, now) } else { None };
        let leg = match reader.map_or_else(|| self.leg_of_slot(slot, now), Placed::At) {
            Placed::At(leg) => leg,
            Placed::Answered => return Judged::Taken,
            Placed::Later => return Judged::Later,
        };
        let kind = match class {
            Class::Script => Kind::Script,
            _ if may_block(&command) => Kind::Blocking,
            _ => Kind::Plain,
        };
        let speaks = kind == Kind::Script || command.id == id::SPUBLISH;
        self.send_to(leg, command, kind, speaks, now)
    }

    /// Sends a command to a leg. If it `speaks` to other keys or other clients, it waits until no other leg owes the
    /// reply to a write.
    pub(super) fn send_to(
        &mut self,
        leg: LegIndex,
        command: Command<'_>,
        kind: Kind,
        speaks: bool,
        now: Tick,
    ) -> Judged {
        if (speaks && self.legs.others_owe_write(leg)) || self.waits_for_others(leg) {
            return Judged::Later;
        }
        if command.writes_data() {
            self.written.note(leg, &mut self.legs);
        }
        let room = self.most_kept.saturating_sub(self.legs.kept());
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.send(command.frame, command.writes(), room, now);
            if matches!(kind, Kind::Queued | Kind::Exec | Kind::SpoiltExec) {
                leg.bind();
            }
        }
        self.expect(leg, kind, now);
        self.waits.for_all = matches!(kind, Kind::Blocking | Kind::Watch | Kind::Opening | Kind::Login);
        Judged::Taken
    }

    /// Adds the pending reply to a command.
    pub(super) fn expect(&mut self, leg: LegIndex, kind: Kind, now: Tick) {
        self.is_alone = self.order.is_empty();
        if self.is_alone {
            self.front_since = now;
        }
        if kind == Kind::Plain {
            self.order.push(Origin::Leg(leg));
        } else {
            self.apart.push_back(Apart { leg, kind });
            self.order.push(Origin::Apart);
        }
    }

    /// Sends a command to any node that is well.
    pub(super) fn send_to_any(&mut self, command: Command<'_>, kind: Kind, now: Tick) -> Judged {
        match self.any_leg(now) {
            Placed::At(leg) => self.send_to(leg, command, kind, kind == Kind::Script, now),
            Placed::Answered => Judged::Taken,
            Placed::Later => Judged::Later,
        }
    }

    /// Sends PUBLISH to the owner of the slot of the channel's name, so that messages of a channel keep their order. An
    /// owner that is down or has lost its place is not waited for, because any node can publish.
    fn publish(&mut self, command: Command<'_>, now: Tick) -> Judged {
        let channel = arguments(command.frame).nth(1).unwrap_or_default();
        let is_well = |node: &NodeIndex| !self.maps.is_down(*node) && !self.has_left(*node);
        let Some(node) = self.maps.current().owner(slot(channel)).filter(is_well) else {
            return self.send_to_any(command, Kind::Plain, now);
        };
        match self.leg_for(node, false, now) {
            Some(leg) => self.send_to(leg, command, Kind::Plain, true, now),
            None => Judged::Later,
        }
    }

    /// Answers a command here.
    pub(super) fn answer(&mut self, reply: Cow<'static, [u8]>, now: Tick) -> Judged {
        if self.order.is_empty() {
            self.front_since = now;
        }
        self.own.push_back(reply);
        self.order.push(Origin::Own);
        Judged::Taken
    }

    fn answer_error(&mut self, line: &'static [u8], now: Tick) {
        self.answer(Cow::Borrowed(line), now);
    }

    pub(super) fn refuse(&mut self, command: Command<'_>, refusal: Refusal, now: Tick) -> Judged {
        self.answer(Cow::Owned(refusal.line(&command.name())), now)
    }
}

/// The outcome of judging the beginning of a long command.
enum Long {
    /// The frame is sent, or discarded.
    Begun,
    /// The command must wait.
    Later,
    /// The first key has not arrived.
    NeedMore,
}
