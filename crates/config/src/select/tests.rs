use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const AWS: &str = r#"{
  "syncToken": "1700000000",
  "prefixes": [
    {"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2"},
    {"ip_prefix": "13.34.37.64/27", "region": "ap-southeast-4"}
  ],
  "ipv6_prefixes": [{"ipv6_prefix": "2600:1f00::/24"}]
}
"#;
const GITHUB: &str = r#"{"verifiable_password_authentication": false, "ssh_keys": {"a": "b"},
 "hooks": ["192.30.252.0/22", "2a0a:a440::/29"], "web": ["140.82.112.0/20"], "domains": {"website": ["*.github.com"]}}"#;
const SPAMHAUS: &str = r#"{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}
{"cidr":"1.19.0.0/16","sblid":"SBL434604","rir":"apnic"}
{"type":"metadata","timestamp":1700000000,"size":88,"records":2,"copyright":"x"}
"#;

fn select(text: &str, path: &str) -> Result<Vec<String>, String> {
    let path = Select::parse(path).unwrap();
    let mut found = Vec::new();
    let result = each(text, &path, &mut |selected| {
        assert!(text[selected.at..].starts_with('"'));
        found.push(selected.text);
        true
    });
    match result {
        Ok(_) => Ok(found),
        Err(Fault::Syntax { from, error }) => Err(format!("syntax from {from}: {error}")),
        Err(Fault::Kind { at, is, wanted }) => Err(format!("{at}: {is}, not {wanted:?}")),
        Err(Fault::Twice { at, key }) => Err(format!("{at}: {key} twice")),
        Err(Fault::NotFound { key }) => Err(format!("{key} not found")),
    }
}

#[test]
fn paths() {
    for text in ["prefixes[].ip_prefix", "hooks[]", "cidr", "[].cidr", "[]", "a.b-c[][].d", "x.y.z"] {
        assert_eq!(Select::parse(text).unwrap().text(), text);
    }
    let long = "a.".repeat(16) + "a";
    for text in [
        "", ".", "a.", ".a", "a..b", "a[", "a]", "a[0]", "a[*]", "a.[]", "a[].[]", "a b", "ä", "$", "*",
        &long,
    ] {
        assert_eq!(Select::parse(text), None, "{text}");
    }
    for (text, meant) in [
        (".prefixes[].ip_prefix", Some("prefixes[].ip_prefix")),
        ("$.prefixes[*].ip_prefix", Some("prefixes[].ip_prefix")),
        (" .[].cidr", Some("[].cidr")),
        ("$[*].cidr", Some("[].cidr")),
        ("a[0]", None),
    ] {
        assert_eq!(Select::lenient(text).as_ref().map(Select::text), meant, "{text}");
    }
}

