//! The origin of each pending reply, in the order in which the client gets them.
//!
//! A client may send 300,000 commands to several nodes before it reads a reply, so the order costs one byte for each
//! change of the origin, and one byte for up to 127 repetitions.

use std::collections::VecDeque;

use super::leg::LegIndex;

/// A reply of the router's own.
const OWN: u8 = 126;
/// A command whose reply has an effect.
const APART: u8 = 127;
/// The bit that tells a number of repetitions from an origin.
const REPEAT: u8 = 0x80;
/// The capacity in bytes that an idle session keeps.
const IDLE_CAPACITY: usize = 32;
/// The bytes by which the queue grows at least, and at most in one step: doubling would cost twice the memory.
const GROWTH: (usize, usize) = (32, 64 * 1024);

/// The origin of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The reply of a leg to a command without an effect on the session.
    Leg(LegIndex),
    /// The router's own reply.
    Own,
    /// The reply to a command that has an effect.
    Apart,
}

impl Origin {
    fn code(self) -> u8 {
        match self {
            Self::Leg(leg) => leg.code(),
            Self::Own => OWN,
            Self::Apart => APART,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            OWN => Self::Own,
            APART => Self::Apart,
            leg => Self::Leg(LegIndex::of_code(leg)),
        }
    }
}

/// The origins of all pending replies.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The origin of the oldest reply, and of how many replies after it without a change.
    front: (u8, u64),
    /// The later origins: a code, then the numbers of its repetitions.
    later: VecDeque<u8>,
    /// The code of the newest reply.
    newest: u8,
    len: u64,
}

impl Order {
    /// Adds the newest reply.
    pub(super) fn push(&mut self, origin: Origin) {
        let code = origin.code();
        let repeats = self.newest == code;
        self.len += 1;
        self.newest = code;
        if self.front.1 == 0 {
            self.front = (code, 1);
            return;
        }
        if self.later.is_empty() && self.front.0 == code {
            self.front.1 += 1;
            return;
        }
        match self.later.back_mut() {
            Some(last) if repeats && *last & REPEAT != 0 && *last != u8::MAX => *last += 1,
            _ => {
                if self.later.len() == self.later.capacity() {
                    let (least, most) = GROWTH;
                    self.later.reserve_exact((self.later.len() / 4).clamp(least, most));
                }
                self.later.push_back(if repeats { REPEAT | 1 } else { code });
            }
        }
    }

    /// Returns the origin of the oldest reply, and the number of replies from it that follow each other.
    pub(super) fn front(&self) -> Option<(Origin, u64)> {
        (self.front.1 > 0).then(|| (Origin::of(self.front.0), self.front.1))
    }

    /// Removes the `n` oldest replies, which have the same origin.
    pub(super) fn pop(&mut self, n: u64) {
        let n = n.min(self.front.1);
        self.len -= n;
        self.front.1 -= n;
        if self.front.1 > 0 {
            return;
        }
        let Some(code) = self.later.pop_front() else { return };
        self.front = (code, 1);
        while let Some(byte) = self.later.front().copied().filter(|byte| byte & REPEAT != 0) {
            self.front.1 += u64::from(byte & !REPEAT);
            self.later.pop_front();
        }
        if self.later.is_empty() && self.later.capacity() > IDLE_CAPACITY {
            self.later = VecDeque::new();
        }
    }

    /// Returns the number of pending replies.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes of memory that the order occupies.
    pub(super) fn held(&self) -> usize {
        self.later.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(number: u8) -> Origin {
        Origin::Leg(LegIndex::of_code(number))
    }

    fn taken(order: &mut Order) -> Vec<(Origin, u64)> {
        let mut taken = Vec::new();
        while let Some((origin, n)) = order.front() {
            order.pop(n);
            taken.push((origin, n));
        }
        taken
    }

    #[test]
    fn origins_come_back_in_order() {
        let mut order = Order::default();
        for (origin, n) in [(leg(0), 300), (Origin::Own, 1), (leg(125), 2), (Origin::Apart, 129), (leg(0), 1)]
        {
            (0..n).for_each(|_| order.push(origin));
        }
        assert_eq!(order.len(), 433);
        let expected = [(leg(0), 300), (Origin::Own, 1), (leg(125), 2), (Origin::Apart, 129), (leg(0), 1)];
        assert_eq!(taken(&mut order), expected);
        assert!(order.is_empty());
    }

    #[test]
    fn a_run_at_the_front_grows_only_while_nothing_follows_it() {
        let mut order = Order::default();
        [leg(1), leg(2), leg(1)].into_iter().for_each(|origin| order.push(origin));
        order.pop(1);
        order.push(leg(1));
        assert_eq!(taken(&mut order), [(leg(2), 1), (leg(1), 2)]);
        order.push(leg(1));
        order.push(leg(1));
        assert_eq!(taken(&mut order), [(leg(1), 2)]);
    }

    #[test]
    fn replies_cost_one_byte_each_at_most() {
        let mut order = Order::default();
        (0..300_000_u32).for_each(|n| order.push(leg(u8::try_from(n % 3).expect("small"))));
        assert!(order.held() <= 300_000 + GROWTH.1, "{}", order.held());
        assert_eq!(taken(&mut order).len(), 300_000);
        (0..300_000).for_each(|_| order.push(leg(7)));
        order.push(leg(8));
        (0..300_000).for_each(|_| order.push(leg(7)));
        assert!(order.held() < 4096, "{}", order.held());
        assert_eq!(taken(&mut order), [(leg(7), 300_000), (leg(8), 1), (leg(7), 300_000)]);
        assert!(order.held() <= IDLE_CAPACITY);
    }
}
