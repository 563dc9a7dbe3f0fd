//! Changes of one item of a YAML list: its note, owner and end. Every other byte stays.

use std::ops::Range;

use yaml_edit::{Mapping, YamlNode};

use super::entry::Setting;
use super::yaml::{ODD, Splice, Stuck, after_line, content_end, line_end, line_start, range, trimmed};

/// The form that a single address gets with its first note, owner or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `{cidr: A, note: N}`
    Braces,
    /// `[{cidr: A, note: N}]`: the value of a key, where a mapping would be the group itself.
    Alone,
    /// A mapping over two lines, as other items of the list.
    Block,
}

/// Sets or removes one key of an item.
pub(super) fn change(
    text: &str,
    item: &YamlNode,
    form: Form,
    (key, value): &Setting,
) -> Result<Vec<Splice>, Stuck> {
    match (item, value) {
        (YamlNode::Scalar(_), None) => Ok(Vec::new()),
        (YamlNode::Scalar(scalar), Some(value)) => {
            let address = trimmed(text, range(&scalar.byte_range()));
            lengthen(text, address, form, &format!("{key}: {value}"))
        }
        (YamlNode::Mapping(mapping), _) => {
            let pairs = pairs(text, mapping)?;
            let known = pairs.iter().position(|pair| pair.name == *key);
            let braces = text[range(&mapping.byte_range()).start..].starts_with('{');
            match (known, value) {
                (None, None) => Ok(Vec::new()),
                (Some(at), Some(value)) => {
                    Ok(vec![Splice { range: pairs[at].value.clone(), with: value.clone() }])
                }
                (None, Some(value)) if braces => in_braces(&pairs, &format!("{key}: {value}")),
                (None, Some(value)) => in_block(text, &pairs, &format!("{key}: {value}")),
                (Some(at), None) if braces => cut_in_braces(text, &pairs, at),
                (Some(at), None) => cut_in_block(text, &pairs, at),
            }
        }
        (YamlNode::Alias(_), _) => {
            Err(Stuck::new(range(&item.byte_range()).start, "the entry is an alias of another one"))
        }
        (other, _) => Err(Stuck::new(range(&other.byte_range()).start, ODD)),
    }
}

/// A key and its value in an item that is a mapping.
struct Pair {
    name: String,
    key: Range<usize>,
    /// Without comments after it.
    value: Range<usize>,
}

fn pairs(text: &str, mapping: &Mapping) -> Result<Vec<Pair>, Stuck> {
    let start = range(&mapping.byte_range()).start;
    let odd = || Stuck::new(start, ODD);
    let pair = |entry: yaml_edit::MappingEntry| {
        let key = entry.key_node()?;
        let name = key.as_scalar()?.as_string();
        let value = range(&entry.value_node()?.byte_range());
        Some(Pair { name, key: range(&key.byte_range()), value: value.start..content_end(text, value) })
    };
    let pairs: Vec<Pair> =
        mapping.entries().map(|entry| pair(entry).ok_or_else(odd)).collect::<Result<_, _>>()?;
    // A key without a value has an empty range, which is not always beside the key.
    let placed = pairs.iter().all(|pair| !pair.value.is_empty() && pair.key.end < pair.value.start);
    if placed && !pairs.is_empty() { Ok(pairs) } else { Err(odd()) }
}

/// Makes a mapping of a single address.
fn lengthen(text: &str, address: Range<usize>, form: Form, detail: &str) -> Result<Vec<Splice>, Stuck> {
    let around = |before: &str, after: &str| {
        Ok(vec![
            Splice::insert(address.start, before),
            Splice::insert(address.end, format!(", {detail}{after}")),
        ])
    };
    match form {
        Form::Alone => around("[{cidr: ", "}]"),
        // An address in quotes may stand on another line than its dash.
        Form::Block if first_line_of_item(text, address.start).is_some() => {
            let column = address.start - line_start(text, address.start);
            let line = format!("{}{detail}", " ".repeat(column));
            Ok(vec![Splice::insert(address.start, "cidr: "), after_line(text, address.end, &line)])
        }
        Form::Braces | Form::Block => around("{cidr: ", "}"),
    }
}

/// Returns the text before an item on its line, if that is only its dash and spaces.
fn first_line_of_item(text: &str, at: usize) -> Option<&str> {
    let before = &text[line_start(text, at)..at];
    (before.trim() == "-" && !before.contains('\t')).then_some(before)
}

fn in_braces(pairs: &[Pair], detail: &str) -> Result<Vec<Splice>, Stuck> {
    let last = pairs.last().ok_or_else(|| Stuck::new(0, ODD))?;
    Ok(vec![Splice::insert(last.value.end, format!(", {detail}"))])
}

/// Adds a line below the last one of a block mapping, in the column of its first key.
fn in_block(text: &str, pairs: &[Pair], detail: &str) -> Result<Vec<Splice>, Stuck> {
    let (Some(first), Some(last)) = (pairs.first(), pairs.last()) else { return Err(Stuck::new(0, ODD)) };
    let before = &text[line_start(text, first.key.start)..first.key.start];
    if !before.chars().all(|c| c == ' ' || c == '-') {
        return Err(Stuck::new(first.key.start, ODD));
    }
    let line = format!("{}{detail}", " ".repeat(before.len()));
    Ok(vec![after_line(text, last.value.end, &line)])
}

fn cut_in_braces(text: &str, pairs: &[Pair], at: usize) -> Result<Vec<Splice>, Stuck> {
    let this = &pairs[at];
    let range = match (at.checked_sub(1).and_then(|before| pairs.get(before)), pairs.get(at + 1)) {
        (_, Some(next)) => this.key.start..next.key.start,
        (Some(before), None) => before.value.end..this.value.end,
        (None, None) => return Err(Stuck::new(this.key.start, ODD)),
    };
    without_comment(text, this, range)
}

fn cut_in_block(text: &str, pairs: &[Pair], at: usize) -> Result<Vec<Splice>, Stuck> {
    let this = &pairs[at];
    let before = line_start(text, this.key.start);
    if text[before..this.key.start].trim().is_empty() {
        return Ok(vec![Splice::cut(before..line_end(text, this.value.end))]);
    }
    // It stands beside the dash, which stays.
    let next = pairs.get(at + 1).ok_or_else(|| Stuck::new(this.key.start, ODD))?;
    without_comment(text, this, this.key.start..next.key.start)
}

/// Cuts a key with its value, unless a comment would go with it.
fn without_comment(text: &str, pair: &Pair, range: Range<usize>) -> Result<Vec<Splice>, Stuck> {
    let (before, after) =
        (&text[range.start..pair.key.start], &text[pair.value.end..range.end.max(pair.value.end)]);
    match before.contains('#') || after.contains('#') {
        true => Err(Stuck::new(pair.key.start, "a comment stands beside the key to remove")),
        false => Ok(vec![Splice::cut(range)]),
    }
}
