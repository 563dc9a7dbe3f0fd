//! The proxy at a terminal: it writes lines for people, and no audit trail between them.

use std::fs;
use std::path::Path;

use e2e::gate::binary;
use e2e::terminal::Terminal;
use e2e::{Client, Redis};

/// A proxy at a terminal in front of a Redis, after it has served one client.
struct Shown {
    terminal: Terminal,
    _directory: tempfile::TempDir,
    _redis: Redis,
}

impl Shown {
    fn start(top: &str, environment: &[(&str, &str)]) -> Self {
        let (redis, directory) = (Redis::plain(), tempfile::tempdir().expect("a directory"));
        let yaml = format!(
            "listeners: [{{name: public, bind: 'unix:gate.sock', upstream: main, allow: [unix]}}]\n\
             upstreams: {{main: {{address: '{}'}}}}\nadmin: off\n{top}\n",
            redis.address()
        );
        fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
        let terminal = run(directory.path(), environment);
        let ready = if top.contains("json") { "\"message\":\"ready\"" } else { " ready\r\n" };
        terminal.assert_shows(ready);
        let mut client = Client::unix(&directory.path().join("gate.sock"));
        client.assert_reply("SET k v", "+OK");
        client.assert_reply("QUIT", "+OK");
        client.assert_closed();
        Self { terminal, _directory: directory, _redis: redis }
    }
}

fn run(directory: &Path, environment: &[(&str, &str)]) -> Terminal {
    let binary = binary();
    Terminal::run(directory, &[binary.to_str().expect("UTF-8"), "run"], environment)
}

#[test]
fn lines_are_coloured_and_no_audit_is_between_them() {
    let screen = Shown::start("", &[("TERM", "xterm-256color")]).terminal.terminate();
    assert!(screen.contains("Z\x1b[0m \x1b[32mINFO \x1b[0m ready\r\n"), "{screen}");
    assert!(screen.contains("listening \x1b[2mlistener=\x1b[0mpublic \x1b[2mbind=\x1b[0munix:"), "{screen}");
    assert!(screen.contains("no audit lines: standard output is a terminal; set audit.path"), "{screen}");
    assert!(!screen.contains("\"event\":"), "{screen}");
}

#[test]
fn colours_can_be_switched_off() {
    for environment in [[("TERM", "xterm"), ("NO_COLOR", "1")], [("TERM", "dumb"), ("LANG", "C")]] {
        let screen = Shown::start("", &environment).terminal.terminate();
        assert!(screen.contains("Z INFO  ready\r\n") && !screen.contains('\x1b'), "{screen}");
    }
}

#[test]
fn audit_lines_come_to_the_terminal_where_the_file_says_so() {
    let shown = Shown::start("audit: {path: stdout}\nlog: {format: json}", &[("TERM", "xterm")]);
    shown.terminal.assert_shows("\"event\":\"closed\"");
    let screen = shown.terminal.terminate();
    assert!(screen.contains("\"message\":\"ready\"") && !screen.contains('\x1b'), "{screen}");
}
