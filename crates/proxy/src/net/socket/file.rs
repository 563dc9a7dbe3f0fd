//! Socket files: the names of unix sockets in the file system.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use portcullis_config::UnixSocket;
use rustix::fs::{Access, access};
use socket2::{Domain, Type};

use super::BACKLOG;

/// The mode of a socket file before it gets its group and mode: only the proxy's user may connect.
const PRIVATE: u32 = 0o600;

/// Binds a socket file and listens. The file is never more open than its mode. A socket that an ended process left
/// behind is replaced. A socket on which a process answers is not replaced, and neither is a file of another kind.
///
/// # Errors
/// Errors of the system, and [`io::ErrorKind::AddrInUse`] if a process listens there or another file exists.
pub(crate) fn listen_unix(file: &UnixSocket) -> io::Result<socket2::Socket> {
    let path = file.path();
    let addr = socket2::SockAddr::unix(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Linux creates the file with the mode of the socket.
    File::from(OwnedFd::from(socket.try_clone()?)).set_permissions(Permissions::from_mode(PRIVATE))?;
    match socket.bind(&addr) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !is_dead_socket(path, &addr)? {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            socket.bind(&addr)?;
        }
        bound => bound?,
    }
    // No client can connect before the call of `listen`.
    if let Err(error) = open_to_group(file).and_then(|()| socket.listen(BACKLOG)) {
        // A file that cannot be removed is taken over at the next start.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(socket)
}

/// Tries whether [`listen_unix`] would succeed, under another name in the same directory: no client finds that socket.
///
/// # Errors
/// The errors of [`listen_unix`].
pub(crate) fn try_unix(file: &UnixSocket) -> io::Result<()> {
    let path = file.path();
    let addr = socket2::SockAddr::unix(path)?;
    match std::fs::symlink_metadata(path) {
        Ok(_) if is_dead_socket(path, &addr)? => {}
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let trial = path.with_file_name(format!(".pc{}", std::process::id()));
    if socket2::SockAddr::unix(&trial).is_err() {
        // There is no room for another name: the rights to the directory are all that can be tried.
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        return Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?);
    }
    let trial = UnixSocket::at(trial).with_mode(file.mode());
    let trial = match file.group() {
        Some(group) => trial.with_group(group),
        None => trial,
    };
    let _socket = listen_unix(&trial)?;
    let _removed_at_the_end = SocketFile::at(trial.path())?;
    Ok(())
}

/// Gives a socket file its group and mode.
///
/// # Errors
/// The system refuses one of them.
pub(in crate::net) fn open_to_group(file: &UnixSocket) -> io::Result<()> {
    if let Some(group) = file.group() {
        std::os::unix::fs::lchown(file.path(), None, Some(group)).map_err(|error| {
            io::Error::other(format!(
                "cannot set the group of the socket to {group}: {error}; the user that runs portcullis must be a member of it"
            ))
        })?;
    }
    std::fs::set_permissions(file.path(), Permissions::from_mode(file.mode()))
}

/// The owner of socket files: this process, which removes them at its end, or another one.
#[derive(Clone, Debug)]
pub(crate) struct Ownership(Arc<AtomicBool>);

impl Ownership {
    /// Another process owns the files until [`Self::acquire`].
    pub(crate) fn of_another() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// From now on this process owns the files.
    pub(crate) fn acquire(&self) {
        self.0.store(true, Relaxed);
    }

    fn give_away(&self) {
        self.0.store(false, Relaxed);
    }

    fn is_ours(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The file of a listening unix socket, which is removed when this value is dropped. It is not removed if another
/// process owns it, or has put its own file there meanwhile.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// The device and the inode of the file.
    id: (u64, u64),
    owner: Ownership,
}

impl SocketFile {
    /// Identifies the file of the socket that was just bound at `path`.
    ///
    /// # Errors
    /// The system cannot read the file's metadata.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let owner = Ownership::of_another();
        owner.acquire();
        Self::owned(path, owner)
    }

    /// Identifies the file of a socket that another process has bound at `path`.
    ///
    /// # Errors
    /// The system cannot read the file's metadata.
    pub(crate) fn owned(path: &Path, owner: Ownership) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: Self::id(path)?, owner })
    }

    /// Leaves the file to the process that has taken the socket over.
    pub(crate) fn give_away(&self) {
        self.owner.give_away();
    }

    fn id(path: &Path) -> io::Result<(u64, u64)> {
        let file = std::fs::symlink_metadata(path)?;
        Ok((file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner.is_ours() && Self::id(&self.path).is_ok_and(|id| id == self.id) {
            // A file that cannot be removed is taken over at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Returns whether the file is a unix socket on which no process listens.
fn is_dead_socket(path: &Path, addr: &socket2::SockAddr) -> io::Result<bool> {
    // A connect to a file of another kind is refused as well, so the kind is checked first.
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A blocking connect would wait for a live server whose backlog is full.
    probe.set_nonblocking(true)?;
    Ok(probe.connect(addr).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}
