//! The result of a reload, for the log, the audit trail and the caller.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_acl::UnixSeconds;
use portcullis_acl::policy::{ChangeKind, ChangedEntries, GroupChange, MovedEnd, Whose};
use portcullis_config::message::message;
use portcullis_config::{Admin, AdminBind, Config, Problem, Upstream, User};
use serde::Serialize;

use crate::metrics::ReloadResult;

/// The trigger of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trigger {
    /// A file changed.
    Watch,
    /// SIGHUP.
    Signal,
    /// The admin endpoint.
    Api,
    /// Host names of groups have other addresses.
    Names,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "watch",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Names => "names",
        })
    }
}

/// The result. As JSON it is the response of `POST /api/reload` and, with a time, the audit line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    event: &'static str,
    trigger: Trigger,
    #[serde(serialize_with = "as_str")]
    result: ReloadResult,
    /// The number of the config in force, from 1.
    generation: u64,
    /// Groups that gained or lost entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupReport>,
    /// Listeners and upstreams that came, went or are others now, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<String>,
    /// Changes that need a restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_applied: Vec<String>,
    /// Live connections that the new config does not admit.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<u64>,
    /// The reason why it was rejected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Changes of a group, or of the inline addresses in a listener's list. The entries are the first of each kind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GroupReport {
    /// The group's name, `public.allow` for the list of a listener, or `users.reporting.from` for that of a user.
    group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fate: Option<&'static str>,
    gained: usize,
    lost: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gained_entries: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost_entries: Vec<String>,
    /// The number of entries with another `until`.
    #[serde(skip_serializing_if = "is_zero")]
    changed: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed_entries: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// An entry with another end as text: `203.0.113.9 until 2026-12-31T18:00:00Z (was never)`.
fn moved_end(moved: &MovedEnd) -> String {
    let shown = |end: Option<UnixSeconds>| {
        end.map_or_else(|| "never".to_owned(), |end| message!("{}", end).into_string())
    };
    format!("{} until {} (was {})", moved.entry, shown(moved.now), shown(moved.before))
}

impl GroupReport {
    /// Changes as text and as JSON.
    pub(crate) fn of(change: GroupChange) -> Self {
        let entries = |entries: ChangedEntries| entries.first.into_iter().map(|entry| entry.entry).collect();
        let group = match change.whose {
            Whose::Group(name) => name,
            Whose::Allow(listener) => format!("{listener}.allow"),
            Whose::Deny(listener) => format!("{listener}.deny"),
            Whose::Senders(listener) => format!("{listener}.proxy_protocol.from"),
            Whose::ShadowAllow(listener) => format!("{listener}.shadow.allow"),
            Whose::ShadowDeny(listener) => format!("{listener}.shadow.deny"),
            Whose::Origins(user) => format!("users.{user}.from"),
        };
        let fate = match change.fate {
            ChangeKind::Added => Some("added"),
            ChangeKind::Removed => Some("removed"),
            ChangeKind::Changed => None,
        };
        let (gained, lost) = (change.gained.count, change.lost.count);
        Self {
            group,
            fate,
            gained,
            lost,
            gained_entries: entries(change.gained),
            lost_entries: entries(change.lost),
            changed: change.moved.count,
            changed_entries: change.moved.first.iter().map(moved_end).collect(),
        }
    }

    fn log(&self) {
        let (plus, minus) =
            (named(&self.gained_entries, self.gained, " "), named(&self.lost_entries, self.lost, " "));
        let changed = Some(self.changed).filter(|count| *count > 0);
        let ends = named(&self.changed_entries, self.changed, ", ");
        let what = self.fate.unwrap_or("changed");
        tracing::info!(
            group = %self.group,
            gained = self.gained,
            lost = self.lost,
            plus = plus.map(tracing::field::display),
            minus = minus.map(tracing::field::display),
            changed,
            ends = ends.map(tracing::field::display),
            "reload: group {what}"
        );
    }
}

/// Some entries and how many more there are.
fn named(first: &[String], count: usize, between: &str) -> Option<String> {
    let more = count.saturating_sub(first.len());
    match (first, more) {
        ([], _) => None,
        (first, 0) => Some(first.join(between)),
        (first, more) => Some(format!("{} and {more} more", first.join(between))),
    }
}

impl Report {
    fn new(trigger: Trigger, result: ReloadResult, generation: u64) -> Self {
        Self {
            event: "reload",
            trigger,
            result,
            generation,
            groups: Vec::new(),
            changes: Vec::new(),
            not_applied: Vec::new(),
            cut: None,
            problems: Vec::new(),
            error: None,
        }
    }

    /// The files say what they said before.
    pub(crate) fn unchanged(trigger: Trigger, generation: u64) -> Self {
        Self::new(trigger, ReloadResult::Unchanged, generation)
    }

    /// The files have errors.
    pub(crate) fn invalid(trigger: Trigger, generation: u64, problems: Vec<Problem>) -> Self {
        Self { problems, ..Self::new(trigger, ReloadResult::Rejected, generation) }
    }

    /// They are good, but the system does not go along.
    pub(crate) fn failed(trigger: Trigger, generation: u64, error: &impl std::error::Error) -> Self {
        Self { error: Some(error.to_string()), ..Self::new(trigger, ReloadResult::Rejected, generation) }
    }

    /// Another config is in force.
    pub(crate) fn applied(
        trigger: Trigger,
        generation: u64,
        groups: Vec<GroupReport>,
        changes: Changes,
        cut: u64,
    ) -> Self {
        let Changes { applied, not_applied } = changes;
        let report = Self::new(trigger, ReloadResult::Applied, generation);
        Self { groups, changes: applied, not_applied, cut: Some(cut), ..report }
    }

