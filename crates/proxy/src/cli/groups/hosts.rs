//! The host names of a group: what the file says, and what the running proxy knows.

use portcullis_config::{Admin, Config, Host, LoadOptions, load};
use serde_json::{Value, json};

use super::status::{HostStatus, fetch};
use crate::generation::explain::moment;

/// The host entries of one group.
pub(super) struct Hosts<'c> {
    hosts: Vec<&'c Host>,
    /// The answer of the running proxy, or the reason why there is none.
    running: Result<Vec<HostStatus>, String>,
}

impl<'c> Hosts<'c> {
    /// Asks the running proxy, if the group has host names.
    pub(super) fn of(config: &'c Config, group: &str) -> Self {
        let hosts: Vec<&Host> = config.hosts().iter().filter(|host| host.group() == Some(group)).collect();
        let running = if hosts.is_empty() { Ok(Vec::new()) } else { ask(config, group) };
        Self { hosts, running }
    }

    /// A line for each host name, and one below it with its addresses.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            let meta = host.meta();
            let until = meta.until.map(moment);
            let said = [
                ("until", until.as_deref()),
                ("owner", meta.owner.as_deref()),
                ("note", meta.note.as_deref()),
            ];
            let said = said.into_iter().filter_map(|(key, value)| Some((key, value?)));
            let said: String =
                said.map(|(key, value)| format!(", {key}: {}", value.escape_debug())).collect();
            let (refresh, keep) = (host.refresh(), host.keep());
            let private = if host.admits_private() { ", private addresses admitted" } else { "" };
            text += &format!(
                "  {}, refresh {refresh:?}, keep {keep:?}{private}{said}, {}:{}\n",
                host.name(),
                host.file(),
                host.line()
            );
            text += &format!("    {}\n", self.running_text(host));
        }
        text
    }

    fn running_text(&self, host: &Host) -> String {
        let running = match &self.running {
            Ok(running) => running.iter().find(|status| status.host == host.name().as_str()),
            Err(why) => return format!("addresses not known: {why}"),
        };
        let Some(status) = running else {
            return "addresses not known: the running proxy does not have this name".to_owned();
        };
        let addresses = match status.addresses.as_slice() {
            [] => "no address".to_owned(),
            some => some.join(", "),
        };
        let age = status.age_seconds.map(|age| format!(", answered {age} s ago")).unwrap_or_default();
        let failed = match (status.failures, &status.error) {
            (0, _) => String::new(),
            (1, error) => format!(", 1 failed lookup since: {}", shown(error)),
            (count, error) => format!(", {count} failed lookups since: {}", shown(error)),
        };
        format!("{addresses} ({}{age}{failed})", status.state.escape_debug())
    }

    /// The host names as JSON; `running` is null where it is not known.
    pub(super) fn json(&self) -> Value {
        let one = |host: &&Host| {
            let running = self.running.as_ref().ok();
            let running =
                running.and_then(|all| all.iter().find(|status| status.host == host.name().as_str()));
            let running = running.map(|status| {
                json!({
                    "state": status.state,
                    "addresses": status.addresses,
                    "age_seconds": status.age_seconds,
                    "failures": status.failures,
                    "error": status.error,
                })
            });
            json!({
                "host": host.name().as_str(),
                "refresh_seconds": host.refresh().as_secs(),
                "keep_seconds": host.keep().as_secs(),
                "private": host.admits_private(),
                "note": host.meta().note,
                "owner": host.meta().owner,
                "until": host.meta().until.map(moment),
                "file": host.file(),
                "line": host.line(),
                "running": running,
            })
        };
        self.hosts.iter().map(one).collect()
    }
}

fn shown(error: &Option<String>) -> String {
    error.as_deref().unwrap_or("unknown").escape_debug().to_string()
}

fn ask(config: &Config, group: &str) -> Result<Vec<HostStatus>, String> {
    let admin = admin(config)?;
    let status = fetch(&admin).map_err(|error| error.to_string())?;
    Ok(status.hosts.into_iter().filter(|host| host.group.as_deref() == Some(group)).collect())
}

/// The admin endpoint with its token, which only this needs.
fn admin(config: &Config) -> Result<Admin, String> {
    let admin = config.admin().ok_or("the admin endpoint is off")?;
    if admin.token().is_none() {
        return Ok(admin.clone());
    }
    let loaded = load(config.path(), &LoadOptions::new()).ok();
    loaded
        .and_then(|loaded| loaded.config.admin().cloned())
        .ok_or_else(|| "the admin token cannot be read".to_owned())
}
