//! Linux.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::net::RecvFlags;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, getuid, set_dumpable_behavior, setrlimit,
};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;

pub(crate) use std::os::fd::OwnedFd as Descriptor;
pub(crate) use std::os::unix::net::{UnixDatagram, UnixStream as BlockingUnixStream};
pub(crate) use tokio::net::{UnixListener, UnixStream};

/// Keeps the memory of this process from core files and from other processes of its user.
///
/// # Errors
/// The system refuses.
pub(crate) fn disable_core_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Raises the soft limit of open files to the hard limit, and returns the limit.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If the system refuses, the old limit stays in force. The next line reads the limit again.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the limit of open files.
pub(crate) fn max_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns the bytes of a page of memory.
pub(crate) fn memory_page() -> f64 {
    f64::from(u32::try_from(rustix::param::page_size()).unwrap_or(4096))
}

/// Returns the ticks of a second in the figures of /proc.
pub(crate) fn clock_ticks() -> f64 {
    // Linux has used 100 everywhere for decades.
    f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100))
}

/// Returns whether /proc tells about this process.
pub(crate) const fn has_proc() -> bool {
    true
}

/// Reads a line from the terminal on standard input without echo.
///
/// # Errors
/// The terminal cannot be read.
pub(crate) fn read_line_without_echo(line: &mut String) -> io::Result<()> {
    let _silence = Silence::begin()?;
    io::stdin().read_line(line).map(drop)
}

/// Turns the echo of the terminal off until it is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        let _ = writeln!(io::stderr().lock());
    }
}

/// The user that runs this process.
pub(crate) struct User {
    /// The number.
    pub uid: Option<u32>,
    /// The name, if it is known.
    pub name: Option<String>,
    /// The user who called sudo.
    pub sudo: Option<String>,
}

impl User {
    /// Returns the user of this process.
    pub(crate) fn current() -> Self {
        let uid = getuid();
        let sudo = std::env::var("SUDO_USER").ok().filter(|_| uid.is_root());
        Self { uid: Some(uid.as_raw()), name: name_of(uid.as_raw()), sudo }
    }
}

/// Returns the name of a user of this machine. `None` if the file of users does not have it.
fn name_of(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let has = |line: &&str| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(uid);
    users.lines().find(has)?.split(':').next().map(str::to_owned)
}

/// Returns the user at the other end of a unix socket.
pub(crate) fn peer_user(stream: &UnixStream) -> Option<u32> {
    stream.peer_cred().ok().map(|peer| peer.uid())
}

/// Reports that the rules of `netsh interface portproxy` are on Windows.
///
/// # Errors
/// Always.
pub(crate) fn portproxy_rules() -> io::Result<Vec<u8>> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "only Windows has these rules; there run 'netsh interface portproxy dump > portproxy.txt', and name that file",
    ))
}

/// Returns the name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns whether a datagram was too long for its socket.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

/// Returns a file for standard output, apart from the buffer of the standard library.
///
/// # Errors
/// Standard output is closed, or there are no more descriptors.
pub(crate) fn own_stdout() -> io::Result<File> {
    own(io::stdout().as_fd())
}

/// Returns a file for standard error.
///
/// # Errors
/// Standard error is closed, or there are no more descriptors.
pub(crate) fn own_stderr() -> io::Result<File> {
    own(io::stderr().as_fd())
}

fn own(output: BorrowedFd<'_>) -> io::Result<File> {
    Ok(output.try_clone_to_owned()?.into())
}

/// Returns whether a file is standard output or standard error.
pub(crate) fn is_own_output(file: &Metadata) -> bool {
    let is = |output: io::Result<File>| {
        output
            .and_then(|output| output.metadata())
            .is_ok_and(|output| (output.dev(), output.ino()) == (file.dev(), file.ino()))
    };
    is(own_stdout()) || is(own_stderr())
}

/// Sets the mode of a new audit file: only the owner and the group can read client addresses.
pub(crate) fn audit_mode(options: &mut OpenOptions) -> &mut OpenOptions {
    const FILE_MODE: u32 = 0o640;
    options.mode(FILE_MODE)
}

/// Sets the mode of a new temporary file.
pub(crate) fn private_file<'b, 'n>(
    builder: &'b mut tempfile::Builder<'n, 'n>,
    mode: u32,
) -> &'b mut tempfile::Builder<'n, 'n> {
    builder.permissions(Permissions::from_mode(mode))
}

/// The remedy where the system does not permit a port.
pub(crate) const PORT_HINT: &str = "ports below 1024 need CAP_NET_BIND_SERVICE";

/// Lets a socket have the port of connections that a process before this one has closed.
///
/// # Errors
/// The system refuses.
pub(crate) fn reuse_address(socket: &socket2::Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Sets the number of probes without an answer after which a connection is lost.
pub(crate) const fn with_probes(keepalive: TcpKeepalive, probes: u32) -> TcpKeepalive {
    keepalive.with_retries(probes)
}

/// Sets the longest time without an acknowledgement (`TCP_USER_TIMEOUT`).
///
/// # Errors
/// The system refuses.
pub(crate) fn set_user_timeout(socket: &SockRef<'_>, limit: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_user_timeout(limit)
}

/// Reads the available bytes of a unix socket, and leaves them there.
///
/// # Errors
/// The socket failed.
pub(crate) async fn peek(stream: &UnixStream, into: &mut [u8]) -> io::Result<usize> {
    stream
        .async_io(
            Interest::READABLE,
            || Ok(rustix::net::recv(stream.as_fd(), &mut *into, RecvFlags::PEEK)?.0),
        )
        .await
}

/// The properties that tell a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    id: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Returns the properties of the file at a path.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            id: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }

    /// Returns the time of the last change.
    pub(crate) fn changed(&self) -> Option<SystemTime> {
        let (seconds, nanos) = self.changed;
        let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
        UNIX_EPOCH.checked_add(since)
    }
}
