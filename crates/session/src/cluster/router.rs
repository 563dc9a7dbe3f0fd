//! One client's session with a cluster, over several connections to its nodes. To the client's [`Session`] and
//! [`Link`] it looks like one connection to one server.
//!
//! [`Session`]: crate::Session
//! [`Link`]: crate::Link
//!
//! ```text
//!                                    ┌─► leg (node A) ──┐
//!   commands ──► send() ──► order ───┼─► leg (node B) ──┼──► receive() ──► replies, in the order of the commands
//!                 │         kept     └─► leg (node B,  ─┘        │
//!                 │         frames        side)                  │ MOVED, ASK, TRYAGAIN at the front
//!                 └──► replies of the router's own               └──► the kept frame is sent again
//! ```
//!
//! The router decides, and its caller moves bytes. The router reads the judged commands of the client, chooses a leg for
//! each, keeps copies of the frames, follows redirects, and holds commands back that must wait. The caller dials for a
//! leg, writes its bytes, and reads the leg whose turn it is ([`Router::turn`]).
//!
//! - **Order.** One byte for each change of the leg ([`order`]). The oldest pending reply is the *front*. Only its leg is
//!   read, so the replies of other legs wait in their sockets, and nothing is buffered out of turn.
//! - **Kept frames.** A copy of each frame up to 16 KiB is kept until its reply, at most `held_command` bytes together
//!   ([`kept`]). A redirected command whose frame was not kept gets `-TRYAGAIN`.
//! - **Legs.** At most two for each node ([`leg`]). *Main* gets new commands. *Side* gets commands that are sent again
//!   while Main owes replies: those come later in the client's order, and would have to be buffered.
//! - **Redirects** are followed at the front, one command after the other ([`redirects`]). So commands on one key are
//!   executed in the order in which the client sent them.
//! - **MOVED** lines that follow each other are read ahead, and their commands are sent together ([`ahead`]).
//! - **Places.** The leg to a node that is no master any more takes no new commands ([`places`]).
//! - **Maps.** A new map is taken when the old owners of the changed slots owe nothing ([`maps`]).
//! - **At the same time.** Commands to different nodes run at the same time. A command that may write to other keys or
//!   speaks to other clients (EXEC, scripts, PUBLISH) waits until no other leg owes the reply to a write.
//! - **Replicas.** Commands that only read may go to replicas, by legs of their own ([`readers`]).
//! - **Alone.** After a blocking command, WATCH, a login, and the first keyed command of a transaction, nothing is judged
//!   until every reply has arrived.
//! - **Transactions** begin at the node of their first key ([`transaction`]).
//! - **SCAN** goes through the slots, and asks the nodes one after the other ([`scan`]).
//! - **Subscriptions** have legs of their own ([`subscriptions`]), which are read at any time between two replies
//!   ([`Router::listening`]).
//! - **Shared connections.** The main legs of a client on shared connections go by the pools of the nodes ([`shared`]).
//! - **Lost legs.** A command of which a byte was written is never sent again after its leg was lost: it gets an error.

mod ahead;
mod calm;
mod class;
mod command;
mod commands;
mod connection;
mod destination;
mod ends;
mod hints;
mod identity;
mod idle;
mod joins;
mod kept;
mod leg;
mod legs;
mod maps;
mod order;
mod places;
mod readers;
mod redirects;
mod replies;
mod scan;
mod shared;
mod subscriptions;
mod transaction;
mod written;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use portcullis_resp::scan::ReplyHead;

use self::ahead::Ahead;
use self::commands::Incoming;
pub use self::hints::Hints;
use self::identity::{Identity, Login};
use self::joins::Joins;
pub use self::leg::LegIndex;
use self::leg::{Broken, Leg, LegState};
use self::legs::Legs;
use self::maps::Maps;
use self::order::{Order, Origin};
use self::readers::Readers;
use self::redirects::{Again, Step};
pub use self::replies::Received;
use self::scan::Scan;
use self::subscriptions::Subscriptions;
use self::transaction::Transaction;
use self::written::Written;
use super::{Map, NodeIndex, ServerFacts};
use crate::link::{PoolKey, Unavailable};
use crate::tick::Tick;

/// The time for which commands wait for a node that cannot be reached, for the owner of a slot, or for the map that a
/// redirect announces.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two dials to a node that cannot be reached.
const REDIAL: Duration = Duration::from_millis(50);

