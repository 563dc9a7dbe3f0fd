use clap::CommandFactory;

use super::*;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn only_what_is_built_is_offered() {
    let names: Vec<_> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(names, ["run", "check", "explain", "groups", "import", "hash-password"]);
}

#[test]
fn a_named_file_is_taken_as_it_is() {
    let named = Path::new("/nonexistent/gate.yaml");
    assert_eq!(config_path(Some(named)).unwrap(), named, "that it is absent is for the loader to say");
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
