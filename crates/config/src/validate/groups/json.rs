//! A group's entries out of a JSON file of another program: `{file: x.json, select: "prefixes[].ip_prefix"}`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use portcullis_acl::{Cidr, Entry, GroupId, Meta, PolicyBuilder, SourceId, TooMany};

use crate::message::{Harmless, Masked, Message, message};
use crate::problem::Position;
use crate::raw::Node;
use crate::scope::{MAX_TEXT_FILE, Scope};
use crate::select::{Fault, Places, Select, Wanted, addresses, each};
use crate::value;

/// Paths of one group. Providers have a list for each family, and some one for each service.
const MOST_PATHS: usize = 16;

/// Whether the name says that a file is JSON.
pub(super) fn is_json(path: &Path) -> bool {
    let known = ["json", "ndjson", "jsonl"];
    path.extension().is_some_and(|extension| known.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Reads the paths of `select`; `None` when one is wrong.
pub(super) fn selects<'n>(node: &'n Node, scope: &mut Scope) -> Option<Vec<(&'n Position, Select)>> {
    let items = value::list(node);
    if items.is_empty() || items.len() > MOST_PATHS {
        let message = message!("select must have 1 to {} paths", MOST_PATHS);
        scope.problems.error(&node.place, message, FORM);
        return None;
    }
    let paths: Vec<_> = items.iter().map(|item| Some((&item.place, select(item, scope)?))).collect();
    paths.into_iter().collect()
}

const FORM: &str =
    "write keys with '.' between them and '[]' behind a list, such as \"prefixes[].ip_prefix\"";

fn select(node: &Node, scope: &mut Scope) -> Option<Select> {
    let text = value::text(node, "select", &mut scope.problems)?;
    let select = Select::parse(text);
    if select.is_none() {
        let hint = match Select::lenient(text) {
            Some(meant) => message!("write \"{}\"", Masked::known(meant.text())),
            None => FORM.into(),
        };
        let message = message!("'{}' is not a path into JSON", Masked::of(text));
        scope.problems.error(&node.place, message, hint);
    }
    select
}

/// Says that the paths are missing, and which ones lead to addresses.
pub(super) fn report_missing(path: &Path, mention: &Position, scope: &mut Scope) {
    let Some(text) = scope.read_uncut(path, MAX_TEXT_FILE, mention) else { return };
    let message =
        message!("{} is JSON, and 'select' does not say where its addresses are", Masked::path(path));
    scope.problems.error(mention, message, paths(&text));
}

/// Adds the strings at each path as entries of the group.
pub(super) fn read(
    path: &Path,
    mention: &Position,
    selects: &[(&Position, Select)],
    (group, allow_empty): (GroupId, bool),
    policy: &mut PolicyBuilder,
    scope: &mut Scope,
) {
    // JSON has no lines and no comments: the end of a line hides nothing.
    let Some(text) = scope.read_uncut(path, MAX_TEXT_FILE, mention) else { return };
    let name = path.display().to_string();
    let Ok(source) = policy.source(&name) else { return };
    let file: Arc<str> = name.into();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut reader = Reader { text, file, group, source, read: 0, failed: false };
    for (place, select) in selects {
        reader.path(place, select, policy, scope);
    }
    scope.set_entries(path, reader.read);
    if reader.read == 0 && !reader.failed && !allow_empty {
        let message = message!("no address is selected from {}", Masked::path(path));
        scope.problems.error(mention, message, "if this is intended, add allow_empty: true");
    }
}

struct Reader<'t> {
    text: &'t str,
    file: Arc<str>,
    group: GroupId,
    source: SourceId,
    /// Strings that were read, valid or not.
    read: usize,
    failed: bool,
}

impl Reader<'_> {
    fn path(&mut self, place: &Position, select: &Select, policy: &mut PolicyBuilder, scope: &mut Scope) {
        let mut places = Places::new(self.text, &self.file);
        let (group, source) = (self.group, self.source);
        let mut full: Option<TooMany> = None;
        let read = &mut self.read;
        let result = each(self.text, select, &mut |selected| {
            *read += 1;
            let place = places.of(selected.at);
            match selected.text.parse::<Cidr>() {
                Ok(cidr) => {
                    let entry = Entry { cidr, line: place.line, meta: Meta::default() };
                    full = policy.entry(group, source, entry).err();
                }
                Err(error) => super::entry::bad_address(&selected.text, &error, &place, scope),
            }
            full.is_none()
        });
        if let Some(full) = full {
            super::too_many(full, place, scope);
        }
        match result {
            Ok(summary) => {
                if let Some(skipped) = summary.skipped {
                    let message = message!(
                        "{} of {} objects have no '{}' and are skipped",
                        skipped.without,
                        skipped.all,
                        Masked::known(&skipped.key)
                    );
                    scope.problems.remark(&places.of(skipped.at), message);
                }
            }
            Err(fault) => {
                self.failed = true;
                self.fault(&fault, place, select, scope);
            }
        }
    }

    fn fault(&self, fault: &Fault, place: &Position, select: &Select, scope: &mut Scope) {
        let mut places = Places::new(self.text, &self.file);
        let path = Masked::known(select.text());
        let (at, message) = match fault {
            Fault::Syntax { from, error } => {
                let message = message!("not JSON: {}", Syntax(error));
                let hint = "write the file again; rename a complete file over it";
                return scope.problems.error(&places.of_error(*from, error), message, hint);
            }
            Fault::Twice { at, key } => {
                let message = message!("an object has the key '{}' twice", Masked::known(key));
                return scope.problems.error(&places.of(*at), message, "keep one of them");
            }
            Fault::NotFound { key } => {
                let file = Masked::path(Path::new(self.file.as_ref()));
                let message =
                    message!("'{}' is not in {}: no object has the key '{}'", path, file, Masked::known(key));
                return scope.problems.error(place, message, paths(self.text));
            }
            Fault::Kind { at, is, wanted } => match wanted {
                Wanted::Object { key } => (
                    at,
                    message!("'{}' needs an object with '{}' here, not {}", path, Masked::known(key), *is),
                ),
                Wanted::List => (at, message!("'{}' needs a list here, not {}", path, *is)),
                Wanted::String => (at, message!("'{}' leads to {}, not to a string", path, *is)),
            },
        };
        scope.problems.error(&places.of(*at), message, paths(self.text));
    }
}

/// The paths of the file that lead to addresses, as a hint.
fn paths(text: &str) -> Message {
    let found = addresses(text.strip_prefix('\u{feff}').unwrap_or(text));
    match found.is_empty() {
        true => "the file has no address that a path can lead to".into(),
        false => message!("paths to addresses in this file: {}", Paths(&found)),
    }
}

/// Paths of keys that lead to addresses.
struct Paths<'p>(&'p [String]);

impl Harmless for Paths<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted: Vec<String> = self.0.iter().map(|path| format!("\"{path}\"")).collect();
        f.write_str(&quoted.join(", "))
    }
}

/// An error of the parser without its place. It quotes nothing of the file.
struct Syntax<'e>(&'e serde_json::Error);

impl Harmless for Syntax<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.split(" at line ").next().unwrap_or_default())
    }
}