/// The number of pending replies with which nothing more is judged while the node of the oldest one is silent.
/// Otherwise the other nodes would have to keep their replies.
const MAX_OUT_OF_TURN: u64 = 256;

/// The time for which a node may be silent before [`MAX_OUT_OF_TURN`] applies.
const SILENCE: Duration = Duration::from_millis(20);

/// The session of one client with a cluster. It looks like one connection to one server.
#[derive(Debug)]
pub struct Router {
    upstream: Box<str>,
    /// The most bytes of kept frames.
    most_kept: usize,
    seed: usize,
    failover_wait: Option<Duration>,
    maps: Maps,
    server: Arc<ServerFacts>,
    legs: Legs,
    order: Order,
    /// The router's own replies that are pending.
    own: VecDeque<Cow<'static, [u8]>>,
    /// The pending commands whose replies have an effect.
    apart: VecDeque<Apart>,
    /// The commands that were sent again before their turn.
    ahead: Vec<Ahead>,
    joins: Joins,
    /// The SCAN that the client waits for.
    scan: Option<Box<Scan>>,
    written: Written,
    readers: Readers,
    front: Front,
    /// The time of the last change of the front.
    front_since: Tick,
    /// Whether the watcher was told that the front takes long.
    is_slow_told: bool,
    /// Whether the newest command was sent when nothing was pending, so that its reply does not wait for others.
    is_alone: bool,
    incoming: Incoming,
    identity: Identity,
    /// Whether the main legs go by connections that the client shares with other clients.
    is_shared: bool,
    /// The login whose reply is pending.
    login: Option<Box<Login>>,
    transaction: Transaction,
    subscriptions: Subscriptions,
    waits: Waits,
    hints: Hints,
    /// The time before which no leg becomes idle for long.
    idle_at: Tick,
    ended: Option<Ended>,
}

/// The settings of a router.
#[derive(Clone, Debug)]
pub struct RouterSettings {
    /// The name of the upstream, for error lines.
    pub upstream: Box<str>,
    /// The most bytes of frames that are kept together.
    pub held_command: usize,
    /// The time for which subscriptions wait for another owner of their slot after a lost connection.
    pub failover_wait: Option<Duration>,
    /// Whether replicas execute commands that only read.
    pub reads_at_replicas: bool,
    /// A number that differs between clients, so that they use different nodes for commands without keys.
    pub seed: usize,
    /// The kind of connections that the client shares with other clients. `None` if it has connections of its own.
    pub shared: Option<PoolKey>,
}

/// A pending command whose reply has an effect.
#[derive(Clone, Copy, Debug)]
struct Apart {
    leg: LegIndex,
    kind: Kind,
}

/// The effect of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// None.
    Plain,
    /// None, but the script may have made the error itself.
    Script,
    /// None. The server may have ended the command unexecuted.
    Blocking,
    /// A WATCH binds the session to the leg.
    Watch,
    /// The first keyed command of a transaction.
    Opening,
    /// A later command of a transaction, or one that ends it or its WATCH.
    Queued,
    Exec,
    /// The DISCARD in place of an EXEC that cannot succeed.
    SpoiltExec,
    /// A part of a command, whose reply is joined with those of the other parts.
    Part,
    /// A part that was not sent. Its error is the oldest of the router's own replies.
    FailedPart,
    /// A question of the router for SCAN.
    Scan,
    Login,
}

/// The origin of the oldest reply.
#[derive(Debug)]
enum Front {
    /// The leg that the order names.
    Ordered,
    /// The node that the command is sent to again.
    Again(Box<Again>),
    /// This reply, in place of the one that the order names.
    Own(Cow<'static, [u8]>),
}

/// Reasons to judge no more commands for now.
#[derive(Debug, Default)]
struct Waits {
    /// Every pending reply must arrive first.
    for_all: bool,
    /// The time since which a command waits for the owner of its slot, and the number of the map that has none.
    for_owner: Option<(Tick, u64)>,
    /// The beginning of the front's reply, of which a part was passed on.
    passing: Option<ReplyHead>,
}

/// The reason why the session with the cluster is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The connection with the state of the session was lost.
    Lost,
    /// No node accepts the login.
    Unavailable(Unavailable),
    /// A node broke the protocol.
    Protocol,
}

/// The origin of the next bytes for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing is pending, or the front waits for something else than bytes.
    None,
    /// A reply of the router's own: [`Router::take_own`].
    Own,
    /// Bytes of this leg: [`Router::receive`].
    Leg(LegIndex),
}

