//! Windows.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use winapi_util::Handle;
use winapi_util::file::information;
use windows_permissions::constants::{SeObjectType, SecurityInformation};
use windows_permissions::wrappers::GetNamedSecurityInfo;

use super::FileId;

/// Whether the proxy listens and connects on unix sockets.
pub(crate) const HAS_UNIX_SOCKETS: bool = false;

/// Whether another process can send signals to the proxy.
pub(crate) const HAS_SIGNALS: bool = false;

/// The remedy for a file of secrets that every local user can read.
pub(crate) const OPEN_TO_ALL_HINT: &str =
    "run icacls FILE /inheritance:r /grant:r Administrators:F \"NT SERVICE\\portcullis:R\"";

/// Returns the file that is read where none is named and the current directory has none.
pub(crate) fn default_file() -> PathBuf {
    let directory = std::env::var_os("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into());
    Path::new(&directory).join("portcullis").join("portcullis.yaml")
}

/// Returns whether the system has a setting of its time zone.
pub(crate) const fn has_zone_file() -> bool {
    true
}

/// Opens a file without waiting for another program, which is so on Windows.
pub const fn open_without_waiting(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Returns whether a file is the null device. An open file of Windows does not tell.
pub const fn is_null_device(_: &Metadata) -> bool {
    false
}

/// Returns whether a file is the terminal on standard input. A console has no path of its own.
pub(crate) const fn is_own_terminal(_: &Metadata) -> bool {
    false
}

/// Returns whether a file is a pipe. The pipes of Windows are not in directories.
pub(crate) const fn is_pipe(_: FileType) -> bool {
    false
}

/// Returns whether a file is a socket.
pub(crate) const fn is_socket(_: FileType) -> bool {
    false
}

/// Returns the identity of an open file.
///
/// # Errors
/// The system cannot tell it.
pub fn id_of(file: &File) -> io::Result<FileId> {
    information(file).map(|file| (file.volume_serial_number(), file.file_index()))
}

/// Returns the identity of the file at a path. Symbolic links are followed.
///
/// # Errors
/// There is no such file, or the system cannot tell its identity.
pub fn id_at(path: &Path) -> io::Result<FileId> {
    let file = information(Handle::from_path_any(path)?)?;
    Ok((file.volume_serial_number(), file.file_index()))
}

/// Returns the time of the last change of a file.
pub(crate) fn changed(file: &Metadata) -> Option<SystemTime> {
    file.modified().ok()
}

/// Returns whether every local user can read the file. A file whose permissions cannot be read is not.
pub(crate) fn is_open_to_all(path: &Path) -> bool {
    let permissions =
        GetNamedSecurityInfo(path.as_os_str(), SeObjectType::SE_FILE_OBJECT, SecurityInformation::Dacl);
    let text = permissions.and_then(|permissions| permissions.as_sddl());
    path.is_file() && text.is_ok_and(|text| lets_all_read(&text.to_string_lossy()))
}

/// Returns whether permissions in the language of Windows (SDDL) let Everyone, every user who is logged in, or the group
/// Users read. A text without entries after `D:NO_ACCESS_CONTROL` permits everything.
fn lets_all_read(permissions: &str) -> bool {
    /// Everyone, authenticated users, and the group Users, as short names and as numbers.
    const ALL: [&str; 6] = ["WD", "AU", "BU", "S-1-1-0", "S-1-5-11", "S-1-5-32-545"];
    let is_open = |entry: &str| {
        let fields: Vec<&str> = entry.split(';').collect();
        matches!(fields.as_slice(), ["A", _, rights, _, _, who, ..] if ALL.contains(who) && can_read(rights))
    };
    let entries = permissions.split('(').skip(1).map(|entry| entry.split(')').next().unwrap_or_default());
    permissions.contains("NO_ACCESS_CONTROL") || entries.into_iter().any(is_open)
}

/// Returns whether rights contain that to read the data of a file: as pairs of letters, or as a number.
fn can_read(rights: &str) -> bool {
    const READ_DATA: u32 = 1;
    const GENERIC_READ_OR_ALL: u32 = 0x9000_0000;
    if let Some(digits) = rights.strip_prefix("0x") {
        let bits = u32::from_str_radix(digits, 16).unwrap_or(READ_DATA);
        return bits & (READ_DATA | GENERIC_READ_OR_ALL) != 0;
    }
    let pairs = rights.as_bytes().chunks(2);
    pairs.into_iter().any(|pair| matches!(pair, b"FA" | b"FR" | b"GA" | b"GR" | b"CC"))
}

/// Leaves a new file the owner and the permissions that its directory gives it. Returns whether they are right.
///
/// # Errors
/// Never.
pub(crate) const fn keep_owner(_: &File, _: &Metadata) -> io::Result<bool> {
    Ok(true)
}

/// Writes all bytes at an offset.
///
/// # Errors
/// The system cannot write them.
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, at)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        at += u64::try_from(written).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_for_all_users_are_found() {
        assert!(lets_all_read("D:(A;;FA;;;SY)(A;;FR;;;WD)"));
        assert!(lets_all_read("D:PAI(A;ID;0x1200a9;;;BU)"));
        assert!(lets_all_read("D:(A;;CCSW;;;S-1-5-11)"));
        assert!(lets_all_read("D:NO_ACCESS_CONTROL"));
        assert!(!lets_all_read("D:PAI(A;;FA;;;BA)(A;;FR;;;S-1-5-80-1)"));
        assert!(!lets_all_read("D:(D;;FA;;;WD)(A;;0x100000;;;BU)(A;;DCSW;;;AU)"));
    }

    #[test]
    fn a_file_has_one_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let file = File::create(&path).unwrap();
        assert_eq!(id_of(&file).unwrap(), id_at(&path).unwrap());
        write_all_at(&file, b"xyz", 2).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0xyz");
        assert_ne!(id_at(&path).unwrap(), id_at(directory.path()).unwrap());
    }
}
