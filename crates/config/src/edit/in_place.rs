//! Writes into a file that cannot be replaced by a rename, such as a file that is a mount point of its own.
//!
//! The file is locked (flock), and the loader waits for the lock, so that it never reads half a file. A crash in the
//! middle ends the lock. Therefore the file begins with [`UNFINISHED`] until the last step: this is not UTF-8, and the
//! loader refuses the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::EditError;
use super::apply::is_denied;
use crate::lock::{self, WRITER_WAITS};
use crate::platform::{id_at, id_of, keep_owner, write_all_at};
use crate::scope::{UNFINISHED, backup_of, reason};

/// Whether an edit may write into a file whose old text cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backup {
    Required,
    IfPossible,
}

/// Writes `after` into the target, whose text is `before`. Returns the path of the file that keeps the old text.
pub(super) fn write(
    target: &Path,
    before: &str,
    after: &str,
    backup: Backup,
) -> Result<Option<PathBuf>, EditError> {
    let io = |error: io::Error| EditError::io(target, &error);
    let mut file = OpenOptions::new().read(true).write(true).open(target).map_err(io)?;
    lock::exclusive(&file, WRITER_WAITS).map_err(|_| EditError::Locked { file: target.to_path_buf() })?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(io)?;
    if text != before.as_bytes() || !is_still_there(&file, target).map_err(io)? {
        return Err(EditError::Changed { file: target.to_path_buf() });
    }
    let kept = match keep(target, &file, before) {
        Ok(kept) => Some(kept),
        Err(error) if backup == Backup::IfPossible && is_denied(&error) => None,
        Err(error) => return Err(EditError::no_backup(target, &error)),
    };
    let Err(error) = overwrite(&file, after) else { return Ok(kept) };
    // A full disk, most likely. The old text needs no more room than it had.
    match overwrite(&file, before) {
        Ok(()) => Err(io(error)),
        Err(_) => Err(EditError::HalfWritten { file: target.to_path_buf(), kept, reason: reason(&error) }),
    }
}

/// Whether the path still leads to the open file: another program may have replaced it while the lock was awaited.
fn is_still_there(file: &File, path: &Path) -> io::Result<bool> {
    Ok(id_of(file)? == id_at(path)?)
}

/// Keeps the old text beside the file, with its mode and if possible its owner.
fn keep(target: &Path, file: &File, text: &str) -> io::Result<PathBuf> {
    let path = backup_of(target);
    let directory = target.parent().unwrap_or_else(|| Path::new("/"));
    let old = file.metadata()?;
    let mut new = tempfile::Builder::new().prefix(".portcullis-").suffix(".tmp").tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    keep_owner(new.as_file(), &old)?;
    new.as_file().set_permissions(old.permissions())?;
    new.as_file().sync_all()?;
    new.persist(&path).map_err(|error| error.error)?;
    // The name of the backup must survive a power failure before the file is touched; some file systems cannot sync a
    // directory.
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(path)
}

fn overwrite(file: &File, text: &str) -> io::Result<()> {
    for step in steps(text.as_bytes()) {
        match step {
            Step::Write { at, bytes } => write_all_at(file, bytes, at)?,
            Step::Resize(length) => file.set_len(length)?,
        }
        // In this order on the disk too, else a power failure could leave the last step without those before it.
        file.sync_all()?;
    }
    Ok(())
}

/// One step of overwriting a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'t> {
    /// Writes the bytes at an offset.
    Write { at: u64, bytes: &'t [u8] },
    /// Sets the length of the file.
    Resize(u64),
}

/// The steps after which a file has this text, whatever it had before. In between it is not UTF-8.
pub(super) fn steps(text: &[u8]) -> Vec<Step<'_>> {
    let (first, rest) = text.split_at(text.len().min(1));
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let last = match first {
        [] => Step::Resize(0),
        first => Step::Write { at: 0, bytes: first },
    };
    let mark = Step::Write { at: 0, bytes: &UNFINISHED };
    vec![mark, Step::Write { at: 1, bytes: rest }, Step::Resize(length.max(1)), last]
}
