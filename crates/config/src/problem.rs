//! Problems of a configuration and their places.

use std::fmt;
use std::sync::Arc;

use crate::message::{Message, message};

/// A problem and its place in a file. Displays as `file:line:col: error: message`, with the hint on a line of its
/// own.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    severity: Severity,
    file: String,
    line: u32,
    column: u32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Problem {
    pub(super) fn new(severity: Severity, place: &Position, message: Message, hint: Message) -> Self {
        Self {
            severity,
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            message: message.into_string(),
            hint: Some(hint.into_string()).filter(|hint| !hint.is_empty()),
        }
    }

    /// Names another place, which has no lines.
    pub(super) fn move_to(&mut self, place: &str) {
        *self = Self { file: place.to_owned(), line: 0, column: 0, ..self.clone() };
    }

    /// Gives another hint.
    pub(super) fn advise(&mut self, hint: &str) {
        self.hint = Some(hint.to_owned());
    }

    /// Makes an error about this host, which does not allow what the file asks for.
    pub(super) fn of_host(place: &Position, message: Message, hint: Message) -> Self {
        let message = message!("{} (this host)", message);
        Self::new(Severity::Error, place, message, hint)
    }

    /// The severity.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The file as it was named on the command line or in the file that names it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1; 0 if the file is not one but an option of the command.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1, in characters; 0 where the line is.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// The message: lower case, without a full stop, without secrets.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The hint: the corrected form, or the remedy.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Writes the problem to the log as one line.
    pub fn log(&self) {
        let Self { severity, message, .. } = self;
        let (place, hint) = (self.place(), self.hint().map(tracing::field::display));
        match severity {
            Severity::Error => tracing::error!(hint, "{place}: {severity}: {message}"),
            Severity::Warning => tracing::warn!(hint, "{place}: {severity}: {message}"),
            Severity::Note => tracing::info!(hint, "{place}: {severity}: {message}"),
        }
    }

    /// `file:line:column`, or an option.
    fn place(&self) -> String {
        let Self { file, line, column, .. } = self;
        if *line == 0 { file.clone() } else { format!("{file}:{line}:{column}") }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, message, hint, .. } = self;
        write!(f, "{}: {severity}: {message}", self.place())?;
        match hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration works, but may not do what was intended.
    Warning,
    /// Information; nothing needs a change.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) file: Arc<str>,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Position {
    pub(super) fn start_of(file: &Arc<str>) -> Self {
        Self { file: Arc::clone(file), line: 1, column: 1 }
    }
}

/// Everything found so far. Validation notes a problem and goes on.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    /// Errors beyond [`MOST`].
    more: usize,
}

/// Number of problems that suffice to repair a file; a list of a million bad lines must not become a million
/// messages.
const MOST: usize = 200;

impl Problems {
    /// Notes an error, which makes the configuration unusable. Texts with values are made by [`message!`].
    pub(super) fn error(&mut self, place: &Position, message: impl Into<Message>, hint: impl Into<Message>) {
        self.note(Severity::Error, place, message.into(), hint.into());
    }

    pub(super) fn warning(
        &mut self,
        place: &Position,
        message: impl Into<Message>,
        hint: impl Into<Message>,
    ) {
        self.note(Severity::Warning, place, message.into(), hint.into());
    }

    /// Notes an error about this host.
    pub(super) fn host(&mut self, place: &Position, message: Message, hint: impl Into<Message>) {
        self.error(place, message!("{} (this host)", message), hint);
    }

    pub(super) fn remark(&mut self, place: &Position, message: impl Into<Message>) {
        self.note(Severity::Note, place, message.into(), "".into());
    }

    pub(super) fn has_errors(&self) -> bool {
        self.more > 0 || self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Returns the problems by file in order of first mention, then by place.
    pub(super) fn into_list(mut self) -> Vec<Problem> {
        let mut files: Vec<String> = Vec::new();
        for problem in &self.list {
            if !files.contains(&problem.file) {
                files.push(problem.file.clone());
            }
        }
        self.list.sort_by_key(|problem| {
            (files.iter().position(|file| *file == problem.file), problem.line, problem.column)
        });
        // A file that two groups name is read twice.
        self.list.dedup();
        if self.more > 0
            && let Some(last) = self.list.last().cloned()
        {
            let message = message!("and {} more problems, not shown", self.more);
            let hint = Some("repair those above, and check again".to_owned());
            self.list.push(Problem { message: message.into_string(), hint, ..last });
        }
        self.list
    }

    fn note(&mut self, severity: Severity, place: &Position, message: Message, hint: Message) {
        if self.list.len() >= MOST {
            self.more += usize::from(severity == Severity::Error);
            return;
        }
        self.list.push(Problem::new(severity, place, message, hint));
    }
}
