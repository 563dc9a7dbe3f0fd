//! Questions to all workers about their clients: CLIENT LIST, KILL and UNBLOCK.
//!
//! The worker of the client that asks sends the question to every worker, its own included. Each looks at its clients a few
//! at a time, between the turns of its sessions, and answers with its part of the findings. So no session waits for another
//! one, and nothing on the command path is locked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_session::{Action, Findings, Inquiry, Listed};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::log::LogThrottle;

/// A list has so many lines at most. Redis has no limit; its default for clients is as many.
const MAX_LINES: usize = 10_000;

/// And so many bytes: lines of usual length. Names are the clients' to choose, up to 1 KiB each.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// An answer is collected for so long.
const WITHIN: Duration = Duration::from_millis(100);

/// A worker ends its part so much sooner, that what it has found arrives in time.
const MARGIN: Duration = Duration::from_millis(20);

/// So many questions are under way at once, in all; each can cost a worker some milliseconds and [`MAX_BYTES`].
const AT_ONCE: usize = 4;

/// The others wait for their turn for so long.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The way of questions from one worker to all.
#[derive(Debug)]
pub(crate) struct Questions {
    workers: Box<[mpsc::Sender<Ask>]>,
    queues: Mutex<Box<[Option<Asks>]>>,
    turns: Semaphore,
}

/// The questions that one worker is asked.
pub(crate) type Asks = mpsc::Receiver<Ask>;

/// A question to one worker.
#[derive(Debug)]
pub(crate) struct Ask {
    question: Arc<Question>,
    until: Instant,
    answer: oneshot::Sender<Part>,
}

/// A question about all clients in a scope.
#[derive(Debug)]
pub(crate) struct Question {
    /// The question.
    pub inquiry: Inquiry,
    /// The number of the client that asks.
    pub asker: u64,
    /// The server that the asker's commands reach: a number that Redis gave a connection means something there only.
    pub server: Option<SocketAddr>,
    /// The upstream, by name.
    pub upstream: String,
    /// The scope, if only some of its clients are in it.
    pub only: Option<Login>,
}

/// The clients in scope, if not all are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// Clients of this listener and user.
    Of {
        /// The listener, by name.
        listener: Arc<str>,
        /// The user as whom their commands run.
        user: String,
    },
    /// The asker alone: the gate does not know as whom it has logged in.
    Asker,
}

/// The findings of one worker.
#[derive(Debug, Default)]
pub(crate) struct Part {
    lines: Vec<(u64, String)>,
    bytes: usize,
    clients: u64,
    asker: bool,
    knows_user: bool,
    blocked_as: Option<i64>,
    /// Clients that were not looked at, or not shown.
    missing: u64,
}

impl Questions {
    /// For so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        let channels = (0..workers).map(|_| mpsc::channel(AT_ONCE));
        let (senders, queues): (Vec<_>, Vec<_>) =
            channels.map(|(sender, queue)| (sender, Some(queue))).unzip();
        Self { workers: senders.into(), queues: Mutex::new(queues.into()), turns: Semaphore::new(AT_ONCE) }
    }

    /// The questions for the worker with this index; once.
    pub(crate) fn take(&self, index: usize) -> Option<Asks> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)?.take()
    }

    /// Collects the answer. `sessions` says how many clients a worker has, for those that do not answer in time.
    pub(super) async fn ask(
        &self,
        question: Arc<Question>,
        sessions: impl Fn(usize) -> u64,
    ) -> Option<Findings> {
        let turn = timeout(MAX_WAIT, self.turns.acquire()).await.ok()?.ok()?;
        let end = Instant::now() + WITHIN;
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (answer, answered) = oneshot::channel();
            // A worker that takes none is stuck or gone.
            let _ = worker.try_send(Ask { question: Arc::clone(&question), until: end - MARGIN, answer });
            answers.push(answered);
        }
        let mut whole = Part::default();
        for (index, answered) in answers.into_iter().enumerate() {
            match timeout_at(end, answered).await {
                Ok(Ok(part)) => whole.add(part),
                Ok(Err(_)) | Err(_) => whole.missing += sessions(index),
            }
        }
        drop(turn);
        Some(whole.findings(&question))
    }
}

impl Ask {
    /// The question.
    pub(crate) fn question(&self) -> &Question {
        &self.question
    }

    /// Whether an answer comes too late.
    pub(crate) fn is_over(&self) -> bool {
        self.answer.is_closed() || Instant::now() >= self.until
    }

    /// Answers with the findings of one worker.
    pub(crate) fn answer(self, part: Part) {
        // The client that asked may be gone.
        let _ = self.answer.send(part);
    }
}

/// The action of a worker on a client that is in its part of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The client is cut.
    Cut,
}

impl Part {
    /// Counts clients that were not looked at.
    pub(crate) fn miss(&mut self, clients: u64) {
        self.missing += clients;
    }

    /// Takes a client in, if the question is about it.
    pub(crate) fn take(&mut self, question: &Question, client: Listed) -> Effect {
        let Question { inquiry, asker, .. } = question;
        self.knows_user |= inquiry.knows_user(&client);
        if !inquiry.takes(&client, *asker) {
            return Effect::None;
        }
        self.clients += 1;
        self.asker |= client.id == *asker;
        match inquiry.action {
            Action::List => self.show(client),
            // The asker reads its reply first.
            Action::Kill | Action::KillAddress if client.id != *asker => return Effect::Cut,
            Action::Kill | Action::KillAddress => {}
            Action::Unblock { .. } => self.blocked_as = client.blocked_as,
        }
        Effect::None
    }

    fn show(&mut self, client: Listed) {
        let bytes = self.bytes.saturating_add(client.line.len());
        if self.lines.len() >= MAX_LINES || bytes > MAX_BYTES {
            self.missing += 1;
            return;
        }
        self.bytes = bytes;
        self.lines.push((client.id, client.line));
    }

    fn add(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.clients += other.clients;
        self.asker |= other.asker;
        self.knows_user |= other.knows_user;
        self.blocked_as = self.blocked_as.or(other.blocked_as);
        self.missing += other.missing;
    }

    /// In the order in which the clients came, as Redis lists them.
    fn findings(mut self, question: &Question) -> Findings {
        static TOLD: LogThrottle = LogThrottle::new();
        self.lines.sort_unstable_by_key(|(id, _)| *id);
        let (mut lines, mut shown) = (String::new(), 0_u64);
        for (_, line) in self.lines.iter().take(MAX_LINES) {
            if lines.len() + line.len() > MAX_BYTES {
                break;
            }
            lines.push_str(line);
            shown += 1;
        }
        let found = u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        let missing = self.missing.saturating_add(found.saturating_sub(shown));
        if missing > 0
            && let Some(left_out) = TOLD.tell(std::time::Instant::now())
        {
            tracing::warn!(
                upstream = %question.upstream,
                asker = question.asker,
                missing,
                left_out,
                "CLIENT LIST, KILL or UNBLOCK did not reach all clients"
            );
        }
        let Self { clients, asker, knows_user, blocked_as, .. } = self;
        Findings { lines, clients, asker, knows_user, blocked_as }
    }
}

#[cfg(test)]
mod tests;
