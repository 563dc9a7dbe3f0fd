//! SCAN over all slots, without memory between two calls: the cursor has everything ([`cursor`]).
//!
//! The slots are scanned in their order. A *pass* goes over the whole table of the node that owns the next slot, and
//! returns the keys of its slots up to the first one that the node does not own. When the pass is over, the node is
//! asked what it owns now. What it owned all the time is done. The next pass begins at the first slot that it did not.
//!
//! ```text
//!              the position is of another process
//!            ┌────────────────────────────────────┐
//!            ▼                                    │
//!   CLUSTER NODES ──► INFO, once a connection ──► SCAN ... SCAN ──► CLUSTER NODES ──► the next slot
//!     the slots of     the process and the         the cursor of                  └──► the same slot, at the node
//!     the pass         kind of its table           the pass                            that gets its keys
//! ```
//!
//! Keys of a moving slot go one by one. A key that the pass has not met has left before the pass came to it. So
//! a pass over the node that gets the keys follows, and every key is met at one of the two.
//!
//! Before version 7.4, the keys of a node are in one table. From then on each slot has a table of its own, so that a
//! pass reads no keys of other slots, and each slot is a pass.

mod cursor;
mod view;

use std::borrow::Cow;

use portcullis_resp::encode;
use portcullis_resp::scan::{Reply, ReplyHead, arguments};
use portcullis_resp::slot::{SLOTS, slot};

use self::cursor::{Pass, shortened};
use self::view::{SlotState, View, text_of};
use super::command::Command;
use super::commands::Judged;
use super::destination::Chosen;
use super::joins::{MAX_JOINED, TOO_LONG};
use super::leg::LegIndex;
use super::redirects::{MAX_HOPS, NOT_FOLLOWED};
use super::{Kind, Received, Router};
use crate::cluster::{Node, NodeIndex};
use crate::tick::Tick;

/// The reply of Redis to a cursor that is no number.
const NO_CURSOR: &[u8] = b"-ERR invalid cursor\r\n";

/// The reply to a cursor of a node, or of another proxy.
const FOREIGN_CURSOR: &[u8] =
    b"-ERR portcullis: invalid cursor: this proxy did not make it. Begin with 0\r\n";

/// The largest COUNT that a node gets, so that its reply is short. COUNT is a hint, also in Redis.
const MAX_COUNT: u64 = 1024;

/// The COUNT after a reply that was too long.
const SMALL_COUNT: u64 = 8;

/// The least COUNT of the further questions for one call, while the position does not change.
const LARGE_COUNT: u64 = 512;

/// The bits of a slot, which are the lowest ones of a cursor of a node whose slots have tables.
const SLOT_BITS: u32 = 14;

/// The COUNT of Redis, where the command has none.
const DEFAULT_COUNT: u64 = 10;

/// A SCAN that the client waits for.
#[derive(Debug)]
pub(super) struct Scan {
    frame: Box<[u8]>,
    pass: Pass,
    /// The node to ask. `None`: the owner of the slot.
    node: Option<NodeIndex>,
    hops: u8,
    next: Next,
    asked: Asked,
    /// Whether the user may not run INFO.
    is_info_refused: bool,
    /// The cursor of the node with which this call goes on, because the position of the pass cannot tell it.
    further: Option<u64>,
    count: u64,
    /// The number of keys that were found, and their bytes.
    keys: usize,
    found: Vec<u8>,
}

/// The next thing that the scan needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The slots of the node, before a pass begins.
    View,
    Keys,
    /// The slots of the node, after it has returned all keys of the slots before this one, and those before this
    /// position in its table.
    Check(u16, u64),
}

/// The question whose reply is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// INFO, or HELLO where the user may not run INFO.
    Info,
    Hello,
    Nodes,
    Keys,
}

/// The step after a reply.
enum Step {
    /// The next question.
    Ask,
    /// The reply to the client, with the cursor for the next call.
    Reply,
    /// This reply.
    Answer(Vec<u8>),
}

