use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cidr::Cidr;
use crate::group::{Entry, MAX_GROUPS, Meta, SourceId};

pub(super) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// Builds groups from text: each item is `CIDR` or `CIDR until +SECONDS`, relative to [`NOW`].
pub(super) struct Lists {
    pub(super) builder: PolicyBuilder,
    source: SourceId,
    line: u32,
}

impl Lists {
    pub(super) fn new() -> Self {
        let mut builder = PolicyBuilder::new();
        let source = builder.source("portcullis.yaml").unwrap();
        Self { builder, source, line: 0 }
    }

    pub(super) fn group(&mut self, name: &str, items: &[&str]) -> GroupId {
        let group = self.builder.group(Some(name), Meta::default()).unwrap();
        self.add(group, items);
        group
    }

    pub(super) fn in_place(&mut self, items: &[&str]) -> GroupId {
        let group = self.builder.group(None, Meta::default()).unwrap();
        self.add(group, items);
        group
    }

    pub(super) fn add(&mut self, group: GroupId, items: &[&str]) {
        for item in items {
            self.line += 1;
            let (cidr, until) = match item.split_once(" until ") {
                Some((cidr, offset)) => (cidr, Some(UnixSeconds(NOW.0 + offset.parse::<i64>().unwrap()))),
                None => (*item, None),
            };
            let meta = Meta { until, ..Meta::default() };
            let entry = Entry { cidr: cidr.parse().unwrap(), line: self.line, meta };
            self.builder.entry(group, self.source, entry).unwrap();
        }
    }

    pub(super) fn listener(&mut self, allow: &[GroupId], deny: &[GroupId]) {
        self.builder.listener(Access { allow: allow.to_vec(), deny: deny.to_vec(), ..Access::default() });
    }

    pub(super) fn build(self) -> Policy {
        self.builder.build()
    }
}

fn client(ip: &str) -> ClientAddr {
    ClientAddr::from_socket(SocketAddr::new(ip.parse().unwrap(), 40_000))
}

/// Returns the decision as text: `allow office 10.0.0.0/8`, `denied - 10.0.0.1` or `not_allowed`. The words are
/// reason, group and entry.
fn told(policy: &Policy, ip: &str, now: UnixSeconds) -> String {
    told_of(policy, &client(ip), now)
}

fn told_of(policy: &Policy, from: &ClientAddr, now: UnixSeconds) -> String {
    in_words(policy, policy.judge(0, from, now))
}

fn in_words(policy: &Policy, decision: Decision) -> String {
    let (word, rule) = match decision {
        Decision::Allow(permit) => ("allow", Some(permit.rule())),
        Decision::Deny(denial) => (denial.reason().as_str(), denial.rule()),
    };
    match rule.map(|id| policy.rule(id).unwrap()) {
        Some(rule) => format!("{word} {} {}", rule.group.unwrap_or("-"), rule.entry()),
        None => word.to_owned(),
    }
}

fn simple(allow: &[&str], deny: &[&str]) -> Policy {
    let mut lists = Lists::new();
    let (allow, deny) = (lists.group("good", allow), lists.group("bad", deny));
    lists.listener(&[allow], &[deny]);
    lists.build()
}

#[test]
fn default_is_to_refuse() {
    let empty = simple(&[], &[]);
    assert_eq!(told(&empty, "127.0.0.1", NOW), "not_allowed");
    assert_eq!(told(&empty, "::1", NOW), "not_allowed");
    assert_eq!(told_of(&empty, &ClientAddr::unix(), NOW), "not_allowed");
}

#[test]
fn a_missing_listener_admits_no_source() {
    let policy = simple(&["0.0.0.0/0"], &[]);
    assert!(matches!(policy.judge(1, &client("10.0.0.1"), NOW), Decision::Deny(_)));
    assert!(matches!(policy.judge(usize::MAX, &client("10.0.0.1"), NOW), Decision::Deny(_)));
}

#[test]
fn deny_has_priority_over_allow_of_any_length() {
    let policy = simple(&["10.1.2.3", "10.0.0.0/8"], &["10.1.0.0/16"]);
    assert_eq!(told(&policy, "10.1.2.3", NOW), "denied bad 10.1.0.0/16");
    assert_eq!(told(&policy, "10.2.0.1", NOW), "allow good 10.0.0.0/8");
    assert_eq!(told(&policy, "11.0.0.1", NOW), "not_allowed");
}

