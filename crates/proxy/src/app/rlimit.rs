//! The process's own limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not clients': listeners, poll sets, log and audit, health checks, admin connections. Redis keeps
/// 32 (`CONFIG_MIN_RESERVED_FDS`); we have poll sets for each thread and an admin endpoint besides.
const RESERVED: u64 = 48;

/// A client has one descriptor, and its upstream connection another.
const PER_CLIENT: u64 = 2;

/// Raises the soft limit of open files to the hard one. Returns how many clients that has room for.
pub(super) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Where raising is refused the old limit holds, and is what is read below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (files.saturating_sub(RESERVED) / PER_CLIENT).max(1)
}
