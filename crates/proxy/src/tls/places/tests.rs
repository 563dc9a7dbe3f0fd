use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use portcullis_acl::ClientAddr;

use super::*;

type Ask<'a> = Pin<Box<dyn Future<Output = Result<HandshakePlace, Crowded>> + 'a>>;

fn source(number: u16) -> Key {
    from(Ipv4Addr::from(0x0a00_0000 + u32::from(number)).into())
}

fn from(ip: IpAddr) -> Key {
    Source::of(ClientAddr::from_socket((ip, 1).into()))
}

fn poll(ask: &mut Ask<'_>) -> Poll<Result<HandshakePlace, Crowded>> {
    ask.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Asks for a place once. Returns the place, or else the future of a waiting client.
fn ask(places: &Places, source: Key) -> Result<HandshakePlace, Ask<'_>> {
    let mut ask: Ask<'_> = Box::pin(places.take(source));
    match poll(&mut ask) {
        Poll::Ready(place) => Ok(place.unwrap()),
        Poll::Pending => Err(ask),
    }
}

fn hold(places: &Places, source: Key, count: usize) -> Vec<HandshakePlace> {
    (0..count).map(|_| ask(places, source).ok().unwrap()).collect()
}

fn queue(places: &Places, source: Key, count: usize) -> Vec<Ask<'_>> {
    (0..count).map(|_| ask(places, source).err().unwrap()).collect()
}

fn is_granted(ask: &mut Ask<'_>) -> Option<HandshakePlace> {
    match poll(ask) {
        Poll::Ready(place) => Some(place.unwrap()),
        Poll::Pending => None,
    }
}

/// Takes all places, for sources that no test uses otherwise.
fn full(places: &Places) -> Vec<HandshakePlace> {
    (1000..1008).flat_map(|number| hold(places, source(number), OF_A_SOURCE)).collect()
}

#[test]
fn a_source_holds_an_eighth() {
    let places = Places::default();
    let mut held = hold(&places, source(1), OF_A_SOURCE);
    let mut waits = queue(&places, source(1), 3);
    assert!(ask(&places, source(2)).is_ok(), "another source has a place at once");
    assert!(is_granted(&mut waits[0]).is_none());
    drop(held.pop());
    let first = is_granted(&mut waits[0]);
    assert!(first.is_some() && is_granted(&mut waits[1]).is_none(), "in order");
    drop((held, first));
    assert!(waits[1..].iter_mut().all(|ask| is_granted(ask).is_some()));
    drop(waits);
    assert!(places.0.borrow().sources.is_empty() && places.0.borrow().taken == 0);
}

#[test]
fn an_ipv6_source_is_a_64() {
    let places = Places::default();
    let ip = |subnet, host| from(Ipv6Addr::new(0x2001, 0xdb8, 0, subnet, 0, 0, 0, host).into());
    let _held: Vec<_> =
        (0..OF_A_SOURCE).map(|host| ask(&places, ip(1, host.try_into().unwrap())).ok().unwrap()).collect();
    assert!(ask(&places, ip(1, 999)).is_err());
    assert!(ask(&places, ip(2, 1)).is_ok());
}

#[test]
fn peers_on_unix_sockets_have_no_share() {
    let places = Places::default();
    let held = hold(&places, None, MAX_HANDSHAKES);
    let mut waits = ask(&places, None).err().unwrap();
    drop(held);
    assert!(is_granted(&mut waits).is_some());
}

/// The one client of a source does not wait for a thousand clients of another source.
#[test]
fn sources_take_turns() {
    let places = Places::default();
    let mut held = full(&places);
    let mut many = queue(&places, source(1), 1000);
    let mut one = queue(&places, source(2), 1);
    let mut few = queue(&places, source(3), 2);
    let mut now: Vec<_> = Vec::new();
    for expected in [&mut many[0], &mut one[0], &mut few[0]] {
        drop(held.pop());
        now.push(is_granted(expected).expect("its turn"));
    }
    drop(held.pop());
    let second = is_granted(&mut many[1]);
    assert!(second.is_some() && is_granted(&mut few[1]).is_none());
    drop(held.pop());
    assert!(is_granted(&mut few[1]).is_some());
}

