//! Copies of the frames whose replies are pending on a leg. A node may answer that another node has the slot, and then
//! the frame is sent there.

use std::collections::VecDeque;

/// The longest frame in bytes that is kept. The MOVED or ASK of a longer one becomes an error that asks the client to
/// try again.
pub(super) const MAX_FRAME: usize = 16 * 1024;

/// The bytes of memory that a frame costs besides its own.
const PER_FRAME: usize = size_of::<Lengths>();
/// The bytes by which the queues grow in one step. Doubling would cost twice the memory.
const STEP: usize = 16 * 1024;
/// The bytes of forgotten frames that stay in front of the others at most. Most often the others follow soon, and then
/// nothing has to be moved.
const MAX_FORGOTTEN: usize = 1024;

/// The frames of the pending commands of one leg, oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    lengths: VecDeque<Lengths>,
    /// The frames, after `forgotten` bytes of those that were removed.
    bytes: VecDeque<u8>,
    forgotten: usize,
}

/// Frames of one length that follow each other. Length 0: the frames were not kept.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    len: u16,
    n: u16,
}

impl Kept {
    /// Returns whether a frame of this length is kept, where the session may still keep `room` bytes.
    pub(super) const fn fits(len: usize, room: usize) -> bool {
        len <= MAX_FRAME && len + PER_FRAME <= room
    }

    /// Adds the frame of the newest command. `room` is the number of bytes that the session may still keep.
    pub(super) fn push(&mut self, frame: &[u8], room: usize) {
        let frame = if Self::fits(frame.len(), room) { frame } else { &[] };
        let len = u16::try_from(frame.len()).unwrap_or(0);
        if self.bytes.capacity() - self.bytes.len() < frame.len() {
            self.bytes.reserve_exact(frame.len().max(self.bytes.len().min(STEP)));
        }
        self.bytes.extend(frame);
        match self.lengths.back_mut() {
            Some(last) if last.len == len && last.n < u16::MAX => last.n += 1,
            _ => self.lengths.push_back(Lengths { len, n: 1 }),
        }
    }

    /// Forgets the `n` oldest frames.
    pub(super) fn pop(&mut self, mut n: u64) {
        while n > 0
            && let Some(first) = self.lengths.front_mut()
        {
            let here = u16::try_from(n).unwrap_or(u16::MAX).min(first.n);
            self.forgotten += usize::from(here) * usize::from(first.len);
            n -= u64::from(here);
            first.n -= here;
            if first.n == 0 {
                self.lengths.pop_front();
            }
        }
        if self.forgotten >= self.bytes.len() {
            self.bytes.clear();
            self.forgotten = 0;
            self.shrink();
        } else if self.forgotten > MAX_FORGOTTEN {
            self.bytes.drain(..self.forgotten);
            self.forgotten = 0;
        }
    }

    /// Removes the oldest frame and returns it. `None`: it was not kept.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let frame = self.oldest();
        self.pop(1);
        frame
    }

    /// Returns a copy of the oldest frame. `None`: it was not kept.
    pub(super) fn oldest(&self) -> Option<Vec<u8>> {
        let len = self.lengths.front().map(|first| usize::from(first.len)).filter(|len| *len > 0)?;
        Some(self.bytes.range(self.forgotten..self.forgotten + len).copied().collect())
    }

    /// Calls `each` with the frames, oldest first, as long as it returns `true`. `None`: the frame was not kept.
    pub(super) fn all(&self, mut each: impl FnMut(Option<&[u8]>) -> bool) -> bool {
        let mut at = self.forgotten;
        for Lengths { len, n } in &self.lengths {
            for _ in 0..*n {
                let next = at + usize::from(*len);
                let frame: Vec<u8> = self.bytes.range(at..next).copied().collect();
                if !each((*len > 0).then_some(&frame)) {
                    return false;
                }
                at = next;
            }
        }
        true
    }

    /// Returns the bytes that count against the limit of the session.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() - self.forgotten + self.lengths.len() * PER_FRAME
    }

    /// Returns the bytes of memory that the frames occupy.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity() + self.lengths.capacity() * PER_FRAME
    }

    /// Gives back the memory of a long queue that is empty.
    fn shrink(&mut self) {
        if self.bytes.capacity() > 1024 {
            self.bytes = VecDeque::new();
        }
        if self.lengths.is_empty() && self.lengths.capacity() > 16 {
            self.lengths = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_order_and_some_are_not_kept() {
        let mut kept = Kept::default();
        kept.push(b"one", 1000);
        kept.push(b"two", 1000);
        kept.push(b"three", 3);
        kept.push(&[b'x'; MAX_FRAME + 1], usize::MAX);
        kept.push(b"four", 1000);
        let mut seen = Vec::new();
        kept.all(|frame| {
            seen.push(frame.map(<[u8]>::to_vec));
            true
        });
        let expected = [Some(b"one".to_vec()), Some(b"two".to_vec()), None, None, Some(b"four".to_vec())];
        assert_eq!(seen, expected);
        assert_eq!(kept.take(), Some(b"one".to_vec()));
        kept.pop(2);
        assert_eq!(kept.take(), None);
        assert_eq!(kept.take(), Some(b"four".to_vec()));
        assert_eq!((kept.take(), kept.size()), (None, 0));
    }

    #[test]
    fn a_long_queue_gives_its_memory_back_while_it_is_used() {
        let mut kept = Kept::default();
        let frame = |n: u32| format!("frame {n:5}").into_bytes();
        (0..100).for_each(|n| kept.push(&frame(n), usize::MAX));
        for n in 100..10_000 {
            kept.push(&frame(n), usize::MAX);
            assert_eq!(kept.oldest(), Some(frame(n - 100)));
            kept.pop(1);
        }
        assert_eq!(kept.size(), 100 * frame(0).len() + PER_FRAME);
        assert!(kept.held() < 8 * 1024, "{}", kept.held());
        let mut seen = 9_900;
        kept.all(|kept| {
            assert_eq!(kept, Some(&*frame(seen)));
            seen += 1;
            true
        });
        assert_eq!(seen, 10_000);
    }

    #[test]
    fn frames_that_are_not_kept_cost_nothing() {
        let mut kept = Kept::default();
        (0..1_000_000).for_each(|_| kept.push(b"not kept", 0));
        assert!(kept.held() < 1024);
        kept.pop(1_000_000);
        assert_eq!(kept.size(), 0);
    }
}
