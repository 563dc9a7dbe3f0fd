//! The reports of an edit: its effect, its consequences, and the reasons of a refusal.

use portcullis_acl::Cidr;
use portcullis_config::edit::{Applied, Change, Edit, EditError, End, Written};
use serde_json::{Value, json};

use super::json_entry;
use crate::generation::explain::moment;

/// A network that covers half of a long list must not push everything else off the screen; JSON has them all.
const MOST_NAMED: usize = 20;

/// Returns one line for each change.
pub(super) fn done(edit: &Edit) -> String {
    let (group, file) = (edit.group(), edit.file().display());
    let line = |change: &Change| match change {
        Change::Added { cidr, line, until, .. } => {
            format!("added {cidr} to {group}, {file}:{line}{}\n", ending(until.as_ref()))
        }
        Change::Changed { cidr, lines, until, .. } => {
            let lines = joined(lines);
            format!("changed {cidr} in {group}, {file}:{lines}{}\n", ending(until.as_ref()))
        }
        Change::Unchanged { cidr, lines } => {
            format!("{cidr} in {group} is unchanged, {file}:{}\n", joined(lines))
        }
        Change::Removed { cidr, lines, .. } => {
            format!("removed {cidr} from {group}, was at {file}:{}\n", joined(lines))
        }
        Change::Created { line } => format!("created group {group}, {file}:{line}\n"),
        Change::Deleted { line, list } => {
            let list = list.as_ref().map(|list| format!("; {} stays", list.display())).unwrap_or_default();
            format!("deleted group {group}, was at {file}:{line}{list}\n")
        }
    };
    edit.changes().iter().map(line).collect()
}

fn ending(until: Option<&End>) -> String {
    until.map(|until| format!(", until {until}")).unwrap_or_default()
}

fn joined(lines: &[u32]) -> String {
    lines.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ")
}

/// Returns the consequences that an operator may not expect.
pub(super) fn consequences(edit: &Edit, applied: Option<&Applied>) -> Vec<String> {
    let mut told: Vec<String> = edit.changes().iter().flat_map(consequences_of).collect();
    told.extend(
        edit.shared_with().iter().map(|group| format!("group {group} reads the same file and changes too")),
    );
    let Some(applied) = applied else { return told };
    if applied.owner_changed {
        told.push(format!(
            "{} now belongs to the current user, because its owner could not be kept: check that the proxy can read it",
            edit.file().display()
        ));
    }
    if applied.in_place {
        let file = edit.file().display();
        told.push(match &applied.backup {
            Some(backup) => {
                format!("{file} was written in place; its old text is kept as {}", backup.display())
            }
            None => format!("{file} was written in place, and its old text is not kept"),
        });
    }
    told
}

fn consequences_of(change: &Change) -> Vec<String> {
    match change {
        Change::Added { cidr, covered_by, makes_needless, .. } => {
            let mut told: Vec<String> = already(*cidr, covered_by).collect();
            let shown = makes_needless.iter().take(MOST_NAMED);
            told.extend(shown.map(|small| format!("{small} is now redundant: {cidr} covers it")));
            if let Some(more @ 1..) = makes_needless.len().checked_sub(MOST_NAMED) {
                told.push(format!("{more} more entries are now redundant"));
            }
            told
        }
        Change::Changed { cidr, covered_by, .. } => already(*cidr, covered_by).collect(),
        Change::Removed { cidr, covered_by, still_admitted, .. } => {
            let covered = covered_by.iter().map(|by| format!("{cidr} is still covered by {by}"));
            let admitted = still_admitted
                .iter()
                .map(|(name, by)| format!("listener '{name}' still admits {cidr} because of {by}"));
            covered.chain(admitted).collect()
        }
        Change::Unchanged { .. } | Change::Created { .. } | Change::Deleted { .. } => Vec::new(),
    }
}

fn already(cidr: Cidr, covered_by: &[Written]) -> impl Iterator<Item = String> {
    covered_by.iter().map(move |by| format!("{cidr} is already covered by {by}"))
}

/// Returns the edit as JSON. The keys of the first change stand at the top too, for scripts that edit one entry.
pub(super) fn as_json(edit: &Edit, applied: Option<&Applied>) -> Value {
    let changes: Vec<Value> = edit.changes().iter().map(json_change).collect();
    let mut value = changes.first().cloned().unwrap_or_else(|| json!({}));
    value["ok"] = true.into();
    value["dry_run"] = applied.is_none().into();
    value["group"] = edit.group().into();
    value["file"] = edit.file().display().to_string().into();
    value["diff"] = edit.diff().into();
    value["changes"] = changes.into();
    value["shared_with"] = edit.shared_with().into();
    value["warnings"] = json!(edit.warnings());
    value["owner_changed"] = applied.is_some_and(|applied| applied.owner_changed).into();
    value["in_place"] = applied.is_some_and(|applied| applied.in_place).into();
    value["backup"] = json!(applied.and_then(|applied| applied.backup.as_ref()));
    value
}

fn json_change(change: &Change) -> Value {
    let entries = |list: &[Written]| list.iter().map(json_entry).collect::<Vec<_>>();
    let until = |until: &Option<End>| until.as_ref().map(|until| moment(until.at()));
    match change {
        Change::Added { cidr, line, until: end, covered_by, makes_needless } => json!({
            "change": "added", "entry": cidr.to_string(), "line": line, "until": until(end),
            "covered_by": entries(covered_by), "makes_needless": entries(makes_needless),
        }),
        Change::Changed { cidr, lines, until: end, covered_by } => json!({
            "change": "changed", "entry": cidr.to_string(), "lines": lines, "until": until(end),
            "covered_by": entries(covered_by),
        }),
        Change::Unchanged { cidr, lines } => {
            json!({"change": "unchanged", "entry": cidr.to_string(), "lines": lines, "covered_by": []})
        }
        Change::Removed { cidr, lines, covered_by, still_admitted } => {
            let still =
                still_admitted.iter().map(|(name, by)| json!({"listener": name, "by": json_entry(by)}));
            json!({
                "change": "removed", "entry": cidr.to_string(), "lines": lines,
                "covered_by": entries(covered_by), "still_admitted": still.collect::<Vec<_>>(),
            })
        }
        Change::Created { line } => json!({"change": "created", "line": line}),
        Change::Deleted { line, list } => json!({"change": "deleted", "line": line, "list": list}),
    }
}

/// Returns the error as the command line prints it: there, an option forces the change.
pub(super) fn text_of(error: &EditError) -> String {
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

/// Returns the error as JSON, with what its kind knows.
pub(super) fn json_error(error: &EditError) -> Value {
    let mut value = json!({"kind": error.kind(), "message": error.to_string(), "hint": error.hint()});
    match error {
        EditError::Duplicate { existing, .. } => value["existing"] = json_entry(existing),
        EditError::Needless { by, .. } => value["covered_by"] = vec![json_entry(by)].into(),
        EditError::NotThere { covered_by, .. } => {
            value["covered_by"] = covered_by.iter().map(json_entry).collect();
        }
        EditError::InUse { uses, .. } => value["uses"] = json!(uses),
        EditError::Invalid(problems) => value["problems"] = json!(problems),
        _ => {}
    }
    value
}
