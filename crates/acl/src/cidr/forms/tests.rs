use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn hint(text: &str) -> String {
    match text.parse::<Cidr>() {
        Ok(cidr) => panic!("{text:?} was parsed as {cidr}"),
        Err(error) => error.hint(),
    }
}

fn networks_of(text: &str) -> Networks {
    match text.parse::<Cidr>() {
        Err(
            CidrError::Netmask { networks: Some(networks) }
            | CidrError::Range { networks: Some(networks) }
            | CidrError::Wildcard { networks: Some(networks) }
            | CidrError::Several { networks }
            | CidrError::MoreWords { networks },
        ) => networks,
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn ranges_become_the_exact_networks() {
    let fourteen = "10.0.0.1, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/29, 10.0.0.16/28, 10.0.0.32/27, 10.0.0.64/26, \
                    10.0.0.128/26, 10.0.0.192/27, 10.0.0.224/28, 10.0.0.240/29, 10.0.0.248/30, 10.0.0.252/31, 10.0.0.254";
    for (text, networks) in [
        ("10.0.0.1-10.0.0.9", "10.0.0.1, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31"),
        ("10.0.0.1 - 10.0.0.9", "10.0.0.1, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31"),
        ("10.0.0.1\u{2013}10.0.0.2", "10.0.0.1, 10.0.0.2"),
        ("10.0.0.1-9", "10.0.0.1, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31"),
        ("10.0.1-2.*", "10.0.1.0/24, 10.0.2.0/24"),
        ("10.0.0.0-10.0.0.255", "10.0.0.0/24"),
        ("10.0.0.1-10.0.0.254", fourteen),
        ("0.0.0.0-255.255.255.255", "0.0.0.0/0 (everybody)"),
        ("0.0.0.0-0.0.0.2", "0.0.0.0/31, 0.0.0.2"),
        ("2001:db8::-2001:db8::ff", "2001:db8::/120"),
        ("::ffff:10.0.0.0-::ffff:10.0.0.3", "10.0.0.0/30"),
        ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0 (everybody)"),
    ] {
        assert!(matches!(text.parse::<Cidr>(), Err(CidrError::Range { .. })), "{text}");
        assert_eq!(networks_of(text).to_string(), networks, "{text}");
    }
    for text in ["10.0.0.9-10.0.0.1", "10.0.0.1-::1"] {
        assert!(hint(text).starts_with("the first address must not be above"), "{text}");
    }
    let most = networks_of("0.0.0.1-255.255.255.254");
    assert_eq!((most.shown().len(), most.more()), (16, 46));
    assert!(hint("0.0.0.1-255.255.255.254").ends_with("0.0.128.0/17 and 46 more"));
}

#[test]
fn wildcards_become_the_exact_networks() {
    for (text, networks) in [
        ("10.1.*", "10.1.0.0/16"),
        ("10.1.*.*", "10.1.0.0/16"),
        ("10.1.2.*", "10.1.2.0/24"),
        ("10.1.2.x", "10.1.2.0/24"),
        ("10.1.x.X", "10.1.0.0/16"),
        ("10.*", "10.0.0.0/8"),
        ("*.*.*.*", "0.0.0.0/0 (everybody)"),
        ("10.1.2.1?", "10.1.2.10/31, 10.1.2.12/30, 10.1.2.16/30"),
        ("10.1.2.25*", "10.1.2.25, 10.1.2.250/31, 10.1.2.252/30"),
        ("2001:db8:*", "2001:db8::/32"),
        ("2001:db8:*:*", "2001:db8::/32"),
    ] {
        assert!(matches!(text.parse::<Cidr>(), Err(CidrError::Wildcard { .. })), "{text}");
        assert_eq!(networks_of(text).to_string(), networks, "{text}");
    }
    assert!(networks_of("10.*.1.*").to_string().starts_with("10.0.1.0/24, 10.1.1.0/24, "));
    assert_eq!(networks_of("10.*.1.*").more(), 240);
    // 0.0.0.1 is left, and 0.0.0.0 is no client's address.
    assert_eq!(networks_of("*.0.0.0").shown()[0].to_string(), "1.0.0.0");
    for text in ["x", "x.y", "*.example", "?"] {
        assert_eq!(text.parse::<Cidr>(), Err(CidrError::NotAnAddress), "{text}");
    }
    for text in ["2001:db8::*", "2001:db8:1?::", "2001:*:1:*"] {
        assert_eq!(text.parse::<Cidr>(), Err(CidrError::Wildcard { networks: None }), "{text}");
        assert!(hint(text).contains("2001:db8::/32"), "{text}");
    }
}

#[test]
fn netmasks_become_the_exact_networks() {
    for (text, networks) in [
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("10.0.0.0 255.0.0.0", "10.0.0.0/8"),
        ("10.0.0.0 netmask 255.0.0.0", "10.0.0.0/8"),
        ("10.0.0.0/0.255.255.255", "10.0.0.0/8"),
        ("10.1.2.3/255.255.255.255", "10.1.2.3"),
        ("0.0.0.0/0.0.0.0", "0.0.0.0/0 (everybody)"),
        ("10.0.7.0/255.254.255.0", "10.0.7.0/24, 10.1.7.0/24"),
    ] {
        assert!(matches!(text.parse::<Cidr>(), Err(CidrError::Netmask { .. })), "{text}");
        assert_eq!(networks_of(text).to_string(), networks, "{text}");
        let one = if networks.contains(',') { "write one entry for each of " } else { "write " };
        assert_eq!(hint(text), format!("{one}{networks}"));
    }
    assert_eq!(
        hint("10.1.2.3/255.255.255.0"),
        "write 10.1.2.0/24 for the whole network, or 10.1.2.3/32 for that one address"
    );
    assert_eq!(
        hint("10.1.2.3/0.0.0.0"),
        "write 0.0.0.0/0 for everybody, or 10.1.2.3/32 for that one address"
    );
    assert_eq!(hint("0.0.0.0/255.255.255.255"), "did you mean 0.0.0.0/0 (everybody)?");
    for text in ["10.0.0.1/255.0.255.0", "2001:db8::/255.0.0.0", "office/255.0.0.0"] {
        assert_eq!(hint(text), "write a prefix length such as /24", "{text}");
    }
}

#[test]
fn several_addresses_are_named() {
    for (text, networks) in [
        ("10.0.0.1, 10.0.0.2", "10.0.0.1, 10.0.0.2"),
        ("10.0.0.1,2001:db8::/32", "10.0.0.1, 2001:db8::/32"),
        ("10.0.0.1;10.0.0.2;", "10.0.0.1, 10.0.0.2"),
        ("10.0.0.1 10.1.*\t10.0.0.8-9", "10.0.0.1, 10.1.0.0/16, 10.0.0.8/31"),
    ] {
        assert!(matches!(text.parse::<Cidr>(), Err(CidrError::Several { .. })), "{text}");
        assert_eq!(hint(text), format!("write one entry for each of {networks}"), "{text}");
    }
    let many: Vec<String> = (1..=40).map(|host| format!("10.0.0.{host}")).collect();
    assert!(hint(&many.join(" ")).ends_with("10.0.0.16 and 24 more"));
    assert_eq!(networks_of("10.0.0.1 office").to_string(), "10.0.0.1");
    assert!(hint("10.0.0.1 office").starts_with("write 10.0.0.1; a note goes behind '#'"));
    assert!(
        hint("10.0.0.1, 10.0.0.2 x *").starts_with("write one entry for each of 10.0.0.1, 10.0.0.2; a note")
    );
}

#[test]
fn words_and_host_names_have_hints() {
    for text in ["any", "ALL", "*", "everybody", "0/0"] {
        assert!(hint(text).starts_with("did you mean 0.0.0.0/0 (everybody)?"), "{text}");
    }
    assert_eq!(hint("localhost"), "write 127.0.0.1 for IPv4, and \"::1\" for IPv6");
    for text in ["redis.example.com", "x.example.", "a-b.internal"] {
        assert_eq!(text.parse::<Cidr>(), Err(CidrError::HostName), "{text}");
    }
    for text in ["office", "10.0.0.300", "a..b", "-a.example", "1.2.3.4.5"] {
        assert_ne!(text.parse::<Cidr>(), Err(CidrError::HostName), "{text}");
    }
}

fn within(networks: &Networks, ip: IpAddr) -> usize {
    networks.shown().iter().filter(|cidr| cidr.contains(ip)).count()
}

proptest! {
    /// The named networks are exactly the range, each address once. Short ranges are shown whole.
    #[test]
    fn a_range_is_exact(first: u32, len in 0_u32..200, at in 0_u32..300) {
        let last = first.saturating_add(len);
        prop_assume!(last != 0);
        let text = format!("{}-{}", Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last));
        let networks = networks_of(&text);
        prop_assert_eq!(networks.more(), 0);
        let probe = first.wrapping_sub(50).wrapping_add(at);
        let expected = usize::from((first..=last).contains(&probe));
        prop_assert_eq!(within(&networks, Ipv4Addr::from_bits(probe).into()), expected, "{} {}", text, networks);
    }

    /// An address is in the named networks if its parts match.
    #[test]
    fn a_wildcard_is_exact(
        parts in prop::collection::vec(prop_oneof!["[0-9]", "1[0-9]", "[0-9*?]{1,3}"], 4),
        ip: [u8; 4],
        near in prop::collection::vec(prop::option::of(0_u8..30), 4),
    ) {
        let text = parts.join(".");
        let Err(CidrError::Wildcard { networks: Some(networks) }) = text.parse::<Cidr>() else { return Ok(()) };
        let mut ip = ip;
        for (slot, near) in ip.iter_mut().zip(near) {
            *slot = near.unwrap_or(*slot);
        }
        let fits = parts.iter().zip(ip).all(|(part, octet)| {
            part == "*" || matches(part.as_bytes(), octet.to_string().as_bytes())
        });
        let found = within(&networks, ip.into());
        prop_assert!(found <= 1);
        if networks.more() == 0 && ip != [0; 4] {
            prop_assert_eq!(found == 1, fits, "{} {:?}", text, ip);
        } else if found == 1 {
            prop_assert!(fits, "{} {:?}", text, ip);
        }
    }

    /// Every form that a hint shows can be parsed.
    #[test]
    fn named_networks_are_entries(text in "[0-9.:*?/, x;-]{0,40}") {
        if let Err(CidrError::Netmask { networks: Some(networks) }
            | CidrError::Range { networks: Some(networks) }
            | CidrError::Wildcard { networks: Some(networks) }
            | CidrError::Several { networks }
            | CidrError::MoreWords { networks }) = text.parse::<Cidr>()
        {
            prop_assert!((1..=MOST_SHOWN).contains(&networks.shown().len()));
            for cidr in networks.shown() {
                prop_assert_eq!(cidr.to_string().parse(), Ok(*cidr), "{}", text);
            }
        }
    }
}
