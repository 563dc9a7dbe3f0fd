//! The place of a group's own entries: in the main file, or in a file of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_acl::policy::UNIX_GROUP;
use portcullis_acl::{Cidr, UnixSeconds};

use super::yaml::{self, Stuck, line_break};
use super::{EditError, NewEntry};
use crate::LoadOptions;
use crate::message::nearest;
use crate::plain;
use crate::problem::{Position, Problems};
use crate::raw::{self, Node, Value};
use crate::scope::{MAX_TEXT_FILE, MAX_YAML_FILE, Scope};
use crate::validate::is_yaml;
use crate::value::{self, time};

/// A file as it was read, and the list in it.
pub(super) struct Site {
    pub(super) file: PathBuf,
    pub(super) text: String,
    form: Form,
    /// The entries in the file, in order.
    pub(super) entries: Vec<Item>,
    /// Other groups that read the same file.
    pub(super) shared_with: Vec<String>,
    /// The end of the group, for entries without their own.
    pub(super) until: Option<UnixSeconds>,
}

enum Form {
    /// The list at these keys; no keys: the whole document.
    Yaml { keys: Vec<String>, tree: Node },
    /// Addresses with commas or line ends between them.
    Plain,
}

/// One entry; includes and invalid addresses have no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) cidr: Option<Cidr>,
    pub(super) line: u32,
}

/// The main file as it was read.
pub(super) struct MainFile {
    pub(super) text: String,
    pub(super) tree: Node,
    /// The directory that paths are relative to.
    pub(super) base: PathBuf,
}

impl MainFile {
    pub(super) fn read(config: &Path, options: &LoadOptions) -> Result<Self, EditError> {
        let mut scope = Scope::new(config, options);
        let start = Position::start_of(&scope.file);
        let file = Arc::clone(&scope.file);
        let tree = scope
            .read_text(config, MAX_YAML_FILE, &start)
            .and_then(|text| Some((raw::parse(&text, &file, &mut scope.problems)?, text)));
        let Some((tree, text)) = tree else { return Err(EditError::Invalid(scope.problems.into_list())) };
        Ok(Self { text, tree, base: scope.base })
    }

    /// Returns the error that the file has no such group, with the name that was probably meant.
    pub(super) fn unknown(&self, group: &str) -> EditError {
        let groups = named(get(&self.tree, "groups"));
        let known: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
        let meant = nearest(group, &known).map(str::to_owned);
        EditError::UnknownGroup { group: group.to_owned(), meant }
    }
}

impl Site {
    /// Reads the main file, and the group's own file if it has one.
    pub(super) fn find(config: &Path, group: &str, options: &LoadOptions) -> Result<Self, EditError> {
        if group == UNIX_GROUP {
            return Err(EditError::BuiltIn);
        }
        let main = MainFile::read(config, options)?;
        let groups = named(get(&main.tree, "groups"));
        let Some((_, node)) = groups.iter().find(|(name, _)| *name == group) else {
            return Err(main.unknown(group));
        };
        let mut keys = vec!["groups".to_owned(), group.to_owned()];
        let until = scalar(node, "until").and_then(|text| time::parse(text).ok());
        if let Value::Map(_) = &node.value {
            if let Some(own) = get(node, "file") {
                let Value::Scalar(own) = &own.value else { return Err(EditError::broken(config, options)) };
                if get(node, "select").is_some() {
                    return Err(EditError::JsonList { file: main.base.join(own) });
                }
                let mut scope = Scope::new(config, options);
                let start = Position::start_of(&scope.file);
                let site = Self::own_file(&main.base.join(own), &start, &mut scope)?;
                let others = groups.iter().filter(|(name, other)| {
                    *name != group && scalar(other, "file").is_some_and(|other| same(&main.base, own, other))
                });
                let shared_with = others.map(|(name, _)| (*name).to_owned()).collect();
                return Ok(Self { shared_with, until, ..site });
            }
            keys.push("entries".to_owned());
        }
        let MainFile { text, tree, .. } = main;
        match Self::yaml(config, text, keys, tree) {
            Some(site) => Ok(Self { until, ..site }),
            None => Err(EditError::broken(config, options)),
        }
    }

