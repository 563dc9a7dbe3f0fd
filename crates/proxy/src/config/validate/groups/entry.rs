//! One entry, wherever it stands: an address, `{cidr: ..., note: ...}` or `{group: NAME}`.

use portcullis_acl::{Cidr, Entry, GroupId, Meta, PolicyBuilder, SourceId, TooMany, UnixSeconds};

use super::{Groups, Include};
use crate::config::fields::{Fields, shown};
use crate::config::load::Scope;
use crate::config::problem::Place;
use crate::config::raw::{Node, Value};
use crate::config::value::{self, time};

impl Groups<'_> {
    /// One item of a list: an address, `{cidr: ..., note: ...}` or `{group: NAME}`.
    pub(super) fn entry(
        &mut self,
        node: &Node,
        id: GroupId,
        source: SourceId,
        policy: &mut PolicyBuilder,
        scope: &mut Scope,
    ) {
        match &node.value {
            Value::Scalar(text) => {
                if let Some(cidr) = self.address(text, &node.place, scope) {
                    add(id, source, cidr, &node.place, Meta::default(), policy, scope);
                }
            }
            Value::Map(_) => self.long_entry(node, id, source, policy, scope),
            Value::Null | Value::List(_) => {
                let message = format!("an entry must be an address or a mapping, not {}", node.kind());
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
            let message = "an IPv6 address that YAML took for a mapping";
            scope.problems.error(&node.place, message, format!("put it in quotes: \"{text}\""));
            return;
        }
        let Some(mut fields) = Fields::of(node, "entry", &mut scope.problems) else { return };
        if let Some(other) = fields.take("group") {
            if let Some(name) = value::text(other, "group", &mut scope.problems)
                && let Some(to) = self.find(name, &other.place, scope)
            {
                policy.include(id, to);
                self.includes.push(Include { from: id, to, place: other.place.clone() });
                self.edges.entry(id).or_default().push(to);
            }
            fields.finish(&mut scope.problems);
            return;
        }
        let cidr = fields
            .need("cidr", "write {cidr: 203.0.113.0/24, note: why}, or {group: NAME}", &mut scope.problems)
            .and_then(|node| {
                let text = value::text(node, "cidr", &mut scope.problems)?;
                self.address(text, &node.place, scope)
            });
        let meta = meta(&mut fields, scope);
        fields.finish(&mut scope.problems);
        if let Some(cidr) = cidr {
            add(id, source, cidr, &node.place, meta, policy, scope);
        }
    }

    fn address(&self, text: &str, place: &Place, scope: &mut Scope) -> Option<Cidr> {
        match text.parse() {
            Ok(cidr) => Some(cidr),
            Err(_) if value::is_name(text) => {
                let hint = match self.ids.contains_key(text) {
                    true => format!("to include the group, write {{group: {text}}}"),
                    false => "write an address such as 203.0.113.0/24, or {group: NAME} to include a group"
                        .to_owned(),
                };
                scope.problems.error(place, format!("'{}' is not an address", shown(text)), hint);
                None
            }
            Err(error) => {
                scope.problems.error(place, format!("'{}': {error}", shown(text)), error.hint());
                None
            }
        }
    }
}

/// `note`, `owner` and `until`, of an entry or a group.
pub(super) fn meta(fields: &mut Fields<'_>, scope: &mut Scope) -> Meta {
    let mut word = |name: &'static str, scope: &mut Scope| {
        let node = fields.take(name)?;
        value::text(node, name, &mut scope.problems).map(str::to_owned)
    };
    let (note, owner) = (word("note", scope), word("owner", scope));
    let until = fields.take("until").and_then(|node| until(node, scope));
    Meta { note, owner, until }
}

fn until(node: &Node, scope: &mut Scope) -> Option<UnixSeconds> {
    let text = value::text(node, "until", &mut scope.problems)?;
    match time::parse(text) {
        Ok(until) => {
            if until <= scope.now {
                let message = format!("'until' passed at {}: the entry counts as absent", time::show(until));
                scope.problems.warning(&node.place, message, "remove the entry, or set a later moment");
            }
            Some(until)
        }
        Err(hint) => {
            scope.problems.error(&node.place, format!("'{}' is not a moment", shown(text)), hint);
            None
        }
    }
}

fn add(
    group: GroupId,
    source: SourceId,
    cidr: Cidr,
    place: &Place,
    meta: Meta,
    policy: &mut PolicyBuilder,
    scope: &mut Scope,
) {
    if let Err(full) = policy.entry(group, source, Entry { cidr, line: place.line, meta }) {
        too_many(full, place, scope);
    }
}

pub(super) fn too_many(full: TooMany, place: &Place, scope: &mut Scope) {
    scope.problems.error(place, full.to_string(), "");
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
    (text.contains("::") && text.parse::<Cidr>().is_ok()).then_some(text)
}
