//! The `groups` mapping, the files it names, and entries wherever they stand.

mod entry;
mod file;
mod host;
mod json;
mod misplaced;
mod url;

use std::collections::{HashMap, HashSet};

use portcullis_acl::policy::UNIX_GROUP;
use portcullis_acl::{Cidr, GroupId, Meta, PolicyBuilder, SourceId};

pub(crate) use self::file::is_yaml;
pub(super) use self::host::Closed;

use self::entry::{bad_address, meta, too_many};

use crate::fields::{Fields, named};
use crate::host::Host;
use crate::message::{Masked, did_you_mean, message};
use crate::problem::Position;
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::value;

/// The groups of a file by name, and what later checks need to know of them.
pub(super) struct Groups<'n> {
    ids: HashMap<&'n str, GroupId>,
    declared: Vec<Declared<'n>>,
    includes: Vec<Include>,
    /// The same, to be followed.
    edges: HashMap<GroupId, Vec<GroupId>>,
    used: HashSet<GroupId>,
    denied: HashSet<GroupId>,
    hosts: Vec<Host>,
    /// Groups in lists that cannot have host names.
    closed: HashSet<(GroupId, Closed)>,
    main: Option<SourceId>,
}

/// One key of `groups`.
struct Declared<'n> {
    name: &'n str,
    place: &'n Position,
    id: GroupId,
    entries: Option<&'n Node>,
    file: Option<&'n Node>,
    /// The paths to the addresses in a JSON file.
    select: Option<&'n Node>,
    allow_empty: bool,
    /// Its file was read and holds nothing.
    empty_file: bool,
    /// A program emptied the file in place.
    emptied: bool,
}

struct Include {
    from: GroupId,
    to: GroupId,
    place: Position,
}

pub(super) fn read<'n>(node: Option<&'n Node>, policy: &mut PolicyBuilder, scope: &mut Scope) -> Groups<'n> {
    let main = policy.source(&scope.file).ok();
    let mut groups = Groups {
        ids: HashMap::from([(UNIX_GROUP, PolicyBuilder::UNIX)]),
        declared: Vec::new(),
        includes: Vec::new(),
        edges: HashMap::new(),
        used: HashSet::new(),
        denied: HashSet::new(),
        hosts: Vec::new(),
        closed: HashSet::new(),
        main,
    };
    // Names first: a group may include one that stands below it.
    for (key, node) in node.map(|node| named(node, "groups", &mut scope.problems)).unwrap_or_default() {
        groups.declare(&key.text, &key.place, node, policy, scope);
    }
    let mut declared = std::mem::take(&mut groups.declared);
    for group in &mut declared {
        groups.fill(group, policy, scope);
    }
    groups.declared = declared;
    groups.report_cycles(policy, scope);
    groups
}

impl<'n> Groups<'n> {
    /// Reads an `allow` or `deny` list; addresses written in place become a group without a name.
    pub(super) fn list(
        &mut self,
        node: &Node,
        policy: &mut PolicyBuilder,
        scope: &mut Scope,
    ) -> Vec<GroupId> {
        let mut list = Vec::new();
        let mut in_place = None;
        for item in value::list(node) {
            if let Value::Scalar(text) = &item.value
                && (value::is_name(text) || self.ids.contains_key(text.as_str()))
            {
                list.extend(self.find(text, &item.place, scope));
                continue;
            }
            if in_place.is_none() {
                in_place = policy
                    .group(None, Meta::default())
                    .map_err(|full| too_many(full, &item.place, scope))
                    .ok();
            }
            if let (Some(id), Some(source)) = (in_place, self.main) {
                self.entry(item, id, source, policy, scope);
            }
        }
        list.extend(in_place);
        self.used.extend(&list);
        list
    }

    /// Remembers that a listener refuses these groups.
    pub(super) fn denied(&mut self, deny: &[GroupId]) {
        self.denied.extend(deny);
    }

    /// Reports what the use of groups makes of their files and host names.
    pub(super) fn report_files_and_hosts(&self, scope: &mut Scope) {
        self.report_empty_files(scope);
        self.report_closed_hosts(scope);
    }

