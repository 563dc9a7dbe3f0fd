use std::collections::HashMap;

use super::*;

#[test]
fn lookup_finds_every_name_in_any_case() {
    for id in CommandId::all().skip(1) {
        if let Some((container, own)) = id.name().split_once('|') {
            let top = lookup(container.as_bytes()).unwrap();
            assert_eq!(lookup_subcommand(top, own.to_uppercase().as_bytes()), Some(id));
            assert_eq!(id.top(), top);
            assert!(top.is_container() && !id.is_container());
            assert_eq!(lookup(id.name().as_bytes()), None, "a bar is not part of a name");
        } else {
            assert_eq!(lookup(id.name().as_bytes()), Some(id));
            assert_eq!(lookup(id.name().to_uppercase().as_bytes()), Some(id));
            assert_eq!(id.top(), id);
        }
        assert_eq!(CommandId::from_index(id.index()), Some(id));
    }
    assert_eq!(CommandId::from_index(CommandId::COUNT), None);
    assert_eq!(CommandId::UNKNOWN.top(), CommandId::UNKNOWN);
    assert!(!CommandId::UNKNOWN.is_container());
}

#[test]
fn lookup_finds_no_other_name() {
    let top = CommandId::all().skip(1).filter(|id| !id.name().contains('|'));
    let all: HashMap<&[u8], CommandId> = top.map(|id| (id.name().as_bytes(), id)).collect();
    let by_search = |name: &[u8]| all.get(name.to_ascii_lowercase().as_slice()).copied();
    for id in CommandId::all().filter(|id| !id.name().contains('|')) {
        let name = id.name().to_uppercase().into_bytes();
        for at in 0..name.len() {
            for byte in 0..=u8::MAX {
                let mut changed = name.clone();
                changed[at] = byte;
                assert_eq!(lookup(&changed), by_search(&changed), "{}", changed.escape_ascii());
            }
            let removed = [&name[..at], &name[at + 1..]].concat();
            assert_eq!(lookup(&removed), by_search(&removed), "{}", removed.escape_ascii());
            let doubled = [&name[..at], &name[at..=at], &name[at..]].concat();
            assert_eq!(lookup(&doubled), by_search(&doubled), "{}", doubled.escape_ascii());
        }
        for near in [&b"\0"[..], b" ", b"\r", b"|", b"\xff"] {
            assert_eq!(lookup(&[&name, near].concat()), None);
            assert_eq!(lookup(&[near, &name].concat()), None);
        }
    }
    assert_eq!(lookup(b""), None);
    assert_eq!(lookup(b"unknown"), None, "the name of the unknown command is not a command");
    assert_eq!(lookup(&[b'a'; 1000]), None);
}

#[test]
fn subcommands_are_found_only_in_their_container() {
    let client = lookup(b"client").unwrap();
    assert_eq!(lookup_subcommand(client, b"rePLY"), Some(id::CLIENT_REPLY));
    for name in [&b"rewrite"[..], b"", b"client|reply", b"reply ", b"repl"] {
        assert_eq!(lookup_subcommand(client, name), None, "{}", name.escape_ascii());
    }
    assert_eq!(lookup_subcommand(id::GET, b"reply"), None);
    assert_eq!(lookup_subcommand(id::CLIENT_REPLY, b"reply"), None);
    assert_eq!(lookup_subcommand(CommandId::UNKNOWN, b"reply"), None);
    assert!(client.subcommands().all(|sub| sub.top() == client));
    assert_eq!(id::GET.subcommands().count(), 0);
}

#[test]
fn arity_counts_the_name() {
    assert!(id::GET.info().takes(2));
    assert!(!id::GET.info().takes(1) && !id::GET.info().takes(3));
    assert!(id::MGET.info().takes(2) && id::MGET.info().takes(1_000_000));
    assert!(!id::MGET.info().takes(1));
}

#[test]
fn reply_shapes_of_special_commands() {
    use ReplyShape::{Confirm, Hello, Monitor, None, One, Raw};
    let confirmed =
        [id::SUBSCRIBE, id::PSUBSCRIBE, id::SSUBSCRIBE, id::UNSUBSCRIBE, id::PUNSUBSCRIBE, id::SUNSUBSCRIBE];
    for id in CommandId::all() {
        let expected = match id {
            _ if confirmed.contains(&id) => Confirm,
            id::MONITOR => Monitor,
            id::SYNC | id::PSYNC => Raw,
            id::HELLO => Hello,
            id::CLIENT_REPLY | id::REPLCONF => None,
            _ => One,
        };
        assert_eq!(id.info().reply, expected, "{}", id.name());
    }
}

#[test]
fn the_table_has_the_facts_that_the_proxy_relies_on() {
    assert!(
        id::AUTH.info().flags.contains(Flags::NO_AUTH) && id::HELLO.info().flags.contains(Flags::NO_AUTH)
    );
    assert!(
        id::BLPOP.info().flags.contains(Flags::BLOCKING) && !id::LPOP.info().flags.contains(Flags::BLOCKING)
    );
    assert!(
        id::CONFIG_SET
            .info()
            .categories
            .contains(Categories::of(&[Categories::ADMIN, Categories::DANGEROUS]))
    );
    assert!(
        id::HEXPIRE.info().servers.contains(Servers::REDIS_8)
            && !id::HEXPIRE.info().servers.contains(Servers::REDIS_7)
    );
    assert!(
        id::STRALGO.info().servers.contains(Servers::REDIS_6)
            && id::SCRIPT_SHOW.info().servers.contains(Servers::VALKEY_8)
    );
    assert_eq!(CommandId::UNKNOWN.name(), "unknown");
    assert!(CommandId::UNKNOWN.info().flags.is_empty());
    assert!(is_cross_protocol(b"PoSt") && is_cross_protocol(b"host:") && !is_cross_protocol(b"host"));
    assert_eq!(Flags::from_name("WRITE"), Some(Flags::WRITE));
    assert_eq!(Categories::from_name("nosuch"), None);
}
