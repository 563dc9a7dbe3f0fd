//! `portcullis status`: the state of the running proxy, once.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::admin_client::AdminArgs;
use super::print;
use super::shown::{cell, items, moment, span, total, upstream_state};
use super::table::aligned;

/// The refused sources that the text shows. `--json` has all.
const MOST_SOURCES: usize = 10;

/// Options of `status`.
#[derive(clap::Args, Clone, Debug)]
pub struct StatusArgs {
    /// Print the answer of /api/status, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Prints the state. Exit 0; 1 if the proxy does not answer; 64 for a wrong URL; 78 for a bad configuration.
pub fn run(args: &StatusArgs) -> ExitCode {
    let endpoint = match args.admin.endpoint() {
        Ok(endpoint) => endpoint,
        Err(code) => return code,
    };
    match endpoint.get("/api/status") {
        Ok(status) if args.json => print(format!("{status:#}\n").as_bytes()),
        Ok(status) => print(text(&status).as_bytes()),
        Err(error) => {
            error.report();
            ExitCode::FAILURE
        }
    }
}

fn text(status: &Value) -> String {
    let mut text = format!(
        "portcullis {}, up {}, generation {}{}\nclients: {} of {}\nconfiguration: {}\n",
        cell(status, "version"),
        span(&status["uptime_seconds"]),
        cell(status, "generation"),
        if status["draining"] == true { ", draining" } else { "" },
        cell(status, "clients"),
        cell(status, "limit_clients"),
        cell(status, "config"),
    );
    if let Some(reload) = items(status, "reloads").first() {
        let _ = writeln!(text, "last reload: {} at {}", cell(reload, "result"), moment(&reload["time"]));
    }
    let tables = [
        listeners(status),
        upstreams(status),
        nodes(status),
        refused_sources(status),
        refused_commands(status),
    ];
    for table in tables.into_iter().filter(|table| !table.is_empty()) {
        text.push('\n');
        text.push_str(&table);
    }
    text
}

fn listeners(status: &Value) -> String {
    let head =
        ["LISTENER", "BIND", "UPSTREAM", "AUTH", "CLIENTS", "ACCEPTED", "REFUSED", "COMMANDS", "DENIED"];
    let row = |facts: &Value| {
        [
            cell(facts, "name"),
            cell(facts, "binds"),
            cell(facts, "upstream"),
            cell(facts, "auth"),
            format!("{}/{}", cell(facts, "clients"), cell(facts, "limit_clients")),
            cell(facts, "accepted_total"),
            cell(facts, "refused_total"),
            cell(facts, "commands_total"),
            cell(facts, "denied_total"),
        ]
    };
    table(head, items(status, "listeners"), row)
}

fn upstreams(status: &Value) -> String {
    let head = ["UPSTREAM", "STATE", "SINCE", "CONNECTIONS", "ERRORS", "FAILOVERS"];
    let row = |facts: &Value| {
        [
            cell(facts, "name"),
            upstream_state(facts),
            moment(&facts["since"]),
            connections(facts),
            total(facts, "errors").to_string(),
            cell(facts, "failovers"),
        ]
    };
    table(head, items(status, "upstreams"), row)
}

/// Returns the nodes of all clusters. Their addresses are for operators.
fn nodes(status: &Value) -> String {
    let head = ["NODE", "UPSTREAM", "ROLE", "HEALTH", "SLOTS"];
    let row = |(upstream, facts): &(String, &Value)| {
        let [address, role, health, slots] =
            ["address", "role", "health", "slots"].map(|key| cell(facts, key));
        [address, upstream.clone(), role, health, slots]
    };
    let all = items(status, "upstreams").iter();
    let nodes: Vec<_> = all
        .flat_map(|upstream| items(upstream, "nodes").iter().map(|node| (cell(upstream, "name"), node)))
        .collect();
    table(head, &nodes, row)
}

/// Returns the connections of an upstream by state, without those that it has none of.
pub(super) fn connections(facts: &Value) -> String {
    let open = facts["connections"].as_object().into_iter().flatten();
    let open = open.filter(|(_, n)| n.as_u64().is_some_and(|n| n > 0));
    let open: Vec<String> = open.map(|(state, n)| format!("{n} {state}")).collect();
    if open.is_empty() { "0".to_owned() } else { open.join(", ") }
}

fn refused_sources(status: &Value) -> String {
    let sources = items(status, "refused_sources");
    let shown = sources.get(..MOST_SOURCES).unwrap_or(sources);
    let head = ["REFUSED SOURCE", "LISTENER", "REASON", "COUNT", "LAST"];
    table(head, shown, refused_source)
}

/// Returns the row of a refused source.
pub(super) fn refused_source(facts: &Value) -> [String; 5] {
    let last = moment(&facts["last_seen"]);
    [cell(facts, "source"), cell(facts, "listener"), cell(facts, "reason"), cell(facts, "count"), last]
}

fn refused_commands(status: &Value) -> String {
    let head = ["REFUSED COMMAND", "LISTENER", "REASON", "COUNT"];
    let row = |facts: &Value| ["command", "listener", "reason", "count"].map(|key| cell(facts, key));
    table(head, items(status, "refused_commands"), row)
}

/// Returns a table with this head; nothing if there is no row.
pub(super) fn table<const N: usize, F>(
    head: [&str; N],
    facts: &[F],
    row: impl Fn(&F) -> [String; N],
) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(facts.iter().map(row)).collect();
    aligned(&rows)
}