#[test]
fn a_shadow_is_judged_beside_the_lists_and_changes_nothing() {
    let mut lists = Lists::new();
    let (good, bad) = (lists.group("good", &["10.0.0.0/8"]), lists.group("bad", &["10.1.0.0/16"]));
    let next = lists.in_place(&["10.0.0.1", "11.0.0.1 until 5"]);
    let mut listener = |shadow| {
        lists.builder.listener(Access { allow: vec![good], deny: vec![bad], shadow, ..Access::default() });
    };
    listener(None);
    listener(Some(Shadow { allow: Some(vec![next]), deny: None }));
    listener(Some(Shadow { allow: None, deny: Some(vec![next]) }));
    listener(Some(Shadow { allow: Some(vec![]), deny: Some(vec![]) }));
    let policy = lists.build();
    let shadows = |ip: &str| -> Vec<String> {
        let judged = (1..4).map(|listener| policy.judge_shadow(listener, &client(ip), NOW).unwrap());
        judged.map(|decision| in_words(&policy, decision)).collect()
    };
    assert_eq!(shadows("10.0.0.1"), ["allow - 10.0.0.1", "denied - 10.0.0.1", "not_allowed"]);
    assert_eq!(shadows("10.0.0.2"), ["not_allowed", "allow good 10.0.0.0/8", "not_allowed"]);
    assert_eq!(shadows("10.1.0.1"), ["denied bad 10.1.0.0/16", "allow good 10.0.0.0/8", "not_allowed"]);
    assert_eq!(shadows("11.0.0.1"), ["allow - 11.0.0.1", "denied - 11.0.0.1", "not_allowed"]);
    for listener in 0..4 {
        assert_eq!(
            in_words(&policy, policy.judge(listener, &client("10.0.0.1"), NOW)),
            "allow good 10.0.0.0/8"
        );
        assert_eq!(
            in_words(&policy, policy.judge(listener, &client("10.1.0.1"), NOW)),
            "denied bad 10.1.0.0/16"
        );
        assert_eq!(in_words(&policy, policy.judge(listener, &client("11.0.0.1"), NOW)), "not_allowed");
    }
    assert!(policy.judge_shadow(0, &client("10.0.0.1"), NOW).is_none());
    assert!(policy.judge_shadow(4, &client("10.0.0.1"), NOW).is_none());
}

#[test]
fn the_longest_entry_is_named() {
    let policy = simple(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "2001:db8:1::/48"], &[]);
    assert_eq!(told(&policy, "10.1.2.3", NOW), "allow good 10.1.2.3");
    assert_eq!(told(&policy, "10.1.2.4", NOW), "allow good 10.1.0.0/16");
    assert_eq!(told(&policy, "10.2.0.0", NOW), "allow good 10.0.0.0/8");
    assert_eq!(told(&policy, "2001:db8:1::5", NOW), "allow good 2001:db8:1::/48");
    assert_eq!(told(&policy, "2001:db8:2::5", NOW), "allow good 2001:db8::/32");
}

#[test]
fn mapped_peers_match_ipv4_entries_and_nothing_else_does() {
    let policy = simple(&["10.0.0.0/8", "0.0.0.0/8"], &[]);
    assert_eq!(told(&policy, "::ffff:10.0.0.1", NOW), "allow good 10.0.0.0/8");
    for other in ["::10.0.0.1", "2002:a00:1::", "64:ff9b::a00:1", "::ffff:0:10.0.0.1", "::1", "::"] {
        assert_eq!(told(&policy, other, NOW), "not_allowed", "{other}");
    }
    let six = simple(&["::/0"], &[]);
    assert_eq!(told(&six, "10.0.0.1", NOW), "not_allowed");
    assert_eq!(told(&six, "::ffff:10.0.0.1", NOW), "not_allowed");
}

