//! Our keys against those of `COMMAND GETKEYSANDFLAGS`, with generated arguments for every command.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_resp::command::keys::{Frame, keys};
use portcullis_resp::command::{Access, CommandId, Find, lookup, lookup_subcommand};
use portcullis_resp::encode;
use portcullis_resp::value::Value;

use crate::client::Client;
use crate::server::Server;

/// Generated argument lists per command.
const VECTORS: usize = 250;

/// Arguments that mean something to some command, and keys.
const WORDS: &[&str] = &[
    "a",
    "b",
    "c",
    "{t}d",
    "",
    "0",
    "1",
    "2",
    "3",
    "-1",
    "02",
    "9999999999",
    "9223372036854775807",
    "STORE",
    "store",
    "STOREDIST",
    "LIMIT",
    "BY",
    "nosort",
    "w_*",
    "GET",
    "#",
    "ASC",
    "ALPHA",
    "KEYS",
    "keys",
    "STREAMS",
    "streams",
    "COUNT",
    "BLOCK",
    "GROUP",
    "NOACK",
    "AUTH",
    "AUTH2",
    "COPY",
    "REPLACE",
    "WITHSCORES",
    "WEIGHTS",
    "AGGREGATE",
    "SUM",
    "LEFT",
    "MIN",
    "EX",
    "NX",
    "SET",
    "INCRBY",
    "OVERFLOW",
    "u8",
    "$",
    ">",
    "m",
    "WITHDIST",
    "LCS",
    "FREQ",
    "USAGE",
];

/// Argument lists in which options decide about keys; `?` stands for any word.
const SHAPES: &[&str] = &[
    "SORT a STORE b",
    "SORT a BY ? LIMIT 0 1 GET ? ASC STORE b",
    "SORT a LIMIT STORE b STORE c",
    "SORT a STORE b STORE c",
    "SORT_RO a BY ? GET ?",
    "GEORADIUS a 1 2 3 m STORE b",
    "GEORADIUS a 1 2 3 m COUNT 1 ANY STORE b STOREDIST c",
    "GEORADIUSBYMEMBER a m 3 m STOREDIST b ?",
    "MIGRATE h 1 a 0 100",
    "MIGRATE h 1 a 0 100 COPY REPLACE",
    "MIGRATE h 1  0 100 COPY AUTH ? KEYS a b c",
    "MIGRATE h 1  0 100 AUTH2 ? ? KEYS a",
    "MIGRATE h 1  0 100 AUTH KEYS KEYS a",
    "MIGRATE h 1 a 0 100 AUTH KEYS",
    "XREAD STREAMS a b 0 0",
    "XREAD COUNT ? BLOCK ? STREAMS a b c 0 0 0",
    "XREADGROUP GROUP ? ? COUNT 1 NOACK STREAMS a 0",
    "XREADGROUP GROUP STREAMS STREAMS STREAMS a 0",
    "EVAL s 2 a b ? ?",
    "EVALSHA s 1 a",
    "EVAL_RO s 0 ? ?",
    "FCALL f 2 a b c",
    "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
    "ZINTERSTORE d 1 a AGGREGATE SUM",
    "ZDIFFSTORE d 3 a b c",
    "ZUNION 2 a b WITHSCORES",
    "ZINTERCARD 2 a b LIMIT 1",
    "SINTERCARD 2 a b LIMIT 1",
    "ZMPOP 2 a b MIN COUNT 1",
    "BZMPOP 0 2 a b MIN",
    "LMPOP 2 a b LEFT",
    "BLMPOP 0 1 a LEFT COUNT 2",
    "SET a b EX 1 GET",
    "SET a b NX",
    "SET GET GET",
    "BITFIELD a GET u8 0 OVERFLOW SUM GET u8 1",
    "BITFIELD a GET u8 0 SET u8 0 1",
    "BITFIELD a INCRBY u8 0 1",
    "BITFIELD a GET",
    "MEMORY USAGE a SAMPLES 1",
    "OBJECT FREQ a",
    "XGROUP CREATE a g $",
    "BITOP AND d a b c",
    "MSET a 1 b 2",
    "BLPOP a b c 0",
    "COPY a b REPLACE",
    "LMOVE a b LEFT LEFT",
];

/// Every key of one command, with the names of its use.
type Found = BTreeMap<Vec<u8>, Vec<&'static str>>;

