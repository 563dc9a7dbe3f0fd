//! The state of each host name: its last good answer, and when it is looked up next. No sockets and no clock: the caller
//! brings both.
//!
//! ```text
//!            due                   answer
//!   waiting ------> looked up -------------------> waiting for `refresh`; failures = 0
//!      ^                |
//!      |                | failed, or no answer within LATE: failures + 1
//!      +----------------+ waiting for the retry; the last good answer counts until it is `keep` old
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use portcullis_config::{Admitted, Host, HostName};

use crate::net::lookup::LookupError;

/// A lookup without an answer counts as failed after this time. The system's resolver asks two or three servers for five
/// seconds each; an answer that comes later still counts.
pub(super) const LATE: Duration = Duration::from_secs(10);

/// The wait after a first failure; it doubles up to `refresh`. A name server that starts together with the proxy answers
/// after seconds.
const RETRY: Duration = Duration::from_secs(10);

/// Addresses that are kept of an answer. A DNS message of 64 KiB may have thousands, of which an entry admits 16.
const KEPT: usize = 256;

/// The reason why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    /// The lookup failed.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// No answer yet.
    #[error("no answer within {LATE:?}")]
    Late,
}

/// The names of the configuration in force. The control thread changes it; pages of the admin endpoint read it.
#[derive(Debug, Default)]
pub(crate) struct NameTable(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    names: BTreeMap<HostName, Name>,
    succeeded: u64,
    failed: u64,
}

#[derive(Debug)]
struct Name {
    refresh: Duration,
    due: Instant,
    running: bool,
    /// From this moment on, the lookup that runs or waits for a thread counts as failed. `None`: it does already.
    late: Option<Instant>,
    good: Option<Good>,
    /// Failed lookups since the last good answer.
    failures: u32,
    error: Option<NameError>,
}

#[derive(Debug)]
struct Good {
    /// Sorted, each once.
    addresses: Vec<IpAddr>,
    at: Instant,
    time: SystemTime,
}

/// The result of a lookup that is news for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The first failure after an answer, or of all.
    Fails(NameError),
    /// The first answer after failures.
    Answers,
}

/// The state of a host entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameState {
    /// The last lookup succeeded.
    Current,
    /// The last lookup failed, and the last good answer counts.
    Stale,
    /// No address counts.
    Empty,
}

impl NameState {
    /// The word on the admin endpoint and in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Empty => "empty",
        }
    }
}

/// The state of a host entry, for people.
#[derive(Clone, Debug)]
pub(crate) struct NameFacts {
    /// The addresses that it admits, and those that it drops.
    pub admitted: Admitted,
    /// Whether they are current.
    pub state: NameState,
    /// The time of the last good answer.
    pub answered: Option<SystemTime>,
    /// Failed lookups since then.
    pub failures: u32,
    /// The last failure.
    pub error: Option<NameError>,
}

impl NameTable {
    /// Looks up the names of these entries from now on, and no others. Answers of names that stay are kept.
    pub(super) fn follow(&self, hosts: &[Host], now: Instant) {
        let mut table = self.lock();
        let mut before = std::mem::take(&mut table.names);
        for host in hosts {
            let name = host.name();
            if let Some(name) = table.names.get_mut(name) {
                name.refresh = name.refresh.min(host.refresh());
                continue;
            }
            let known = before.remove(name).map(|known| Name { refresh: host.refresh(), ..known });
            table.names.insert(name.clone(), known.unwrap_or_else(|| Name::new(host.refresh(), now)));
        }
        // A lookup that was to come later than the new `refresh` says.
        for name in table.names.values_mut().filter(|name| !name.running && name.due > now + name.refresh) {
            name.wait(name.refresh, now);
        }
    }

    /// The name whose lookup is due for the longest time; it counts as being looked up from now on.
    pub(super) fn start(&self, now: Instant) -> Option<HostName> {
        let mut table = self.lock();
        let due = table.names.iter_mut().filter(|(_, name)| !name.running && name.due <= now);
        let (text, name) = due.min_by_key(|(_, name)| name.due)?;
        name.running = true;
        Some(text.clone())
    }

