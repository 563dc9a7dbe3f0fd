//! The allow and deny lists of all listeners, compiled once. A policy never changes: a reload builds a new one and
//! replaces the old one.

mod admitted;
mod builder;
mod changes;
mod compile;
mod group;

use std::collections::HashMap;
use std::net::IpAddr;

use crate::decision::{Decision, Denial, Permit, Reason, Rule, RuleId, Which};
use crate::group::{Entries, GroupData, GroupId, index};
use crate::lookup::{Key, Prefix, Table};
use crate::origin::{ClientAddr, UnixSeconds};
use compile::members;

pub use admitted::AdmittedNetwork;
pub use builder::{Access, ListId, PolicyBuilder, Shadow, TooMany};
pub use changes::{ChangeKind, ChangedEntries, ChangedEntry, GroupChange, MovedEnd, MovedEnds, Whose};
pub use group::Group;

/// The built-in group that contains peers on a unix socket.
pub const UNIX_GROUP: &str = "unix";

/// The admission rules of all listeners of one configuration. Immutable, and shared behind an `Arc`.
#[derive(Debug)]
pub struct Policy {
    entries: Entries,
    groups: Vec<GroupData>,
    /// The index in [`Self::groups`] of each named group.
    names: HashMap<GroupId, usize>,
    /// The declared lists of each listener, for [`Self::changes_since`] and [`Self::listed`].
    accesses: Vec<Access>,
    /// The names of the users, each with the groups of its list.
    origins: Vec<(String, Vec<GroupId>)>,
    sets: Vec<Set>,
    /// The set of each list that belongs to a user, by [`ListId`].
    lists: Vec<usize>,
    listeners: Vec<Listener>,
}

impl Policy {
    /// Decides about a connection from `from` on the listener with this index, at the time `now`.
    ///
    /// `deny` has priority over `allow`. If neither covers the source, it is refused. The decision names the longest
    /// matching prefix that has not expired. With an index out of range, every source is refused.
    pub fn judge(&self, listener: usize, from: &ClientAddr, now: UnixSeconds) -> Decision {
        match self.listeners.get(listener) {
            Some(listener) => self.decide(listener.lists, from, now),
            None => refuse(Reason::NotAllowed, None),
        }
    }

    /// Decides about the same connection by the shadow lists. `None` if the listener has none. This decision refuses
    /// no connection, and its permit admits none.
    pub fn judge_shadow(&self, listener: usize, from: &ClientAddr, now: UnixSeconds) -> Option<Decision> {
        let shadow = self.listeners.get(listener)?.shadow?;
        Some(self.decide(shadow, from, now))
    }

    /// Returns whether the listener has shadow lists.
    pub fn has_shadow(&self, listener: usize) -> bool {
        self.listeners.get(listener).is_some_and(|listener| listener.shadow.is_some())
    }

    /// Returns the permit of the entry of `list` that covers the source at the time `now`. `None` if no entry does.
    pub fn admits(&self, list: ListId, from: &ClientAddr, now: UnixSeconds) -> Option<Permit> {
        match self.find(*self.lists.get(list.0)?, from, now) {
            Found::Active(rule, expires) => Some(Permit { rule, expires }),
            Found::Expired(_) | Found::Nothing => None,
        }
    }

    /// Returns whether the listener trusts this peer to name the source of a connection, as load balancers do with
    /// the PROXY protocol.
    pub fn speaks_for_others(&self, listener: usize, peer: &ClientAddr, now: UnixSeconds) -> bool {
        let senders = self.listeners.get(listener).map(|listener| listener.senders);
        senders.is_some_and(|senders| matches!(self.find(senders, peer, now), Found::Active(..)))
    }

    #[inline]
    fn decide(&self, lists: Lists, from: &ClientAddr, now: UnixSeconds) -> Decision {
        if let Found::Active(rule, _) = self.find(lists.deny, from, now) {
            return refuse(Reason::Denied, Some(rule));
        }
        match self.find(lists.allow, from, now) {
            Found::Active(rule, expires) => Decision::Allow(Permit { rule, expires }),
            Found::Expired(rule) => refuse(Reason::Expired, Some(rule)),
            Found::Nothing => refuse(Reason::NotAllowed, None),
        }
    }

