//! The time that a listener gives its clients for each thing.

use std::time::Duration;

use portcullis_config::{Auth, Listener};

/// The upstream's time to answer a client's own login, where `timeouts.login` is off. Redis from 7.2 on and Valkey 8
/// never answer one that fails while a message for the client is pending, and no limit would be a wait for ever.
const CLIENT_LOGIN: Duration = Duration::from_secs(30);

/// The deadlines of the clients of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlines {
    pub(crate) idle: Option<Duration>,
    pub(crate) frame: Option<Duration>,
    pub(crate) write: Option<Duration>,
    pub(crate) login: Duration,
    pub(crate) client_login: Duration,
    pub(crate) response: Option<Duration>,
    /// The time until the login, on listeners that ask for one.
    pub(crate) enter: Option<Duration>,
    /// The kernel's own limit, which begins where a client accepts nothing.
    pub(crate) user_timeout: Option<Duration>,
}

impl Deadlines {
    /// That of `listener` and the upstream it uses.
    pub(crate) fn of(listener: &Listener) -> Self {
        let upstream = listener.upstream();
        let timeouts = listener.limits().timeouts();
        Self {
            idle: timeouts.idle(),
            frame: timeouts.frame(),
            write: timeouts.write(),
            login: upstream.connect_timeout(),
            client_login: timeouts.login().unwrap_or(CLIENT_LOGIN),
            response: upstream.response_timeout(),
            enter: timeouts.login().filter(|_| listener.auth() == Auth::Users),
            user_timeout: listener.limits().tcp().user_timeout(),
        }
    }
}
