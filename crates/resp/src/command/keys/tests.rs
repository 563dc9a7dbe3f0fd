use super::*;
use crate::command::{lookup, lookup_subcommand};
use crate::encode;

/// Returns the keys of a command line, each with its use. A `?` at the end means that there may be more keys.
fn found(line: &str) -> String {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let top = lookup(args[0]).unwrap_or(CommandId::UNKNOWN);
    let id = args.get(1).and_then(|name| lookup_subcommand(top, name)).unwrap_or(top);
    let mut found = Vec::new();
    let mut each = |key: KeyRef<'_>| {
        assert_eq!(args[key.index], key.key);
        let what = key.access.names().next().unwrap_or("-");
        found.push(format!("{}:{what}", String::from_utf8_lossy(key.key)));
    };
    if keys(id, &args, &mut each).is_err() {
        found.push("?".to_owned());
    }
    found.join(" ")
}

#[test]
fn keys_by_specification() {
    assert_eq!(found("GET a"), "a:RO");
    assert_eq!(found("PING"), "");
    assert_eq!(found("MSET a 1 b 2"), "a:OW b:OW");
    assert_eq!(found("DEL a b c"), "a:RM b:RM c:RM");
    assert_eq!(found("BLPOP a b 0"), "a:RW b:RW");
    assert_eq!(found("RENAME a b"), "a:RW b:OW");
    assert_eq!(found("MEMORY USAGE a"), "a:RO");
    assert_eq!(found("EVAL s 2 a b c"), "a:RW b:RW");
    assert_eq!(found("EVAL s 0 c"), "");
    assert_eq!(found("ZUNIONSTORE d 2 a b"), "d:OW a:RO b:RO");
    assert_eq!(found("SPUBLISH c m"), "c:not_key");
    assert_eq!(found("PFMERGE d"), "d:RW", "a list of sources may be empty");
}

#[test]
fn keys_of_invalid_arguments_are_unknown() {
    for line in [
        "GET",
        "EVAL s 3 a b",
        "EVAL s -1 a",
        "EVAL s 02 a b",
        "EVAL s 9223372036854775807 a",
        "ZUNION 0 a",
        "NOSUCH a",
    ] {
        assert!(found(line).ends_with('?'), "{line}: {}", found(line));
    }
}

#[test]
fn options_are_parsed_as_the_command_parses_them() {
    assert_eq!(found("SORT a STORE limit STORE b"), "a:RO b:OW", "the last destination counts");
    assert_eq!(found("SORT a BY nosort GET # LIMIT 0 1 STORE b"), "a:RO b:OW");
    assert_eq!(found("SORT a BY w_* STORE b"), "a:RO b:OW ?");
    assert_eq!(found("SORT a GET k STORE b"), "a:RO b:OW ?");
    assert_eq!(found("SORT a STORE"), "a:RO ?");
    assert_eq!(found("SORT_RO a STORE b"), "a:RO ?");
    assert_eq!(found("GEORADIUS a 1 2 3 m STORE b STOREDIST c"), "a:RO b:OW c:OW");
    assert_eq!(found("GEORADIUS a 1 2 3 m COUNT STORE b"), "a:RO ?");
    assert_eq!(found("MIGRATE h 1 a 0 1 AUTH keys"), "a:RW");
    assert_eq!(found("MIGRATE h 1  0 1 AUTH2 keys keys KEYS a b"), "a:RW b:RW");
    assert_eq!(found("MIGRATE h 1 x 0 1 KEYS a b"), "?");
    assert_eq!(found("XREAD BLOCK 0 STREAMS a b 0 0"), "a:RO b:RO");
    assert_eq!(found("XREADGROUP GROUP STREAMS STREAMS CLAIM 1 STREAMS a 0"), "a:RO");
    assert_eq!(found("XREAD BLOCK STREAMS STREAMS a 0"), "?");
    assert_eq!(found("STRALGO LCS LEN KEYS a b"), "a:RO b:RO");
    assert_eq!(found("STRALGO LCS STRINGS KEYS b"), "");
}

#[test]
fn the_use_of_a_key_depends_on_options() {
    assert_eq!(found("SET a b"), "a:OW");
    assert_eq!(found("SET a b EX 1 get"), "a:RW");
    assert_eq!(found("SET a b IFEQ c"), "a:RW");
    assert_eq!(found("SET get get"), "get:OW");
    assert_eq!(found("BITFIELD a GET u8 0 OVERFLOW WRAP"), "a:RO");
    assert_eq!(found("BITFIELD a GET u8 0 SET u8 0 1"), "a:RW");
    assert_eq!(found("BITFIELD a GET u8"), "a:RW");
}

#[test]
fn channels_of_publishers_and_subscribers() {
    let of = |line: &str| {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut found = Vec::new();
        channels(lookup(args[0]).unwrap(), &args, |channel| {
            found.push(format!(
                "{}{}",
                String::from_utf8_lossy(channel.channel),
                if channel.is_pattern { "~" } else { "" }
            ));
        });
        found.join(" ")
    };
    assert_eq!(of("PUBLISH a b"), "a");
    assert_eq!(of("SPUBLISH a b"), "a");
    assert_eq!(of("SUBSCRIBE a b"), "a b");
    assert_eq!(of("PSUBSCRIBE a* b"), "a*~ b~");
    assert_eq!(of("UNSUBSCRIBE"), "");
    assert_eq!(of("GET a"), "");
}

#[test]
fn the_arguments_of_a_frame_are_read_in_any_order() {
    let mut frame = Vec::new();
    encode::command(&mut frame, &[b"a", b"", b"c\r\n", b"d"]);
    let view = Frame::new(&frame, 4);
    assert_eq!(view.count(), 4);
    for (index, expected) in [(2, &b"c\r\n"[..]), (2, b"c\r\n"), (0, b"a"), (3, b"d"), (1, b"")] {
        assert_eq!(view.arg(index), Some(expected));
    }
    assert_eq!(view.arg(4), None);
    assert_eq!(view.arg(3), Some(&b"d"[..]), "a missing argument loses no position");
    assert_eq!(Frame::new(&frame[..20], 4).arg(3), None, "the argument is cut");
}

#[test]
fn a_frame_after_its_name_has_the_same_arguments() {
    use crate::scan::{Request, RequestScanner};
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &[b"SET", b"key", b"value"]);
    let mut scanner = RequestScanner::new(crate::limits::RequestLimits::default());
    let Ok(Request::Command { name, arguments, .. }) = scanner.next(&bytes) else { panic!("no command") };
    for order in [[0, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0]] {
        let (whole, behind) = (Frame::new(&bytes, arguments), Frame::behind(name, &bytes, arguments));
        for index in order {
            assert_eq!(behind.arg(index), whole.arg(index), "{index}");
        }
        assert_eq!(behind.count(), whole.count());
    }
}
