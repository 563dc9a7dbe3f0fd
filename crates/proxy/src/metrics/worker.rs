//! The counters of one worker. Each counter has exactly one writer, the worker's thread, so counting is a plain load
//! and store. Another thread reads the counters for the page, and may see them a few events late.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use portcullis_resp::command::CommandId;

use super::error_prefix::{self, PREFIXES};
use super::histogram::{self, BUCKETS};
use super::labels::{ClosedReason, DeniedReason, Direction, RedirectKind, UpstreamErrorKind, UpstreamState};
use super::series::{ListenerSeries, UpstreamSeries};
use super::users::UserCounts;

/// The counters of one worker for all its clients together.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct WorkerStats {
    buffers: AtomicI64,
    sessions: AtomicI64,
    arrived: AtomicU64,
}

impl WorkerStats {
    /// Adds `delta` to the number of bytes of buffers.
    pub(crate) fn buffers(&self, delta: i64) {
        shift(&self.buffers, delta);
    }

    /// Adds `delta` to the number of clients.
    pub(crate) fn clients(&self, delta: i64) {
        shift(&self.sessions, delta);
    }

    /// Returns the number of clients of the worker. Any thread may call it.
    pub(crate) fn sessions(&self) -> u64 {
        u64::try_from(self.sessions.load(Relaxed)).unwrap_or(0)
    }

    /// Counts a connection that was given to the worker, once it has become a session or has ended before that.
    pub(crate) fn arrived(&self) {
        add(&self.arrived, 1);
    }

    /// Returns the number of connections that the worker has, as sessions or on their way. `given` is the number of
    /// connections that were given to the worker. Any thread may call this function.
    pub(crate) fn load(&self, given: u64) -> u64 {
        self.sessions() + given.saturating_sub(self.arrived.load(Relaxed))
    }

    /// Returns the bytes of buffers that the worker holds. Any thread may call it.
    pub(crate) fn buffer_bytes(&self) -> u64 {
        u64::try_from(self.buffers.load(Relaxed)).unwrap_or(0)
    }
}

/// The counters of one listener on one worker. The counting methods must be called from that worker's thread only:
/// two writers would lose counts, and nothing worse would happen.
#[derive(Clone, Debug)]
pub(crate) struct ListenerCounts {
    series: Arc<ListenerSeries>,
    worker: usize,
}

impl ListenerCounts {
    /// Creates the counters of the worker with the index `worker`.
    pub(crate) fn new(series: Arc<ListenerSeries>, worker: usize) -> Self {
        Self { series, worker }
    }

    /// Counts `n` consecutive commands with the same `id`.
    pub(crate) fn commands(&self, id: CommandId, n: u64) {
        if let Some(series) = self.command(id) {
            add(&series.commands, n);
        }
    }

    /// Counts `n` answered commands with this `id`. `nanos` is the time from the read of each command to its reply,
    /// in nanoseconds.
    pub(crate) fn duration(&self, id: CommandId, n: u64, nanos: u64) {
        if let Some(series) = self.command(id) {
            add(&series.buckets[histogram::bucket(nanos)], n);
            add(&series.nanos, nanos.saturating_mul(n));
        }
    }

    /// Counts `n` commands with this `id` that the proxy refused.
    pub(crate) fn denied(&self, id: CommandId, reason: DeniedReason, n: u64) {
        if let Some(series) = self.command(id) {
            add(&series.denied.get_or_init(Box::default)[reason.index()], n);
        }
    }

    /// Counts `n` bytes in a direction.
    pub(crate) fn bytes(&self, direction: Direction, n: u64) {
        if let Some(stats) = self.stats() {
            add(&stats.bytes[direction.index()], n);
        }
    }

    /// Counts an error reply. `line` is its line (`-WRONGTYPE ...`), of which only the first word is used.
    pub(crate) fn error_reply(&self, line: &[u8]) {
        if let Some(stats) = self.stats() {
            add(&stats.errors[error_prefix::index_of(line)], 1);
        }
    }

    /// Counts an accepted client of this worker.
    pub(crate) fn opened(&self) {
        if let Some(stats) = self.stats() {
            add(&stats.opened, 1);
        }
    }

    /// Counts the end of a client that [`Self::opened`] counted.
    pub(crate) fn closed(&self, reason: ClosedReason) {
        if let Some(stats) = self.stats() {
            add(&stats.closed[reason.index()], 1);
        }
    }

    /// Counts a client as logged in as this user of the configuration.
    pub(crate) fn log_in(&self, user: &str) -> UserCounts {
        self.series.users.log_in(user, self.worker, self.series.workers.len())
    }

    fn stats(&self) -> Option<&ListenerStats> {
        self.series.workers.get(self.worker)
    }

    fn command(&self, id: CommandId) -> Option<&CommandStats> {
        let slot = self.stats()?.commands.get(id.index())?;
        Some(slot.get_or_init(Box::default))
    }
}

/// The counters of one upstream on one worker, for that worker's thread only.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamCounts {
    series: Arc<UpstreamSeries>,
    worker: usize,
}