/// Methods for the caller's loop.
impl Router {
    /// Creates the session of a client that has sent nothing yet.
    pub fn new(settings: RouterSettings, map: Arc<Map>) -> Self {
        Self {
            upstream: settings.upstream,
            most_kept: settings.held_command,
            seed: settings.seed,
            failover_wait: settings.failover_wait,
            maps: Maps::of(map),
            server: Arc::default(),
            legs: Legs::default(),
            order: Order::default(),
            own: VecDeque::new(),
            apart: VecDeque::new(),
            ahead: Vec::new(),
            joins: Joins::default(),
            scan: None,
            written: Written::default(),
            readers: Readers::new(settings.reads_at_replicas),
            front: Front::Ordered,
            front_since: Tick::default(),
            is_slow_told: false,
            is_alone: false,
            incoming: Incoming::new(settings.held_command),
            is_shared: settings.shared.is_some(),
            identity: settings.shared.map(Identity::of).unwrap_or_default(),
            login: None,
            transaction: Transaction::default(),
            subscriptions: Subscriptions::default(),
            waits: Waits::default(),
            hints: Hints::default(),
            idle_at: Tick::default(),
            ended: None,
        }
    }

    /// Takes a map, which is in force as soon as the order of commands allows. `down` are the nodes that do not answer.
    pub fn set_map(&mut self, map: &Arc<Map>, down: &[NodeIndex], now: Tick) {
        let is_new = map.number() != self.maps.latest().number();
        let lost = if is_new { self.maps.latest().lost_places(map) } else { Vec::new() };
        self.maps.offer(map, down, now);
        let silent: Vec<_> = self.silent_listeners(map, down).into_iter().collect();
        self.subscriptions.hurry();
        silent.into_iter().for_each(|leg| self.break_off(leg, Broken::Left));
        self.leave_places(map, &lost, now);
        self.give_up_readers(now);
        self.advance(now);
    }

    /// Takes what the nodes say about their servers. Commands that arrive later are judged by it.
    pub fn set_server(&mut self, server: &Arc<ServerFacts>) {
        self.server = Arc::clone(server);
    }

    /// Does what the time allows. The caller calls it when it begins to move bytes.
    pub fn advance(&mut self, now: Tick) {
        if self.is_calm(now) {
            self.tell_slow(now);
            if self.idle_at <= now {
                self.remove_superfluous(now);
            }
            return;
        }
        self.adopt();
        self.go_on(now);
        if self.has_unopened() {
            self.leave_unreached(now);
        }
        self.tell_slow(now);
        self.go_on_listening(now);
        self.remove_superfluous(now);
    }

    /// Returns the time at which [`Router::advance`] has something to do, if nothing else happens. `None`: never.
    pub fn due(&self) -> Option<Tick> {
        let step = match &self.front {
            Front::Again(again) => again.due(),
            Front::Ordered | Front::Own(_) => None,
        };
        let owner = self.waits.for_owner.map(|(since, _)| since.after(PATIENCE));
        let subscriptions = self.subscriptions.due(self.failover_wait);
        [step, owner, subscriptions, self.legs.due()].into_iter().flatten().min()
    }

    /// Returns the origin of the next bytes for the client.
    pub fn turn(&self) -> Turn {
        if self.subscriptions.are_passing() {
            return Turn::None;
        }
        if self.waits.passing.is_none() && !self.joins.is_inside() && self.subscriptions.have_bytes() {
            return Turn::Own;
        }
        let leg = match (&self.front, self.order.front()) {
            _ if self.joins.is_ready() => return Turn::Own,
            (_, None) => return Turn::None,
            (Front::Own(_), _) | (Front::Ordered, Some((Origin::Own, _))) => return Turn::Own,
            (Front::Again(again), _) => match again.step {
                Step::Sent(leg) => Some(leg),
                Step::Waits(..) => None,
            },
            (Front::Ordered, Some((Origin::Leg(leg), _))) => Some(self.ahead_of(leg)),
            (Front::Ordered, Some((Origin::Apart, _))) => match self.apart.front() {
                Some(Apart { kind: Kind::FailedPart, .. }) => return Turn::Own,
                apart => apart.map(|apart| apart.leg),
            },
        };
        let Some(leg) = leg else { return Turn::None };
        match self.legs.get(leg).map(|leg| &leg.state) {
            Some(LegState::Open) => Turn::Leg(leg),
            Some(LegState::Broken(_)) | None => Turn::Own,
            Some(LegState::Closed { .. } | LegState::SettingUp { .. }) => Turn::None,
        }
    }

