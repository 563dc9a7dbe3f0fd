//! RFC 3339 moments with an offset, as `until` is written.

use std::fmt;

use portcullis_acl::UnixSeconds;

use crate::message::Harmless;

/// `2026-12-31T18:00:00Z`, `2026-12-31T18:00:00.5+02:00`. A fraction is cut off, so an entry never lasts longer than
/// written. `Err` is the hint.
pub(crate) fn parse(text: &str) -> Result<UnixSeconds, &'static str> {
    const FORM: &str =
        "write date, time and offset, such as 2026-12-31T18:00:00Z or 2026-12-31T18:00:00+02:00";
    let bytes = text.as_bytes();
    let separators = [(4, b"-".as_slice()), (7, b"-"), (10, b"Tt"), (13, b":"), (16, b":")];
    let placed = separators.iter().all(|(at, any)| bytes.get(*at).is_some_and(|byte| any.contains(byte)));
    if !placed || !text.is_ascii() {
        return Err(FORM);
    }
    let part = |from: usize, len: usize| number(text.get(from..from + len)?);
    let date = (part(0, 4), part(5, 2), part(8, 2));
    let clock = (part(11, 2), part(14, 2), part(17, 2));
    let ((Some(year), Some(month), Some(day)), (Some(hour), Some(minute), Some(second))) = (date, clock)
    else {
        return Err(FORM);
    };
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return Err("this date does not exist");
    }
    // RFC 3339 allows a leap second; it counts as the last of its minute.
    if hour > 23 || minute > 59 || second > 60 {
        return Err("this time of day does not exist");
    }
    let offset = offset(fraction_cut(text.get(19..).unwrap_or_default()).ok_or(FORM)?).ok_or(FORM)?;
    let days = days_since_epoch(year, month, day);
    Ok(UnixSeconds(days * 86_400 + hour * 3600 + minute * 60 + second.min(59) - offset))
}

/// The form [`parse`] reads, in UTC.
pub(crate) fn show(UnixSeconds(seconds): UnixSeconds) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

impl Harmless for UnixSeconds {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(*self))
    }
}

fn number(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn fraction_cut(text: &str) -> Option<&str> {
    let Some(fraction) = text.strip_prefix('.') else { return Some(text) };
    let end = fraction.find(|c: char| !c.is_ascii_digit())?;
    if end == 0 { None } else { fraction.get(end..) }
}

/// Seconds east of Greenwich.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hour, minute) = text.get(1..)?.split_once(':')?;
    let (hour, minute) =
        (number(hour).filter(|_| hour.len() == 2)?, number(minute).filter(|_| minute.len() == 2)?);
    (hour <= 23 && minute <= 59).then_some(sign * (hour * 3600 + minute * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// Years counted from March, so that the leap day is the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