#[test]
fn unix_peers_need_the_group_unix() {
    let mut lists = Lists::new();
    let all = lists.group("all", &["0.0.0.0/0", "::/0"]);
    let local = lists.group("local", &[]);
    lists.builder.include(local, PolicyBuilder::UNIX);
    lists.listener(&[all], &[]);
    lists.listener(&[local], &[]);
    lists.listener(&[PolicyBuilder::UNIX], &[PolicyBuilder::UNIX]);
    let policy = lists.build();
    assert_eq!(told_of(&policy, &ClientAddr::unix(), NOW), "not_allowed");
    let Decision::Allow(permit) = policy.judge(1, &ClientAddr::unix(), NOW) else { panic!() };
    let rule = policy.rule(permit.rule()).unwrap();
    assert_eq!((rule.group, rule.group_index, rule.file, rule.line), (Some("unix"), Some(0), None, 0));
    assert_eq!(rule.entry().to_string(), "unix");
    assert!(matches!(policy.judge(2, &ClientAddr::unix(), NOW), Decision::Deny(_)));
    assert!(matches!(policy.judge(1, &client("127.0.0.1"), NOW), Decision::Deny(_)));
}

#[test]
fn rules_name_their_file_and_line() {
    let mut lists = Lists::new();
    let meta = Meta { note: Some("the office".into()), owner: Some("ops".into()), ..Meta::default() };
    let office = lists.builder.group(Some("office"), meta).unwrap();
    let file = lists.builder.source("groups/office.txt").unwrap();
    let entry = |cidr: &str, line, note: Option<&str>| Entry {
        cidr: cidr.parse().unwrap(),
        line,
        meta: Meta { note: note.map(Into::into), ..Meta::default() },
    };
    lists.builder.entry(office, file, entry("203.0.113.0/24", 7, None)).unwrap();
    lists.builder.entry(office, file, entry("2001:db8::/32", 8, Some("v6"))).unwrap();
    let in_place = lists.in_place(&["192.0.2.1"]);
    lists.listener(&[office, in_place], &[]);
    let policy = lists.build();
    let rule = |ip: &str| match policy.judge(0, &client(ip), NOW) {
        Decision::Allow(permit) => policy.rule(permit.rule()).unwrap(),
        Decision::Deny(denial) => panic!("{denial:?}"),
    };
    let office = rule("203.0.113.9");
    assert_eq!((office.group, office.group_index), (Some("office"), Some(1)));
    assert_eq!((office.file, office.line), (Some("groups/office.txt"), 7));
    assert_eq!((office.note, office.owner), (Some("the office"), Some("ops")));
    assert_eq!((rule("2001:db8::1").note, rule("2001:db8::1").owner), (Some("v6"), Some("ops")));
    let place = rule("192.0.2.1");
    assert_eq!((place.group, place.group_index, place.file), (None, None, Some("portcullis.yaml")));
}

#[test]
fn an_entry_admits_until_its_second() {
    let policy = simple(&["10.0.0.0/8 until 100"], &[]);
    assert_eq!(told(&policy, "10.0.0.1", UnixSeconds(NOW.0 + 99)), "allow good 10.0.0.0/8");
    assert_eq!(told(&policy, "10.0.0.1", UnixSeconds(NOW.0 + 100)), "expired good 10.0.0.0/8");
    assert_eq!(told(&policy, "11.0.0.1", UnixSeconds(NOW.0 + 100)), "not_allowed");
}

#[test]
fn a_wider_entry_takes_over_when_the_longer_one_expires() {
    let policy = simple(&["10.0.0.0/8", "10.1.0.0/16 until 100"], &["10.1.2.0/24 until 50"]);
    assert_eq!(told(&policy, "10.1.2.3", NOW), "denied bad 10.1.2.0/24");
    assert_eq!(told(&policy, "10.1.2.3", UnixSeconds(NOW.0 + 50)), "allow good 10.1.0.0/16");
    assert_eq!(told(&policy, "10.1.2.3", UnixSeconds(NOW.0 + 100)), "allow good 10.0.0.0/8");
}

#[test]
fn the_equal_entry_with_the_latest_expiry_decides() {
    let mut lists = Lists::new();
    let short = lists.group("short", &["10.0.0.0/8 until 10"]);
    let long = lists.group("long", &["10.0.0.0/8 until 90"]);
    let again = lists.group("again", &["10.0.0.0/8 until 90", "10.0.0.0/8 until 20"]);
    lists.listener(&[short, long, again], &[]);
    let policy = lists.build();
    assert_eq!(told(&policy, "10.0.0.1", NOW), "allow long 10.0.0.0/8");
    assert_eq!(told(&policy, "10.0.0.1", UnixSeconds(NOW.0 + 89)), "allow long 10.0.0.0/8");
    assert_eq!(told(&policy, "10.0.0.1", UnixSeconds(NOW.0 + 90)), "expired long 10.0.0.0/8");
}