    /// Appends the router's own replies that are next in order, until `out` holds `up_to` bytes.
    pub fn take_own(&mut self, out: &mut Vec<u8>, up_to: usize, now: Tick) {
        while out.len() < up_to && self.turn() == Turn::Own {
            if self.waits.passing.is_none() && !self.joins.is_inside() && self.subscriptions.have_bytes() {
                self.subscriptions.take_bytes(out);
                continue;
            }
            if self.joins.is_ready() {
                self.joins.take_ready(out, up_to - out.len());
                continue;
            }
            if self.waits.passing.is_some() {
                // After a part of a reply, an error would be read as a part of that reply.
                return self.end(Ended::Lost);
            }
            if self.leaves_replica(now) {
                continue;
            }
            if self.is_part() {
                self.take_own_part(now);
                continue;
            }
            match &self.front {
                Front::Own(reply) => out.extend_from_slice(reply),
                Front::Again(again) => {
                    let leg = again.leg();
                    out.extend_from_slice(&self.loss_line(leg));
                    if let Some(leg) = leg.and_then(|leg| self.legs.get_mut(leg)) {
                        leg.settle(1);
                    }
                }
                Front::Ordered => self.take_ordered(out),
            }
            self.finish_front(now);
        }
    }

    /// Returns whether the client's next bytes can be taken, as far as it depends on the legs.
    pub fn is_congested(&self) -> bool {
        self.legs.is_congested()
    }

    /// Returns whether every command was answered.
    pub fn is_settled(&self) -> bool {
        self.order.is_empty()
            && self.subscriptions.are_quiet()
            && self.joins.is_settled()
            && self.scan.is_none()
    }

    /// Returns why the session is over. The client has got every reply that it can get.
    pub fn ended(&self) -> Option<Ended> {
        let has_all = !self.subscriptions.have_more() && !self.joins.is_ready();
        self.ended.filter(|_| self.order.is_empty() && has_all)
    }

    /// Returns whether there is news for the watcher of the cluster.
    pub const fn has_hints(&self) -> bool {
        !self.hints.is_empty()
    }

    /// Takes the news for the watcher of the cluster.
    pub fn take_hints(&mut self) -> Hints {
        std::mem::take(&mut self.hints)
    }

    /// Returns the bytes of memory that the session occupies.
    pub fn held(&self) -> usize {
        let own: usize = self.own.iter().map(|reply| reply.len() + size_of::<Cow<'_, [u8]>>()).sum();
        let front = match &self.front {
            Front::Again(again) => again.held(),
            Front::Ordered | Front::Own(_) => 0,
        };
        self.order.held()
            + self.legs.held()
            + own
            + front
            + self.apart.capacity() * size_of::<Apart>()
            + self.ahead.capacity() * size_of::<Ahead>()
            + self.joins.held()
            + self.readers.held()
            + self.scan.as_ref().map_or(0, |scan| scan.held())
            + self.incoming.held()
            + self.identity.held()
            + self.transaction.held()
            + self.subscriptions.held()
    }
}

/// Methods for the caller's connections.
impl Router {
    /// Returns the next leg to dial, with its node. The caller reports the result.
    pub fn next_dial(&mut self, now: Tick) -> Option<(LegIndex, NodeIndex)> {
        let bound = self.bound_front().map(|front| front.leg);
        self.legs.next_dial(|index, leg| !leg.is_left || bound == Some(index), now)
    }

    /// Returns whether the leg exists and has a connection. If not, the caller closes its socket.
    pub fn has_connection(&self, leg: LegIndex) -> bool {
        let state = self.legs.get(leg).map(|leg| &leg.state);
        matches!(state, Some(LegState::Open | LegState::SettingUp { .. }))
    }

    /// Returns whether the leg has a connection on which no reply is pending, so that its end would not show.
    pub fn is_idle(&self, leg: LegIndex) -> bool {
        self.legs.get(leg).is_some_and(|leg| leg.is_open() && !leg.listens && leg.pending() == 0)
    }

    /// Returns the legs whose set-up is being answered. They are read whose turn it may be.
    pub fn setting_up(&self) -> impl Iterator<Item = LegIndex> + '_ {
        let is_setting_up = |leg: &Leg| matches!(leg.state, LegState::SettingUp { .. });
        self.legs.all().filter(move |(_, leg)| is_setting_up(leg)).map(|(index, _)| index)
    }

