//! `groups add` and `groups remove`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use portcullis_config::edit::{self, Applied, BadEntry, Change, Edit, EditError, Method, NewEntry};
use portcullis_config::{LoadOptions, Reload};
use serde_json::{Value, json};

use super::{Common, fail, json_entry, print, warn};
use crate::cli::check::report;
use crate::cli::{BAD_CONFIG, BAD_USAGE};
use crate::generation::explain::moment;

/// Concurrent edits of one file wait for each other only while it is replaced: the later one retries this often.
const ATTEMPTS: usize = 20;

/// A network that covers half of a long list must not push everything else off the screen; JSON has them all.
const MOST_NAMED: usize = 20;

/// Options of every subcommand that writes a file.
#[derive(clap::Args, Clone, Debug)]
struct Writing {
    /// Print the diff and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write into the file instead of replacing it, even if its directory is not writable and no backup can be kept
    #[arg(long)]
    in_place: bool,
}

/// Add an address or a network at the end of a group's list.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct AddArgs {
    /// The group
    group: String,
    /// An address such as 203.0.113.9, or a network such as 203.0.113.0/24
    cidr: String,
    /// The reason for the entry
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// The time when the entry expires, such as 2026-12-31T18:00:00Z
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    /// The person or team responsible for the entry
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Add the entry even if another entry covers it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    common: Common,
}

/// Remove an address or a network from a group, written as in the group.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct RemoveArgs {
    /// The group
    group: String,
    /// The address or network, as 'groups show' prints it
    cidr: String,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    common: Common,
}

pub(super) fn add(args: &AddArgs) -> ExitCode {
    let entry = match new_entry(args) {
        Ok(entry) => entry,
        Err(error) => return bad(&error, args.common.json),
    };
    change(&args.common, &args.writing, |config, options| edit::add(config, &args.group, &entry, options))
}

pub(super) fn remove(args: &RemoveArgs) -> ExitCode {
    let cidr = match NewEntry::parse(&args.cidr) {
        Ok(entry) => entry.cidr(),
        Err(error) => return bad(&error, args.common.json),
    };
    change(&args.common, &args.writing, |config, options| edit::remove(config, &args.group, cidr, options))
}

fn new_entry(args: &AddArgs) -> Result<NewEntry, BadEntry> {
    let mut entry = NewEntry::parse(&args.cidr)?;
    if let Some(note) = &args.note {
        entry = entry.with_note(note)?;
    }
    if let Some(owner) = &args.owner {
        entry = entry.with_owner(owner)?;
    }
    if let Some(until) = &args.until {
        entry = entry.with_until(until)?;
    }
    Ok(if args.force { entry.even_if_covered() } else { entry })
}

fn change(
    common: &Common,
    writing: &Writing,
    plan: impl Fn(&Path, &LoadOptions) -> Result<Edit, EditError>,
) -> ExitCode {
    let config = match common.path() {
        Ok(config) => config,
        Err(code) => return code,
    };
    // The user of this command need not be allowed to read passwords.
    let options = LoadOptions::new().without_secrets();
    let method = if writing.in_place { Method::InPlace } else { Method::Replace };
    let apply = |edit: Edit| match writing.dry_run {
        true => Ok((edit, None)),
        false => edit.apply(method).map(|applied| (edit, Some(applied))),
    };
    let mut outcome = plan(&config, &options).and_then(apply);
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Err(EditError::Changed { .. })) {
            break;
        }
        outcome = plan(&config, &options).and_then(apply);
    }
    match outcome {
        Ok((edit, applied)) => {
            tell(&edit, applied.as_ref(), common.json);
            ExitCode::SUCCESS
        }
        Err(error) => refused(&error, common.json),
    }
}

/// Prints the change to standard output and its consequences to standard error.
fn tell(edit: &Edit, applied: Option<&Applied>, json: bool) {
    if json {
        print(&format!("{:#}\n", as_json(edit, applied)));
        return;
    }
    let _ = report(&mut io::stderr().lock(), edit.warnings());
    for consequence in consequences(edit, applied) {
        warn(format_args!("{consequence}"));
    }
    print(&match applied {
        None => edit.diff(),
        Some(_) => format!("{}\n{}\n", done(edit), next(edit.reload())),
    });
}

/// The way a running proxy learns of the change, as the configuration says.
fn next(reload: Reload) -> &'static str {
    match reload {
        Reload::Watch => "a running proxy applies this by itself (reload: watch)",
        Reload::Signal => "a running proxy applies this at the next SIGHUP (reload: signal)",
    }
}

fn done(edit: &Edit) -> String {
    let file = edit.file().display();
    match edit.change() {
        Change::Added { line, .. } => format!("added {} to {}, {file}:{line}", edit.cidr(), edit.group()),
        Change::Removed { lines, .. } => {
            let lines: Vec<String> = lines.iter().map(u32::to_string).collect();
            let lines = lines.join(" and ");
            format!("removed {} from {}, was at {file}:{lines}", edit.cidr(), edit.group())
        }
    }
}

