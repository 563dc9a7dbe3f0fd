//! The limit of open files of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::process::room_of;

/// Raises the soft limit of open files to the hard limit. Returns the number of clients for which the limit
/// is enough, at least 1.
pub(super) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If the system refuses, the old limit stays in force. The next lines read the limit again.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    room_of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}
