//! Slots whose subscriptions must be made at another node.
//!
//! ```text
//!           unasked sunsubscribe, lost leg            sent              confirmed
//!   At(leg) ──────────────────────────────► Away ──────────► Asking ─────────────► At(leg)
//!                                            │ ▲  redirected,  │
//!                                            │ └── try again ──┘
//!                                            │
//!                 moved, and not again in 1 s├──► Lapsed: the client gets the push
//!          lost, and not again in the time   │
//!          of `failover_wait`                └──► the session ends
//! ```

use super::super::redirects::{MAX_HOPS, NOT_FOLLOWED};
use super::super::{Ended, LegIndex, Router};
use super::commands::Asked;
use super::shards::{Move, Place};
use super::{Listener, Sent};
use crate::cluster::{NodeIndex, Redirect, Target};
use crate::shape::Verb;
use crate::tick::Tick;

impl Router {
    /// Does what the time and the legs allow for the subscriptions.
    pub(in super::super) fn go_on_listening(&mut self, now: Tick) {
        if self.subscriptions.is_unused() {
            return;
        }
        for slot in self.subscriptions.shards.away() {
            self.move_slot(slot, now);
        }
        self.ask_again(now);
        self.send_ends(now);
        // Before the reply to a command in the order, or with no command under way, the client does not take the push
        // for the confirmation of its own SUNSUBSCRIBE.
        let is_under_way = !self.order.is_empty() && self.waits.passing.is_none();
        if is_under_way || (self.is_settled() && !self.subscriptions.has_unjudged) {
            self.tell_lapsed();
        }
    }

    /// Subscribes at the new owner of a slot.
    fn move_slot(&mut self, slot: u16, now: Tick) {
        let Some(Place::Away(mut this)) = self.subscriptions.shards.place(slot) else { return };
        this.since.get_or_insert(now);
        let place = if this.deadline(self.failover_wait, now) <= now {
            if this.is_lost {
                self.ended.get_or_insert(Ended::Lost);
                return;
            }
            Place::Lapsed
        } else if this.retry_at > now {
            Place::Away(this)
        } else {
            let owner = self.maps.latest().owner(slot);
            match this.to.or(owner).map(|node| self.listener(node, now)) {
                Some(Listener::Ready(leg)) => {
                    let names = self.subscriptions.shards.names_of(slot);
                    self.send_command(leg, Verb::Ssubscribe, &names, Sent::Again(slot), now);
                    Place::Asking(leg, Move { to: None, ..this })
                }
                // The leg is looked at again when it opens, or when its last command is answered.
                Some(Listener::Later) => Place::Away(Move { retry_at: Tick::default(), ..this }),
                Some(Listener::Down | Listener::TooMany) | None => {
                    self.hints.cluster_down = true;
                    this.postpone(now);
                    Place::Away(this)
                }
            }
        };
        self.subscriptions.shards.set_place(slot, place);
    }

    /// Sends the client's SSUBSCRIBE again, which was redirected.
    fn ask_again(&mut self, now: Tick) {
        let Some(Asked::Shards(asked)) = &self.subscriptions.asked else { return };
        if asked.leg.is_some() || asked.retry_at > now {
            return;
        }
        if asked.deadline() <= now {
            self.subscriptions.asked = None;
            self.subscriptions.out.extend_from_slice(NOT_FOLLOWED);
            return;
        }
        let (slot, to) = (asked.slot, asked.to);
        let node = match self.subscriptions.shards.place(slot) {
            Some(Place::At(leg)) => self.legs.get(leg).map(|leg| leg.node),
            Some(Place::Asking(..) | Place::Away(_)) => None,
            // The client waits for the confirmation of another command, so it does not take the push for it.
            Some(Place::Lapsed) => {
                self.tell_lapsed();
                None
            }
            None => to.or_else(|| self.maps.latest().owner(slot)),
        };
        let found = node.map(|node| self.listener(node, now));
        let Some(Asked::Shards(asked)) = &mut self.subscriptions.asked else { return };
        match found {
            Some(Listener::Ready(leg)) => {
                asked.leg = Some(leg);
                let names = asked.names.get(asked.confirmed..).unwrap_or_default().to_vec();
                self.send_command(leg, Verb::Ssubscribe, &names, Sent::Shards, now);
            }
            Some(Listener::Later) => asked.retry_at = Tick::default(),
            Some(Listener::Down | Listener::TooMany) | None => asked.postpone(now),
        }
    }

