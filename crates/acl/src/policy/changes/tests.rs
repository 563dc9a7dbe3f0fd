use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cidr::Cidr;
use crate::group::{Entry, Meta};
use crate::policy::tests::{Lists, NOW};
use crate::policy::{PolicyBuilder, Shadow};

const MOST: usize = 3;

/// Returns the changes as text: `office changed +[10.0.0.1] -2[...]`. The count is shown if not all entries are
/// listed.
fn told(new: &Policy, old: &Policy) -> Vec<String> {
    let entries = |entries: &ChangedEntries| {
        let shown: Vec<&str> = entries.first.iter().map(|entry| entry.entry.as_str()).collect();
        let all = entries.count == shown.len();
        format!("{}[{}]", if all { String::new() } else { entries.count.to_string() }, shown.join(" "))
    };
    let line = |change: GroupChange| {
        let whose = match change.whose {
            Whose::Group(name) => name,
            Whose::Allow(name) => format!("{name}.allow"),
            Whose::Deny(name) => format!("{name}.deny"),
            Whose::ShadowAllow(name) => format!("{name}.shadow.allow"),
            Whose::Senders(name) => format!("{name}.proxy_protocol.from"),
            Whose::Origins(name) => format!("users.{name}.from"),
            Whose::ShadowDeny(name) => format!("{name}.shadow.deny"),
        };
        let fate = format!("{:?}", change.fate).to_lowercase();
        let moved: Vec<&str> = change.moved.first.iter().map(|moved| moved.entry.as_str()).collect();
        let moved = match change.moved.count {
            0 => String::new(),
            count if count == moved.len() => format!(" ~[{}]", moved.join(" ")),
            count => format!(" ~{count}[{}]", moved.join(" ")),
        };
        format!("{whose} {fate} +{} -{}{moved}", entries(&change.gained), entries(&change.lost))
    };
    new.changes_since(old, MOST).into_iter().map(line).collect()
}

fn one(name: &str, items: &[&str]) -> Policy {
    let mut lists = Lists::new();
    lists.group(name, items);
    lists.build()
}

#[test]
fn reports_gains_and_losses_of_a_group() {
    let items = ["10.0.0.1", "10.0.0.0/8 until 9", "2001:db8::/32", "10.0.0.1"];
    let old = one("office", &items);
    assert_eq!(told(&old, &old), Vec::<String>::new());
    let mut turned = items;
    turned.reverse();
    assert_eq!(told(&one("office", &turned), &old), Vec::<String>::new());
    assert_eq!(
        told(&one("office", &items[..3]), &old),
        Vec::<String>::new(),
        "one of two equal entries was removed"
    );
    let new = one("office", &["10.0.0.1", "10.0.0.0/8 until 8", "2001:db8:1::/48", "10.0.0.2", "10.0.0.3"]);
    assert_eq!(
        told(&new, &old),
        ["office changed +[10.0.0.2 10.0.0.3 2001:db8:1::/48] -[2001:db8::/32] ~[10.0.0.0/8]"]
    );
    assert_eq!(told(&one("office", &[]), &old), ["office changed +[] -[10.0.0.0/8 10.0.0.1 2001:db8::/32]"]);
}

#[test]
fn reports_new_and_removed_groups() {
    let (old, new) = (one("old", &["10.0.0.1"]), one("new", &["10.0.0.1"]));
    assert_eq!(told(&new, &old), ["new added +[10.0.0.1] -[]", "old removed +[] -[10.0.0.1]"]);
    let empty = Lists::new().build();
    assert_eq!(told(&one("bare", &[]), &empty), ["bare added +[] -[]"]);
    assert_eq!(told(&empty, &one("bare", &[])), ["bare removed +[] -[]"]);
}

#[test]
fn changes_of_included_groups_are_not_repeated() {
    let policy = |inner: &[&str], includes: bool| {
        let mut lists = Lists::new();
        let (vpn, all) = (lists.group("vpn", inner), lists.group("all", &[]));
        if includes {
            lists.builder.include(all, vpn);
        }
        lists.listener(&[all], &[]);
        lists.build()
    };
    let old = policy(&["10.0.0.1"], true);
    assert_eq!(told(&policy(&["10.0.0.2"], true), &old), ["vpn changed +[10.0.0.2] -[10.0.0.1]"]);
    assert_eq!(told(&policy(&["10.0.0.1"], false), &old), ["all changed +[] -[vpn]"]);
}

