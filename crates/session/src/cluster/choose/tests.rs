mod simulator;

use std::collections::HashMap;
use std::time::Duration;

use super::{Choice, Chooser, Heard, Kept};
use crate::cluster::answer::{Answer, Replies};
use crate::cluster::endpoint::Endpoint;
use crate::cluster::map::Map;
use crate::tick::Tick;

/// The number of slots that the tests use, from 0. The others belong to the first node.
const USED: u16 = 8;

/// A node's opinion of its cluster.
#[derive(Clone, Debug)]
struct Opinion {
    /// The number of the node that has it.
    myself: u16,
    epoch: u64,
    is_ok: bool,
    /// The number of the node that owns each of the used slots.
    owners: Vec<u16>,
    /// A slot that is moving, and the number of the node that gets it.
    migrating: Option<(u16, u16)>,
}

fn id(node: u16) -> String {
    format!("{node:040x}")
}

fn endpoint(node: u16) -> Endpoint {
    Endpoint::new("127.0.0.1", 7000 + node).expect("an endpoint")
}

impl Opinion {
    fn new(myself: u16, epoch: u64, owners: &[u16]) -> Self {
        Self { myself, epoch, is_ok: true, owners: owners.to_vec(), migrating: None }
    }

    /// Returns the answer of the node, with all nodes in CLUSTER NODES.
    fn answer(&self) -> Answer {
        let entry = |start: u16, end: u16, node: u16| {
            let port = 7000 + node;
            format!(
                "*3\r\n:{start}\r\n:{end}\r\n*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{}\r\n*0\r\n",
                id(node)
            )
        };
        let ranges = self.owners.len() + 1;
        let used: String = (0..USED).zip(&self.owners).map(|(slot, node)| entry(slot, slot, *node)).collect();
        let rest = entry(USED, 16383, self.owners[0]);
        let slots = format!("*{ranges}\r\n{used}{rest}");
        let migrating = self.migrating.map(|(slot, to)| format!(" [{slot}->-{}]", id(to)));
        let nodes = format!(
            "{} 127.0.0.1:{}@1 myself,master - 0 0 1 connected{}\n",
            id(self.myself),
            7000 + self.myself,
            migrating.unwrap_or_default()
        );
        let nodes = format!("${}\r\n{nodes}\r\n", nodes.len());
        let state = if self.is_ok { "ok" } else { "fail" };
        let info = format!("cluster_state:{state}\r\ncluster_current_epoch:{}\r\n", self.epoch);
        let info = format!("${}\r\n{info}\r\n", info.len());
        let replies = Replies {
            asked: "127.0.0.1",
            slots: slots.as_bytes(),
            nodes: Some(nodes.as_bytes()),
            info: Some(info.as_bytes()),
        };
        Answer::read(&replies).expect("an answer")
    }
}

fn at(ms: u64) -> Tick {
    Tick::default().after(Duration::from_millis(ms))
}

/// Chooses between the opinions of nodes, of which those in `configured` are configured.
fn choose(
    chooser: &mut Chooser,
    last: Option<&Map>,
    opinions: &[Opinion],
    configured: &[u16],
    ms: u64,
) -> Choice {
    choose_moved(chooser, last, opinions, configured, &HashMap::new(), ms)
}

fn choose_moved(
    chooser: &mut Chooser,
    last: Option<&Map>,
    opinions: &[Opinion],
    configured: &[u16],
    moved: &HashMap<u16, Endpoint>,
    ms: u64,
) -> Choice {
    let answers: Vec<Answer> = opinions.iter().map(Opinion::answer).collect();
    let heard: Vec<Heard<'_>> = answers
        .iter()
        .zip(opinions)
        .map(|(answer, opinion)| Heard { answer, is_configured: configured.contains(&opinion.myself) })
        .collect();
    chooser.choose(last, &heard, moved, at(ms))
}

#[track_caller]
fn taken(choice: Choice) -> Map {
    match choice {
        Choice::Take(map) => map,
        other => panic!("not taken: {other:?}"),
    }
}

