//! Lines of the imported file, and of the files that it names.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

use portcullis_config::message::{Harmless, Masked};

/// A line of the imported file, or of another file that was read for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// `None`: the imported file itself.
    file: Option<Rc<str>>,
    line: usize,
}

impl At {
    /// Returns a line of another file. `None` is the imported file.
    pub(super) fn of(file: Option<&Rc<str>>, line: usize) -> Self {
        Self { file: file.cloned(), line }
    }

    /// Formats the place as `FILE:LINE`, where `main` is the name of the imported file.
    pub(super) fn in_file<'a>(&'a self, main: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| write!(f, "{}:{}", self.file.as_deref().unwrap_or(main), self.line))
    }
}

impl From<usize> for At {
    fn from(line: usize) -> Self {
        Self { file: None, line }
    }
}

impl From<&Self> for At {
    fn from(at: &Self) -> Self {
        at.clone()
    }
}

/// `line 5`, or `lists/office.conf:5` for a line of another file.
impl Harmless for At {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => write!(f, "line {}", self.line),
            Some(file) => write!(f, "{}:{}", Masked::path(Path::new(&**file)), self.line),
        }
    }
}
