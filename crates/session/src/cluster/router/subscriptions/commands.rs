//! The commands that subscribe and unsubscribe, and those of a client that may do nothing else.

use std::borrow::Cow;

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::scan::arguments;
use portcullis_resp::{encode, reply};

use super::super::class::{Class, Refusal};
use super::super::command::Command;
use super::super::commands::Judged;
use super::super::destination::Chosen;
use super::super::ends::unavailable;
use super::super::leg::LegIndex;
use super::super::{Broken, PATIENCE, REDIAL, Router};
use super::shards::Place;
use super::{Listener, Sent};
use crate::cluster::{CommandSlot, NodeIndex};
use crate::link::Unavailable;
use crate::local::client_info::not_while_subscribed;
use crate::shape::Verb;
use crate::tick::Tick;

/// The beginning of the channels of keyspace notifications.
const NOTIFICATIONS: &[u8] = b"__key";

/// The reply to a SUBSCRIBE to keyspace notifications.
const ONE_NODE: &[u8] =
    b"-ERR portcullis: keyspace notifications would come from one node of a cluster only\r\n";

/// The reply to an SSUBSCRIBE with which the client would have too many shard channels.
const TOO_LONG: &[u8] =
    b"-ERR portcullis: the names of the shard channels of a client are longer than 64 KiB together\r\n";

/// The reply to a command with which the client would be subscribed at too many nodes.
const TOO_MANY_NODES: &[u8] = b"-ERR portcullis: the subscriptions of a client are at too many nodes\r\n";

/// The nodes that are tried for channels and patterns before the command fails.
const TRIES: u8 = 2;

/// The client's command that is not confirmed yet.
#[derive(Debug)]
pub(super) enum Asked {
    /// A command on channels or patterns, with the number of confirmations that are left.
    Hub {
        leg: LegIndex,
        verb: Verb,
        left: u64,
    },
    Shards(Box<AskedShards>),
}

/// An SSUBSCRIBE of the client.
#[derive(Debug)]
pub(super) struct AskedShards {
    pub(super) slot: u16,
    pub(super) names: Vec<Box<[u8]>>,
    pub(super) confirmed: usize,
    /// The leg that has the command. `None`: it must be sent again.
    pub(super) leg: Option<LegIndex>,
    /// The node that a redirect named.
    pub(super) to: Option<NodeIndex>,
    pub(super) hops: u8,
    pub(super) retry_at: Tick,
    since: Tick,
}

impl Asked {
    pub(super) fn leg(&self) -> Option<LegIndex> {
        match self {
            Self::Hub { leg, .. } => Some(*leg),
            Self::Shards(asked) => asked.leg,
        }
    }

    pub(super) fn names(&self) -> &[Box<[u8]>] {
        match self {
            Self::Hub { .. } => &[],
            Self::Shards(asked) => &asked.names,
        }
    }

    pub(super) fn due(&self) -> Option<Tick> {
        match self {
            Self::Shards(asked) if asked.leg.is_none() => Some(match asked.retry_at {
                at if at == Tick::default() => asked.deadline(),
                at => at.min(asked.deadline()),
            }),
            Self::Hub { .. } | Self::Shards(_) => None,
        }
    }

    pub(super) fn hurry(&mut self) {
        if let Self::Shards(asked) = self {
            asked.retry_at = Tick::default();
        }
    }

    /// Records the loss of a leg. An SSUBSCRIBE may be executed twice, so it is sent again.
    pub(super) fn lose_leg(&mut self, leg: LegIndex) {
        if let Self::Shards(asked) = self {
            asked.leg.take_if(|at| *at == leg);
        }
    }
}

impl AskedShards {
    pub(super) fn deadline(&self) -> Tick {
        self.since.after(PATIENCE)
    }

    pub(super) fn postpone(&mut self, now: Tick) {
        self.retry_at = now.after(REDIAL);
    }
}

/// The leg for a command.
enum Found {
    Leg(LegIndex),
    Judged(Judged),
}

impl Router {
    /// Returns whether the client may only subscribe, unsubscribe, and send PING, RESET and QUIT.
    pub(in super::super) const fn only_listens(&self) -> bool {
        !self.identity.resp3() && self.subscriptions.are_active()
    }

