use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> CidrError {
    match text.parse::<Cidr>() {
        Ok(cidr) => panic!("{text:?} was parsed as {cidr}"),
        Err(error) => error,
    }
}

#[test]
fn each_network_has_one_spelling() {
    for text in ["203.0.113.9", "203.0.113.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1", "2001:db8::1"]
    {
        assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
    }
    assert_eq!("203.0.113.9/32".parse::<Cidr>().unwrap().to_string(), "203.0.113.9");
    assert_eq!("2001:DB8:0::/48".parse::<Cidr>().unwrap().to_string(), "2001:db8::/48");
    assert_eq!("::1/128".parse::<Cidr>().unwrap(), "::1".parse().unwrap());
}

/// Forms that programs read as different addresses (CVE-2021-29922 and similar ones).
#[test]
fn refuses_ambiguous_and_malformed_forms() {
    let table = [
        ("010.0.0.1/8", CidrError::LeadingZero { decimal: Some([10, 0, 0, 1].into()) }),
        ("10.0.0.01", CidrError::LeadingZero { decimal: Some([10, 0, 0, 1].into()) }),
        ("0777.0.0.1", CidrError::LeadingZero { decimal: None }),
        ("0x0a.0.0.1", CidrError::NotAnAddress),
        ("10.1/16", CidrError::ShortForm),
        ("167772161", CidrError::ShortForm),
        ("10.0.0.0/08", CidrError::BadLength),
        ("10.0.0.0/+8", CidrError::BadLength),
        ("10.0.0.0/-0", CidrError::BadLength),
        ("10.0.0.0/ 8", CidrError::BadLength),
        ("10.0.0.0/8 ", CidrError::BadLength),
        ("10.0.0.0/", CidrError::BadLength),
        ("10.0.0.0/8\0", CidrError::BadLength),
        ("1.2.3.4/32/1", CidrError::BadLength),
        ("10.0.0.0/1111", CidrError::BadLength),
        ("10.0.0.0/33", CidrError::LongLength { max: 32, ip: [10, 0, 0, 0].into() }),
        ("10.0.0.0/256", CidrError::LongLength { max: 32, ip: [10, 0, 0, 0].into() }),
        ("::/129", CidrError::LongLength { max: 128, ip: "::".parse().unwrap() }),
        ("１0.0.0.0/8", CidrError::NotAnAddress),
        ("10.0.0.1 ", CidrError::Space),
        (" 10.0.0.1", CidrError::Space),
        ("10.0.0.1\0", CidrError::NotAnAddress),
        ("10.0.0.256", CidrError::NotAnAddress),
        ("10.0.0.0.0", CidrError::NotAnAddress),
        ("fe80::1%eth0", CidrError::Zone),
        ("fe80::%2/64", CidrError::Zone),
        ("10.0.0.1:6379", CidrError::Port),
        ("[::1]", CidrError::Port),
        ("[::1]:6379", CidrError::Port),
        ("", CidrError::NotAnAddress),
        ("/8", CidrError::NotAnAddress),
        ("redis.example.com", CidrError::HostName),
        ("*.example.com", CidrError::NotAnAddress),
        ("1::2::3", CidrError::NotAnAddress),
    ];
    for (text, error) in table {
        assert_eq!(refused(text), error, "{text:?}");
    }
}

/// No client has this address. An operator who writes it means everybody, or has made a mistake.
#[test]
fn refuses_single_unspecified_addresses() {
    for text in ["0.0.0.0", "0.0.0.0/32", "::ffff:0.0.0.0", "::ffff:0:0/128", "0.0.0.0-0.0.0.0", "0.0.0.0/33"]
    {
        assert_eq!(refused(text).hint(), "did you mean 0.0.0.0/0 (everybody)?", "{text}");
    }
    for text in ["::", "::/128", "0:0:0:0:0:0:0:0", "::/129"] {
        assert_eq!(refused(text).hint(), "did you mean ::/0 (everybody)?", "{text}");
    }
    assert_eq!(refused("0.0.0.0").to_string(), "the unspecified address, which no client has");
    for text in ["0.0.0.0/0", "0.0.0.0/31", "0.0.0.1", "::/0", "::/127", "::1"] {
        assert!(text.parse::<Cidr>().is_ok(), "{text}");
    }
}

#[test]
fn tells_addresses_for_many_receivers() {
    for text in ["224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1"] {
        assert!(text.parse::<Cidr>().unwrap().is_for_many(), "{text}");
    }
    for text in ["223.255.255.255", "224.0.0.0/4", "0.0.0.0/0", "10.0.0.255", "ff00::/8", "fe80::1"] {
        assert!(!text.parse::<Cidr>().unwrap().is_for_many(), "{text}");
    }
}

