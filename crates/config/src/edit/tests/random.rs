//! Random files with comments, random edits: every other line stays byte for byte, and the outcome says what was meant.

use proptest::prelude::*;

use super::*;

/// The form of a list.
#[derive(Clone, Copy, Debug)]
enum Style {
    Block,
    BlockMaps,
    Flow,
    FlowLines,
    Plain,
    ListFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Remove,
    Note,
}

#[derive(Clone, Debug)]
struct Case {
    style: Style,
    indent: usize,
    /// Last numbers of addresses, and what stands above and behind each.
    entries: Vec<(u8, u8, u8)>,
    crlf: bool,
    mark: bool,
    open_end: bool,
    /// The last number of an address, and what is to become of it.
    edits: Vec<(u8, Verb)>,
}

fn case() -> impl Strategy<Value = Case> {
    let styles = prop::sample::select(vec![
        Style::Block,
        Style::BlockMaps,
        Style::Flow,
        Style::FlowLines,
        Style::Plain,
        Style::ListFile,
    ]);
    let entries = prop::collection::vec((0_u8..24, 0_u8..5, 0_u8..5), 0..8);
    let verbs = prop::sample::select(vec![Verb::Add, Verb::Remove, Verb::Note]);
    let edits = prop::collection::vec((0_u8..24, verbs), 1..6);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (styles, 0_usize..3, entries, flags, edits).prop_map(
        |(style, indent, mut entries, (crlf, mark, open_end), edits)| {
            let mut seen = Vec::new();
            entries.retain(|(last, _, _)| {
                !seen.contains(last) && {
                    seen.push(*last);
                    true
                }
            });
            Case { style, indent, entries, crlf, mark, open_end, edits }
        },
    )
}

fn address(last: u8) -> String {
    if last.is_multiple_of(3) {
        format!("2001:db8::{:x}", last + 1)
    } else {
        format!("192.0.2.{}", last + 100)
    }
}

fn above(kind: u8, indent: &str) -> String {
    match kind {
        0 => format!("{indent}# - 192.0.2.200, and # more: [x]\n"),
        1 => "\n".to_owned(),
        2 => format!("# not indented\n{indent}  # deeper\n"),
        _ => String::new(),
    }
}

fn behind(kind: u8) -> &'static str {
    match kind {
        0 => " # note",
        1 => "   #, ] } \"",
        2 => "  ",
        _ => "",
    }
}

impl Case {
    fn quoted(last: u8, kind: u8) -> String {
        let address = address(last);
        match (kind, address.contains(':')) {
            (0, _) => format!("'{address}'"),
            (1, _) | (_, true) => format!("\"{address}\""),
            _ => address,
        }
    }

    fn item(&self, (last, over, kind): (u8, u8, u8), indent: &str) -> String {
        let quoted = Self::quoted(last, over ^ kind);
        match (self.style, kind) {
            (Style::BlockMaps, 0 | 1) => {
                format!("cidr: {quoted}{}\n{indent}  note: two # words\n{indent}  owner: ops", behind(over))
            }
            (Style::BlockMaps, 2) => {
                format!("note: |\n{indent}    a # b\n{indent}    - c\n{indent}  cidr: {quoted}")
            }
            (Style::BlockMaps | Style::Flow | Style::FlowLines, 3) => {
                format!("{{cidr: {quoted}, note: \"a, ] # b\"}}")
            }
            _ => quoted,
        }
    }

    /// The list as it stands below its key, or in its own file.
    fn list(&self) -> String {
        let indent = match self.style {
            Style::ListFile => String::new(),
            _ => " ".repeat(2 + self.indent),
        };
        let items = self.entries.iter();
        match self.style {
            Style::Plain => items
                .map(|entry| format!("{}{}{}\n", above(entry.1, ""), address(entry.0), behind(entry.2)))
                .collect(),
            Style::Block | Style::BlockMaps | Style::ListFile => items
                .map(|entry| {
                    let end = if matches!(self.style, Style::BlockMaps) { "" } else { behind(entry.2) };
                    format!("{}{indent}- {}{end}\n", above(entry.1, &indent), self.item(*entry, &indent))
                })
                .collect(),
            Style::Flow => {
                let items: Vec<String> = items.map(|entry| self.item(*entry, "")).collect();
                format!("[{}]", items.join(if self.indent == 0 { "," } else { ", " }))
            }
            Style::FlowLines => {
                let items: String = items
                    .map(|entry| {
                        format!(
                            "{}{indent}{},{}\n",
                            above(entry.1, &indent),
                            self.item(*entry, &indent),
                            behind(entry.2)
                        )
                    })
                    .collect();
                format!("[ # begin\n{items}  ]")
            }
        }
    }