#[test]
fn a_permit_has_the_time_at_which_no_entry_admits_any_more() {
    let expires = |allow: &[&str], ip: &str| match simple(allow, &[]).judge(0, &client(ip), NOW) {
        Decision::Allow(permit) => permit.expires().map(|until| until.0 - NOW.0),
        Decision::Deny(denial) => panic!("{denial:?}"),
    };
    assert_eq!(expires(&["10.0.0.0/8"], "10.0.0.1"), None);
    assert_eq!(expires(&["10.0.0.0/8 until 5"], "10.0.0.1"), Some(5));
    assert_eq!(expires(&["10.0.0.0/8", "10.0.0.1 until 5"], "10.0.0.1"), None);
    assert_eq!(expires(&["10.0.0.0/8 until 9", "10.0.0.1 until 5"], "10.0.0.1"), Some(9));
    assert_eq!(expires(&["10.0.0.0/8 until 3", "10.0.0.1 until 5"], "10.0.0.1"), Some(5));
    assert_eq!(expires(&["10.0.0.0/8 until 3", "10.0.0.1 until -5"], "10.0.0.1"), Some(3));
}

#[test]
fn the_until_of_a_group_applies_to_its_entries() {
    let mut lists = Lists::new();
    let meta = Meta { until: Some(UnixSeconds(NOW.0 + 10)), ..Meta::default() };
    let guests = lists.builder.group(Some("guests"), meta).unwrap();
    lists.add(guests, &["10.0.0.0/8", "11.0.0.0/8 until 20"]);
    lists.listener(&[guests], &[]);
    let policy = lists.build();
    assert_eq!(told(&policy, "10.0.0.1", UnixSeconds(NOW.0 + 10)), "expired guests 10.0.0.0/8");
    assert_eq!(told(&policy, "11.0.0.1", UnixSeconds(NOW.0 + 10)), "allow guests 11.0.0.0/8");
    let guests = policy.groups().nth(1).unwrap();
    assert_eq!(guests.next_expiry(NOW), Some(UnixSeconds(NOW.0 + 10)));
    assert_eq!(guests.next_expiry(UnixSeconds(NOW.0 + 10)), Some(UnixSeconds(NOW.0 + 20)));
    assert_eq!(guests.next_expiry(UnixSeconds(NOW.0 + 20)), None);
}

#[test]
fn includes_are_followed_and_counted() {
    let mut lists = Lists::new();
    let vpn = lists.group("vpn", &["10.8.0.0/16", "10.9.0.0/16 until 30"]);
    let office = lists.group("office", &["203.0.113.0/24"]);
    let all = lists.group("all", &[]);
    lists.builder.include(office, vpn);
    lists.builder.include(all, office);
    lists.builder.include(all, vpn);
    lists.listener(&[all], &[]);
    let policy = lists.build();
    assert_eq!(told(&policy, "10.8.0.1", NOW), "allow vpn 10.8.0.0/16");
    assert_eq!(told(&policy, "203.0.113.1", NOW), "allow office 203.0.113.0/24");
    let counts: Vec<(&str, usize)> =
        policy.groups().map(|group| (group.name(), group.entry_count())).collect();
    assert_eq!(counts, [("unix", 1), ("vpn", 2), ("office", 3), ("all", 3)]);
    assert_eq!(policy.groups().last().unwrap().next_expiry(NOW), Some(UnixSeconds(NOW.0 + 30)));
}

#[test]
fn rings_of_includes_are_reported_and_harmless() {
    let mut lists = Lists::new();
    let names = ["a", "b", "c", "d"].map(|name| lists.group(name, &[]));
    let [a, b, c, d] = names;
    for (from, to) in [(a, b), (b, c), (c, b), (d, d), (a, c)] {
        lists.builder.include(from, to);
    }
    lists.add(c, &["10.0.0.0/8"]);
    lists.listener(&[a], &[]);
    assert_eq!(lists.builder.cycles(9), [vec![b, c, b], vec![d, d]]);
    assert_eq!(lists.builder.cycles(1), [vec![b, c, b]]);
    assert_eq!(told(&lists.build(), "10.0.0.1", NOW), "allow c 10.0.0.0/8");
}

