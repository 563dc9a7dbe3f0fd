//! Redirects at the front: where the command is sent again, and what it waits for.
//!
//! ```text
//!              MOVED, ASK                         reply
//!   Ordered ───────────────► Again, sent to a leg ─────► the next command
//!              TRYAGAIN  │      ▲   │ redirected again, at most 5 times
//!                        ▼      │   ▼
//!                   Again, waits for a time or for a map ──── 1 s ───► an error
//! ```

use std::borrow::Cow;
use std::time::Duration;

use super::command::slot_of;
use super::leg::LegIndex;
use super::order::Origin;
use super::{Front, Kind, PATIENCE, Router};
use crate::cluster::{Endpoint, NodeIndex, Redirect, Target};
use crate::tick::Tick;

/// The most times that one command is redirected.
pub(super) const MAX_HOPS: u8 = 5;

/// The first wait after TRYAGAIN. Each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// The doublings of [`FIRST_WAIT`] at most: 640 ms.
const MAX_DOUBLINGS: u32 = 6;

/// The most legs to one node for commands that are sent again. One of them may owe replies that come later.
const MAX_SIDES: usize = 2;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// The error in place of a redirect that is not followed.
pub(super) const NOT_FOLLOWED: &[u8] = b"-TRYAGAIN the slot of this command is moving to another node\r\n";

/// The front's command on its way to another node.
#[derive(Debug)]
pub(super) struct Again {
    frame: Vec<u8>,
    slot: u16,
    pub(super) kind: Kind,
    hops: u8,
    /// The nodes that the command was at before, as far as later commands on its slot may wait there.
    visited: Vec<NodeIndex>,
    tries: u32,
    /// The time of the first redirect that could not be followed at once.
    waits_since: Option<Tick>,
    /// The leg that the command has left before it was written. Nothing is written there until the command has its
    /// reply: later commands on the same key may wait there.
    left: Option<LegIndex>,
    pub(super) step: Step,
}

/// The next step of such a command.
#[derive(Debug)]
pub(super) enum Step {
    /// Its reply comes from this leg.
    Sent(LegIndex),
    /// It waits, until this time at the latest.
    Waits(Awaited, Tick),
}

/// The event that a redirected command waits for.
#[derive(Clone, Debug)]
pub(super) enum Awaited {
    /// A map with the node that was named, which is not the one that answered.
    Named { name: Option<Endpoint>, by: NodeIndex, asking: bool },
    /// A map in which this node, which is not the one that answered, owns the slot. `None`: any node.
    Owner(Option<NodeIndex>),
    /// A map in which the slot is moving from one node to another. The first one is asked once more if the ASK may have
    /// waited.
    Migrating { from: NodeIndex, to: NodeIndex, is_fresh: bool },
    /// A map in which another node than this one owns the slot.
    Other(NodeIndex),
    /// A time, after which the node is asked again.
    Time(NodeIndex, bool),
}

impl Again {
    fn of(frame: Vec<u8>, slot: u16, kind: Kind) -> Self {
        let step = Step::Waits(Awaited::Owner(None), Tick::default());
        Self {
            frame,
            slot,
            kind,
            hops: 0,
            visited: Vec::new(),
            tries: 0,
            waits_since: None,
            left: None,
            step,
        }
    }

    /// Makes the command of a leg that it leaves before it was written.
    pub(super) fn leaving(leg: LegIndex, frame: Vec<u8>, slot: u16, kind: Kind) -> Self {
        Self { left: Some(leg), ..Self::of(frame, slot, kind) }
    }

    pub(super) fn waiting(self, awaited: Awaited, until: Tick) -> Self {
        Self { step: Step::Waits(awaited, until), ..self }
    }

    pub(super) const fn slot(&self) -> u16 {
        self.slot
    }

    /// Returns whether no other command is judged until this one has its reply.
    pub(super) const fn holds(&self) -> bool {
        self.tries > 0 || matches!(self.step, Step::Waits(..))
    }

    pub(super) fn due(&self) -> Option<Tick> {
        match self.step {
            Step::Waits(_, until) => Some(until),
            Step::Sent(_) => None,
        }
    }

    pub(super) const fn leg(&self) -> Option<LegIndex> {
        match self.step {
            Step::Sent(leg) => Some(leg),
            Step::Waits(..) => None,
        }
    }

    /// Returns whether nothing may be written to this leg now.
    pub(super) fn keeps_back(&self, leg: LegIndex) -> bool {
        self.left == Some(leg) && self.leg() != Some(leg)
    }

    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.frame.capacity() + self.visited.capacity() * size_of::<NodeIndex>()
    }
}