/// The hint names both readings, so that an operator who means one address does not open a network.
#[test]
fn refuses_host_bits_with_both_readings() {
    let error = refused("10.1.2.3/8");
    assert_eq!(error.to_string(), "host bits are set");
    assert_eq!(error.hint(), "write 10.0.0.0/8 for the whole network, or 10.1.2.3/32 for that one address");
    let error = refused("2001:db8::1/32");
    assert_eq!(
        error.hint(),
        "write 2001:db8::/32 for the whole network, or 2001:db8::1/128 for that one address"
    );
}

/// The policy judges a mapped peer by its IPv4 address, so a mapped entry would never match.
#[test]
fn refuses_mapped_entries_with_the_ipv4_form() {
    for (text, v4) in [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:a00:0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ] {
        let error = refused(text);
        assert_eq!(error.hint(), format!("write {v4}"), "{text}");
    }
    // Wider networks that contain the mapped range are ordinary IPv6.
    assert!("::/0".parse::<Cidr>().is_ok());
    assert!("::/80".parse::<Cidr>().is_ok());
}

#[test]
fn minimal_returns_the_smallest_number_of_networks() {
    let minimal = |addresses: &[&str]| -> Vec<String> {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap());
        minimal(addresses).iter().map(ToString::to_string).collect()
    };
    assert_eq!(minimal(&[]), Vec::<String>::new());
    let list =
        ["2001:db8::1", "10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.1", "::ffff:10.0.0.0", "2001:db8::"];
    assert_eq!(minimal(&list), ["10.0.0.0/30", "2001:db8::/127"]);
    assert_eq!(minimal(&["0.0.0.0", "255.255.255.255"]), ["0.0.0.0", "255.255.255.255"]);
    assert_eq!(minimal(&["255.255.255.254", "255.255.255.255"]), ["255.255.255.254/31"]);
    let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(minimal(&["::", last]), ["::", last]);
}

/// The smallest number of blocks within 64 addresses from `first` on. At each start, the function tries which block
/// is the largest. Blocks of a power of two that start at a multiple of their size never overlap in part. So the
/// largest is the best.
fn fewest(first: u128, set: &std::collections::BTreeSet<u128>, bits: u8) -> Vec<(u128, u8)> {
    let mut left = set.clone();
    let mut blocks = Vec::new();
    while let Some(start) = left.first().copied() {
        let size = (0..=6_u32).rev().map(|power| 1_u128 << power).find(|size| {
            (first + start).is_multiple_of(*size) && (start..start + size).all(|at| set.contains(&at))
        });
        let size = size.unwrap();
        (start..start + size).for_each(|at| assert!(left.remove(&at)));
        blocks.push((first + start, bits - u8::try_from(size.ilog2()).unwrap()));
    }
    blocks
}

proptest! {
    #[test]
    fn minimal_is_exact_and_least(
        set in proptest::collection::btree_set(0_u128..64, 0..=64),
        place in prop_oneof![Just(0_u32), Just(u32::MAX - 63), any::<u32>().prop_map(|at| at & !63)],
        wide: bool,
    ) {
        let first = if wide { u128::from(place) << 96 | u128::from(place) } else { u128::from(place) };
        let address = |at: &u128| -> IpAddr {
            match wide {
                true => Ipv6Addr::from_bits(first + at).into(),
                false => Ipv4Addr::from_bits(u32::try_from(first + at).unwrap()).into(),
            }
        };
        let expected: Vec<Cidr> = fewest(first, &set, if wide { 128 } else { 32 })
            .into_iter()
            .map(|(start, len)| match wide {
                true => Cidr::cut_v6(Ipv6Addr::from_bits(start), len),
                false => Cidr::cut_v4(Ipv4Addr::from_bits(u32::try_from(start).unwrap()), len),
            })
            .collect();
        let mut addresses: Vec<IpAddr> = set.iter().rev().map(address).collect();
        addresses.extend(set.iter().map(address));
        prop_assert_eq!(minimal(addresses), expected);
    }

    #[test]
    fn accepted_text_prints_unchanged(text in "[0-9a-f.:/]{0,24}") {
        if let Ok(cidr) = text.parse::<Cidr>() {
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
        }
    }

    #[test]
    fn any_text_is_accepted_or_refused(text in any::<String>()) {
        if let Err(error) = text.parse::<Cidr>() {
            prop_assert!(!error.hint().is_empty());
        }
    }

    #[test]
    fn accepts_every_network_without_host_bits(bits: u32, len in 0_u8..=32) {
        let net = Ipv4Net::new(Ipv4Addr::from_bits(bits), len).unwrap();
        let exact = net.addr() == net.network();
        prop_assert_eq!(net.to_string().parse::<Cidr>().is_ok(), exact);
        prop_assert!(net.trunc().to_string().parse::<Cidr>().is_ok());
    }
}
