//! The questions to the nodes of a cluster, and the map that follows from their answers.
//!
//! A round asks a few nodes: the one that redirected, the one that it named, and others in turn. The nodes that a
//! configuration names are asked as long as no map is known, and with the others while the cluster is in trouble.
//!
//! | the cluster | the next round |
//! |---|---|
//! | is well | after [`EVERY`] |
//! | seems to have changed | at once, but at most one round in [`APART`] |
//! | has slots without an owner, nodes that do not answer or redirects that the map does not explain | after [`SOON`], each time after twice as long, up to [`LATER`] |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Cluster};
use portcullis_session::Tick;
use portcullis_session::cluster::{
    Answer, Choice, Chooser, Endpoint, Heard, Kept, Map, Node, NodeIndex, Role,
};
use tokio::time::Instant;

use crate::process::hints::{Given, Hint, Moved};
use crate::upstream::view::Condition;

/// The time between two rounds while the cluster is well.
const EVERY: Duration = Duration::from_secs(10);

/// The least time between the begins of two rounds. Thousands of sessions may read MOVED at once.
const APART: Duration = Duration::from_millis(100);

/// The time to the next round while the cluster is in trouble.
const SOON: Duration = Duration::from_millis(250);

/// The longest time between two rounds while the cluster is in trouble.
const LATER: Duration = Duration::from_secs(2);

/// The time for the answers of a round, if one of the nodes has answered.
const ROUND: Duration = Duration::from_millis(300);

/// The nodes that a round asks.
const ASKED: usize = 3;

/// The time for which a hint counts that the answers do not explain. Nodes hear of a change within seconds.
const OPEN: Duration = Duration::from_secs(5);

/// Rounds in a row without an answer after which the cluster counts as silent.
const SILENCE: u32 = 2;

/// A node that a round asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The address at which the proxy reaches the node.
    pub(crate) address: Address,
    /// Whether the node is one of the configuration.
    pub(crate) is_configured: bool,
    /// The id of the node, if it is in the map.
    pub(crate) node: Option<Box<str>>,
}

/// The result of a round.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// There is another map.
    Changed,
    /// The map is confirmed.
    Confirmed,
    /// The map stays as it is, or there is still none.
    Kept(Reason),
}

/// The reason why answers were not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error(transparent)]
    Kept(#[from] Kept),
    /// The configured nodes belong to several clusters.
    #[error("the configured nodes belong to two clusters")]
    TwoClusters,
}

/// The questions of one upstream's watcher.
#[derive(Debug)]
pub(crate) struct Survey {
    cluster: Arc<Cluster>,
    chooser: Chooser,
    origin: Instant,
    map: Option<Arc<Map>>,
    condition: Condition,
    /// The rounds in a row without an answer.
    silent: u32,
    /// The newest MOVED of each slot that the map does not explain yet, and when it was read.
    moved: HashMap<u16, (Moved, Instant)>,
    /// The nodes that sessions want to be asked in the next round.
    wanted: Vec<NodeIndex>,
    /// The time until which another hint counts.
    open_until: Option<Instant>,
    round: Round,
    /// The begin of the next round.
    next: Instant,
    /// The time to the next round while the cluster is in trouble.
    pause: Duration,
    /// The place of the next node to ask.
    turn: usize,
}

/// The round in progress, or the last one.
#[derive(Debug, Default)]
struct Round {
    number: u64,
    begun: Option<Instant>,
    is_open: bool,
    /// Whether a hint came after the begin.
    is_outdated: bool,
    asked: Vec<Asked>,
    /// The answer of each node that was asked, or that there is none.
    heard: Vec<Option<Option<Answer>>>,
}

