//! The published JSON Schema against the loader: the same keys, words and defaults, and both accept every example.
//!
//! A key that is added to `ALL_KEYS` is added to `src/schema.json` too, with a description.

use std::collections::BTreeSet;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use super::canaries::{ALL_KEYS, Path as Steps, all_keys, files, load_text, walk, with};
use super::documents::{below, blocks, configurations, root};
use super::*;

/// Keys that the loader knows only to say that they do not belong there.
fn is_misplaced(path: &[String]) -> bool {
    let last = path.last().map(String::as_str);
    path.first().is_some_and(|first| first == "listeners") && matches!(last, Some("buffers" | "drain"))
}

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// The node, and all nodes that it refers to or offers as an alternative.
fn parts<'s>(schema: &'s Value, node: &'s Value) -> Vec<&'s Value> {
    let mut parts = vec![node];
    let mut next = 0;
    while let Some(node) = parts.get(next).copied() {
        if let Some(target) = node["$ref"].as_str() {
            parts.push(schema.pointer(&target[1..]).unwrap_or_else(|| panic!("no {target}")));
        }
        parts.extend(node["anyOf"].as_array().into_iter().flatten());
        next += 1;
    }
    parts
}

/// All nodes for the value at a path; none where the schema does not know the path.
fn nodes<'s>(schema: &'s Value, path: &[String]) -> Vec<&'s Value> {
    let mut found = parts(schema, schema);
    for step in path {
        let children = found.iter().filter_map(|node| child(node, step));
        found = children.flat_map(|node| parts(schema, node)).collect();
    }
    found
}

fn child<'s>(node: &'s Value, step: &str) -> Option<&'s Value> {
    let item = node.get("items").filter(|_| step.parse::<usize>().is_ok());
    let named = node.get("properties").and_then(|properties| properties.get(step));
    named.or(item).or_else(|| node.get("additionalProperties").filter(|any| any.is_object()))
}

/// Every property of the schema, with its key.
fn properties(node: &Value) -> Vec<(&str, &Value)> {
    let own = node["properties"].as_object().into_iter().flatten();
    let mut found: Vec<_> = own.map(|(key, property)| (key.as_str(), property)).collect();
    match node {
        Value::Object(map) => found.extend(map.values().flat_map(properties)),
        Value::Array(items) => found.extend(items.iter().flat_map(properties)),
        _ => {}
    }
    found
}

fn paths(tree: &Value) -> Vec<Steps> {
    let mut paths = Vec::new();
    walk(tree, &mut Vec::new(), &mut paths);
    paths
}

fn get<'t>(tree: &'t Value, path: &[String]) -> &'t Value {
    path.iter().fold(tree, |tree, step| match tree {
        Value::Array(items) => &items[step.parse::<usize>().unwrap()],
        map => &map[step.as_str()],
    })
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let (schema, tree) = (schema(), all_keys());
    let mut seen: BTreeSet<*const Value> = BTreeSet::new();
    let mut missing = Vec::new();
    for path in paths(&tree).iter().filter(|path| !is_misplaced(path)) {
        let found = nodes(&schema, path);
        if found.is_empty() {
            missing.push(path.join("."));
        }
        seen.extend(found.into_iter().map(std::ptr::from_ref));
    }
    assert!(missing.is_empty(), "add these keys to crates/config/src/schema.json: {missing:#?}");
    let extra: Vec<_> = properties(&schema)
        .into_iter()
        .filter(|(_, property)| !seen.contains(&std::ptr::from_ref(*property)))
        .filter(|(_, property)| property["$ref"].as_str().is_none_or(|to| !to.contains("/properties/")))
        .collect();
    assert!(extra.is_empty(), "not in ALL_KEYS of tests/canaries.rs: {extra:#?}");
}

#[test]
fn every_key_has_a_description_and_every_mapping_is_closed() {
    let schema = schema();
    for (key, property) in properties(&schema) {
        let described = parts(&schema, property).iter().any(|node| node["description"].is_string());
        assert!(described, "{key} has no description");
    }
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        let open =
            definition.get("properties").is_some() && definition["additionalProperties"] != json!(false);
        assert!(!open, "{name} accepts unknown keys");
    }
}

