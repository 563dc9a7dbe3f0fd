//! Usage of each source on one listener: clients, connects, failed logins.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_acl::ClientAddr;
use portcullis_acl::rate::{
    CountedSource, DEFAULT_CAPACITY, Denied, LoginFailure, Source, SourceLimits, Sources,
};

use crate::metrics::RefusedReason;

/// Sources of which nothing counts any more are forgotten, so many each time one leaves: a flood's memory is given back
/// as its connections end.
const SWEEP: usize = 16;

/// The sources of one listener; shared by all threads, and locked once a connection or failed login.
#[derive(Debug)]
pub(crate) struct SourceTable {
    /// Without limits nothing is looked up, and the lock stays alone.
    limited: AtomicBool,
    since: Instant,
    sources: Mutex<Sources>,
}

impl SourceTable {
    /// Without limits.
    pub(crate) fn new() -> Self {
        Self {
            limited: AtomicBool::new(false),
            since: Instant::now(),
            sources: Mutex::new(Sources::new(SourceLimits::default(), DEFAULT_CAPACITY)),
        }
    }

    /// These limits from now on.
    pub(crate) fn set_limits(&self, limits: SourceLimits) {
        self.lock().set_limits(limits);
        self.limited.store(limits.is_any(), Relaxed);
    }

    /// Returns the number of blocked sources.
    pub(crate) fn blocked(&self) -> usize {
        if self.limited.load(Relaxed) { self.lock().blocked(self.now()) } else { 0 }
    }

    /// A client connects.
    ///
    /// # Errors
    /// Why it may not.
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

    /// Whether logins from there are not looked at.
    pub(crate) fn is_blocked(&self, from: ClientAddr) -> bool {
        let source = Source::of(from).filter(|_| self.limited.load(Relaxed));
        source.is_some_and(|source| self.lock().blocked_until(source, self.now()).is_some())
    }

    /// A login failed. `Some`: the source is blocked, for so long if that is news.
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

/// A client's place among those of its source; given back when dropped.
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
