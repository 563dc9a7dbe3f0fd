//! The sources that were refused last, for the status page.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use portcullis_acl::ClientAddr;

use crate::metrics::RefusedReason;

/// The number of sources that are kept, each for one listener and reason. A person reads no more, and the least recent
/// one is searched for among them when another source is refused.
const MAX_SOURCES: usize = 128;

/// The sources that were refused last. A source that is refused again is counted, and is not listed twice.
#[derive(Debug, Default)]
pub(super) struct Recent {
    seen: HashMap<Key, Times>,
    /// The number of refusals so far. It orders the sources, because two refusals may have the same time.
    refusals: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The address without its port. `None` for peers on a unix socket.
    ip: Option<IpAddr>,
    listener: Arc<str>,
    reason: RefusedReason,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    count: u64,
    first: SystemTime,
    last: SystemTime,
    number: u64,
}

/// A source that was refused.
#[derive(Clone, Debug)]
pub(crate) struct RefusedSource {
    /// The address. `None` for peers on a unix socket.
    pub ip: Option<IpAddr>,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// The reason.
    pub reason: RefusedReason,
    /// The number of refusals since `first`.
    pub count: u64,
    /// The time of the first refusal that is counted.
    pub first: SystemTime,
    /// The time of the last refusal.
    pub last: SystemTime,
}

impl Recent {
    /// Counts a refusal. If the list is full, the source that was refused least recently is forgotten.
    pub(super) fn add(
        &mut self,
        source: ClientAddr,
        listener: &Arc<str>,
        reason: RefusedReason,
        now: SystemTime,
    ) {
        self.refusals += 1;
        let number = self.refusals;
        let key = Key { ip: source.ip(), listener: Arc::clone(listener), reason };
        if let Some(times) = self.seen.get_mut(&key) {
            *times = Times { count: times.count + 1, last: now, number, ..*times };
            return;
        }
        if self.seen.len() >= MAX_SOURCES {
            let oldest = self.seen.iter().min_by_key(|(_, times)| times.number);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.seen.remove(&oldest);
            }
        }
        self.seen.insert(key, Times { count: 1, first: now, last: now, number });
    }

    /// Returns the sources, the one that was refused last first.
    pub(super) fn list(&self) -> Vec<RefusedSource> {
        let mut list: Vec<_> = self.seen.iter().collect();
        list.sort_unstable_by_key(|(_, times)| std::cmp::Reverse(times.number));
        let source = |(key, times): (&Key, &Times)| RefusedSource {
            ip: key.ip,
            listener: Arc::clone(&key.listener),
            reason: key.reason,
            count: times.count,
            first: times.first,
            last: times.last,
        };
        list.into_iter().map(source).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn from(number: u32) -> ClientAddr {
        ClientAddr::from_socket((Ipv4Addr::from(0x0a00_0000 + number), 1).into())
    }

    #[test]
    fn a_source_is_listed_once_for_a_reason() {
        let (mut recent, public) = (Recent::default(), Arc::from("public"));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        recent.add(from(1), &public, RefusedReason::NotAllowed, at(1));
        recent.add(from(2), &public, RefusedReason::NotAllowed, at(2));
        recent.add(from(1), &public, RefusedReason::NotAllowed, at(3));
        recent.add(from(1), &public, RefusedReason::Rate, at(3));
        recent.add(ClientAddr::unix(), &public, RefusedReason::Denied, at(3));
        let list = recent.list();
        let seen: Vec<_> = list.iter().map(|one| (one.ip, one.reason, one.count)).collect();
        let (one, two) = (from(1).ip(), from(2).ip());
        assert_eq!(
            seen,
            [
                (None, RefusedReason::Denied, 1),
                (one, RefusedReason::Rate, 1),
                (one, RefusedReason::NotAllowed, 2),
                (two, RefusedReason::NotAllowed, 1),
            ]
        );
        assert_eq!((list[2].first, list[2].last), (at(1), at(3)));
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_latest() {
        let (mut recent, public) = (Recent::default(), Arc::from("public"));
        for number in 0..1000 {
            recent.add(from(number), &public, RefusedReason::NotAllowed, UNIX_EPOCH);
        }
        let list = recent.list();
        assert_eq!(list.len(), MAX_SOURCES);
        assert_eq!((list[0].ip, list[MAX_SOURCES - 1].ip), (from(999).ip(), from(1000 - 128).ip()));
    }
}
