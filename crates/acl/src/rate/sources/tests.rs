use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn source(n: u8) -> Source {
    Source(IpAddr::from([192, 0, 2, n]))
}

fn limits() -> SourceLimits {
    SourceLimits {
        clients: Some(2),
        connects: Rate::new(3, SECOND),
        auth_failures: Rate::new(3, at(60)),
        block_for: at(600),
    }
}

fn sources(capacity: usize) -> Sources {
    Sources::new(limits(), capacity)
}

fn block(sources: &mut Sources, source: Source, now: Duration) {
    for password in [b"1", b"2", b"3"] {
        sources.login_failed(source, None, password, now);
    }
    assert!(sources.blocked_until(source, now).is_some());
}

#[test]
fn a_slash_64_is_one_source() {
    let of = |text: &str| Source::of(ClientAddr::from_socket(text.parse::<SocketAddr>().unwrap())).unwrap();
    assert_eq!(of("[2001:db8:1:2:3::4]:1"), of("[2001:db8:1:2:ffff::9]:2"));
    assert_ne!(of("[2001:db8:1:2::1]:1"), of("[2001:db8:1:3::1]:1"));
    assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
    assert_eq!(of("[::ffff:192.0.2.1]:1"), of("192.0.2.1:9"));
    assert_eq!(Source::of(ClientAddr::unix()), None);
}

#[test]
fn clients_and_connections_are_counted() {
    let mut sources = sources(8);
    let first = sources.admit(source(1), at(0)).unwrap();
    let _second = sources.admit(source(1), at(0)).unwrap();
    assert_eq!(sources.admit(source(1), at(0)).unwrap_err(), Denied::Clients);
    assert_eq!(sources.admit(source(1), at(0)).unwrap_err(), Denied::Rate, "refused connections count");
    assert!(sources.admit(source(2), at(0)).is_ok(), "other sources are not affected");
    sources.leave(first, at(9));
    assert!(sources.admit(source(1), at(9)).is_ok());
}

#[test]
fn distinct_failures_block_for_a_while() {
    let mut sources = sources(8);
    for _ in 0..100 {
        assert_eq!(sources.login_failed(source(1), None, b"old", at(0)), LoginFailure::Counted(1));
    }
    assert_eq!(sources.login_failed(source(1), Some(b"u"), b"old", at(1)), LoginFailure::Counted(2));
    let until = at(602);
    assert_eq!(
        sources.login_failed(source(1), None, b"x", at(2)),
        LoginFailure::Blocked { until, new: true }
    );
    assert_eq!(
        sources.login_failed(source(1), None, b"y", at(3)),
        LoginFailure::Blocked { until, new: false }
    );
    assert_eq!(sources.admit(source(1), at(601)).unwrap_err(), Denied::Blocked { until });
    assert_eq!(sources.blocked(at(601)), 1);
    assert_eq!(sources.blocked(at(602)), 0);
    assert!(sources.admit(source(1), at(602)).is_ok());
    assert_eq!(
        sources.login_failed(source(1), None, b"x", at(602)),
        LoginFailure::Counted(1),
        "the count starts again"
    );
}

#[test]
fn failures_are_forgotten_with_time() {
    let mut sources = sources(8);
    sources.login_failed(source(1), None, b"1", at(0));
    sources.login_failed(source(1), None, b"2", at(30));
    assert_eq!(sources.login_failed(source(1), None, b"3", at(60)), LoginFailure::Counted(2));
}

#[test]
fn a_full_table_keeps_blocks_and_clients() {
    let mut sources = sources(3);
    block(&mut sources, source(1), at(0));
    block(&mut sources, source(2), at(1));
    let _client = sources.admit(source(3), at(2)).unwrap();
    // The table is full of blocked sources and a source with a client: the block that ends first is replaced.
    assert!(sources.admit(source(4), at(3)).is_ok());
    assert_eq!((sources.len(), sources.blocks_forgotten()), (3, 1));
    assert_eq!(sources.blocked_until(source(1), at(3)), None);
    assert!(sources.blocked_until(source(2), at(3)).is_some());
}

#[test]
fn a_flood_of_sources_forgets_no_block() {
    let mut sources = sources(4);
    block(&mut sources, source(1), at(0));
    for n in 2..200 {
        let place = sources.admit(source(n), at(1)).unwrap();
        sources.leave(place, at(1));
    }
    assert!(sources.blocked_until(source(1), at(1)).is_some());
    assert_eq!((sources.len(), sources.blocks_forgotten()), (4, 0));
}

