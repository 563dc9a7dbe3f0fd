//! Mistakes that people make in YAML: each is answered where it stands, with what to do.

use super::*;

/// The text, and the place and a part of the message or of the hint of one of its problems.
const MISTAKES: [(&str, (u32, u32), &str); 45] = [
    ("listeners:\n  - name: a\n    bind: b\n   upstream: c\n", (4, 4), "check the indentation"),
    ("listeners:\n  - name: a\n    bind: b\n     upstream: c\n", (4, 14), "check the indentation"),
    ("listeners:\n  - name: a\n\tbind: b\n", (2, 11), "indent with spaces"),
    ("listeners:\n\t- name: a\n", (2, 2), "indent with spaces"),
    ("listeners:\n  - name: a\n  bind: b\n", (3, 3), "begin this line in the same column"),
    ("listeners:\n  name: a\n", (2, 3), "begin each listener with '- '"),
    ("listeners:\n- name: a\nbind: b\n", (3, 1), "'bind' belongs to a listener: check the indentation"),
    ("upstreams:\nmain:\n  address: redis:6379\n", (2, 1), "'upstreams' above it has no value"),
    ("groups:\n  a:\n    - 192.0.2.1\n   - 192.0.2.2\n", (4, 4), "begin this line in the same column"),
    ("groups:\n  a: 192.0.2.1\n    - 192.0.2.9\n", (2, 6), "begin the line of each entry with '- '"),
    ("groups:\n  a: 192.0.2.1\n     192.0.2.9\n", (2, 6), "YAML reads these lines as one value"),
    ("groups:\n  a: [192.0.2.1\n  b: [192.0.2.2]\n", (3, 4), "check the indentation"),
    ("groups:\n  a:[192.0.2.1]\n", (2, 3), "write a space behind each ':'"),
    ("groups:\n  a\n    - 192.0.2.1\n", (2, 3), "write ':' behind the name"),
    ("groups:\n  a:\n    - 192.0.2.1\n    -192.0.2.2\n", (4, 5), "write a space behind '-'"),
    ("groups:\n   a: []\n  b: []\n", (3, 3), "begin this line in the same column"),
    ("listeners: [{allow: [*]}]\n", (1, 22), "everybody is 0.0.0.0/0"),
    ("listeners: [{acl: @public}]\n", (1, 19), "put quotes around the value"),
    ("timeouts: {idle: 5m}\n", (1, 1), "'timeouts' belongs to limits: check the indentation"),
    ("upstreams:\n  main:\n    address: r:1\n    tls\n", (4, 5), "neither 'key: value' nor '- value'"),
    ("listeners:\n  - name a\n    bind: b\n", (3, 9), "the line above for a missing ':'"),
    ("groups:\n  a: {group: b}\n", (2, 7), "write a: [{group: ...}]"),
    ("groups:\n  a:\n    host: x.example\n", (3, 5), "'host' is a key of an entry"),
    ("groups:\n  a: [{group: b, note: x}]\n", (2, 18), "'note' does not apply to a group here"),
    ("groups:\n  a: [{group:b}]\n", (2, 8), "write a space behind the ':', as in 'group: value'"),
    ("groups:\n  a: [group:b]\n", (2, 7), "write {group: ...} without quotes"),
    ("groups:\n  a: [\"{ host: x.example }\"]\n", (2, 7), "write {host: ...} without quotes"),
    ("groups: {a: {192.0.2.1: bob}}\n", (1, 14), "addresses to refuse go into a list under deny"),
    ("groups: {a: {192.0.2.0/24: x, \"!192.0.2.9\": y}}\n", (1, 14), "'- ADDRESS'"),
    ("groups: {a: [{192.0.2.1: bob}]}\n", (1, 15), "'- ADDRESS'"),
    ("groups: {a: {deny: [192.0.2.1]}}\n", (1, 14), "into a group of their own"),
    ("groups: {a: {allow: [192.0.2.0/24], deny: {file: x.txt}}}\n", (1, 14), "into a group of their own"),
    ("groups: {a: [{deny: 192.0.2.1}]}\n", (1, 15), "into a group of their own"),
    ("groups: {a: [{file: x.txt}]}\n", (1, 15), "include that one with {group: NAME}"),
    ("listeners: [{deny: {file: x.txt}}]\n", (1, 21), "'file' is a key of a group"),
    ("listeners: [{allow: [{entries: [192.0.2.1]}]}]\n", (1, 23), "and name the group here"),
    ("listeners: [{allow: [\"!office\"]}]\n", (1, 22), "under deny"),
    ("groups: {a: [!192.0.2.1 ]}\n", (1, 24), "under deny"),
    ("groups: {a: 192.0.2.0/24 except 192.0.2.9}\n", (1, 13), "under deny"),
    ("upstreams: {a: {group: b}}\n", (1, 17), "unknown key 'group' in upstream"),
    ("limits: {clients: 10k}\n", (1, 19), "such as 10000"),
    ("limits: {clients: 2M}\n", (1, 19), "such as 2000000"),
    ("listeners: [{bind: \"0.0.0.0:70000\"}]\n", (1, 20), "a number from 1 to 65535"),
    ("listeners: [{bind: \"[::1]:redis\"}]\n", (1, 20), "a number from 1 to 65535"),
    ("limits: {idle: 5m}\n", (1, 10), "'idle' belongs to limits.timeouts"),
];

#[test]
fn mistakes_in_yaml_have_a_place_and_a_hint() {
    for (text, place, told) in MISTAKES {
        let problems = Files::new().with("portcullis.yaml", text).load().unwrap_err();
        let found = problems.iter().any(|problem| {
            let said = format!("{}\n{}", problem.message(), problem.hint().unwrap_or_default());
            (problem.line(), problem.column()) == place && said.contains(told)
        });
        assert!(found, "{text}\n{told}\n{problems:#?}");
    }
}

/// Text over several lines is no mistake where text is meant.
#[test]
fn a_note_may_have_several_lines() {
    let text = PLAIN
        .replace("[203.0.113.0/24]", "\n    note: see\n      - the ticket\n    entries: [203.0.113.0/24]");
    let config = Files::new().with("portcullis.yaml", text).config();
    let office = config.policy().group("office").unwrap();
    assert_eq!(office.entries().next().unwrap().note, Some("see - the ticket"));
}
