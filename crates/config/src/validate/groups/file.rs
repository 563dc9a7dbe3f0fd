//! A group's own file: a YAML list, or plain text with addresses and comments, as HAProxy's `-f` lists are.

use std::path::Path;
use std::sync::Arc;

use portcullis_acl::{Cidr, Entry, GroupId, Meta, PolicyBuilder, SourceId};

use super::Groups;
use crate::message::{Masked, message};
use crate::plain;
use crate::problem::Position;
use crate::raw::{self, Value};
use crate::scope::{MAX_TEXT_FILE, MAX_YAML_FILE, Scope};

/// Adds the file's entries; the number of entries it has, `None` when it could not be read.
pub(super) fn read(
    path: &Path,
    mention: &Position,
    group: GroupId,
    groups: &mut Groups<'_>,
    policy: &mut PolicyBuilder,
    scope: &mut Scope,
) -> Option<usize> {
    let yaml = is_yaml(path);
    let most = if yaml { MAX_YAML_FILE } else { MAX_TEXT_FILE };
    let text = scope.read_lines(path, most, mention)?;
    let name = path.display().to_string();
    let source = policy.source(&name).ok()?;
    let file: Arc<str> = name.into();
    let entries = if yaml {
        yaml_list(&text, &file, group, source, groups, policy, scope)?
    } else {
        scope.warn_if_cut(path, &text);
        plain(&text, &file, group, source, policy, scope)?
    };
    scope.set_entries(path, entries);
    Some(entries)
}

/// Whether it holds a YAML list; else it is plain text.
pub(crate) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn yaml_list(
    text: &str,
    file: &Arc<str>,
    group: GroupId,
    source: SourceId,
    groups: &mut Groups<'_>,
    policy: &mut PolicyBuilder,
    scope: &mut Scope,
) -> Option<usize> {
    let tree = raw::parse(text, file, &mut scope.problems)?;
    let items = match &tree.value {
        Value::List(items) => items.as_slice(),
        Value::Null => &[],
        Value::Map(entries) if entries.is_empty() => &[],
        Value::Map(_) | Value::Scalar(_) => {
            let message = message!("a group file must be a list, not {}", tree.kind());
            scope.problems.error(&tree.place, message, "write one entry per line: - 203.0.113.0/24");
            return None;
        }
    };
    for item in items {
        groups.entry(item, group, source, policy, scope);
    }
    Some(items.len())
}

fn plain(
    text: &str,
    file: &Arc<str>,
    group: GroupId,
    source: SourceId,
    policy: &mut PolicyBuilder,
    scope: &mut Scope,
) -> Option<usize> {
    let mut entries = 0;
    for listed in plain::entries(text) {
        entries += 1;
        let written = listed.text;
        let place = || Position { file: Arc::clone(file), line: listed.line, column: listed.column };
        match written.parse::<Cidr>() {
            Ok(cidr) if listed.behind_semicolon => {
                let message = message!("{} stands behind ';', which begins a comment", cidr);
                let hint =
                    "write ',' between addresses, and '#' before a comment that begins with an address";
                scope.problems.error(&place(), message, hint);
            }
            Ok(cidr) => {
                let entry = Entry { cidr, line: listed.line, meta: Meta::default() };
                if let Err(full) = policy.entry(group, source, entry) {
                    super::too_many(full, &place(), scope);
                    return None;
                }
            }
            Err(_) if written.starts_with("- ") => {
                let hint = "name the file of a YAML list *.yaml; in other files write one address per line";
                let message = message!("'- {}' in a plain-text list", Masked::of(&written[2..]));
                scope.problems.error(&place(), message, hint);
            }
            Err(_) if written.starts_with(['{', '[', '"']) => {
                let hint =
                    "write addresses without quotes; for a JSON file, write {file: PATH, select: PATH IN IT}";
                let message = message!("'{}' in a plain-text list", Masked::of(written));
                scope.problems.error(&place(), message, hint);
            }
            Err(error) => {
                super::entry::bad_address(written, &error, &place(), scope);
            }
        }
    }
    Some(entries)
}
