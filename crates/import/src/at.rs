//! Lines of the imported file, and of the files that it names.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

use portcullis_config::message::{Harmless, Masked};

/// The place of a line: in the imported file, or in another file that was read for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// The name of the file. `None` means the imported file itself.
    file: Option<Rc<str>>,
    line: usize,
}

impl At {
    /// Returns the place of a line in `file`. `None` means the imported file.
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

/// Shows the place as `line 5`, or as `lists/office.conf:5` for a line of another file.
impl Harmless for At {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => write!(f, "line {}", self.line),
            Some(file) => write!(f, "{}:{}", Masked::path(Path::new(&**file)), self.line),
        }
    }
}
