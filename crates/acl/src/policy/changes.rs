//! The changes of a reload: which groups and lists gained and lost entries, and which entries.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::{Access, Policy};
use crate::decision::Which;
use crate::group::{GroupId, Span, index};
use crate::origin::UnixSeconds;

/// The change of one group or list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupChange {
    /// The group or list that contains the entries.
    pub whose: Whose,
    /// Whether the group or list is new, removed, or changed.
    pub fate: ChangeKind,
    /// Entries that are new.
    pub gained: ChangedEntries,
    /// Entries that were removed.
    pub lost: ChangedEntries,
    /// Entries that have another end.
    pub moved: MovedEnds,
}

/// The group or list to which entries belong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// The group with this name.
    Group(String),
    /// The `allow` list of the listener with this name.
    Allow(String),
    /// The `deny` list of the listener with this name.
    Deny(String),
    /// The `allow` list under `shadow` of the listener with this name.
    ShadowAllow(String),
    /// The `from` list under `proxy_protocol` of the listener with this name.
    Senders(String),
    /// The `deny` list under `shadow` of the listener with this name.
    ShadowDeny(String),
    /// The `from` list of the user with this name.
    Origins(String),
}

/// The kind of change of a group or list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The group or list is new.
    Added,
    /// The group or list no longer exists.
    Removed,
    /// The group or list has other entries than before.
    Changed,
}

/// The number of changed entries, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedEntries {
    /// The number of all entries.
    pub count: usize,
    /// The first entries: names of groups, then IPv4, then IPv6, each in ascending order.
    pub first: Vec<ChangedEntry>,
}

/// A copy of one entry, independent of its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedEntry {
    /// The entry as text: `203.0.113.0/24`, `203.0.113.9`, or the name of a group.
    pub entry: String,
    /// The operator's note on the entry, or on its group if the entry has none.
    pub note: Option<String>,
    /// The second from which the entry is ignored.
    pub until: Option<UnixSeconds>,
}

/// The number of entries with another end, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovedEnds {
    /// The number of all these entries.
    pub count: usize,
    /// The first of them: IPv4, then IPv6, each in ascending order.
    pub first: Vec<MovedEnd>,
}

/// An entry with another end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedEnd {
    /// The entry as text.
    pub entry: String,
    /// The end in the old policy; `None`: it had none.
    pub before: Option<UnixSeconds>,
    /// The end in the new policy; `None`: it has none.
    pub now: Option<UnixSeconds>,
}

impl Policy {
    /// Returns the entries that the groups and lists of this policy gained and lost since `old`. Lists at most `most`
    /// entries of each kind.
    ///
    /// Groups are matched by name, and lists by the name of their listener or user. The comparison covers only the
    /// own content of a group or list: networks, each with its expiry, and names of other groups. An entry with a
    /// changed `until` is in `moved` only, and an entry with a changed note is nowhere. Changes of an included group are
    /// not repeated for the groups that include it. The result has the groups and lists of this policy in their order,
    /// then the removed ones.
    pub fn changes_since(&self, old: &Self, most: usize) -> Vec<GroupChange> {
        let mut comparison = Comparison { old, new: self, most, known: HashMap::new() };
        let mut before: HashMap<Whose, Written<'_>> = old.written().collect();
        let kept = self.written().filter_map(|(whose, new)| {
            let old = before.remove(&whose);
            comparison.change(whose, old, Some(new))
        });
        let mut changes: Vec<GroupChange> = kept.collect();
        let gone = old.written().filter_map(|(whose, _)| before.remove_entry(&whose));
        changes.extend(gone.filter_map(|(whose, old)| comparison.change(whose, Some(old), None)));
        changes
    }

    fn written(&self) -> impl Iterator<Item = (Whose, Written<'_>)> {
        let groups = (0..).map(GroupId).zip(&self.groups).filter_map(|(id, group)| {
            let name = group.name.as_deref()?;
            Some((Whose::Group(name.to_owned()), self.list(vec![id], &group.includes)))
        });
        let origins =
            self.origins.iter().map(|(user, groups)| (Whose::Origins(user.clone()), self.written_in(groups)));
        groups.chain(self.accesses.iter().flat_map(|access| self.lists(access))).chain(origins)
    }

