//! Single values: words, numbers, durations, sizes, names, sockets. Each reader notes what is wrong and how to write it.

pub(super) mod socket;
pub(super) mod time;

use std::time::Duration;

use portcullis_acl::rate::Rate;

use super::problem::Problems;
use super::raw::{Node, Value};
use crate::message::{Masked, Message, did_you_mean, message};

/// Longer durations overflow the arithmetic of the kernel and of our clocks, and have no use.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A scalar's text; `None`, and a problem, for anything else or nothing.
pub(super) fn text<'n>(node: &'n Node, what: &'static str, problems: &mut Problems) -> Option<&'n str> {
    match &node.value {
        Value::Scalar(text) if !text.is_empty() => Some(text),
        Value::Scalar(_) | Value::Null => {
            problems.error(
                &node.place,
                message!("{} has no value", what),
                "write a value, or remove the key",
            );
            None
        }
        Value::List(_) | Value::Map(_) => {
            let message = message!("{} must be a single value, not {}", what, node.kind());
            problems.error(
                &node.place,
                message,
                "write one value, without brackets, braces or lines below it",
            );
            None
        }
    }
}

/// The items of a list; a single value counts as a list of one, nothing as an empty one.
pub(super) fn list(node: &Node) -> &[Node] {
    match &node.value {
        Value::Null => &[],
        Value::List(items) => items,
        Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(node),
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    node: &Node,
    what: &'static str,
    words: &[(&'static str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let written = text(node, what, problems)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
        return Some(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = did_you_mean(written, &known, || message!("one of: {}", Masked::names(known.iter().copied())));
    let message = message!("unknown value '{}' for {}", Masked::near(written, &known), what);
    problems.error(&node.place, message, hint);
    None
}

/// `true` or `false`, and none of the words YAML 1.1 took for them.
pub(super) fn switch(node: &Node, what: &'static str, problems: &mut Problems) -> Option<bool> {
    let written = text(node, what, problems)?;
    let hint = match written.to_ascii_lowercase().as_str() {
        "true" if written == "true" => return Some(true),
        "false" if written == "false" => return Some(false),
        "true" | "yes" | "on" | "y" => "write true",
        "false" | "no" | "off" | "n" => "write false",
        _ => "write true or false",
    };
    let written = Masked::near(written, &["true", "false", "yes", "no", "on", "off"]);
    problems.error(&node.place, message!("{} must be true or false, not '{}'", what, written), hint);
    None
}

/// Whether it is the word for "not at all".
pub(super) fn is_off(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(text) if text == "off" || text == "false")
}

/// A whole number in a range, without sign, leading zeros, fractions or exponents.
pub(super) fn number(
    node: &Node,
    what: &'static str,
    (least, most): (u64, u64),
    problems: &mut Problems,
) -> Option<u64> {
    let written = text(node, what, problems)?;
    let value = digits(written);
    let value = value.filter(|value| (least..=most).contains(value));
    if value.is_none() {
        let written_as = Masked::near(written, &["off"]);
        let message =
            message!("{} must be a whole number from {} to {}, not '{}'", what, least, most, written_as);
        let meant = number_meant(written).filter(|meant| (least..=most).contains(meant));
        let hint = message!("write it in plain digits, such as {}", meant.unwrap_or_else(|| least.max(1)));
        problems.error(&node.place, message, hint);
    }
    value
}

/// Reads `10,000`, `010` and `10k`: a number as people write it.
fn number_meant(text: &str) -> Option<u64> {
    let plain: String = text.chars().filter(|c| !matches!(c, ',' | '_' | ' ')).collect();
    let (number, times) = match plain.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1000),
        None => plain.strip_suffix(['m', 'M']).map_or((plain.as_str(), 1), |number| (number, 1_000_000)),
    };
    digits(number.trim_start_matches('0'))?.checked_mul(times)
}

/// `250ms 10s 5m 1h 7d`, at least one millisecond.
pub(super) fn duration(node: &Node, what: &'static str, problems: &mut Problems) -> Option<Duration> {
    let written = text(node, what, problems)?;
    let hint = match parse_duration(written) {
        _ if is_off(node) => "it cannot be off: write a duration such as 30s".into(),
        Ok(value) if value.is_zero() => {
            "to disable it, write off where that is allowed, or remove the key".into()
        }
        Ok(value) if value <= LONGEST => return Some(value),
        Ok(_) => "the longest duration is 366d".into(),
        Err(hint) => hint,
    };
    let message = message!("{} must be a duration, not '{}'", what, Masked::near(written, &["off"]));
    problems.error(&node.place, message, hint);
    None
}

/// A duration, or `off` for never.
pub(super) fn duration_or_off(
    node: &Node,
    what: &'static str,
    problems: &mut Problems,
) -> Option<Option<Duration>> {
    if is_off(node) {
        return Some(None);
    }
    if matches!(&node.value, Value::Scalar(text) if digits(text) == Some(0) || parse_duration(text) == Ok(Duration::ZERO))
    {
        problems.error(&node.place, message!("{} cannot be zero", what), "write off to disable it");
        return None;
    }
    duration(node, what, problems).map(Some)
}

/// So many in so long: `50/1s`.
pub(super) fn rate(node: &Node, what: &'static str, problems: &mut Problems) -> Option<Rate> {
    let written = text(node, what, problems)?;
    let parts = written.split_once('/');
    let rate = parts.and_then(|(count, per)| {
        let count = digits(count).and_then(|count| u32::try_from(count).ok())?;
        Rate::new(count, parse_duration(per).ok().filter(|per| *per <= LONGEST)?)
    });
    if rate.is_none() {
        let message = message!("{} must be a number per duration, not '{}'", what, Masked::of(written));
        let hint = match rate_meant(written) {
            Some((count, number, unit)) => message!("write {}/{}{}", count, number, unit),
            None => "write N/DURATION, such as 50/1s or 10/1m".into(),
        };
        problems.error(&node.place, message, hint);
    }
    rate
}

/// Reads `50/s`, `50 per second` and `50/5 minutes`: the count, and the number and the unit of the duration.
fn rate_meant(text: &str) -> Option<(u64, u64, &'static str)> {
    let (count, per) = text.split_once('/').or_else(|| text.split_once(" per "))?;
    let count = digits(count.trim()).filter(|count| *count > 0)?;
    let per = per.trim();
    let (number, word) = quantity(per).unwrap_or((1, per));
    let (unit, times) = unit_of(word)?;
    Some((count, number.checked_mul(times).filter(|number| *number > 0)?, unit))
}

/// Bytes: `64KiB 16MiB 1GiB` or a plain number.
pub(super) fn size(
    node: &Node,
    what: &'static str,
    (least, most): (u64, u64),
    problems: &mut Problems,
) -> Option<u64> {
    let written = text(node, what, problems)?;
    let hint = match parse_size(written) {
        Ok(value) if (least..=most).contains(&value) => return Some(value),
        Ok(_) => message!("write a size from {} to {}", show_size(least), show_size(most)),
        Err(hint) => hint,
    };
    problems.error(&node.place, message!("'{}' is not a valid size for {}", Masked::of(written), what), hint);
    None
}

/// `[a-z][a-z0-9_-]*`, and not a word that some YAML programs read as true, false or nothing.
pub(super) fn is_name(text: &str) -> bool {
    let body = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(body)
}

/// The fault of a name, as message and hint; `None` when the name is valid.
pub(super) fn bad_name(what: &'static str, text: &str) -> Option<(Message, Message)> {
    /// Longer names make metrics and logs unreadable.
    const LONGEST: usize = 63;
    if matches!(text, "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null") {
        let text = Masked::name(text);
        let message =
            message!("invalid {} name '{}': some YAML programs read it as a boolean or null", what, text);
        return Some((message, "choose another word".into()));
    }
    if is_name(text) && text.len() <= LONGEST {
        return None;
    }
    let message = message!("invalid {} name '{}'", what, Masked::of(text));
    Some((message, "use lower-case letters, digits, '_' and '-', starting with a letter".into()))
}

/// Plain digits; no sign, no leading zero.
fn digits(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// Splits `10s` into 10 and `s`.
fn quantity(text: &str) -> Option<(u64, &str)> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    digits(number).filter(|_| !number.is_empty()).map(|number| (number, unit))
}

fn parse_duration(text: &str) -> Result<Duration, Message> {
    let Some((number, unit)) = quantity(text) else {
        return Err("write a whole number and a unit, such as 250ms, 10s, 5m, 1h or 7d".into());
    };
    let seconds = |each: u64| {
        number.checked_mul(each).map(Duration::from_secs).ok_or_else(|| "the longest duration is 366d".into())
    };
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(24 * 3600),
        "" => Err(message!("a duration needs a unit: {}s or {}ms", number, number)),
        words => {
            Err(match unit_of(words).and_then(|(unit, times)| Some((number.checked_mul(times)?, unit))) {
                Some((number, unit)) => message!("write {}{}", number, unit),
                None => "units are ms, s, m, h and d, without a space: 250ms, 10s, 5m, 1h, 7d".into(),
            })
        }
    }
}

