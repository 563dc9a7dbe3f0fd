//! The history of each source, in a table of limited size.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use super::{Meter, Rate, nanos};
use crate::origin::ClientAddr;

/// The highest number of sources in a table. With the maximum of 64 failures each, the sources take about 80 MiB;
/// with ten, 30 MiB; without any, 14 MiB.
pub const DEFAULT_CAPACITY: usize = 65_536;
/// The highest number of distinct wrong passwords that are counted for one source. Each takes memory until it is
/// forgotten. A larger limit is reduced to this number.
pub const MAX_FAILURES: u32 = 64;

/// The unit in which clients are counted: an IPv4 address, or the /64 of an IPv6 address, because one host usually
/// has a whole /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// Returns the source of a client. `None` for peers on a unix socket, which are not limited.
    #[must_use]
    pub fn of(client: ClientAddr) -> Option<Self> {
        Some(Self(match client.ip()? {
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                [a, b, c, d, 0, 0, 0, 0].into()
            }
            ip @ IpAddr::V4(_) => ip,
        }))
    }

    /// Returns the address, or the first address of the /64.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

/// The limits of each source. `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLimits {
    /// The highest number of clients at the same time.
    pub clients: Option<u32>,
    /// The highest rate of new connections.
    pub connects: Option<Rate>,
    /// The rate of distinct failed logins. The login that reaches the number blocks the source.
    pub auth_failures: Option<Rate>,
    /// The duration of a block.
    pub block_for: Duration,
}

impl SourceLimits {
    /// Returns whether any limit is set.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.clients.is_some() || self.connects.is_some() || self.auth_failures.is_some()
    }
}

/// The reason why a source is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The source is blocked after failed logins.
    #[error("the source is blocked after too many failed logins")]
    Blocked {
        /// The end of the block.
        until: Duration,
    },
    /// The source connects too often.
    #[error("the source connects too often")]
    Rate,
    /// The source has the maximum number of clients.
    #[error("the source has reached its limit of clients")]
    Clients,
    /// The table is full, and all its sources have clients.
    #[error("too many sources have clients")]
    Full,
}

/// The result of a failed login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// The number of distinct failed logins, or 0 if failed logins are not limited.
    Counted(u32),
    /// The source is blocked, and the client must be disconnected.
    Blocked {
        /// The end of the block.
        until: Duration,
        /// Whether this failure caused the block. Only then it is logged.
        new: bool,
    },
}

/// A client in the count of its source. The caller must give it back to [`Sources::leave`].
#[derive(Debug)]
#[must_use = "a place that is not given back counts without end"]
pub struct CountedSource(Option<Source>);

/// The history of the sources of one listener.
///
/// The table never exceeds its capacity. In a full table, a new source replaces the first source in this order:
///
/// - A source whose history no longer counts: its connections and failures are old, and its block is over.
/// - A source without a block and without clients. The one whose history ends first is replaced.
/// - A source with a block and without clients. The one whose block ends first is replaced. This happens only if all
///   other sources are blocked or have clients; [`Sources::blocks_forgotten`] counts these replacements.
///
/// Sources with clients are never replaced, so their number of clients is always correct. If every source has
/// clients, new sources are refused. All operations take logarithmic time.
#[derive(Debug)]
pub struct Sources<S = RandomState> {
    limits: SourceLimits,
    capacity: usize,
    table: HashMap<Source, Record, S>,
    /// Sources without clients and without a block, with the time from which they may be forgotten.
    resting: BTreeSet<(u64, Source)>,
    /// Sources without clients and with a block, with the end of the block.
    blocked: BTreeSet<(u64, Source)>,
    blocks_forgotten: u64,
}

#[derive(Debug, Default)]
struct Record {
    clients: u32,
    connects: Meter,
    blocked_until: u64,
    /// The keyed hashes of wrong names and passwords, each with the time of its last use in nanoseconds.
    failures: Vec<(u64, u64)>,
    kept: Kept,
}

/// The order (`resting` or `blocked`) that contains a record. `Held` is in neither, because it has clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    #[default]
    Held,
    Resting(u64),
    Blocked(u64),
}

impl Sources<RandomState> {
    /// Makes an empty table. The keys of its hashes are random.
    #[must_use]
    pub fn new(limits: SourceLimits, capacity: usize) -> Self {
        Self::with_hasher(limits, capacity, RandomState::new())
    }
}