    fn lists(&self, access: &Access) -> impl Iterator<Item = (Whose, Written<'_>)> {
        let shadow = access.shadow.as_ref();
        let list = |whose: fn(String) -> Whose, groups: Option<&Vec<GroupId>>| {
            Some((whose(access.name.clone()), self.written_in(groups?)))
        };
        [
            list(Whose::Allow, Some(&access.allow)),
            list(Whose::Deny, Some(&access.deny)),
            list(Whose::ShadowAllow, shadow.and_then(|shadow| shadow.allow.as_ref())),
            list(Whose::ShadowDeny, shadow.and_then(|shadow| shadow.deny.as_ref())),
            list(Whose::Senders, Some(&access.senders)),
        ]
        .into_iter()
        .flatten()
    }

    fn written_in(&self, groups: &[GroupId]) -> Written<'_> {
        self.list(groups.iter().copied().filter(|id| self.name(*id).is_none()).collect(), groups)
    }

    fn list(&self, own: Vec<GroupId>, mentioned: &[GroupId]) -> Written<'_> {
        let mut groups: Vec<&str> = mentioned.iter().filter_map(|id| self.name(*id)).collect();
        groups.sort_unstable();
        groups.dedup();
        Written { own, groups }
    }

    fn name(&self, id: GroupId) -> Option<&str> {
        self.groups.get(index(id))?.name.as_deref()
    }

    fn lines<K>(
        &self,
        own: &[GroupId],
        numbers: impl Fn(Span) -> std::ops::Range<u32>,
        which: impl Fn(u32) -> Which,
        prefix: impl Fn(u32) -> Option<(K, u8)>,
    ) -> impl Iterator<Item = Line<K>> {
        own.iter().flat_map(|id| self.entries.spans(*id)).flat_map(numbers).filter_map(move |id| {
            let (start, len) = prefix(id)?;
            Some(Line { start, len, until: self.entries.until(which(id), &self.groups), id })
        })
    }

    fn lines_v4(&self, own: &[GroupId]) -> impl Iterator<Item = Line<u32>> {
        self.lines(own, |span| span.v4, Which::V4, |id| self.entries.v4().prefix(id))
    }

    fn lines_v6(&self, own: &[GroupId]) -> impl Iterator<Item = Line<u128>> {
        self.lines(own, |span| span.v6, Which::V6, |id| self.entries.v6().prefix(id))
    }
}

/// The content of one group or list.
struct Written<'p> {
    /// The groups that hold the entries: the group itself, or the unnamed group of a list's own addresses.
    own: Vec<GroupId>,
    /// The names of the groups in it, sorted.
    groups: Vec<&'p str>,
}

/// One entry, in the form in which entries are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Line<K> {
    start: K,
    len: u8,
    until: Option<UnixSeconds>,
    id: u32,
}

impl<K: Copy> Line<K> {
    fn key(&self) -> (K, u8, Option<UnixSeconds>) {
        (self.start, self.len, self.until)
    }
}

/// The difference between the addresses of two lists.
#[derive(Clone, Default)]
struct Difference {
    gained: ChangedEntries,
    lost: ChangedEntries,
    moved: MovedEnds,
}

struct Comparison<'p> {
    old: &'p Policy,
    new: &'p Policy,
    most: usize,
    /// The results for pairs of groups that were compared before. The addresses in `listener_defaults` belong to
    /// every listener and are compared once.
    known: HashMap<(Vec<GroupId>, Vec<GroupId>), Difference>,
}

impl<'p> Comparison<'p> {
    /// Compares a group or list. `None` if nothing changed. A new or removed list without entries is not a change.
    fn change(
        &mut self,
        whose: Whose,
        old: Option<Written<'p>>,
        new: Option<Written<'p>>,
    ) -> Option<GroupChange> {
        let fate = match (&old, &new) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let parts =
            |written: Option<Written<'p>>| written.map_or_else(Default::default, |w| (w.own, w.groups));
        let ((old_own, old_groups), (new_own, new_groups)) = (parts(old), parts(new));
        let mut gained = self.names(&new_groups, &old_groups);
        let mut lost = self.names(&old_groups, &new_groups);
        let addresses = self.addresses(old_own, new_own);
        gained.append(addresses.gained, self.most);
        lost.append(addresses.lost, self.most);
        let moved = addresses.moved;
        let same = gained.count == 0 && lost.count == 0 && moved.count == 0;
        let group = matches!(whose, Whose::Group(_));
        if same && (fate == ChangeKind::Changed || !group) {
            return None;
        }
        Some(GroupChange { whose, fate, gained, lost, moved })
    }

