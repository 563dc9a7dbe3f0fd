//! The command line itself: help, version, the default file, completions and manual pages.

mod export;
mod first_run;
mod loops;
mod ready;
mod views;

use std::path::Path;
use std::process::{Command, Output};

use e2e::gate::{binary, portcullis};

const CONFIG: &str = "\
listeners:
  - {name: public, bind: 127.0.0.1:16379, upstream: main, allow: [127.0.0.1]}
upstreams:
  main: {address: 127.0.0.1:16380}
admin: off
";

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `portcullis` with a value of `PORTCULLIS_CONFIG`.
fn with_variable(directory: &Path, value: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.env("PORTCULLIS_CONFIG", value).args(arguments).current_dir(directory);
    command.output().expect("the binary starts")
}

#[test]
fn the_version_names_commit_and_build() {
    let here = Path::new(".");
    let printed = stdout(&portcullis(here, ["version"]));
    assert!(printed.starts_with("portcullis 0.") && printed.contains(" (commit "), "{printed}");
    assert_eq!(stdout(&portcullis(here, ["--version"])), printed);
    let json = stdout(&portcullis(here, ["version", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for key in ["version", "commit", "profile", "target"] {
        let value = json[key].as_str().expect("a text");
        assert!(printed.contains(value), "{key} of {json} is not in {printed}");
    }
}

#[test]
fn help_names_the_documentation_and_the_variable() {
    let help = stdout(&portcullis(Path::new("."), ["--help"]));
    assert!(help.contains("Documentation:\n") && help.contains("PORTCULLIS_CONFIG"), "{help}");
    // A user who has only the program can read all of it.
    for command in ["help run", "man run", "schema"] {
        assert!(help.contains(command.split(' ').next().unwrap_or(command)), "{help}");
        assert!(stdout(&portcullis(Path::new("."), command.split(' '))).len() > 1000, "{command}");
    }
    assert_eq!(stdout(&portcullis(Path::new("."), ["help"])), help);
    let of_run = stdout(&portcullis(Path::new("."), ["help", "run"]));
    assert_eq!(of_run, stdout(&portcullis(Path::new("."), ["run", "--help"])));
}

#[test]
fn a_misspelled_command_has_a_suggestion() {
    for (written, meant) in [("chek", "check"), ("explian", "explain"), ("complete", "completions")] {
        let output = portcullis(Path::new("."), [written]);
        assert_eq!(output.status.code(), Some(64), "{written}");
        let told = stderr(&output);
        assert!(told.contains(&format!("'{meant}'")), "{told}");
    }
    let told = stderr(&portcullis(Path::new("."), ["help", "explian"]));
    assert!(told.contains("did you mean 'portcullis help explain'?"), "{told}");
    let told = stderr(&portcullis(Path::new("."), ["groups", "ad"]));
    assert!(told.contains("'add'"), "{told}");
}

#[test]
fn a_file_without_its_option_gets_a_tip() {
    for arguments in
        [&["check", "gate.yaml"][..], &["explain", "127.0.0.1", "gate.yaml"], &["run", "gate.yaml"]]
    {
        let output = portcullis(Path::new("."), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let told = stderr(&output);
        assert!(told.contains("tip: an option names the configuration: --config gate.yaml"), "{told}");
    }
}

/// `explain` reads a command as the log prints it, and its next step admits the source.
#[test]
fn a_refusal_is_explained_with_its_next_step() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path();
    let config =
        CONFIG.replace("[127.0.0.1]}", "[office], acl: \"@public\"}") + "groups: {office: [127.0.0.1]}\n";
    std::fs::write(path.join("gate.yaml"), config).expect("writable");
    let explain = |more: &[&str]| portcullis(path, [&["explain", "--config", "gate.yaml"], more].concat());
    let refused = explain(&["192.0.2.9"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    let text = stdout(&refused);
    let step = text.lines().find_map(|line| line.strip_prefix("  to admit it: portcullis ")).expect("a step");
    let done = portcullis(path, step.split(' '));
    assert_eq!(done.status.code(), Some(0), "{step}: {}", stderr(&done));
    assert_eq!(explain(&["192.0.2.9"]).status.code(), Some(0));
    for (words, said) in
        [(&["my-host"][..], "'my-host' is not an address"), (&["::1", "--listener", "other"], "'other'")]
    {
        let told = stderr(&explain(words));
        assert!(told.contains(said), "{told}");
    }
    assert_eq!(explain(&["source=127.0.0.1:5678"]).status.code(), Some(0), "as the log prints it");
    let text = stdout(&explain(&["127.0.0.1", "--command", "config|get"]));
    assert!(text.contains("config get refused: ") && text.contains("'config|get' command"), "{text}");
}

#[test]
fn the_variable_names_the_file_of_every_command() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path();
    std::fs::write(path.join("other.yaml"), CONFIG).expect("writable");
    for arguments in [&["check"][..], &["explain", "127.0.0.1"], &["groups", "list"]] {
        let output = with_variable(path, "other.yaml", arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        let output = with_variable(path, "absent.yaml", arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert!(stderr(&output).contains("PORTCULLIS_CONFIG names absent.yaml"), "{}", stderr(&output));
    }
    assert_eq!(
        with_variable(path, "absent.yaml", &["check", "--config", "other.yaml"]).status.code(),
        Some(0)
    );
    // The file in the directory is a default only where the variable is empty.
    std::fs::write(path.join("portcullis.yaml"), "nonsense: 1\n").expect("writable");
    assert_eq!(with_variable(path, "other.yaml", &["check"]).status.code(), Some(0));
    assert_eq!(with_variable(path, "", &["check"]).status.code(), Some(78));
}

#[test]
fn completions_and_manual_pages() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = portcullis(directory.path(), ["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("hash-password"), "{shell}");
    }
    std::fs::write(
        directory.path().join("bash"),
        portcullis(directory.path(), ["completions", "bash"]).stdout,
    )
    .expect("writable");
    // Bash itself completes a subcommand and an option with the script.
    let script = "source ./bash
        try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _portcullis portcullis \"${!#}\" \"${@: -2:1}\"
                echo \"${COMPREPLY[@]}\"; }
        try portcullis hash; try portcullis check --no-sec";
    let output = Command::new("bash").arg("-c").arg(script).current_dir(directory.path()).output();
    let output = output.expect("bash starts");
    assert_eq!(stdout(&output), "hash-password\n--no-secrets\n", "{}", stderr(&output));

    let page = stdout(&portcullis(directory.path(), ["man", "groups", "add"]));
    assert!(page.contains(".TH portcullis-groups-add 1"), "{page}");
    assert!(stdout(&portcullis(directory.path(), ["man"])).contains(".TH portcullis 1"));
    assert_eq!(portcullis(directory.path(), ["man", "nosuchcommand"]).status.code(), Some(64));
    assert_eq!(portcullis(directory.path(), ["man", "--dir", "."]).status.code(), Some(0));
    for page in ["portcullis.1", "portcullis-run.1", "portcullis-groups-add.1"] {
        assert!(directory.path().join(page).exists(), "{page}");
    }
    assert_eq!(portcullis(directory.path(), ["man", "--dir", "absent"]).status.code(), Some(1));
}
