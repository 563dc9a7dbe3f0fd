use std::net::SocketAddr;

use portcullis_acl::{ClientAddr, Decision, UnixSeconds};

use super::*;
use crate::config::{Config, LoadOptions, Loaded, load};

/// What came of a text: the configuration, read by the loader, and the notes.
pub(super) struct Imported {
    pub(super) config: Config,
    pub(super) yaml: String,
    pub(super) notes: String,
}

/// Imports and loads; panics where the loader finds the YAML wrong.
#[track_caller]
pub(super) fn imported(format: Format, text: &str) -> Imported {
    let (yaml, notes) = import(format, text, Path::new("old.conf"));
    loaded(yaml.unwrap_or_else(|| panic!("nothing was imported: {notes}")), notes)
}

#[track_caller]
pub(super) fn loaded(yaml: String, notes: String) -> Imported {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.yaml");
    std::fs::write(&path, &yaml).unwrap();
    match load(&path, &LoadOptions::new()) {
        Ok(Loaded { config, .. }) => Imported { config, yaml, notes },
        Err(problems) => {
            panic!("{yaml}\n{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

impl Imported {
    /// Whether the listener admits the source, or `unix`.
    #[track_caller]
    pub(super) fn admits(&self, listener: &str, source: &str) -> bool {
        let at = self.config.listeners().iter().position(|known| known.name() == listener);
        let at = at.unwrap_or_else(|| panic!("no listener {listener} in\n{}", self.yaml));
        let from = match source {
            "unix" => ClientAddr::unix(),
            ip => ClientAddr::from_socket(SocketAddr::new(ip.parse().unwrap(), 0)),
        };
        matches!(self.config.policy().judge(at, &from, UnixSeconds(0)), Decision::Allow(_))
    }

    /// Those of `sources` that get in.
    #[track_caller]
    pub(super) fn admitted<'s>(&self, listener: &str, sources: &[&'s str]) -> Vec<&'s str> {
        sources.iter().copied().filter(|source| self.admits(listener, source)).collect()
    }

    #[track_caller]
    pub(super) fn says(&self, note: &str) {
        assert!(self.notes.contains(note), "{note:?} is not in\n{}", self.notes);
    }
}

#[test]
fn nothing_comes_of_nothing() {
    for format in Format::value_variants() {
        for text in ["", "\n\n", "\u{0}\u{1}", "what is this", "{}", "}{;"] {
            let (yaml, _) = import(*format, text, Path::new("-"));
            assert_eq!(yaml, None, "{format:?} of {text:?}");
        }
    }
}

/// Control characters of the file reach neither the terminal nor the YAML.
#[test]
fn foreign_text_stays_on_its_line() {
    let text = "allow 10.0.0.1\u{1b}[31m\n0.0.0.0 6379 10.0.0.5 6379\nde\u{7}ny x\n";
    let (yaml, notes) = import(Format::Rinetd, text, Path::new("a\nb: c\u{1b}"));
    let printed = yaml.unwrap() + &notes;
    assert!(!printed.contains(['\u{1b}', '\u{7}']), "{printed:?}");
    assert!(notes.lines().all(|line| line.starts_with("a b: c ")), "{notes}");
}

#[test]
fn the_admin_endpoint_gives_way() {
    let imported = imported(Format::Rinetd, "allow 10.*\n0.0.0.0 9377 10.0.0.5 6379\n");
    assert!(imported.config.admin().is_none());
}

#[test]
fn listeners_that_exclude_each_other_are_not_both_carried_over() {
    let imported = imported(
        Format::Rinetd,
        "0.0.0.0 6379 10.0.0.5 6379\nallow 10.*\n127.0.0.1 6379 10.0.0.6 6379\nallow *\n:: 6379 10.0.0.5 6379\nallow fd00:*\n",
    );
    assert_eq!(imported.config.listeners().len(), 2);
    imported.says("old.conf:3: not carried over: listening on 127.0.0.1:6379: 0.0.0.0:6379 is taken");
    assert!(!imported.admits("public-6379", "192.0.2.1"));
}
