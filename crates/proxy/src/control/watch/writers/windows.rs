//! Programs that write files of the configuration. On Windows nothing is known of them: the files are looked at every
//! second, and read once they stay as they are.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use portcullis_config::{ConfigFile, FileId};

/// Waits for events. There are none.
#[derive(Debug)]
pub(in crate::control) enum Queue {}

impl Queue {
    /// Waits until an event came.
    pub(super) async fn readable(&self) {
        match *self {}
    }
}

/// The writers of the files that are watched: unknown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writers;

impl Writers {
    /// Returns the writers that the system reports.
    ///
    /// # Errors
    /// The system reports none.
    pub(super) fn reported() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns no queue.
    pub(super) const fn queue(&self) -> Option<Queue> {
        None
    }

    /// Returns whether a program has written to the file, and not closed it. Unknown.
    pub(crate) const fn has_open(&self, _: &Path) -> bool {
        false
    }

    /// Returns the files that were written under their own name: none is known.
    pub(crate) fn in_place(&self) -> HashMap<PathBuf, FileId> {
        HashMap::new()
    }

    /// Returns whether an event came since the last call.
    pub(super) const fn take_told(&self) -> bool {
        false
    }

    /// Follows these files.
    pub(super) const fn follow(&self, _: &[ConfigFile]) {}
}
