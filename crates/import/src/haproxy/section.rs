//! The grammar of haproxy.cfg: sections, lines and words.

use std::fmt;

use portcullis_config::message::{Message, message};

use crate::notes::{Notes, What};

/// The kind of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Global,
    Defaults,
    Frontend,
    Backend,
    Listen,
    Other,
}

/// A section with its lines.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) line: usize,
    /// The first line of the section, as it is written.
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// Whether a condition or a variable decides if the section exists, or which lines it has.
    pub(super) uncertain: bool,
    /// The name in `from NAME`, which chooses a defaults section.
    from: Option<String>,
}

/// One line of a section.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    /// The words as HAProxy reads them, without quotes and escapes.
    pub(super) words: Vec<String>,
    /// Whether the line is inside `.if`, or contains a variable of the environment.
    pub(super) uncertain: bool,
    /// The line as it is written, without its comment.
    written: String,
}

/// The defaults sections from which a section takes its settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults<'s> {
    /// The sections in the order in which they apply: a later one overrides an earlier one.
    pub(super) sections: Vec<&'s Section>,
    /// The line of a section whose `from` names no defaults section for certain. `None` if every name is known.
    pub(super) unknown: Option<usize>,
}

impl Section {
    /// Returns the `mode` of the section, of its defaults sections, or HAProxy's default `tcp`.
    pub(super) fn mode(&self, sections: &[Self]) -> String {
        let said = |section: &Self| {
            let line = section.lines.iter().rev().find(|line| line.word(0) == "mode");
            line.map(|line| line.word(1).to_owned())
        };
        let inherited = || self.defaults(sections).sections.into_iter().rev().find_map(said);
        said(self).or_else(inherited).unwrap_or_else(|| "tcp".to_owned())
    }

    /// Follows `from` through all levels. A section without `from` takes the settings of the last defaults section
    /// before it. A defaults section without `from` takes none.
    pub(super) fn defaults<'s>(&self, sections: &'s [Self]) -> Defaults<'s> {
        let all = || sections.iter().filter(|section| section.kind == Kind::Defaults);
        let mut found = Defaults::default();
        let (mut line, mut from) = (self.line, self.from.as_deref());
        if from.is_none() && self.kind != Kind::Defaults {
            let Some(last) = all().rfind(|section| section.line < line) else { return found };
            found.sections.push(last);
            (line, from) = (last.line, last.from.as_deref());
        }
        // Each step leads to an earlier line, as in HAProxy, so a cycle ends as an unknown name.
        while let Some(name) = from {
            let mut named = all().filter(|section| section.name == name && !name.is_empty());
            match (named.next(), named.next()) {
                (Some(next), None) if next.line < line => {
                    found.sections.push(next);
                    (line, from) = (next.line, next.from.as_deref());
                }
                _ => {
                    found.unknown = Some(line);
                    break;
                }
            }
        }
        found.sections.reverse();
        found
    }
}

impl Line {
    /// Returns the word at this index, or an empty string if the line has fewer words.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl What for &Line {
    fn message(self, notes: &Notes) -> Message {
        message!("{}", notes.quote(&self.written))
    }
}

/// Reads all sections of a file, and adds their names to those that notes may show.
pub(super) fn read(text: &str, notes: &mut Notes) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut conditions = 0_usize;
    for (number, written) in (1..).zip(text.lines()) {
        let mut line = words(number, written);
        match line.word(0) {
            "" => continue,
            ".if" => conditions += 1,
            ".endif" => conditions = conditions.saturating_sub(1),
            _ => {}
        }
        if line.word(0).starts_with('.') {
            if line.word(0) == ".if" {
                notes.left_out(number, &line, "whether the lines under it hold is not known here");
            }
            continue;
        }
        line.uncertain |= conditions > 0;
        if let Some(section) = title(&line) {
            notes.learn(&section.name);
            // If the condition is false, the lines after this title belong to the section before it.
            if let Some(before) = sections.last_mut().filter(|_| section.uncertain) {
                before.uncertain = true;
            }
            sections.push(section);
            continue;
        }
        if matches!(line.word(0), "acl" | "server") {
            notes.learn(line.word(1));
        }
        match sections.last_mut() {
            Some(section) => section.lines.push(line),
            None => notes.left_out(number, &line, "it stands in no section"),
        }
    }
    sections
}

fn title(line: &Line) -> Option<Section> {
    let kind = match line.word(0) {
        "global" => Kind::Global,
        "defaults" => Kind::Defaults,
        "frontend" => Kind::Frontend,
        "backend" => Kind::Backend,
        "listen" => Kind::Listen,
        "peers" | "resolvers" | "userlist" | "mailers" | "program" | "ring" | "cache" | "fcgi-app"
        | "http-errors" | "log-forward" | "crt-store" | "traces" | "log-profile" | "acme" => Kind::Other,
        _ => return None,
    };
    let from =
        line.words.iter().position(|word| word == "from").and_then(|at| line.words.get(at + 1)).cloned();
    let name = if line.word(1) == "from" { String::new() } else { line.word(1).to_owned() };
    Some(Section {
        kind,
        name,
        line: line.number,
        title: line.to_string(),
        lines: Vec::new(),
        uncertain: line.uncertain,
        from,
    })
}

/// Splits a line into words as HAProxy does. A backslash escapes a character. Single quotes keep all characters; double
/// quotes keep all but escapes and variables. Outside quotes, `#` begins a comment.
fn words(number: usize, line: &str) -> Line {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.char_indices().peekable();
    let (mut quote, mut uncertain, mut end) = (None, false, line.len());
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, '#') => {
                end = at;
                break;
            }
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                let word = word.get_or_insert_default();
                match chars.next().map(|(_, c)| c) {
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some('x') => {
                        let code: String = (0..2).filter_map(|_| chars.next()).map(|(_, c)| c).collect();
                        word.extend(u8::from_str_radix(&code, 16).map(char::from));
                    }
                    c => word.extend(c),
                }
            }
            (open, c) => {
                // Outside double quotes HAProxy does not replace variables.
                uncertain |= c == '$' && open == Some('"');
                word.get_or_insert_default().push(c);
            }
        }
    }
    words.extend(word);
    let written = line.get(..end).unwrap_or(line).trim().to_owned();
    Line { number, words, uncertain, written }
}
