//! Fields of the API's answers as text for a terminal.

use serde_json::Value;

use crate::log::Escaped;

/// The text in place of a value that is absent.
const NOTHING: &str = "-";

/// Returns a field as text. A client may have chosen it, so control characters are escaped.
pub(super) fn cell(facts: &Value, key: &str) -> String {
    text(&facts[key])
}

/// Returns a value as text, with control characters escaped.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => Escaped::new(text).to_string(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        other => Escaped::new(&other.to_string()).to_string(),
    }
}

/// Returns the items of a list; none if there is no such list.
pub(super) fn items<'v>(facts: &'v Value, key: &str) -> &'v [Value] {
    facts[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Returns a time in seconds with its two largest units: `3d 4h`, `5m 10s`, `7s`.
pub(super) fn span(value: &Value) -> String {
    let Some(seconds) = value.as_u64() else { return NOTHING.to_owned() };
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Returns a duration in seconds as milliseconds.
pub(super) fn milliseconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| NOTHING.to_owned(), |seconds| format!("{:.3} ms", seconds * 1e3))
}

/// Returns a number of bytes a second with its unit.
pub(super) fn byte_rate(value: &Value) -> String {
    let mut rate = value.as_f64().unwrap_or_default();
    let mut units = ["B/s", "KiB/s", "MiB/s"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if rate < 1024.0 {
            break;
        }
        (rate, unit) = (rate / 1024.0, larger);
    }
    if unit == "B/s" { format!("{rate:.0} {unit}") } else { format!("{rate:.1} {unit}") }
}

/// Returns the time of an RFC 3339 text to the second.
pub(super) fn moment(value: &Value) -> String {
    let text = text(value);
    text.split_once('.').map_or_else(|| text.clone(), |(second, _)| format!("{second}Z"))
}

/// Returns the state of an upstream in words.
pub(super) fn upstream_state(facts: &Value) -> String {
    match facts["up"].as_bool() {
        Some(true) => "up".to_owned(),
        Some(false) => format!("down ({})", cell(facts, "kind")),
        None => "not probed".to_owned(),
    }
}

/// Returns the sum of the numbers of a mapping.
pub(super) fn total(facts: &Value, key: &str) -> u64 {
    let numbers = facts[key].as_object().into_iter().flat_map(|map| map.values()).filter_map(Value::as_u64);
    numbers.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_as_text() {
        let facts =
            json!({"name": "a\u{1b}[2Jb", "none": null, "list": ["a", "b"], "n": 3, "sum": {"x": 1, "y": 2}});
        assert_eq!(cell(&facts, "name"), "a\\x1b[2Jb");
        assert_eq!((cell(&facts, "none"), cell(&facts, "absent")), ("-".to_owned(), "-".to_owned()));
        assert_eq!(
            (cell(&facts, "list"), cell(&facts, "n"), total(&facts, "sum")),
            ("a, b".to_owned(), "3".to_owned(), 3)
        );
        let spans = [(7, "7s"), (310, "5m 10s"), (11_040, "3h 4m"), (273_600, "3d 4h")];
        for (seconds, text) in spans {
            assert_eq!(span(&json!(seconds)), text);
        }
        assert_eq!(milliseconds(&json!(0.000_123_4)), "0.123 ms");
        assert_eq!(
            [512.0, 2048.0, 3e6].map(|rate| byte_rate(&json!(rate))),
            ["512 B/s", "2.0 KiB/s", "2.9 MiB/s"]
        );
        assert_eq!(moment(&json!("2026-11-22T18:58:01.757282Z")), "2026-11-22T18:58:01Z");
    }
}
