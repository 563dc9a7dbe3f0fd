//! Edits groups in their files; comments, order and quoting stay.
//!
//! [`add`], [`remove`], [`create`] and [`delete`] plan an [`Edit`] and write nothing. The edited text has been read and
//! judged as a whole by then, in place of the file's, so that what [`Edit::apply`] writes is a configuration that loads.

mod apply;
mod entry;
mod error;
mod flow;
mod group;
mod in_place;
mod item;
mod names;
mod site;
mod survey;
mod until;
mod yaml;

use std::path::{Path, PathBuf};

use portcullis_acl::{Cidr, UnixSeconds};

use self::site::Site;
use self::survey::Survey;
use super::{LoadOptions, Loaded, Problem, Reload, Severity, load};

pub use apply::{Applied, Method};
pub use entry::{BadEntry, Details, NewEntry, parse_time};
pub use error::EditError;
pub use group::{create, delete};
pub use survey::Written;
pub use until::End;

/// Plans entries of a group: those that it has get the given details, the others are added.
///
/// # Errors
/// For any of the entries: [`EditError::Duplicate`] when the group has it and no detail is given;
/// [`EditError::Needless`] when another one admits all of it for as long, and the new one has no note, owner or end.
/// The others as for [`remove`].
pub fn add(
    config: &Path,
    group: &str,
    entries: &[NewEntry],
    options: &LoadOptions,
) -> Result<Edit, EditError> {
    let site = Site::find(config, group, options)?;
    let before = load(config, options);
    let now = options.now();
    let plan = Plan::of(&site, entries, |cidr, line| {
        let known = before.as_ref().ok().and_then(|loaded| Survey::new(loaded, group).own(cidr));
        let existing = known.unwrap_or_else(|| Written::plain(cidr, group, &site.file, line));
        EditError::Duplicate { existing: Box::new(existing), now }
    })?;
    let (text, items) = site.with(&plan.changed, &plan.added)?;
    let after = judge(config, &site.file, &text, options)?;
    let survey = Survey::new(before.as_ref().unwrap_or(&after), group);
    let line = |at: usize| items.get(at).map_or(1, |item| item.line);
    let mut changes = Vec::new();
    for (number, entry) in plan.added.iter().enumerate() {
        changes.push(added(entry, line(site.entries.len() + number), &site, &survey, now)?);
    }
    for (entry, at) in &plan.known {
        let (cidr, lines) = (entry.cidr(), at.iter().map(|at| line(*at)).collect());
        let is_changed = plan.changed.iter().any(|(index, _)| at.contains(index));
        changes.push(match is_changed {
            true => {
                // A wider entry goes on when this one ends.
                let covered_by = entry.until().map(|_| survey.covering(cidr, now)).unwrap_or_default();
                let covered_by = covered_by.into_iter().filter(|by| by.entry != cidr).collect();
                Change::Changed { cidr, lines, until: entry.until().cloned(), covered_by }
            }
            false => Change::Unchanged { cidr, lines },
        });
    }
    Ok(Edit::new(site, text, group, changes, &before, after))
}

