//! What one worker counts. Every counter here has exactly one writer, the worker's thread, so counting is a plain load
//! and store; the scrape reads from another thread and may be a few events behind.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use portcullis_resp::command::CommandId;

use super::error_prefix::{self, PREFIXES};
use super::histogram::{self, BUCKETS};
use super::labels::{ClosedReason, DeniedReason, Direction, UpstreamErrorKind, UpstreamState};

/// The counters of one worker. Call the counting methods from that worker's thread only: two writers would lose counts
/// (nothing worse). An index that does not exist counts nothing.
#[repr(align(128))]
#[derive(Debug)]
pub struct WorkerStats {
    listeners: Box<[ListenerStats]>,
    upstreams: Box<[UpstreamStats]>,
    buffers: AtomicI64,
    sessions: AtomicI64,
}

impl WorkerStats {
    pub(super) fn new(listeners: usize, upstreams: usize) -> Self {
        Self {
            listeners: (0..listeners).map(|_| ListenerStats::new()).collect(),
            upstreams: (0..upstreams).map(|_| UpstreamStats::default()).collect(),
            buffers: AtomicI64::new(0),
            sessions: AtomicI64::new(0),
        }
    }

    /// `n` commands arrived in a row, all of them `id`.
    pub fn commands(&self, listener: usize, id: CommandId, n: u64) {
        if let Some(series) = self.series(listener, id) {
            add(&series.commands, n);
        }
    }

    /// `n` commands `id` were answered, each `nanos` after the read that brought them.
    pub fn duration(&self, listener: usize, id: CommandId, n: u64, nanos: u64) {
        if let Some(series) = self.series(listener, id) {
            add(&series.buckets[histogram::bucket(nanos)], n);
            add(&series.nanos, nanos.saturating_mul(n));
        }
    }

    /// `n` commands were refused by the gate.
    pub fn denied(&self, listener: usize, reason: DeniedReason, n: u64) {
        if let Some(stats) = self.listeners.get(listener) {
            add(&stats.denied[reason.index()], n);
        }
    }

    /// `n` bytes went that way.
    pub fn bytes(&self, listener: usize, direction: Direction, n: u64) {
        if let Some(stats) = self.listeners.get(listener) {
            add(&stats.bytes[direction.index()], n);
        }
    }

    /// A client was given an error: its line (`-WRONGTYPE ...`), of which only the first word is looked at.
    pub fn error_reply(&self, listener: usize, line: &[u8]) {
        if let Some(stats) = self.listeners.get(listener) {
            add(&stats.errors[error_prefix::index_of(line)], 1);
        }
    }

    /// An admitted client is now this worker's.
    pub fn opened(&self, listener: usize) {
        if let Some(stats) = self.listeners.get(listener) {
            add(&stats.opened, 1);
            shift(&self.sessions, 1);
        }
    }

    /// A client of [`Self::opened`] is gone.
    pub fn closed(&self, listener: usize, reason: ClosedReason) {
        if let Some(stats) = self.listeners.get(listener) {
            add(&stats.closed[reason.index()], 1);
            shift(&self.sessions, -1);
        }
    }

    /// There are `delta` more upstream connections in that state.
    pub fn upstream_connection(&self, upstream: usize, state: UpstreamState, delta: i64) {
        if let Some(stats) = self.upstreams.get(upstream) {
            shift(&stats.connections[state.index()], delta);
        }
    }

    /// An upstream could not be had, or was lost.
    pub fn upstream_error(&self, upstream: usize, kind: UpstreamErrorKind) {
        if let Some(stats) = self.upstreams.get(upstream) {
            add(&stats.errors[kind.index()], 1);
        }
    }

    /// The worker holds `delta` more bytes of buffers.
    pub fn buffers(&self, delta: i64) {
        shift(&self.buffers, delta);
    }

    /// How many clients the worker has now; any thread may ask.
    pub fn sessions(&self) -> u64 {
        u64::try_from(self.sessions.load(Relaxed)).unwrap_or(0)
    }

    /// How many bytes of buffers the worker holds now; any thread may ask.
    pub fn buffer_bytes(&self) -> u64 {
        u64::try_from(self.buffers.load(Relaxed)).unwrap_or(0)
    }

    fn series(&self, listener: usize, id: CommandId) -> Option<&CommandStats> {
        let slot = self.listeners.get(listener)?.commands.get(id.index())?;
        Some(slot.get_or_init(Box::default))
    }

    pub(super) fn command(&self, listener: usize, id: CommandId) -> Option<&CommandStats> {
        self.listeners.get(listener)?.commands.get(id.index())?.get().map(AsRef::as_ref)
    }

    pub(super) fn listener(&self, listener: usize) -> Option<&ListenerStats> {
        self.listeners.get(listener)
    }

    pub(super) fn upstream(&self, upstream: usize) -> Option<&UpstreamStats> {
        self.upstreams.get(upstream)
    }
}

/// One command on one listener. Allocated when the command is first seen: a table of all of them would be 40 KiB for
/// each listener and worker, and most are never used. Its own cache lines, because the heap would otherwise put the
/// counters of two workers side by side.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct CommandStats {
    pub(super) commands: AtomicU64,
    pub(super) nanos: AtomicU64,
    pub(super) buckets: [AtomicU64; BUCKETS],
}

#[repr(align(128))]
#[derive(Debug)]
pub(super) struct ListenerStats {
    commands: Box<[OnceLock<Box<CommandStats>>]>,
    pub(super) opened: AtomicU64,
    pub(super) closed: [AtomicU64; ClosedReason::COUNT],
    pub(super) denied: [AtomicU64; DeniedReason::COUNT],
    pub(super) bytes: [AtomicU64; Direction::COUNT],
    pub(super) errors: [AtomicU64; PREFIXES.len()],
}

impl ListenerStats {
    fn new() -> Self {
        Self {
            commands: (0..CommandId::COUNT).map(|_| OnceLock::new()).collect(),
            opened: AtomicU64::new(0),
            closed: [const { AtomicU64::new(0) }; _],
            denied: [const { AtomicU64::new(0) }; _],
            bytes: [const { AtomicU64::new(0) }; _],
            errors: [const { AtomicU64::new(0) }; _],
        }
    }
}

#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct UpstreamStats {
    pub(super) connections: [AtomicI64; UpstreamState::COUNT],
    pub(super) errors: [AtomicU64; UpstreamErrorKind::COUNT],
}

/// Single writer: no read-modify-write, which would cost a locked instruction. Wraps, as counters do.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

fn shift(gauge: &AtomicI64, delta: i64) {
    gauge.store(gauge.load(Relaxed).wrapping_add(delta), Relaxed);
}
