//! The nodes of a cluster that do not answer.
//!
//! ```text
//!            a question, a probe or a session fails       1 s without an answer
//!   answers ──────────────────────────────────────► fails ─────────────────────► is down
//!      ▲                                              │                             │
//!      └──────────────────────────────────────────────┴──────── an answer ──────────┘
//! ```

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The time without an answer after which a node is down. A node that restarts or stalls for less is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two probes of a node that fails.
const RETRY: Duration = Duration::from_millis(250);

/// The time between two probes of some of the nodes that answer.
const LOOK: Duration = Duration::from_secs(1);

/// The rounds of probes in which each node that answers has its turn.
const TURNS: usize = 5;

/// The most nodes of one such round. Each probe needs a connection.
const MOST: usize = 64;

/// The health of the nodes of one cluster, by their ids.
#[derive(Debug)]
pub(crate) struct Health {
    failing: HashMap<Box<str>, Failing>,
    /// The next probe of nodes that answer.
    look: Instant,
    /// The place of the next node to probe.
    turn: usize,
}

/// A node that does not answer.
#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    /// The next probe.
    next: Instant,
    is_down: bool,
}

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeHealth {
    /// It answers, as far as is known.
    Up,
    /// It has not answered since a moment ago.
    Failing,
    /// It has not answered for a while.
    Down,
}

impl NodeHealth {
    /// The word in the admin API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Failing => "failing",
            Self::Down => "down",
        }
    }
}

impl Health {
    /// Takes all nodes for well.
    pub(crate) fn new(now: Instant) -> Self {
        Self { failing: HashMap::new(), look: now + LOOK, turn: 0 }
    }

    /// Records that a node answers. Returns whether it was down.
    pub(crate) fn answers(&mut self, node: &str) -> bool {
        self.failing.remove(node).is_some_and(|failing| failing.is_down)
    }

    /// Records that a question, a probe or a session has met no answer, so that the node is probed.
    pub(crate) fn fails(&mut self, node: &str, now: Instant) {
        self.failing.entry(node.into()).or_insert(Failing { since: now, next: now, is_down: false });
    }

    /// Records that a session has waited for an answer for a second. The node is down unless it answers a probe soon.
    pub(crate) fn is_silent(&mut self, node: &str, now: Instant) {
        self.fails(node, now);
        let waited = PATIENCE.saturating_sub(RETRY);
        if let (Some(failing), Some(since)) = (self.failing.get_mut(node), now.checked_sub(waited)) {
            failing.since = failing.since.min(since);
        }
    }

    /// Returns the state of a node.
    pub(crate) fn of(&self, node: &str) -> NodeHealth {
        match self.failing.get(node) {
            None => NodeHealth::Up,
            Some(Failing { is_down: false, .. }) => NodeHealth::Failing,
            Some(Failing { is_down: true, .. }) => NodeHealth::Down,
        }
    }

    /// Returns whether any node does not answer.
    pub(crate) fn has_failing(&self) -> bool {
        !self.failing.is_empty()
    }

    /// Forgets the nodes that are not in the map any more.
    pub(crate) fn retain(&mut self, is_in_map: impl Fn(&str) -> bool) {
        self.failing.retain(|node, _| is_in_map(node));
    }

