//! The queue between the reporting threads and the writer: one buffer of whole lines, bounded in bytes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_config::Overflow;

/// The limit for waiting lines, in bytes. A busy proxy writes about 300 bytes a connection. At a thousand connections
/// a second this buffers a few seconds of a stalled output, and takes no more memory than a handful of clients.
const MAX_BYTES: usize = 1 << 20;

const KEPT_BYTES: usize = 64 << 10;
/// The interval of the log line while lines are dropped. The metric counts each line.
const REMINDER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Signals the writer: there are lines, or another task.
    work: Condvar,
    /// Signals waiting threads: the writer took lines or has ended.
    space: Condvar,
}

#[derive(Debug)]
struct QueueState {
    on_overflow: Overflow,
    lines: Vec<u8>,
    dropped: u64,
    /// The time of the last log line about dropped lines.
    told: Option<Instant>,
    /// Whether the writer sleeps. To wake a running thread would cost a useless system call for each line.
    asleep: bool,
    reopen: bool,
    closing: bool,
    closed: bool,
}

/// The next task of the writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Write the lines that were taken.
    Write,
    /// Reopen the output, then ask for the next task.
    Reopen,
    /// Report the refusals that are due.
    Tick,
    /// Stop: all lines are taken and the queue is closing.
    Stop,
}

impl Queue {
    pub(super) fn new(on_overflow: Overflow) -> Self {
        let state = QueueState {
            on_overflow,
            lines: Vec::new(),
            dropped: 0,
            told: None,
            asleep: false,
            reopen: false,
            closing: false,
            closed: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), space: Condvar::new() }
    }

    /// Adds one line. If the queue is full, the line is dropped and counted, or the caller waits (`on_overflow:
    /// block`).
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        while state.lines.len() + line.len() > MAX_BYTES && !state.lines.is_empty() && !state.closed {
            if state.on_overflow == Overflow::Drop {
                return Self::drop_line(state);
            }
            state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.add(state, line);
    }

    fn drop_line(mut state: MutexGuard<'_, QueueState>) {
        state.dropped += 1;
        let dropped = state.dropped;
        let now = Instant::now();
        if state.told.is_some_and(|told| now.saturating_duration_since(told) < REMINDER) {
            return;
        }
        state.told = Some(now);
        drop(state);
        tracing::error!(dropped, "audit lines dropped: the output is too slow");
    }

    /// Adds one line even if the queue is full. Only the writer uses this: in [`Self::push`] it would wait for
    /// itself.
    pub(super) fn push_unbounded(&self, line: &[u8]) {
        self.add(self.lock(), line);
    }

    fn add(&self, mut state: MutexGuard<'_, QueueState>, line: &[u8]) {
        if state.closed {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.work.notify_one();
        }
    }

    /// Waits for the writer's next task, at most until `tick`. For [`Work::Write`], the waiting lines are in `taken`.
    pub(super) fn take(&self, taken: &mut Vec<u8>, tick: Option<Instant>) -> Work {
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.reopen) {
                return Work::Reopen;
            }
            if !state.lines.is_empty() {
                taken.clear();
                // Releases the memory that a burst needed.
                taken.shrink_to(KEPT_BYTES);
                std::mem::swap(taken, &mut state.lines);
                self.space.notify_all();
                return Work::Write;
            }
            if state.closing {
                return Work::Stop;
            }
            let wait = tick.map(|tick| tick.saturating_duration_since(Instant::now()));
            if wait.is_some_and(|wait| wait.is_zero()) {
                return Work::Tick;
            }
            state.asleep = true;
            state = self.wait_for_work(state, wait);
            state.asleep = false;
        }
    }

    fn wait_for_work<'a>(
        &'a self,
        state: MutexGuard<'a, QueueState>,
        wait: Option<Duration>,
    ) -> MutexGuard<'a, QueueState> {
        match wait {
            Some(wait) => self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Closes the queue if it is empty. Returns false if lines have arrived in the meantime.
    pub(super) fn stop_if_empty(&self) -> bool {
        let mut state = self.lock();
        state.closed = state.lines.is_empty();
        self.space.notify_all();
        state.closed
    }

    pub(super) fn count_dropped(&self, lines: u64) {
        self.lock().dropped += lines;
    }

    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub(super) fn on_overflow(&self) -> Overflow {
        self.lock().on_overflow
    }

    pub(super) fn set_overflow(&self, on_overflow: Overflow) {
        self.lock().on_overflow = on_overflow;
        // Threads that wait for space must check the new setting.
        self.space.notify_all();
    }

    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Asks the writer to finish, and waits for it, at most `within`.
    pub(super) fn close(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        state.closing = true;
        self.work.notify_one();
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Wakes the threads that still wait for space: the output hangs and will free none.
                state.closed = true;
                self.space.notify_all();
                return;
            }
            state = self.space.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
