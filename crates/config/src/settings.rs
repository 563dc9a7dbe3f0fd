//! The settings that a configuration has, by name: a new version that lost one may be cut, or not finished.
//!
//! Most settings narrow what a client may do, so a file without one of them can admit more.

use std::collections::BTreeSet;

use super::raw::{Node, Value};

/// Keys whose lists only admit: a shorter list admits less.
const ADMITTING: [&str; 2] = ["allow", "from"];

/// Keys of an entry that decide nothing.
const REMARKS: [&str; 2] = ["note", "owner"];

/// The key of the groups. Their entries are counted instead, because a list of addresses changes often. A list that names
/// a group which is gone is an error.
const GROUPS: &str = "groups";

/// Keys whose parts have a name. A part that is gone as a whole admits no client, or something that names it is an error.
const NAMED: [&str; 2] = ["users", "upstreams"];

/// Settings: keys with their path, such as `listeners.public.deny`, and each word of their lists and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeSet<(String, String)>);

impl Settings {
    /// Returns the settings of a main file.
    pub(super) fn of(tree: &Node) -> Self {
        let mut settings = Self::default();
        settings.walk(tree, "");
        settings
    }

    /// Returns the path of the first setting that `new` has not, or of which it has less. The settings of a listener or
    /// of a user that is gone are not missing.
    pub(super) fn lost_in(&self, new: &Self) -> Option<&str> {
        let lost = self.0.iter().filter(|setting| !new.0.contains(setting)).map(|(path, _)| path.as_str());
        lost.into_iter().find(|path| new.has_parent_of(path))
    }

    /// Returns whether the part of the configuration is there to which a setting belongs.
    fn has_parent_of(&self, path: &str) -> bool {
        let Some((parent, _)) = path.rsplit_once('.') else { return true };
        self.0.iter().any(|(other, _)| other.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.')))
    }

    /// Recursion is bounded by the depth of a tree.
    fn walk(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Map(entries) => {
                for (key, node) in entries {
                    let inner =
                        if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
                    if !NAMED.contains(&path) {
                        self.0.insert((inner.clone(), String::new()));
                    }
                    if inner == GROUPS || ADMITTING.contains(&key.text.as_str()) {
                        continue;
                    }
                    if matches!(key.text.as_str(), "acl" | "deny") {
                        self.words(node, &inner);
                    }
                    self.walk(node, &inner);
                }
            }
            Value::List(items) => {
                for item in items {
                    if let Some(name) = name_of(item) {
                        self.walk(item, &format!("{path}.{name}"));
                    }
                }
            }
            Value::Null | Value::Scalar(_) => {}
        }
    }

    /// Adds the words of a rule, or the entries of a list.
    fn words(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Scalar(text) => {
                self.0.extend(text.split_whitespace().map(|word| (path.to_owned(), word.to_owned())));
            }
            Value::List(items) => items.iter().for_each(|item| self.words(item, path)),
            Value::Map(entries) => {
                let entries = entries.iter().filter(|(key, _)| !REMARKS.contains(&key.text.as_str()));
                entries.for_each(|(_, node)| self.words(node, path));
            }
            Value::Null => {}
        }
    }
}

fn name_of(item: &Node) -> Option<&str> {
    let Value::Map(entries) = &item.value else { return None };
    entries.iter().find_map(|(key, node)| match &node.value {
        Value::Scalar(name) if key.text == "name" => Some(name.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problems;
    use crate::raw;

    const FULL: &str = "\
listeners:
  - name: public
    allow: [office, 10.0.0.1]
    acl: '+@all -config'
    deny: [bad, {cidr: 10.0.0.9, note: x}]
users: {alice: {from: [office], acl: ['~a:*', +get]}}
groups: {office: [10.0.0.2], bad: {file: bad.txt, note: why}}
";

    fn settings(yaml: &str) -> Settings {
        Settings::of(&raw::parse(yaml, &"x".into(), &mut Problems::default()).unwrap())
    }

    #[test]
    fn a_setting_that_is_gone_is_named() {
        let full = settings(FULL);
        for (from, to, lost) in [
            ("", "", None),
            ("[office, 10.0.0.1]", "[office]", None),
            ("    allow: [office, 10.0.0.1]\n", "", Some("listeners.public.allow")),
            ("    acl: '+@all -config'\n", "", Some("listeners.public.acl")),
            (" -config", "", Some("listeners.public.acl")),
            ("bad, {", "{", Some("listeners.public.deny")),
            (", {cidr: 10.0.0.9, note: x}", "", Some("listeners.public.deny")),
            ("name: public", "name: other", None),
            (", acl: ['~a:*', +get]", "", Some("users.alice.acl")),
            ("['~a:*', +get]", "[+get]", Some("users.alice.acl")),
            ("from: [office], ", "", Some("users.alice.from")),
            ("[10.0.0.2]", "[]", None),
            (", note: why", "", None),
            (", note: x", "", None),
            ("office: [10.0.0.2], ", "", None),
            ("users: {alice", "users: {bob", None),
            ("users: {alice: {from: [office], acl: ['~a:*', +get]}}\n", "", Some("users")),
        ] {
            assert!(FULL.contains(from));
            let new = settings(&FULL.replacen(from, to, 1));
            assert_eq!(full.lost_in(&new), lost, "{from:?} -> {to:?}");
            assert_eq!(new.lost_in(&new), None);
        }
    }
}
