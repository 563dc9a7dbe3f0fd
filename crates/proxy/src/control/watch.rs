//! Noticing that a file of the config has changed: the system tells, and in case it does not (a symlink swapped above the
//! file, a network file system) each file is looked at every second.

mod writers;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use portcullis_config::{ConfigFile, FileId};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

pub(crate) use self::writers::Writers;

use crate::run_on_thread::run_on_thread;

/// Interval of checks without notifications.
const POLL: Duration = Duration::from_secs(1);

/// Being told, the files are looked at so much later, and once for all that is told meanwhile.
const LULL: Duration = Duration::from_millis(20);

/// A file that is being written is not read: two readings so far apart must agree.
const SETTLED_FOR: Duration = Duration::from_millis(250);

/// File times are as coarse as this on common file systems: a file that changed this shortly before it was looked at may
/// have changed once more within the same tick, so its times prove nothing.
const COARSE: Duration = Duration::from_secs(2);

/// After so many readings that disagree, the log says that a file does not come to rest.
const RESTLESS: u32 = 40;

/// Watches the files that a config was read from.
#[derive(Debug)]
pub(crate) struct Watch {
    poll: Interval,
    told: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    /// The watched directories. A directory that is replaced has another number.
    directories: HashMap<PathBuf, Option<FileId>>,
    stamps: HashMap<PathBuf, Option<Stamp>>,
    writers: Writers,
}

impl Watch {
    /// Needs a runtime. Where the system cannot watch files, they are looked at every second all the same.
    pub(crate) fn new() -> Self {
        let (tell, told) = mpsc::channel(1);
        let writers = Writers::default();
        let noted = writers.clone();
        let handler = move |event| {
            if let Ok(event) = &event {
                noted.note(event);
            }
            if may_change_something(&event) {
                // One is enough to have a look.
                let _ = tell.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .map_err(|error| tracing::debug!(%error, "cannot watch files for changes: checking them every second instead"));
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watcher = watcher.ok();
        Self { poll, told, watcher, directories: HashMap::new(), stamps: HashMap::new(), writers }
    }

    /// Returns the writers of the files that are watched.
    pub(crate) fn writers(&self) -> Writers {
        self.writers.clone()
    }

    /// Waits until one of these files is another than was read, and has come to rest. Dropped before that, nothing is
    /// missed.
    pub(crate) async fn changed(&mut self, sources: &[ConfigFile]) {
        loop {
            // A directory may have been replaced since.
            self.follow(sources);
            tokio::select! {
                _ = self.poll.tick() => {}
                // Another file that is written often in the same directory (a log, for example) makes a thousand
                // events a second.
                Some(()) = self.told.recv() => sleep(LULL).await,
            }
            if self.look_changed(sources) && self.settle(sources).await {
                return;
            }
        }
    }

    /// Directories are what is watched: a file that is replaced is another file.
    fn follow(&mut self, sources: &[ConfigFile]) {
        self.writers.follow(sources);
        let directories = sources.iter().flat_map(|source| directories_of(&source.path));
        let wanted: HashMap<PathBuf, Option<FileId>> =
            directories.map(|path| (path.clone(), id_of(&path))).collect();
        if self.directories == wanted {
            return;
        }
        // Two names of one directory share a watch, so all of them begin again.
        if let Some(watcher) = &mut self.watcher {
            for gone in self.directories.keys() {
                // The directory may be gone.
                let _ = watcher.unwatch(gone);
            }
            for new in wanted.keys() {
                if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                    tracing::debug!(directory = %new.display(), %error, "cannot watch a directory for changes: checking its files every second instead");
                }
            }
        }
        self.directories = wanted;
        self.stamps.retain(|path, _| sources.iter().any(|source| source.path == *path));
    }

    fn look_changed(&self, sources: &[ConfigFile]) -> bool {
        sources.iter().any(|source| {
            let now = Stamp::of(&source.path);
            let known = self.stamps.get(&source.path);
            // The end of a lock changes no stamp.
            source.locked || known.is_none_or(|known| *known != now || now.is_some_and(|now| now.is_fresh()))
        })
    }

    /// Reads until two readings agree. Whether what they say is something else than `sources`.
    async fn settle(&mut self, sources: &[ConfigFile]) -> bool {
        let mut last = None;
        for reading in 0_u32.. {
            let known = sources.to_vec();
            let Some((stamps, now)) = run_on_thread("digest", move || look(&known)).await else {
                return false;
            };
            if now == sources && reading == 0 {
                self.stamps = stamps;
                return false;
            }
            if last.as_ref() == Some(&now) {
                self.stamps = stamps;
                return now != sources;
            }
            if reading == RESTLESS {
                tracing::warn!(
                    "a file of the configuration keeps changing: it is read once it stays unchanged"
                );
            }
            last = Some(now);
            sleep(SETTLED_FOR).await;
        }
        false
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// Reading a file is told as well, our own reading too: looking at a file because it was looked at would never end.
fn may_change_something(event: &notify::Result<Event>) -> bool {
    !event.as_ref().is_ok_and(|event| event.kind.is_access() && !is_end_of_writing(event.kind))
}

fn is_end_of_writing(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// The files as they are now, and what their directories said before they were read.
fn look(known: &[ConfigFile]) -> (HashMap<PathBuf, Option<Stamp>>, Vec<ConfigFile>) {
    let stamps = known.iter().map(|source| (source.path.clone(), Stamp::of(&source.path))).collect();
    (stamps, known.iter().map(ConfigFile::now).collect())
}

/// Returns the device and the number of a file or directory; `None` if there is none.
fn id_of(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn directories_of(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    };
    let target = std::fs::canonicalize(path).ok().and_then(|target| parent(&target));
    parent(path).into_iter().chain(target)
}

/// The properties that tell a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    fresh: bool,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let changed =
            Duration::new(u64::try_from(file.ctime()).ok()?, u32::try_from(file.ctime_nsec()).ok()?);
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed);
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
            fresh: age.is_ok_and(|age| age < COARSE),
        })
    }

    fn is_fresh(&self) -> bool {
        self.fresh
    }
}

#[cfg(test)]
mod tests;
