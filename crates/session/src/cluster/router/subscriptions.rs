//! The subscriptions of a client: SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE, and their ends.
//!
//! Subscriptions have legs of their own, at most one for each node, which carry nothing else:
//!
//! ```text
//!   channels, patterns ───► the hub: one leg, to any node ────┐
//!                                                             ├──► between two replies ──► client
//!   shard channels ───────► a leg to the owner of each slot ──┘
//! ```
//!
//! - **Reading.** These legs are read at any time, but never within a reply or within a message of another leg.
//! - **Order.** A command that subscribes or unsubscribes waits until every reply has arrived ([`commands`]). Nothing
//!   later is judged until it is confirmed.
//! - **Channels and patterns.** The confirmations of the hub pass as they are: no other leg has channels or patterns.
//!   Its names are not kept. So the loss of the hub ends the session, as the loss of a server would.
//! - **Shard channels** ([`shards`]). Their names are kept, and the router counts them itself. A node that gives a slot
//!   away ends the subscriptions of the slot unasked, and the router subscribes at the new owner ([`moves`]).
//! - **A PING** follows each command on shard channels. Its reply ends the replies to the command: they may be
//!   confirmations, an error, or both, because the slot may move while the command is on its way.
//! - **Messages** of keyspace notifications are dropped ([`messages`]): they would concern the hub's node only.

mod commands;
mod messages;
mod moves;
mod shards;

use std::collections::BTreeMap;

use self::commands::Asked;
use self::messages::Passing;
use self::shards::Shards;
use super::leg::{Leg, LegIndex};
use super::{Broken, Ended, Router};
use crate::cluster::{Map, NodeIndex};
use crate::link::{self, Unavailable};
use crate::shape::Verb;
use crate::tick::Tick;

/// The most legs with subscriptions, so that half of [`MAX_LEGS`](super::leg::MAX_LEGS) are left for commands.
const MAX_LISTENERS: usize = 60;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// The subscriptions of one client.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    hub: Hub,
    shards: Shards,
    /// The client's command that is not confirmed yet.
    asked: Option<Asked>,
    /// The commands on the legs.
    legs: BTreeMap<LegIndex, Commands>,
    /// Confirmations for the client, and pushes that it gets although a node did not send them now.
    out: Vec<u8>,
    /// The message of which a part was read.
    passing: Option<Passing>,
    /// The node that could not be reached last, and why.
    failed: Option<(NodeIndex, Unavailable)>,
    /// Whether commands of the client were not judged yet.
    has_unjudged: bool,
}

/// The leg with the channels and patterns.
#[derive(Debug, Default)]
struct Hub {
    leg: Option<LegIndex>,
    counts: link::Subscriptions,
    /// The number of nodes that could not be reached so far. Each time another node is tried.
    tried: usize,
    /// How many of them were tried for the command that waits now, and why the last one could not be reached.
    failures: Option<(u8, Unavailable)>,
}

/// The commands on one leg.
#[derive(Debug, Default)]
struct Commands {
    /// The command that is not answered.
    sent: Option<Sent>,
    /// The shard channels to unsubscribe from. The client has its confirmation already.
    ending: Vec<Box<[u8]>>,
}

/// A command that is not answered.
#[derive(Debug)]
enum Sent {
    /// A command of the client on channels or patterns.
    Hub,
    /// An SSUBSCRIBE of the client.
    Shards,
    /// The SSUBSCRIBE of a slot that has moved.
    Again(u16),
    /// The SUNSUBSCRIBE of these names.
    End(Vec<Box<[u8]>>),
}

impl Commands {
    const fn is_free(&self) -> bool {
        self.sent.is_none() && self.ending.is_empty()
    }
}

impl Subscriptions {
    /// Returns whether the client has never subscribed.
    pub(super) fn is_unused(&self) -> bool {
        self.hub.leg.is_none()
            && self.shards.is_empty()
            && self.legs.is_empty()
            && self.asked.is_none()
            && self.out.is_empty()
    }

    /// Returns the number of all subscriptions.
    const fn total(&self) -> u64 {
        self.hub.counts.total() + self.shards.count()
    }

    /// Returns whether the client has subscriptions.
    pub(super) const fn are_active(&self) -> bool {
        self.total() > 0
    }

    /// Returns whether the client's last command is confirmed, and no message is half passed on.
    pub(super) const fn are_quiet(&self) -> bool {
        self.asked.is_none() && self.out.is_empty() && self.passing.is_none()
    }

