//! Programs that write files of the configuration: which files they wrote in place, and which they have not closed yet.
//! Known as far as the system reports it: not on network file systems, not through a hard link with another name, and
//! not with `reload: signal`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_config::{ConfigFile, FileId};
use rustix::fs::inotify::ReadFlags;

pub(super) use super::events::Queue;
use super::events::{Events, Name};

/// After so much time without events, a file whose closes cannot be counted is taken as closed. A reload waits no longer
/// for a file that stays unchanged.
const QUIET: Duration = Duration::from_secs(5);

/// Links that Linux follows in a path (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Events that change no file.
const READS: ReadFlags = ReadFlags::OPEN.union(ReadFlags::CLOSE_NOWRITE).union(ReadFlags::IGNORED);

/// Events after which a name stands for another file or for none.
const RENAMES: ReadFlags = ReadFlags::MOVED_FROM.union(ReadFlags::MOVED_TO).union(ReadFlags::DELETE);

const CLOSES: ReadFlags = ReadFlags::CLOSE_WRITE.union(ReadFlags::CLOSE_NOWRITE);

/// The writers of the files that are watched. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    events: Option<Events>,
    names: HashMap<Name, Named>,
    files: HashMap<PathBuf, Followed>,
    /// An event came that may have changed a file.
    told: bool,
}

/// A name that events can have.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    /// The files of the configuration that are reached through it.
    files: Vec<PathBuf>,
}

#[derive(Debug, Default)]
struct Followed {
    names: Vec<Name>,
    written: Written,
}

/// The last that programs did to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    /// Programs wrote this file under its own name, and did not rename it since.
    id: Option<FileId>,
    /// How often it was opened and not closed, to read or to write: the system does not tell them apart at first.
    open: u32,
    /// A program has written to it, and it was open ever since.
    wrote: bool,
    /// A program that could write has closed it since the last write. If other programs have it open, this program may
    /// not be the one that wrote.
    closed: bool,
    /// A program that could write has closed it since the first write.
    closed_once: bool,
    /// Programs that could write have closed it more than once since the first write. The system joins equal events
    /// that follow each other, so `open` may be too low then.
    closed_often: bool,
    /// The time of the last event.
    at: Option<Instant>,
}

impl Writers {
    /// Returns the writers that the system reports.
    ///
    /// # Errors
    /// The system reports none.
    pub(super) fn reported() -> io::Result<Self> {
        let known = Known { events: Some(Events::new()?), ..Known::default() };
        Ok(Self(Arc::new(Mutex::new(known))))
    }

    /// Returns a queue that is readable when an event came. Needs a runtime.
    pub(super) fn queue(&self) -> Option<Queue> {
        self.lock().events.as_ref()?.queue()
    }

    /// Returns whether a program has written to the file, and not closed it.
    pub(crate) fn has_open(&self, path: &Path) -> bool {
        self.lock().files.get(path).is_some_and(|file| file.written.is_open())
    }

    /// Returns the files that were written under their own name, and not renamed since.
    pub(crate) fn in_place(&self) -> HashMap<PathBuf, FileId> {
        let known = self.lock();
        let files = known.files.iter();
        files.filter_map(|(path, file)| Some((path.clone(), file.written.id?))).collect()
    }

    /// Returns whether an event came since the last call that may have changed a file.
    pub(super) fn take_told(&self) -> bool {
        std::mem::take(&mut self.lock().told)
    }

    /// Follows these files, and no others.
    pub(super) fn follow(&self, sources: &[ConfigFile]) {
        let known = &mut *self.lock();
        let Some(events) = &mut known.events else { return };
        let reached: Vec<_> = sources.iter().map(|source| (&source.path, places(&source.path))).collect();
        let directories =
            reached.iter().flat_map(|(_, places)| places).map(|(directory, _)| directory.clone());
        events.follow(&directories.collect::<HashSet<_>>());
        known.names.clear();
        let mut files = HashMap::new();
        for (file, places) in reached {
            let mut names = Vec::new();
            for (directory, name) in places {
                let Some(number) = events.number(&directory) else { continue };
                let path = directory.join(&name);
                let named = known.names.entry((number, name.clone()));
                named.or_insert_with(|| Named { path, files: Vec::new() }).files.push(file.clone());
                names.push((number, name));
            }
            let before = known.files.remove(file).unwrap_or_default();
            // Reached in another way, it is another file.
            let written = if before.names == names { before.written } else { Written::default() };
            files.insert(file.clone(), Followed { names, written });
        }
        known.files = files;
    }

    /// Locks what is known, after all events that came.
    fn lock(&self) -> MutexGuard<'_, Known> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let events = known.events.as_ref().map(Events::take).unwrap_or_default();
        for (kind, name) in events {
            known.note(kind, &name);
        }
        known
    }
}

impl Known {
    fn note(&mut self, kind: ReadFlags, name: &Name) {
        self.told |= !READS.union(ReadFlags::ISDIR).contains(kind);
        if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Any file may have been written since, by a program that has it open.
            for (path, file) in &mut self.files {
                file.written = Written { id: regular(path.metadata()), wrote: true, ..Written::default() };
            }
        }
        let Some(Named { path, files }) = self.names.get(name) else { return };
        for file in files {
            if let Some(file) = self.files.get_mut(file) {
                file.written.note(kind, path);
            }
        }
    }
}

impl Written {
    fn note(&mut self, kind: ReadFlags, path: &Path) {
        if self.closed_often && self.at.is_none_or(|at| at.elapsed() >= QUIET) {
            *self = Self { id: self.id, ..Self::default() };
        }
        if kind.contains(ReadFlags::CREATE) {
            *self = created(path);
        } else if kind.intersects(RENAMES) {
            *self = Self::default();
        } else if kind.contains(ReadFlags::MODIFY) {
            (self.id, self.wrote, self.closed) = (regular(path.metadata()), true, false);
        } else if kind.contains(ReadFlags::OPEN) {
            self.open = self.open.saturating_add(1);
        } else if kind.intersects(CLOSES) {
            self.open = self.open.saturating_sub(1);
            if kind.contains(ReadFlags::CLOSE_WRITE) && self.wrote {
                self.closed_often |= self.closed_once;
                (self.closed, self.closed_once) = (true, true);
            }
            if !self.is_open() {
                (self.wrote, self.closed_once) = (false, false);
            }
        }
        self.at = Some(Instant::now());
    }

    fn is_open(self) -> bool {
        self.wrote && (self.open > 0 || !self.closed || self.closed_often)
    }
}

/// Links have content at once, like files that are renamed.
fn created(path: &Path) -> Written {
    match path.symlink_metadata() {
        Ok(file) if file.nlink() == 1 => match regular(Ok(file)) {
            Some(id) => Written { id: Some(id), wrote: true, ..Written::default() },
            None => Written::default(),
        },
        _ => Written::default(),
    }
}

fn regular(file: io::Result<Metadata>) -> Option<FileId> {
    file.ok().filter(Metadata::is_file).map(|file| (file.dev(), file.ino()))
}

/// Returns the directories and the names through which a file is reached: its own, and those that links lead to. The
/// file itself may be missing.
fn places(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut places = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { break };
        let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent }.to_owned();
        let target = path.read_link().map(|target| directory.join(target));
        places.push((directory, name.to_owned()));
        match target {
            Ok(target) => path = target,
            Err(_) => break,
        }
    }
    places
}

#[cfg(test)]
mod tests;