/// The part of a request that changes entries, and the part that adds some.
struct Plan<'e> {
    added: Vec<&'e NewEntry>,
    /// Entries that the list has, each with its places there.
    known: Vec<(&'e NewEntry, Vec<usize>)>,
    /// Places of entries whose details differ.
    changed: Vec<(usize, &'e NewEntry)>,
}

impl<'e> Plan<'e> {
    fn of(
        site: &Site,
        entries: &'e [NewEntry],
        duplicate: impl Fn(Cidr, u32) -> EditError,
    ) -> Result<Self, EditError> {
        let mut plan = Self { added: Vec::new(), known: Vec::new(), changed: Vec::new() };
        for (number, entry) in entries.iter().enumerate() {
            // The same address twice in one request means the same.
            if entries[..number].iter().any(|other| other.cidr() == entry.cidr()) {
                continue;
            }
            let at = site.written(entry.cidr());
            if at.is_empty() {
                plan.added.push(entry);
                continue;
            }
            if !entry.has_details() {
                return Err(duplicate(entry.cidr(), site.entries[at[0]].line));
            }
            plan.changed.extend(at.iter().filter(|at| !site.has(**at, entry)).map(|at| (*at, entry)));
            plan.known.push((entry, at));
        }
        Ok(plan)
    }
}

/// Describes an added entry, unless another one makes it needless.
fn added(
    entry: &NewEntry,
    line: u32,
    site: &Site,
    survey: &Survey<'_>,
    now: UnixSeconds,
) -> Result<Change, EditError> {
    let cidr = entry.cidr();
    let covered_by = survey.covering(cidr, now);
    let until = entry.until().map(End::at).or(site.until);
    if let Some(by) = covered_by.iter().find(|by| lasts(by.until, until))
        && !entry.is_wanted()
    {
        return Err(EditError::Needless { cidr, by: Box::new(by.clone()) });
    }
    let makes_needless = survey.covered(cidr).into_iter().filter(|small| lasts(until, small.until)).collect();
    Ok(Change::Added { cidr, line, until: entry.until().cloned(), covered_by, makes_needless })
}

/// Plans the removal of entries; one that is written more than once is removed everywhere.
///
/// # Errors
/// [`EditError::NotThere`] when the group has no such entry, which names one that covers the address; [`EditError::CannotEdit`]
/// when the list is written in a way that cannot be edited safely; [`EditError::Invalid`] when the outcome would not load.
pub fn remove(config: &Path, group: &str, cidrs: &[Cidr], options: &LoadOptions) -> Result<Edit, EditError> {
    let site = Site::find(config, group, options)?;
    let before = load(config, options);
    let now = options.now();
    let mut gone: Vec<(Cidr, Vec<usize>)> = Vec::new();
    for cidr in cidrs {
        let at = site.written(*cidr);
        if at.is_empty() {
            let covering = before.as_ref().map(|loaded| Survey::new(loaded, group).covering(*cidr, now));
            let (group, covered_by) = (group.to_owned(), covering.unwrap_or_default());
            return Err(EditError::NotThere { group, cidr: *cidr, covered_by });
        }
        if gone.iter().all(|(known, _)| known != cidr) {
            gone.push((*cidr, at));
        }
    }
    let mut all: Vec<usize> = gone.iter().flat_map(|(_, at)| at).copied().collect();
    all.sort_unstable();
    let text = site.without(&all)?;
    let after = judge(config, &site.file, &text, options)?;
    let survey = Survey::new(&after, group);
    let changes = gone
        .into_iter()
        .map(|(cidr, at)| Change::Removed {
            cidr,
            lines: at.iter().map(|at| site.entries[*at].line).collect(),
            covered_by: survey.covering(cidr, now),
            still_admitted: match &before {
                Ok(before) => survey::still_admitted(before, &after, group, cidr, now),
                Err(_) => Vec::new(),
            },
        })
        .collect();
    Ok(Edit::new(site, text, group, changes, &before, after))
}

/// A planned change of one file.
#[derive(Clone, Debug)]
pub struct Edit {
    file: PathBuf,
    before: String,
    after: String,
    group: String,
    changes: Vec<Change>,
    shared_with: Vec<String>,
    warnings: Vec<Problem>,
    reload: Reload,
}

/// The effect of an [`Edit`] on one entry, or on a group.
#[derive(Clone, Debug)]
pub enum Change {
    /// An added entry.
    Added {
        /// The network.
        cidr: Cidr,
        /// The line of the new entry.
        line: u32,
        /// The end that was given.
        until: Option<End>,
        /// Entries of the group, and of those it includes, that cover all of it.
        covered_by: Vec<Written>,
        /// Entries of the group that this one makes redundant.
        makes_needless: Vec<Written>,
    },
    /// An entry with another note, owner or end.
    Changed {
        /// The network.
        cidr: Cidr,
        /// Its lines: more than one when the entry was written twice.
        lines: Vec<u32>,
        /// The end that was given.
        until: Option<End>,
        /// With an end, other entries that cover all of it and may last longer.
        covered_by: Vec<Written>,
    },
    /// An entry that had the given details before.
    Unchanged {
        /// The network.
        cidr: Cidr,
        /// Its lines.
        lines: Vec<u32>,
    },
    /// A removed entry.
    Removed {
        /// The network.
        cidr: Cidr,
        /// The lines of the removed entries.
        lines: Vec<u32>,
        /// Entries that still cover all of it.
        covered_by: Vec<Written>,
        /// Listeners that still admit this address, each with the entry that does.
        still_admitted: Vec<(String, Written)>,
    },
    /// A new group.
    Created {
        /// Its line.
        line: u32,
    },
    /// A group that is gone.
    Deleted {
        /// Its line.
        line: u32,
        /// The file of its entries, which stays.
        list: Option<PathBuf>,
    },
}

impl Edit {
    fn new(
        site: Site,
        after: String,
        group: &str,
        changes: Vec<Change>,
        before: &Result<Loaded, Vec<Problem>>,
        outcome: Loaded,
    ) -> Self {
        let Site { file, text, shared_with, .. } = site;
        let (group, reload) = (group.to_owned(), outcome.config.reload());
        let warnings = new_warnings(before, outcome);
        Self { file, before: text, after, group, changes, shared_with, warnings, reload }
    }

    /// An edit of the main file that concerns a whole group.
    fn of_main(
        file: &Path,
        (before, after): (String, String),
        group: &str,
        change: Change,
        known: &Result<Loaded, Vec<Problem>>,
        outcome: Loaded,
    ) -> Self {
        let (file, group, reload) = (file.to_path_buf(), group.to_owned(), outcome.config.reload());
        let (changes, shared_with) = (vec![change], Vec::new());
        Self {
            file,
            before,
            after,
            group,
            changes,
            shared_with,
            warnings: new_warnings(known, outcome),
            reload,
        }
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

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The changes and their consequences, one for each entry.
    pub fn changes(&self) -> &[Change] {
        &self.changes
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
fn judge(config: &Path, file: &Path, text: &str, options: &LoadOptions) -> Result<Loaded, EditError> {
    let edited = options.clone().with_text(file, text).map_err(|error| EditError::io(file, &error))?;
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
