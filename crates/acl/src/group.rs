//! Groups: named lists of networks, each entry remembered with the file and line it was written at.

use crate::cidr::Cidr;
use crate::decision::{Rule, Which};
use crate::origin::UnixSeconds;

/// The most entries of one family in all groups together: the table keeps an entry's number in 24 bits.
pub const MAX_ENTRIES: usize = (1 << 24) - 1;

/// The most groups, places in listeners with addresses of their own counted too: each named one is a label in metrics.
pub const MAX_GROUPS: usize = 10_000;

/// A group in the builder or policy that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub(crate) u32);

/// A file that entries were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(pub(crate) u32);

/// What an operator may say about an entry, or about a whole group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Why it is there.
    pub note: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// From this second on it counts as absent. On a group it holds for every entry without its own.
    pub until: Option<UnixSeconds>,
}

impl Meta {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.note.is_none() && self.owner.is_none() && self.until.is_none()
    }
}

/// One entry on its way into a [`crate::PolicyBuilder`].
#[derive(Clone, Debug)]
pub struct Entry {
    /// The network.
    pub cidr: Cidr,
    /// The line it was written at, from 1.
    pub line: u32,
    /// What was said about it.
    pub meta: Meta,
}

/// A group while it is being built, and the part of it a policy keeps.
#[derive(Clone, Debug)]
pub(crate) struct GroupData {
    /// `None`: addresses written in place.
    pub(crate) name: Option<Box<str>>,
    pub(crate) meta: Meta,
    pub(crate) includes: Vec<GroupId>,
    /// Filled when the policy is built: the number of own and included entries.
    pub(crate) total: usize,
    /// Filled when the policy is built: the moments at which own entries expire, sorted.
    pub(crate) untils: Vec<UnixSeconds>,
}

impl GroupData {
    pub(crate) fn new(name: Option<&str>, meta: Meta) -> Self {
        Self { name: name.map(Into::into), meta, includes: Vec::new(), total: 0, untils: Vec::new() }
    }
}

/// Every entry of every group, once; sets refer to them by number.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    v4: Vec<V4>,
    v6: Vec<V6>,
    runs: Vec<Run>,
    /// The numbers of each group's runs.
    by_group: Vec<Vec<usize>>,
    metas: Vec<Meta>,
    sources: Vec<Box<str>>,
}

/// 12 bytes: a million of them is common, so the length and the number of the meta share a word.
#[derive(Clone, Copy, Debug)]
struct V4 {
    addr: u32,
    line: u32,
    tail: Tail,
}

/// 24 bytes; the address in halves, or alignment would add 8.
#[derive(Clone, Copy, Debug)]
struct V6 {
    addr: [u64; 2],
    line: u32,
    tail: Tail,
}

/// The number of the meta (0: none) in the upper 24 bits, the prefix length in the lower 8.
#[derive(Clone, Copy, Debug)]
struct Tail(u32);

impl Tail {
    fn new(len: u8, meta: u32) -> Self {
        Self(meta << 8 | u32::from(len))
    }

    fn len(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    fn meta(self) -> u32 {
        self.0 >> 8
    }
}

/// Consecutive entries of one group from one file.
#[derive(Clone, Copy, Debug)]
struct Run {
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

    /// `None` when [`MAX_ENTRIES`] is reached.
    pub(crate) fn add(&mut self, group: GroupId, source: SourceId, entry: Entry) -> Option<()> {
        let (v4, v6) = (number(self.v4.len())?, number(self.v6.len())?);
        let meta = self.keep(entry.meta)?;
        if self.runs.last().is_none_or(|run| (run.group, run.source) != (group, source)) {
            if self.by_group.len() <= index(group) {
                self.by_group.resize_with(index(group) + 1, Vec::new);
            }
            self.by_group[index(group)].push(self.runs.len());
            self.runs.push(Run { v4, v6, group, source });
        }
        let tail = Tail::new(entry.cidr.net().prefix_len(), meta);
        match entry.cidr.net() {
            ipnet::IpNet::V4(net) => self.v4.push(V4 { addr: net.addr().to_bits(), line: entry.line, tail }),
            ipnet::IpNet::V6(net) => {
                self.v6.push(V6 { addr: halves(net.addr().to_bits()), line: entry.line, tail });
            }
        }
        Some(())
    }

    fn keep(&mut self, meta: Meta) -> Option<u32> {
        if meta.is_empty() {
            return Some(0);
        }
        self.metas.push(meta);
        number(self.metas.len())
    }

    fn meta(&self, tail: Tail) -> Option<&Meta> {
        let index = usize::try_from(tail.meta()).ok()?.checked_sub(1)?;
        self.metas.get(index)
    }