impl UpstreamCounts {
    /// Creates the counters of the worker with the index `worker`.
    pub(crate) fn new(series: Arc<UpstreamSeries>, worker: usize) -> Self {
        Self { series, worker }
    }

    /// Adds `delta` to the number of upstream connections in a state.
    pub(crate) fn connection(&self, state: UpstreamState, delta: i64) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            shift(&stats.connections[state.index()], delta);
        }
    }

    /// Counts a failed or lost upstream connection.
    pub(crate) fn error(&self, kind: UpstreamErrorKind) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            add(&stats.errors[kind.index()], 1);
        }
    }

    /// Returns whether the upstream may require TLS: the last probe failed because of TLS, or no probe has ended yet.
    pub(crate) fn wants_tls(&self) -> bool {
        self.series.wants_tls.load(Relaxed)
    }

    /// Looks at an error reply. READONLY is counted: the server is a replica now.
    pub(crate) fn error_reply(&self, line: &[u8]) {
        let line = line.strip_prefix(b"-").unwrap_or(line);
        if line.starts_with(b"READONLY")
            && let Some(stats) = self.series.workers.get(self.worker)
        {
            add(&stats.read_only_replies, 1);
        }
    }

    /// Counts an answer of a node of a cluster that is no reply to the command.
    pub(crate) fn redirected(&self, kind: RedirectKind) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            add(&stats.redirects[kind.index()], 1);
        }
    }

    /// Counts commands that were sent to replicas of a cluster, and those of them that were sent once more to the master.
    pub(crate) fn replica_reads(&self, sent: u32, repeated: u32) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            add(&stats.replica_reads, sent.into());
            add(&stats.replica_reads_repeated, repeated.into());
        }
    }

    /// Counts a session that goes on although its upstream connection was lost.
    pub(crate) fn session_carried(&self) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            add(&stats.sessions_carried, 1);
        }
    }

    /// Counts a session that ended because its upstream connection was lost.
    pub(crate) fn session_dropped(&self) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            add(&stats.sessions_dropped, 1);
        }
    }

    /// Counts a push that was dropped because no client of a shared connection asked for it.
    pub(crate) fn push_dropped(&self) {
        if let Some(stats) = self.series.workers.get(self.worker) {
            add(&stats.pushes_dropped, 1);
        }
    }
}

/// The counters of one command on one listener. They are allocated when the command is first seen: a table of all
/// commands would take 40 KiB for each listener and worker, and most commands are never used. The counters have cache
/// lines of their own, because the heap would otherwise put the counters of two workers side by side.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct CommandStats {
    pub(super) commands: AtomicU64,
    pub(super) nanos: AtomicU64,
    pub(super) buckets: [AtomicU64; BUCKETS],
    /// The counters of refusals, which are allocated separately because most commands are never refused.
    pub(super) denied: OnceLock<Box<[AtomicU64; DeniedReason::ALL.len()]>>,
}

/// The values of [`ListenerCounts`] for one worker, in cache lines of their own.
#[repr(align(128))]
#[derive(Debug)]
pub(super) struct ListenerStats {
    commands: Box<[OnceLock<Box<CommandStats>>]>,
    pub(super) opened: AtomicU64,
    pub(super) closed: [AtomicU64; ClosedReason::ALL.len()],
    pub(super) bytes: [AtomicU64; Direction::ALL.len()],
    pub(super) errors: [AtomicU64; PREFIXES.len()],
}

impl ListenerStats {
    pub(super) fn new() -> Self {
        Self {
            commands: (0..CommandId::COUNT).map(|_| OnceLock::new()).collect(),
            opened: AtomicU64::new(0),
            closed: [const { AtomicU64::new(0) }; _],
            bytes: [const { AtomicU64::new(0) }; _],
            errors: [const { AtomicU64::new(0) }; _],
        }
    }

    pub(super) fn command(&self, id: CommandId) -> Option<&CommandStats> {
        self.commands.get(id.index())?.get().map(AsRef::as_ref)
    }
}

/// The values of [`UpstreamCounts`] for one worker, in cache lines of their own.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct UpstreamStats {
    pub(super) connections: [AtomicI64; UpstreamState::ALL.len()],
    pub(super) errors: [AtomicU64; UpstreamErrorKind::ALL.len()],
    pub(super) pushes_dropped: AtomicU64,
    pub(super) read_only_replies: AtomicU64,
    pub(super) redirects: [AtomicU64; RedirectKind::ALL.len()],
    pub(super) replica_reads: AtomicU64,
    pub(super) replica_reads_repeated: AtomicU64,
    pub(super) sessions_carried: AtomicU64,
    pub(super) sessions_dropped: AtomicU64,
}

/// Adds to a counter that has a single writer. A read-modify-write operation would cost a locked instruction. The
/// counter wraps, as counters do.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

/// Adds to a gauge that has a single writer, in the same way as [`add`].
fn shift(gauge: &AtomicI64, delta: i64) {
    gauge.store(gauge.load(Relaxed).wrapping_add(delta), Relaxed);
}
