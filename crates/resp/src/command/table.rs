//! The command table, and the functions that its data uses.

mod data;
pub mod id;

pub(super) use self::data::TABLE;
use super::{Access, Begin, Categories, CommandInfo, Find, Flags, KeySpec, ReplyShape, Servers};

const fn entry(
    name: &'static str,
    arity: i16,
    flags: &[Flags],
    categories: &[Categories],
    keys: &'static [KeySpec],
    reply: ReplyShape,
    servers: &[Servers],
) -> CommandInfo {
    CommandInfo {
        name,
        arity,
        flags: Flags::of(flags),
        categories: Categories::of(categories),
        keys,
        reply,
        servers: Servers::of(servers),
    }
}

const fn key(begin: Begin, find: Find, access: &[Access]) -> KeySpec {
    KeySpec { begin, find, access: Access::of(access) }
}

const fn index(at: u16) -> Begin {
    Begin::Index(at)
}

const fn keyword(word: &'static str, start: i16) -> Begin {
    Begin::Keyword { word, start }
}

const fn range(last: i16, step: u16, limit: u16) -> Find {
    Find::Range { last, step, limit }
}

const fn keynum(count: u16, first: u16, step: u16) -> Find {
    Find::KeyNum { count, first, step }
}

const UNKNOWN_BEGIN: Begin = Begin::Unknown;
const UNKNOWN_FIND: Find = Find::Unknown;
