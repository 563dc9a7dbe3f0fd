//! One entry, wherever it stands: an address, `{cidr: ..., note: ...}`, `{host: NAME}` or `{group: NAME}`.

use std::fmt;

use portcullis_acl::{Cidr, CidrError, Entry, GroupId, Meta, PolicyBuilder, SourceId, TooMany, UnixSeconds};

use super::{Groups, Include, misplaced, url};
use crate::fields::Fields;
use crate::message::{Harmless, Masked, Message, message};
use crate::problem::Position;
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::value::{self, time};

impl Groups<'_> {
    /// One item of a list: an address, `{cidr: ..., note: ...}`, `{host: NAME}` or `{group: NAME}`.
    pub(super) fn entry(
        &mut self,
        node: &Node,
        id: GroupId,
        source: SourceId,
        policy: &mut PolicyBuilder,
        scope: &mut Scope,
    ) {
        if Some(source) == self.main {
            scope.own_entries += 1;
        }
        match &node.value {
            // "A\n - B" reads as the range "A - B".
            Value::Scalar(_) if node.folded => {
                let message = "YAML reads these lines as one value";
                let hint = "begin the line of each entry with '- ', or write [203.0.113.9, 203.0.113.0/24]";
                scope.problems.error(&node.place, message, hint);
            }
            Value::Scalar(text) => {
                if let Some(cidr) = self.address(text, id, &node.place, scope) {
                    add(id, source, cidr, &node.place, Meta::default(), policy, scope);
                }
            }
            Value::Map(_) => self.long_entry(node, id, source, policy, scope),
            Value::Null | Value::List(_) => {
                let message = message!("an entry must be an address or a mapping, not {}", node.kind());
                scope.problems.error(
                    &node.place,
                    message,
                    "write 203.0.113.0/24 or {cidr: 203.0.113.0/24, note: why}",
                );
            }
        }
    }

    fn long_entry(
        &mut self,
        node: &Node,
        id: GroupId,
        source: SourceId,
        policy: &mut PolicyBuilder,
        scope: &mut Scope,
    ) {
        if let Some(text) = broken_v6(node) {
            if let Err(error) = text.parse::<Cidr>() {
                return bad_address(&text, &error, &node.place, scope);
            }
            let message = "YAML reads this IPv6 address as a mapping";
            scope.problems.error(
                &node.place,
                message,
                message!("put it in quotes: \"{}\"", Masked::of(&text)),
            );
            return;
        }
        let Some(mut fields) = Fields::of(node, "entry", &mut scope.problems) else { return };
        if misplaced::in_entry(&mut fields, self.named(id).is_some(), scope) {
            return;
        }
        if let Some((place, node)) = fields.find("url") {
            let url = value::text(node, "url", &mut scope.problems);
            return url::refuse(url, self.named(id), place, scope);
        }
        if let Some(other) = fields.take("group") {
            if let Some(name) = value::text(other, "group", &mut scope.problems)
                && let Some(to) = self.find(name, &other.place, scope)
            {
                policy.include(id, to);
                self.includes.push(Include { from: id, to, place: other.place.clone() });
                self.edges.entry(id).or_default().push(to);
            }
            return finish_include(fields, scope);
        }
        if let Some(host) = fields.take("host") {
            self.host(host, fields, &node.place, (id, source), scope);
            return;
        }
        let cidr = fields
            .need(
                "cidr",
                "write {cidr: 203.0.113.0/24, note: why}, {host: NAME} or {group: NAME}",
                &mut scope.problems,
            )
            .and_then(|node| {
                let text = value::text(node, "cidr", &mut scope.problems)?;
                self.address(text, id, &node.place, scope)
            });
        let meta = meta(&mut fields, scope);
        fields.finish(&mut scope.problems);
        if let Some(cidr) = cidr {
            add(id, source, cidr, &node.place, meta, policy, scope);
        }
    }

    /// The name of a group; `None`: it is a list of a listener or user.
    fn named(&self, id: GroupId) -> Option<&str> {
        self.ids.iter().find(|(_, known)| **known == id).map(|(name, _)| *name)
    }

    fn address(&self, text: &str, id: GroupId, place: &Position, scope: &mut Scope) -> Option<Cidr> {
        match text.parse() {
            Ok(cidr) => Some(cidr),
            Err(error) if value::is_name(text) && !error.is_understood() => {
                let known = self.ids.contains_key(text);
                let shown = if known { Masked::name(text) } else { Masked::of(text) };
                let hint = match known {
                    true => message!("to include the group, write {{group: {}}}", shown),
                    false => {
                        "write an address such as 203.0.113.0/24, or {group: NAME} to include a group".into()
                    }
                };
                scope.problems.error(place, message!("'{}' is not an address", shown), hint);
                None
            }
            Err(_) if let Some(key) = key_of_text(text) => {
                let message = message!("YAML reads this as text and not as the key '{}'", key);
                let hint = message!("write {{{}: ...}} without quotes, and with a space behind the ':'", key);
                scope.problems.error(place, message, hint);
                None
            }
            Err(CidrError::Space) if text.trim().contains([',', ' ']) => {
                let message = message!("'{}' is one value, and no address", Masked::of(text));
                let hint = "put a list in brackets, as in [office, 203.0.113.0/24]";
                scope.problems.error(place, message, hint);
                None
            }
            Err(_) if url::is_url(text) => {
                url::refuse(Some(text), self.named(id), place, scope);
                None
            }
            Err(_) if text.strip_prefix(['!', '^', '~']).is_some_and(value::is_name) => {
                let message = message!("'{}': a list has no exceptions", Masked::of(text));
                scope.problems.error(place, message, "name the group under deny of the listener");
                None
            }
            Err(error @ CidrError::HostName) => {
                let hint = "write its address, or {host: NAME}, which looks the name up";
                refuse(text, &error, hint.into(), place, scope);
                None
            }
            Err(error) => {
                bad_address(text, &error, place, scope);
                None
            }
        }
    }
}

