//! Errors of planning or writing an edit.

use std::path::{Path, PathBuf};

use portcullis_acl::{Cidr, UnixSeconds};
use thiserror::Error;

use super::Written;
use super::yaml::Stuck;
use crate::scope::{backup_of, reason};
use crate::{LoadOptions, Problem, load};

/// The error of an edit. Nothing was written, except where the variant says so.
#[derive(Clone, Debug, Error)]
pub enum EditError {
    /// The configuration has no such group.
    #[error("unknown group '{}'", .group.escape_debug())]
    UnknownGroup {
        /// The requested name.
        group: String,
        /// A group whose name is like it.
        meant: Option<String>,
    },
    /// The group `unix` is built in and not written in any file.
    #[error("the group 'unix' is built in and has no entries of its own")]
    BuiltIn,
    /// The name cannot be that of a group.
    #[error("'{}' cannot be the name of a group", .group.escape_debug())]
    BadName {
        /// The requested name.
        group: String,
        /// The form of a name.
        hint: String,
    },
    /// The configuration already has a group of that name.
    #[error("group '{group}' already exists, at {}:{line}", .file.display())]
    Exists {
        /// The group.
        group: String,
        /// The main file.
        file: PathBuf,
        /// Its line.
        line: u32,
    },
    /// A group that is to be deleted is used.
    #[error("group '{group}' is in use: {}", .uses.join("; "))]
    InUse {
        /// The group.
        group: String,
        /// The uses, each with its place.
        uses: Vec<String>,
    },
    /// The entries are in a JSON file, which another program writes.
    #[error("{} is a JSON file, which cannot be edited here", .file.display())]
    JsonList {
        /// The file.
        file: PathBuf,
    },
    /// The group already has this entry.
    #[error("{} already exists, at {}:{}", .existing.entry, .existing.file, .existing.line)]
    Duplicate {
        /// The existing entry.
        existing: Box<Written>,
        /// The time of the check.
        now: UnixSeconds,
    },
    /// Another entry admits all of it for at least as long.
    #[error("{cidr} is already covered by {by}")]
    Needless {
        /// The entry to add.
        cidr: Cidr,
        /// The entry that covers it.
        by: Box<Written>,
    },
    /// The group has no such entry of its own.
    #[error("{cidr} is not an entry of group {group}")]
    NotThere {
        /// The group that was searched.
        group: String,
        /// The entry to remove.
        cidr: Cidr,
        /// Entries that still admit it: wider ones, and those of included groups.
        covered_by: Vec<Written>,
    },
    /// The list is plain text, which holds only an address and a comment.
    #[error("{} is a plain-text list, which cannot hold '{key}'", .file.display())]
    PlainText {
        /// The group's file.
        file: PathBuf,
        /// `owner` or `until`.
        key: &'static str,
    },
    /// The form of the list cannot be edited without a risk for the rest of the file.
    #[error("{}:{line}: {why}", .file.display())]
    CannotEdit {
        /// The file.
        file: PathBuf,
        /// The line where the list begins.
        line: u32,
        /// The reason, in a few words.
        why: &'static str,
    },
    /// The outcome, or the current configuration, does not load.
    #[error("the configuration would not be valid")]
    Invalid(Vec<Problem>),
    /// The file has changed since the edit was planned.
    #[error("{} has changed since it was read", .file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// The file could not be read or written.
    #[error("cannot write {}: {reason}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's error text.
        reason: String,
    },
    /// The directory takes no new file, so that the file can only be written in place, without a backup.
    #[error("cannot replace {}: the directory {} is not writable ({reason})", .file.display(), .directory.display())]
    ReadOnlyDirectory {
        /// The file.
        file: PathBuf,
        /// Its directory.
        directory: PathBuf,
        /// The system's error text.
        reason: String,
    },
    /// The old text could not be kept before a write in place.
    #[error("cannot keep the old text of {} as {}: {reason}", .file.display(), .backup.display())]
    NoBackup {
        /// The file.
        file: PathBuf,
        /// The file for the old text.
        backup: PathBuf,
        /// The system's error text.
        reason: String,
    },
    /// Another program holds a lock on the file.
    #[error("{} is locked by another program (flock)", .file.display())]
    Locked {
        /// The file or its directory.
        file: PathBuf,
    },
    /// A write in place failed, and so did writing the old text back. The file does not load.
    #[error("writing {} failed in the middle ({reason}), and its old text could not be written back", .file.display())]
    HalfWritten {
        /// The file.
        file: PathBuf,
        /// The file that has the old text.
        kept: Option<PathBuf>,
        /// The system's error text.
        reason: String,
    },
}

