//! `groups add`, `remove`, `create` and `delete`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use portcullis_config::edit::{self, Applied, BadEntry, Details, Edit, EditError, Method, NewEntry};
use portcullis_config::{LoadOptions, Reload};
use serde_json::{Value, json};

use super::audited::What;
use super::report::{as_json, consequences, done, json_error, text_of};
use super::{Common, fail, print, warn};
use crate::cli::check::report;
use crate::cli::{BAD_CONFIG, BAD_USAGE, shell_word};
use crate::clock::wall_clock;

/// Concurrent edits of one file wait for each other only while it is replaced: the later one retries this often.
const ATTEMPTS: usize = 20;

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

/// Add addresses or networks at the end of a group's list, or change the note, owner or end of those that it has.
///
/// All of them are written, or none.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct AddArgs {
    /// The group
    group: String,
    /// An address such as 203.0.113.9, or a network such as 203.0.113.0/24; several are allowed
    #[arg(required = true)]
    cidr: Vec<String>,
    /// The reason for the entry; "" clears it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// The expiry: 8h or 2d from now, 2026-12-31 (the end of that day here), 2026-12-31T18:00:00Z, or never
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// The person or team responsible for the entry; "" clears it
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

/// Remove addresses or networks from a group, written as in the group. All of them are removed, or none.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct RemoveArgs {
    /// The group
    group: String,
    /// An address or network, as 'groups show' prints it; several are allowed
    #[arg(required = true)]
    cidr: Vec<String>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    common: Common,
}

/// Create a group without entries. Name it in a list of a listener or a user to use it.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct CreateArgs {
    /// The name: lower-case letters, digits, '_' and '-', starting with a letter
    group: String,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    common: Common,
}

/// Delete a group and its entries. A group that a listener, a user or another group uses is not deleted.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct DeleteArgs {
    /// The group
    group: String,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    common: Common,
}

pub(super) fn add(args: &AddArgs) -> ExitCode {
    let entries = match new_entries(args) {
        Ok(entries) => entries,
        Err(error) => return bad(&error, ("add", &args.group), args.common.json),
    };
    let what = What { action: "groups add", group: &args.group, entries: &args.cidr };
    change(what, &args.common, &args.writing, |config, options| {
        edit::add(config, &args.group, &entries, options)
    })
}

pub(super) fn remove(args: &RemoveArgs) -> ExitCode {
    let cidrs = args.cidr.iter().map(|text| NewEntry::parse(text).map(|entry| entry.cidr()));
    let cidrs: Vec<_> = match cidrs.collect() {
        Ok(cidrs) => cidrs,
        Err(error) => return bad(&error, ("remove", &args.group), args.common.json),
    };
    let what = What { action: "groups remove", group: &args.group, entries: &args.cidr };
    change(what, &args.common, &args.writing, |config, options| {
        edit::remove(config, &args.group, &cidrs, options)
    })
}

pub(super) fn create(args: &CreateArgs) -> ExitCode {
    let what = What { action: "groups create", group: &args.group, entries: &[] };
    change(what, &args.common, &args.writing, |config, options| edit::create(config, &args.group, options))
}

pub(super) fn delete(args: &DeleteArgs) -> ExitCode {
    let what = What { action: "groups delete", group: &args.group, entries: &[] };
    change(what, &args.common, &args.writing, |config, options| edit::delete(config, &args.group, options))
}

fn new_entries(args: &AddArgs) -> Result<Vec<NewEntry>, BadEntry> {
    let now = wall_clock();
    let (note, owner, until) = (args.note.as_deref(), args.owner.as_deref(), args.until.as_deref());
    let details = Details { note, owner, until };
    let entry = |text: &String| {
        let entry = NewEntry::parse(text)?.with(&details, now)?;
        Ok(if args.force { entry.even_if_covered() } else { entry })
    };
    args.cidr.iter().map(entry).collect()
}

fn change(
    what: What<'_>,
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
            if applied.is_some() && edit.before() != edit.after() {
                what.report(&config);
            }
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
        Some(_) if edit.before() == edit.after() => done(edit),
        Some(_) => format!("{}{}\n", done(edit), next(edit.reload())),
    });
}

/// The way a running proxy learns of the change, as the configuration says.
fn next(reload: Reload) -> &'static str {
    match reload {
        Reload::Watch => "a running proxy applies this by itself (reload: watch)",
        Reload::Signal => "a running proxy applies this at the next SIGHUP (reload: signal)",
    }
}

/// A bad word on the command line of this subcommand, which was given this group.
fn bad(error: &BadEntry, (subcommand, group): (&str, &str), json: bool) -> ExitCode {
    let hint = match error {
        BadEntry::Address { text, .. } if NewEntry::parse(group).is_ok() => {
            format!("the group comes first: portcullis groups {subcommand} {} {group}", shell_word(text))
        }
        _ => error.hint(),
    };
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
        let answer: Value = json!({"ok": false, "error": json_error(error)});
        print(&format!("{answer:#}\n"));
    } else if let EditError::Invalid(problems) = error {
        let _ = report(&mut io::stderr().lock(), problems);
        fail("nothing was written", None);
    } else {
        fail(&text_of(error), error.hint().as_deref());
    }
    match error {
        EditError::Invalid(_) => ExitCode::from(BAD_CONFIG),
        EditError::UnknownGroup { .. } | EditError::BuiltIn | EditError::BadName { .. } => {
            ExitCode::from(BAD_USAGE)
        }
        _ => ExitCode::FAILURE,
    }
}