/// The server process at the other end of a connection.
#[derive(Debug)]
pub(super) struct Process {
    run: Box<[u8]>,
    /// Whether each slot has a table of its own. The cursors of the node then end with the slot.
    has_slot_tables: bool,
}

impl Process {
    /// Reads the reply to INFO or HELLO.
    fn of(reply: &[u8]) -> Self {
        let text = text_of(reply).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let hello = |name| after(reply, name);
        let is_valkey = hello(b"server").is_some_and(|server| server == "valkey");
        let valkey = field("valkey_version").or_else(|| hello(b"version").filter(|_| is_valkey));
        let redis = field("redis_version").or_else(|| hello(b"version").filter(|_| !is_valkey));
        let is_from = |version: Option<&str>, from| version.is_some_and(|version| numbers(version) >= from);
        Self {
            run: field("run_id").unwrap_or_default().as_bytes().into(),
            has_slot_tables: is_from(valkey, (8, 0)) || is_from(redis, (7, 4)),
        }
    }
}

impl Scan {
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.frame.len() + self.found.capacity()
    }

    /// Lets another pass begin.
    fn begin(&mut self, pass: Pass) {
        (self.pass, self.node, self.next, self.further) = (pass, None, Next::View, None);
    }

    /// Takes keys and the cursor of a node. `None`: the reply is no reply to SCAN.
    fn take_keys(&mut self, reply: &[u8], has_slot_tables: bool) -> Option<Step> {
        let (cursor, keys) = keys_of(reply)?;
        for key in keys {
            if (self.pass.slot..self.pass.end).contains(&slot(key)) {
                self.keys += 1;
                encode::bulk(&mut self.found, key);
            }
        }
        let at =
            if has_slot_tables { u16::try_from(cursor % u64::from(SLOTS)).ok()? } else { self.pass.slot };
        let position = if has_slot_tables { cursor >> SLOT_BITS } else { cursor };
        self.further = None;
        if cursor == 0 {
            self.next = Next::Check(self.pass.end, 0);
            return Some(Step::Ask);
        }
        if at != self.pass.slot {
            let position = if at < self.pass.end { shortened(position) } else { 0 };
            self.next = Next::Check(at.min(self.pass.end), position);
            return (at > self.pass.slot).then_some(Step::Ask);
        }
        let position = shortened(position);
        if position != self.pass.position {
            self.pass.position = position;
            return Some(Step::Reply);
        }
        if self.found.len() > MAX_JOINED {
            return Some(Step::Answer(TOO_LONG.to_vec()));
        }
        (self.further, self.count) = (Some(cursor), self.count.max(LARGE_COUNT));
        Some(Step::Ask)
    }

    /// Returns the command for the node, whose cursor is this one.
    fn command(&self, cursor: u64) -> Vec<u8> {
        let (cursor, count) = (cursor.to_string(), self.count.to_string());
        let args: Vec<&[u8]> = arguments(&self.frame).collect();
        let options = args.get(2..).unwrap_or_default();
        let mut command: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes()];
        // The node judges wrong options.
        let is_ours =
            |option: &[&[u8]]| matches!(option, [name, value] if is_count(name) && number(value).is_some());
        options
            .chunks(2)
            .filter(|option| !is_ours(option))
            .for_each(|option| command.extend_from_slice(option));
        if options.len() % 2 == 0 {
            command.extend_from_slice(&[b"COUNT", count.as_bytes()]);
        }
        let mut frame = Vec::new();
        encode::command(&mut frame, &command);
        frame
    }

    /// Returns the reply to the client.
    fn reply(&self) -> Vec<u8> {
        let mut reply = Vec::with_capacity(self.found.len() + 64);
        encode::array(&mut reply, 2);
        encode::bulk(&mut reply, self.pass.cursor().to_string().as_bytes());
        encode::array(&mut reply, self.keys);
        reply.extend_from_slice(&self.found);
        reply
    }
}

