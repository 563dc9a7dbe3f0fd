//! Counts the usage of each source on one listener: clients, new connections and failed logins.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_acl::ClientAddr;
use portcullis_acl::rate::{
    CountedSource, DEFAULT_CAPACITY, Denied, LoginFailure, Source, SourceLimits, Sources,
};

use crate::metrics::RefusedReason;

/// The highest number of sources without relevant history that are forgotten at each disconnect. The memory of a
/// flood is thus released while its connections end.
const SWEEP: usize = 16;

/// The sources of one listener. All threads share the table. It is locked when a client connects or disconnects, and
/// for logins.
#[derive(Debug)]
pub(crate) struct SourceTable {
    /// Whether any limit is set. Without limits no source is looked up and the lock is not taken.
    limited: AtomicBool,
    since: Instant,
    sources: Mutex<Sources>,
}

impl SourceTable {
    /// Makes a table without limits.
    pub(crate) fn new() -> Self {
        Self {
            limited: AtomicBool::new(false),
            since: Instant::now(),
            sources: Mutex::new(Sources::new(SourceLimits::default(), DEFAULT_CAPACITY)),
        }
    }

    /// Replaces the limits.
    pub(crate) fn set_limits(&self, limits: SourceLimits) {
        self.lock().set_limits(limits);
        self.limited.store(limits.is_any(), Relaxed);
    }

    /// Returns the number of blocked sources.
    pub(crate) fn blocked(&self) -> usize {
        if self.limited.load(Relaxed) { self.lock().blocked(self.now()) } else { 0 }
    }

    /// Returns the blocked sources with the time that is left of each block, the longest first, and at most `at_most` of
    /// them.
    pub(crate) fn blocks(&self, at_most: usize) -> Vec<(Source, Duration)> {
        if !self.limited.load(Relaxed) {
            return Vec::new();
        }
        let now = self.now();
        let blocks = self.lock().blocks(now, at_most);
        blocks.into_iter().map(|(source, until)| (source, until.saturating_sub(now))).collect()
    }

    /// Blocks a source for this time, as the process before this one has done. The limits may be set later; without limits
    /// the block has no effect.
    pub(crate) fn block(&self, source: Source, left: Duration) {
        let now = self.now();
        self.lock().block(source, now.saturating_add(left), now);
    }

    /// Ends the block of a source. Returns whether the source was blocked.
    pub(crate) fn unblock(&self, source: Source) -> bool {
        let now = self.now();
        self.lock().unblock(source, now)
    }

    /// Counts a new client of the source `from`.
    ///
    /// # Errors
    /// The limit that the source has reached, or its block.
    pub(crate) fn admit(self: &Arc<Self>, from: ClientAddr) -> Result<SourcePlace, RefusedReason> {
        let source = Source::of(from).filter(|_| self.limited.load(Relaxed));
        let Some(source) = source else { return Ok(SourcePlace(None)) };
        match self.lock().admit(source, self.now()) {
            Ok(place) => Ok(SourcePlace(Some((Arc::clone(self), place)))),
            Err(Denied::Blocked { .. }) => Err(RefusedReason::Blocked),
            Err(Denied::Rate) => Err(RefusedReason::Rate),
            Err(Denied::Clients | Denied::Full) => Err(RefusedReason::SourceLimit),
        }
    }

    /// Returns whether the source is blocked, so that the proxy refuses its logins without a check of the password.
    pub(crate) fn is_blocked(&self, from: ClientAddr) -> bool {
        let source = Source::of(from).filter(|_| self.limited.load(Relaxed));
        source.is_some_and(|source| self.lock().blocked_until(source, self.now()).is_some())
    }

    /// Counts a failed login. Returns `None` if the source may continue. `Some` means the source is blocked, with the
    /// duration if the block is new.
    pub(crate) fn login_failed(
        &self,
        from: ClientAddr,
        name: Option<&[u8]>,
        password: &[u8],
    ) -> Option<Option<Duration>> {
        let source = Source::of(from).filter(|_| self.limited.load(Relaxed))?;
        let now = self.now();
        match self.lock().login_failed(source, name, password, now) {
            LoginFailure::Counted(_) => None,
            LoginFailure::Blocked { until, new } => Some(new.then(|| until.saturating_sub(now))),
        }
    }

    fn now(&self) -> Duration {
        self.since.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SourceTable {
    fn default() -> Self {
        Self::new()
    }
}

/// A client in the count of its source. Dropping the value removes the client from the count.
#[derive(Debug)]
pub(crate) struct SourcePlace(Option<(Arc<SourceTable>, CountedSource)>);

impl Drop for SourcePlace {
    fn drop(&mut self) {
        if let Some((table, place)) = self.0.take() {
            let now = table.now();
            let mut sources = table.lock();
            sources.leave(place, now);
            sources.sweep(now, SWEEP);
        }
    }
}

#[cfg(test)]
mod tests;
