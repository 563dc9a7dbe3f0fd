//! A secret in the wrong place: whatever stands where in a file, no message repeats it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::homes::HOMES;
use crate::problem::Problems;
use crate::raw::{self, Node};

/// The text that every secret of this test contains.
const MARK: &str = "7f41";

/// Every key that there is. A key that is added to the format has to be added here: a test says so.
pub(super) const ALL_KEYS: &str = r#"
listener_defaults: {inline_commands: true}
listeners:
  - name: public
    bind: ["127.0.0.1:6380", "unix:public.sock", {unix: own.sock, mode: "0660", group: root}]
    upstream: main
    allow: [office, {group: long}, {cidr: 192.0.2.0/24, note: why, owner: ops, until: "2099-12-31T18:00:00Z"}]
    deny: [198.51.100.0/24]
    shadow: {allow: [office], deny: [office]}
    proxy_protocol: {from: [office], only: false}
    refusal: close
    auth: users
    users: [alice]
    acl: ["+@all", "~app:*"]
    inline_commands: true
    allow_anonymous_internet: false
    present_as: [standalone, sentinel]
    announce: gate.example:6379
    announce_master: [mymaster]
    limits: {clients: 1, bulk: 1MiB, arguments: 10, inline: 64KiB, held_command: 1MiB, client_output_buffer: 1MiB,
             pattern: 1KiB, count: 1, subscriptions: 1,
             buffers: 1MiB, per_source: {clients: 1, connects: 1/1s, auth_failures: 1/1m, block_for: 1m},
             timeouts: {idle: off, frame: 1s, write: 1s, tls: 1s, proxy_header: 3s, login: 1s, drain: 1s},
             tcp: {keepalive: 300s, user_timeout: 30s}}
    tls: {cert: a.pem, key: a.key, certificates: [{cert: b.pem, key: b.key}], client_ca: ca.pem, client_crl: ca.crl,
          client_auth: required, user_from: cn}
  - {name: trusting, bind: "127.0.0.1:6381", upstream: other, allow: [office], auth: trust,
     tls: {cert: a.pem, key: a.key, pin: "sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"}}
upstreams:
  main:
    address: ["127.0.0.1:6379", "unix:redis.sock"]
    credentials: {username: app, password: {file: pw}}
    tls: {ca: ca.pem, server_name: redis.internal, cert: c.pem, key: c.key}
    connections: dedicated
    resolve_every: 30s
    connect_timeout: 2s
    failover_wait: 5s
    response_timeout: 1s
  other: {address: "redis.internal:6379", credentials: {password: {env: CARGO_MANIFEST_DIR}},
          tls: {pin: ["sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"]}}
  moving:
    sentinel: {master: mymaster, nodes: ["127.0.0.1:26379", "sentinel.internal:26379"], pause: 3s,
               credentials: {username: gate, password: {file: pw}},
               tls: {ca: ca.pem, server_name: sentinel.internal, cert: c.pem, key: c.key}}
    translate: {"172.17.0.2:6379": "redis-1.example:7001"}
  sharded: {cluster: {nodes: ["127.0.0.1:7000", "node.internal:7001"], read_from: replicas}}
groups:
  office: [203.0.113.0/24]
  long: {note: why, owner: ops, until: "2099-12-31T18:00:00Z", entries: [203.0.113.0/24]}
  listed: {file: list.txt, allow_empty: true}
  selected: {file: list.json, select: ["prefixes[].ip_prefix"]}
  homes: [{host: home.dyndns.example, refresh: 5m, keep: 1h, private: false, note: why, owner: ops,
           until: "2099-12-31T18:00:00Z"}]
users:
  alice:
    password: [{sha256: 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8}, {file: pw}]
    from: [office]
    acl: "+@all"
    upstream_credentials: {main: {username: own, password: {file: pw}}}
limits: {clients: 1, bulk: 1MiB, arguments: 10, inline: 64KiB, held_command: 1MiB, client_output_buffer: 1MiB,
             pattern: 1KiB, count: 1, subscriptions: 1,
         buffers: 1MiB, per_source: {clients: 1, connects: 1/1s, auth_failures: 1/1m, block_for: 1m},
         timeouts: {idle: off, frame: 1s, write: 1s, tls: 1s, proxy_header: 3s, login: 1s, drain: 1s},
         tcp: {keepalive: 300s, user_timeout: 30s}}
