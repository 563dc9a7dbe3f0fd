use std::net::SocketAddr;
use std::path::Path;

use portcullis_acl::{ClientAddr, Decision, UnixSeconds};

use super::*;
use crate::{Config, LoadOptions, load};

const NOW: UnixSeconds = UnixSeconds(1_795_305_600);

/// `home` has a host name beside an address, `inner` one that admits private addresses.
const YAML: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:6380', upstream: main, allow: [home, {host: in-place.example, keep: 2h}]}
upstreams: {main: {address: '127.0.0.1:6379'}}
groups:
  home:
    note: flats
    entries:
      - 198.51.100.7
      - {host: Home.Example., refresh: 10s, keep: 1m, note: ours, owner: ops, until: '2027-01-01T00:00:00Z'}
      - {group: inner}
  inner: [{host: inner.example, private: true}]
";

fn config() -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.yaml");
    std::fs::write(&path, YAML).unwrap();
    let loaded = load(&path, &LoadOptions::new().at(NOW)).unwrap();
    assert_eq!(loaded.warnings, []);
    loaded.config
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn judge(config: &Config, from: &str) -> Decision {
    config.policy().judge(0, &ClientAddr::from_socket(SocketAddr::new(from.parse().unwrap(), 1)), NOW)
}

fn is_admitted(config: &Config, from: &str) -> bool {
    matches!(judge(config, from), Decision::Allow(_))
}

#[test]
fn what_is_written_is_what_is_read() {
    let config = config();
    let [in_place, home, inner] = ["in-place.example", "home.example.", "inner.example"]
        .map(|name| config.hosts().iter().find(|host| host.name().as_str() == name).unwrap());
    assert_eq!((home.refresh().as_secs(), home.keep().as_secs(), home.admits_private()), (10, 60, false));
    assert_eq!((home.group(), home.line()), (Some("home"), 9));
    assert_eq!(home.meta().owner.as_deref(), Some("ops"));
    assert_eq!(
        (inner.refresh().as_secs(), inner.keep().as_secs(), inner.admits_private()),
        (300, 3600, true)
    );
    assert_eq!((in_place.group(), in_place.keep().as_secs()), (None, 7200));
}

#[test]
fn an_answer_is_a_group_s_entries() {
    let config = config();
    assert!(!is_admitted(&config, "203.0.113.9"));
    let resolved = config.resolved(|host| match host.name().as_str() {
        "home.example." => ips(&["203.0.113.9", "2001:db8::9", "10.0.0.9"]),
        "inner.example" => ips(&["10.0.0.1"]),
        _ => Vec::new(),
    });
    for from in ["203.0.113.9", "2001:db8::9", "::ffff:203.0.113.9", "10.0.0.1", "198.51.100.7"] {
        assert!(is_admitted(&resolved, from), "{from}");
    }
    // A private address of a name that is not trusted with them, and neighbours.
    for from in ["10.0.0.9", "203.0.113.8", "2001:db8::8"] {
        assert!(!is_admitted(&resolved, from), "{from}");
    }
    let Decision::Allow(permit) = judge(&resolved, "203.0.113.9") else { panic!("refused") };
    let rule = resolved.policy().rule(permit.rule()).unwrap();
    assert_eq!((rule.host, rule.group, rule.note), (Some("home.example."), Some("home"), Some("ours")));
    assert_eq!((rule.line, rule.until), (9, Some(UnixSeconds(1_798_761_600))));
    // The next answer replaces the one before: nothing of it is left.
    let next = resolved.resolved(|_| ips(&["203.0.113.10"]));
    assert!(is_admitted(&next, "203.0.113.10") && is_admitted(&next, "198.51.100.7"));
    assert!(!is_admitted(&next, "203.0.113.9") && !is_admitted(&next, "10.0.0.1"));
    let none = next.resolved(|_| Vec::new());
    assert!(!is_admitted(&none, "203.0.113.10") && is_admitted(&none, "198.51.100.7"));
}