    /// Returns whether a command waits for its confirmation, so that no other is judged.
    pub(super) const fn hold(&self) -> bool {
        self.asked.is_some()
    }

    /// Returns whether the client gets bytes of the router's own next, if no reply is half passed on.
    pub(super) const fn have_bytes(&self) -> bool {
        !self.out.is_empty() && self.passing.is_none()
    }

    /// Returns whether the client gets bytes, or the rest of a message, although the session is over.
    pub(super) const fn have_more(&self) -> bool {
        !self.out.is_empty() || self.passing.is_some()
    }

    pub(super) const fn are_passing(&self) -> bool {
        self.passing.is_some()
    }

    pub(super) fn take_bytes(&mut self, out: &mut Vec<u8>) {
        out.append(&mut std::mem::take(&mut self.out));
    }

    pub(super) const fn have_unjudged(&self) -> bool {
        self.has_unjudged
    }

    /// Records whether commands of the client wait to be judged.
    pub(super) const fn note_unjudged(&mut self, has_unjudged: bool) {
        self.has_unjudged = has_unjudged;
    }

    /// Returns whether a leg must stay although no command is pending on it.
    pub(super) fn use_leg(&self, leg: LegIndex) -> bool {
        (self.hub.leg == Some(leg) && self.hub.counts.active())
            || self.shards.use_leg(leg)
            || self.legs.contains_key(&leg)
            || self.asked.as_ref().is_some_and(|asked| asked.leg() == Some(leg))
    }

    /// Returns whether another leg may take the place of this one.
    pub(super) fn know_leg(&self, leg: LegIndex) -> bool {
        self.hub.leg == Some(leg) || self.use_leg(leg)
    }

    /// Records that an idle leg was closed.
    pub(super) fn forget_leg(&mut self, leg: LegIndex) {
        if self.hub.leg == Some(leg) {
            self.hub.leg = None;
        }
    }

    /// Returns the leg whose confirmation the client waits for.
    pub(super) fn asked_leg(&self) -> Option<LegIndex> {
        self.asked.as_ref()?.leg()
    }

    /// Returns whether the leg has no command that is not answered.
    fn is_free(&self, leg: LegIndex) -> bool {
        self.legs.get(&leg).is_none_or(Commands::is_free)
    }

    pub(super) fn due(&self, wait: Option<std::time::Duration>) -> Option<Tick> {
        let asked = self.asked.as_ref().and_then(Asked::due);
        [asked, self.shards.due(wait)].into_iter().flatten().min()
    }

    /// Gives up what is on its way, because the session ends.
    pub(super) fn end(&mut self) {
        (self.asked, self.passing, self.out) = (None, None, Vec::new());
    }

    /// Tries at once again what waits for a map or a leg.
    pub(super) fn hurry(&mut self) {
        self.failed = None;
        self.shards.hurry();
        if let Some(asked) = &mut self.asked {
            asked.hurry();
        }
    }

    /// Returns the bytes of memory that the subscriptions occupy.
    pub(super) fn held(&self) -> usize {
        let names = |names: &[Box<[u8]>]| -> usize {
            names.iter().map(|name| name.len() + size_of::<Box<[u8]>>()).sum()
        };
        let legs = self.legs.values().map(|commands| {
            let sent = match &commands.sent {
                Some(Sent::End(ending)) => names(ending),
                Some(Sent::Hub | Sent::Shards | Sent::Again(_)) | None => 0,
            };
            size_of::<(LegIndex, Commands)>() + names(&commands.ending) + sent
        });
        self.out.capacity()
            + self.shards.held()
            + legs.sum::<usize>()
            + self.asked.as_ref().map_or(0, |asked| names(asked.names()))
    }
}

/// The leg to a node for subscriptions.
enum Listener {
    /// It is open, and no command is pending on it.
    Ready(LegIndex),
    Later,
    /// The node does not answer.
    Down,
    /// The client's subscriptions are on too many nodes.
    TooMany,
}