#[test]
fn an_until_is_part_of_an_entry_and_a_note_is_not() {
    let policy = |until, note: &str| {
        let mut lists = Lists::new();
        let meta =
            Meta { until: Some(UnixSeconds(NOW.0 + until)), note: Some(note.into()), ..Meta::default() };
        let guests = lists.builder.group(Some("guests"), meta).unwrap();
        lists.add(guests, &["10.0.0.1", "10.0.0.2 until 5"]);
        lists.build()
    };
    assert_eq!(told(&policy(9, "now"), &policy(9, "then")), Vec::<String>::new());
    let changes = policy(10, "now").changes_since(&policy(9, "then"), MOST);
    let end = |until| Some(UnixSeconds(NOW.0 + until));
    let moved = MovedEnd { entry: "10.0.0.1".into(), before: end(9), now: end(10) };
    assert_eq!(changes[0].moved, MovedEnds { count: 1, first: vec![moved] });
    assert_eq!(
        (&changes[0].gained, &changes[0].lost),
        (&ChangedEntries::default(), &ChangedEntries::default())
    );
}

/// An entry that is written twice, with two ends, is two entries. One of them may go.
#[test]
fn each_end_of_a_repeated_entry_counts_once() {
    let policy = |items: &[&str]| one("office", items);
    let twice = policy(&["10.0.0.1 until 5", "10.0.0.1"]);
    assert_eq!(told(&policy(&["10.0.0.1"]), &twice), ["office changed +[] -[10.0.0.1]"]);
    assert_eq!(told(&twice, &policy(&["10.0.0.1"])), ["office changed +[10.0.0.1] -[]"]);
    assert_eq!(told(&policy(&["10.0.0.1 until 6"]), &twice), ["office changed +[] -[10.0.0.1] ~[10.0.0.1]"]);
    let ends: Vec<String> = (1..=5).map(|n| format!("10.0.0.{n} until 7")).collect();
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    let bare: Vec<&str> = ends.iter().map(|end| end.split(' ').next().unwrap()).collect();
    assert_eq!(
        told(&policy(&ends), &policy(&bare)),
        ["office changed +[] -[] ~5[10.0.0.1 10.0.0.2 10.0.0.3]"]
    );
}

#[test]
fn lists_are_matched_by_the_name_of_their_listener() {
    let policy = |names: [&str; 2], address: &str, shadow: bool| {
        let mut lists = Lists::new();
        let office = lists.group("office", &["203.0.113.0/24"]);
        for name in names {
            let place = lists.in_place(&[address]);
            let shadow = shadow.then(|| Shadow { allow: None, deny: Some(vec![place, PolicyBuilder::UNIX]) });
            let access = Access {
                name: name.into(),
                allow: vec![office, place],
                deny: vec![],
                shadow,
                senders: vec![],
            };
            lists.builder.listener(access);
        }
        lists.build()
    };
    let old = policy(["a", "b"], "10.0.0.1", false);
    assert_eq!(told(&policy(["b", "a"], "10.0.0.1", false), &old), Vec::<String>::new());
    assert_eq!(
        told(&policy(["a", "c"], "10.0.0.2", false), &old),
        [
            "a.allow changed +[10.0.0.2] -[10.0.0.1]",
            "c.allow added +[office 10.0.0.2] -[]",
            "b.allow removed +[] -[office 10.0.0.1]"
        ]
    );
    let shadowed = policy(["a", "b"], "10.0.0.1", true);
    assert_eq!(
        told(&shadowed, &old),
        ["a.shadow.deny added +[unix 10.0.0.1] -[]", "b.shadow.deny added +[unix 10.0.0.1] -[]"]
    );
    assert_eq!(told(&old, &shadowed).len(), 2);
}

