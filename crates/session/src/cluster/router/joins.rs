//! Commands of which several nodes run a part each: MGET and DEL with keys of several slots, DBSIZE of all masters. The
//! replies to the parts become one reply.
//!
//! ```text
//!   MGET a b c ──► parts, at most 256 under way ──► legs ──► the front: header dropped, elements passed ─┐
//!                    made as they can be sent                         or the reply read whole, and added ─┴─► one reply
//! ```
//!
//! Only the front is read, so one part is joined at a time, and a reply with values is never held: the router writes the
//! header for all parts, and passes the elements of each part on. All other replies are short, and are added up.

mod info;
mod split;
mod sum;

use std::borrow::Cow;
use std::collections::VecDeque;

use portcullis_resp::command::id;
use portcullis_resp::reply;
use portcullis_resp::scan::{Reply, ReplyHead};

use self::info::Info;
use self::split::{Split, Target};
pub(super) use self::sum::Sum;
use super::class::Joined;
use super::command::Command;
use super::commands::Judged;
use super::destination::Chosen;
use super::ends::unavailable;
use super::leg::LegIndex;
use super::order::Origin;
use super::replies::more_replies;
use super::{Apart, Front, Kind, Received, Router};
use crate::cluster::{Node, NodeIndex, Role};
use crate::link::{MAX_WHOLE_ERROR, Unavailable};
use crate::tick::Tick;

/// The most parts of one session under way. Their replies wait in the sockets of the nodes.
const MAX_PARTS: usize = 256;

/// The longest reply of one node in bytes that is read whole, and the longest joined reply.
pub(super) const MAX_JOINED: usize = 1024 * 1024;

/// The error in place of a joined reply that would be longer.
pub(super) const TOO_LONG: &[u8] =
    b"-ERR portcullis: the joined reply of the nodes would be larger than 1 MiB\r\n";

/// The question to the masters whose keys an INFO counts.
const INFO_KEYSPACE: &[u8] = b"*2\r\n$4\r\nINFO\r\n$8\r\nkeyspace\r\n";

/// The error of a WAIT for a write of which nothing can be learned.
const GONE: &[u8] = b"-ERR portcullis: the connection that wrote is gone\r\n";

/// The commands of several parts.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// The commands of which a part is pending or not sent, oldest first.
    joins: VecDeque<Join>,
    /// The pending parts, oldest first.
    parts: VecDeque<Part>,
    /// The parts of the newest command that are not sent.
    unsent: Option<Split>,
    /// The elements of the oldest part that are still to come. `None`: its header is.
    elements: Option<u64>,
    /// The bytes for the client that come before the next reply.
    ready: Vec<u8>,
    /// The number of them that the client has.
    taken: usize,
}

/// A command whose parts are pending.
#[derive(Debug)]
struct Join {
    sum: Sum,
    /// The number of pending parts.
    pending: usize,
    /// The error of the part that comes first in the command, with its place.
    error: Option<(u32, Vec<u8>)>,
    /// Whether a part has succeeded.
    has_run: bool,
    writes: bool,
    /// Whether replicas execute the parts.
    reads: bool,
}

/// A pending part.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// The place of its first key in the command, or of its node.
    place: u32,
    keys: u32,
}

impl Joins {
    /// Returns whether parts of a command are not sent yet, so that no later command may be judged.
    pub(super) const fn is_sending(&self) -> bool {
        self.unsent.is_some()
    }

    /// Returns whether the client has every byte of the replies to the commands that were sent.
    pub(super) const fn is_settled(&self) -> bool {
        self.unsent.is_none() && self.ready.is_empty()
    }

    /// Returns whether bytes of a joined reply come before the reply of the front.
    pub(super) const fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns whether the client has a part of a joined reply, so that no message may come before the rest.
    pub(super) fn is_inside(&self) -> bool {
        let has_header = |join: &Join| join.sum.passes() && join.has_run && join.error.is_none();
        self.is_ready() || self.joins.front().is_some_and(has_header)
    }

    /// Returns whether some elements of the oldest part have come.
    pub(super) const fn is_inside_part(&self) -> bool {
        self.elements.is_some()
    }

