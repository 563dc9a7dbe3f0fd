//! Other entries that concern the same address as the entry that is edited.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use portcullis_acl::{Cidr, ClientAddr, Decision, Group, Rule, UnixSeconds};

use super::lasts;
use crate::{Config, Loaded};

/// An entry and its place. Displays as `10.0.0.0/8 of group office, portcullis.yaml:12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The network.
    pub entry: Cidr,
    /// `None`: an inline address in a listener.
    pub group: Option<String>,
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The note of the entry, or of its group.
    pub note: Option<String>,
    /// The owner of the entry, or of its group.
    pub owner: Option<String>,
    /// The end of the entry, or of its group.
    pub until: Option<UnixSeconds>,
}

impl Written {
    pub(super) fn plain(entry: Cidr, group: &str, file: &Path, line: u32) -> Self {
        let (group, file) = (Some(group.to_owned()), file.display().to_string());
        Self { entry, group, file, line, note: None, owner: None, until: None }
    }

    /// Returns `None` for the built-in `unix`, which covers no address.
    pub fn of(rule: &Rule<'_>) -> Option<Self> {
        Some(Self {
            entry: rule.cidr?,
            group: rule.group.map(str::to_owned),
            file: rule.file.unwrap_or_default().to_owned(),
            line: rule.line,
            note: rule.note.map(str::to_owned),
            owner: rule.owner.map(str::to_owned),
            until: rule.until,
        })
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, group, file, line, .. } = self;
        match group {
            Some(group) => write!(f, "{entry} of group {group}, {file}:{line}"),
            None => write!(f, "{entry} (inline), {file}:{line}"),
        }
    }
}

/// One group of a configuration.
pub(super) struct Survey<'c> {
    config: &'c Config,
    group: Option<Group<'c>>,
}

impl<'c> Survey<'c> {
    pub(super) fn new(loaded: &'c Loaded, group: &str) -> Self {
        let config = &loaded.config;
        Self { config, group: config.policy().group(group) }
    }

    /// Returns the group's own entry of exactly that network; of several the one that lasts longest.
    pub(super) fn own(&self, cidr: Cidr) -> Option<Written> {
        let own = self.group?.entries().filter(|rule| rule.cidr == Some(cidr));
        let longest = own.reduce(|best, next| if lasts(best.until, next.until) { best } else { next })?;
        Written::of(&longest)
    }

    /// Returns the entries of the group and its includes that cover all of `cidr` and have not expired, the widest
    /// last.
    pub(super) fn covering(&self, cidr: Cidr, now: UnixSeconds) -> Vec<Written> {
        let counts = |rule: &Rule<'_>| rule.until.is_none_or(|until| until > now);
        let covers = |rule: &Rule<'_>| rule.cidr.is_some_and(|entry| entry.covers(cidr));
        let members = self.members().into_iter().flat_map(|group| group.entries());
        let mut found: Vec<Written> = members
            .filter(|rule| covers(rule) && counts(rule))
            .filter_map(|rule| Written::of(&rule))
            .collect();
        found.sort_by_key(|written| std::cmp::Reverse(written.entry.net().prefix_len()));
        found
    }

    /// Returns the group's own entries that `cidr` covers.
    pub(super) fn covered(&self, cidr: Cidr) -> Vec<Written> {
        let covered = self.group.into_iter().flat_map(|group| group.covered_by(cidr));
        covered.filter_map(|rule| Written::of(&rule)).collect()
    }

    /// Returns the group and those it includes, each once.
    fn members(&self) -> Vec<Group<'c>> {
        let mut members: Vec<Group<'c>> = Vec::new();
        let mut open: Vec<Group<'c>> = self.group.into_iter().collect();
        while let Some(group) = open.pop() {
            if members.iter().all(|member| member.name() != group.name()) {
                open.extend(group.includes().filter_map(|name| self.config.policy().group(name)));
                members.push(group);
            }
        }
        members
    }
}

/// Listeners that admitted a single address by that entry, and still admit it without the entry.
pub(super) fn still_admitted(
    before: &Loaded,
    after: &Loaded,
    group: &str,
    cidr: Cidr,
    now: UnixSeconds,
) -> Vec<(String, Written)> {
    if !cidr.is_host() {
        return Vec::new();
    }
    let from = ClientAddr::from_socket(SocketAddr::new(cidr.net().addr(), 0));
    let admitted = |config: &Config, index| -> Option<Written> {
        match config.policy().judge(index, &from, now) {
            Decision::Allow(permit) => Written::of(&config.policy().rule(permit.rule())?),
            Decision::Deny(_) => None,
        }
    };
    let listeners = (0..).zip(before.config.listeners());
    let still = listeners.filter_map(|(index, listener)| {
        let by = admitted(&before.config, index)?;
        let rested = by.entry == cidr && by.group.as_deref() == Some(group);
        let now_by = admitted(&after.config, index).filter(|_| rested)?;
        Some((listener.name().to_owned(), now_by))
    });
    still.collect()
}
