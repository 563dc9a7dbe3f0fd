//! An immutable longest-prefix table over sorted start addresses. Each prefix knows the next wider prefix that
//! contains it. A lookup finds the last start that is not above the address. From there it climbs to wider prefixes
//! until one covers the address.
//!
//! Prefixes are nested or disjoint, so all prefixes that cover the address are on this climb. A climb has at most as
//! many steps as the address has bits. In the lists of most operators it has at most one step.
//!
//! An index by the leading bits of the address gives the few starts that can be the last one. They are all compared
//! at once, without a branch. If the list is so dense that there are many such starts, a B+ tree over the starts
//! decides.
//!
//! The starts belong to the entries themselves ([`Column`]). A table of one sorted run has only one word for each
//! prefix. A table of several runs also has the numbers of the entries in sorted order.

mod column;

use std::ops::Range;

pub(crate) use column::{Column, Row};

/// The ratio of the number of starts that are compared at once to the average number of starts in a slot. With this
/// ratio, dense slots are rare and the index is small compared with the starts.
const SPARE: usize = 4;

/// An address as an unsigned number.
pub(crate) trait Key: Copy + Ord {
    const ZERO: Self;
    const MAX: Self;
    /// The number of starts that are compared at once, and the width of the tree: one cache line of `u32`, two of
    /// `u128`.
    const FAN: usize;
    /// Returns whether the first `len` bits of both addresses are equal.
    fn same_prefix(self, other: Self, len: u8) -> bool;
    /// Returns the first address after the prefix. `None` if the prefix reaches the end of the address space.
    fn after(self, len: u8) -> Option<Self>;
    /// Returns the distance to a smaller address.
    fn minus(self, smaller: Self) -> Self;
    /// Returns the shift that reduces the distance `self` to at most `bits` bits. `bits` is less than 32.
    fn shift_to(self, bits: u32) -> u32;
    /// Returns the shifted distance from `first`. `None` for addresses below `first`.
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

/// The entries of a table, sorted by start, then by length. Among equal prefixes only the last one is used.
#[derive(Debug)]
pub(crate) enum Order {
    /// Consecutive entries of the column.
    AddressRun(Range<u32>),
    /// Entries by number.
    Mixed(Vec<u32>),
}

/// The table of one address family.
#[derive(Debug)]
pub(crate) struct Table<K> {
    index: Index<K>,
    order: Order,
    /// The levels of the tree. Each level has the first key of every [`Key::FAN`] keys of the level below, padded
    /// with the greatest key. The top level has at most [`Key::FAN`] keys.
    minima: Vec<Vec<K>>,
    nodes: Vec<Node>,
}

/// An index by the leading bits of an address.
#[derive(Debug)]
struct Index<K> {
    first: K,
    shift: u32,
    /// For each slot, the number of the last start that is not above the first address of the slot. The last element
    /// is the number of the last start of the table.
    slots: Vec<u32>,
}

/// One word with the number of the next wider prefix, a flag for entries that can expire, and the length of the
/// prefix.
#[derive(Clone, Copy, Debug)]
struct Node(u32);

/// The number that means "no wider prefix". It is the largest number in the bits beside a length of up to 128 and a
/// flag.
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

    /// Returns the entry at a position.
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

    /// Returns the prefixes that cover `addr`, the longest first. `column` must be the one from which the table was
    /// built.
    #[inline]
    pub(crate) fn covering<'t>(&'t self, column: &'t Column<K>, addr: K) -> Covering<'t, K> {
        Covering { table: self, column, addr, next: self.last_start(column, addr).unwrap_or(TOP) }
    }

    /// Returns the position of the last prefix whose start is not above `addr`. `None` if all starts are above
    /// `addr`.
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

    /// Returns the position of the first of [`Key::FAN`] starts, one of which is the last start not above `addr`. The
    /// first start of the table must not be above `addr`.
    #[cold]
    fn descend(&self, addr: K) -> usize {
        self.minima.iter().rev().fold(0, |at, level| {
            let window = level.get(at..).and_then(|level| level.get(..K::FAN)).unwrap_or_default();
            let below = not_above(window, addr);
            // The padding equals the greatest address and may count as "not above" it, so the position is limited to
            // the real keys.
            (at + below).saturating_sub(1).min(level.len() - K::FAN - 1) * K::FAN
        })
    }

    /// Returns the prefixes in order. Of equal prefixes, only the last one is returned.
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

    /// Returns the memory on the heap in bytes.
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

/// The climb from the longest prefix that covers an address to the widest one.
pub(crate) struct Covering<'t, K> {
    table: &'t Table<K>,
    column: &'t Column<K>,
    addr: K,
    next: u32,
}

impl<K: Key> Iterator for Covering<'_, K> {
    /// The number of the entry, and whether the entry can expire.
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
            // No start lies between the previous start and this one. So the previous start is the last one for all
            // slots up to this one.
            slots.resize(slots.len().max(slot(start) + 1), number(at.saturating_sub(1)));
        }
        slots.push(number(starts.len() - 1));
        Self { first: *first, shift, slots }
    }

    /// Returns the first and the last possible position of the last start not above `addr`. `None` if all starts are
    /// above `addr`.
    #[inline]
    fn range(&self, addr: K) -> Option<(usize, usize)> {
        let slot = addr.slot(self.first, self.shift)?.min(self.slots.len().checked_sub(2)?);
        let number = |at: usize| usize::try_from(*self.slots.get(at)?).ok();
        Some((number(slot)?, number(slot + 1)?))
    }
}

/// Returns how many of a few sorted keys are not above `addr`. All keys are compared, without a branch.
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

/// Finds the next wider prefix of each prefix. In sorted order, the prefixes that are still open form a stack. Of
/// equal prefixes only the last one is on a climb, so repeated entries add no steps.
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