    /// Takes the result of a lookup. Returns whether the addresses are others than before, and what is news about it.
    pub(super) fn finish(
        &self,
        name: &HostName,
        result: Result<Vec<IpAddr>, NameError>,
        (now, time): (Instant, SystemTime),
    ) -> (bool, Option<News>) {
        let mut table = self.lock();
        match &result {
            Ok(_) => table.succeeded += 1,
            Err(_) => table.failed += 1,
        }
        // A reload may have removed it.
        let Some(name) = table.names.get_mut(name) else { return (false, None) };
        name.running = false;
        match result {
            Ok(addresses) => {
                let addresses = sorted(addresses);
                let same = name.good.as_ref().is_some_and(|good| good.addresses == addresses);
                let news = (name.failures > 0).then_some(News::Answers);
                // An answer that had expired counts again.
                let changed = !same || news.is_some();
                name.good = Some(Good { addresses, at: now, time });
                (name.failures, name.error) = (0, None);
                name.wait(name.refresh, now);
                (changed, news)
            }
            Err(error) => {
                let news = name.fail(error);
                let doublings = name.failures.saturating_sub(1).min(16);
                name.wait(RETRY.saturating_mul(1 << doublings).min(name.refresh), now);
                (false, news)
            }
        }
    }

    /// Counts lookups that are late as failed. Returns the names for which that is news.
    pub(super) fn tick(&self, now: Instant) -> Vec<(HostName, NameError)> {
        let mut table = self.lock();
        let late = table.names.iter_mut().filter(|(_, name)| name.late.is_some_and(|late| late <= now));
        late.filter_map(|(text, name)| name.fail(NameError::Late).map(|_| (text.clone(), NameError::Late)))
            .collect()
    }

    /// The next moment after `now` at which a lookup is due or late, or an answer stops to count for one of `hosts`.
    pub(super) fn next(&self, hosts: &[Host], now: Instant) -> Option<Instant> {
        let table = self.lock();
        let due = table.names.values().filter(|name| !name.running && name.due > now).map(|name| name.due);
        let late = table.names.values().filter_map(|name| name.late);
        let ends = hosts.iter().filter_map(|host| table.names.get(host.name())?.ends(host));
        due.chain(late).chain(ends.filter(|end| *end > now)).min()
    }

    /// Whether no lookup has ended or is late for one of the names.
    pub(super) fn is_waiting(&self) -> bool {
        self.lock().names.values().any(|name| name.good.is_none() && name.failures == 0)
    }

    /// The answer that counts for an entry: empty if there is none, or if it is too old.
    pub(crate) fn answer(&self, host: &Host, now: Instant) -> Vec<IpAddr> {
        let table = self.lock();
        let good = table.names.get(host.name()).and_then(|name| name.good_for(host, now));
        good.map(|good| good.addresses.clone()).unwrap_or_default()
    }

    /// The time for which the last good answer of an entry still counts, while lookups fail.
    pub(super) fn left(&self, host: &Host, now: Instant) -> Option<Duration> {
        let table = self.lock();
        let left = table.names.get(host.name())?.ends(host)?.saturating_duration_since(now);
        Some(left).filter(|left| !left.is_zero())
    }

    /// Returns the state of an entry.
    pub(crate) fn facts(&self, host: &Host, now: Instant) -> NameFacts {
        let admitted = host.admits(&self.answer(host, now));
        let table = self.lock();
        let name = table.names.get(host.name());
        let failures = name.map_or(0, |name| name.failures);
        let state = match (admitted.addresses.is_empty(), failures) {
            (true, _) => NameState::Empty,
            (false, 0) => NameState::Current,
            (false, _) => NameState::Stale,
        };
        let answered = name.and_then(|name| name.good.as_ref()).map(|good| good.time);
        NameFacts { admitted, state, answered, failures, error: name.and_then(|name| name.error.clone()) }
    }

    /// The number of lookups that succeeded and failed.
    pub(super) fn lookups(&self) -> (u64, u64) {
        let table = self.lock();
        (table.succeeded, table.failed)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    fn new(refresh: Duration, now: Instant) -> Self {
        let late = Some(now + LATE);
        Self { refresh, due: now, running: false, late, good: None, failures: 0, error: None }
    }

    /// Waits for the next lookup.
    fn wait(&mut self, duration: Duration, now: Instant) {
        self.due = now + duration;
        self.late = Some(self.due + LATE);
    }

    /// Counts a failure. A lookup that was late already is not counted again.
    fn fail(&mut self, error: NameError) -> Option<News> {
        if self.late.take().is_some() {
            self.failures = self.failures.saturating_add(1);
        }
        let first = self.error.is_none();
        self.error = Some(error.clone());
        first.then_some(News::Fails(error))
    }

    /// The moment from which the last good answer does not count for this entry, unless a lookup succeeds.
    fn ends(&self, host: &Host) -> Option<Instant> {
        self.good.as_ref().filter(|_| self.failures > 0).map(|good| good.at + host.keep())
    }

    fn good_for(&self, host: &Host, now: Instant) -> Option<&Good> {
        self.good.as_ref().filter(|_| self.ends(host).is_none_or(|end| now < end))
    }
}

/// The addresses of an answer in the order that does not depend on the name server's.
fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(KEPT);
    addresses
}

#[cfg(test)]
mod tests;