admin: {bind: "127.0.0.1:9377", token: {file: pw}}
audit: {path: stdout, commands: none, keys: hashed, on_overflow: drop}
observe: {slow: 10ms, large: 1MiB, hot: on, keys: plain}
log: {format: text, level: info}
reload: watch
takeover: takeover.sock
workers: 1
"#;

/// Passwords, and what people write around them.
const CANARIES: [&str; 13] = [
    "canary-7f41",
    "Canary 7f41!",
    "redis://:canary-7f41@redis.internal:6379/0",
    "app:canary-7f41@redis:6379",
    ">canary-7f41",
    "+@7f41",
    "AUTH app canary-7f41",
    "redis-cli -a canary-7f41",
    "203.0.113.9:canary-7f41",
    "10.0.0.0/8, canary-7f41",
    "10.0.0.1-canary-7f41",
    "canary-7f41/24",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIE7f41\n-----END PRIVATE KEY-----\n",
];

/// Messages that may repeat a canary that is a valid name, path or word: names that the file gives, and names of
/// files and variables. Their values are shown wherever the proxy mentions these things.
const NAMED: [&str; 12] =
    ["select", "name", "file", "env", "cert", "key", "ca", "client_ca", "client_crl", "path", "unix", "acl"];

/// A place in the tree: keys and numbers of items from the root.
pub(super) type Path = Vec<String>;

#[test]
fn no_message_repeats_a_value() {
    let files = files();
    let tree = all_keys();
    let mut paths = Vec::new();
    walk(&tree, &mut Vec::new(), &mut paths);
    assert!(paths.len() > 150, "{}", paths.len());
    let mut faults = Vec::new();
    for path in &paths {
        // Keys of these name what stands below them.
        let names = matches!(path.last().map(String::as_str), Some("groups" | "users" | "upstreams"));
        let named = path.iter().rev().take(2).any(|key| NAMED.contains(&key.as_str()));
        for canary in CANARIES {
            let replaced = with(&tree, path, |slot| *slot = json!(canary));
            faults.extend(fault(&problems(&files, &replaced), canary, named, &format!("{path:?}")));
        }
        for canary in CANARIES[..2].iter().copied() {
            let extended = with(&tree, path, |slot| {
                if let Value::Object(map) = slot {
                    let last = map.iter().next_back().map(|(_, value)| value.clone()).unwrap_or_default();
                    map.insert(canary.to_owned(), last);
                }
            });
            faults.extend(fault(&problems(&files, &extended), canary, names, &format!("a key of {path:?}")));
        }
        let canary = CANARIES[0];
        for value in [json!([canary]), json!({canary: "x"}), json!({"file": [canary]})] {
            let replaced = with(&tree, path, |slot| *slot = value.clone());
            let said = problems(&files, &replaced);
            faults.extend(fault(&said, canary, named || names, &format!("{path:?} is {value}")));
        }
    }
    assert!(
        faults.is_empty(),
        "{} values are repeated:\n{}",
        faults.len(),
        faults[..faults.len().min(20)].join("\n")
    );
}

#[test]
fn no_syntax_error_repeats_a_value() {
    let files = files();
    for torn in [
        "admin: {token: \"7f41",
        "admin: {token: 7f41: x",
        "admin: {token: !7f41 x}",
        "admin: {token: *7f41}",
        "admin: {token: &7f41 x, bind: *7f42}",
        "admin: {token: @7f41}",
        "admin: {token: `7f41`}",
        "admin: {token: %7f41}",
        "admin:\n  token: |7f41\n",
        "admin:\n\ttoken: 7f41\n",
        "%TAG !7f41! tag:7f41\n---\nadmin: !7f41!x y\n",
        "%YAML 7f41\n---\na: b\n",
        "7f41",
        "[7f41]",
        "? [7f41]\n: 7f41\n",
        "<<: 7f41\n",
        "admin: \"\\q7f41\"\n",
        "admin: !!int 7f41x\n",
        "admin: !!binary 7f41\n",
        "a: 7f41\n---\nb: 7f41\n",
        "a: 7f41\n b: 7f41\n",
    ] {
        let said = text_problems(&files, torn);
        assert!(!said.is_empty(), "{torn}");
        assert!(!said.contains(MARK), "{torn}: {said}");
    }
}

