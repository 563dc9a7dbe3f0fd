//! The answer has every key of the configuration.

use portcullis_config::{LoadOptions, SCHEMA, load};

use super::*;
use crate::admin::guard::Credential;

/// A configuration with every mapping that may be absent.
const FULL: &str = r#"
listeners:
  - name: public
    bind: "127.0.0.1:6380"
    upstream: main
    allow: [office]
    deny: [198.51.100.0/24]
    shadow: {allow: [office], deny: [office]}
    proxy_protocol: {from: [office], only: false}
    auth: users
    users: [alice]
    acl: "+@all ~app:*"
    present_as: [standalone, sentinel]
    announce: gate.example:6379
    announce_master: [mymaster]
    limits: {per_source: {connects: 1/1s, auth_failures: 1/1m}}
  - {name: sharded, bind: "127.0.0.1:6381", upstream: sharded, allow: [office], auth: trust}
  - {name: moving, bind: "127.0.0.1:6382", upstream: moving, allow: [office], auth: trust}
upstreams:
  main: {address: "127.0.0.1:6379", credentials: {username: app, password: {file: pw}}}
  moving:
    sentinel: {master: mymaster, nodes: ["127.0.0.1:26379"], pause: 3s, credentials: {password: {file: pw}}}
    translate: {"172.17.0.2:6379": "redis-1.example:7001"}
  sharded: {cluster: {nodes: ["127.0.0.1:7000"], read_from: masters}}
groups: {office: [203.0.113.0/24]}
users:
  alice:
    password: {file: pw}
    from: [office]
    acl: "+@all"
    upstream_credentials: {main: {password: {file: pw}}}
admin: {bind: "127.0.0.1:9377", token: {file: pw}}
"#;

/// A text that the answer must not have.
const SECRET: &str = "canary-config-5d21";

/// Keys that the answer shows elsewhere or not at all, each with the reason.
const ELSEWHERE: [(&str, &str); 20] = [
    ("listener_defaults", "its keys are those of each listener"),
    ("takeover", "the path of a socket that only the next process uses"),
    ("groups", "/api/groups"),
    ("listeners.allow_anonymous_internet", "a permission for `check`; nothing in force depends on it"),
    ("listeners.bind.*", "each address is one text"),
    ("listeners.allow.*", "names of groups; /api/groups has entries"),
    ("listeners.deny.*", "names of groups; /api/groups has entries"),
    ("listeners.shadow.allow.*", "names of groups; /api/groups has entries"),
    ("listeners.shadow.deny.*", "names of groups; /api/groups has entries"),
    ("listeners.proxy_protocol.from.*", "names of groups; /api/groups has entries"),
    ("users.from.*", "names of groups; /api/groups has entries"),
    ("admin.bind.*", "the address is one text"),
    ("admin.token.*", "a mask"),
    ("upstreams.credentials.password.*", "a mask"),
    ("upstreams.sentinel.credentials.password.*", "a mask"),
    ("listeners.tls.*", "paths of files; the answer says whether there is TLS"),
    ("upstreams.tls.*", "paths of files; the answer says whether there is TLS"),
    ("upstreams.sentinel.tls.*", "paths of files; the answer says whether there is TLS"),
    ("users.password.*", "a mask for each password"),
    ("users.upstream_credentials.*", "the names of the upstreams"),
];

fn shown(access: Access) -> Value {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("pw"), SECRET).unwrap();
    let path = directory.path().join("portcullis.yaml");
    std::fs::write(&path, FULL).unwrap();
    let loaded = load(&path, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut facts = facts(&loaded.config, access);
    // The handler adds it.
    facts["workers"] = 1.into();
    facts
}

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Returns the mappings that a part of the schema describes: itself, what it refers to, and its alternatives.
fn mappings<'s>(schema: &'s Value, node: &'s Value) -> Vec<&'s Value> {
    let mut parts = vec![node];
    let mut next = 0;
    while let Some(node) = parts.get(next).copied() {
        parts.extend(node["$ref"].as_str().and_then(|target| schema.pointer(&target[1..])));
        parts.extend(node["anyOf"].as_array().into_iter().flatten());
        parts.extend(node.get("items"));
        parts.extend(node.get("additionalProperties").filter(|more| more.is_object()));
        next += 1;
    }
    parts
}

/// Returns every key of the schema, as a path without the names of upstreams and users.
fn keys(schema: &Value, node: &Value, path: &str, found: &mut Vec<String>) {
    for mapping in mappings(schema, node) {
        for (key, property) in mapping["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if !found.contains(&path) {
                found.push(path.clone());
                // The list of groups is elsewhere, and an entry may name a group.
                if !is_elsewhere(&path) {
                    keys(schema, property, &path, found);
                }
            }
        }
    }
}

fn is_elsewhere(path: &str) -> bool {
    ELSEWHERE.iter().any(|(key, _)| match key.strip_suffix(".*") {
        Some(above) => path.strip_prefix(above).is_some_and(|rest| rest.starts_with('.')),
        None => path == *key,
    })
}

/// Returns the values at a path, in the form in which the answer has a key: `bind` as `binds`, `slow` as `slow_seconds`.
fn values<'v>(shown: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut here = vec![shown];
    for key in path.split('.') {
        let each = here.into_iter().flat_map(|value| match value {
            Value::Array(items) => items.iter().collect::<Vec<_>>(),
            one => vec![one],
        });
        let forms = ["", "s", "es", "_seconds", "_bytes"].map(|ending| format!("{key}{ending}"));
        here = each.filter_map(|value| forms.iter().find_map(|form| value.get(form))).collect();
    }
    here
}

#[test]
fn every_key_of_the_schema_is_shown_to_operators() {
    let (schema, shown) = (schema(), shown(Access::Operator(Credential::Token([0; 32]))));
    let mut found = Vec::new();
    keys(&schema, &schema, "", &mut found);
    assert!(found.len() > 60, "{found:?}");
    let missing: Vec<_> =
        found.iter().filter(|path| !is_elsewhere(path) && values(&shown, path).is_empty()).collect();
    assert!(
        missing.is_empty(),
        "add these keys to admin/api/config.rs, or to ELSEWHERE: {missing:#?}\n{shown:#}"
    );
    for (key, reason) in ELSEWHERE {
        let is_known = found.iter().any(|path| *path == key.trim_end_matches(".*"));
        assert!(is_known, "{key} ({reason}) is no key any more");
    }
}

#[test]
fn no_secret_is_shown_and_a_reader_sees_no_inner_address() {
    let operator = shown(Access::Operator(Credential::Token([0; 32]))).to_string();
    assert!(!operator.contains(SECRET), "{operator}");
    assert!(operator.contains("127.0.0.1:26379") && operator.contains("redis-1.example:7001"), "{operator}");
    let reader = shown(Access::Reader).to_string();
    for hidden in [SECRET, ":26379", ":7000", ":7001", "172.17.0.2", "app:*", ":9377", "mymaster\",\"nodes"] {
        assert!(!reader.contains(hidden), "{hidden} in {reader}");
    }
}