    /// Judges a command as far as the client's subscriptions decide it. `None`: they do not.
    pub(in super::super) fn while_listening(
        &mut self,
        command: &Command<'_>,
        class: Class,
        now: Tick,
    ) -> Option<Judged> {
        if self.subscriptions.is_unused() {
            return None;
        }
        // The client does not take these pushes for confirmations of another command than SUNSUBSCRIBE.
        if class != Class::Subscription(Verb::Sunsubscribe) {
            self.tell_lapsed();
        }
        let is_allowed =
            matches!(class, Class::Subscription(_) | Class::Reset | Class::Refused(Refusal::Unknown));
        if is_allowed || !self.only_listens() {
            return None;
        }
        if !command.id.info().takes(command.arguments) {
            return Some(self.wrong_arity(command.id, now));
        }
        if command.id != id::PING {
            return Some(self.answer(Cow::Owned(not_while_subscribed(command.id)), now));
        }
        let mut line = Vec::new();
        encode::array(&mut line, 2);
        encode::bulk(&mut line, b"pong");
        encode::bulk(&mut line, arguments(command.frame).nth(1).unwrap_or_default());
        Some(self.answer(Cow::Owned(line), now))
    }

    /// Judges a command that subscribes or unsubscribes, when every reply has arrived.
    pub(in super::super) fn subscription(&mut self, command: Command<'_>, verb: Verb, now: Tick) -> Judged {
        if !self.is_settled() {
            return Judged::Later;
        }
        if !command.id.info().takes(command.arguments) {
            return self.wrong_arity(command.id, now);
        }
        match verb {
            Verb::Ssubscribe => self.ssubscribe(command, now),
            Verb::Sunsubscribe => self.sunsubscribe(command, now),
            Verb::Subscribe | Verb::Psubscribe | Verb::Unsubscribe | Verb::Punsubscribe => {
                self.at_hub(command, verb, now)
            }
        }
    }

    fn wrong_arity(&mut self, command: CommandId, now: Tick) -> Judged {
        let mut line = Vec::new();
        reply::wrong_arity(&mut line, command.name());
        self.answer(Cow::Owned(line), now)
    }

    /// Judges a command on channels or patterns.
    fn at_hub(&mut self, command: Command<'_>, verb: Verb, now: Tick) -> Judged {
        let mut names = arguments(command.frame).skip(1);
        let counts = self.subscriptions.hub.counts;
        if verb.gives_up() && !counts.active() {
            let names: Vec<&[u8]> = names.collect();
            let nothing = std::iter::once(None).filter(|_| names.is_empty());
            for name in names.iter().copied().map(Some).chain(nothing) {
                verb.confirm(&mut self.subscriptions.out, name, 0, self.identity.resp3());
            }
            return Judged::Taken;
        }
        if !verb.gives_up() && names.any(|name| name.starts_with(NOTIFICATIONS)) {
            return self.answer(Cow::Borrowed(ONE_NODE), now);
        }
        let index = match self.hub_leg(now) {
            Found::Leg(leg) => leg,
            Found::Judged(judged) => return judged,
        };
        let Some(leg) = self.legs.get_mut(index) else { return Judged::Later };
        leg.add(command.frame);
        leg.used_at = now;
        let left = match command.arguments.saturating_sub(1) {
            0 => counts.confirmations_of_all(verb),
            n => n,
        };
        let subscriptions = &mut self.subscriptions;
        (subscriptions.hub.leg, subscriptions.hub.failures) = (Some(index), None);
        subscriptions.asked = Some(Asked::Hub { leg: index, verb, left });
        subscriptions.legs.entry(index).or_default().sent = Some(Sent::Hub);
        Judged::Taken
    }

    /// Finds the leg for channels and patterns: the one that has some, one that has shard channels, or one to any node.
    fn hub_leg(&mut self, now: Tick) -> Found {
        let is_well = |node: NodeIndex| !self.maps.is_down(node);
        let is_bound = self.subscriptions.hub.counts.active();
        let hub = self.subscriptions.hub.leg.and_then(|leg| Some(self.legs.get(leg)?.node));
        let hub = hub.filter(|node| is_bound || is_well(*node));
        let other = || self.legs.listeners().find(|(_, leg)| leg.is_open() && is_well(leg.node));
        let node = match hub.or_else(|| Some(other()?.1.node)) {
            Some(node) => Some(node),
            None => self.maps.any_master(self.seed.wrapping_add(self.subscriptions.hub.tried)),
        };
        if let Some((n, why)) = self.subscriptions.hub.failures
            && (n >= TRIES || !why.passes())
        {
            self.subscriptions.hub.failures = None;
            return self.fail(why, now);
        }
        match node.map(|node| self.listener(node, now)) {
            Some(Listener::Ready(leg)) => Found::Leg(leg),
            Some(Listener::Later) => {
                self.subscriptions.hub.leg = node.and_then(|node| Some(self.legs.listener(node)?.0));
                Found::Judged(Judged::Later)
            }
            Some(Listener::TooMany) => Found::Judged(self.answer(Cow::Borrowed(TOO_MANY_NODES), now)),
            Some(Listener::Down) | None => self.fail(Unavailable::Timeout, now),
        }
    }