#[test]
fn addresses_that_no_client_has_are_dropped() {
    let table = [
        ("0.0.0.0", Dropped::Unspecified),
        ("0.1.2.3", Dropped::Unspecified),
        ("::", Dropped::Unspecified),
        ("127.0.0.1", Dropped::Loopback),
        ("::1", Dropped::Loopback),
        ("::ffff:127.0.0.1", Dropped::Loopback),
        ("169.254.169.254", Dropped::LinkLocal),
        ("fe80::1", Dropped::LinkLocal),
        ("febf::1", Dropped::LinkLocal),
        ("224.0.0.1", Dropped::Multicast),
        ("239.255.255.255", Dropped::Multicast),
        ("ff02::1", Dropped::Multicast),
        ("255.255.255.255", Dropped::Reserved),
        ("240.0.0.1", Dropped::Reserved),
        ("::7f00:1", Dropped::Reserved),
        ("::ffff:0:7f00:1", Dropped::Reserved),
        ("4000::1", Dropped::Reserved),
        ("10.0.0.1", Dropped::Private),
        ("172.16.0.1", Dropped::Private),
        ("172.31.255.255", Dropped::Private),
        ("192.168.1.1", Dropped::Private),
        ("100.64.0.1", Dropped::Private),
        ("198.18.0.1", Dropped::Private),
        ("::ffff:10.0.0.1", Dropped::Private),
        ("fd00::1", Dropped::Private),
        ("fec0::1", Dropped::Private),
        ("64:ff9b::a00:1", Dropped::Private),
        ("64:ff9b::7f00:1", Dropped::Loopback),
        ("64:ff9b:1::1", Dropped::Private),
        ("2002:a00:1::1", Dropped::Private),
        ("2002:7f00:1::1", Dropped::Loopback),
    ];
    for (ip, why) in table {
        let answer = ips(&[ip]);
        let folded: Vec<IpAddr> = answer.iter().map(IpAddr::to_canonical).collect();
        let strict = Admitted::of(&answer, false);
        assert_eq!((strict.addresses, strict.dropped), (vec![], vec![(folded[0], why)]), "{ip}");
        let private = Admitted::of(&answer, true);
        assert_eq!(private.addresses, if why == Dropped::Private { folded } else { vec![] }, "{ip}");
    }
    for ip in
        ["1.1.1.1", "172.32.0.1", "203.0.113.9", "2001:db8::1", "64:ff9b::cb00:7109", "2002:cb00:7109::1"]
    {
        assert_eq!(Admitted::of(&ips(&[ip]), false).addresses, ips(&[ip]), "{ip}");
    }
    assert_eq!(Admitted::of(&ips(&["::ffff:203.0.113.9"]), false).addresses, ips(&["203.0.113.9"]));
}

#[test]
fn sixteen_addresses_whatever_their_order() {
    let answer: Vec<IpAddr> = (1..=20_u8).map(|last| IpAddr::from([203, 0, 113, last])).collect();
    let mut turned = answer.clone();
    turned.rotate_left(7);
    turned.extend(ips(&["10.0.0.1", "203.0.113.20"]));
    for order in [&answer, &turned] {
        let admitted = Admitted::of(order, false);
        assert_eq!(admitted.addresses, answer[..MAX_ADDRESSES]);
        let many = admitted.dropped.iter().filter(|(_, why)| *why == Dropped::TooMany);
        assert_eq!(many.map(|(ip, _)| *ip).collect::<Vec<_>>(), answer[MAX_ADDRESSES..]);
    }
    let shown = Admitted::of(&turned[13..], false).to_string();
    assert!(
        shown.starts_with("203.0.113.1, 203.0.113.2") && shown.contains("; dropped 10.0.0.1 (private)"),
        "{shown}"
    );
    assert_eq!(Admitted::of(&[], false).to_string(), "no address");
}

#[test]
fn warnings_of_check_stand_at_the_entry() {
    let config = config();
    let host = config.hosts().iter().find(|host| host.group() == Some("home")).unwrap();
    let failed = host.unresolved(&std::io::Error::other("no such name"));
    assert!(
        failed
            .to_string()
            .contains("portcullis.yaml:9:9: warning: cannot resolve home.example.: no such name")
    );
    assert_eq!(host.admits_none(&host.admits(&ips(&["203.0.113.9"]))), None);
    let private = host.admits_none(&host.admits(&ips(&["10.0.0.1"]))).unwrap();
    assert!(private.hint().unwrap().contains("private: true"), "{private}");
    assert_eq!(Path::new(host.file()).file_name().unwrap(), "portcullis.yaml");
}
