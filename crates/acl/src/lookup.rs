//! A frozen longest-prefix table: sorted starts under a B+ tree of their block minima, and for each prefix the next
//! wider one. A lookup finds the last start that is not above the address, then climbs until a prefix covers it.
//!
//! Prefixes nest or are disjoint, so every prefix that covers the address is on that climb; it has at most as many
//! steps as the address has bits, and one or none in lists that people write.

/// Keys in a block: one cache line of `u32`.
const FAN: usize = 16;

/// An address as an unsigned number.
pub(crate) trait Key: Copy + Ord {
    const MAX: Self;
    /// Whether the first `len` bits are equal.
    fn same_prefix(self, other: Self, len: u8) -> bool;
    /// The last address of the prefix, and its successor where there is one.
    fn after(self, len: u8) -> Option<Self>;
}

macro_rules! key {
    ($int:ty) => {
        impl Key for $int {
            const MAX: Self = <$int>::MAX;

            #[inline]
            fn same_prefix(self, other: Self, len: u8) -> bool {
                (self ^ other).leading_zeros() >= u32::from(len)
            }

            fn after(self, len: u8) -> Option<Self> {
                let hosts = <$int>::MAX.checked_shr(u32::from(len)).unwrap_or(0);
                (self | hosts).checked_add(1)
            }
        }
    };
}
key!(u32);
key!(u128);

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
    /// From the root's single block down to all starts; each upper level holds the first key of every block below.
    levels: Vec<Vec<Block<K>>>,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Block<K>([K; FAN]);

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
        let starts: Vec<K> = prefixes.iter().map(|prefix| prefix.start).collect();
        Self { levels: tree(&starts), nodes: nest(prefixes) }
    }

    /// The prefixes that cover `addr`, the longest first.
    #[inline]
    pub(crate) fn covering(&self, addr: K) -> Covering<'_, K> {
        Covering { table: self, addr, next: self.last_start(addr) }
    }

    /// The number of the last prefix whose start is not above `addr`; [`TOP`] when all are.
    #[inline]
    fn last_start(&self, addr: K) -> u32 {
        let mut at = 0_usize;
        for level in &self.levels {
            // Padding equals the greatest address and counts as "not above" it: stay within what is there.
            at = at.min(level.len().wrapping_sub(1));
            let Some(block) = level.get(at) else { return TOP };
            let below: usize = block.0.iter().map(|key| usize::from(*key <= addr)).sum();
            let Some(last) = below.checked_sub(1) else { return TOP };
            at = at * FAN + last;
        }
        u32::try_from(at.min(self.nodes.len().wrapping_sub(1))).unwrap_or(TOP)
    }

    /// All prefixes in order: start, length, entry number, whether it may expire.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Prefix<K>> {
        let starts = self.levels.last().into_iter().flatten().flat_map(|block| block.0);
        starts.zip(&self.nodes).map(|(start, node)| Prefix {
            start,
            len: node.len(),
            entry: node.entry & !EXPIRES,
            expires: node.entry & EXPIRES != 0,
        })
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let blocks: usize = self.levels.iter().map(Vec::capacity).sum();
        blocks * size_of::<Block<K>>() + self.nodes.capacity() * size_of::<Node>()
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
            let start = self.table.levels.last()?.get(at / FAN)?.0[at % FAN];
            if self.addr.same_prefix(start, node.len()) {
                return Some((node.entry & !EXPIRES, node.entry & EXPIRES != 0));
            }
        }
    }
}

/// The levels from the root down; every one is padded with the greatest key to whole blocks.
fn tree<K: Key>(starts: &[K]) -> Vec<Vec<Block<K>>> {
    let mut levels = vec![blocks(starts)];
    while let Some(below) = levels.last().filter(|level| level.len() > 1) {
        let minima: Vec<K> = below.iter().map(|block| block.0[0]).collect();
        levels.push(blocks(&minima));
    }
    levels.reverse();
    levels
}

fn blocks<K: Key>(keys: &[K]) -> Vec<Block<K>> {
    keys.chunks(FAN)
        .map(|chunk| {
            let mut block = [K::MAX; FAN];
            block[..chunk.len()].copy_from_slice(chunk);
            Block(block)
        })
        .collect()
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