    /// The main file, and the group's own where it has one.
    fn files(&self) -> (String, Option<String>) {
        let list = self.list();
        let head = "# top\ngroups:\n  before: [10.0.0.1] # stays\n";
        let tail = format!("  # after\n  after:\n    - 10.0.0.2\n{FRAME}");
        match self.style {
            Style::Plain => (format!("{head}  office: {{file: own.txt}}\n{tail}"), Some(list)),
            Style::ListFile => (format!("{head}  office: {{file: own.yaml}}\n{tail}"), Some(list)),
            Style::Flow | Style::FlowLines => (format!("{head}  office: {list} # end\n{tail}"), None),
            Style::Block | Style::BlockMaps => (format!("{head}  office: # here\n{list}{tail}"), None),
        }
    }

    fn formed(&self, text: &str) -> String {
        let text = if self.open_end { text.trim_end_matches('\n') } else { text };
        let text = if self.crlf { text.replace('\n', "\r\n") } else { text.to_owned() };
        if self.mark { format!("\u{feff}{text}") } else { text }
    }
}

/// Sorted: on one line IPv4 comes first, wherever it stands.
fn entries(config: &Path) -> Vec<(String, Option<String>)> {
    let loaded = load(config, &options()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let groups: Vec<_> = loaded.config.policy().groups().collect();
    let office = groups.iter().find(|group| group.name() == "office").unwrap();
    let rules = office.entries().map(|rule| (rule.entry().to_string(), rule.note.map(str::to_owned)));
    let mut entries: Vec<_> = rules.collect();
    entries.sort();
    entries
}

/// Without line breaks, of which the last line may have got one, and without the mark before them.
fn lines(text: &str) -> Vec<&str> {
    text.trim_start_matches('\u{feff}').lines().collect()
}

/// Whether a line of the difference is one that the edit may touch.
fn is_asked_for(style: Style, line: &str, cidr: &str, empties: bool) -> bool {
    // The other lines of an entry that is a mapping.
    let below = ["  note: ", "- note: ", "owner: ops", "    a # b", "    - c", "  cidr: "];
    let ours = line.contains(cidr);
    match style {
        Style::BlockMaps if below.iter().any(|part| line.contains(part)) => true,
        Style::Flow => line.contains("office:"),
        // Without a list, a new one in brackets begins beside the key, and continues there.
        _ if line.contains("office:") => empties || line.contains("192.0.2.") || line.contains("2001:db8::"),
        _ => ours,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_other_line_stays(case in case()) {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("portcullis.yaml");
        let (main, own) = case.files();
        let own_name = if matches!(case.style, Style::Plain) { "own.txt" } else { "own.yaml" };
        let edited = if own.is_some() { directory.path().join(own_name) } else { config.clone() };
        fs::write(&config, case.formed(&main)).unwrap();
        if let Some(own) = &own {
            fs::write(&edited, case.formed(own)).unwrap();
        }
        for (last, verb) in &case.edits {
            let cidr = address(*last);
            let before = fs::read_to_string(&edited).unwrap();
            let known = entries(&config);
            let present = known.iter().any(|(entry, _)| *entry == cidr);
            let outcome = match verb {
                Verb::Add => plan(&config, &format!("add {cidr}")),
                Verb::Remove => plan(&config, &format!("remove {cidr}")),
                Verb::Note => plan(&config, &format!("add {cidr} note=changed")),
            };
            match (present, verb) {
                (true, Verb::Add) => {
                    prop_assert_eq!(outcome.unwrap_err().kind(), "duplicate");
                    continue;
                }
                (false, Verb::Remove) => {
                    prop_assert_eq!(outcome.unwrap_err().kind(), "not_there");
                    continue;
                }
                _ => {}
            }
            let edit = outcome.unwrap_or_else(|error| panic!("{error}\n{before}"));
            edit.apply(Method::Replace).unwrap();
            let after = fs::read_to_string(&edited).unwrap();
            prop_assert_eq!(&after, edit.after());

            let mut meant = known.clone();
            meant.retain(|(entry, _)| *entry != cidr);
            // In plain text a note is a comment.
            let note = (*verb == Verb::Note && !matches!(case.style, Style::Plain)).then(|| "changed".to_owned());
            if *verb != Verb::Remove {
                meant.push((cidr.clone(), note));
            }
            meant.sort();
            prop_assert_eq!(entries(&config), meant.clone());

            let (old, new) = (lines(&before), lines(&after));
            let diff = similar::TextDiff::from_slices(&old, &new);
            let empties = meant.is_empty() || known.is_empty();
            for change in diff.iter_all_changes().filter(|change| change.tag() != similar::ChangeTag::Equal) {
                let line = change.value();
                prop_assert!(
                    is_asked_for(case.style, line, &cidr, empties),
                    "{verb:?} {cidr} touches {line:?}\n{before}\n---\n{after}"
                );
            }
            prop_assert_eq!(before.contains("\r\n") && after.contains('\n'), after.contains("\r\n"));
            prop_assert_eq!(before.starts_with('\u{feff}'), after.starts_with('\u{feff}'));
        }
    }
}
