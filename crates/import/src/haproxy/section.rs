//! The grammar of haproxy.cfg: sections, lines, words.

use std::fmt;

use portcullis_config::message::{Message, message};

use crate::notes::{Notes, What};

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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
    /// Its first line.
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// `from NAME`.
    from: Option<String>,
}

/// One line, unquoted.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) words: Vec<String>,
}

impl Section {
    /// Its own `mode`, that of its defaults, or HAProxy's.
    pub(super) fn mode(&self, sections: &[Self]) -> String {
        let said = |section: &Self| {
            let line = section.lines.iter().rev().find(|line| line.word(0) == "mode");
            line.map(|line| line.word(1).to_owned())
        };
        said(self).or_else(|| said(self.defaults(sections)?)).unwrap_or_else(|| "tcp".to_owned())
    }

    /// The defaults section that is named, or else the last one before.
    pub(super) fn defaults<'s>(&self, sections: &'s [Self]) -> Option<&'s Self> {
        let mut defaults = sections.iter().filter(|section| section.kind == Kind::Defaults);
        match &self.from {
            Some(name) => defaults.find(|section| section.name == *name),
            None => defaults.rfind(|section| section.line < self.line),
        }
    }
}

impl Line {
    /// Empty where there are fewer.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

impl What for &Line {
    fn message(self, notes: &Notes) -> Message {
        message!("{}", notes.quote(&self.to_string()))
    }
}

/// All sections of a file.
pub(super) fn read(text: &str, notes: &mut Notes) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, written) in (1..).zip(text.lines()) {
        let words = words(written);
        let line = Line { number, words };
        if line.words.is_empty() {
            continue;
        }
        if let Some(section) = title(&line) {
            notes.learn(&section.name);
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
        "defaults" => Kind::Defaults,
        "frontend" => Kind::Frontend,
        "backend" => Kind::Backend,
        "listen" => Kind::Listen,
        "global" | "peers" | "resolvers" | "userlist" | "mailers" | "program" | "ring" | "cache"
        | "fcgi-app" | "http-errors" | "log-forward" | "crt-store" | "traces" | "log-profile" => Kind::Other,
        _ => return None,
    };
    let from =
        line.words.iter().position(|word| word == "from").and_then(|at| line.words.get(at + 1)).cloned();
    let name = if line.word(1) == "from" { String::new() } else { line.word(1).to_owned() };
    Some(Section { kind, name, line: line.number, title: line.to_string(), lines: Vec::new(), from })
}

/// Words as HAProxy splits them: a backslash escapes, single quotes keep, double quotes keep all but escapes, and `#`
/// begins a comment anywhere outside quotes.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '#') => break,
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
