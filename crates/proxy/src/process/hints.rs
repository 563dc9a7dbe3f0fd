//! Hints from sessions and health checks that an upstream has moved, for the watcher of that upstream.
//!
//! Thousands of sessions meet the same failure at once. So a hint is a bit that is set or not: hints of one kind are
//! one hint until the watcher has taken it. A hint about a node of a cluster also says which node. Such hints are kept up
//! to a bound, and giving a hint never waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_session::cluster::{Endpoint, NodeIndex};
use tokio::sync::Notify;

/// The most slots, and the most nodes, about which the watcher is told at once. All others are found by asking.
const MAX_KEPT: usize = 256;

/// A reason to believe that an upstream is elsewhere now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Hint {
    /// The server refused the connection.
    Refused = 1,
    /// A client read READONLY: the server is a replica.
    Readonly = 2,
    /// The server's role at the login is not `master`.
    Replica = 4,
    /// The server does not answer, or its connection was lost.
    Silent = 8,
    /// A node of a cluster redirects to a node that the map does not have.
    Unknown = 16,
    /// A node of a cluster says that a slot belongs to another node.
    Moved = 32,
    /// A node of a cluster says CLUSTERDOWN, or a slot has no owner.
    Clusterdown = 64,
    /// A node of a cluster takes longer than a second for one command.
    Slow = 128,
}

/// A MOVED that a session has read from a node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The slot.
    pub(crate) slot: u16,
    /// The node that answered.
    pub(crate) from: NodeIndex,
    /// The node that it named.
    pub(crate) to: Endpoint,
}

/// The hints about one upstream that its watcher has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    given: AtomicU8,
    about: Mutex<About>,
    news: Notify,
}

/// The slots and nodes of a cluster that hints are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// The newest MOVED of each slot.
    pub(crate) moved: HashMap<u16, Moved>,
    /// The nodes that refused a connection, lost it, or do not answer, each with the first hint about it.
    pub(crate) failing: Vec<(NodeIndex, Hint)>,
    /// The nodes that must be asked which of their slots are moving.
    pub(crate) asked: Vec<NodeIndex>,
}

/// Some hints about one upstream, without an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    kinds: u8,
    /// The slots and nodes that the hints are about, if they name any.
    pub(crate) about: About,
}

impl Hints {
    /// Gives a hint. A hint that the watcher has not taken yet is not given twice.
    pub(crate) fn give(&self, hint: Hint) {
        let bit = hint as u8;
        // The load leaves the cache line shared while many sessions give the same hint.
        if self.given.load(Ordering::Relaxed) & bit == 0 && self.given.fetch_or(bit, Ordering::AcqRel) == 0 {
            self.news.notify_one();
        }
    }

    /// Gives a hint about a slot of a cluster. If another thread is giving a hint, the watcher learns only the kind of
    /// this one.
    pub(crate) fn give_moved(&self, moved: Moved) {
        if let Ok(mut about) = self.about.try_lock()
            && (about.moved.len() < MAX_KEPT || about.moved.contains_key(&moved.slot))
        {
            about.moved.insert(moved.slot, moved);
        }
        self.give(Hint::Moved);
    }

    /// Gives a hint about a node of a cluster: [`Hint::Refused`], [`Hint::Slow`], or [`Hint::Silent`] after a second
    /// without an answer.
    pub(crate) fn give_about(&self, node: NodeIndex, hint: Hint) {
        if let Ok(mut about) = self.about.try_lock()
            && about.failing.len() < MAX_KEPT
            && !about.failing.iter().any(|(known, _)| *known == node)
        {
            about.failing.push((node, hint));
        }
        self.give(hint);
    }

    /// Demands that a node of a cluster is asked about its slots.
    pub(crate) fn give_asked(&self, node: NodeIndex) {
        if let Ok(mut about) = self.about.try_lock()
            && about.asked.len() < MAX_KEPT
            && !about.asked.contains(&node)
        {
            about.asked.push(node);
        }
        self.give(Hint::Unknown);
    }

