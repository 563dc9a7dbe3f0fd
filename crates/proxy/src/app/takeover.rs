//! A new process takes the listening sockets over from the running one, so that no client is refused at a restart.
//!
//! The running process listens on a unix socket ([`Offer`]). The new one ([`Taking`]) has its configuration ready when
//! it connects:
//!
//! ```text
//! new process                      running process
//!   request: versions  ------------->  checks the user
//!                      <-------------  granted: sockets, blocked sources
//!   binds what is new                  goes on
//!   serves             -- serving -->  stops accepting
//!                      <-- stopped --  drains
//! ```
//!
//! Until `serving` the running process is as it was, and it goes on alone if the message does not come in time. The
//! clients of both processes are accepted from the same sockets, so no connection is lost in between.

mod giving;
mod message;
mod taking;

use std::env;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_config::{Config, Origin, Takeover};

pub(super) use self::giving::{Offer, Shared, Taken};
pub(super) use self::taking::{TakeError, Taking, take};
use crate::net::held::{digest, place};

/// The time in which the new process has to serve, from the moment at which it gets the sockets. Each side also waits
/// this long for the messages before that.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest line of a message. The longest one names the blocked sources.
const LONGEST_LINE: usize = 1 << 20;

/// The path of the socket through which a process of this configuration offers its sockets. `None` if it has none.
pub(super) fn path(config: &Config) -> Option<PathBuf> {
    let Origin::File(file) = config.origin() else { return None };
    match config.takeover() {
        Takeover::Off => None,
        Takeover::At(path) => Some(path.clone()),
        Takeover::Standard => Some(state_directory().join(name(file))),
    }
}

/// A name of 25 bytes: paths of sockets are short.
fn name(file: &Path) -> String {
    format!("{}.takeover", digest(&place(file)))
}

fn state_directory() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directories) = variable("RUNTIME_DIRECTORY") {
        // systemd separates several directories by colons.
        return env::split_paths(&directories).next().unwrap_or_default();
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("portcullis"),
        None => PathBuf::from("/run/portcullis"),
    }
}

/// Makes the directory of a socket, if only its last part is missing.
fn make_directory(socket: &Path) -> io::Result<()> {
    let Some(directory) = socket.parent().filter(|directory| !directory.exists()) else { return Ok(()) };
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests;
