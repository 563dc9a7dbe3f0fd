use proptest::prelude::*;

use super::*;

fn nets() -> impl Strategy<Value = Vec<Net>> {
    let v4 =
        (0_u32..64, 24_u8..=32).prop_map(|(ip, len)| Net::new(Ipv4Addr::from_bits(ip).into(), len).unwrap());
    let v6 = (0_u128..64, 120_u8..=128)
        .prop_map(|(ip, len)| Net::new(Ipv6Addr::from_bits(ip << 32).into(), len).unwrap());
    let all = (0_usize..3).prop_map(|at| Net::all()[at]);
    proptest::collection::vec(prop_oneof![6 => v4, 3 => v6, 1 => all], 0..6)
}

fn holds(sources: &Sources, probe: Net) -> bool {
    Sources::from(probe).is_within(sources)
}

proptest! {
    #[test]
    fn sets_are_what_they_say(one in nets(), other in nets(), ip in 0_u32..70) {
        let (a, b): (Sources, Sources) = (one.into_iter().collect(), other.into_iter().collect());
        let probes = [Net::host(Ipv4Addr::from_bits(ip).into()), Net::host(Ipv6Addr::from_bits(u128::from(ip) << 32).into()), Net::Unix];
        for probe in probes {
            let (in_a, in_b) = (holds(&a, probe), holds(&b, probe));
            prop_assert_eq!(holds(&a.or(&b), probe), in_a || in_b);
            prop_assert_eq!(holds(&a.and(&b), probe), in_a && in_b);
            prop_assert_eq!(holds(&a.less(&b), probe), in_a && !in_b);
            prop_assert_eq!(holds(&a.not(), probe), !in_a);
        }
        prop_assert_eq!(a.not().not(), a.clone());
        prop_assert_eq!(a.nets().into_iter().collect::<Sources>().folded(), a.folded());
    }
}

#[test]
fn prefixes_are_as_few_as_can_be() {
    let nets = |text: &[&str]| -> Vec<String> {
        let sources: Sources = text.iter().map(|text| Net::Inet(text.parse().unwrap())).collect();
        sources.nets().iter().map(ToString::to_string).collect()
    };
    assert_eq!(nets(&["10.0.0.0/9", "10.128.0.0/9"]), ["10.0.0.0/8"]);
    assert_eq!(nets(&["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]), ["0.0.0.0/0", "::/0"]);
    assert_eq!(nets(&["10.0.0.1/32", "10.0.0.2/32"]), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(nets(&["255.255.255.255/32"]), ["255.255.255.255"]);
    assert!(nets(&["::ffff:10.0.0.0/104"]).is_empty(), "such an entry is none");
    let all_but = Sources::all().folded().nets();
    assert_eq!(all_but, Net::all(), "what cannot match cuts nothing");
}

#[test]
fn mapped_addresses_are_ipv4() {
    let mapped: Sources = [Net::Inet("::ffff:10.0.0.0/104".parse().unwrap())].into_iter().collect();
    assert_eq!(mapped.mapped_v4(), Sources::from(Net::Inet("10.0.0.0/8".parse().unwrap())));
    assert!(mapped.folded().is_empty());
    assert_eq!(Sources::all().mapped_v4(), Sources::from(Net::all()[0]));
}
