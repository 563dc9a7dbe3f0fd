//! Compiles groups that include each other into one table for each combination of groups in use.

use std::collections::HashMap;
use std::ops::Range;

use super::{Access, Listener, Lists, PolicyBuilder, Set};
use crate::decision::Which;
use crate::group::{Entries, GroupData, GroupId, index, longest_last};
use crate::lookup::{Column, Key, Order, Table};

/// Builds the sets. Each combination of groups is built once.
pub(super) struct Compiler<'b> {
    entries: &'b Entries,
    groups: &'b [GroupData],
    known: HashMap<Vec<GroupId>, usize>,
    sets: Vec<Set>,
}

impl<'b> Compiler<'b> {
    pub(super) fn new(entries: &'b Entries, groups: &'b [GroupData]) -> Self {
        Self { entries, groups, known: HashMap::new(), sets: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<Set> {
        self.sets
    }

    pub(super) fn listener(&mut self, access: &Access) -> Listener {
        let lists = Lists { allow: self.set(&access.allow), deny: self.set(&access.deny) };
        let shadow = access.shadow.as_ref().map(|shadow| Lists {
            allow: shadow.allow.as_ref().map_or(lists.allow, |allow| self.set(allow)),
            deny: shadow.deny.as_ref().map_or(lists.deny, |deny| self.set(deny)),
        });
        Listener { lists, shadow, senders: self.set(&access.senders) }
    }

    pub(super) fn set(&mut self, roots: &[GroupId]) -> usize {
        let members = members(self.groups, roots);
        if let Some(at) = self.known.get(&members) {
            return *at;
        }
        let spans = || members.iter().flat_map(|member| self.entries.spans(*member));
        let set = Set {
            unix: members.contains(&PolicyBuilder::UNIX),
            v4: self.table(spans().map(|span| span.v4), self.entries.v4(), Which::V4),
            v6: self.table(spans().map(|span| span.v6), self.entries.v6(), Which::V6),
        };
        self.sets.push(set);
        self.known.insert(members, self.sets.len() - 1);
        self.sets.len() - 1
    }

    /// Builds the table of one address family. Among equal prefixes the one with the latest expiry is used, or the
    /// first if they expire at the same time.
    fn table<K: Key>(
        &self,
        runs: impl Iterator<Item = Range<u32>>,
        column: &Column<K>,
        which: impl Fn(u32) -> Which,
    ) -> Table<K> {
        let until = |id| self.entries.until(which(id), self.groups);
        let mut runs: Vec<Range<u32>> = runs.filter(|run| !run.is_empty()).collect();
        runs.sort_unstable_by_key(|run| run.start);
        let order = match runs.as_slice() {
            [] => Order::AddressRun(0..0),
            [run] => Order::AddressRun(run.clone()),
            runs => {
                // The table uses the last of equal prefixes. The sort is stable, so after the reversal the first one
                // comes last.
                let mut ids = Vec::with_capacity(runs.iter().map(ExactSizeIterator::len).sum());
                ids.extend(runs.iter().rev().cloned().flatten());
                ids.sort_by(|a, b| {
                    let networks = column.prefix(*a).cmp(&column.prefix(*b));
                    networks.then_with(|| longest_last(until(*a), until(*b)))
                });
                Order::Mixed(ids)
            }
        };
        Table::new(column, order, |id| until(id).is_some())
    }
}

/// Returns the groups and all groups that they include, each once, sorted.
pub(super) fn members(groups: &[GroupData], roots: &[GroupId]) -> Vec<GroupId> {
    let mut seen = vec![false; groups.len()];
    let mut open = roots.to_vec();
    while let Some(group) = open.pop() {
        if let (Some(seen), Some(data)) = (seen.get_mut(index(group)), groups.get(index(group)))
            && !std::mem::replace(seen, true)
        {
            open.extend(&data.includes);
        }
    }
    (0..).map(GroupId).zip(seen).filter_map(|(group, seen)| seen.then_some(group)).collect()
}
