//! Sources that a shadow policy would have refused: a bounded list with counts, for `/api/status` and `portcullis
//! groups suggest`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use portcullis_acl::ClientAddr;

/// Number of sources that are told apart, some 300 KiB a listener: more than an allowlist that is written by hand.
pub(crate) const MAX_SOURCES: usize = 4096;

/// A source that was not seen for this long is forgotten.
pub(crate) const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The sources of one listener.
#[derive(Debug, Default)]
pub(crate) struct Shadow(Mutex<Sources>);

#[derive(Debug, Default)]
struct Sources {
    seen: HashMap<Option<IpAddr>, Seen>,
    /// When a source last found no room.
    overflowed: Option<SystemTime>,
}

/// The number of connections of a source, and their first and last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Connections.
    pub count: u64,
    /// The first of them.
    pub first: SystemTime,
    /// The last of them.
    pub last: SystemTime,
}

impl Shadow {
    /// A connection was admitted that the shadow policy would have turned away.
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

    /// The sources of the last 24 hours, in the order of their addresses (`None`: a unix socket), and whether there were
    /// more than could be kept.
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
