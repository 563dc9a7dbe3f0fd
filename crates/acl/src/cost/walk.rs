//! Walks over the arguments of a command once, in order, and checks those that influence the cost.

use portcullis_resp::command::keys::Argv;

use super::table::{Judged, Meaning, Then, Word};
use super::{Cost, CostLimits, MAX_STARS};

pub(super) fn check<'b>(
    limits: &CostLimits,
    judged: &Judged,
    args: &(impl Argv<'b> + ?Sized),
) -> Result<(), Cost> {
    match *judged {
        Judged::Value { place, meaning } => {
            args.arg(place.into()).map_or(Ok(()), |value| limits.judge(meaning, value))
        }
        Judged::Values { from, meaning } => (usize::from(from)..args.count())
            .map_while(|place| args.arg(place))
            .try_for_each(|value| limits.judge(meaning, value)),
        Judged::Words { from, words } => Options::new(limits, words).walk(args, from.into()),
        Judged::WordsBehindKeys { numkeys, words } => behind_keys(limits, numkeys.into(), words, args),
        Judged::Pending => {
            let idle = args.arg(3).is_some_and(|word| word.eq_ignore_ascii_case(b"idle"));
            let place = if idle { 7 } else { 5 };
            args.arg(place).map_or(Ok(()), |value| limits.judge(Meaning::Count, value))
        }
        Judged::Bitfield => bitfield(limits, args),
    }
}

impl CostLimits {
    fn judge(&self, meaning: Meaning, value: &[u8]) -> Result<(), Cost> {
        let within = |most: u64, cost| match size(value) {
            None => Err(Cost::NotANumber),
            Some(size) if size > most => Err(cost),
            Some(_) => Ok(()),
        };
        match meaning {
            Meaning::Count => within(self.count, Cost::Count),
            Meaning::Rank => within(self.count, Cost::Rank),
            Meaning::Effort => within(self.count, Cost::Effort),
            Meaning::Offset => within(self.offset, Cost::Offset),
            Meaning::BitOffset => within(self.bits(), Cost::BitOffset),
            Meaning::Pattern if value.len() > self.pattern => Err(Cost::Pattern),
            Meaning::Pattern if value.iter().filter(|byte| **byte == b'*').count() > MAX_STARS => {
                Err(Cost::Stars)
            }
            Meaning::Pattern => Ok(()),
        }
    }
}

/// Returns the absolute value of a number in the form that Redis's `string2ll` accepts. `None` for other text.
/// Numbers beyond `u64` give [`u64::MAX`]. Some numbers that Redis would refuse have a value here, and `i64::MIN` has
/// one too.
fn size(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [] => return None,
        [b'0'] if digits.len() == text.len() => return Some(0),
        [b'0', ..] => return None,
        _ if !digits.iter().all(u8::is_ascii_digit) => return None,
        _ => {}
    }
    let number = digits.iter().fold(0_u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit.wrapping_sub(b'0')))
    });
    Some(number)
}

/// The walk over options in any order. While all words are known, it is certain which arguments are values. After an
/// unknown word (an option of a later server), each argument counts both as a word and as a value.
struct Options<'l> {
    limits: &'l CostLimits,
    words: &'static [Word],
    certain: bool,
}

impl<'l> Options<'l> {
    const fn new(limits: &'l CostLimits, words: &'static [Word]) -> Self {
        Self { limits, words, certain: true }
    }

    fn walk<'b>(mut self, args: &(impl Argv<'b> + ?Sized), from: usize) -> Result<(), Cost> {
        let (mut due, mut counted, mut skip) = (None, None, 0_u64);
        for argument in (from..args.count()).map_while(|place| args.arg(place)) {
            if let Some(meaning) = due.take() {
                self.limits.judge(meaning, argument)?;
                if self.certain {
                    continue;
                }
            }
            if let Some(more) = counted.take() {
                skip = size(argument).map_or(0, |number| number.saturating_add(more));
                self.certain &= skip > 0;
                if self.certain {
                    continue;
                }
            }
            if skip > 0 && self.certain {
                skip -= 1;
                continue;
            }
            match self.find(argument) {
                None => self.certain = false,
                Some(Then::Value(meaning)) => due = Some(meaning),
                Some(Then::Skip(arguments)) => skip = arguments.into(),
                Some(Then::Counted { more }) => counted = Some(u64::from(more)),
                Some(Then::End) if self.certain => break,
                Some(Then::End) => {}
            }
        }
        Ok(())
    }

    fn find(&self, argument: &[u8]) -> Option<Then> {
        let word = self.words.iter().find(|word| argument.eq_ignore_ascii_case(word.name.as_bytes()))?;
        Some(word.then)
    }
}

/// Checks the options after the keys. If the number of keys is invalid, Redis refuses the command, and every argument
/// is checked here.
fn behind_keys<'b>(
    limits: &CostLimits,
    numkeys: usize,
    words: &'static [Word],
    args: &(impl Argv<'b> + ?Sized),
) -> Result<(), Cost> {
    let first = numkeys.saturating_add(1);
    let keys = args.arg(numkeys).filter(|number| !number.starts_with(b"-")).and_then(size);
    let options = Options::new(limits, words);
    match keys.and_then(|keys| usize::try_from(keys).ok()) {
        Some(keys) => options.walk(args, first.saturating_add(keys)),
        None => Options { certain: false, ..options }.walk(args, first),
    }
}

/// Checks `GET type offset`, `SET type offset value`, `INCRBY type offset increment` and `OVERFLOW behaviour`. GET
/// has no limit, because Redis allocates nothing to read beyond the end.
fn bitfield<'b>(limits: &CostLimits, args: &(impl Argv<'b> + ?Sized)) -> Result<(), Cost> {
    const LONGEST: u64 = 64;
    let mut at = 2;
    while let Some(operation) = args.arg(at) {
        let is = |word: &[u8]| operation.eq_ignore_ascii_case(word);
        if is(b"get") {
            at += 3;
        } else if is(b"overflow") {
            at += 2;
        } else if is(b"set") || is(b"incrby") {
            let bits = args.arg(at + 1).and_then(|kind| size(kind.get(1..)?)).unwrap_or(LONGEST);
            let Some(offset) = args.arg(at + 2) else { return Ok(()) };
            let (number, each) = match offset.strip_prefix(b"#") {
                Some(number) => (number, bits),
                None => (offset, 1),
            };
            let first = size(number).ok_or(Cost::NotANumber)?.saturating_mul(each);
            if first > limits.bits() {
                return Err(Cost::BitOffset);
            }
            at += 4;
        } else {
            return Err(Cost::Syntax);
        }
    }
    Ok(())
}
