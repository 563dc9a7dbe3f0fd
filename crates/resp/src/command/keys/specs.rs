//! Finds keys by key specification, as Redis's `getKeysUsingKeySpecs` does.

use super::{Argv, KeyRef, KeysUnknown, give, number};
use crate::command::{Begin, Find, KeySpec};

/// Finds the keys of one specification. If `none_allowed` is true, the number of keys may be 0, as for scripts.
pub(super) fn find<'b>(
    spec: &KeySpec,
    none_allowed: bool,
    args: &(impl Argv<'b> + ?Sized),
    each: &mut impl FnMut(KeyRef<'b>),
) -> Result<(), KeysUnknown> {
    let begin = match spec.begin {
        Begin::Index(at) => usize::from(at),
        Begin::Keyword { word, start } => keyword(word, start, args).ok_or(KeysUnknown::Arguments)?,
        Begin::Unknown => return Err(KeysUnknown::Arguments),
    };
    let (first, last, step) = match spec.find {
        // The list may be empty (PFMERGE with only a destination). The server then finds no keys and checks none.
        Find::Range { last: -1, .. } if begin == args.count() => return Ok(()),
        // The one key that most commands have.
        Find::Range { last: 0, .. } => return give(args, begin, spec.access, each),
        Find::Range { last, step, limit } => (
            begin,
            range_end(begin, last, limit, args.count()).ok_or(KeysUnknown::Arguments)?,
            usize::from(step),
        ),
        Find::KeyNum { count, first, step } => {
            let said = args.arg(begin.saturating_add(usize::from(count))).and_then(number);
            let keys = said.and_then(|keys| usize::try_from(keys).ok()).ok_or(KeysUnknown::Arguments)?;
            let Some(others) = keys.checked_sub(1) else {
                return if none_allowed { Ok(()) } else { Err(KeysUnknown::Arguments) };
            };
            let first = begin.saturating_add(usize::from(first));
            let step = usize::from(step);
            (first, first.saturating_add(others.saturating_mul(step)), step)
        }
        Find::Unknown => return Err(KeysUnknown::Arguments),
    };
    if first > last || last >= args.count() {
        return Err(KeysUnknown::Arguments);
    }
    (first..=last).step_by(step.max(1)).try_for_each(|index| give(args, index, spec.access, each))
}

/// Returns the number of the argument after `word`. `None` if the word is not found.
fn keyword<'b>(word: &str, start: i16, args: &(impl Argv<'b> + ?Sized)) -> Option<usize> {
    let is_word =
        |index: &usize| args.arg(*index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let offset = usize::from(start.unsigned_abs());
    let found = if start > 0 {
        (offset..args.count().saturating_sub(1)).find(is_word)
    } else {
        (1..=args.count().checked_sub(offset)?).rev().find(is_word)
    };
    found.map(|index| index + 1)
}

fn range_end(first: usize, last: i16, limit: u16, count: usize) -> Option<usize> {
    let offset = usize::from(last.unsigned_abs());
    if last >= 0 {
        first.checked_add(offset)
    } else if limit <= 1 {
        count.checked_sub(offset)
    } else {
        first.checked_add(count.checked_sub(first)? / usize::from(limit))?.checked_sub(offset)
    }
}
