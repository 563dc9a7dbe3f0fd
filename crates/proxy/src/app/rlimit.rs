//! The limit of open files of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of descriptors that do not belong to clients: listeners, poll sets, logs, audit, health checks
/// and the admin endpoint. Redis reserves 32 (`CONFIG_MIN_RESERVED_FDS`). Portcullis also has a poll set for
/// each thread and an admin endpoint.
const RESERVED: u64 = 48;

/// The number of descriptors for one client: its own socket and the upstream connection.
const PER_CLIENT: u64 = 2;

/// Raises the soft limit of open files to the hard limit. Returns the number of clients for which the limit
/// is enough, at least 1.
pub(super) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If the system refuses, the old limit stays in force. The next lines read the limit again.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (files.saturating_sub(RESERVED) / PER_CLIENT).max(1)
}
