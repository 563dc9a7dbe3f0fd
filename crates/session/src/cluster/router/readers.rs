//! Commands that only read, at replicas (`read_from: replicas`).
//!
//! ```text
//!                                          reply
//!   read ──► reader (a leg to a replica) ────────► the client
//!                │ MOVED, LOADING, MASTERDOWN and their kin, or the leg is lost before the reply begins
//!                └──► the master, once
//! ```
//!
//! Each session has one reader for each master, to a replica that it chooses at random. The readers carry nothing else,
//! and no other leg leads to a replica. A read has no effect, so it may be sent again although it may have run.

use std::borrow::Cow;
use std::time::Duration;

use portcullis_resp::command::{Access, id};

use super::command::{Command, may_block};
use super::kept::Kept;
use super::leg::{Broken, Leg, LegIndex};
use super::order::Origin;
use super::redirects::NOT_FOLLOWED;
use super::{Apart, Front, Kind, Router, Turn};
use crate::cluster::{Map, NodeIndex, Role};
use crate::tick::Tick;

/// The time for which a session does not use a replica that has refused a read or was lost. The watcher of the cluster
/// learns within this time whether the replica answers.
const AVOIDED: Duration = Duration::from_secs(1);

/// The errors with which a replica says that it has not executed a read.
const REFUSALS: [&[u8]; 7] =
    [b"-MOVED ", b"-ASK ", b"-LOADING", b"-MASTERDOWN", b"-CLUSTERDOWN", b"-TRYAGAIN", b"-READONLY"];

/// The choice of replicas.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Whether replicas execute reads at all.
    is_on: bool,
    /// The replicas that are not used for a while, and until when.
    avoided: Vec<(NodeIndex, Tick)>,
}

impl Readers {
    pub(super) const fn new(is_on: bool) -> Self {
        Self { is_on, avoided: Vec::new() }
    }

    fn avoid(&mut self, node: NodeIndex, now: Tick) {
        self.avoided.retain(|(avoided, until)| *until > now && *avoided != node);
        self.avoided.push((node, now.after(AVOIDED)));
    }

    fn avoids(&self, node: NodeIndex, now: Tick) -> bool {
        self.avoided.iter().any(|(avoided, until)| *avoided == node && *until > now)
    }

    pub(super) fn held(&self) -> usize {
        self.avoided.capacity() * size_of::<(NodeIndex, Tick)>()
    }
}

/// Returns whether a replica can execute the command as well as its master. PFCOUNT is marked as a command that reads,
/// but may write to its keys. TOUCH, OBJECT and MEMORY are about the memory of one server, which is the master.
fn only_reads(command: &Command<'_>) -> bool {
    let is_of_memory = command.id == id::TOUCH || [id::OBJECT, id::MEMORY].contains(&command.id.top());
    let reads_keys = || command.id.info().keys.iter().all(|key| key.access.contains(Access::RO));
    command.learned.is_none() && !command.writes() && !is_of_memory && reads_keys() && !may_block(command)
}

/// Methods for sending.
impl Router {
    /// Returns the reader for a command of one slot. `None`: the owner of the slot executes the command.
    pub(super) fn reader_for(&mut self, command: &Command<'_>, slot: u16, now: Tick) -> Option<LegIndex> {
        if !self.readers.is_on || !only_reads(command) {
            return None;
        }
        self.reader_of_slot(slot, command.frame.len(), now)
    }

    /// Returns whether replicas execute the parts of a command.
    pub(super) fn reads_at_replicas(&self, command: &Command<'_>) -> bool {
        self.readers.is_on && only_reads(command)
    }

    /// Returns the reader for a read of this slot and length. A read that would not be kept could not be sent again. While
    /// a slot moves, the replicas of its owner do not have all keys and do not say so.
    pub(super) fn reader_of_slot(&mut self, slot: u16, len: usize, now: Tick) -> Option<LegIndex> {
        let room = self.most_kept.saturating_sub(self.legs.kept());
        let is_kept = Kept::fits(len, room);
        if !is_kept || !self.transaction.is_none() || self.is_redirecting(slot) {
            return None;
        }
        let owner = self.maps.current().owner(slot)?;
        if self.maps.latest().is_moving(slot) {
            return None;
        }
        let reader = self.legs.readers(owner).find(|(_, leg)| !self.maps.is_down(leg.node));
        let reader = match reader {
            Some((index, _)) => index,
            None => {
                let node = self.choose_replica(owner, now)?;
                let mut leg = Leg::new(self.maps.node(node)?, false, now);
                leg.reads_for = Some(owner);
                self.add(leg)?
            }
        };
        self.hints.replica_reads += 1;
        Some(reader)
    }

