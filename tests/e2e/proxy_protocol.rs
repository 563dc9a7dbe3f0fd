//! The PROXY protocol: the peers that may send a header, and the address that is judged.

use std::time::Duration;

use e2e::{Authority, Client, Gate, Redis, eventually};

const ALLOWED: &str = "192.0.2.7";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 198.51.100.1 1234 6379\r\n").into_bytes()
}

fn v2(source: [u8; 4]) -> Vec<u8> {
    let mut header = [V2, &[0x21, 0x11, 0, 12]].concat();
    header.extend(source);
    header.extend([198, 51, 100, 1, 4, 210, 24, 235]);
    header
}

/// Starts a proxy that trusts headers from 127.0.0.2. It admits one client behind that sender, and 127.0.0.3 itself.
fn gate(redis: &Redis, only: bool) -> Gate {
    Gate::before(redis)
        .bind("0.0.0.0:{port}")
        .allow(&format!("[{ALLOWED}, 127.0.0.3]"))
        .listener(&format!("proxy_protocol: {{from: [127.0.0.2], only: {only}}}"))
        .listener("limits: {timeouts: {proxy_header: 1s}}")
        .start()
}

fn from(gate: &Gate, source: &str) -> Client {
    gate.connect_from(source, "127.0.0.1")
}

