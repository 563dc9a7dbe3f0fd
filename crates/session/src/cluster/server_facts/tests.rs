use portcullis_resp::command::keys::Frame;
use portcullis_resp::encode;

use super::{MAX_COMMANDS, ServerFacts};
use crate::cluster::CommandSlot;

/// The description of a command, as Redis 7 sends it in RESP2. `specs` are its key specifications.
fn described(name: &str, flags: &[&str], (first, last, step): (i64, i64, i64), specs: &[String]) -> String {
    let flags: String = flags.iter().map(|flag| format!("+{flag}\r\n")).collect();
    let count = flags.matches('\n').count();
    format!(
        "*10\r\n${}\r\n{name}\r\n:-1\r\n*{count}\r\n{flags}:{first}\r\n:{last}\r\n:{step}\r\n*0\r\n*0\r\n*{}\r\n{}*0\r\n",
        name.len(),
        specs.len(),
        specs.concat()
    )
}

fn words(pairs: &[(&str, i64)]) -> String {
    let pair = |(name, value): &(&str, i64)| format!("${}\r\n{name}\r\n:{value}\r\n", name.len());
    format!("*{}\r\n{}", pairs.len() * 2, pairs.iter().map(pair).collect::<String>())
}

/// A key specification that begins at an argument.
fn spec(flags: &[&str], begin: i64, kind: &str, find: &[(&str, i64)]) -> String {
    let flag = |flag: &&str| format!("+{flag}\r\n");
    let text = |word: &str| format!("${}\r\n{word}\r\n", word.len());
    let part = |kind: &str, spec: &str| format!("*4\r\n{}{}{}{spec}", text("type"), text(kind), text("spec"));
    format!(
        "*6\r\n{}*{}\r\n{}{}{}{}{}",
        text("flags"),
        flags.len(),
        flags.iter().map(flag).collect::<String>(),
        text("begin_search"),
        part("index", &words(&[("index", begin)])),
        text("find_keys"),
        part(kind, &words(find)),
    )
}

fn facts(commands: &[String]) -> ServerFacts {
    let reply = format!("*{}\r\n{}", commands.len(), commands.concat());
    ServerFacts::read_commands(reply.as_bytes()).expect("a reply to COMMAND")
}

/// Returns the keys that the facts find in a command. `None`: they cannot be found.
fn keys(facts: &ServerFacts, line: &str) -> Option<Vec<String>> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let command = facts.command(words[0], words.get(1).copied())?;
    let mut frame = Vec::new();
    encode::command(&mut frame, &words);
    let mut found = Vec::new();
    let args = Frame::new(&frame, words.len() as u64);
    command.keys(&args, |key| found.push(String::from_utf8_lossy(key.key).into_owned())).ok()?;
    Some(found)
}

#[test]
fn keys_of_commands_by_range() {
    let facts = facts(&[
        described("json.get", &["readonly"], (1, 1, 1), &[]),
        described("JSON.MSET", &["write"], (1, -1, 3), &[]),
        described("graph.copy", &["write"], (1, 2, 1), &[]),
        described("graph.memory", &["readonly"], (2, 2, 1), &[]),
        described("graph.list", &["readonly", "blocking"], (0, 0, 0), &[]),
        described("GET", &["readonly"], (2, 2, 1), &[]),
    ]);
    assert_eq!(keys(&facts, "JSON.GET a x"), Some(vec!["a".into()]));
    assert_eq!(keys(&facts, "json.mset a $ 1 b $ 2"), Some(vec!["a".into(), "b".into()]));
    assert_eq!(keys(&facts, "graph.copy a b"), Some(vec!["a".into(), "b".into()]));
    assert_eq!(keys(&facts, "GRAPH.MEMORY usage a"), Some(vec!["a".into()]));
    assert_eq!(keys(&facts, "GRAPH.MEMORY usage"), None, "an argument is missing");
    let list = facts.command(b"graph.list", None).expect("known");
    assert_eq!((list.has_keys(), list.is_readonly, list.may_block), (Some(false), true, true));
    assert!(facts.command(b"get", None).is_none(), "the table counts");
    assert_eq!(facts.len(), 5);
}

