//! MOVED lines that are read ahead.
//!
//! When a slot has moved, each command in flight to its former owner reads MOVED. Followed one after the other, 10,000
//! commands would cost 10,000 round trips. So the MOVED lines that directly follow are read too, and their commands are
//! sent together, in their order and by one leg. Only what cannot be redirected in another way is sent ahead: commands
//! with one key, to the owner that the newest map has.
//!
//! The order of replies still names the leg that redirected. An [`Ahead`] says that its next replies come from another.

use portcullis_resp::command::{Flags, keys};

use super::class::Class;
use super::command::{slot_of, whole};
use super::leg::{Leg, LegIndex};
use super::order::Origin;
use super::{Front, Kind, Router};
use crate::cluster::{NodeIndex, Redirect, ServerFacts, Target};
use crate::tick::Tick;

/// The most commands that are sent ahead together, so that the replies fit into the buffer of a socket.
const MAX_AHEAD: usize = 64;

/// The longest MOVED line: a name of DNS, a port and a slot fit in.
const MAX_LINE: usize = 512;

/// The next replies of a leg that come from another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// The leg that redirected the commands.
    from: LegIndex,
    /// The leg by which they were sent again.
    to: LegIndex,
    left: u64,
}

impl Router {
    /// Returns the leg that has the next reply in place of this one.
    pub(super) fn ahead_of(&self, leg: LegIndex) -> LegIndex {
        self.ahead.iter().find(|ahead| ahead.from == leg).map_or(leg, |ahead| ahead.to)
    }

    /// Returns the number of replies that come from one leg, of `n` that are owed in a row.
    pub(super) fn in_a_row(&self, n: u64) -> u64 {
        match self.order.front() {
            Some((Origin::Leg(leg), _)) => {
                let ahead = self.ahead.iter().find(|ahead| ahead.from == leg);
                ahead.map_or(n, |ahead| n.min(ahead.left))
            }
            _ => n,
        }
    }

    /// Records that the `n` oldest replies, which have the same origin, are complete.
    pub(super) fn pop_order(&mut self, n: u64) {
        if !self.ahead.is_empty()
            && let Some((Origin::Leg(leg), _)) = self.order.front()
            && let Some(at) = self.ahead.iter().position(|ahead| ahead.from == leg)
        {
            self.ahead[at].left -= n.min(self.ahead[at].left);
            if self.ahead[at].left == 0 {
                self.ahead.swap_remove(at);
            }
        }
        self.order.pop(n);
    }

    /// Sends the commands of several MOVED lines together, if `lines` begins with at least two. Returns the number of
    /// bytes that are used up. 0: the first line must be followed alone.
    pub(super) fn send_ahead(&mut self, index: LegIndex, kind: Kind, lines: &[u8], now: Tick) -> usize {
        let is_first = matches!(self.front, Front::Ordered)
            && matches!(self.order.front(), Some((Origin::Leg(leg), _)) if leg == index);
        // The replies of parts are not counted with the others of their leg.
        if kind != Kind::Plain || !is_first || self.joins.have_parts() {
            return 0;
        }
        let leg = self.legs.get(index).filter(|leg| !leg.is_bound());
        let Some((node, n, len)) = leg.and_then(|leg| self.count_moved(leg, lines)) else { return 0 };
        let Some(to) = self.idle_leg(node, false, now) else { return 0 };
        self.avoid_reader(index, now);
        self.written.note(to, &mut self.legs);
        self.move_ahead(index, to, n, now);
        self.hints.moves += u32::try_from(n).unwrap_or(0) - 1;
        len
    }

    /// Sends the reads of a lost reader to the master together, if there are at least two for it. Returns their number.
    pub(super) fn send_lost_ahead(&mut self, index: LegIndex, now: Tick) -> u32 {
        if self.joins.have_parts() {
            return 0;
        }
        let (mut way, mut n) = (None, 0);
        let Some(leg) = self.legs.get(index) else { return 0 };
        leg.kept.all(|frame| {
            let slot = frame.and_then(|frame| slot_of(frame, &self.server));
            let owner = slot.and_then(|slot| self.maps.latest().owner(slot));
            let fits = owner.is_some_and(|owner| *way.get_or_insert(owner) == owner);
            n += u64::from(fits);
            fits && n < MAX_AHEAD as u64
        });
        let Some(to) = way.filter(|_| n > 1).and_then(|node| self.idle_leg(node, false, now)) else {
            return 0;
        };
        self.move_ahead(index, to, n, now);
        u32::try_from(n).unwrap_or(0)
    }

    /// Sends the `n` oldest commands of a leg by another one.
    fn move_ahead(&mut self, index: LegIndex, to: LegIndex, n: u64, now: Tick) {
        for _ in 0..n {
            let frame = self.legs.get_mut(index).and_then(Leg::take).unwrap_or_default();
            let room = self.most_kept.saturating_sub(self.legs.kept());
            if let Some(leg) = self.legs.get_mut(to) {
                leg.send(&frame, true, room, now);
            }
        }
        self.ahead.push(Ahead { from: index, to, left: n });
    }

    /// Returns the node to which all of the first MOVED lines lead, their number if there are at least two, and their
    /// length.
    fn count_moved(&self, leg: &Leg, lines: &[u8]) -> Option<(NodeIndex, u64, usize)> {
        let mut way = None;
        let (mut n, mut len) = (0, 0);
        leg.kept.all(|frame| {
            let next = frame.and_then(|frame| slot_of_one_key(frame, &self.server)).and_then(|slot| {
                let line = first_line(&lines[len..]).filter(|_| n == 0 || !leg.drops_before(n))?;
                let node = self.leads_to(line, slot, leg)?;
                (*way.get_or_insert(node) == node).then_some(line.len())
            });
            let Some(line) = next else { return false };
            n += 1;
            len += line;
            n < MAX_AHEAD as u64
        });
        way.filter(|_| n > 1).map(|node| (node, n, len))
    }

    /// Returns the node that a MOVED line names for this slot, if it is another one and the newest map agrees.
    fn leads_to(&self, line: &[u8], slot: u16, leg: &Leg) -> Option<NodeIndex> {
        let Some(Redirect::Moved(moved, Target::Node(name))) = Redirect::read(line, &leg.host) else {
            return None;
        };
        let node = self.maps.named(&name)?;
        let agrees = moved == slot && node != leg.node && self.maps.latest().owner(slot) == Some(node);
        agrees.then_some(node)
    }
}

fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n')? + 1;
    bytes.get(..len).filter(|line| line.starts_with(b"-MOVED ") && line.ends_with(b"\r\n"))
}

/// Returns the slot of the key of a kept frame with one key, if its reply has no effect on the session.
fn slot_of_one_key(frame: &[u8], server: &ServerFacts) -> Option<u16> {
    let command = whole(frame, server).filter(|command| Class::of(command.id) == Class::Keyed)?;
    if command.id.info().flags.contains(Flags::BLOCKING) {
        return None;
    }
    let mut n = 0;
    keys::keys(command.id, &keys::Frame::new(frame, command.arguments), |_| n += 1).ok()?;
    slot_of(frame, server).filter(|_| n == 1)
}
