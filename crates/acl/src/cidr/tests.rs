use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> CidrError {
    match text.parse::<Cidr>() {
        Ok(cidr) => panic!("{text:?} was taken for {cidr}"),
        Err(error) => error,
    }
}

#[test]
fn one_spelling_each() {
    for text in ["203.0.113.9", "203.0.113.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1", "2001:db8::1"]
    {
        assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
    }
    assert_eq!("203.0.113.9/32".parse::<Cidr>().unwrap().to_string(), "203.0.113.9");
    assert_eq!("2001:DB8:0::/48".parse::<Cidr>().unwrap().to_string(), "2001:db8::/48");
    assert_eq!("::1/128".parse::<Cidr>().unwrap(), "::1".parse().unwrap());
}

/// Forms that some programs read as another address than others (CVE-2021-29922 and its kin).
#[test]
fn ambiguous_and_malformed_forms() {
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
        ("10.0.0.0/255.0.0.0", CidrError::Netmask { len: Some(8) }),
        ("10.0.0.0/255.0.255.0", CidrError::Netmask { len: None }),
        ("10.0.0.0/0.0.0.0", CidrError::Netmask { len: Some(0) }),
        ("", CidrError::NotAnAddress),
        ("/8", CidrError::NotAnAddress),
        ("redis.example.com", CidrError::NotAnAddress),
        ("1::2::3", CidrError::NotAnAddress),
    ];
    for (text, error) in table {
        assert_eq!(refused(text), error, "{text:?}");
    }
}

/// Who meant one address must not open a network, so the hint names both.
#[test]
fn host_bits_are_refused_with_both_readings() {
    let error = refused("10.1.2.3/8");
    assert_eq!(error.to_string(), "host bits are set");
    assert_eq!(error.hint(), "write 10.0.0.0/8 for the whole network, or 10.1.2.3/32 for that one address");
    let error = refused("2001:db8::1/32");
    assert_eq!(
        error.hint(),
        "write 2001:db8::/32 for the whole network, or 2001:db8::1/128 for that one address"
    );
}

/// A mapped peer is judged by its IPv4 address, so a mapped entry would never match anything.
#[test]
fn mapped_entries_are_refused_with_the_ipv4_form() {
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

proptest! {
    #[test]
    fn whatever_is_taken_prints_as_itself(text in "[0-9a-f.:/]{0,24}") {
        if let Ok(cidr) = text.parse::<Cidr>() {
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        if let Err(error) = text.parse::<Cidr>() {
            prop_assert!(!error.hint().is_empty());
        }
    }

    #[test]
    fn every_network_without_host_bits_is_taken(bits: u32, len in 0_u8..=32) {
        let net = Ipv4Net::new(Ipv4Addr::from_bits(bits), len).unwrap();
        let exact = net.addr() == net.network();
        prop_assert_eq!(net.to_string().parse::<Cidr>().is_ok(), exact);
        prop_assert!(net.trunc().to_string().parse::<Cidr>().is_ok());
    }
}