    /// Returns whether a part is pending.
    pub(super) fn have_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Appends bytes of joined replies, at most `most`.
    pub(super) fn take_ready(&mut self, out: &mut Vec<u8>, most: usize) {
        let rest = self.ready.get(self.taken..).unwrap_or_default();
        let rest = &rest[..rest.len().min(most)];
        out.extend_from_slice(rest);
        self.taken += rest.len();
        if self.taken >= self.ready.len() {
            (self.ready, self.taken) = (Vec::new(), 0);
        }
    }

    /// Returns the bytes of memory that the commands occupy.
    pub(super) fn held(&self) -> usize {
        self.joins.capacity() * size_of::<Join>()
            + self.joins.iter().map(|join| join.sum.held()).sum::<usize>()
            + self.parts.capacity() * size_of::<Part>()
            + self.unsent.as_ref().map_or(0, Split::held)
            + self.ready.capacity()
    }

    /// Returns whether the elements of the oldest part are dropped, because the command has failed.
    fn drops(&self) -> bool {
        self.joins.front().is_some_and(|join| join.error.is_some() || !join.sum.passes())
    }
}

/// Methods for sending.
impl Router {
    /// Begins a command with keys of several slots.
    pub(super) fn split(&mut self, command: Command<'_>, sum: Sum, now: Tick) -> Judged {
        let Some(split) = Split::by_slots(command.id, command.frame) else {
            return self.answer_arity(command, now);
        };
        let reads = self.reads_at_replicas(&command);
        self.begin_join_at(split, sum, (command.writes(), reads), now)
    }

    /// Begins a command that all masters run, when nothing is pending. While one of them is down, none runs it.
    pub(super) fn fan_out(&mut self, command: Command<'_>, sum: Sum, now: Tick) -> Judged {
        if !self.is_settled() {
            return Judged::Later;
        }
        if !command.id.info().takes(command.arguments) {
            return self.answer_arity(command, now);
        }
        let masters = self.maps.current().nodes().iter().filter(|node| node.role == Role::Master);
        let masters: Vec<NodeIndex> = masters.map(Node::index).collect();
        if masters.is_empty() || masters.iter().any(|node| self.maps.is_down(*node)) {
            let line = unavailable(&self.upstream, Unavailable::Timeout);
            return self.answer(Cow::Owned(line), now);
        }
        self.waits.for_all = true;
        self.begin_join(Split::by_nodes(command.frame, masters), sum, command.writes(), now)
    }

    /// Begins an INFO: one node's, with the keys of all masters that answer.
    pub(super) fn info(&mut self, command: Command<'_>, now: Tick) -> Judged {
        if !info::has_keys(command.frame) {
            return self.send_to_any(command, Kind::Plain, now);
        }
        if !self.is_settled() {
            return Judged::Later;
        }
        let first = self.legs.newest_open().and_then(|leg| self.legs.get(leg)).map(|leg| leg.node);
        let first =
            first.filter(|node| !self.maps.is_down(*node)).or_else(|| self.maps.any_master(self.seed));
        let Some(first) = first else { return self.send_to_any(command, Kind::Plain, now) };
        let others = self.maps.current().nodes().iter().filter(|node| node.role == Role::Master);
        let others: Vec<NodeIndex> = others.map(Node::index).filter(|node| *node != first).collect();
        let (down, well): (Vec<_>, Vec<_>) = others.into_iter().partition(|node| self.maps.is_down(*node));
        self.waits.for_all = true;
        let nodes = [vec![first], well].concat();
        let split = Split::by_first_node(command.frame, nodes, INFO_KEYSPACE);
        self.begin_join(split, Sum::Info(Info::missing(down.len())), false, now)
    }

    /// Begins a WAIT or WAITAOF at all nodes to which the client has written.
    pub(super) fn wait_for_replicas(&mut self, command: Command<'_>, now: Tick) -> Judged {
        if !self.is_settled() {
            return Judged::Later;
        }
        if !command.id.info().takes(command.arguments) {
            return self.answer_arity(command, now);
        }
        let Ok(legs) = self.written.ask(&self.legs) else { return self.answer(Cow::Borrowed(GONE), now) };
        if legs.is_empty() {
            return self.send_to_any(command, Kind::Blocking, now);
        }
        self.waits.for_all = true;
        let sum = if command.id == id::WAIT { Sum::Fewest(None) } else { Sum::Least(None) };
        self.begin_join(Split::by_legs(command.frame, legs), sum, false, now)
    }