/// Methods for sending.
impl Router {
    /// Begins a SCAN, when nothing is pending.
    pub(super) fn scan(&mut self, command: Command<'_>, now: Tick) -> Judged {
        if !self.is_settled() {
            return Judged::Later;
        }
        if !command.id.info().takes(command.arguments) {
            return self.answer_arity(command, now);
        }
        let mut args = arguments(command.frame).skip(1);
        let Some(cursor) = args.next().and_then(number) else {
            return self.answer(Cow::Borrowed(NO_CURSOR), now);
        };
        let Some(pass) = Pass::of(cursor) else {
            return self.answer(Cow::Borrowed(FOREIGN_CURSOR), now);
        };
        let args: Vec<&[u8]> = args.collect();
        let mut count =
            args.chunks(2).filter(|option| is_count(option[0])).filter_map(|option| option.get(1));
        let count = count.next_back().and_then(|count| number(count)).unwrap_or(DEFAULT_COUNT);
        let begins = pass.position == 0 || pass.follows;
        self.scan = Some(Box::new(Scan {
            frame: command.frame.into(),
            pass,
            node: None,
            hops: 0,
            next: if begins { Next::View } else { Next::Keys },
            asked: Asked::Nodes,
            is_info_refused: false,
            further: None,
            count: count.min(MAX_COUNT),
            keys: 0,
            found: Vec::new(),
        }));
        self.waits.for_all = true;
        self.go_on_scanning(now);
        Judged::Taken
    }

    /// Asks the next question of the scan. Returns whether the scan is over.
    pub(super) fn go_on_scanning(&mut self, now: Tick) -> bool {
        let Some(mut scan) = self.scan.take() else { return true };
        if !self.order.is_empty() {
            self.scan = Some(scan);
            return false;
        }
        let placed = match scan.node {
            Some(node) => self.place_of_node(node, now),
            None => self.place_of_slot(scan.pass.slot, now),
        };
        let leg = match placed {
            Chosen::At(leg) => leg,
            Chosen::Later => {
                self.scan = Some(scan);
                return false;
            }
            Chosen::Failed(line) => {
                self.answer(line, now);
                return true;
            }
        };
        let (asked, frame) = self.question(&mut scan, leg);
        scan.asked = asked;
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.send(&frame, false, 0, now);
        }
        self.scan = Some(scan);
        self.expect(leg, Kind::Scan, now);
        self.waits.for_all = true;
        false
    }

    /// Returns the next question for a node.
    fn question(&self, scan: &mut Scan, leg: LegIndex) -> (Asked, Vec<u8>) {
        let nodes = || (Asked::Nodes, words(&[b"CLUSTER", b"NODES"]));
        let Some(leg) = self.legs.get(leg).filter(|_| scan.next == Next::Keys) else { return nodes() };
        let Some(process) = &leg.process else {
            return match scan.is_info_refused {
                true => (Asked::Hello, words(&[b"HELLO"])),
                false => (Asked::Info, words(&[b"INFO", b"server"])),
            };
        };
        let id = self.maps.node(leg.node).map_or("", Node::id);
        let number = Pass::process_of(id, &process.run);
        if scan.pass.process != number && scan.pass.position != 0 {
            // After a restart or a failover, positions mean nothing.
            scan.begin(Pass { follows: scan.pass.follows, ..Pass::from(scan.pass.slot) });
            return nodes();
        }
        scan.pass.process = number;
        let position = scan.pass.position;
        let cursor = match scan.further {
            Some(cursor) => cursor,
            None if process.has_slot_tables => position << SLOT_BITS | u64::from(scan.pass.slot),
            None => position,
        };
        (Asked::Keys, scan.command(cursor))
    }
}