#[track_caller]
fn kept(choice: &Choice) -> Kept {
    match choice {
        Choice::Keep(kept) => *kept,
        other => panic!("not kept: {other:?}"),
    }
}

/// Returns the numbers of the owners of the used slots.
fn owners(map: &Map) -> Vec<u16> {
    let owner =
        |slot| map.owner(slot).and_then(|index| map.node(index)).map(|node| node.address.port() - 7000);
    (0..USED).map(|slot| owner(slot).expect("an owner")).collect()
}

const FIRST: [u16; 8] = [1, 1, 1, 2, 2, 3, 3, 3];
const SECOND: [u16; 8] = [2, 1, 1, 2, 2, 3, 3, 3];

#[test]
fn the_highest_epoch_of_nodes_that_see_a_majority_decides() {
    let mut chooser = Chooser::default();
    let map = taken(choose(&mut chooser, None, &[Opinion::new(1, 5, &FIRST)], &[1], 0));
    assert_eq!((owners(&map), map.epoch()), (FIRST.to_vec(), 5));
    let opinions = [Opinion::new(1, 5, &FIRST), Opinion::new(2, 6, &SECOND)];
    let map = taken(choose(&mut chooser, Some(&map), &opinions, &[1], 0));
    assert_eq!((owners(&map), map.epoch()), (SECOND.to_vec(), 6));
    assert!(matches!(choose(&mut chooser, Some(&map), &opinions, &[1], 0), Choice::Same));
    // A node that is cut off from the others counts up its epoch in vain.
    let alone = Opinion { is_ok: false, ..Opinion::new(3, 99, &FIRST) };
    assert!(matches!(
        choose(&mut chooser, Some(&map), &[alone.clone(), opinions[1].clone()], &[], 0),
        Choice::Same
    ));
    assert_eq!(kept(&choose(&mut chooser, Some(&map), &[alone], &[3], 0)), Kept::StateFail);
    assert_eq!(kept(&choose(&mut chooser, Some(&map), &[], &[], 0)), Kept::NoAnswer);
}

#[test]
fn a_cluster_that_is_down_gives_the_first_map() {
    let down = Opinion { is_ok: false, ..Opinion::new(1, 5, &FIRST) };
    let map = taken(choose(&mut Chooser::default(), None, &[down], &[1], 0));
    assert_eq!(owners(&map), FIRST);
}

#[test]
fn the_owner_itself_decides_between_equal_epochs() {
    let mut chooser = Chooser::default();
    let map = taken(choose(&mut chooser, None, &[Opinion::new(1, 5, &FIRST)], &[1], 0));
    // Node 2 has taken over slot 0, and node 3 has not heard of it.
    for order in [[2, 3], [3, 2]] {
        let opinion = |node| Opinion::new(node, 5, if node == 2 { &SECOND } else { &FIRST });
        let map = taken(choose(&mut chooser, Some(&map), &order.map(opinion), &[], 0));
        assert_eq!(owners(&map), SECOND);
    }
}

#[test]
fn moved_decides_if_the_owners_do_not() {
    let mut chooser = Chooser::default();
    let map = taken(choose(&mut chooser, None, &[Opinion::new(1, 5, &FIRST)], &[1], 0));
    // Both claim slot 0, or none of them does.
    for (one, other) in [(1, 2), (3, 4)] {
        let opinions = [Opinion::new(one, 5, &FIRST), Opinion::new(other, 5, &SECOND)];
        let moved = HashMap::from([(0, endpoint(2))]);
        let map = taken(choose_moved(&mut chooser, Some(&map), &opinions, &[], &moved, 0));
        assert_eq!(owners(&map), SECOND);
        // Without MOVED, the map stays as it is for this slot.
        let choice = choose(&mut chooser, Some(&map), &opinions, &[], 0);
        assert!(matches!(choice, Choice::Same), "{choice:?}");
    }
}

