//! The `users` mapping: who can log in where a listener says `auth: users`, and what each may do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use portcullis_acl::PolicyBuilder;
use portcullis_acl::user::Secret;
use secrecy::ExposeSecret;

use super::groups::Groups;
use super::rules;
use super::upstreams::{self, Upstreams};
use crate::fields::{Fields, named};
use crate::message::{Masked, did_you_mean, message};
use crate::model::User;
use crate::problem::Position;
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::{secret, value};

/// The users that were read. A faulty one does not stop the check of the others.
pub(super) struct Users<'n> {
    list: Vec<(&'n str, &'n Position, Option<Arc<User>>)>,
    index: HashMap<&'n str, usize>,
    used: HashSet<usize>,
}

pub(super) fn read<'n>(
    fields: &mut Fields<'n>,
    upstreams: &Upstreams<'_>,
    groups: &mut Groups<'_>,
    policy: &mut PolicyBuilder,
    scope: &mut Scope,
) -> Users<'n> {
    let mut users = Users { list: Vec::new(), index: HashMap::new(), used: HashSet::new() };
    let Some(node) = fields.take("users") else { return users };
    for (key, node) in named(node, "users", &mut scope.problems) {
        if let Some((message, hint)) = value::bad_name("user", &key.text) {
            scope.problems.error(&key.place, message, hint);
        }
        let user = one(&key.text, node, upstreams, groups, policy, scope);
        users.index.insert(&key.text, users.list.len());
        users.list.push((&key.text, &key.place, user.map(Arc::new)));
    }
    users
}

fn one(
    name: &str,
    node: &Node,
    upstreams: &Upstreams<'_>,
    groups: &mut Groups<'_>,
    policy: &mut PolicyBuilder,
    scope: &mut Scope,
) -> Option<User> {
    let mut fields = Fields::of(node, "user", &mut scope.problems)?;
    let secrets = fields.need("password", FORM, &mut scope.problems).and_then(|node| secrets(node, scope));
    let from = fields.take("from").map(|node| {
        let list = groups.list(node, policy, scope);
        if value::list(node).is_empty() {
            let hint = "list groups or addresses, or remove 'from' to accept every client of the listener";
            scope.problems.error(
                &node.place,
                message!("user '{}' has an empty 'from' list: the user can never log in", Masked::name(name)),
                hint,
            );
        }
        policy.list(name, list)
    });
    let acl = fields.take("acl").map(|node| rules::read(node, scope));
    let credentials = fields.take("upstream_credentials").map(|node| credentials(node, upstreams, scope));
    fields.finish(&mut scope.problems);
    Some(User {
        name: name.to_owned(),
        secrets: secrets?,
        from,
        acl: match acl {
            None => None,
            Some(acl) => Some(acl?),
        },
        upstream_credentials: credentials.unwrap_or_default(),
    })
}

const FORM: &str = "write password: {sha256: DIGEST}, {file: PATH} or {env: NAME}, or a list of them; \
                    create the digest with 'portcullis hash-password'";

fn secrets(node: &Node, scope: &mut Scope) -> Option<Vec<Secret>> {
    let items = value::list(node);
    if items.is_empty() {
        scope.problems.error(&node.place, "password has no value", FORM);
        return None;
    }
    // All of them, so that each fault is told.
    let secrets: Vec<Option<Secret>> = items.iter().map(|item| one_secret(item, scope)).collect();
    secrets.into_iter().collect()
}

fn one_secret(node: &Node, scope: &mut Scope) -> Option<Secret> {
    if let Value::Map(entries) = &node.value
        && let [(key, digest)] = entries.as_slice()
        && key.text == "sha256"
    {
        let text = value::text(digest, "sha256", &mut scope.problems)?;
        let secret = Secret::from_hex(text);
        if secret.is_err() {
            let message = "sha256 must be 64 hexadecimal digits";
            scope.problems.error(&digest.place, message, "create it with 'portcullis hash-password'");
        }
        return secret.ok();
    }
    if let Value::Map(entries) = &node.value
        && entries.iter().any(|(key, _)| key.text == "sha256")
    {
        let message = "password needs exactly one of 'sha256', 'file' and 'env'";
        scope.problems.error(
            &node.place,
            message,
            "for two passwords write a list: [{sha256: ...}, {file: ...}]",
        );
        return None;
    }
    secret::read(node, "password", scope).map(|secret| Secret::of(secret.expose_secret().as_bytes()))
}

