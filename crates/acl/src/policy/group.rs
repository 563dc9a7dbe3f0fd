//! A view of a named group, for code that shows or edits groups.

use super::compile::members;
use super::{Policy, PolicyBuilder};
use crate::cidr::Cidr;
use crate::decision::Rule;
use crate::group::{GroupData, GroupId, Meta, index, longest_last};
use crate::origin::UnixSeconds;

/// A named group of a compiled policy.
#[derive(Clone, Copy, Debug)]
pub struct Group<'p> {
    policy: &'p Policy,
    id: GroupId,
    name: &'p str,
}

impl<'p> Group<'p> {
    pub(super) fn new(policy: &'p Policy, id: GroupId, name: &'p str) -> Self {
        Self { policy, id, name }
    }

    /// Returns the name of the group.
    pub fn name(&self) -> &'p str {
        self.name
    }

    /// Returns the operator's information about the group as a whole.
    pub fn meta(&self) -> Option<&'p Meta> {
        self.data().map(|data| &data.meta)
    }

    /// Returns the number of entries of the group and of the groups that it includes. Expired entries count too.
    pub fn entry_count(&self) -> usize {
        self.data().map_or(0, |data| data.total)
    }

    /// Returns the number of the group's own entries. Expired entries count too. `unix` has one.
    pub fn own_count(&self) -> usize {
        let written: usize = self.policy.entries.spans(self.id).map(|span| span.len()).sum();
        written + usize::from(self.id == PolicyBuilder::UNIX)
    }

    /// Returns the group's own entries in the order of its file, including expired ones. For `unix`, returns the
    /// built-in entry.
    pub fn entries(&self) -> impl Iterator<Item = Rule<'p>> + use<'p> {
        let (policy, id) = (self.policy, self.id);
        let unix = (id == PolicyBuilder::UNIX).then(|| policy.unix_rule());
        let written = policy.entries.in_order(id, |_| true).into_iter();
        unix.into_iter().chain(written.filter_map(|which| policy.rule_of(which)))
    }

    /// Returns the names of the groups that this group includes directly, in the order of its file.
    pub fn includes(&self) -> impl Iterator<Item = &'p str> + use<'p> {
        let groups = &self.policy.groups;
        let included = self.data().into_iter().flat_map(|data| &data.includes);
        included.filter_map(|id| groups.get(index(*id))?.name.as_deref())
    }

    /// Returns the longest entry that covers all of `cidr`, among the entries of the group and of included groups.
    /// Expired entries count too. Among equal entries, returns the one with the latest expiry. Reads every entry.
    pub fn covering(&self, cidr: Cidr) -> Option<Rule<'p>> {
        let policy = self.policy;
        let members = members(&policy.groups, &[self.id]);
        let covering = members.iter().flat_map(|member| policy.entries.all(*member)).filter_map(|which| {
            let entry = policy.entries.cidr(which)?;
            entry.covers(cidr).then_some((entry.net().prefix_len(), which))
        });
        let until = |which| policy.entries.until(which, &policy.groups);
        // The first of several equal entries must be returned, but `max_by` would return the last.
        let best = covering.reduce(|best, next| {
            let longer = next.0.cmp(&best.0).then_with(|| longest_last(until(next.1), until(best.1)));
            if longer.is_gt() { next } else { best }
        });
        policy.rule_of(best?.1)
    }

    /// Returns the group's own entries that `cidr` covers, including an equal one. If `cidr` becomes an entry without
    /// an expiry, they are redundant.
    pub fn covered_by(&self, cidr: Cidr) -> impl Iterator<Item = Rule<'p>> + use<'p> {
        let policy = self.policy;
        let covered = |which| policy.entries.cidr(which).is_some_and(|entry| cidr.covers(entry));
        let list = policy.entries.in_order(self.id, covered);
        list.into_iter().filter_map(|which| policy.rule_of(which))
    }

    /// Returns the next second after `now` at which an entry of the group or of an included group expires. `None` if
    /// no entry expires later.
    pub fn next_expiry(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        let groups = &self.policy.groups;
        let members = members(groups, &[self.id]);
        let next = members.iter().filter_map(|member| {
            let untils = &groups.get(index(*member))?.untils;
            untils.get(untils.partition_point(|until| *until <= now))
        });
        next.min().copied()
    }

    fn data(&self) -> Option<&'p GroupData> {
        self.policy.groups.get(index(self.id))
    }
}

#[cfg(test)]
mod tests;
