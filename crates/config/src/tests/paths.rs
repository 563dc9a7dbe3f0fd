//! Paths of things that are no files, and files that are used twice.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

const YAML: &str = "\
listeners:
  - {name: public, bind: [\"127.0.0.1:6380\", BIND], upstream: main, allow: [listed]}
upstreams:
  main: {address: \"127.0.0.1:6379\", credentials: {password: {file: password}}}
groups:
  listed: {file: LIST}
audit: {path: AUDIT}
";

fn files(bind: &str, list: &str, audit: &str) -> Files {
    let yaml = YAML.replace("BIND", bind).replace("LIST", list).replace("AUDIT", audit);
    Files::new().with("portcullis.yaml", yaml).with("list.txt", "192.0.2.1\n").with("password", "canary\n")
}

fn errors(files: &Files, options: &LoadOptions) -> Vec<String> {
    let loaded = load(&files.path("portcullis.yaml"), &options.clone().without_host().at(NOW));
    let problems = loaded.err().unwrap_or_default();
    problems.iter().map(ToString::to_string).filter(|problem| problem.contains(": error: ")).collect()
}

#[test]
fn an_audit_file_that_the_configuration_reads_is_an_error() {
    let socket = "\"unix:public.sock\"";
    for (audit, is_used) in [
        ("audit.log", false),
        ("/dev/null", false),
        ("list.txt", true),
        ("./list.txt", true),
        ("symlink", true),
        ("hardlink", true),
        ("portcullis.yaml", true),
        ("password", true),
        ("public.sock", true),
    ] {
        let files = files(socket, "list.txt", audit);
        symlink("list.txt", files.path("symlink")).unwrap();
        fs::hard_link(files.path("list.txt"), files.path("hardlink")).unwrap();
        for options in [LoadOptions::new(), LoadOptions::new().without_secrets()] {
            let errors = errors(&files, &options);
            let expected = "portcullis.yaml:7:15: error: the audit output is ";
            assert_eq!(errors.len(), usize::from(is_used), "{audit}: {errors:?}");
            assert!(errors.iter().all(|error| error.contains(expected)), "{audit}: {errors:?}");
        }
    }
}

#[test]
fn a_list_that_is_no_file_is_an_error() {
    let options = LoadOptions::new();
    for (list, what) in
        [(".", "it is a directory"), ("socket", "it is a socket"), ("/dev/zero", "it is a device")]
    {
        let files = files("\"127.0.0.1:6381\"", list, "audit.log");
        let _listener = UnixListener::bind(files.path("socket")).unwrap();
        let errors = errors(&files, &options);
        let [error] = errors.as_slice() else { panic!("{list}: {errors:?}") };
        assert!(error.contains(what) && error.contains("hint: name a file"), "{error}");
    }
    let files = files("\"127.0.0.1:6381\"", "/dev/null", "audit.log");
    assert_eq!(errors(&files, &options), Vec::<String>::new());
}

/// For chown(2) this number means to change nothing.
#[test]
fn the_highest_number_is_no_group() {
    for (group, is_good) in
        [("0", true), ("4294967294", true), ("4294967295", false), ("'4294967295'", false)]
    {
        let files = files(&format!("{{unix: public.sock, group: {group}}}"), "list.txt", "audit.log");
        let errors = errors(&files, &LoadOptions::new());
        assert_eq!(errors.is_empty(), is_good, "{group}: {errors:?}");
        assert!(
            errors.iter().all(|error| error.contains("4294967295 is not the number of a group")),
            "{errors:?}"
        );
    }
}
