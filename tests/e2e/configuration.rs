//! `check` and `run` with bad files: all problems at once, their positions, and the exit code.

use std::path::Path;
use std::process::Output;

use e2e::gate::portcullis;
use tempfile::TempDir;

const GOOD: &str = "\
listeners:
  - name: public
    bind: 127.0.0.1:16379
    upstream: main
    allow: [127.0.0.1]
upstreams:
  main:
    address: 127.0.0.1:16380
admin: off
";

fn check(yaml: &str, arguments: &[&str]) -> (TempDir, Output) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    std::fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
    let output = portcullis(directory.path(), arguments);
    (directory, output)
}

fn problems(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().filter(|line| line.contains(": error: ")).map(str::to_owned).collect()
}

/// Checks that the output has `FILE:LINE:COLUMN: error: ...` for this line, with all of `words` in the message or the
/// hint.
#[track_caller]
fn assert_names(output: &Output, line: usize, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let place = format!("portcullis.yaml:{line}:");
    let found = text.lines().position(|l| l.contains(&place) && l.contains(": error: "));
    let Some(found) = found else { panic!("no error at line {line} in:\n{text}") };
    let column =
        text.lines().nth(found).and_then(|l| l.split(&place).nth(1)).and_then(|l| l.split(':').next());
    assert!(
        column.is_some_and(|c| c.parse::<u32>().is_ok_and(|c| c >= 1)),
        "no column at line {line} in:\n{text}"
    );
    let shown: String = text.lines().skip(found).take(3).collect::<Vec<_>>().join("\n");
    for word in words {
        assert!(shown.contains(word), "{word:?} is not in:\n{shown}");
    }
}