    /// Takes the hints that were given since the last call, at least one. Dropped before that, nothing is lost.
    pub(crate) async fn taken(&self) -> Given {
        loop {
            let kinds = self.given.swap(0, Ordering::AcqRel);
            if kinds != 0 {
                let about = std::mem::take(&mut *self.about.lock().unwrap_or_else(PoisonError::into_inner));
                return Given { kinds, about };
            }
            self.news.notified().await;
        }
    }
}

impl Given {
    /// Returns whether this hint is among them.
    pub(crate) const fn has(&self, hint: Hint) -> bool {
        self.kinds & hint as u8 != 0
    }
}

/// The hints about all upstreams, by name. An upstream keeps its hints over reloads.
#[derive(Debug, Default)]
pub(crate) struct HintBoard(Mutex<HashMap<Arc<str>, Arc<Hints>>>);

impl HintBoard {
    /// Returns the hints about an upstream. Hints that neither a watcher nor a session uses any more are dropped.
    pub(crate) fn of(&self, upstream: &str) -> Arc<Hints> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, hints| **name == *upstream || Arc::strong_count(hints) > 1);
        Arc::clone(known.entry(upstream.into()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_session::cluster::{Announced, Map, Role};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_thousand_hints_of_one_kind_are_one() {
        let hints = Hints::default();
        for _ in 0..1000 {
            hints.give(Hint::Readonly);
        }
        hints.give(Hint::Silent);
        let given = hints.taken().await;
        assert!(given.has(Hint::Readonly) && given.has(Hint::Silent));
        assert!(!given.has(Hint::Refused) && !given.has(Hint::Replica));
        assert!(timeout(Duration::from_millis(20), hints.taken()).await.is_err(), "all are taken");
        hints.give(Hint::Readonly);
        assert!(hints.taken().await.has(Hint::Readonly), "the next one counts again");
    }

    /// Returns the map of a cluster with this number of nodes.
    fn nodes(count: u16) -> Map {
        let node = |port: u16| Announced {
            id: port.to_string().into(),
            address: Endpoint::new("127.0.0.1", port),
            names: Vec::new(),
            role: Role::Master,
            migrating: Vec::new(),
            master: None,
        };
        let nodes: Vec<Announced> = (1..=count).map(node).collect();
        Map::make(None, 1, &nodes, |_| Some(0)).expect("a map")
    }

    #[tokio::test]
    async fn hints_about_slots_and_nodes_name_them_up_to_a_bound() {
        let (hints, map) = (Hints::default(), nodes(400));
        let from = map.nodes()[0].index();
        let to = |port| Endpoint::new("127.0.0.1", port).expect("an endpoint");
        for port in [7001, 7002] {
            (0..1000).for_each(|slot| hints.give_moved(Moved { slot, from, to: to(port) }));
        }
        for node in map.nodes().iter().chain(map.nodes()) {
            hints.give_about(node.index(), Hint::Silent);
        }
        (0..2).for_each(|_| map.nodes().iter().for_each(|node| hints.give_asked(node.index())));
        let given = hints.taken().await;
        assert_eq!(given.about.asked.len(), MAX_KEPT);
        assert!(given.has(Hint::Moved) && given.has(Hint::Silent) && !given.has(Hint::Clusterdown));
        assert_eq!((given.about.moved.len(), given.about.failing.len()), (MAX_KEPT, MAX_KEPT));
        assert!(given.about.moved.values().all(|moved| moved.to == to(7002)), "the newest one counts");
        hints.give(Hint::Unknown);
        assert_eq!(hints.taken().await.about, About::default(), "all are taken");
    }

    #[tokio::test]
    async fn a_hint_wakes_the_watcher() {
        let hints = Arc::new(Hints::default());
        let giver = Arc::clone(&hints);
        let (given, ()) = tokio::join!(hints.taken(), async {
            tokio::task::yield_now().await;
            giver.give(Hint::Refused);
        });
        assert!(given.has(Hint::Refused));
    }

    #[test]
    fn all_users_of_an_upstream_share_its_hints() {
        let board = HintBoard::default();
        let (one, other) = (board.of("main"), board.of("main"));
        assert!(Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &board.of("second")));
        drop((one, other));
        drop(board.of("second"));
        assert_eq!(board.0.lock().unwrap().len(), 1, "the first one has no user");
    }
}