    /// Chooses a replica of a master: always the same one of those that are well.
    fn choose_replica(&self, master: NodeIndex, now: Tick) -> Option<NodeIndex> {
        let is_well = |node: &NodeIndex| !self.maps.is_down(*node) && !self.readers.avoids(*node, now);
        let well = || self.maps.latest().replicas_of(master).filter(is_well);
        let number = mix(self.seed as u64, master.number() as u64);
        well().nth(usize::try_from(number.checked_rem(well().count() as u64)?).ok()?)
    }
}

/// Methods for replicas that do not answer.
impl Router {
    /// Returns whether an error of a replica says that it has not executed a read.
    pub(super) fn is_refused_read(&self, index: LegIndex, line: &[u8]) -> bool {
        let is_reader = self.legs.get(index).is_some_and(|leg| leg.reads_for.is_some());
        is_reader && REFUSALS.iter().any(|refusal| line.starts_with(refusal))
    }

    /// Sends the front's read to the master, because its replica has refused it.
    pub(super) fn read_at_master(&mut self, index: LegIndex, kind: Kind, now: Tick) {
        self.avoid_reader(index, now);
        self.hints.replica_refusals += 1;
        let Some(again) = self.take_front(index, kind) else {
            self.front = Front::Own(Cow::Borrowed(NOT_FOLLOWED));
            return;
        };
        let owner = self.maps.latest().owner(again.slot());
        self.send_to_owner(again, owner, now);
    }

    /// Sends the front's read to the master if its reader was lost before the reply began. Returns whether it was.
    pub(super) fn leaves_replica(&mut self, now: Tick) -> bool {
        let (index, kind) = match (&self.front, self.order.front(), self.apart.front()) {
            (Front::Ordered, Some((Origin::Leg(leg), _)), _) => (self.ahead_of(leg), Kind::Plain),
            (Front::Ordered, Some((Origin::Apart, _)), Some(Apart { leg, kind: Kind::Part })) => {
                (*leg, Kind::Part)
            }
            _ => return false,
        };
        let is_lost =
            self.legs.get(index).is_some_and(|leg| leg.reads_for.is_some() && leg.broken().is_some());
        if !is_lost || self.joins.is_inside_part() {
            return false;
        }
        let sent = if kind == Kind::Plain { self.send_lost_ahead(index, now) } else { 0 };
        self.hints.replica_refusals += sent;
        if sent == 0 {
            self.read_at_master(index, kind, now);
        }
        true
    }

    /// Uses another replica for a while. The reader takes no new commands.
    pub(super) fn avoid_reader(&mut self, index: LegIndex, now: Tick) {
        if let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.reads_for.is_some()) {
            leg.is_left = true;
            self.readers.avoid(leg.node, now);
        }
    }

    /// Gives up the readers whose nodes are down, except one that is in the middle of a reply.
    pub(super) fn give_up_readers(&mut self, now: Tick) {
        let is_inside = self.waits.passing.is_some() || self.joins.is_inside_part();
        let busy = match self.turn() {
            Turn::Leg(leg) if is_inside => Some(leg),
            _ => None,
        };
        let is_lost =
            |leg: &Leg| leg.reads_for.is_some() && leg.broken().is_none() && self.maps.is_down(leg.node);
        let lost = self.legs.all().filter(|(index, leg)| is_lost(leg) && Some(*index) != busy);
        let lost: Vec<LegIndex> = lost.map(|(index, _)| index).collect();
        for index in lost {
            self.avoid_reader(index, now);
            self.break_off(index, Broken::Lost);
        }
    }
}

/// Returns whether the node of a leg has the place in a map for which the leg was opened.
pub(super) fn has_place(leg: &Leg, map: &Map) -> bool {
    map.node(leg.node).is_some_and(|node| match leg.reads_for {
        Some(master) => node.role == Role::Replica && node.master == Some(master),
        None => node.role == Role::Master,
    })
}

/// Mixes two numbers, so that sessions with neighbouring seeds choose at random.
const fn mix(seed: u64, number: u64) -> u64 {
    // The steps of SplitMix64, which scatters neighbouring numbers.
    let mut mixed = seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
