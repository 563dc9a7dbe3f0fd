//! The resources that all shared connections of one worker use.

use std::sync::Arc;

use super::shared_clients::SharedClients;
use crate::clock::Clock;
use crate::metrics::WorkerStats;
use crate::net::buffer::BufferPool;

/// The clock, buffers, counters and shared clients of a worker.
#[derive(Debug)]
pub(crate) struct Resources {
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
    /// The worker's buffers.
    pub pool: BufferPool,
    /// The clients that use shared connections.
    pub shared_clients: SharedClients,
    /// The worker's clock.
    pub clock: Clock,
}