impl<S: BuildHasher> Sources<S> {
    /// Makes an empty table. The hasher must have keys that clients do not know, because it distinguishes wrong
    /// passwords.
    #[must_use]
    pub fn with_hasher(limits: SourceLimits, capacity: usize, hasher: S) -> Self {
        Self {
            limits,
            capacity,
            table: HashMap::with_hasher(hasher),
            resting: BTreeSet::new(),
            blocked: BTreeSet::new(),
            blocks_forgotten: 0,
        }
    }

    /// Counts a new client of the source.
    ///
    /// # Errors
    /// The limit that the source has reached, or its block.
    pub fn admit(&mut self, source: Source, now: Duration) -> Result<CountedSource, Denied> {
        if !self.limits.is_any() {
            return Ok(CountedSource(None));
        }
        let limits = self.limits;
        self.change(source, now, |record| {
            if record.blocked_until > nanos(now) {
                return Err(Denied::Blocked { until: Duration::from_nanos(record.blocked_until) });
            }
            if limits.connects.is_some_and(|rate| !record.connects.take(rate, now)) {
                return Err(Denied::Rate);
            }
            if limits.clients.is_some_and(|most| record.clients >= most) {
                return Err(Denied::Clients);
            }
            record.clients = record.clients.saturating_add(1);
            Ok(CountedSource(Some(source)))
        })
        .unwrap_or(Err(Denied::Full))
    }

    /// Removes a client that was admitted and has disconnected.
    pub fn leave(&mut self, place: CountedSource, now: Duration) {
        if let Some(source) = place.0.filter(|source| self.table.contains_key(source)) {
            self.change(source, now, |record| record.clients = record.clients.saturating_sub(1));
        }
    }

    /// Counts a failed login with this password, and with this name if the client sent one. The same pair counts
    /// once, so one client with an old password does not block all others behind its address. The pair is kept as a
    /// keyed hash.
    pub fn login_failed(
        &mut self,
        source: Source,
        name: Option<&[u8]>,
        password: &[u8],
        now: Duration,
    ) -> LoginFailure {
        let Some(rate) = self.limits.auth_failures else { return LoginFailure::Counted(0) };
        let block_for = self.limits.block_for;
        let attempt = self.table.hasher().hash_one((name, password));
        let failure = self.change(source, now, |record| record.failed(attempt, rate, block_for, nanos(now)));
        // If there is no room to count the failure, the client must not guess again.
        failure.unwrap_or(LoginFailure::Blocked { until: now, new: false })
    }

    /// Returns the end of the source's block. `None` if the source is not blocked.
    #[must_use]
    pub fn blocked_until(&self, source: Source, now: Duration) -> Option<Duration> {
        let until = self.table.get(&source)?.blocked_until;
        (until > nanos(now)).then(|| Duration::from_nanos(until))
    }

    /// Returns the number of blocked sources. Reads all sources.
    #[must_use]
    pub fn blocked(&self, now: Duration) -> usize {
        let now = nanos(now);
        self.table.values().filter(|record| record.blocked_until > now).count()
    }

    /// Returns the sources that are blocked, each with the end of its block, those whose block ends last first, and at
    /// most `at_most` of them. Reads all sources.
    #[must_use]
    pub fn blocks(&self, now: Duration, at_most: usize) -> Vec<(Source, Duration)> {
        let now = nanos(now);
        let blocks = self.table.iter().filter(|(_, record)| record.blocked_until > now);
        let mut blocks: Vec<_> = blocks.map(|(source, record)| (record.blocked_until, *source)).collect();
        blocks.sort_unstable_by(|one, other| other.cmp(one));
        blocks.truncate(at_most);
        blocks.into_iter().map(|(until, source)| (source, Duration::from_nanos(until))).collect()
    }

    /// Blocks a source until a moment, as another process that served the same listener has done. A longer block stays.
    /// Does nothing if the table has no room.
    pub fn block(&mut self, source: Source, until: Duration, now: Duration) {
        self.change(source, now, |record| record.blocked_until = record.blocked_until.max(nanos(until)));
    }

    /// Ends the block of a source and forgets its failed logins. Returns whether the source was blocked.
    pub fn unblock(&mut self, source: Source, now: Duration) -> bool {
        if self.blocked_until(source, now).is_none() {
            return false;
        }
        self.change(source, now, |record| {
            record.blocked_until = 0;
            record.failures = Vec::new();
        })
        .is_some()
    }

