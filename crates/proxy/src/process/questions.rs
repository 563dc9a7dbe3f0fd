//! Questions to all workers about their clients: CLIENT LIST, KILL and UNBLOCK.
//!
//! The worker of the client that asks sends the question to every worker, itself included. Each worker looks at a few
//! of its clients at a time, between the turns of its sessions. It then answers with its part of the findings. So no
//! session waits for another session, and nothing on the command path is locked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_session::{Action, Findings, Inquiry, Listed};

use super::channels::{Channels, Patience, WorkerPart};
use crate::log::LogThrottle;

/// The most lines of a list. Redis has no limit; this is its default for `maxclients`.
const MAX_LINES: usize = 10_000;

/// The most bytes of a list, enough for [`MAX_LINES`] lines of usual length. Clients choose their names, of up to 1
/// KiB each.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The time for which the answers of the workers are collected.
const WITHIN: Duration = Duration::from_millis(100);

/// The time before the end of [`WITHIN`] at which a worker ends its part, so that its findings arrive in time.
const MARGIN: Duration = Duration::from_millis(20);

/// The most questions in progress at once, in the whole process. Each can cost a worker some milliseconds and
/// [`MAX_BYTES`].
const AT_ONCE: usize = 4;

/// The longest time for which a question waits until fewer than [`AT_ONCE`] are in progress.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The channels through which one worker sends questions to all workers.
pub(crate) type Questions = Channels<Question, Part>;

/// A question about all clients in a scope.
#[derive(Debug)]
pub(crate) struct Question {
    /// The action on clients, and the filter that selects them.
    pub inquiry: Inquiry,
    /// The number of the client that asks.
    pub asker: u64,
    /// The server that the asker's commands reach. The number that Redis gave a connection is valid on that server
    /// only.
    pub server: Option<SocketAddr>,
    /// The name of the upstream. Only its clients are in scope.
    pub upstream: String,
    /// The login that clients in scope have. `None` if all clients of the upstream are in scope.
    pub only: Option<Login>,
}

/// The login of the clients in scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// The clients of this listener that act as this user.
    Of {
        /// The name of the listener.
        listener: Arc<str>,
        /// The user as which the clients' commands run.
        user: String,
    },
    /// The asker alone, because the proxy does not know as which user it is logged in.
    Asker,
}

/// The findings of one worker, or of all workers together.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// The number of each listed client, and its line.
    lines: Vec<(u64, String)>,
    /// The length of all lines.
    bytes: usize,
    /// The number of clients that the question selects.
    clients: u64,
    /// Whether the question selects the client that asks.
    asker: bool,
    /// Whether a client has the user that the filter names.
    knows_user: bool,
    /// The value of [`Listed::blocked_as`] of the selected client.
    blocked_as: Option<i64>,
    /// The number of clients that were not looked at, or are left out of the list.
    missing: u64,
}

impl Questions {
    /// Creates the channels for this number of workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self::with_turns(workers, AT_ONCE)
    }

    /// Asks all workers and collects their answers. `sessions` returns the number of clients of a worker; it is
    /// called for each worker that does not answer in time. Returns `None` if no turn is free within [`MAX_WAIT`].
    pub(super) async fn ask(
        &self,
        question: Arc<Question>,
        sessions: impl Fn(usize) -> u64,
    ) -> Option<Findings> {
        let mut whole = Part::default();
        let patience = Patience { turn: MAX_WAIT, within: WITHIN, margin: MARGIN };
        self.collect(Arc::clone(&question), patience, |index, part| match part {
            Some(part) => whole.add(part),
            None => whole.miss(sessions(index)),
        })
        .await?;
        Some(whole.findings(&question))
    }
}

impl WorkerPart for Part {
    fn miss(&mut self, clients: u64) {
        self.missing += clients;
    }
}

/// The action of a worker on a client that it looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The client stays.
    None,
    /// The client is disconnected.
    Cut,
}

impl Part {
    /// Adds a client to the findings if the question selects the client. Returns the worker's action on the client.
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
            // The asker is not disconnected here, because it must get its reply first.
            Action::Kill | Action::KillAddress if client.id != *asker => return Effect::Cut,
            Action::Kill | Action::KillAddress => {}
            Action::Unblock { .. } => self.blocked_as = client.blocked_as,
        }
        Effect::None
    }

    /// Adds the client's line, unless the list is at its limit.
    fn show(&mut self, client: Listed) {
        let bytes = self.bytes.saturating_add(client.line.len());
        if self.lines.len() >= MAX_LINES || bytes > MAX_BYTES {
            self.missing += 1;
            return;
        }
        self.bytes = bytes;
        self.lines.push((client.id, client.line));
    }

    /// Adds the findings of another worker.
    fn add(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.clients += other.clients;
        self.asker |= other.asker;
        self.knows_user |= other.knows_user;
        self.blocked_as = self.blocked_as.or(other.blocked_as);
        self.missing += other.missing;
    }

    /// Returns the findings with the lines in the order in which the clients connected, as Redis lists them. Logs a
    /// warning if clients are missing.
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
