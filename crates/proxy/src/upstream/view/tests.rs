use std::net::IpAddr;
use std::path::Path;

use portcullis_config::{LoadOptions, load};

use super::*;

pub(super) fn upstream(address: &str) -> Arc<Upstream> {
    upstream_with(&format!("{{address: {address}}}"))
}

/// Returns an upstream whose sentinels are at these addresses.
fn sentinels(nodes: &str, more: &str) -> Arc<Upstream> {
    upstream_with(&format!("{{sentinel: {{master: mymaster, nodes: {nodes}}}{more}}}"))
}

pub(super) fn upstream_with(yaml: &str) -> Arc<Upstream> {
    let directory = tempfile::tempdir().unwrap();
    let yaml = format!(
        "listeners:\n  - {{name: public, bind: '127.0.0.1:6379', upstream: main, auth: trust, allow: [127.0.0.1]}}\n\
         upstreams: {{main: {yaml}}}\n"
    );
    let path = directory.path().join("portcullis.yaml");
    std::fs::write(&path, yaml).unwrap();
    let loaded = load(&path, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{problems:?}"));
    Arc::clone(&loaded.config.upstreams()[0])
}

pub(super) fn tcp(addresses: &[&str]) -> Sockets {
    let socket = |ip: &&str| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 6379);
    Sockets::Tcp(addresses.iter().map(socket).collect())
}

pub(super) fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const FAILED: &str = "the name server is silent";

#[test]
fn an_address_without_a_name_is_known_from_the_start() {
    let upstream = upstream("['192.0.2.1:6379', '[2001:db8::1]:6380', 'unix:/run/redis.sock']");
    let view = View::first(&upstream);
    let sockets: Vec<_> = view.places().iter().map(|place| place.sockets.clone()).collect();
    assert_eq!(
        sockets,
        [
            tcp(&["192.0.2.1"]),
            Sockets::Tcp(Box::new([socket("[2001:db8::1]:6380")])),
            Sockets::Unix(Path::new("/run/redis.sock").to_owned()),
        ]
    );
    assert!(view.has(socket("192.0.2.1:6379")));
    assert!(!view.has(socket("192.0.2.1:6380")), "another port is another server");
    assert!(!view.has(socket("192.0.2.2:6379")));
    assert!(view.is_of(&upstream));
}

#[test]
fn the_last_good_answer_is_kept() {
    let first = View::first(&upstream("redis.example:6379"));
    assert!(first.has(socket("192.0.2.1:6379")), "nothing is known yet");
    let failed = first.next(vec![(0, Sockets::Unresolved(FAILED.into()))]).expect("a change");
    assert!(!failed.has(socket("192.0.2.1:6379")));
    let found = failed.next(vec![(0, tcp(&["192.0.2.1"]))]).expect("a change");
    assert!(found.has(socket("192.0.2.1:6379")));
    assert_eq!(found.next(vec![(0, Sockets::Unresolved(FAILED.into()))]), None);
    let moved = found.next(vec![(0, tcp(&["192.0.2.2"]))]).expect("a change");
    assert!(moved.has(socket("192.0.2.2:6379")) && !moved.has(socket("192.0.2.1:6379")));
    assert_eq!([first, failed, found, moved].map(|view| view.number), [0, 1, 2, 3]);
}

#[test]
fn another_order_of_the_addresses_is_no_change() {
    let view = View::first(&upstream("redis.example:6379"));
    let view = view.next(vec![(0, tcp(&["192.0.2.1", "192.0.2.2"]))]).expect("a change");
    assert_eq!(view.next(vec![(0, tcp(&["192.0.2.2", "192.0.2.1"]))]), None);
    assert!(view.next(vec![(0, tcp(&["192.0.2.1"]))]).is_some());
    assert_eq!(view.next(vec![(7, tcp(&["192.0.2.1"]))]), None, "no such address");
}