#[test]
fn keys_are_those_of_the_server() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut random = Random(0x5eed);
    let mut known = 0;
    for command in commands(&mut client) {
        for _ in 0..VECTORS {
            let args = vector(&mut random, &command);
            known += u32::from(check(&mut client, &args));
        }
    }
    for shape in SHAPES {
        for _ in 0..VECTORS {
            let args = shape.split(' ').map(|word| if word == "?" { random.word() } else { word.to_owned() });
            let args: Vec<String> = args.collect();
            known += u32::from(check(&mut client, &args));
        }
    }
    assert!(known > 30_000, "the server must find keys often: {known}");
}

/// The names of all commands and subcommands, as arguments. Sorted, because the server lists them in a different
/// order each time, and the generated arguments must stay the same.
fn commands(client: &mut Client) -> Vec<Vec<String>> {
    let listed = client.call(&["COMMAND"]);
    let entries = listed.as_array().unwrap().iter().flat_map(|entry| {
        let fields = entry.as_array().unwrap();
        let subcommands = fields[9].as_array().unwrap();
        let own = subcommands.is_empty().then_some(entry);
        own.into_iter().chain(subcommands)
    });
    let mut names: Vec<Vec<String>> = entries
        .map(|entry| entry.as_array().unwrap()[0].as_str().unwrap().split('|').map(str::to_owned).collect())
        .collect();
    names.sort_unstable();
    names
}

/// The name, and as many words as the command accepts, sometimes more.
fn vector(random: &mut Random, name: &[String]) -> Vec<String> {
    let arity = usize::from(id_of(name).info().arity.unsigned_abs());
    let count = arity.saturating_sub(name.len()) + if random.below(2) == 0 { 0 } else { random.below(8) };
    name.iter().cloned().chain((0..count).map(|_| random.word())).collect()
}

fn id_of(args: &[String]) -> CommandId {
    let id = lookup(args[0].as_bytes()).unwrap();
    if id.is_container() { lookup_subcommand(id, args[1].as_bytes()).unwrap() } else { id }
}

/// Compares the keys of the server with ours. Returns whether both found keys. Panics unless the keys are equal or
/// our answer is "unknown".
fn check(client: &mut Client, args: &[String]) -> bool {
    let bytes: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    let id = id_of(args);
    let mut ours = Found::new();
    let certain = keys(id, &bytes, |found| add(&mut ours, found.key, found.access)).is_ok();
    assert_eq!(in_place(id, &bytes), (certain, ours.clone()), "{args:?}");

    let mut asked: Vec<&[u8]> = vec![b"COMMAND", b"GETKEYSANDFLAGS"];
    asked.extend(&bytes);
    let theirs = client.call_bytes(&asked);
    let Value::Array(found) = &theirs else {
        let Value::Error(why) = &theirs else { panic!("{args:?}: {theirs:?}") };
        let why = String::from_utf8_lossy(why);
        let by_number = why.contains("Invalid number of arguments");
        let destination_only = id.name() == "pfmerge" && args.len() == 2;
        assert!(
            destination_only || by_number || !certain || ours.is_empty(),
            "{args:?}: {ours:?}, not {why}"
        );
        return false;
    };
    let mut expected = Found::new();
    for key in found {
        let fields = key.as_array().unwrap();
        let access = fields[1]
            .as_array()
            .unwrap()
            .iter()
            .map(|flag| Access::from_name(flag.as_str().unwrap()).unwrap());
        add(&mut expected, fields[0].as_bytes().unwrap(), Access::of(&access.collect::<Vec<_>>()));
    }
    if certain && id.name() == "sinterstore" {
        // Redis 7.0 reports RW for the destination, later servers OW: the value is never read.
        assert!(ours.keys().eq(expected.keys()), "{args:?}");
    } else if certain && a_value_is_named_as_an_option(id, args) {
        // The server's helper parses that value as an option; the command does not.
        let stored = destinations(id, args);
        let due: BTreeSet<&[u8]> = stored.into_iter().chain([&args[1]]).map(|key| key.as_bytes()).collect();
        assert!(ours.keys().map(Vec::as_slice).eq(due), "{args:?}: {ours:?}");
    } else if certain && id.name().starts_with("georadius") {
        // With two STOREs the server's helper finds only the first, but the command writes the second.
        assert!(expected.keys().all(|key| ours.contains_key(key)), "{args:?}: {ours:?}");
    } else if certain {
        assert_eq!(ours, expected, "{args:?}");
    } else {
        assert!(expected.is_empty() || may_be_uncertain(id), "{args:?}: {expected:?}");
    }
    certain
}

