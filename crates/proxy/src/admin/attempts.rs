//! Wrong tokens: they are counted for each source, and a source with too many of them has to wait.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_acl::ClientAddr;
use portcullis_acl::rate::{LoginFailure, Rate, Source, SourceLimits, Sources};

/// The number of distinct wrong tokens within [`WINDOW`] after which a source has to wait. A person mistypes a token a
/// few times. A program that repeats one old token counts once.
const WRONG_TOKENS: u32 = 10;

/// The time within which wrong tokens count.
const WINDOW: Duration = Duration::from_secs(60);

/// The time for which no token of the source is looked at.
const WAIT: Duration = Duration::from_secs(60);

/// The most sources that are counted.
const MAX_SOURCES: usize = 1024;

/// The wrong tokens of each source.
#[derive(Debug)]
pub(super) struct Attempts {
    since: Instant,
    sources: Mutex<Sources>,
}

impl Default for Attempts {
    fn default() -> Self {
        let limits = SourceLimits {
            auth_failures: Rate::new(WRONG_TOKENS, WINDOW),
            block_for: WAIT,
            ..SourceLimits::default()
        };
        Self { since: Instant::now(), sources: Mutex::new(Sources::new(limits, MAX_SOURCES)) }
    }
}

impl Attempts {
    /// Returns the time for which the source has to wait. `None` if its tokens are looked at.
    pub(super) fn wait(&self, from: ClientAddr) -> Option<Duration> {
        let now = self.since.elapsed();
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.blocked_until(source(from)?, now).map(|until| until.saturating_sub(now))
    }

    /// Counts a wrong token, and logs the one that makes the source wait.
    pub(super) fn wrong(&self, from: ClientAddr, token: &[u8]) {
        let (now, Some(source)) = (self.since.elapsed(), source(from)) else { return };
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = sources.login_failed(source, None, token, now);
        drop(sources);
        if let LoginFailure::Blocked { new: true, .. } = failure {
            let seconds = WAIT.as_secs();
            tracing::warn!(source = %from, seconds, "admin endpoint: too many wrong tokens; the source has to wait");
        }
    }
}

/// Peers on a unix socket are all one source.
fn source(from: ClientAddr) -> Option<Source> {
    let unix = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).into();
    Source::of(if from.is_unix() { ClientAddr::from_socket(unix) } else { from })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> ClientAddr {
        ClientAddr::from_socket(([192, 0, 2, last], 1).into())
    }

    #[test]
    fn a_source_with_many_wrong_tokens_waits_and_others_do_not() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            attempts.wrong(from(1), b"an old token");
        }
        assert_eq!(attempts.wait(from(1)), None, "the same token counts once");
        for number in 0..WRONG_TOKENS {
            attempts.wrong(from(1), number.to_string().as_bytes());
        }
        assert!(attempts.wait(from(1)).is_some_and(|left| left <= WAIT));
        assert_eq!((attempts.wait(from(2)), attempts.wait(ClientAddr::unix())), (None, None));
        for number in 0..WRONG_TOKENS {
            attempts.wrong(ClientAddr::unix(), number.to_string().as_bytes());
        }
        assert!(attempts.wait(ClientAddr::unix()).is_some());
    }
}
