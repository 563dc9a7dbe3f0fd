//! All listeners' allow and deny lists, compiled once and never changed: a reload makes a new one and swaps it in.

use std::collections::HashMap;
use std::net::IpAddr;

use thiserror::Error;

use crate::decision::{Decision, Denial, Permit, Reason, Rule, RuleId, Which};
use crate::group::{Entries, Entry, GroupData, GroupId, MAX_GROUPS, Meta, SourceId, index};
use crate::lookup::{Key, Prefix, Table};
use crate::origin::{ClientAddr, UnixSeconds};

/// The built-in group that admits peers on a unix socket.
pub const UNIX_GROUP: &str = "unix";

/// Who may connect, for every listener of one configuration. Immutable; shared behind an `Arc`.
#[derive(Debug)]
pub struct Policy {
    entries: Entries,
    groups: Vec<GroupData>,
    /// The index in [`Self::groups`] of each group that has a name.
    names: HashMap<GroupId, usize>,
    sets: Vec<Set>,
    listeners: Vec<Lists>,
}

impl Policy {
    /// Decides for a connection from `from` on the listener with that index, as of `now`.
    ///
    /// Deny beats allow beats default deny; the longest matching prefix that has not expired is the one named.
    /// An index out of range admits nobody.
    pub fn judge(&self, listener: usize, from: &ClientAddr, now: UnixSeconds) -> Decision {
        let Some(lists) = self.listeners.get(listener) else { return refuse(Reason::NotAllowed, None) };
        if let Found::Active(rule, _) = self.find(lists.deny, from, now) {
            return refuse(Reason::Denied, Some(rule));
        }
        match self.find(lists.allow, from, now) {
            Found::Active(rule, expires) => Decision::Allow(Permit { rule, expires }),
            Found::Expired(rule) => refuse(Reason::Expired, Some(rule)),
            Found::Nothing => refuse(Reason::NotAllowed, None),
        }
    }

