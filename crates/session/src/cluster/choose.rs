//! The choice between what several nodes say of their cluster.

use std::collections::HashMap;
use std::time::Duration;

use super::answer::{Announced, Answer};
use super::endpoint::Endpoint;
use super::map::{Map, MapFault};
use crate::tick::Tick;

/// The time for which no node may name a higher epoch before a lower one than the map's is believed. A node that was
/// away answers with its old epoch until it has heard of the others, which takes less.
const DOUBT: Duration = Duration::from_secs(5);

/// An answer, with the node that gave it.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// What the node said.
    pub answer: &'a Answer,
    /// Whether the address of the node is one of the configuration. Only such a node can introduce another cluster.
    pub is_configured: bool,
}

/// Chooses the next map of one upstream.
#[derive(Debug, Default)]
pub struct Chooser {
    /// The time since which all answers have a lower epoch than the map.
    lower_since: Option<Tick>,
}

/// The result of a choice.
#[derive(Debug)]
pub enum Choice {
    /// The cluster has changed.
    Take(Map),
    /// The answers agree with the map in force.
    Same,
    /// The map in force stays.
    Keep(Kept),
}

/// The reason why the map in force stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    /// Nothing was heard.
    #[error("no node has answered")]
    NoAnswer,
    /// No node that answered sees a majority of the masters.
    #[error("every node that answered says cluster_state:fail")]
    StateFail,
    /// The answers are older than the map.
    #[error("the nodes that answered have a lower epoch than the map in force")]
    LowerEpoch,
    /// The answers describe another cluster.
    #[error("the nodes that answered belong to another cluster, and none of them is configured")]
    OtherCluster,
    /// The map cannot be made.
    #[error(transparent)]
    Fault(#[from] MapFault),
}

