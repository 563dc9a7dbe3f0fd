use super::*;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

const OFFERED: [&str; 19] = [
    "init",
    "run",
    "check",
    "ready",
    "status",
    "top",
    "clients",
    "sources",
    "explain",
    "test-connection",
    "groups",
    "import",
    "export",
    "service",
    "hash-password",
    "schema",
    "completions",
    "man",
    "version",
];

#[test]
fn only_what_is_built_is_offered() {
    let names: Vec<_> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(names, OFFERED);
}

#[test]
fn a_named_file_is_taken_as_it_is() {
    let named = Path::new("/nonexistent/gate.yaml");
    assert_eq!(config_path(Some(named)).unwrap(), named, "that it is absent is for the loader to say");
}

#[test]
fn a_named_file_comes_before_the_variable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let there = file.path().to_owned();
    let absent = PathBuf::from("/nonexistent/gate.yaml");
    let other = Path::new("other.yaml");
    assert_eq!(choose_path(Some(other), Some(there.clone())).unwrap(), other);
    assert_eq!(choose_path(None, Some(there.clone())).unwrap(), there);
    assert_eq!(choose_path(None, Some(absent.clone())), Err(NoConfiguration::Absent(absent)));
}

#[test]
fn every_command_has_a_manual_page_and_completions() {
    let mut tree = command();
    tree.build();
    for name in OFFERED {
        let sub = tree.find_subcommand(name).unwrap();
        let mut page = Vec::new();
        clap_mangen::Man::new(sub.clone()).render(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(&format!(".TH portcullis-{name} 1")), "{page}");
    }
    for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut command(), NAME, &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(OFFERED.iter().all(|name| script.contains(name)), "{shell}");
    }
}

/// The parser itself suggests a command, except behind `help`.
#[test]
fn a_misspelled_command_behind_help_gets_a_tip() {
    let tip = |words: &[&str]| {
        tip_for_command(&Cli::try_parse_from([&["portcullis"], words].concat()).unwrap_err())
    };
    assert_eq!(tip(&["help", "explian"]).as_deref(), Some("did you mean 'portcullis help explain'?"));
    for words in [&["help", "walk"][..], &["explian"], &["help", "explain"], &["check", "--file"]] {
        assert_eq!(tip(words), None, "{words:?}");
    }
}

#[test]
fn a_file_without_its_option_gets_a_tip() {
    let tip =
        |words: &[&str]| tip_for_file(&Cli::try_parse_from([&["portcullis"], words].concat()).unwrap_err());
    let file = tempfile::NamedTempFile::new().unwrap();
    let there = file.path().to_str().unwrap();
    assert_eq!(
        tip(&["check", "my gate.yaml"]).as_deref(),
        Some("an option names the configuration: --config 'my gate.yaml'")
    );
    assert!(tip(&["run", there]).unwrap().ends_with(&format!("--config {there}")));
    for words in [&["check", "--file"][..], &["check", "gate"], &["walk"], &["check", "--config"]] {
        assert_eq!(tip(words), None, "{words:?}");
    }
}

#[test]
fn usage() {
    let parse = |words: &[&str]| Cli::try_parse_from([&["portcullis"], words].concat());
    for words in [&["run"][..], &["run", "--config", "a.yaml"], &["run", "-c", "a.yaml"], &["hash-password"]]
    {
        assert!(parse(words).is_ok(), "{words:?}");
    }
    for words in [&[][..], &["walk"], &["run", "--nonsense"], &["run", "--config"], &["run", "a.yaml"]] {
        assert!(parse(words).unwrap_err().use_stderr(), "{words:?}");
    }
    for words in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert!(!parse(words).unwrap_err().use_stderr(), "{words:?}");
    }
}
