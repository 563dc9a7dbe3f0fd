use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::decision::Decision;
use crate::origin::ClientAddr;
use crate::policy::tests::{Lists, NOW};
use crate::policy::{Access, PolicyBuilder};

/// Returns what a listener with these lists admits, each network with the seconds that are left.
fn admitted(allow: &[&str], deny: &[&str]) -> Vec<String> {
    let mut lists = Lists::new();
    let (allow, deny) = (lists.in_place(allow), lists.in_place(deny));
    lists.listener(&[allow], &[deny]);
    let show = |AdmittedNetwork { net, until }: AdmittedNetwork| match until {
        Some(until) => format!("{net} +{}", until.0 - NOW.0),
        None => net.to_string(),
    };
    lists.build().admitted(0, NOW).into_iter().map(show).collect()
}

#[test]
fn neighbours_are_joined_and_overlaps_are_named_once() {
    assert_eq!(
        admitted(&["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7", "192.0.2.1"], &[]),
        ["10.0.0.0/24", "192.0.2.1/32"]
    );
    assert_eq!(admitted(&["0.0.0.0/0", "::/0", "10.0.0.1"], &[]), ["0.0.0.0/0", "::/0"]);
    assert_eq!(admitted(&["2001:db8::/33", "2001:db8:8000::/33"], &[]), ["2001:db8::/32"]);
}

#[test]
fn refused_networks_are_taken_out() {
    assert_eq!(
        admitted(&["10.0.0.0/29"], &["10.0.0.2", "10.0.0.3 until +5"]),
        ["10.0.0.0/31", "10.0.0.4/30"]
    );
    assert_eq!(
        admitted(&["255.255.255.248/29"], &["255.255.255.254/31"]),
        ["255.255.255.248/30", "255.255.255.252/31"]
    );
    assert_eq!(admitted(&["10.0.0.0/30"], &["10.0.0.0/8"]), [""; 0]);
    // The entry of deny has expired.
    assert_eq!(admitted(&["10.0.0.0/30"], &["10.0.0.0/8 until +0"]), ["10.0.0.0/30"]);
}

#[test]
fn the_latest_end_counts() {
    assert_eq!(
        admitted(&["10.0.0.0/30 until +9", "10.0.0.0/31 until +20", "10.0.0.0 until +5", "10.0.0.3"], &[]),
        ["10.0.0.0/31 +20", "10.0.0.2/32 +9", "10.0.0.3/32"]
    );
    assert_eq!(admitted(&["10.0.0.1 until +0", "10.0.0.2 until -5"], &[]), [""; 0]);
}

#[test]
fn senders_are_a_list_of_their_own() {
    let mut lists = Lists::new();
    let (clients, senders) = (lists.in_place(&["10.0.0.1"]), lists.in_place(&["192.0.2.0/31"]));
    // A sender may connect even if it may not be a client.
    let access =
        Access { allow: vec![clients], deny: vec![senders], senders: vec![senders], ..Access::default() };
    lists.builder.listener(access);
    let policy = lists.build();
    let senders: Vec<String> = policy.senders(0, NOW).iter().map(|sender| sender.net.to_string()).collect();
    assert_eq!(senders, ["192.0.2.0/31"]);
    let peers = |only| -> Vec<String> {
        policy.peers(0, only, NOW).iter().map(|peer| peer.net.to_string()).collect()
    };
    assert_eq!(peers(true), ["192.0.2.0/31"]);
    assert_eq!(peers(false), ["10.0.0.1/32", "192.0.2.0/31"]);
    assert!(policy.admitted(1, NOW).is_empty() && policy.senders(1, NOW).is_empty());
}

#[test]
fn unix_sockets_have_no_address() {
    let mut builder = PolicyBuilder::new();
    builder.listener(Access { allow: vec![PolicyBuilder::UNIX], ..Access::default() });
    assert!(builder.build().admitted(0, NOW).is_empty());
}

fn entries() -> impl Strategy<Value = Vec<String>> {
    let net = (0_u8..2, any::<u8>(), 24_u8..=32).prop_map(|(net, host, len)| {
        let ip = u32::from_be_bytes([10, 0, net, host]) & (u32::MAX << (32 - len));
        format!("{}/{len}", Ipv4Addr::from_bits(ip))
    });
    let until = proptest::option::weighted(0.4, -2_i64..6);
    let entry = (net, until).prop_map(|(net, until)| match until {
        Some(until) => format!("{net} until {until:+}"),
        None => net,
    });
    vec(entry, 0..12)
}

proptest! {
    /// The networks hold an address as long as the policy admits it, and the policy refuses all others. Where an entry
    /// of deny ends, the policy may admit more later.
    #[test]
    fn agrees_with_the_policy(allow in entries(), deny in entries()) {
        let text = |list: &[String]| list.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let (allow, deny) = (text(&allow), text(&deny));
        let mut lists = Lists::new();
        let allow = lists.in_place(&allow.lines().collect::<Vec<_>>());
        let deny = lists.in_place(&deny.lines().collect::<Vec<_>>());
        lists.listener(&[allow], &[deny]);
        let policy = lists.build();
        let admitted = policy.admitted(0, NOW);
        for (one, next) in admitted.iter().zip(admitted.iter().skip(1)) {
            prop_assert!(one.net.broadcast() < next.net.network());
        }
        for bits in 0x0a00_0000_u32..0x0a00_0200 {
            let ip = IpAddr::V4(Ipv4Addr::from_bits(bits));
            let found = admitted.iter().find(|one| one.net.contains(&ip));
            for later in 0..6 {
                let now = UnixSeconds(NOW.0 + later);
                let judged = policy.judge(0, &ClientAddr::from_socket(SocketAddr::new(ip, 1)), now);
                let is_in = found.is_some_and(|one| one.until.is_none_or(|until| until > now));
                let is_admitted = matches!(judged, Decision::Allow(_));
                prop_assert!(if later == 0 { is_in == is_admitted } else { !is_in || is_admitted }, "{ip} at +{later}");
            }
        }
    }
}