/// What to do with a redirect.
enum Way {
    /// Send the command to this node, after ASKING or not.
    To(NodeIndex, bool),
    Wait(Awaited, Tick),
    /// Give the client an error.
    Refuse,
}

impl Router {
    /// Handles a redirect or TRYAGAIN in place of the front's reply. An ASK that may have waited in its socket is not
    /// followed: meanwhile the slot may have come back and begun to move again, and then ASKING would make a second
    /// copy of a key. The node is asked once more. Returns whether the line is used up: the command is
    /// sent again, waits, or has another reply. If not, the client gets the line, which is a TRYAGAIN.
    pub(super) fn redirected(&mut self, leg: LegIndex, kind: Kind, redirect: Redirect, now: Tick) -> bool {
        match kind {
            Kind::Exec | Kind::SpoiltExec => {
                if redirect == Redirect::TryAgain {
                    return false;
                }
                self.replace(leg, Self::exec_moved());
                return true;
            }
            Kind::Queued => {
                self.replace(leg, Self::moved_away());
                return true;
            }
            Kind::Opening if self.transaction.opening().is_none() => {
                self.transaction.opened(leg);
                self.replace(leg, Self::moved_away());
                return true;
            }
            Kind::Login => {
                self.replace(leg, NOT_FOLLOWED);
                return true;
            }
            Kind::Plain
            | Kind::Script
            | Kind::Blocking
            | Kind::Watch
            | Kind::Opening
            | Kind::Part
            | Kind::FailedPart
            | Kind::Scan => {}
        }
        // A script that has run can return a TRYAGAIN of its own.
        if redirect == Redirect::TryAgain && (kind == Kind::Script || self.has_later_of_slot(leg)) {
            return false;
        }
        let is_fresh = matches!(self.front, Front::Again(_)) || self.is_alone;
        let again = self.take_front(leg, kind);
        if kind == Kind::Opening {
            self.discard_at(leg);
        }
        let Some(again) = again else {
            self.front = Front::Own(Cow::Borrowed(NOT_FOLLOWED));
            return true;
        };
        if let Some(node) = self.legs.get(leg).map(|leg| leg.node) {
            // A script that has made the ASK itself must not run again.
            if !is_fresh && matches!(redirect, Redirect::Ask(..)) && kind != Kind::Script {
                self.send_again(again, node, false, now);
            } else {
                self.follow(node, again, (redirect, is_fresh), now);
            }
        }
        true
    }

    fn follow(&mut self, by: NodeIndex, mut again: Again, redirect: (Redirect, bool), now: Tick) {
        match self.way(&mut again, by, redirect, now) {
            Way::To(target, asking) => self.send_again(again, target, asking, now),
            Way::Wait(awaited, until) => {
                self.front = Front::Again(Box::new(again.waiting(awaited, until)));
            }
            Way::Refuse => self.front = Front::Own(Cow::Borrowed(NOT_FOLLOWED)),
        }
    }

    /// Decides where a redirected command goes. `by` is the node that answered, and `is_fresh` tells whether its answer
    /// cannot have waited.
    fn way(&mut self, again: &mut Again, by: NodeIndex, redirect: (Redirect, bool), now: Tick) -> Way {
        let (redirect, is_fresh) = redirect;
        let deadline = again.waits_since.unwrap_or(now).after(PATIENCE);
        let (slot, target, asking) = match redirect {
            Redirect::TryAgain => {
                let wait = FIRST_WAIT * 2_u32.pow(again.tries.min(MAX_DOUBLINGS));
                again.tries += 1;
                again.waits_since.get_or_insert(now);
                let at = now.after(wait);
                return if at > deadline { Way::Refuse } else { Way::Wait(Awaited::Time(by, false), at) };
            }
            Redirect::Moved(slot, target) => (slot, target, false),
            Redirect::Ask(slot, target) => (slot, target, true),
            Redirect::ClusterDown => return Way::Refuse,
        };
        if slot != again.slot || again.hops >= MAX_HOPS {
            return Way::Refuse;
        }
        again.hops += 1;
        let name = match target {
            Target::Node(name) => Some(name),
            Target::Unknown => None,
        };
        if !asking && let Some(name) = &name {
            self.hints.moved = Some((slot, by, name.clone()));
        }
        let Some(node) = name.as_ref().and_then(|name| self.maps.named(name)) else {
            self.hints.unknown = true;
            again.waits_since.get_or_insert(now);
            return Way::Wait(Awaited::Named { name, by, asking }, deadline);
        };
        again.visited.push(by);
        if again.visited.contains(&node) && self.owes_later_of_slot(node, slot) {
            // The slot has come back, and the node may have executed a later command.
            return Way::Refuse;
        }
        match again.kind {
            _ if node == by => Way::Refuse,
            // A script can return any error. Only the map is believed, which comes from the nodes.
            Kind::Script if asking => {
                if self.maps.latest().is_migrating(slot, by, node) {
                    return if is_fresh { Way::To(node, true) } else { Way::To(by, false) };
                }
                self.hints.asked = Some(by);
                again.waits_since.get_or_insert(now);
                Way::Wait(Awaited::Migrating { from: by, to: node, is_fresh }, deadline)
            }
            Kind::Script if self.maps.latest().owner(slot) != Some(node) => {
                again.waits_since.get_or_insert(now);
                Way::Wait(Awaited::Owner(Some(node)), deadline)
            }
            _ => Way::To(node, asking),
        }
    }

