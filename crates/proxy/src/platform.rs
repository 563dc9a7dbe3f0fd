//! Calls of the operating system that are not about listening sockets, signals or the service manager.

#[cfg_attr(unix, path = "platform/unix.rs")]
#[cfg_attr(windows, path = "platform/windows.rs")]
mod system;

pub(crate) use self::system::{
    BlockingUnixStream, Descriptor, FileStamp, PORT_HINT, UnixDatagram, UnixListener, UnixStream, User,
    audit_mode, clock_ticks, disable_core_dumps, has_proc, host_name, is_own_output, is_too_long, max_files,
    memory_page, own_stderr, own_stdout, peek, peer_user, portproxy_rules, private_file, raise_open_files,
    read_line_without_echo, reuse_address, set_user_timeout, with_probes,
};
#[cfg(windows)]
pub(crate) use self::system::{data_directory, system_program};
