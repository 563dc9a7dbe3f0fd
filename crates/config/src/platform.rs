//! Calls of the operating system about files. Other modules of this crate have no code for one system.

#[cfg_attr(unix, path = "platform/unix.rs")]
#[cfg_attr(windows, path = "platform/windows.rs")]
mod system;

pub(crate) use self::system::{
    HAS_SIGNALS, HAS_UNIX_SOCKETS, OPEN_TO_ALL_HINT, changed, default_file, has_zone_file, is_open_to_all,
    is_own_terminal, is_pipe, is_socket, keep_owner, write_all_at,
};
pub use self::system::{id_at, id_of, is_null_device, open_without_waiting};

/// The device and the inode of a file; on Windows the serial number of the volume and the index.
pub type FileId = (u64, u64);
