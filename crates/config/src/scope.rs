//! State that every part of the validation shares: problems, options, and the files, each read once and within a bound.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_acl::UnixSeconds;
use sha2::{Digest, Sha256};

use super::address::Address;
use super::breaks::OddCharacter;
use super::origin::{Document, Origin};
use super::problem::{Position, Problems};
use super::settings::Settings;
pub(super) use super::version::MAX_TEXT_FILE;
use super::version::{ConfigFile, Doubt, Predecessor, Seen, Version, Yaml};
use crate::input::Input;
use crate::lock::{self, READER_WAITS};
use crate::message::{Harmless, Masked, Message, message};
use crate::platform::{FileId, OPEN_TO_ALL_HINT, is_open_to_all};
use crate::value::socket::Local;

/// A main file or a YAML group file; YAML needs some hundred bytes of memory for each value.
pub(super) const MAX_YAML_FILE: u64 = 8 << 20;

/// Room for what a pipe has: its length is not known.
const PIPE_ROOM: u64 = 64 << 10;

/// The first byte of a file while an edit writes into it: no byte of UTF-8, and of no byte order mark.
pub(super) const UNFINISHED: [u8; 1] = [0xf8];

/// Returns the path where an edit that writes into a file keeps the old text.
pub(super) fn backup_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    name.into()
}

/// Options of reading a configuration.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    secrets: bool,
    host: bool,
    now: Option<UnixSeconds>,
    instead: Option<Arc<Overlay>>,
    before: Option<Arc<Predecessor>>,
    document: Option<Arc<Document>>,
}

/// A text that is read in place of a file's.
#[derive(Debug)]
struct Overlay {
    /// The path without symlinks, so that every name of the file matches it.
    file: PathBuf,
    text: String,
}

impl LoadOptions {
    /// Reads all files and secrets, and compares entries with the clock.
    pub fn new() -> Self {
        Self { secrets: true, host: true, now: None, instead: None, before: None, document: None }
    }

    /// Does not read secret files and environment variables, and only checks how they are written. The result is for
    /// `check`; its passwords are empty.
    pub fn without_secrets(self) -> Self {
        Self { secrets: false, ..self }
    }

    /// Does not ask about this host: its groups, and who can read a file. The result is for `check` on another host.
    pub fn without_host(self) -> Self {
        Self { host: false, ..self }
    }

    /// Uses this time instead of the clock to find entries whose `until` has passed.
    pub fn at(self, now: UnixSeconds) -> Self {
        Self { now: Some(now), ..self }
    }

    /// Reads the files of a reload, and compares them with those in force: a file that was written in place may have
    /// been cut. `last` has the files as they were read last, and `written` those that a program wrote under the name
    /// of a file in force, and did not rename.
    pub fn after(
        self,
        in_force: &[ConfigFile],
        last: &[ConfigFile],
        written: HashMap<PathBuf, FileId>,
    ) -> Self {
        Self { before: Some(Arc::new(Predecessor::new(in_force, last, written))), ..self }
    }

    /// Reads `text` instead of the content of `file`, so that an edit can be judged before it is written.
    pub(super) fn with_text(self, file: &Path, text: &str) -> std::io::Result<Self> {
        let overlay = Overlay { file: file.canonicalize()?, text: text.to_owned() };
        Ok(Self { instead: Some(Arc::new(overlay)), ..self })
    }

    /// Reads this document as the main file.
    pub(super) fn with_document(self, document: &Arc<Document>) -> Self {
        Self { document: Some(Arc::clone(document)), ..self }
    }

    /// The origin of a configuration whose main file is at `path`.
    pub(super) fn origin(&self, path: &Path) -> Origin {
        match &self.document {
            Some(document) => Origin::Document(Arc::clone(document)),
            None => Origin::File(path.to_path_buf()),
        }
    }

    /// Whether the document is read in place of this file.
    pub(super) fn is_document(&self, path: &Path) -> bool {
        self.document.as_ref().is_some_and(|document| document.is_at(path))
    }

