//! A frozen longest-prefix table: sorted starts, and for each prefix the next wider one. A lookup finds the last start
//! that is not above the address, then climbs until a prefix covers it.
//!
//! Prefixes nest or are disjoint, so every prefix that covers the address is on that climb; it has at most as many
//! steps as the address has bits, and one or none in lists that people write.
//!
//! An index by leading bits names the few starts that come into question, which are compared all at once, without a
//! branch. Where a list is so crowded that they are many, a B+ tree over the starts decides.

/// How many times more starts are compared than a slot of the index has on average: crowded slots stay rare, and the
/// index is small beside the starts.
const SPARE: usize = 4;

/// An address as an unsigned number.
pub(crate) trait Key: Copy + Ord {
    const ZERO: Self;
    const MAX: Self;
    /// Starts that are compared at once, and the width of the tree: one cache line of `u32`, two of `u128`.
    const FAN: usize;
    /// Whether the first `len` bits are equal.
    fn same_prefix(self, other: Self, len: u8) -> bool;
    /// The first address after the prefix, where there is one.
    fn after(self, len: u8) -> Option<Self>;
    /// The distance from a smaller key.
    fn minus(self, smaller: Self) -> Self;
    /// How far to shift a distance of `self` so that it takes at most `bits` bits, fewer than 32.
    fn shift_to(self, bits: u32) -> u32;
    /// The distance from `first`, shifted; `None` below it.
    fn slot(self, first: Self, shift: u32) -> Option<usize>;
}

macro_rules! key {
    ($int:ty, $fan:literal) => {
        impl Key for $int {
            const ZERO: Self = 0;
            const MAX: Self = <$int>::MAX;
            const FAN: usize = $fan;

            #[inline]
            fn same_prefix(self, other: Self, len: u8) -> bool {
                (self ^ other).leading_zeros() >= u32::from(len)
            }

            fn after(self, len: u8) -> Option<Self> {
                let hosts = <$int>::MAX.checked_shr(u32::from(len)).unwrap_or(0);
                (self | hosts).checked_add(1)
            }

            fn minus(self, smaller: Self) -> Self {
                self.saturating_sub(smaller)
            }

            fn shift_to(self, bits: u32) -> u32 {
                (<$int>::BITS - self.leading_zeros()).saturating_sub(bits)
            }

            #[inline]
            fn slot(self, first: Self, shift: u32) -> Option<usize> {
                let distance = self.checked_sub(first)?.checked_shr(shift).unwrap_or(0);
                Some(usize::try_from(distance).unwrap_or(usize::MAX))
            }
        }
    };
}
key!(u32, 16);
key!(u128, 8);

/// One prefix of a set: where it starts, how long it is, which entry it is, and whether that entry may expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix<K> {
    pub(crate) start: K,
    pub(crate) len: u8,
    pub(crate) entry: u32,
    pub(crate) expires: bool,
}

/// The table of one address family.
#[derive(Debug)]
pub(crate) struct Table<K> {
    index: Index<K>,
    /// Padded with the greatest key: [`Key::FAN`] may be read from any start on.
    starts: Vec<K>,
    /// Level over level the first key of every [`Key::FAN`] keys below, padded likewise, until no more than that are
    /// left.
    minima: Vec<Vec<K>>,
    nodes: Vec<Node>,
}

/// Where to look for an address, by its leading bits.
#[derive(Debug)]
struct Index<K> {
    first: K,
    shift: u32,
    /// For each slot the number of the last start that is not above the slot's first address; then the last of all.
    slots: Vec<u32>,
}

/// Two words a prefix: the wider prefix and the length; the entry and whether it may expire.
#[derive(Clone, Copy, Debug)]
struct Node {
    up: u32,
    entry: u32,
}

/// No wider prefix.
const TOP: u32 = (1 << 24) - 1;
const EXPIRES: u32 = 1 << 31;

impl Node {
    fn new(parent: Option<u32>, len: u8, entry: u32, expires: bool) -> Self {
        let flag = if expires { EXPIRES } else { 0 };
        Self { up: parent.unwrap_or(TOP) << 8 | u32::from(len), entry: entry | flag }
    }

    fn parent(self) -> u32 {
        self.up >> 8
    }

    fn len(self) -> u8 {
        self.up.to_le_bytes()[0]
    }
}

impl<K: Key> Table<K> {
    /// `prefixes` sorted by start, then length, no (start, length) twice, fewer than [`crate::group::MAX_ENTRIES`].
    pub(crate) fn new(prefixes: &[Prefix<K>]) -> Self {
        let mut starts: Vec<K> = Vec::with_capacity(prefixes.len() + K::FAN);
        starts.extend(prefixes.iter().map(|prefix| prefix.start));
        let (index, minima) = (Index::new(&starts), minima(&starts));
        pad(&mut starts);
        Self { index, starts, minima, nodes: nest(prefixes) }
    }

