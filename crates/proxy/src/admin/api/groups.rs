//! `/api/groups`: the groups, their entries, and what uses them.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use portcullis_acl::{Group, List, Rule, UnixSeconds};
use portcullis_config::{Config, Host};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::admin::AdminState;
use crate::admin::answers::{Params, Segment, answer, problem};
use crate::clock::wall_clock;
use crate::control::names::NameTable;
use crate::generation::explain::{json_rule, moment};
use crate::generation::store::Generation;
use crate::log::Timestamp;
use crate::run_on_thread::run_on_thread;

/// So many entries of a group are shown at a time, unless less is asked for; the next ones with `offset`.
const MAX_SHOWN: usize = 1000;

/// The most entries that are listed as those that expire next.
const MAX_EXPIRING: usize = 20;

/// The time before its end from which an entry is listed among those that expire soon: long enough to ask its owner.
const SOON_SECONDS: i64 = 14 * 24 * 60 * 60;

pub(in crate::admin) async fn groups(State(state): State<Arc<AdminState>>) -> Response {
    let made = run_on_thread("page", move || {
        let generation = state.process.store.current();
        let groups: Vec<Value> = generation
            .policy()
            .groups()
            .map(|group| group_facts(&state, &generation, &group).into())
            .collect();
        json!({
            "generation": generation.number(),
            "groups": groups,
            "expiring": expiring(&generation, wall_clock()),
        })
    });
    answer(made.await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Page {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

pub(in crate::admin) async fn group(
    State(state): State<Arc<AdminState>>,
    Segment(name): Segment,
    Params(page): Params<Page>,
) -> Response {
    let made = run_on_thread("page", move || {
        let generation = state.process.store.current();
        let group = generation.policy().group(&name)?;
        let shown = page.limit.unwrap_or(MAX_SHOWN).min(MAX_SHOWN);
        let entries: Vec<Value> =
            group.entries().skip(page.offset).take(shown).map(|rule: Rule<'_>| json_rule(&rule)).collect();
        let mut facts = group_facts(&state, &generation, &group);
        facts.insert("offset".to_owned(), page.offset.into());
        facts.insert("entries_shown".to_owned(), entries.into());
        Some(Value::from(facts))
    });
    match made.await {
        Some(None) => problem(StatusCode::NOT_FOUND, "group", "unknown group"),
        made => answer(made.flatten()),
    }
}

fn group_facts(state: &AdminState, generation: &Generation, group: &Group<'_>) -> Map<String, Value> {
    let mut facts = Map::new();
    facts.insert("name".to_owned(), group.name().into());
    facts.insert("entries".to_owned(), group.entry_count().into());
    facts.insert("next_expiry".to_owned(), group.next_expiry(wall_clock()).map(moment).into());
    facts.insert("includes".to_owned(), group.includes().collect::<Vec<_>>().into());
    let meta = group.meta();
    facts.insert("note".to_owned(), meta.and_then(|meta| meta.note.as_deref()).into());
    facts.insert("owner".to_owned(), meta.and_then(|meta| meta.owner.as_deref()).into());
    facts.insert("hits".to_owned(), hits(generation, group.name()).into());
    facts.insert("used_by".to_owned(), used_by(generation.config(), group.name()).into());
    let hosts = generation.config().hosts().iter().filter(|host| host.group() == Some(group.name()));
    let hosts: Vec<Value> = hosts.map(|host| host_facts(&state.names, host)).collect();
    if !hosts.is_empty() {
        facts.insert("hosts".to_owned(), hosts.into());
    }
    facts
}

/// Returns the number of connections that the group has decided.
fn hits(generation: &Generation, name: &str) -> u64 {
    let mut groups = generation.policy().groups().zip(&generation.series().groups);
    groups.find(|(group, _)| group.name() == name).map_or(0, |(_, series)| series.hits())
}

/// Returns the lists that name the group, also through another group: `public.allow`, `users.reporting.from`.
fn used_by(config: &Config, name: &str) -> Vec<String> {
    let lists = [
        (List::Allow, "allow"),
        (List::Deny, "deny"),
        (List::ShadowAllow, "shadow.allow"),
        (List::ShadowDeny, "shadow.deny"),
        (List::Senders, "proxy_protocol.from"),
    ];
    let policy = config.policy();
    let mut uses = Vec::new();
    for listener in config.listeners() {
        for (list, word) in lists {
            if policy.listed(listener.index(), list).contains(&name) {
                uses.push(format!("{}.{word}", listener.name()));
            }
        }
    }
    for user in config.users() {
        if user.from().is_some_and(|list| policy.listed_for_user(list).contains(&name)) {
            uses.push(format!("users.{}.from", user.name()));
        }
    }
    uses
}

/// Returns the entries that expire soon, the next one first.
fn expiring(generation: &Generation, now: UnixSeconds) -> Vec<Value> {
    let soon = UnixSeconds(now.0.saturating_add(SOON_SECONDS));
    let mut found: Vec<(UnixSeconds, Value)> = Vec::new();
    for group in generation.policy().groups() {
        // A group of a million entries is read only if one of them is wanted.
        if group.next_expiry(now).is_none_or(|next| next > soon) {
            continue;
        }
        let ends = |rule: &Rule<'_>| rule.until.filter(|until| *until > now && *until <= soon);
        found.extend(group.entries().filter_map(|rule| Some((ends(&rule)?, json_rule(&rule)))));
        found.sort_by_key(|(until, _)| *until);
        found.truncate(MAX_EXPIRING);
    }
    found.into_iter().map(|(_, rule)| rule).collect()
}

/// A host entry, its addresses and the age of its answer.
pub(super) fn host_facts(names: &NameTable, host: &Host) -> Value {
    let facts = names.facts(host, Instant::now());
    let texts = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>();
    let age = facts.answered.and_then(|at| at.elapsed().ok());
    json!({
        "host": host.name().as_str(),
        "group": host.group(),
        "state": facts.state.as_str(),
        "addresses": texts(&mut facts.admitted.addresses.iter().map(ToString::to_string)),
        "dropped": texts(&mut facts.admitted.dropped.iter().map(|(ip, why)| format!("{ip} ({why})"))),
        "answered": facts.answered.map(|at| Timestamp(at).to_string()),
        "age_seconds": age.map(|age| age.as_secs()),
        "failures": facts.failures,
        "error": facts.error.map(|error| error.to_string()),
        "refresh_seconds": host.refresh().as_secs(),
        "keep_seconds": host.keep().as_secs(),
        "private": host.admits_private(),
        "file": host.file(),
        "line": host.line(),
        "note": host.meta().note,
        "owner": host.meta().owner,
        "until": host.meta().until.map(moment),
    })
}