/// Whether the argument after STORE or COUNT is the name of an option that the server's helpers look for.
fn a_value_is_named_as_an_option(id: CommandId, args: &[String]) -> bool {
    if !["sort", "georadius", "georadiusbymember"].contains(&id.name()) {
        return false;
    }
    let is = |word: &String, names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(word));
    args.windows(2).any(|pair| {
        is(&pair[0], &["store", "storedist", "count"])
            && is(&pair[1], &["store", "storedist", "limit", "get", "by"])
    })
}

/// Destinations of SORT and GEORADIUS, according to the parsers of the commands; `servers_store_where_we_say` asks
/// the server. With several destinations, SORT uses the last; for GEORADIUS we require all.
fn destinations(id: CommandId, args: &[String]) -> Vec<&String> {
    let options = match id.name() {
        "sort" => 2,
        "georadius" => 6,
        _ => 5,
    };
    let mut words = args.iter().skip(options);
    let mut stored = Vec::new();
    while let Some(word) = words.next() {
        let values = match (id.name(), word.to_ascii_lowercase().as_str()) {
            ("sort", "limit") => 2,
            ("sort", "store" | "by" | "get") => 1,
            ("sort", _) => 0,
            (_, "store" | "storedist" | "count") => 1,
            _ => 0,
        };
        let value = (0..values).map_while(|_| words.next()).last();
        if word.to_ascii_lowercase().starts_with("store") && values > 0 {
            if id.name() == "sort" {
                stored.clear();
            }
            stored.extend(value);
        }
    }
    stored
}

/// The keys as [`add`] collects them, read from the frame.
fn in_place(id: CommandId, args: &[&[u8]]) -> (bool, Found) {
    let mut frame = Vec::new();
    encode::command(&mut frame, args);
    let mut found = Found::new();
    let view = Frame::new(&frame, u64::try_from(args.len()).unwrap());
    let certain = keys(id, &view, |key| add(&mut found, key.key, key.access)).is_ok();
    (certain, found)
}

/// Adds a key. Sharded channels, which have a slot but are not keys, are left out, as the server does.
fn add(found: &mut Found, key: &[u8], access: Access) {
    if access.contains(Access::NOT_KEY) {
        return;
    }
    let what = Access::of(&[Access::INCOMPLETE, Access::VARIABLE_FLAGS]);
    let names = access.names().filter(|name| !what.contains(Access::from_name(name).unwrap()));
    let flags = found.entry(key.to_vec()).or_default();
    flags.extend(names);
    flags.sort_unstable();
}

/// Whether our answer may be "unknown" where the server reports keys: for commands whose options we parse. The
/// server's helper also reports keys in arguments that the command would refuse, and misses keys that SORT's patterns
/// name. It reads an invalid number of keys as 0, or cuts the number.
fn may_be_uncertain(id: CommandId) -> bool {
    let by_number = id.info().keys.iter().any(|spec| matches!(spec.find, Find::KeyNum { .. }));
    by_number || BY_OPTIONS.contains(&id.name())
}

const BY_OPTIONS: [&str; 7] =
    ["sort", "sort_ro", "georadius", "georadiusbymember", "migrate", "xread", "xreadgroup"];

/// Splitmix64, which generates the same arguments each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).unwrap()).unwrap()
    }

    fn word(&mut self) -> String {
        WORDS[self.below(WORDS.len())].to_owned()
    }
}

/// The server's helper is wrong about some commands, and our answer is right: the value of an option may look like an
/// option.
#[test]
fn servers_store_where_we_say() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.call(&["RPUSH", "a", "1"]);
    client.call(&["GEOADD", "g", "13", "38", "m"]);
    let cases: [(&[&str], &str); 4] = [
        (&["SORT", "a", "STORE", "limit", "STORE", "b"], "b"),
        (&["SORT", "a", "STORE", "store", "LIMIT", "0", "1"], "store"),
        (&["GEORADIUS", "g", "13", "38", "9", "m", "STORE", "storedist", "COUNT", "1"], "storedist"),
        (&["GEORADIUSBYMEMBER", "g", "m", "9", "m", "STORE", "store", "ASC"], "store"),
    ];
    for (args, destination) in cases {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        client.call(&["DEL", destination]);
        assert_eq!(client.call_bytes(&args), Value::Integer(1), "{destination}");
        assert_eq!(client.call(&["KEYS", "*"]).as_array().unwrap().len(), 3, "{destination}");
        assert_eq!(client.call(&["EXISTS", destination]), Value::Integer(1));
        client.call(&["DEL", destination]);
        let mut ours = Vec::new();
        keys(lookup(args[0]).unwrap(), &args[..], |key| ours.push(key.key)).unwrap();
        assert_eq!(ours, [args[1], destination.as_bytes()]);
    }
}