    /// Returns the number of sources in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns whether the table has no sources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Returns the number of blocks that were forgotten early because the table was full.
    #[must_use]
    pub const fn blocks_forgotten(&self) -> u64 {
        self.blocks_forgotten
    }

    /// Replaces the limits. Existing clients stay, and existing blocks end at their time.
    pub const fn set_limits(&mut self, limits: SourceLimits) {
        self.limits = limits;
    }

    /// Forgets at most `at_most` sources whose history no longer counts. The caller must call this regularly, so that
    /// the memory of a flood is released.
    pub fn sweep(&mut self, now: Duration, at_most: usize) {
        for _ in 0..at_most {
            let Some(source) = self.over(nanos(now)) else { break };
            self.forget(source);
        }
        if self.table.capacity() / 4 > self.table.len() {
            self.table.shrink_to(self.table.len().saturating_mul(2));
        }
    }

    /// Changes the history of a source and moves the source to the right order. `None` if the table has no room for
    /// the source.
    fn change<T>(
        &mut self,
        source: Source,
        now: Duration,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Option<T> {
        if !self.table.contains_key(&source) {
            self.make_room(nanos(now))?;
        }
        let window = self.limits.auth_failures.map_or(0, Rate::per_nanos);
        let record = self.table.entry(source).or_default();
        let before = record.kept;
        let changed = change(record);
        record.kept = record.keep(nanos(now), window);
        let after = record.kept;
        if before != after {
            self.unlist(before, source);
            match after {
                Kept::Held => {}
                Kept::Resting(until) => drop(self.resting.insert((until, source))),
                Kept::Blocked(until) => drop(self.blocked.insert((until, source))),
            }
        }
        Some(changed)
    }

    fn make_room(&mut self, now: u64) -> Option<()> {
        if self.table.len() < self.capacity {
            return Some(());
        }
        let resting = self.over(now).or_else(|| self.resting.first().map(|(_, source)| *source));
        let source = resting.or_else(|| {
            let (_, source) = *self.blocked.first()?;
            self.blocks_forgotten = self.blocks_forgotten.saturating_add(1);
            Some(source)
        })?;
        self.forget(source);
        Some(())
    }

    /// Returns a source whose history no longer counts. `None` if there is none.
    fn over(&self, now: u64) -> Option<Source> {
        let first =
            |order: &BTreeSet<(u64, Source)>| order.first().filter(|(until, _)| *until <= now).copied();
        first(&self.resting).or_else(|| first(&self.blocked)).map(|(_, source)| source)
    }

    fn forget(&mut self, source: Source) {
        if let Some(record) = self.table.remove(&source) {
            self.unlist(record.kept, source);
        }
    }

    fn unlist(&mut self, kept: Kept, source: Source) {
        match kept {
            Kept::Held => {}
            Kept::Resting(until) => drop(self.resting.remove(&(until, source))),
            Kept::Blocked(until) => drop(self.blocked.remove(&(until, source))),
        }
    }
}

impl Record {
    fn failed(&mut self, attempt: u64, rate: Rate, block_for: Duration, now: u64) -> LoginFailure {
        if self.blocked_until > now {
            return LoginFailure::Blocked { until: Duration::from_nanos(self.blocked_until), new: false };
        }
        self.failures.retain(|(_, seen)| seen.saturating_add(rate.per_nanos()) > now);
        match self.failures.iter_mut().find(|(other, _)| *other == attempt) {
            Some((_, seen)) => *seen = now,
            None => self.failures.push((attempt, now)),
        }
        let distinct = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        if distinct < rate.count().min(MAX_FAILURES) {
            return LoginFailure::Counted(distinct);
        }
        self.failures = Vec::new();
        self.blocked_until = now.saturating_add(nanos(block_for));
        LoginFailure::Blocked { until: Duration::from_nanos(self.blocked_until), new: true }
    }

    fn keep(&self, now: u64, window: u64) -> Kept {
        if self.clients > 0 {
            return Kept::Held;
        }
        if self.blocked_until > now {
            return Kept::Blocked(self.blocked_until);
        }
        let last = self.failures.iter().map(|(_, seen)| seen.saturating_add(window)).max().unwrap_or(0);
        Kept::Resting(last.max(self.connects.rests_at()))
    }
}

#[cfg(test)]
mod tests;
