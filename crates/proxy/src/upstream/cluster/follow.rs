//! Everything that the watcher of a cluster knows, and the view that follows from it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Cluster};
use portcullis_session::cluster::{Answer, Map, Node, ServerFacts};
use tokio::time::Instant;

use super::facts::{NodeFacts, ranges, role_word};
use super::former::FormerPlaces;
use super::health::{Health, NodeHealth};
use super::names::Names;
use super::survey::{Asked, Outcome, Survey, address_of, reachable};
use crate::process::hints::{Given, Hint};
use crate::upstream::view::{ClusterView, NodeState, Place, Sockets};

/// The state of one cluster.
#[derive(Debug)]
pub(crate) struct Follower {
    cluster: Arc<Cluster>,
    survey: Survey,
    health: Health,
    former: FormerPlaces,
    names: Names,
    server: Arc<ServerFacts>,
    /// The time for a connection and for an answer.
    limit: Duration,
    /// Whether the view has changed.
    is_changed: bool,
}

/// The answer of a node about its cluster.
#[derive(Debug)]
pub(crate) enum Said {
    /// The state of the cluster.
    Answer(Box<Answer>),
    /// Something that cannot be used. The node is not silent.
    Useless,
    /// Nothing: it cannot be reached, or does not answer.
    Nothing,
}

/// A node to probe.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The id of the node.
    pub(crate) node: Box<str>,
    /// The address at which the proxy reaches it.
    pub(crate) address: Address,
    /// Its sockets.
    pub(crate) place: Place,
}

/// Work for the sockets.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// The number of the round that has begun.
    pub(crate) round: u64,
    /// The nodes to ask, and the sockets of each.
    pub(crate) ask: Vec<(Asked, Place)>,
    /// The nodes to probe.
    pub(crate) probe: Vec<Probe>,
    /// The names to look up.
    pub(crate) look_up: Vec<Box<str>>,
    /// The result of the round that has ended.
    pub(crate) outcome: Option<Outcome>,
    /// The nodes that are down from now on, by their ids.
    pub(crate) down: Vec<Box<str>>,
}

impl Follower {
    /// Begins with the map of the view in force, if there is one. `every` is the time between two lookups of a name,
    /// `limit` the time for a connection.
    pub(crate) fn new(
        cluster: &Arc<Cluster>,
        map: Option<Arc<Map>>,
        (every, limit): (Duration, Duration),
        now: Instant,
    ) -> Self {
        let mut follower = Self {
            cluster: Arc::clone(cluster),
            survey: Survey::new(cluster, map, now),
            health: Health::new(now),
            former: FormerPlaces::default(),
            names: Names::new(every),
            server: Arc::default(),
            limit,
            is_changed: false,
        };
        follower.follow_names(now);
        follower
    }

    /// The map in force.
    pub(crate) fn map(&self) -> Option<&Arc<Map>> {
        self.survey.map()
    }

    /// Returns when something is due.
    pub(crate) fn next(&self) -> Instant {
        let survey = self.survey.due(self.limit);
        // Without a map there is no node to probe.
        let health = self.survey.map().map(|_| self.health.next());
        [health, self.former.next(), self.names.next()].into_iter().flatten().fold(survey, Instant::min)
    }

    /// Takes hints of sessions and health checks.
    pub(crate) fn hinted(&mut self, given: &Given, now: Instant) {
        if let Some(map) = self.survey.map() {
            for (node, hint) in
                given.about.failing.iter().filter_map(|(index, hint)| Some((map.node(*index)?, hint)))
            {
                match hint {
                    Hint::Silent => self.health.is_silent(node.id(), now),
                    _ => self.health.fails(node.id(), now),
                }
            }
        }
        if given.has(Hint::Refused) || given.has(Hint::Silent) {
            self.names.hurry(now);
        }
        self.survey.hinted(given, now);
    }

    /// Takes what a node says that a round has asked. Returns whether the node was down, and is not any more.
    pub(crate) fn answered(
        &mut self,
        (round, index): (u64, usize),
        asked: &Asked,
        said: Said,
        now: Instant,
    ) -> bool {
        let is_silent = matches!(said, Said::Nothing);
        let answer = match said {
            Said::Answer(answer) => Some(*answer),
            Said::Useless | Said::Nothing => None,
        };
        self.survey.answered(round, index, answer);
        if !is_silent {
            self.former.answers(&asked.address);
        }
        asked.node.as_ref().is_some_and(|node| self.is_well(node, !is_silent, now))
    }

    /// Takes the result of a probe at an address of a node. Returns whether the node was down, and is not any more.
    pub(crate) fn probed(&mut self, node: &str, address: &Address, answers: bool, now: Instant) -> bool {
        if answers {
            self.former.answers(address);
        }
        let of_map = self.survey.map().and_then(|map| map.with_id(node));
        let is_former = of_map.is_some_and(|node| reachable(&self.cluster, node) != *address);
        !is_former && self.is_well(node, answers, now)
    }

    /// Records whether a node answers. Returns whether it was down, and is not any more.
    fn is_well(&mut self, node: &str, answers: bool, now: Instant) -> bool {
        // The node may have left the cluster since it was asked.
        if self.survey.map().is_none_or(|map| map.with_id(node).is_none()) {
            return false;
        }
        if !answers {
            self.health.fails(node, now);
            return false;
        }
        let was_down = self.health.answers(node);
        self.is_changed |= was_down;
        was_down
    }

    /// Takes the result of a lookup.
    pub(crate) fn found(&mut self, host: &str, result: Result<Vec<SocketAddr>, Arc<str>>) {
        self.is_changed |= self.names.found(host, result);
    }