/// Methods for the replies.
impl Router {
    /// Judges the bytes of a reply that the scan waits for.
    pub(super) fn receive_scan(&mut self, index: LegIndex, buf: &[u8], now: Tick) -> Received {
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        match leg.scan.next(buf) {
            Ok(Reply::Need { at_least }) if at_least <= MAX_JOINED => Received::Need(at_least),
            Ok(Reply::Whole { len, .. }) => {
                if self.take_scanned(index, Some(&buf[..len]), now) {
                    Received::Skip(len)
                } else {
                    self.distrust()
                }
            }
            Ok(Reply::Head { .. }) if buf.len() < MAX_JOINED => Received::Need(buf.len() + 1),
            Ok(Reply::Head { head, .. }) => self.drop_scanned(index, head, buf, now),
            Ok(Reply::Need { .. }) | Err(_) => self.distrust(),
        }
    }

    /// Drops a part of a reply that is too long.
    pub(super) fn drop_scanned(
        &mut self,
        index: LegIndex,
        head: ReplyHead,
        buf: &[u8],
        now: Tick,
    ) -> Received {
        let Some(leg) = self.legs.get_mut(index) else { return Received::Over };
        let Ok(streamed) = leg.scan.stream(buf) else { return self.distrust() };
        self.waits.passing = (!streamed.done).then_some(head);
        self.front_since = now;
        if streamed.done && !self.take_scanned(index, None, now) {
            return self.distrust();
        }
        if streamed.len == 0 { Received::Need(buf.len() + 1) } else { Received::Skip(streamed.len) }
    }

    /// Takes a reply, and goes on. `None`: it was too long. Returns whether the node keeps to the protocol.
    fn take_scanned(&mut self, index: LegIndex, reply: Option<&[u8]>, now: Tick) -> bool {
        let Some(mut scan) = self.scan.take() else { return false };
        let tables = self.legs.get(index).and_then(|leg| Some(leg.process.as_ref()?.has_slot_tables));
        let step = match (scan.asked, reply) {
            (Asked::Info | Asked::Hello, reply) => {
                self.take_process(&mut scan, index, reply.unwrap_or_default())
            }
            (_, Some(reply)) if reply.first() == Some(&b'-') => self.refused_scan(reply),
            (Asked::Nodes, Some(reply)) => {
                View::of(reply).and_then(|view| self.take_view(&mut scan, index, &view))
            }
            // The connection was made again before the command was written.
            (Asked::Keys, _) if tables.is_none() => Some(Step::Ask),
            (Asked::Keys, Some(reply)) => scan.take_keys(reply, tables == Some(true)),
            (Asked::Keys, None) if scan.count > 1 => {
                scan.count = if scan.count > SMALL_COUNT { SMALL_COUNT } else { 1 };
                Some(Step::Ask)
            }
            (Asked::Nodes | Asked::Keys, None) => Some(Step::Answer(TOO_LONG.to_vec())),
        };
        if let Some(leg) = self.legs.get_mut(index) {
            leg.settle(1);
        }
        self.finish_front(now);
        match step {
            Some(Step::Ask) => {
                self.scan = Some(scan);
                self.go_on_scanning(now);
            }
            Some(Step::Reply) => _ = self.answer(Cow::Owned(scan.reply()), now),
            Some(Step::Answer(line)) => _ = self.answer(Cow::Owned(line), now),
            None => return false,
        }
        true
    }

    /// Passes an error of a node on.
    fn refused_scan(&mut self, line: &[u8]) -> Option<Step> {
        let is_down = |error: &&[u8]| line.starts_with(error);
        self.hints.cluster_down |= [&b"-LOADING"[..], b"-MASTERDOWN", b"-CLUSTERDOWN"].iter().any(is_down);
        Some(Step::Answer(line.to_vec()))
    }

    /// Takes what a server says about itself.
    fn take_process(&mut self, scan: &mut Scan, index: LegIndex, reply: &[u8]) -> Option<Step> {
        if scan.asked == Asked::Info && reply.first().is_none_or(|kind| *kind == b'-') {
            scan.is_info_refused = true;
        } else if let Some(leg) = self.legs.get_mut(index) {
            leg.process = Some(Process::of(reply));
        }
        Some(Step::Ask)
    }

