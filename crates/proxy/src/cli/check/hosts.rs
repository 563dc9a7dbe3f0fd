//! The host names of a configuration in the output of `check`.

use portcullis_config::{Config, Host};
use serde_json::{Value, json};

use crate::cli::resolve::Answers;

/// The number of host names in a group, as the end of a line; empty if it has none.
pub(in crate::cli) fn count(config: &Config, group: &str) -> String {
    match config.hosts().iter().filter(|host| host.group() == Some(group)).count() {
        0 => String::new(),
        count => format!(", {}", names(count)),
    }
}

/// The entries and host names that a listener allows; `None` if it allows no host name. Where the names were looked up,
/// the entries include their addresses.
pub(super) fn allowed(config: &Config, listener: usize, resolved: bool) -> Option<String> {
    let hosts = match config.allowed_hosts(listener).count() {
        0 => return None,
        count => names(count),
    };
    let entries = config.policy().allowed_entries(listener);
    Some(match (entries, resolved) {
        (_, true) => format!("{} with the addresses of {hosts}", super::entries(entries)),
        (0, false) => hosts,
        (_, false) => format!("{} and {hosts}", super::entries(entries)),
    })
}

fn names(count: usize) -> String {
    if count == 1 { "1 host name".to_owned() } else { format!("{count} host names") }
}

/// A line for each host name, below a heading.
pub(super) fn lines(config: &Config, answers: Option<&Answers>) -> Vec<String> {
    let line = |host: &Host| {
        let group = host.group().map_or_else(|| " (inline)".to_owned(), |group| format!(" of group {group}"));
        let found = match answers.map(|answers| answers.admitted(host)) {
            None => "not resolved: --resolve looks it up".to_owned(),
            Some(Ok(admitted)) => admitted.to_string(),
            Some(Err(error)) => format!("cannot be resolved: {error}"),
        };
        format!("  {}{group}, {}:{}: {found}", host.name(), host.file(), host.line())
    };
    let heading = (!config.hosts().is_empty()).then(|| "host names".to_owned());
    heading.into_iter().chain(config.hosts().iter().map(line)).collect()
}

/// The host names as JSON. `addresses` is null where they were not looked up, or do not resolve.
pub(super) fn json(config: &Config, answers: Option<&Answers>) -> Value {
    let one = |host: &Host| {
        let found = answers.map(|answers| answers.admitted(host));
        let admitted = found.as_ref().and_then(|found| found.as_ref().ok());
        let dropped = admitted.map(|admitted| {
            let texts = admitted.dropped.iter().map(|(ip, why)| format!("{ip} ({why})"));
            texts.collect::<Vec<_>>()
        });
        json!({
            "host": host.name().as_str(),
            "group": host.group(),
            "file": host.file(),
            "line": host.line(),
            "addresses": admitted.map(|admitted| &admitted.addresses),
            "dropped": dropped,
            "error": found.and_then(Result::err).map(|error| error.to_string()),
        })
    };
    config.hosts().iter().map(one).collect()
}
