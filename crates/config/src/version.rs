//! Versions of a file with entries, and signs that a writer has not finished one, or never will.
//!
//! A file that is written in place can be read while a part of it is missing: its writer pauses, or the disk is full. A
//! file that another program renames into place is taken as whole. The identity of the file tells the two apart: a
//! renamed file is another file, with another inode.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::input::{Input, name_of};
use crate::platform::{FileId, changed, id_of};
use crate::settings::Settings;

/// A shorter list may lose any number of entries at once. A person who edits it by hand sees all of it.
const SHORTEST_LIST: usize = 10;

/// A plain-text group file: a million entries of any form with room for comments.
pub(super) const MAX_TEXT_FILE: u64 = 64 << 20;

/// A file that a configuration was read from; files of secrets are included. Two are equal if their content is.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// The path as it was opened.
    pub path: PathBuf,
    /// SHA-256 of what was read; `None`: it could not be read.
    pub digest: Option<[u8; 32]>,
    /// Another program held a lock on it for longer than the loader waits, so the file is worth another look even if
    /// it has not changed.
    pub locked: bool,
    /// Facts about that content.
    pub(super) version: Option<Version>,
}

impl PartialEq for ConfigFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, &self.digest, self.locked) == (&other.path, &other.digest, other.locked)
    }
}

impl Eq for ConfigFile {}

impl ConfigFile {
    /// A file whose content is not known.
    pub fn unread(path: &Path) -> Self {
        Self { path: path.to_owned(), digest: None, locked: false, version: None }
    }

    /// Returns the current state of the file. A pipe cannot be read twice and counts as unchanged.
    #[must_use]
    pub fn now(&self) -> Self {
        let mut now = Self { locked: false, ..self.clone() };
        if std::fs::metadata(&self.path).is_ok_and(|file| !file.is_file() && !file.is_dir()) {
            return now;
        }
        let read = digest_file(&self.path).ok();
        now.digest = read.map(|(digest, _)| digest);
        if let (Some((digest, id)), Some(version)) = (read, &mut now.version)
            && self.digest == Some(digest)
        {
            version.id = Some(id);
        }
        now
    }

    /// Returns whether both are the same file of the file system, by its inode.
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.id() == other.id()
    }

    /// Takes over the inode of `now`, which has the same path, if it has the same content. A directory that is replaced
    /// by a copy, for example, has other inodes.
    pub fn follow(&mut self, now: &Self) {
        if self.digest.is_some()
            && (&self.path, &self.digest) == (&now.path, &now.digest)
            && let (Some(version), Some(id)) = (&mut self.version, now.id())
        {
            version.id = Some(id);
        }
    }

    fn id(&self) -> Option<FileId> {
        self.version.as_ref()?.id
    }
}

/// Facts about the content of a file when it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Version {
    /// `None` for a text that was read in place of the file's.
    id: Option<FileId>,
    changed: Option<SystemTime>,
    size: usize,
    ends_with_newline: bool,
    /// The content in force is the beginning of this one.
    is_longer: bool,
    /// The number of entries that the file has, apart from other files that it names.
    pub(super) entries: usize,
    /// The text of a main file.
    pub(super) yaml: Option<Yaml>,
    /// The settings of a main file.
    pub(super) settings: Arc<Settings>,
}

/// The text of a main file, which clones share. It has no secrets, but its comments are not for logs.
#[derive(Clone)]
pub(super) struct Yaml(Arc<str>);

impl Yaml {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the number of the last line, if `new` is the beginning of this text and the rest has a line that is no
    /// comment.
    fn cut_at(&self, new: &str) -> Option<usize> {
        let is_content = |line: &&str| !matches!(line.trim_start().chars().next(), None | Some('#'));
        let rest = self.0.strip_prefix(new)?;
        let more = rest.lines().rev().skip_while(|line| !is_content(line)).count();
        let begins_line = new.is_empty() || new.ends_with('\n');
        (more > 0).then(|| new.lines().count() + more - usize::from(!begins_line))
    }
}

impl fmt::Debug for Yaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Version {
    pub(super) fn of(content: &[u8], file: Option<&Seen>) -> Self {
        Self {
            id: file.map(|file| file.id),
            changed: file.and_then(|file| file.changed),
            size: content.len(),
            ends_with_newline: content.ends_with(b"\n"),
            is_longer: false,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }
}

/// The identity of a file that was read, and the time of its last change.
pub(super) struct Seen {
    id: FileId,
    changed: Option<SystemTime>,
}

impl Seen {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self { id: id_of(file)?, changed: changed(&file.metadata()?) })
    }
}

