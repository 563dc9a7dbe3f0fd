//! The state that all threads share.

pub(crate) mod questions;

use std::sync::Arc;
use std::time::SystemTime;

use portcullis_config::Config;
use portcullis_session::Findings;

use self::questions::{Question, Questions};
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
    /// The channels through which a worker asks all workers about their clients.
    pub questions: Questions,
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
        let clients = config.limits().clients();
        if clients > room {
            tracing::warn!(clients, room, "limits.clients lowered to fit the limit of open files");
        }
        let first = Generation::first(config, &metrics, room);
        metrics.config_read(ReloadResult::Applied, SystemTime::now());
        let seats = Arc::new(Seat::new(first.clients()));
        let questions = Questions::new(first.workers());
        Ok(Self { store: Store::new(Arc::new(first)), seats, metrics, audit, questions })
    }

    /// Asks all workers about their clients and returns their findings. Returns `None` if too many other questions
    /// are in progress.
    pub(crate) async fn ask(self: Arc<Self>, question: Arc<Question>) -> Option<Findings> {
        let sessions = |worker| self.metrics.worker(worker).sessions();
        self.questions.ask(question, sessions).await
    }
}