    /// A group whose file may have lost its content must not silently stop refusing; elsewhere it is only odd.
    fn report_empty_files(&self, scope: &mut Scope) {
        let denied: Vec<GroupId> = self.denied.iter().copied().collect();
        let denied = self.reach(&denied);
        let hint = "if this is intended, write {file: PATH, allow_empty: true}";
        for group in self.declared.iter().filter(|group| group.empty_file) {
            let place = group.file.map_or(group.place, |file| &file.place);
            let message = message!("the file of group '{}' is empty", Masked::name(group.name));
            match (denied.contains(&group.id), group.allow_empty) {
                (true, false) => scope.problems.error(
                    place,
                    message!("{}, and the group is used under deny", message),
                    hint,
                ),
                (true, true) | (false, false) if group.emptied => {
                    let hint =
                        "write a comment line into it, or write a new file and rename it over this one";
                    scope.problems.error(
                        place,
                        message!("{}, and the version in force is not: it may have been cut", message),
                        hint,
                    );
                }
                (false, false) => scope.problems.warning(place, message, hint),
                (_, true) => {}
            }
        }
    }

    /// Notes groups that no list mentions.
    pub(super) fn report_unused(&self, scope: &mut Scope) {
        let used: Vec<GroupId> = self.used.iter().copied().collect();
        let reached = self.reach(&used);
        for group in self.declared.iter().filter(|group| !reached.contains(&group.id)) {
            let name = Masked::name(group.name);
            scope.problems.remark(group.place, message!("no listener uses group '{}'", name));
        }
    }

    fn reach(&self, roots: &[GroupId]) -> HashSet<GroupId> {
        let mut reached: HashSet<GroupId> = HashSet::new();
        let mut open = roots.to_vec();
        while let Some(group) = open.pop() {
            if reached.insert(group) {
                open.extend(self.edges.get(&group).into_iter().flatten());
            }
        }
        reached
    }

    fn declare(
        &mut self,
        name: &'n str,
        place: &'n Position,
        node: &'n Node,
        policy: &mut PolicyBuilder,
        scope: &mut Scope,
    ) {
        if name == UNIX_GROUP {
            let hint = "it matches clients on a unix socket: choose another name";
            scope.problems.error(place, "the group 'unix' is built in", hint);
            return;
        }
        if let Some((message, hint)) = value::bad_name("group", name) {
            scope.problems.error(place, message, hint);
        }
        let mut group = Declared {
            name,
            place,
            id: PolicyBuilder::UNIX,
            entries: None,
            file: None,
            select: None,
            allow_empty: false,
            empty_file: false,
            emptied: false,
        };
        let mut meta = Meta::default();
        match &node.value {
            Value::Map(_) => meta = long_form(node, &mut group, scope),
            Value::List(_) | Value::Null | Value::Scalar(_) => group.entries = Some(node),
        }
        match policy.group(Some(name), meta) {
            Ok(id) => {
                group.id = id;
                self.ids.insert(name, id);
                self.declared.push(group);
            }
            Err(full) => too_many(full, place, scope),
        }
    }

    fn fill(&mut self, group: &mut Declared<'n>, policy: &mut PolicyBuilder, scope: &mut Scope) {
        if let (Some(node), Some(source)) = (group.entries, self.main) {
            for item in value::list(node) {
                self.entry(item, group.id, source, policy, scope);
            }
        }
        if let Some(node) = group.file
            && let Some(text) = value::text(node, "file", &mut scope.problems)
        {
            if url::is_url(text) {
                return url::refuse(Some(text), Some(group.name), &node.place, scope);
            }
            let path = scope.base.join(text);
            match group.select {
                Some(select) => {
                    if let Some(selects) = json::selects(select, scope) {
                        let target = (group.id, group.allow_empty);
                        json::read(&path, &node.place, &selects, target, policy, scope);
                    }
                }
                None if json::is_json(&path) => json::report_missing(&path, &node.place, scope),
                None => {
                    group.empty_file =
                        file::read(&path, &node.place, group.id, self, policy, scope) == Some(0);
                    group.emptied = scope.was_emptied(&path);
                }
            }
        }
    }

