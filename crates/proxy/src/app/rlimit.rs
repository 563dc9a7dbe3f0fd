//! The limit of open files of this process.

use std::fmt;

use portcullis_config::message::Harmless;

use crate::platform;
use crate::process::{LEAST_FILES, room_of};

/// The limit of open files is too low for the proxy itself and one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of open files is {limit}, and at least {} are needed", LEAST_FILES)]
pub(crate) struct TooFewFiles {
    limit: u64,
}

/// A number and words of the program.
impl Harmless for TooFewFiles {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Raises the soft limit of open files to the hard limit. Returns the number of clients for which the limit
/// is enough, at least 1.
///
/// # Errors
/// The limit is not enough for one client.
pub(super) fn raise_open_files() -> Result<u64, TooFewFiles> {
    let files = platform::raise_open_files();
    if files < LEAST_FILES {
        return Err(TooFewFiles { limit: files });
    }
    Ok(room_of(files))
}