#[test]
fn a_lower_epoch_is_believed_late() {
    let mut chooser = Chooser::default();
    let map = taken(choose(&mut chooser, None, &[Opinion::new(1, 50, &FIRST)], &[1], 0));
    let lower = [Opinion::new(2, 7, &SECOND)];
    assert_eq!(kept(&choose(&mut chooser, Some(&map), &lower, &[], 1_000)), Kept::LowerEpoch);
    assert_eq!(kept(&choose(&mut chooser, Some(&map), &lower, &[], 5_900)), Kept::LowerEpoch);
    let map_again = taken(choose(&mut chooser, Some(&map), &lower, &[], 6_000));
    assert_eq!((owners(&map_again), map_again.epoch()), (SECOND.to_vec(), 7));
    // A configured node needs no time.
    let map_again = taken(choose(&mut Chooser::default(), Some(&map), &lower, &[2], 0));
    assert_eq!(map_again.epoch(), 7);
    // If another node names the epoch in between, the time begins again.
    let mut chooser = Chooser::default();
    assert_eq!(kept(&choose(&mut chooser, Some(&map), &lower, &[], 0)), Kept::LowerEpoch);
    let both = [lower[0].clone(), Opinion::new(1, 50, &FIRST)];
    assert!(matches!(choose(&mut chooser, Some(&map), &both, &[], 4_000), Choice::Same));
    assert_eq!(kept(&choose(&mut chooser, Some(&map), &lower, &[], 6_000)), Kept::LowerEpoch);
}

/// An address that a former node had may belong to another cluster now.
#[test]
fn another_cluster_needs_a_configured_node() {
    let mut chooser = Chooser::default();
    let map = taken(choose(&mut chooser, None, &[Opinion::new(1, 5, &FIRST)], &[1], 0));
    let strangers = [21, 21, 21, 21, 22, 22, 22, 22];
    let other = [Opinion::new(21, 90, &strangers)];
    assert_eq!(kept(&choose(&mut chooser, Some(&map), &other, &[], 0)), Kept::OtherCluster);
    let map = taken(choose(&mut chooser, Some(&map), &other, &[21], 0));
    assert_eq!(owners(&map), strangers);
}

/// Only the owner of a slot says where the slot is moving, and it is not asked in each round.
#[test]
fn moving_slots_are_what_their_owners_said_last() {
    let owners = [0, 0, 1, 1, 1, 1, 1, 1];
    let plain = |node| Opinion::new(node, 1, &owners);
    let moving = Opinion { migrating: Some((2, 0)), ..plain(1) };
    let wrong = Opinion { migrating: Some((3, 1)), ..plain(0) };
    let choose = |last: Option<&Map>, opinions: &[Opinion]| {
        let answers: Vec<Answer> = opinions.iter().map(Opinion::answer).collect();
        let heard: Vec<Heard<'_>> =
            answers.iter().map(|answer| Heard { answer, is_configured: true }).collect();
        match Chooser::default().choose(last, &heard, &HashMap::new(), Tick::default()) {
            Choice::Take(map) => Some(map),
            Choice::Same => None,
            Choice::Keep(kept) => panic!("{kept}"),
        }
    };
    let index = |map: &Map, node| map.with_id(&id(node)).expect("a node").index();
    let is_moving = |map: &Map, slot, from, to| map.is_migrating(slot, index(map, from), index(map, to));
    let first = choose(None, &[plain(0), moving]).expect("a map");
    assert!(is_moving(&first, 2, 1, 0) && !is_moving(&first, 2, 0, 1) && !is_moving(&first, 3, 1, 0));
    assert!(choose(Some(&first), &[plain(0)]).is_none(), "the owner was not asked");
    assert!(choose(Some(&first), &[plain(0), wrong]).is_none(), "the slot is not its own");
    let last = choose(Some(&first), &[plain(1)]).expect("another map");
    assert!(!is_moving(&last, 2, 1, 0), "the move is over");
}