/// Reports keys beside `group`: an included group has its own note, owner and end.
fn finish_include(mut fields: Fields<'_>, scope: &mut Scope) {
    for key in ["note", "owner", "until"] {
        if let Some((place, _)) = fields.find(key) {
            let message = message!("'{}' does not apply to a group here", key);
            scope.problems.error(place, message, "set it in that group, or at its entries");
        }
    }
    fields.finish(&mut scope.problems);
}

/// The key of an entry with which a text begins, as `{group:office}` and `group: office` do in quotes.
fn key_of_text(text: &str) -> Option<&'static str> {
    let text = text.trim_start_matches(['{', ' ']);
    ENTRY_KEYS.into_iter().find(|key| text.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
}

/// The keys that say what an entry is.
pub(super) const ENTRY_KEYS: [&str; 3] = ["cidr", "host", "group"];

/// `note`, `owner` and `until`, of an entry or a group.
pub(super) fn meta(fields: &mut Fields<'_>, scope: &mut Scope) -> Meta {
    let mut word = |name: &'static str, scope: &mut Scope| {
        let node = fields.take(name)?;
        value::text(node, name, &mut scope.problems).map(str::to_owned)
    };
    let (note, owner) = (word("note", scope), word("owner", scope));
    let until = fields.take("until").and_then(|node| until(node, scope));
    Meta { note, owner, until, host: None }
}

fn until(node: &Node, scope: &mut Scope) -> Option<UnixSeconds> {
    let text = value::text(node, "until", &mut scope.problems)?;
    match time::parse(text) {
        Ok(until) => {
            if until <= scope.now {
                let message = message!("'until' passed at {}: the entry is ignored", until);
                scope.problems.warning(&node.place, message, "remove the entry, or set a later time");
            }
            Some(until)
        }
        Err(hint) => {
            scope.problems.error(
                &node.place,
                message!("'{}' is not a valid date and time", Masked::date_time(text)),
                hint,
            );
            None
        }
    }
}

fn add(
    group: GroupId,
    source: SourceId,
    cidr: Cidr,
    place: &Position,
    meta: Meta,
    policy: &mut PolicyBuilder,
    scope: &mut Scope,
) {
    // Programs that write list files know what they list.
    if cidr.is_for_many() && place.file == scope.file {
        let message = message!("{} is a multicast or broadcast address, which no client has", cidr);
        scope.problems.warning(place, message, "write the address of the client, or remove the entry");
    }
    if let Err(full) = policy.entry(group, source, Entry { cidr, line: place.line, meta }) {
        too_many(full, place, scope);
    }
}

pub(super) fn too_many(full: TooMany, place: &Position, scope: &mut Scope) {
    scope.problems.error(place, message!("{}", full), "write fewer and wider networks");
}

/// Notes what is no address.
pub(super) fn bad_address(text: &str, error: &CidrError, place: &Position, scope: &mut Scope) {
    refuse(text, error, message!("{}", RightForm(error)), place, scope);
}

fn refuse(text: &str, error: &CidrError, hint: Message, place: &Position, scope: &mut Scope) {
    let shown = match error.is_understood() {
        true => Masked::known(&start(text)),
        false => Masked::of(text),
    };
    let message = message!("'{}': {}", shown, error.clone());
    scope.problems.error(place, message, hint);
}

/// The beginning of a text that may be a whole list.
fn start(text: &str) -> String {
    /// Enough to recognise the entry.
    const MOST_SHOWN: usize = 80;
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The hint of an address error, which is made of parsed addresses.
struct RightForm<'e>(&'e CidrError);

impl Harmless for RightForm<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hint())
    }
}

/// `- fe80::` without quotes is a mapping of `fe80:` to nothing.
fn broken_v6(node: &Node) -> Option<String> {
    let Value::Map(entries) = &node.value else { return None };
    let [(key, value)] = entries.as_slice() else { return None };
    let text = match &value.value {
        Value::Null => format!("{}:", key.text),
        Value::Scalar(text) => format!("{}: {text}", key.text).replace(' ', ""),
        Value::List(_) | Value::Map(_) => return None,
    };
    let is_address = matches!(text.parse::<Cidr>(), Ok(_) | Err(CidrError::Unspecified { .. }));
    (text.contains("::") && is_address).then_some(text)
}