    fn text_of(&self, path: &Path) -> Option<&str> {
        if let Some(document) = self.document.as_ref().filter(|document| document.is_at(path)) {
            return Some(document.text());
        }
        let overlay = self.instead.as_ref()?;
        let found = path.canonicalize().is_ok_and(|path| path == overlay.file);
        found.then_some(overlay.text.as_str())
    }

    pub(super) fn reads_secrets(&self) -> bool {
        self.secrets
    }

    pub(super) fn asks_host(&self) -> bool {
        self.host
    }

    pub(super) fn now(&self) -> UnixSeconds {
        self.now.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
        })
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// State that every part of the validation shares.
pub(super) struct Scope {
    pub(super) problems: Problems,
    pub(super) options: LoadOptions,
    pub(super) now: UnixSeconds,
    /// The directory of the main file.
    pub(super) base: PathBuf,
    /// The main file, as it was named.
    pub(super) file: Arc<str>,
    pub(super) sources: Vec<ConfigFile>,
    /// The number of entries that stand in the main file.
    pub(super) own_entries: usize,
    /// The addresses to listen on, and their places.
    pub(super) binds: Vec<(Local, Position)>,
    /// The addresses to connect to, of upstreams and sentinels, and their places.
    pub(super) targets: Vec<(Address, Position)>,
    /// The place of the audit output.
    pub(super) audit: Option<Position>,
    /// Files of secrets that are not read.
    pub(super) unread: Vec<PathBuf>,
}

impl Scope {
    /// Starts with the main file of that name.
    pub(super) fn new(path: &Path, options: &LoadOptions) -> Self {
        Self {
            problems: Problems::default(),
            options: options.clone(),
            now: options.now(),
            base: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            file: path.display().to_string().into(),
            sources: Vec::new(),
            own_entries: 0,
            binds: Vec::new(),
            targets: Vec::new(),
            audit: None,
            unread: Vec::new(),
        }
    }

    /// Warns if every local user can read a file of secrets.
    pub(super) fn warn_if_open(&mut self, path: &Path, what: &'static str, mention: &Position) {
        if self.options.asks_host() && is_open_to_all(path) {
            let message = message!("every local user can read the {} in {}", what, Masked::path(path));
            self.problems.warning(mention, message, OPEN_TO_ALL_HINT);
        }
    }