#[test]
fn a_good_file() {
    let (_directory, output) = check(GOOD, &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(problems(&output).is_empty());
    let (directory, _) = check(GOOD, &["check"]);
    std::fs::rename(directory.path().join("portcullis.yaml"), directory.path().join("other.yaml"))
        .expect("writable");
    assert_eq!(portcullis(directory.path(), ["check", "--config", "other.yaml"]).status.code(), Some(0));
}

/// Seven mistakes cause seven lines. `run` prints the same lines and does not start.
#[test]
fn seven_mistakes_at_once() {
    let yaml = "\
listeners:
  - name: public
    bind: 127.0.0.1:16379
    upstream: main
    allow: [office, nosuchgroup]
    refusal: denyed
upstreams:
  main:
    address: 127.0.0.1:16380
    credentials: {password: {env: PORTCULLIS_TEST_NO_SUCH_VARIABLE}}
groups:
  office:
    - 10.1.2.3/8
    - 010.0.0.1
    - 192.0.2.0/33
limitz: {}
admin: off
";
    for command in ["check", "run"] {
        let (_directory, output) = check(yaml, &[command]);
        assert_eq!(output.status.code(), Some(78), "{command}");
        assert_names(&output, 5, &["unknown group"]);
        assert_names(&output, 6, &["denyed", "denied"]);
        assert_names(&output, 10, &["PORTCULLIS_TEST_NO_SUCH_VARIABLE"]);
        assert_names(&output, 13, &["10.1.2.3/8", "10.0.0.0/8"]);
        assert_names(&output, 14, &["010.0.0.1"]);
        assert_names(&output, 15, &["/33"]);
        assert_names(&output, 16, &["limitz"]);
        assert_eq!(problems(&output).len(), 7, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn further_mistakes() {
    let yaml = "\
listeners:
  - name: public
    bind: 127.0.0.1:16379
    upstream: main
    allow: [127.0.0.1]
    auth: trust
    auth: passthrough
upstreams:
  main:
    address: 127.0.0.1:16380
    credentials: {password: plaintext-canary-3}
groups:
  office: {file: nosuchfile.txt}
admin: off
";
    let (_directory, output) = check(yaml, &["check"]);
    assert_eq!(output.status.code(), Some(78));
    assert_names(&output, 7, &["auth"]);
    assert_names(&output, 11, &["hash-password"]);
    assert_names(&output, 13, &["nosuchfile.txt"]);
    assert_eq!(problems(&output).len(), 3, "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("plaintext-canary-3"), "the password is shown: {told}");
}

#[test]
fn an_unreadable_secret() {
    let yaml = GOOD.replace(
        "    address: 127.0.0.1:16380",
        "    address: 127.0.0.1:16380\n    credentials: {password: {file: nosuchsecret}}",
    );
    let (_directory, output) = check(&yaml, &["check"]);
    assert_eq!(output.status.code(), Some(78));
    assert_names(&output, 9, &["nosuchsecret"]);
    // Users who may not read the secrets use `--no-secrets`.
    let (_directory, output) = check(&yaml, &["check", "--no-secrets"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (directory, _) = check(&yaml, &["check"]);
    std::fs::write(directory.path().join("nosuchsecret"), "\n").expect("writable");
    assert_eq!(
        portcullis(directory.path(), ["check"]).status.code(),
        Some(78),
        "an empty secret is an error"
    );
}

#[test]
fn trust_for_all_addresses_is_refused() {
    for everybody in ["0.0.0.0/0", "\"::/0\"", "0.0.0.0/1, 128.0.0.0/1"] {
        let yaml = GOOD.replace("allow: [127.0.0.1]", &format!("allow: [{everybody}]\n    auth: trust"));
        let (_directory, output) = check(&yaml, &["check"]);
        assert_eq!(output.status.code(), Some(78), "{everybody}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("allow_anonymous_internet"), "{everybody}: {told}");
    }
}

/// A client that may run every command can read the password of the proxy.
#[test]
fn trust_without_rules_is_warned_about() {
    let yaml = GOOD.replace("allow: [127.0.0.1]", "allow: [127.0.0.1]\n    auth: trust").replace(
        "    address: 127.0.0.1:16380",
        "    address: 127.0.0.1:16380\n    credentials: {password: {env: PATH}}",
    );
    let (directory, output) = check(&yaml, &["check"]);
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(": warning: ") && told.contains("CONFIG GET requirepass"), "{told}");
    assert_eq!(portcullis(directory.path(), ["check", "--strict"]).status.code(), Some(78));
}

/// Settings that cannot work with a cluster are errors, each with its place.
#[test]
fn a_cluster_has_no_address_and_no_passthrough() {
    let with_address = GOOD.replace("  main:\n", "  main:\n    cluster: {nodes: [\"127.0.0.1:16381\"]}\n");
    let (_directory, output) = check(&with_address, &["check"]);
    assert_eq!(output.status.code(), Some(78));
    assert_names(&output, 8, &["'address' and 'cluster' exclude each other"]);
    let passing =
        GOOD.replace("    address: 127.0.0.1:16380\n", "    cluster: {nodes: [\"127.0.0.1:16381\"]}\n");
    let (_directory, output) = check(&passing, &["check"]);
    assert_eq!(output.status.code(), Some(78));
    assert_names(&output, 2, &["auth: passthrough (the default)", "auth: trust or auth: users"]);
}

#[test]
fn bad_usage() {
    let here = Path::new(".");
    for arguments in [&["nosuchcommand"][..], &["run", "--nosuchflag"], &[], &["check", "--config"]] {
        assert_eq!(portcullis(here, arguments).status.code(), Some(64), "{arguments:?}");
    }
    assert_eq!(portcullis(here, ["--help"]).status.code(), Some(0));
    assert_eq!(portcullis(here, ["--version"]).status.code(), Some(0));
}

#[test]
fn no_file() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    for command in ["run", "check"] {
        let output = portcullis(directory.path(), [command, "--config", "absent.yaml"]);
        assert_eq!(output.status.code(), Some(78), "{command}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("absent.yaml"));
    }
}

/// Every complete configuration in the documentation is valid.
#[test]
fn the_documentation_is_loaded() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = ["README.md", "docs/migration.md", "docs/install.md", "docs/many-gates.md"];
    let recipes = ["docs/recipes/jump-host.md", "docs/recipes/cloud-redis.md", "docs/recipes/connector.md"];
    for page in pages.into_iter().chain(recipes) {
        let text = std::fs::read_to_string(top.join(page)).expect("the page is there");
        let blocks: Vec<&str> =
            text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "{page}");
        for yaml in blocks {
            let (_directory, output) = check(yaml, &["check", "--no-secrets", "--no-host"]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{page}:\n{yaml}\n{told}");
        }
    }
}

/// The examples are for other hosts, whose addresses, groups and secrets are not here.
#[test]
fn the_examples_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut checked = 0;
    for file in std::fs::read_dir(&examples).expect("the directory is there") {
        let path = file.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let words = ["check", "--no-secrets", "--no-host", "--strict", "--config"];
            let words = words.iter().map(AsRef::<std::ffi::OsStr>::as_ref).chain([path.as_os_str()]);
            let output = portcullis(&examples, words);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{}:\n{told}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 5, "{checked} examples");
}
