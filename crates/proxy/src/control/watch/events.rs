//! Events of the file system, as inotify reports them.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The events that change a file or its name, and those that tell which programs have it open. A file that lost its
/// last name is another file: its events would count for the file that has the name now.
const WANTED: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::OPEN)
    .union(WatchFlags::CLOSE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);

/// Room for some hundred events.
const BUFFER: usize = 8 << 10;

/// The most events that one call takes. The queue of the system holds 16,384 by default, and a program can add events
/// faster than they are read.
const MOST_EVENTS: usize = 64 << 10;

/// A name in a watched directory. The number is that of the watch: a directory that is replaced gets another one.
pub(super) type Name = (i32, OsString);

/// Waits for events.
#[derive(Debug)]
pub(in crate::control) struct Queue(AsyncFd<OwnedFd>);

impl Queue {
    fn new(queue: OwnedFd) -> Option<Self> {
        #[expect(
            deprecated,
            reason = "an OwnedFd stays open as long as it is registered; the other way is unsafe"
        )]
        AsyncFd::with_interest(queue, Interest::READABLE).ok().map(Self)
    }

    /// Waits until an event came. Never ends if the runtime does.
    pub(super) async fn readable(&self) {
        match self.0.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        }
    }
}

/// The queue of events, and the watched directories.
#[derive(Debug)]
pub(super) struct Events {
    queue: OwnedFd,
    directories: HashMap<PathBuf, i32>,
}

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { queue, directories: HashMap::new() })
    }

    /// Returns a further descriptor of the queue, to wait for events. Needs a runtime.
    pub(super) fn queue(&self) -> Option<Queue> {
        self.queue.try_clone().ok().and_then(Queue::new)
    }

    /// Watches these directories, and no others. A directory that was replaced since is watched again.
    pub(super) fn follow(&mut self, wanted: &HashSet<PathBuf>) {
        let mut now = HashMap::new();
        for directory in wanted {
            match inotify::add_watch(&self.queue, directory, WANTED) {
                // The same number as before, if it is the same directory.
                Ok(number) => {
                    now.insert(directory.clone(), number);
                }
                // Told once.
                Err(error) if self.directories.contains_key(directory) || self.directories.is_empty() => {
                    tracing::debug!(directory = %directory.display(), %error, "cannot watch a directory for changes: checking its files every second instead");
                }
                Err(_) => {}
            }
        }
        let used: HashSet<i32> = now.values().copied().collect();
        for gone in self.directories.values().filter(|number| !used.contains(number)) {
            // The system ends the watch of a directory that is removed.
            let _ = inotify::remove_watch(&self.queue, *gone);
        }
        self.directories = now;
    }

    /// Returns the number of a watched directory.
    pub(super) fn number(&self, directory: &Path) -> Option<i32> {
        self.directories.get(directory).copied()
    }

    /// Returns the events that came since the last call.
    pub(super) fn take(&self) -> Vec<(ReadFlags, Name)> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        let mut taken = Vec::new();
        while taken.len() < MOST_EVENTS {
            let Ok(event) = reader.next() else { break };
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
            taken.push((event.events(), (event.wd(), name.unwrap_or_default())));
        }
        taken
    }
}
