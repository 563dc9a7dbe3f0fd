//! A YAML file as a tree in which every key and value knows its line and column, duplicate keys included.
//!
//! Values keep the spelling of the file, so that `0777` or `1:20` is refused as what was written and not taken for
//! a number YAML saw in it; whether a word was quoted is known as well.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

use super::problem::{Position, Problems};
use crate::message::{Harmless, Message, message};

/// The deepest valid nesting is 8; the parser's own stack is safe far beyond this.
const MAX_DEPTH: usize = 64;
/// Keys and values of one file, aliases expanded. Longer lists belong in plain text files, which need a tenth of
/// the memory.
const MAX_NODES: usize = 200_000;
/// Values that aliases repeat, in all.
const MAX_REPEATED: usize = 50_000;

/// Bytes of all values, aliases expanded: twice what a file may have.
const MAX_TEXT: usize = 16 << 20;

/// A value and where it begins; for an alias, where the alias is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Position,
    pub(super) value: Value,
    /// Whether YAML made one value of several lines without quotes.
    pub(super) folded: bool,
}

#[derive(Debug)]
pub(super) enum Value {
    /// An empty value, or `~` or `null` without quotes.
    Null,
    /// The text, as spelled in the file where it was not quoted.
    Scalar(String),
    List(Vec<Node>),
    /// A mapping in the order of the file, with duplicates. A key is a scalar's text, or else empty.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) place: Position,
    pub(super) text: String,
}

