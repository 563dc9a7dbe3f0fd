//! Replaces a file in one step: a reader finds the old text or the new one, never a part.

use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use super::{Edit, EditError};

/// The outcome of a replacement, besides the new text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The new file belongs to the user that wrote it, because the owner and group of the old file could not be set.
    pub owner_changed: bool,
}

impl Edit {
    /// Writes the new text to a file beside the old one, with its mode and if possible its owner, syncs it and
    /// renames it over the old one. A symlink stays, and its target is replaced.
    ///
    /// # Errors
    /// [`EditError::Changed`] when the file is not what it was when this was planned; [`EditError::Io`].
    pub fn apply(&self) -> Result<Applied, EditError> {
        let fail = |error: std::io::Error| EditError::io(&self.file, &error);
        let target = self.file.canonicalize().map_err(fail)?;
        let directory = target.parent().unwrap_or_else(|| Path::new("/"));
        let handle = File::open(directory).map_err(fail)?;
        // Without the lock, one of two concurrent edits would undo the other. On a file system without locks, only the
        // comparison below remains.
        let _ = handle.lock();
        if fs::read(&target).map_err(fail)? != self.before.as_bytes() {
            return Err(EditError::Changed { file: self.file.clone() });
        }
        let applied = replace(&target, directory, &self.after).map_err(fail)?;
        // Best effort: the new text is whole either way, and some file systems cannot sync a directory.
        let _ = handle.sync_all();
        Ok(applied)
    }
}

fn replace(target: &Path, directory: &Path, text: &str) -> std::io::Result<Applied> {
    let old = fs::metadata(target)?;
    let mut new = tempfile::Builder::new().prefix(".portcullis-").suffix(".tmp").tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    let owner_changed = !keep_owner(new.as_file(), &old)?;
    new.as_file().set_permissions(old.permissions())?;
    new.as_file().sync_all()?;
    new.persist(target).map_err(|error| error.error)?;
    Ok(Applied { owner_changed })
}

/// Whether the new file has the old one's owner and group.
fn keep_owner(new: &File, old: &Metadata) -> std::io::Result<bool> {
    if fchown(new, Some(old.uid()), Some(old.gid())).is_err() {
        // The group alone may be given by its members; it is what lets another user read.
        let _ = fchown(new, None, Some(old.gid()));
    }
    let now = new.metadata()?;
    Ok(now.uid() == old.uid() && now.gid() == old.gid())
}
