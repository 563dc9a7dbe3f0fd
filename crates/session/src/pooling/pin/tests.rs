use portcullis_resp::command::{Categories, CommandId, Flags, ReplyShape, Servers, id, lookup};

use super::{BARE, Pin};

/// The servers whose replies the allow list is based on. A server repeats the name of a command that it does not know.
const EVERYWHERE: Servers =
    Servers::of(&[Servers::REDIS_6, Servers::REDIS_7, Servers::REDIS_8, Servers::VALKEY_8]);

/// Flags that no shared command has. The exceptions are listed with their reasons.
const SUSPECT: &[(Flags, &[(&str, &str)])] = &[
    (Flags::ADMIN, &[]),
    (Flags::ALLOW_BUSY, &[]),
    (Flags::ASKING, &[]),
    (Flags::BLOCKING, &[("xread", "the session sees BLOCK among its arguments")]),
    (Flags::MODULE, &[]),
    (Flags::NO_AUTH, &[]),
    (Flags::NO_MULTI, &[]),
    (Flags::NOSCRIPT, &[("role", "an array with the server's replication role, the same for every client")]),
    (Flags::PUBSUB, &[("publish", "only the subscribers have state")]),
    (Flags::SKIP_MONITOR, &[]),
    (
        Flags::STALE,
        &[
            ("echo", "a bulk string"),
            ("info", "a bulk string, and an unknown section is an empty one"),
            ("lastsave", "a number"),
            ("publish", "a number"),
            ("role", "the same array as under NOSCRIPT"),
            ("time", "two numbers"),
        ],
    ),
];

fn pinned(pin: Pin) -> Vec<&'static str> {
    CommandId::all().filter(|command| Pin::of(*command) == pin).map(CommandId::name).collect()
}

#[test]
fn share_pins_match_the_expected_list() {
    let golden: Vec<&str> = include_str!("tests/share.txt").lines().collect();
    assert_eq!(pinned(Pin::Share), golden);
}

#[test]
fn state_and_session_pins_match_the_expected_lists() {
    assert_eq!(
        pinned(Pin::State),
        [
            "blmove",
            "blmpop",
            "blpop",
            "brpop",
            "brpoplpush",
            "bzmpop",
            "bzpopmax",
            "bzpopmin",
            "client|no-evict",
            "discard",
            "exec",
            "monitor",
            "multi",
            "psubscribe",
            "punsubscribe",
            "ssubscribe",
            "subscribe",
            "sunsubscribe",
            "unsubscribe",
            "unwatch",
            "watch",
        ]
    );
    assert_eq!(
        pinned(Pin::Session),
        [
            "unknown",
            "asking",
            "client|caching",
            "client|capa",
            "client|import-source",
            "client|no-touch",
            "client|pause",
            "client|tracking",
            "debug",
            "psync",
            "readonly",
            "readwrite",
            "replconf",
            "script|debug",
            "sync",
        ]
    );
}

#[test]
fn gate_and_refuse_pins_match_the_expected_lists() {
    assert_eq!(
        pinned(Pin::Gate),
        [
            "auth",
            "client",
            "client|getname",
            "client|id",
            "client|info",
            "client|kill",
            "client|list",
            "client|reply",
            "client|setinfo",
            "client|setname",
            "client|unblock",
            "hello",
            "quit",
            "reset",
            "select",
        ]
    );
    assert_eq!(pinned(Pin::Refuse), ["wait", "waitaof"]);
}

#[test]
fn suspect_commands_are_shared_only_with_a_reason() {
    for command in CommandId::all().filter(|command| Pin::of(*command) == Pin::Share) {
        for (flag, known) in SUSPECT {
            let excused = known.iter().any(|(name, _)| *name == command.name());
            let suspect = command.info().flags.intersects(*flag);
            assert_eq!(suspect, excused, "{} as {:?}", command.name(), flag.names().collect::<Vec<_>>());
        }
    }
    for (name, _) in SUSPECT.iter().flat_map(|(_, known)| *known) {
        assert_eq!(Pin::of(lookup(name.as_bytes()).unwrap()), Pin::Share, "{name}");
    }
}

