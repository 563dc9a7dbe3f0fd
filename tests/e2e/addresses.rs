//! Addresses that look like other addresses. Peers really have them, in a network namespace of the test.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use e2e::client::End;
use e2e::{Client, Gate, Redis, eventually, namespace};

/// IPv6 addresses that contain 10.0.0.1 but do not mean it: IPv4-compatible, 6to4, NAT64, IPv4-translated, and the last
/// bits of an ordinary address. `to_ipv4()` of the standard library accepts the first as 10.0.0.1, and ACLs of HAProxy
/// accept the second.
const NOT_MAPPED: [&str; 5] =
    ["::10.0.0.1", "2002:a00:1::1", "64:ff9b::10.0.0.1", "::ffff:0:10.0.0.1", "2001:db8::10.0.0.1"];

/// The index of the loopback interface in each namespace.
const LOOPBACK: u32 = 1;

/// Row 2 of the address traps: only ::ffff:0:0/96 represents IPv4.
#[test]
fn addresses_that_embed_another_are_not_it() {
    let mut addresses = vec!["10.0.0.1/32".to_owned()];
    addresses.extend(NOT_MAPPED.map(|address| format!("{address}/128")));
    alone(&addresses, || {
        let redis = Redis::plain();
        let four = Gate::before(&redis).bind("[::]:{port}").allow("[10.0.0.0/8, 0.0.0.0/8]").start();
        is_admitted(&mut four.connect_from("10.0.0.1", "10.0.0.1"));
        is_admitted(&mut four.connect_from("::ffff:10.0.0.1", "::ffff:10.0.0.1"));
        for address in NOT_MAPPED {
            assert_refused(&mut four.connect_from(address, address));
        }
        assert_refused(&mut four.connect_from("::1", "::1"));
        eventually("all are counted as not allowed", || {
            let refused = four.metric("connections_refused_total", &[("reason", "not_allowed")]);
            (refused == 6.0).then_some(())
        });
        // An IPv6 entry does not match the IPv4 address inside it either.
        let six =
            Gate::before(&redis).bind("[::]:{port}").allow("[\"::/0\"]").listener("deny: [10.0.0.1]").start();
        for address in NOT_MAPPED {
            is_admitted(&mut six.connect_from(address, address));
        }
        assert_refused(&mut six.connect_from("10.0.0.1", "10.0.0.1"));
        assert_refused(&mut six.connect_from("::ffff:10.0.0.1", "::ffff:10.0.0.1"));
        assert_refused(&mut six.connect_from("127.0.0.1", "127.0.0.1"));
    });
}

/// Row 5: a link-local peer has a zone, but entries have none.
#[test]
fn a_link_local_peer_is_matched_by_its_address_alone() {
    alone(&["fe80::77/64".to_owned()], || {
        let redis = Redis::plain();
        for (allow, admitted) in
            [("[\"fe80::77\"]", true), ("[\"fe80::/10\"]", true), ("[\"fe80::78\", 127.0.0.1]", false)]
        {
            let gate = Gate::before(&redis).bind("[::]:{port}").allow(allow).start();
            let ip: Ipv6Addr = "fe80::77".parse().expect("an address");
            let to = SocketAddr::V6(SocketAddrV6::new(ip, gate.address().port(), 0, LOOPBACK));
            let mut client = Client::tcp(to);
            if admitted {
                is_admitted(&mut client);
            } else {
                assert_refused(&mut client);
            }
        }
    });
}

fn is_admitted(client: &mut Client) {
    client.assert_reply("PING", "+PONG");
}

#[track_caller]
fn assert_refused(client: &mut Client) {
    let (bytes, end) = client.read_to_end();
    assert_eq!(bytes.escape_ascii().to_string(), "-DENIED source address not allowed\\r\\n");
    assert!(matches!(end, End::Eof), "{end:?}");
}

/// Runs a test in a network namespace of its own, whose loopback interface also has these addresses.
fn alone(addresses: &[String], test: impl FnOnce() + Send) {
    namespace::alone("addresses that embed others are", || {
        for address in addresses {
            let words = ["address", "add", address, "dev", "lo"].into_iter();
            let words: Vec<&str> = words.chain(address.contains(':').then_some("nodad")).collect();
            namespace::ip(&words);
        }
        test();
    });
}
