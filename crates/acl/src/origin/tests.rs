use std::net::{Ipv4Addr, SocketAddrV6};

use proptest::prelude::*;

use super::*;

fn from(text: &str) -> ClientAddr {
    ClientAddr::from_socket(text.parse().unwrap())
}

#[test]
fn mapped_peers_are_ipv4() {
    assert_eq!(from("[::ffff:203.0.113.9]:4711"), from("203.0.113.9:4711"));
    assert_eq!(from("[::ffff:203.0.113.9]:4711").to_string(), "203.0.113.9:4711");
}

#[test]
fn other_addresses_are_unchanged() {
    let others = ["::10.0.0.1", "2002:a00:1::", "64:ff9b::a00:1", "::ffff:0:10.0.0.1", "::1", "::"];
    for other in others {
        assert!(from(&format!("[{other}]:1")).ip().unwrap().is_ipv6(), "{other}");
    }
}

#[test]
fn a_zone_is_dropped() {
    let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 6379, 7, 3);
    assert_eq!(ClientAddr::from_socket(scoped.into()), from("[fe80::1]:6379"));
    assert_eq!(ClientAddr::from_socket(scoped.into()).to_string(), "[fe80::1]:6379");
}

#[test]
fn unix_has_no_address() {
    let unix = ClientAddr::unix();
    assert!(unix.is_unix());
    assert_eq!((unix.ip(), unix.port()), (None, None));
    assert_eq!(unix.to_string(), "unix");
    assert_eq!(from("[2001:db8::1]:4711").to_string(), "[2001:db8::1]:4711");
    assert_eq!(from("[2001:db8::1]:4711").port(), Some(4711));
}

proptest! {
    #[test]
    fn every_ipv4_address_equals_its_mapped_form(bits: u32, port: u16) {
        let v4 = Ipv4Addr::from_bits(bits);
        let mapped = ClientAddr::from_socket(SocketAddr::new(v4.to_ipv6_mapped().into(), port));
        prop_assert_eq!(mapped, ClientAddr::from_socket(SocketAddr::new(v4.into(), port)));
        prop_assert_eq!(mapped.ip(), Some(v4.into()));
    }
}
