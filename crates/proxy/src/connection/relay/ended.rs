//! The end of a session: its reason, and whether the client may still be reading.

use std::time::Instant;

use portcullis_resp::error::RequestError;
use portcullis_session::CloseReason;

use crate::log::LogThrottle;
use crate::metrics::ClosedReason;
use crate::worker::table::Entry;

/// The end of a session.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    pub(super) reason: ClosedReason,
    /// Whether the client may still be reading the last bytes that were written to it.
    pub(super) gently: bool,
}

impl Ended {
    /// Creates an end at once: the client gets no more bytes.
    pub(super) const fn at_once(reason: ClosedReason) -> Self {
        Self { reason, gently: false }
    }

    /// Creates the end that the session of `entry` itself decided. The client was sent everything that it is to get.
    /// Logs a warning if the client seems to use another protocol.
    pub(super) fn of(reason: CloseReason, entry: &Entry) -> Self {
        let label = match reason {
            CloseReason::Client => ClosedReason::Client,
            CloseReason::Upstream(_) => ClosedReason::Upstream,
            CloseReason::Drain => ClosedReason::Drain,
            CloseReason::Revoked => ClosedReason::Revoked,
            CloseReason::Blocked => ClosedReason::Limit,
            CloseReason::NotReplication => ClosedReason::Protocol,
            CloseReason::CrossProtocol => {
                warn(
                    entry,
                    "possible HTTP request to a Redis port (POST or Host:), as a browser can be made to send",
                    0,
                );
                ClosedReason::Protocol
            }
            CloseReason::Protocol(RequestError::TlsClientHello) => {
                static TOLD: LogThrottle = LogThrottle::new();
                if let Some(left_out) = TOLD.tell(Instant::now()) {
                    warn(
                        entry,
                        "client sent TLS to a listener without tls; connect without TLS (redis://), or set tls: {cert, key} on \
                         the listener",
                        left_out,
                    );
                }
                ClosedReason::Protocol
            }
            CloseReason::Protocol(_) => ClosedReason::Protocol,
        };
        Self { reason: label, gently: true }
    }
}

fn warn(entry: &Entry, what: &str, left_out: u64) {
    let listener = entry.listener.name();
    tracing::warn!(source = %entry.from, %listener, id = entry.id, left_out, "closed: {what}");
}
