use super::*;

fn loaded(text: &str) -> (tempfile::TempDir, Loaded) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portcullis.yaml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, &LoadOptions::new().without_secrets()).unwrap();
    (dir, loaded)
}

const GATE: &str = "\
listeners:
  - {name: public, bind: [\"0.0.0.0:6379\", \"[::]:6379\", \"[::]:6380\"], upstream: main, allow: [office, unix], auth: trust}
  - {name: local, bind: \"unix:/run/gate.sock\", upstream: cache}
upstreams:
  main: {address: [\"10.0.0.5:6379\", \"[2001:db8::5]:6379\"], credentials: {username: app, password: {file: pw}}}
  cache: {address: \"unix:/run/redis.sock\"}
groups:
  office: [203.0.113.0/24, \"2001:db8:1::/48\"]
admin: {bind: \"0.0.0.0:9377\", token: {env: TOKEN}}
audit: {path: stderr}
workers: 2
";

#[test]
fn the_summary_says_what_is_bound_and_who_gets_in() {
    let (dir, Loaded { config, warnings }) = loaded(GATE);
    let text = summary(&config, None, &warnings).replace(&format!("{}/", dir.path().display()), "");
    assert_eq!(
        text,
        "\
portcullis.yaml is valid, 2 warnings
listeners
  public: 0.0.0.0:6379, [::]:6379 (IPv6 only), [::]:6380 (IPv6 and IPv4) -> main, auth trust, 3 entries allowed
  local: unix:/run/gate.sock -> cache, auth passthrough, 0 entries allowed
upstreams
  main: 10.0.0.5:6379, [2001:db8::5]:6379, with user and password
  cache: unix:/run/redis.sock
groups
  unix: 1 entry
  office: 2 entries
admin http://0.0.0.0:9377, with a token
audit to stderr
workers 2
"
    );
}

/// A host name has no address before it is looked up, and it is an entry all the same.
#[test]
fn host_names_are_counted() {
    let text = "\
listeners:
  - {name: names, bind: 127.0.0.1:6379, upstream: main, allow: [home]}
  - {name: both, bind: 127.0.0.1:6380, upstream: main, allow: [home, office, {host: c.example}]}
upstreams: {main: {address: 10.0.0.5:6379}}
groups:
  home: [{host: a.example}]
  office: [203.0.113.0/24, {host: b.example}]
";
    let (_dir, Loaded { config, .. }) = loaded(text);
    let text = summary(&config, None, &[]);
    assert!(text.contains("passthrough, 1 host name allowed\n"), "{text}");
    assert!(text.contains("passthrough, 1 entry and 3 host names allowed\n"), "{text}");
    assert!(text.contains("main: 10.0.0.5:6379\n"), "clients log in there: {text}");
    let listener = |index: usize, resolved| hosts::allowed(&config, index, resolved);
    assert_eq!(listener(0, true).as_deref(), Some("0 entries with the addresses of 1 host name"));
    let value = as_json(true, Some(&config), None, &[]);
    assert_eq!(value["listeners"][1]["allowed_hosts"], 3);
}

/// Redis may need no password, so this is no warning; but a forgotten password shows.
#[test]
fn an_upstream_without_a_login_is_named() {
    let (_dir, Loaded { config, warnings }) = loaded(
        "listeners: [{name: a, bind: 127.0.0.1:6379, upstream: main, allow: [192.0.2.1], auth: trust, acl: \"@public\"}]\n\
         upstreams: {main: {address: 10.0.0.5:6379}}\n",
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    let text = summary(&config, None, &[]);
    assert!(text.contains("main: 10.0.0.5:6379, without a password\n"), "{text}");
}

#[test]
fn json_carries_the_same() {
    let (_dir, Loaded { config, warnings }) = loaded(GATE);
    let value = as_json(true, Some(&config), None, &warnings);
    assert_eq!(value["ok"], true);
    assert_eq!(value["listeners"][0]["binds"][1], json!({"address": "[::]:6379", "ipv6_only": true}));
    assert_eq!(value["listeners"][0]["allowed_entries"], 3);
    assert_eq!(value["groups"][1], json!({"name": "office", "entries": 2}));
    assert_eq!(value["problems"].as_array().unwrap().len(), 2);
    assert_eq!(value["problems"][0]["severity"], "warning");
    assert_eq!(as_json(false, None, None, &warnings)["ok"], false);
}

const USERS: &str = "\
listeners:
  - {name: public, bind: \"127.0.0.1:6379\", upstream: main, allow: [192.0.2.1], auth: users, users: [b, a], acl: \"@public\",
     limits: {per_source: {auth_failures: 10/1m}}}
upstreams:
  main: {address: \"10.0.0.5:6379\", connections: shared}
users:
  a: {password: [{env: A}, {file: b}], from: [192.0.2.1], acl: [+@read, ~a:*], upstream_credentials: {main: {password: {env: P}}}}
  b: {password: {env: A}}
";

#[test]
fn users_and_rules_are_listed() {
    let (_dir, Loaded { config, warnings }) = loaded(USERS);
    let text = summary(&config, None, &warnings);
    for line in [
        "  public: 127.0.0.1:6379 -> main, auth users (b, a), 1 entry allowed, acl \"@public\"\n",
        "upstreams\n  main: 10.0.0.5:6379, shared connections\n",
        "users\n  a: 2 passwords, from its own list, its own login at main, acl \"+@read ~a:*\"\n  b: 1 password\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(warnings, []);
    let value = as_json(true, Some(&config), None, &warnings);
    assert_eq!(value["listeners"][0]["acl"], json!(["@public"]));
    assert_eq!(value["upstreams"][0]["connections"], "shared");
    assert_eq!(
        value["users"][0],
        json!({"name": "a", "passwords": 2, "narrowed": true, "own_logins": ["main"], "acl": ["+@read", "~a:*"]})
    );
}

#[test]
fn problems_are_counted_by_kind() {
    let (_dir, Loaded { warnings, .. }) = loaded(GATE);
    let mut out = Vec::new();
    report(&mut out, &warnings).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().last(), Some("2 warnings"));
    assert_eq!(text.matches(": warning: ").count(), 2);
    let mut none = Vec::new();
    report(&mut none, &[]).unwrap();
    assert!(none.is_empty());
}

const SCRIPTS: &str = "\
listeners:
  - {name: public, bind: \"127.0.0.1:6379\", upstream: main, allow: [192.0.2.1], auth: trust, acl: \"@public @public-scripts ~app:* &_*\"}
  - {name: other, bind: \"127.0.0.1:6380\", upstream: CACHE, allow: [192.0.2.1], auth: trust, acl: [\"@public\", \"@public-scripts\"]}
  - {name: own, bind: \"127.0.0.1:6381\", upstream: main, allow: [192.0.2.1], auth: users, users: [a, b], acl: \"+@all ~app:*\",
     limits: {per_source: {auth_failures: 10/1m}}}
upstreams:
  main: {address: \"10.0.0.5:6379\", credentials: {username: app, password: {env: P}}}
  cache: {address: \"10.0.0.6:6379\", credentials: {username: default, password: {env: P}}}
users:
  a: {password: {env: A}, acl: \"@public @public-scripts ~app:a:*\", upstream_credentials: {main: {password: {env: P}}}}
  b: {password: {env: A}}
";

#[test]
fn scripts_need_a_redis_user_of_their_own() {
    let (_dir, Loaded { config, warnings }) = loaded(&SCRIPTS.replace("CACHE", "cache"));
    let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    // The third is that the rules of listener 'own' do not bind scripts, as ever.
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("listener 'other' lets scripts run"), "{told:?}");
    assert!(told[1].contains("listener 'own' lets scripts of user 'a' run"), "{told:?}");
    let text = summary(&config, None, &warnings);
    assert!(text.contains(
        "\n  main of public, without &_*, which would open channels of Redis itself: ACL SETUSER app on "
    ));
    assert!(text.contains("\n  main of own, user a: ACL SETUSER portcullis on "), "{text}");
    let value = as_json(true, Some(&config), None, &warnings);
    let users = value["redis_users"].as_array().unwrap();
    let named: Vec<_> = users.iter().map(|user| (&user["listener"], &user["user"])).collect();
    assert_eq!(json!(named), json!([["public", null], ["other", null], ["own", "a"]]));
    assert_eq!(users[0]["left_out"], json!(["&_*"]));
    assert!(users[0]["acl_setuser"].as_str().unwrap().ends_with(" ~app:*"));
    let (_dir, Loaded { config, .. }) = loaded(GATE);
    assert_eq!(as_json(true, Some(&config), None, &[])["redis_users"], json!([]));
    assert!(!summary(&config, None, &[]).contains("ACL SETUSER"));
}
