//! Adds and removes entries of a group in its file; comments, order and quoting stay.
//!
//! [`add`] and [`remove`] plan an [`Edit`] and write nothing. The edited text has been read and judged as a whole by
//! then, in place of the file's, so that what [`Edit::apply`] writes is a configuration that loads.

mod apply;
mod entry;
mod error;
mod flow;
mod in_place;
mod site;
mod survey;
mod yaml;

use std::path::{Path, PathBuf};

use portcullis_acl::{Cidr, UnixSeconds};

use self::site::Site;
use self::survey::Survey;
use super::{LoadOptions, Loaded, Problem, Reload, Severity, load};

pub use apply::{Applied, Method};
pub use entry::{BadEntry, NewEntry, parse_time};
pub use error::EditError;
pub use survey::Written;

/// Plans one more entry in a group.
///
/// # Errors
/// [`EditError::Duplicate`] when the group has that entry; [`EditError::Needless`] when another one admits all of it for
/// as long, and the new one has no note, owner or end; the others as for [`remove`].
pub fn add(config: &Path, group: &str, entry: &NewEntry, options: &LoadOptions) -> Result<Edit, EditError> {
    let site = Site::find(config, group, options)?;
    let before = load(config, options);
    let now = options.now();
    let cidr = entry.cidr();
    if let Some(item) = site.entries.iter().find(|item| item.cidr == Some(cidr)) {
        let known = before.as_ref().ok().and_then(|loaded| Survey::new(loaded, group).own(cidr));
        let existing = known.unwrap_or_else(|| Written::plain(cidr, group, &site.file, item.line));
        return Err(EditError::Duplicate { existing: Box::new(existing), now });
    }
    let (text, line) = site.with(entry)?;
    let after = judge(config, &site, &text, options)?;
    let survey = Survey::new(before.as_ref().unwrap_or(&after), group);
    let covered_by = survey.covering(cidr, now);
    let until = entry.until().or(site.until);
    if let Some(by) = covered_by.iter().find(|by| lasts(by.until, until))
        && !entry.is_wanted()
    {
        return Err(EditError::Needless { cidr, by: Box::new(by.clone()) });
    }
    let makes_needless = survey.covered(cidr).into_iter().filter(|small| lasts(until, small.until)).collect();
    let change = Change::Added { line, makes_needless };
    Ok(Edit { covered_by, ..Edit::new(site, text, cidr, group, change, &before, after) })
}

/// Plans the removal of an entry; one that is written more than once is removed everywhere.
///
/// # Errors
/// [`EditError::NotThere`] when the group has no such entry, which names one that covers the address; [`EditError::CannotEdit`]
/// when the list is written in a way that cannot be edited safely; [`EditError::Invalid`] when the outcome would not load.
pub fn remove(config: &Path, group: &str, cidr: Cidr, options: &LoadOptions) -> Result<Edit, EditError> {
    let site = Site::find(config, group, options)?;
    let before = load(config, options);
    let now = options.now();
    let Some(text) = site.without(cidr)? else {
        let covering = before.as_ref().map(|loaded| Survey::new(loaded, group).covering(cidr, now));
        return Err(EditError::NotThere {
            group: group.to_owned(),
            cidr,
            covered_by: covering.unwrap_or_default(),
        });
    };
    let after = judge(config, &site, &text, options)?;
    let covered_by = Survey::new(&after, group).covering(cidr, now);
    let still_admitted = match &before {
        Ok(before) => survey::still_admitted(before, &after, group, cidr, now),
        Err(_) => Vec::new(),
    };
    let lines = site.entries.iter().filter(|item| item.cidr == Some(cidr)).map(|item| item.line).collect();
    let change = Change::Removed { lines, still_admitted };
    Ok(Edit { covered_by, ..Edit::new(site, text, cidr, group, change, &before, after) })
}

/// A planned change of one file.
#[derive(Clone, Debug)]
pub struct Edit {
    file: PathBuf,
    before: String,
    after: String,
    cidr: Cidr,
    group: String,
    change: Change,
    covered_by: Vec<Written>,
    shared_with: Vec<String>,
    warnings: Vec<Problem>,
    reload: Reload,
}

/// The effect of an [`Edit`].
#[derive(Clone, Debug)]
pub enum Change {
    /// An added entry.
    Added {
        /// The line of the new entry.
        line: u32,
        /// Entries of the group that this one makes redundant.
        makes_needless: Vec<Written>,
    },
    /// A removed entry.
    Removed {
        /// The lines of the removed entries: more than one when the entry was written twice.
        lines: Vec<u32>,
        /// Listeners that still admit this address, each with the entry that does.
        still_admitted: Vec<(String, Written)>,
    },
}

impl Edit {
    fn new(
        site: Site,
        after: String,
        cidr: Cidr,
        group: &str,
        change: Change,
        before: &Result<Loaded, Vec<Problem>>,
        outcome: Loaded,
    ) -> Self {
        let Site { file, text, shared_with, .. } = site;
        let (group, reload) = (group.to_owned(), outcome.config.reload());
        let (covered_by, warnings) = (Vec::new(), new_warnings(before, outcome));
        Self { file, before: text, after, cidr, group, change, covered_by, shared_with, warnings, reload }
    }

    /// The file that changes: the main file, or the group's own.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The current text of the file.
    pub fn before(&self) -> &str {
        &self.before
    }

    /// The new text of the file.
    pub fn after(&self) -> &str {
        &self.after
    }

    /// The entry.
    pub fn cidr(&self) -> Cidr {
        self.cidr
    }

    /// Its group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The change and its consequences.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Entries of the group, and of those it includes, that cover all of this one, before (add) or still (remove).
    pub fn covered_by(&self) -> &[Written] {
        &self.covered_by
    }

    /// Other groups that read the same file, and so change too.
    pub fn shared_with(&self) -> &[String] {
        &self.shared_with
    }

    /// Warnings of `check` that are new after the edit.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The way a running proxy learns of the change.
    pub fn reload(&self) -> Reload {
        self.reload
    }

    /// A unified diff, with three lines around each change.
    pub fn diff(&self) -> String {
        let name = self.file.display().to_string();
        let diff = similar::TextDiff::from_lines(&self.before, &self.after);
        diff.unified_diff().context_radius(3).header(&name, &name).to_string()
    }
}

/// Reads the whole configuration with the edited text in its file's place.
fn judge(config: &Path, site: &Site, text: &str, options: &LoadOptions) -> Result<Loaded, EditError> {
    let edited =
        options.clone().with_text(&site.file, text).map_err(|error| EditError::io(&site.file, &error))?;
    load(config, &edited).map_err(EditError::Invalid)
}

/// Warnings of the outcome that the configuration did not have; lines may have moved meanwhile.
fn new_warnings(before: &Result<Loaded, Vec<Problem>>, after: Loaded) -> Vec<Problem> {
    let known = match before {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    let is_new = |problem: &Problem| {
        problem.severity() == Severity::Warning
            && !known.iter().any(|old| old.message() == problem.message() && old.file() == problem.file())
    };
    after.warnings.into_iter().filter(is_new).collect()
}

/// Whether an entry that ends at `end` lasts at least as long as one that ends at `other`.
fn lasts(end: Option<UnixSeconds>, other: Option<UnixSeconds>) -> bool {
    match (end, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(end), Some(other)) => end >= other,
    }
}

#[cfg(test)]
mod tests;
