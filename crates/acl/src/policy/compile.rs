//! From groups that include each other to one table for each combination of them that a listener uses.

use std::collections::HashMap;

use super::{Access, Listener, Lists, PolicyBuilder, Set};
use crate::decision::Which;
use crate::group::{Entries, GroupData, GroupId, index};
use crate::lookup::{Key, Prefix, Table};

/// Makes sets, each combination of groups once.
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
        Listener { lists, shadow }
    }

    fn set(&mut self, roots: &[GroupId]) -> usize {
        let members = members(self.groups, roots);
        if let Some(at) = self.known.get(&members) {
            return *at;
        }
        let spans = || members.iter().flat_map(|member| self.entries.spans(*member));
        let v4 = spans().flat_map(|span| span.v4).filter_map(|id| Some((id, self.entries.v4(id)?)));
        let v6 = spans().flat_map(|span| span.v6).filter_map(|id| Some((id, self.entries.v6(id)?)));
        let set = Set {
            unix: members.contains(&PolicyBuilder::UNIX),
            v4: self.table(v4, Which::V4),
            v6: self.table(v6, Which::V6),
        };
        self.sets.push(set);
        self.known.insert(members, self.sets.len() - 1);
        self.sets.len() - 1
    }

    /// Of equal prefixes only the one that lasts longest counts, the first of those: the others can never decide.
    fn table<K: Key>(
        &self,
        entries: impl Iterator<Item = (u32, (K, u8))>,
        which: impl Fn(u32) -> Which,
    ) -> Table<K> {
        let until = |entry| self.entries.until(which(entry), self.groups);
        let mut prefixes: Vec<Prefix<K>> = entries
            .map(|(entry, (start, len))| Prefix { start, len, entry, expires: until(entry).is_some() })
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup_by(|next, kept| {
            let same = (next.start, next.len) == (kept.start, kept.len);
            if same && kept.expires && until(next.entry).is_none_or(|next| until(kept.entry) < Some(next)) {
                *kept = *next;
            }
            same
        });
        Table::new(&prefixes)
    }
}

/// The groups and all they include, each once, sorted.
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
