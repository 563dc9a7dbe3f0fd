//! Reading and validating a configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::origin::{Document, Origin};
use super::platform::default_file;
use super::problem::{Position, Problem};
use super::scope::{LoadOptions, MAX_YAML_FILE, Scope};
use super::settings::Settings;
use super::version::{ConfigFile, Doubt};
use super::{Config, raw, validate};

/// The result of reading a configuration, and every file that it was read from.
#[derive(Debug)]
pub struct Reading {
    /// The configuration, or every problem that could be found: errors and warnings, in the order of the files.
    pub result: Result<Loaded, Vec<Problem>>,
    /// Each file once, including files that could not be read.
    pub sources: Vec<ConfigFile>,
    /// With [`LoadOptions::after`]: files that may be incomplete.
    pub doubts: Vec<Doubt>,
}

/// A valid configuration, and its warnings.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings and notes, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Reads and validates a configuration file and the files it names. On failure every problem that could be found,
/// errors and warnings, in the order of the files.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, Vec<Problem>> {
    read(path, options).result
}

impl Origin {
    /// Reads and validates the configuration.
    pub fn read(&self, options: &LoadOptions) -> Reading {
        match self {
            Self::File(path) => read(path, options),
            Self::Document(document) => read_document(document, options),
        }
    }
}

/// Reads a document in memory like a file; it is not among the files of the result. Problems name the sources of its
/// lines.
pub fn read_document(document: &Arc<Document>, options: &LoadOptions) -> Reading {
    let options = options.clone().with_document(document);
    let mut reading = read(options.origin(Path::new("")).path(), &options);
    match &mut reading.result {
        Ok(loaded) => document.attribute(&mut loaded.warnings),
        Err(problems) => document.attribute(problems),
    }
    reading
}

/// Reads like [`load`], and returns the files for a caller that watches them for changes.
pub fn read(path: &Path, options: &LoadOptions) -> Reading {
    let mut scope = Scope::new(path, options);
    let config = config(path, &mut scope);
    scope.set_entries(path, scope.own_entries);
    let doubts = scope.doubts();
    let sources = std::mem::take(&mut scope.sources);
    let result = match config {
        Some(config) if !scope.problems.has_errors() => {
            Ok(Loaded { config, warnings: scope.problems.into_list() })
        }
        _ => Err(scope.problems.into_list()),
    };
    Reading { result, sources, doubts }
}

/// Returns the default file: `./portcullis.yaml`, or `/etc/portcullis/portcullis.yaml` if that does not exist.
pub fn default_path() -> PathBuf {
    let here = PathBuf::from("portcullis.yaml");
    if here.exists() { here } else { default_file() }
}

fn config(path: &Path, scope: &mut Scope) -> Option<Config> {
    let start = Position::start_of(&scope.file);
    if !scope.options.is_document(path) && matches!(path.try_exists(), Ok(false)) {
        scope.sources.push(ConfigFile::unread(path));
        let hint = "name a file with --config, or let 'portcullis init' write one";
        scope.problems.error(&start, "the file does not exist", hint);
        return None;
    }
    let text = scope.read_lines(path, MAX_YAML_FILE, &start)?;
    let tree = raw::parse(&text, &Arc::clone(&scope.file), &mut scope.problems)?;
    scope.set_settings(path, &text, Settings::of(&tree))?;
    let config = validate::config(&tree, path, scope)?;
    validate::report_audit_of_input(&config, scope);
    Some(config)
}
