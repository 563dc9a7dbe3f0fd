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
    /// The config in force.
    pub store: Store,
    /// The clients of the whole process.
    pub seats: Arc<Seat>,
    /// Counters of the whole process.
    pub metrics: Arc<Metrics>,
    /// Where connections are reported.
    pub audit: Audit,
    /// The way in which a worker asks all workers about their clients.
    pub questions: Questions,
}

impl Process {
    /// A process with its first config, and with open files for `room` clients.
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

    /// Asks all workers about their clients. `None`: too many others ask.
    pub(crate) async fn ask(self: Arc<Self>, question: Arc<Question>) -> Option<Findings> {
        let sessions = |worker| self.metrics.worker(worker).sessions();
        self.questions.ask(question, sessions).await
    }
}