    /// Returns the nodes that are down from now on.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Box<str>> {
        let is_due = |failing: &Failing| !failing.is_down && now >= failing.since + PATIENCE;
        let due = self.failing.iter_mut().filter(|(_, failing)| is_due(failing));
        let mut down: Vec<Box<str>> = due
            .map(|(node, failing)| {
                failing.is_down = true;
                node.clone()
            })
            .collect();
        down.sort();
        down
    }

    /// Returns the nodes to probe now. `all` are the nodes of the map.
    pub(crate) fn due<'n>(&mut self, all: &[&'n str], now: Instant) -> Vec<&'n str> {
        let mut due = Vec::new();
        // If many nodes fail at once, as after the loss of a network, each has to wait for the others.
        let retry = RETRY * u32::try_from(self.failing.len().div_ceil(MOST)).unwrap_or(u32::MAX);
        for node in all {
            if let Some(failing) = self.failing.get_mut(*node).filter(|failing| now >= failing.next) {
                let has_turn = due.len() < MOST;
                failing.next = now + if has_turn { retry } else { RETRY };
                due.extend(has_turn.then_some(*node));
            }
        }
        if now >= self.look && !all.is_empty() {
            self.look = now + LOOK;
            for _ in 0..all.len().div_ceil(TURNS).min(MOST) {
                self.turn = (self.turn + 1) % all.len();
                due.extend(all.get(self.turn).filter(|node| !self.failing.contains_key(**node)));
            }
        }
        due
    }

    /// Returns when something is due.
    pub(crate) fn next(&self) -> Instant {
        let of = |failing: &Failing| match failing.is_down {
            true => failing.next,
            false => failing.next.min(failing.since + PATIENCE),
        };
        self.failing.values().map(of).min().map_or(self.look, |next| next.min(self.look))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    #[test]
    fn a_node_is_down_after_a_second_without_an_answer() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut health = Health::new(start);
        health.fails("a", start);
        health.fails("a", at(400));
        assert_eq!(health.due(&NODES, at(1)), ["a"]);
        assert!(health.due(&NODES, at(2)).is_empty(), "the first probe is under way");
        assert_eq!(health.next(), at(251));
        assert!(health.tick(at(999)).is_empty());
        assert_eq!((health.of("a"), health.of("b")), (NodeHealth::Failing, NodeHealth::Up));
        assert_eq!(health.tick(at(1000)), [Box::from("a")]);
        assert!(health.tick(at(1001)).is_empty(), "it is told once");
        assert_eq!(health.of("a"), NodeHealth::Down);
        assert!(health.due(&NODES, at(1002)).contains(&"a"));
        assert!(health.answers("a") && !health.answers("a"));
        assert!(!health.has_failing());
    }

    /// Its clients have waited long enough.
    #[test]
    fn a_node_that_sessions_find_silent_is_down_after_one_probe() {
        let start = Instant::now() + PATIENCE;
        let mut health = Health::new(start);
        health.is_silent("a", start);
        assert_eq!(health.due(&NODES, start), ["a"]);
        assert!(health.tick(start).is_empty() && health.next() == start + RETRY);
        assert_eq!(health.tick(start + RETRY), [Box::from("a")]);
        health.is_silent("b", start);
        health.answers("b");
        assert!(health.tick(start + RETRY).is_empty());
    }

    #[test]
    fn a_node_that_answers_in_time_was_never_down() {
        let start = Instant::now();
        let mut health = Health::new(start);
        health.fails("a", start);
        assert!(!health.answers("a"));
        assert!(health.tick(start + PATIENCE * 2).is_empty());
    }

    #[test]
    fn each_node_has_its_turn() {
        let start = Instant::now();
        let mut health = Health::new(start);
        let mut seen: Vec<&str> = Vec::new();
        for round in 1..=TURNS {
            let now = start + LOOK * u32::try_from(round).unwrap_or(1);
            assert!(health.next() <= now);
            seen.extend(health.due(&NODES, now));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, NODES);
        assert!(health.due(&[], start + LOOK * 20).is_empty());
    }

    #[test]
    fn thousands_of_nodes_are_not_probed_at_once() {
        let start = Instant::now();
        let names: Vec<String> = (0..4096).map(|number| number.to_string()).collect();
        let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut health = Health::new(start);
        assert_eq!(health.due(&nodes, start + LOOK).len(), MOST);
        nodes.iter().for_each(|node| health.fails(node, start + LOOK));
        let mut probes = 0;
        for quarter in 1..=64 {
            probes += health.due(&nodes, start + LOOK + RETRY * quarter).len();
        }
        assert_eq!(probes, nodes.len(), "each of them once in 16 s");
    }

    #[test]
    fn nodes_that_left_are_forgotten() {
        let start = Instant::now();
        let mut health = Health::new(start);
        health.fails("a", start);
        health.retain(|node| node != "a");
        assert!(!health.has_failing());
    }
}
