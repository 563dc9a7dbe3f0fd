//! Collects an operator's groups and listeners, and compiles them into a policy.

use thiserror::Error;

use super::compile::{Compiler, members};
use super::{Policy, UNIX_GROUP};
use crate::decision::Which;
use crate::group::{Entries, Entry, GroupData, GroupId, MAX_GROUPS, Meta, SourceId, index};

/// The sources that a listener admits and refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The listener's name. [`Policy::changes_since`] matches listeners by name.
    pub name: String,
    /// The groups that are admitted.
    pub allow: Vec<GroupId>,
    /// The groups that are refused, even if `allow` contains them.
    pub deny: Vec<GroupId>,
    /// The shadow lists, if there are any; see [`Policy::judge_shadow`].
    pub shadow: Option<Shadow>,
    /// The groups whose members may send PROXY headers; see [`Policy::speaks_for_others`].
    pub senders: Vec<GroupId>,
}

/// The shadow lists of a listener, which are judged but not enforced. If a list is absent, the listener's own list is
/// used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shadow {
    /// The groups that are admitted.
    pub allow: Option<Vec<GroupId>>,
    /// The groups that are refused, even if `allow` contains them.
    pub deny: Option<Vec<GroupId>>,
}

/// Collects groups and listeners, then compiles them. A copy with further entries makes another policy with the same
/// groups and listeners.
#[derive(Clone, Debug)]
pub struct PolicyBuilder {
    entries: Entries,
    groups: Vec<GroupData>,
    listeners: Vec<Access>,
    lists: Vec<(String, Vec<GroupId>)>,
}

impl PolicyBuilder {
    /// The built-in group `unix`.
    pub const UNIX: GroupId = GroupId(0);

    /// Makes a builder that has only the built-in group `unix`.
    pub fn new() -> Self {
        let unix = GroupData::new(Some(UNIX_GROUP), Meta::default());
        Self { entries: Entries::default(), groups: vec![unix], listeners: Vec::new(), lists: Vec::new() }
    }

    /// Declares a file that has entries.
    pub fn source(&mut self, file: &str) -> Result<SourceId, TooMany> {
        self.entries.add_source(file).ok_or(TooMany)
    }

    /// Declares a group. A group without a name has the addresses that are directly in a list.
    pub fn group(&mut self, name: Option<&str>, meta: Meta) -> Result<GroupId, TooMany> {
        if self.groups.len() > MAX_GROUPS {
            return Err(TooMany);
        }
        let id = GroupId(u32::try_from(self.groups.len()).map_err(|_| TooMany)?);
        self.groups.push(GroupData::new(name, meta));
        Ok(id)
    }

    /// Adds an entry to a group.
    pub fn entry(&mut self, group: GroupId, source: SourceId, entry: Entry) -> Result<(), TooMany> {
        self.entries.add(group, source, entry).ok_or(TooMany)
    }

    /// Makes all entries of `other` entries of `group` as well.
    pub fn include(&mut self, group: GroupId, other: GroupId) {
        if index(other) < self.groups.len()
            && let Some(data) = self.groups.get_mut(index(group))
        {
            data.includes.push(other);
        }
    }

    /// Adds a listener. Its index is the number of listeners added before.
    pub fn listener(&mut self, access: Access) {
        self.listeners.push(access);
    }

    /// Adds a list of groups that belongs to a user instead of a listener, for [`Policy::admits`].
    pub fn list(&mut self, user: &str, groups: Vec<GroupId>) -> ListId {
        self.lists.push((user.to_owned(), groups));
        ListId(self.lists.len() - 1)
    }

    /// Returns groups that include each other in a ring, each as the path from one group back to itself. At most
    /// `most` rings are returned.
    pub fn cycles(&self, most: usize) -> Vec<Vec<GroupId>> {
        let mut seen = vec![Seen::Not; self.groups.len()];
        let mut rings = Vec::new();
        for start in (0..).map(GroupId).take(self.groups.len()) {
            self.find_rings(start, &mut seen, &mut rings, most);
        }
        rings
    }

    /// Compiles the policy. All groups of a ring of includes have the same entries.
    pub fn build(mut self) -> Policy {
        self.entries.seal(&self.groups);
        self.total_up();
        let mut compiler = Compiler::new(&self.entries, &self.groups);
        let listeners = self.listeners.iter().map(|access| compiler.listener(access)).collect();
        let lists = self.lists.iter().map(|(_, groups)| compiler.set(groups)).collect();
        let sets = compiler.finish();
        let named = (0..).map(GroupId).zip(&self.groups).filter(|(_, group)| group.name.is_some());
        let names = named.enumerate().map(|(at, (id, _))| (id, at)).collect();
        Policy {
            entries: self.entries,
            groups: self.groups,
            names,
            accesses: self.listeners,
            origins: self.lists,
            lists,
            sets,
            listeners,
        }
    }

    /// Searches depth-first with a stack on the heap, because a chain of includes may be as long as the file.
    fn find_rings(&self, start: GroupId, seen: &mut [Seen], rings: &mut Vec<Vec<GroupId>>, most: usize) {
        if seen[index(start)] != Seen::Not {
            return;
        }
        seen[index(start)] = Seen::OnPath;
        let mut path = vec![(start, 0)];
        while let Some((group, at)) = path.last_mut() {
            let Some(next) = self.groups[index(*group)].includes.get(*at).copied() else {
                seen[index(*group)] = Seen::Done;
                path.pop();
                continue;
            };
            *at += 1;
            match seen[index(next)] {
                Seen::Not => {
                    seen[index(next)] = Seen::OnPath;
                    path.push((next, 0));
                }
                Seen::OnPath if rings.len() < most => {
                    let ring = path.iter().map(|(group, _)| *group).skip_while(|group| *group != next);
                    rings.push(ring.chain([next]).collect());
                }
                Seen::OnPath | Seen::Done => {}
            }
        }
    }

    fn total_up(&mut self) {
        for id in (0..).map(GroupId).take(self.groups.len()) {
            let members = members(&self.groups, &[id]);
            let spans = members.iter().flat_map(|member| self.entries.spans(*member));
            let total =
                usize::from(members.contains(&Self::UNIX)) + spans.map(|span| span.len()).sum::<usize>();
            let own = || self.entries.spans(id);
            let (v4, v6) = (own().flat_map(|span| span.v4), own().flat_map(|span| span.v6));
            let which = v4.map(Which::V4).chain(v6.map(Which::V6));
            let mut untils: Vec<_> =
                which.filter_map(|which| self.entries.until(which, &self.groups)).collect();
            untils.sort_unstable();
            untils.dedup();
            untils.shrink_to_fit();
            let group = &mut self.groups[index(id)];
            group.total = total;
            group.untils = untils;
        }
    }
}

/// A list of groups, valid in the builder or policy that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(pub(super) usize);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Not,
    OnPath,
    Done,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// The error of more groups, files or entries than the tables can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("more than {} entries or {MAX_GROUPS} groups", crate::group::MAX_ENTRIES)]
pub struct TooMany;
