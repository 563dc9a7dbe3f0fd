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
            | CidrError::Several { networks },
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
}

/// A word or a sign may take an address away, so the hint has no entry to copy.
#[test]
fn other_words_leave_no_entry_in_the_hint() {
    for text in [
        "10.0.0.1 office",
        "10.0.0.1, 10.0.0.2 x *",
        "10.0.0.0/8 except 10.1.0.0/16",
        "10.0.0.0/8 not 10.1.0.0/16",
        "10.0.0.0/8 but 10.1.0.0/16",
        "10.0.0.0/8 and 10.1.0.0/16",
        "10.0.0.0/8, !10.1.0.0/16",
        "10.0.0.0/8 -10.1.0.0/16",
        "10.0.0.0/8 - 10.1.0.0/16",
        "10.0.0.1 -10.0.0.9",
        "10.0.0.1- 10.0.0.9",
        "10.0.0.* minus 10.0.0.1-9",
        "deny 10.0.0.1",
        "deny: 10.0.0.1",
        "!10.0.0.1",
        "-10.0.0.1",
        "~10.1.*",
        "10.0.0.1 10.1.2.3/8",
        "10.0.0.0 255.0.0.0, 10.1.0.0 255.255.0.0",
    ] {
        assert_eq!(text.parse::<Cidr>(), Err(CidrError::MoreWords), "{text}");
        assert_eq!(entries_in(&hint(text)), Vec::<Cidr>::new(), "{text}");
        assert!(hint(text).contains("under deny"), "{text}");
    }
    assert_eq!(networks_of("10.0.0.1 or 10.0.0.2 OR 10.1.*").to_string(), "10.0.0.1, 10.0.0.2, 10.1.0.0/16");
}

/// Returns the entries that an operator can copy out of a hint.
fn entries_in(hint: &str) -> Vec<Cidr> {
    let words = hint.split(|c: char| c.is_whitespace() || ",;()\"?'{}".contains(c));
    words.filter_map(|word| word.parse().ok()).collect()
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
            | CidrError::Several { networks }) = text.parse::<Cidr>()
        {
            prop_assert!((1..=MOST_SHOWN).contains(&networks.shown().len()));
            for cidr in networks.shown() {
                prop_assert_eq!(cidr.to_string().parse(), Ok(*cidr), "{}", text);
            }
        }
    }
}

/// Parts of texts that operators write, for [`hints_admit_only_what_the_text_admits`].
fn texts() -> impl Strategy<Value = String> {
    let address = || (0_u8..4, 0_u8..12).prop_map(|(net, host)| format!("172.16.{net}.{host}"));
    let form = prop_oneof![
        4 => address(),
        2 => (address(), 20_u8..33).prop_map(|(ip, len)| format!("{ip}/{len}")),
        1 => (0_u8..4, 22_u8..25).prop_map(|(net, len)| format!("172.16.{}.0/{len}", net & (0xff << (24 - len)))),
        1 => (address(), address()).prop_map(|(first, last)| format!("{first}-{last}")),
        1 => (address(), 0_u8..20).prop_map(|(first, last)| format!("{first}-{last}")),
        1 => (0_u8..4).prop_map(|net| format!("172.16.{net}.*")),
        1 => Just("172.16.*".to_owned()),
        1 => Just("172.16.1.?".to_owned()),
        1 => address().prop_map(|ip| format!("{ip}/255.255.255.0")),
        1 => Just("255.255.255.0".to_owned()),
    ];
    let word = prop::sample::select(vec![
        "except", "not", "but", "deny", "!", "-", "without", "minus", "and", "or", "office", "#", "mask",
        "*", "to", "allow", "&", "|", "\u{2013}", "netmask", "x",
    ]);
    let part = prop_oneof![3 => form, 1 => word.prop_map(str::to_owned)];
    let glue = prop::sample::select(vec![
        " ", " ", ", ", ",", ";", " or ", "", "-", " -", "- ", " !", "/", "\t", " ; ",
    ]);
    prop::collection::vec((part, glue), 1..5)
        .prop_map(|parts| parts.into_iter().flat_map(|(part, glue)| [part, glue.to_owned()]).collect())
}

/// A set of addresses that stands in a text.
type Stands = Box<dyn Fn(Ipv4Addr) -> bool>;

