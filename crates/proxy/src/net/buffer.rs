//! Buffers that are leased only while bytes are being transferred.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::task::Waker;

/// The bytes of one read, and of one lease: the size that HAProxy and Redis use, and a quarter of the kernel's
/// smallest receive buffer.
pub(crate) const LEASE: usize = 16 * 1024;

/// The size below which the rest of a frame is moved to a buffer of exactly its size. So a client that stops in the
/// middle of a command costs little.
const PARK_BELOW: usize = 512;

/// The room for a read below which the bytes in the buffer are moved to its front first.
const MIN_READ: usize = 4 * 1024;

/// The number of free buffers that a worker keeps for later leases: 1 MiB, enough for 64 busy clients at once.
const KEPT: usize = 64;

/// The buffers of one worker, and the limit on all of them together.
#[derive(Debug)]
pub(crate) struct BufferPool {
    /// The buffers that are kept for later leases.
    free: RefCell<Vec<Box<[u8]>>>,
    /// The bytes in leases.
    in_use: Cell<usize>,
    /// The bytes that sessions hold besides leases.
    aside: Cell<usize>,
    /// The limit on `in_use` and `aside` together.
    cap: Cell<usize>,
    waiting: RefCell<Waiting>,
}

/// The tasks that wait for a buffer. Each task is in the queue once: thousands may wait, and each looks again at
/// every tick.
#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Waker>,
    /// The data pointers of the wakers in the queue, which identify their tasks.
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
    /// Creates a pool that leases no buffer if the bytes in leases and those of [`BufferPool::count_aside`] would
    /// exceed `cap`.
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            free: RefCell::default(),
            in_use: Cell::new(0),
            aside: Cell::new(0),
            cap: Cell::new(cap),
            waiting: RefCell::default(),
        }
    }

    /// Sets the limit of [`BufferPool::new`]. Buffers that are leased already stay leased, even above the limit.
    pub(crate) fn set_cap(&self, cap: usize) {
        self.cap.set(cap);
    }

    /// Replaces `before` by `now` in the number of bytes that a session holds outside its leases. These bytes count
    /// like leases.
    pub(crate) fn count_aside(&self, before: usize, now: usize) {
        self.aside.set(self.aside.get().saturating_sub(before).saturating_add(now));
    }

    /// Returns whether a task waits for a buffer.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting() > 0
    }

    /// Returns the number of tasks that wait for a buffer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().queue.len()
    }

    /// Wakes `waker` once, when there is memory again.
    pub(crate) fn wait(&self, waker: &Waker) {
        self.waiting.borrow_mut().push(waker);
    }

    /// Wakes all waiting tasks. A task that was woken alone may have ended, and its wakeup was lost.
    pub(crate) fn wake_all(&self) {
        for waker in self.waiting.take().queue {
            waker.wake();
        }
    }

    /// Leases a buffer of this size. Returns `None` if that would exceed the limit.
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

    /// Takes back a leased buffer, and wakes the next waiting task.
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

    /// Takes back the lease of `large`, and leases `small` instead. This is possible at the limit as well, because
    /// `small` is the smaller one.
    fn exchange(&self, small: Vec<u8>, large: Box<[u8]>) -> Box<[u8]> {
        let small = small.into_boxed_slice();
        self.in_use.set(self.in_use.get() + small.len());
        self.give_back(large);
        small
    }
}

/// Bytes that were read and not consumed yet. An empty buffer that was parked holds no memory.
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

    /// Drops `len` bytes from the front, or all bytes if there are fewer.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start = self.end.min(self.start + len);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Returns room to read into. The buffer then has space for at least `total` bytes, including those it holds
    /// already. Returns `None` if the pool has no memory.
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

    /// Returns whether the buffer holds so many bytes that a read would need more than one lease.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= LEASE
    }

    /// Gives back the memory that is not needed while no bytes move: all of it, or all but a small content.
    #[inline]
    pub(crate) fn park(&mut self, pool: &BufferPool) {
        if self.data.is_some() {
            self.shrink(pool);
        }
    }

    fn shrink(&mut self, pool: &BufferPool) {
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

    /// Returns the bytes of memory that the buffer leases.
    pub(crate) fn held(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// Drops all bytes and gives all memory back.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        (self.start, self.end) = (0, 0);
        if let Some(data) = self.data.take() {
            pool.give_back(data);
        }
    }
}

#[cfg(test)]
mod tests;