    /// Reads a whole file of UTF-8 text, at most `most` bytes; the problem is noted at `mention`.
    pub(super) fn read_text(&mut self, path: &Path, most: u64, mention: &Position) -> Option<String> {
        match self.read_whole(path, most, Writers::Awaited) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Some(text),
                Err(error) => {
                    let valid = error.utf8_error().valid_up_to();
                    let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
                    let message =
                        message!("{} is not valid UTF-8, first on line {}", Masked::path(path), line);
                    self.problems.error(mention, message, hint_for_bytes(path, error.as_bytes()));
                    None
                }
            },
            Err((reason, hint)) => {
                self.problems.error(
                    mention,
                    message!("cannot read {}: {}", Masked::path(path), reason),
                    hint,
                );
                None
            }
        }
    }

    /// Reads the text of a file with entries, as [`Self::read_uncut`] does. It is an error if a reader of the file can see
    /// the end of a line where there is none, or another text: a comment hides the entries behind it.
    pub(super) fn read_lines(&mut self, path: &Path, most: u64, mention: &Position) -> Option<String> {
        let text = self.read_uncut(path, most, mention)?;
        if let Some(odd) = OddCharacter::first(&text) {
            let place =
                Position { file: path.display().to_string().into(), line: odd.line, column: odd.column };
            let (message, hint) = match odd.is_invisible() {
                true => (
                    message!("{} stands here: the line is not what a reader sees", odd),
                    "remove the character, and read the line again",
                ),
                false => (
                    message!("{} stands here: only LF and CRLF end a line", odd),
                    "end the line with LF, or remove the character; a program may show it as the end of a line",
                ),
            };
            self.problems.error(&place, message, hint);
        }
        Some(text)
    }

    /// Reads the text of a file with entries, as [`Self::read_text`] does. It is an error if the file was cut within a
    /// line. An empty text passes, because an empty list may be intended: see [`Self::was_emptied`].
    pub(super) fn read_uncut(&mut self, path: &Path, most: u64, mention: &Position) -> Option<String> {
        let text = self.read_text(path, most, mention)?;
        if !text.is_empty() && self.has_lost_newline(path) {
            let message =
                "the file does not end with a newline, and the version in force does: it may have been cut";
            self.problems.error(&last_line(path, &text), message, WHOLE_FILE);
            return None;
        }
        Some(text)
    }

    /// Warns of a plain-text list that ends within a line: nothing else shows that the rest is missing.
    pub(super) fn warn_if_cut(&mut self, path: &Path, text: &str) {
        if !text.is_empty() && !text.ends_with('\n') {
            let message = "the list does not end with a newline: it may have been cut";
            self.problems.warning(&last_line(path, text), message, "end the file with a newline");
        }
    }

    /// Returns whether a file with entries was emptied in place.
    pub(super) fn was_emptied(&self, path: &Path) -> bool {
        let source = self.sources.iter().find(|source| source.path == path);
        self.has_lost_newline(path)
            && source.and_then(|source| source.version.as_ref()).is_some_and(Version::is_empty)
    }

    /// Sets the number of entries that a file has.
    pub(super) fn set_entries(&mut self, path: &Path, entries: usize) {
        let version = self.sources.iter_mut().find(|source| source.path == path);
        if let Some(version) = version.and_then(|source| source.version.as_mut()) {
            version.entries = entries;
        }
    }

    /// Sets the text of the main file and the settings that it has. `None`, with an error, if the file was cut after a line
    /// and lost a setting: YAML has no end, so what is left is often a whole configuration that refuses less.
    pub(super) fn set_settings(&mut self, path: &Path, text: &str, settings: Settings) -> Option<()> {
        let Some(source) = self.sources.iter_mut().find(|source| source.path == path) else {
            return Some(());
        };
        if let Some(version) = &mut source.version {
            version.yaml = Some(Yaml::new(text));
            version.settings = Arc::new(settings);
        }
        let Some((last, lost)) = self.options.before.as_ref().and_then(|before| before.cut_at(source, text))
        else {
            return Some(());
        };
        let end = last_line(path, text);
        let message = message!(
            "the file ends on line {}, and the version in force has {} lines and begins with the same text: {} may have \
             been cut",
            end.line,
            last,
            Masked::near(lost, &[lost])
        );
        self.problems.error(&end, message, WHOLE_YAML);
        None
    }

    /// Returns the files that may be incomplete.
    pub(super) fn doubts(&self) -> Vec<Doubt> {
        let before = self.options.before.iter();
        before.flat_map(|before| self.sources.iter().filter_map(|source| before.doubt(source))).collect()
    }

    fn has_lost_newline(&self, path: &Path) -> bool {
        let source = self.sources.iter().find(|source| source.path == path);
        self.options
            .before
            .as_ref()
            .zip(source)
            .is_some_and(|(before, source)| before.has_lost_newline(source))
    }

    /// Reads at most `most` bytes of a file or a pipe; `Err` is reason and hint.
    pub(super) fn read_bytes(&mut self, path: &Path, most: u64) -> Result<Vec<u8>, (Message, Message)> {
        self.read_whole(path, most, Writers::Ignored)
    }

    fn read_whole(
        &mut self,
        path: &Path,
        most: u64,
        writers: Writers,
    ) -> Result<Vec<u8>, (Message, Message)> {
        let read = match self.options.text_of(path) {
            Some(text) if text.len() as u64 <= most => Ok((text.as_bytes().to_vec(), None)),
            Some(_) => Err(Unread::other(too_large(most))),
            None => read_bytes(path, most, writers).map(|(bytes, seen)| (bytes, Some(seen))),
        };
        if !self.options.is_document(path) && self.sources.iter().all(|source| source.path != path) {
            let locked = read.as_ref().is_err_and(|unread| unread.locked);
            let digest = read.as_ref().ok().map(|(bytes, _)| Sha256::digest(bytes).into());
            let version = read.as_ref().ok().map(|(bytes, seen)| {
                let mut version = Version::of(bytes, seen.as_ref());
                if let Some(before) = &self.options.before {
                    before.compare(path, bytes, &mut version);
                }
                version
            });
            self.sources.push(ConfigFile { path: path.to_owned(), digest, locked, version });
        }
        read.map(|(bytes, _)| bytes).map_err(|unread| unread.why)
    }
}