    /// What a rule says; `None` when another policy gave it out and this one has no such entry.
    pub fn rule(&self, id: RuleId) -> Option<Rule<'_>> {
        if id.0 == Which::Unix {
            return Some(self.unix_rule());
        }
        let mut rule = self.entries.rule(id.0, &self.groups)?;
        rule.group_index = self.entries.group_of(id.0).and_then(|group| self.names.get(&group).copied());
        Some(rule)
    }

    /// The named groups, `unix` among them, in the order they were declared.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        (0..).map(GroupId).zip(&self.groups).filter_map(|(id, group)| {
            let name = group.name.as_deref()?;
            Some(Group { policy: self, id, name, entries: group.total })
        })
    }

    /// Whether a listener's allow list, as of `now`, admits everybody of a family; deny lists are left out of account.
    pub fn admits_all(&self, listener: usize, family: Family, now: UnixSeconds) -> bool {
        let set = self.listeners.get(listener).and_then(|lists| self.sets.get(lists.allow));
        set.is_some_and(|set| match family {
            Family::V4 => self.spans(&set.v4, Which::V4, V4_PUBLIC, now),
            Family::V6 => self.spans(&set.v6, Which::V6, V6_PUBLIC, now),
        })
    }

    /// How many entries the allow list of a listener holds, `unix` counted as one.
    pub fn allowed_entries(&self, listener: usize) -> usize {
        let set = self.listeners.get(listener).and_then(|lists| self.sets.get(lists.allow));
        set.map_or(0, |set| set.v4.iter().count() + set.v6.iter().count() + usize::from(set.unix))
    }

    /// Bytes the look-up tables take; the entries themselves are counted in [`Self::entry_bytes`].
    pub fn table_bytes(&self) -> usize {
        self.sets.iter().map(|set| set.v4.heap_bytes() + set.v6.heap_bytes()).sum()
    }

    /// Bytes the entries take, notes aside.
    pub fn entry_bytes(&self) -> usize {
        self.entries.heap_bytes()
    }

    #[inline]
    fn find(&self, set: usize, from: &ClientAddr, now: UnixSeconds) -> Found {
        let Some(set) = self.sets.get(set) else { return Found::Nothing };
        match from.ip() {
            Some(IpAddr::V4(ip)) => self.climb(set.v4.covering(ip.to_bits()), Which::V4, now),
            Some(IpAddr::V6(ip)) => self.climb(set.v6.covering(ip.to_bits()), Which::V6, now),
            None if set.unix => Found::Active(RuleId(Which::Unix), None),
            None => Found::Nothing,
        }
    }

    /// Takes the longest active prefix; one without end further up makes the permit one without end.
    #[inline]
    fn climb(
        &self,
        covering: impl Iterator<Item = (u32, bool)>,
        which: impl Fn(u32) -> Which,
        now: UnixSeconds,
    ) -> Found {
        let mut found = Found::Nothing;
        for (entry, expires) in covering {
            let rule = RuleId(which(entry));
            let until = if expires { self.entries.until(rule.0, &self.groups) } else { None };
            match (until, &mut found) {
                (None, Found::Active(_, end)) => *end = None,
                (None, _) => return Found::Active(rule, None),
                (Some(until), Found::Active(_, end)) => *end = (*end).max(Some(until)),
                (Some(until), _) if until > now => found = Found::Active(rule, Some(until)),
                (Some(_), Found::Nothing) => found = Found::Expired(rule),
                (Some(_), Found::Expired(_)) => {}
            }
            if matches!(found, Found::Active(_, None)) {
                break;
            }
        }
        found
    }

    fn spans<K: Key>(
        &self,
        table: &Table<K>,
        which: impl Fn(u32) -> Which,
        (first, last): (K, K),
        now: UnixSeconds,
    ) -> bool {
        let mut next = first;
        for prefix in table.iter() {
            let until = self.entries.until(which(prefix.entry), &self.groups);
            if until.is_some_and(|until| until <= now) {
                continue;
            }
            if prefix.start > next {
                return false;
            }
            match prefix.start.after(prefix.len) {
                Some(after) if after <= last => next = next.max(after),
                _ => return true,
            }
        }
        false
    }

    fn unix_rule(&self) -> Rule<'_> {
        Rule {
            group: Some(UNIX_GROUP),
            group_index: self.names.get(&PolicyBuilder::UNIX).copied(),
            cidr: None,
            note: None,
            owner: None,
            until: None,
            file: None,
            line: 0,
        }
    }
}

/// A named group of a compiled policy.
#[derive(Clone, Copy, Debug)]
pub struct Group<'p> {
    policy: &'p Policy,
    id: GroupId,
    name: &'p str,
    entries: usize,
}

impl<'p> Group<'p> {
    /// Its name.
    pub fn name(&self) -> &'p str {
        self.name
    }

    /// How many entries it stands for: its own and those of the groups it includes, expired ones too.
    pub fn entry_count(&self) -> usize {
        self.entries
    }

    /// The next moment after `now` at which one of these entries expires.
    pub fn next_expiry(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        let groups = &self.policy.groups;
        let members = members(groups, &[self.id]);
        let next = members.iter().filter_map(|member| {
            let untils = &groups.get(index(*member))?.untils;
            untils.get(untils.partition_point(|until| *until <= now))
        });
        next.min().copied()
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What unicast sources can have: 0/8 and 224/3 cannot open a connection.
const V4_PUBLIC: (u32, u32) = (0x0100_0000, 0xdfff_ffff);
/// Global unicast, 2000::/3 (RFC 4291, 2.4): who admits all of it admits the internet.
const V6_PUBLIC: (u128, u128) = (0x2000 << 112, (0x4000 << 112) - 1);

/// Who a listener admits and refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Groups that admit.
    pub allow: Vec<GroupId>,
    /// Groups that refuse, whatever `allow` says.
    pub deny: Vec<GroupId>,
}