/// Puts a word that is none in place of each value: the hint of the loader names the words.
#[test]
fn words_are_those_of_the_loader() {
    let (schema, tree, files) = (schema(), all_keys(), files());
    let refused = |path: &Steps, word: &str| {
        load_text(&files, &with(&tree, path, |slot| *slot = json!(word)).to_string())
    };
    let mut tried = 0;
    for path in paths(&tree) {
        let found = nodes(&schema, &path);
        let words =
            found.iter().filter_map(|node| node["enum"].as_array()).flatten().filter_map(Value::as_str);
        let words: BTreeSet<&str> = words.filter(|word| !["off", "false"].contains(word)).collect();
        if words.is_empty() || !get(&tree, &path).is_string() {
            continue;
        }
        let problems = refused(&path, "zzzzzzzzzzzz");
        let hint = problems.iter().filter_map(Problem::hint).find_map(|hint| hint.strip_prefix("one of: "));
        let hint = hint.unwrap_or_else(|| panic!("{path:?} takes any word: {problems:#?}"));
        let known: BTreeSet<&str> = hint.split(", ").filter(|word| *word != "off").collect();
        assert!(known.is_superset(&words), "{path:?}: {words:?}, but the loader knows {known:?}");
        for later in known.difference(&words) {
            let problems = refused(&path, later);
            let is_later = problems.iter().any(|problem| problem.message().ends_with("not supported yet"));
            assert!(is_later, "the schema lacks '{later}' at {path:?}");
        }
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn durations_that_may_be_off_are_those_of_the_loader() {
    let (schema, tree, files) = (schema(), all_keys(), files());
    let (duration, off) = (&schema["definitions"]["duration"], &schema["definitions"]["off"]);
    let mut tried = 0;
    for path in paths(&tree).iter().filter(|path| !is_misplaced(path)) {
        let found = nodes(&schema, path);
        let has = |part: &Value| found.iter().any(|node| std::ptr::eq(*node, part));
        if has(duration) {
            let text = with(&tree, path, |slot| *slot = json!("off")).to_string();
            let hint = "it cannot be off: write a duration such as 30s";
            let is_refused = load_text(&files, &text).iter().any(|problem| problem.hint() == Some(hint));
            assert_eq!(is_refused, !has(off), "{path:?}");
            tried += 1;
        }
    }
    assert!(tried > 15, "{tried}");
}

/// A configuration with every mapping that has a default in it.
const BASE: &str = r#"
listener_defaults: {limits: {timeouts: {}, tcp: {}, per_source: {}}}
listeners:
  - {name: public, bind: "127.0.0.1:6380", upstream: main, allow: [office], proxy_protocol: {from: [office]},
     limits: {timeouts: {}, tcp: {}, per_source: {}}}
  - {name: local, bind: {unix: own.sock}, upstream: main, allow: [listed]}
upstreams:
  main: {address: "127.0.0.1:6379"}
  moving: {sentinel: {master: mymaster, nodes: ["127.0.0.1:26379"]}}
  sharded: {cluster: {nodes: ["127.0.0.1:7000"]}}
groups:
  office: [203.0.113.0/24]
  listed: {file: list.txt}
limits: {timeouts: {}, tcp: {}, per_source: {}}
admin: {}
audit: {}
observe: {}
log: {}
"#;

#[test]
fn defaults_are_those_of_the_loader() {
    let files = Files::new().with("list.txt", "203.0.113.9\n");
    let meaning = |text: &str| {
        std::fs::write(files.path("portcullis.yaml"), text).unwrap();
        let config = files.config();
        format!("{} {:?} {:?} {:?}", shown(&config), config.reload(), config.audit(), config.observe())
    };
    let (schema, base) = (schema(), typed(BASE));
    let expected = meaning(&base.to_string());
    let mut tried: BTreeSet<*const Value> = BTreeSet::new();
    for path in paths(&base).iter().filter(|path| get(&base, path).is_object()) {
        let here = nodes(&schema, path);
        let keys = here.iter().filter_map(|node| node["properties"].as_object()).flat_map(|map| map.keys());
        for key in keys.filter(|key| get(&base, path).get(key.as_str()).is_none()) {
            let below = nodes(&schema, &[path.as_slice(), std::slice::from_ref(key)].concat());
            let Some(node) = below.iter().find(|node| node.get("default").is_some()) else { continue };
            let written = with(&base, path, |slot| slot[key] = node["default"].clone());
            assert_eq!(meaning(&written.to_string()), expected, "{path:?}: {key}: {}", node["default"]);
            tried.insert(std::ptr::from_ref(*node));
        }
    }
    for (key, property) in properties(&schema).into_iter().filter(|(_, node)| node.get("default").is_some()) {
        assert!(tried.contains(&std::ptr::from_ref(property)), "BASE has no place for the default of {key}");
    }
}

/// YAML as an editor reads it: numbers and booleans are no texts.
fn typed(text: &str) -> Value {
    let options = serde_yaml::options! { strict_booleans: true };
    serde_yaml::from_str_with_options(text, options).unwrap_or_else(|error| panic!("{error}: {text}"))
}

struct Validator {
    schemas: Schemas,
    index: boon::SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("portcullis.schema.json", schema()).unwrap();
        let index = compiler.compile("portcullis.schema.json", &mut schemas).expect("a valid schema");
        Self { schemas, index }
    }

    fn faults(&self, tree: &Value) -> Option<String> {
        self.schemas.validate(tree, self.index).err().map(|error| format!("{error:#}"))
    }
}

#[test]
fn every_example_is_valid() {
    let validator = Validator::new();
    let mut examples = vec![("ALL_KEYS".to_owned(), without_misplaced(typed(ALL_KEYS)))];
    let mut pages = below(&root().join("docs"), &["md"]);
    pages.push(root().join("README.md"));
    for page in pages {
        for (line, name, body) in blocks(&std::fs::read_to_string(&page).unwrap()) {
            if name == "portcullis.yaml" {
                examples.push((format!("{}:{line}", page.display()), typed(&body)));
            }
        }
    }
    for (path, text) in configurations(&root().join("deploy")) {
        examples.push((path.display().to_string(), typed(&text)));
    }
    // What the loader takes in its own tests.
    for path in below(Path::new("src/tests/golden"), &["yaml"]) {
        if load(&path, &LoadOptions::new().at(NOW)).is_ok() {
            examples.push((path.display().to_string(), typed(&std::fs::read_to_string(&path).unwrap())));
        }
    }
    for text in [PLAIN, WRITTEN_OUT, BASE] {
        examples.push(("a test".to_owned(), typed(text)));
    }
    assert!(examples.len() > 15, "{}", examples.len());
    for (place, tree) in examples {
        assert_eq!(validator.faults(&tree), None, "{place}: {tree:#}");
    }
}

fn without_misplaced(mut tree: Value) -> Value {
    for path in paths(&tree).iter().filter(|path| is_misplaced(path)) {
        let (key, parent) = path.split_last().unwrap();
        tree = with(&tree, &parent.to_vec(), |slot| {
            slot.as_object_mut().unwrap().remove(key);
        });
    }
    tree
}

#[test]
fn mistakes_are_refused() {
    let validator = Validator::new();
    let tree = without_misplaced(typed(ALL_KEYS));
    let mut tried = 0;
    for path in paths(&tree).iter().filter(|path| get(&tree, path).is_object()) {
        let last = path.last().map(String::as_str);
        if !matches!(last, Some("groups" | "users" | "upstreams" | "upstream_credentials")) {
            let wrong = with(&tree, path, |slot| slot["zzzzzzzzzzzz"] = json!("x"));
            assert!(validator.faults(&wrong).is_some(), "an unknown key at {path:?} is accepted");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
    let at = |pointer: &str, value: Value| {
        let mut wrong = tree.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        validator.faults(&wrong)
    };
    for (pointer, value) in [
        ("/listeners", json!([])),
        ("/listeners/0/refusal", json!("denyed")),
        ("/listeners/0/inline_commands", json!("yes")),
        ("/listeners/0/name", json!("Public")),
        ("/listeners/0/limits/bulk", json!("10MB")),
        ("/listeners/0/limits/clients", json!(-1)),
        ("/listeners/0/limits/per_source/connects", json!("50")),
        ("/listeners/0/limits/timeouts/frame", json!("10 s")),
        ("/listeners/0/limits/timeouts/tls", json!("off")),
        ("/listeners/0/allow/2/until", json!("2099-12-31")),
        ("/upstreams/main/credentials/password", json!("plain text")),
        ("/upstreams/main/address", json!("redis")),
        ("/upstreams/moving", json!({})),
        ("/upstreams/moving/sentinel/nodes", json!([])),
        ("/upstreams/moving/sentinel/nodes/0", json!("unix:/run/sentinel")),
        ("/upstreams/moving/sentinel/master", json!("10.0.0.1:6379")),
        ("/upstreams/moving/translate/172.17.0.2:6379", json!("redis")),
        ("/users/alice/password/0/sha256", json!("5e88")),
        ("/workers", json!(1.5)),
        ("/upstreams", json!({})),
    ] {
        assert!(at(pointer, value.clone()).is_some(), "{pointer}: {value} is accepted");
    }
}
