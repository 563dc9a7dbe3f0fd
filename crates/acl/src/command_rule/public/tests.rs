use portcullis_resp::command::Categories;

use super::*;
use crate::command_rule::{ByName, CommandRules};

const DOCS: &str = include_str!("../../../../../docs/security-model.md");

/// Every refused command and subcommand.
const SNAPSHOT: &str = include_str!("refused.txt");

/// The commands that Redis calls dangerous and that `@public` allows, with the reason.
const KEPT: &[(CommandId, &str)] = &[
    (id::INFO, "clients and monitoring ask for it"),
    (id::ROLE, "clients ask for it after a failover"),
    (id::LASTSAVE, "a time"),
    (id::SORT, "reads the keys of its list"),
    (id::SORT_RO, "reads the keys of its list"),
    (id::CLIENT_LIST, "shows the proxy's addresses in place of the clients'"),
    (id::CLUSTER_COUNT_FAILURE_REPORTS, "a number"),
    (id::CLUSTER_GETSLOTMIGRATIONS, "the state of the cluster"),
    (id::CLUSTER_LINKS, "the state of the cluster"),
    (id::CLUSTER_REPLICAS, "the state of the cluster"),
    (id::CLUSTER_SLAVES, "the state of the cluster"),
    (id::CLUSTER_SLOT_STATS, "the state of the cluster"),
];

fn is_refused(rules: &CommandRules, command: CommandId) -> bool {
    rules.selectors().iter().all(|selector| selector.grant(command) == crate::command_rule::Grant::No)
}

fn known() -> impl Iterator<Item = CommandId> {
    CommandId::all().filter(|id| *id != CommandId::UNKNOWN)
}

#[test]
fn the_preset_refuses_the_same_commands_as_before() {
    let rules = CommandRules::parse("@public").unwrap();
    let refused: Vec<_> = known().filter(|id| is_refused(&rules, *id)).map(CommandId::name).collect();
    let snapshot: Vec<_> = SNAPSHOT.lines().collect();
    assert_eq!(refused, snapshot, "the commands that @public refuses have changed: {}", refused.join("\n"));
    assert_eq!(rules.by_name(id::GET), ByName::Allowed);
    assert_eq!(rules.by_name(id::INFO), ByName::Allowed);
    assert_eq!(rules.by_name(id::ROLE), ByName::Allowed);
    assert_eq!(rules.by_name(CommandId::UNKNOWN), ByName::Refused);
}

#[test]
fn dangerous_commands_are_refused_or_kept_for_a_reason() {
    let dangerous = Categories::of(&[Categories::DANGEROUS, Categories::ADMIN]);
    // In a Sentinel, all commands are in the category `@dangerous`.
    let of_servers = known().filter(|id| id.top() != id::SENTINEL);
    for command in of_servers.filter(|id| id.info().categories.intersects(dangerous)) {
        let is_kept = KEPT.iter().any(|(id, _)| *id == command);
        assert!(refuses(command) != is_kept, "{}", command.name());
    }
}

#[test]
fn no_command_is_listed_twice() {
    let mut named: Vec<_> = REFUSED.iter().flat_map(|(ids, _)| *ids).collect();
    let all = named.len();
    named.sort();
    named.dedup();
    assert_eq!(named.len(), all);
}

#[test]
fn the_manual_lists_every_refused_command() {
    let mut table = String::from("| refused | why |\n|---|---|\n");
    for (ids, why) in REFUSED {
        let names: Vec<_> =
            ids.iter().map(|id| format!("`{}`", id.name().replace('|', " ").to_ascii_uppercase())).collect();
        table.push_str(&format!("| {} | {why} |\n", names.join(", ")));
    }
    assert!(DOCS.contains(&table), "docs/security-model.md must have this table:\n{table}");
}
