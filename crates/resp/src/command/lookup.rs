//! Finds ids by name with one multiplication, one cache line and one comparison of two words.

use std::ops::Range;

use super::CommandId;
use super::table::TABLE;

/// Returns the command with this name, in any case. `None` if the table has no such command. Allocates nothing.
#[inline]
#[must_use]
pub fn lookup(name: &[u8]) -> Option<CommandId> {
    let key = Key::of(name);
    let mut slot = key.slot();
    // The table is never full, so an empty slot ends the search.
    while let Some(entry) = SLOTS.get(slot)
        && entry.id != CommandId::UNKNOWN
    {
        if entry.key.is(key)
            && (name.len() <= Key::WHOLE || name.eq_ignore_ascii_case(entry.id.name().as_bytes()))
        {
            return Some(entry.id);
        }
        slot = (slot + 1) % SLOTS_LEN;
    }
    None
}

/// Returns the subcommand of `top` with this name (without the container's), in any case. `None` if there is none.
#[must_use]
pub fn lookup_subcommand(top: CommandId, name: &[u8]) -> Option<CommandId> {
    subcommands(top).filter_map(CommandId::from_index).find(|id| {
        let (_, own) = id.name().split_once('|').unwrap_or_default();
        own.as_bytes().eq_ignore_ascii_case(name)
    })
}

pub(super) fn top(id: CommandId) -> CommandId {
    FAMILIES.get(id.index()).map_or(id, |family| family.top)
}

/// Returns the indices of the subcommands of `id`.
pub(super) fn subcommands(id: CommandId) -> Range<usize> {
    let begin = id.index().saturating_add(1);
    match FAMILIES.get(id.index()) {
        Some(family) if family.top == id => begin..usize::from(family.end).max(begin),
        _ => begin..begin,
    }
}

/// A name in lower case: its length, and its first and last 8 bytes, which overlap if the name has less than 16
/// bytes. A name of up to [`Key::WHOLE`] bytes is completely in the key.
#[derive(Clone, Copy)]
struct Key {
    len: usize,
    first: u64,
    last: u64,
}

impl Key {
    const WHOLE: usize = 16;

    const NONE: Self = Self { len: 0, first: 0, last: 0 };

    #[inline(always)]
    const fn of(name: &[u8]) -> Self {
        let len = name.len();
        if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            return Self {
                len,
                first: lower(u64::from_le_bytes(*first)),
                last: lower(u64::from_le_bytes(*last)),
            };
        }
        let all = match name {
            [a] => [*a, 0, 0, 0, 0, 0, 0, 0],
            [a, b] => [*a, *b, 0, 0, 0, 0, 0, 0],
            [a, b, c] => [*a, *b, *c, 0, 0, 0, 0, 0],
            [a, b, c, d, ..] => match name.last_chunk() {
                Some([e, f, g, h]) => [*a, *b, *c, *d, *e, *f, *g, *h],
                None => [0; 8],
            },
            [] => [0; 8],
        };
        Self { len, first: lower(u64::from_le_bytes(all)), last: 0 }
    }

    #[inline(always)]
    const fn is(self, other: Self) -> bool {
        self.len == other.len && self.first == other.first && self.last == other.last
    }

    #[inline(always)]
    const fn slot(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(23)).wrapping_mul(MIX);
        // The highest bits of a product depend on the whole product.
        let [.., low, high] = mixed.to_le_bytes();
        (u16::from_le_bytes([low, high]) >> (u16::BITS - SLOT_BITS)) as usize
    }
}

/// Converts `A` to `Z` to lower case in all eight bytes at once. Other bytes stay unchanged.
#[inline(always)]
const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (ONES * 0x7f);
    // No sum overflows its byte: 0x7f + 0x3f < 0x100.
    let from_a = low + ONES * (0x80 - 0x41);
    let behind_z = low + ONES * (0x80 - 0x5b);
    let upper = (from_a ^ behind_z) & !word & (ONES * 0x80);
    word | (upper >> 2)
}

/// An odd factor with well-spread bits: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
const SLOT_BITS: u32 = 11;
/// The number of slots in the hash table. Less than a quarter of them are used, so the first slot is nearly always
/// the right one.
const SLOTS_LEN: usize = 1 << SLOT_BITS;

#[derive(Clone, Copy)]
struct Slot {
    key: Key,
    id: CommandId,
}

static SLOTS: [Slot; SLOTS_LEN] = slots();

const fn slots() -> [Slot; SLOTS_LEN] {
    assert!(TABLE.len() <= SLOTS_LEN / 2);
    let mut slots = [Slot { key: Key::NONE, id: CommandId::UNKNOWN }; SLOTS_LEN];
    let mut index = 1;
    while index < CommandId::COUNT {
        let name = TABLE[index - 1].name.as_bytes();
        if !is_subcommand(name) {
            let key = Key::of(name);
            let mut slot = key.slot();
            while slots[slot].id.index() != 0 {
                slot = (slot + 1) % SLOTS_LEN;
            }
            slots[slot] = Slot { key, id: id_of(index) };
        }
        index += 1;
    }
    slots
}

/// The family of a command: its container and the range of its subcommands in the table.
#[derive(Clone, Copy)]
struct Family {
    top: CommandId,
    /// The index after the last subcommand.
    end: u16,
}

static FAMILIES: [Family; CommandId::COUNT] = families();

const fn families() -> [Family; CommandId::COUNT] {
    let mut families = [Family { top: CommandId::UNKNOWN, end: 0 }; CommandId::COUNT];
    let mut top = 0;
    let mut index = 1;
    while index < CommandId::COUNT {
        if !is_subcommand(TABLE[index - 1].name.as_bytes()) {
            top = index;
        }
        families[index].top = id_of(top);
        families[top].end = id_of(index).0 + 1;
        index += 1;
    }
    families
}

/// Returns whether a name has a bar. Only names of subcommands have one.
const fn is_subcommand(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, after @ ..] = rest {
        if *first == b'|' {
            return true;
        }
        rest = after;
    }
    false
}

/// Returns the id with this index. Evaluated at compile time, where an index out of range stops the build.
const fn id_of(index: usize) -> CommandId {
    assert!(index <= 0xffff);
    let [low, high, ..] = index.to_le_bytes();
    CommandId(u16::from_le_bytes([low, high]))
}
