use std::sync::Arc;

use portcullis_config::{LoadOptions, load};

use super::*;
use crate::clock::wall_clock;

const GATE: &str = "\
listeners:
  - {name: public, bind: 127.0.0.1:6379, upstream: main, allow: [office, guests, \"::1\"], deny: [203.0.113.66]}
  - {name: local, bind: \"unix:/run/gate.sock\", upstream: main, allow: [unix]}
  - {name: closed, bind: 127.0.0.1:6380, upstream: main, allow: []}
upstreams: {main: {address: 127.0.0.1:6381}}
groups:
  office:
    note: head office
    entries:
      - 203.0.113.0/24
  guests:
    entries:
      - {cidr: 192.0.2.1, until: 2020-01-01T00:00:00Z}
      - {cidr: 192.0.2.2, until: 2999-01-01T00:00:00Z, owner: ops}
";

fn config() -> (tempfile::TempDir, Config) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gate.yaml");
    std::fs::write(&path, GATE).unwrap();
    let config = load(&path, &LoadOptions::new()).unwrap().config;
    (directory, config)
}

fn answers_of<'c>(config: &'c Config, source: &AskedAddress, question: &Question) -> Vec<Answer<'c>> {
    let answer = |listener: &'c Arc<Listener>| {
        let logins = Logins::of(config, listener, None);
        Answer::of(config, listener, &logins, source, question, wall_clock())
    };
    config.listeners().iter().map(answer).collect()
}

fn answer(source: &str) -> (Vec<bool>, String, Value) {
    let (directory, config) = config();
    let source = AskedAddress::parse(source).unwrap();
    let answers = answers_of(&config, &source, &Question::new(None, None).unwrap());
    let text = as_text(&source, &answers, "").replace(&format!("{}/", directory.path().display()), "");
    (answers.iter().map(|answer| answer.allowed).collect(), text, as_json(&source, &answers))
}

#[test]
fn the_deciding_entry_is_named() {
    for (source, allowed, line) in [
        (
            "203.0.113.9",
            true,
            "public: 203.0.113.9 allowed by 203.0.113.0/24 of group office, gate.yaml:10, note: head office\n",
        ),
        ("203.0.113.66", false, "public: 203.0.113.66 refused by deny, 203.0.113.66 (inline), gate.yaml:2\n"),
        (
            "192.0.2.1",
            false,
            "public: 192.0.2.1 refused: expired entry 192.0.2.1 of group guests, gate.yaml:13, until 2020-01-01T00:00:00Z\n",
        ),
        (
            "192.0.2.2",
            true,
            "public: 192.0.2.2 allowed by 192.0.2.2 of group guests, gate.yaml:14, owner: ops, until 2999-01-01T00:00:00Z\n",
        ),
        ("::1", true, "public: ::1 allowed by ::1 (inline), gate.yaml:2\n"),
        ("10.0.0.1", false, "public: 10.0.0.1 refused: none of the 4 entries of allow matches\n"),
        ("unix", false, "local: unix allowed by unix of group unix\n"),
        ("10.0.0.1", false, "local: 10.0.0.1 refused: the only entry of allow does not match\n"),
        ("10.0.0.1", false, "closed: 10.0.0.1 refused: its allow list is empty\n"),
    ] {
        let (answers, text, _) = answer(source);
        assert!(text.contains(line), "{line:?} is not in {text}");
        assert_eq!(answers[0], allowed, "{source}");
    }
}