    /// Returns the names in one list that the other list does not have.
    fn names(&self, list: &[&str], other: &[&str]) -> ChangedEntries {
        let new = || list.iter().filter(|name| other.binary_search(name).is_err());
        let entry = |name: &&str| ChangedEntry { entry: (*name).to_owned(), note: None, until: None };
        ChangedEntries { count: new().count(), first: new().take(self.most).map(entry).collect() }
    }

    fn addresses(&mut self, old: Vec<GroupId>, new: Vec<GroupId>) -> Difference {
        let (was, is, most) = (self.old, self.new, self.most);
        let difference = self.known.entry((old, new)).or_insert_with_key(|(old, new)| {
            let mut gathered = Gathered { old: was, new: is, most, found: Difference::default() };
            compare(was.lines_v4(old), is.lines_v4(new), Which::V4, &mut gathered);
            compare(was.lines_v6(old), is.lines_v6(new), Which::V6, &mut gathered);
            gathered.found
        });
        difference.clone()
    }
}

fn compare<K: Copy + Ord>(
    old: impl Iterator<Item = Line<K>>,
    new: impl Iterator<Item = Line<K>>,
    which: impl Fn(u32) -> Which,
    gathered: &mut Gathered<'_>,
) {
    let (old, new): (Vec<_>, Vec<_>) = (old.collect(), new.collect());
    // In most reloads, most lists are unchanged.
    if old.iter().map(Line::key).eq(new.iter().map(Line::key)) {
        return;
    }
    let (mut gone, mut came) = (Vec::new(), Vec::new());
    merge(&sorted(old), &sorted(new), Line::key, |was, is| match (was, is) {
        (Some(was), None) => gone.push(was),
        (None, Some(is)) => came.push(is),
        _ => {}
    });
    // The same network with another end is the same entry.
    merge(
        &gone,
        &came,
        |line| (line.start, line.len),
        |was, is| {
            gathered.add(was.map(|line| which(line.id)), is.map(|line| which(line.id)));
        },
    );
}

/// Calls `each` with the lines of two sorted lists; those with equal keys come together.
fn merge<K: Copy, Q: Ord>(
    old: &[Line<K>],
    new: &[Line<K>],
    key: impl Fn(&Line<K>) -> Q,
    mut each: impl FnMut(Option<Line<K>>, Option<Line<K>>),
) {
    let (mut old, mut new) = (old.iter().copied().peekable(), new.iter().copied().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(old), Some(new)) => key(old).cmp(&key(new)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        each(old.next_if(|_| order.is_le()), new.next_if(|_| order.is_ge()));
    }
}

/// Returns the entries in ascending order, without duplicates.
fn sorted<K: Copy + Ord>(mut lines: Vec<Line<K>>) -> Vec<Line<K>> {
    lines.sort_unstable();
    lines.dedup_by_key(|line| line.key());
    lines
}

struct Gathered<'p> {
    old: &'p Policy,
    new: &'p Policy,
    most: usize,
    found: Difference,
}

impl Gathered<'_> {
    /// Adds an entry that only one of the policies has, or that has another end.
    fn add(&mut self, was: Option<Which>, is: Option<Which>) {
        match (was, is) {
            (Some(was), Some(is)) => {
                self.found.moved.count += 1;
                if self.found.moved.first.len() < self.most
                    && let (Some(was), Some(is)) = (self.old.rule_of(was), self.new.rule_of(is))
                {
                    let entry = is.entry().to_string();
                    self.found.moved.first.push(MovedEnd { entry, before: was.until, now: is.until });
                }
            }
            (Some(was), None) => self.found.lost.add(self.old, was, self.most),
            (None, Some(is)) => self.found.gained.add(self.new, is, self.most),
            (None, None) => {}
        }
    }
}

impl ChangedEntries {
    fn add(&mut self, policy: &Policy, which: Which, most: usize) {
        self.count += 1;
        if self.first.len() < most
            && let Some(rule) = policy.rule_of(which)
        {
            let (entry, note) = (rule.entry().to_string(), rule.note.map(str::to_owned));
            self.first.push(ChangedEntry { entry, note, until: rule.until });
        }
    }

    fn append(&mut self, other: Self, most: usize) {
        self.count += other.count;
        let room = most.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests;