    fn find(&self, name: &str, place: &Position, scope: &mut Scope) -> Option<GroupId> {
        if let Some(id) = self.ids.get(name) {
            return Some(*id);
        }
        if let Err(error) = name.parse::<Cidr>()
            && error.is_understood()
        {
            bad_address(name, &error, place, scope);
            return None;
        }
        let mut known: Vec<&str> = self.ids.keys().copied().collect();
        known.sort_unstable();
        let hint = did_you_mean(name, &known, || "add it under groups".into());
        let message = message!("unknown group '{}'", Masked::near(name, &known));
        scope.problems.error(place, message, hint);
        None
    }

    fn report_cycles(&self, policy: &PolicyBuilder, scope: &mut Scope) {
        /// More say nothing new, and a path may name every group of the file.
        const MOST_RINGS: usize = 20;
        const MOST_NAMES: usize = 8;
        let name =
            |id: &GroupId| self.declared.iter().find(|group| group.id == *id).map_or("", |group| group.name);
        for ring in policy.cycles(MOST_RINGS) {
            let [.., from, to] = ring.as_slice() else { continue };
            let include = self.includes.iter().find(|include| (include.from, include.to) == (*from, *to));
            if let Some(include) = include {
                let mut path = message!("{}", "groups include each other: ");
                for (at, group) in ring.iter().take(MOST_NAMES).enumerate() {
                    let before = if at == 0 { "" } else { " -> " };
                    path = message!("{}{}{}", path, before, Masked::name(name(group)));
                }
                let message = match ring.len() > MOST_NAMES {
                    true => message!("{} -> ... -> {}", path, Masked::name(name(to))),
                    false => path,
                };
                scope.problems.error(&include.place, message, "remove one of the includes");
            }
        }
    }
}

/// Takes the key of an entry that stands in a group.
fn entry_key<'n>(fields: &mut Fields<'n>) -> Option<(&'static str, &'n Position)> {
    entry::ENTRY_KEYS.into_iter().find_map(|key| fields.find(key).map(|(place, _)| (key, place)))
}

/// `note`, `owner`, `until`, and one of `entries` and `file`.
fn long_form<'n>(node: &'n Node, group: &mut Declared<'n>, scope: &mut Scope) -> Meta {
    let Some(mut fields) = Fields::of(node, "group", &mut scope.problems) else { return Meta::default() };
    let is_misplaced = misplaced::in_group(&mut fields, scope);
    let meta = meta(&mut fields, scope);
    group.entries = fields.take("entries");
    group.file = fields.take("file");
    group.select = fields.take("select");
    if let Some((place, node)) = fields.find("url") {
        let url = value::text(node, "url", &mut scope.problems);
        url::refuse(url, Some(group.name), place, scope);
        fields.finish(&mut scope.problems);
        return meta;
    }
    let allow_empty = fields.take_with_key("allow_empty");
    if let Some((key, node)) = allow_empty {
        group.allow_empty = value::switch(node, "allow_empty", &mut scope.problems) == Some(true);
        if group.file.is_none() {
            scope.problems.error(key, "'allow_empty' needs 'file'", "remove allow_empty");
        }
    }
    if let Some(node) = group.select
        && group.file.is_none()
    {
        scope.problems.error(&node.place, "'select' needs 'file'", "write {file: NAME.json, select: PATH}");
    }
    match (group.entries, group.file) {
        (Some(_), Some(file)) => {
            let hint = "split it into two groups, and include one in the other with {group: NAME}";
            scope.problems.error(&file.place, "a group has either entries or a file", hint);
        }
        (None, None) if let Some((key, place)) = entry_key(&mut fields) => {
            let name = Masked::name(group.name);
            let message = message!("'{}' is a key of an entry, and the entries of a group are a list", key);
            let hint =
                message!("write {}: [{{{}: ...}}], or '- {}: ...' on a line of its own", name, key, key);
            scope.problems.error(place, message, hint);
        }
        (None, None) if !is_misplaced => {
            let hint = "list the addresses under entries, or name their file under file";
            scope.problems.error(&node.place, "the group has neither entries nor a file", hint);
        }
        _ => {}
    }
    fields.finish(&mut scope.problems);
    meta
}