/// Computes the digest in pieces, so that a large file or a secret is not kept in memory.
fn digest_file(path: &Path) -> io::Result<([u8; 32], FileId)> {
    let input = Input::open(path)?;
    let metadata = input.file().metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, name_of(metadata.file_type())));
    }
    let id = id_of(input.file())?;
    let mut file = input.take(MAX_TEXT_FILE + 1);
    let mut digest = Sha256::new();
    let mut piece = Zeroizing::new(vec![0; 64 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((digest.finalize().into(), id)),
            n => digest.update(piece.get(..n).unwrap_or_default()),
        }
    }
}

/// The configuration in force, as far as the next one is compared with it.
#[derive(Debug, Default)]
pub(super) struct Predecessor {
    files: Vec<ConfigFile>,
    /// The files as they were read last. If that configuration had errors, it is not the one in force.
    last: HashMap<PathBuf, FileId>,
    /// Files that a program wrote under the name of a list.
    written: HashMap<PathBuf, FileId>,
}

impl Predecessor {
    pub(super) fn new(files: &[ConfigFile], last: &[ConfigFile], written: HashMap<PathBuf, FileId>) -> Self {
        let last = last.iter().filter_map(|file| Some((file.path.clone(), file.id()?))).collect();
        Self { files: files.to_vec(), last, written }
    }

    /// Notes whether `content` only adds something at the end of the content in force.
    pub(super) fn compare(&self, path: &Path, content: &[u8], new: &mut Version) {
        if let Some(file) = self.before(path, new.id)
            && let Some(old) = &file.version
            && let Some(same) = content.get(..old.size)
        {
            new.is_longer = file.digest == Some(Sha256::digest(same).into());
        }
    }

    /// Returns the file in force. A configuration can name it by another path than before.
    fn before(&self, path: &Path, id: Option<FileId>) -> Option<&ConfigFile> {
        let same = |file: &&ConfigFile| id.is_some() && file.id() == id;
        self.files.iter().find(|file| file.path == path).or_else(|| self.files.iter().find(same))
    }

    /// Whether the version in force ended with a newline, and the new one was written in place without one.
    pub(super) fn has_lost_newline(&self, new: &ConfigFile) -> bool {
        self.in_place(new).is_some_and(|(old, version)| old.ends_with_newline && !version.ends_with_newline)
    }

    /// Returns the number of the last line in force and the first setting that is missing, if the main file was written
    /// in place and the text `new` is only the beginning of the one in force.
    pub(super) fn cut_at<'v>(&'v self, file: &'v ConfigFile, new: &str) -> Option<(usize, &'v str)> {
        let (old, version) = self.in_place(file)?;
        Some((old.yaml.as_ref()?.cut_at(new)?, old.settings.lost_in(&version.settings)?))
    }

    /// Returns why a part of a file may be missing. `None` if there is no sign of that.
    pub(super) fn doubt(&self, new: &ConfigFile) -> Option<Doubt> {
        let (old, version) = self.in_place(new)?;
        if version.is_longer {
            return None;
        }
        let lost = old.entries.saturating_sub(version.entries);
        let shrank = old.entries >= SHORTEST_LIST && lost > old.entries / 2;
        let loss = match shrank {
            true => Some(Loss::Entries { before: old.entries, after: version.entries }),
            false => old.settings.lost_in(&version.settings).map(|path| Loss::Setting(path.to_owned())),
        };
        Some(Doubt { path: new.path.clone(), changed: version.changed, loss })
    }

    /// The versions of a file that was written in place, before and now.
    fn in_place<'v>(&'v self, new: &'v ConfigFile) -> Option<(&'v Version, &'v Version)> {
        let version = new.version.as_ref()?;
        let id = version.id?;
        let old = self.before(&new.path, Some(id))?.version.as_ref()?;
        // What was read last counts, even if it was rejected: a file that was renamed into place then can be written in
        // place now. The inode of the file before it is free for other files.
        let known = self.last.get(&new.path).copied().or(old.id);
        let is_written = known == Some(id) || self.written.get(&new.path) == Some(&id);
        is_written.then_some((old, version))
    }
}

/// A file that was written in place, and does not begin with the content in force: its writer may still be at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The file.
    pub path: PathBuf,
    /// The time of its last change, by the clock of its file system.
    pub changed: Option<SystemTime>,
    /// The part that is missing, if the version in force has it.
    pub loss: Option<Loss>,
}

/// A part of the version in force that a new one does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// More than half of its entries.
    Entries {
        /// Their number in the version in force.
        before: usize,
        /// Their number in the new version.
        after: usize,
    },
    /// A setting with this path, such as `listeners.public.deny`.
    Setting(String),
}