#[test]
fn lists_of_providers() {
    let strings = |strings: &[&str]| Ok(strings.iter().map(|text| (*text).to_owned()).collect());
    assert_eq!(select(AWS, "prefixes[].ip_prefix"), strings(&["3.5.140.0/22", "13.34.37.64/27"]));
    assert_eq!(select(AWS, "ipv6_prefixes[].ipv6_prefix"), strings(&["2600:1f00::/24"]));
    assert_eq!(select(GITHUB, "hooks[]"), strings(&["192.30.252.0/22", "2a0a:a440::/29"]));
    assert_eq!(select(GITHUB, "domains.website[]"), strings(&["*.github.com"]));
    assert_eq!(select(SPAMHAUS, "cidr"), strings(&["1.10.16.0/20", "1.19.0.0/16"]));
    assert_eq!(select(r#"[{"cidr": "a"}, {"cidr": "b"}]"#, "[].cidr"), strings(&["a", "b"]));
    assert_eq!(select(r#"["a", "\u0062", ""]"#, "[]"), strings(&["a", "b", ""]));
    assert_eq!(select(r#"{"a": [["x"], [], ["y"]]}"#, "a[][]"), strings(&["x", "y"]));
    assert_eq!(select(r#"{"prefixes": []}"#, "prefixes[].ip_prefix"), strings(&[]));
    assert_eq!(select(" \n", "prefixes[]"), strings(&[]));
}

#[test]
fn faults() {
    for (text, path, fault) in [
        (AWS, "prefixes[].ipv4", "ipv4 not found"),
        (AWS, "prefix[].ip_prefix", "prefix not found"),
        (AWS, "prefixes", "45: a list, not String"),
        (AWS, "prefixes.ip_prefix", "45: a list, not Object { key: \"ip_prefix\" }"),
        (AWS, "syncToken[]", "17: a string, not List"),
        (SPAMHAUS, "[].cidr", "0: an object, not List"),
        (r#"{"a": [1]}"#, "a[]", "7: a number, not String"),
        (r#"{"a": ["x", null]}"#, "a[]", "12: null, not String"),
        (r#"{"a": "x", "a": "y"}"#, "a", "0: a twice"),
        (r#"{"a": "x",}"#, "a", "syntax from 0: key must be a string at line 1 column 11"),
        ("{\"a\": \"x\"\n", "a", "syntax from 0: EOF while parsing an object at line 2 column 0"),
        ("{\"a\": \"x\"}\nx", "a", "syntax from 0: expected value at line 2 column 1"),
        (r#"{"a": ["\ud800"]}"#, "a[]", "syntax from 7: unexpected end of hex escape at line 1 column 8"),
    ] {
        assert_eq!(select(text, path), Err(fault.to_owned()), "{path}: {text}");
    }
}

/// Providers mix families in one list, and the last line of some files describes the file.
#[test]
fn objects_without_the_key_are_counted() {
    let text = r#"{"prefixes": [{"ipv4Prefix": "a"}, {"ipv6Prefix": "b"}, {"ipv4Prefix": "c"}]}"#;
    let path = Select::parse("prefixes[].ipv4Prefix").unwrap();
    let summary = each(text, &path, &mut |_| true).unwrap();
    let skipped = Skipped { without: 1, all: 3, key: "ipv4Prefix".to_owned(), at: 35 };
    assert_eq!(summary.skipped, Some(skipped));
    let summary = each(SPAMHAUS, &Select::parse("cidr").unwrap(), &mut |_| true).unwrap();
    assert_eq!(summary.skipped.map(|skipped| (skipped.without, skipped.all)), Some((1, 3)));
}

#[test]
fn the_walk_ends_where_enough_was_taken() {
    let mut taken = 0;
    let result = each(GITHUB, &Select::parse("hooks[]").unwrap(), &mut |_| {
        taken += 1;
        false
    });
    assert!(result.is_ok());
    assert_eq!(taken, 1);
}

#[test]
fn paths_to_addresses() {
    assert_eq!(addresses(AWS), ["prefixes[].ip_prefix", "ipv6_prefixes[].ipv6_prefix"]);
    assert_eq!(addresses(GITHUB), ["hooks[]", "web[]"]);
    assert_eq!(addresses(SPAMHAUS), ["cidr"]);
    assert_eq!(addresses(r#"[["192.0.2.1"], {"a b": "192.0.2.2", "c": 1.5}]"#), ["[][]"]);
    for nothing in ["", "{", "[1, true, null, \"x\"]", &"[".repeat(100_000)] {
        assert_eq!(addresses(nothing), Vec::<String>::new());
    }
}

/// Values that are not selected may be nested without end: nothing recurses into them.
#[test]
fn nesting_is_no_danger() {
    let deep = format!("{{\"x\": {}{}, \"a\": [\"y\"]}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(select(&deep, "a[]"), Ok(vec!["y".to_owned()]));
    assert!(select(&"[".repeat(200_000), "[]").is_err());
}

#[test]
fn places_count_characters() {
    let file: Arc<str> = "x".into();
    let text = "{\"é\": 1,\n \"ü\": x}";
    let mut places = Places::new(text, &file);
    for (at, place) in [(0, (1, 1)), (5, (1, 5)), (11, (2, 2)), (0, (1, 1)), (17, (2, 7))] {
        let found = places.of(at);
        assert_eq!((found.line, found.column), place, "{at}");
    }
    let Err(Fault::Syntax { from, error }) = each(text, &Select::parse("a").unwrap(), &mut |_| true) else {
        panic!("it is no JSON");
    };
    let place = places.of_error(from, &error);
    assert_eq!((place.line, place.column), (2, 7));
}

proptest! {
    /// The strings are those that a parser with a tree finds.
    #[test]
    fn agrees_with_a_tree(lists in prop::collection::vec(prop::collection::vec("[a-z\\\\\"é\n]{0,4}", 0..4), 0..4)) {
        let items: Vec<_> = lists.iter().map(|list| serde_json::json!({"k": list, "x": {"k": ["no"]}})).collect();
        let text = serde_json::to_string_pretty(&serde_json::json!({"l": items})).unwrap();
        prop_assert_eq!(select(&text, "l[].k[]"), Ok(lists.concat()));
    }

    #[test]
    fn any_text_is_answered(text in "[\\[\\]{}\",:a1 \n]{0,30}", path in "[a\\[\\].]{0,6}") {
        if let Some(path) = Select::parse(&path) {
            let _ = each(&text, &path, &mut |_| true);
        }
        let _ = addresses(&text);
    }
}
