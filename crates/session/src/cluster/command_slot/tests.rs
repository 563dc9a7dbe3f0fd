use portcullis_resp::command::{CommandId, lookup, lookup_subcommand};

use super::CommandSlot;

/// `foo` is in slot 12182, `bar` in 5061.
const FOO: CommandSlot = CommandSlot::One(12182);

fn of(line: &str) -> CommandSlot {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let top = lookup(words[0]).unwrap_or(CommandId::UNKNOWN);
    let id = words.get(1).and_then(|name| lookup_subcommand(top, name)).unwrap_or(top);
    CommandSlot::of(id, words.as_slice())
}

#[test]
fn slots_of_commands() {
    let cases = [
        ("GET foo", FOO),
        ("MGET foo {foo}1 {foo}2", FOO),
        ("MGET foo bar", CommandSlot::Several),
        ("MSET foo 1 {foo}x 2", FOO),
        ("SET foo bar", FOO),
        ("EVAL return 2 foo {foo}1 bar", FOO),
        ("EVAL return 2 foo bar", CommandSlot::Several),
        ("EVAL return 0 foo", CommandSlot::None),
        ("XREAD COUNT 1 STREAMS foo {foo}1 0 0", FOO),
        ("BLPOP foo {foo}1 0", FOO),
        ("SSUBSCRIBE foo", FOO),
        ("SPUBLISH foo bar", FOO),
        ("SORT foo BY w_*", FOO),
        ("PUBLISH foo bar", CommandSlot::None),
        ("SUBSCRIBE foo bar", CommandSlot::None),
        ("PING", CommandSlot::None),
        ("DBSIZE", CommandSlot::None),
        ("OBJECT ENCODING foo", FOO),
        ("NOSUCH foo", CommandSlot::Unknown),
        ("XREAD COUNT 1", CommandSlot::Unknown),
    ];
    for (line, expected) in cases {
        assert_eq!(of(line), expected, "{line}");
    }
}