    /// Returns the leg by which commands are sent again to a node: one that owes nothing. `None`: there is none, and no
    /// room for another one now.
    pub(super) fn idle_leg(&mut self, node: NodeIndex, asking: bool, now: Tick) -> Option<LegIndex> {
        if let Some(leg) = self.legs.idle_of(node, asking) {
            return Some(leg);
        }
        let has_main = self.legs.of(node, false).is_some();
        if has_main && self.legs.sides_of(node) >= MAX_SIDES {
            return None;
        }
        self.add_leg(node, has_main || (asking && self.is_shared), now)
    }

    /// Sends the front's command again: by the main leg of the node if that owes nothing, else by its side leg.
    pub(super) fn send_again(&mut self, again: Again, node: NodeIndex, asking: bool, now: Tick) {
        let Some(leg) = self.idle_leg(node, asking, now) else {
            self.front = Front::Own(Cow::Borrowed(NOT_FOLLOWED));
            return;
        };
        if super::command::whole(&again.frame, &self.server).is_none_or(|command| command.writes_data()) {
            self.written.note(leg, &mut self.legs);
        }
        let opening = if again.kind == Kind::Opening { self.transaction.opening() } else { None };
        if let Some(leg) = self.legs.get_mut(leg) {
            if asking {
                leg.add_silent(ASKING, 1);
            }
            if let Some((frames, n)) = opening {
                leg.add_silent(&frames, n);
            }
            // The frame is kept here.
            leg.send(&again.frame, true, 0, now);
        }
        self.front = Front::Again(Box::new(Again { step: Step::Sent(leg), ..again }));
    }

    /// Takes the front's command from its leg. `None`: its frame was not kept, or has no slot.
    pub(super) fn take_front(&mut self, leg: LegIndex, kind: Kind) -> Option<Again> {
        let front = std::mem::replace(&mut self.front, Front::Ordered);
        if let Front::Again(again) = front {
            if let Some(leg) = self.legs.get_mut(leg) {
                leg.settle(1);
            }
            return Some(*again);
        }
        let first = match self.order.front() {
            Some((Origin::Leg(first), _)) => {
                self.legs.get(first).filter(|leg| leg.is_general()).map(|leg| leg.node)
            }
            _ => None,
        };
        let frame = self.legs.get_mut(leg)?.take()?;
        let slot = slot_of(&frame, &self.server)?;
        // Another node has redirected what was sent ahead.
        let visited = first.into_iter().collect();
        Some(Again { visited, ..Again::of(frame, slot, kind) })
    }

    /// Returns whether a node owes the reply to a later command on the slot of the front.
    fn owes_later_of_slot(&self, node: NodeIndex, slot: u16) -> bool {
        let of = |frame: &[u8]| slot_of(frame, &self.server);
        let of_slot =
            |frame: Option<&[u8]>| frame.is_none_or(|frame| of(frame).is_none_or(|own| own == slot));
        let owes = |leg: &super::leg::Leg| !leg.kept.all(|frame| !of_slot(frame));
        self.legs.all().any(|(_, leg)| leg.node == node && owes(leg))
    }

    /// Returns whether commands on a slot wait: the front is on its way to the new owner of the slot. If the slot came
    /// back meanwhile, they would overtake.
    pub(super) fn is_redirecting(&self, slot: u16) -> bool {
        matches!(&self.front, Front::Again(again) if again.slot == slot)
    }