    /// Sends the ends of subscriptions that the client has ended, one slot at a time.
    fn send_ends(&mut self, now: Tick) {
        let is_open = |leg: &LegIndex| self.legs.get(*leg).is_some_and(super::Leg::is_open);
        let legs: Vec<LegIndex> = self
            .subscriptions
            .legs
            .iter()
            .filter(|(leg, commands)| commands.sent.is_none() && !commands.ending.is_empty() && is_open(leg))
            .map(|(leg, _)| *leg)
            .collect();
        for leg in legs {
            let Some(commands) = self.subscriptions.legs.get_mut(&leg) else { continue };
            let slot_of = |name: &[u8]| portcullis_resp::slot::slot(name);
            let first = commands.ending.first().map(|name| slot_of(name));
            let (ending, later): (Vec<_>, Vec<_>) = std::mem::take(&mut commands.ending)
                .into_iter()
                .partition(|name| Some(slot_of(name)) == first);
            commands.ending = later;
            self.send_command(leg, Verb::Sunsubscribe, &ending, Sent::End(ending.clone()), now);
        }
    }

    /// Tells the client of the subscriptions that could not be made again.
    pub(super) fn tell_lapsed(&mut self) {
        for name in self.subscriptions.shards.lapsed() {
            self.subscriptions.shards.remove(&name);
            self.confirm_shard(Verb::Sunsubscribe, Some(&name));
        }
    }

    /// Handles an error in reply to an SSUBSCRIBE that was sent for a slot that has moved.
    pub(super) fn again_failed(&mut self, index: LegIndex, slot: u16, line: &[u8], now: Tick) {
        let Some(Place::Asking(leg, mut this)) = self.subscriptions.shards.place(slot) else { return };
        if leg != index {
            return;
        }
        let place = match self.redirect_of(index, slot, line) {
            Way::To(node) if this.hops < MAX_HOPS => {
                this.hops += 1;
                this.to = Some(node);
                this.retry_at = now;
                Place::Away(this)
            }
            Way::To(_) | Way::Wait => {
                this.postpone(now);
                Place::Away(this)
            }
            Way::Pass => Place::Lapsed,
        };
        self.subscriptions.shards.set_place(slot, place);
    }

    /// Reads the redirect or the error in reply to an SSUBSCRIBE.
    pub(super) fn redirect_of(&mut self, index: LegIndex, slot: u16, line: &[u8]) -> Way {
        let Some((by, host)) = self.legs.get(index).map(|leg| (leg.node, &*leg.host)) else {
            return Way::Wait;
        };
        let redirect = Redirect::read(line, host);
        self.hints.count(redirect.as_ref());
        match redirect {
            Some(Redirect::Moved(moved, Target::Node(name))) if moved == slot => {
                let named = self.maps.named(&name).filter(|node| *node != by);
                self.hints.moved = Some((slot, by, name));
                self.hints.unknown |= named.is_none();
                named.map_or(Way::Wait, Way::To)
            }
            Some(Redirect::Moved(..) | Redirect::Ask(..) | Redirect::TryAgain | Redirect::ClusterDown) => {
                self.hints.cluster_down = true;
                Way::Wait
            }
            None if [&b"-LOADING"[..], b"-MASTERDOWN"].iter().any(|error| line.starts_with(error)) => {
                self.hints.cluster_down = true;
                Way::Wait
            }
            None => Way::Pass,
        }
    }
}

/// What to do after an error in reply to an SSUBSCRIBE.
pub(super) enum Way {
    /// Subscribe at this node.
    To(NodeIndex),
    /// Try again later.
    Wait,
    /// The error is the answer.
    Pass,
}
