//! The end of an entry as an operator gives it: a duration, a date, a moment, or never.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use portcullis_acl::UnixSeconds;

use super::BadEntry;
use crate::platform::has_zone_file;
use crate::value::time;

/// The last moment that RFC 3339 can write, 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;

const FORMS: &str = "write a duration such as 8h or 2d, a date such as 2026-12-31 (the end of that day), a time such as \
                     2026-12-31T18:00:00Z, or never";

/// The moment at which an entry expires, in the words that the file gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    written: String,
    at: UnixSeconds,
}

impl End {
    /// Reads `8h`, `2d`, `2026-12-31` or RFC 3339; `never` is `None`. A date means the end of that day in the zone of
    /// `TZ`, or else of the system.
    pub(super) fn parse(text: &str, now: UnixSeconds) -> Result<Option<Self>, BadEntry> {
        Self::parse_in(text, now, local_zone)
    }

    pub(super) fn parse_in(
        text: &str,
        now: UnixSeconds,
        zone: impl FnOnce() -> Option<TimeZone>,
    ) -> Result<Option<Self>, BadEntry> {
        let reject =
            |hint: Cow<'static, str>| BadEntry::DateTime { text: text.escape_debug().to_string(), hint };
        let bad = |hint: &'static str| reject(hint.into());
        if text == "never" {
            return Ok(None);
        }
        if is_date(text) {
            let date: Date = text.parse().map_err(|_| bad("this date does not exist"))?;
            let zone = zone().ok_or_else(|| {
                bad("the local time zone is unknown: set TZ, or write a time with its offset")
            })?;
            return Self::end_of_day(date, zone).map(Some).ok_or_else(|| bad("this date is too far away"));
        }
        if let Some(meant) = meant(text) {
            return Err(reject(format!("write {meant}").into()));
        }
        if let Some(seconds) = duration(text) {
            let at = seconds.map_err(bad)?.checked_add(now.0).filter(|at| *at <= LAST);
            let at = UnixSeconds(at.ok_or_else(|| bad("this duration is too long"))?);
            return Ok(Some(Self { written: time::show(at), at }));
        }
        let at = time::parse(text).map_err(|hint| {
            bad(if text.contains(['T', 't']) && text.contains('-') { hint } else { FORMS })
        })?;
        Ok(Some(Self { written: text.to_owned(), at }))
    }

    /// The first moment of the day after: also where the clocks change at midnight.
    fn end_of_day(date: Date, zone: TimeZone) -> Option<Self> {
        let end = date.tomorrow().ok()?.to_zoned_datetime(zone).ok()?;
        let form = if end.offset().is_zero() { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%:z" };
        Some(Self { written: end.strftime(form).to_string(), at: UnixSeconds(end.timestamp().as_second()) })
    }

    /// The moment.
    pub fn at(&self) -> UnixSeconds {
        self.at
    }

    /// The text for the file, which is RFC 3339.
    pub(super) fn written(&self) -> &str {
        &self.written
    }
}

/// Shows the text of the file and, if it has another offset, the moment in UTC.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = time::show(self.at);
        match self.written == utc {
            true => f.write_str(&utc),
            false => write!(f, "{} ({utc})", self.written),
        }
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// Returns the right form of a date or a duration in another common form.
fn meant(text: &str) -> Option<String> {
    other_date(text).or_else(|| several_units(text))
}

/// Reads `31.12.2026`, `31/12/2026`, `12/31/2026` and `2026/12/31`. Both dates, if the order of day and month is unclear.
fn other_date(text: &str) -> Option<String> {
    let separator = text.find(['.', '/', '-'])?;
    let separator = text.get(separator..)?.chars().next()?;
    let parts: Vec<&str> = text.split(separator).collect();
    let [first, second, third] = parts.as_slice() else { return None };
    let number = |part: &str, most: usize| -> Option<i16> {
        let plain = !part.is_empty() && part.len() <= most && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|_| plain)
    };
    let written = |year: i16, month: i16, day: i16| {
        let date = Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()?;
        Some(date.to_string())
    };
    if first.len() == 4 {
        return written(number(first, 4)?, number(second, 2)?, number(third, 2)?);
    }
    let (one, two) = (number(first, 2)?, number(second, 2)?);
    let year = number(third, 4).filter(|_| third.len() == 4)?;
    let (day_first, month_first) = (written(year, two, one), written(year, one, two));
    match (day_first, month_first) {
        // With dots, the day comes first.
        (Some(date), _) if separator == '.' => Some(date),
        (Some(date), Some(other)) if date != other => Some(format!("{date} or {other}")),
        (date, other) => date.or(other),
    }
}