    /// Takes what the nodes tell about their servers.
    pub(crate) fn set_server(&mut self, server: Arc<ServerFacts>) {
        self.server = server;
        self.is_changed = true;
    }

    /// Does what is due. Returns the work for the sockets.
    pub(crate) fn proceed(&mut self, now: Instant) -> Work {
        let mut work = Work { down: self.health.tick(now), ..Work::default() };
        if !work.down.is_empty() {
            self.is_changed = true;
            self.survey.soon(now);
        }
        self.is_changed |= self.former.tick(now);
        let condition = self.survey.condition();
        let before = self.survey.map().cloned();
        work.outcome = self.survey.end(self.limit, self.health.has_failing(), now);
        self.is_changed |= self.survey.condition() != condition;
        if let Some(Outcome::Changed) = work.outcome {
            self.is_changed = true;
            self.follow_places(before.as_deref(), now);
            self.follow_names(now);
        }
        let health = &self.health;
        let begun = self.survey.begin(|node| health.of(node.id()) != NodeHealth::Down, now);
        if let Some((round, asked)) = begun {
            work.round = round;
            work.ask = asked.into_iter().map(|asked| (asked.clone(), self.place_of(&asked))).collect();
        }
        work.probe = self.due_probes(now);
        work.look_up = self.names.due(now);
        work
    }

    /// Forgets the health of nodes that are gone, and watches the places that nodes have lost.
    fn follow_places(&mut self, before: Option<&Map>, now: Instant) {
        let Some(map) = self.survey.map() else { return };
        self.health.retain(|node| map.with_id(node).is_some());
        let Some(before) = before else { return };
        let mut former = std::mem::take(&mut self.former);
        former.replaced(before, map, |node| (reachable(&self.cluster, node), self.place(node)), now);
        self.former = former;
    }

    fn due_probes(&mut self, now: Instant) -> Vec<Probe> {
        let former = self.former.due(now);
        let Some(map) = self.survey.map() else { return former };
        let nodes: Vec<&str> = map.nodes().iter().map(Node::id).collect();
        let due = self.health.due(&nodes, now);
        let probe = |id: &&str| {
            let node = map.with_id(id)?;
            let (address, place) = (reachable(&self.cluster, node), self.place(node));
            Some(Probe { node: (*id).into(), address, place })
        };
        due.iter().filter_map(probe).chain(former).collect()
    }

    /// Returns the place of a node that is asked.
    pub(crate) fn place_of(&self, asked: &Asked) -> Place {
        let node = asked.node.as_ref().and_then(|id| self.survey.map()?.with_id(id));
        let fixed = || Place { address: asked.address.clone(), sockets: self.names.sockets(&asked.address) };
        node.map_or_else(fixed, |node| self.place(node))
    }

    /// Returns the nodes as sessions see them, if they have changed since the last call.
    pub(crate) fn take_view(&mut self) -> Option<ClusterView> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let map = self.survey.map()?;
        let state = |node: &Node| NodeState {
            place: self.place(node),
            is_down: self.health.of(node.id()) == NodeHealth::Down,
        };
        let view = ClusterView::new(Arc::clone(map), self.survey.condition(), state);
        Some(view.with_silent(self.former.silent()).with_server(&self.server))
    }

    /// Returns the nodes as operators see them. `link` returns the state of the connection to an address.
    pub(crate) fn facts(&self, link: impl Fn(&Address) -> &'static str) -> Vec<NodeFacts> {
        let Some(map) = self.survey.map() else { return Vec::new() };
        let mut ranges = ranges(map);
        let facts = |node: &Node| {
            let reached_at = reachable(&self.cluster, node);
            NodeFacts {
                id: node.id().to_owned(),
                address: node.address.to_string(),
                role: role_word(node.role),
                slots: ranges.remove(&node.index()).unwrap_or_default(),
                health: self.health.of(node.id()).as_str(),
                link: link(&reached_at),
                reached_at: reached_at.to_string(),
            }
        };
        map.nodes().iter().map(facts).collect()
    }

    /// Returns the sockets of a node, under the address that its certificate is for.
    fn place(&self, node: &Node) -> Place {
        let address = reachable(&self.cluster, node);
        let sockets = self.names.sockets(&address);
        let named = match is_ip(&address) && address == address_of(&node.address) {
            true => self.name_of(node, &sockets),
            false => None,
        };
        Place { address: named.unwrap_or(address), sockets }
    }

    /// Returns a name of a node that is announced by its address: the one that the node announces besides, or else the
    /// configured one that leads to it.
    fn name_of(&self, node: &Node, sockets: &Sockets) -> Option<Address> {
        let announced = node.names.iter().map(address_of).find(|name| !is_ip(name));
        let is_here = |configured: &&Address| match (self.names.sockets(configured), sockets) {
            (Sockets::Tcp(configured), Sockets::Tcp(own)) => own.iter().any(|own| configured.contains(own)),
            _ => false,
        };
        let configured = || self.cluster.nodes().iter().find(|node| !is_ip(node) && is_here(node)).cloned();
        announced.or_else(configured)
    }

    /// Follows the names of the configured nodes and of those in the map.
    fn follow_names(&mut self, now: Instant) {
        let all: Vec<Address> = self.addresses().collect();
        self.names.follow(all.iter(), now);
    }

    /// Returns the addresses at which the proxy reaches the configured nodes and those in the map.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> {
        let configured = self.cluster.nodes().iter().map(|node| self.cluster.reachable(node).clone());
        let map = self.survey.map().map(|map| map.nodes()).unwrap_or_default();
        configured.chain(map.iter().map(|node| reachable(&self.cluster, node)))
    }
}

fn is_ip(address: &Address) -> bool {
    matches!(address, Address::Host { host, .. } if host.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests;
