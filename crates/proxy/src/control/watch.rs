//! Noticing that a file of the config has changed: the system tells, and in case it does not (a symlink swapped above the
//! file, a network file system) each file is looked at every second.

#[cfg(unix)]
mod events;
#[cfg_attr(windows, path = "watch/writers/windows.rs")]
mod writers;

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use portcullis_config::ConfigFile;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

pub(crate) use self::writers::Writers;

use self::writers::Queue;
use crate::platform::FileStamp;
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

/// A change of files.
#[derive(Debug)]
pub(crate) enum Changed {
    /// A file has other content.
    Content,
    /// Every file has the same content as before, and some are other files of the file system. These are the files now.
    Identity(Vec<ConfigFile>),
}

/// Watches the files that a config was read from.
#[derive(Debug)]
pub(crate) struct Watch {
    poll: Interval,
    told: Option<Queue>,
    stamps: HashMap<PathBuf, Option<Stamp>>,
    writers: Writers,
}

impl Watch {
    /// Needs a runtime. Where the system cannot watch files, they are looked at every second all the same.
    pub(crate) fn new() -> Self {
        let writers = Writers::reported().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot watch files for changes: checking them every second instead");
            Writers::default()
        });
        let told = writers.queue();
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { poll, told, stamps: HashMap::new(), writers }
    }

    /// Returns the writers of the files that are watched.
    pub(crate) fn writers(&self) -> Writers {
        self.writers.clone()
    }

    /// Waits until one of these files is another than was read, and has come to rest. Dropped before that, nothing is
    /// missed.
    pub(crate) async fn changed(&mut self, sources: &[ConfigFile]) -> Changed {
        self.follow(sources);
        loop {
            tokio::select! {
                _ = self.poll.tick() => {}
                // Another file that is written often in the same directory (a log, for example) makes a thousand
                // events a second.
                () = told(self.told.as_ref(), &self.writers) => sleep(LULL).await,
            }
            // A directory may have been replaced since. A program may write into the new one.
            self.follow(sources);
            if self.look_changed(sources)
                && let Some(changed) = self.settle(sources).await
            {
                return changed;
            }
        }
    }

    /// Directories are what is watched: a file that is replaced is another file.
    fn follow(&mut self, sources: &[ConfigFile]) {
        self.writers.follow(sources);
        let paths: HashSet<&Path> = sources.iter().map(|source| source.path.as_path()).collect();
        self.stamps.retain(|path, _| paths.contains(path.as_path()));
    }

    fn look_changed(&self, sources: &[ConfigFile]) -> bool {
        sources.iter().any(|source| {
            let now = Stamp::of(&source.path);
            let known = self.stamps.get(&source.path);
            // The end of a lock changes no stamp.
            source.locked || known.is_none_or(|known| *known != now || now.is_some_and(|now| now.is_fresh()))
        })
    }

    /// Reads until two readings agree. Returns the difference to `sources`, if there is one.
    async fn settle(&mut self, sources: &[ConfigFile]) -> Option<Changed> {
        let mut last = None;
        for reading in 0_u32.. {
            let known = sources.to_vec();
            let (stamps, now) = run_on_thread("digest", move || look(&known)).await?;
            let is_same = now == sources;
            if (is_same && reading == 0) || last.as_ref() == Some(&now) {
                self.stamps = stamps;
                if !is_same {
                    return Some(Changed::Content);
                }
                let is_replaced = now.iter().zip(sources).any(|(now, source)| !now.is_same_file(source));
                return is_replaced.then_some(Changed::Identity(now));
            }
            if reading == RESTLESS {
                tracing::warn!(
                    "a file of the configuration keeps changing: it is read once it stays unchanged"
                );
            }
            last = Some(now);
            sleep(SETTLED_FOR).await;
        }
        None
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until the system tells of a change. Reading a file is told as well, our own reading too: looking at a file
/// because it was looked at would never end.
async fn told(queue: Option<&Queue>, writers: &Writers) {
    let Some(queue) = queue else { return pending().await };
    loop {
        queue.readable().await;
        if writers.take_told() {
            return;
        }
    }
}

/// The files as they are now, and what their directories said before they were read.
fn look(known: &[ConfigFile]) -> (HashMap<PathBuf, Option<Stamp>>, Vec<ConfigFile>) {
    let stamps = known.iter().map(|source| (source.path.clone(), Stamp::of(&source.path))).collect();
    (stamps, known.iter().map(ConfigFile::now).collect())
}

/// The properties of a file, and whether they prove that it has not changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: FileStamp,
    fresh: bool,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = FileStamp::of(path)?;
        let age = SystemTime::now().duration_since(file.changed()?);
        Some(Self { file, fresh: age.is_ok_and(|age| age < COARSE) })
    }

    fn is_fresh(&self) -> bool {
        self.fresh
    }
}

#[cfg(test)]
mod tests;
