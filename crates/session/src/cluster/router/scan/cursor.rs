//! The cursor of SCAN: everything that the next call must know. It means the same in every proxy.
//!
//! ```text
//!   bit 52   51        37..51   23..37     15..23       13..15         0..13
//!   1        follows   slot     end - 1    process id   node's epoch   position in the node's table
//! ```

use portcullis_resp::slot::SLOTS;
use sha2::{Digest, Sha256};

use super::view::View;

/// The bit that every cursor of the proxy has, so that the cursor of a node is not taken for one.
const MARK: u64 = 1 << 52;

/// The bits of a node's position that a cursor has. The bits above them only tell how far the node is within a part of
/// its table: Redis counts with the highest bit first. So a shorter position is an earlier one.
const POSITION_BITS: u32 = 13;

/// A pass over the table of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// Whether the pass is over the node to which the keys of one slot go, after a pass over the node that they leave.
    pub(super) follows: bool,
    /// The first slot of which keys are returned. All slots before it are done.
    pub(super) slot: u16,
    /// The slot after the last one of which keys are returned.
    pub(super) end: u16,
    /// A number that the process of the node has, and most others do not have.
    pub(super) process: u8,
    /// The end of the node's configuration epoch when the pass began. A node that gets a slot has another epoch.
    pub(super) epoch: u8,
    /// The position in the node's table. 0: the pass begins.
    pub(super) position: u64,
}

impl Pass {
    /// Begins a pass for the slots from this one on.
    pub(super) const fn from(slot: u16) -> Self {
        Self { follows: false, slot, end: slot + 1, process: 0, epoch: 0, position: 0 }
    }

    /// Begins a pass over the node that gets the keys of a slot, or has got them.
    pub(super) const fn following(slot: u16) -> Self {
        Self { follows: true, ..Self::from(slot) }
    }

    /// Returns the pass that a cursor stands for. `None`: the proxy did not make the cursor.
    pub(super) fn of(cursor: u64) -> Option<Self> {
        if cursor == 0 {
            return Some(Self::from(0));
        }
        let bits = |from: u32, n: u32| (cursor >> from) & ((1 << n) - 1);
        let small = |value: u64| u16::try_from(value).ok();
        let pass = Self {
            follows: bits(51, 1) == 1,
            slot: small(bits(37, 14))?,
            end: small(bits(23, 14) + 1)?,
            process: u8::try_from(bits(15, 8)).ok()?,
            epoch: u8::try_from(bits(13, 2)).ok()?,
            position: bits(0, POSITION_BITS),
        };
        let is_ours = cursor >> 52 == 1 && pass.end > pass.slot;
        (is_ours && (!pass.follows || pass.end == pass.slot + 1)).then_some(pass)
    }

    /// Returns the cursor for the next call. 0: all slots are done.
    pub(super) fn cursor(&self) -> u64 {
        if self.slot >= SLOTS {
            return 0;
        }
        MARK | u64::from(self.follows) << 51
            | u64::from(self.slot) << 37
            | u64::from(self.end - 1) << 23
            | u64::from(self.process) << 15
            | u64::from(self.epoch) << 13
            | self.position
    }

    /// Returns the number for the process of a node.
    pub(super) fn process_of(node: &str, run: &[u8]) -> u8 {
        let hash = Sha256::new().chain_update(node).chain_update([0]).chain_update(run).finalize();
        hash.first().copied().unwrap_or(0)
    }

    /// Returns whether this node's epoch is the one with which the pass began.
    pub(super) const fn began_at(&self, view: &View<'_>) -> bool {
        self.epoch == Self::epoch_of(view)
    }

    /// Returns the end of a node's epoch.
    pub(super) const fn epoch_of(view: &View<'_>) -> u8 {
        (view.epoch & 3) as u8
    }
}

/// Shortens the position of a node.
pub(super) const fn shortened(position: u64) -> u64 {
    position & ((1 << POSITION_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_brings_its_pass_back() {
        let pass = Pass {
            follows: false,
            slot: 5461,
            end: SLOTS,
            process: 200,
            epoch: 3,
            position: (1 << POSITION_BITS) - 1,
        };
        let following = Pass { position: 1, ..Pass::following(SLOTS - 1) };
        for pass in [pass, following, Pass::from(1), Pass { slot: 0, end: 1, ..pass }] {
            let cursor = pass.cursor();
            assert!(cursor < 1 << 53, "{cursor}");
            assert_eq!(Pass::of(cursor), Some(pass));
        }
        assert_eq!(Pass::of(0), Some(Pass::from(0)));
        assert_eq!(Pass::from(SLOTS).cursor(), 0);
    }

    #[test]
    fn other_cursors_are_not_ours() {
        for cursor in [1, 17, 1 << 32, MARK - 1, MARK << 1, MARK | MARK << 1, u64::MAX] {
            assert_eq!(Pass::of(cursor), None, "{cursor}");
        }
        // The end is before the slot.
        assert_eq!(Pass::of(MARK | 100 << 37 | 50 << 23), None);
    }

    #[test]
    fn a_shortened_position_is_an_earlier_one() {
        let turned = |position: u64, bits: u32| position.reverse_bits() >> (64 - bits);
        for position in [0_u64, 1, 8191, 8192, 12_345, (1 << 20) - 1] {
            assert!(turned(shortened(position), 20) <= turned(position, 20));
        }
    }
}