fn credentials(
    node: &Node,
    upstreams: &Upstreams<'_>,
    scope: &mut Scope,
) -> BTreeMap<String, crate::Credentials> {
    let mut credentials = BTreeMap::new();
    for (key, node) in named(node, "upstream_credentials", &mut scope.problems) {
        let upstream = upstreams.find_named(&key.text, &key.place, scope);
        let read = upstreams::credentials(node, scope);
        if let (Some(_), Some(read)) = (upstream, read) {
            credentials.insert(key.text.clone(), read);
        }
    }
    credentials
}

impl Users<'_> {
    /// The users that a listener names; those that are unknown are noted.
    pub(super) fn list(&mut self, node: &Node, scope: &mut Scope) -> Vec<String> {
        let mut list: Vec<String> = Vec::new();
        for item in value::list(node) {
            let Some(name) = value::text(item, "users", &mut scope.problems) else { continue };
            let Some(index) = self.index.get(name) else {
                let known: Vec<&str> = self.list.iter().map(|(name, ..)| *name).collect();
                let hint = did_you_mean(name, &known, || match known.is_empty() {
                    true => "there are no users: add users: {NAME: {password: ...}}".into(),
                    false => message!("known users: {}", Masked::names(known.iter().copied())),
                });
                let message = message!("unknown user '{}'", Masked::near(name, &known));
                scope.problems.error(&item.place, message, hint);
                continue;
            };
            self.used.insert(*index);
            if list.iter().any(|known| known == name) {
                scope.problems.error(
                    &item.place,
                    message!("user '{}' is listed twice", Masked::name(name)),
                    "remove one of them",
                );
            } else {
                list.push(name.to_owned());
            }
        }
        list
    }

    /// The command rules of all users that have some.
    pub(super) fn acls(&self) -> impl Iterator<Item = &crate::Acl> {
        self.list.iter().filter_map(|(_, _, user)| user.as_ref()?.acl())
    }

    /// Warns of users that no listener names.
    pub(super) fn report_unused(&self, scope: &mut Scope) {
        for (index, (name, place, _)) in self.list.iter().enumerate() {
            if !self.used.contains(&index) {
                let hint = "add it to the users of a listener, or remove it";
                scope.problems.warning(
                    place,
                    message!("no listener names user '{}'", Masked::name(name)),
                    hint,
                );
            }
        }
    }

    /// The user of that name, unless it has a fault.
    pub(super) fn get(&self, name: &str) -> Option<&User> {
        self.index.get(name).and_then(|index| self.list.get(*index)?.2.as_deref())
    }

    /// The users among these that may run every command.
    pub(super) fn unbound<'u>(&self, names: &'u [String]) -> Vec<&'u str> {
        let unbound = |name: &&str| self.get(name).is_some_and(|user| user.acl.is_none());
        names.iter().map(String::as_str).filter(unbound).collect()
    }

    /// The users among these that may run every command under a login that they do not know themselves.
    pub(super) fn unruled<'u>(&self, names: &'u [String], upstream: &str) -> Vec<&'u str> {
        let unruled = |name: &&str| {
            self.get(name)
                .is_some_and(|user| user.acl.is_none() && user.upstream_credentials(upstream).is_none())
        };
        names.iter().map(String::as_str).filter(unruled).collect()
    }

    pub(super) fn finish(self) -> Option<Vec<Arc<User>>> {
        self.list.into_iter().map(|(_, _, user)| user).collect()
    }
}