fn assert_closed_without_reply(mut client: Client) {
    assert_eq!(client.read_to_end().0, b"");
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const DENIED: &[u8] = b"-DENIED source address not allowed\r\n";

#[test]
fn a_trusted_senders_header_names_the_client() {
    let redis = Redis::plain();
    let gate = gate(&redis, false);
    for header in [v1(ALLOWED), v2([192, 0, 2, 7])] {
        let mut client = from(&gate, "127.0.0.2");
        client.send_raw(&[&header, PING].concat());
        client.assert_recv("+PONG");
        client.assert_reply("PING again", "\"again\"");
    }
    eventually("the audit names the client", || {
        gate.stdout().contains("\"source\":\"192.0.2.7:1234\"").then_some(())
    });
    for header in [v1("192.0.2.8"), v2([192, 0, 2, 8])] {
        let mut client = from(&gate, "127.0.0.2");
        client.send_raw(&[&header, PING].concat());
        client.assert_recv_raw(DENIED);
        client.assert_closed();
    }
    gate.assert_metric("connections_refused_total", &[("reason", "not_allowed")], 2.0);
}

/// Threat 7: all combinations of senders and headers.
#[test]
fn only_a_trusted_sender_names_another_client() {
    let redis = Redis::plain();
    let gate = gate(&redis, false);
    // If an ordinary client sends a header, it is an unknown command, or not RESP at all.
    let mut plain = from(&gate, "127.0.0.3");
    plain.assert_reply("PING", "+PONG");
    let mut liar = from(&gate, "127.0.0.3");
    liar.send_raw(&v1(ALLOWED));
    let (said, _) = {
        liar.send_raw(b"QUIT\r\n");
        liar.read_to_end()
    };
    assert!(said.starts_with(b"-ERR unknown command 'PROXY'"), "{}", String::from_utf8_lossy(&said));
    let mut binary = from(&gate, "127.0.0.3");
    binary.send_raw(&v2([192, 0, 2, 7]));
    assert!(!binary.read_to_end().0.starts_with(b"+"));
    // This source is not on the list, and its header names an allowed address. Its own address is judged.
    let mut stranger = from(&gate, "127.0.0.4");
    stranger.send_raw(&[&v1(ALLOWED)[..], PING].concat());
    assert_eq!(stranger.read_to_end().0, DENIED);
    // A trusted sender must send a header.
    let mut silent = from(&gate, "127.0.0.2");
    silent.send_raw(PING);
    assert_closed_without_reply(silent);
    gate.assert_metric("connections_refused_total", &[("reason", "proxy_header")], 1.0);
}

/// A second header belongs to the client's first bytes.
#[test]
fn a_second_header_is_not_read() {
    let redis = Redis::plain();
    let gate = gate(&redis, false);
    let mut client = from(&gate, "127.0.0.2");
    client.send_raw(&[&v1(ALLOWED)[..], &v1("192.0.2.8"), b"QUIT\r\n"].concat());
    let (said, _) = client.read_to_end();
    assert!(said.starts_with(b"-ERR unknown command 'PROXY'"), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn with_only_others_are_closed() {
    let redis = Redis::plain();
    let gate = gate(&redis, true);
    assert_closed_without_reply(from(&gate, "127.0.0.3"));
    let mut client = from(&gate, "127.0.0.2");
    client.send_raw(&[&v1(ALLOWED)[..], PING].concat());
    client.assert_recv("+PONG");
    gate.assert_metric("connections_refused_total", &[("reason", "proxy_header")], 1.0);
}

/// If the sender makes a health check (LOCAL), its own address is judged.
#[test]
fn local_is_the_sender_itself() {
    let redis = Redis::plain();
    let local = [V2, &[0x20, 0, 0, 0]].concat();
    let gate = gate(&redis, false);
    let mut client = from(&gate, "127.0.0.2");
    client.send_raw(&[&local[..], PING].concat());
    assert_eq!(client.read_to_end().0, DENIED);
    let gate =
        Gate::before(&redis).allow("[127.0.0.1]").listener("proxy_protocol: {from: [127.0.0.1]}").start();
    let mut client = gate.connect();
    client.send_raw(&[&local[..], PING].concat());
    client.assert_recv("+PONG");
}

/// Threats 8 to 10: the proxy closes connections with malformed, slow or unspecified headers. It interprets none of
/// their bytes.
#[test]
fn bad_headers_are_closed_without_a_reply() {
    let redis = Redis::plain();
    let gate = gate(&redis, false);
    let line = |text: &str| text.as_bytes().to_vec();
    let cases = [
        line("PROXY TCP4 192.0.2.7 198.51.100.1 +80 6379\r\n"),
        line("PROXY TCP4 192.0.2.7 198.51.100.1 080 6379\r\n"),
        line("PROXY TCP4 192.0.2.7 198.51.100.1 65536 6379\r\n"),
        line("PROXY TCP4 192.0.2.7  198.51.100.1 1 6379\r\n"),
        line("PROXY TCP4 2001:db8::1 198.51.100.1 1 6379\r\n"),
        line("proxy TCP4 192.0.2.7 198.51.100.1 1 6379\r\n"),
        line("PROXY UNKNOWN\r\n"),
        line(&format!("PROXY TCP4 {}\r\n", "1".repeat(120))),
        [V2, &[0x31, 0x11, 0, 12], &[192, 0, 2, 7, 0, 0, 0, 0, 0, 1, 0, 1]].concat(),
        [V2, &[0x21, 0x11, 0, 4], &[192, 0, 2, 7]].concat(),
        [V2, &[0x21, 0x12, 0, 12], &[192, 0, 2, 7, 0, 0, 0, 0, 0, 1, 0, 1]].concat(),
        [V2, &[0x21, 0x11, 0xff, 0xff]].concat(),
        [V2, &[0x21, 0x00, 0, 0]].concat(),
    ];
    for case in cases {
        let mut client = from(&gate, "127.0.0.2");
        client.send_raw(&[&case[..], PING].concat());
        assert_eq!(client.read_to_end().0, b"", "{}", String::from_utf8_lossy(&case));
    }
    let slow = from(&gate, "127.0.0.2");
    let started = std::time::Instant::now();
    assert_closed_without_reply(slow);
    assert!(started.elapsed() >= Duration::from_millis(900), "the time limit is one second");
    // A mapped address in the header is converted to IPv4 as well.
    let mut mapped = from(&gate, "127.0.0.2");
    mapped.send_raw(&[b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 6379\r\n", PING].concat());
    mapped.assert_recv("+PONG");
}

/// Threat 10: on a listener with TLS, the bytes after the header must be TLS and not plain text.
#[test]
fn plain_text_behind_the_header_is_not_answered_where_tls_is_wanted() {
    let redis = Redis::plain();
    let ca = Authority::new("ca");
    let gate = Gate::before(&redis)
        .bind("0.0.0.0:{port}")
        .allow(&format!("[{ALLOWED}]"))
        .listener("proxy_protocol: {from: [127.0.0.2]}")
        .tls(&ca.server(), "")
        .start();
    for header in [v1(ALLOWED), v2([192, 0, 2, 7])] {
        let mut client = from(&gate, "127.0.0.2");
        client.send_raw(&[&header, ECHO].concat());
        let said = client.read_to_end().0;
        assert!(said.first().is_none_or(|byte| *byte == 0x15), "more than an alert: {said:?}");
    }
    assert_eq!(redis.calls("echo"), 0);
}

const ECHO: &[u8] = b"*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n";

/// A reload removes a trusted sender. The proxy disconnects its clients, and other clients stay.
#[test]
fn a_sender_that_is_no_longer_trusted_loses_its_clients() {
    let redis = Redis::plain();
    let gate = gate(&redis, false);
    let mut own = from(&gate, "127.0.0.3");
    own.assert_reply("PING", "+PONG");
    let mut sent = from(&gate, "127.0.0.2");
    sent.send_raw(&[&v1(ALLOWED)[..], PING].concat());
    sent.assert_recv("+PONG");
    let config = gate.directory().join("portcullis.yaml");
    let text = std::fs::read_to_string(&config).expect("readable");
    std::fs::write(&config, text.replace("{from: [127.0.0.2]", "{from: [127.0.0.9]")).expect("writable");
    gate.signal(rustix::process::Signal::HUP);
    sent.assert_closed();
    own.assert_reply("PING", "+PONG");
    let mut again = from(&gate, "127.0.0.2");
    again.send_raw(&[&v1(ALLOWED)[..], PING].concat());
    assert_eq!(again.read_to_end().0, DENIED, "the sender's own address counts, and the header is unread");
}

/// A sender with many silent connections leaves room for another sender.
#[test]
fn a_silent_sender_leaves_room_for_another() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .bind("0.0.0.0:{port}")
        .allow(&format!("[{ALLOWED}]"))
        .listener("proxy_protocol: {from: [127.0.0.2, 127.0.0.4]}")
        .listener("limits: {timeouts: {proxy_header: 1m}}")
        .start();
    // This is more than the limit on all waiting connections.
    let silent: Vec<Client> = (0..1100).map(|_| from(&gate, "127.0.0.2")).collect();
    eventually("the silent sender has its share", || {
        (gate.metric("connections_refused_total", &[("reason", "limit")]) >= 76.0).then_some(())
    });
    let mut other = from(&gate, "127.0.0.4");
    other.send_raw(&[&v1(ALLOWED)[..], PING].concat());
    other.assert_recv_raw(b"+PONG\r\n");
    drop(silent);
}

/// A connection that waits for its header does not block the port, so a reload can bind the port in another form at
/// once.
#[test]
fn an_awaited_header_does_not_keep_the_port() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .bind("0.0.0.0:{port}")
        .allow("[127.0.0.3]")
        .listener("proxy_protocol: {from: [127.0.0.2]}")
        .listener("limits: {timeouts: {proxy_header: 1m}}")
        .start();
    let silent = from(&gate, "127.0.0.2");
    from(&gate, "127.0.0.3").assert_reply("PING", "+PONG");
    let config = gate.directory().join("portcullis.yaml");
    let text = std::fs::read_to_string(&config).expect("readable");
    std::fs::write(&config, text.replace("0.0.0.0:", "127.0.0.1:")).expect("writable");
    gate.signal(rustix::process::Signal::HUP);
    eventually("the reload is applied", || {
        (gate.metric("config_reloads_total", &[("result", "applied")]) == 2.0).then_some(())
    });
    from(&gate, "127.0.0.3").assert_reply("PING", "+PONG");
    assert_eq!(gate.metric("config_reloads_total", &[("result", "rejected")]), 0.0);
    drop(silent);
}