/// Reads what a text admits, without the code under test. `None`: the text has another word.
fn stands(text: &str) -> Option<Vec<Stands>> {
    let text = text.trim();
    let dashes = |dash: &str| text.split_once(dash).and_then(|(first, last)| between_texts(first, last));
    if let Some(range) = dashes(" - ").or_else(|| dashes(" \u{2013} ")) {
        return Some(vec![range]);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [ip, mask] | [ip, "mask" | "netmask", mask] = words[..]
        && mask.starts_with("255.")
        && let Some(net) = masked(ip, mask)
    {
        return Some(vec![net]);
    }
    let words = text.split([',', ';']).flat_map(str::split_whitespace).filter(|word| *word != "or");
    let words: Vec<&str> = words.collect();
    // A mask beside other words belongs to one of them.
    let is_mask = |word: &str| words.len() > 1 && word.starts_with("255.");
    words.iter().map(|word| stands_for(word).filter(|_| !is_mask(word))).collect()
}

fn between_texts(first: &str, last: &str) -> Option<Stands> {
    let (first, last) = (first.parse::<Ipv4Addr>().ok()?, last.parse::<Ipv4Addr>().ok()?);
    Some(Box::new(move |ip| first <= ip && ip <= last))
}

fn masked(ip: &str, mask: &str) -> Option<Stands> {
    let (ip, mask) = (ip.parse::<Ipv4Addr>().ok()?.to_bits(), mask.parse::<Ipv4Addr>().ok()?.to_bits());
    Some(Box::new(move |other| other.to_bits() & mask == ip & mask))
}

fn stands_for(word: &str) -> Option<Stands> {
    if let Some((ip, len)) = word.split_once('/') {
        let mask = match len.parse::<u32>() {
            Ok(len) => Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - len).unwrap_or(0)).to_string(),
            Err(_) => len.to_owned(),
        };
        return masked(ip, &mask);
    }
    let dash = word.split_once(['-', '\u{2013}']);
    if let Some((first, last)) = dash {
        let tail = first.rsplit_once('.').map(|(head, _)| format!("{head}.{last}"));
        return between_texts(first, last).or_else(|| between_texts(first, &tail?));
    }
    let parts: Vec<String> = word.split('.').map(str::to_owned).collect();
    let fits = |part: &String| {
        let text = |c: char| c.is_ascii_digit() || c == '*' || c == '?';
        part == "x" || (1..=3).contains(&part.len()) && part.chars().all(text)
    };
    let whole = parts.len() == 4 || parts.len() > 1 && parts.last().is_some_and(|last| last == "*");
    (whole && parts.iter().all(fits)).then(|| {
        let stands = move |ip: Ipv4Addr| {
            parts.iter().zip(ip.octets()).all(|(part, octet)| glob(part, &octet.to_string()))
        };
        Box::new(stands) as Stands
    })
}

/// Tries a star as no character, and as one character more.
fn glob(pattern: &str, text: &str) -> bool {
    let after = |text: &str| text.get(1..).map(str::to_owned);
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('x') => true,
        Some('*') => glob(&pattern[1..], text) || after(text).is_some_and(|rest| glob(pattern, &rest)),
        Some(c) => {
            (c == '?' || text.starts_with(c)) && after(text).is_some_and(|rest| glob(&pattern[1..], &rest))
        }
    }
}

/// Entries that hints show as examples, whatever the text is.
fn is_example(cidr: Cidr) -> bool {
    ["203.0.113.9", "203.0.113.0/24", "2001:db8::/32", "2001:db8::1", "10.1.0.0/16", "0.0.0.0/0", "::/0"]
        .contains(&cidr.to_string().as_str())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Every entry that a hint shows has only addresses that the text names and does not take away.
    #[test]
    fn hints_admit_only_what_the_text_admits(text in texts()) {
        let Err(error) = text.parse::<Cidr>() else { return Ok(()) };
        let shown: Vec<Cidr> = entries_in(&error.hint()).into_iter().filter(|cidr| !is_example(*cidr)).collect();
        let Some(stands) = stands(&text) else {
            prop_assert!(shown.is_empty(), "{:?}: {}", text, error.hint());
            return Ok(());
        };
        for cidr in shown {
            let IpNet::V4(net) = cidr.net() else { panic!("{text:?}: {cidr}") };
            // The parts of the texts end at borders of at most 256 addresses.
            let probes = [net.network(), net.broadcast()].into_iter().chain(net.hosts().take(300));
            for ip in probes {
                prop_assert!(stands.iter().any(|stands| stands(ip)), "{:?}: {} has {}", text, cidr, ip);
            }
        }
    }
}
