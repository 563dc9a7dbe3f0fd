//! The sessions of browsers: an operator trades the token for a cookie once.
//!
//! Only digests of the cookies are kept. A session ends after [`LIFETIME`], at logout, when the token changes, and when
//! the process ends.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use portcullis_config::tls::provider;
use sha2::{Digest, Sha256};

/// The time after which an operator gives the token again: a working day.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The most sessions at once. Only a client with the token opens one; for another one the oldest ends.
const MAX_SESSIONS: usize = 64;

/// The random bytes of a cookie.
const BYTES: usize = 16;

/// The name of the cookie.
const COOKIE: &str = "portcullis_session";

/// The digest of a cookie.
pub(super) type SessionKey = [u8; 32];

/// The open sessions, each with its end.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<SessionKey, Instant>>);

impl Sessions {
    /// Opens a session and returns its cookie. `None` if the system has no random bytes.
    pub(super) fn open(&self, now: Instant) -> Option<String> {
        let mut random = [0; BYTES];
        provider().secure_random.fill(&mut random).ok()?;
        let mut cookie = String::with_capacity(BYTES * 2);
        for byte in random {
            // Writing to a String cannot fail.
            let _ = write!(cookie, "{byte:02x}");
        }
        let mut sessions = self.lock();
        sessions.retain(|_, end| *end > now);
        while sessions.len() >= MAX_SESSIONS {
            let Some(oldest) = sessions.iter().min_by_key(|(_, end)| **end).map(|(key, _)| *key) else {
                break;
            };
            sessions.remove(&oldest);
        }
        sessions.insert(digest(&cookie), now + LIFETIME);
        Some(cookie)
    }

    /// Returns the open session that a request names.
    pub(super) fn of(&self, headers: &HeaderMap, now: Instant) -> Option<SessionKey> {
        // Another service on this host may have set a cookie of the same name for another path.
        cookies(headers).map(digest).find(|key| self.is_open(key, now))
    }

    /// Returns whether the session is open.
    pub(super) fn is_open(&self, key: &SessionKey, now: Instant) -> bool {
        self.lock().get(key).is_some_and(|end| *end > now)
    }

    /// Ends a session.
    pub(super) fn close(&self, key: &SessionKey) {
        self.lock().remove(key);
    }

    /// Ends all sessions.
    pub(super) fn close_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the header that gives a browser the cookie. Where the browser came over TLS, it must not send the cookie
/// without TLS.
pub(super) fn set_cookie(cookie: &str, lifetime: Duration, headers: &HeaderMap) -> String {
    let secure = if came_over_tls(headers) { "; Secure" } else { "" };
    format!("{COOKIE}={cookie}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", lifetime.as_secs())
}

/// Returns whether a browser reached this endpoint over TLS, which another server in front of it has ended. The browser
/// says so in `Origin`.
fn came_over_tls(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let forwarded = headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes() == b"https");
    origin || forwarded
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

fn digest(cookie: &str) -> SessionKey {
    Sha256::digest(cookie.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn request(cookie: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("theme=dark; {COOKIE}={cookie}; other=1")).unwrap();
        HeaderMap::from_iter([(header::COOKIE, value)])
    }

    #[test]
    fn a_session_ends_in_time_at_logout_and_with_the_others() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let cookies: Vec<String> = (0..3).map(|_| sessions.open(now).unwrap()).collect();
        assert!(cookies[0] != cookies[1] && cookies[0].len() == 32, "{cookies:?}");
        let key = sessions.of(&request(&cookies[0]), now).unwrap();
        assert!(
            sessions.of(&request("0123"), now).is_none() && sessions.of(&HeaderMap::new(), now).is_none()
        );
        assert!(sessions.of(&request(&cookies[0]), now + LIFETIME).is_none());
        sessions.close(&key);
        assert!(sessions.of(&request(&cookies[0]), now).is_none());
        assert!(sessions.of(&request(&cookies[1]), now).is_some());
        sessions.close_all();
        assert!(sessions.of(&request(&cookies[1]), now).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_ends() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions.open(now).unwrap();
        for second in 1..=64 {
            sessions.open(now + Duration::from_secs(second)).unwrap();
        }
        assert!(sessions.of(&request(&first), now).is_none());
        assert_eq!(sessions.lock().len(), MAX_SESSIONS);
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_and_other_sites() {
        let mut headers = HeaderMap::new();
        let plain = set_cookie("ab", LIFETIME, &headers);
        assert_eq!(plain, "portcullis_session=ab; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
        headers.insert(header::ORIGIN, HeaderValue::from_static("https://gate.example"));
        assert!(set_cookie("ab", LIFETIME, &headers).ends_with("; Secure"));
    }
}