/// Returns the unit that a word stands for, and how many of them it is.
fn unit_of(word: &str) -> Option<(&'static str, u64)> {
    let word = word.trim().trim_end_matches('.').to_ascii_lowercase();
    Some(match word.as_str() {
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => ("ms", 1),
        "s" | "sec" | "secs" | "second" | "seconds" => ("s", 1),
        "m" | "min" | "mins" | "minute" | "minutes" => ("m", 1),
        "h" | "hr" | "hrs" | "hour" | "hours" => ("h", 1),
        "d" | "day" | "days" => ("d", 1),
        "w" | "week" | "weeks" => ("d", 7),
        _ => return None,
    })
}

fn parse_size(text: &str) -> Result<u64, Message> {
    let Some((number, unit)) = quantity(text) else {
        return Err("write a whole number and a unit, such as 64KiB, 16MiB or 1GiB".into());
    };
    let each: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        other => {
            return Err(match other.trim_start().to_ascii_lowercase().chars().next() {
                Some('k') => message!("write {}KiB", number),
                Some('m') => message!("write {}MiB", number),
                Some('g') => message!("write {}GiB", number),
                Some('t') => message!("write {}TiB", number),
                _ => "units are KiB, MiB and GiB".into(),
            });
        }
    };
    number.checked_mul(each).ok_or_else(|| "the size is too large".into())
}

fn show_size(bytes: u64) -> Message {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = units.iter().find(|(each, _)| bytes >= *each && bytes.is_multiple_of(*each));
    fits.map_or_else(|| message!("{}", bytes), |(each, unit)| message!("{}{}", bytes / each, *unit))
}

#[cfg(test)]
mod tests;