impl EditError {
    /// Returns a word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownGroup { .. } => "unknown_group",
            Self::BuiltIn => "built_in",
            Self::BadName { .. } => "bad_name",
            Self::Exists { .. } => "exists",
            Self::InUse { .. } => "in_use",
            Self::JsonList { .. } => "json_list",
            Self::Duplicate { .. } => "duplicate",
            Self::Needless { .. } => "needless",
            Self::NotThere { .. } => "not_there",
            Self::PlainText { .. } => "plain_text",
            Self::CannotEdit { .. } => "cannot_edit",
            Self::Invalid(_) => "invalid",
            Self::Changed { .. } => "changed",
            Self::Io { .. } => "io",
            Self::ReadOnlyDirectory { .. } => "read_only_directory",
            Self::NoBackup { .. } => "no_backup",
            Self::Locked { .. } => "locked",
            Self::HalfWritten { .. } => "half_written",
        }
    }

    /// The remedy, where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownGroup { meant: Some(meant), .. } => format!("did you mean '{meant}'?"),
            Self::UnknownGroup { meant: None, .. } => {
                "'portcullis groups list' shows the groups, 'portcullis groups create NAME' makes one"
                    .to_owned()
            }
            Self::BadName { hint, .. } => hint.clone(),
            Self::Exists { group, .. } => format!("'portcullis groups add {group} ADDRESS' adds entries"),
            Self::InUse { .. } => "remove the group from these places first".to_owned(),
            Self::JsonList { .. } => {
                "change it where it comes from, or add the address to another group of the list".to_owned()
            }
            Self::BuiltIn => {
                "it matches clients on a unix socket: write allow: [unix], or omit it".to_owned()
            }
            Self::Duplicate { existing, now } if existing.until.is_some_and(|until| until <= *now) => {
                "the entry has expired: to renew it, give a later --until or --until never".to_owned()
            }
            Self::Duplicate { .. } => "to change the entry, give --note, --owner or --until".to_owned(),
            Self::Needless { .. } => "add a note, an owner or an expiry time, or force it".to_owned(),
            Self::NotThere { group, cidr, covered_by } => not_there(group, *cidr, covered_by),
            Self::PlainText { file, key } => format!(
                "convert it to a YAML list {} with '- ADDRESS' lines and name that file in the group, or omit '{key}'",
                file.with_extension("yaml").display()
            ),
            Self::CannotEdit { .. } => {
                "edit the file by hand, or rewrite the list as '- ADDRESS' lines".to_owned()
            }
            Self::Changed { .. } => "check the file and try again".to_owned(),
            Self::ReadOnlyDirectory { .. } => {
                "write into the file in place; its old text cannot be kept beside it then".to_owned()
            }
            Self::Locked { .. } => "wait until that program has ended, and try again".to_owned(),
            Self::HalfWritten { kept: Some(kept), .. } => format!("restore it from {}", kept.display()),
            Self::HalfWritten { kept: None, .. } => "restore it from your own copy".to_owned(),
            Self::NoBackup { .. } => "make room, or move that file out of the way".to_owned(),
            Self::Invalid(_) | Self::Io { .. } => return None,
        })
    }

    pub(super) fn io(file: &Path, error: &std::io::Error) -> Self {
        Self::Io { file: file.to_path_buf(), reason: reason(error) }
    }

    pub(super) fn read_only_directory(file: &Path, directory: &Path, error: &std::io::Error) -> Self {
        let (file, directory) = (file.to_path_buf(), directory.to_path_buf());
        Self::ReadOnlyDirectory { file, directory, reason: reason(error) }
    }

    pub(super) fn no_backup(file: &Path, error: &std::io::Error) -> Self {
        Self::NoBackup { file: file.to_path_buf(), backup: backup_of(file), reason: reason(error) }
    }

    pub(super) fn stuck(file: &Path, text: &str, stuck: Stuck) -> Self {
        let before = text.get(..stuck.at).unwrap_or_default();
        let line = u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX).saturating_add(1);
        Self::CannotEdit { file: file.to_path_buf(), line, why: stuck.why }
    }

    /// Returns the errors of the loader for a file in which no list was found.
    pub(super) fn broken(config: &Path, options: &LoadOptions) -> Self {
        match load(config, options) {
            Err(problems) => Self::Invalid(problems),
            // A group with an empty mapping, say, which the loader refuses as well.
            Ok(_) => Self::CannotEdit { file: config.to_path_buf(), line: 1, why: "the group has no list" },
        }
    }
}

fn not_there(group: &str, cidr: Cidr, covered_by: &[Written]) -> String {
    let Some(by) = covered_by.first() else {
        return format!("'portcullis groups show {group}' lists its entries");
    };
    if by.entry == cidr {
        return format!("it comes from an included group: {by}; remove it there");
    }
    let rest = match covered_by.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("it is covered by {by}{rest}: remove that entry, or add the address to a group under deny")
}