    /// Replaces the front's reply by one of the router's own.
    pub(super) fn replace(&mut self, leg: LegIndex, line: &'static [u8]) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.settle(1);
        }
        self.front = Front::Own(Cow::Borrowed(line));
    }

    /// Returns whether the leg owes a later command on the slot of the front, which would be executed before it.
    fn has_later_of_slot(&self, leg: LegIndex) -> bool {
        let (slot, sent_to) = match &self.front {
            Front::Again(again) => (Some(again.slot), again.leg()),
            Front::Ordered | Front::Own(_) => (None, None),
        };
        // Later commands are at the main leg of the owner in the map in force. The oldest command of a leg is the front
        // itself, if the front was sent there.
        let owner = slot.and_then(|slot| self.maps.current().owner(slot));
        let main = owner.map_or(Some(leg), |owner| self.legs.of(owner, false));
        let Some(later) = main.and_then(|main| self.legs.get(main)) else { return false };
        let (mut first, mut skips) = (slot, slot.is_some() && main == sent_to);
        !later.kept.all(|frame| {
            if std::mem::take(&mut skips) {
                return true;
            }
            match (frame.and_then(|frame| slot_of(frame, &self.server)), first) {
                (None, _) => false,
                (Some(slot), None) => {
                    first = Some(slot);
                    true
                }
                (Some(slot), Some(first)) => slot != first,
            }
        })
    }

    /// Handles a blocking command that its server ended unexecuted, because the server has lost its role. The server knows
    /// its master, perhaps before the map does, and redirects the command. Returns whether the command is sent again.
    pub(super) fn unblocked(&mut self, leg: LegIndex, now: Tick) -> bool {
        let Some(again) = self.take_front(leg, Kind::Blocking) else {
            self.front = Front::Own(Cow::Borrowed(NOT_FOLLOWED));
            return true;
        };
        self.hints.cluster_down = true;
        let node = self.legs.get(leg).map(|leg| leg.node);
        if self.legs.get(leg).is_some_and(|leg| leg.pending() == 0) && !self.is_needed(leg) {
            // The server closes the connection after this error.
            self.legs.remove(leg);
        }
        match node.filter(|node| self.maps.latest().owner(again.slot) == Some(*node)) {
            Some(node) => self.send_again(again, node, false, now),
            None => {
                let awaited = node.map_or(Awaited::Owner(None), Awaited::Other);
                self.front = Front::Again(Box::new(again.waiting(awaited, now.after(PATIENCE))));
            }
        }
        true
    }

    /// Lets a waiting command go on, if what it waits for has come.
    pub(super) fn go_on(&mut self, now: Tick) {
        let Front::Again(again) = &mut self.front else { return };
        let Step::Waits(awaited, until) = &again.step else { return };
        let latest = self.maps.latest();
        let owner = latest.owner(again.slot);
        let way = match awaited {
            Awaited::Time(node, asking) if *until <= now => Way::To(*node, *asking),
            Awaited::Time(..) => return,
            Awaited::Named { name, by, asking } => {
                let named =
                    name.as_ref().and_then(|name| latest.named(name)).map(crate::cluster::Node::index);
                let node = named.or_else(|| owner.filter(|_| !*asking && name.is_none()));
                match node.filter(|node| node != by) {
                    Some(node) => Way::To(node, *asking),
                    None if *until <= now => Way::Refuse,
                    None => return,
                }
            }
            Awaited::Migrating { from, to, is_fresh } if latest.is_migrating(again.slot, *from, *to) => {
                if *is_fresh {
                    Way::To(*to, true)
                } else {
                    Way::To(*from, false)
                }
            }
            Awaited::Migrating { .. } if *until <= now => Way::Refuse,
            Awaited::Migrating { .. } => return,
            Awaited::Owner(_) | Awaited::Other(_) => {
                let fits = |owner: &NodeIndex| match awaited {
                    Awaited::Owner(node) => node.is_none_or(|node| node == *owner),
                    Awaited::Other(node) => node != owner,
                    Awaited::Named { .. } | Awaited::Time(..) | Awaited::Migrating { .. } => false,
                };
                match owner.filter(fits) {
                    Some(owner) => Way::To(owner, false),
                    None if *until <= now => Way::Refuse,
                    None => return,
                }
            }
        };
        let Front::Again(again) = std::mem::replace(&mut self.front, Front::Ordered) else { return };
        match way {
            Way::To(node, asking) => self.send_again(*again, node, asking, now),
            Way::Wait(..) | Way::Refuse => self.front = Front::Own(Cow::Borrowed(NOT_FOLLOWED)),
        }
    }
}
