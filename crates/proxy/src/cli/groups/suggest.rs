//! `groups suggest`: the sources that the shadow rules of a running proxy would refuse, as entries for a group.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::process::ExitCode;

use portcullis_acl::{Cidr, UnixSeconds, cidr::minimal};
use portcullis_config::edit::{NewEntry, parse_time};
use portcullis_config::message::known_names;
use portcullis_config::{Admin, Config, LoadOptions, load};
use serde_json::{Value, json};

use super::status::{ListenerStatus, StatusSource, fetch};
use super::{Common, fail, print, warn};
use crate::cli::check::report;
use crate::cli::{BAD_CONFIG, BAD_USAGE};
use crate::clock::wall_clock;

/// Older connections say little about the sources of today.
const SPAN: i64 = 24 * 3600;

/// Print the sources that the shadow rules would have refused in the last 24 hours, as YAML that can be pasted under a
/// group. The list has the fewest networks that cover exactly these sources.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct SuggestArgs {
    /// Only this listener [default: all]
    #[arg(long, short, value_name = "NAME")]
    listener: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &SuggestArgs) -> ExitCode {
    match suggest(args) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn suggest(args: &SuggestArgs) -> Result<String, ExitCode> {
    let loaded = args.common.load(&LoadOptions::new().without_secrets())?;
    let config = &loaded.config;
    if let Some(name) = &args.listener
        && config.listeners().iter().all(|listener| listener.name() != name)
    {
        let known: Vec<&str> = config.listeners().iter().map(|listener| listener.name()).collect();
        fail(
            &format!("unknown listener '{}'", name.escape_debug()),
            Some(&known_names(name, &known, "listeners")),
        );
        return Err(ExitCode::from(BAD_USAGE));
    }
    let admin = admin(config)?;
    let status = fetch(&admin).map_err(|error| {
        fail(&error.to_string(), Some(error.hint()));
        ExitCode::FAILURE
    })?;
    let asked = |listener: &&ListenerStatus| args.listener.as_ref().is_none_or(|name| *name == listener.name);
    let listeners: Vec<&ListenerStatus> = status.listeners.iter().filter(asked).collect();
    if listeners.iter().all(|listener| listener.shadow.is_none()) {
        fail("the running proxy has no shadow rules there", Some("add shadow: {allow: [...]} to a listener"));
        return Err(ExitCode::FAILURE);
    }
    let suggestion = Suggestion::of(&listeners, wall_clock());
    for line in suggestion.remarks() {
        warn(format_args!("{line}"));
    }
    Ok(if args.common.json { format!("{:#}\n", suggestion.json()) } else { suggestion.yaml() })
}

/// The admin endpoint of the proxy and its token.
fn admin(config: &Config) -> Result<Admin, ExitCode> {
    let Some(admin) = config.admin() else {
        fail("the admin endpoint is off", Some("add admin: {bind: 127.0.0.1:9377} and restart the proxy"));
        return Err(ExitCode::FAILURE);
    };
    if admin.token().is_none() {
        return Ok(admin.clone());
    }
    // Only now are secrets needed.
    match load(config.path(), &LoadOptions::new()).map(|loaded| loaded.config.admin().cloned()) {
        Ok(admin) => admin.ok_or(ExitCode::FAILURE),
        Err(problems) => {
            let _ = report(&mut io::stderr().lock(), &problems);
            Err(ExitCode::from(BAD_CONFIG))
        }
    }
}

/// The sources that were seen, and the networks that cover them.
pub(super) struct Suggestion {
    listeners: Vec<String>,
    /// Connections of each address.
    seen: BTreeMap<IpAddr, u64>,
    entries: Vec<Cidr>,
    remarks: Vec<String>,
}

impl Suggestion {
    pub(super) fn of(listeners: &[&ListenerStatus], now: UnixSeconds) -> Self {
        let mut seen: BTreeMap<IpAddr, u64> = BTreeMap::new();
        let mut remarks = Vec::new();
        for listener in listeners {
            let Some(shadow) = &listener.shadow else { continue };
            if shadow.sources_truncated {
                remarks.push(format!(
                    "listener '{}' had more sources than the proxy keeps: this list is incomplete",
                    listener.name
                ));
            }
            for source in shadow.sources.iter().filter(|source| is_recent(source, now)) {
                match source.source.parse::<IpAddr>() {
                    Ok(ip) => {
                        let count = seen.entry(ip.to_canonical()).or_default();
                        *count = count.saturating_add(source.count);
                    }
                    Err(_) => {
                        let source = source.source.escape_debug();
                        remarks.push(format!(
                            "skipped {source} on listener '{}': it has no address",
                            listener.name
                        ));
                    }
                }
            }
        }
        let entries = minimal(seen.keys().copied());
        let shadowed = listeners.iter().filter(|listener| listener.shadow.is_some());
        let listeners = shadowed.map(|listener| listener.name.clone()).collect();
        Self { listeners, seen, entries, remarks }
    }

    /// The sources that are not in the list, and the reasons.
    pub(super) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    pub(super) fn yaml(&self) -> String {
        let sources = match self.seen.len() {
            1 => "1 source".to_owned(),
            count => format!("{count} sources"),
        };
        let listeners = self.listeners.join(", ");
        let mut text = format!("# {sources} in 24 hours that the shadow rules of {listeners} would refuse\n");
        for entry in &self.entries {
            text += &format!(
                "    - {}  # connections: {}\n",
                NewEntry::new(*entry).as_yaml(),
                self.count(*entry)
            );
        }
        text
    }

    fn json(&self) -> Value {
        let entries: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| json!({"entry": entry.to_string(), "connections": self.count(*entry)}))
            .collect();
        json!({
            "listeners": self.listeners,
            "sources": self.seen.len(),
            "entries": entries,
            "remarks": self.remarks,
        })
    }

    fn count(&self, entry: Cidr) -> u64 {
        let inside = self.seen.range(entry.net().network()..=entry.net().broadcast());
        inside.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// A time that cannot be parsed counts as recent: it is better to show a source too many.
fn is_recent(source: &StatusSource, now: UnixSeconds) -> bool {
    parse_time(&source.last_seen).is_none_or(|seen| seen.0 > now.0 - SPAN)
}