    /// The prefixes that cover `addr`, the longest first.
    #[inline]
    pub(crate) fn covering(&self, addr: K) -> Covering<'_, K> {
        Covering { table: self, addr, next: self.last_start(addr) }
    }

    /// The number of the last prefix whose start is not above `addr`; [`TOP`] when all are.
    #[inline]
    fn last_start(&self, addr: K) -> u32 {
        let Some((from, to)) = self.index.range(addr) else { return TOP };
        let from = if to - from < K::FAN { from } else { self.descend(addr) };
        let Some(last) = last_in(&self.starts, from, addr) else { return TOP };
        // Padding equals the greatest address and counts as "not above" it: stay within what is there.
        u32::try_from(last.min(self.nodes.len() - 1)).unwrap_or(TOP)
    }

    /// The first of the [`Key::FAN`] starts among which is the last one not above `addr`, which is not below the first.
    #[cold]
    fn descend(&self, addr: K) -> usize {
        self.minima.iter().rev().fold(0, |at, level| {
            let last = last_in(level, at, addr).unwrap_or(at);
            // As in `last_start`: not into the padding.
            last.min(level.len() - K::FAN - 1) * K::FAN
        })
    }

    /// All prefixes in order: start, length, entry number, whether it may expire.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Prefix<K>> {
        let starts = self.starts.iter().copied();
        starts.zip(&self.nodes).map(|(start, node)| Prefix {
            start,
            len: node.len(),
            entry: node.entry & !EXPIRES,
            expires: node.entry & EXPIRES != 0,
        })
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let keys = self.starts.capacity() + self.minima.iter().map(Vec::capacity).sum::<usize>();
        let slots = self.index.slots.capacity() * size_of::<u32>();
        keys * size_of::<K>() + self.nodes.capacity() * size_of::<Node>() + slots
    }
}

/// The climb from the longest covering prefix to the widest.
pub(crate) struct Covering<'t, K> {
    table: &'t Table<K>,
    addr: K,
    next: u32,
}

impl<K: Key> Iterator for Covering<'_, K> {
    /// The entry number, and whether it may expire.
    type Item = (u32, bool);

    #[inline]
    fn next(&mut self) -> Option<(u32, bool)> {
        loop {
            let at = usize::try_from(self.next).ok()?;
            let node = *self.table.nodes.get(at)?;
            self.next = node.parent();
            let start = *self.table.starts.get(at)?;
            if self.addr.same_prefix(start, node.len()) {
                return Some((node.entry & !EXPIRES, node.entry & EXPIRES != 0));
            }
        }
    }
}

impl<K: Key> Index<K> {
    fn new(starts: &[K]) -> Self {
        let (Some(first), Some(last)) = (starts.first(), starts.last()) else {
            return Self { first: K::ZERO, shift: 0, slots: Vec::new() };
        };
        let wanted = (starts.len() * SPARE / K::FAN).max(1);
        let span = last.minus(*first);
        let shift = span.shift_to(wanted.ilog2());
        let slot = |key: &K| key.slot(*first, shift).unwrap_or(0);
        let mut slots = Vec::with_capacity(slot(last) + 2);
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        for (at, start) in starts.iter().enumerate() {
            // For every slot up to this start's the one before it is the last that is not above the slot.
            slots.resize(slots.len().max(slot(start) + 1), number(at.saturating_sub(1)));
        }
        slots.push(number(starts.len() - 1));
        Self { first: *first, shift, slots }
    }

    /// The first and the last number that the last start not above `addr` may have; `None` when all are above it.
    #[inline]
    fn range(&self, addr: K) -> Option<(usize, usize)> {
        let slot = addr.slot(self.first, self.shift)?.min(self.slots.len().checked_sub(2)?);
        let number = |at: usize| usize::try_from(*self.slots.get(at)?).ok();
        Some((number(slot)?, number(slot + 1)?))
    }
}

/// Of [`Key::FAN`] keys the last that is not above `addr`, as its place among all.
#[inline]
fn last_in<K: Key>(keys: &[K], from: usize, addr: K) -> Option<usize> {
    let window = keys.get(from..)?.get(..K::FAN)?;
    let below: usize = window.iter().map(|key| usize::from(*key <= addr)).sum();
    Some(from + below.checked_sub(1)?)
}

fn minima<K: Key>(starts: &[K]) -> Vec<Vec<K>> {
    let mut levels: Vec<Vec<K>> = Vec::new();
    let mut below = starts;
    while below.len() > K::FAN {
        levels.push(below.iter().step_by(K::FAN).copied().collect());
        below = levels.last().map_or(&[], Vec::as_slice);
    }
    levels.iter_mut().for_each(pad);
    levels
}

fn pad<K: Key>(keys: &mut Vec<K>) {
    keys.extend(std::iter::repeat_n(K::MAX, K::FAN));
    keys.shrink_to_fit();
}

/// Finds each prefix's next wider one: in sorted order the open prefixes form a stack.
fn nest<K: Key>(prefixes: &[Prefix<K>]) -> Vec<Node> {
    let mut open: Vec<(u32, Prefix<K>)> = Vec::new();
    let mut nodes = Vec::with_capacity(prefixes.len());
    for (number, prefix) in (0..).zip(prefixes) {
        while open.last().is_some_and(|(_, wider)| !prefix.start.same_prefix(wider.start, wider.len)) {
            open.pop();
        }
        let parent = open.last().map(|(number, _)| *number);
        nodes.push(Node::new(parent, prefix.len, prefix.entry, prefix.expires));
        open.push((number, *prefix));
    }
    nodes
}

#[cfg(test)]
mod tests;
