//! Programs that write files of the configuration: which files they made in place, and which they have not closed yet.
//! Known as far as the system reports it: not on network file systems, and not with `reload: signal`.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind};
use portcullis_config::{ConfigFile, FileId};

/// The writers of the files that are watched; clones share it with the thread that receives the events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The file of the configuration for each name that an event may have.
    names: HashMap<PathBuf, PathBuf>,
    files: HashMap<PathBuf, Written>,
}

/// The last that a program did to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    /// A program made this file under its own name, and did not rename it.
    created: Option<FileId>,
    /// A program has written to it, and not closed it.
    is_open: bool,
}

impl Writers {
    /// Returns whether a program has written to the file, and not closed it.
    pub(crate) fn has_open(&self, path: &Path) -> bool {
        self.lock().files.get(path).is_some_and(|written| written.is_open)
    }

    /// Returns the files that were made under their own name, and not renamed.
    pub(crate) fn created(&self) -> HashMap<PathBuf, FileId> {
        let known = self.lock();
        let files = known.files.iter();
        files.filter_map(|(path, written)| Some((path.clone(), written.created?))).collect()
    }

    /// Follows these files, and no others.
    pub(super) fn follow(&self, sources: &[ConfigFile]) {
        let names = sources.iter().flat_map(|source| {
            let here = std::path::absolute(&source.path).ok();
            let target = std::fs::canonicalize(&source.path).ok();
            here.into_iter().chain(target).map(|name| (name, source.path.clone()))
        });
        let mut known = self.lock();
        known.names = names.collect();
        known.files.retain(|path, _| sources.iter().any(|source| source.path == *path));
    }

    /// Notes an event.
    pub(super) fn note(&self, event: &Event) {
        for name in &event.paths {
            let mut known = self.lock();
            let Some(path) = known.names.get(name).cloned() else { continue };
            let written = known.files.entry(path).or_default();
            match event.kind {
                EventKind::Create(_) => *written = created(name),
                EventKind::Modify(ModifyKind::Data(_)) => written.is_open = true,
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => written.is_open = false,
                EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::From))
                | EventKind::Remove(_) => *written = Written::default(),
                _ => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Links have content at once, like files that are renamed.
fn created(name: &Path) -> Written {
    match std::fs::symlink_metadata(name) {
        Ok(file) if file.is_file() && file.nlink() == 1 => {
            Written { created: Some((file.dev(), file.ino())), is_open: true }
        }
        _ => Written::default(),
    }
}

#[cfg(test)]
mod tests;