    /// Returns the entry with this id. `None` if this policy has no such entry, because the id is from another
    /// policy.
    pub fn rule(&self, id: RuleId) -> Option<Rule<'_>> {
        if id.0 == Which::Unix {
            return Some(self.unix_rule());
        }
        self.rule_of(id.0)
    }

    /// Returns the named groups, including `unix`, in the order of their declaration.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        (0..)
            .map(GroupId)
            .zip(&self.groups)
            .filter_map(|(id, group)| Some(Group::new(self, id, group.name.as_deref()?)))
    }

    /// Returns the group with this name. `None` if there is none.
    pub fn group(&self, name: &str) -> Option<Group<'_>> {
        self.groups().find(|group| group.name() == name)
    }

    /// Returns the names of the groups in one of the listener's lists, including groups that these include. Empty if
    /// the listener does not have the list.
    pub fn listed(&self, listener: usize, list: List) -> Vec<&str> {
        let Some(access) = self.accesses.get(listener) else { return Vec::new() };
        let shadow = access.shadow.as_ref();
        let roots = match list {
            List::Allow => Some(&access.allow),
            List::Deny => Some(&access.deny),
            List::ShadowAllow => shadow.and_then(|shadow| shadow.allow.as_ref()),
            List::ShadowDeny => shadow.and_then(|shadow| shadow.deny.as_ref()),
            List::Senders => Some(&access.senders),
        };
        roots.map(|roots| self.named_members(roots)).unwrap_or_default()
    }

    /// Returns whether a group is in the allow list of a listener, directly or because a group there includes it.
    pub fn allows_group(&self, listener: usize, group: GroupId) -> bool {
        let access = self.accesses.get(listener);
        access.is_some_and(|access| members(&self.groups, &access.allow).contains(&group))
    }

    /// Returns the names of the groups in a user's list, including groups that these include. Empty if there is no
    /// such list.
    pub fn listed_for_user(&self, list: ListId) -> Vec<&str> {
        self.origins.get(list.0).map(|(_, roots)| self.named_members(roots)).unwrap_or_default()
    }

    fn named_members(&self, roots: &[GroupId]) -> Vec<&str> {
        let members = members(&self.groups, roots);
        members.iter().filter_map(|id| self.groups.get(index(*id))?.name.as_deref()).collect()
    }

    /// Returns whether a listener's allow list admits all sources of an address family at the time `now`. Deny lists
    /// are ignored.
    pub fn admits_all(&self, listener: usize, family: Family, now: UnixSeconds) -> bool {
        let set = self.allowed(listener);
        set.is_some_and(|set| match family {
            Family::V4 => self.spans(set.v4.iter(self.entries.v4()), Which::V4, V4_PUBLIC, now),
            Family::V6 => self.spans(set.v6.iter(self.entries.v6()), Which::V6, V6_PUBLIC, now),
        })
    }

    /// Returns the number of entries in the allow list of a listener. `unix` counts as one.
    pub fn allowed_entries(&self, listener: usize) -> usize {
        let set = self.allowed(listener);
        set.map_or(0, |set| {
            let (v4, v6) = (set.v4.iter(self.entries.v4()), set.v6.iter(self.entries.v6()));
            v4.count() + v6.count() + usize::from(set.unix)
        })
    }

    /// Returns the size of the lookup tables in bytes. [`Self::entry_bytes`] counts the entries themselves.
    pub fn table_bytes(&self) -> usize {
        self.sets.iter().map(|set| set.v4.heap_bytes() + set.v6.heap_bytes()).sum()
    }

    /// Returns the size of the entries in bytes, without notes.
    pub fn entry_bytes(&self) -> usize {
        self.entries.heap_bytes()
    }

    fn allowed(&self, listener: usize) -> Option<&Set> {
        self.sets.get(self.listeners.get(listener)?.lists.allow)
    }

    #[inline]
    fn find(&self, set: usize, from: &ClientAddr, now: UnixSeconds) -> Found {
        let Some(set) = self.sets.get(set) else { return Found::Nothing };
        match from.ip() {
            Some(IpAddr::V4(ip)) => {
                self.climb(set.v4.covering(self.entries.v4(), ip.to_bits()), Which::V4, now)
            }
            Some(IpAddr::V6(ip)) => {
                self.climb(set.v6.covering(self.entries.v6(), ip.to_bits()), Which::V6, now)
            }
            None if set.unix => Found::Active(RuleId(Which::Unix), None),
            None => Found::Nothing,
        }
    }

    /// Finds the longest active prefix. If a wider prefix never expires, the permit never expires.
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
        prefixes: impl Iterator<Item = Prefix<K>>,
        which: impl Fn(u32) -> Which,
        (first, last): (K, K),
        now: UnixSeconds,
    ) -> bool {
        let mut next = first;
        for prefix in prefixes {
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

    fn rule_of(&self, which: Which) -> Option<Rule<'_>> {
        let mut rule = self.entries.rule(which, &self.groups)?;
        rule.group_index = self.entries.group_of(which).and_then(|group| self.names.get(&group).copied());
        Some(rule)
    }

    fn unix_rule(&self) -> Rule<'_> {
        Rule {
            group: Some(UNIX_GROUP),
            group_index: self.names.get(&PolicyBuilder::UNIX).copied(),
            cidr: None,
            host: None,
            note: None,
            owner: None,
            until: None,
            file: None,
            line: 0,
        }
    }
}

/// One of a listener's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The list `allow`.
    Allow,
    /// The list `deny`.
    Deny,
    /// The list `allow` under `shadow`.
    ShadowAllow,
    /// The list `deny` under `shadow`.
    ShadowDeny,
    /// The list `from` under `proxy_protocol`.
    Senders,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The IPv4 addresses that a source can have. Addresses of 0/8 and 224/3 cannot open a connection.
const V4_PUBLIC: (u32, u32) = (0x0100_0000, 0xdfff_ffff);
/// Global unicast, 2000::/3 (RFC 4291, 2.4). A list that admits all of it admits the whole internet.
const V6_PUBLIC: (u128, u128) = (0x2000 << 112, (0x4000 << 112) - 1);

#[derive(Clone, Copy, Debug)]
struct Listener {
    lists: Lists,
    shadow: Option<Lists>,
    senders: usize,
}

#[derive(Clone, Copy, Debug)]
struct Lists {
    allow: usize,
    deny: usize,
}

/// The union of some groups. Lists with the same groups share one set.
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

fn refuse(reason: Reason, rule: Option<RuleId>) -> Decision {
    Decision::Deny(Denial { reason, rule })
}

#[cfg(test)]
mod tests;
