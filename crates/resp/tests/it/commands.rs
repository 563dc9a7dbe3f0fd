//! The table against a live server: the table has every command of the server, with equal arity, flags, categories
//! and keys.

use portcullis_resp::command::{Access, Categories, CommandId, Flags, lookup, lookup_subcommand};
use portcullis_resp::value::Value;

use crate::server::Server;

/// Differences of Redis 7.0 from later servers that the table follows: the fact of the later servers, and why it is
/// right.
const LATER_SERVERS: &[(&str, &str)] = &[
    ("blmove", "7.2 allows blocking commands in scripts"),
    ("blpop", "7.2 allows blocking commands in scripts"),
    ("brpop", "7.2 allows blocking commands in scripts"),
    ("brpoplpush", "7.2 allows blocking commands in scripts"),
    ("bzpopmax", "7.2 allows blocking commands in scripts"),
    ("bzpopmin", "7.2 allows blocking commands in scripts"),
    ("wait", "blocks, and says so since 7.2"),
    ("cluster|shards", "answers while loading since 7.2"),
    ("cluster|slots", "answers while loading since 7.2"),
    ("command|getkeys", "takes commands without arguments since 7.2"),
    ("command|getkeysandflags", "takes commands without arguments since 7.2"),
    ("pfdebug", "6.2 takes more arguments"),
    ("zrank", "takes WITHSCORE since 7.2"),
    ("zrevrank", "takes WITHSCORE since 7.2"),
    ("expire", "6.2 takes no options"),
    ("expireat", "6.2 takes no options"),
    ("pexpire", "6.2 takes no options"),
    ("pexpireat", "6.2 takes no options"),
    ("xsetid", "6.2 takes no options"),
];

#[test]
fn the_table_has_every_command_of_the_server() {
    let server = Server::start(&[]);
    let Value::Array(listed) = server.connect().call(&["COMMAND"]) else { panic!("no list of commands") };
    assert!(listed.len() > 200);
    let mut differing = Vec::new();
    for command in &listed {
        let fields = command.as_array().unwrap();
        let id = lookup(fields[0].as_bytes().unwrap())
            .unwrap_or_else(|| panic!("{:?} is unknown", fields[0].as_str()));
        compare(id, fields, &mut differing);
        for subcommand in fields[9].as_array().unwrap() {
            let fields = subcommand.as_array().unwrap();
            let (_, own) = fields[0].as_str().unwrap().split_once('|').unwrap();
            let sub = lookup_subcommand(id, own.as_bytes()).unwrap_or_else(|| panic!("{own} is unknown"));
            compare(sub, fields, &mut differing);
        }
    }
    let unexplained: Vec<_> =
        differing.iter().filter(|(name, _)| !LATER_SERVERS.iter().any(|(known, _)| known == name)).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

fn compare(id: CommandId, fields: &[Value], differing: &mut Vec<(&'static str, String)>) {
    let info = id.info();
    let words = |field: &Value| -> Vec<String> {
        field
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().trim_start_matches('@').to_owned())
            .collect()
    };
    let arity = fields[1].as_integer().unwrap();
    if i64::from(info.arity) != arity {
        differing.push((info.name, format!("arity {} instead of {arity}", info.arity)));
    }
    let flags: Vec<Flags> = words(&fields[2]).iter().map(|name| Flags::from_name(name).unwrap()).collect();
    if info.flags != Flags::of(&flags) {
        let names: Vec<_> = info.flags.names().collect();
        differing.push((info.name, format!("flags {names:?} instead of {:?}", words(&fields[2]))));
    }
    let categories: Vec<Categories> =
        words(&fields[6]).iter().map(|name| Categories::from_name(name).unwrap()).collect();
    if info.categories != Categories::of(&categories) {
        let names: Vec<_> = info.categories.names().collect();
        differing.push((info.name, format!("categories {names:?} instead of {:?}", words(&fields[6]))));
    }
    let specs = fields[8].as_array().unwrap();
    assert_eq!(specs.len(), info.keys.len(), "{}", info.name);
    for (spec, known) in specs.iter().zip(info.keys) {
        let access: Vec<Access> =
            words(spec.field("flags").unwrap()).iter().map(|name| Access::from_name(name).unwrap()).collect();
        let writes = |access: Access| access.intersects(Access::of(&[Access::RW, Access::OW, Access::RM]));
        assert_eq!(writes(Access::of(&access)), writes(known.access), "{}", info.name);
    }
}