fn consequences(edit: &Edit, applied: Option<&Applied>) -> Vec<String> {
    let cidr = edit.cidr();
    let mut told = Vec::new();
    match edit.change() {
        Change::Added { makes_needless, .. } => {
            told.extend(edit.covered_by().iter().map(|by| format!("{cidr} is already covered by {by}")));
            let shown = makes_needless.iter().take(MOST_NAMED);
            told.extend(shown.map(|small| format!("{small} is now redundant: {cidr} covers it")));
            if let Some(more @ 1..) = makes_needless.len().checked_sub(MOST_NAMED) {
                told.push(format!("{more} more entries are now redundant"));
            }
        }
        Change::Removed { still_admitted, .. } => {
            told.extend(edit.covered_by().iter().map(|by| format!("{cidr} is still covered by {by}")));
            told.extend(
                still_admitted
                    .iter()
                    .map(|(name, by)| format!("listener '{name}' still admits {cidr} because of {by}")),
            );
        }
    }
    told.extend(
        edit.shared_with().iter().map(|group| format!("group {group} reads the same file and changes too")),
    );
    if applied.is_some_and(|applied| applied.owner_changed) {
        told.push(format!(
            "{} now belongs to the current user, because its owner could not be kept: check that the proxy can read it",
            edit.file().display()
        ));
    }
    told.extend(applied.filter(|applied| applied.in_place).map(|applied| in_place(edit, applied)));
    told
}

/// The reason why a reader of the file may care that it was not replaced, and the place of the old text.
fn in_place(edit: &Edit, applied: &Applied) -> String {
    let file = edit.file().display();
    match &applied.backup {
        Some(backup) => format!("{file} was written in place; its old text is kept as {}", backup.display()),
        None => format!("{file} was written in place, and its old text is not kept"),
    }
}

fn as_json(edit: &Edit, applied: Option<&Applied>) -> Value {
    let entries = |list: &[edit::Written]| list.iter().map(json_entry).collect::<Vec<_>>();
    let mut value = json!({
        "ok": true,
        "dry_run": applied.is_none(),
        "group": edit.group(),
        "entry": edit.cidr().to_string(),
        "file": edit.file().display().to_string(),
        "diff": edit.diff(),
        "covered_by": entries(edit.covered_by()),
        "shared_with": edit.shared_with(),
        "warnings": edit.warnings(),
        "owner_changed": applied.is_some_and(|applied| applied.owner_changed),
        "in_place": applied.is_some_and(|applied| applied.in_place),
        "backup": applied.and_then(|applied| applied.backup.as_ref()),
    });
    match edit.change() {
        Change::Added { line, makes_needless } => {
            value["line"] = (*line).into();
            value["makes_needless"] = entries(makes_needless).into();
        }
        Change::Removed { lines, still_admitted } => {
            value["lines"] = lines.clone().into();
            let still =
                still_admitted.iter().map(|(name, by)| json!({"listener": name, "by": json_entry(by)}));
            value["still_admitted"] = still.collect();
        }
    }
    value
}

/// A bad word on the command line.
fn bad(error: &BadEntry, json: bool) -> ExitCode {
    let hint = error.hint();
    if json {
        let error = json!({"kind": "bad_entry", "message": error.to_string(), "hint": hint});
        print(&format!("{:#}\n", json!({"ok": false, "error": error})));
    } else {
        fail(&error.to_string(), Some(&hint));
    }
    ExitCode::from(BAD_USAGE)
}

fn refused(error: &EditError, json: bool) -> ExitCode {
    if json {
        print(&format!("{:#}\n", json!({"ok": false, "error": json_error(error)})));
    } else if let EditError::Invalid(problems) = error {
        let _ = report(&mut io::stderr().lock(), problems);
        fail("nothing was written", None);
    } else {
        fail(&text_of(error), error.hint().as_deref());
    }
    match error {
        EditError::Invalid(_) => ExitCode::from(BAD_CONFIG),
        EditError::UnknownGroup { .. } | EditError::BuiltIn => ExitCode::from(BAD_USAGE),
        _ => ExitCode::FAILURE,
    }
}

/// The error as the command line prints it: there, an option forces the change.
fn text_of(error: &EditError) -> String {
    match error {
        EditError::Needless { .. } => format!("{error} (use --force to add it anyway)"),
        EditError::ReadOnlyDirectory { .. } => format!("{error}; use --in-place to write into the file"),
        EditError::Duplicate { existing, .. } => {
            let until = existing.until.map(|until| format!(", until {}", moment(until))).unwrap_or_default();
            let note = existing.note.as_ref().map(|note| format!(", note: {}", note.escape_debug()));
            format!("{error}{}{until}", note.unwrap_or_default())
        }
        _ => error.to_string(),
    }
}

fn json_error(error: &EditError) -> Value {
    let mut value = json!({"kind": error.kind(), "message": error.to_string(), "hint": error.hint()});
    match error {
        EditError::Duplicate { existing, .. } => value["existing"] = json_entry(existing),
        EditError::Needless { by, .. } => value["covered_by"] = vec![json_entry(by)].into(),
        EditError::NotThere { covered_by, .. } => {
            value["covered_by"] = covered_by.iter().map(json_entry).collect();
        }
        EditError::Invalid(problems) => value["problems"] = json!(problems),
        _ => {}
    }
    value
}
