//! An immutable longest-prefix table over sorted start addresses, in which each prefix knows the next wider one. A
//! lookup finds the last start that is not above the address, then climbs until a prefix covers the address.
//!
//! Prefixes nest or are disjoint, so every prefix that covers the address is on that climb. The climb has at most as
//! many steps as the address has bits, and at most one in the lists of most operators.
//!
//! An index by leading bits gives the few starts that can be the last one; they are compared all at once, without a
//! branch. If a list is so crowded that there are many such starts, a B+ tree over the starts decides.
//!
//! The starts are those of the entries themselves ([`Column`]). A table of one sorted run has one word for each
//! prefix and nothing more. A table of several runs also has the numbers of the entries in sorted order.

mod column;

use std::ops::Range;

pub(crate) use column::{Column, Row};

/// Ratio of the starts that are compared at once to the average number of starts in a slot. With it, crowded slots
/// are rare, and the index is small compared with the starts.
const SPARE: usize = 4;

/// An address as an unsigned number.
pub(crate) trait Key: Copy + Ord {
    const ZERO: Self;
    const MAX: Self;
    /// Number of starts that are compared at once, and the width of the tree: one cache line of `u32`, two of `u128`.
    const FAN: usize;
    /// Whether the first `len` bits of both addresses are equal.
    fn same_prefix(self, other: Self, len: u8) -> bool;
    /// The first address after the prefix, if there is one.
    fn after(self, len: u8) -> Option<Self>;
    /// The distance from a smaller address.
    fn minus(self, smaller: Self) -> Self;
    /// The shift that reduces a distance of `self` to at most `bits` bits, fewer than 32.
    fn shift_to(self, bits: u32) -> u32;
    /// The distance from `first`, shifted; `None` for addresses below `first`.
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

/// One prefix of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix<K> {
    pub(crate) start: K,
    pub(crate) len: u8,
    pub(crate) entry: u32,
}

/// The entries of a table, sorted by start, then length. If entries are equal, the last one counts.
#[derive(Debug)]
pub(crate) enum Order {
    /// Consecutive entries of the column.
    AddressRun(Range<u32>),
    /// Entries by their numbers.
    Mixed(Vec<u32>),
}

/// The table of one address family.
#[derive(Debug)]
pub(crate) struct Table<K> {
    index: Index<K>,
    order: Order,
    /// The levels of the tree. Each level has the first key of every [`Key::FAN`] keys of the level below, padded
    /// with the greatest key. The last level has no more than [`Key::FAN`] keys.
    minima: Vec<Vec<K>>,
    nodes: Vec<Node>,
}

/// An index by the leading bits of an address.
#[derive(Debug)]
struct Index<K> {
    first: K,
    shift: u32,
    /// The number of the last start that is not above the slot's first address, for each slot. The last element is
    /// the number of the last start of all.
    slots: Vec<u32>,
}

/// One word with the number of the next wider prefix, whether the entry may expire, and the length.
#[derive(Clone, Copy, Debug)]
struct Node(u32);

/// The number that stands for "no wider prefix": the largest in the bits that a length of up to 128 and a flag leave.
pub(crate) const TOP: u32 = (1 << 23) - 1;
const EXPIRES: u32 = 1 << 8;

impl Node {
    fn new(parent: u32, len: u8, expires: bool) -> Self {
        let flag = if expires { EXPIRES } else { 0 };
        Self(parent << 9 | flag | u32::from(len))
    }

    fn parent(self) -> u32 {
        self.0 >> 9
    }

    fn expires(self) -> bool {
        self.0 & EXPIRES != 0
    }