    fn own_file(path: &Path, mention: &Position, scope: &mut Scope) -> Result<Self, EditError> {
        let yaml = is_yaml(path);
        let most = if yaml { MAX_YAML_FILE } else { MAX_TEXT_FILE };
        let invalid = |scope: &mut Scope| EditError::Invalid(std::mem::take(&mut scope.problems).into_list());
        let text = scope.read_text(path, most, mention).ok_or_else(|| invalid(scope))?;
        if !yaml {
            let entries = plain(&text);
            return Ok(Self::new(path, text, Form::Plain, entries));
        }
        let name: Arc<str> = path.display().to_string().into();
        let tree = raw::parse(&text, &name, &mut scope.problems).ok_or_else(|| invalid(scope))?;
        Self::yaml(path, text, Vec::new(), tree).ok_or_else(|| invalid(scope))
    }

    fn yaml(file: &Path, text: String, keys: Vec<String>, tree: Node) -> Option<Self> {
        let entries = list(&tree, &keys)?.iter().map(item).collect();
        Some(Self::new(file, text, Form::Yaml { keys, tree }, entries))
    }

    fn new(file: &Path, text: String, form: Form, entries: Vec<Item>) -> Self {
        Self { file: file.to_path_buf(), text, form, entries, shared_with: Vec::new(), until: None }
    }

    /// Returns the indices of the entries of exactly that network.
    pub(super) fn written(&self, cidr: Cidr) -> Vec<usize> {
        (0..).zip(&self.entries).filter(|(_, item)| item.cidr == Some(cidr)).map(|(at, _)| at).collect()
    }

    /// Whether the entry with that index has the details already.
    pub(super) fn has(&self, at: usize, entry: &NewEntry) -> bool {
        match &self.form {
            Form::Plain => {
                let same_note = entry.comment().is_none_or(|note| plain_note(self.line(at)) == note);
                same_note && entry.needs_yaml().is_none()
            }
            Form::Yaml { keys, tree } => {
                list(tree, keys).and_then(|items| items.get(at)).is_some_and(|item| {
                    let known = details(item);
                    entry.applied_to(known) == known
                })
            }
        }
    }

    /// Returns the text with these entries changed, each with its index, and the others added at the end; and its
    /// entries.
    pub(super) fn with(
        &self,
        changed: &[(usize, &NewEntry)],
        added: &[&NewEntry],
    ) -> Result<(String, Vec<Item>), EditError> {
        let Form::Yaml { keys, tree } = &self.form else {
            let text = self.plain_with(changed, added)?;
            let entries = plain(&text);
            return if self.is_meant(&entries, added) { Ok((text, entries)) } else { Err(self.odd()) };
        };
        let words: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut text = self.text.clone();
        for (at, entry) in changed {
            text = yaml::change(&text, &words, *at, &entry.settings()).map_err(|stuck| self.stuck(stuck))?;
        }
        if !added.is_empty() {
            text = yaml::append(&text, &words, added).map_err(|stuck| self.stuck(stuck))?;
        }
        let edited = self.reread(&text)?;
        let (old, new) = (list(tree, keys), list(&edited, keys));
        let (Some(old), Some(new)) = (old, new) else { return Err(self.odd()) };
        let entries: Vec<Item> = new.iter().map(item).collect();
        let kept = (0..).zip(old.iter().zip(new)).all(|(at, (old, new))| {
            match changed.iter().find(|(index, _)| *index == at) {
                Some((_, entry)) => details(new) == entry.applied_to(details(old)),
                None => alike_around(old, new, None),
            }
        });
        let fresh = new.iter().skip(old.len());
        let right = added.iter().zip(fresh).all(|(entry, new)| details(new) == entry.applied_to([None; 3]));
        if kept && right && self.is_meant(&entries, added) { Ok((text, entries)) } else { Err(self.odd()) }
    }

    /// Whether these are the networks of the list and of what was added, in this order.
    fn is_meant(&self, entries: &[Item], added: &[&NewEntry]) -> bool {
        let old = self.entries.iter().map(|item| item.cidr);
        let meant = old.chain(added.iter().map(|entry| Some(entry.cidr())));
        entries.iter().map(|item| item.cidr).eq(meant)
    }