#[test]
fn lists_of_users_are_matched_by_the_name_of_the_user() {
    let policy = |users: &[&str], address: &str| {
        let mut lists = Lists::new();
        let office = lists.group("office", &["203.0.113.0/24"]);
        for user in users {
            let place = lists.in_place(&[address]);
            lists.builder.list(user, vec![office, place]);
        }
        lists.build()
    };
    let old = policy(&["a", "b"], "10.0.0.1");
    assert_eq!(told(&policy(&["b", "a"], "10.0.0.1"), &old), Vec::<String>::new());
    assert_eq!(
        told(&policy(&["b"], "10.0.0.2"), &old),
        ["users.b.from changed +[10.0.0.2] -[10.0.0.1]", "users.a.from removed +[] -[office 10.0.0.1]"]
    );
}

#[test]
fn finds_few_changes_among_very_many_entries() {
    let policy = |salt: u32| {
        let mut lists = Lists::new();
        let group = lists.group("all", &[]);
        let source = lists.builder.source("list.txt").unwrap();
        for line in 1..=100_000_u32 {
            let odd = if line % 1_000 == 0 { salt } else { 0 };
            let ip = IpAddr::from(line.wrapping_mul(2_654_435_761).wrapping_add(odd).to_be_bytes());
            lists
                .builder
                .entry(group, source, Entry { cidr: ip.into(), line, meta: Meta::default() })
                .unwrap();
        }
        lists.build()
    };
    let (old, new) = (policy(0), policy(1));
    let changes = new.changes_since(&old, MOST);
    assert_eq!((changes[0].gained.count, changes[0].lost.count), (100, 100));
    assert_eq!((changes[0].gained.first.len(), changes[0].lost.first.len()), (MOST, MOST));
}

/// Generates few different networks, so that lists overlap and repeat.
fn models() -> impl Strategy<Value = Vec<(Cidr, Option<i64>)>> {
    let v4 = (0_u32..8, 28_u8..=32).prop_map(|(bits, len)| Cidr::cut_v4(bits.into(), len));
    let v6 = (0_u128..8, 124_u8..=128).prop_map(|(bits, len)| Cidr::cut_v6(bits.into(), len));
    vec((prop_oneof![v4, v6], proptest::option::weighted(0.3, 0_i64..3)), 0..40)
}

proptest! {
    #[test]
    fn changes_are_the_difference_of_sets_without_moved_ends(old in models(), new in models()) {
        let policy = |models: &[(Cidr, Option<i64>)]| {
            let mut lists = Lists::new();
            let group = lists.group("all", &[]);
            let source = lists.builder.source("list.txt").unwrap();
            for (cidr, until) in models {
                let meta = Meta { until: until.map(UnixSeconds), ..Meta::default() };
                lists.builder.entry(group, source, Entry { cidr: *cidr, line: 1, meta }).unwrap();
            }
            lists.build()
        };
        let changes = policy(&new).changes_since(&policy(&old), usize::MAX);
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.into_iter().collect(), new.into_iter().collect());
        let expected = |some: &BTreeSet<(Cidr, Option<i64>)>, others: &BTreeSet<(Cidr, Option<i64>)>| -> Vec<_> {
            some.difference(others).map(|(cidr, until)| (cidr.to_string(), *until)).collect()
        };
        let found = |entries: &ChangedEntries| -> Vec<_> {
            entries.first.iter().map(|entry| (entry.entry.clone(), entry.until.map(|until| until.0))).collect()
        };
        let (mut gained, mut lost) = (expected(&new, &old), expected(&old, &new));
        let mut moved = Vec::new();
        lost.retain(|(entry, before)| {
            let at = gained.iter().position(|(other, _)| other == entry);
            moved.extend(at.map(|at| (entry.clone(), *before, gained.remove(at).1)));
            at.is_none()
        });
        match changes.as_slice() {
            [] => prop_assert!(gained.is_empty() && lost.is_empty() && moved.is_empty()),
            [change] => {
                prop_assert_eq!(found(&change.gained), gained);
                prop_assert_eq!(found(&change.lost), lost);
                let end = |until: Option<UnixSeconds>| until.map(|until| until.0);
                let shown = change.moved.first.iter().map(|moved| (moved.entry.clone(), end(moved.before), end(moved.now)));
                prop_assert_eq!(shown.collect::<Vec<_>>(), moved);
                prop_assert_eq!(change.gained.count, change.gained.first.len());
            }
            more => prop_assert!(false, "{:?}", more),
        }
    }
}