/// Methods for the legs with subscriptions.
impl Router {
    /// Returns the legs with subscriptions that may be read now. When the session is over, only the rest of a message is
    /// read.
    pub fn listening(&self) -> impl Iterator<Item = LegIndex> + '_ {
        let subscriptions = &self.subscriptions;
        let only = subscriptions.passing.as_ref().map(|passing| passing.leg);
        let is_inside = self.waits.passing.is_some() || self.joins.is_inside();
        let is_between = !is_inside && subscriptions.out.is_empty();
        let may_read = only.is_some() || (is_between && self.ended.is_none());
        let legs = self.legs.all().filter(move |(_, leg)| may_read && leg.listens && leg.is_open());
        legs.map(|(index, _)| index).filter(move |leg| only.is_none_or(|only| only == *leg))
    }

    /// Finds the leg to a node for subscriptions, which is added if there is none.
    fn listener(&mut self, node: NodeIndex, now: Tick) -> Listener {
        if let Some((index, leg)) = self.legs.listener(node) {
            return match (leg.is_open(), self.maps.is_down(node)) {
                (true, _) if self.subscriptions.is_free(index) => Listener::Ready(index),
                (false, true) => Listener::Down,
                _ => Listener::Later,
            };
        }
        if self.maps.is_down(node) {
            return Listener::Down;
        }
        if self.legs.listeners().count() >= MAX_LISTENERS {
            return Listener::TooMany;
        }
        let Some(node) = self.maps.node(node) else { return Listener::Later };
        let mut leg = Leg::new(node, false, now);
        leg.listens = true;
        let (transaction, subscriptions) = (&self.transaction, &self.subscriptions);
        self.legs.add(leg, |leg| transaction.uses(leg) || subscriptions.know_leg(leg));
        Listener::Later
    }

    /// Adds a command to a leg, whose replies end with the reply to a PING.
    fn send_command(&mut self, index: LegIndex, verb: Verb, names: &[Box<[u8]>], sent: Sent, now: Tick) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        let command: &[u8] = if verb.gives_up() { b"SUNSUBSCRIBE" } else { b"SSUBSCRIBE" };
        let words: Vec<&[u8]> = std::iter::once(command).chain(names.iter().map(|name| &**name)).collect();
        let mut frame = Vec::new();
        portcullis_resp::encode::command(&mut frame, &words);
        frame.extend_from_slice(PING);
        leg.add(&frame);
        leg.used_at = now;
        self.subscriptions.legs.entry(index).or_default().sent = Some(sent);
    }

    /// Handles the end of a leg with subscriptions.
    pub(super) fn listener_gone(&mut self, index: LegIndex, why: Broken) {
        let node = self.legs.get(index).map(|leg| leg.node);
        let subscriptions = &mut self.subscriptions;
        if let (Broken::Unreached(why), Some(node)) = (why, node) {
            subscriptions.failed = Some((node, why));
        }
        subscriptions.legs.remove(&index);
        let is_cut = subscriptions.passing.as_ref().is_some_and(|passing| passing.is_cut_by(index));
        subscriptions.passing.take_if(|passing| passing.leg == index);
        subscriptions.shards.lose_leg(index);
        let asked_hub = matches!(&subscriptions.asked, Some(Asked::Hub { leg, .. }) if *leg == index);
        if let Some(asked) = &mut subscriptions.asked {
            asked.lose_leg(index);
        }
        let is_hub = subscriptions.hub.leg == Some(index);
        let had_subscriptions = is_hub && subscriptions.hub.counts.active();
        if is_hub {
            subscriptions.hub.lose_leg(why);
        }
        if is_cut {
            return self.end(Ended::Lost);
        }
        if asked_hub {
            self.subscriptions.asked = None;
            let line = self.loss_line(Some(index));
            self.subscriptions.out.extend_from_slice(&line);
        }
        if had_subscriptions {
            self.ended.get_or_insert(Ended::Lost);
        }
    }

    /// Returns the legs whose node has lost its place and does not answer. A node keeps its subscriptions as long as it
    /// is in the map, in whatever role.
    pub(super) fn silent_listeners(&self, map: &Map, down: &[NodeIndex]) -> Vec<LegIndex> {
        let owns_slots =
            |node: NodeIndex| (0..portcullis_resp::slot::SLOTS).any(|slot| map.owner(slot) == Some(node));
        let is_gone = |leg: &Leg| {
            leg.listens
                && leg.broken().is_none()
                && (map.node(leg.node).is_none() || (down.contains(&leg.node) && !owns_slots(leg.node)))
        };
        self.legs.all().filter(|(_, leg)| is_gone(leg)).map(|(index, _)| index).collect()
    }
}

impl Hub {
    fn lose_leg(&mut self, why: Broken) {
        self.leg = None;
        self.counts = link::Subscriptions::default();
        if let Broken::Unreached(why) = why {
            self.tried = self.tried.wrapping_add(1);
            self.failures = Some((self.failures.map_or(1, |(n, _)| n.saturating_add(1)), why));
        }
    }
}
