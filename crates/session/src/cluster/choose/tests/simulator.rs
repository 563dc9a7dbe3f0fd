//! A cluster whose slots move at random, whose nodes hear of it late, and of which a part may be cut off.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{Choice, Chooser, FIRST, Opinion, USED, choose_moved, endpoint, owners, taken};
use crate::cluster::map::Map;

const NODES: u16 = 5;

/// The number of lives of a cluster in one run. Each map has 16,384 slots, so that more would take too long.
const CASES: u32 = 64;

/// An event in the life of the cluster.
#[derive(Clone, Debug)]
enum Event {
    /// A slot moves to a node. The new owner has the next epoch.
    Move { slot: u16, to: u16 },
    /// A node hears everything that another one knows.
    Gossip { from: u16, to: u16 },
    /// A node is cut off: it hears nothing, and says that the cluster is down.
    CutOff { node: u16, is_cut_off: bool },
    /// The gate asks some nodes.
    Ask { first: u16, second: u16 },
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 1..=NODES;
    prop_oneof![
        3 => (0..USED, node()).prop_map(|(slot, to)| Event::Move { slot, to }),
        4 => (node(), node()).prop_map(|(from, to)| Event::Gossip { from, to }),
        1 => (node(), any::<bool>()).prop_map(|(node, is_cut_off)| Event::CutOff { node, is_cut_off }),
        4 => (node(), node()).prop_map(|(first, second)| Event::Ask { first, second }),
    ]
}

/// The cluster, as it is and as its nodes know it.
struct Model {
    truth: Vec<u16>,
    epoch: u64,
    /// By the number of the node, less one.
    opinions: Vec<Opinion>,
}

impl Model {
    fn new() -> Self {
        let opinions = (1..=NODES).map(|node| Opinion::new(node, 1, &FIRST)).collect();
        Self { truth: FIRST.to_vec(), epoch: 1, opinions }
    }

    fn opinion(&mut self, node: u16) -> &mut Opinion {
        &mut self.opinions[usize::from(node) - 1]
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            // A node that is cut off gets no slots: that needs the votes of the majority.
            Event::Move { slot, to } if self.opinion(to).is_ok => {
                self.epoch += 1;
                self.truth[usize::from(slot)] = to;
                let (truth, epoch) = (self.truth.clone(), self.epoch);
                let owner = self.opinion(to);
                (owner.owners, owner.epoch) = (truth, epoch);
            }
            Event::Gossip { from, to } => {
                let (from, to_is_ok) = (self.opinion(from).clone(), self.opinion(to).is_ok);
                let hearer = self.opinion(to);
                if from.is_ok && to_is_ok && from.epoch > hearer.epoch {
                    (hearer.owners, hearer.epoch) = (from.owners, from.epoch);
                }
            }
            Event::CutOff { node, is_cut_off } => self.opinion(node).is_ok = !is_cut_off,
            Event::Move { .. } | Event::Ask { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// The map never goes back to an older state of the cluster, and never to that of a node that is cut off. As soon
    /// as a node that knows the newest state is asked, the map is that state.
    #[test]
    fn the_map_only_goes_forward(events in proptest::collection::vec(event(), 1..200)) {
        let mut model = Model::new();
        let mut chooser = Chooser::default();
        let nothing = HashMap::new();
        let first = [model.opinion(1).clone()];
        let mut map: Map = taken(choose_moved(&mut chooser, None, &first, &[1], &nothing, 0));
        // All at one time, so that no lower epoch is believed.
        for event in &events {
            model.apply(event);
            let Event::Ask { first, second } = *event else { continue };
            let asked = [model.opinion(first).clone(), model.opinion(second).clone()];
            let moved = HashMap::from([(0, endpoint(model.truth[0]))]);
            let choice = choose_moved(&mut chooser, Some(&map), &asked, &[], &moved, 0);
            let newest = asked.iter().filter(|one| one.is_ok).map(|one| one.epoch).max();
            if let Choice::Take(next) = choice {
                prop_assert!(next.epoch() >= map.epoch());
                prop_assert_eq!(Some(next.epoch()), newest);
                map = next;
            }
            if newest == Some(model.epoch) {
                prop_assert_eq!(owners(&map), model.truth.clone());
            }
        }
    }
}
