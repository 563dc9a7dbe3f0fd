//! Adds items to a YAML list and removes them; every other byte of the text stays.
//!
//! yaml-edit finds the positions; the text is cut and joined here, so that no other part is even parsed for output.
//! The caller checks that the outcome means what was asked for: it parses the new text.

use std::ops::Range;
use std::str::FromStr;

use yaml_edit::{Document, Mapping, Sequence, YamlNode};

use super::entry::{NewEntry, Setting};
use super::flow;
use super::item::{self, Form};

/// The reason why a list cannot be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    /// The offset in the text.
    pub(super) at: usize,
    pub(super) why: &'static str,
}

impl Stuck {
    pub(super) fn new(at: usize, why: &'static str) -> Self {
        Self { at, why }
    }
}

/// A piece of the text and its replacement.
pub(super) struct Splice {
    pub(super) range: Range<usize>,
    pub(super) with: String,
}

impl Splice {
    pub(super) fn insert(at: usize, with: impl Into<String>) -> Self {
        Self { range: at..at, with: with.into() }
    }

    pub(super) fn cut(range: Range<usize>) -> Self {
        Self { range, with: String::new() }
    }
}

/// Adds the entries at the end of the list at the keys; no keys: the document is the list.
pub(super) fn append(text: &str, keys: &[&str], entries: &[&NewEntry]) -> Result<String, Stuck> {
    let items: Vec<String> = entries.iter().map(|entry| entry.as_yaml()).collect();
    edit(text, |body| match find(body, keys)? {
        Spot::Document => Ok(vec![append_lines(body, body.len(), "", &items)]),
        Spot::Nothing { below: Some(key), .. } => {
            let indent = format!("{}  ", &body[line_start(body, key)..key]);
            Ok(vec![append_lines(body, line_end(body, key), &indent, &items)])
        }
        Spot::Nothing { range, below: None } => {
            let gap = if range.is_empty() { " " } else { "" };
            Ok(vec![Splice { range, with: format!("{gap}[{}]", items.join(", ")) }])
        }
        Spot::Single { range, .. } => {
            let with = format!("[{}, {}]", &body[range.clone()], items.join(", "));
            Ok(vec![Splice { range, with }])
        }
        Spot::Flow { whole, items: known, .. } => flow::append(body, &whole, &known, &items),
        Spot::Block { items: known, .. } => {
            let last = known.last().ok_or_else(|| Stuck::new(0, ODD))?;
            let indent = &body[line_start(body, last.dash)..last.dash];
            let blocks: Vec<String> = match has_block_mappings(body, &known) {
                true => {
                    let between = format!("{}{indent}  ", line_break(body));
                    entries.iter().map(|entry| block_item(entry).join(&between)).collect()
                }
                false => items,
            };
            Ok(vec![append_lines(body, line_end(body, last.end), indent, &blocks)])
        }
    })
}

/// Sets or removes keys of the item with that index in the list at the keys.
pub(super) fn change(text: &str, keys: &[&str], index: usize, settings: &[Setting]) -> Result<String, Stuck> {
    // One after the other, each in the text that the one before left.
    settings.iter().try_fold(text.to_owned(), |text, setting| {
        edit(&text, |body| {
            let (node, form) = match find(body, keys)? {
                Spot::Single { node, .. } if index == 0 => (Some(node), Form::Alone),
                Spot::Flow { mut nodes, .. } if index < nodes.len() => {
                    (Some(nodes.swap_remove(index)), Form::Braces)
                }
                Spot::Block { mut items, .. } if index < items.len() => {
                    let form = if has_block_mappings(body, &items) { Form::Block } else { Form::Braces };
                    (Some(items.swap_remove(index).node), form)
                }
                _ => (None, Form::Braces),
            };
            item::change(body, &node.ok_or_else(|| Stuck::new(0, ODD))?, form, setting)
        })
    })
}

/// Removes the item with that index from the list at the keys. A block list that becomes empty leaves its key without a
/// value, so that the next entry makes it a block list again.
pub(super) fn remove(text: &str, keys: &[&str], index: usize) -> Result<String, Stuck> {
    edit(text, |body| match find(body, keys)? {
        Spot::Single { range, .. } if index == 0 => Ok(vec![Splice { range, with: "[]".to_owned() }]),
        Spot::Flow { whole, items, .. } => flow::remove(body, &whole, &items, index),
        Spot::Block { items } => {
            let item = items.get(index).ok_or_else(|| Stuck::new(0, ODD))?;
            Ok(vec![Splice::cut(line_start(body, item.dash)..line_end(body, item.end))])
        }
        Spot::Document | Spot::Nothing { .. } | Spot::Single { .. } => Err(Stuck::new(0, ODD)),
    })
}