impl Chooser {
    /// Chooses between the answers of one round and the map in force. `moved` has the newest MOVED of each slot.
    ///
    /// The highest epoch decides, among the nodes that see a majority of the masters. Nodes with the same epoch may
    /// still disagree about a slot that has just moved: then what its owner says of itself counts, then MOVED, then
    /// the map in force.
    pub fn choose(
        &mut self,
        last: Option<&Map>,
        heard: &[Heard<'_>],
        moved: &HashMap<u16, Endpoint>,
        now: Tick,
    ) -> Choice {
        let usable = match usable(last, heard) {
            Ok(usable) => usable,
            Err(kept) => return Choice::Keep(kept),
        };
        let epoch = usable.iter().map(|heard| heard.answer.epoch()).max().unwrap_or(0);
        let newest: Vec<&Heard<'_>> =
            usable.into_iter().filter(|heard| heard.answer.epoch() == epoch).collect();
        if let Some(last) = last
            && !self.may_follow(last, epoch, &newest, now)
        {
            return Choice::Keep(Kept::LowerEpoch);
        }
        let answers: Vec<&Answer> = newest.iter().map(|heard| heard.answer).collect();
        let nodes = Nodes::of(&answers, last);
        let owner = |slot| nodes.owner(slot, &answers, moved.get(&slot), last);
        match Map::make(last, epoch, &nodes.all, owner) {
            Ok(map) if last.is_some_and(|last| last.is_same_as(&map) && last.epoch() == epoch) => {
                Choice::Same
            }
            Ok(map) => Choice::Take(map),
            Err(fault) => Choice::Keep(fault.into()),
        }
    }

    /// Returns whether answers with this epoch may replace the map.
    fn may_follow(&mut self, last: &Map, epoch: u64, newest: &[&Heard<'_>], now: Tick) -> bool {
        if epoch >= last.epoch() {
            self.lower_since = None;
            return true;
        }
        let since = *self.lower_since.get_or_insert(now);
        let is_sure = newest.iter().any(|heard| heard.is_configured) || since.after(DOUBT) <= now;
        if is_sure {
            self.lower_since = None;
        }
        is_sure
    }
}

/// Returns the answers that may decide.
fn usable<'h, 'a>(last: Option<&Map>, heard: &'h [Heard<'a>]) -> Result<Vec<&'h Heard<'a>>, Kept> {
    if heard.is_empty() {
        return Err(Kept::NoAnswer);
    }
    let mut usable: Vec<&Heard<'_>> = heard.iter().filter(|heard| heard.answer.is_ok()).collect();
    if usable.is_empty() {
        // Without any map, that of a cluster which is down is better than none: its nodes answer CLUSTERDOWN.
        if last.is_some() {
            return Err(Kept::StateFail);
        }
        usable = heard.iter().collect();
    }
    let Some(last) = last else { return Ok(usable) };
    usable.retain(|heard| heard.is_configured || is_same_cluster(last, heard.answer));
    if usable.is_empty() { Err(Kept::OtherCluster) } else { Ok(usable) }
}

/// Returns whether the answer names a node of the map.
fn is_same_cluster(last: &Map, answer: &Answer) -> bool {
    last.nodes().iter().any(|node| answer.node_with(node.id()).is_some())
}

/// The nodes that some answers name.
struct Nodes {
    all: Vec<Announced>,
    places: HashMap<Box<str>, usize>,
}

impl Nodes {
    /// Collects the nodes. A node that several answers name has the address that the first of them announces. The moving
    /// slots of a node are what it says itself, or else what it said when it was asked before.
    fn of(answers: &[&Answer], last: Option<&Map>) -> Self {
        let mut nodes = Self { all: Vec::new(), places: HashMap::new() };
        for node in answers.iter().flat_map(|answer| answer.nodes()) {
            match nodes.places.get(&node.id).and_then(|place| nodes.all.get_mut(*place)) {
                Some(known) => {
                    known.address = known.address.take().or_else(|| node.address.clone());
                    node.names.iter().for_each(|name| known.add_name(Some(name.clone())));
                }
                None => {
                    nodes.places.insert(node.id.clone(), nodes.all.len());
                    nodes.all.push(Announced { migrating: Vec::new(), ..node.clone() });
                }
            }
        }
        for node in &mut nodes.all {
            let own = answers.iter().find(|answer| answer.myself() == Some(&node.id));
            node.migrating = match own {
                Some(own) => own.node_with(&node.id).map(|own| own.migrating.clone()).unwrap_or_default(),
                None => last.map(|last| last.migrating_of(&node.id)).unwrap_or_default(),
            };
        }
        nodes
    }

    /// Returns the index of the owner of a slot.
    fn owner(
        &self,
        slot: u16,
        answers: &[&Answer],
        moved: Option<&Endpoint>,
        last: Option<&Map>,
    ) -> Option<usize> {
        let mut named = answers.iter().filter_map(|answer| owner_in(answer, slot));
        let first = named.next()?;
        if named.all(|id| id == first) {
            return self.places.get(first).copied();
        }
        let claims = answers.iter().filter(|answer| owner_in(answer, slot) == answer.myself());
        let mut claims = claims.filter_map(|answer| answer.myself());
        let claimed = claims.next().filter(|first| claims.all(|other| other == *first));
        let by_moved = || {
            let moved = moved?;
            self.all.iter().find(|node| node.names.contains(moved)).map(|node| &*node.id)
        };
        let by_map = || {
            let last = last?;
            last.owner(slot).and_then(|index| last.node(index)).map(super::map::Node::id)
        };
        let chosen = claimed.or_else(by_moved).or_else(by_map).unwrap_or(first);
        self.places.get(chosen).or_else(|| self.places.get(first)).copied()
    }
}

/// Returns the id of the node that owns a slot according to one answer.
fn owner_in(answer: &Answer, slot: u16) -> Option<&str> {
    answer.nodes().get(answer.owner(slot)?).map(|node| &*node.id)
}

#[cfg(test)]
mod tests;