impl Survey {
    /// Begins with the map of the view in force, if there is one.
    pub(crate) fn new(cluster: &Arc<Cluster>, map: Option<Arc<Map>>, now: Instant) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            chooser: Chooser::default(),
            origin: now,
            map,
            condition: Condition::Silent,
            silent: 0,
            moved: HashMap::new(),
            wanted: Vec::new(),
            open_until: None,
            round: Round::default(),
            next: now,
            pause: SOON,
            turn: 0,
        }
    }

    /// The map in force.
    pub(crate) fn map(&self) -> Option<&Arc<Map>> {
        self.map.as_ref()
    }

    /// Whether the cluster serves all its slots.
    pub(crate) const fn condition(&self) -> Condition {
        self.condition
    }

    /// Takes hints that the cluster has changed.
    pub(crate) fn hinted(&mut self, given: &Given, now: Instant) {
        for (slot, moved) in &given.about.moved {
            self.moved.insert(*slot, (moved.clone(), now));
        }
        let wanted = given.about.asked.iter().filter(|node| !self.wanted.contains(node));
        let wanted: Vec<NodeIndex> = wanted.copied().collect();
        self.wanted.extend(wanted);
        let others = [Hint::Unknown, Hint::Moved, Hint::Clusterdown, Hint::Refused, Hint::Silent];
        if others.into_iter().any(|hint| given.has(hint)) {
            self.open_until = Some(now + OPEN);
            self.pause = SOON;
            self.soon(now);
        }
    }

    /// Lets the next round begin as early as it may.
    pub(crate) fn soon(&mut self, now: Instant) {
        let earliest = self.round.begun.map_or(now, |begun| (begun + APART).max(now));
        self.next = self.next.min(earliest);
        self.round.is_outdated |= self.round.is_open;
    }

    /// Returns when something is due.
    pub(crate) fn due(&self, limit: Duration) -> Instant {
        match self.round.begun.filter(|_| self.round.is_open) {
            Some(begun) if self.has_answer() => begun + ROUND,
            Some(begun) => begun + limit,
            None => self.next,
        }
    }

    /// Begins a round, if it is time. Returns its number and the nodes to ask. `is_well` tells whether a node answers.
    pub(crate) fn begin(
        &mut self,
        is_well: impl Fn(&Node) -> bool,
        now: Instant,
    ) -> Option<(u64, Vec<Asked>)> {
        if self.round.is_open || now < self.next {
            return None;
        }
        let asked = self.choose_nodes(is_well);
        self.wanted.retain(|wanted| {
            let id = self.map.as_ref().and_then(|map| map.node(*wanted)).map(Node::id);
            id.is_some_and(|id| !asked.iter().any(|asked| asked.node.as_deref() == Some(id)))
        });
        self.turn = self.turn.wrapping_add(1);
        self.round = Round {
            number: self.round.number + 1,
            begun: Some(now),
            is_open: true,
            is_outdated: false,
            heard: vec![None; asked.len()],
            asked: asked.clone(),
        };
        Some((self.round.number, asked))
    }

    /// Takes the answer of a node, or that it has none.
    pub(crate) fn answered(&mut self, round: u64, index: usize, answer: Option<Answer>) {
        if round == self.round.number
            && self.round.is_open
            && let Some(slot) = self.round.heard.get_mut(index)
        {
            *slot = Some(answer);
        }
    }

    /// Ends the round, if it is complete or takes too long. `limit` is the time for the first answer. `is_failing` tells
    /// whether nodes of the map do not answer.
    pub(crate) fn end(&mut self, limit: Duration, is_failing: bool, now: Instant) -> Option<Outcome> {
        let begun = self.round.begun.filter(|_| self.round.is_open)?;
        let is_late = now >= begun + if self.has_answer() { ROUND } else { limit };
        if !is_late && self.round.heard.iter().any(Option::is_none) {
            return None;
        }
        self.round.is_open = false;
        let outcome = self.judge(now);
        self.settle(&outcome, now);
        let is_well = self.condition == Condition::Ok
            && self.map.as_ref().is_some_and(|map| map.uncovered() == 0)
            && !is_failing
            && self.moved.is_empty()
            && self.open_until.is_none();
        if matches!(outcome, Outcome::Changed) || is_well {
            self.pause = SOON;
        }
        self.next = match (self.round.is_outdated, is_well) {
            (true, _) => (begun + APART).max(now),
            (false, true) => begun + EVERY,
            (false, false) => {
                let pause = self.pause;
                self.pause = (pause * 2).min(LATER);
                (begun + pause).max(now)
            }
        };
        Some(outcome)
    }

    fn has_answer(&self) -> bool {
        self.round.heard.iter().flatten().any(Option::is_some)
    }

    fn choose_nodes(&self, is_well: impl Fn(&Node) -> bool) -> Vec<Asked> {
        let configured = self.cluster.nodes();
        let Some(map) = &self.map else {
            return configured.iter().map(|address| self.configured(address)).collect();
        };
        let newest = self.moved.values().max_by_key(|(_, at)| *at).map(|(moved, _)| moved);
        let redirects = newest.into_iter().flat_map(|moved| [map.node(moved.from), map.named(&moved.to)]);
        let rotated = |role: Role| {
            let nodes: Vec<&Node> = map.nodes().iter().filter(|node| node.role == role).collect();
            let start = if nodes.is_empty() { 0 } else { self.turn.wrapping_mul(ASKED) % nodes.len() };
            let count = nodes.len();
            nodes.into_iter().cycle().skip(start).take(count).collect::<Vec<_>>()
        };
        let others = rotated(Role::Master).into_iter().chain(rotated(Role::Replica));
        let mut asked: Vec<Asked> = Vec::new();
        let wanted = self.wanted.iter().filter_map(|node| map.node(*node));
        for node in wanted.chain(redirects.flatten()).chain(others.filter(|node| is_well(node))) {
            if asked.len() >= ASKED {
                break;
            }
            if !asked.iter().any(|known| known.node.as_deref() == Some(node.id())) {
                asked.push(self.in_map(node));
            }
        }
        if (self.condition != Condition::Ok || asked.is_empty())
            && let Some(address) = configured.get(self.turn % configured.len().max(1))
        {
            asked.push(self.configured(address));
        }
        asked
    }

    fn configured(&self, address: &Address) -> Asked {
        Asked { address: self.cluster.reachable(address).clone(), is_configured: true, node: None }
    }

    fn in_map(&self, node: &Node) -> Asked {
        let names = || std::iter::once(&node.address).chain(&node.names).map(address_of);
        let is_configured =
            names().any(|name| self.cluster.nodes().iter().any(|own| own.is_same_host(&name)));
        let address = reachable(&self.cluster, node);
        Asked { address, is_configured, node: Some(node.id().into()) }
    }

    /// Chooses the next map.
    fn judge(&mut self, now: Instant) -> Outcome {
        let answers: Vec<(&Answer, bool)> = self
            .round
            .asked
            .iter()
            .zip(&self.round.heard)
            .filter_map(|(asked, heard)| Some((heard.as_ref()?.as_ref()?, asked.is_configured)))
            .collect();
        self.silent = if answers.is_empty() { self.silent.saturating_add(1) } else { 0 };
        if answers.is_empty() {
            if self.silent >= SILENCE {
                self.condition = Condition::Silent;
            }
            return Outcome::Kept(Kept::NoAnswer.into());
        }
        let last = self.map.as_deref();
        let Some(heard) = of_one_cluster(last, &answers) else {
            return Outcome::Kept(Reason::TwoClusters);
        };
        let is_ok = heard.iter().any(|heard| heard.answer.is_ok());
        let moved: HashMap<u16, Endpoint> =
            self.moved.iter().map(|(slot, (moved, _))| (*slot, moved.to.clone())).collect();
        let nanos = u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX);
        let outcome = match self.chooser.choose(last, &heard, &moved, Tick::from_nanos(nanos)) {
            Choice::Take(map) => {
                self.map = Some(Arc::new(map));
                Outcome::Changed
            }
            Choice::Same => Outcome::Confirmed,
            Choice::Keep(kept) => Outcome::Kept(kept.into()),
        };
        if !matches!(outcome, Outcome::Kept(Reason::Kept(Kept::OtherCluster))) {
            self.condition = if is_ok { Condition::Ok } else { Condition::Fails };
        }
        outcome
    }

    /// Drops the hints that the map explains, and those that are too old.
    fn settle(&mut self, outcome: &Outcome, now: Instant) {
        if let Some(map) = &self.map {
            let owner = |slot| map.owner(slot).and_then(|index| map.node(index)).map(Node::id);
            self.moved.retain(|slot, (moved, at)| {
                let named = map.named(&moved.to).map(Node::id);
                now < *at + OPEN && (named.is_none() || owner(*slot) != named)
            });
        }
        let is_over =
            matches!(outcome, Outcome::Changed) || self.open_until.is_some_and(|until| now >= until);
        if is_over && !self.round.is_outdated {
            self.open_until = None;
        }
    }
}

