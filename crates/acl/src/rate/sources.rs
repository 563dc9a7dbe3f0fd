//! The history of each source, in a table of bounded size.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use super::{Meter, Rate, nanos};
use crate::origin::ClientAddr;

/// Maximum number of sources in a table. With 64 failures each, the maximum, the sources take some 80 MiB; with ten
/// 30 MiB; without any 14 MiB.
pub const DEFAULT_CAPACITY: usize = 65_536;
/// Maximum number of distinct wrong passwords that are counted for one source: each takes memory until it is
/// forgotten. A larger limit is reduced to this number.
pub const MAX_FAILURES: u32 = 64;

/// The clients that are counted together: an IPv4 address, or the /64 of an IPv6 address, because one host has the
/// whole /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source of a client. Peers on a unix socket have none and are not limited.
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

    /// The address, or the first address of the /64.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

/// The limits of each source; `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLimits {
    /// Maximum number of clients at once.
    pub clients: Option<u32>,
    /// Maximum rate of new connections.
    pub connects: Option<Rate>,
    /// Rate of distinct failed logins; the login that reaches the number blocks the source.
    pub auth_failures: Option<Rate>,
    /// Duration of a block.
    pub block_for: Duration,
}

impl SourceLimits {
    /// Whether there is a limit.
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
        /// End of the block.
        until: Duration,
    },
    /// The source connects too often.
    #[error("the source connects too often")]
    Rate,
    /// The source has the maximum number of clients.
    #[error("the source has reached its limit of clients")]
    Clients,
    /// The table is full of sources that have clients.
    #[error("too many sources have clients")]
    Full,
}

/// The result of a failed login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// The number of distinct failed logins; also returned if no failures are counted.
    Counted(u32),
    /// The source is blocked: close the connection of the client.
    Blocked {
        /// End of the block.
        until: Duration,
        /// Whether this failure caused the block: log it only then.
        new: bool,
    },
}

/// A client's place among the clients of its source. The caller returns it by [`Sources::leave`].
#[derive(Debug)]
#[must_use = "a place that is not given back counts without end"]
pub struct CountedSource(Option<Source>);

/// The history of the sources of one listener.
///
/// The table never grows beyond its capacity. In a full table, a new source replaces the first of these that exists:
///
/// - a source without history that counts (its connections and failures are old, its block is over),
/// - a source without a block and without clients, the one whose connections and failures would be forgotten first,
/// - a source with a block and without clients, the one whose block ends first. This happens only if all other
///   sources are blocked or have clients; [`Sources::blocks_forgotten`] counts these replacements.
///
/// Sources with clients keep their place, so their number of clients is always right. If every source has clients,
/// new sources are refused. All operations take logarithmic time.
#[derive(Debug)]
pub struct Sources<S = RandomState> {
    limits: SourceLimits,
    capacity: usize,
    table: HashMap<Source, Record, S>,
    /// Sources without clients and without a block, by the time at which they may be forgotten.
    resting: BTreeSet<(u64, Source)>,
    /// Sources without clients and with a block, by the end of the block.
    blocked: BTreeSet<(u64, Source)>,
    blocks_forgotten: u64,
}

#[derive(Debug, Default)]
struct Record {
    clients: u32,
    connects: Meter,
    blocked_until: u64,
    /// Keyed hashes of wrong names and passwords, each with the time of its last use.
    failures: Vec<(u64, u64)>,
    kept: Kept,
}

/// The order that contains a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    #[default]
    Held,
    Resting(u64),
    Blocked(u64),
}

impl Sources<RandomState> {
    /// An empty table. The keys of its hashes are random.
    #[must_use]
    pub fn new(limits: SourceLimits, capacity: usize) -> Self {
        Self::with_hasher(limits, capacity, RandomState::new())
    }
}

impl<S: BuildHasher> Sources<S> {
    /// An empty table. The hasher must have keys that clients do not know, because it distinguishes wrong passwords.
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

    /// Admits a client that connects.
    ///
    /// # Errors
    /// The reason why the client may not connect.
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

    /// Counts a failed login with this name (if one was given) and password. The same pair counts once, so one client
    /// with an old password does not block all others behind its address. The pair is kept as a keyed hash.
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
        // If the failure cannot be counted, the source may not guess again.
        failure.unwrap_or(LoginFailure::Blocked { until: now, new: false })
    }

    /// The end of the source's block, if it is blocked.
    #[must_use]
    pub fn blocked_until(&self, source: Source, now: Duration) -> Option<Duration> {
        let until = self.table.get(&source)?.blocked_until;
        (until > nanos(now)).then(|| Duration::from_nanos(until))
    }

    /// The number of blocked sources. Reads all sources.
    #[must_use]
    pub fn blocked(&self, now: Duration) -> usize {
        let now = nanos(now);
        self.table.values().filter(|record| record.blocked_until > now).count()
    }

    /// The number of sources in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the table has no sources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Blocks that were forgotten before their time because the table was full of blocked sources.
    #[must_use]
    pub const fn blocks_forgotten(&self) -> u64 {
        self.blocks_forgotten
    }

    /// Replaces the limits. Present clients stay, and blocks end at their time.
    pub const fn set_limits(&mut self, limits: SourceLimits) {
        self.limits = limits;
    }

    /// Forgets sources without history that counts, at most `at_most`. The caller calls it regularly, so that the
    /// memory of a flood is released.
    pub fn sweep(&mut self, now: Duration, at_most: usize) {
        for _ in 0..at_most {
            let Some(source) = self.over(nanos(now)) else { break };
            self.forget(source);
        }
        if self.table.capacity() / 4 > self.table.len() {
            self.table.shrink_to(self.table.len().saturating_mul(2));
        }
    }

    /// Changes the history of a source and updates its place in the orders. `None` if there is no room for the
    /// source.
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

    /// A source without history that counts.
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