#[test]
fn an_upstream_with_other_addresses_has_another_view() {
    let view = View::first(&upstream("redis.example:6379"));
    assert!(!view.is_of(&upstream("redis.example:6380")));
    assert!(!view.is_same_upstream(&View::first(&upstream("['redis.example:6379', '192.0.2.1:6379']"))));
    let moved = view.next(vec![(0, tcp(&["192.0.2.2"]))]).expect("a change");
    assert!(view.is_same_upstream(&moved));
}

#[tokio::test]
async fn a_dial_waits_for_the_first_lookup_of_a_name_alone() {
    let limit = Duration::from_millis(50);
    let cell = ViewCell::of(&upstream("['192.0.2.1:6379', 'redis.example:6379']"));
    let place = cell.place(0, limit).await.expect("an address");
    assert_eq!(place.sockets, tcp(&["192.0.2.1"]));
    assert_eq!(cell.place(1, limit).await.expect("an address").sockets, Sockets::Unknown, "after the limit");
    assert_eq!(cell.place(2, limit).await, None);
    let waiting = Rc::clone(&cell);
    let (place, ()) = tokio::join!(waiting.place(1, Duration::from_secs(10)), async {
        tokio::time::sleep(limit).await;
        let next = cell.current().next(vec![(1, tcp(&["192.0.2.2"]))]).expect("a change");
        cell.set(Arc::new(next));
    });
    assert_eq!(place.expect("an address").sockets, tcp(&["192.0.2.2"]));
}

/// Returns the place of a master.
fn master(ip: &str) -> Place {
    Place { address: Address::Host { host: ip.to_owned(), port: 6379 }, sockets: tcp(&[ip]) }
}

#[test]
fn a_view_has_one_master_or_none() {
    let first = View::first(&upstream("192.0.2.1:6379"));
    let none = first.with_master(None, Traffic::Flows).expect("a change");
    assert!(none.places().is_empty() && !none.has(socket("192.0.2.1:6379")));
    let second = none.with_master(Some(master("192.0.2.2")), Traffic::Flows).expect("a change");
    assert!(second.has(socket("192.0.2.2:6379")) && !second.has(socket("192.0.2.1:6379")));
    assert_eq!(second.with_master(Some(master("192.0.2.2")), Traffic::Flows), None);
    assert!(second.number > none.number && none.number > first.number);
    assert!(first.is_same_upstream(&second), "the configuration is the same, whatever the master is");
}

#[test]
fn a_pause_is_a_view_of_its_own() {
    let flowing = View::first(&upstream("192.0.2.1:6379"));
    assert_eq!(flowing.traffic(), Traffic::Flows);
    let paused = Traffic::Paused { since: Instant::now() };
    let view = flowing.with_traffic(paused).expect("a change");
    assert_eq!((view.traffic(), view.places()), (paused, flowing.places()));
    assert_eq!(view.with_traffic(paused), None);
    assert_eq!(view.with_traffic(Traffic::Flows).map(|view| view.number), Some(2));
}

#[test]
fn a_server_that_a_name_left_may_finish() {
    assert_eq!(View::first(&upstream("redis.example:6379")).leaving(), Leaving::WhenIdle);
}

#[test]
fn sentinels_may_come_and_go_but_the_master_and_its_place_may_not() {
    let view = View::first(&sentinels("['127.0.0.1:1', '127.0.0.1:2']", ""));
    assert!(view.places().is_empty());
    assert_eq!(view.leaving(), Leaving::AtOnce);
    let grown = sentinels("['127.0.0.1:3', '127.0.0.1:2']", "");
    assert!(view.is_of(&grown));
    let renewed = view.for_configuration(&grown);
    assert!(renewed.number() > view.number() && renewed.is_same_upstream(&view));
    assert!(
        renewed.is_of(&sentinels("['127.0.0.1:3']", "")) && !view.is_of(&sentinels("['127.0.0.1:3']", ""))
    );
    let translated = sentinels("['127.0.0.1:1']", ", translate: {'192.0.2.1:6379': '192.0.2.9:6379'}");
    assert!(!view.is_of(&translated) && !view.is_of(&upstream("127.0.0.1:1")));
}
