//! Any text as an entry. It is accepted if and only if `std::net` accepts the address, the length is a plain number,
//! no host bit is set, and it is not a single unspecified address. An accepted entry prints as the same text and contains the addresses of its mask.
//!
//! The same bytes as addresses: the smallest number of networks covers exactly these addresses.
#![no_main]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use portcullis_acl::{Cidr, CidrError};
use portcullis_acl::cidr::minimal;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        entry(text);
    }
    least(data);
});

fn entry(text: &str) {
    let parsed = text.parse::<Cidr>();
    let read = naive(text);
    match (&parsed, read) {
        (Ok(cidr), Some((ip, len))) => {
            assert_eq!((cidr.net().addr(), cidr.net().prefix_len()), (ip, len), "{text:?}");
            assert_eq!(cidr.to_string().parse(), Ok(*cidr), "{text:?}");
            probes(*cidr);
        }
        (Err(error), None) => {
            assert!(!error.hint().is_empty() && !error.to_string().is_empty());
            named(error);
        }
        _ => panic!("{text:?}: {parsed:?}, not {read:?}"),
    }
}

/// Checks that each network that an error names is an entry, and that there are not too many.
fn named(error: &CidrError) {
    let networks = match error {
        CidrError::Netmask { networks } | CidrError::Range { networks } | CidrError::Wildcard { networks } => {
            networks.as_ref()
        }
        CidrError::Several { networks } => Some(networks),
        _ => None,
    };
    let Some(networks) = networks else { return };
    assert!((1..=16).contains(&networks.shown().len()));
    for cidr in networks.shown() {
        assert_eq!(cidr.to_string().parse(), Ok(*cidr), "{cidr}");
    }
}

/// The address and the length, if the text is an entry.
fn naive(text: &str) -> Option<(IpAddr, u8)> {
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let ip: IpAddr = address.parse().ok()?;
    let width = if ip.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => width,
        // The only spelling of a number is accepted.
        Some(written) => (0..=width).find(|len| len.to_string() == written)?,
    };
    let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) && len >= 96;
    let hosts = bits(ip) & !mask(ip, len);
    let unspecified = ip.is_unspecified() && len == width;
    (!mapped && !unspecified && hosts == 0).then_some((ip, len))
}

/// Checks the ends of the network and the addresses next to them.
fn probes(cidr: Cidr) {
    let (ip, len) = (cidr.net().addr(), cidr.net().prefix_len());
    let last = bits(ip) | !mask(ip, len) & width(ip);
    for at in [bits(ip), last, bits(ip).wrapping_sub(1) & width(ip), last.wrapping_add(1) & width(ip)] {
        let other: IpAddr = match ip {
            IpAddr::V4(_) => Ipv4Addr::from_bits(at as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(at).into(),
        };
        assert_eq!(cidr.contains(other), at & mask(ip, len) == bits(ip), "{cidr} {other}");
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn width(ip: IpAddr) -> u128 {
    if ip.is_ipv4() { u32::MAX.into() } else { u128::MAX }
}

fn mask(ip: IpAddr, len: u8) -> u128 {
    let free = if ip.is_ipv4() { 32 - len } else { 128 - len };
    width(ip) & u128::MAX.checked_shl(free.into()).unwrap_or(0)
}

/// Checks [`minimal`]. Each byte stands for one of 256 addresses at either end of the addresses of either family.
fn least(data: &[u8]) {
    let Some((place, data)) = data.split_first() else { return };
    let address = |byte: u8| -> IpAddr {
        let high = place & 2 != 0;
        match place & 1 {
            0 => Ipv4Addr::from_bits(if high { !0xff } else { 0 } | u32::from(byte)).into(),
            _ => Ipv6Addr::from_bits(if high { !0xff } else { 1 << 100 } | u128::from(byte)).into(),
        }
    };
    let set: BTreeSet<u8> = data.iter().copied().collect();
    let networks = minimal(data.iter().map(|byte| address(*byte)));
    for byte in 0..=u8::MAX {
        let covering = networks.iter().filter(|cidr| cidr.contains(address(byte))).count();
        assert_eq!(covering, usize::from(set.contains(&byte)), "{byte}");
    }
    for pair in networks.windows(2) {
        let wider = |cidr: Cidr| {
            let net = cidr.net();
            ipnet::IpNet::new(net.addr(), net.prefix_len().saturating_sub(1)).map(|net| net.trunc())
        };
        assert!(pair[0] < pair[1], "in ascending order");
        let halves =
            pair[0].net().prefix_len() == pair[1].net().prefix_len() && wider(pair[0]) == wider(pair[1]);
        assert!(!halves, "{} and {} are one", pair[0], pair[1]);
    }
}