    /// Takes the slots of a node.
    fn take_view(&mut self, scan: &mut Scan, index: LegIndex, view: &View<'_>) -> Option<Step> {
        let Next::Check(end, position) = scan.next else { return Some(self.begin_pass(scan, index, view)) };
        let pass = scan.pass;
        let next = if !pass.began_at(view) {
            Pass::from(pass.slot)
        } else if pass.follows {
            match view.state(pass.slot) {
                SlotState::Owned | SlotState::Arrives => Pass::from(end),
                SlotState::Leaves(_) | SlotState::Elsewhere => Pass::following(pass.slot),
            }
        } else {
            match view.first_unsettled(pass.slot, end) {
                first if first == pass.slot => Pass::following(first),
                first if first == end && position > 0 && view.state(end) == SlotState::Owned => {
                    Pass { slot: end, position, ..pass }
                }
                first => Pass::from(first),
            }
        };
        scan.begin(next);
        Some(Step::Reply)
    }

    /// Begins a pass over the node that has answered, or goes to the one that has the keys.
    fn begin_pass(&mut self, scan: &mut Scan, index: LegIndex, view: &View<'_>) -> Step {
        let slot = scan.pass.slot;
        let state = view.state(slot);
        let goes_on = scan.pass.follows && scan.pass.position != 0;
        let to = match state {
            SlotState::Leaves(to) if scan.pass.follows => to,
            SlotState::Arrives if !scan.pass.follows => view.owner(slot).unwrap_or_default(),
            SlotState::Elsewhere => view.owner(slot).unwrap_or_default(),
            SlotState::Owned | SlotState::Leaves(_) | SlotState::Arrives => {
                scan.node = self.legs.get(index).map(|leg| leg.node);
                scan.next = Next::Keys;
                if !goes_on {
                    scan.pass.epoch = Pass::epoch_of(view);
                    scan.pass.end = slot + 1;
                }
                if !scan.pass.follows {
                    scan.pass.end = view.first_unsettled(slot, SLOTS).max(slot + 1);
                }
                return Step::Ask;
            }
        };
        scan.hops += 1;
        self.hints.unknown |= !scan.pass.follows;
        scan.node = self.maps.latest().with_id(to).map(Node::index);
        match scan.node {
            Some(_) if scan.hops <= MAX_HOPS => Step::Ask,
            _ => Step::Answer(NOT_FOLLOWED.to_vec()),
        }
    }
}

/// Reads the reply of a node to SCAN.
fn keys_of(reply: &[u8]) -> Option<(u64, Vec<&[u8]>)> {
    let rest = reply.strip_prefix(b"*2\r\n")?;
    let (cursor, rest) = bulk(rest)?;
    let (count, mut rest) = line(rest, b'*')?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let (key, next) = bulk(rest)?;
        keys.push(key);
        rest = next;
    }
    Some((number(cursor)?, keys))
}

/// Reads a bulk string. Returns it and what follows it.
fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = line(bytes, b'$')?;
    let (body, rest) = rest.split_at_checked(len)?;
    Some((body, rest.strip_prefix(b"\r\n")?))
}

/// Reads the number of a header. Returns it and what follows it.
fn line(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let rest = bytes.strip_prefix(&[kind])?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let len = usize::try_from(number(rest.get(..end)?)?).ok()?;
    Some((len, rest.get(end + 2..)?))
}

/// Reads a number in decimal digits.
fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?.parse().ok()
}

/// Returns the string after this one in a reply to HELLO.
fn after<'a>(reply: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let at = reply.windows(name.len()).position(|window| window == name)?;
    let (value, _) = bulk(reply.get(at + name.len() + 2..)?)?;
    std::str::from_utf8(value).ok()
}

/// Returns the first two numbers of a version.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn is_count(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"count")
}

fn words(args: &[&[u8]]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::command(&mut frame, args);
    frame
}