#[test]
fn whole_families_are_detected_in_any_spelling() {
    let open = |allow: &[&str], family| simple(allow, &[]).admits_all(0, family, NOW);
    assert!(open(&["0.0.0.0/0"], Family::V4));
    assert!(open(&["0.0.0.0/1", "128.0.0.0/1"], Family::V4));
    assert!(open(&["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3", "10.0.0.0/8"], Family::V4));
    assert!(!open(&["0.0.0.0/1", "128.0.0.0/2"], Family::V4));
    assert!(!open(&["0.0.0.0/1", "129.0.0.0/8", "128.0.0.0/9", "130.0.0.0/7"], Family::V4));
    assert!(!open(&["0.0.0.0/0 until -1"], Family::V4));
    assert!(open(&["0.0.0.0/0 until 1"], Family::V4));
    assert!(!open(&["0.0.0.0/0"], Family::V6));
    assert!(open(&["::/0"], Family::V6));
    assert!(open(&["2000::/3"], Family::V6));
    assert!(open(&["2000::/4", "3000::/4"], Family::V6));
    assert!(!open(&["2000::/4", "4000::/2"], Family::V6));
    assert!(!open(&[], Family::V4));
}

#[test]
fn a_rule_of_another_policy_is_not_found() {
    let one = simple(&["10.0.0.0/8", "11.0.0.0/8"], &[]);
    let Decision::Allow(permit) = one.judge(0, &client("11.0.0.1"), NOW) else { panic!() };
    assert!(simple(&[], &[]).rule(permit.rule()).is_none());
}

#[test]
fn too_many_groups_are_refused() {
    let mut builder = PolicyBuilder::new();
    for _ in 0..MAX_GROUPS {
        builder.group(None, Meta::default()).unwrap();
    }
    assert_eq!(builder.group(None, Meta::default()), Err(TooMany));
}

/// A million single addresses that cannot be merged, once alone in their set and once beside another group.
#[test]
fn a_million_entries_fit_their_budget() {
    let each = |address: fn(u32) -> IpAddr, mixed: bool| {
        let mut lists = Lists::new();
        let (group, other) =
            (lists.group("all", &[]), lists.group("other", &["10.0.0.0/8", "2001:db8::/32"]));
        for line in 1..=1_000_000_u32 {
            let cidr = address(line.wrapping_mul(2_654_435_761)).into();
            lists.builder.entry(group, lists.source, Entry { cidr, line, meta: Meta::default() }).unwrap();
        }
        lists.listener(&[group, other][..1 + usize::from(mixed)], &[]);
        let policy = lists.build();
        (policy.entry_bytes() + policy.table_bytes()) / 1_000_000
    };
    let v4: fn(u32) -> IpAddr = |bits| IpAddr::from(bits.to_be_bytes());
    let v6 =
        |bits: u32| IpAddr::from((0x20 << 120 | u128::from(bits) << 86 | u128::from(bits)).to_be_bytes());
    for (address, mixed, most) in [(v4, false, 14), (v4, true, 18), (v6, false, 29), (v6, true, 32)] {
        let each = each(address, mixed);
        assert!(each <= most, "{each} bytes each, not {most}");
    }
}

/// One entry of the model: the network, and the second of its expiry relative to now, if it has one.
#[derive(Clone, Debug)]
struct Model {
    cidr: Cidr,
    until: Option<i64>,
}

fn models() -> impl Strategy<Value = Vec<Model>> {
    let v4 = (any::<u32>(), 0_u32..8, 0_u8..=32)
        .prop_map(|(bits, few, len)| Cidr::cut_v4((few << 29 | (bits & 0x0101_0101)).into(), len));
    let v6 = (any::<u128>(), 0_u128..8, 0_u8..=128)
        .prop_map(|(bits, few, len)| Cidr::cut_v6((few << 125 | bits & 0x0101).into(), len));
    let until = proptest::option::weighted(0.4, -20_i64..20);
    vec((prop_oneof![v4, v6], until).prop_map(|(cidr, until)| Model { cidr, until }), 0..60)
}

