//! The activity of each source: a table of bounded size.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use super::{Meter, Rate, nanos};
use crate::origin::ClientAddr;

/// Sources that a table knows at once. At 64 failures each, which is the most, they take some 80 MiB; at ten
/// 30 MiB; without any 14 MiB.
pub const DEFAULT_CAPACITY: usize = 65_536;
/// Distinct wrong passwords that are counted of one source at most: each takes memory until it is forgotten. A limit
/// that says more is taken as this.
pub const MAX_FAILURES: u32 = 64;

/// A source: an IPv4 address, or the /64 of an IPv6 address, because one host has all of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source of a client; peers on a unix socket have none and are not limited by it.
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

    /// The address, or the first one of the /64.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

/// Limits of each source; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLimits {
    /// Clients at once.
    pub clients: Option<u32>,
    /// New connections.
    pub connects: Option<Rate>,
    /// Distinct wrong logins: the one that makes the number full blocks the source.
    pub auth_failures: Option<Rate>,
    /// The duration of a block.
    pub block_for: Duration,
}

impl SourceLimits {
    /// Whether there is any limit.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.clients.is_some() || self.connects.is_some() || self.auth_failures.is_some()
    }
}

/// The reason why a source is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Too many wrong logins.
    #[error("the source is blocked after too many failed logins")]
    Blocked {
        /// When that ends.
        until: Duration,
    },
    /// Too many connections in too short a time.
    #[error("the source connects too often")]
    Rate,
    /// The source has reached its limit of clients.
    #[error("the source has reached its limit of clients")]
    Clients,
    /// All sources that the table has room for have clients.
    #[error("too many sources have clients")]
    Full,
}

/// The consequence of a failed login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// The failure is counted as one of several distinct ones, or nothing is counted.
    Counted(u32),
    /// The source is blocked: cut the client.
    Blocked {
        /// When that ends.
        until: Duration,
        /// Whether it is this failure that did it: log it once.
        new: bool,
    },
}

/// A client's place among those of its source; to be given back by [`Sources::leave`].
#[derive(Debug)]
#[must_use = "a place that is not given back counts without end"]
pub struct Place(Option<Source>);

/// The known sources of one listener.
///
/// The table never grows beyond its capacity. A new source takes, in this order, the room of one
/// - of which nothing counts any more (its connects and failures are long ago, its block is over),
/// - that is not blocked and has no client, the one whose connects and failures would have been forgotten soonest,
/// - that is blocked and has no client, the one whose block would have ended soonest: only where all others are blocked
///   too, or have clients; [`Sources::blocks_forgotten`] counts these.
///
/// Sources with clients keep their place, so that their number of clients is always right. Where every source has
/// clients, new sources are refused. All of this takes logarithmic time.
#[derive(Debug)]
pub struct Sources<S = RandomState> {
    limits: SourceLimits,
    capacity: usize,
    table: HashMap<Source, Record, S>,
    /// Without clients and not blocked, by when they may be forgotten.
    resting: BTreeSet<(u64, Source)>,
    /// Without clients and blocked, by when that ends.
    blocked: BTreeSet<(u64, Source)>,
    blocks_forgotten: u64,
}

#[derive(Debug, Default)]
struct Record {
    clients: u32,
    connects: Meter,
    blocked_until: u64,
    /// Keyed hashes of wrong names and passwords, with when each was last seen.
    failures: Vec<(u64, u64)>,
    kept: Kept,
}

/// In which of the two orders a record is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    #[default]
    Held,
    Resting(u64),
    Blocked(u64),
}

impl Sources<RandomState> {
    /// No source is known yet. The keys of its hashes are random.
    #[must_use]
    pub fn new(limits: SourceLimits, capacity: usize) -> Self {
        Self::with_hasher(limits, capacity, RandomState::new())
    }
}

impl<S: BuildHasher> Sources<S> {
    /// No source is known yet. The hasher must be keyed with what clients cannot know: it tells wrong passwords apart.
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

    /// A client connects.
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(&mut self, source: Source, now: Duration) -> Result<Place, Denied> {
        if !self.limits.is_any() {
            return Ok(Place(None));
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
            Ok(Place(Some(source)))
        })
        .unwrap_or(Err(Denied::Full))
    }

    /// A client that was admitted has left.
    pub fn leave(&mut self, place: Place, now: Duration) {
        if let Some(source) = place.0.filter(|source| self.table.contains_key(source)) {
            self.change(source, now, |record| record.clients = record.clients.saturating_sub(1));
        }
    }

    /// A login failed with this name, if one was given, and password. The same pair counts once, so that one client with
    /// an old password does not shut out all others behind its address; it is kept as a keyed hash.
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
        // If nothing can be counted, no guess is allowed.
        failure.unwrap_or(LoginFailure::Blocked { until: now, new: false })
    }

    /// When the source's block ends, if it is blocked.
    #[must_use]
    pub fn blocked_until(&self, source: Source, now: Duration) -> Option<Duration> {
        let until = self.table.get(&source)?.blocked_until;
        (until > nanos(now)).then(|| Duration::from_nanos(until))
    }

    /// Counts the blocked sources; visits all of them.
    #[must_use]
    pub fn blocked(&self, now: Duration) -> usize {
        let now = nanos(now);
        self.table.values().filter(|record| record.blocked_until > now).count()
    }

    /// Returns the number of known sources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no source is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Blocks that were forgotten before their time because the table was full of blocked sources.
    #[must_use]
    pub const fn blocks_forgotten(&self) -> u64 {
        self.blocks_forgotten
    }

    /// Other limits from now on; clients that are there stay, and blocks end when they would have.
    pub const fn set_limits(&mut self, limits: SourceLimits) {
        self.limits = limits;
    }

    /// Forgets sources of which nothing counts any more, at most so many; to be called now and then, so that the memory
    /// of a flood is given back.
    pub fn sweep(&mut self, now: Duration, at_most: usize) {
        for _ in 0..at_most {
            let Some(source) = self.over(nanos(now)) else { break };
            self.forget(source);
        }
        if self.table.capacity() / 4 > self.table.len() {
            self.table.shrink_to(self.table.len().saturating_mul(2));
        }
    }

    /// Changes what is known of a source and puts it where it then belongs; nothing where there is no room for it.
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

    /// A source of which nothing counts any more.
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
