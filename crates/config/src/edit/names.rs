//! Adds a key to the mapping `groups`, and removes one.

use std::ops::Range;
use std::str::FromStr;

use yaml_edit::{Document, Mapping, YamlNode};

use super::flow;
use super::yaml::{
    ODD, Splice, Stuck, after_line, content_end, edit, in_braces, is_blank, line_break, line_end, line_start,
    range, trimmed,
};

const GROUPS: &str = "groups";

/// Adds a group without entries after the last one. Where other groups are block lists or there is none, its key has no
/// value, so that its first entry makes it a block list.
pub(super) fn create(text: &str, name: &str) -> Result<String, Stuck> {
    edit(text, |body| {
        let Some(groups) = groups(body)? else {
            let line = format!("{GROUPS}:{}  {name}:", line_break(body));
            return Ok(vec![after_line(body, body.len(), &line)]);
        };
        let Some(mapping) = groups.mapping else {
            // A key without groups; the rest of its line may be a comment.
            return match groups.value.is_empty() {
                true => Ok(vec![after_line(body, groups.key.end, &format!("  {name}:"))]),
                false => Ok(vec![Splice { range: groups.value, with: format!("{{{name}: []}}") }]),
            };
        };
        let pairs = pairs(body, &mapping)?;
        if in_braces(body, &mapping) {
            let whole = trimmed(body, range(&mapping.byte_range()));
            return Ok(vec![match pairs.last() {
                Some(last) => Splice::insert(last.value.end.max(last.key.end), format!(", {name}: []")),
                None => Splice { range: whole, with: format!("{{{name}: []}}") },
            }]);
        }
        let last = pairs.last().ok_or_else(|| Stuck::new(groups.key.start, ODD))?;
        let indent = &body[line_start(body, last.key.start)..last.key.start];
        if !indent.chars().all(|c| c == ' ') {
            return Err(Stuck::new(last.key.start, ODD));
        }
        let has = |form: Form| pairs.iter().any(|pair| pair.form == form);
        let value = if has(Form::Flow) && !has(Form::Block) { " []" } else { "" };
        let end = last.value.end.max(last.key.end);
        Ok(vec![after_line(body, end, &format!("{indent}{name}:{value}"))])
    })
}

/// Removes a group and its entries. Comments above it stay.
pub(super) fn delete(text: &str, name: &str) -> Result<String, Stuck> {
    edit(text, |body| {
        let groups = groups(body)?.ok_or_else(|| Stuck::new(0, ODD))?;
        let mapping = groups.mapping.ok_or_else(|| Stuck::new(groups.key.start, ODD))?;
        let pairs = pairs(body, &mapping)?;
        let at = pairs.iter().position(|pair| pair.name == name);
        let at = at.ok_or_else(|| Stuck::new(groups.key.start, ODD))?;
        let end = pairs[at].value.end.max(pairs[at].key.end);
        if in_braces(body, &mapping) {
            let whole = trimmed(body, range(&mapping.byte_range()));
            let items: Vec<Range<usize>> =
                pairs.iter().map(|pair| pair.key.start..pair.value.end.max(pair.key.end)).collect();
            return flow::remove(body, &whole, &items, at);
        }
        let lines = line_start(body, pairs[at].key.start)..line_end(body, end);
        Ok(vec![Splice::cut(lines)])
    })
}

/// The key `groups` and its value.
struct Groups {
    key: Range<usize>,
    value: Range<usize>,
    mapping: Option<Mapping>,
}

fn groups(text: &str) -> Result<Option<Groups>, Stuck> {
    if is_blank(text) {
        return Ok(None);
    }
    let document = Document::from_str(text).map_err(|_| Stuck::new(0, ODD))?;
    let top = document.as_mapping().ok_or_else(|| Stuck::new(0, ODD))?;
    for entry in top.entries() {
        let Some(key) = entry.key_node() else { continue };
        if key.as_scalar().is_none_or(|key| key.as_string() != GROUPS) {
            continue;
        }
        let key = range(&key.byte_range());
        let (value, mapping) = match entry.value_node() {
            None => (key.end..key.end, None),
            Some(YamlNode::Mapping(mapping)) => (trimmed(text, range(&mapping.byte_range())), Some(mapping)),
            Some(YamlNode::Scalar(scalar)) if scalar.is_null() => {
                (trimmed(text, range(&scalar.byte_range())), None)
            }
            Some(_) => return Err(Stuck::new(key.start, ODD)),
        };
        return Ok(Some(Groups { key, value, mapping }));
    }
    match in_braces(text, &top) {
        true => Err(Stuck::new(0, ODD)),
        false => Ok(None),
    }
}

/// The form of a group's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Block,
    Flow,
    /// A list that is empty, or in a file of its own.
    None,
}

struct Pair {
    name: String,
    key: Range<usize>,
    value: Range<usize>,
    form: Form,
}

fn pairs(text: &str, mapping: &Mapping) -> Result<Vec<Pair>, Stuck> {
    let odd = || Stuck::new(range(&mapping.byte_range()).start, ODD);
    let pair = |entry: yaml_edit::MappingEntry| {
        let key = entry.key_node()?;
        let name = key.as_scalar()?.as_string();
        let key = range(&key.byte_range());
        let node = entry.value_node();
        let value =
            node.as_ref().map(|node| range(&node.byte_range())).filter(|value| value.start >= key.end);
        let value = value.map_or(key.end..key.end, |value| value.start..content_end(text, value));
        let form = node.as_ref().map_or(Form::None, form);
        Some(Pair { name, key, value, form })
    };
    mapping.entries().map(|entry| pair(entry).ok_or_else(odd)).collect()
}

fn form(node: &YamlNode) -> Form {
    match node {
        YamlNode::Sequence(list) if list.values().next().is_none() => Form::None,
        YamlNode::Sequence(list) if list.is_flow_style() => Form::Flow,
        YamlNode::Sequence(_) => Form::Block,
        YamlNode::Mapping(long) => long.get("entries").as_ref().map_or(Form::None, form),
        _ => Form::None,
    }
}