#[test]
fn new_sources_are_refused_if_all_have_clients() {
    let mut sources = sources(2);
    let first = sources.admit(source(1), at(0)).unwrap();
    let _second = sources.admit(source(2), at(0)).unwrap();
    assert_eq!(sources.admit(source(3), at(0)).unwrap_err(), Denied::Full);
    sources.leave(first, at(0));
    assert!(sources.admit(source(3), at(0)).is_ok());
}

#[test]
fn sweep_removes_sources_without_history() {
    let mut sources = sources(300);
    for n in 0..200 {
        let place = sources.admit(source(n), at(0)).unwrap();
        sources.leave(place, at(0));
    }
    sources.sweep(at(0), 1_000);
    assert_eq!(sources.len(), 200, "their connections still count");
    sources.sweep(at(5), 150);
    assert_eq!(sources.len(), 50);
    sources.sweep(at(5), 150);
    assert!(sources.is_empty());
    assert!(sources.table.capacity() < 100);
}

#[test]
fn without_limits_no_source_is_kept() {
    let mut sources = Sources::new(SourceLimits::default(), 1);
    let places: Vec<_> = (0..9).map(|n| sources.admit(source(n), at(0)).unwrap()).collect();
    assert_eq!(sources.login_failed(source(1), None, b"x", at(0)), LoginFailure::Counted(0));
    // The limits of a reload do not count clients that connected before.
    sources.set_limits(limits());
    let _counted = sources.admit(source(1), at(0)).unwrap();
    places.into_iter().for_each(|place| sources.leave(place, at(0)));
    assert_eq!(sources.table.get(&source(1)).unwrap().clients, 1);
}

#[test]
fn wrong_passwords_are_not_kept() {
    let mut sources = sources(8);
    sources.login_failed(source(1), Some(b"canary-name"), b"canary-word", at(0));
    assert!(!format!("{sources:?}").contains("canary"));
}

/// A simple model of one source.
#[derive(Default)]
struct Naive {
    clients: u32,
    connects: Meter,
    failures: BTreeMap<u8, u64>,
    blocked_until: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Admit(u8),
    Leave(usize),
    Fail(u8, u8),
    Sweep,
}

fn op() -> impl Strategy<Value = (u64, Op)> {
    let op = prop_oneof![
        4 => (0u8..6).prop_map(Op::Admit),
        3 => (0usize..8).prop_map(Op::Leave),
        4 => (0u8..6, 0u8..5).prop_map(|(source, password)| Op::Fail(source, password)),
        1 => Just(Op::Sweep),
    ];
    (prop_oneof![Just(0u64), 1u64..900_000_000, 1_000_000_000u64..200_000_000_000], op)
}