/// A source that has all its places does not delay sources that wait for any place.
#[test]
fn a_source_at_its_share_has_no_turn() {
    let places = Places::default();
    let mut own = hold(&places, source(1), OF_A_SOURCE);
    let mut own_waits = queue(&places, source(1), 1);
    let mut others: Vec<_> =
        (1000..1007).flat_map(|number| hold(&places, source(number), OF_A_SOURCE)).collect();
    let mut other = queue(&places, source(2), 1);
    drop(others.pop());
    assert!(is_granted(&mut own_waits[0]).is_none());
    let place = is_granted(&mut other[0]);
    assert!(place.is_some());
    drop(own.pop());
    assert!(is_granted(&mut own_waits[0]).is_some());
}

#[test]
fn a_client_that_stops_waiting_leaves_no_trace() {
    let places = Places::default();
    let mut held = full(&places);
    let mut waits = queue(&places, source(1), 3);
    drop(waits.remove(1));
    assert_eq!(places.0.borrow().waiting, 2);
    held.truncate(held.len() - 2);
    // This place is granted to a client that no longer waits, so it goes to the next client.
    let mut next = queue(&places, source(2), 1);
    drop(waits);
    assert!(is_granted(&mut next[0]).is_some());
    drop((held, next));
    let state = places.0.borrow();
    assert_eq!((state.taken, state.waiting, state.turns.len()), (0, 0, 0));
    assert!(state.sources.is_empty() && state.by_waiting.is_empty());
}

/// The queue is limited, and its last places go to the sources with the fewest clients in it.
#[test]
fn a_full_queue_is_shared_too() {
    let places = Places::default();
    let mut held = full(&places);
    let mut many = queue(&places, source(1), MAX_WAITING - 1);
    let mut few = queue(&places, source(2), 1);
    assert_eq!(
        poll(&mut (Box::pin(places.take(source(1))) as Ask<'_>)).map(|place| place.err()),
        Poll::Ready(Some(Crowded))
    );
    let mut last = queue(&places, source(3), 1);
    assert_eq!(places.0.borrow().waiting, MAX_WAITING);
    let pushed_out = poll(many.last_mut().unwrap());
    assert!(matches!(pushed_out, Poll::Ready(Err(Crowded))));
    for expected in [&mut many[0], &mut few[0], &mut last[0]] {
        drop(held.pop());
        assert!(is_granted(expected).is_some());
    }
}

/// Clients come and go in any order. No limit is exceeded, and in the end no state remains.
#[test]
fn whatever_comes_and_goes() {
    let places = Places::default();
    let mut noise = 7_u64;
    let mut next = |below: usize| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(noise >> 33).unwrap() % below
    };
    let (mut held, mut waits): (Vec<HandshakePlace>, Vec<Ask<'_>>) = (Vec::new(), Vec::new());
    for step in 0..20_000 {
        match next(if step % 4000 < 2000 { 3 } else { 8 }) {
            0 | 1 => match ask(&places, source(next(20).try_into().unwrap())) {
                Ok(place) => held.push(place),
                Err(ask) => waits.push(ask),
            },
            2 | 3 if !waits.is_empty() => drop(waits.swap_remove(next(waits.len()))),
            _ if !held.is_empty() => drop(held.swap_remove(next(held.len()))),
            _ => {}
        }
        let state = places.0.borrow();
        assert!(state.taken <= MAX_HANDSHAKES && state.waiting <= MAX_WAITING);
        assert!(
            state.taken == MAX_HANDSHAKES || state.turns.is_empty(),
            "a free place, and a client that may have it"
        );
        assert!(state.sources.values().all(|share| share.held <= OF_A_SOURCE));
        assert_eq!(state.waiting, state.sources.values().map(|share| share.waiting.len()).sum::<usize>());
    }
    drop((held, waits));
    let state = places.0.borrow();
    assert_eq!((state.taken, state.waiting, state.turns.len(), state.by_waiting.len()), (0, 0, 0, 0));
}