    /// Returns the text without the entries of these indices, which are in ascending order.
    pub(super) fn without(&self, gone: &[usize]) -> Result<String, EditError> {
        let meant = (0..).zip(&self.entries).filter(|(at, _)| gone.binary_search(at).is_err());
        let meant = meant.map(|(_, item)| item.cidr);
        let Form::Yaml { keys, tree } = &self.form else {
            let text = plain::without(&self.text, gone);
            let right = plain(&text).iter().map(|item| item.cidr).eq(meant);
            return if right { Ok(text) } else { Err(self.odd()) };
        };
        let words: Vec<&str> = keys.iter().map(String::as_str).collect();
        let text = gone
            .iter()
            .rev()
            .try_fold(self.text.clone(), |text, at| yaml::remove(&text, &words, *at))
            .map_err(|stuck| self.stuck(stuck))?;
        let edited = self.reread(&text)?;
        let (old, new) = (list(tree, keys), list(&edited, keys));
        let (Some(old), Some(new)) = (old, new) else { return Err(self.odd()) };
        let right = new.iter().map(item).map(|item| item.cidr).eq(meant) && kept(old, new);
        if right { Ok(text) } else { Err(self.odd()) }
    }

    /// Changes the comments of lines and adds lines; plain text can hold a note only.
    fn plain_with(&self, changed: &[(usize, &NewEntry)], added: &[&NewEntry]) -> Result<String, EditError> {
        let all = changed.iter().map(|(_, entry)| *entry).chain(added.iter().copied());
        if let Some(key) = all.filter_map(NewEntry::needs_yaml).next() {
            return Err(EditError::PlainText { file: self.file.clone(), key });
        }
        let line_break = line_break(&self.text);
        let mut lines: Vec<String> = self.text.split_inclusive('\n').map(str::to_owned).collect();
        for (at, entry) in changed {
            let Some(note) = entry.comment() else { continue };
            let line = self.entries[*at].line;
            if self.entries.iter().filter(|other| other.line == line).count() > 1 {
                let why = "the comment of the line belongs to several addresses";
                return Err(EditError::CannotEdit { file: self.file.clone(), line, why });
            }
            let index = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
            let whole = lines.get_mut(index).ok_or_else(|| self.odd())?;
            *whole = with_plain_note(whole, note);
        }
        let mut text = lines.concat();
        let bare = text.trim_start_matches('\u{feff}');
        let ends = bare.is_empty() || bare.ends_with('\n');
        let new: Vec<String> = added.iter().map(|entry| plain_line(entry)).collect();
        if !new.is_empty() {
            let new = new.join(line_break);
            text += &if ends { format!("{new}{line_break}") } else { format!("{line_break}{new}") };
        }
        Ok(text)
    }

    /// Returns the line of a plain-text list with that entry.
    fn line(&self, at: usize) -> &str {
        let line = self.entries.get(at).and_then(|item| usize::try_from(item.line).ok()).unwrap_or_default();
        self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
    }

    /// Reads an edited text like the loader. The text outside the list must not have changed.
    fn reread(&self, after: &str) -> Result<Node, EditError> {
        let Form::Yaml { keys, tree } = &self.form else { return Err(self.odd()) };
        let name: Arc<str> = self.file.display().to_string().into();
        let edited = raw::parse(after, &name, &mut Problems::default()).ok_or_else(|| self.odd())?;
        if alike_around(tree, &edited, Some(keys)) { Ok(edited) } else { Err(self.odd()) }
    }

    fn stuck(&self, stuck: Stuck) -> EditError {
        EditError::stuck(&self.file, &self.text, stuck)
    }

    /// The edited text is valid YAML with another meaning, for example because the list has anchors.
    fn odd(&self) -> EditError {
        let line = self.entries.first().map_or(1, |item| item.line);
        let why = "the list is used elsewhere too, or is written in a form that cannot be edited";
        EditError::CannotEdit { file: self.file.clone(), line, why }
    }
}

pub(super) fn named(node: Option<&Node>) -> Vec<(&str, &Node)> {
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|(key, node)| (key.text.as_str(), node)).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn get<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    named(Some(node)).into_iter().find(|(name, _)| *name == key).map(|(_, node)| node)
}

pub(super) fn scalar<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match &get(node, key)?.value {
        Value::Scalar(text) => Some(text),
        _ => None,
    }
}

