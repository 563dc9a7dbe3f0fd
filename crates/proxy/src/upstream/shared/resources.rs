//! The resources that all connections of one worker use.

use std::sync::Arc;

use super::shared_clients::SharedClients;
use crate::clock::Clock;
use crate::metrics::WorkerStats;
use crate::net::buffer::BufferPool;

/// A worker's clock, buffers, counters and clients of shared connections.
#[derive(Debug)]
pub(crate) struct Resources {
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
    /// The worker's buffers.
    pub pool: BufferPool,
    /// The clients of shared connections.
    pub shared_clients: SharedClients,
    /// The worker's time.
    pub clock: Clock,
}