/// Computes the decision as the documentation describes it, entry by entry.
fn expected(allow: &[Model], deny: &[Model], ip: IpAddr, now: i64) -> &'static str {
    let covers = |model: &&Model| model.cidr.contains(ip);
    let active = |model: &Model| model.until.is_none_or(|until| until > now);
    if deny.iter().filter(covers).any(active) {
        return "denied";
    }
    match allow.iter().filter(covers).any(active) {
        true => "allow",
        false if allow.iter().any(|model| covers(&model)) => "expired",
        false => "not_allowed",
    }
}

proptest! {
    #[test]
    fn decisions_follow_the_model(allow in models(), deny in models(), more in vec(any::<u32>(), 8)) {
        let mut lists = Lists::new();
        let mut group = |name, models: &[Model]| {
            let group = lists.group(name, &[]);
            for model in models {
                let until = model.until.map(|until| UnixSeconds(NOW.0 + until));
                let entry = Entry { cidr: model.cidr, line: 1, meta: Meta { until, ..Meta::default() } };
                lists.builder.entry(group, lists.source, entry).unwrap();
            }
            group
        };
        // The groups of the model give tables of several runs, and of a single run.
        let (one, rest) = allow.split_at(allow.len() / 3);
        let good: Vec<GroupId> = [("one", one), ("rest", rest), ("more", one)].map(|(name, models)| group(name, models)).into();
        let bad = group("bad", &deny);
        lists.listener(&good, &[bad]);
        let policy = lists.build();
        let edges = allow.iter().chain(&deny).flat_map(|model| [model.cidr.net().network(), model.cidr.net().broadcast()]);
        for ip in edges.chain(more.into_iter().map(|bits| IpAddr::from(bits.to_be_bytes()))) {
            let from = ClientAddr::from_socket(SocketAddr::new(ip, 1));
            // A mapped address is judged as IPv4, which no IPv6 entry matches. So mapped addresses are not part of
            // the model.
            if from.ip() != Some(ip) {
                continue;
            }
            for now in [-15, 0, 15] {
                let decision = policy.judge(0, &from, UnixSeconds(NOW.0 + now));
                let word = match &decision {
                    Decision::Allow(_) => "allow",
                    Decision::Deny(denial) => denial.reason().as_str(),
                };
                prop_assert_eq!(word, expected(&allow, &deny, ip, now), "{} at {}", ip, now);
                if let Decision::Allow(permit) = decision {
                    let rule = policy.rule(permit.rule()).unwrap();
                    prop_assert!(rule.cidr.unwrap().contains(ip));
                    prop_assert!(rule.until.is_none_or(|until| until.0 > NOW.0 + now));
                    if let Some(end) = permit.expires() {
                        prop_assert_eq!(expected(&allow, &[], ip, end.0 - NOW.0 - 1), "allow");
                        prop_assert_eq!(expected(&allow, &[], ip, end.0 - NOW.0), "expired");
                    }
                }
            }
        }
    }
}

#[test]
fn a_list_of_a_user_admits_the_sources_of_its_groups() {
    let mut builder = PolicyBuilder::new();
    let source = builder.source("gate.yaml").unwrap();
    let mut group = |name: &str, cidr: &str, until: Option<i64>| {
        let group = builder.group(Some(name), Meta::default()).unwrap();
        let meta = Meta { until: until.map(UnixSeconds), ..Meta::default() };
        builder.entry(group, source, Entry { cidr: cidr.parse().unwrap(), line: 1, meta }).unwrap();
        group
    };
    let (office, guests) = (group("office", "10.0.0.0/8", None), group("guests", "192.0.2.0/24", Some(100)));
    let (one, both, none) =
        (builder.list("a", vec![office]), builder.list("b", vec![office, guests]), builder.list("c", vec![]));
    let policy = builder.build();
    let from = |ip: &str| ClientAddr::from_socket((ip.parse::<std::net::IpAddr>().unwrap(), 1).into());
    let admits = |list, ip: &str, now| policy.admits(list, &from(ip), UnixSeconds(now)).is_some();
    assert!(admits(one, "10.1.2.3", 1) && !admits(one, "192.0.2.1", 1));
    assert!(admits(both, "192.0.2.1", 99) && !admits(both, "192.0.2.1", 100));
    assert!(!admits(none, "10.1.2.3", 1));
    assert_eq!(
        policy.admits(both, &from("192.0.2.1"), UnixSeconds(1)).unwrap().expires(),
        Some(UnixSeconds(100))
    );
}