    /// Returns the empty reply of a command that all masters run.
    pub(super) fn sum_of(&self, joined: Joined) -> Sum {
        match joined {
            Joined::Total => Sum::Total(0),
            Joined::Same => Sum::Same(None, false),
            Joined::Least => Sum::Least(None),
            Joined::Union => Sum::Union { elements: 0, bytes: Vec::new(), is_too_long: false },
            Joined::Counts => Sum::Counts(Vec::new()),
            // Each session prefers another node, and each command another one than the last.
            Joined::One => {
                let masters = self.maps.current().nodes().len().max(1);
                let skip = self.seed.wrapping_add(self.legs.sent()) % masters;
                Sum::One { reply: None, null: Vec::new(), skip }
            }
        }
    }

    /// Answers a command with another number of arguments than it takes.
    pub(super) fn answer_arity(&mut self, command: Command<'_>, now: Tick) -> Judged {
        let mut line = Vec::new();
        reply::wrong_arity(&mut line, command.id.name());
        self.answer(Cow::Owned(line), now)
    }

    fn begin_join(&mut self, split: Split, sum: Sum, writes: bool, now: Tick) -> Judged {
        self.begin_join_at(split, sum, (writes, false), now)
    }

    fn begin_join_at(&mut self, split: Split, sum: Sum, kind: (bool, bool), now: Tick) -> Judged {
        let (writes, reads) = kind;
        self.joins.joins.push_back(Join { sum, pending: 0, error: None, has_run: false, writes, reads });
        self.joins.unsent = Some(split);
        self.send_parts(now);
        Judged::Taken
    }

    /// Sends parts of the newest command. Returns whether all of them are sent.
    pub(super) fn send_parts(&mut self, now: Tick) -> bool {
        while let Some(mut split) = self.joins.unsent.take() {
            if self.joins.parts.len() >= MAX_PARTS || self.legs.is_congested() {
                self.joins.unsent = Some(split);
                return false;
            }
            let Some((target, frame, part)) = split.part() else { continue };
            let placed = match target {
                Target::Slot(slot) => {
                    let reads = self.joins.joins.back().is_some_and(|join| join.reads);
                    let reader = if reads { self.reader_of_slot(slot, frame.len(), now) } else { None };
                    reader.map_or_else(|| self.place_of_slot(slot, now), Chosen::At)
                }
                Target::Node(node) => self.place_of_node(node, now),
                Target::Leg(leg) if self.legs.get(leg).is_some_and(|leg| leg.is_open()) => Chosen::At(leg),
                Target::Leg(_) => Chosen::Failed(Cow::Borrowed(GONE)),
            };
            let waits = match placed {
                Chosen::At(leg) => self.waits_for_others(leg),
                Chosen::Later => true,
                Chosen::Failed(_) => false,
            };
            if waits {
                self.joins.unsent = Some(split);
                return false;
            }
            split.advance();
            self.joins.unsent = Some(split).filter(|split| !split.is_over());
            self.send_part(placed, &frame, part, now);
        }
        true
    }

    fn send_part(&mut self, placed: Chosen, frame: &[u8], part: Part, now: Tick) {
        let Some(join) = self.joins.joins.back_mut() else { return };
        join.pending += 1;
        let writes = join.writes;
        self.joins.parts.push_back(part);
        let (leg, kind) = match placed {
            Chosen::At(leg) => (leg, Kind::Part),
            Chosen::Failed(line) => {
                self.own.push_back(line);
                (LegIndex::of_code(0), Kind::FailedPart)
            }
            Chosen::Later => return,
        };
        if writes && kind == Kind::Part {
            self.written.note(leg, &mut self.legs);
        }
        let room = self.most_kept.saturating_sub(self.legs.kept());
        if let Some(leg) = self.legs.get_mut(leg).filter(|_| kind == Kind::Part) {
            leg.send(frame, writes, room, now);
        }
        self.expect(leg, kind, now);
    }
}

