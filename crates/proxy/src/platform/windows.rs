//! Windows.

#[path = "windows/unix_socket.rs"]
mod unix_socket;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::windows::fs::MetadataExt;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use portcullis_config::{FileId, id_at};
use socket2::{SockRef, TcpKeepalive};
use winapi_util::HandleRef;
use winapi_util::console::{mode, set_mode};
use winapi_util::sysinfo::{ComputerNameKind, get_computer_name};

pub(crate) use self::unix_socket::{
    BlockingUnixStream, UnixDatagram, UnixListener, UnixStream, peek, peer_user,
};
pub(crate) use std::os::windows::io::OwnedSocket as Descriptor;

/// The number of sockets that a process can have. Windows has no limit of its own: memory is the limit.
const MOST_SOCKETS: u64 = 1 << 24;

/// Returns the directory of the configuration, the log and the state of the proxy.
pub(crate) fn data_directory() -> PathBuf {
    let directory = std::env::var_os("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into());
    Path::new(&directory).join("portcullis")
}

/// Keeps the memory of this process from other processes. Windows writes no file of a crash by itself.
///
/// # Errors
/// Never.
pub(crate) const fn disable_core_dumps() -> io::Result<()> {
    Ok(())
}

/// Returns the limit of open sockets.
pub(crate) const fn raise_open_files() -> u64 {
    MOST_SOCKETS
}

/// Returns the limit of open files. Windows has none.
pub(crate) const fn max_files() -> Option<u64> {
    None
}

/// Returns the bytes of a page of memory.
pub(crate) const fn memory_page() -> f64 {
    4096.0
}

/// Returns the ticks of a second in the figures of /proc.
pub(crate) const fn clock_ticks() -> f64 {
    100.0
}

/// Returns whether /proc tells about this process.
pub(crate) const fn has_proc() -> bool {
    false
}

/// Reads a line from the console on standard input without echo.
///
/// # Errors
/// The console cannot be read.
pub(crate) fn read_line_without_echo(line: &mut String) -> io::Result<()> {
    let _silence = Silence::begin()?;
    io::stdin().read_line(line).map(drop)
}

/// Turns the echo of the console off until it is dropped. The number is the mode before.
struct Silence(u32);

impl Silence {
    fn begin() -> io::Result<Self> {
        const ENABLE_ECHO_INPUT: u32 = 0x0004;
        let before = mode(HandleRef::stdin())?;
        set_mode(HandleRef::stdin(), before & !ENABLE_ECHO_INPUT)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = set_mode(HandleRef::stdin(), self.0);
        let _ = writeln!(io::stderr().lock());
    }
}

/// The user that runs this process.
pub(crate) struct User {
    /// The number. Users of Windows have none.
    pub uid: Option<u32>,
    /// The name, if it is known.
    pub name: Option<String>,
    /// The user who called sudo.
    pub sudo: Option<String>,
}

impl User {
    /// Returns the user of this process.
    pub(crate) fn current() -> Self {
        Self { uid: None, name: std::env::var("USERNAME").ok(), sudo: None }
    }
}

/// Returns the rules of `netsh interface portproxy` on this machine, as commands.
///
/// # Errors
/// The program cannot be run, or it fails.
pub(crate) fn portproxy_rules() -> io::Result<Vec<u8>> {
    let output =
        Command::new(system_program("netsh.exe")).args(["interface", "portproxy", "dump"]).output()?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(io::Error::other("'netsh interface portproxy dump' failed; run it by hand to see why")),
    }
}

/// Returns the path of a program of Windows. Its directory cannot be changed by users, which PATH can.
pub(crate) fn system_program(name: &str) -> PathBuf {
    let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    Path::new(&root).join("System32").join(name)
}

/// Returns the name of this machine.
pub(crate) fn host_name() -> String {
    let name = get_computer_name(ComputerNameKind::PhysicalDnsHostname);
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Returns whether a datagram was too long for its socket.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    const WSAEMSGSIZE: i32 = 10040;
    error.raw_os_error() == Some(WSAEMSGSIZE)
}

/// Returns a file for standard output, apart from the buffer of the standard library.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn own_stdout() -> io::Result<File> {
    own(io::stdout().as_handle())
}

/// Returns a file for standard error.
///
/// # Errors
/// Standard error is closed.
pub(crate) fn own_stderr() -> io::Result<File> {
    own(io::stderr().as_handle())
}

fn own(output: BorrowedHandle<'_>) -> io::Result<File> {
    Ok(output.try_clone_to_owned()?.into())
}

/// Returns whether a file is standard output or standard error. On Windows these have no path.
pub(crate) const fn is_own_output(_: &Metadata) -> bool {
    false
}

/// Leaves a new audit file the permissions that its directory gives it.
pub(crate) const fn audit_mode(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Leaves a new temporary file the permissions that its directory gives it.
pub(crate) const fn private_file<'b, 'n>(
    builder: &'b mut tempfile::Builder<'n, 'n>,
    _mode: u32,
) -> &'b mut tempfile::Builder<'n, 'n> {
    builder
}

/// The remedy where the system does not permit a port.
pub(crate) const PORT_HINT: &str =
    "Windows reserves some ports: 'netsh interface ipv4 show excludedportrange protocol=tcp' lists them";

/// Leaves the option as it is. On Windows it would let two processes listen on one port, and closed connections keep no
/// port from a listener.
///
/// # Errors
/// Never.
pub(crate) const fn reuse_address(_: &socket2::Socket) -> io::Result<()> {
    Ok(())
}

/// Leaves the number of probes to Windows: ten, and before Windows 10 no program can change it.
pub(crate) const fn with_probes(keepalive: TcpKeepalive, _probes: u32) -> TcpKeepalive {
    keepalive
}

/// Leaves the longest time without an acknowledgement to Windows, which has no such option.
///
/// # Errors
/// Never.
pub(crate) const fn set_user_timeout(_: &SockRef<'_>, _: Option<Duration>) -> io::Result<()> {
    Ok(())
}

/// The properties that tell a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    id: Option<FileId>,
    size: u64,
    created: u64,
    modified: SystemTime,
}

impl FileStamp {
    /// Returns the properties of the file at a path.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            id: id_at(path).ok(),
            size: file.file_size(),
            created: file.creation_time(),
            modified: file.modified().ok()?,
        })
    }

    /// Returns the time of the last change.
    pub(crate) const fn changed(&self) -> Option<SystemTime> {
        Some(self.modified)
    }
}