/// The advice about a file that may have been cut.
const WHOLE_FILE: &str = "end the file with a newline, or write a new file and rename it over this one";

/// The advice about a YAML file that ends too early.
const WHOLE_YAML: &str = "write the whole file, or write a new file and rename it over this one; if the rest was removed \
                          on purpose, add a comment as the last line";

fn last_line(path: &Path, text: &str) -> Position {
    let line = u32::try_from(text.lines().count()).unwrap_or(u32::MAX).max(1);
    Position { file: path.display().to_string().into(), line, column: 1 }
}

/// Returns the remedy for a file that is not UTF-8.
fn hint_for_bytes(path: &Path, bytes: &[u8]) -> Message {
    let backup = backup_of(path);
    match (bytes.starts_with(&UNFINISHED), backup.is_file()) {
        (false, _) => "save it as UTF-8".into(),
        (true, true) => message!("an edit of it was interrupted: restore it from {}", Masked::path(&backup)),
        (true, false) => "save it as UTF-8; if an edit was interrupted, restore it from your own copy".into(),
    }
}

/// The treatment of a file that another program writes under a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writers {
    /// The loader waits for them, for [`READER_WAITS`].
    Awaited,
    /// The file is read as it is: edits never write it.
    Ignored,
}

/// A file that could not be read.
struct Unread {
    /// Reason and hint.
    why: (Message, Message),
    locked: bool,
}

impl Unread {
    fn other(why: (Message, Message)) -> Self {
        Self { why, locked: false }
    }
}

/// Reads at most `most` bytes of a file or a pipe.
fn read_bytes(path: &Path, most: u64, writers: Writers) -> Result<(Vec<u8>, Seen), Unread> {
    let fail =
        |error: std::io::Error| Unread::other((message!("{}", Reason(&error)), hint(path, &error).into()));
    let mut input = Input::open(path).map_err(fail)?;
    let mut metadata = input.file().metadata().map_err(fail)?;
    if metadata.is_file() && writers == Writers::Awaited {
        lock::shared(input.file(), READER_WAITS).map_err(|_| Unread {
            why: (
                "another program holds a lock on it (flock)".into(),
                "wait until that program has written the file, or end it".into(),
            ),
            locked: true,
        })?;
        // The writer may have changed the length.
        metadata = input.file().metadata().map_err(fail)?;
    }
    // In one piece: a buffer that grows leaves copies of a secret behind.
    let length = if metadata.is_file() { metadata.len() } else { PIPE_ROOM };
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(most)).unwrap_or(0) + 1);
    input.by_ref().take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > most {
        return Err(Unread::other(too_large(most)));
    }
    // Again: a change while it was read counts.
    let seen = Seen::of(input.file()).map_err(fail)?;
    Ok((bytes, seen))
}

fn too_large(most: u64) -> (Message, Message) {
    (message!("it is larger than {} bytes", most), "use a smaller file".into())
}

/// The system's error of a file, without the file's name.
struct Reason<'e>(&'e std::io::Error);

impl Harmless for Reason<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&reason(self.0))
    }
}

/// Returns the system's error text without "(os error 2)".
pub(super) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn hint(path: &Path, error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound if path.is_absolute() => "create the file, or correct the path",
        std::io::ErrorKind::NotFound => "paths are relative to the file that names them",
        std::io::ErrorKind::InvalidInput => "name a file",
        std::io::ErrorKind::TimedOut => {
            "start the program that writes into it at the same time, or name a file"
        }
        std::io::ErrorKind::PermissionDenied => "allow the user that runs portcullis to read it",
        _ => "check the path and its file system",
    }
}
