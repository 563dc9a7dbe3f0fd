//! Groups: named lists of networks. Each entry keeps its file and line.

use std::cmp::Ordering;

use crate::cidr::Cidr;
use crate::decision::{Rule, Which};
use crate::lookup::{Column, Key, Row, TOP};
use crate::origin::UnixSeconds;

/// The highest number of entries of each address family in all groups together: a table has 23 bits for the number of
/// an entry.
pub const MAX_ENTRIES: u32 = TOP;

/// The highest number of groups, including lists of addresses directly in a listener. Each named group is a label in
/// metrics.
pub const MAX_GROUPS: usize = 10_000;

/// A group, valid in the builder or policy that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub(crate) u32);

/// A file with entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(pub(crate) u32);

/// An operator's information about an entry, or about a whole group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The reason for the entry.
    pub note: Option<String>,
    /// The person or team that is responsible for the entry.
    pub owner: Option<String>,
    /// The second from which the entry is ignored. On a group, it applies to each entry without its own.
    pub until: Option<UnixSeconds>,
    /// The host name in the file, where the entry is an address that the name resolved to.
    pub host: Option<String>,
}

impl Meta {
    /// Returns whether the operator gave no information.
    pub fn is_empty(&self) -> bool {
        self.note.is_none() && self.owner.is_none() && self.until.is_none() && self.host.is_none()
    }
}

/// One entry for a [`crate::PolicyBuilder`].
#[derive(Clone, Debug)]
pub struct Entry {
    /// The network.
    pub cidr: Cidr,
    /// The line of the entry, from 1.
    pub line: u32,
    /// The operator's information about the entry.
    pub meta: Meta,
}

/// A group while it is being built, and the data that a policy keeps.
#[derive(Clone, Debug)]
pub(crate) struct GroupData {
    /// The name; `None` for addresses directly in a listener.
    pub(crate) name: Option<Box<str>>,
    pub(crate) meta: Meta,
    pub(crate) includes: Vec<GroupId>,
    /// The number of own and included entries, set when the policy is built.
    pub(crate) total: usize,
    /// The seconds at which own entries expire, sorted, set when the policy is built.
    pub(crate) untils: Vec<UnixSeconds>,
}

impl GroupData {
    pub(crate) fn new(name: Option<&str>, meta: Meta) -> Self {
        Self { name: name.map(Into::into), meta, includes: Vec::new(), total: 0, untils: Vec::new() }
    }
}

/// All entries of all groups, each once. Sets refer to entries by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    v4: Column<u32>,
    v6: Column<u128>,
    runs: Vec<AddressRun>,
    /// The numbers of the runs of each group.
    by_group: Vec<Vec<usize>>,
    metas: Vec<Meta>,
    sources: Vec<Box<str>>,
}

/// Consecutive entries of one group and one file.
#[derive(Clone, Copy, Debug)]
struct AddressRun {
    v4: u32,
    v6: u32,
    group: GroupId,
    source: SourceId,
}

impl Entries {
    pub(crate) fn add_source(&mut self, name: &str) -> Option<SourceId> {
        let id = SourceId(u32::try_from(self.sources.len()).ok()?);
        self.sources.push(name.into());
        Some(id)
    }

    /// Adds an entry. `None` if there are already [`MAX_ENTRIES`] entries of a family.
    pub(crate) fn add(&mut self, group: GroupId, source: SourceId, entry: Entry) -> Option<()> {
        let (v4, v6) = (next(&self.v4)?, next(&self.v6)?);
        let meta = self.keep(entry.meta)?;
        if self.runs.last().is_none_or(|run| (run.group, run.source) != (group, source)) {
            if self.by_group.len() <= index(group) {
                self.by_group.resize_with(index(group) + 1, Vec::new);
            }
            self.by_group[index(group)].push(self.runs.len());
            self.runs.push(AddressRun { v4, v6, group, source });
        }
        let (line, len) = (entry.line, entry.cidr.net().prefix_len());
        match entry.cidr.net() {
            ipnet::IpNet::V4(net) => self.v4.push(Row { start: net.addr().to_bits(), len, line, meta }),
            ipnet::IpNet::V6(net) => self.v6.push(Row { start: net.addr().to_bits(), len, line, meta }),
        }
        Some(())
    }

    fn keep(&mut self, meta: Meta) -> Option<u32> {
        if meta.is_empty() {
            return Some(0);
        }
        self.metas.push(meta);
        u32::try_from(self.metas.len()).ok()
    }

