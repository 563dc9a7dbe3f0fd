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

impl Policy {
    /// Returns the entries that the groups and lists of this policy gained and lost since `old`. Lists at most `most`
    /// entries of each kind.
    ///
    /// Groups are matched by name, and lists by the name of their listener or user. The comparison covers only the
    /// own content of a group or list: networks, each with its expiry, and names of other groups. So an entry with a
    /// changed `until` is both lost and gained, and an entry with a changed note is neither. Changes of an included
    /// group are not repeated for the groups that include it. The result has the groups and lists of this policy in
    /// their order, then the removed ones.
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

/// The gained entries and the lost entries.
type Difference = (ChangedEntries, ChangedEntries);

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
        let (more_gained, more_lost) = self.addresses(old_own, new_own);
        gained.append(more_gained, self.most);
        lost.append(more_lost, self.most);
        let same = gained.count == 0 && lost.count == 0;
        let group = matches!(whose, Whose::Group(_));
        if same && (fate == ChangeKind::Changed || !group) {
            return None;
        }
        Some(GroupChange { whose, fate, gained, lost })
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
            let mut gained = Gathered { policy: is, most, changed: ChangedEntries::default() };
            let mut lost = Gathered { policy: was, most, changed: ChangedEntries::default() };
            compare(was.lines_v4(old), is.lines_v4(new), Which::V4, &mut lost, &mut gained);
            compare(was.lines_v6(old), is.lines_v6(new), Which::V6, &mut lost, &mut gained);
            (gained.changed, lost.changed)
        });
        difference.clone()
    }
}

fn compare<K: Copy + Ord>(
    old: impl Iterator<Item = Line<K>>,
    new: impl Iterator<Item = Line<K>>,
    which: impl Fn(u32) -> Which,
    lost: &mut Gathered<'_>,
    gained: &mut Gathered<'_>,
) {
    let (old, new): (Vec<_>, Vec<_>) = (old.collect(), new.collect());
    // In most reloads, most lists are unchanged.
    if old.iter().map(Line::key).eq(new.iter().map(Line::key)) {
        return;
    }
    let (old, new) = (sorted(old), sorted(new));
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(old), Some(new)) => old.key().cmp(&new.key()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let (was, is) = (old.next_if(|_| order.is_le()), new.next_if(|_| order.is_ge()));
        match (was, is) {
            (Some(was), None) => lost.add(which(was.id)),
            (None, Some(is)) => gained.add(which(is.id)),
            _ => {}
        }
    }
}

/// Returns the entries in ascending order, without duplicates.
fn sorted<K: Copy + Ord>(mut lines: Vec<Line<K>>) -> Vec<Line<K>> {
    lines.sort_unstable();
    lines.dedup_by_key(|line| line.key());
    lines
}

struct Gathered<'p> {
    policy: &'p Policy,
    most: usize,
    changed: ChangedEntries,
}

impl Gathered<'_> {
    fn add(&mut self, which: Which) {
        self.changed.count += 1;
        if self.changed.first.len() < self.most
            && let Some(rule) = self.policy.rule_of(which)
        {
            let note = rule.note.map(str::to_owned);
            self.changed.first.push(ChangedEntry {
                entry: rule.entry().to_string(),
                note,
                until: rule.until,
            });
        }
    }
}

impl ChangedEntries {
    fn append(&mut self, other: Self, most: usize) {
        self.count += other.count;
        let room = most.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests;