/// Collects groups and listeners, then compiles them.
#[derive(Debug)]
pub struct PolicyBuilder {
    entries: Entries,
    groups: Vec<GroupData>,
    listeners: Vec<Access>,
}

impl PolicyBuilder {
    /// The built-in group `unix`.
    pub const UNIX: GroupId = GroupId(0);

    /// With nothing in it but the built-in group `unix`.
    pub fn new() -> Self {
        let unix = GroupData::new(Some(UNIX_GROUP), Meta::default());
        Self { entries: Entries::default(), groups: vec![unix], listeners: Vec::new() }
    }

    /// Names a file that entries come from.
    pub fn source(&mut self, file: &str) -> Result<SourceId, TooMany> {
        self.entries.add_source(file).ok_or(TooMany)
    }

    /// Declares a group; without a name it holds addresses written in place.
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

    /// Makes all entries of `other` count as entries of `group`.
    pub fn include(&mut self, group: GroupId, other: GroupId) {
        if index(other) < self.groups.len()
            && let Some(data) = self.groups.get_mut(index(group))
        {
            data.includes.push(other);
        }
    }

    /// Adds the next listener; its index is the number of calls before.
    pub fn listener(&mut self, access: Access) {
        self.listeners.push(access);
    }

    /// Groups that include each other in a ring, each ring as the path from one back to itself.
    pub fn cycles(&self) -> Vec<Vec<GroupId>> {
        let mut seen = vec![Seen::Not; self.groups.len()];
        let mut rings = Vec::new();
        for start in (0..).map(GroupId).take(self.groups.len()) {
            self.find_rings(start, &mut seen, &mut rings);
        }
        rings
    }

    /// Compiles. A ring of includes is walked once and gives its members the same entries.
    pub fn build(mut self) -> Policy {
        self.entries.shrink();
        self.total_up();
        let mut compiler = Compiler {
            entries: &self.entries,
            groups: &self.groups,
            known: HashMap::new(),
            sets: Vec::new(),
        };
        let listeners = self
            .listeners
            .iter()
            .map(|access| Lists { allow: compiler.set(&access.allow), deny: compiler.set(&access.deny) })
            .collect();
        let sets = compiler.sets;
        let named = (0..).map(GroupId).zip(&self.groups).filter(|(_, group)| group.name.is_some());
        let names = named.enumerate().map(|(at, (id, _))| (id, at)).collect();
        Policy { entries: self.entries, groups: self.groups, names, sets, listeners }
    }

    /// A depth-first walk with its own stack: a chain of includes may be as long as the file.
    fn find_rings(&self, start: GroupId, seen: &mut [Seen], rings: &mut Vec<Vec<GroupId>>) {
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
                Seen::OnPath => {
                    let ring = path.iter().map(|(group, _)| *group).skip_while(|group| *group != next);
                    rings.push(ring.chain([next]).collect());
                }
                Seen::Done => {}
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

/// More groups, files or entries than the tables can number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("more than {} entries or {MAX_GROUPS} groups", crate::group::MAX_ENTRIES)]
pub struct TooMany;

#[derive(Clone, Copy, Debug)]
struct Lists {
    allow: usize,
    deny: usize,
}

/// The union of some groups; listeners with the same groups share one.
#[derive(Debug)]
struct Set {
    unix: bool,
    v4: Table<u32>,
    v6: Table<u128>,
}

enum Found {
    Active(RuleId, Option<UnixSeconds>),
    Expired(RuleId),
    Nothing,
}

struct Compiler<'b> {
    entries: &'b Entries,
    groups: &'b [GroupData],
    known: HashMap<Vec<GroupId>, usize>,
    sets: Vec<Set>,
}

impl Compiler<'_> {
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
fn members(groups: &[GroupData], roots: &[GroupId]) -> Vec<GroupId> {
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

fn refuse(reason: Reason, rule: Option<RuleId>) -> Decision {
    Decision::Deny(Denial { reason, rule })
}

#[cfg(test)]
mod tests;