/// Adds up `2d12h`, in the largest unit that fits.
fn several_units(text: &str) -> Option<String> {
    let mut seconds = 0_i64;
    let mut count = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit())?;
        let end = rest.get(unit..)?.find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |more| unit + more);
        seconds = seconds.checked_add(duration(rest.get(..end)?)?.ok()?)?;
        rest = rest.get(end..)?;
        count += 1;
    }
    let units = [(24 * 3600, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let (each, unit) = units.into_iter().find(|(each, _)| seconds % each == 0)?;
    (count > 1).then(|| format!("{}{unit}", seconds / each))
}

/// Reads a number and a unit. `None`: the text is something else. `Err` is the hint.
fn duration(text: &str) -> Option<Result<i64, &'static str>> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    if number.is_empty() || unit.starts_with(['-', '.', '/']) {
        return None;
    }
    let each = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "" => return Some(Err("a duration needs a unit: s, m, h or d")),
        _ => return Some(Err("the units of a duration are s, m, h and d, without a space: 90m, 8h, 2d")),
    };
    Some(match number.parse::<i64>().ok().and_then(|number| number.checked_mul(each)) {
        Some(0) => Err("a duration cannot be zero; to end an entry now, remove it"),
        Some(seconds) => Ok(seconds),
        None => Err("this duration is too long"),
    })
}

