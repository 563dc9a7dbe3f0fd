//! Incomplete handshakes: their source waits for places, and other sources do not wait.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

/// The number of handshakes of one source that once blocked all other sources.
const HALF_DONE: usize = 1400;
const HANDSHAKES: usize = 200;
const P99: Duration = Duration::from_millis(500);

fn from(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Builds a proxy with one thread, so that all handshakes compete for the same places.
fn gate(redis: &Redis, ca: &Authority, timeout: &str) -> GateBuilder {
    super::gate(redis, ca)
        .bind("0.0.0.0:{port}")
        .allow("[127.0.0.0/8, 192.0.2.0/24]")
        .top("workers: 1")
        .top(&format!("limits: {{timeouts: {{tls: {timeout}}}}}"))
}

/// Connects `count` clients from 127.0.0.`last`. They send `first` and a ClientHello, and nothing more.
fn half_done(gate: &Gate, last: u8, first: &[u8], hello: &[u8], count: usize) -> Vec<Client> {
    let begun = |_| {
        let mut client = Client::tcp_from(from(last), gate.address());
        client.send_raw(&[first, hello].concat());
        client
    };
    (0..count).map(begun).collect()
}

#[track_caller]
fn is_served_from(gate: &Gate, last: u8, first: &[u8], config: &Arc<ClientConfig>) -> Duration {
    let started = Instant::now();
    let client = Client::try_tls_from(from(last), gate.address(), first, config, "localhost");
    client.expect("a handshake").assert_reply("PING", "+PONG");
    started.elapsed()
}

#[test]
fn one_source_does_not_hold_up_others() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca, "5s").start();
    let config = ca.client();
    let flood = half_done(&gate, 2, b"", &hello(&gate, &config), HALF_DONE);
    let mut took: Vec<_> = (0..HANDSHAKES).map(|_| is_served_from(&gate, 3, b"", &config)).collect();
    took.sort();
    let p99 = took[HANDSHAKES * 99 / 100];
    assert!(p99 < P99, "p99 of {p99:?}, the slowest {:?}", took.last());
    drop(flood);
    // The source itself is served when its own handshakes have ended.
    is_served_from(&gate, 2, b"", &config);
}

/// Behind a load balancer, the source is the client and not the load balancer.
#[test]
fn the_proxy_header_names_the_source() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca, "5s").listener("proxy_protocol: {from: [127.0.0.9]}").start();
    let config = ca.client();
    let header = |last: u8| format!("PROXY TCP4 192.0.2.{last} 192.0.2.200 1234 6379\r\n").into_bytes();
    let _flood = half_done(&gate, 9, &header(2), &hello(&gate, &config), 300);
    let took = is_served_from(&gate, 9, &header(3), &config);
    assert!(took < P99, "{took:?}");
}

/// The wait for a place does not use up the client's time: with a place, the client has all of `timeouts.tls`. The wait
/// has the same limit.
#[test]
fn a_wait_for_a_place_is_not_its_own_time() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca, "1s").start();
    let config = ca.client();
    let hello = hello(&gate, &config);
    let _flood = half_done(&gate, 2, b"", &hello, 32);
    std::thread::sleep(Duration::from_millis(200));
    // The client gets a place 0.8 s later, when the first handshakes are closed. Then the client itself is slow.
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut session = rustls::ClientConnection::new(Arc::clone(&config), name).expect("a config");
    let mut first = Vec::new();
    session.write_tls(&mut first).expect("written to memory");
    let mut slow = Client::tcp_from(from(2), gate.address());
    let started = Instant::now();
    slow.send_raw(&first[..100]);
    assert_refused(&gate, 32.0);
    std::thread::sleep(Duration::from_millis(400));
    slow.send_raw(&first[100..]);
    let mut answer = Vec::new();
    assert!(slow.read_up_to(5, &mut answer), "closed after {:?}", started.elapsed());
    assert_eq!(answer[0], 0x16, "a server hello");
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
}

/// Connections that wait in vain are closed. If they were closed one after the other, it would take 3 s.
#[test]
fn a_wait_for_a_place_ends() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca, "300ms").start();
    let started = Instant::now();
    let flood = half_done(&gate, 2, b"", &hello(&gate, &ca.client()), 320);
    assert_refused(&gate, 320.0);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop(flood);
    gate.assert_metric("clients", &[], 0.0);
}
