//! The state that all threads share.

pub(crate) mod channels;
pub(crate) mod expiries;
pub(crate) mod hints;
pub(crate) mod questions;
pub(crate) mod roster;
pub(crate) mod samples;

use std::sync::Arc;
use std::time::SystemTime;

use portcullis_config::Config;
use portcullis_session::Findings;

use self::expiries::Expiries;
use self::hints::HintBoard;
use self::questions::{Question, Questions};
use self::roster::{Matter, Roster, Rosters};
use self::samples::Samples;
use crate::audit::{Audit, AuditError};
use crate::generation::seats::Seat;
use crate::generation::store::{Generation, Store};
use crate::metrics::{LineCounter, Metrics, ReloadResult};

/// The state that all threads share.
#[derive(Debug)]
pub(crate) struct Process {
    /// The configuration in force.
    pub store: Store,
    /// The number of clients of the whole process, and its limit.
    pub seats: Arc<Seat>,
    /// The counters of the whole process.
    pub metrics: Arc<Metrics>,
    /// The audit trail.
    pub audit: Audit,
    /// The entries that have expired, for the log.
    pub expiries: Expiries,
    /// The channels through which a worker asks all workers about their clients.
    pub questions: Questions,
    /// The channels through which the operator asks all workers about their clients.
    pub rosters: Rosters,
    /// The hints of sessions to the watchers of the upstreams.
    pub hints: HintBoard,
    /// The samples of commands that stood out.
    pub samples: Samples,
}

impl Process {
    /// Creates the state of a process with its first configuration. `room` is the number of clients that the limit of
    /// open files allows.
    ///
    /// # Errors
    /// The audit output cannot be opened.
    pub(crate) fn new(config: Config, room: u64) -> Result<Self, AuditError> {
        let audit = Audit::start(config.audit().path(), config.audit().on_overflow())?;
        let dropped: Vec<LineCounter> = vec![Box::new(crate::log::dropped_lines), audit.drop_counter()];
        let metrics = Metrics::new(config.workers(), dropped);
        warn_if_lowered(&config, room);
        let first = Generation::first(config, &metrics, room);
        metrics.config_read(ReloadResult::Applied, SystemTime::now());
        let seats = Arc::new(Seat::new(first.clients()));
        let (questions, rosters) = (Questions::new(first.workers()), Rosters::new(first.workers()));
        let (store, expiries) = (Store::new(Arc::new(first)), Expiries::default());
        let (hints, samples) = (HintBoard::default(), Samples::default());
        Ok(Self { store, seats, metrics, audit, expiries, questions, rosters, hints, samples })
    }

    /// Asks all workers about their clients and returns their findings. Returns `None` if too many other questions
    /// are in progress.
    pub(crate) async fn ask(self: Arc<Self>, question: Arc<Question>) -> Option<Findings> {
        let sessions = |worker| self.metrics.worker(worker).sessions();
        self.questions.ask(question, sessions).await
    }

    /// Asks all workers on behalf of the operator. Returns `None` if another such question takes too long.
    pub(crate) async fn ask_as_operator(&self, matter: Matter) -> Option<Roster> {
        self.rosters.ask(matter, |worker| self.metrics.worker(worker).sessions()).await
    }
}

/// The number of descriptors that do not belong to clients: listeners, poll sets, logs, audit, health checks
/// and the admin endpoint. Redis reserves 32 (`CONFIG_MIN_RESERVED_FDS`). Portcullis also has a poll set for
/// each thread and an admin endpoint.
const RESERVED_FILES: u64 = 48;

/// The number of descriptors for one client: its own socket and the upstream connection.
const FILES_PER_CLIENT: u64 = 2;

/// The limit of open files that a proxy needs to serve one client.
pub(crate) const LEAST_FILES: u64 = RESERVED_FILES + FILES_PER_CLIENT;

/// Returns the number of clients for which a limit of `files` open files is enough, at least 1.
pub(crate) fn room_of(files: u64) -> u64 {
    (files.saturating_sub(RESERVED_FILES) / FILES_PER_CLIENT).max(1)
}

/// Logs a warning if the limit of open files is enough for `room` clients, and the configuration admits more.
pub(crate) fn warn_if_lowered(config: &Config, room: u64) {
    let clients = config.limits().clients();
    if clients > room {
        let files = clients.saturating_mul(FILES_PER_CLIENT).saturating_add(RESERVED_FILES);
        tracing::warn!(
            clients,
            room,
            "limits.clients is lowered to {room}, because the limit of open files is too low; raise it to {files} \
             (LimitNOFILE= of systemd, ulimit -n, --ulimit nofile of Docker), or set limits.clients to {room}"
        );
    }
}
