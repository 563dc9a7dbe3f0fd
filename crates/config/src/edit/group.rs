//! New groups, and groups that go.

use std::path::Path;
use std::sync::Arc;

use portcullis_acl::policy::UNIX_GROUP;

use super::site::{MainFile, alike_but_group, get, named, place_of, scalar};
use super::{Change, Edit, EditError, judge, names};
use crate::problem::{Position, Problems};
use crate::raw::{self, Node, Value};
use crate::value;
use crate::{LoadOptions, Loaded, load};

/// Plans a new group without entries, at the end of `groups`.
///
/// # Errors
/// [`EditError::BadName`]; [`EditError::Exists`]; [`EditError::BuiltIn`]; [`EditError::CannotEdit`] when `groups` is
/// written in a way that cannot be edited safely; [`EditError::Invalid`] when the outcome would not load.
pub fn create(config: &Path, group: &str, options: &LoadOptions) -> Result<Edit, EditError> {
    if group == UNIX_GROUP {
        return Err(EditError::BuiltIn);
    }
    if let Some((_, hint)) = value::bad_name("group", group) {
        return Err(EditError::BadName { group: group.to_owned(), hint: hint.into_string() });
    }
    let main = MainFile::read(config, options)?;
    if let Some(place) = place_of(&main.tree, group) {
        let (group, file) = (group.to_owned(), config.to_path_buf());
        return Err(EditError::Exists { group, file, line: place.line });
    }
    let text =
        names::create(&main.text, group).map_err(|stuck| EditError::stuck(config, &main.text, stuck))?;
    let edited = reread(&main, config, &text, group)?;
    let line = place_of(&edited, group).map_or(1, |place| place.line);
    finish(config, main, text, group, Change::Created { line }, options)
}

/// Plans the removal of a group that nothing uses. A list file of its own stays.
///
/// # Errors
/// [`EditError::UnknownGroup`]; [`EditError::InUse`], which names the places; the others as for [`create`].
pub fn delete(config: &Path, group: &str, options: &LoadOptions) -> Result<Edit, EditError> {
    if group == UNIX_GROUP {
        return Err(EditError::BuiltIn);
    }
    let main = MainFile::read(config, options)?;
    let Some(place) = place_of(&main.tree, group) else { return Err(main.unknown(group)) };
    let uses = uses(&main.tree, group, load(config, options).ok().as_ref());
    if !uses.is_empty() {
        return Err(EditError::InUse { group: group.to_owned(), uses });
    }
    let line = place.line;
    let node = get(&main.tree, "groups").and_then(|groups| get(groups, group));
    let list = node.and_then(|node| scalar(node, "file")).map(|file| main.base.join(file));
    let text =
        names::delete(&main.text, group).map_err(|stuck| EditError::stuck(config, &main.text, stuck))?;
    reread(&main, config, &text, group)?;
    finish(config, main, text, group, Change::Deleted { line, list }, options)
}

fn finish(
    config: &Path,
    main: MainFile,
    text: String,
    group: &str,
    change: Change,
    options: &LoadOptions,
) -> Result<Edit, EditError> {
    let before = load(config, options);
    let after = judge(config, config, &text, options)?;
    Ok(Edit::of_main(config, (main.text, text), group, change, &before, after))
}

/// Reads the edited text. Apart from that group it must mean the same.
fn reread(main: &MainFile, config: &Path, text: &str, group: &str) -> Result<Node, EditError> {
    let name: Arc<str> = config.display().to_string().into();
    let edited = raw::parse(text, &name, &mut Problems::default());
    let edited = edited.filter(|edited| alike_but_group(&main.tree, edited, group));
    edited.ok_or_else(|| {
        let line = get(&main.tree, "groups").map_or(1, |groups| groups.place.line);
        let why = "the groups are written in a form that cannot be edited";
        EditError::CannotEdit { file: config.to_path_buf(), line, why }
    })
}

/// The places that name a group: listeners, users and other groups.
fn uses(tree: &Node, group: &str, loaded: Option<&Loaded>) -> Vec<String> {
    let mut uses = Vec::new();
    if let Some(defaults) = get(tree, "listener_defaults") {
        lists(defaults, group, "listener_defaults", &mut uses);
    }
    if let Some(listeners) = get(tree, "listeners") {
        for listener in value::list(listeners) {
            let owner = format!("listener '{}'", scalar(listener, "name").unwrap_or_default().escape_debug());
            lists(listener, group, &owner, &mut uses);
        }
    }
    for (name, user) in named(get(tree, "users")) {
        let owner = format!("user '{}'", name.escape_debug());
        note(get(user, "from"), group, &owner, "from", &mut uses);
    }
    for (name, other) in named(get(tree, "groups")) {
        let entries = if matches!(other.value, Value::Map(_)) { get(other, "entries") } else { Some(other) };
        note(entries, group, &format!("group '{}'", name.escape_debug()), "entries", &mut uses);
    }
    // Includes in files of their own.
    for other in loaded.into_iter().flat_map(|loaded| loaded.config.policy().groups()) {
        let owner = format!("group '{}'", other.name());
        if other.includes().any(|name| name == group) && !uses.iter().any(|known| known.starts_with(&owner)) {
            uses.push(format!("{owner} (an entry of its file)"));
        }
    }
    uses
}

/// Notes the lists of a listener that name the group.
fn lists(listener: &Node, group: &str, owner: &str, uses: &mut Vec<String>) {
    let shadow = |key| get(listener, "shadow").and_then(|shadow| get(shadow, key));
    let senders = get(listener, "proxy_protocol").and_then(|proxy_protocol| get(proxy_protocol, "from"));
    let all = [
        (get(listener, "allow"), "allow"),
        (get(listener, "deny"), "deny"),
        (shadow("allow"), "shadow allow"),
        (shadow("deny"), "shadow deny"),
        (senders, "proxy_protocol from"),
    ];
    for (list, word) in all {
        note(list, group, owner, word, uses);
    }
}

fn note(list: Option<&Node>, group: &str, owner: &str, word: &str, uses: &mut Vec<String>) {
    let items = list.map(value::list).unwrap_or_default();
    let named = items.iter().find(|item| match &item.value {
        Value::Scalar(text) => text == group,
        _ => scalar(item, "group") == Some(group),
    });
    if let Some(item) = named {
        let Position { file, line, .. } = &item.place;
        uses.push(format!("{owner} ({word}), {file}:{line}"));
    }
}