/// The zone of `TZ`, or else of the system. Without either it is UTC, as for every other program. `None`: one is set
/// and cannot be read.
fn local_zone() -> Option<TimeZone> {
    match TimeZone::try_system() {
        Ok(zone) if !zone.is_unknown() => Some(zone),
        _ if std::env::var_os("TZ").is_none() && !has_zone_file() => Some(TimeZone::UTC),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T12:00:00Z
    const NOW: UnixSeconds = UnixSeconds(1_795_348_800);

    fn shown(text: &str, zone: &str) -> String {
        let zone = || Some(TimeZone::posix(zone).unwrap());
        match End::parse_in(text, NOW, zone) {
            Ok(Some(end)) => end.to_string(),
            Ok(None) => "never".to_owned(),
            Err(error) => error.hint(),
        }
    }

    #[test]
    fn durations_count_from_now() {
        for (text, end) in [
            ("30s", "2026-11-22T12:00:30Z"),
            ("90m", "2026-11-22T13:30:00Z"),
            ("8h", "2026-11-22T20:00:00Z"),
            ("2d", "2026-11-24T12:00:00Z"),
            ("0365d", "2027-11-22T12:00:00Z"),
            ("never", "never"),
        ] {
            assert_eq!(shown(text, "CET-1CEST,M3.5.0,M10.5.0/3"), end, "{text}");
        }
        for (text, hint) in [
            ("0h", "cannot be zero"),
            ("8", "needs a unit"),
            ("8 h", "without a space"),
            ("2w", "s, m, h and d"),
            ("2d12h", "write 60h"),
            ("1h30m", "write 90m"),
            ("1d24h", "write 2d"),
            ("1m5s", "write 65s"),
            ("2d12", "s, m, h and d"),
            ("2d0h", "s, m, h and d"),
            ("250ms", "s, m, h and d"),
            ("9999999d", "too long"),
            ("99999999999999999999d", "too long"),
            ("-2d", "write a duration such as 8h or 2d"),
            ("tomorrow", "write a duration such as 8h or 2d"),
            ("", "write a duration such as 8h or 2d"),
            ("Never", "write a duration such as 8h or 2d"),
        ] {
            assert!(shown(text, "UTC0").contains(hint), "{text}: {}", shown(text, "UTC0"));
        }
    }

    /// Berlin changes its clocks at 3 o'clock, Santiago and Havana around midnight.
    #[test]
    fn a_date_ends_with_its_day_in_the_local_zone() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        let santiago = "<-04>4<-03>,M9.1.6/24,M4.1.6/24";
        let havana = "CST5CDT,M3.2.0/0,M11.1.0/1";
        for (text, zone, end) in [
            ("2026-12-31", "UTC0", "2027-01-01T00:00:00Z"),
            ("2026-12-31", berlin, "2027-01-01T00:00:00+01:00 (2026-12-31T23:00:00Z)"),
            ("2026-06-30", berlin, "2026-07-01T00:00:00+02:00 (2026-06-30T22:00:00Z)"),
            ("2026-03-28", berlin, "2026-03-29T00:00:00+01:00 (2026-03-28T23:00:00Z)"),
            ("2026-03-29", berlin, "2026-03-30T00:00:00+02:00 (2026-03-29T22:00:00Z)"),
            ("2026-10-25", berlin, "2026-10-26T00:00:00+01:00 (2026-10-25T23:00:00Z)"),
            // There is no midnight: the day ends when the clock jumps to 1 o'clock.
            ("2026-09-05", santiago, "2026-09-06T01:00:00-03:00 (2026-09-06T04:00:00Z)"),
            ("2026-03-07", havana, "2026-03-08T01:00:00-04:00 (2026-03-08T05:00:00Z)"),
            // The last hour of the day comes twice.
            ("2026-04-04", santiago, "2026-04-05T00:00:00-04:00 (2026-04-05T04:00:00Z)"),
            // Midnight comes twice: the first one ends the day.
            ("2026-10-31", havana, "2026-11-01T00:00:00-04:00 (2026-11-01T04:00:00Z)"),
            ("2028-02-28", "NPT-5:45", "2028-02-29T00:00:00+05:45 (2028-02-28T18:15:00Z)"),
        ] {
            assert_eq!(shown(text, zone), end, "{text} {zone}");
        }
        for (text, hint) in [
            ("2026-02-30", "does not exist"),
            ("2026-13-01", "does not exist"),
            ("9999-12-31", "too far away"),
            ("2026-1-1", "write 2026-01-01"),
            ("31.12.2026", "write 2026-12-31"),
            ("1.2.2027", "write 2027-02-01"),
            ("12/31/2026", "write 2026-12-31"),
            ("31/12/2026", "write 2026-12-31"),
            ("31-12-2026", "write 2026-12-31"),
            ("2026/12/31", "write 2026-12-31"),
            ("03/04/2027", "write 2027-04-03 or 2027-03-04"),
            ("04/04/2027", "write 2027-04-04"),
            ("31.2.2026", "write a duration"),
            ("31.12.26", "write a duration"),
            ("32/13/2026", "write a duration"),
            ("10.0.0.1", "write a duration"),
            ("2026-12-31T18:00", "write date, time and offset"),
            ("2026-12-31 18:00:00Z", "write a duration"),
        ] {
            assert!(shown(text, berlin).contains(hint), "{text}: {}", shown(text, berlin));
        }
        let unknown = End::parse_in("2026-12-31", NOW, || None).unwrap_err();
        assert!(unknown.hint().contains("set TZ"), "{}", unknown.hint());
    }

    #[test]
    fn a_moment_stays_as_it_was_written() {
        let moment = "2026-12-31T18:00:00.5+02:00";
        assert_eq!(shown(moment, "UTC0"), format!("{moment} (2026-12-31T16:00:00Z)"));
        assert_eq!(shown("2026-12-31T18:00:00Z", "UTC0"), "2026-12-31T18:00:00Z");
    }
}
