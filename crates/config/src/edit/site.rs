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

impl Site {
    /// Reads the main file, and the group's own file if it has one.
    pub(super) fn find(config: &Path, group: &str, options: &LoadOptions) -> Result<Self, EditError> {
        if group == UNIX_GROUP {
            return Err(EditError::BuiltIn);
        }
        let mut scope = Scope::new(config, options);
        let start = Position::start_of(&scope.file);
        let file = Arc::clone(&scope.file);
        let tree = scope
            .read_text(config, MAX_YAML_FILE, &start)
            .and_then(|text| Some((raw::parse(&text, &file, &mut scope.problems)?, text)));
        let Some((tree, text)) = tree else { return Err(EditError::Invalid(scope.problems.into_list())) };
        let groups = named(get(&tree, "groups"));
        let Some((_, node)) = groups.iter().find(|(name, _)| *name == group) else {
            let known: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
            let meant = nearest(group, &known).map(str::to_owned);
            return Err(EditError::UnknownGroup { group: group.to_owned(), meant });
        };
        let mut keys = vec!["groups".to_owned(), group.to_owned()];
        let until = scalar(node, "until").and_then(|text| time::parse(text).ok());
        if let Value::Map(_) = &node.value {
            if let Some(own) = get(node, "file") {
                let Value::Scalar(own) = &own.value else { return Err(EditError::broken(config, options)) };
                let site = Self::own_file(&scope.base.join(own), &start, &mut scope)?;
                let others = groups.iter().filter(|(name, other)| {
                    *name != group && scalar(other, "file").is_some_and(|other| same(&scope.base, own, other))
                });
                let shared_with = others.map(|(name, _)| (*name).to_owned()).collect();
                return Ok(Self { shared_with, until, ..site });
            }
            keys.push("entries".to_owned());
        }
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

    /// Returns the text with one more entry, and the line where it begins.
    pub(super) fn with(&self, entry: &NewEntry) -> Result<(String, u32), EditError> {
        let (after, entries) = match &self.form {
            Form::Plain => self.reread(self.plain_with(entry)?)?,
            Form::Yaml { keys, .. } => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                let after =
                    yaml::append(&self.text, &keys, &entry.as_yaml()).map_err(|stuck| self.stuck(stuck))?;
                self.reread(after)?
            }
        };
        let mut meant: Vec<Option<Cidr>> = self.entries.iter().map(|item| item.cidr).collect();
        meant.push(Some(entry.cidr()));
        if !entries.iter().map(|item| item.cidr).eq(meant) {
            return Err(self.odd());
        }
        let line = entries.last().map_or(1, |item| item.line);
        Ok((after, line))
    }

    /// Returns the text without the entries of that network; `None` when there is none.
    pub(super) fn without(&self, cidr: Cidr) -> Result<Option<String>, EditError> {
        let gone: Vec<usize> =
            (0..).zip(&self.entries).filter(|(_, item)| item.cidr == Some(cidr)).map(|(at, _)| at).collect();
        if gone.is_empty() {
            return Ok(None);
        }
        let after = match &self.form {
            Form::Plain => plain::without(&self.text, &gone),
            Form::Yaml { keys, .. } => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                gone.iter()
                    .rev()
                    .try_fold(self.text.clone(), |text, at| yaml::remove(&text, &keys, *at))
                    .map_err(|stuck| self.stuck(stuck))?
            }
        };
        let (after, entries) = self.reread(after)?;
        let meant = self.entries.iter().map(|item| item.cidr).filter(|kept| *kept != Some(cidr));
        if entries.iter().map(|item| item.cidr).eq(meant) { Ok(Some(after)) } else { Err(self.odd()) }
    }

    /// Adds a line; plain text can hold a note only.
    fn plain_with(&self, entry: &NewEntry) -> Result<String, EditError> {
        if let Some(key) = entry.needs_yaml() {
            return Err(EditError::PlainText { file: self.file.clone(), key });
        }
        let note = entry.note().map(|note| format!("  # {note}")).unwrap_or_default();
        let line = format!("{}{note}", entry.cidr());
        let line_break = line_break(&self.text);
        let bare = self.text.trim_start_matches('\u{feff}');
        Ok(match bare.is_empty() || bare.ends_with('\n') {
            true => [self.text.as_str(), &line, line_break].concat(),
            false => [self.text.as_str(), line_break, &line].concat(),
        })
    }

    /// Reads an edited text like the loader. The text outside the list must not have changed.
    fn reread(&self, after: String) -> Result<(String, Vec<Item>), EditError> {
        let Form::Yaml { keys, tree } = &self.form else {
            let entries = plain(&after);
            return Ok((after, entries));
        };
        let name: Arc<str> = self.file.display().to_string().into();
        let edited = raw::parse(&after, &name, &mut Problems::default()).ok_or_else(|| self.odd())?;
        let (old, new) = (list(tree, keys), list(&edited, keys));
        let (Some(old), Some(new)) = (old, new) else { return Err(self.odd()) };
        if !alike_around(tree, &edited, Some(keys)) || !kept(old, new) {
            return Err(self.odd());
        }
        let entries = new.iter().map(item).collect();
        Ok((after, entries))
    }

    fn stuck(&self, stuck: Stuck) -> EditError {
        let before = self.text.get(..stuck.at).unwrap_or_default();
        let line = u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX).saturating_add(1);
        EditError::CannotEdit { file: self.file.clone(), line, why: stuck.why }
    }

    /// The edited text is valid YAML with another meaning, for example because the list has anchors.
    fn odd(&self) -> EditError {
        let line = self.entries.first().map_or(1, |item| item.line);
        let why = "the list is used elsewhere too, or is written in a form that cannot be edited";
        EditError::CannotEdit { file: self.file.clone(), line, why }
    }
}

fn named(node: Option<&Node>) -> Vec<(&str, &Node)> {
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|(key, node)| (key.text.as_str(), node)).collect(),
        _ => Vec::new(),
    }
}

fn get<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    named(Some(node)).into_iter().find(|(name, _)| *name == key).map(|(_, node)| node)
}

fn scalar<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match &get(node, key)?.value {
        Value::Scalar(text) => Some(text),
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

/// Whether the shorter list is the longer one without some items.
fn kept(one: &[Node], other: &[Node]) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let mut rest = long.iter();
    short.iter().all(|item| rest.any(|candidate| alike_around(item, candidate, None)))
}
