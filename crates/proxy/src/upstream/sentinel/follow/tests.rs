//! A model of servers and sentinels, in which failovers, crashes, stale and lying sentinels happen at random. The follower
//! sees what a proxy would see, and the invariants are checked after each step.

use super::super::answer::Claim;
use super::super::round::Master;
use super::*;

mod model;

use self::model::World;

fn server(name: &str) -> Address {
    Address::Host { host: name.to_owned(), port: 6379 }
}

fn follower_of(name: &str, epoch: u64, now: Instant) -> Follower {
    let mut follower = Follower::new(Some(Duration::from_secs(3)), now);
    let mut roles = Roles::default();
    roles.add(server(name), Role::Master);
    let moved = follower.round(&round(&[(name, epoch); 3]), &roles, now);
    assert_eq!(moved, Outcome::Moved { from: None });
    follower
}

fn round(answers: &[(&str, u64)]) -> Round {
    let claims = answers.iter().map(|(name, epoch)| Claim { address: server(name), epoch: *epoch });
    Round::new(3, claims.collect())
}

fn change(from: &str, to: &str) -> Change {
    Change { from: server(from), to: server(to) }
}

#[tokio::test]
async fn only_messages_about_the_master_of_the_view_count() {
    let now = Instant::now();
    for (event, expected) in [
        (Event::Chosen(change("a", "b")), true),
        (Event::Promoted(change("a", "b")), true),
        (Event::Switched(change("a", "b")), true),
        (Event::Chosen(change("c", "b")), false),
        (Event::Promoted(change("b", "a")), false),
        (Event::Switched(change("a", "a")), false),
    ] {
        let mut follower = follower_of("a", 1, now);
        assert_eq!(follower.event(&event, now), expected, "{event:?}");
        assert_eq!(follower.traffic() != Traffic::Flows, expected, "{event:?}");
    }
}

#[tokio::test]
async fn a_planned_failover() {
    let (now, ms) = (Instant::now(), Duration::from_millis);
    let mut follower = follower_of("a", 1, now);
    assert!(follower.event(&Event::Chosen(change("a", "b")), now));
    assert_eq!(follower.traffic(), Traffic::Paused { since: now });
    assert_eq!(follower.take_question(now + ms(100)), None);
    assert_eq!(follower.take_question(now + ms(200)), Some(server("b")));
    assert!(follower.told(&server("b"), Role::Master));
    let mut roles = Roles::default();
    roles.add(server("a"), Role::Master);
    roles.add(server("b"), Role::Master);
    let one = round(&[("b", 2), ("a", 1), ("a", 1)]);
    assert_eq!(follower.round(&one, &roles, now + ms(1000)), Outcome::Confirmed, "one sentinel is alone");
    assert_eq!(follower.traffic(), Traffic::Paused { since: now });
    let two = round(&[("b", 2), ("b", 2), ("a", 1)]);
    let asks = Outcome::Ask(vec![server("a"), server("b")]);
    assert_eq!(follower.round(&two, &Roles::default(), now + ms(1010)), asks);
    assert_eq!(follower.round(&two, &roles, now + ms(1020)), Outcome::Moved { from: Some(server("a")) });
    assert_eq!(follower.traffic(), Traffic::Flows);
    assert_eq!(follower.master(), Some(&Master { address: server("b"), epoch: 2 }));
}

/// Runs the model with three and with five sentinels, and with many seeds.
#[tokio::test]
async fn the_view_follows_the_truth_and_nothing_else() {
    const SEEDS: u64 = 60;
    const STEPS: u32 = 1500;
    let (mut moves, mut pauses) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, if seed % 2 == 0 { 3 } else { 5 });
        for _ in 0..STEPS {
            world.step();
        }
        moves += world.moves;
        pauses += world.pauses;
    }
    // The model is worth something only if much happens in it.
    assert!(moves > 500 && pauses > 500, "{moves} moves, {pauses} pauses");
}
