//! The origin of a configuration: a file, or lines that a program made from other input, such as options of a command.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::Problem;

/// The origin of a configuration, from which it can be read again.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// A document in memory. The files that it names are read again; the document itself never changes.
    Document(Arc<Document>),
}

impl Origin {
    /// The path of the file, or the name of the document.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Document(document) => &document.name,
        }
    }
}

/// A configuration in memory. Each line knows what it was made from, so that a problem names that and not a line that
/// the user never wrote.
#[derive(Clone, Debug)]
pub struct Document {
    name: PathBuf,
    text: String,
    /// One for each line.
    sources: Vec<Option<&'static str>>,
    /// The hints of sources, in place of hints that show YAML.
    hints: Vec<(&'static str, &'static str)>,
}

impl Document {
    /// Returns an empty document. Paths in it are relative to the directory of its name.
    pub fn new(name: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), text: String::new(), sources: Vec::new(), hints: Vec::new() }
    }

    /// Adds lines that were made from `source`, such as `--allow`; `None`: from nothing in particular.
    pub fn push(&mut self, source: Option<&'static str>, lines: &str) {
        for line in lines.lines() {
            self.text.push_str(line);
            self.text.push('\n');
            self.sources.push(source);
        }
    }

    /// Sets the hint of problems of `source` whose own hint names a mapping, which no user can type there.
    pub fn advise(&mut self, source: &'static str, hint: &'static str) {
        self.hints.push((source, hint));
    }

    /// The YAML.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is the name of the document.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.name == path
    }

    /// Names the source of each problem in place of a line of the document.
    pub(super) fn attribute(&self, problems: &mut [Problem]) {
        let name = self.name.display().to_string();
        for problem in problems.iter_mut().filter(|problem| problem.file() == name) {
            let line = usize::try_from(problem.line()).unwrap_or(usize::MAX);
            let source = line.checked_sub(1).and_then(|index| self.sources.get(index).copied().flatten());
            problem.move_to(source.unwrap_or(&name));
            if let Some((_, hint)) = self.hints.iter().find(|(advised, _)| Some(*advised) == source)
                && problem.hint().is_some_and(|hint| hint.contains('{'))
            {
                problem.advise(hint);
            }
        }
    }
}