#[test]
fn shared_commands_are_known_to_every_server_and_get_one_reply() {
    let bare = BARE.iter().map(|(command, _)| *command);
    for command in CommandId::all().filter(|command| Pin::of(*command) == Pin::Share).chain(bare) {
        let info = command.info();
        assert!(info.servers.contains(EVERYWHERE), "{}", info.name);
        assert_eq!(info.reply, ReplyShape::One, "{}", info.name);
        assert!(!command.is_container(), "{}", info.name);
    }
}

#[test]
fn scripts_and_connection_commands_are_not_shared() {
    let connection = ["echo", "ping"];
    for command in CommandId::all().filter(|command| Pin::of(*command) == Pin::Share) {
        let categories = command.info().categories;
        assert!(
            !categories.intersects(Categories::of(&[
                Categories::SCRIPTING,
                Categories::TRANSACTION,
                Categories::VECTORSET,
                Categories::JSON,
                Categories::SEARCH,
            ])),
            "{}",
            command.name()
        );
        let excused = connection.contains(&command.name());
        assert_eq!(categories.contains(Categories::CONNECTION), excused, "{}", command.name());
    }
}

/// A new connection command needs a decision in the table. Otherwise its connection would be given back with its state.
#[test]
fn each_connection_command_has_a_decision() {
    let leave_nothing = ["client|getredir", "client|help", "client|trackinginfo", "client|unpause"];
    let unlisted: Vec<&str> = CommandId::all()
        .filter(|command| command.info().categories.contains(Categories::CONNECTION))
        .filter(|command| Pin::of(*command) == Pin::Reply && command.top() != id::COMMAND)
        .map(CommandId::name)
        .collect();
    assert_eq!(unlisted, leave_nothing);
}

#[test]
fn gives_every_blocking_and_confirmed_command_its_own_connection() {
    let own_test = [id::XREAD, id::XREADGROUP];
    for command in CommandId::all() {
        let info = command.info();
        if info.flags.contains(Flags::BLOCKING) && !own_test.contains(&command) {
            assert!(matches!(Pin::of(command), Pin::State | Pin::Refuse), "{}", info.name);
        }
        match info.reply {
            ReplyShape::Confirm | ReplyShape::Monitor => assert_eq!(Pin::of(command), Pin::State),
            ReplyShape::Hello => assert_eq!(Pin::of(command), Pin::Gate),
            ReplyShape::Raw => assert_eq!(Pin::of(command), Pin::Session),
            ReplyShape::None => assert!(matches!(Pin::of(command), Pin::Gate | Pin::Session)),
            ReplyShape::One => {}
        }
    }
}

#[test]
fn shares_expiry_without_options_only() {
    for command in [id::EXPIRE, id::EXPIREAT, id::PEXPIRE, id::PEXPIREAT] {
        assert_eq!(Pin::of(command), Pin::Reply);
        assert_eq!(Pin::of_call(command, 3), Pin::Share);
        for others in [0, 1, 2, 4, 5, u64::MAX] {
            assert_eq!(Pin::of_call(command, others), Pin::Reply);
        }
    }
    for command in CommandId::all().filter(|command| BARE.iter().all(|(bare, _)| bare != command)) {
        assert_eq!(Pin::of_call(command, 3), Pin::of(command));
    }
}

#[test]
fn commands_that_quote_or_run_text_need_a_lease() {
    for command in [
        id::ACL_SETUSER,
        id::CLUSTER,
        id::CONFIG_SET,
        id::EVAL,
        id::EVALSHA_RO,
        id::FCALL,
        id::FLUSHALL,
        id::FUNCTION_LOAD,
        id::KEYS,
        id::LATENCY_GRAPH,
        id::MEMORY_DOCTOR,
        id::MIGRATE,
        id::MODULE_LOAD,
        id::OBJECT,
        id::PFDEBUG,
        id::RESTORE,
        id::SCAN,
        id::SCRIPT_LOAD,
        id::SENTINEL_MONITOR,
        id::VSIM,
        id::XAUTOCLAIM,
        id::XCLAIM,
        id::XGROUP_CREATE,
        id::XINFO_STREAM,
        id::XPENDING,
        id::XREADGROUP,
    ] {
        assert_eq!(Pin::of(command), Pin::Reply, "{}", command.name());
    }
}