    /// The outcome.
    pub(crate) fn result(&self) -> ReloadResult {
        self.result
    }

    /// Says it in the log.
    pub(crate) fn log(&self) {
        let (generation, trigger) = (self.generation, self.trigger);
        match self.result {
            ReloadResult::Unchanged => {
                tracing::info!(%trigger, "reload: the files have the content that is in force; there is nothing to apply");
            }
            ReloadResult::Rejected => {
                self.problems.iter().for_each(Problem::log);
                let error = self.error.as_deref().map(tracing::field::display);
                tracing::error!(%trigger, error, generation, "reload rejected: the current configuration stays in force");
            }
            ReloadResult::Applied => {
                self.groups.iter().for_each(GroupReport::log);
                for change in &self.changes {
                    tracing::info!("reload: {change}");
                }
                for kept in &self.not_applied {
                    tracing::warn!("reload: applied only after a restart: {kept}");
                }
                tracing::info!(%trigger, generation, cut = self.cut, "reload applied");
            }
        }
    }
}

/// Changes between two configurations besides groups, as text.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// In force now.
    pub applied: Vec<String>,
    /// Changes that need a restart.
    pub not_applied: Vec<String>,
}

impl Changes {
    /// Lists the settings that are new in `new`, and those that need a restart because the process, with so many
    /// workers and that admin address, cannot apply them.
    pub(crate) fn between(old: &Config, new: &Config, workers: usize, admin: Option<&AdminBind>) -> Self {
        let mut changes = Self::default();
        changes.listeners(old, new);
        changes.upstreams(old, new);
        changes.users(old, new);
        if old.limits() != new.limits() {
            changes.applied.push("limits changed".to_owned());
        }
        if old.audit() != new.audit() {
            changes.applied.push("audit changed".to_owned());
        }
        if old.log() != new.log() {
            changes.applied.push("log changed".to_owned());
        }
        if new.workers() != workers {
            changes.not_applied.push(format!("workers: {} (running with {workers})", new.workers()));
        }
        if new.takeover() != old.takeover() {
            changes.not_applied.push("takeover: the socket stays where it is".to_owned());
        }
        let wanted = new.admin().map(Admin::bind);
        if wanted != admin {
            let named = |bind: Option<&AdminBind>| bind.map_or_else(|| "off".to_owned(), ToString::to_string);
            changes.not_applied.push(format!("admin: {} (running with {})", named(wanted), named(admin)));
        }
        changes
    }

    fn listeners(&mut self, old: &Config, new: &Config) {
        for listener in old.listeners() {
            if new.listener(listener.name()).is_none() {
                self.applied.push(format!("listener '{}' removed", listener.name()));
            }
        }
        for listener in new.listeners() {
            let Some(before) = old.listener(listener.name()) else {
                self.applied.push(format!("listener '{}' added", listener.name()));
                continue;
            };
            if !before.is_like(listener) {
                self.applied.push(format!("listener '{}' changed", listener.name()));
            }
            if before.auth() != listener.auth() {
                self.applied.push(format!(
                    "listener '{}': auth changed, its clients are disconnected",
                    listener.name()
                ));
            }
        }
    }

    fn upstreams(&mut self, old: &Config, new: &Config) {
        for upstream in old.upstreams() {
            match new.upstreams().iter().find(|other| other.name() == upstream.name()) {
                None => self.applied.push(format!("upstream '{}' removed", upstream.name())),
                Some(other) if has_left_cluster(upstream, other) => self.applied.push(format!(
                    "upstream '{}' is another cluster or none: its clients are disconnected",
                    upstream.name()
                )),
                Some(other) if other != upstream => self.applied.push(format!(
                    "upstream '{}' changed: new connections use the new settings, open connections keep the old ones",
                    upstream.name()
                )),
                Some(_) => {}
            }
        }
        for upstream in new.upstreams() {
            if old.upstreams().iter().all(|other| other.name() != upstream.name()) {
                self.applied.push(format!("upstream '{}' added", upstream.name()));
            }
        }
    }

    /// Allowed sources are reported with the groups.
    fn users(&mut self, old: &Config, new: &Config) {
        for user in old.users() {
            if new.users().iter().all(|other| other.name() != user.name()) {
                self.applied.push(format!("user '{}' removed", user.name()));
            }
        }
        for user in new.users() {
            let Some(before) = old.users().iter().find(|other| other.name() == user.name()) else {
                self.applied.push(format!("user '{}' added", user.name()));
                continue;
            };
            let logins = |config: &Config, user: &User| -> BTreeMap<_, _> {
                let logins = config.upstreams().iter().map(|upstream| {
                    (upstream.name().to_owned(), user.upstream_credentials(upstream.name()).cloned())
                });
                logins.filter(|(_, credentials)| credentials.is_some()).collect()
            };
            let differs = [
                ("password", before.secrets() != user.secrets()),
                ("acl", before.acl() != user.acl()),
                ("upstream_credentials", logins(old, before) != logins(new, user)),
            ];
            let keys: Vec<&str> =
                differs.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect();
            if !keys.is_empty() {
                self.applied.push(format!("user '{}': {} changed", user.name(), keys.join(", ")));
            }
        }
    }
}

fn as_str<S: serde::Serializer>(result: &ReloadResult, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(result.as_str())
}
/// Returns whether the upstream was a cluster, and is another one or none now.
fn has_left_cluster(old: &Upstream, new: &Upstream) -> bool {
    old.cluster().is_some_and(|cluster| new.cluster().is_none_or(|other| !cluster.is_same(other)))
}
