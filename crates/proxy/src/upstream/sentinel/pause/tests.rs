use super::*;

const LIMIT: Duration = Duration::from_secs(3);

fn replica() -> Address {
    Address::Host { host: "192.0.2.2".to_owned(), port: 6379 }
}

fn pause() -> (Pause, Instant) {
    (Pause::new(Some(LIMIT)), Instant::now())
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test]
async fn a_pause_ends_with_the_move_and_the_next_one_may_begin() {
    let (mut pause, start) = pause();
    assert_eq!(pause.traffic(), Traffic::Flows);
    pause.choose(&replica(), start);
    assert_eq!(pause.traffic(), Traffic::Paused { since: start });
    // Later messages of the same failover do not shorten it.
    pause.freeze(start + ms(1000));
    pause.tick(start + ms(1400));
    assert_eq!(pause.traffic(), Traffic::Paused { since: start });
    pause.moved();
    assert_eq!((pause.traffic(), pause.next()), (Traffic::Flows, None));
    pause.choose(&replica(), start + ms(2000));
    assert_eq!(pause.traffic(), Traffic::Paused { since: start + ms(2000) });
}

#[tokio::test]
async fn a_pause_in_vain_is_the_only_one_for_a_while() {
    let (mut pause, start) = pause();
    pause.choose(&replica(), start);
    pause.tick(start + LIMIT - ms(1));
    assert_ne!(pause.traffic(), Traffic::Flows);
    pause.tick(start + LIMIT);
    assert_eq!(pause.traffic(), Traffic::Flows);
    for later in [ms(3001), ms(10_000), ms(29_999)] {
        pause.choose(&replica(), start + later);
        pause.freeze(start + later);
        pause.tick(start + later);
        assert_eq!(pause.traffic(), Traffic::Flows, "{later:?}");
    }
    pause.tick(start + APART);
    pause.choose(&replica(), start + APART);
    assert_ne!(pause.traffic(), Traffic::Flows);
}

#[tokio::test]
async fn an_announced_master_holds_traffic_for_a_moment() {
    let (mut pause, start) = pause();
    pause.freeze(start);
    assert_eq!(pause.next(), Some(start + FREEZE));
    assert_eq!(pause.to_ask(start + FREEZE), None);
    pause.tick(start + FREEZE);
    assert_eq!(pause.traffic(), Traffic::Flows);
    pause.freeze(start + FREEZE);
    assert_eq!(pause.traffic(), Traffic::Flows, "not twice in a row");
}

#[tokio::test]
async fn a_failover_that_is_given_up_ends_the_pause() {
    let (mut pause, start) = pause();
    pause.abort();
    assert_eq!(pause.next(), None);
    pause.choose(&replica(), start);
    pause.abort();
    assert_eq!(pause.traffic(), Traffic::Flows);
}

#[tokio::test]
async fn the_chosen_replica_is_asked_until_it_is_the_master() {
    let (mut pause, start) = pause();
    pause.choose(&replica(), start);
    assert_eq!((pause.to_ask(start + ms(199)), pause.next()), (None, Some(start + ms(200))));
    assert_eq!(pause.to_ask(start + ms(200)), Some(&replica()));
    pause.asked(start + ms(200));
    assert_eq!(pause.to_ask(start + ms(299)), None);
    assert!(!pause.told(&replica(), Role::Replica));
    assert!(pause.told(&replica(), Role::Master), "this is news");
    assert!(!pause.told(&replica(), Role::Master), "this is not");
    // It is the master already: writes to the former one would be lost.
    pause.tick(start + LIMIT);
    assert_eq!(pause.traffic(), Traffic::Paused { since: start });
    assert_eq!(pause.to_ask(start + LIMIT + ms(500)), None);
    pause.tick(start + LIMIT + LIMIT);
    assert_eq!(pause.traffic(), Traffic::Flows);
}

#[tokio::test]
async fn a_pause_can_be_off() {
    let (mut pause, start) = (Pause::new(None), Instant::now());
    pause.choose(&replica(), start);
    pause.freeze(start);
    assert_eq!(pause.traffic(), Traffic::Flows);
    let mut short = Pause::new(Some(ms(100)));
    short.freeze(start);
    short.tick(start + ms(100));
    assert_eq!(short.traffic(), Traffic::Flows);
}
