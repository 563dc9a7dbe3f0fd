use super::*;

#[test]
fn a_place_is_given_back() {
    let seats = Seats::new(2, [2].into_iter());
    let places = [seats.take(0), seats.take(0)];
    assert!(places.iter().all(Option::is_some));
    assert!(seats.take(0).is_none());
    drop(places);
    assert!(seats.take(0).is_some());
}

/// A listener that is full takes no place from the others.
#[test]
fn listeners_have_their_own_limit() {
    let seats = Seats::new(3, [1, 5].into_iter());
    let _first = seats.take(0).expect("a place");
    for _ in 0..10 {
        assert!(seats.take(0).is_none());
    }
    let _others = [seats.take(1).expect("a place"), seats.take(1).expect("a place")];
    assert!(seats.take(1).is_none(), "more than in all");
}

#[test]
fn an_unknown_listener_has_no_place() {
    let seats = Seats::new(1, [1].into_iter());
    assert!(seats.take(1).is_none());
    assert!(seats.take(0).is_some());
}

/// Taken by one thread and given back by others.
#[test]
fn threads_never_exceed_the_limit() {
    let seats = Seats::new(10, [10].into_iter());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let place = seats.take(0);
                    assert!(seats.0.all.taken.load(Ordering::Relaxed) <= 10);
                    drop(place);
                }
            });
        }
    });
    assert_eq!(seats.0.all.taken.load(Ordering::Relaxed), 0);
    assert_eq!(seats.0.listeners[0].taken.load(Ordering::Relaxed), 0);
}