    fn fail(&mut self, why: Unavailable, now: Tick) -> Found {
        Found::Judged(self.answer(Cow::Owned(unavailable(&self.upstream, why)), now))
    }

    fn ssubscribe(&mut self, command: Command<'_>, now: Tick) -> Judged {
        let CommandSlot::One(slot) = command.slot() else {
            return self.answer(Cow::Borrowed(reply::CROSSSLOT), now);
        };
        let names: Vec<&[u8]> = arguments(command.frame).skip(1).collect();
        let ending: usize = self
            .subscriptions
            .legs
            .values()
            .flat_map(|commands| &commands.ending)
            .map(|name| name.len())
            .sum();
        if !self.subscriptions.shards.have_room(names.iter().copied(), ending) {
            return self.answer(Cow::Borrowed(TOO_LONG), now);
        }
        let leg = match self.shard_leg(slot, now) {
            Found::Leg(leg) => leg,
            Found::Judged(judged) => return judged,
        };
        let names: Vec<Box<[u8]>> = names.into_iter().map(Into::into).collect();
        self.send_command(leg, Verb::Ssubscribe, &names, Sent::Shards, now);
        self.subscriptions.asked = Some(Asked::Shards(Box::new(AskedShards {
            slot,
            names,
            confirmed: 0,
            leg: Some(leg),
            to: None,
            hops: 0,
            retry_at: now,
            since: now,
        })));
        Judged::Taken
    }

    /// Finds the leg for the shard channels of a slot.
    fn shard_leg(&mut self, slot: u16, now: Tick) -> Found {
        let node = match self.subscriptions.shards.place(slot) {
            Some(Place::At(leg)) => self.legs.get(leg).map(|leg| leg.node),
            Some(Place::Asking(..) | Place::Away(_) | Place::Lapsed) => None,
            None => match self.maps.latest().owner(slot) {
                Some(owner) => Some(owner),
                None => {
                    return Found::Judged(match self.without_owner(now) {
                        Chosen::Failed(line) => self.answer(line, now),
                        Chosen::At(_) | Chosen::Later => Judged::Later,
                    });
                }
            },
        };
        let Some(node) = node else { return Found::Judged(Judged::Later) };
        if let Some((_, why)) = self.subscriptions.failed.take_if(|(failed, _)| *failed == node) {
            return self.fail(why, now);
        }
        match self.listener(node, now) {
            Listener::Ready(leg) => Found::Leg(leg),
            Listener::Later => Found::Judged(Judged::Later),
            Listener::Down => self.fail(Unavailable::Timeout, now),
            Listener::TooMany => Found::Judged(self.answer(Cow::Borrowed(TOO_MANY_NODES), now)),
        }
    }

    /// Ends shard subscriptions. The client has its confirmations at once, and gets no message from then on. The nodes
    /// are told later.
    fn sunsubscribe(&mut self, command: Command<'_>, now: Tick) -> Judged {
        if command.slot() == CommandSlot::Several {
            return self.answer(Cow::Borrowed(reply::CROSSSLOT), now);
        }
        let mut names: Vec<Box<[u8]>> = arguments(command.frame).skip(1).map(Into::into).collect();
        if names.is_empty() {
            names = self.subscriptions.shards.names();
        }
        if names.is_empty() {
            self.confirm_shard(Verb::Sunsubscribe, None);
        }
        for name in names {
            if let Some(Some(leg)) = self.subscriptions.shards.remove(&name) {
                self.subscriptions.legs.entry(leg).or_default().ending.push(name.clone());
            }
            self.confirm_shard(Verb::Sunsubscribe, Some(&name));
        }
        Judged::Taken
    }

    /// Writes a confirmation on a shard channel, with the client's own number of them.
    pub(super) fn confirm_shard(&mut self, verb: Verb, name: Option<&[u8]>) {
        let count = self.subscriptions.shards.count();
        verb.confirm(&mut self.subscriptions.out, name, count, self.identity.resp3());
    }

    /// Gives up the node whose confirmation the client waits for. Returns whether there is one.
    pub(in super::super) fn give_up_subscription(&mut self) -> bool {
        let Some(leg) = self.subscriptions.asked_leg() else { return false };
        self.hints.silent = self.legs.get(leg).map(|leg| leg.node);
        self.break_off(leg, Broken::Lost);
        true
    }
}