/// Methods for the replies.
impl Router {
    /// Returns whether the front is a part of a command.
    pub(super) fn is_part(&self) -> bool {
        matches!(self.apart.front(), Some(Apart { kind: Kind::Part | Kind::FailedPart, .. }))
            && matches!(self.order.front(), Some((Origin::Apart, _)))
    }

    /// Judges the bytes of a part.
    pub(super) fn receive_part(&mut self, index: LegIndex, buf: &[u8], now: Tick) -> Received {
        let passes = self.joins.joins.front().is_some_and(|join| join.sum.passes());
        match self.joins.elements {
            Some(left) => self.receive_elements(index, buf, left, now),
            None if passes && buf.first() == Some(&b'*') => self.receive_header(buf),
            None => self.receive_whole(index, buf, now),
        }
    }

    /// Reads the header of an array of values. The client gets one header for all parts.
    fn receive_header(&mut self, buf: &[u8]) -> Received {
        /// The longest header: a type byte, 19 digits, CR and LF.
        const MAX_HEADER: usize = 22;
        let head = &buf[..buf.len().min(MAX_HEADER)];
        let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
            return if buf.len() < MAX_HEADER { Received::Need(buf.len() + 1) } else { self.distrust() };
        };
        let count = std::str::from_utf8(&head[1..end]).ok().and_then(|count| count.parse::<u64>().ok());
        let expected = self.joins.parts.front().map(|part| u64::from(part.keys));
        let (Some(count), Some(join)) =
            (count.filter(|count| Some(*count) == expected), self.joins.joins.front_mut())
        else {
            return self.distrust();
        };
        if join.error.is_none() && !std::mem::replace(&mut join.has_run, true) {
            join.sum.header(&mut self.joins.ready);
        }
        self.joins.elements = Some(count);
        Received::Skip(end + 2)
    }

    fn receive_elements(&mut self, index: LegIndex, buf: &[u8], left: u64, now: Tick) -> Received {
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        match leg.scan.next(buf) {
            Ok(Reply::Need { at_least }) => Received::Need(at_least),
            Ok(Reply::Whole { len, .. }) => {
                let more = more_replies(leg, &buf[len..], left - 1);
                self.take_elements(index, 1 + more.0, len + more.1, now)
            }
            Ok(Reply::Head { head, .. }) => self.pass_part(index, head, buf, now),
            Err(_) => self.distrust(),
        }
    }

    /// Records `n` elements of `len` bytes.
    fn take_elements(&mut self, index: LegIndex, n: u64, len: usize, now: Tick) -> Received {
        let received = if self.joins.drops() { Received::Skip(len) } else { Received::Pass(len) };
        let left = self.joins.elements.map_or(0, |left| left.saturating_sub(n));
        self.joins.elements = Some(left);
        self.front_since = now;
        if left == 0 {
            self.settle_part(index, now);
        }
        received
    }

    /// Reads a reply that is added to those of the other parts.
    fn receive_whole(&mut self, index: LegIndex, buf: &[u8], now: Tick) -> Received {
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        match leg.scan.next(buf) {
            Ok(Reply::Need { at_least }) if at_least <= MAX_JOINED => Received::Need(at_least),
            Ok(Reply::Whole { len, head }) if head.kind == b'-' => {
                self.receive_error(index, Kind::Part, buf, len, now)
            }
            Ok(Reply::Whole { len, .. }) => {
                let Some(join) = self.joins.joins.front_mut() else { return Received::Over };
                if join.sum.add(&buf[..len]).is_err() {
                    return self.distrust();
                }
                join.has_run = true;
                self.settle_part(index, now);
                Received::Skip(len)
            }
            Ok(Reply::Head { head, .. }) if head.kind == b'-' && buf.len() >= MAX_WHOLE_ERROR => {
                self.distrust()
            }
            Ok(Reply::Head { .. }) if buf.len() < MAX_JOINED => Received::Need(buf.len() + 1),
            Ok(Reply::Head { head, .. }) => {
                self.fail_join(TOO_LONG.to_vec());
                self.pass_part(index, head, buf, now)
            }
            Ok(Reply::Need { .. }) | Err(_) => self.distrust(),
        }
    }

    /// Passes a part of a long element or reply on, or drops it.
    pub(super) fn pass_part(&mut self, index: LegIndex, head: ReplyHead, buf: &[u8], now: Tick) -> Received {
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        let Ok(streamed) = leg.scan.stream(buf) else { return self.distrust() };
        self.waits.passing = (!streamed.done).then_some(head);
        self.front_since = now;
        if streamed.done && self.joins.elements.is_some() {
            return self.take_elements(index, 1, streamed.len, now);
        }
        if streamed.done {
            self.settle_part(index, now);
        } else if streamed.len == 0 {
            return Received::Need(buf.len() + 1);
        }
        if self.joins.drops() { Received::Skip(streamed.len) } else { Received::Pass(streamed.len) }
    }

    /// Takes an error in place of the reply of a part. It is used up.
    pub(super) fn part_failed(&mut self, index: LegIndex, line: &[u8], now: Tick) {
        self.fail_part(line.to_vec());
        self.settle_part(index, now);
    }

    /// Takes the router's own reply in place of that of the front, which is a part.
    pub(super) fn take_own_part(&mut self, now: Tick) {
        let apart = self.apart.front().copied();
        let mut leg = None;
        let line = match (&self.front, apart) {
            (Front::Own(line), _) => line.to_vec(),
            (Front::Ordered, Some(Apart { kind: Kind::FailedPart, .. })) => {
                self.own.pop_front().unwrap_or_default().into_owned()
            }
            (front, apart) => {
                leg = match front {
                    Front::Again(again) => again.leg(),
                    _ => apart.map(|apart| apart.leg),
                };
                self.loss_line(leg)
            }
        };
        self.fail_part(line);
        match leg {
            Some(leg) => self.settle_part(leg, now),
            None => self.finish_part(now),
        }
    }

    /// Records the error of the oldest part. Its elements become errors, if the client has the header.
    fn fail_part(&mut self, line: Vec<u8>) {
        let (Some(join), Some(part)) = (self.joins.joins.front_mut(), self.joins.parts.front()) else {
            return;
        };
        if join.sum.passes() && join.has_run && join.error.is_none() {
            let left = self.joins.elements.unwrap_or_else(|| part.keys.into());
            (0..left).for_each(|_| self.joins.ready.extend_from_slice(&line));
            return;
        }
        self.fail_join(line);
    }

    fn fail_join(&mut self, line: Vec<u8>) {
        let (Some(join), Some(part)) = (self.joins.joins.front_mut(), self.joins.parts.front()) else {
            return;
        };
        if join.sum.does_without(part.place) {
            return;
        }
        if join.error.as_ref().is_none_or(|(place, _)| *place > part.place) {
            join.error = Some((part.place, line));
        }
    }

    fn settle_part(&mut self, index: LegIndex, now: Tick) {
        if let Some(leg) = self.legs.get_mut(index) {
            leg.settle(1);
        }
        self.finish_part(now);
    }

    /// Completes the oldest part, and its command if it was the last one.
    fn finish_part(&mut self, now: Tick) {
        self.joins.parts.pop_front();
        self.joins.elements = None;
        let is_sending = self.joins.is_sending() && self.joins.joins.len() == 1;
        if let Some(join) = self.joins.joins.front_mut() {
            join.pending = join.pending.saturating_sub(1);
            if join.pending == 0
                && !is_sending
                && let Some(join) = self.joins.joins.pop_front()
            {
                join.write_reply(&mut self.joins.ready);
            }
        }
        self.finish_front(now);
    }
}

impl Join {
    /// Writes the joined reply. The client has it already if its elements were passed on.
    fn write_reply(self, out: &mut Vec<u8>) {
        let Some((_, line)) = self.error else { return self.sum.write(out) };
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
        out.extend_from_slice(text);
        if self.writes && self.has_run {
            out.extend_from_slice(b"; a part of this command has run");
        }
        out.extend_from_slice(b"\r\n");
    }
}
