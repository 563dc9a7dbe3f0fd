//! The time limits of a listener for its clients.

use std::time::Duration;

use portcullis_config::{Auth, Listener};

/// The time for the upstream to answer a client's own login if `timeouts.login` is off. Without a limit the client
/// could wait without end: Redis from 7.2 on and Valkey 8 never answer a failed login while a message for the client
/// is pending.
const CLIENT_LOGIN: Duration = Duration::from_secs(30);

/// The time limits for the clients of one listener. `None` means that there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// The time for which a client may be idle (`timeouts.idle`).
    pub(crate) idle: Option<Duration>,
    /// The time for which a partial command may stall (`timeouts.frame`).
    pub(crate) frame: Option<Duration>,
    /// The time for which a peer may accept no bytes (`timeouts.write`).
    pub(crate) write: Option<Duration>,
    /// The time for the upstream to answer a login of the proxy (`connect_timeout`).
    pub(crate) login: Duration,
    /// The time for the upstream to answer a login of the client.
    pub(crate) client_login: Duration,
    /// The time for the upstream to answer a command (`response_timeout`).
    pub(crate) response: Option<Duration>,
    /// The time for a client to log in, on listeners with `auth: users`.
    pub(crate) enter: Option<Duration>,
    /// The kernel's limit on unacknowledged bytes (`TCP_USER_TIMEOUT`), which also ends a connection that accepts
    /// nothing.
    pub(crate) user_timeout: Option<Duration>,
}

/// The time by which a session counts as quiet later than `user_timeout`. The kernel may end a connection whose peer
/// acknowledges nothing a retransmission late, and a command may be sent a little later than the last progress.
const QUIET_MARGIN: Duration = Duration::from_secs(3);

impl Deadlines {
    /// Returns the time without progress after which a session is quiet: nothing that it sent can be unacknowledged any
    /// more. `None` if the kernel has no limit on unacknowledged bytes.
    pub(crate) fn quiet_after(&self) -> Option<Duration> {
        self.user_timeout.map(|limit| limit.saturating_add(QUIET_MARGIN))
    }

    /// Returns the time limits of `listener` and of its upstream.
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
            enter: timeouts
                .login()
                .filter(|_| listener.auth() == Auth::Users && !listener.presentation().is_sentinel_only()),
            user_timeout: listener.limits().tcp().user_timeout(),
        }
    }
}