    pub(crate) fn shrink(&mut self) {
        self.v4.shrink_to_fit();
        self.v6.shrink_to_fit();
        self.metas.shrink_to_fit();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.v4.capacity() * size_of::<V4>() + self.v6.capacity() * size_of::<V6>()
    }

    /// For each run of `group`: the numbers of its IPv4 and IPv6 entries.
    pub(crate) fn spans(&self, group: GroupId) -> impl Iterator<Item = Span> {
        self.by_group.get(index(group)).into_iter().flatten().filter_map(|number| {
            let run = self.runs.get(*number)?;
            let next = self.runs.get(number + 1);
            Some(Span {
                v4: run.v4..next.map_or_else(|| count(self.v4.len()), |next| next.v4),
                v6: run.v6..next.map_or_else(|| count(self.v6.len()), |next| next.v6),
            })
        })
    }

    /// The entries of `group` as they follow each other in their files; of one line IPv4 first.
    pub(crate) fn in_order(&self, group: GroupId) -> impl Iterator<Item = Which> {
        self.spans(group).flat_map(move |Span { mut v4, mut v6 }| {
            std::iter::from_fn(move || {
                let v4_first = match (self.line(Which::V4(v4.start)), self.line(Which::V6(v6.start))) {
                    _ if v6.is_empty() => true,
                    _ if v4.is_empty() => false,
                    (v4, v6) => v4 <= v6,
                };
                if v4_first { v4.next().map(Which::V4) } else { v6.next().map(Which::V6) }
            })
        })
    }

    fn line(&self, which: Which) -> Option<u32> {
        match which {
            Which::V4(id) => self.v4.get(usize::try_from(id).ok()?).map(|entry| entry.line),
            Which::V6(id) => self.v6.get(usize::try_from(id).ok()?).map(|entry| entry.line),
            Which::Unix => None,
        }
    }

    pub(crate) fn v4(&self, id: u32) -> Option<(u32, u8)> {
        self.v4.get(usize::try_from(id).ok()?).map(|entry| (entry.addr, entry.tail.len()))
    }

    pub(crate) fn v6(&self, id: u32) -> Option<(u128, u8)> {
        self.v6.get(usize::try_from(id).ok()?).map(|entry| (whole(entry.addr), entry.tail.len()))
    }

    /// The moment from which an entry counts as absent, its group's where it has none of its own.
    pub(crate) fn until(&self, which: Which, groups: &[GroupData]) -> Option<UnixSeconds> {
        let (tail, group, _, _) = self.parts(which)?;
        let own = self.meta(tail).and_then(|meta| meta.until);
        own.or_else(|| groups.get(index(group)).and_then(|group| group.meta.until))
    }

    pub(crate) fn rule<'p>(&'p self, which: Which, groups: &'p [GroupData]) -> Option<Rule<'p>> {
        let (tail, group, source, line) = self.parts(which)?;
        let meta = self.meta(tail);
        let data = groups.get(index(group))?;
        Some(Rule {
            group: data.name.as_deref(),
            group_index: None,
            cidr: self.cidr(which),
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
            Which::V4(id) => self.v4(id).map(|(addr, len)| Cidr::cut_v4(addr.into(), len)),
            Which::V6(id) => self.v6(id).map(|(addr, len)| Cidr::cut_v6(addr.into(), len)),
            Which::Unix => None,
        }
    }

    fn parts(&self, which: Which) -> Option<(Tail, GroupId, SourceId, u32)> {
        let (tail, line, next) = match which {
            Which::V4(id) => {
                let entry = self.v4.get(usize::try_from(id).ok()?)?;
                (entry.tail, entry.line, self.runs.partition_point(|run| run.v4 <= id))
            }
            Which::V6(id) => {
                let entry = self.v6.get(usize::try_from(id).ok()?)?;
                (entry.tail, entry.line, self.runs.partition_point(|run| run.v6 <= id))
            }
            Which::Unix => return None,
        };
        let run = self.runs.get(next.checked_sub(1)?)?;
        Some((tail, run.group, run.source, line))
    }
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
}

pub(crate) fn index(group: GroupId) -> usize {
    usize::try_from(group.0).unwrap_or(usize::MAX)
}

fn number(len: usize) -> Option<u32> {
    if len > MAX_ENTRIES { None } else { u32::try_from(len).ok() }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn halves(bits: u128) -> [u64; 2] {
    let bytes = bits.to_be_bytes();
    let (high, low) = bytes.split_at(8);
    [high, low].map(|half| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

fn whole([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}
