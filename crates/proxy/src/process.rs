//! What all threads share.

pub(crate) mod questions;

use std::sync::Arc;

use portcullis_session::Findings;

use self::questions::{Question, Questions};
use crate::audit::Audit;
use crate::generation::seats::Seat;
use crate::generation::store::Store;
use crate::metrics::Metrics;

/// What all threads share.
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
    /// Asks all workers about their clients. `None`: too many others ask.
    pub(crate) async fn ask(self: Arc<Self>, question: Arc<Question>) -> Option<Findings> {
        let sessions = |worker| self.metrics.worker(worker).sessions();
        self.questions.ask(question, sessions).await
    }
}