/// A refusal is followed by the command that would admit the source.
#[test]
fn the_next_step_is_named() {
    for (source, line) in [
        (
            "10.0.0.1",
            "matches\n  to admit it: portcullis groups add office 10.0.0.1    # or instead of office: guests\n",
        ),
        (
            "192.0.2.1",
            "until 2020-01-01T00:00:00Z\n  to admit it: portcullis groups add guests 192.0.2.1 --until 8h\n",
        ),
        ("10.0.0.1", "empty\n  to admit it: write 10.0.0.1 into allow of listener closed\n"),
    ] {
        let (_, text, _) = answer(source);
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    let (_, text, _) = answer("203.0.113.66");
    assert!(!text.lines().next().unwrap().contains("to admit it"), "{text}");
    assert!(!text.contains("groups add"), "an entry under deny is meant: {text}");
}

/// `allow` that has host names only is not empty.
#[test]
fn host_names_are_entries() {
    let yaml = "\
listeners:
  - {name: public, bind: 127.0.0.1:6379, upstream: main, allow: [home]}
  - {name: two, bind: 127.0.0.1:6380, upstream: main, allow: [all]}
upstreams: {main: {address: 127.0.0.1:6381}}
groups:
  home: [{host: home.invalid}]
  all: [{group: home}, {host: other.invalid}]
";
    let (text, _) = rights_by(yaml, "192.0.2.1", None, None);
    for line in [
        "public: 192.0.2.1 refused: the only entry of allow is a host name, which has no address now\n",
        "two: 192.0.2.1 refused: allow has only 2 host names, and none has an address now\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_mapped_address_is_folded_and_said_to_be() {
    let (answers, text, json) = answer("::ffff:203.0.113.9");
    assert!(answers[0]);
    assert!(
        text.starts_with("::ffff:203.0.113.9 is judged as 203.0.113.9\npublic: 203.0.113.9 allowed"),
        "{text}"
    );
    assert_eq!(json["source"], "203.0.113.9");
    assert_eq!(json["folded_from"], "::ffff:203.0.113.9");
}

#[test]
fn json() {
    let (_, _, json) = answer("192.0.2.2");
    assert_eq!(json["allowed"], false, "the other listeners refuse it");
    assert_eq!(json["folded_from"], Value::Null);
    let public = &json["listeners"][0];
    assert_eq!(public["listener"], "public");
    assert_eq!((&public["allowed"], &public["reason"]), (&true.into(), &"allowed".into()));
    assert_eq!(public["until"], "2999-01-01T00:00:00Z");
    let rule = &public["rule"];
    assert_eq!(
        (&rule["entry"], &rule["group"], &rule["owner"], &rule["line"]),
        (&"192.0.2.2".into(), &"guests".into(), &"ops".into(), &14.into())
    );
    assert_eq!(json["listeners"][1]["rule"], Value::Null);
    assert_eq!(json["listeners"][1]["reason"], "not_allowed");
}

#[test]
fn a_port_is_ignored() {
    for text in ["203.0.113.9:50000", "[::ffff:203.0.113.9]:50000", "source=203.0.113.9:50000"] {
        assert_eq!(answer(text).2["source"], "203.0.113.9");
    }
    assert_eq!(answer("[2001:db8::7]:50000").2["source"], "2001:db8::7");
}

#[test]
fn an_invalid_source_is_an_error() {
    for text in [
        "",
        "host",
        "10.0.0.0/8",
        "10.0.0.01",
        "10.1",
        "fe80::1%lo",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "2001:db8::1]:1",
        "UNIX",
        "1.2.3.4 ",
        "source=",
        "client=1.2.3.4",
    ] {
        assert!(AskedAddress::parse(text).unwrap_err().to_string().contains("is not an address"), "{text}");
    }
    assert!(
        AskedAddress::parse("10.0.0.0/8").unwrap_err().to_string().contains("one address of that network")
    );
}

#[test]
fn listeners_by_name() {
    let (_directory, config) = config();
    let names = |named| -> Vec<&str> {
        listeners(&config, named).unwrap().iter().map(|listener| listener.name()).collect()
    };
    assert_eq!(names(None), ["public", "local", "closed"]);
    assert_eq!(names(Some("local")), ["local"]);
    let error = |name| listeners(&config, Some(name)).unwrap_err().to_string();
    assert!(error("lokal").contains("did you mean 'local'?"), "{}", error("lokal"));
    assert!(error("elsewhere").contains("public, local, closed"), "{}", error("elsewhere"));
}

const RIGHTS: &str = "\
listeners:
  - {name: public, bind: 127.0.0.1:6379, upstream: main, allow: [127.0.0.1, 127.0.0.2], auth: users, users: [reporting, all], acl: \"+@all -@dangerous\"}
  - {name: inside, bind: 127.0.0.1:6380, upstream: main, allow: [127.0.0.1], auth: trust}
upstreams: {main: {address: 127.0.0.1:6381}}
users:
  reporting: {password: {env: PATH}, from: [127.0.0.1], acl: \"+@read +flushall ~report:*\"}
  all: {password: {env: PATH}}
";

const COSTS: &str = "\
listeners:
  - {name: public, bind: 127.0.0.1:6379, upstream: main, allow: [127.0.0.1], auth: trust, acl: \"@public\", limits: {count: 50}}
  - {name: inside, bind: 127.0.0.1:6380, upstream: main, allow: [127.0.0.1], auth: trust, acl: \"+@all\"}
upstreams: {main: {address: 127.0.0.1:6381}}
";

/// Returns the text and the JSON of the answers of both listeners.
fn rights(source: &str, user: Option<&str>, command: Option<&str>) -> (String, Value) {
    rights_by(RIGHTS, source, user, command)
}

fn rights_by(yaml: &str, source: &str, user: Option<&str>, command: Option<&str>) -> (String, Value) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gate.yaml");
    std::fs::write(&path, yaml).unwrap();
    let config = load(&path, &LoadOptions::new().without_secrets()).unwrap().config;
    let source = AskedAddress::parse(source).unwrap();
    let question = Question::new(user.map(str::to_owned), command.map(str::to_owned)).unwrap();
    let answers = answers_of(&config, &source, &question);
    let text = as_text(&source, &answers, "").replace(&format!("{}/", directory.path().display()), "");
    (text, as_json(&source, &answers))
}

#[test]
fn a_user_and_a_command_have_lines_of_their_own() {
    let (text, json) = rights("127.0.0.1", Some("reporting"), Some("GET report:1"));
    assert_eq!(
        text,
        "public: 127.0.0.1 allowed by 127.0.0.1 (inline), gate.yaml:2\n\
         public: user reporting allowed: from: 127.0.0.1, gate.yaml:6\n\
         public: GET report:1 allowed: acl \"+@all -@dangerous\" of listener public and acl \"+@read +flushall ~report:*\" of user reporting\n\
         inside: 127.0.0.1 allowed by 127.0.0.1 (inline), gate.yaml:3\n\
         inside: user reporting refused: auth is trust, so the listener has no users\n"
    );
    assert_eq!(json["allowed"], false, "{json}");
    let listener = &json["listeners"][0];
    assert_eq!(listener["user"]["rule"]["line"], 6);
    assert_eq!(listener["command"]["by"], json!(["listener", "user"]));
    assert_eq!(listener["command"]["reply"], Value::Null);
}

/// The answer repeats the command without arguments that may be passwords.
#[test]
fn a_command_is_repeated_by_its_name_and_keys() {
    for (command, shown) in [
        ("AUTH all CANARY", "AUTH ***"),
        ("HELLO 3 AUTH all CANARY", "HELLO ***"),
        ("config SET requirepass CANARY", "config SET ***"),
        ("MIGRATE h 6379 \"\" 0 9 AUTH CANARY KEYS report:1", "MIGRATE *** report:1"),
        ("SET report:1 CANARY EX 3", "SET report:1 ***"),
        ("MGET report:1 report:2", "MGET report:1 report:2"),
        ("NOSUCH CANARY", "NOSUCH ***"),
    ] {
        let (text, json) = rights("127.0.0.1", Some("all"), Some(command));
        assert_eq!(json["listeners"][0]["command"]["command"], shown);
        assert!(text.contains(&format!("public: {shown} ")), "{text}");
        assert!(!format!("{text}{json}").contains("CANARY"), "{text}{json}");
    }
    let error = Question::new(None, Some("AUTH \"CANARY".to_owned())).unwrap_err();
    assert!(!error.to_string().contains("CANARY"), "{error}");
}

/// Without rules a misspelled command is allowed, and Redis refuses it.
#[test]
fn a_misspelled_command_is_named() {
    let (text, json) = rights("127.0.0.1", None, Some("FLUSHAL"));
    assert!(
        text.contains("inside: FLUSHAL allowed: no rules apply; no known version of Redis has this command, did you mean"),
        "{text}"
    );
    assert!(text.to_lowercase().contains("flushall"), "{text}");
    assert_eq!(json["listeners"][1]["command"]["reason"], "no rules apply");
    let (text, _) = rights("127.0.0.1", None, Some("GET a"));
    assert!(!text.contains("known version"), "{text}");
}

/// The log and NOPERM print a subcommand as `config|get`.
#[test]
fn the_name_of_a_subcommand_is_understood() {
    let judged = |command| {
        let (_, json) = rights("127.0.0.1", Some("all"), Some(command));
        json["listeners"][0]["command"].clone()
    };
    for (command, line) in [
        ("config|get", "config get"),
        ("  CONFIG|GET  maxmemory", "CONFIG GET ***"),
        ("client|list", "client list"),
    ] {
        let command = judged(command);
        assert_eq!(command["command"], line);
        let name = line.to_lowercase().split(' ').take(2).collect::<Vec<_>>().join("|");
        let reply = format!("-NOPERM User all has no permissions to run the '{name}' command");
        assert_eq!((command["allowed"].as_bool(), command["reply"].as_str()), (Some(false), Some(&*reply)));
    }
    assert_eq!(judged("object|encoding report:1")["allowed"], true);
    for unknown in ["get|x", "config|nosuch", "nosuch|get", "|", "\"config|get\""] {
        assert_eq!(judged(unknown)["allowed"], false, "{unknown}");
    }
    let (_, json) = rights("127.0.0.1", Some("all"), Some("config get"));
    let reply = json["listeners"][0]["command"]["reply"].as_str().unwrap();
    assert!(reply.starts_with("-ERR wrong number of arguments"), "{reply}");
}

/// The answer names the rules that refuse, and shows the reply that the client would get.
#[test]
fn who_refuses_a_command_is_named() {
    let cases: [(Option<&str>, &str, &str, &[&str]); 9] = [
        (Some("reporting"), "GET other", "-NOPERM No permissions to access a key", &["user"]),
        (
            Some("reporting"),
            "SET report:1 x",
            "-NOPERM User reporting has no permissions to run the 'set' command",
            &["user"],
        ),
        (
            Some("reporting"),
            "FLUSHALL",
            "-NOPERM User reporting has no permissions to run the 'flushall' command",
            &["listener"],
        ),
        (
            Some("reporting"),
            "config get \"x\"",
            "-NOPERM User reporting has no permissions to run the 'config|get' command",
            &["listener", "user"],
        ),
        (
            Some("all"),
            "NOSUCH a",
            "-NOPERM User all has no permissions to run the 'NOSUCH' command",
            &["listener"],
        ),
        (
            Some("all"),
            "psync ? -1",
            "-NOPERM User all has no permissions to run the 'psync' command",
            &["listener"],
        ),
        (Some("all"), "PSYNC", "-ERR wrong number of arguments for 'psync' command", &["listener"]),
        (None, "GET report:1", "-NOAUTH Authentication required.", &["login"]),
        (None, "GET", "-NOAUTH Authentication required.", &["login"]),
    ];
    for (user, command, reply, by) in cases {
        let (_, json) = rights("127.0.0.1", user, Some(command));
        let command = &json["listeners"][0]["command"];
        assert_eq!(
            (command["allowed"].as_bool(), command["reply"].as_str()),
            (Some(false), Some(reply)),
            "{json}"
        );
        assert_eq!(command["by"], json!(by), "{json}");
    }
    for (user, command) in [(Some("all"), "SET other 1"), (None, "AUTH all x"), (None, "HELLO 3")] {
        let (_, json) = rights("127.0.0.1", user, Some(command));
        assert_eq!(json["listeners"][0]["command"]["allowed"], true, "{json}");
    }
}

/// The page and the API show the reason too, and have no options.
#[test]
fn only_the_text_advises_an_option() {
    let (text, json) = rights("127.0.0.1", None, Some("GET report:1"));
    let why = "the client must log in first, and the question names no user";
    assert!(
        text.contains(&format!("GET report:1 refused: {why}; name the user with --user, reply: ")),
        "{text}"
    );
    assert_eq!(json["listeners"][0]["command"]["reason"], why);
}

#[test]
fn the_rule_that_refuses_a_command_is_named() {
    let reason = |user, command| {
        let (_, json) = rights("127.0.0.1", Some(user), Some(command));
        json["listeners"][0]["command"]["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("all", "FLUSHALL"), "-@dangerous, acl \"+@all -@dangerous\" of listener public");
    assert_eq!(
        reason("reporting", "CONFIG GET x"),
        "-@dangerous, acl \"+@all -@dangerous\" of listener public and \
         no rule allows it, acl \"+@read +flushall ~report:*\" of user reporting"
    );
    // Without rules every command is allowed, except commands that only a rule with their name allows.
    let (_, json) = rights("127.0.0.1", None, Some("CONFIG GET requirepass"));
    assert_eq!(json["listeners"][1]["command"]["reason"], "no rules apply");
    let (_, json) = rights("127.0.0.1", None, Some("SYNC"));
    assert_eq!(json["listeners"][1]["command"]["reason"], "only a rule with its name allows it");
}

#[test]
fn what_a_command_may_cost_is_explained() {
    let (text, json) = rights_by(COSTS, "127.0.0.1", None, Some("SCAN 0 COUNT 51"));
    assert!(
        text.contains(
            "public: SCAN *** refused: limits.count, acl \"@public\" of listener public, \
             reply: -ERR portcullis: COUNT above 50 is not allowed here\n"
        ),
        "{text}"
    );
    assert_eq!(json["listeners"][1]["command"]["allowed"], true, "{json}");
    let (_, json) = rights_by(COSTS, "127.0.0.1", None, Some("SCAN 0 COUNT 50"));
    assert_eq!(json["listeners"][0]["command"]["allowed"], true, "{json}");
}

#[test]
fn a_user_from_elsewhere_and_one_that_there_is_not() {
    let (text, json) = rights("127.0.0.2", Some("reporting"), Some("GET report:1"));
    assert!(text.contains("public: 127.0.0.2 allowed by"), "{text}");
    assert!(
        text.contains(
            "public: user reporting refused: no entry of the user's from list matches the source\n"
        ),
        "{text}"
    );
    assert_eq!(json["listeners"][0]["command"], Value::Null, "nothing is said of who is not in");
    let (text, _) = rights("127.0.0.2", Some("all"), None);
    assert!(
        text.contains("public: user all allowed: from every address that the listener admits\n"),
        "{text}"
    );
    let (text, _) = rights("127.0.0.2", Some("nobo\ndy"), None);
    assert!(
        text.contains(
            "user nobo\\ndy refused: the listener does not list this user; its users: reporting, all\n"
        ),
        "{text}"
    );
}

#[test]
fn an_invalid_command_is_an_error() {
    for (command, why) in
        [("", "the command is empty"), ("  ", "empty"), ("GET \"x", "is not a valid command")]
    {
        let error = Question::new(None, Some(command.to_owned())).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// Rules do not apply to commands that the listener answers itself.
#[test]
fn a_command_that_the_listener_answers_itself_is_allowed() {
    let yaml = "\
listeners:
  - {name: data, bind: 127.0.0.1:6379, upstream: main, allow: [127.0.0.1], acl: \"+get\", present_as: [sentinel, cluster]}
  - {name: plain, bind: 127.0.0.1:6380, upstream: main, allow: [127.0.0.1], acl: \"+get\"}
  - {name: only, bind: 127.0.0.1:6382, upstream: main, allow: [127.0.0.1], present_as: [sentinel], announce: \"a:1\"}
upstreams: {main: {address: 127.0.0.1:6381}}
";
    for (command, data) in [("CLUSTER SLOTS", "as a cluster"), ("SENTINEL MASTERS", "as a sentinel")] {
        let (text, _) = rights_by(yaml, "127.0.0.1", None, Some(command));
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(command)).collect();
        assert!(lines.len() == 3, "{text}");
        assert!(lines[0].contains(&format!("allowed: the listener answers it itself, {data}")), "{text}");
        assert!(lines[1].contains("refused"), "{text}");
        assert!(lines[2].contains("allowed: the listener answers every command itself"), "{text}");
    }
}
