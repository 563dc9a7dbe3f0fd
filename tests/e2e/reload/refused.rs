//! Rejected reloads: the last valid policy stays. Log, metrics and audit trail report the problem.

use std::net::TcpListener;

use e2e::reload::TOKEN;
use e2e::{Gate, Redis, ports};

use super::{BASE, assert_admits, assert_refuses, edit};

/// Returns the configuration with a token, for reloads over HTTP.
fn with_token() -> String {
    edit(BASE, "'127.0.0.1:{admin}'", "'127.0.0.1:{admin}', token: {file: token}")
}

fn start(redis: &Redis, yaml: &str) -> Gate {
    Gate::before(redis).config(yaml).file("token", TOKEN).secret(TOKEN).start()
}

/// A mistake: the configuration, and the file, the line and the text in its report.
struct Mistake {
    yaml: String,
    place: Option<(&'static str, u32)>,
    says: &'static str,
}

fn mistakes(base: &str, busy: u16) -> Vec<Mistake> {
    let office = |to: &str| edit(base, "[127.0.0.1]", to);
    let at = |yaml: String, file, line, says| Mistake { yaml, place: Some((file, line)), says };
    let audit = "audit: {path: /nonexistent/audit.log}\n";
    vec![
        at(office("[127.0.0.1"), "portcullis.yaml", 4, ""),
        at(office("[10.1.2.3/8]"), "portcullis.yaml", 4, "10.0.0.0/8"),
        at(office("[127.0.0.1, elsewhere]"), "portcullis.yaml", 4, "is not an address"),
        at(office("{file: nowhere.txt}"), "portcullis.yaml", 4, "nowhere.txt"),
        at(office("{file: directory}"), "portcullis.yaml", 4, "directory"),
        at(office("{file: typo.txt}"), "typo.txt", 2, "127.0.0.300"),
        at(edit(base, "allow: [office]", "allow: [ofice]"), "portcullis.yaml", 2, "ofice"),
        at(edit(base, "upstream: main", "upstream: mian"), "portcullis.yaml", 2, "mian"),
        at(
            edit(
                &office("[127.0.0.1], bad: {file: empty.txt}"),
                "allow: [office]",
                "allow: [office], deny: [bad]",
            ),
            "portcullis.yaml",
            4,
            "allow_empty",
        ),
        Mistake { yaml: format!("{base}{audit}"), place: None, says: "/nonexistent/audit.log" },
        Mistake {
            yaml: edit(base, "'127.0.0.1:{port}'", &format!("['127.0.0.1:{{port}}', '127.0.0.1:{busy}']")),
            place: None,
            says: "another process already listens there",
        },
    ]
}

#[test]
fn the_last_good_policy_stays() {
    let redis = Redis::plain();
    let base = with_token();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = taken.local_addr().expect("bound").port();
    let gate = start(&redis, &base);
    gate.put("typo.txt", "127.0.0.1\n127.0.0.300\n");
    gate.put("empty.txt", "# nothing\n");
    std::fs::create_dir(gate.directory().join("directory")).expect("writable");
    let mut stays = assert_admits(&gate, "127.0.0.1");
    for (index, Mistake { yaml, place, says }) in mistakes(&base, busy).into_iter().enumerate() {
        let report = gate.reload_with(&yaml);
        assert_eq!(report["result"], "rejected", "{says}: {report}");
        assert_eq!(report["generation"], 1, "{says}: {report}");
        match place {
            Some((file, line)) => assert_reported(&gate, &report, file, line, says),
            None => {
                let error = report["error"].as_str().unwrap_or_default();
                assert!(error.contains(says), "{says}: {report}");
                gate.assert_log(error);
            }
        }
        let posted = post(&gate, 422);
        for key in ["result", "problems", "error", "generation"] {
            assert_eq!(posted[key], report[key], "{says}");
        }
        assert!(gate.metric("config_last_reload_successful", &[]) == 0.0, "{says}");
        let rejected = u32::try_from(2 * index + 2).map(f64::from).expect("few");
        gate.assert_metric("config_reloads_total", &[("result", "rejected")], rejected);
        stays.assert_reply("PING", "+PONG");
        assert_admits(&gate, "127.0.0.1");
        assert_refuses(&gate, "127.0.0.2");
    }
    let report = gate.reload_with(&base);
    assert_eq!((&report["result"], &report["generation"]), (&"unchanged".into(), &1.into()), "{report}");
    gate.assert_log("the files have the content that is in force; there is nothing to apply");
    gate.assert_metric("config_last_reload_successful", &[], 1.0);
    post(&gate, 200);
    // The conflict has ended, so the same file is valid now.
    drop(taken);
    let both = format!("['127.0.0.1:{{port}}', '127.0.0.1:{busy}']");
    gate.apply(&edit(&base, "'127.0.0.1:{port}'", &both));
    let mut client = e2e::Client::tcp(([127, 0, 0, 1], busy).into());
    client.assert_reply("PING", "+PONG");
}

/// Requests a reload over HTTP and returns its report.
#[track_caller]
fn post(gate: &Gate, status: u16) -> serde_json::Value {
    let ((found, report), _) = gate.reload_by_http();
    assert_eq!(found, status, "{report}");
    report
}

#[track_caller]
fn assert_reported(gate: &Gate, report: &serde_json::Value, file: &str, line: u32, says: &str) {
    let problems = report["problems"].as_array().expect("problems");
    let errors = || problems.iter().filter(|problem| problem["severity"] == "error");
    let found = errors().find(|problem| {
        let text = format!("{} {}", problem["message"], problem["hint"]);
        problem["file"].as_str().is_some_and(|name| name.ends_with(file))
            && problem["line"] == line
            && text.contains(says)
    });
    let found = found.unwrap_or_else(|| panic!("not {file}:{line} {says:?} in {report}"));
    let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    let said = format!("{}:{line}:{}: error: {}", word("file"), found["column"], word("message"));
    gate.assert_log(&said);
    let hint = word("hint");
    gate.assert_log(&hint);
}

/// A reload changes the form of a port, and has an error elsewhere. The proxy then serves the old form again.
#[test]
fn half_a_change_is_none() {
    let redis = Redis::plain();
    let base = edit(BASE, "'127.0.0.1:{port}'", "'[::]:{port}'");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = taken.local_addr().expect("bound").port();
    let gate = start(&redis, &base);
    let mut stays = assert_admits(&gate, "127.0.0.1");
    let both = "['0.0.0.0:{port}', '[::]:{port}']";
    let split = edit(&base, "'[::]:{port}'", both);
    for wrong in [
        format!("{split}audit: {{path: /nonexistent/audit.log}}\n"),
        edit(&split, "'[::]:{port}']", &format!("'[::]:{{port}}', '127.0.0.1:{busy}']")),
    ] {
        let report = gate.reload_with(&wrong);
        assert_eq!(report["result"], "rejected", "{report}");
        assert_admits(&gate, "127.0.0.1");
        stays.assert_reply("PING", "+PONG");
    }
    gate.apply(&split);
    assert_admits(&gate, "127.0.0.1");
    // A port on which the proxy no longer listens does not prevent later reloads.
    gate.apply(&edit(&base, "{port}", &ports::free().to_string()));
}

/// A secret from a pipe (`<(vault read ..)`) can be read only once. A second read would block.
#[test]
fn a_pipe_is_not_read_twice() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(&with_token()).file("token", TOKEN).secret(TOKEN).start();
    let pipe = gate.directory().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success());
    gate.put("portcullis.yaml", &edit(&with_token(), "file: token", "file: pipe"));
    let report = gate.reload_after(|| {
        gate.send_sighup();
        std::fs::write(&pipe, TOKEN).expect("the gate reads");
    });
    assert_eq!(report["result"], "applied", "{report}");
    for _ in 0..2 {
        let report = gate.reload();
        assert_eq!(report["result"], "rejected", "{report}");
        assert!(report["error"].as_str().is_some_and(|error| error.contains("is a pipe")), "{report}");
    }
    assert_admits(&gate, "127.0.0.1");
}
