//! A name that other processes see: a file that Windows removes when the process ends.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::platform::data_directory;

/// Windows removes the file with its last handle (`FILE_FLAG_DELETE_ON_CLOSE`).
const DELETE_ON_CLOSE: u32 = 0x0400_0000;

/// Other programs may read the file, and not open it to write or delete (`FILE_SHARE_READ`).
const READERS_ONLY: u32 = 0x0000_0001;

/// The characters that the name of a file cannot have, and what stands for them.
const STANDS_FOR: [(char, char); 2] = [('/', '~'), (':', '+')];

/// A name that other processes of this host can see until it is dropped.
#[derive(Debug)]
pub(super) struct HeldName {
    _file: File,
}

impl HeldName {
    /// Makes a name.
    ///
    /// # Errors
    /// Another process has the name, or the directory cannot be written.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let directory = directory();
        fs::create_dir_all(&directory)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).custom_flags(DELETE_ON_CLOSE).share_mode(READERS_ONLY);
        Ok(Self { _file: options.open(directory.join(file_name(name)))? })
    }

    /// Returns the names that begin with a prefix, without it. A file that can be written is left of a power failure.
    pub(super) fn all(prefix: &str) -> HashSet<String> {
        let prefix = file_name(prefix);
        let Ok(files) = fs::read_dir(directory()) else { return HashSet::new() };
        let held = files.flatten().filter(|file| is_held(&file.path()));
        let names = held.filter_map(|file| file.file_name().to_str()?.strip_prefix(&prefix).map(name_of));
        names.collect()
    }
}

fn directory() -> PathBuf {
    data_directory().join("held")
}

fn is_held(path: &Path) -> bool {
    /// Another process has the file open in a way that does not permit this (`ERROR_SHARING_VIOLATION`).
    const SHARING_VIOLATION: i32 = 32;
    let opened = OpenOptions::new().write(true).open(path);
    opened.is_err_and(|error| error.raw_os_error() == Some(SHARING_VIOLATION))
}

fn file_name(name: &str) -> String {
    STANDS_FOR.iter().fold(name.to_owned(), |name, (from, to)| name.replace(*from, &to.to_string()))
}

fn name_of(file: &str) -> String {
    STANDS_FOR.iter().fold(file.to_owned(), |name, (from, to)| name.replace(*to, &from.to_string()))
}
