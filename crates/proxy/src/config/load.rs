//! Reading the files of a configuration, each once and within a bound.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_acl::UnixSeconds;

use super::problem::{Place, Problems};
use super::{Config, Problem, raw, validate};

/// A main file or a YAML group file; YAML needs some hundred bytes of memory for each value.
pub(super) const MAX_YAML_FILE: u64 = 8 << 20;
/// A plain-text group file: a million entries of any form with room for comments.
pub(super) const MAX_TEXT_FILE: u64 = 64 << 20;

/// How to read a configuration.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    secrets: bool,
    now: Option<UnixSeconds>,
}

impl LoadOptions {
    /// Everything is read, entries are compared with the clock.
    pub fn new() -> Self {
        Self { secrets: true, now: None }
    }

    /// Secret files and environment variables are not read, only their mention is checked: the result serves for
    /// `check`, its passwords are empty.
    pub fn without_secrets(self) -> Self {
        Self { secrets: false, ..self }
    }

    /// Takes this moment for now, when it comes to entries whose `until` has passed.
    pub fn at(self, now: UnixSeconds) -> Self {
        Self { now: Some(now), ..self }
    }

    pub(super) fn reads_secrets(&self) -> bool {
        self.secrets
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

/// A valid configuration, and what is questionable about it.
#[derive(Debug)]
pub struct Loaded {
    /// Valid.
    pub config: Config,
    /// Warnings and notes, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Reads and validates a configuration file and the files it names. On failure every problem that could be found,
/// errors and warnings, in the order of the files.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, Vec<Problem>> {
    let file: Arc<str> = path.display().to_string().into();
    let mut scope = Scope {
        problems: Problems::default(),
        options: options.clone(),
        now: options.now(),
        base: path.parent().map(Path::to_path_buf).unwrap_or_default(),
        file: Arc::clone(&file),
    };
    let start = Place::start_of(&file);
    if matches!(path.try_exists(), Ok(false)) {
        let hint = "name a file with --config, or make one: docs/configuration.md";
        scope.problems.error(&start, "there is no such file", hint);
        return Err(scope.problems.into_list());
    }
    let tree = read_text(path, MAX_YAML_FILE, &start, &mut scope.problems)
        .and_then(|text| raw::parse(&text, &file, &mut scope.problems));
    let config = tree.and_then(|tree| validate::config(&tree, path, &mut scope));
    match config {
        Some(config) if !scope.problems.has_errors() => {
            Ok(Loaded { config, warnings: scope.problems.into_list() })
        }
        _ => Err(scope.problems.into_list()),
    }
}

/// The file to read when none is named: `./portcullis.yaml`, or `/etc/portcullis/portcullis.yaml` where that is absent.
pub fn default_path() -> PathBuf {
    let here = PathBuf::from("portcullis.yaml");
    if here.exists() { here } else { PathBuf::from("/etc/portcullis/portcullis.yaml") }
}

/// What every part of the validation needs.
pub(super) struct Scope {
    pub(super) problems: Problems,
    pub(super) options: LoadOptions,
    pub(super) now: UnixSeconds,
    /// The directory of the main file.
    pub(super) base: PathBuf,
    /// The main file, as it was named.
    pub(super) file: Arc<str>,
}

/// Reads a whole file of UTF-8 text, at most `most` bytes; the problem is noted at `mention`.
pub(super) fn read_text(path: &Path, most: u64, mention: &Place, problems: &mut Problems) -> Option<String> {
    match read_bytes(path, most) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
                let message = format!("{} is not UTF-8 text, first in line {line}", path.display());
                problems.error(mention, message, "save it as UTF-8");
                None
            }
        },
        Err((reason, hint)) => {
            problems.error(mention, format!("cannot read {}: {reason}", path.display()), hint);
            None
        }
    }
}

/// At most `most` bytes of a file or a pipe; `Err` is reason and hint.
pub(super) fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, (String, String)> {
    let fail = |error: std::io::Error| (reason(&error), hint(&error).to_owned());
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(("it is a directory".to_owned(), "name a file".to_owned()));
    }
    // In one piece: a buffer that grows leaves copies of a secret behind.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(most)).unwrap_or(0) + 1);
    file.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > most {
        return Err((format!("it has more than {most} bytes"), "make it smaller".to_owned()));
    }
    Ok(bytes)
}

/// The system's words without "(os error 2)".
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "paths are relative to the file that names them",
        std::io::ErrorKind::PermissionDenied => "give the user that runs portcullis the right to read it",
        _ => "",
    }
}