/// Returns the place of a group's name.
pub(super) fn place_of<'n>(tree: &'n Node, group: &str) -> Option<&'n Position> {
    match &get(tree, "groups")?.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == group).map(|(key, _)| &key.place),
        _ => None,
    }
}

fn same(base: &Path, one: &str, other: &str) -> bool {
    let real = |name: &str| base.join(name).canonicalize();
    one == other || matches!((real(one), real(other)), (Ok(one), Ok(other)) if one == other)
}

fn list<'n>(tree: &'n Node, keys: &[String]) -> Option<&'n [Node]> {
    let mut node = tree;
    for key in keys {
        node = get(node, key)?;
    }
    match &node.value {
        Value::Map(entries) if entries.is_empty() => Some(&[]),
        Value::Map(_) if keys.is_empty() => None,
        _ => Some(value::list(node)),
    }
}

fn item(node: &Node) -> Item {
    let text = match &node.value {
        Value::Scalar(text) => Some(text.as_str()),
        _ => scalar(node, "cidr"),
    };
    Item { cidr: text.and_then(|text| text.parse().ok()), line: node.place.line }
}

/// The note, owner and end of an entry, as they are written.
fn details(node: &Node) -> [Option<&str>; 3] {
    ["note", "owner", "until"].map(|key| scalar(node, key))
}

fn plain_line(entry: &NewEntry) -> String {
    let note = entry.note().map(|note| format!("  # {note}")).unwrap_or_default();
    format!("{}{note}", entry.cidr())
}

/// Returns the comment beside an entry.
fn plain_note(line: &str) -> &str {
    line.split_once(['#', ';']).map_or("", |(_, note)| note.trim())
}

/// Replaces the comment of a line; an empty one removes it. The line break and the space before a comment stay.
fn with_plain_note(line: &str, note: &str) -> String {
    let whole = line.trim_end_matches(['\r', '\n']);
    let line_break = &line[whole.len()..];
    let (entry, known) =
        whole.split_once(['#', ';']).map_or((whole, None), |(entry, note)| (entry, Some(note)));
    match (note, known) {
        ("", _) => format!("{}{line_break}", entry.trim_end()),
        (note, Some(_)) => format!("{entry}# {note}{line_break}"),
        (note, None) => format!("{}  # {note}{line_break}", entry.trim_end()),
    }
}

fn plain(text: &str) -> Vec<Item> {
    let written = plain::entries(text).filter(|listed| !listed.behind_semicolon);
    written.map(|listed| Item { cidr: listed.text.parse().ok(), line: listed.line }).collect()
}

/// Whether two trees are equal outside the node that the keys lead to.
fn alike_around(one: &Node, other: &Node, keys: Option<&[String]>) -> bool {
    if keys.is_some_and(<[String]>::is_empty) {
        return true;
    }
    match (&one.value, &other.value) {
        (Value::Null, Value::Null) => true,
        (Value::Scalar(one), Value::Scalar(other)) => one == other,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| alike_around(one, other, None))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|((key, one), (other_key, other))| {
                    let further =
                        keys.and_then(<[String]>::split_first).filter(|(first, _)| **first == key.text);
                    key.text == other_key.text && alike_around(one, other, further.map(|(_, rest)| rest))
                })
        }
        _ => false,
    }
}

/// Whether two mappings are equal apart from a key.
fn alike_without(one: Option<&Node>, other: Option<&Node>, key: &str) -> bool {
    let rest = |node| named(node).into_iter().filter(|(name, _)| *name != key);
    rest(one).count() == rest(other).count()
        && rest(one)
            .zip(rest(other))
            .all(|((name, one), (other_name, other))| name == other_name && alike_around(one, other, None))
}

/// Whether two main files are equal apart from one group, which only one of them has.
pub(super) fn alike_but_group(one: &Node, other: &Node, group: &str) -> bool {
    alike_without(Some(one), Some(other), "groups")
        && alike_without(get(one, "groups"), get(other, "groups"), group)
}

/// Whether the shorter list is the longer one without some items.
fn kept(one: &[Node], other: &[Node]) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let mut rest = long.iter();
    short.iter().all(|item| rest.any(|candidate| alike_around(item, candidate, None)))
}
