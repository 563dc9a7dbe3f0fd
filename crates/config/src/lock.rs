//! Advisory locks (flock) on the files that an edit writes in place.

use std::fs::{File, TryLockError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use thiserror::Error;

/// The time that the loader waits for a writer. An edit holds its lock for milliseconds.
pub(crate) const READER_WAITS: Duration = Duration::from_secs(1);

/// The time that an edit waits for readers and other edits. It is longer than a reload that reads a slow disk.
pub(crate) const WRITER_WAITS: Duration = Duration::from_secs(10);

/// The interval between attempts; flock itself has no time limit.
const AGAIN: Duration = Duration::from_millis(5);

/// Another program still held its lock at the end of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("another program holds a lock on it (flock)")]
pub(crate) struct Locked;

/// Takes a lock that admits other readers and no writer. It lasts until the file is closed.
///
/// # Errors
/// [`Locked`] at the end of `wait`. A file system without locks is no error.
pub(crate) fn shared(file: &File, wait: Duration) -> Result<(), Locked> {
    within(wait, || file.try_lock_shared())
}

/// Takes a lock that admits no other. It lasts until the file is closed.
///
/// # Errors
/// As for [`shared`].
pub(crate) fn exclusive(file: &File, wait: Duration) -> Result<(), Locked> {
    within(wait, || file.try_lock())
}

fn within(wait: Duration, attempt: impl Fn() -> Result<(), TryLockError>) -> Result<(), Locked> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() >= wait => return Err(Locked),
            Err(TryLockError::WouldBlock) => sleep(AGAIN),
        }
    }
}