/// Applies the changes. Offsets count from after a byte order mark, which yaml-edit would take for text.
pub(super) fn edit(
    text: &str,
    make: impl FnOnce(&str) -> Result<Vec<Splice>, Stuck>,
) -> Result<String, Stuck> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = text.len() - body.len();
    let mut splices = make(body).map_err(|stuck| Stuck { at: stuck.at + mark, ..stuck })?;
    splices.sort_by_key(|splice| splice.range.start);
    let mut result = text[..mark].to_owned();
    let mut done = 0;
    for splice in splices {
        result.push_str(body.get(done..splice.range.start).ok_or_else(|| Stuck::new(done, ODD))?);
        result.push_str(&splice.with);
        done = splice.range.end;
    }
    result.push_str(body.get(done..).ok_or_else(|| Stuck::new(done, ODD))?);
    Ok(result)
}

/// The value at the place of the list.
enum Spot {
    /// A document that has only comments.
    Document,
    /// A key without a value, or with a word for null, at this range. `below` is the start of a key below which block
    /// items can stand.
    Nothing { range: Range<usize>, below: Option<usize> },
    /// A single value, which counts as a list of one item.
    Single { range: Range<usize>, node: YamlNode },
    /// `[...]`
    Flow { whole: Range<usize>, items: Vec<Range<usize>>, nodes: Vec<YamlNode> },
    /// Lines that begin with a dash.
    Block { items: Vec<Dashed> },
}

struct Dashed {
    dash: usize,
    /// The offset after the last character that is neither space nor comment.
    end: usize,
    node: YamlNode,
}

/// Whether the last entry that is a mapping stands on several lines.
fn has_block_mappings(text: &str, items: &[Dashed]) -> bool {
    let last = items.iter().rev().find_map(|item| match &item.node {
        // Includes are mappings as well, and say nothing about entries.
        YamlNode::Mapping(mapping) if mapping.contains_key("cidr") => Some(mapping),
        _ => None,
    });
    last.is_some_and(|mapping| !in_braces(text, mapping))
}

/// Returns the lines of an entry in a list of block mappings; a bare address stays one.
fn block_item(entry: &NewEntry) -> Vec<String> {
    if entry.is_bare() { vec![entry.address()] } else { entry.as_lines() }
}

pub(super) const ODD: &str = "the list is written in a form that cannot be edited";
const ALIAS: &str = "the list is an alias of another list";

fn find(text: &str, keys: &[&str]) -> Result<Spot, Stuck> {
    if keys.is_empty() && is_blank(text) {
        return Ok(Spot::Document);
    }
    let document = Document::from_str(text).map_err(|_| Stuck::new(0, ODD))?;
    let Some((last, parents)) = keys.split_last() else {
        let list = document.as_sequence().ok_or_else(|| Stuck::new(0, ODD))?;
        return sequence(text, &list);
    };
    let mut mapping = document.as_mapping().ok_or_else(|| Stuck::new(0, ODD))?;
    for key in parents {
        let (_, value) = child(&mapping, key).ok_or_else(|| Stuck::new(0, ODD))?;
        mapping = match value {
            Some(YamlNode::Mapping(mapping)) => mapping,
            Some(node @ YamlNode::Alias(_)) => {
                return Err(Stuck::new(range(&node.byte_range()).start, ALIAS));
            }
            _ => return Err(Stuck::new(0, ODD)),
        };
    }
    let (key, value) = child(&mapping, last).ok_or_else(|| Stuck::new(0, ODD))?;
    match value {
        Some(YamlNode::Sequence(list)) => sequence(text, &list),
        Some(node @ YamlNode::Alias(_)) => Err(Stuck::new(range(&node.byte_range()).start, ALIAS)),
        Some(YamlNode::Scalar(scalar)) if scalar.is_null() => {
            let range = trimmed(text, range(&scalar.byte_range()));
            if !range.is_empty() {
                return Ok(Spot::Nothing { range, below: None });
            }
            let at = bare_value(text, key.end)?;
            // In braces the key is not alone on its line.
            let alone = text[line_start(text, key.start)..key.start].chars().all(|c| c == ' ');
            let open = !text[at..].trim_start_matches([' ', '\t']).starts_with([',', '}']);
            Ok(Spot::Nothing {
                range: at..at,
                below: (alone && open && !in_braces(text, &mapping)).then_some(key.start),
            })
        }
        Some(node @ (YamlNode::Scalar(_) | YamlNode::Mapping(_))) => {
            let range = trimmed(text, range(&node.byte_range()));
            let block = node.is_mapping() && !text[range.clone()].starts_with('{');
            if block || text[range.clone()].contains('\n') {
                return Err(Stuck::new(range.start, "one entry over several lines instead of a list"));
            }
            Ok(Spot::Single { range, node })
        }
        Some(YamlNode::TaggedNode(_)) | None => Err(Stuck::new(key.start, ODD)),
    }
}

