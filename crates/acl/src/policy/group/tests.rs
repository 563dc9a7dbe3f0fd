use crate::policy::tests::{Lists, NOW};
use crate::{Cidr, Meta, Policy, Rule, UnixSeconds};

fn shown<'p>(rules: impl IntoIterator<Item = Rule<'p>>) -> Vec<String> {
    rules
        .into_iter()
        .map(|rule| format!("{} {}:{}", rule.entry(), rule.file.unwrap_or("-"), rule.line))
        .collect()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// Builds `all`, which includes `office`, which includes `vpn`. `all` also has its own file.
fn nested() -> Policy {
    let mut lists = Lists::new();
    let vpn = lists.group("vpn", &["10.8.0.0/16 until 30", "10.8.0.0/16 until 90", "10.8.0.0/16 until 60"]);
    let office =
        lists.group("office", &["203.0.113.0/24", "2001:db8::/32", "203.0.113.9 until -5", "10.0.0.0/8"]);
    let all = lists.group("all", &["198.51.100.1"]);
    let file = lists.builder.source("groups/all.txt").unwrap();
    for (line, text) in
        [(2, "2001:db8:1::/48"), (3, "198.51.100.0/24"), (3, "2001:db8:2::/48"), (7, "2001:db8:1::1")]
    {
        let entry = crate::Entry { cidr: cidr(text), line, meta: Meta::default() };
        lists.builder.entry(all, file, entry).unwrap();
    }
    lists.builder.include(all, office);
    lists.builder.include(all, crate::PolicyBuilder::UNIX);
    lists.builder.include(office, vpn);
    lists.listener(&[all], &[]);
    lists.build()
}

#[test]
fn entries_are_in_the_order_of_the_file() {
    let policy = nested();
    let all = policy.group("all").unwrap();
    assert_eq!(
        shown(all.entries()),
        [
            "198.51.100.1 portcullis.yaml:8",
            "2001:db8:1::/48 groups/all.txt:2",
            "198.51.100.0/24 groups/all.txt:3",
            "2001:db8:2::/48 groups/all.txt:3",
            "2001:db8:1::1 groups/all.txt:7",
        ]
    );
    assert_eq!(all.includes().collect::<Vec<_>>(), ["office", "unix"]);
    assert_eq!((all.own_count(), all.entry_count()), (5, 13));
    let office = policy.group("office").unwrap();
    assert_eq!(office.entries().map(|rule| rule.line).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert!(office.entries().all(|rule| rule.group == Some("office") && rule.group_index == Some(2)));
    assert_eq!(office.entries().nth(2).unwrap().until, Some(UnixSeconds(NOW.0 - 5)));
    let unix = policy.group("unix").unwrap();
    assert_eq!((shown(unix.entries()), unix.own_count()), (vec!["unix -:0".to_owned()], 1));
    assert!(policy.group("nobody").is_none());
}

#[test]
fn covering_finds_the_longest_through_includes() {
    let policy = nested();
    let covering = |group: &str, text: &str| {
        let rule = policy.group(group).unwrap().covering(cidr(text))?;
        Some((rule.group.unwrap().to_owned(), rule.entry().to_string(), rule.line))
    };
    let found = |group: &str, entry: &str, line| Some((group.to_owned(), entry.to_owned(), line));
    assert_eq!(covering("all", "198.51.100.1"), found("all", "198.51.100.1", 8));
    assert_eq!(covering("all", "198.51.100.2"), found("all", "198.51.100.0/24", 3));
    assert_eq!(covering("all", "203.0.113.9"), found("office", "203.0.113.9", 6));
    assert_eq!(covering("all", "203.0.113.8/31"), found("office", "203.0.113.0/24", 4));
    assert_eq!(covering("all", "2001:db8:1::/64"), found("all", "2001:db8:1::/48", 2));
    assert_eq!(covering("all", "2001:db8::/31"), None);
    assert_eq!(covering("all", "0.0.0.0/0"), None);
    // Among equal entries, the one with the latest expiry is found, or the first of several such entries.
    assert_eq!(covering("all", "10.8.1.0/24"), found("vpn", "10.8.0.0/16", 2));
    assert_eq!(covering("vpn", "10.9.0.0/16"), None);
    assert_eq!(covering("office", "10.9.0.0/16"), found("office", "10.0.0.0/8", 7));
    assert_eq!(covering("unix", "10.9.0.0/16"), None);
}

#[test]
fn covered_by_returns_the_entries_that_a_wider_one_makes_redundant() {
    let policy = nested();
    let redundant = |group: &str, text: &str| {
        let group = policy.group(group).unwrap();
        group.covered_by(cidr(text)).map(|rule| rule.entry().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(redundant("all", "198.51.100.0/23"), ["198.51.100.1", "198.51.100.0/24"]);
    assert_eq!(redundant("all", "198.51.100.1"), ["198.51.100.1"]);
    assert_eq!(redundant("all", "2001:db8::/32"), ["2001:db8:1::/48", "2001:db8:2::/48", "2001:db8:1::1"]);
    // Entries of other groups are not returned.
    assert_eq!(redundant("all", "203.0.113.0/24"), Vec::<String>::new());
    assert_eq!(redundant("office", "203.0.0.0/16"), ["203.0.113.0/24", "203.0.113.9"]);
    assert_eq!(redundant("office", "::/0"), ["2001:db8::/32"]);
}
