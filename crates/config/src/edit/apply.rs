//! Writes an edit. A file is replaced in one step where possible, so that a reader finds the old text or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::in_place::{self, Backup};
use super::{Edit, EditError};
use crate::input::name_of;
use crate::lock::{self, WRITER_WAITS};
use crate::platform::keep_owner;

/// The way to write an edit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Replaces the file by a rename. If the file cannot be renamed over, because it is a mount point for example,
    /// writes into it and keeps the old text beside it.
    #[default]
    Replace,
    /// Writes into the file, even if its directory is not writable and the old text cannot be kept.
    InPlace,
}

/// The outcome of writing an edit, besides the new text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The new file belongs to the user that wrote it, because the owner and group of the old file could not be set.
    pub owner_changed: bool,
    /// The text was written into the file instead of a new one.
    pub in_place: bool,
    /// The file that keeps the old text, after a write in place.
    pub backup: Option<PathBuf>,
}

impl Edit {
    /// Writes the new text. The file keeps its mode and if possible its owner; a symlink stays, and its target gets
    /// the text. An edit that changes nothing writes nothing.
    ///
    /// # Errors
    /// [`EditError::Changed`] when the file is not what it was when this was planned;
    /// [`EditError::ReadOnlyDirectory`] when only [`Method::InPlace`] can write it; [`EditError::Locked`];
    /// [`EditError::HalfWritten`]; [`EditError::Io`].
    pub fn apply(&self, method: Method) -> Result<Applied, EditError> {
        if self.before == self.after {
            return Ok(Applied::default());
        }
        let fail = |error: io::Error| EditError::io(&self.file, &error);
        let target = self.file.canonicalize().map_err(fail)?;
        let kind = fs::metadata(&target).map_err(fail)?.file_type();
        if !kind.is_file() {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, name_of(kind))));
        }
        let directory = target.parent().unwrap_or_else(|| Path::new("/"));
        // A directory that cannot be read has no lock, and then only the comparison below remains.
        let handle = File::open(directory).ok();
        if let Some(handle) = &handle {
            // Without the lock, one of two concurrent edits would undo the other.
            lock::exclusive(handle, WRITER_WAITS)
                .map_err(|_| EditError::Locked { file: directory.to_path_buf() })?;
        }
        if fs::read(&target).map_err(fail)? != self.before.as_bytes() {
            return Err(EditError::Changed { file: self.file.clone() });
        }
        if method == Method::InPlace {
            return self.write_in_place(&target, Backup::IfPossible);
        }
        let applied = match replace(&target, directory, &self.after) {
            Ok(applied) => applied,
            Err(Unreplaced::Rename(error)) if needs_the_same_file(&error) => {
                return self.write_in_place(&target, Backup::Required);
            }
            Err(Unreplaced::Create(error)) if is_denied(&error) => {
                // If the file itself cannot be written either, this is the error to report.
                OpenOptions::new().write(true).open(&target).map_err(fail)?;
                return Err(EditError::read_only_directory(&self.file, directory, &error));
            }
            Err(Unreplaced::Create(error) | Unreplaced::Rename(error)) => return Err(fail(error)),
        };
        if let Some(handle) = handle {
            // Best effort: the new text is whole either way, and some file systems cannot sync a directory.
            let _ = handle.sync_all();
        }
        Ok(applied)
    }

    fn write_in_place(&self, target: &Path, backup: Backup) -> Result<Applied, EditError> {
        // The loader takes a file that was emptied in place for a cut one; a line break says that it is whole.
        let after = if self.after.is_empty() { "\n" } else { &self.after };
        let backup = in_place::write(target, &self.before, after, backup)?;
        Ok(Applied { owner_changed: false, in_place: true, backup })
    }
}

/// The step at which a replacement failed.
enum Unreplaced {
    /// The new file could not be made or written.
    Create(io::Error),
    /// The new file could not get the name of the old one.
    Rename(io::Error),
}

impl From<io::Error> for Unreplaced {
    fn from(error: io::Error) -> Self {
        Self::Create(error)
    }
}

fn replace(target: &Path, directory: &Path, text: &str) -> Result<Applied, Unreplaced> {
    let old = fs::metadata(target)?;
    let mut new = tempfile::Builder::new().prefix(".portcullis-").suffix(".tmp").tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    let owner_changed = !keep_owner(new.as_file(), &old)?;
    new.as_file().set_permissions(old.permissions())?;
    new.as_file().sync_all()?;
    new.persist(target).map_err(|error| Unreplaced::Rename(error.error))?;
    Ok(Applied { owner_changed, ..Applied::default() })
}

/// Whether a rename failed because of the old file, which can still be written: a mount point (EBUSY, EXDEV), or
/// another user's file in a sticky directory (EPERM, EACCES).
fn needs_the_same_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices) || is_denied(error)
}

/// Whether the user may not make files in a directory, or the file system is read-only.
pub(super) fn is_denied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
