//! Buffers that are leased only while bytes are in flight.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::task::Waker;

/// Bytes of one read: HAProxy's and Redis's size, and a quarter of the kernel's smallest receive buffer.
pub(crate) const LEASE: usize = 16 * 1024;

/// Below this size, the rest of a frame is moved to a buffer of just its size, so that a client which stops in the
/// middle of a command costs little.
const PARK_BELOW: usize = 512;

/// Bytes are moved to the front of their buffer rather than that a read has less room than this.
const MIN_READ: usize = 4 * 1024;

/// A worker keeps this many free buffers for the next lease: 1 MiB, what 64 busy clients need at once.
const KEPT: usize = 64;

/// The buffers of one worker, and the bound on all of them together.
#[derive(Debug)]
pub(crate) struct BufferPool {
    free: RefCell<Vec<Box<[u8]>>>,
    in_use: Cell<usize>,
    /// Bytes that sessions hold besides leases.
    aside: Cell<usize>,
    cap: Cell<usize>,
    waiting: RefCell<Waiting>,
}

/// Tasks that wait for a buffer, each once: thousands may wait, and each looks again at every tick.
#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Waker>,
    known: HashSet<*const ()>,
}

impl Waiting {
    fn push(&mut self, waker: &Waker) {
        if self.known.insert(waker.data()) {
            self.queue.push_back(waker.clone());
        }
    }

    fn pop(&mut self) -> Option<Waker> {
        let waker = self.queue.pop_front()?;
        self.known.remove(&waker.data());
        Some(waker)
    }
}

impl BufferPool {
    /// A pool whose leases together stay below `cap` bytes.
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            free: RefCell::default(),
            in_use: Cell::new(0),
            aside: Cell::new(0),
            cap: Cell::new(cap),
            waiting: RefCell::default(),
        }
    }

    /// Leases together stay below `cap` bytes from now on. What is leased already stays so until it is given back.
    pub(crate) fn set_cap(&self, cap: usize) {
        self.cap.set(cap);
    }

    /// Replaces `before` by `now` in the bytes that a session holds outside its leases: they count like leases.
    pub(crate) fn count_aside(&self, before: usize, now: usize) {
        self.aside.set(self.aside.get().saturating_sub(before).saturating_add(now));
    }

    /// Whether a session waits for a buffer.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting() > 0
    }

    /// Returns the number of sessions that wait for a buffer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().queue.len()
    }

    /// Wakes `waker` once there is room again.
    pub(crate) fn wait(&self, waker: &Waker) {
        self.waiting.borrow_mut().push(waker);
    }

    /// Wakes all waiting sessions: some may have ended since, and their wakeup was lost.
    pub(crate) fn wake_all(&self) {
        for waker in self.waiting.take().queue {
            waker.wake();
        }
    }

    fn lease(&self, size: usize) -> Option<Box<[u8]>> {
        if self.in_use.get().saturating_add(self.aside.get()).saturating_add(size) > self.cap.get() {
            return None;
        }
        self.in_use.set(self.in_use.get() + size);
        if size == LEASE
            && let Some(free) = self.free.borrow_mut().pop()
        {
            return Some(free);
        }
        Some(vec![0; size].into_boxed_slice())
    }

    fn give_back(&self, data: Box<[u8]>) {
        self.in_use.set(self.in_use.get().saturating_sub(data.len()));
        let mut free = self.free.borrow_mut();
        if data.len() == LEASE && free.len() < KEPT {
            free.push(data);
        }
        drop(free);
        if self.is_short() {
            self.wake_next();
        }
    }

    fn wake_next(&self) {
        let next = self.waiting.borrow_mut().pop();
        if let Some(waker) = next {
            waker.wake();
        }
    }

    /// Takes `large` back for `small`, which is less: there is always room for that, at the cap too.
    fn exchange(&self, small: Vec<u8>, large: Box<[u8]>) -> Box<[u8]> {
        let small = small.into_boxed_slice();
        self.in_use.set(self.in_use.get() + small.len());
        self.give_back(large);
        small
    }
}

/// Bytes that were read and not yet consumed. Holds no memory while there are none.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    data: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Returns the bytes that were read and not consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.data.as_ref().map_or(&[], |data| &data[self.start..self.end])
    }

    /// Drops bytes from the front.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start = self.end.min(self.start + len);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room to read into, with space for at least `total` bytes in all. `None`: the pool has none to give.
    pub(crate) fn room(&mut self, total: usize, pool: &BufferPool) -> Option<&mut [u8]> {
        let held = self.end - self.start;
        let wanted = total.max(held + 1).max(LEASE);
        match &mut self.data {
            Some(data) if data.len() >= wanted => {
                let cramped = data.len() - self.start < wanted || data.len() - self.end < MIN_READ;
                if self.start > 0 && cramped {
                    data.copy_within(self.start..self.end, 0);
                    (self.start, self.end) = (0, held);
                }
            }
            _ => {
                let size = if wanted == LEASE { LEASE } else { wanted.next_power_of_two() };
                let mut fresh = pool.lease(size)?;
                fresh[..held].copy_from_slice(self.bytes());
                if let Some(old) = self.data.replace(fresh) {
                    pool.give_back(old);
                }
                (self.start, self.end) = (0, held);
            }
        }
        let end = self.end;
        self.data.as_mut().map(|data| &mut data[end..])
    }

    /// Records that `len` bytes were read into [`Buffer::room`].
    pub(crate) fn filled(&mut self, len: usize) {
        let size = self.data.as_ref().map_or(0, |data| data.len());
        self.end = size.min(self.end + len);
    }

    /// Whether there are so many bytes that a read would need more than a lease.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= LEASE
    }

    /// Gives memory back that is not needed while nothing moves.
    pub(crate) fn park(&mut self, pool: &BufferPool) {
        let held = self.end - self.start;
        let Some(data) = &self.data else { return };
        if held == 0 {
            if let Some(data) = self.data.take() {
                pool.give_back(data);
            }
        } else if held < PARK_BELOW
            && data.len() > PARK_BELOW
            && let Some(large) = self.data.take()
        {
            let small = large[self.start..self.end].to_vec();
            self.data = Some(pool.exchange(small, large));
            (self.start, self.end) = (0, held);
        }
    }

    /// Bytes of memory it holds.
    pub(crate) fn held(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// Gives everything back.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        (self.start, self.end) = (0, 0);
        if let Some(data) = self.data.take() {
            pool.give_back(data);
        }
    }
}

#[cfg(test)]
mod tests;
