//! Linux.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use super::FileId;

/// Whether the proxy listens and connects on unix sockets.
pub(crate) const HAS_UNIX_SOCKETS: bool = true;

/// Whether another process can send signals to the proxy.
pub(crate) const HAS_SIGNALS: bool = true;

/// The remedy for a file of secrets that every local user can read.
pub(crate) const OPEN_TO_ALL_HINT: &str =
    "run chmod 640, and set the file's group to the one that runs portcullis";

/// The number of the device `/dev/null` on Linux: an empty file for whatever needs one.
const NULL_DEVICE: u64 = 0x103;

/// Returns the file that is read where none is named and the current directory has none.
pub(crate) fn default_file() -> PathBuf {
    PathBuf::from("/etc/portcullis/portcullis.yaml")
}

/// Returns whether the system has a setting of its time zone.
pub(crate) fn has_zone_file() -> bool {
    Path::new("/etc/localtime").exists()
}

/// Opens a file without waiting for another program. The option has no effect on regular files.
pub fn open_without_waiting(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed())
}

/// Returns whether a file is `/dev/null`, under any name.
pub fn is_null_device(file: &Metadata) -> bool {
    file.file_type().is_char_device() && file.rdev() == NULL_DEVICE
}

/// Returns whether a file is the terminal on standard input.
pub(crate) fn is_own_terminal(file: &Metadata) -> bool {
    let stdin = std::fs::metadata("/dev/stdin");
    file.file_type().is_char_device()
        && io::stdin().is_terminal()
        && stdin.is_ok_and(|stdin| stdin.rdev() == file.rdev())
}

/// Returns whether a file is a pipe.
pub(crate) fn is_pipe(kind: FileType) -> bool {
    kind.is_fifo()
}

/// Returns whether a file is a socket.
pub(crate) fn is_socket(kind: FileType) -> bool {
    kind.is_socket()
}

/// Returns the identity of an open file.
///
/// # Errors
/// The system cannot tell it.
pub fn id_of(file: &File) -> io::Result<FileId> {
    file.metadata().map(|file| (file.dev(), file.ino()))
}

/// Returns the identity of the file at a path. Symbolic links are followed.
///
/// # Errors
/// There is no such file, or the system cannot tell its identity.
pub fn id_at(path: &Path) -> io::Result<FileId> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Returns the time of the last change of a file or of its properties.
pub(crate) fn changed(file: &Metadata) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(file.ctime()).ok()?, u32::try_from(file.ctime_nsec()).ok()?);
    UNIX_EPOCH.checked_add(since)
}

/// Returns whether every local user can read the file.
pub(crate) fn is_open_to_all(path: &Path) -> bool {
    const OTHERS_READ: u32 = 0o004;
    let readable = |file: Metadata| file.is_file() && file.permissions().mode() & OTHERS_READ != 0;
    std::fs::metadata(path).is_ok_and(readable)
}

/// Gives a new file the old one's owner and group. Returns whether it has them.
///
/// # Errors
/// The system cannot tell the owner of the new file.
pub(crate) fn keep_owner(new: &File, old: &Metadata) -> io::Result<bool> {
    if fchown(new, Some(old.uid()), Some(old.gid())).is_err() {
        // The group alone may be given by its members; it is what lets another user read.
        let _ = fchown(new, None, Some(old.gid()));
    }
    let now = new.metadata()?;
    Ok(now.uid() == old.uid() && now.gid() == old.gid())
}

/// Writes all bytes at an offset.
///
/// # Errors
/// The system cannot write them.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}
