//! The thread that writes lines from the queue to the output and reports gathered refusals in time.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_config::Overflow;

use super::Inner;
use super::queue::Work;
use super::sink::Sink;

/// The state of the writing thread.
pub(super) struct Writer {
    inner: Arc<Inner>,
    sink: Sink,
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>, sink: Sink) -> Self {
        Self { inner, sink }
    }

    pub(super) fn run(mut self) {
        let mut taken = Vec::new();
        loop {
            let next = self.inner.gather().next_due();
            match self.inner.queue.take(&mut taken, next) {
                Work::Write => {
                    self.write(&taken);
                    self.tell_gathered(false);
                    thread::sleep(LINGER);
                }
                Work::Reopen => self.change_sink(),
                Work::Tick => self.tell_gathered(false),
                Work::Stop => {
                    self.tell_gathered(true);
                    if self.inner.queue.stop_if_empty() {
                        return;
                    }
                }
            }
        }
    }

    fn change_sink(&mut self) {
        match self.inner.replacement.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(sink) => self.sink = sink,
            None => self.sink.reopen(),
        }
    }

    fn tell_gathered(&self, all: bool) {
        // The lock is released before the lines are made: making a line takes far longer than counting a refusal.
        let due = self.inner.gather().due(Instant::now(), all);
        for told in &due {
            let line = Inner::refusal(told.source, &told.listener, told.refusal, told.rule(), told.count);
            self.inner.queue.push_unbounded(&line);
        }
    }

    fn write(&mut self, lines: &[u8]) {
        let mut left = lines;
        while let Err(unwritten) = self.sink.write(left) {
            left = lines.get(lines.len().saturating_sub(unwritten)..).unwrap_or_default();
            if self.inner.queue.on_overflow() == Overflow::Drop || self.inner.queue.is_closing() {
                return self.lose(lines, left.len());
            }
            thread::sleep(RETRY_PAUSE);
        }
    }

    fn lose(&mut self, lines: &[u8], unwritten: usize) {
        let (written, lost) = lines.split_at(lines.len().saturating_sub(unwritten));
        if written.last().is_some_and(|last| *last != b'\n') {
            self.sink.cut();
        }
        let lost = lost.iter().filter(|byte| **byte == b'\n').count();
        self.inner.queue.count_dropped(u64::try_from(lost).unwrap_or(u64::MAX));
    }
}

/// The pause after a write. Under load the thread wakes at most two hundred times a second instead of once a line.
const LINGER: Duration = Duration::from_millis(5);
/// With `on_overflow: block`, the interval at which a failed write is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