    fn len(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

impl Order {
    fn len(&self) -> usize {
        match self {
            Self::AddressRun(run) => run.len(),
            Self::Mixed(ids) => ids.len(),
        }
    }

    /// The entry at a position.
    #[inline]
    fn id(&self, at: usize) -> Option<u32> {
        match self {
            Self::AddressRun(run) => {
                run.start.checked_add(u32::try_from(at).ok()?).filter(|id| *id < run.end)
            }
            Self::Mixed(ids) => ids.get(at).copied(),
        }
    }
}

impl<K: Key> Table<K> {
    /// Builds the table of the entries in `order`, at most [`TOP`] entries of `column`.
    pub(crate) fn new(column: &Column<K>, order: Order, expires: impl Fn(u32) -> bool) -> Self {
        let ids = (0..order.len()).filter_map(|at| order.id(at));
        let starts: Vec<K> = ids.filter_map(|id| column.start(id)).collect();
        let (index, minima) = (Index::new(&starts), minima(&starts));
        let nodes = nest(column, &order, expires);
        Self { index, order, minima, nodes }
    }

    /// The prefixes that cover `addr`, the longest first. `column` must be the one from which the table was built.
    #[inline]
    pub(crate) fn covering<'t>(&'t self, column: &'t Column<K>, addr: K) -> Covering<'t, K> {
        Covering { table: self, column, addr, next: self.last_start(column, addr).unwrap_or(TOP) }
    }

    /// The position of the last prefix whose start is not above `addr`; `None` if all starts are above it.
    #[inline]
    fn last_start(&self, column: &Column<K>, addr: K) -> Option<u32> {
        let (from, to) = self.index.range(addr)?;
        let from = if to - from < K::FAN { from } else { self.descend(addr) };
        let below = match &self.order {
            Order::AddressRun(run) => {
                let (first, end) = (usize::try_from(run.start).ok()?, usize::try_from(run.end).ok()?);
                // The starts after the run do not belong to this table.
                match first + from + K::FAN <= end {
                    true => not_above(column.starts(first + from, first + from + K::FAN)?, addr),
                    false => not_above(column.starts(first + from, end)?, addr),
                }
            }
            Order::Mixed(ids) => {
                let window = ids.iter().skip(from).take(K::FAN);
                window.map(|id| usize::from(column.start(*id).is_some_and(|start| start <= addr))).sum()
            }
        };
        u32::try_from(from + below.checked_sub(1)?).ok()
    }

    /// The position of the first of [`Key::FAN`] starts that include the last one not above `addr`. Requires that the
    /// first start of the table is not above `addr`.
    #[cold]
    fn descend(&self, addr: K) -> usize {
        self.minima.iter().rev().fold(0, |at, level| {
            let window = level.get(at..).and_then(|level| level.get(..K::FAN)).unwrap_or_default();
            let below = not_above(window, addr);
            // Padding equals the greatest address and counts as "not above" it, so the position is limited to the
            // real keys.
            (at + below).saturating_sub(1).min(level.len() - K::FAN - 1) * K::FAN
        })
    }

    /// The prefixes that count, in order, without all but the last of equal ones.
    pub(crate) fn iter(&self, column: &Column<K>) -> impl Iterator<Item = Prefix<K>> {
        let prefix = |at| {
            let entry = self.order.id(at)?;
            let (start, len) = column.prefix(entry)?;
            Some(Prefix { start, len, entry })
        };
        let same = |one: Prefix<K>, other: Prefix<K>| (one.start, one.len) == (other.start, other.len);
        (0..self.order.len()).filter_map(move |at| {
            let this = prefix(at)?;
            prefix(at + 1).is_none_or(|next| !same(this, next)).then_some(this)
        })
    }

    /// Memory on the heap, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let order = match &self.order {
            Order::AddressRun(_) => 0,
            Order::Mixed(ids) => ids.capacity() * size_of::<u32>(),
        };
        let minima = self.minima.iter().map(Vec::capacity).sum::<usize>() * size_of::<K>();
        let slots = self.index.slots.capacity() * size_of::<u32>();
        order + minima + slots + self.nodes.capacity() * size_of::<Node>()
    }
}

/// The climb from the longest covering prefix to the widest.
pub(crate) struct Covering<'t, K> {
    table: &'t Table<K>,
    column: &'t Column<K>,
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
            let entry = self.table.order.id(at)?;
            if self.addr.same_prefix(self.column.start(entry)?, node.len()) {
                return Some((entry, node.expires()));
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
            // Between the previous start and this one, no start begins, so the previous start is the last one for all
            // slots up to this one.
            slots.resize(slots.len().max(slot(start) + 1), number(at.saturating_sub(1)));
        }
        slots.push(number(starts.len() - 1));
        Self { first: *first, shift, slots }
    }

    /// The range of positions of the last start not above `addr`: first and last. `None` if all starts are above
    /// `addr`.
    #[inline]
    fn range(&self, addr: K) -> Option<(usize, usize)> {
        let slot = addr.slot(self.first, self.shift)?.min(self.slots.len().checked_sub(2)?);
        let number = |at: usize| usize::try_from(*self.slots.get(at)?).ok();
        Some((number(slot)?, number(slot + 1)?))
    }
}

/// The number of keys, of a few sorted ones, that are not above `addr`. All are compared, without a branch.
#[inline]
fn not_above<K: Key>(keys: &[K], addr: K) -> usize {
    keys.iter().map(|key| usize::from(*key <= addr)).sum()
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

/// Finds the next wider prefix of each prefix: in sorted order, the open prefixes form a stack. Of equal prefixes
/// only the last is on any climb, so repeated entries cost no steps.
fn nest<K: Key>(column: &Column<K>, order: &Order, expires: impl Fn(u32) -> bool) -> Vec<Node> {
    let mut open: Vec<(u32, K, u8)> = Vec::new();
    let mut nodes = Vec::with_capacity(order.len());
    let ids = (0..order.len()).filter_map(|at| order.id(at));
    let prefixes = ids.filter_map(|id| Some((id, column.prefix(id)?)));
    for (at, (id, (start, len))) in (0..).zip(prefixes) {
        while open.last().is_some_and(|(_, wider, wide)| len <= *wide || !start.same_prefix(*wider, *wide)) {
            open.pop();
        }
        let parent = open.last().map_or(TOP, |(parent, _, _)| *parent);
        nodes.push(Node::new(parent, len, expires(id)));
        open.push((at, start, len));
    }
    nodes
}

#[cfg(test)]
mod tests;
