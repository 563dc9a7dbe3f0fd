//! Each `golden/NAME.yaml` is edited as its first lines say, once for each, and the difference is in
//! `golden/NAME.txt`.
//!
//! `PORTCULLIS_GOLDEN=write` rewrites the texts: read the difference before you commit it.

mod files;
mod in_place;
mod random;

use std::fs;
use std::path::Path;

use super::*;

/// 2026-11-22T12:00:00Z
const NOW: UnixSeconds = UnixSeconds(1_795_348_800);

/// The keys that every file needs and that no case is about.
const FRAME: &str = "listeners: [{name: public, bind: \"127.0.0.1:0\", upstream: main, allow: [office]}]
upstreams: {main: {address: \"127.0.0.1:1\"}}
";

fn options() -> LoadOptions {
    LoadOptions::new().without_secrets().at(NOW)
}

/// `add CIDR,CIDR [note=..] [owner=..] [until=..]`, `remove CIDR,CIDR`, `create NAME` or `delete NAME`
fn plan(config: &Path, command: &str) -> Result<Edit, EditError> {
    let mut words = command.split(' ');
    let (verb, what) = (words.next().unwrap(), words.next().unwrap());
    let mut cidrs = what.split(',').map(NewEntry::parse);
    match verb {
        "create" => return create(config, what, &options()),
        "delete" => return delete(config, what, &options()),
        "remove" => {
            let cidrs: Vec<Cidr> = cidrs.map(|entry| entry.unwrap().cidr()).collect();
            return remove(config, "office", &cidrs, &options());
        }
        _ => {}
    }
    let mut details = Details::default();
    for word in words {
        match word.split_once('=').unwrap() {
            ("note", note) => details.note = Some(note),
            ("owner", owner) => details.owner = Some(owner),
            ("until", until) => details.until = Some(until),
            other => panic!("{other:?}"),
        }
    }
    let entries: Result<Vec<NewEntry>, BadEntry> = cidrs.try_fold(Vec::new(), |mut entries, entry| {
        entries.push(entry?.with(&details, NOW)?);
        Ok(entries)
    });
    add(config, "office", &entries.unwrap(), &options())
}

/// The difference without context, and what was said about it.
fn told(outcome: &Result<Edit, EditError>, directory: &Path) -> String {
    let text = match outcome {
        Ok(edit) => {
            let diff = similar::TextDiff::from_lines(edit.before(), edit.after());
            let mut text = diff.unified_diff().context_radius(0).to_string();
            edit.changes().iter().for_each(|change| text += &told_of(edit, change));
            text.extend(edit.warnings().iter().map(|problem| format!("{problem}\n")));
            text
        }
        Err(EditError::Invalid(problems)) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
        Err(error) => {
            let hint = error.hint().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
            format!("{}: {error}\n{hint}", error.kind())
        }
    };
    text.replace(&format!("{}/", directory.display()), "")
}

fn told_of(edit: &Edit, change: &Change) -> String {
    let covered = |by: &[Written]| by.iter().map(|by| format!("covered by {by}\n")).collect::<String>();
    match change {
        Change::Added { cidr, line, covered_by, makes_needless, until } => {
            let stands = edit.after().lines().nth(usize::try_from(*line).unwrap() - 1).unwrap();
            assert!(stands.contains(&cidr.to_string()), "line {line} is {stands:?}");
            let until = until.as_ref().map(|until| format!("until {until}\n")).unwrap_or_default();
            let needless: String =
                makes_needless.iter().map(|small| format!("makes needless {small}\n")).collect();
            format!("{until}{}{needless}", covered(covered_by))
        }
        Change::Changed { cidr, lines, until, covered_by } => {
            let until = until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
            format!("changed {cidr}, lines {lines:?}{until}\n{}", covered(covered_by))
        }
        Change::Unchanged { cidr, lines } => {
            assert_eq!(edit.before(), edit.after());
            format!("unchanged {cidr}, lines {lines:?}\n")
        }
        Change::Removed { lines, covered_by, still_admitted, .. } => {
            let still = still_admitted.iter().map(|(name, by)| format!("{name} still admits by {by}\n"));
            format!("{}lines {lines:?}\n{}", covered(covered_by), still.collect::<String>())
        }
        Change::Created { line } => format!("created on line {line}\n"),
        Change::Deleted { line, list } => {
            let list = list.as_ref().map(|list| format!(", list {}", list.display())).unwrap_or_default();
            format!("deleted on line {line}{list}\n")
        }
    }
}

fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map_while(|line| line.strip_prefix("# $ "))
}

fn framed(text: &str) -> String {
    if text.contains("listeners:") { text.to_owned() } else { text.to_owned() + FRAME }
}

fn golden() -> Vec<(PathBuf, String)> {
    let directory = Path::new("src/edit/tests/golden");
    let paths = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    cases.sort();
    assert!(cases.len() > 20);
    cases
}

#[test]
fn the_difference_is_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("portcullis.yaml");
    for (path, text) in golden() {
        fs::write(&config, framed(&text)).unwrap();
        let mut all = String::new();
        for command in commands(&text) {
            let outcome = plan(&config, command);
            all += &format!("$ {command}\n{}\n", told(&outcome, directory.path()));
        }
        let golden = path.with_extension("txt");
        if std::env::var("PORTCULLIS_GOLDEN").is_ok_and(|mode| mode == "write") {
            fs::write(&golden, &all).unwrap();
        }
        assert_eq!(all, fs::read_to_string(&golden).unwrap(), "{}", path.display());
    }
}

/// Line breaks of Windows, a byte order mark and a last line without its end change nothing, and stay.
#[test]
fn the_form_of_the_file_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("portcullis.yaml");
    for (path, text) in golden() {
        let text = framed(&text);
        for command in commands(&text) {
            fs::write(&config, &text).unwrap();
            let Ok(plain) = plan(&config, command) else { continue };
            let forms: [fn(&str) -> String; 3] = [
                |text| text.replace('\n', "\r\n"),
                |text| format!("\u{feff}{text}"),
                |text| format!("\u{feff}{}", text.replace('\n', "\r\n")),
            ];
            for form in forms {
                fs::write(&config, form(&text)).unwrap();
                let edit = plan(&config, command).unwrap();
                assert_eq!(edit.after(), form(plain.after()), "{}: {command}", path.display());
            }
            fs::write(&config, text.trim_end()).unwrap();
            let edit = plan(&config, command).unwrap();
            assert_eq!(edit.after().trim_end(), plain.after().trim_end(), "{}: {command}", path.display());
        }
    }
}