/// Returns the answers that speak of one cluster: that of the map, if any does. `None`: there is no map, and the answers
/// speak of several clusters.
fn of_one_cluster<'a>(last: Option<&Map>, answers: &[(&'a Answer, bool)]) -> Option<Vec<Heard<'a>>> {
    let all =
        || answers.iter().map(|(answer, is_configured)| Heard { answer, is_configured: *is_configured });
    let is_known = |answer: &Answer| {
        last.is_some_and(|last| last.nodes().iter().any(|node| answer.node_with(node.id()).is_some()))
    };
    let known: Vec<Heard<'a>> = all().filter(|heard| is_known(heard.answer)).collect();
    if !known.is_empty() {
        return Some(known);
    }
    let usable: Vec<Heard<'a>> = all().filter(|heard| last.is_none() || heard.is_configured).collect();
    let (first, rest) = match usable.as_slice() {
        // The chooser says that these answers belong to another cluster.
        [] => return Some(all().collect()),
        [first, rest @ ..] => (first, rest),
    };
    let shares = |other: &Heard<'_>| {
        other.answer.nodes().iter().any(|node| first.answer.node_with(&node.id).is_some())
    };
    rest.iter().all(shares).then_some(usable)
}

/// Returns an announced address as one of the configuration.
pub(crate) fn address_of(endpoint: &Endpoint) -> Address {
    Address::Host { host: endpoint.host().to_owned(), port: endpoint.port() }
}

/// Returns the address at which the proxy reaches a node. `translate` may name any of the node's addresses.
pub(crate) fn reachable(cluster: &Cluster, node: &Node) -> Address {
    let announced = address_of(&node.address);
    let translated = std::iter::once(&node.address).chain(&node.names).find_map(|name| {
        let name = address_of(name);
        let to = cluster.reachable(&name);
        (*to != name).then(|| to.clone())
    });
    translated.unwrap_or(announced)
}

#[cfg(test)]
mod tests;