    /// Returns whether the caller has bytes to write to a leg, while the router [is calm](Self::is_calm).
    pub fn has_unwritten(&self) -> bool {
        self.legs.have_unwritten()
    }

    /// Returns the number of legs that were removed so far. The caller closes the sockets of legs that are removed.
    pub const fn removed_legs(&self) -> u32 {
        self.legs.removed()
    }

    /// Returns whether there may be a leg to read besides the one whose turn it is.
    pub fn has_listener(&self) -> bool {
        self.legs.have_listener()
    }

    /// Returns the legs with bytes to write.
    pub fn unwritten(&self) -> impl Iterator<Item = LegIndex> + '_ {
        self.legs.all().map(|(index, _)| index).filter(|leg| !self.bytes_for(*leg).is_empty())
    }

    /// Returns the bytes to write to a leg.
    pub fn bytes_for(&self, leg: LegIndex) -> &[u8] {
        match &self.front {
            Front::Again(again) if again.keeps_back(leg) => &[],
            _ => self.legs.get(leg).map_or(&[], Leg::unwritten),
        }
    }

    /// Records that `n` bytes were written to a leg.
    pub fn wrote(&mut self, leg: LegIndex, n: usize) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.wrote(n);
        }
    }

    /// Records that a leg has a connection.
    pub fn connected(&mut self, index: LegIndex, now: Tick) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        let reads = leg.reads_for.is_some();
        let (setup, left) = if leg.is_pooled { Default::default() } else { self.identity.setup(reads) };
        let LegState::Closed { since, is_dialling: true, .. } = leg.state else { return };
        leg.used_at = now;
        let is_open = left.is_empty();
        leg.sought_since = Some(since);
        leg.state = if is_open { LegState::Open } else { LegState::SettingUp { since, left } };
        leg.setup = setup;
        if is_open {
            self.opened(index, now);
        }
    }
}

/// Methods for the parts of the router.
impl Router {
    /// Records that a leg carries commands from now on.
    fn opened(&mut self, index: LegIndex, now: Tick) {
        if self.legs.get(index).is_some_and(|leg| leg.listens) {
            self.subscriptions.hurry();
            self.go_on_listening(now);
        }
    }

    /// Returns the leg for a node, which is added if there is none. `None`: there is no room for another leg now.
    fn leg_for(&mut self, node: NodeIndex, is_side: bool, now: Tick) -> Option<LegIndex> {
        self.legs.of(node, is_side).or_else(|| self.add_leg(node, is_side, now))
    }

    fn add_leg(&mut self, node: NodeIndex, is_side: bool, now: Tick) -> Option<LegIndex> {
        let mut leg = Leg::new(self.maps.node(node)?, is_side, now);
        if self.is_shared {
            leg = leg.share(!is_side);
        }
        self.add(leg)
    }

    fn add(&mut self, leg: Leg) -> Option<LegIndex> {
        let (transaction, subscriptions) = (&self.transaction, &self.subscriptions);
        self.legs.add(leg, |leg| transaction.uses(leg) || subscriptions.know_leg(leg))
    }

    /// Completes the front.
    fn finish_front(&mut self, now: Tick) {
        match self.order.front() {
            Some((Origin::Own, _)) => drop(self.own.pop_front()),
            Some((Origin::Apart, _)) => {
                let kind = self.apart.pop_front().map(|apart| apart.kind);
                if kind == Some(Kind::Opening) {
                    self.transaction.spoil_unopened();
                } else if kind == Some(Kind::Scan) {
                    // The client has an error in place of the reply.
                    self.scan = None;
                }
            }
            _ => {}
        }
        self.front = Front::Ordered;
        self.pop_order(1);
        self.moved(now);
    }

    /// Records progress of the front.
    fn moved(&mut self, now: Tick) {
        (self.front_since, self.is_slow_told) = (now, false);
        if self.maps.is_waiting() {
            self.adopt();
        }
    }

    /// Puts the next map in force, if the order of commands allows.
    fn adopt(&mut self) {
        let sends_again = matches!(self.front, Front::Again(_)) || !self.ahead.is_empty();
        if self.maps.is_waiting() && !sends_again {
            self.maps.adopt(&self.legs);
        }
    }
}

#[cfg(test)]
mod tests;