/// The document above has every key of the format, so that a new one is tried too.
#[test]
fn the_document_of_this_test_has_every_key() {
    let files = files();
    let tree = all_keys();
    let mut paths = Vec::new();
    walk(&tree, &mut Vec::new(), &mut paths);
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut present: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in &paths {
        let mut keys = BTreeSet::new();
        let said = with(&tree, path, |slot| {
            if let Value::Object(map) = slot {
                keys = map.keys().cloned().collect();
                map.insert("zzzzzzzzzzzz".to_owned(), Value::Null);
            }
        });
        for problem in load_text(&files, &said.to_string()) {
            let Some(what) = problem.message().split("unknown key '***' in ").nth(1) else { continue };
            let Some(all) = problem.hint().and_then(|hint| hint.strip_prefix("known keys: ")) else {
                continue;
            };
            known.entry(what.to_owned()).or_default().extend(all.split(", ").map(str::to_owned));
            present.entry(what.to_owned()).or_default().extend(keys.iter().cloned());
        }
    }
    assert!(known.len() > 15, "{known:?}");
    for (what, _, keys) in HOMES {
        for key in keys {
            assert!(known[what].contains(*key), "the table of homes: {what} has no '{key}'");
        }
    }
    for (what, keys) in known {
        let missing: Vec<_> = keys
            .difference(&present[&what])
            .filter(|key| !["name", "bind"].contains(&key.as_str()) || what != "listener_defaults")
            .collect();
        assert!(missing.is_empty() || what == "listener_defaults", "add to ALL_KEYS, in {what}: {missing:?}");
    }
}

pub(super) fn files() -> Files {
    Files::new()
        .with("pw", "a-password")
        .with("list.txt", "")
        .with("list.json", r#"{"prefixes": [{"ip_prefix": "192.0.2.0/24"}]}"#)
}

pub(super) fn all_keys() -> Value {
    let mut problems = Problems::default();
    let tree = raw::parse(ALL_KEYS, &Arc::from("keys"), &mut problems).expect("it is YAML");
    value(&tree)
}

/// JSON is YAML too.
fn value(node: &Node) -> Value {
    match &node.value {
        raw::Value::Null => Value::Null,
        raw::Value::Scalar(text) => json!(text),
        raw::Value::List(items) => items.iter().map(value).collect(),
        raw::Value::Map(entries) => Value::Object(
            entries.iter().map(|(key, node)| (key.text.clone(), value(node))).collect::<Map<_, _>>(),
        ),
    }
}

pub(super) fn walk(tree: &Value, path: &mut Path, paths: &mut Vec<Path>) {
    paths.push(path.clone());
    let children: Vec<(String, &Value)> = match tree {
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        _ => Vec::new(),
    };
    for (step, child) in children {
        path.push(step);
        walk(child, path, paths);
        path.pop();
    }
}

pub(super) fn with(tree: &Value, path: &Path, mut change: impl FnMut(&mut Value)) -> Value {
    let mut tree = tree.clone();
    let mut slot = &mut tree;
    for step in path {
        slot = match slot {
            Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
            Value::Object(map) => map.get_mut(step).unwrap(),
            _ => unreachable!("the path was walked"),
        };
    }
    change(slot);
    tree
}

fn problems(files: &Files, tree: &Value) -> String {
    text_problems(files, &tree.to_string())
}

fn text_problems(files: &Files, text: &str) -> String {
    let problems = load_text(files, text);
    assert_complete(&problems);
    let json = serde_json::to_string(&problems).unwrap();
    problems.iter().map(|problem| format!("{problem}\n")).collect::<String>() + &json
}

pub(super) fn load_text(files: &Files, text: &str) -> Vec<Problem> {
    std::fs::write(files.path("portcullis.yaml"), text).unwrap();
    files.load().map_or_else(|problems| problems, |loaded| loaded.warnings)
}

/// The lines that repeat a canary which may not be repeated there.
fn fault(said: &str, canary: &str, named: bool, place: &str) -> Option<String> {
    // Commas, slashes, dots and spaces are usual in names of files.
    let good = |c: char| c.is_ascii_alphanumeric() || "+@-,/. ".contains(c);
    if named && canary.chars().all(good) {
        return None;
    }
    let line = said.lines().find(|line| line.contains(MARK))?;
    Some(format!("{place}: {}", line.chars().take(200).collect::<String>()))
}