impl Node {
    /// The kind of value, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "an empty value",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reads one document; an empty one is an empty mapping. `None`: the text cannot be parsed.
pub(super) fn parse(text: &str, file: &Arc<str>, problems: &mut Problems) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_yaml::from_str_with_options::<Option<Spanned<Loose>>>(text, options()) {
        Ok(Some(tree)) => Some(Builder { text, file }.node(tree)),
        Ok(None) => {
            Some(Node { place: Position::start_of(file), value: Value::Map(Vec::new()), folded: false })
        }
        Err(error) => {
            let place = match error.location() {
                Some(at) => Builder { text, file }.place(at),
                None => Position::start_of(file),
            };
            let (message, hint) = explain(&error);
            problems.error(&place, message, hint);
            None
        }
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 3,
            max_total_scalar_bytes: MAX_TEXT,
            max_documents: 1,
        },
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        merge_keys: serde_yaml::MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// A value as YAML sees it; its text is looked up in the source.
enum Loose {
    Null,
    Text(String),
    /// A bool or a number: only the spelling counts.
    Other(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Other(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
        Ok(Loose::Other(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
        Ok(Loose::Other(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Loose, E> {
        Ok(Loose::Other(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Loose, E> {
        Ok(Loose::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Loose, E> {
        Ok(Loose::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Loose::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Loose, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Loose::Map(map))
    }
}

struct Builder<'t> {
    text: &'t str,
    file: &'t Arc<str>,
}

impl Builder<'_> {
    /// Recursion is bounded by [`MAX_DEPTH`].
    fn node(&self, loose: Spanned<Loose>) -> Node {
        let place = self.place(loose.referenced);
        let source = self.source(loose.defined);
        let is_plain = |source: &&str| !source.starts_with(['"', '\'', '|', '>', '&', '*', '!']);
        let is_text = matches!(loose.value, Loose::Text(_));
        let folded =
            is_text && source.filter(is_plain).is_some_and(|source| source.trim_end().contains('\n'));
        let value = match loose.value {
            Loose::Null => Value::Null,
            Loose::Text(text) => Value::Scalar(text),
            Loose::Other(text) => Value::Scalar(source.map_or(text, |source| source.trim().to_owned())),
            Loose::List(list) => Value::List(list.into_iter().map(|item| self.node(item)).collect()),
            Loose::Map(map) => {
                Value::Map(map.into_iter().map(|(key, value)| (self.key(key), self.node(value))).collect())
            }
        };
        Node { place, value, folded }
    }

    fn key(&self, loose: Spanned<Loose>) -> Key {
        let node = self.node(loose);
        let text = match node.value {
            Value::Scalar(text) => text,
            Value::Null | Value::List(_) | Value::Map(_) => String::new(),
        };
        Key { place: node.place, text }
    }

    fn place(&self, at: Location) -> Position {
        let whole = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        Position { file: Arc::clone(self.file), line: whole(at.line()), column: whole(at.column()) }
    }

    fn source(&self, at: Location) -> Option<&str> {
        let from = usize::try_from(at.span().byte_offset()?).ok()?;
        let len = usize::try_from(at.span().byte_len()?).ok()?;
        self.text.get(from..from.checked_add(len)?)
    }
}

const DEEP: &str = "a configuration has at most eight levels";

/// The parser's message without the place, and a hint for common mistakes.
fn explain(error: &serde_yaml::Error) -> (Message, Message) {
    use serde_yaml::{Error, budget::BudgetBreach};
    let (message, hint) = match error.without_snippet() {
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => ("nested too deeply", DEEP),
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            ("more than one YAML document", "remove the '---' line: a file holds one document")
        }
        Error::Budget { .. } => (
            "too many values",
            "move long address lists to plain-text files, one address per line, and name them with {file: PATH}",
        ),
        Error::MergeKeyNotAllowed { .. } => (
            "merge keys (<<) are not supported",
            "put settings that all listeners share into listener_defaults",
        ),
        Error::UnsupportedTag { .. } => (
            "unsupported tag",
            "put quotes around a value that begins with '!'; addresses to refuse go into a list under deny",
        ),
        Error::UnknownAnchor { .. } => ("alias references unknown anchor", QUOTES),
        Error::Eof { .. } => {
            ("the file ends too early", "close the last bracket or quote, or copy the whole file again")
        }
        Error::ExternalMessage { msg, .. } => return explain_syntax(msg),
        other => match other.to_string() {
            text if text.starts_with("alias replay") || text.starts_with("alias expansion") => {
                ("aliases expand to too many values", "write the values out")
            }
            // The text may hold values of the file.
            _ => ("this is not valid YAML for a configuration", QUOTES),
        },
    };
    (message.into(), hint.into())
}

const QUOTES: &str = "put quotes around the value";

/// A text of the scanner, which has the file's characters in quotes only.
struct Syntax<'t>(&'t str);

impl Harmless for Syntax<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn explain_syntax(text: &str) -> (Message, Message) {
    // Quoted text comes from the file: it may be a password that looks like YAML syntax.
    let text = match text.split_once('`') {
        Some((before, quoted)) if quoted.chars().count() > 2 => before.trim_end(),
        _ => text,
    };
    let hint = if text.starts_with("recursion limit") {
        return ("nested too deeply".into(), DEEP.into());
    } else if text.contains("unclosed") {
        "close the bracket or the quote"
    } else if text.contains("tabs disallowed") || text.contains("found a tab") {
        "indent with spaces, not with tabs"
    } else if text.contains("block collection") || text.contains("block mapping") {
        "check the indentation: begin this line in the same column as the other lines of its list or mapping"
    } else if text.contains("anchor or alias") {
        "put quotes around a value that begins with '*' or '&'; in a list of addresses, everybody is 0.0.0.0/0"
    } else if text.contains("simple key expected") {
        // The scanner's own words name a rule of the grammar.
        return (
            "this line is neither 'key: value' nor '- value'".into(),
            "write a space behind '-' and behind ':', and check the indentation".into(),
        );
    } else if text.contains("did not find expected") {
        "close the bracket, and put quotes around values with ':' or ',' in them"
    } else if text.contains("mapping values are not allowed") || text.contains("placement of ':'") {
        return (
            "no key can begin here: YAML reads this ':' inside another value".into(),
            "check the indentation, and the line above for a missing ':'; put quotes around values with ': ' in them \
             or ':' at their end, such as \"2001:db8::\""
                .into(),
        );
    } else if ["unexpected character", "tag", "alias"].iter().any(|word| text.contains(word)) {
        QUOTES
    } else {
        "check the indentation of this line and the one above, and put quotes around the value"
    };
    let clean = text.replace(char::is_control, " ");
    (message!("{}", Syntax(&clean)), hint.into())
}
