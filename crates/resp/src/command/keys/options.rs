//! Finds the keys of commands whose options decide. The options are parsed as the commands themselves parse them.

use super::{Argv, KeyRef, KeysUnknown, give, number};
use crate::command::{Access, CommandId, id};

/// Returns `option` in lower case. Empty if it is longer than any option.
fn folded<'s>(option: &[u8], space: &'s mut [u8; OPTION]) -> &'s [u8] {
    let Some(word) = space.get_mut(..option.len()) else { return &[] };
    word.copy_from_slice(option);
    word.make_ascii_lowercase();
    word
}

/// The length in bytes of the longest options, `withmatchlen` and `minmatchlen`.
const OPTION: usize = 12;

const READ: Access = Access::of(&[Access::RO, Access::ACCESS]);
const OVERWRITE: Access = Access::of(&[Access::OW, Access::UPDATE]);
const CHANGE: Access = Access::of(&[Access::RW, Access::ACCESS, Access::UPDATE]);
const TAKE: Access = Access::of(&[Access::RW, Access::ACCESS, Access::DELETE]);

/// Finds the keys of `SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA] [STORE
/// destination]`.
///
/// BY and GET read keys whose names come from the data, unless the pattern names no key (`BY nosort`, `GET #`).
pub(super) fn sort<'b>(
    id: CommandId,
    args: &(impl Argv<'b> + ?Sized),
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    give(args, 1, READ, each)?;
    let mut all_known = true;
    let mut store = None;
    let mut at = 2;
    while let Some(option) = args.arg(at) {
        at += match folded(option, &mut [0; OPTION]) {
            b"asc" | b"desc" | b"alpha" => 1,
            b"limit" => 3,
            b"by" => {
                all_known &= args.arg(at + 1).is_some_and(|pattern| !pattern.contains(&b'*'));
                2
            }
            b"get" => {
                all_known &= args.arg(at + 1) == Some(b"#");
                2
            }
            b"store" if id == id::SORT => {
                store = Some(at + 1);
                2
            }
            _ => return Err(KeysUnknown::Arguments),
        };
    }
    if at != args.count() {
        return Err(KeysUnknown::Arguments);
    }
    if let Some(store) = store {
        give(args, store, OVERWRITE, each)?;
    }
    if all_known { Ok(()) } else { Err(KeysUnknown::FromData) }
}

/// Finds the keys of `GEORADIUS key lon lat radius unit [options]` and `GEORADIUSBYMEMBER key member radius unit
/// [options]`.
///
/// With several `STORE key` and `STOREDIST key`, the server writes the last key. Servers check the first key as well,
/// so all are reported.
pub(super) fn georadius<'b>(
    id: CommandId,
    args: &(impl Argv<'b> + ?Sized),
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    give(args, 1, READ, each)?;
    let mut at = if id == id::GEORADIUS { 6 } else { 5 };
    while let Some(option) = args.arg(at) {
        at += match folded(option, &mut [0; OPTION]) {
            b"withdist" | b"withhash" | b"withcoord" | b"any" | b"asc" | b"desc" => 1,
            b"count" => 2,
            b"store" | b"storedist" => {
                give(args, at + 1, OVERWRITE, each)?;
                2
            }
            _ => return Err(KeysUnknown::Arguments),
        };
    }
    if at == args.count() { Ok(()) } else { Err(KeysUnknown::Arguments) }
}

/// Finds the keys of `MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH password] [AUTH2 user password]
/// [KEYS key ...]`.
pub(super) fn migrate<'b>(
    args: &(impl Argv<'b> + ?Sized),
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    let mut at = 6;
    while let Some(option) = args.arg(at) {
        at += match folded(option, &mut [0; OPTION]) {
            b"copy" | b"replace" => 1,
            b"auth" => 2,
            b"auth2" => 3,
            b"keys" if args.arg(3) == Some(b"") && at + 1 < args.count() => {
                return (at + 1..args.count()).try_for_each(|index| give(args, index, TAKE, each));
            }
            _ => return Err(KeysUnknown::Arguments),
        };
    }
    if at != args.count() {
        return Err(KeysUnknown::Arguments);
    }
    give(args, 3, TAKE, each)
}

/// Finds the keys of `XREAD [COUNT n] [BLOCK ms] STREAMS key ... id ...` and of XREADGROUP. XREADGROUP also has
/// `GROUP group consumer`, `NOACK` and `CLAIM ms`.
pub(super) fn xread<'b>(
    id: CommandId,
    args: &(impl Argv<'b> + ?Sized),
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    let grouped = id == id::XREADGROUP;
    let mut complete = !grouped;
    let mut at = 1;
    while let Some(option) = args.arg(at) {
        at += match folded(option, &mut [0; OPTION]) {
            b"count" | b"block" if args.arg(at + 1).and_then(number).is_some() => 2,
            b"group" if grouped => {
                complete = true;
                3
            }
            b"noack" if grouped => 1,
            b"claim" if grouped => 2,
            b"streams" => {
                let rest = args.count().saturating_sub(at + 1);
                if rest == 0 || rest % 2 != 0 || !complete {
                    return Err(KeysUnknown::Arguments);
                }
                return (at + 1..=at + rest / 2).try_for_each(|index| give(args, index, READ, each));
            }
            _ => return Err(KeysUnknown::Arguments),
        };
    }
    Err(KeysUnknown::Arguments)
}

/// Finds the keys of `STRALGO LCS [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN] (KEYS key key | STRINGS string string)`,
/// in any order. Only Redis 6 has this command.
pub(super) fn stralgo<'b>(
    args: &(impl Argv<'b> + ?Sized),
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    if !args.arg(1).is_some_and(|algorithm| algorithm.eq_ignore_ascii_case(b"lcs")) {
        return Err(KeysUnknown::Arguments);
    }
    let mut at = 2;
    while let Some(option) = args.arg(at) {
        at += match folded(option, &mut [0; OPTION]) {
            b"len" | b"idx" | b"withmatchlen" => 1,
            b"minmatchlen" => 2,
            b"strings" => 3,
            b"keys" => {
                give(args, at + 1, READ, each)?;
                give(args, at + 2, READ, each)?;
                3
            }
            _ => return Err(KeysUnknown::Arguments),
        };
    }
    if at == args.count() { Ok(()) } else { Err(KeysUnknown::Arguments) }
}

/// Finds the key of SET. With GET the command also returns the old value, and the comparing options of later servers
/// reveal something about it.
pub(super) fn set<'b>(
    args: &(impl Argv<'b> + ?Sized),
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    const READING: [&[u8]; 5] = [b"get", b"ifeq", b"ifne", b"ifdeq", b"ifdne"];
    let reads = (3..args.count())
        .filter_map(|index| args.arg(index))
        .any(|option| READING.iter().any(|reading| option.eq_ignore_ascii_case(reading)));
    give(args, 1, if reads { CHANGE } else { OVERWRITE }, each)
}

/// Finds the key of BITFIELD. Without SET and INCRBY the command only reads.
pub(super) fn bitfield<'b>(
    args: &(impl Argv<'b> + ?Sized),
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    let mut access = READ;
    let mut at = 2;
    while let Some(operation) = args.arg(at) {
        at += match folded(operation, &mut [0; OPTION]) {
            b"get" => 3,
            b"overflow" => 2,
            _ => {
                access = CHANGE;
                break;
            }
        };
    }
    if access == READ && at != args.count() {
        access = CHANGE;
    }
    give(args, 1, access, each)
}
