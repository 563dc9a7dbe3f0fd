use super::*;
use crate::metrics::Metrics;
use crate::testing::config_of;

/// Returns listeners with these limits of clients.
fn listeners(limits: &[u64]) -> Vec<Arc<ListenerState>> {
    let mut yaml = "upstreams: {main: {address: '127.0.0.1:1'}}\nlisteners:\n".to_owned();
    for (index, limit) in limits.iter().enumerate() {
        yaml += &format!(
            "  - {{name: l{index}, bind: '127.0.0.1:{}', upstream: main, limits: {{clients: {limit}}}}}\n",
            7000 + index
        );
    }
    let generation = Generation::first(config_of(&yaml), &Metrics::new(1, Vec::new()), 1000);
    generation.limit(&Seat::new(0));
    generation.listeners().iter().map(|listener| Arc::clone(listener.state())).collect()
}

fn take(all: &Arc<Seat>, listener: &Arc<ListenerState>) -> Option<ClientPlace> {
    ClientPlace::take(all, listener, ClientAddr::unix()).ok()
}

#[test]
fn a_place_is_given_back() {
    let (all, listeners) = (Arc::new(Seat::new(2)), listeners(&[2]));
    let places = [take(&all, &listeners[0]), take(&all, &listeners[0])];
    assert!(places.iter().all(Option::is_some));
    assert!(take(&all, &listeners[0]).is_none());
    drop(places);
    assert!(take(&all, &listeners[0]).is_some());
}

/// A full listener takes no seat from other listeners.
#[test]
fn listeners_have_their_own_limit() {
    let (all, listeners) = (Arc::new(Seat::new(3)), listeners(&[1, 5]));
    let _first = take(&all, &listeners[0]).expect("a place");
    for _ in 0..10 {
        assert!(take(&all, &listeners[0]).is_none());
    }
    let other = || take(&all, &listeners[1]);
    let _others = [other().expect("a place"), other().expect("a place")];
    assert!(other().is_none(), "more than in all");
}

/// After a limit is lowered, existing clients stay. New ones are refused until enough clients have
/// disconnected.
#[test]
fn a_limit_can_be_lowered_below_what_is_taken() {
    let (all, listeners) = (Arc::new(Seat::new(10)), listeners(&[10]));
    let next = || take(&all, &listeners[0]);
    let mut places: Vec<_> = (0..5).map(|_| next().expect("a place")).collect();
    all.set_limit(3);
    places.truncate(3);
    assert!(next().is_none());
    places.truncate(2);
    places.push(next().expect("a place"));
    assert_eq!((all.taken(), listeners[0].seat().taken()), (3, 3));
}

/// Several threads take and free seats at the same time.
#[test]
fn threads_never_exceed_the_limit() {
    let (all, listeners) = (Arc::new(Seat::new(10)), listeners(&[10]));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let place = take(&all, &listeners[0]);
                    assert!(all.taken() <= 10);
                    drop(place);
                }
            });
        }
    });
    assert_eq!((all.taken(), listeners[0].seat().taken()), (0, 0));
}