#[test]
fn keys_of_commands_by_specification() {
    let range = |last, step, limit| [("lastkey", last), ("keystep", step), ("limit", limit)];
    let count = [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)];
    let facts = facts(&[
        described(
            "cms.merge",
            &["write", "movablekeys"],
            (1, 1, 1),
            &[spec(&["RW"], 1, "range", &range(0, 1, 0)), spec(&["RO"], 2, "keynum", &count)],
        ),
        described("half", &["write"], (1, 1, 1), &[spec(&["RW", "incomplete"], 1, "range", &range(0, 1, 0))]),
        described("odd", &["write"], (1, 1, 1), &[spec(&["RW"], 1, "unknown", &[])]),
        described("moves", &["write", "movablekeys"], (1, 1, 1), &[]),
    ]);
    assert_eq!(keys(&facts, "CMS.MERGE d 2 a b"), Some(vec!["d".into(), "a".into(), "b".into()]));
    for command in ["half a", "odd a", "moves a"] {
        assert_eq!(keys(&facts, command), None, "{command}");
        let name = command.split(' ').next().expect("a name");
        assert_eq!(facts.command(name.as_bytes(), None).expect("known").has_keys(), None);
    }
}

#[test]
fn subcommands_have_their_own_keys() {
    let sub = described("box|get", &["readonly"], (2, 2, 1), &[]);
    let mut container = described("box", &["write"], (0, 0, 0), &[]);
    container.truncate(container.len() - "*0\r\n".len());
    let facts = facts(&[format!("{container}*1\r\n{sub}")]);
    assert_eq!(keys(&facts, "BOX GET a"), Some(vec!["a".into()]));
    assert_eq!(facts.command(b"BOX", Some(b"other")).expect("known").has_keys(), Some(false));
    assert!(facts.command(b"BOX|GET", None).is_none_or(|command| command.has_keys() == Some(true)));
}

#[test]
fn slots_of_learned_commands() {
    let facts = facts(&[described("json.mset", &["write"], (1, -1, 3), &[])]);
    let slot = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut frame = Vec::new();
        encode::command(&mut frame, &words);
        let command = facts.command(words[0], None).expect("known");
        CommandSlot::of_learned(command, &Frame::new(&frame, words.len() as u64))
    };
    assert_eq!(slot("json.mset {b}1 $ 1 {b}2 $ 2"), CommandSlot::One(3300));
    assert_eq!(slot("json.mset {b}1 $ 1 {c}2 $ 2"), CommandSlot::Several);
}

/// A node may say anything. The facts stay bounded.
#[test]
fn odd_replies_are_left_out() {
    for reply in ["-ERR unknown command\r\n", "+OK\r\n", "*1\r\n", "$-1\r\n"] {
        assert_eq!(ServerFacts::read_commands(reply.as_bytes()), None, "{reply:?}");
    }
    for reply in
        ["*1\r\n:1\r\n", "*1\r\n*0\r\n", "*1\r\n*1\r\n:7\r\n", "*2\r\n*2\r\n$1\r\nx\r\n:1\r\n*-1\r\n"]
    {
        let facts = ServerFacts::read_commands(reply.as_bytes()).expect("an array");
        assert!(facts.is_empty() && facts.has_told_commands(), "{reply:?}");
    }
    let odd = |first, last, step| described("odd", &["write"], (first, last, step), &[]);
    for command in [odd(70_000, 1, 1), odd(1, 40_000, 1), odd(1, 1, -1), odd(1, i64::MIN, 1), odd(2, 1, 1)] {
        let found = keys(&facts(std::slice::from_ref(&command)), "odd a b");
        assert!(found.is_none() || found == Some(vec!["a".into()]), "{command:?}: {found:?}");
    }
    let long = "n".repeat(200);
    assert!(facts(&[described(&long, &[], (1, 1, 1), &[])]).is_empty());
    let many = |from: usize| {
        let commands: Vec<String> =
            (from..from + MAX_COMMANDS).map(|n| described(&format!("c{n}"), &[], (1, 1, 1), &[])).collect();
        facts(&commands)
    };
    let mut all = many(0);
    all.merge(many(MAX_COMMANDS / 2));
    assert_eq!(all.len(), MAX_COMMANDS);
}

#[test]
fn databases() {
    let facts = ServerFacts::default();
    assert!(!facts.has_one_database() && !facts.has_told_commands());
    assert!(facts.with_one_database(true).has_one_database());
    assert!(ServerFacts::refuses_databases(b"-ERR SELECT is not allowed in cluster mode\r\n"));
    for reply in ["+OK\r\n", "-ERR DB index is out of range\r\n", "-NOPERM no\r\n"] {
        assert!(!ServerFacts::refuses_databases(reply.as_bytes()), "{reply}");
    }
}