/// The range of a key and its value.
fn child(mapping: &Mapping, name: &str) -> Option<(Range<usize>, Option<YamlNode>)> {
    mapping.entries().find_map(|entry| {
        let key = entry.key_node()?;
        let found = key.as_scalar().is_some_and(|key| key.as_string() == name);
        found.then(|| (range(&key.byte_range()), entry.value_node()))
    })
}

/// Whether a mapping is written in braces, where a line break means nothing.
pub(super) fn in_braces(text: &str, mapping: &Mapping) -> bool {
    text[range(&mapping.byte_range()).start..].starts_with('{')
}

fn sequence(text: &str, list: &Sequence) -> Result<Spot, Stuck> {
    let whole = trimmed(text, range(&list.byte_range()));
    if list.is_flow_style() {
        let nodes: Vec<YamlNode> = list.values().collect();
        let items = nodes.iter().map(|item| trimmed(text, range(&item.byte_range()))).collect();
        return Ok(Spot::Flow { whole, items, nodes });
    }
    let mut items = Vec::new();
    let mut before = whole.start;
    for node in list.values() {
        let range = range(&node.byte_range());
        let dash = dash(text, before, range.start).ok_or_else(|| Stuck::new(range.start, ODD))?;
        let end = content_end(text, range);
        items.push(Dashed { dash, end, node });
        before = end;
    }
    Ok(Spot::Block { items })
}

/// Finds the dash of an item: the first character of the last line that begins with a dash, between the previous item
/// and this one. Only comments can be between them.
fn dash(text: &str, from: usize, to: usize) -> Option<usize> {
    let mut end = to;
    loop {
        let start = line_start(text, end);
        let line = text.get(start..to)?;
        let first = start + (line.len() - line.trim_start_matches(' ').len());
        // The item before may end on this line; its own dash is no candidate.
        if first < from {
            return None;
        }
        if text.get(first..)?.starts_with('-') && first < to {
            return Some(first);
        }
        end = start.checked_sub(1)?;
    }
}

/// The offset where a value can be inserted after a key that has none on its line.
fn bare_value(text: &str, key_end: usize) -> Result<usize, Stuck> {
    let rest = &text[key_end..];
    let colon = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let at = key_end + colon + 1;
    let tail = text.get(at..line_end(text, at)).unwrap_or_default().trim_start_matches([' ', '\t']);
    let bare = tail.trim_end().is_empty() || tail.starts_with(['#', ',', '}']);
    if rest[colon..].starts_with(':') && bare { Ok(at) } else { Err(Stuck::new(key_end, ODD)) }
}

/// Adds items at `at`, which is after a line break or at the end of the text.
fn append_lines(text: &str, at: usize, indent: &str, items: &[String]) -> Splice {
    let line_break = line_break(text);
    let lines = items.iter().map(|item| format!("{indent}- {item}")).collect::<Vec<_>>().join(line_break);
    if at == 0 || text[..at].ends_with('\n') {
        return Splice::insert(at, format!("{lines}{line_break}"));
    }
    Splice::insert(at, format!("{line_break}{lines}"))
}

/// Adds a line, or several, below the line that contains `at`.
pub(super) fn after_line(text: &str, at: usize, line: &str) -> Splice {
    let (end, line_break) = (line_end(text, at), line_break(text));
    match text[..end].ends_with('\n') {
        true => Splice::insert(end, format!("{line}{line_break}")),
        false => Splice::insert(end, format!("{line_break}{line}")),
    }
}

/// Returns the line break that the text uses.
pub(super) fn line_break(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// The start of the line that contains `at`.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |before| before + 1)
}

/// Returns the offset after the line break that follows `at`, or the end of the text.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |more| at + more + 1)
}

pub(super) fn content_end(text: &str, range: Range<usize>) -> usize {
    let mut end = trimmed(text, range.clone()).end;
    loop {
        let start = line_start(text, end);
        if start <= range.start || !text[start..end].trim_start().starts_with('#') {
            return end;
        }
        end = trimmed(text, range.start..start).end;
    }
}

pub(super) fn is_blank(text: &str) -> bool {
    let nothing = |line: &str| line.is_empty() || line == "---" || line.starts_with('#');
    text.lines().all(|line| nothing(line.trim()))
}

pub(super) fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    range.start..range.start + text[range.clone()].trim_end().len()
}

pub(super) fn range(position: &yaml_edit::TextPosition) -> Range<usize> {
    let whole = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
    whole(position.start)..whole(position.end)
}
