//! The sources that the shadow lists would have refused: a bounded list with counts, for `/api/status` and
//! `portcullis groups suggest`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use portcullis_acl::ClientAddr;

/// The number of sources that are counted separately, about 300 KiB a listener. An allowlist that is written by hand
/// has fewer entries.
pub(crate) const MAX_SOURCES: usize = 4096;

/// The time after which a source that was not seen again is forgotten.
pub(crate) const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The recorded sources of one listener.
#[derive(Debug, Default)]
pub(crate) struct Shadow(Mutex<Sources>);

#[derive(Debug, Default)]
struct Sources {
    seen: HashMap<Option<IpAddr>, Seen>,
    /// The last time at which the table was full and a new source was not recorded.
    overflowed: Option<SystemTime>,
}

/// The number of connections of a source, and the times of the first and the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The number of connections.
    pub count: u64,
    /// The time of the first connection.
    pub first: SystemTime,
    /// The time of the last connection.
    pub last: SystemTime,
}

impl Shadow {
    /// Records an admitted connection that the shadow lists would have refused.
    pub(crate) fn note(&self, from: ClientAddr, now: SystemTime) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = from.ip();
        if !sources.seen.contains_key(&key) && sources.seen.len() >= MAX_SOURCES {
            sources.forget(now);
            if sources.seen.len() >= MAX_SOURCES {
                sources.overflowed = Some(now);
                return;
            }
        }
        let seen = sources.seen.entry(key).or_insert(Seen { count: 0, first: now, last: now });
        seen.count = seen.count.saturating_add(1);
        seen.last = now;
    }

    /// Returns the sources of the last 24 hours, in the order of their addresses, and whether the table was too small
    /// for all of them. The address `None` stands for unix sockets.
    pub(crate) fn sources(&self, now: SystemTime) -> (Vec<(Option<IpAddr>, Seen)>, bool) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.forget(now);
        let mut list: Vec<_> = sources.seen.iter().map(|(ip, seen)| (*ip, *seen)).collect();
        list.sort_unstable_by_key(|(ip, _)| *ip);
        (list, sources.overflowed.is_some())
    }
}

impl Sources {
    fn forget(&mut self, now: SystemTime) {
        let recent = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age < KEEP) || at > now;
        self.seen.retain(|_, seen| recent(seen.last));
        self.overflowed = self.overflowed.filter(|at| recent(*at));
    }
}

#[cfg(test)]
mod tests;