    fn meta(&self, number: u32) -> Option<&Meta> {
        self.metas.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// Sorts each run, so that tables can refer to it. Must be called after the last entry was added.
    pub(crate) fn seal(&mut self, groups: &[GroupData]) {
        let spans: Vec<(GroupId, Span)> = (0..self.runs.len())
            .filter_map(|number| Some((self.runs.get(number)?.group, self.span(number)?)))
            .collect();
        let metas = &self.metas;
        for (group, span) in spans {
            let whole = groups.get(index(group)).and_then(|group| group.meta.until);
            let until = |meta: u32| {
                let own = usize::try_from(meta).ok().and_then(|meta| metas.get(meta.checked_sub(1)?));
                own.and_then(|meta| meta.until).or(whole)
            };
            self.v4.sort(span.v4, |a, b| longest_last(until(a.meta), until(b.meta)));
            self.v6.sort(span.v6, |a, b| longest_last(until(a.meta), until(b.meta)));
        }
        self.v4.seal();
        self.v6.seal();
        self.metas.shrink_to_fit();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes()
    }

    /// Returns the numbers of the IPv4 and IPv6 entries of each run of `group`.
    pub(crate) fn spans(&self, group: GroupId) -> impl Iterator<Item = Span> {
        self.by_group.get(index(group)).into_iter().flatten().filter_map(|number| self.span(*number))
    }

    fn span(&self, number: usize) -> Option<Span> {
        let run = self.runs.get(number)?;
        let next = self.runs.get(number + 1);
        Some(Span {
            v4: run.v4..next.map_or_else(|| count(self.v4.len()), |next| next.v4),
            v6: run.v6..next.map_or_else(|| count(self.v6.len()), |next| next.v6),
        })
    }

    /// Returns all entries of `group`. The entries of each file are sorted by address.
    pub(crate) fn all(&self, group: GroupId) -> impl Iterator<Item = Which> {
        self.spans(group).flat_map(Span::all)
    }

    /// Returns the entries of `group` that `wanted` accepts, in the order of their files. Several entries of one line
    /// are in ascending order, IPv4 first.
    pub(crate) fn in_order(&self, group: GroupId, wanted: impl Fn(Which) -> bool) -> Vec<Which> {
        let mut list = Vec::new();
        for span in self.spans(group) {
            let from = list.len();
            list.extend(span.all().filter(|which| wanted(*which)));
            if let Some(run) = list.get_mut(from..) {
                run.sort_by_key(|which| self.parts(*which).map(|(_, _, _, line)| line));
            }
        }
        list
    }

    pub(crate) fn v4(&self) -> &Column<u32> {
        &self.v4
    }

    pub(crate) fn v6(&self) -> &Column<u128> {
        &self.v6
    }

    /// Returns the second from which an entry is ignored: its own `until`, or that of its group.
    pub(crate) fn until(&self, which: Which, groups: &[GroupData]) -> Option<UnixSeconds> {
        let (meta, group, _, _) = self.parts(which)?;
        let own = self.meta(meta).and_then(|meta| meta.until);
        own.or_else(|| groups.get(index(group)).and_then(|group| group.meta.until))
    }

    pub(crate) fn rule<'p>(&'p self, which: Which, groups: &'p [GroupData]) -> Option<Rule<'p>> {
        let (meta, group, source, line) = self.parts(which)?;
        let meta = self.meta(meta);
        let data = groups.get(index(group))?;
        Some(Rule {
            group: data.name.as_deref(),
            group_index: None,
            cidr: self.cidr(which),
            host: meta.and_then(|meta| meta.host.as_deref()),
            note: meta.and_then(|meta| meta.note.as_deref()).or(data.meta.note.as_deref()),
            owner: meta.and_then(|meta| meta.owner.as_deref()).or(data.meta.owner.as_deref()),
            until: self.until(which, groups),
            file: self.sources.get(usize::try_from(source.0).ok()?).map(|name| &**name),
            line,
        })
    }

    pub(crate) fn group_of(&self, which: Which) -> Option<GroupId> {
        self.parts(which).map(|(_, group, _, _)| group)
    }

    pub(crate) fn cidr(&self, which: Which) -> Option<Cidr> {
        match which {
            Which::V4(id) => self.v4.prefix(id).map(|(addr, len)| Cidr::cut_v4(addr.into(), len)),
            Which::V6(id) => self.v6.prefix(id).map(|(addr, len)| Cidr::cut_v6(addr.into(), len)),
            Which::Unix => None,
        }
    }

    /// Returns the number of the entry's metadata, its group, its file and its line.
    fn parts(&self, which: Which) -> Option<(u32, GroupId, SourceId, u32)> {
        let (meta, line, next) = match which {
            Which::V4(id) => {
                let row = self.v4.row(id)?;
                (row.meta, row.line, self.runs.partition_point(|run| run.v4 <= id))
            }
            Which::V6(id) => {
                let row = self.v6.row(id)?;
                (row.meta, row.line, self.runs.partition_point(|run| run.v6 <= id))
            }
            Which::Unix => return None,
        };
        let run = self.runs.get(next.checked_sub(1)?)?;
        Some((meta, run.group, run.source, line))
    }
}

/// Orders expiry times so that the later one comes last.
pub(crate) fn longest_last(one: Option<UnixSeconds>, other: Option<UnixSeconds>) -> Ordering {
    // An entry without an expiry lasts longest.
    (one.is_none(), one).cmp(&(other.is_none(), other))
}

/// The entries of one run.
pub(crate) struct Span {
    pub(crate) v4: std::ops::Range<u32>,
    pub(crate) v6: std::ops::Range<u32>,
}

impl Span {
    pub(crate) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn all(self) -> impl Iterator<Item = Which> {
        self.v4.map(Which::V4).chain(self.v6.map(Which::V6))
    }
}

pub(crate) fn index(group: GroupId) -> usize {
    usize::try_from(group.0).unwrap_or(usize::MAX)
}

/// Returns the number of the next entry. `None` if the column is full.
fn next<K: Key>(column: &Column<K>) -> Option<u32> {
    u32::try_from(column.len()).ok().filter(|number| *number < MAX_ENTRIES)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
