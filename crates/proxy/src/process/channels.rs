//! The channels through which all workers are asked the same question.
//!
//! Each worker answers with its part, in a task of its own. No worker waits for another one. An answer that comes too
//! late is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// The channels for questions `Q`. A worker answers with its part `P`.
#[derive(Debug)]
pub(crate) struct Channels<Q, P> {
    workers: Box<[mpsc::Sender<Ask<Q, P>>]>,
    /// The queues, until the workers take them.
    queues: Mutex<Queues<Q, P>>,
    /// The turns of the questions in progress.
    pub(super) turns: Semaphore,
}

/// The queue of the questions to one worker.
pub(crate) type Asks<Q, P> = mpsc::Receiver<Ask<Q, P>>;

/// The queues of all workers. `None` in place of a queue that was taken.
type Queues<Q, P> = Box<[Option<Asks<Q, P>>]>;

/// A question to one worker.
#[derive(Debug)]
pub(crate) struct Ask<Q, P> {
    question: Arc<Q>,
    /// The time after which an answer would come too late.
    until: Instant,
    pub(super) answer: oneshot::Sender<P>,
}

/// The time limits of a question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The longest time for which a question waits for its turn.
    pub(super) turn: Duration,
    /// The time for which the answers of the workers are collected.
    pub(super) within: Duration,
    /// The time before the end of `within` at which a worker ends its part, so that its findings arrive in time.
    pub(super) margin: Duration,
}

impl<Q, P> Channels<Q, P> {
    /// Creates the channels for this number of workers, and of questions in progress at once.
    pub(super) fn with_turns(workers: usize, at_once: usize) -> Self {
        let channels = (0..workers).map(|_| mpsc::channel(at_once));
        let (senders, queues): (Vec<_>, Vec<_>) =
            channels.map(|(sender, queue)| (sender, Some(queue))).unzip();
        Self { workers: senders.into(), queues: Mutex::new(queues.into()), turns: Semaphore::new(at_once) }
    }

    /// Returns the queue of the worker with this index. The first call returns the queue; later calls return `None`.
    pub(crate) fn take(&self, index: usize) -> Option<Asks<Q, P>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)?.take()
    }

    /// Asks all workers. `add` is called with the index of each worker and with its part, which is `None` if the worker
    /// does not answer in time. Returns `None` if no turn is free in time.
    pub(super) async fn collect(
        &self,
        question: Arc<Q>,
        patience: Patience,
        mut add: impl FnMut(usize, Option<P>),
    ) -> Option<()> {
        let turn = timeout(patience.turn, self.turns.acquire()).await.ok()?.ok()?;
        let end = Instant::now() + patience.within;
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (answer, answered) = oneshot::channel();
            let until = end - patience.margin;
            // Sending fails if the worker does not empty its queue or has ended.
            let _ = worker.try_send(Ask { question: Arc::clone(&question), until, answer });
            answers.push(answered);
        }
        for (index, answered) in answers.into_iter().enumerate() {
            add(index, timeout_at(end, answered).await.ok().and_then(Result::ok));
        }
        drop(turn);
        Some(())
    }
}

impl<Q, P> Ask<Q, P> {
    /// Returns the question.
    pub(crate) fn question(&self) -> &Q {
        &self.question
    }

    /// Returns whether an answer would come too late.
    pub(crate) fn is_over(&self) -> bool {
        self.answer.is_closed() || Instant::now() >= self.until
    }

    /// Answers with the part of one worker.
    pub(crate) fn answer(self, part: P) {
        // The caller may have stopped waiting.
        let _ = self.answer.send(part);
    }
}

/// The part of one worker, while the worker looks at its clients.
pub(crate) trait WorkerPart: Default {
    /// Counts clients that were not looked at.
    fn miss(&mut self, clients: u64);
}