proptest! {
    /// Property: if all sources fit, every result equals that of a table that never forgets.
    #[test]
    fn answers_do_not_change_by_forgetting(ops in prop::collection::vec(op(), 1..300)) {
        let mut sources = sources(6);
        let mut naive: Vec<Naive> = (0..6).map(|_| Naive::default()).collect();
        let mut places: Vec<(u8, CountedSource)> = Vec::new();
        let mut now = 0;
        for (step, op) in ops {
            now += step;
            let time = Duration::from_nanos(now);
            match op {
                Op::Admit(n) => {
                    let model = &mut naive[usize::from(n)];
                    let expected = if model.blocked_until > now {
                        Some(Denied::Blocked { until: Duration::from_nanos(model.blocked_until) })
                    } else if !model.connects.take(limits().connects.unwrap(), time) {
                        Some(Denied::Rate)
                    } else if model.clients >= 2 {
                        Some(Denied::Clients)
                    } else {
                        model.clients += 1;
                        None
                    };
                    let place = sources.admit(source(n), time);
                    prop_assert_eq!(place.as_ref().err().copied(), expected);
                    places.extend(place.ok().map(|place| (n, place)));
                }
                Op::Leave(at) if !places.is_empty() => {
                    let (n, place) = places.swap_remove(at % places.len());
                    naive[usize::from(n)].clients -= 1;
                    sources.leave(place, time);
                }
                Op::Leave(_) => {}
                Op::Fail(n, password) => {
                    let model = &mut naive[usize::from(n)];
                    let new = model.blocked_until <= now;
                    if new {
                        model.failures.retain(|_, seen| *seen + 60_000_000_000 > now);
                        model.failures.insert(password, now);
                    }
                    let distinct = u32::try_from(model.failures.len()).unwrap();
                    if new && distinct >= 3 {
                        model.failures.clear();
                        model.blocked_until = now + 600_000_000_000;
                    }
                    let expected = if model.blocked_until > now {
                        LoginFailure::Blocked { until: Duration::from_nanos(model.blocked_until), new }
                    } else {
                        LoginFailure::Counted(distinct)
                    };
                    prop_assert_eq!(sources.login_failed(source(n), None, &[password], time), expected);
                }
                Op::Sweep => sources.sweep(time, 2),
            }
        }
    }

    /// Property: with any number of sources, the table does not exceed its capacity and its orders are consistent. A
    /// block is forgotten only if no other source can be.
    #[test]
    fn the_table_is_bounded(capacity in 1usize..5, ops in prop::collection::vec(op(), 1..300)) {
        let mut sources = sources(capacity);
        let mut places: Vec<CountedSource> = Vec::new();
        let mut now = 0;
        for (step, op) in ops {
            now += step;
            let time = Duration::from_nanos(now);
            let before = sources.blocks_forgotten();
            let could_yield = sources.resting.len();
            match op {
                Op::Admit(n) => places.extend(sources.admit(source(n), time).ok()),
                Op::Leave(at) if !places.is_empty() => {
                    let place = places.swap_remove(at % places.len());
                    sources.leave(place, time);
                }
                Op::Leave(_) => {}
                Op::Fail(n, password) => drop(sources.login_failed(source(n), None, &[password], time)),
                Op::Sweep => sources.sweep(time, 2),
            }
            prop_assert!(sources.len() <= capacity);
            if sources.blocks_forgotten() > before {
                prop_assert_eq!(could_yield, 0);
            }
            for (source, record) in &sources.table {
                let resting = |until| sources.resting.contains(&(until, *source));
                let blocked = |until| sources.blocked.contains(&(until, *source));
                let is_listed = match record.kept {
                    Kept::Held => record.clients > 0,
                    Kept::Resting(until) => record.clients == 0 && resting(until),
                    Kept::Blocked(until) => record.clients == 0 && blocked(until),
                };
                prop_assert!(is_listed);
            }
            let held = sources.table.values().filter(|record| record.kept == Kept::Held).count();
            prop_assert_eq!(held + sources.resting.len() + sources.blocked.len(), sources.len());
            let clients: u32 = sources.table.values().map(|record| record.clients).sum();
            prop_assert_eq!(usize::try_from(clients).unwrap(), places.len());
        }
    }
}

#[test]
fn a_block_is_listed_until_it_is_ended() {
    let mut sources = sources(10);
    block(&mut sources, source(1), at(0));
    block(&mut sources, source(2), at(10));
    sources.login_failed(source(3), None, b"1", at(10));
    assert_eq!(sources.blocks(at(10), 10), [(source(2), at(610)), (source(1), at(600))]);
    assert_eq!(sources.blocks(at(10), 1), [(source(2), at(610))]);
    assert_eq!(sources.blocks(at(605), 10), [(source(2), at(610))]);

    assert!(sources.unblock(source(1), at(20)));
    assert!(!sources.unblock(source(1), at(20)), "the block has ended");
    assert!(!sources.unblock(source(3), at(20)), "the source was not blocked");
    assert!(!sources.unblock(source(4), at(20)), "the source is unknown");
    assert_eq!(sources.blocks(at(20), 10), [(source(2), at(610))]);
    // Its failures are forgotten as well: one more does not block it again.
    assert_eq!(sources.login_failed(source(1), None, b"1", at(20)), LoginFailure::Counted(1));
    drop(sources.admit(source(1), at(20)).unwrap());
}

/// A block of another process ends at its time, and does not shorten one of this table.
#[test]
fn a_block_is_taken_over() {
    let mut sources = sources(8);
    sources.block(source(1), at(30), at(0));
    assert_eq!(sources.blocked_until(source(1), at(29)), Some(at(30)));
    assert!(matches!(sources.admit(source(1), at(29)), Err(Denied::Blocked { .. })));
    sources.block(source(1), at(20), at(10));
    assert_eq!(sources.blocked_until(source(1), at(10)), Some(at(30)));
    assert_eq!(sources.blocked_until(source(1), at(30)), None);
}
